//! What the receiving end has been sent, and what is wrong with it. Pure.

use std::{fmt, time::Duration};

use hashbrown::HashMap;
use serde_json::{Value, json};

use crate::{model::sample::is_stale_marker, wire::remote_write::TimeSeries};

/// Samples of series beyond that many are counted and not checked.
const SERIES_MAX: usize = 100_000;
/// So many faults are named; all are counted.
const FAULTS_MAX: usize = 5;

/// Checks that each series goes on at its interval, each instant once and in order.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    gap_ms_max: i64,
    series: HashMap<u128, Seen>,
    totals: Totals,
    faults: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    last_ms: i64,
    /// The last sample was the series' end: what comes after it may come any time.
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) samples: u64,
    pub(super) gaps: u64,
    pub(super) duplicates: u64,
    pub(super) out_of_order: u64,
    /// Requests that could not be read.
    pub(super) unreadable: u64,
}

impl Ledger {
    pub(super) fn new(interval: Duration) -> Self {
        let interval_ms = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX / 2);
        Self {
            gap_ms_max: interval_ms + interval_ms / 2,
            series: HashMap::new(),
            totals: Totals::default(),
            faults: Vec::new(),
        }
    }

    pub(super) fn take(&mut self, received: &[TimeSeries]) {
        for series in received {
            let hash = series.labels.hash();
            for sample in &series.samples {
                self.totals.samples += 1;
                let now =
                    Seen { last_ms: sample.timestamp_ms, ended: is_stale_marker(sample.value) };
                if let Some(seen) = self.series.get_mut(&hash) {
                    let before = *seen;
                    *seen = Seen { last_ms: before.last_ms.max(now.last_ms), ..now };
                    self.compare(before, now, series);
                } else if self.series.len() < SERIES_MAX {
                    self.series.insert(hash, now);
                }
            }
        }
    }

    pub(super) fn unreadable(&mut self, fault: &impl fmt::Display) {
        self.totals.unreadable += 1;
        self.fault(format!("a request could not be read: {fault}"));
    }

    fn compare(&mut self, before: Seen, now: Seen, series: &TimeSeries) {
        let step_ms = now.last_ms - before.last_ms;
        let (count, what) = match step_ms {
            0 => (&mut self.totals.duplicates, "twice the same instant"),
            ..0 => (&mut self.totals.out_of_order, "an instant before the last one"),
            _ if step_ms > self.gap_ms_max && !before.ended => (&mut self.totals.gaps, "a gap"),
            _ => return,
        };
        *count += 1;
        self.fault(format!("{what} ({step_ms} ms) at {} of {}", now.last_ms, series.labels));
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

    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }

    pub(super) fn is_sound(&self) -> bool {
        self.totals == Totals { samples: self.totals.samples, ..Totals::default() }
    }

    pub(super) fn json(&self) -> Value {
        let Totals { samples, gaps, duplicates, out_of_order, unreadable } = self.totals;
        json!({
            "received": samples, "series": self.series.len(), "gaps": gaps,
            "duplicates": duplicates, "out_of_order": out_of_order, "unreadable": unreadable,
            "sound": self.is_sound(), "faults": self.faults,
        })
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { samples, gaps, duplicates, out_of_order, unreadable } = self.totals;
        write!(
            f,
            "received {samples} samples of {} series: {gaps} gaps, {duplicates} duplicates, \
             {out_of_order} out of order, {unreadable} unreadable requests",
            self.series.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        labels::Labels,
        sample::{Sample, stale_marker},
    };

    fn series(name: &str, samples: &[(i64, f64)]) -> TimeSeries {
        let labels: Labels = [("__name__", name)].into_iter().collect();
        let samples = samples
            .iter()
            .map(|(timestamp_ms, value)| Sample { value: *value, timestamp_ms: *timestamp_ms });
        TimeSeries { labels, samples: samples.collect(), exemplars: Vec::new() }
    }

    #[test]
    fn each_fault_is_counted_as_what_it_is() {
        let check = |samples: &[(i64, f64)], gaps, duplicates, out_of_order| {
            let mut ledger = Ledger::new(Duration::from_secs(1));
            // Another series' instants are nothing to this one.
            ledger.take(&[series("b", &[(1, 0.0)])]);
            for sample in samples {
                ledger.take(&[series("a", &[*sample])]);
            }
            let received = samples.len() as u64 + 1;
            let expected =
                Totals { samples: received, gaps, duplicates, out_of_order, unreadable: 0 };
            assert_eq!(ledger.totals(), expected, "{samples:?}");
            assert_eq!(ledger.is_sound(), gaps + duplicates + out_of_order == 0, "{samples:?}");
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
}
