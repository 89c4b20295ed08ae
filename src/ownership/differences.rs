//! Which target two members see differently: gossip tells only that a job's targets differ. While
//! that lasts, the other is told what is found here, by hashes, and answers with the first difference.
//! Pure; part of the shell in `mod`.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    discovery::{Snapshot, digest::target_digest},
    fleet::notice::{Difference, Found, Notice, Raised},
    model::{member::NodeId, slot::StreamKey, target::Target},
};

/// A difference that lasts may become another one.
const ASK_MS: i64 = 30_000;
/// Of one job; of more the first are compared, up to the last that is told. They fit a bundle.
const MARKS_MAX: usize = 1 << 15;

/// A target by its key, and what all of it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mark {
    key: StreamKey,
    digest: u64,
}

/// What the asked member has found at the first key where both differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    key: StreamKey,
    /// The URL of one that only it has.
    theirs: Option<String>,
    /// One that only the asking member has.
    yours: Option<Mark>,
}

/// Whom to ask, and when.
#[derive(Debug, Default)]
pub(super) struct Differences {
    asked_ms: BTreeMap<NodeId, i64>,
}

impl Differences {
    /// The members that are to be asked now, each of a job.
    pub(super) fn take_due(&mut self, notices: &[Raised], now_ms: i64) -> Vec<(NodeId, Arc<str>)> {
        let drifts: BTreeMap<NodeId, &Arc<str>> = notices
            .iter()
            .filter_map(|raised| {
                let Notice::TargetDrift { member, jobs, .. } = &raised.notice else { return None };
                Some((*member, jobs.first()?))
            })
            .collect();
        self.asked_ms.retain(|member, _| drifts.contains_key(member));
        let mut due = Vec::new();
        for (member, job) in drifts {
            let asked_ms = self.asked_ms.get(&member);
            if asked_ms.is_none_or(|asked_ms| now_ms >= asked_ms + ASK_MS) {
                self.asked_ms.insert(member, now_ms);
                due.push((member, Arc::clone(job)));
            }
        }
        due
    }
}

/// What is found here of that job, in order.
pub(super) fn marks(found: &Snapshot, job: &str) -> Vec<Mark> {
    let mut marks: Vec<Mark> = targets(found, job).iter().map(|target| mark(target)).collect();
    marks.sort_unstable();
    marks.truncate(MARKS_MAX);
    marks
}

/// `None`: no difference, as far as was told.
pub(super) fn answer(found: &Snapshot, job: &str, theirs: &[Mark]) -> Option<Answer> {
    let ours = marks(found, job);
    // Beyond the last one told nothing is known.
    let end = |marks: &[Mark]| marks.last().filter(|_| marks.len() >= MARKS_MAX).copied();
    let end = end(&ours).into_iter().chain(end(theirs)).min();
    let is_told = |mark: &&Mark| end.is_none_or(|end| **mark <= end);
    let mut pairs =
        (ours.iter().filter(is_told).peekable(), theirs.iter().filter(is_told).peekable());
    while let (Some(our), Some(their)) = (pairs.0.peek(), pairs.1.peek())
        && our == their
    {
        pairs.0.next();
        pairs.1.next();
    }
    let (our, their) = (pairs.0.next(), pairs.1.next());
    let key = our.into_iter().chain(their).map(|mark| mark.key).min()?;
    let only_in = |some: &[Mark], others: &[Mark]| {
        some.iter().find(|mark| mark.key == key && !others.contains(mark)).copied()
    };
    let url = only_in(&ours, theirs).and_then(|mark| url_of(found, job, mark));
    Some(Answer { key, theirs: url, yours: only_in(theirs, &ours) })
}

/// What the answer of the other comes to here. `None` where nothing is known of it any more.
pub(super) fn difference(found: &Snapshot, job: &Arc<str>, answer: Answer) -> Option<Difference> {
    let own = answer.yours.and_then(|mark| url_of(found, job, mark));
    let (url, found) = match (own, answer.theirs) {
        (Some(own), Some(theirs)) if own == theirs => (own, Found::Otherwise),
        (Some(own), _) => (own, Found::Here),
        (None, Some(theirs)) => (theirs, Found::There),
        (None, None) => return None,
    };
    Some(Difference { job: Arc::clone(job), url, found })
}

fn targets<'a>(found: &'a Snapshot, job: &str) -> &'a [Arc<Target>] {
    let of_it = found.jobs.iter().find(|targets| *targets.job.job_name == *job);
    of_it.filter(|targets| targets.job.clustering.enabled).map_or(&[], |targets| &targets.active)
}

fn mark(target: &Target) -> Mark {
    Mark { key: target.key, digest: target_digest(target) }
}

fn url_of(found: &Snapshot, job: &str, wanted: Mark) -> Option<String> {
    let target = targets(found, job).iter().find(|target| mark(target) == wanted)?;
    Some(target.shown_url().into_owned())
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

    const JOB: &str = "job_name: j, clustering: {enabled: true}";

    fn found(job: &str, targets: &[(&str, &str)]) -> Snapshot {
        let text = format!("scrape_configs: [{{{job}}}]");
        let config = config::parse(Path::new(""), &text, &|_| None).unwrap();
        let targets = targets.iter();
        let targets = targets
            .map(|(address, team)| [(ADDRESS, *address), ("team", *team)].into_iter().collect());
        let group = TargetGroup { targets: targets.collect(), ..TargetGroup::default() };
        Snapshot { jobs: config.jobs.iter().map(|job| resolve(job, "", [&group], None)).collect() }
    }

    fn first(here: &Snapshot, there: &Snapshot) -> Option<(String, Found)> {
        let job: Arc<str> = "j".into();
        let answer = answer(there, &job, &marks(here, &job))?;
        let sent = postcard::to_stdvec(&answer).unwrap();
        let difference = difference(here, &job, postcard::from_bytes(&sent).unwrap())?;
        Some((difference.url, difference.found))
    }

    #[test]
    fn the_first_difference_is_named_alike_on_both_sides() {
        let check =
            |here: &[(&str, &str)], there: &[(&str, &str)], expected: Option<(&str, Found)>| {
                let (here, there) = (found(JOB, here), found(JOB, there));
                let named = |url: &str| format!("http://{url}/metrics");
                assert_eq!(first(&here, &there), expected.map(|(url, found)| (named(url), found)));
                let mirrored = expected.map(|(url, found)| match found {
                    Found::Here => (named(url), Found::There),
                    Found::There => (named(url), Found::Here),
                    Found::Otherwise => (named(url), Found::Otherwise),
                });
                assert_eq!(first(&there, &here), mirrored);
            };
        let both = &[("a:1", "x"), ("b:1", "x")];
        check(both, both, None);
        check(&[], &[], None);
        check(both, &both[..1], Some(("b:1", Found::Here)));
        check(&both[1..], both, Some(("a:1", Found::There)));
        check(both, &[("a:1", "x"), ("b:1", "y")], Some(("b:1", Found::Otherwise)));
        check(&[], &both[..1], Some(("a:1", Found::There)));
    }

    #[test]
    fn a_job_that_is_not_divided_there_has_no_targets_there() {
        let (here, there) = (found(JOB, &[("a:1", "x")]), found("job_name: j", &[("a:1", "x")]));
        assert_eq!(first(&here, &there), Some(("http://a:1/metrics".to_owned(), Found::Here)));
    }

    #[test]
    fn of_too_many_the_first_are_compared() {
        let names: Vec<String> = (0..=MARKS_MAX).map(|n| format!("h{n}:1")).collect();
        let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
        let here = found(JOB, &all);
        let told = marks(&here, "j");
        assert_eq!(told.len(), MARKS_MAX);
        assert!(
            postcard::to_stdvec(&told).unwrap().len() < crate::ownership::letter::BUNDLE_BYTES_MAX
        );
        assert_eq!(first(&here, &here), None);
        let last = url_of(&here, "j", told[MARKS_MAX - 1]).unwrap();
        let without: Vec<(&str, &str)> =
            all.iter().copied().filter(|(name, _)| !last.contains(&format!("/{name}/"))).collect();
        assert_eq!(first(&here, &found(JOB, &without)), Some((last, Found::Here)));
    }

    #[test]
    fn a_member_is_asked_now_and_then_while_it_differs() {
        let mut differences = Differences::default();
        let drift = |jobs: &[&str]| {
            let jobs = jobs.iter().map(|job| Arc::from(*job)).collect();
            let (member, name) = (NodeId(2), "b".to_owned());
            let notice = Notice::TargetDrift { member, name, jobs, first: None };
            vec![Raised { notice, since_ms: 0 }]
        };
        let due = |differences: &mut Differences, notices: &[Raised], now_ms| {
            differences.take_due(notices, now_ms).len()
        };
        assert_eq!(due(&mut differences, &drift(&[]), 0), 0, "nobody knows of which job");
        assert_eq!(due(&mut differences, &drift(&["j", "k"]), 0), 1);
        assert_eq!(due(&mut differences, &drift(&["j"]), ASK_MS - 1), 0);
        assert_eq!(due(&mut differences, &drift(&["j"]), ASK_MS), 1);
        assert_eq!(due(&mut differences, &[], ASK_MS), 0);
        assert_eq!(due(&mut differences, &drift(&["j"]), ASK_MS + 1), 1, "another difference");
    }
}
