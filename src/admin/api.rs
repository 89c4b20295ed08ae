//! The endpoints: which path is answered by what. Prometheus' paths answer as Prometheus does, also
//! in their errors; Starling's own answer plain JSON, and problems as `application/problem+json`.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    http::StatusCode,
    web::{self, Data, Query, ServiceConfig},
};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    admin::{Readiness, Window, metrics, selector::Selector, view, web as page},
    config,
    runtime::clock,
};

/// A reload reads files and opens queues; who waits longer than this is answered that it goes on.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(60);

pub(super) fn routes(app: &mut ServiceConfig) {
    app.service(shown("/-/healthy").to(healthy))
        .service(shown("/-/ready").to(ready))
        .service(ordered("/-/reload", reload))
        .service(ordered("/-/quit", quit))
        .service(look("/metrics", metrics::metrics))
        .service(look("/api/v1/targets", targets))
        .service(look("/api/v1/targets/metadata", metadata))
        .service(look("/api/v1/scrape_pools", scrape_pools))
        .service(look("/api/v1/status/config", status_config))
        .service(look("/api/v1/status/flags", status_flags))
        .service(look("/api/v1/status/runtimeinfo", status_runtime))
        .service(look("/api/v1/status/buildinfo", status_build))
        .service(look("/api/v1/queues", queues));
    for path in page::paths() {
        app.service(look(path, page::file));
    }
    app.default_service(web::to(unknown));
}
