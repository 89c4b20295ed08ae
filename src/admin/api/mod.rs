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

use actix_web::{
    FromRequest, Handler, HttpRequest, HttpResponse, Resource,
    error::{InternalError, JsonPayloadError},
    http::{
        Method,
        header::{self, HeaderValue},
    },
    web::{self, Data, JsonConfig, QueryConfig, ServiceConfig},
};
use utoipa::openapi::{OpenApi, path::Operation};

pub(super) use self::answer::problem;
#[cfg(test)]
pub(super) use self::question::node_id;
use crate::admin::{Window, api::answer::refused, web as page};

/// Of any order or question; larger ones are refused.
const BODY_BYTES_MAX: usize = 64 << 10;

/// Path and methods stand at each handler, in its `utoipa::path`, and nowhere else.
macro_rules! endpoints {
    ($($room:ident::$handler:ident,)+) => {
        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($room::$handler),+))]
        struct Gathered;

        fn route_all(app: &mut ServiceConfig, document: &OpenApi) {
            $(app.service(resource(&Endpoint::find(document, stringify!($handler)), &$room::$handler));)+
        }
    };
}

endpoints! {
    life::healthy,
    life::ready,
    life::reload,
    life::quit,
    prometheus::metrics,
    prometheus::targets,
    prometheus::metadata,
    prometheus::scrape_pools,
    prometheus::status_config,
    prometheus::status_flags,
    prometheus::status_runtime,
    prometheus::status_build,
    fleet::fleet,
    fleet_targets::fleet_targets,
    fleet::verify,
    fleet::plan,
    fleet::fleet_queues,
    fleet::fleet_config,
    fleet::queues,
    discovery::discovery,
    targets::explain,
    targets::past,
    history::history,
    events::events,
    orders::drain,
    orders::undrain,
    openapi::openapi,
}

/// Of all endpoints; the page's files are none.
#[derive(Clone)]
pub(super) struct Document(OpenApi);

impl Document {
    pub(super) fn new() -> Self {
        Self(openapi::finished(<Gathered as utoipa::OpenApi>::openapi()))
    }
}

pub(super) fn routes(app: &mut ServiceConfig, document: &Document) {
    route_all(app, &document.0);
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
    fn find(document: &OpenApi, handler: &str) -> Self {
        let named = |one: &Operation| one.operation_id.as_deref() == Some(handler);
        let (path, item) = (document.paths.paths.iter())
            .find(|(_, item)| openapi::operations(item).any(|(_, one)| named(one)))
            .expect("the document has every handler of the table, under its name");
        let methods = openapi::operations(item).flat_map(|(method, _)| match method {
            "get" => [Some(Method::GET), Some(Method::HEAD)],
            "post" => [Some(Method::POST), None],
            "put" => [Some(Method::PUT), None],
            other => unreachable!("no endpoint is described for `{other}`"),
        });
        Self { path: path.clone(), methods: methods.flatten().collect() }
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

async fn unknown(window: Data<Window>, request: HttpRequest) -> HttpResponse {
    const PROMETHEUS_ONLY: [&str; 8] =
        ["query", "query_range", "series", "labels", "label", "rules", "alerts", "query_exemplars"];

    let path = request.path();
    let first = path.strip_prefix("/api/v1/").and_then(|rest| rest.split('/').next());
    let hint = if first.is_some_and(|first| PROMETHEUS_ONLY.contains(&first)) {
        "Starling keeps no samples to query; ask where `remote_write` sends them".to_owned()
    } else {
        let paths: Vec<String> =
            window.document.0.paths.paths.keys().map(|path| format!("`{path}`")).collect();
        format!("there are `/`, {}", paths.join(", "))
    };
    problem(404, &format!("nothing is at `{path}`; {hint}"))
}
