//! Which targets came and went between two looks at what discovery has found. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use crate::{
    config::Job,
    discovery::Snapshot,
    history::{
        Entry, Event, Reason,
        entry::{ENTRY_TARGETS_MAX, TargetSeen, TargetsChange},
        event::Names,
    },
    model::{
        hidden,
        slot::Slot,
        target::{Target, TargetId, TargetName},
    },
    ownership::key::stream_key,
    scrape::shown_url,
};

/// So many of one job that come or go at once are told one by one as it happens; more as a number.
const TOLD_ONE_BY_ONE_MAX: usize = 16;

/// One target that came or went. It is light: a burst of them waits for the writer.
#[derive(Clone, Debug)]
pub(super) struct Change {
    at_ms: i64,
    job: Arc<str>,
    came: bool,
    reason: Reason,
    target: Which,
    pub(super) slot: Option<Slot>,
}

#[derive(Clone, Debug)]
enum Which {
    Seen(Arc<Target>),
    /// The file knows it; nobody else does any more.
    Named(TargetId),
}

impl Change {
    pub(super) fn came(&self) -> bool {
        self.came
    }
}

/// What was there when it was last looked at.
#[derive(Debug, Default)]
pub(super) struct Present(BTreeMap<Arc<str>, Found>);

type Found = (Arc<Job>, Arc<[Arc<Target>]>);

impl Present {
    /// All that is there now and was not, or the other way round.
    pub(super) fn look(&mut self, found: &Snapshot, at_ms: i64) -> Vec<Change> {
        let mut changes = Vec::new();
        let names: BTreeSet<&str> = found.jobs.iter().map(|job| &*job.job.job_name).collect();
        self.0.retain(|name, (job, targets)| {
            let stays = names.contains(&**name);
            if !stays {
                let gone = targets.iter().map(|target| (target, false));
                changes.extend(gone.map(|one| change(job, one, Reason::Config, at_ms)));
            }
            stays
        });
        for one in &found.jobs {
            let name = Arc::clone(&one.job.job_name);
            let now = (Arc::clone(&one.job), Arc::clone(&one.active));
            let Some((job_before, before)) = self.0.insert(name, now) else {
                let came = one.active.iter().map(|target| (target, true));
                changes.extend(came.map(|came| change(&one.job, came, Reason::Config, at_ms)));
                continue;
            };
            let is_config = job_before != one.job;
            if !is_config && Arc::ptr_eq(&before, &one.active) {
                continue;
            }
            if job_before.clustering != one.job.clustering {
                // They hang on other slots from now on.
                let went = before.iter().map(|target| (target, false));
                changes.extend(went.map(|went| change(&job_before, went, Reason::Config, at_ms)));
                let came = one.active.iter().map(|target| (target, true));
                changes.extend(came.map(|came| change(&one.job, came, Reason::Config, at_ms)));
                continue;
            }
            let ids = |targets: &[Arc<Target>]| -> BTreeSet<TargetId> {
                targets.iter().map(|target| target.id).collect()
            };
            let (ids_before, ids_now) = (ids(&before), ids(&one.active));
            let went = before.iter().filter(|target| !ids_now.contains(&target.id));
            let reason = if is_config { Reason::Config } else { Reason::Vanished };
            changes.extend(went.map(|gone| change(&job_before, (gone, false), reason, at_ms)));
            let came = one.active.iter().filter(|target| !ids_before.contains(&target.id));
            let reason = if is_config { Reason::Config } else { Reason::Discovered };
            changes.extend(came.map(|new| change(&one.job, (new, true), reason, at_ms)));
        }
        changes
    }

    /// What of the first look the file did not know, and what of the file was not there. `changes`
    /// are those of the first look, of which each target came.
    pub(super) fn first(changes: Vec<Change>, known: &[TargetName], at_ms: i64) -> Vec<Change> {
        let found: BTreeSet<(TargetId, &str)> =
            changes.iter().map(|change| (change.target.id(), &*change.job)).collect();
        let gone = known.iter().filter(|(id, job)| !found.contains(&(*id, &**job)));
        let gone: Vec<Change> = gone
            .map(|(id, job)| Change {
                at_ms,
                job: Arc::clone(job),
                came: false,
                reason: Reason::Unseen,
                target: Which::Named(*id),
                slot: None,
            })
            .collect();
        // Of an empty file all is new.
        let reason = if known.is_empty() { Reason::Discovered } else { Reason::Unseen };
        let known: BTreeSet<(TargetId, &str)> =
            known.iter().map(|(id, job)| (*id, &**job)).collect();
        let is_new = |change: &Change| !known.contains(&(change.target.id(), &*change.job));
        let mut all: Vec<Change> =
            changes.into_iter().filter(is_new).map(|change| Change { reason, ..change }).collect();
        all.extend(gone);
        all
    }
}

impl Which {
    fn id(&self) -> TargetId {
        match self {
            Self::Seen(target) => target.id,
            Self::Named(id) => *id,
        }
    }

    fn seen(&self, slot: Option<Slot>) -> TargetSeen {
        match self {
            Self::Seen(target) => {
                let labels = hidden::labels(&target.public_labels());
                let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned()));
                TargetSeen { id: target.id, url: shown_url(target), labels: labels.collect(), slot }
            }
            Self::Named(id) => TargetSeen { id: *id, url: String::new(), labels: Vec::new(), slot },
        }
    }
}

fn change(job: &Job, (target, came): (&Arc<Target>, bool), reason: Reason, at_ms: i64) -> Change {
    let clustering = &job.clustering;
    Change {
        at_ms,
        job: Arc::clone(&job.job_name),
        came,
        reason,
        slot: clustering.enabled.then(|| stream_key(target, clustering).slot()),
        target: Which::Seen(Arc::clone(target)),
    }
}

/// The next entry of those that wait: as many of one kind as fit.
pub(super) fn next_entry(waiting: &mut VecDeque<Change>) -> Option<Entry> {
    let first = waiting.front()?.clone();
    let mut targets = Vec::new();
    while let Some(next) = waiting.front()
        && targets.len() < ENTRY_TARGETS_MAX
        && (next.at_ms, &next.job, next.came, next.reason)
            == (first.at_ms, &first.job, first.came, first.reason)
    {
        targets.push(next.target.seen(next.slot));
        waiting.pop_front();
    }
    let Change { at_ms, job, came, reason, .. } = first;
    Some(Entry::Targets(TargetsChange { at_ms, job, came, reason, targets }))
}

/// What is told as it happens: a few by their names, many by their number.
pub(super) fn events(changes: &[Change], names: Names<'_>) -> Vec<Event> {
    let is_same = |one: &Change, other: &Change| {
        (&one.job, one.came, one.reason) == (&other.job, other.came, other.reason)
    };
    let mut events = Vec::new();
    for together in changes.chunk_by(is_same) {
        let entry = |targets: &[Change]| {
            Entry::Targets(TargetsChange {
                at_ms: together[0].at_ms,
                job: Arc::clone(&together[0].job),
                came: together[0].came,
                reason: together[0].reason,
                targets: targets.iter().map(|change| change.target.seen(change.slot)).collect(),
            })
        };
        if together.len() <= TOLD_ONE_BY_ONE_MAX {
            events.extend(together.chunks(1).map(|one| Event::of(&entry(one), names)));
        } else {
            let Entry::Targets(change) = entry(&[]) else { continue };
            events.push(Event::targets(&change, together.len() as u64));
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config,
        discovery::resolve::resolve,
        model::target::{ADDRESS, TargetGroup},
    };

    fn found(jobs: &[(&str, &[&str])]) -> Snapshot {
        let lines: Vec<String> = jobs
            .iter()
            .map(|(head, _)| {
                let divided = ", clustering: {enabled: true}";
                let divided = if head.contains("clustering") { "" } else { divided };
                format!("- {{job_name: {head}{divided}}}")
            })
            .collect();
        let text = lines.join("\n");
        let config =
            config::parse(Path::new(""), &format!("scrape_configs:\n{text}"), &|_| None).unwrap();
        let resolved = config.jobs.iter().zip(jobs).map(|(job, (_, addresses))| {
            let targets = addresses.iter().map(|one| [(ADDRESS, *one)].into_iter().collect());
            let group = TargetGroup { targets: targets.collect(), ..TargetGroup::default() };
            resolve(job, "", [&group], None)
        });
        Snapshot { jobs: resolved.collect() }
    }

    fn told(changes: Vec<Change>) -> Vec<String> {
        let mut waiting: VecDeque<Change> = changes.into();
        let mut told = Vec::new();
        while let Some(entry) = next_entry(&mut waiting) {
            let Entry::Targets(change) = entry else { panic!("{entry:?}") };
            let urls: Vec<&str> = change.targets.iter().map(|t| t.url.as_str()).collect();
            let sign = if change.came { '+' } else { '-' };
            told.push(format!("{sign}{} {} {}", change.job, change.reason.name(), urls.join(" ")));
        }
        told
    }

    #[test]
    fn targets_come_and_go() {
        let mut present = Present::default();
        let mut check = |jobs: &[(&str, &[&str])], expected: &[&str]| {
            assert_eq!(told(present.look(&found(jobs), 1)), expected);
        };
        check(&[("a", &["x", "y"])], &["+a config http://x/metrics http://y/metrics"]);
        check(&[("a", &["x", "y"])], &[]);
        check(
            &[("a", &["x", "z"])],
            &["-a vanished http://y/metrics", "+a discovered http://z/metrics"],
        );
        check(
            &[("a, metrics_path: /p", &["x"]), ("b", &["x"])],
            &[
                "-a config http://x/metrics http://z/metrics",
                "+a config http://x/p",
                "+b config http://x/metrics",
            ],
        );
        check(&[("b", &["x"])], &["-a config http://x/p"]);
        // The same targets, on other slots.
        let other = "b, clustering: {enabled: true, key_exclude: [__address__]}";
        check(&[(other, &["x"])], &["-b config http://x/metrics", "+b config http://x/metrics"]);
    }

    #[test]
    fn a_first_look_is_compared_with_what_is_known() {
        let first = || Present::default().look(&found(&[("a", &["x", "y"])]), 1);
        assert_eq!(
            told(Present::first(first(), &[], 1)),
            ["+a discovered http://x/metrics http://y/metrics"]
        );
        let Which::Seen(x) = &first()[0].target else { panic!() };
        let known = [(x.id, "a".into()), (TargetId(7), "a".into()), (x.id, "b".into())];
        assert_eq!(
            told(Present::first(first(), &known, 1)),
            ["+a unseen http://y/metrics", "-a unseen ", "-b unseen "]
        );
    }

    #[test]
    fn many_are_told_by_their_number() {
        let addresses: Vec<String> = (0..17).map(|n| format!("h{n}")).collect();
        let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
        let look = |addresses: &[&str]| Present::default().look(&found(&[("a", addresses)]), 1);
        let names = |_| String::new();
        let events_of = |count| events(&look(&addresses[..count]), &names);
        assert_eq!(events_of(16).len(), 16);
        let events = events_of(17);
        assert_eq!((events.len(), events[0].targets), (1, Some(17)));
        assert_eq!(events[0].summary, "17 targets of `a` are there: the configuration changed");
    }
}
