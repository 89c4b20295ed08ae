//! What it costs that agents are killed: which gaps are owing to that, and whether they stay within
//! what was promised. Pure.

use std::time::Duration;

use serde_json::{Value, json};

use crate::cli::demo::agent::{self, Departure};

/// Until the others know of a death and have scraped what was its own, beside an interval.
const TAKE_OVER_MAX: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(super) struct Kills {
    interval_ms: i64,
    /// By agent.
    departures: Vec<Option<Departure>>,
    all: Vec<Kill>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    pub(super) agent: usize,
    pub(super) at_ms: i64,
    /// Its own when it was killed.
    pub(super) targets: usize,
    /// When a sample of the last of them came from another.
    pub(super) taken_over_ms: Option<i64>,
    pub(super) longest_gap_ms: i64,
    /// Scrapes that it had made and not sent.
    pub(super) lost: u64,
    waits_for: usize,
}

/// Where a series has no sample although its target was there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hole {
    /// The one that sent the last sample before it.
    pub(super) sender: usize,
    pub(super) from_ms: i64,
    pub(super) to_ms: i64,
    /// Scrapes that were made in it.
    pub(super) lost: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// Within the bound.
    Kill,
    /// A kill, but the others took longer than that.
    SlowTakeOver {
        bound_ms: i64,
    },
    Fault,
}

impl Kill {
    pub(super) fn json(&self) -> Value {
        json!({
            "agent": agent::name_of(self.agent), "targets": self.targets,
            "taken_over_after_ms": self.taken_over_ms.map(|at_ms| at_ms - self.at_ms),
            "longest_gap_ms": self.longest_gap_ms, "lost": self.lost,
        })
    }
}

impl Kills {
    pub(super) fn new(interval: Duration, agents: usize) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 4);
        Self { interval_ms, departures: vec![None; agents], all: Vec::new() }
    }

    /// `targets` are those it has.
    pub(super) fn gone(&mut self, agent: usize, how: Departure, targets: usize, now_ms: i64) {
        self.departures[agent] = Some(how);
        match how {
            Departure::Left => {}
            Departure::Killed => self.all.push(Kill {
                agent,
                at_ms: now_ms,
                targets,
                taken_over_ms: (targets == 0).then_some(now_ms),
                longest_gap_ms: 0,
                lost: 0,
                waits_for: targets,
            }),
        }
    }

    /// A target's sample came from another than the one before.
    pub(super) fn moved(&mut self, from: usize, now_ms: i64) {
        let Some(kill) = self.all.iter_mut().find(|kill| kill.agent == from) else { return };
        kill.waits_for = kill.waits_for.saturating_sub(1);
        if kill.waits_for == 0 {
            kill.taken_over_ms.get_or_insert(now_ms);
        }
    }

    /// A hole is owing to a kill if one lies in it, and the one that should have filled it is gone:
    /// no other agent's targets shall notice.
    pub(super) fn blame(&mut self, hole: &Hole) -> Cause {
        // A sample's time is that of the fleet, a kill's that of this host: milliseconds apart.
        let around = hole.from_ms - self.interval_ms / 2..=hole.to_ms;
        let mut inside: Vec<&mut Kill> =
            self.all.iter_mut().filter(|kill| around.contains(&kill.at_ms)).collect();
        let times = inside.iter().map(|kill| kill.at_ms);
        let (Some(first), Some(last)) = (times.clone().min(), times.max()) else {
            return Cause::Fault;
        };
        if self.departures[hole.sender].is_none() {
            return Cause::Fault;
        }
        let own = inside.iter().position(|kill| kill.agent == hole.sender).unwrap_or(0);
        let kill = &mut *inside[own];
        let gap_ms = hole.to_ms - hole.from_ms;
        kill.longest_gap_ms = kill.longest_gap_ms.max(gap_ms);
        kill.lost += hole.lost;
        // Who takes over may be killed before it has.
        let bound_ms = gap_ms_max(self.interval_ms) + (last - first);
        if gap_ms > bound_ms { Cause::SlowTakeOver { bound_ms } } else { Cause::Kill }
    }

    /// In their order.
    pub(super) fn all(&self) -> &[Kill] {
        &self.all
    }

    /// Whether somebody still has to take over.
    pub(super) fn is_calm(&self) -> bool {
        self.all.iter().all(|kill| kill.taken_over_ms.is_some())
    }

    pub(super) fn departures(&self) -> &[Option<Departure>] {
        &self.departures
    }

    /// What a kill may cost.
    pub(super) fn gap_ms_max(&self) -> i64 {
        gap_ms_max(self.interval_ms)
    }
}

fn gap_ms_max(interval_ms: i64) -> i64 {
    let take_over_ms = i64::try_from(TAKE_OVER_MAX.as_millis()).expect("a few seconds");
    interval_ms + take_over_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: usize = 1;
    const LEFT: usize = 2;
    const LIVING: usize = 0;

    fn kills(times_ms: &[i64]) -> Kills {
        let mut kills = Kills::new(Duration::from_secs(1), 9);
        kills.gone(LEFT, Departure::Left, 0, 0);
        for (number, at_ms) in times_ms.iter().enumerate() {
            kills.gone(KILLED + number * 2, Departure::Killed, 2, *at_ms);
        }
        kills
    }

    #[test]
    fn a_hole_is_a_fault_unless_a_kill_explains_it() {
        let check = |sender, from_ms, to_ms, times_ms: &[i64], expected| {
            let hole = Hole { sender, from_ms, to_ms, lost: 0 };
            assert_eq!(kills(times_ms).blame(&hole), expected, "{hole:?} {times_ms:?}");
        };
        check(KILLED, 10_000, 14_000, &[10_500], Cause::Kill);
        check(LEFT, 10_000, 14_000, &[10_500], Cause::Kill);
        check(LIVING, 10_000, 14_000, &[10_500], Cause::Fault);
        check(KILLED, 10_000, 14_000, &[], Cause::Fault);
        check(KILLED, 10_000, 14_000, &[14_001], Cause::Fault);
        check(KILLED, 10_000, 14_000, &[9_000], Cause::Fault);
        check(KILLED, 10_000, 16_000, &[10_500], Cause::Kill);
        check(KILLED, 10_000, 16_001, &[10_500], Cause::SlowTakeOver { bound_ms: 6_000 });
        check(KILLED, 10_000, 16_001, &[10_500, 11_500], Cause::Kill);
    }

    #[test]
    fn a_share_is_taken_over_with_its_last_target() {
        let mut kills = kills(&[10_000]);
        kills.moved(LIVING, 11_000);
        kills.moved(KILLED, 12_000);
        assert_eq!(kills.all()[0].taken_over_ms, None);
        kills.moved(KILLED, 13_000);
        assert_eq!(kills.all()[0].taken_over_ms, Some(13_000));
        kills.blame(&Hole { sender: KILLED, from_ms: 9_500, to_ms: 12_500, lost: 2 });
        kills.blame(&Hole { sender: KILLED, from_ms: 9_500, to_ms: 12_400, lost: 1 });
        assert_eq!((kills.all()[0].longest_gap_ms, kills.all()[0].lost), (3_000, 3));
    }

    #[test]
    fn nothing_waits_for_one_that_had_no_target() {
        let mut kills = Kills::new(Duration::from_secs(1), 1);
        kills.gone(0, Departure::Killed, 0, 7);
        assert_eq!(kills.all()[0].taken_over_ms, Some(7));
    }
}
