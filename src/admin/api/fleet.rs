//! The fleet, as this member knows it and as its members say when asked.

use actix_web::{HttpResponse, web::Data};

use crate::{
    admin::{
        Window,
        api::question::{Asked, Nothing},
        view,
    },
    runtime::clock,
};

/// Who is here, what each has, what is being handed over, what needs a look: as this member knows it.
#[utoipa::path(
    get, path = "/api/v1/fleet", tag = "fleet",
    responses((status = 200, body = view::FleetShown, description = "the fleet"))
)]
pub(super) async fn fleet(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    HttpResponse::Ok().json(view::fleet(&window, clock::now_ms()))
}

/// What has not left this member yet, destination by destination.
#[utoipa::path(
    get, path = "/api/v1/queues", tag = "queues",
    responses((status = 200, body = view::Queues, description = "the queues of this member"))
)]
pub(super) async fn queues(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    HttpResponse::Ok().json(view::queues(&window.sources.outbox.queues()))
}
