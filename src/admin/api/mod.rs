//! The endpoints: one table says which there are, and from it come both the routes and the document
//! that describes them. Prometheus' paths answer as Prometheus does, also in their errors; Starling's
//! own answer plain JSON, and problems as `application/problem+json`.

mod answer;
mod discovery;
pub(super) mod events;
mod fleet;
mod fleet_targets;
mod history;
mod life;
mod openapi;
mod orders;
mod prometheus;
mod question;
mod targets;

use std::collections::BTreeSet;

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource,
    error::{InternalError, JsonPayloadError},
    http::{
        Method,
        header::{self, HeaderValue},
    },
    web::{self, JsonConfig, QueryConfig, ServiceConfig},
};
use utoipa::openapi::{HttpMethod, OpenApi};

pub(super) use self::answer::problem;
#[cfg(test)]
pub(super) use self::question::node_id;
use crate::admin::{api::answer::refused, web as page};

/// Of any order or question; larger ones are refused.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Path and methods stand at each handler, in its `utoipa::path`, and nowhere else. That makes a type
/// beside the handler, whose name no macro can put together here.
macro_rules! endpoints {
    ($($room:ident::{$handler:ident, $described:ident},)+) => {
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($room::$handler),+))]
        struct Gathered;

        fn route_all(app: &mut ServiceConfig) {
            $(app.service(resource(&Endpoint::of::<$room::$described>(), &$room::$handler));)+
        }

        /// In the order of the table.
        fn paths() -> Vec<String> {
            vec![$(<$room::$described as utoipa::Path>::path()),+]
        }
    };
}

endpoints! {
    life::{healthy, __path_healthy},
    life::{ready, __path_ready},
    life::{reload, __path_reload},
    life::{quit, __path_quit},
    prometheus::{metrics, __path_metrics},
    prometheus::{targets, __path_targets},
    prometheus::{metadata, __path_metadata},
    prometheus::{scrape_pools, __path_scrape_pools},
    prometheus::{status_config, __path_status_config},
    prometheus::{status_flags, __path_status_flags},
    prometheus::{status_runtime, __path_status_runtime},
    prometheus::{status_build, __path_status_build},
    fleet::{fleet, __path_fleet},
    fleet_targets::{fleet_targets, __path_fleet_targets},
    fleet::{verify, __path_verify},
    fleet::{plan, __path_plan},
    fleet::{fleet_queues, __path_fleet_queues},
    fleet::{fleet_config, __path_fleet_config},
    fleet::{queues, __path_queues},
    discovery::{discovery, __path_discovery},
    targets::{explain, __path_explain},
    targets::{past, __path_past},
    history::{history, __path_history},
    events::{events, __path_events},
    orders::{drain, __path_drain},
    orders::{undrain, __path_undrain},
    openapi::{openapi, __path_openapi},
}

/// Of all endpoints; the page's files are none. It is megabytes, and asked for by few: it is made for
/// each who asks.
fn document() -> OpenApi {
    openapi::finished(<Gathered as utoipa::OpenApi>::openapi())
}

pub(super) fn routes(app: &mut ServiceConfig) {
    route_all(app);
    for path in page::paths() {
        let file = Endpoint { path: path.to_owned(), methods: vec![Method::GET, Method::HEAD] };
        app.service(resource(&file, &page::file));
    }
    app.default_service(web::to(unknown));
}

/// Where a handler answers, and to which methods.
struct Endpoint {
    path: String,
    methods: Vec<Method>,
}

impl Endpoint {
    fn of<Described: utoipa::Path>() -> Self {
        let methods = Described::methods().into_iter().flat_map(|method| match method {
            HttpMethod::Get => [Some(Method::GET), Some(Method::HEAD)],
            HttpMethod::Post => [Some(Method::POST), None],
            HttpMethod::Put => [Some(Method::PUT), None],
            _ => unreachable!("no endpoint takes another method"),
        });
        Self { path: Described::path(), methods: methods.flatten().collect() }
    }

    fn allowed(&self) -> String {
        let names: Vec<&str> = self.methods.iter().map(Method::as_str).collect();
        names.join(", ")
    }
}

fn resource<F, Args>(endpoint: &Endpoint, handler: &F) -> Resource
where
    F: Handler<Args, Output = HttpResponse> + Clone,
    Args: FromRequest + 'static,
{
    let mut resource =
        web::resource(&endpoint.path).app_data(question_fault()).app_data(body_fault());
    for method in &endpoint.methods {
        resource = resource.route(web::method(method.clone()).to(handler.clone()));
    }
    let allowed = endpoint.allowed();
    resource.default_service(web::to(move |request: HttpRequest| {
        let answer = wrong_method(&request, &allowed);
        async move { answer }
    }))
}

fn wrong_method(request: &HttpRequest, allowed: &str) -> HttpResponse {
    let (path, method) = (request.path(), request.method());
    let mut answer = problem(405, &format!("`{path}` takes {allowed}, not {method}"));
    let allowed = HeaderValue::from_str(allowed).expect("methods are plain words");
    answer.headers_mut().insert(header::ALLOW, allowed);
    answer
}

/// A question to a path of Prometheus that can't be read is refused as Prometheus does.
fn question_fault() -> QueryConfig {
    QueryConfig::default().error_handler(|fault, _| {
        let answer = refused(&fault.to_string());
        InternalError::from_response(fault, answer).into()
    })
}

/// A body that can't be read.
fn body_fault() -> JsonConfig {
    JsonConfig::default().limit(BODY_BYTES_MAX).error_handler(|fault, _| {
        let (status, detail) = match &fault {
            JsonPayloadError::ContentType => {
                (415, "expected a body of `Content-Type: application/json`".to_owned())
            }
            JsonPayloadError::Overflow { .. } | JsonPayloadError::OverflowKnownLength { .. } => {
                (413, format!("expected a body of at most {BODY_BYTES_MAX} bytes"))
            }
            fault => (400, format!("the body can't be read: {fault}")),
        };
        InternalError::from_response(fault, problem(status, &detail)).into()
    })
}

async fn unknown(request: HttpRequest) -> HttpResponse {
    const PROMETHEUS_ONLY: [&str; 8] =
        ["query", "query_range", "series", "labels", "label", "rules", "alerts", "query_exemplars"];

    let path = request.path();
    let first = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
    let hint = if first.is_some_and(|first| PROMETHEUS_ONLY.contains(&first)) {
        "Starling keeps no samples to query; ask where `remote_write` sends them".to_owned()
    } else {
        let paths: BTreeSet<String> = paths().iter().map(|path| format!("`{path}`")).collect();
        let paths: Vec<String> = paths.into_iter().collect();
        format!("there are `/`, {}", paths.join(", "))
    };
    problem(404, &format!("nothing is at `{path}`; {hint}"))
}
