//! The targets of the whole fleet, page by page.

use actix_web::{
    HttpRequest, HttpResponse,
    web::{self, Data},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    admin::{
        Window,
        api::{
            answer::{Written, problem},
            question::{Asked, Parameters, Question, node_id, sealed},
        },
        listing::{self, Filter, Order, Words},
        view,
    },
    discovery::Snapshot,
    model::{
        hidden,
        member::{NodeId, Roster},
        target::TargetId,
    },
    scrape::Health,
    survey::FleetTargets,
};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct TargetsQuestion {
    /// Of this job alone.
    job: Option<String>,
    /// That this member scrapes, named by its id or its name.
    owner: Option<String>,
    #[param(inline, value_type = Option<HealthName>)]
    health: Option<Health>,
    /// `dropped`: those that a rule dropped or that can't be scraped, as this member's discovery knows
    /// them. They have no owner and no health.
    #[param(inline, value_type = Option<State>)]
    state: State,
    /// Words that all must be found in its URL, job, labels, owner's name or error, in any case.
    q: Option<String>,
    /// What comes first: what is down, what was not scraped for longest, what is slowest; else in the
    /// order of the alphabet.
    #[param(inline, value_type = Option<OrderName>)]
    sort: Order,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

#[derive(Clone, Copy, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
enum State {
    Active,
    Dropped,
}

/// For the document, as is `OrderName`.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
enum HealthName {
    Up,
    Down,
    Unknown,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
#[expect(dead_code, reason = "only its schema is used")]
enum OrderName {
    Health,
    Job,
    Url,
    Owner,
    LastScrape,
    Duration,
}

#[derive(Serialize, Deserialize)]
enum Place {
    Active(listing::Place),
    Dropped { job: String, id: TargetId },
}

impl Question for TargetsQuestion {
    fn read(given: &mut Parameters) -> Self {
        let healths = [Health::Up, Health::Down, Health::Unknown].map(|one| (one.name(), one));
        let states = [("active", State::Active), ("dropped", State::Dropped)];
        let question = Self {
            job: given.text("job"),
            owner: given.text("owner"),
            health: given.word("health", &healths),
            state: given.word("state", &states).unwrap_or(State::Active),
            q: given.text("q"),
            sort: given.word("sort", &Order::WORDS).unwrap_or_default(),
            limit: given.limit(),
            cursor: given.cursor(),
        };
        let is_of_this = match (&question.cursor, question.state) {
            (None, _) | (Some(Place::Dropped { .. }), State::Dropped) => true,
            (Some(Place::Active(place)), State::Active) => place.is_of(question.sort),
            (Some(_), _) => false,
        };
        if !is_of_this {
            given.refuse("cursor", "expected the `next` of the same `state` and `sort`");
        }
        question
    }
}

/// Every target of the fleet: who scrapes it, how it fares, and when it last moved. The members are
/// asked, at most once in two seconds for all clients together; `asked` names those that did not
/// answer, whose targets are shown as this member's discovery and placement know them.
#[utoipa::path(
    get, path = "/api/v1/fleet/targets", tag = "fleet", params(TargetsQuestion),
    responses((status = 200, body = view::TargetList, description = "a page of targets"), (status = 304))
)]
pub(super) async fn fleet_targets(
    window: Data<Window>,
    request: HttpRequest,
    Asked(question): Asked<TargetsQuestion>,
) -> HttpResponse {
    let roster = window.sources.fleet.roster.borrow().clone();
    let owner = match question.owner.as_deref().map(|text| (text, node_id(text, &roster))) {
        None => None,
        Some((_, Ok(id))) => Some(id),
        Some((text, Err(expected))) => {
            return problem(400, &format!("`owner`: expected {expected}, found `{text}`"));
        }
    };
    let fleet = match question.state {
        State::Active => Some(window.sources.survey.targets().await),
        State::Dropped => None,
    };
    let writing = web::block(move || {
        let mut list = match fleet {
            Some(fleet) => active(question, owner, &fleet, &roster, &window),
            None => dropped(&question, owner, &window.sources.targets.borrow().clone()),
        };
        Written::timeless(&mut list, view::TargetList::asked_mut)
    });
    match writing.await {
        Ok(Ok(written)) => written.answer(&request),
        Ok(Err(_)) | Err(_) => problem(500, "the targets could not be listed"),
    }
}

fn active(
    question: TargetsQuestion,
    owner: Option<NodeId>,
    fleet: &FleetTargets,
    roster: &Roster,
    window: &Window,
) -> view::TargetList {
    let filter = Filter {
        job: question.job,
        owner,
        health: question.health,
        words: Words::of(question.q.as_deref().unwrap_or_default()),
    };
    let after = match question.cursor {
        Some(Place::Active(place)) => Some(place),
        Some(Place::Dropped { .. }) | None => None,
    };
    let (sort, limit) = (question.sort, question.limit);
    let name = |id| view::name_of(id, roster);
    let mut listed = listing::list(&fleet.targets, &filter, sort, after.as_ref(), limit, name);
    let next = listed.next.take().map(|place| sealed(&Place::Active(place)));
    let moves = window.sources.history.last_moves().borrow().clone();
    view::target_list(&listed, fleet, next, &view::Telling { roster, moves: &moves })
}

/// In the order of jobs and ids.
fn dropped(
    question: &TargetsQuestion,
    owner: Option<NodeId>,
    found: &Snapshot,
) -> view::TargetList {
    let words = Words::of(question.q.as_deref().unwrap_or_default());
    let mut jobs: Vec<String> = found.jobs.iter().map(|one| one.job.job_name.to_string()).collect();
    jobs.sort_unstable();
    let mut matching = Vec::new();
    // Nobody has them, and nothing is known of their health.
    let may_match = owner.is_none() && question.health.is_none();
    for one in found.jobs.iter().filter(|_| may_match) {
        let job = &*one.job.job_name;
        if question.job.as_deref().is_some_and(|wanted| wanted != job) {
            continue;
        }
        for target in one.dropped.iter() {
            let text = || {
                let error = target.error.as_deref().unwrap_or_default();
                let mut text = format!("{job}\n{error}");
                // Who searches must not find out by it what nobody is shown.
                for (name, value) in hidden::labels(&target.discovered).iter() {
                    text.extend(["\n", name, "=", value]);
                }
                text
            };
            if words.are_in(text) {
                matching.push((target.id(job), job, target));
            }
        }
    }
    matching.sort_unstable_by(|one, other| (one.1, one.0).cmp(&(other.1, other.0)));
    // What is discovered twice is dropped twice, and shown once.
    matching.dedup_by(|one, other| (one.0, one.1) == (other.0, other.1));
    let begin = match &question.cursor {
        Some(Place::Dropped { job, id }) => {
            matching.partition_point(|one| (one.1, one.0) <= (job.as_str(), *id))
        }
        Some(Place::Active(_)) | None => 0,
    };
    let rest = &matching[begin..];
    let page = &rest[..rest.len().min(question.limit)];
    let last = page.last().filter(|_| rest.len() > page.len());
    let next = last.map(|(id, job, _)| sealed(&Place::Dropped { job: (*job).to_owned(), id: *id }));
    view::dropped_list(page, matching.len(), jobs, next)
}
