//! One target: why it is what it is, and what became of it.

use std::{cmp::Reverse, sync::Arc};

use actix_web::{
    HttpResponse,
    web::{self, Data, Path},
};
use utoipa::IntoParams;

use crate::{
    admin::{
        Window,
        api::{
            answer::problem,
            history::unanswered,
            question::{Asked, Parameters, Question, target_id},
        },
        view,
    },
    config::Job,
    discovery::Snapshot,
    history::{EventFilter, Kind},
    model::{labels::Labels, member::NodeId, target::TargetId},
    survey::{FleetTarget, FleetTargets, HealthPast},
};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct OfJob {
    /// Where two jobs have a target of this id: which of them is meant.
    job: Option<String>,
}

impl Question for OfJob {
    fn read(given: &mut Parameters) -> Self {
        Self { job: given.text("job") }
    }
}

/// Why a target is what it is: what was discovered, each relabel step with the labels before and
/// after it, who scrapes it by which rule, and when. Also of targets that were dropped, or can't be
/// scraped.
#[utoipa::path(
    get, path = "/api/v1/targets/{id}/explain", tag = "targets",
    params(("id" = String, Path, description = "as lists of targets have it", pattern = "^[0-9a-f]{16}$"), OfJob),
    responses(
        (status = 200, body = view::Explanation, description = "the explanation"),
        (status = 404, body = view::Problem<'_>, content_type = "application/problem+json", description = "no target of this id is discovered here"),
        (status = 409, body = view::Problem<'_>, content_type = "application/problem+json", description = "several jobs have it, and `job` says none of them")
    )
)]
pub(super) async fn explain(
    window: Data<Window>,
    id: Path<String>,
    Asked(question): Asked<OfJob>,
) -> HttpResponse {
    let id = match target_id(&id) {
        Ok(id) => id,
        Err(expected) => return problem(400, &format!("`id`: expected {expected}, found `{id}`")),
    };
    let known = window.sources.survey.targets().await;
    let answer = web::block(move || {
        let found = window.sources.targets.borrow().clone();
        let (job, discovered) = find(&found, id, question.job.as_deref())
            .map_err(|fault| fault.with_scrapers(id, &known, &window))?;
        let fleet = &window.sources.fleet;
        let (roster, owners) = (fleet.roster.borrow().clone(), fleet.ownership.borrow().clone());
        let division = view::Division {
            roster: &roster,
            overrides: &owners.placed,
            now_ms: fleet.time.now_ms(),
        };
        let moves = window.sources.history.last_moves().borrow().clone();
        let telling = view::Telling { roster: &roster, moves: &moves };
        let status = status(id, &job.job_name, &known, fleet.me);
        let status = status.map(|row| view::target_row(row, &telling));
        Ok(view::explanation(id, job, discovered, &division, status))
    });
    match answer.await {
        Ok(Ok(explanation)) => HttpResponse::Ok().json(explanation),
        Ok(Err(NotOne { status, detail })) => problem(status, &detail),
        Err(_) => problem(500, "the target could not be explained"),
    }
}

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct PastQuestion {
    /// Where two jobs have a target of this id: which of them is meant.
    job: Option<String>,
    /// From this time on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<i64>,
    /// Until before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<i64>,
    /// So many changes at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
}

impl Question for PastQuestion {
    fn read(given: &mut Parameters) -> Self {
        Self {
            job: given.text("job"),
            from: given.instant_ms("from"),
            to: given.instant_ms("to"),
            limit: given.limit(),
        }
    }
}

/// What became of a target: who had it when and why it moved, when it was up and down, and when nobody
/// was looking.
#[utoipa::path(
    get, path = "/api/v1/targets/{id}/history", tag = "targets",
    params(("id" = String, Path, description = "as lists of targets have it", pattern = "^[0-9a-f]{16}$"), PastQuestion),
    responses(
        (status = 200, body = view::TargetHistory, description = "its past"),
        (status = 404, body = view::Problem<'_>, content_type = "application/problem+json", description = "history knows no target of this id, or none is kept"),
        (status = 409, body = view::Problem<'_>, content_type = "application/problem+json", description = "several jobs have it, and `job` says none of them")
    )
)]
pub(super) async fn past(
    window: Data<Window>,
    id: Path<String>,
    Asked(question): Asked<PastQuestion>,
) -> HttpResponse {
    let id = match target_id(&id) {
        Ok(id) => id,
        Err(expected) => return problem(400, &format!("`id`: expected {expected}, found `{id}`")),
    };
    match past_of(&window, id, question).await {
        Ok(past) => HttpResponse::Ok().json(past),
        Err(answer) => answer,
    }
}

async fn past_of(
    window: &Window,
    id: TargetId,
    question: PastQuestion,
) -> Result<view::TargetHistory, HttpResponse> {
    let history = &window.sources.history;
    let refused = |reason| unanswered(&reason);
    let (from_ms, until_ms) = (question.from, question.to);
    let job = job_of(window, id, question.job).await?;
    let name = (id, Arc::clone(&job));
    let past = history.target(name, from_ms, until_ms).await.map_err(refused)?;
    let past = past.ok_or_else(|| unknown(id))?;
    // Members know alike who had it; how it fared knows each that scraped it.
    let asking = HealthPast {
        target: id,
        job: Some(Arc::clone(&job)),
        from_ms,
        until_ms,
        limit: question.limit,
    };
    let health = window.sources.survey.health_history(asking).await;
    let mut changes = health.events;
    for kind in [Kind::Moves, Kind::Target] {
        let filter = EventFilter {
            target: Some(id),
            job: Some(Arc::clone(&job)),
            kind: Some(kind),
            from_ms,
            until_ms,
            ..EventFilter::default()
        };
        changes.extend(history.events(filter, None, question.limit).await.map_err(refused)?.items);
    }
    changes.sort_by_key(|event| Reverse(event.at_ms));
    changes.truncate(question.limit);
    let began_ms = past.spans.first().map_or(window.sources.started_ms, |span| span.from_ms);
    let until_ms = until_ms.unwrap_or_else(|| window.sources.fleet.time.now_ms());
    let from_ms = from_ms.unwrap_or(began_ms).min(until_ms);
    let unwatched = history.unwatched(from_ms, until_ms).await.map_err(refused)?;
    Ok(view::target_history(&past, &changes, &unwatched, &health.asked))
}

/// Which job's target is meant: that of the question, or the only one that discovery or history knows.
async fn job_of(
    window: &Window,
    id: TargetId,
    job: Option<String>,
) -> Result<Arc<str>, HttpResponse> {
    if let Some(job) = job {
        return Ok(job.into());
    }
    let found = window.sources.targets.borrow().clone();
    match find(&found, id, None) {
        Ok((job, _)) => return Ok(Arc::clone(&job.job_name)),
        Err(NotOne { status: 409, detail }) => return Err(problem(409, &detail)),
        Err(_) => {}
    }
    let filter = EventFilter { target: Some(id), ..EventFilter::default() };
    let last = window.sources.history.events(filter, None, 1).await;
    let last = last.map_err(|reason| unanswered(&reason))?.items.into_iter().next();
    last.and_then(|event| event.target).map(|target| target.job).ok_or_else(|| unknown(id))
}

fn unknown(id: TargetId) -> HttpResponse {
    problem(
        404,
        &format!("history knows no target of id `{id}`; of one that a rule drops nothing is kept"),
    )
}

/// No target, or more than one.
struct NotOne {
    status: u16,
    detail: String,
}

impl NotOne {
    /// A target that others discover is explained by those.
    fn with_scrapers(self, id: TargetId, known: &FleetTargets, window: &Window) -> Self {
        let of_id = known.targets.iter().filter(|row| row.target.id == id);
        let roster = window.sources.fleet.roster.borrow();
        let mut names: Vec<String> =
            of_id.filter_map(|row| row.owner).map(|id| view::name_of(id, &roster)).collect();
        names.dedup();
        if self.status != 404 || names.is_empty() {
            return self;
        }
        let detail = format!("{}; ask {}, where it is scraped", self.detail, names.join(" or "));
        Self { detail, ..self }
    }
}

/// How it fares: of a target that each member scrapes for itself, here where it is scraped here.
fn status<'f>(
    id: TargetId,
    job: &str,
    known: &'f FleetTargets,
    me: NodeId,
) -> Option<&'f FleetTarget> {
    let of_name =
        || known.targets.iter().filter(|row| row.target.id == id && *row.target.job == *job);
    of_name().find(|row| row.owner == Some(me)).or_else(|| of_name().next())
}

/// The job, and what was discovered.
fn find<'s>(
    found: &'s Snapshot,
    id: TargetId,
    job: Option<&str>,
) -> Result<(&'s Job, &'s Labels), NotOne> {
    let jobs = found.jobs.iter().filter(|one| job.is_none_or(|name| *one.job.job_name == *name));
    let all = jobs.flat_map(|one| {
        let name = &*one.job.job_name;
        let active = one.active.iter().filter(move |target| target.id == id);
        let dropped = one.dropped.iter().filter(move |target| target.id(name) == id);
        active
            .map(|target| &target.discovered)
            .chain(dropped.map(|target| &target.discovered))
            .map(move |discovered| (&*one.job, discovered))
    });
    let all: Vec<_> = all.collect();
    match all[..] {
        [] => Err(NotOne {
            status: 404,
            detail: format!("no target of id `{id}` is discovered here, kept or dropped"),
        }),
        [first] => Ok(first),
        [first, ..] => {
            let mut names: Vec<&str> = all.iter().map(|(job, _)| &*job.job_name).collect();
            names.dedup();
            if names.len() == 1 {
                return Ok(first);
            }
            let detail =
                format!("`{id}` is of several jobs, say which by `job`: {}", names.join(", "));
            Err(NotOne { status: 409, detail })
        }
    }
}
