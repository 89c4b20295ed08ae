//! What this member answers to each question, from what its parts publish.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use serde::Serialize;
use tokio::task::spawn_blocking;
use xxhash_rust::xxh3::Xxh3;

use crate::{
    config,
    discovery::{Snapshot, digest::jobs_digests},
    fleet::drift,
    history::{EventFilter, EventPage, Kind, Unanswered},
    model::{
        member::Roster,
        target::{Target, TargetName},
    },
    ownership::{key::keyed, placement},
    runtime::clock,
    scrape::{Health, Scraped},
    survey::{
        Sources,
        message::{
            Answer, ConfigTold, Description, HealthEvent, LoadsTold, Question, QueuesTold,
            TargetsTold, Told, VerifyTold, decode, encode,
        },
    },
};

/// Of one answer; whoever wants more asks for another stretch of time.
pub(super) const HEALTH_EVENTS_MAX: usize = 1_000;
/// Of one page.
const HISTORY_ROWS_MAX: usize = 10_000;
/// Of an error that is told to others; the rest is cut off.
const ERROR_CHARS_MAX: usize = 1_024;

/// The bytes of an `Answer`.
pub(super) async fn answer(sources: &Sources, question: &[u8]) -> Vec<u8> {
    let Some(question) = decode(question) else { return encode(&Answer::<()>::Unknown) };
    match question {
        Question::Targets => beside(sources, targets).await,
        Question::Describe(names) => beside(sources, move |of| describe(of, &names)).await,
        Question::Verify { at_ms } => beside(sources, move |of| verify(of, at_ms)).await,
        Question::Found => beside(sources, |of| found_names(&of.found.borrow())).await,
        Question::Queues => given(&queues(sources)),
        Question::Config => given(&config_told(sources)),
        Question::Loads => given(&loads(sources)),
        Question::HealthHistory { target, job, from_ms, until_ms, limit } => {
            let kind = Some(Kind::Health);
            let filter =
                EventFilter { target: Some(target), job, kind, from_ms, until_ms, node: None };
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(HEALTH_EVENTS_MAX);
            let page = sources.history.events(filter, None, limit).await;
            given_or_not(page.map(|EventPage { items, next: _ }| {
                items.into_iter().map(HealthEvent::of).collect::<Vec<HealthEvent>>()
            }))
        }
        Question::History { from_ms, until_ms, after, limit } => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(HISTORY_ROWS_MAX);
            given_or_not(sources.history.since(from_ms, until_ms, after, limit).await)
        }
    }
}

pub(super) fn busy() -> Vec<u8> {
    encode(&Answer::<()>::Busy)
}

/// Ten thousand targets take their time, and others wait for this thread.
async fn beside<T: Serialize + Send + 'static>(
    sources: &Sources,
    tell: impl FnOnce(&Sources) -> T + Send + 'static,
) -> Vec<u8> {
    let sources = sources.clone();
    let answer = spawn_blocking(move || given(&tell(&sources))).await;
    answer.unwrap_or_else(|_| encode(&Answer::<()>::Failed("failed to answer".to_owned())))
}

fn given(told: &impl Serialize) -> Vec<u8> {
    encode(&Answer::Given(told))
}

fn given_or_not<T: Serialize>(told: Result<T, Unanswered>) -> Vec<u8> {
    match told {
        Ok(told) => given(&told),
        Err(reason) => encode(&Answer::<()>::Failed(reason.to_string())),
    }
}

fn targets(sources: &Sources) -> TargetsTold {
    let at_ms = clock::now_ms();
    let mut jobs: Vec<Arc<str>> = Vec::new();
    let mut places: HashMap<Arc<str>, u32> = HashMap::new();
    let mut place = |job: &Arc<str>| {
        *places.entry(Arc::clone(job)).or_insert_with(|| {
            jobs.push(Arc::clone(job));
            u32::try_from(jobs.len() - 1).expect("a file has far fewer jobs")
        })
    };
    let scraped = sources.scrape.scraped();
    let targets = scraped.iter().map(|one| told(one, place(&one.status.target.job), at_ms));
    let targets = targets.collect();
    TargetsTold { at_ms, jobs, targets }
}

fn told(scraped: &Scraped, job: u32, at_ms: i64) -> Told {
    let Scraped { status, durations, .. } = scraped;
    let is_divided = scraped.is_divided();
    let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let tenths = |duration: &Duration| u32::try_from(duration.as_micros() / 100);
    let was_scraped = status.health != Health::Unknown;
    Told {
        id: status.target.id,
        job,
        is_divided,
        health: status.health.into(),
        scraped_before_ms: was_scraped
            .then(|| at_ms.saturating_sub(status.last_scrape_ms).max(0).unsigned_abs()),
        last_error: status.last_error.as_deref().map(cut),
        duration_us: micros(status.duration),
        samples: status.samples as u64,
        durations: durations.iter().map(|one| tenths(one).unwrap_or(u32::MAX)).collect(),
        description: (!is_divided).then(|| Box::new(Description::of(&status.target))),
    }
}

fn cut(error: &str) -> String {
    error.chars().take(ERROR_CHARS_MAX).collect()
}

fn describe(sources: &Sources, names: &[TargetName]) -> Vec<Description> {
    let found = found_targets(&sources.found.borrow());
    let scraped = sources.scrape.targets().into_iter().map(|status| status.target);
    let known: HashMap<TargetName, Arc<Target>> =
        found.into_iter().chain(scraped).map(|target| (name_of(&target), target)).collect();
    names.iter().filter_map(|name| known.get(name)).map(|target| Description::of(target)).collect()
}

fn verify(sources: &Sources, at_ms: i64) -> VerifyTold {
    let scraped = sources.scrape.scraped();
    let scraped = scraped.iter().filter(|one| one.is_divided() && one.is_scraped_at(at_ms));
    let found = sources.found.borrow().clone();
    let digests: BTreeMap<Arc<str>, u64> = jobs_digests(&found).into_iter().collect();
    VerifyTold {
        scrapes: scraped.map(|one| name_of(&one.status.target)).collect(),
        found_digest: digest(&found_names(&found)),
        config_digest: config::digest(&sources.config.borrow().config),
        targets_digest: drift::digest(&digests),
        roster: taking_part(&sources.roster.borrow(), at_ms),
        overrides: sources.ownership.borrow().placed.at(at_ms).map(|map| map.stamp),
    }
}

pub(super) fn taking_part(roster: &Roster, at_ms: i64) -> Vec<(crate::model::member::NodeId, u32)> {
    placement::candidates(roster, at_ms).map(|member| (member.id, member.weight)).collect()
}

fn queues(sources: &Sources) -> QueuesTold {
    sources.outbox.queues().iter().map(|view| (**view).clone()).collect()
}

fn config_told(sources: &Sources) -> ConfigTold {
    let state = Arc::clone(&sources.config.borrow());
    ConfigTold {
        digest: config::digest(&state.config),
        yaml: config::show::show(&state.config),
        loaded_ms: state.loaded_ms,
        refused: state.refused.clone(),
    }
}

fn loads(sources: &Sources) -> LoadsTold {
    let loads = Arc::clone(&sources.scrape.loads().borrow());
    let of = |slot| (crate::model::slot::Slot::number(slot), loads.of(slot));
    placement::slots().map(of).filter(|(_, load)| *load > 0.0).collect()
}

pub(super) fn name_of(target: &Target) -> TargetName {
    (target.id, Arc::clone(&target.job))
}

/// The targets that are divided, with the keys that they are divided by.
pub(super) fn found_targets(found: &Snapshot) -> Vec<Arc<Target>> {
    let divided = found.jobs.iter().filter(|targets| targets.job.clustering.enabled);
    let keyed = divided.flat_map(|targets| {
        targets.active.iter().map(|target| keyed(target, &targets.job.clustering))
    });
    keyed.collect()
}

pub(super) fn found_names(found: &Snapshot) -> Vec<TargetName> {
    let divided = found.jobs.iter().filter(|targets| targets.job.clustering.enabled);
    divided.flat_map(|targets| targets.active.iter().map(|target| name_of(target))).collect()
}

/// Of names in any order.
pub(super) fn digest(names: &[TargetName]) -> u64 {
    let of = |(id, job): &TargetName| {
        let mut hasher = Xxh3::new();
        hasher.update(&id.0.to_le_bytes());
        hasher.update(job.as_bytes());
        hasher.digest()
    };
    names.iter().fold(0, |sum, name| sum.wrapping_add(of(name)))
}
