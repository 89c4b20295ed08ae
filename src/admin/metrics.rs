//! `/metrics`: the registry that every part put its metrics in, in the format asked for.

use actix_web::{HttpRequest, HttpResponse, http::header, web::Data};

use crate::{admin::Window, runtime::meters::Exposition};

pub(super) async fn metrics(window: Data<Window>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Exposition::accepted(accept.unwrap_or_default());
    match format.encode(&window.sources.registry) {
        Ok(body) => HttpResponse::Ok().content_type(format.content_type()).body(body),
        // Only a metric that fails to write itself can bring this about: a fault of ours.
        Err(_) => HttpResponse::InternalServerError().body("a metric could not be written\n"),
    }
}
