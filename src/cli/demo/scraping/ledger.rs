//! What the receiving end has been sent, by which agent, and what is wrong with it. Pure.

use std::{collections::BTreeMap, time::Duration};

use hashbrown::HashMap;

use crate::{
    cli::demo::{
        agent::Departure,
        receiver,
        scraping::{
            kills::{Cause, Hole, Kills},
            targets::SCRAPES_SERIES,
        },
    },
    model::{labels::METRIC_NAME, sample::is_stale_marker},
    wire::remote_write::{DecodeError, TimeSeries},
};

/// Samples of series beyond that many are counted and not checked.
const SERIES_MAX: usize = 100_000;
/// So many faults are named; all are counted.
const FAULTS_MAX: usize = 5;

/// Checks that each series goes on at its interval, each instant once and in order, whoever scrapes
/// its target.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    gap_ms_max: i64,
    series: HashMap<u128, Seen>,
    /// By `instance`.
    targets: BTreeMap<String, Target>,
    /// By agent.
    samples: Vec<u64>,
    /// The shortest and the longest step of any series since it was last asked for.
    steps_ms: Option<(i64, i64)>,
    kills: Kills,
    /// Whose last scrapes had not been sent when all ended.
    targets_behind: usize,
    totals: Totals,
    faults: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    sender: usize,
    last_ms: i64,
    value: f64,
    /// The last sample was the series' end: what comes after it may come any time.
    ended: bool,
}

#[derive(Clone, Copy, Debug)]
struct Target {
    /// Who sent the last of its samples.
    sender: usize,
    is_up: bool,
    last_down_ms: i64,
    /// How often it was scraped, by its own count.
    scrapes: f64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) samples: u64,
    /// None of these is owing to a kill.
    pub(super) gaps: u64,
    pub(super) duplicates: u64,
    pub(super) out_of_order: u64,
    /// Scrapes of which nothing arrived although a later one did.
    pub(super) lost: u64,
    /// Gaps after a kill that were longer than they may be.
    pub(super) slow_take_overs: u64,
    /// Requests that could not be read.
    pub(super) unreadable: u64,
}

impl Ledger {
    pub(super) fn new(interval: Duration, agents: usize) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 4);
        Self {
            gap_ms_max: interval_ms + interval_ms / 2,
            series: HashMap::new(),
            targets: BTreeMap::new(),
            samples: vec![0; agents],
            steps_ms: None,
            kills: Kills::new(interval, agents),
            targets_behind: 0,
            totals: Totals::default(),
            faults: Vec::new(),
        }
    }

    /// How many targets it had.
    pub(super) fn gone(&mut self, agent: usize, how: Departure, now_ms: i64) -> usize {
        let targets = self.targets_of(agent);
        self.kills.gone(agent, how, targets, now_ms);
        targets
    }

    /// Nothing more comes, and this target was scraped so often. What is missing at its end stayed on
    /// the disk of an agent that stopped; it is late, not lost.
    pub(super) fn close(&mut self, instance: &str, scrapes: u32) {
        let Some(target) = self.targets.get(instance) else { return };
        // Of a scrape that failed nothing but the failure is sent.
        if target.is_up && target.scrapes > 0.0 && f64::from(scrapes) > target.scrapes {
            self.targets_behind += 1;
        }
    }

    /// What a sample says of its target.
    fn note(&mut self, now: Seen, series: &TimeSeries, now_ms: i64) {
        let instance = series.labels.get("instance");
        match series.labels.get(METRIC_NAME) {
            "up" if now.ended => {
                self.targets.remove(instance);
            }
            "up" => self.note_up(instance, now, now_ms),
            SCRAPES_SERIES if !now.ended => {
                if let Some(target) = self.targets.get_mut(instance) {
                    target.scrapes = now.value;
                }
            }
            _ => {}
        }
    }

    fn note_up(&mut self, instance: &str, now: Seen, now_ms: i64) {
        let is_up = now.value > 0.5;
        let down_ms = if is_up { i64::MIN } else { now.last_ms };
        let fresh = Target { sender: now.sender, is_up, last_down_ms: down_ms, scrapes: 0.0 };
        let Some(target) = self.targets.get_mut(instance) else {
            self.targets.insert(instance.to_owned(), fresh);
            return;
        };
        let before = *target;
        let last_down_ms = before.last_down_ms.max(down_ms);
        *target = Target { last_down_ms, scrapes: before.scrapes, ..fresh };
        if before.sender != now.sender {
            self.kills.moved(before.sender, now_ms);
        }
    }

    fn compare(&mut self, before: Seen, now: Seen, series: &TimeSeries) {
        let step_ms = now.last_ms - before.last_ms;
        let (count, what) = match step_ms {
            0 => (&mut self.totals.duplicates, "twice the same instant"),
            ..0 => (&mut self.totals.out_of_order, "an instant before the last one"),
            1.. => return self.follow(before, now, series),
        };
        *count += 1;
        self.fault(format!("{what} ({step_ms} ms) at {} of {}", now.last_ms, series.labels));
    }

    /// A sample that is newer than the last: how much newer?
    fn follow(&mut self, before: Seen, now: Seen, series: &TimeSeries) {
        let target = self.targets.get(series.labels.get("instance"));
        let was_down = target.is_some_and(|target| {
            before.last_ms < target.last_down_ms && target.last_down_ms < now.last_ms
        });
        if before.ended || was_down {
            return;
        }
        let step_ms = now.last_ms - before.last_ms;
        let (shortest, longest) = self.steps_ms.unwrap_or((step_ms, step_ms));
        self.steps_ms = Some((shortest.min(step_ms), longest.max(step_ms)));

        let lost = lost_between(before, now, series);
        if step_ms <= self.gap_ms_max && lost == 0 {
            return;
        }
        let hole =
            Hole { sender: before.sender, from_ms: before.last_ms, to_ms: now.last_ms, lost };
        let (at, labels) = (now.last_ms, &series.labels);
        match self.kills.blame(&hole) {
            Cause::Kill => {}
            Cause::SlowTakeOver { bound_ms } => {
                self.totals.slow_take_overs += 1;
                self.fault(format!(
                    "a gap after a kill ({step_ms} ms, at most {bound_ms}) at {at} of {labels}"
                ));
            }
            Cause::Fault => {
                if step_ms > self.gap_ms_max {
                    self.totals.gaps += 1;
                    self.fault(format!("a gap ({step_ms} ms) at {at} of {labels}"));
                }
                if lost > 0 {
                    self.totals.lost += lost;
                    self.fault(format!("{lost} scrapes lost before {at} of {labels}"));
                }
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn series(&self) -> usize {
        self.series.len()
    }

    pub(super) fn targets(&self) -> usize {
        self.targets.len()
    }

    pub(super) fn targets_up(&self) -> usize {
        self.targets.values().filter(|target| target.is_up).count()
    }

    /// Whose last sample it sent.
    pub(super) fn targets_of(&self, agent: usize) -> usize {
        self.targets.values().filter(|target| target.sender == agent).count()
    }

    /// By agent.
    pub(super) fn samples(&self) -> &[u64] {
        &self.samples
    }

    /// Since this was last asked.
    pub(super) fn take_steps_ms(&mut self) -> Option<(i64, i64)> {
        self.steps_ms.take()
    }

    pub(super) fn kills(&self) -> &Kills {
        &self.kills
    }

    pub(super) fn targets_behind(&self) -> usize {
        self.targets_behind
    }

    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl receiver::Ledger for Ledger {
    fn take(&mut self, sender: usize, received: &[TimeSeries], now_ms: i64) {
        for series in received {
            let hash = series.labels.hash();
            for sample in &series.samples {
                self.totals.samples += 1;
                self.samples[sender] += 1;
                let now = Seen {
                    sender,
                    last_ms: sample.timestamp_ms,
                    value: sample.value,
                    ended: is_stale_marker(sample.value),
                };
                if let Some(seen) = self.series.get_mut(&hash) {
                    let before = *seen;
                    *seen = Seen { last_ms: before.last_ms.max(now.last_ms), ..now };
                    self.compare(before, now, series);
                } else if self.series.len() < SERIES_MAX {
                    self.series.insert(hash, now);
                } else {
                    continue;
                }
                self.note(now, series, now_ms);
            }
        }
    }

    fn unreadable(&mut self, fault: &DecodeError) {
        self.totals.unreadable += 1;
        self.fault(format!("a request could not be read: {fault}"));
    }
}

impl Totals {
    pub(super) fn faults(self) -> u64 {
        let Self { samples: _, gaps, duplicates, out_of_order, lost, slow_take_overs, unreadable } =
            self;
        gaps + duplicates + out_of_order + lost + slow_take_overs + unreadable
    }
}

/// Each target counts its scrapes, so a step of more than one tells of those that did not arrive.
fn lost_between(before: Seen, now: Seen, series: &TimeSeries) -> u64 {
    if now.ended || series.labels.get(METRIC_NAME) != SCRAPES_SERIES {
        return 0;
    }
    let lost = (now.value - before.value - 1.0).clamp(0.0, f64::from(u32::MAX));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
    let lost = lost as u64;
    lost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::demo::receiver::Ledger as _,
        model::{
            labels::Labels,
            sample::{Sample, stale_marker},
        },
    };

    /// Of the target `a`.
    fn series(name: &str, samples: &[(i64, f64)]) -> TimeSeries {
        let labels: Labels = [(METRIC_NAME, name), ("instance", "a")].into_iter().collect();
        let samples = samples
            .iter()
            .map(|(timestamp_ms, value)| Sample { value: *value, timestamp_ms: *timestamp_ms });
        TimeSeries { labels, samples: samples.collect(), ..TimeSeries::default() }
    }

    fn ledger() -> Ledger {
        Ledger::new(Duration::from_secs(1), 2)
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let check = |samples: &[(i64, f64)], gaps, duplicates, out_of_order| {
            let mut ledger = ledger();
            // Another series' instants are nothing to this one.
            ledger.take(0, &[series("b", &[(1, 0.0)])], 0);
            for (number, sample) in samples.iter().enumerate() {
                ledger.take(number % 2, &[series("a", &[*sample])], 0);
            }
            let received = samples.len() as u64 + 1;
            let expected =
                Totals { samples: received, gaps, duplicates, out_of_order, ..Totals::default() };
            assert_eq!(ledger.totals(), expected, "{samples:?}");
            assert_eq!(ledger.totals().faults(), gaps + duplicates + out_of_order);
            assert_eq!(ledger.faults().len() as u64, gaps + duplicates + out_of_order);
        };
        check(&[], 0, 0, 0);
        check(&[(0, 1.0), (1000, 1.0), (2400, 1.0)], 0, 0, 0);
        check(&[(0, 1.0), (2000, 1.0)], 1, 0, 0);
        check(&[(0, 1.0), (1000, 1.0), (1000, 2.0)], 0, 1, 0);
        check(&[(0, 1.0), (1000, 1.0), (0, 1.0), (2000, 1.0)], 0, 0, 1);
        check(&[(0, 1.0), (1000, stale_marker()), (60_000, 1.0)], 0, 0, 0);
        check(&[(0, 1.0), (9000, stale_marker())], 1, 0, 0);
    }

    #[test]
    fn a_target_that_is_down_leaves_no_gap() {
        let mut ledger = ledger();
        ledger.take(0, &[series("up", &[(0, 1.0)]), series("a", &[(0, 1.0)])], 0);
        for second in 1..5 {
            ledger.take(0, &[series("up", &[(second * 1000, 0.0)])], 0);
        }
        ledger.take(0, &[series("a", &[(5000, 1.0)]), series("up", &[(5000, 1.0)])], 0);
        assert_eq!(ledger.totals().faults(), 0, "{:?}", ledger.faults());
    }

    #[test]
    fn a_scrape_that_never_arrived_is_lost() {
        let mut ledger = ledger();
        let scrapes = |at_ms, count| [series(SCRAPES_SERIES, &[(at_ms, count)])];
        for (at_ms, count) in [(0, 1.0), (1000, 2.0), (2000, 4.0)] {
            ledger.take(0, &scrapes(at_ms, count), 0);
        }
        assert_eq!((ledger.totals().lost, ledger.totals().gaps), (1, 0));
        ledger.take(0, &scrapes(4000, 6.0), 0);
        assert_eq!((ledger.totals().lost, ledger.totals().gaps), (2, 1));

        ledger.take(0, &[series("up", &[(5000, 1.0)])], 0);
        ledger.take(0, &scrapes(5000, 7.0), 0);
        ledger.close("a", 7);
        assert_eq!(ledger.targets_behind(), 0);
        ledger.close("a", 8);
        assert_eq!((ledger.targets_behind(), ledger.totals().lost), (1, 2));
    }

    #[test]
    fn what_a_kill_cost_is_no_fault() {
        let mut ledger = ledger();
        let scrape = |at_ms, count| {
            [series("up", &[(at_ms, 1.0)]), series(SCRAPES_SERIES, &[(at_ms, count)])]
        };
        ledger.take(1, &scrape(0, 1.0), 10);
        ledger.take(1, &scrape(1000, 2.0), 1010);
        assert_eq!((ledger.targets_of(0), ledger.targets_of(1)), (0, 1));
        assert_eq!(ledger.gone(1, Departure::Killed, 2500), 1);
        ledger.take(0, &scrape(5000, 4.0), 5010);
        assert_eq!((ledger.targets_of(0), ledger.targets_of(1)), (1, 0));
        assert_eq!(ledger.totals().faults(), 0, "{:?}", ledger.faults());
        let kill = &ledger.kills().all()[0];
        assert_eq!((kill.longest_gap_ms, kill.lost, kill.taken_over_ms), (4000, 1, Some(5010)));

        ledger.gone(0, Departure::Killed, 5500);
        ledger.take(1, &scrape(11_500, 5.0), 0);
        assert_eq!(ledger.totals().slow_take_overs, 2, "{:?}", ledger.faults());
    }
}
