//! Where this member looks for its targets, and how that goes.

use actix_web::{HttpResponse, web::Data};

use crate::admin::{
    Window,
    api::question::{Asked, Nothing},
    view,
};

/// Each provider of targets: who hangs on it, how old what it found is, and why it fails. A list in the
/// configuration itself is none.
#[utoipa::path(
    get, path = "/api/v1/discovery", tag = "targets",
    responses((status = 200, body = view::Providers, description = "the providers of this member"))
)]
pub(super) async fn discovery(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    HttpResponse::Ok().json(view::providers(&window.sources.providers.borrow()))
}
