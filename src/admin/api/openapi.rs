//! The document that describes all endpoints: what `utoipa` gathers from the handlers and the shapes,
//! and what holds for all of them alike, which is said here once.

use actix_web::{HttpRequest, HttpResponse};
use utoipa::{
    Number, PartialSchema,
    openapi::{
        ContentBuilder, Header, Info, License, ObjectBuilder, OpenApi, Ref, RefOr, Response,
        Schema,
        path::Operation,
        schema::Type,
        security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    admin::api::{
        answer::listed,
        question::{Asked, Nothing},
    },
    runtime::build,
};

const PROBLEM: &str = "application/problem+json";
/// What may be left out of an answer; all else that is not known is `null`.
const LEFT_OUT: [(&str, &str); 10] = [
    ("Dropped", "error"),
    ("Metadata", "metric"),
    ("RuntimeInfo", "reloadConfigError"),
    ("LaneShown", "reason"),
    ("Rule", "source_labels"),
    ("Rule", "separator"),
    ("Rule", "regex"),
    ("Rule", "modulus"),
    ("Rule", "target_label"),
    ("Rule", "replacement"),
];
/// Shapes that clients send: what they leave out has a default.
const SENT: [&str; 2] = ["Plan", "Joining"];

/// This description of all endpoints.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "life",
    responses((status = 200, body = Object, description = "an OpenAPI 3.1 document"), (status = 304))
)]
pub(super) async fn openapi(request: HttpRequest, _: Asked<Nothing>) -> HttpResponse {
    listed(&request, &super::document())
}

/// The document, with all that the handlers do not say themselves.
pub(super) fn finished(mut document: OpenApi) -> OpenApi {
    document.info = Info::new("Starling", build::VERSION);
    document.info.description = Some(
        "What one agent shows of itself and of its fleet. Times are RFC 3339 in UTC, ids hexadecimal \
         texts; what is not known is `null`. Prometheus' paths keep its shapes."
            .to_owned(),
    );
    document.info.license = Some(License::new("Apache-2.0"));
    document.servers = None;
    let components = document.components.get_or_insert_default();
    for (name, schema) in &mut components.schemas {
        require_all(name, schema);
    }
    components.schemas.insert("Problem".to_owned(), crate::admin::view::Problem::schema());
    for (name, scheme) in [("basic", HttpAuthScheme::Basic), ("bearer", HttpAuthScheme::Bearer)] {
        components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
    }
    // An agent without credentials in its configuration asks for none.
    document.security = Some(vec![
        SecurityRequirement::default(),
        SecurityRequirement::new::<_, [&str; 0], &str>("basic", []),
        SecurityRequirement::new::<_, [&str; 0], &str>("bearer", []),
    ]);
    for item in document.paths.paths.values_mut() {
        let is_order = item.get.is_none();
        let allowed = match (&item.get, &item.put) {
            (Some(_), _) => "GET, HEAD",
            (None, Some(_)) => "POST, PUT",
            (None, None) => "POST",
        };
        for operation in [&mut item.get, &mut item.post, &mut item.put].into_iter().flatten() {
            answer_as_all(operation, is_order, allowed);
        }
        // Two methods of one handler; a document has each name once.
        if let (Some(_), Some(put)) = (&item.post, &mut item.put) {
            put.operation_id = put.operation_id.as_ref().map(|name| format!("{name}_by_put"));
        }
    }
    document
}

fn require_all(name: &str, schema: &mut RefOr<Schema>) {
    let RefOr::T(Schema::Object(object)) = schema else { return };
    if SENT.contains(&name) {
        return;
    }
    let is_left_out = |property: &String| LEFT_OUT.contains(&(name, property));
    object.required = object.properties.keys().filter(|one| !is_left_out(one)).cloned().collect();
}

/// What any endpoint may answer, whatever it is asked.
fn answer_as_all(operation: &mut Operation, is_order: bool, allowed: &str) {
    let mut statuses = vec![
        ("400", "the question can't be read; `detail` names each parameter that is at fault"),
        ("401", "credentials are configured, and the request has none that are right"),
        ("403", "not for this role, or for a page of another site"),
        ("405", "the path is not asked this way"),
        ("421", "the host that is asked for is not this one"),
        ("429", "too many requests; `Retry-After` says how many seconds to wait"),
        ("500", "a fault of Starling; its log has more"),
        ("503", "too busy, or stopping"),
    ];
    if is_order {
        statuses.push(("413", "the body is larger than any order"));
        statuses.push(("415", "a body that is not `application/json`"));
    }
    for answer in operation.responses.responses.values_mut() {
        if let RefOr::T(answer) = answer
            && answer.description.is_empty()
        {
            "what the client has is still so".clone_into(&mut answer.description);
        }
    }
    for (status, description) in statuses {
        let known = operation.responses.responses.entry(status.to_owned());
        let answer = known.or_insert_with(|| RefOr::T(Response::new(description)));
        let RefOr::T(answer) = answer else { continue };
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        answer.content.entry(PROBLEM.to_owned()).or_insert(RefOr::T(problem));
        let header = match status {
            "401" => Some(("WWW-Authenticate", text("Basic realm=\"starling\""))),
            "405" => Some(("Allow", text(allowed))),
            "429" => Some(("Retry-After", seconds())),
            _ => None,
        };
        if let Some((name, header)) = header {
            answer.headers.insert(name.to_owned(), RefOr::T(header));
        }
    }
}

fn text(example: &str) -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
    Header::new(RefOr::T(Schema::Object(schema.build())))
}

fn seconds() -> Header {
    let schema = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(Number::Int(0)));
    Header::new(RefOr::T(Schema::Object(schema.build())))
}
