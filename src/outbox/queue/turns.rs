//! Which requests are made now, and which lanes share one: fewer, larger requests cost all of us less.
//! Part of `queue`.
//!
//! While all is well, whoever is due takes along what the other lanes of its tenant have, as far as it
//! fits; and all are due as soon as they fill a request together. Each of them still has one request
//! under way at most, and so keeps its order. An answer that is the same for all counts for each; where
//! it tells of some of the samples only, nothing is decided, and each lane sends its own alone.

use std::{ops::Range, sync::Arc};

use rand::Rng;

use crate::{
    model::batch::Signal,
    outbox::{
        draft::Size,
        entry::{Entry, LaneKey},
        lane::Outcome,
        loss::Reason,
        queue::{Answered, Queue, Settled},
        verdict::Verdict,
    },
};

/// A request to make.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::outbox) struct Start {
    pub(in crate::outbox) ticket: u64,
    pub(in crate::outbox) signal: Signal,
    pub(in crate::outbox) tenant: Arc<str>,
    /// 0 for the first try.
    pub(in crate::outbox) repeat: u32,
    pub(in crate::outbox) shares: Vec<Share>,
}

/// What one lane has in a request: these of its first records, or a part of their samples.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::outbox) struct Share {
    pub(in crate::outbox) lane: usize,
    pub(in crate::outbox) entries: Vec<Entry>,
    /// Counted over all samples of `entries`.
    pub(in crate::outbox) samples: Range<u32>,
}

impl Queue {
    /// The requests to make now. `at_once`: without waiting for company, as when the agent ends.
    pub(in crate::outbox) fn start(&mut self, now_ms: i64, at_once: bool) -> Vec<Start> {
        self.forget_learned_size(now_ms);
        let mut starts = Vec::new();
        let mut ready = self.ready(now_ms);
        let first = self.next_lane;
        for n in 0..self.lanes.len() {
            if self.in_flight() >= self.limits.in_flight_max {
                break;
            }
            let number = (first + n) % self.lanes.len();
            let due_ms = self.lane_due_ms(number, &ready, now_ms, at_once);
            if due_ms.is_none_or(|due_ms| due_ms > now_ms) {
                continue;
            }
            let tenant = &self.lanes[number].0.tenant;
            let is_held = self.holds.contains(tenant);
            if !self.holds.admit(tenant, number, now_ms) {
                continue;
            }
            // Who asks whether it is held no longer asks alone.
            let members = if is_held { vec![number] } else { self.company_of(number, now_ms) };
            for member in &members {
                let share = self.lanes[*member].1.share(now_ms).unwrap_or_default();
                ready[self.company[*member]] = ready[self.company[*member]].without(share);
            }
            self.next_lane = number + 1;
            starts.extend(self.start_with(&members, now_ms));
        }
        starts
    }

    /// When `start` has something to do, if no event comes before.
    pub(in crate::outbox) fn start_due_ms(&self, now_ms: i64, at_once: bool) -> Option<i64> {
        if self.in_flight() >= self.limits.in_flight_max {
            return None;
        }
        let ready = self.ready(now_ms);
        let due = self.lanes.iter().enumerate().filter_map(|(number, (key, _))| {
            let due_ms = self.lane_due_ms(number, &ready, now_ms, at_once)?;
            self.holds.due_ms(&key.tenant, due_ms)
        });
        due.min()
    }

    /// `request_bytes` is the length of the body that was answered.
    pub(in crate::outbox) fn answer(
        &mut self,
        ticket: u64,
        verdict: Verdict,
        request_bytes: usize,
        now_ms: i64,
        chance: &mut impl Rng,
    ) -> Answered {
        let lanes = self.under_way.remove(&ticket).unwrap_or_default();
        let Some(first) = lanes.first() else { return Answered::default() };
        let until_ms = now_ms + self.limits.hold_ms;
        let held = self.holds.judge(&self.lanes[*first].0.tenant, verdict, until_ms);
        if verdict == Verdict::TooLarge {
            self.learn_size(request_bytes, now_ms);
        }
        let mut answered = Answered { sent_samples: 0, held };
        let mut verdict = verdict;
        for number in &lanes {
            if lanes.len() > 1 && verdict.is_of_some() {
                self.lanes[*number].1.take_back(ticket);
            } else {
                let outcome =
                    self.lanes[*number].1.answer(ticket, verdict, now_ms, &self.rules, chance);
                answered.sent_samples += u64::from(outcome.sent_samples);
                verdict = verdict.of_the_rest(&outcome.lost);
                self.conclude(*number, outcome, now_ms);
            }
            self.settle_lane(*number);
        }
        answered
    }

    /// The attempt could not be made, as `unreadable` records can't be had from disk any more.
    pub(in crate::outbox) fn take_back(&mut self, ticket: u64, unreadable: &[u64]) {
        let lanes = self.under_way.remove(&ticket).unwrap_or_default();
        for number in &lanes {
            self.holds.take_back(&self.lanes[*number].0.tenant, *number);
            self.lanes[*number].1.take_back(ticket);
            for sequence in unreadable {
                if self.lanes[*number].1.entry(*sequence).is_some() {
                    self.remove(*number, *sequence, Reason::Corrupt);
                }
            }
        }
        for sequence in unreadable {
            self.drop_held(*sequence, Reason::Corrupt);
        }
        for number in lanes {
            self.settle_lane(number);
        }
    }

    /// What the lanes of each company have ready to be shared.
    fn ready(&self, now_ms: i64) -> Vec<Size> {
        let share = |number: &usize| self.lanes[*number].1.share(now_ms);
        let sum = |members: &Vec<usize>| {
            members.iter().filter_map(share).fold(Size::default(), Size::with)
        };
        self.companies.iter().map(sum).collect()
    }

    fn lane_due_ms(
        &self,
        number: usize,
        ready: &[Size],
        now_ms: i64,
        at_once: bool,
    ) -> Option<i64> {
        let lane = &self.lanes[number].1;
        let fills = ready[self.company[number]].fills(&self.rules);
        if fills && lane.share(now_ms).is_some() {
            return Some(i64::MIN);
        }
        lane.due_ms(&self.rules, at_once)
    }

    /// The lane, and those that go with it.
    fn company_of(&self, number: usize, now_ms: i64) -> Vec<usize> {
        let mut members = vec![number];
        let Some(mut size) = self.lanes[number].1.share(now_ms) else { return members };
        let others = &self.companies[self.company[number]];
        let (before, behind) = others.split_at(others.partition_point(|other| *other <= number));
        for other in behind.iter().chain(before).filter(|other| **other != number) {
            let Some(share) = self.lanes[*other].1.share(now_ms) else { continue };
            if size.with(share).fits(&self.rules) {
                size = size.with(share);
                members.push(*other);
            }
        }
        members
    }

    fn start_with(&mut self, members: &[usize], now_ms: i64) -> Option<Start> {
        let ticket = self.take_ticket();
        let mut repeat = 0;
        let mut shares = Vec::with_capacity(members.len());
        for lane in members.iter().copied() {
            if let Some(attempt) = self.lanes[lane].1.start(ticket, now_ms, &self.rules) {
                repeat = attempt.repeat;
                shares.push(Share { lane, entries: attempt.entries, samples: attempt.samples });
            }
        }
        let LaneKey { signal, tenant, .. } = self.lanes[shares.first()?.lane].0.clone();
        self.under_way.insert(ticket, shares.iter().map(|share| share.lane).collect());
        Some(Start { ticket, signal, tenant, repeat, shares })
    }

    fn conclude(&mut self, number: usize, outcome: Outcome, now_ms: i64) {
        let lane = &self.lanes[number].1;
        let oldest = outcome.released.first().or_else(|| lane.first());
        let at_ms = oldest.map_or(now_ms, |entry| entry.oldest_ms);
        for (reason, samples) in outcome.lost {
            self.losses.add(reason, u64::from(samples), at_ms);
        }
        for entry in &outcome.released {
            if outcome.arrived && entry.is_divided() && !entry.is_pushed() {
                self.sent.note(entry.stream, entry.oldest_ms);
            }
            self.progress.left_first(number, entry);
            self.forget(entry, Settled::Safe);
        }
    }
}
