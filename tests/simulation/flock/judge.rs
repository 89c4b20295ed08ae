//! What is said of a flock from outside: by its targets, its destinations, and whoever compares what
//! its members believe.

use starling::ownership::placement::slots;

use crate::flock::{
    Flock,
    air::{Marker, Scraped, Truth},
};

/// When a target that has appeared, or vanished, is known to be so by all.
const KNOWN_MS: i64 = 12_000;
const SKEW_MS_MAX: i64 = 1_000;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judgement {
    pub(crate) missed: usize,
    pub(crate) doubled: usize,
    /// The longest time between two scrapes of a target, beyond its interval.
    pub(crate) beyond_interval_ms: i64,
}

impl Flock {
    /// Of ticks from `from_ms` to before `until_ms`, of targets that were there all the time.
    pub(crate) fn judge(&self, from_ms: i64, until_ms: i64) -> (Judgement, Option<String>) {
        let (mut judgement, mut first) = (Judgement::default(), None);
        for (n, truth) in self.air.truths.iter().enumerate() {
            let scrapes = &self.air.scrapes[n];
            let from_ms = match truth.from_ms {
                i64::MIN => from_ms,
                // It counts from its first scrape on: who is slow to discover it may be its owner.
                _ => scrapes.first().map_or(i64::MAX, |one| one.at_ms + KNOWN_MS).max(from_ms),
            };
            // By the true clock, which the fleet's may be behind.
            let until_ms = until_ms.min(truth.until_ms.saturating_sub(SKEW_MS_MAX));
            let one = judge_target(truth, scrapes, from_ms, until_ms);
            if first.is_none() && (one.missed > 0 || one.doubled > 0) {
                let near = |scraped: &&Scraped| {
                    (from_ms - 3_000..until_ms + 3_000).contains(&scraped.at_ms)
                };
                let near: Vec<_> = scrapes.iter().filter(near).collect();
                let slot = truth.target.key.slot().number();
                let (key, interval) = (truth.target.key, truth.target.interval);
                first =
                    Some(format!("{n} of slot {slot}, {key:?}, {interval:?}: {one:?} {near:?}"));
            }
            judgement.missed += one.missed;
            judgement.doubled += one.doubled;
            judgement.beyond_interval_ms = judgement.beyond_interval_ms.max(one.beyond_interval_ms);
        }
        (judgement, first)
    }

    /// Nothing was missed and nothing was done twice.
    pub(crate) fn expect_exact(&self, from_ms: i64, until_ms: i64) -> Result<(), String> {
        let (Judgement { missed, doubled, .. }, first) = self.judge(from_ms, until_ms);
        if missed + doubled > 0 {
            let first = first.unwrap_or_default();
            return Err(format!("{missed} ticks missed, {doubled} doubled; first: {first}"));
        }
        Ok(())
    }

    /// Why the members' views differ, if they do.
    pub(crate) fn disagreement(&mut self) -> Option<String> {
        if let Some(why) = self.world.disagreement() {
            return Some(why);
        }
        let mut first = None;
        for n in 0..self.hosts.len() {
            let fleet_ms = self.world.fleet_ms(0);
            let Some(member) = self.hosts[n].member.as_mut().filter(|_| !self.world.is_hung(n))
            else {
                continue;
            };
            let table = member.table(fleet_ms);
            let (of, expected) = first.get_or_insert((n, table.clone()));
            if *expected != table {
                let differ = |slot: &_| expected.owner(*slot) != table.owner(*slot);
                return Some(format!(
                    "{of} and {n} differ in {} slots",
                    slots().filter(differ).count()
                ));
            }
        }
        None
    }

    /// All is said and done: what was appended is at its destinations, or was named as lost.
    pub(crate) fn expect_delivered(&self) -> Result<(), String> {
        for (name, destination) in &self.air.destinations {
            let known = |point: &&_| {
                !destination.stored.contains(*point) && !destination.lost.contains(*point)
            };
            let missing: Vec<_> = self.air.appended.iter().filter(known).collect();
            if let Some((stream, instant_ms)) = missing.first() {
                let (slot, count) = (stream.slot(), missing.len());
                let line = crate::flock::queue::line(slot, name);
                let at: Vec<String> = self
                    .hosts
                    .iter()
                    .enumerate()
                    .filter_map(|(n, host)| {
                        let record = host.disk.find(&line, (*stream, *instant_ms))?;
                        let state = host.member.as_ref().map(|member| member.state_of(&line));
                        Some(format!("{n} has {record:?}, where {state:?}"))
                    })
                    .collect();
                let story = self.air.story(*stream);
                return Err(format!(
                    "{count} samples are not at {name}, the first of {slot:?} at {instant_ms}: {at:?}; {story}"
                ));
            }
        }
        Ok(())
    }

    /// A marker ends what has ended, and nothing else.
    pub(crate) fn expect_markers(&self) -> Result<(), String> {
        for marker in &self.air.markers {
            let truth = &self.air.truths[marker.target];
            let interval_ms = i64::try_from(truth.target.interval.as_millis()).unwrap();
            let at_ms = marker.timestamp_ms;
            // The marker of a target that is gone stands at the first tick that it missed, or that all
            // have missed until it was gone.
            let was_seen = |one: &Scraped| one.at_ms > at_ms;
            let was_missed = !self.air.scrapes[marker.target].iter().any(was_seen);
            let is_gone = truth.until_ms <= at_ms + interval_ms
                || was_missed && truth.until_ms <= marker.written_ms;
            // By the true clock, and the member's own may be off.
            let is_other = (at_ms - 3_000..=at_ms + 3_000)
                .step_by(500)
                .any(|at| truth.series_at(at) != marker.series);
            if !is_gone && !is_other && !self.was_forgotten(marker) {
                return Err(format!(
                    "a marker for what is there: {marker:?} {:?} {:?}: {}",
                    truth.target.interval,
                    truth.changes,
                    self.air.story_about(truth.target.key, at_ms)
                ));
            }
        }
        Ok(())
    }

    /// Whether somebody has seen the target, or ended it, behind the marker, and was killed before he
    /// could tell whoever wrote it.
    fn was_forgotten(&self, marker: &Marker) -> bool {
        let Marker { target, timestamp_ms, written_ms, .. } = *marker;
        let scrapes = self.air.scrapes[target].iter();
        let scrapes = scrapes.filter(|one| one.at_ms > timestamp_ms).map(|one| (one.by, one.at_ms));
        let markers = self.air.markers.iter().filter(|one| one.target == target);
        let markers = markers.filter(|one| one.timestamp_ms > timestamp_ms);
        let markers = markers.map(|one| (one.by, one.written_ms));
        let is_lost = |(by, at_ms): (usize, i64)| {
            let dies = |&(n, killed_ms): &(usize, i64)| n == by && killed_ms >= at_ms;
            self.air.kills.iter().any(|kill| dies(kill) && kill.1 <= written_ms)
        };
        scrapes.chain(markers).any(is_lost)
    }

    /// What must not have happened at any time.
    pub(crate) fn expect_no_fault(&self) -> Result<(), String> {
        let first = self.air.first_fault();
        first.map_or(Ok(()), |first| Err(format!("{first}; {:?}", self.air.tally)))
    }
}

fn judge_target(truth: &Truth, scrapes: &[Scraped], from_ms: i64, until_ms: i64) -> Judgement {
    let interval_ms = i64::try_from(truth.target.interval.as_millis()).unwrap();
    let spread_ms = (truth.target.key.0 % interval_ms.unsigned_abs()).cast_signed();
    let phase_ms = spread_ms - spread_ms % (interval_ms / 20).clamp(1, 100);
    let mut due: Vec<i64> = scrapes.iter().filter_map(|scraped| scraped.due_ms).collect();
    due.sort_unstable();
    let mut judgement = Judgement::default();
    if from_ms >= until_ms {
        return judgement;
    }
    let mut tick_ms = from_ms - (from_ms - phase_ms).rem_euclid(interval_ms);
    if tick_ms < from_ms {
        tick_ms += interval_ms;
    }
    while tick_ms < until_ms {
        let begin = due.partition_point(|due_ms| *due_ms < tick_ms);
        let end = due.partition_point(|due_ms| *due_ms <= tick_ms);
        // A catch-up near a tick stands for it.
        let stands_for_it = |scraped: &Scraped| {
            let before_ms = tick_ms - scraped.at_ms;
            scraped.due_ms.is_none() && (0..=interval_ms * 13 / 25).contains(&before_ms)
        };
        judgement.missed += usize::from(begin == end && !scrapes.iter().any(stands_for_it));
        judgement.doubled += (end - begin).saturating_sub(1);
        tick_ms += interval_ms;
    }
    let mut at: Vec<i64> = scrapes.iter().map(|scraped| scraped.at_ms).collect();
    at.sort_unstable();
    at.retain(|at_ms| (from_ms - interval_ms..until_ms).contains(at_ms));
    let last = at.last().map(|last| until_ms - last);
    let gaps = at.windows(2).map(|pair| pair[1] - pair[0]).chain(last);
    judgement.beyond_interval_ms = gaps.max().unwrap_or(until_ms - from_ms) - interval_ms;
    judgement
}
