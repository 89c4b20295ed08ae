//! Keeps what ownership shows of itself up to date: the view and the metrics. Part of the shell in
//! `mod`.

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::registry::Registry;
use tokio::sync::{broadcast, watch};

use crate::{
    model::{member::NodeId, overrides::Overrides, slot::Slot},
    ownership::{
        exchange::{Exchange, Present, Tally},
        handoff::Line,
        meters::Meters,
        moves::{Move, Why},
        shares::Shares,
        view::{Drain, Owners, Quorum, View},
    },
};

/// Moves that a listener has not taken yet, by the look that found them; of more he misses the
/// oldest, and is told how many.
const LOOKS_MAX: usize = 256;

/// What others can see.
pub(super) struct Shown {
    pub view: watch::Receiver<Arc<View>>,
    pub owners: watch::Receiver<Arc<Owners>>,
    pub shares: watch::Receiver<Shares>,
    pub moves: broadcast::Sender<Arc<[Move]>>,
}

pub(super) struct Showing {
    me: NodeId,
    view: View,
    meters: Meters,
    seen: watch::Sender<Arc<View>>,
    owners: watch::Sender<Arc<Owners>>,
    shares: watch::Sender<Shares>,
    moves: broadcast::Sender<Arc<[Move]>>,
    /// When the hand-over of a line began that has not ended.
    began: BTreeMap<Line, i64>,
}

/// What is shown beside the hand-over.
pub(super) struct Condition<'a> {
    pub on_hold: bool,
    pub drain: Drain,
    pub quorum: Option<Quorum>,
    /// The samples per second of each member that has told.
    pub told: BTreeMap<NodeId, f64>,
    pub overrides: &'a Overrides,
    pub override_conflicts: u64,
    /// Targets of which the next owner is yet to be told.
    pub passing: usize,
}

impl Showing {
    pub(super) fn new(me: NodeId, registry: &mut Registry) -> (Shown, Self) {
        let (seen, view) = watch::channel(Arc::default());
        let (owners, owners_seen) = watch::channel(Arc::default());
        let (shares, shares_seen) = watch::channel(Shares::default());
        let moves = broadcast::Sender::new(LOOKS_MAX);
        let shown = Shown { view, owners: owners_seen, shares: shares_seen, moves: moves.clone() };
        let showing = Self {
            me,
            view: View::default(),
            meters: Meters::new(registry),
            seen,
            owners,
            shares,
            moves,
            began: BTreeMap::new(),
        };
        (shown, showing)
    }

    pub(super) fn moved(&mut self, moves: Vec<Move>, now_ms: i64) {
        self.view.moved(&moves);
        for why in Why::ALL {
            let slots = moves.iter().filter(|one| one.why == why).count();
            if slots > 0 {
                self.meters.moved(why, slots);
            }
        }
        let late = moves.iter().filter(|one| one.is_late).map(|one| one.at_ms);
        if let Some(at_ms) = late.min() {
            self.meters.fence_late(now_ms - at_ms);
        }
        if !moves.is_empty() {
            // Nobody may be listening.
            let _ = self.moves.send(moves.into());
        }
    }

    /// Who has what now; after all moves that led there were told.
    pub(super) fn owners(&self, present: &Present) {
        let is_known = |known: &Arc<Owners>| {
            known.table.as_ref().is_some_and(|table| Arc::ptr_eq(table, &present.table))
        };
        self.owners.send_if_modified(|owners| {
            let is_new = !is_known(owners);
            if is_new {
                let table = Some(Arc::clone(&present.table));
                *owners = Arc::new(Owners { since_ms: present.now_ms, table });
            }
            is_new
        });
    }

    /// When each slot is this member's.
    pub(super) fn shares(&self, shares: &Shares) {
        self.shares.send_if_modified(|shown| {
            let is_new = !shown.is_same_as(shares);
            if is_new {
                *shown = shares.clone();
            }
            is_new
        });
    }

    /// A target was taken over so long after its last scrape by its former owner.
    pub(super) fn gap(&mut self, gap_ms: i64) {
        self.view.gaps.add(gap_ms);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds between two scrapes")]
        self.meters.gap(gap_ms as f64 / 1000.0);
    }

    /// The slot came here, or went away.
    pub(super) fn began(&mut self, slot: Slot, destinations: &[Arc<str>], now_ms: i64) {
        for destination in destinations {
            self.began.insert(Line { slot, destination: Arc::clone(destination) }, now_ms);
        }
    }

    pub(super) fn exchanged(&mut self, tally: Tally, now_ms: i64) {
        for refused in tally.refused {
            self.view.hand_over.refused(refused);
        }
        for line in tally.ended {
            if let Some(began_ms) = self.began.remove(&line) {
                let took_ms = now_ms - began_ms;
                self.view.hand_over.took.add(took_ms);
                #[expect(clippy::cast_precision_loss, reason = "milliseconds of a hand-over")]
                self.meters.handed_over(took_ms as f64 / 1000.0);
            }
            self.view.hand_over.settled(&line);
        }
    }

    pub(super) fn publish(
        &mut self,
        exchange: &Exchange,
        present: &Present,
        condition: Condition<'_>,
    ) {
        let hand_over = &mut self.view.hand_over;
        hand_over.taking = exchange.rules().closed();
        hand_over.giving = exchange.rules().unfinished();
        hand_over.passing = condition.passing;
        let waits = hand_over.taking + hand_over.giving > 0;
        let longest_ms = self.began.values().min().map(|began_ms| present.now_ms - began_ms);
        hand_over.longest_wait_ms = longest_ms.filter(|_| waits);
        self.view.on_hold = condition.on_hold;
        self.view.drain = condition.drain;
        self.view.quorum = condition.quorum;
        self.view.weigh(&present.table, &present.roster, &condition.told);
        self.view.overrides = condition.overrides.stamp();
        self.view.placed = condition.overrides.clone();
        let latest = &condition.overrides.latest;
        self.view.overridden = latest.as_ref().map_or(0, |map| map.moves.len());
        self.view.override_conflicts = condition.override_conflicts;
        self.meters.set(&self.view, self.me);
        self.seen.send_if_modified(|seen| {
            let is_new = **seen != self.view;
            if is_new {
                *seen = Arc::new(self.view.clone());
            }
            is_new
        });
    }
}
