//! One target: why it is what it is, and what became of it.

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
            question::{Asked, Parameters, Question},
        },
        view,
    },
    config::Job,
    discovery::Snapshot,
    model::{labels::Labels, target::TargetId},
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
        Err(answer) => return answer,
    };
    let answer = web::block(move || {
        let found = window.sources.targets.borrow().clone();
        let (job, discovered) = find(&found, id, question.job.as_deref())?;
        let fleet = &window.sources.fleet;
        let (roster, owners) = (fleet.roster.borrow().clone(), fleet.ownership.borrow().clone());
        let division = view::Division {
            roster: &roster,
            overrides: &owners.placed,
            now_ms: fleet.time.now_ms(),
        };
        Ok(view::explanation(id, job, discovered, &division, None))
    });
    match answer.await {
        Ok(Ok(explanation)) => HttpResponse::Ok().json(explanation),
        Ok(Err(NotOne { status, detail })) => problem(status, &detail),
        Err(_) => problem(500, "the target could not be explained"),
    }
}

/// An id as it is written: 16 hexadecimal digits.
fn target_id(text: &str) -> Result<TargetId, HttpResponse> {
    let is_id = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    match u64::from_str_radix(text, 16) {
        Ok(id) if is_id => Ok(TargetId(id)),
        Ok(_) | Err(_) => {
            let detail =
                format!("`id`: expected 16 hexadecimal digits in lower case, found `{text}`");
            Err(problem(400, &detail))
        }
    }
}

/// No target, or more than one.
struct NotOne {
    status: u16,
    detail: String,
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
