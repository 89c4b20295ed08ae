//! The endpoints: which path is answered by what. Prometheus' paths answer as Prometheus does, also
//! in their errors; Starling's own answer plain JSON, and problems as `application/problem+json`.

use std::time::Duration;

use actix_web::{
    HttpRequest, HttpResponse, Resource,
    error::InternalError,
    http::{
        StatusCode,
        header::{self, HeaderValue},
    },
    web::{self, Data, Query, QueryConfig, ServiceConfig},
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
    app.service(look("/-/healthy", healthy))
        .service(look("/-/ready", ready))
        .service(order("/-/reload", reload))
        .service(order("/-/quit", quit))
        .service(look("/metrics", metrics::metrics))
        .service(look("/api/v1/targets", targets))
        .service(look("/api/v1/targets/metadata", metadata))
        .service(look("/api/v1/scrape_pools", scrape_pools))
        .service(look("/api/v1/status/config", status_config))
        .service(look("/api/v1/status/flags", status_flags))
        .service(look("/api/v1/status/runtimeinfo", status_runtime))
        .service(look("/api/v1/status/buildinfo", status_build))
        .service(look("/api/v1/queues", queues))
        .service(look("/api/v1/fleet", fleet));
    for path in page::paths() {
        app.service(look(path, page::file));
    }
    app.default_service(web::to(unknown));
}

async fn healthy() -> HttpResponse {
    said(StatusCode::OK, "Starling is healthy.")
}

async fn ready(window: Data<Window>) -> HttpResponse {
    match *window.sources.ready.borrow() {
        Readiness::Ready => said(StatusCode::OK, "Starling is ready."),
        Readiness::Starting => said(
            StatusCode::SERVICE_UNAVAILABLE,
            "Starling is not ready: discovery has not had its first round.",
        ),
        Readiness::Stopping => {
            said(StatusCode::SERVICE_UNAVAILABLE, "Starling is not ready: it is stopping.")
        }
    }
}

async fn reload(window: Data<Window>) -> HttpResponse {
    let (order, outcome) = oneshot::channel();
    let ordered = async {
        // Either fails only when the part that reloads has ended.
        window.sources.reload.send(order).await.ok()?;
        outcome.await.ok()
    };
    match tokio::time::timeout(RELOAD_WAIT_MAX, ordered).await {
        Ok(Some(Ok(()))) => said(StatusCode::OK, "The configuration is in force."),
        Ok(Some(Err(reason))) => said(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("The configuration is refused, and the one before stays in force:\n{reason}"),
        ),
        Ok(None) => said(StatusCode::SERVICE_UNAVAILABLE, "Starling is stopping."),
        Err(_) => said(
            StatusCode::GATEWAY_TIMEOUT,
            "The reload takes long and goes on; /api/v1/status/runtimeinfo will say how it ended.",
        ),
    }
}

async fn quit(window: Data<Window>) -> HttpResponse {
    let Some(stop) = &window.sources.quit else {
        return said(
            StatusCode::FORBIDDEN,
            "This is off; start Starling with --web.enable-lifecycle to allow it.",
        );
    };
    stop.raise();
    said(StatusCode::OK, "Starling stops.")
}

#[derive(Deserialize)]
struct TargetsQuestion {
    #[serde(default)]
    state: String,
    #[serde(default, rename = "scrapePool")]
    scrape_pool: String,
}

async fn targets(window: Data<Window>, question: Query<TargetsQuestion>) -> HttpResponse {
    let state = question.state.to_lowercase();
    let is_asked_for = |name| matches!(state.as_str(), "" | "any") || state == name;
    let targets = window.sources.targets.borrow().clone();
    let jobs = targets.jobs.iter().filter(|found| {
        question.scrape_pool.is_empty() || *found.job.job_name == *question.scrape_pool
    });
    success(view::targets(jobs, &window, is_asked_for("active"), is_asked_for("dropped")))
}

#[derive(Deserialize)]
struct MetadataQuestion {
    #[serde(default)]
    match_target: String,
    #[serde(default)]
    metric: String,
    limit: Option<String>,
}

async fn metadata(window: Data<Window>, question: Query<MetadataQuestion>) -> HttpResponse {
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
    let found = view::metadata(&window, &selector, &question.metric, limit);
    if found.is_empty() {
        let missing = "specified metadata not found";
        return HttpResponse::NotFound().json(view::Failure::new("not_found", missing));
    }
    success(found)
}

async fn scrape_pools(window: Data<Window>) -> HttpResponse {
    success(view::scrape_pools(&window.sources.targets.borrow()))
}

async fn status_config(window: Data<Window>) -> HttpResponse {
    let state = window.sources.config.borrow().clone();
    success(view::StatusConfig { yaml: config::show::show(&state.config) })
}

async fn status_flags(window: Data<Window>) -> HttpResponse {
    success(&window.sources.flags)
}

async fn status_runtime(window: Data<Window>) -> HttpResponse {
    success(view::runtime(&window, clock::now_ms()))
}

async fn status_build() -> HttpResponse {
    success(view::build())
}

async fn queues(window: Data<Window>) -> HttpResponse {
    HttpResponse::Ok().json(view::queues(&window.sources.outbox.queues()))
}

async fn fleet(window: Data<Window>) -> HttpResponse {
    HttpResponse::Ok().json(view::fleet(&window, clock::now_ms()))
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    const PROMETHEUS_ONLY: [&str; 8] =
        ["query", "query_range", "series", "labels", "label", "rules", "alerts", "query_exemplars"];

    let path = request.path();
    let first = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
    let hint = if first.is_some_and(|first| PROMETHEUS_ONLY.contains(&first)) {
        "Starling keeps no samples to query; ask where `remote_write` sends them"
    } else {
        "there are `/`, `/metrics`, `/-/healthy`, `/-/ready`, `/-/reload`, `/api/v1/targets`, \
         `/api/v1/queues`, `/api/v1/fleet`, `/api/v1/status/config`"
    };
    problem(404, &format!("nothing is at `{path}`; {hint}"))
}

/// An error of one of Starling's own paths (RFC 9457).
pub(super) fn problem(status: u16, detail: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).expect("callers name statuses that exist");
    let body = serde_json::to_string(&view::Problem::new(status, detail));
    HttpResponse::build(status)
        .content_type("application/problem+json")
        .body(body.expect("a number and two texts are JSON"))
}

/// For a person with curl, as Prometheus' management paths answer.
fn said(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(format!("{}\n", text.trim_end()))
}

fn success(data: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(view::Success { status: "success", data })
}

fn refused(fault: &str) -> HttpResponse {
    HttpResponse::BadRequest().json(view::Failure::new("bad_data", fault))
}

fn look<F, Args>(path: &str, handler: F) -> Resource
where
    F: actix_web::Handler<Args, Output = HttpResponse> + Clone,
    Args: actix_web::FromRequest + 'static,
{
    web::resource(path)
        .app_data(question_fault())
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .default_service(web::to(wrong_method))
}

fn order<F, Args>(path: &str, handler: F) -> Resource
where
    F: actix_web::Handler<Args, Output = HttpResponse> + Clone,
    Args: actix_web::FromRequest + 'static,
{
    web::resource(path)
        .route(web::post().to(handler.clone()))
        .route(web::put().to(handler))
        .default_service(web::to(wrong_method))
}

async fn wrong_method(request: HttpRequest) -> HttpResponse {
    let is_order = matches!(request.path(), "/-/reload" | "/-/quit");
    let allowed = if is_order { "POST, PUT" } else { "GET, HEAD" };
    let mut answer =
        problem(405, &format!("`{}` takes {allowed}, not {}", request.path(), request.method()));
    answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allowed));
    answer
}

/// A question whose parameters can't be read is answered as Prometheus does.
fn question_fault() -> QueryConfig {
    QueryConfig::default().error_handler(|fault, _| {
        let answer = refused(&fault.to_string());
        InternalError::from_response(fault, answer).into()
    })
}
