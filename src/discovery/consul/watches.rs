//! Which services are watched, from which index on, and what all answers together make. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    config::Consul as Settings,
    discovery::{consul::answer::Found, pace::Pace, provider::Round},
    model::{labels::Labels, target::TargetGroup},
};

/// Each watch holds a connection, of which Consul takes 200 from one host by default. Where there are
/// more services, each is asked for every refresh interval, and not more than so many at once.
pub(super) const WATCHES_MAX: usize = 128;
/// More services are refused: those that are wanted must be named, or filtered by tag.
const SERVICES_MAX: usize = 10_000;
/// Consul is asked to answer after a refresh interval though nothing has changed, so that what is
/// known is never much older than that; within these bounds.
const WAIT_MIN: Duration = Duration::from_secs(10);
const WAIT_MAX: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ask {
    /// For the names of all services.
    Catalog,
    /// For the instances of one.
    Service(Arc<str>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Query {
    /// The index that is known, and how long to wait for a greater one. `None`: to be answered at once.
    pub(super) blocking: Option<(u64, Duration)>,
}

pub(super) struct Watches {
    settings: Settings,
    datacenter: String,
    refresh_interval: Duration,
    seed: u64,
    by_ask: BTreeMap<Ask, Watch>,
    /// The groups are not those of the round before.
    changed: bool,
}

struct Watch {
    /// When to ask next; `None` while an answer is waited for.
    due: Option<Instant>,
    /// That of the latest answer; 0 where it had none, or a smaller one than before.
    index: u64,
    answered: bool,
    fault: Option<String>,
    /// When the latest query began that was answered.
    fresh_ms: Option<i64>,
    pace: Pace,
    /// Of a service.
    targets: Vec<Labels>,
}

impl Watches {
    pub(super) fn new(
        settings: Settings,
        datacenter: String,
        refresh_interval: Duration,
        seed: u64,
        now: Instant,
    ) -> Self {
        let names = settings.services.clone();
        // Without a filter on them, the names that are wanted are known.
        let needs_catalog =
            names.is_empty() || !settings.tags.is_empty() || !settings.filter.is_empty();
        let by_ask = BTreeMap::new();
        let mut all = Self { settings, datacenter, refresh_interval, seed, by_ask, changed: true };
        if needs_catalog {
            all.add(Ask::Catalog, now);
        } else {
            for name in names {
                all.add(Ask::Service(name.into()), now);
            }
        }
        all
    }

    /// What is to be asked now, and when; each is told once for each answer.
    pub(super) fn wanted(&mut self) -> Vec<(Ask, Query, Instant)> {
        let is_blocking = self.by_ask.len() <= WATCHES_MAX;
        let wait = self.refresh_interval.clamp(WAIT_MIN, WAIT_MAX);
        let asks = self.by_ask.iter_mut().filter_map(|(ask, watch)| {
            let due = watch.due.take()?;
            let blocking = (is_blocking && watch.index > 0).then_some((watch.index, wait));
            Some((ask.clone(), Query { blocking }, due))
        });
        asks.collect()
    }

    /// The query for `ask` began and was answered. Gives what is no longer to be waited for.
    pub(super) fn learn(
        &mut self,
        ask: &Ask,
        began: Instant,
        began_ms: i64,
        now: Instant,
        outcome: Result<(Option<u64>, Found), String>,
    ) -> Vec<Ask> {
        let Some(watch) = self.by_ask.get_mut(ask) else { return Vec::new() };
        watch.answered = true;
        let good = outcome.is_ok();
        let from = if good { began } else { now };
        watch.due = Some(from + watch.pace.after(good));
        let (index, found) = match outcome {
            Ok(answer) => answer,
            Err(fault) => {
                watch.fault = Some(fault);
                return Vec::new();
            }
        };
        watch.fault = None;
        watch.fresh_ms = Some(began_ms);
        let (index, before) = (index.unwrap_or(0), watch.index);
        // An index that went back is that of another server or a restored one: what it says holds,
        // but the next query must not wait for an index that is long past.
        watch.index = if index < before { 0 } else { index };
        match found {
            Found::Names(names) => self.keep(&names, now),
            Found::Targets(targets) if watch.targets != targets => {
                watch.targets = targets;
                self.changed = true;
                Vec::new()
            }
            Found::Targets(_) => Vec::new(),
        }
    }

    /// What there is to tell, once everything has been answered.
    pub(super) fn round(&mut self) -> Option<Round> {
        if !self.by_ask.values().all(|watch| watch.answered) {
            return None;
        }
        let began_ms = self.by_ask.values().filter_map(|watch| watch.fresh_ms).min();
        // While none of it is known, what another provider found that this one replaces stays.
        let groups = (self.is_known() && std::mem::take(&mut self.changed)).then(|| self.groups());
        Some(Round { began_ms: began_ms.unwrap_or(i64::MIN), groups, faults: self.faults() })
    }

    fn is_known(&self) -> bool {
        let known = |watch: &Watch| watch.fresh_ms.is_some();
        let services = || self.by_ask.iter().filter(|(ask, _)| **ask != Ask::Catalog);
        if services().next().is_none() {
            return self.by_ask.values().all(known);
        }
        services().any(|(_, watch)| known(watch))
    }

    /// One for the names, and one for all services: a server that is down is one fault, not hundreds.
    fn faults(&self) -> Vec<String> {
        let fault = |(ask, watch): (&Ask, &Watch)| Some((ask.clone(), watch.fault.clone()?));
        let faults: Vec<_> = self.by_ask.iter().filter_map(fault).collect();
        let (catalog, services): (Vec<_>, Vec<_>) =
            faults.into_iter().partition(|(ask, _)| *ask == Ask::Catalog);
        let mut faults: Vec<String> = catalog.into_iter().map(|(_, fault)| fault).collect();
        let is_one = services.len() == 1;
        if let Some((_, fault)) = services.into_iter().next() {
            faults.push(if is_one { fault } else { format!("{fault} (and other services)") });
        }
        faults
    }

    /// Watches the services of the catalog that are wanted, and no others.
    fn keep(&mut self, names: &BTreeMap<String, Vec<String>>, now: Instant) -> Vec<Ask> {
        let settings = &self.settings;
        let wanted = names.iter().filter(|(name, tags)| {
            let is_named = settings.services.is_empty() || settings.services.contains(name);
            is_named && settings.tags.iter().all(|tag| tags.contains(tag))
        });
        let wanted: Vec<Ask> = wanted.map(|(name, _)| Ask::Service(name.as_str().into())).collect();
        if wanted.len() > SERVICES_MAX {
            let count = wanted.len();
            if let Some(catalog) = self.by_ask.get_mut(&Ask::Catalog) {
                catalog.fault = Some(format!(
                    "{count} services, more than the {SERVICES_MAX} that are watched: name those that are wanted in `services`, or their `tags`"
                ));
            }
            return Vec::new();
        }
        let gone: Vec<Ask> = self
            .by_ask
            .keys()
            .filter(|ask| **ask != Ask::Catalog && wanted.binary_search(ask).is_err())
            .cloned()
            .collect();
        for ask in &gone {
            self.changed |= self.by_ask.remove(ask).is_some();
        }
        for ask in wanted {
            if !self.by_ask.contains_key(&ask) {
                self.add(ask, now);
            }
        }
        gone
    }

    fn add(&mut self, ask: Ask, now: Instant) {
        let seed = match &ask {
            Ask::Catalog => self.seed,
            Ask::Service(name) => self.seed ^ xxh3_64(name.as_bytes()),
        };
        let watch = Watch {
            due: Some(now),
            index: 0,
            answered: false,
            fault: None,
            fresh_ms: None,
            pace: Pace::new(self.refresh_interval, seed),
            targets: Vec::new(),
        };
        self.by_ask.insert(ask, watch);
    }

    fn groups(&self) -> Vec<TargetGroup> {
        let groups = self.by_ask.iter().filter_map(|(ask, watch)| {
            let Ask::Service(name) = ask else { return None };
            let labels =
                [("__meta_consul_service", &**name), ("__meta_consul_dc", &*self.datacenter)];
            Some(TargetGroup {
                source: name.to_string(),
                targets: watch.targets.clone(),
                labels: labels.into_iter().collect(),
            })
        });
        groups.collect()
    }
}
