//! The fleet, as this member knows it and as its members say when asked.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data, Json},
};

use crate::{
    admin::{
        Window,
        api::{
            answer::{Written, problem},
            question::{Asked, Nothing},
        },
        view,
    },
    ownership::plan::{self, Division},
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

/// Asks all members whether every divided target has exactly one owner, and whether they agree on what
/// there is and who has it.
#[utoipa::path(
    get, path = "/api/v1/fleet/verify", tag = "fleet",
    responses((status = 200, body = view::VerifiedShown, description = "what they say; `ok` sums it up"))
)]
pub(super) async fn verify(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    let verified = window.sources.survey.verify().await;
    let roster = window.sources.fleet.roster.borrow().clone();
    HttpResponse::Ok().json(view::verified(&verified, &roster))
}

/// What would move if members joined, left, or had other weights. Nothing does.
#[utoipa::path(
    post, path = "/api/v1/fleet/plan", tag = "fleet", request_body = view::Plan,
    responses((status = 200, body = view::PlanShown, description = "what it would come to"))
)]
pub(super) async fn plan(
    window: Data<Window>,
    _: Asked<Nothing>,
    question: Json<view::Plan>,
) -> HttpResponse {
    let survey = &window.sources.survey;
    let (fleet, loads) = (survey.targets().await, survey.loads().await);
    let change = question.into_inner().change();
    let planning = web::block(move || {
        let sources = &window.sources.fleet;
        let (roster, view) = (sources.roster.borrow().clone(), sources.ownership.borrow().clone());
        let divided = fleet.targets.iter().filter(|row| row.is_divided);
        let targets: Vec<_> = divided.map(|row| row.target.clone()).collect();
        let now = Division {
            roster: &roster,
            overrides: &view.placed,
            now_ms: sources.time.now_ms(),
            targets: &targets,
            loads: loads.is_complete.then_some(&loads.loads),
        };
        plan::plan(&now, &change).map(|plan| view::plan(&plan))
    });
    match planning.await {
        Ok(Ok(plan)) => HttpResponse::Ok().json(plan),
        Ok(Err(fault)) => problem(400, &fault),
        Err(_) => problem(500, "the plan could not be made"),
    }
}

/// What has not left the members yet, destination by destination.
#[utoipa::path(
    get, path = "/api/v1/fleet/queues", tag = "queues",
    responses((status = 200, body = view::FleetQueuesShown, description = "the queues of all members"))
)]
pub(super) async fn fleet_queues(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    let queues = window.sources.survey.queues().await;
    HttpResponse::Ok().json(view::fleet_queues(&queues))
}

/// What each member runs by, without secrets.
#[utoipa::path(
    get, path = "/api/v1/fleet/config", tag = "fleet",
    responses(
        (status = 200, body = view::FleetConfigsShown, description = "the configuration of all members"),
        (status = 304)
    )
)]
pub(super) async fn fleet_config(
    window: Data<Window>,
    request: HttpRequest,
    _: Asked<Nothing>,
) -> HttpResponse {
    let configs = window.sources.survey.configs().await;
    let mut shown = view::fleet_configs(&configs, window.sources.fleet.me);
    match Written::timeless(&mut shown, view::FleetConfigsShown::asked_mut) {
        Ok(written) => written.answer(&request),
        Err(_) => problem(500, "an answer could not be written"),
    }
}

/// What has not left this member yet, destination by destination.
#[utoipa::path(
    get, path = "/api/v1/queues", tag = "queues",
    responses((status = 200, body = view::Queues, description = "the queues of this member"))
)]
pub(super) async fn queues(window: Data<Window>, _: Asked<Nothing>) -> HttpResponse {
    HttpResponse::Ok().json(view::queues(&window.sources.outbox.queues()))
}
