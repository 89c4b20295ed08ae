//! One ordered way out: the records of a share of the streams, and at most one request on its way.
//! Pure: `(state, event, now) -> effects`; `queue` holds the lanes of a destination.

use std::ops::Range;

use rand::{Rng, RngExt};

use crate::{
    model::slot::Slot,
    outbox::{
        draft::{Draft, Size},
        entries::{Entries, Taken},
        entry::Entry,
        loss::Reason,
        verdict::Verdict,
    },
};

/// What the search for bad samples may spend on one request; the undecided rest is then given up.
const SEARCH_REQUESTS_MAX: u32 = 128;

/// A lane that had something bad, or something too large, sends alone for so long: others would have
/// to send theirs again each time.
const ALONE_MS: i64 = 60_000;

/// Of a request, compressed, until a 413 teaches better.
pub(super) const REQUEST_BYTES_MAX: u64 = 8 << 20;

/// How requests are formed and repeated; the same for all lanes of a destination.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rules {
    pub(super) request_samples_max: u32,
    /// What the destination is known to take; learned from a 413.
    pub(super) request_bytes_max: u64,
    /// How long a record may wait for company.
    pub(super) deadline_ms: i64,
    pub(super) backoff_min_ms: i64,
    pub(super) backoff_max_ms: i64,
}

/// One request to make: these of the lane's first records, or a part of their samples.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Attempt {
    /// Tells this attempt's answer from one that nobody waits for any more.
    pub(super) ticket: u64,
    pub(super) entries: Vec<Entry>,
    /// Counted over all samples of `entries`.
    pub(super) samples: Range<u32>,
    /// 0 for the first try.
    pub(super) repeat: u32,
}

/// What an answer has led to.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Outcome {
    pub(super) sent_samples: u32,
    /// Of what is released, something was stored.
    pub(super) arrived: bool,
    pub(super) lost: Vec<(Reason, u32)>,
    /// Gone from the lane: all of a request that is through.
    pub(super) released: Vec<Entry>,
}

#[derive(Debug, Default)]
pub(super) struct Lane {
    /// The first records, while they are being delivered.
    request: Option<Request>,
    /// The others.
    waiting: Entries,
    /// The first of those, as far as the next request may take them.
    draft: Draft,
    in_flight: Option<u64>,
    started_ms: i64,
    /// How long the last request took that was stored.
    took_ms: i64,
    not_before_ms: i64,
    /// The next wait; 0 while all is well.
    backoff_ms: i64,
    /// An attempt was made whose outcome nobody knows, and none since whose outcome is known.
    maybe_stored: bool,
    /// Shares no request before.
    alone_until_ms: i64,
    /// The last that is done with.
    position: u64,
}

/// A request that is being delivered. Parts of it may be stored already, and others given up.
#[derive(Debug)]
struct Request {
    records: Vec<Taken>,
    /// Where each record is among these, sorted by sequence.
    places: Vec<(u64, usize)>,
    /// The sample at which each record ends.
    ends: Vec<u32>,
    /// What is still to be sent; the last one first.
    parts: Vec<Range<u32>>,
    repeat: u32,
    /// A part was stored.
    arrived: bool,
    /// Something within was rejected, and is being searched for.
    searching: bool,
    /// Answers that decided something since then.
    search_requests: u32,
}

impl Lane {
    /// In the order in which they leave.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        let delivered = self.request.iter().flat_map(|request| &request.records);
        delivered.map(|taken| &taken.entry).chain(self.waiting.iter())
    }

    pub(super) fn first(&self) -> Option<&Entry> {
        self.entries().next()
    }

    pub(super) fn len(&self) -> usize {
        self.request.as_ref().map_or(0, |request| request.records.len()) + self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    /// Waiting after a failure.
    pub(super) fn is_backing_off(&self, now_ms: i64) -> bool {
        self.in_flight.is_none() && self.not_before_ms > now_ms
    }

    /// What has kept it waiting may be over.
    pub(super) fn try_at_once(&mut self) {
        (self.not_before_ms, self.backoff_ms) = (0, 0);
    }

    /// A request is under way that has failed before, or the first after one that has.
    pub(super) fn is_repeating(&self) -> bool {
        let fails = self.in_flight.is_some() && self.backoff_ms > 0;
        fails || self.request.as_ref().is_some_and(|request| request.repeat > 1)
    }

    /// The records of a request that is not answered yet.
    pub(super) fn on_its_way(&self) -> impl Iterator<Item = &Entry> {
        let request = self.request.as_ref().filter(|_| self.in_flight.is_some());
        request.into_iter().flat_map(|request| &request.records).map(|taken| &taken.entry)
    }

    /// A request is not answered yet that has, or may have, divided records of the slot.
    pub(super) fn is_under_way(&self, slot: Slot) -> bool {
        // What was in one that was dissolved since is not known any more.
        let is_unknown = self.in_flight.is_some() && self.request.is_none();
        is_unknown || self.on_its_way().any(|entry| entry.is_divided() && entry.slot() == slot)
    }

    /// The first request may have been sent by a process that did not live to hear the answer.
    pub(super) fn expect_repeats(&mut self) {
        self.maybe_stored = true;
    }

    pub(super) fn expects_repeats(&self) -> bool {
        self.maybe_stored
    }

    pub(super) fn push(&mut self, entry: Entry, rules: &Rules) {
        // One that is not full has all there are.
        if !self.draft.is_full() {
            self.draft.consider(&entry, rules, self.took_ms);
        }
        self.waiting.push(entry);
    }

    /// Records that had to wait outside, in the order of their line; `order` rises with each that
    /// ever comes so.
    pub(super) fn push_late(&mut self, entries: &[Entry], order: &mut u64, rules: &Rules) {
        for entry in entries {
            self.waiting.push_late(*entry, *order);
            *order += 1;
        }
        self.redraft(rules);
    }

    /// When `start` has something to do; `None` while nothing but an event can bring that about.
    /// `at_once`: without waiting for company.
    pub(super) fn due_ms(&self, rules: &Rules, at_once: bool) -> Option<i64> {
        let first = self.first()?;
        if self.in_flight.is_some() {
            return None;
        }
        let waits = self.request.is_none() && !self.draft.is_full() && !at_once;
        let ready_ms = if waits { first.appended_ms + rules.deadline_ms } else { i64::MIN };
        Some(ready_ms.max(self.not_before_ms))
    }

    /// What it has for a request that it shares with others; `None` while something of its own is being
    /// delivered, or is not known to be well.
    pub(super) fn share(&self, now_ms: i64) -> Option<Size> {
        let is_well = self.request.is_none()
            && self.in_flight.is_none()
            && self.backoff_ms == 0
            && self.not_before_ms <= now_ms
            && self.alone_until_ms <= now_ms
            && !self.maybe_stored;
        (is_well && self.draft.records() > 0).then(|| self.draft.size())
    }

    /// The next attempt; the caller has asked `due_ms` whether it is time.
    pub(super) fn start(&mut self, ticket: u64, now_ms: i64, rules: &Rules) -> Option<Attempt> {
        if self.in_flight.is_some() {
            return None;
        }
        if self.request.is_none() {
            let records = (0..self.draft.records()).filter_map(|_| self.waiting.pop()).collect();
            self.request = Request::of(records);
            self.redraft(rules);
        }
        let request = self.request.as_mut()?;
        let part = request.parts.last().expect("a request without parts is through").clone();
        let repeat = request.repeat;
        request.repeat += 1;
        self.in_flight = Some(ticket);
        self.started_ms = now_ms;
        let entries = request.records.iter().map(|taken| taken.entry).collect();
        Some(Attempt { ticket, entries, samples: part, repeat })
    }

    /// The attempt came to nothing: what it needs is not there yet, or no longer; or it was a part of
    /// a request whose answer does not say which part it is about.
    pub(super) fn take_back(&mut self, ticket: u64) {
        if self.in_flight == Some(ticket) {
            self.in_flight = None;
            if let Some(request) = &mut self.request {
                request.repeat -= 1;
            }
        }
    }

    pub(super) fn answer(
        &mut self,
        ticket: u64,
        verdict: Verdict,
        now_ms: i64,
        rules: &Rules,
        chance: &mut impl Rng,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if self.in_flight != Some(ticket) {
            return outcome;
        }
        self.in_flight = None;
        let maybe_stored = self.maybe_stored;
        match verdict {
            Verdict::Retry { wait_ms, maybe_stored } => {
                self.maybe_stored |= maybe_stored;
                self.back_off(wait_ms, now_ms, rules, chance);
                return outcome;
            }
            // The hold is the tenant's, not the lane's.
            Verdict::Hold => return outcome,
            // Not a failure of the same bytes.
            Verdict::OtherForm { maybe_stored } => {
                self.maybe_stored |= maybe_stored;
                if let Some(request) = &mut self.request {
                    request.repeat -= 1;
                }
                return outcome;
            }
            Verdict::Stored
            | Verdict::StoredPartly { .. }
            | Verdict::TooLarge
            | Verdict::Rejected
            | Verdict::Refused => {}
        }
        self.try_at_once();
        let alone_ms = if verdict.is_of_some() { ALONE_MS } else { 0 };
        self.alone_until_ms = self.alone_until_ms.max(now_ms.saturating_add(alone_ms));
        // Records were dropped under the request: what it held is formed anew.
        let Some(request) = &mut self.request else { return outcome };
        request.repeat = 0;
        match verdict {
            Verdict::Stored => {
                outcome.sent_samples = request.finish_part();
                request.arrived = true;
                self.took_ms = now_ms - self.started_ms;
            }
            Verdict::StoredPartly { refused, unsendable } => {
                let all = request.finish_part();
                let unsendable = unsendable.min(all);
                let refused = refused.min(all - unsendable);
                outcome.sent_samples = all - unsendable - refused;
                request.arrived |= outcome.sent_samples > 0;
                let lost = [(Reason::Unsendable, unsendable), (Reason::NotWritten, refused)];
                outcome.lost.extend(lost.into_iter().filter(|(_, samples)| *samples > 0));
                self.took_ms = now_ms - self.started_ms;
            }
            Verdict::Refused => outcome.lost.push((Reason::Refused, request.finish_part())),
            Verdict::TooLarge => {
                if !request.halve() {
                    outcome.lost.push((Reason::TooLarge, request.finish_part()));
                }
            }
            Verdict::Rejected => request.reject(maybe_stored, &mut outcome),
            Verdict::Retry { .. } | Verdict::Hold | Verdict::OtherForm { .. } => {}
        }
        if let Some(lost) = request.give_up_search() {
            let reason =
                if maybe_stored { Reason::MaybeStored } else { Reason::RejectedUnresolved };
            outcome.lost.push((reason, lost));
        }
        if let Some(request) = self.request.take_if(|request| request.parts.is_empty()) {
            outcome.arrived = request.arrived;
            outcome.released = request.records.into_iter().map(|taken| taken.entry).collect();
            self.position = outcome.released.last().map_or(self.position, |last| last.sequence);
            self.maybe_stored = false;
            // How long it took tells how much the next may have.
            self.redraft(rules);
        }
        outcome
    }

    /// The oldest record leaves unsent, also if it is on its way: that answer counts no more.
    pub(super) fn drop_first(&mut self, rules: &Rules) -> Option<Entry> {
        self.dissolve();
        let first = self.waiting.pop();
        self.redraft(rules);
        let entry = first?.entry;
        self.position = entry.sequence;
        Some(entry)
    }

    /// A record from anywhere leaves unsent. Only for what never was on disk, or is lost there: the
    /// position does not tell of it.
    pub(super) fn remove(&mut self, sequence: u64, rules: &Rules) -> Option<Entry> {
        if self.request.as_ref().is_some_and(|request| request.place_of(sequence).is_some()) {
            self.dissolve();
        }
        let entry = self.waiting.remove(sequence);
        self.redraft(rules);
        entry
    }

    /// Records leave unsent, to wait outside. Those on their way stay until they are answered.
    pub(super) fn pull(&mut self, leaves: impl Fn(&Entry) -> bool, rules: &Rules) -> Vec<Entry> {
        self.dissolve_before(&leaves);
        let pulled = self.waiting.pull(leaves);
        self.redraft(rules);
        pulled
    }

    /// The same, for ever.
    pub(super) fn withdraw(
        &mut self,
        leaves: impl Fn(&Entry) -> bool,
        rules: &Rules,
    ) -> Vec<Entry> {
        self.dissolve_before(&leaves);
        let withdrawn = self.waiting.withdraw(leaves);
        self.redraft(rules);
        withdrawn
    }

    pub(super) fn entry(&self, sequence: u64) -> Option<&Entry> {
        let request = self.request.as_ref();
        match request.and_then(|request| Some((request, request.place_of(sequence)?))) {
            Some((request, at)) => Some(&request.records[at].entry),
            None => self.waiting.get(sequence),
        }
    }

    pub(super) fn entry_mut(&mut self, sequence: u64) -> Option<&mut Entry> {
        let request = self.request.as_mut();
        match request.and_then(|request| request.place_of(sequence).map(|at| (request, at))) {
            Some((request, at)) => Some(&mut request.records[at].entry),
            None => self.waiting.get_mut(sequence),
        }
    }

    /// After the rules have changed. A request that was begun keeps its form.
    pub(super) fn redraft(&mut self, rules: &Rules) {
        self.draft.clear();
        self.draft.extend(self.waiting.iter(), rules, self.took_ms);
    }

    /// A request that is not on its way, where something of it leaves.
    fn dissolve_before(&mut self, leaves: impl Fn(&Entry) -> bool) {
        let request = self.request.as_ref().filter(|_| self.in_flight.is_none());
        if request.is_some_and(|request| request.records.iter().any(|t| leaves(&t.entry))) {
            self.dissolve();
        }
    }

    /// An attempt on its way may yet be stored, and a part that was will come again.
    fn dissolve(&mut self) {
        if let Some(request) = self.request.take() {
            self.maybe_stored |= self.in_flight.is_some() || request.arrived;
            self.waiting.put_back(request.records);
        }
    }

    fn back_off(
        &mut self,
        wait_ms: Option<i64>,
        now_ms: i64,
        rules: &Rules,
        chance: &mut impl Rng,
    ) {
        let wait_ms = wait_ms.unwrap_or_else(|| {
            let full = self.backoff_ms.max(rules.backoff_min_ms);
            // Lanes that failed together should not come back together.
            chance.random_range(full - full / 4..=full).max(rules.backoff_min_ms)
        });
        self.not_before_ms = now_ms.saturating_add(wait_ms);
        let doubled = wait_ms.max(self.backoff_ms).saturating_mul(2);
        self.backoff_ms = doubled.min(rules.backoff_max_ms).max(rules.backoff_min_ms);
    }
}

impl Request {
    fn of(records: Vec<Taken>) -> Option<Self> {
        let ends: Vec<u32> = records
            .iter()
            .scan(0_u32, |end, taken| {
                *end = end.saturating_add(taken.entry.samples);
                Some(*end)
            })
            .collect();
        let all = 0..*ends.last()?;
        let sequences = records.iter().map(|taken| taken.entry.sequence);
        let mut places: Vec<(u64, usize)> = sequences.zip(0..).collect();
        places.sort_unstable();
        Some(Self {
            records,
            places,
            ends,
            parts: vec![all],
            repeat: 0,
            arrived: false,
            search_requests: 0,
            searching: false,
        })
    }

    fn place_of(&self, sequence: u64) -> Option<usize> {
        let at = self.places.binary_search_by_key(&sequence, |(sequence, _)| *sequence).ok()?;
        Some(self.places[at].1)
    }

    /// How many samples the part had that is now decided.
    fn finish_part(&mut self) -> u32 {
        self.search_requests += u32::from(self.searching);
        self.parts.pop().map_or(0, |part| part.end - part.start)
    }

    fn reject(&mut self, maybe_stored: bool, outcome: &mut Outcome) {
        self.searching = true;
        if self.halve() {
            self.search_requests += 1;
        } else {
            let reason = if maybe_stored { Reason::MaybeStored } else { Reason::Rejected };
            outcome.lost.push((reason, self.finish_part()));
        }
    }

    /// Between two records if there are, as that needs no unpacking. False for a single sample.
    fn halve(&mut self) -> bool {
        let Some(part) = self.parts.last().cloned() else { return false };
        if part.end - part.start < 2 {
            return false;
        }
        let middle = part.start + (part.end - part.start) / 2;
        let inside = |end: &&u32| part.start < **end && **end < part.end;
        let border = self.ends.iter().filter(inside).min_by_key(|end| end.abs_diff(middle));
        let cut = border.copied().unwrap_or(middle);
        self.parts.pop();
        self.parts.push(cut..part.end);
        self.parts.push(part.start..cut);
        true
    }

    /// The samples of all parts, where the search has cost enough.
    fn give_up_search(&mut self) -> Option<u32> {
        if self.search_requests < SEARCH_REQUESTS_MAX || self.parts.is_empty() {
            return None;
        }
        Some(self.parts.drain(..).map(|part| part.end - part.start).sum())
    }
}

#[cfg(test)]
mod tests {
    use rand::{SeedableRng, rngs::StdRng};

    use super::*;
    use crate::{model::slot::StreamKey, outbox::entry::Making};

    const STORED: Verdict = Verdict::Stored;
    const BUSY: Verdict = Verdict::Retry { wait_ms: None, maybe_stored: false };
    const LOST_ANSWER: Verdict = Verdict::Retry { wait_ms: None, maybe_stored: true };

    fn rules() -> Rules {
        Rules {
            request_samples_max: 100,
            request_bytes_max: 1000,
            deadline_ms: 50,
            backoff_min_ms: 30,
            backoff_max_ms: 400,
        }
    }

    type Lost = Vec<(Reason, u32)>;
    /// Stream, round and samples of each.
    type Records = &'static [(u64, i64, u32)];

    /// A lane, and a clock that stands still unless told.
    struct Bench {
        lane: Lane,
        rules: Rules,
        chance: StdRng,
        now_ms: i64,
        next: u64,
    }

    impl Bench {
        fn new() -> Self {
            let chance = StdRng::seed_from_u64(7);
            Self { lane: Lane::default(), rules: rules(), chance, now_ms: 1000, next: 1 }
        }

        /// `(stream, round, samples)` each.
        fn with(records: &[(u64, i64, u32)]) -> Self {
            let mut bench = Self::new();
            for (stream, round, samples) in records {
                bench.push(*stream, *round, *samples);
            }
            bench
        }

        fn push(&mut self, stream: u64, round: i64, samples: u32) {
            let entry = Entry {
                sequence: self.next,
                stream: StreamKey(stream),
                round,
                making: Making::Whole { pushed: false },
                oldest_ms: 0,
                appended_ms: self.now_ms,
                bytes: 10 * samples,
                raw_length: 0,
                samples,
                place: None,
            };
            self.next += 1;
            self.lane.push(entry, &self.rules);
        }

        fn due_in(&self) -> Option<i64> {
            self.lane.due_ms(&self.rules, false).map(|due_ms| (due_ms - self.now_ms).max(0))
        }

        fn start(&mut self) -> Attempt {
            self.lane.start(9, self.now_ms, &self.rules).expect("there is something to send")
        }

        fn answer(&mut self, verdict: Verdict) -> Outcome {
            self.lane.answer(9, verdict, self.now_ms, &self.rules, &mut self.chance)
        }

        /// Sends until the lane is empty, or as often as said, and a receiver that judges by the
        /// samples asked for. Gives what was stored, and how many requests that took.
        fn run(&mut self, judge: impl Fn(&Range<u32>) -> Verdict) -> (u32, Lost, u32) {
            let (mut sent, mut lost, mut requests) = (0, Vec::new(), 0);
            while self.lane.due_ms(&self.rules, true).is_some() {
                let attempt = self.start();
                requests += 1;
                let outcome = self.answer(judge(&attempt.samples));
                sent += outcome.sent_samples;
                lost.extend(outcome.lost);
            }
            (sent, lost, requests)
        }
    }

    fn sequences(attempt: &Attempt) -> Vec<u64> {
        attempt.entries.iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn a_request_takes_what_may_go_together() {
        let cases: [(&str, Records, &str); 6] = [
            ("other streams", &[(1, 0, 5), (2, 0, 5), (3, 7, 5)], "[1, 2, 3]"),
            ("until a stream repeats", &[(1, 0, 5), (2, 0, 5), (1, 1, 5), (3, 0, 5)], "[1, 2]"),
            ("pieces of one round", &[(1, 0, 5), (1, 0, 5), (1, 1, 5)], "[1, 2]"),
            ("until it is full", &[(1, 0, 60), (2, 0, 40), (3, 0, 1)], "[1, 2]"),
            ("not beyond", &[(1, 0, 60), (2, 0, 41)], "[1]"),
            ("one at least", &[(1, 0, 500), (2, 0, 1)], "[1]"),
        ];
        for (what, records, expected) in cases {
            let taken = sequences(&Bench::with(records).start());
            assert_eq!(format!("{taken:?}"), expected, "{what}");
        }
    }

    #[test]
    fn a_destination_slower_than_the_scrapes_gets_several_rounds_at_once() {
        let cases = [(900, "[2]"), (1000, "[2]"), (1001, "[2, 3]"), (2500, "[2, 3, 4]")];
        for (took_ms, expected) in cases {
            let mut bench = Bench::new();
            for scrape in 0..6 {
                bench.now_ms = 1000 * scrape;
                bench.push(1, bench.now_ms, 2);
            }
            bench.start();
            bench.now_ms += took_ms;
            bench.answer(STORED);
            assert_eq!(format!("{:?}", sequences(&bench.start())), expected, "{took_ms} ms");
        }
        let mut at_once = Bench::with(&[(1, 0, 2), (1, 1, 2), (1, 2, 2)]);
        at_once.start();
        at_once.now_ms += 2500;
        at_once.answer(STORED);
        assert_eq!(sequences(&at_once.start()), [2], "samples of one scrape stay apart");
    }

    #[test]
    fn it_waits_for_company_no_longer_than_it_makes_sense() {
        assert_eq!(Bench::new().due_in(), None);
        let cases: [(&str, Records, i64); 4] = [
            ("room for more", &[(1, 0, 5), (2, 0, 5)], 50),
            ("full", &[(1, 0, 50), (2, 0, 50)], 0),
            ("the next does not fit", &[(1, 0, 50), (2, 0, 51)], 0),
            ("a stream repeats", &[(1, 0, 5), (1, 1, 5)], 0),
        ];
        for (what, records, expected) in cases {
            assert_eq!(Bench::with(records).due_in(), Some(expected), "{what}");
        }
        let mut bench = Bench::with(&[(1, 0, 5)]);
        bench.now_ms += 20;
        assert_eq!(bench.due_in(), Some(30));
        bench.start();
        assert_eq!(bench.due_in(), None, "one request at a time");
    }

    #[test]
    fn the_same_bytes_are_repeated_with_growing_waits() {
        let mut bench = Bench::with(&[(1, 0, 5), (2, 0, 5)]);
        let first = bench.start();
        let mut waits = Vec::new();
        for repeat in 1..=6 {
            assert_eq!(bench.answer(BUSY), Outcome::default());
            bench.push(3, 0, 5);
            waits.push(bench.due_in().unwrap());
            bench.now_ms += waits.last().unwrap();
            let again = bench.start();
            assert_eq!((sequences(&again), again.samples), (sequences(&first), 0..10));
            assert_eq!(again.repeat, repeat);
        }
        let bounds = [(30, 30), (45, 60), (90, 120), (180, 240), (300, 400), (300, 400)];
        for (wait, (least, most)) in waits.iter().zip(bounds) {
            assert!((least..=most).contains(wait), "{waits:?}");
        }
        assert_eq!(bench.answer(STORED).sent_samples, 10);
        bench.start();
        bench.answer(BUSY);
        assert_eq!(bench.due_in(), Some(30), "success starts the waits over");
    }

    #[test]
    fn what_the_destination_asks_for_goes_before_the_own_wait() {
        let mut bench = Bench::with(&[(1, 0, 5)]);
        bench.start();
        bench.answer(Verdict::Retry { wait_ms: Some(150), maybe_stored: false });
        assert_eq!(bench.due_in(), Some(150));
        bench.now_ms += 150;
        bench.start();
        bench.answer(BUSY);
        assert!((225..=300).contains(&bench.due_in().unwrap()), "{:?}", bench.due_in());
    }

    #[test]
    fn a_confirmed_request_moves_the_position_and_frees_its_records() {
        let mut bench = Bench::with(&[(1, 0, 5), (2, 0, 5), (1, 1, 5)]);
        bench.start();
        let outcome = bench.answer(STORED);
        assert_eq!((outcome.sent_samples, outcome.released.len()), (10, 2));
        assert_eq!(bench.lane.position(), 2);
        assert_eq!(sequences(&bench.start()), [3]);
    }

    /// `records` in samples, `bad` counted over all of them.
    #[track_caller]
    fn check_search(records: &[u32], bad: &[u32], requests_max: u32) {
        let records: Vec<_> = (1..).zip(records).map(|(stream, n)| (stream, 0, *n)).collect();
        let total: u32 = records.iter().map(|(.., samples)| samples).sum();
        let judge = |samples: &Range<u32>| {
            let hit = bad.iter().any(|at| samples.contains(at));
            if hit { Verdict::Rejected } else { STORED }
        };
        let (sent, lost, requests) = Bench::with(&records).run(judge);
        assert_eq!(sent, total - u32::try_from(bad.len()).unwrap());
        assert_eq!(lost, vec![(Reason::Rejected, 1); bad.len()]);
        assert!(requests <= requests_max, "{requests} requests");
    }

    #[test]
    fn bad_samples_are_found_and_the_rest_is_stored() {
        check_search(&[40], &[], 1);
        check_search(&[1], &[0], 1);
        check_search(&[64], &[17], 13);
        check_search(&[10; 10], &[37], 16);
        check_search(&[50, 50], &[0, 99], 28);
    }

    #[test]
    fn a_search_without_end_is_given_up_and_counted() {
        let mut bench = Bench::with(&[(1, 0, 1000)]);
        let (sent, lost, requests) = bench.run(|_| Verdict::Rejected);
        assert_eq!((sent, requests), (0, SEARCH_REQUESTS_MAX));
        assert_eq!(lost.iter().map(|(_, samples)| samples).sum::<u32>(), 1000);
        assert_eq!(lost.last().unwrap().0, Reason::RejectedUnresolved);
    }

    #[test]
    fn too_large_is_split_until_it_fits_however_long_that_takes() {
        let mut bench = Bench::with(&[(1, 0, 90), (2, 0, 1000)]);
        let judge = |samples: &Range<u32>| match samples.len() {
            0..=4 => STORED,
            _ => Verdict::TooLarge,
        };
        let (sent, lost, _) = bench.run(judge);
        assert_eq!((sent, lost), (1090, vec![]));
        let mut bench = Bench::with(&[(1, 0, 2)]);
        let (sent, lost, _) = bench.run(|_| Verdict::TooLarge);
        assert_eq!((sent, lost), (0, vec![(Reason::TooLarge, 1); 2]));
    }

    #[track_caller]
    fn check_rejection(before: &[Verdict], expected: Reason) {
        let mut bench = Bench::with(&[(1, 0, 1)]);
        for verdict in before {
            bench.start();
            bench.answer(*verdict);
        }
        bench.start();
        assert_eq!(bench.answer(Verdict::Rejected).lost, [(expected, 1)]);
        // What comes after it was never sent before.
        bench.push(1, 1, 1);
        bench.start();
        assert_eq!(bench.answer(Verdict::Rejected).lost, [(Reason::Rejected, 1)]);
    }

    #[test]
    fn a_rejection_after_a_lost_answer_is_no_loss_for_sure() {
        check_rejection(&[], Reason::Rejected);
        check_rejection(&[BUSY], Reason::Rejected);
        check_rejection(&[LOST_ANSWER], Reason::MaybeStored);
        check_rejection(&[LOST_ANSWER, BUSY], Reason::MaybeStored);
    }

    #[test]
    fn what_is_stored_in_part_is_through() {
        let mut bench = Bench::with(&[(1, 0, 5), (2, 0, 5)]);
        bench.start();
        let outcome = bench.answer(Verdict::StoredPartly { refused: 2, unsendable: 1 });
        assert_eq!((outcome.sent_samples, outcome.arrived, outcome.released.len()), (7, true, 2));
        assert_eq!(outcome.lost, [(Reason::Unsendable, 1), (Reason::NotWritten, 2)]);
        bench.push(1, 1, 3);
        bench.start();
        let outcome = bench.answer(Verdict::StoredPartly { refused: 9, unsendable: 0 });
        assert_eq!((outcome.sent_samples, outcome.arrived), (0, false));
        assert_eq!(outcome.lost, [(Reason::NotWritten, 3)], "no more than there were");
    }

    #[test]
    fn another_form_is_tried_at_once_and_is_no_repetition() {
        let mut bench = Bench::with(&[(1, 0, 1)]);
        bench.start();
        let other = Verdict::OtherForm { maybe_stored: false };
        assert_eq!(bench.answer(other), Outcome::default());
        assert_eq!((bench.due_in(), bench.start().repeat), (Some(0), 0));
        assert!(!bench.lane.is_repeating());
        bench.answer(Verdict::OtherForm { maybe_stored: true });
        bench.start();
        assert_eq!(bench.answer(Verdict::Rejected).lost, [(Reason::MaybeStored, 1)]);
    }

    #[test]
    fn records_dropped_under_a_request_dissolve_it() {
        let mut bench = Bench::with(&[(1, 0, 5), (2, 0, 5), (1, 1, 5)]);
        bench.start();
        assert_eq!(bench.lane.drop_first(&bench.rules).unwrap().sequence, 1);
        assert_eq!(bench.lane.start(10, 1000, &bench.rules), None, "its answer is still to come");
        assert_eq!(bench.answer(STORED), Outcome::default());
        let attempt = bench.start();
        assert_eq!((sequences(&attempt), attempt.samples), (vec![2, 3], 0..10));
        // The dissolved request may have been stored.
        assert_eq!(bench.answer(Verdict::Rejected).lost, []);
        bench.start();
        assert_eq!(bench.lane.remove(3, &bench.rules).unwrap().sequence, 3);
        assert_eq!(bench.lane.position(), 1, "a record from the middle moves no position");
    }

    #[test]
    fn an_answer_to_another_attempt_is_not_heard() {
        let mut bench = Bench::with(&[(1, 0, 5)]);
        bench.start();
        let stray = bench.lane.answer(8, STORED, 1000, &bench.rules, &mut bench.chance);
        assert_eq!(stray, Outcome::default());
        assert_eq!(bench.answer(STORED).sent_samples, 5);
    }
}
