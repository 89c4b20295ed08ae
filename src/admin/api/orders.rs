//! Orders to this member: to give up its share and stay, and to take it again.

use actix_web::{HttpResponse, web::Data};

use crate::admin::{
    Window,
    api::{
        answer::problem,
        question::{Asked, Nothing},
    },
    view,
};

/// Gives up this member's share of the division. It hands over what it has, and stays up: it answers,
/// sends what it still holds, and goes on with jobs that are not divided. Repeated, it changes nothing.
#[utoipa::path(
    post, path = "/api/v1/drain", tag = "orders",
    responses(
        (status = 202, body = view::DrainState, description = "it does, or has done so"),
        (status = 409, body = view::Problem<'_>, content_type = "application/problem+json", description = "there is nobody to take its share")
    )
)]
pub(super) async fn drain(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    match window.sources.division.drain().await {
        Ok(state) => HttpResponse::Accepted().json(view::DrainState::of(state)),
        Err(reason) => problem(409, &reason),
    }
}

/// Takes a share again, as a member that joins. Repeated, it changes nothing.
#[utoipa::path(
    post, path = "/api/v1/undrain", tag = "orders",
    responses((status = 202, body = view::DrainState, description = "it does, or never left"))
)]
pub(super) async fn undrain(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    let state = window.sources.division.undrain().await;
    HttpResponse::Accepted().json(view::DrainState::of(state))
}
