//! The paths that Prometheus' clients know: its shapes, its leniency, its errors.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header,
    web::{self, Data, Query},
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::{
    admin::{
        Window,
        api::answer::{problem, refused, success},
        pieces,
        selector::Selector,
        view,
    },
    config,
    runtime::{clock, meters::Exposition},
};

/// The registry that every part put its metrics in, in the format asked for.
#[utoipa::path(
    get, path = "/metrics", tag = "Prometheus",
    responses((
        status = 200, description = "all metrics of this agent",
        content((String = "text/plain"), (String = "application/openmetrics-text"))
    ))
)]
pub(super) async fn metrics(window: Data<Window>, request: HttpRequest) -> HttpResponse {
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let format = Exposition::accepted(accept.unwrap_or_default());
    match format.encode(&window.sources.registry) {
        Ok(body) => HttpResponse::Ok().content_type(format.content_type()).body(body),
        // Only a metric that fails to write itself can bring this about: a fault of ours.
        Err(_) => HttpResponse::InternalServerError().body("a metric could not be written\n"),
    }
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TargetsQuestion {
    /// `active`, `dropped` or `any`.
    #[serde(default)]
    state: String,
    /// Of this job alone.
    #[serde(default, rename = "scrapePool")]
    scrape_pool: String,
}

/// The targets that this member's discovery has found, as Prometheus tells them.
#[utoipa::path(
    get, path = "/api/v1/targets", tag = "Prometheus", params(TargetsQuestion),
    responses(
        (status = 200, body = view::Success<view::Targets<'_>>, description = "the targets"),
        (status = 400, body = view::Failure<'_>, description = "the question can't be read")
    )
)]
pub(super) async fn targets(
    window: Data<Window>,
    question: Query<TargetsQuestion>,
) -> HttpResponse {
    let state = question.state.to_lowercase();
    let pool = question.into_inner().scrape_pool;
    let is_asked_for = |name| matches!(state.as_str(), "" | "any") || state == name;
    let (active, dropped) = (is_asked_for("active"), is_asked_for("dropped"));
    pieces::json(move |pen| {
        let targets = window.sources.targets.borrow().clone();
        let jobs =
            targets.jobs.iter().filter(|found| pool.is_empty() || *found.job.job_name == *pool);
        let told = view::targets(jobs, &window, active, dropped);
        serde_json::to_writer(pen, &view::Success::of(told))
    })
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MetadataQuestion {
    /// A series selector: which targets.
    #[serde(default)]
    match_target: String,
    /// Of this metric alone.
    #[serde(default)]
    metric: String,
    /// At most so many; below zero is no limit.
    #[param(value_type = Option<i64>)]
    limit: Option<String>,
}

/// What the targets that this member scrapes say of their metrics.
#[utoipa::path(
    get, path = "/api/v1/targets/metadata", tag = "Prometheus", params(MetadataQuestion),
    responses(
        (status = 200, body = view::Success<Vec<view::Metadata>>, description = "the metadata"),
        (status = 400, body = view::Failure<'_>, description = "the question can't be read"),
        (status = 404, body = view::Failure<'_>, description = "nothing is known of any")
    )
)]
pub(super) async fn metadata(
    window: Data<Window>,
    question: Query<MetadataQuestion>,
) -> HttpResponse {
    let limit = match question.limit.as_deref() {
        None => usize::MAX,
        // Below zero is no limit, as in Prometheus.
        Some(text) => match text.parse::<i64>() {
            Ok(number) => usize::try_from(number).unwrap_or(usize::MAX),
            Err(_) => return refused("limit must be a number"),
        },
    };
    let selector = match Selector::parse(&question.match_target) {
        Ok(selector) => selector,
        Err(fault) => return refused(&fault),
    };
    let metric = question.into_inner().metric;
    let found = web::block(move || view::metadata(&window, &selector, &metric, limit)).await;
    match found {
        Ok(found) if found.is_empty() => {
            let missing = "specified metadata not found";
            HttpResponse::NotFound().json(view::Failure::new("not_found", missing))
        }
        Ok(found) => success(found),
        Err(_) => problem(500, "the metadata could not be gathered"),
    }
}

/// The names of all jobs.
#[utoipa::path(
    get, path = "/api/v1/scrape_pools", tag = "Prometheus",
    responses((status = 200, body = view::Success<view::ScrapePools>, description = "the names"))
)]
pub(super) async fn scrape_pools(window: Data<Window>) -> HttpResponse {
    success(view::scrape_pools(&window.sources.targets.borrow()))
}

/// The configuration in force, without its secrets.
#[utoipa::path(
    get, path = "/api/v1/status/config", tag = "Prometheus",
    responses((status = 200, body = view::Success<view::StatusConfig>, description = "as YAML"))
)]
pub(super) async fn status_config(window: Data<Window>) -> HttpResponse {
    let state = window.sources.config.borrow().clone();
    success(view::StatusConfig { yaml: config::show::show(&state.config) })
}

/// The flags that the agent was started with.
#[utoipa::path(
    get, path = "/api/v1/status/flags", tag = "Prometheus",
    responses((
        status = 200, body = view::Success<std::collections::BTreeMap<String, String>>,
        description = "values by names"
    ))
)]
pub(super) async fn status_flags(window: Data<Window>) -> HttpResponse {
    success(&window.sources.flags)
}

/// Since when the agent runs, and how its last reload ended.
#[utoipa::path(
    get, path = "/api/v1/status/runtimeinfo", tag = "Prometheus",
    responses((status = 200, body = view::Success<view::RuntimeInfo>, description = "this process"))
)]
pub(super) async fn status_runtime(window: Data<Window>) -> HttpResponse {
    success(view::runtime(&window, clock::now_ms()))
}

/// Which version this is.
#[utoipa::path(
    get, path = "/api/v1/status/buildinfo", tag = "Prometheus",
    responses((status = 200, body = view::Success<view::BuildInfo>, description = "this binary"))
)]
pub(super) async fn status_build() -> HttpResponse {
    success(view::build())
}
