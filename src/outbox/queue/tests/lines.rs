//! The rules of lines: what waits, in which order it leaves, what is handed over, and what of it all
//! the positions on disk may say.

use std::collections::BTreeSet;

use super::*;
use crate::{
    model::{
        record::{RecordName, Sent},
        slot::StreamKey,
    },
    outbox::lines::Stored,
};

const ME: u128 = 1;
const OTHER: u128 = 9;
pub(super) const LOST: Verdict = Verdict::Retry { wait_ms: None, maybe_stored: true };

pub(super) fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn stream(slot: u16) -> StreamKey {
    StreamKey(u64::from(slot) << 52)
}

pub(super) fn batch(slot: u16, since_ms: i64, instant_ms: i64) -> Batch {
    Batch {
        signal: Signal::Metrics,
        tenant: "".into(),
        stream: stream(slot),
        round: instant_ms,
        since_ms: Some(since_ms),
        pushed: false,
        samples: 1,
        oldest_ms: instant_ms,
        raw_length: 10,
        bytes: Bytes::from_static(&[7; 10]),
    }
}

pub(super) fn foreign(
    slot: u16,
    since_ms: i64,
    sequence: u64,
    instant_ms: i64,
) -> (RecordName, Batch) {
    let name = RecordName { interval_ms: since_ms, node: NodeId(OTHER), sequence };
    (name, batch(slot, since_ms, instant_ms))
}

/// A queue of one lane whose time goes on with each append.
pub(super) struct Bench {
    pub(super) queue: Queue,
    now_ms: i64,
}

impl Bench {
    pub(super) fn new() -> Self {
        Self { queue: queue(|limits| (limits.lanes, limits.bytes_max) = (1, 100_000)), now_ms: 0 }
    }

    pub(super) fn append(&mut self, slot: u16, since_ms: i64) {
        self.now_ms += 1;
        self.queue.append(batch(slot, since_ms, self.now_ms), self.now_ms);
    }

    pub(super) fn close(&mut self, number: u16) {
        self.queue.close(&BTreeSet::from([slot(number)]));
    }

    pub(super) fn store(&mut self, number: u16, stored: Stored) {
        let planned = self.queue.plan(slot(number), stored, self.now_ms);
        self.write(number, planned);
    }

    pub(super) fn write(&mut self, number: u16, planned: Planned) {
        let sequences = planned.records.iter().map(|record| record.sequence);
        let places: Vec<Place> = sequences.map(|n| place(u32::try_from(n).unwrap())).collect();
        self.queue.stored(slot(number), planned, &places, self.now_ms);
    }

    pub(super) fn take(&mut self, number: u16, records: Vec<(RecordName, Batch)>) {
        self.store(number, Stored { records, ..Stored::default() });
    }

    /// The names of a request's records.
    pub(super) fn names(&self, start: &Start) -> Vec<String> {
        let entries = start.shares.iter().flat_map(|share| &share.entries);
        entries.map(|entry| show(&self.queue, entry)).collect()
    }

    /// What leaves until nothing can any more.
    pub(super) fn sent(&mut self) -> Vec<String> {
        let mut sent = Vec::new();
        while let Some(start) = self.queue.start(i64::MAX / 2, true).pop() {
            sent.extend(self.names(&start));
            answer(&mut self.queue, &start, Verdict::Stored, self.now_ms);
        }
        sent
    }

    pub(super) fn extracted(&mut self, number: u16) -> Vec<u64> {
        self.close(number);
        assert!(!self.queue.is_under_way(slot(number)));
        let extracted = self.queue.extract(slot(number));
        assert!(extracted.records.is_sorted_by_key(|record| record.name));
        extracted.records.iter().map(|record| record.name.sequence).collect()
    }

    pub(super) fn positions(&mut self) -> Vec<(u16, u64)> {
        let positions = self.queue.take_positions();
        positions.into_iter().map(|(key, position)| (key.slot.number(), position)).collect()
    }
}

/// `slot:interval/node.sequence`
pub(super) fn show(queue: &Queue, entry: &Entry) -> String {
    let RecordName { interval_ms, node, sequence } = queue.held.name_of(entry).unwrap();
    format!("{}:{interval_ms}/{}.{sequence}", entry.slot().number(), node.0)
}

#[test]
fn a_closed_line_waits_and_the_others_of_its_lane_do_not() {
    let mut bench = Bench::new();
    bench.queue.open(slot(2), 100);
    for number in [1, 2, 1, 2] {
        bench.append(number, 50);
    }
    assert_eq!(bench.sent(), ["2:50/1.2", "2:50/1.4"]);
    bench.queue.open(slot(1), 50);
    assert!(bench.sent().is_empty(), "it began at 50, not before");
    bench.queue.open(slot(1), 51);
    assert_eq!(bench.sent(), ["1:50/1.1", "1:50/1.3"]);
    bench.append(1, 50);
    assert_eq!(bench.sent().len(), 1, "and it stays open");
}

#[test]
fn a_line_leaves_in_order_of_name_whoever_made_it() {
    let mut bench = Bench::new();
    bench.append(1, 50);
    bench.append(1, 50);
    let given = [foreign(1, 20, 8, 2), foreign(1, 30, 3, 3), foreign(1, 20, 5, 1)];
    bench.take(1, given.into());
    bench.queue.open(slot(1), 30);
    assert_eq!(bench.sent(), ["1:20/9.5", "1:20/9.8"], "as they come, where one gives in order");
    bench.take(1, vec![foreign(1, 29, 9, 4)]);
    bench.queue.open(slot(1), 1000);
    assert_eq!(bench.sent(), ["1:29/9.9", "1:30/9.3", "1:50/1.1", "1:50/1.2"]);
}

#[test]
fn what_is_taken_over_leaves_before_what_waits_in_an_open_line() {
    let mut bench = Bench::new();
    bench.queue.open(slot(1), 1000);
    bench.append(1, 50);
    bench.append(1, 50);
    bench.append(1, 50);
    let on_its_way = bench.queue.start(10, true).remove(0);
    assert_eq!(bench.names(&on_its_way), ["1:50/1.1"]);
    bench.take(1, vec![foreign(1, 20, 5, 0)]);
    answer(&mut bench.queue, &on_its_way, LOST, 10);
    assert_eq!(bench.sent(), ["1:20/9.5", "1:50/1.1", "1:50/1.2", "1:50/1.3"]);
}

#[test]
fn what_is_on_its_way_is_waited_for() {
    for (verdict, left) in [(Verdict::Stored, vec![3]), (LOST, vec![1, 3])] {
        let mut bench = Bench::new();
        bench.queue.open(slot(1), 1000);
        bench.queue.open(slot(2), 1000);
        bench.append(1, 50);
        bench.append(2, 50);
        bench.append(1, 50);
        let on_its_way = bench.queue.start(10, true).remove(0);
        assert_eq!(bench.names(&on_its_way), ["1:50/1.1", "2:50/1.2"]);
        bench.close(1);
        assert!(bench.queue.is_under_way(slot(1)));
        answer(&mut bench.queue, &on_its_way, verdict, 10);
        assert!(!bench.queue.is_under_way(slot(1)));
        assert_eq!(bench.extracted(1), left, "{verdict:?}");
        let others: &[&str] = if verdict == LOST { &["2:50/1.2"] } else { &[] };
        assert_eq!(bench.sent(), others, "{verdict:?}");
        bench.queue.open(slot(1), 1000);
        assert!(bench.sent().is_empty(), "what is set aside leaves no more");
        bench.queue.put_back(slot(1));
        assert_eq!(bench.sent().len(), left.len());
    }
}

#[test]
fn a_request_between_two_attempts_is_taken_apart() {
    let mut bench = Bench::new();
    bench.queue.open(slot(1), 1000);
    bench.queue.open(slot(2), 1000);
    bench.append(1, 50);
    bench.append(2, 50);
    let start = bench.queue.start(10, true).remove(0);
    answer(&mut bench.queue, &start, LOST, 10);
    assert_eq!(bench.extracted(1), [1]);
    let rest = bench.queue.start(i64::MAX / 2, true).remove(0);
    assert_eq!(bench.names(&rest), ["2:50/1.2"]);
    answer(&mut bench.queue, &rest, Verdict::Rejected, 20);
    assert_eq!(lost(&mut bench.queue), [(Reason::MaybeStored, 1)]);
    // The other half was in that request, too.
    bench.queue.open(slot(1), 1000);
    bench.queue.put_back(slot(1));
    let start = bench.queue.start(i64::MAX / 2, true).remove(0);
    answer(&mut bench.queue, &start, Verdict::Rejected, 20);
    assert_eq!(lost(&mut bench.queue), [(Reason::MaybeStored, 1)]);
}

#[test]
fn positions_stay_below_what_waits() {
    let mut bench = Bench::new();
    bench.queue.open(slot(2), 1000);
    for number in [1, 2, 1, 2] {
        bench.append(number, 50);
    }
    write_all(&mut bench.queue, 800);
    bench.sent();
    assert_eq!(bench.positions(), [(2, 4)], "another slot pins nothing");
    bench.take(1, vec![foreign(1, 20, 8, 0)]);
    bench.queue.open(slot(1), 50);
    assert_eq!(bench.sent(), ["1:20/9.8"]);
    assert_eq!(bench.positions(), [(1, 0)], "its own were appended before");
    bench.append(1, 50);
    write_all(&mut bench.queue, 1600);
    bench.queue.open(slot(1), 1000);
    let start = bench.queue.start(i64::MAX / 2, true).remove(0);
    answer(&mut bench.queue, &start, Verdict::Stored, 0);
    assert_eq!(bench.positions(), [(1, 2)]);
    bench.sent();
    let last = bench.queue.next_sequence() - 1;
    assert_eq!(bench.positions(), [(1, last)]);
}

#[test]
fn what_is_planned_keeps_positions_below() {
    let mut bench = Bench::new();
    bench.queue.open(slot(1), 1000);
    bench.append(1, 50);
    write_all(&mut bench.queue, 800);
    let stored = Stored { records: vec![foreign(1, 20, 8, 0)], ..Stored::default() };
    let planned = bench.queue.plan(slot(1), stored, 0);
    bench.sent();
    assert_eq!(bench.positions(), [(1, planned.records[0].sequence - 1)]);
    bench.queue.not_stored(&planned);
    assert!(bench.sent().is_empty() && bench.queue.slots().is_empty());
    assert!(bench.positions()[0].1 >= planned.records[0].sequence);
}

#[test]
fn what_is_handed_over_is_deleted_and_the_rest_can_come_back() {
    let mut bench = Bench::new();
    for _ in 0..4 {
        bench.append(1, 50);
    }
    write_all(&mut bench.queue, 800);
    assert_eq!(bench.extracted(1), [1, 2, 3, 4]);
    let names = [1, 2].map(|n| RecordName { interval_ms: 50, node: NodeId(ME), sequence: n });
    bench.queue.bury(slot(1), &names);
    assert_eq!(bench.queue.take_handed().given, 2);
    assert_eq!((bench.positions(), bench.queue.unsent().records), (vec![(1, 2)], 2));
    assert_eq!(bench.queue.take_released().len(), 2);
    assert_eq!(lost(&mut bench.queue), [], "it is no loss");
    bench.queue.open(slot(1), 1000);
    assert!(bench.sent().is_empty());
    bench.queue.put_back(slot(1));
    assert_eq!(bench.sent(), ["1:50/1.3", "1:50/1.4"]);
}

#[test]
fn what_comes_too_late_or_twice_or_is_gone_is_not_taken() {
    let mut bench = Bench::new();
    bench.now_ms = 10;
    bench.append(1, 50);
    bench.take(1, vec![foreign(1, 20, 1, 5), foreign(1, 20, 2, 6), foreign(1, 20, 3, 7)]);
    let stored = Stored {
        records: vec![foreign(1, 20, 2, 6), foreign(1, 20, 4, 8), foreign(1, 20, 4, 8)],
        late_samples: 5,
        gone: vec![foreign(1, 20, 1, 0).0, foreign(1, 20, 77, 0).0],
        sent: vec![Sent { stream: stream(1), newest_ms: 7 }],
    };
    bench.store(1, stored);
    assert_eq!(lost(&mut bench.queue), [(Reason::Late, 6)]);
    assert_eq!(bench.queue.take_handed().taken, 4);
    bench.queue.open(slot(1), 1000);
    // Of the very instant that was sent may be another piece of its round.
    assert_eq!(bench.sent(), ["1:20/9.3", "1:20/9.4", "1:50/1.1"]);
    let strange = vec![foreign(2, 20, 1, 9), (foreign(1, 20, 1, 9).0, batch(1, 21, 9))];
    bench.take(1, strange);
    assert_eq!(lost(&mut bench.queue), [(Reason::Corrupt, 2)]);
}

/// Sent was up to 100; another member's leftovers and own ones are older by 40 and by 41.
#[test]
fn within_the_destinations_window_nothing_is_late() {
    let check = |late_ms_max, own: &[&str], lost_samples: &[u64]| {
        let mut bench = Bench::new();
        bench.queue = queue(|limits| {
            (limits.lanes, limits.bytes_max, limits.late_ms_max) = (1, 100_000, late_ms_max);
        });
        for instant_ms in [59, 60] {
            bench.queue.append(batch(1, 50, instant_ms), instant_ms);
        }
        bench.now_ms = 110;
        let sent = vec![Sent { stream: stream(1), newest_ms: 100 }];
        bench.store(1, Stored { sent, ..Stored::default() });
        assert_eq!(bench.queue.look(&[]).window_ms, late_ms_max);
        let lost: Vec<_> = lost(&mut bench.queue);
        let expected: Vec<_> = lost_samples.iter().map(|n| (Reason::Late, *n)).collect();
        assert_eq!(lost, expected, "{late_ms_max}");
        bench.queue.open(slot(1), 1000);
        assert_eq!(bench.sent(), own, "{late_ms_max}");
    };
    check(0, &[], &[2]);
    check(40, &["1:50/1.2"], &[1]);
    check(41, &["1:50/1.1", "1:50/1.2"], &[]);
}

#[test]
fn a_look_tells_what_the_destination_has() {
    let mut bench = Bench::new();
    bench.queue.open(slot(1), 1000);
    let sent = |bench: &Bench| {
        let look = bench.queue.look(&[stream(1), stream(2)]);
        look.sent.iter().map(|sent| sent.newest_ms).collect::<Vec<i64>>()
    };
    bench.append(1, 50);
    let start = bench.queue.start(10, true).remove(0);
    answer(&mut bench.queue, &start, LOST, 10);
    assert!(sent(&bench).is_empty(), "what nobody heard of counts as not sent");
    bench.sent();
    // Another piece of that instant is not late.
    assert_eq!(sent(&bench), [bench.now_ms - 1]);
    assert_eq!(bench.queue.extract(slot(1)).sent[0].newest_ms, bench.now_ms);
    bench.queue.forget_streams(slot(1));
    assert!(sent(&bench).is_empty());
}

#[test]
fn what_is_held_counts_in_the_bounds_and_leaves_room_for_what_is_taken_over() {
    let mut bench = Bench::new();
    bench.queue.limits.bytes_max = 80;
    bench.queue.open(slot(2), 1000);
    for number in [1, 2, 1, 2, 1, 2, 1, 2] {
        bench.append(number, 50);
    }
    assert_eq!(
        (lost(&mut bench.queue), bench.queue.unsent().bytes),
        (vec![(Reason::Bytes, 1)], 70)
    );
    let room = |bench: &Bench| {
        let look = bench.queue.look(&[]);
        (look.has_room, look.has_reserve)
    };
    assert_eq!(room(&bench), (false, true));
    bench.take(3, vec![foreign(3, 20, 1, 0)]);
    assert_eq!(room(&bench), (false, false));
    assert_eq!(bench.queue.held_bytes(), 40);
    bench.queue.open(slot(1), 1000);
    assert_eq!(bench.sent().len(), 7);
    assert_eq!((bench.queue.held_records(), bench.queue.unsent().records), (1, 1));

    let mut aged = Bench::new();
    aged.queue.limits.age_ms_max = 100;
    aged.append(1, 50);
    aged.queue.expire(101);
    assert_eq!(lost(&mut aged.queue), []);
    aged.queue.expire(102);
    assert_eq!((lost(&mut aged.queue), aged.queue.unsent().records), (vec![(Reason::Age, 1)], 0));
}

#[test]
fn nothing_divided_leaves_while_all_is_held() {
    let mut bench = Bench::new();
    bench.queue.open(slot(1), 1000);
    bench.append(1, 50);
    append(&mut bench.queue, "", 1, 7);
    bench.queue.hold_all(true);
    bench.append(1, 50);
    bench.queue.open(slot(1), 2000);
    let start = bench.queue.start(10, true).remove(0);
    let mut entries = start.shares.iter().flat_map(|share| &share.entries);
    assert!(entries.all(|entry| !entry.is_divided()));
    answer(&mut bench.queue, &start, Verdict::Stored, 10);
    assert!(bench.sent().is_empty());
    bench.queue.hold_all(false);
    assert_eq!(bench.sent(), ["1:50/1.1", "1:50/1.3"]);
}

#[test]
fn slots_tell_where_anything_is() {
    let mut bench = Bench::new();
    bench.queue.open(slot(5), 1000);
    for number in [7, 5, 3] {
        bench.append(number, 50);
    }
    bench.extracted(3);
    append(&mut bench.queue, "", 9, 7);
    assert_eq!(bench.queue.slots(), [3, 5, 7].map(slot));
}
