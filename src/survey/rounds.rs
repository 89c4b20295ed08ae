//! One round of a question: every living member is asked at once, and what comes back by then is put
//! together.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use tokio::{task::spawn_blocking, time::Instant};

use crate::{
    history::Event,
    model::{
        member::{MemberState, NodeId},
        slot::Slot,
        target::{Target, TargetName},
    },
    outbox::QueueView,
    ownership::{
        balance::Loads,
        placement::Table,
        verify::{Disagreement, Judgement, Said, judge},
    },
    runtime::clock,
    survey::{
        HealthPast, PATIENCE, Sources,
        answering::{digest, found_names, found_targets, name_of},
        asking::{Asked, Asker},
        message::{
            ConfigTold, Description, HealthEvent, LoadsTold, Question, QueuesTold, TargetsTold,
            VerifyTold,
        },
        targets::{FleetTargets, Known, merge, unknown},
    },
};

/// So far ahead is the instant that members are asked about: the question is there by then, and what
/// is to change at that instant all have heard of for long.
const AHEAD_MS: i64 = 300;
/// Targets at fault that are named; more are counted.
pub const NAMED_MAX: usize = 100;

/// Whether all divided targets have exactly one owner each.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    pub is_ok: bool,
    /// The instant that was asked about, in milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// Divided targets, as all members together have found or scrape them.
    pub targets: usize,
    pub members: Vec<VerifiedMember>,
    /// That nobody scrapes; those are not among them that should be with a member that did not
    /// answer. At most `NAMED_MAX`, as are the doubled ones.
    pub unowned: Vec<TargetRef>,
    pub unowned_total: usize,
    pub doubled: Vec<(TargetRef, Vec<NodeId>)>,
    pub doubled_total: usize,
    pub disagreements: Vec<Disagreement>,
}

impl Verified {
    pub fn unanswered(&self) -> impl Iterator<Item = &Asked> {
        self.members.iter().map(|member| &member.asked).filter(|asked| !asked.answered)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct VerifiedMember {
    pub asked: Asked,
    /// How many divided targets it scrapes.
    pub scrapes: Option<usize>,
    pub config_digest: Option<u64>,
    pub targets_digest: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TargetRef {
    pub name: TargetName,
    /// `None` where who knows it did not answer.
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FleetQueues {
    pub asked: Vec<Asked>,
    pub members: Vec<MemberQueues>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberQueues {
    pub id: NodeId,
    pub name: String,
    /// `None` where it did not answer.
    pub destinations: Option<Vec<QueueView>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfigs {
    pub asked: Vec<Asked>,
    pub members: Vec<MemberConfig>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct MemberConfig {
    pub id: NodeId,
    pub name: String,
    /// `None` where it did not answer.
    pub config: Option<Config>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Of what shapes the division: members that differ in it disagree.
    pub digest: u64,
    /// As it runs, without secrets.
    pub yaml: String,
    /// In milliseconds since the Unix epoch.
    pub loaded_ms: i64,
    /// Why a later one was refused.
    pub refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FleetLoads {
    pub asked: Vec<Asked>,
    /// Of all that answered.
    pub loads: Loads,
    /// All answered, so that nothing is missing from `loads`.
    pub is_complete: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FleetHealth {
    pub asked: Vec<Asked>,
    /// The newest first.
    pub events: Vec<Event>,
}

/// Whom to ask, and by when they must have answered.
struct Round<'a> {
    fleet: &'a Asker,
    until: Instant,
    members: Vec<(NodeId, String)>,
}

impl<'a> Round<'a> {
    fn begin(fleet: &'a Asker) -> Self {
        let sources = fleet.sources();
        let roster = sources.roster.borrow();
        let living = roster.members.values().filter(|member| match member.state {
            MemberState::Alive | MemberState::Suspect => true,
            MemberState::Left | MemberState::Dead => false,
        });
        let mut members: BTreeMap<NodeId, String> =
            living.map(|member| (member.id, member.name.clone())).collect();
        // A newcomer answers for itself before the roster has it.
        members.entry(sources.me).or_insert_with(|| sources.name.clone());
        let members = members.into_iter().collect();
        Self { fleet, until: Instant::now() + PATIENCE, members }
    }

    /// What all members say, and what is to be shown of each, in the same order.
    async fn ask<T: DeserializeOwned>(
        &self,
        question: &Question,
    ) -> (BTreeMap<NodeId, T>, Vec<Asked>) {
        let began = Instant::now();
        let ask = async |(id, name): &(NodeId, String)| {
            let answer = self.fleet.ask::<T>(*id, question, self.until).await;
            let took = began.elapsed();
            let (answer, error) = match answer {
                Ok(answer) => (Some(answer), None),
                Err(reason) => (None, Some(reason)),
            };
            let answered = answer.is_some();
            (answer, Asked { id: *id, name: name.clone(), answered, error, took })
        };
        let mut answers = BTreeMap::new();
        let mut asked = Vec::new();
        for (answer, one) in join_all(self.members.iter().map(ask)).await {
            answers.extend(answer.map(|answer| (one.id, answer)));
            asked.push(one);
        }
        (answers, asked)
    }

    /// The targets of these names, as those tell who know them. Who does not, or not in time, leaves
    /// them out; `asked` says so.
    async fn describe(
        &self,
        names: BTreeMap<NodeId, Vec<TargetName>>,
        asked: &mut [Asked],
    ) -> Vec<Arc<Target>> {
        let ask = async |(id, names): (NodeId, Vec<TargetName>)| {
            let question = Question::Describe(names);
            (id, self.fleet.ask::<Vec<Description>>(id, &question, self.until).await)
        };
        let mut targets = Vec::new();
        for (id, answer) in join_all(names.into_iter().map(ask)).await {
            match answer {
                Ok(answers) => {
                    targets.extend(answers.into_iter().map(|one| Arc::new(one.target())));
                }
                Err(reason) => {
                    let of = asked.iter_mut().find(|asked| asked.id == id);
                    if let Some(asked) = of {
                        asked.error = Some(reason);
                    }
                }
            }
        }
        targets
    }
}

pub(super) async fn targets(fleet: &Asker, number: u64) -> FleetTargets {
    let round = Round::begin(fleet);
    let at_ms = clock::now_ms();
    let (answers, mut asked) = round.ask::<TargetsTold>(&Question::Targets).await;
    let sources = fleet.sources().clone();
    let snapshot = Arc::clone(&sources.found.borrow());
    let found = found_targets(&snapshot);
    let described = round.describe(unknown(&answers, &found), &mut asked).await;
    let silent = silent(&asked);
    let merging = move || {
        let placed = sources.ownership.borrow().placed.clone();
        let owners = Table::new(sources.time.now_ms(), &sources.roster.borrow(), &placed);
        let undivided = snapshot.jobs.iter().filter(|job| !job.job.clustering.enabled);
        let undivided: Vec<Arc<Target>> =
            undivided.flat_map(|job| job.active.iter().cloned()).collect();
        let (found, undivided) = (&found[..], &undivided[..]);
        merge(answers, described, &Known { found, undivided, owners: &owners, silent: &silent })
    };
    // Ten thousand targets take their time, and others wait for this thread.
    let targets = spawn_blocking(merging).await.expect("what is told can't make it panic");
    FleetTargets { round: number, at_ms, asked, targets }
}

fn silent(asked: &[Asked]) -> BTreeSet<NodeId> {
    asked.iter().filter(|asked| !asked.answered).map(|asked| asked.id).collect()
}

/// What one look has shown.
struct Look {
    at_ms: i64,
    answers: BTreeMap<NodeId, VerifyTold>,
    asked: Vec<Asked>,
    judgement: Judgement,
    /// Who has found what this member has not.
    finders: BTreeMap<TargetName, NodeId>,
}

/// A fault that a second look does not find again was news on its way.
pub(super) async fn verify(fleet: &Asker) -> Verified {
    let mut look = look(fleet, &Round::begin(fleet)).await;
    if !look.judgement.is_faultless() {
        let earlier = look.judgement;
        look = self::look(fleet, &Round::begin(fleet)).await;
        look.judgement = look.judgement.lasting(&earlier);
    }
    let refs = references(fleet, &mut look).await;
    let named = |name: &TargetName| TargetRef {
        name: name.clone(),
        url: refs.get(name).map(|target| target.shown_url().into_owned()),
    };
    let Look { at_ms, answers, asked, judgement, finders: _ } = look;
    let is_answered = asked.iter().all(|asked| asked.answered);
    let member = |asked: Asked| {
        let told = answers.get(&asked.id);
        VerifiedMember {
            scrapes: told.map(|told| told.scrapes.len()),
            config_digest: told.map(|told| told.config_digest),
            targets_digest: told.map(|told| told.targets_digest),
            asked,
        }
    };
    Verified {
        is_ok: judgement.is_faultless() && is_answered,
        at_ms,
        targets: judgement.targets,
        members: asked.into_iter().map(member).collect(),
        unowned: judgement.unowned.iter().take(NAMED_MAX).map(named).collect(),
        unowned_total: judgement.unowned.len(),
        doubled: judgement
            .doubled
            .iter()
            .take(NAMED_MAX)
            .map(|(name, by)| (named(name), by.clone()))
            .collect(),
        doubled_total: judgement.doubled.len(),
        disagreements: judgement.disagreements,
    }
}

async fn look(fleet: &Asker, round: &Round<'_>) -> Look {
    let sources = fleet.sources();
    let at_ms = sources.time.now_ms() + AHEAD_MS;
    let (answers, mut asked) = round.ask::<VerifyTold>(&Question::Verify { at_ms }).await;
    let own = found_names(&sources.found.borrow());
    let own_digest = digest(&own);
    let mut found: BTreeSet<TargetName> = own.into_iter().collect();
    let mut finders = BTreeMap::new();
    let others = answers.iter().filter(|(_, told)| told.found_digest != own_digest);
    let ask = async |id: NodeId| {
        (id, fleet.ask::<Vec<TargetName>>(id, &Question::Found, round.until).await)
    };
    for (id, answer) in join_all(others.map(|(id, _)| ask(*id))).await {
        match answer {
            Ok(names) => {
                for name in names {
                    if found.insert(name.clone()) {
                        finders.insert(name, id);
                    }
                }
            }
            Err(reason) => {
                let of = asked.iter_mut().find(|asked| asked.id == id);
                if let Some(asked) = of {
                    (asked.answered, asked.error) = (false, Some(reason));
                }
            }
        }
    }
    let said = |told: &VerifyTold| Said {
        scrapes: told.scrapes.clone(),
        config_digest: told.config_digest,
        targets_digest: told.targets_digest,
        roster: told.roster.clone(),
        overrides: told.overrides,
    };
    let said = answers.iter().map(|(id, told)| (*id, said(told))).collect();
    let mut judgement = judge(&said, &found);
    excuse(sources, at_ms, &silent(&asked), &mut judgement);
    Look { at_ms, answers, asked, judgement, finders }
}

/// Whether those are scraped that should be with a member that did not answer, nobody knows.
fn excuse(sources: &Sources, at_ms: i64, silent: &BTreeSet<NodeId>, judgement: &mut Judgement) {
    if silent.is_empty() || judgement.unowned.is_empty() {
        return;
    }
    let placed = sources.ownership.borrow().placed.clone();
    let owners = Table::new(at_ms, &sources.roster.borrow(), &placed);
    for target in found_targets(&sources.found.borrow()) {
        if owners.owner(target.key.slot()).is_some_and(|owner| silent.contains(&owner)) {
            judgement.unowned.remove(&name_of(&target));
        }
    }
}

/// Where the targets at fault answer: asked for where this member does not know them.
async fn references(fleet: &Asker, look: &mut Look) -> BTreeMap<TargetName, Arc<Target>> {
    let unowned = look.judgement.unowned.iter().take(NAMED_MAX);
    let doubled = look.judgement.doubled.iter().take(NAMED_MAX);
    let mut wanted: BTreeMap<TargetName, Option<NodeId>> =
        unowned.map(|name| (name.clone(), look.finders.get(name).copied())).collect();
    wanted.extend(doubled.map(|(name, by)| (name.clone(), by.first().copied())));
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let found = found_targets(&fleet.sources().found.borrow());
    let found = found.into_iter().map(|target| (name_of(&target), target));
    let mut known: BTreeMap<TargetName, Arc<Target>> =
        found.filter(|(name, _)| wanted.contains_key(name)).collect();
    let mut missing: BTreeMap<NodeId, Vec<TargetName>> = BTreeMap::new();
    for (name, by) in wanted.into_iter().filter(|(name, _)| !known.contains_key(name)) {
        if let Some(id) = by {
            missing.entry(id).or_default().push(name);
        }
    }
    let described = Round::begin(fleet).describe(missing, &mut look.asked).await;
    known.extend(described.into_iter().map(|target| (name_of(&target), target)));
    known
}

pub(super) async fn queues(fleet: &Asker) -> FleetQueues {
    let (mut answers, asked) = Round::begin(fleet).ask::<QueuesTold>(&Question::Queues).await;
    let member = |asked: &Asked| MemberQueues {
        id: asked.id,
        name: asked.name.clone(),
        destinations: answers.remove(&asked.id),
    };
    FleetQueues { members: asked.iter().map(member).collect(), asked }
}

pub(super) async fn configs(fleet: &Asker) -> FleetConfigs {
    let (mut answers, asked) = Round::begin(fleet).ask::<ConfigTold>(&Question::Config).await;
    let config = |told: ConfigTold| {
        let ConfigTold { digest, yaml, loaded_ms, refused } = told;
        Config { digest, yaml, loaded_ms, refused }
    };
    let member = |asked: &Asked| MemberConfig {
        id: asked.id,
        name: asked.name.clone(),
        config: answers.remove(&asked.id).map(config),
    };
    FleetConfigs { members: asked.iter().map(member).collect(), asked }
}

pub(super) async fn health_history(fleet: &Asker, past: HealthPast) -> FleetHealth {
    let HealthPast { target, job, from_ms, until_ms, limit } = past;
    let limit = limit as u64;
    let question = Question::HealthHistory { target, job, from_ms, until_ms, limit };
    let (answers, asked) = Round::begin(fleet).ask::<Vec<HealthEvent>>(&question).await;
    let mut events: Vec<Event> = answers.into_values().flatten().map(HealthEvent::event).collect();
    let order = |event: &Event| (Reverse(event.at_ms), event.node.clone(), event.target.clone());
    events.sort_by_key(order);
    // Two tell the same where one has fetched from the other what it missed.
    events.dedup_by_key(|event| order(event));
    FleetHealth { asked, events }
}

pub(super) async fn loads(fleet: &Asker) -> FleetLoads {
    let (answers, asked) = Round::begin(fleet).ask::<LoadsTold>(&Question::Loads).await;
    let mut loads = Loads::default();
    for (number, load) in answers.into_values().flatten() {
        if let Some(slot) = Slot::new(number).filter(|_| load.is_finite() && load >= 0.0) {
            loads.add(slot, load);
        }
    }
    FleetLoads { is_complete: asked.iter().all(|asked| asked.answered), asked, loads }
}
