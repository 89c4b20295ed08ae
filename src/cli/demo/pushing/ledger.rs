//! What edges have pushed, which gateway has acknowledged it, and what of it the receiving end was
//! sent, in which order. Pure.

use std::collections::VecDeque;

use crate::{
    cli::demo::{
        agent::Departure,
        pushing::{
            edge::{EDGE_LABEL, SERIES, SERIES_LABEL, edge_of},
            kills::{Held, Kills, Span},
        },
        receiver,
    },
    model::labels::Labels,
    wire::remote_write::{DecodeError, TimeSeries},
};

/// Pushes of an edge that are known, the latest.
const PUSHES_MAX: usize = 600;
/// What is acknowledged is stored within that, or it is missing.
const STORED_MS_MAX: i64 = 10_000;
/// So many faults are named; all are counted.
const FAULTS_MAX: usize = 5;

/// Holds what was acknowledged against what arrived.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    edges: Vec<Edge>,
    gateways: Vec<Gateway>,
    kills: Kills,
    totals: Totals,
    /// Of any push, until it was acknowledged.
    longest_wait_ms: i64,
    /// Since it was last asked for.
    recent_wait_ms: i64,
    faults: Vec<String>,
}

#[derive(Clone, Debug)]
struct Edge {
    /// In their order; only the last may be under way.
    pushes: VecDeque<Push>,
    /// Of each series, the newest instant that arrived.
    newest_ms: Vec<i64>,
}

/// One sample of each series of an edge.
#[derive(Clone, Copy, Debug)]
struct Push {
    at_ms: i64,
    tried_ms: i64,
    was_sent_again: bool,
    acknowledged_ms: Option<i64>,
    /// A bit for each series whose sample arrived.
    stored: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gateway {
    /// Pushes.
    pub(super) acknowledged: u64,
    /// Pushes that went on to the next.
    pub(super) passed_on: u64,
    /// Samples.
    pub(super) sent: u64,
}

/// Samples, but for the last three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) pushed: u64,
    pub(super) acknowledged: u64,
    pub(super) stored: u64,
    /// After newer ones of their series, owing to a kill.
    pub(super) late: u64,
    /// The same once more, owing to a kill or as its push was sent again.
    pub(super) repeated: u64,
    pub(super) out_of_order: u64,
    pub(super) duplicates: u64,
    /// Acknowledged, and forgotten here before they arrived.
    pub(super) lost: u64,
    /// Nobody has pushed them.
    pub(super) strange: u64,
    /// Pushes that no gateway will ever take.
    pub(super) refused: u64,
    /// Requests that could not be read.
    pub(super) unreadable: u64,
}

/// Where the samples are that were acknowledged and did not arrive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outstanding {
    /// Not for long, or their gateway is back for not so long.
    pub(super) under_way: u64,
    /// On the disk of a gateway that was killed, as far as can be seen from outside.
    pub(super) held: u64,
    pub(super) missing: u64,
}

impl Ledger {
    pub(super) fn new(edges: usize, gateways: usize) -> Self {
        let edge = Edge { pushes: VecDeque::new(), newest_ms: vec![i64::MIN; SERIES] };
        Self {
            edges: vec![edge; edges],
            gateways: vec![Gateway::default(); gateways],
            kills: Kills::new(gateways),
            totals: Totals::default(),
            longest_wait_ms: 0,
            recent_wait_ms: 0,
            faults: Vec::new(),
        }
    }

    /// The first try of a push with samples of `at_ms`; the one before is brought in.
    pub(super) fn pushing(&mut self, edge: usize, at_ms: i64, now_ms: i64) {
        self.totals.pushed += SERIES as u64;
        let pushes = &mut self.edges[edge].pushes;
        pushes.push_back(Push {
            at_ms,
            tried_ms: now_ms,
            was_sent_again: false,
            acknowledged_ms: None,
            stored: 0,
        });
        if pushes.len() > PUSHES_MAX
            && let Some(oldest) = pushes.pop_front()
        {
            let lost = oldest.outstanding();
            self.totals.lost += lost;
            if lost > 0 {
                self.fault(format!(
                    "{lost} samples of {} were acknowledged and never stored",
                    oldest.at_ms
                ));
            }
        }
    }

    pub(super) fn acknowledged(&mut self, edge: usize, gateway: usize, now_ms: i64) {
        self.totals.acknowledged += SERIES as u64;
        self.gateways[gateway].acknowledged += 1;
        let Some(push) = self.edges[edge].pushes.back_mut() else { return };
        push.acknowledged_ms = Some(now_ms);
        let span = push.span(now_ms);
        let wait_ms = span.to_ms - span.from_ms;
        self.longest_wait_ms = self.longest_wait_ms.max(wait_ms);
        self.recent_wait_ms = self.recent_wait_ms.max(wait_ms);
        self.kills.acknowledged(gateway, span);
    }

    /// The push goes on to the next gateway.
    pub(super) fn passed_on(&mut self, edge: usize, gateway: usize) {
        self.gateways[gateway].passed_on += 1;
        if let Some(push) = self.edges[edge].pushes.back_mut() {
            push.was_sent_again = true;
        }
    }

    pub(super) fn refused(&mut self, gateway: &str, why: &str) {
        self.totals.refused += 1;
        self.fault(format!("{gateway} refused a push: {why}"));
    }

    pub(super) fn gone(&mut self, gateway: usize, how: Departure, now_ms: i64) {
        self.kills.gone(gateway, how, now_ms);
    }

    pub(super) fn returned(&mut self, gateway: usize, now_ms: i64) {
        self.kills.returned(gateway, now_ms);
    }

    fn arrived(&mut self, labels: &Labels, at_ms: i64, now_ms: i64) {
        let place = place_of(labels).and_then(|(edge, series)| {
            let pushes = &self.edges.get(edge)?.pushes;
            Some((edge, series, pushes.binary_search_by_key(&at_ms, |push| push.at_ms).ok()?))
        });
        let Some((edge, series, push)) = place else {
            self.totals.strange += 1;
            self.fault(format!("a sample that nobody has pushed, at {at_ms} of {labels}"));
            return;
        };
        let Edge { pushes, newest_ms } = &mut self.edges[edge];
        let (push, newest_ms) = (&mut pushes[push], &mut newest_ms[series]);
        let bit = 1 << series;
        let (is_first, is_next) = (push.stored & bit == 0, at_ms > *newest_ms);
        push.stored |= bit;
        *newest_ms = at_ms.max(*newest_ms);
        self.totals.stored += u64::from(is_first);
        let (span, was_sent_again) = (push.span(now_ms), push.was_sent_again);
        let reason = self.kills.reason_for(span);
        match (is_first, is_next, reason) {
            (true, true, _) => {}
            (true, false, Some(kill)) => {
                kill.late += 1;
                self.totals.late += 1;
            }
            (false, _, Some(kill)) => {
                kill.repeated += 1;
                self.totals.repeated += 1;
            }
            (false, _, None) if was_sent_again => self.totals.repeated += 1,
            (true, false, None) => {
                self.totals.out_of_order += 1;
                self.fault(format!("after a newer one, the sample at {at_ms} of {labels}"));
            }
            (false, _, None) => {
                self.totals.duplicates += 1;
                self.fault(format!("twice, the sample at {at_ms} of {labels}"));
            }
        }
    }

    fn fault(&mut self, fault: String) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }

    pub(super) fn outstanding(&self, now_ms: i64) -> Outstanding {
        let mut all = Outstanding::default();
        for push in self.edges.iter().flat_map(|edge| &edge.pushes) {
            let count = push.outstanding();
            let Some(acknowledged_ms) = push.acknowledged_ms.filter(|_| count > 0) else {
                continue;
            };
            let is_fresh = now_ms - acknowledged_ms < STORED_MS_MAX;
            let place = match (self.kills.held(push.span(now_ms), now_ms), is_fresh) {
                (Held::Yes, _) => &mut all.held,
                (Held::Returning, _) | (Held::No, true) => &mut all.under_way,
                (Held::No, false) => &mut all.missing,
            };
            *place += count;
        }
        all
    }

    /// Whether all is stored that the gateway of a kill may have had when it was killed.
    pub(super) fn is_whole_after(&self, kill: usize) -> bool {
        let kill = &self.kills.all()[kill];
        let of_it =
            |push: &&Push| push.acknowledged_ms.is_some_and(|ms| kill.may_hold(push.span(ms)));
        let pushes = self.edges.iter().flat_map(|edge| &edge.pushes);
        kill.is_back && pushes.filter(of_it).all(|push| push.outstanding() == 0)
    }

    pub(super) fn totals(&self) -> Totals {
        self.totals
    }

    pub(super) fn gateways(&self) -> &[Gateway] {
        &self.gateways
    }

    pub(super) fn kills(&self) -> &Kills {
        &self.kills
    }

    /// The longest of a push since this was last asked.
    pub(super) fn take_wait_ms(&mut self) -> i64 {
        std::mem::take(&mut self.recent_wait_ms)
    }

    pub(super) fn longest_wait_ms(&self) -> i64 {
        self.longest_wait_ms
    }

    pub(super) fn faults(&self) -> &[String] {
        &self.faults
    }
}

impl receiver::Ledger for Ledger {
    fn take(&mut self, sender: usize, received: &[TimeSeries], now_ms: i64) {
        for series in received {
            for sample in &series.samples {
                self.gateways[sender].sent += 1;
                self.arrived(&series.labels, sample.timestamp_ms, now_ms);
            }
        }
    }

    fn unreadable(&mut self, fault: &DecodeError) {
        self.totals.unreadable += 1;
        self.fault(format!("a request could not be read: {fault}"));
    }
}

impl Push {
    fn span(&self, now_ms: i64) -> Span {
        Span { from_ms: self.tried_ms, to_ms: self.acknowledged_ms.unwrap_or(now_ms) }
    }

    /// Samples that were acknowledged and did not arrive.
    fn outstanding(&self) -> u64 {
        match self.acknowledged_ms {
            None => 0,
            Some(_) => SERIES as u64 - u64::from(self.stored.count_ones()),
        }
    }
}

impl Totals {
    pub(super) fn faults(self) -> u64 {
        let Self {
            pushed: _,
            acknowledged: _,
            stored: _,
            late: _,
            repeated: _,
            out_of_order,
            duplicates,
            lost,
            strange,
            refused,
            unreadable,
        } = self;
        out_of_order + duplicates + lost + strange + refused + unreadable
    }
}

/// Of which edge a sample is, and of which of its series.
fn place_of(labels: &Labels) -> Option<(usize, usize)> {
    let series = labels.get(SERIES_LABEL).parse().ok().filter(|series| *series < SERIES)?;
    Some((edge_of(labels.get(EDGE_LABEL))?, series))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::demo::{pushing::edge::labels_of, receiver::Ledger as _},
        model::sample::Sample,
    };

    const GATEWAY: usize = 1;

    /// Of one edge, whose push of each of these instants was acknowledged 10 ms later.
    fn ledger(pushed_ms: &[i64]) -> Ledger {
        let mut ledger = Ledger::new(1, 2);
        for at_ms in pushed_ms {
            ledger.pushing(0, *at_ms, *at_ms);
            ledger.acknowledged(0, GATEWAY, at_ms + 10);
        }
        ledger
    }

    fn store(ledger: &mut Ledger, at_ms: i64, series: impl Iterator<Item = usize>, now_ms: i64) {
        let sample = |series| TimeSeries {
            labels: labels_of(0, series),
            samples: vec![Sample { value: 1.0, timestamp_ms: at_ms }],
            ..TimeSeries::default()
        };
        ledger.take(GATEWAY, &series.map(sample).collect::<Vec<_>>(), now_ms);
    }

    #[test]
    fn what_was_acknowledged_must_be_stored_within_a_while() {
        let check =
            |killed_ms: Option<i64>, returned_ms: Option<i64>, now_ms, expected: [u64; 3]| {
                let mut ledger = ledger(&[1_000, 2_000]);
                store(&mut ledger, 1_000, 0..SERIES, 1_100);
                store(&mut ledger, 2_000, 0..SERIES - 3, 2_100);
                if let Some(killed_ms) = killed_ms {
                    ledger.gone(GATEWAY, Departure::Killed, killed_ms);
                }
                if let Some(returned_ms) = returned_ms {
                    ledger.returned(GATEWAY, returned_ms);
                }
                let [under_way, held, missing] = expected;
                let expected = Outstanding { under_way, held, missing };
                assert_eq!(ledger.outstanding(now_ms), expected, "{killed_ms:?} {returned_ms:?}");
                assert_eq!(ledger.totals().stored, 2 * SERIES as u64 - 3);
            };
        check(None, None, 3_000, [3, 0, 0]);
        check(None, None, 13_000, [0, 0, 3]);
        check(Some(2_100), None, 13_000, [0, 3, 0]);
        check(Some(2_100), Some(12_100), 13_000, [3, 0, 0]);
        check(Some(2_100), Some(12_100), 28_000, [0, 0, 3]);
        check(Some(1_500), None, 13_000, [0, 0, 3]);
    }

    #[test]
    fn a_kill_is_a_reason_for_what_comes_late_or_again() {
        let check = |killed_ms: Option<i64>, at_ms: &[i64], late, repeated, faults| {
            let mut ledger = ledger(&[1_000, 2_000]);
            if let Some(killed_ms) = killed_ms {
                ledger.gone(GATEWAY, Departure::Killed, killed_ms);
            }
            for at_ms in at_ms {
                store(&mut ledger, *at_ms, 0..1, 5_000);
            }
            let totals = ledger.totals();
            let found = (totals.late, totals.repeated, totals.faults());
            assert_eq!(found, (late, repeated, faults), "{at_ms:?} {:?}", ledger.faults());
            assert_eq!(ledger.faults().len() as u64, faults);
        };
        check(None, &[1_000, 2_000], 0, 0, 0);
        check(None, &[2_000, 1_000], 0, 0, 1);
        check(None, &[1_000, 1_000], 0, 0, 1);
        check(None, &[1_500], 0, 0, 1);
        check(Some(1_500), &[2_000, 1_000], 1, 0, 0);
        check(Some(1_500), &[1_000, 2_000, 1_000], 0, 1, 0);
        check(Some(500), &[2_000, 1_000], 0, 0, 1);
    }

    #[test]
    fn a_push_that_was_sent_again_may_be_stored_twice() {
        let mut ledger = ledger(&[1_000]);
        ledger.pushing(0, 2_000, 2_000);
        ledger.passed_on(0, GATEWAY);
        ledger.acknowledged(0, 0, 2_500);
        for _ in 0..2 {
            store(&mut ledger, 2_000, 0..1, 2_600);
        }
        assert_eq!((ledger.totals().repeated, ledger.totals().faults()), (1, 0));
        let [other, passed_by] = ledger.gateways() else { panic!("two gateways") };
        assert_eq!((other.acknowledged, passed_by.passed_on, passed_by.sent), (1, 1, 2));
        assert_eq!(ledger.longest_wait_ms(), 500);
        assert_eq!([ledger.take_wait_ms(), ledger.take_wait_ms()], [500, 0]);
    }

    #[test]
    fn all_is_whole_when_the_killed_one_is_back_and_its_samples_are_stored() {
        let mut ledger = ledger(&[1_000]);
        ledger.gone(GATEWAY, Departure::Killed, 1_500);
        ledger.returned(GATEWAY, 9_000);
        ledger.pushing(0, 10_000, 10_000);
        ledger.acknowledged(0, GATEWAY, 10_010);
        assert!(!ledger.is_whole_after(0));
        store(&mut ledger, 1_000, 0..SERIES, 10_100);
        assert!(ledger.is_whole_after(0), "what was pushed since is nothing to it");
    }
}
