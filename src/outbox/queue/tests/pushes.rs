//! The rules of pushes: written at once, told of when they are safe, taken out again when they can't be.

use super::{lines::slot, *};
use crate::outbox::lines::Stored;

const EVER: i64 = i64::MAX;

/// One record of 10 bytes of that slot; where it is divided, its line is to be opened.
fn pushed(number: u16, since_ms: Option<i64>) -> Batch {
    Batch {
        signal: Signal::Metrics,
        tenant: "team".into(),
        stream: StreamKey(u64::from(number) << 52),
        round: 0,
        since_ms,
        pushed: true,
        samples: 1,
        oldest_ms: 0,
        raw_length: 10,
        bytes: Bytes::from_static(&[7; 10]),
    }
}

fn sequences(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.sequence).collect()
}

fn write_down(queue: &mut Queue, records: &[Record]) {
    let places = sequences(records).into_iter().map(|n| place(u32::try_from(n).unwrap()));
    queue.written(&places.collect::<Vec<_>>());
}

#[test]
fn what_somebody_waits_for_is_written_at_once_and_the_rest_in_its_time() {
    let mut queue = queue(|_| {});
    append(&mut queue, "", 0, 0);
    append(&mut queue, "", 0, 650);
    assert_eq!(queue.write_due_ms(), Some(700));
    queue.append_urgent(pushed(1, None), 300);
    assert_eq!(queue.write_due_ms(), Some(i64::MIN));
    let first = queue.take_writes(300, false);
    assert_eq!((sequences(&first), first[0].batch.pushed), (vec![3], true));
    // While that is being written others come: one write takes them all.
    for n in 0..3 {
        queue.append_urgent(pushed(n, None), 700);
    }
    write_down(&mut queue, &first);
    assert_eq!(queue.take_settled(), [(3, Settled::Safe)]);
    let next = queue.take_writes(700, false);
    assert_eq!(sequences(&next), [1, 4, 5, 6], "what is old enough rides along");
    queue.not_written(false);
    assert_eq!(queue.write_due_ms(), Some(i64::MIN), "to be tried again");
    assert_eq!(sequences(&queue.take_writes(700, false)), [1, 4, 5, 6]);
}

#[test]
fn it_is_told_what_becomes_of_each() {
    let mut queue = queue(|limits| (limits.bytes_max, limits.lanes) = (35, 1));
    queue.append_urgent(pushed(0, None), 0);
    let start = queue.start(0, false).remove(0);
    assert_eq!(&*start.tenant, "team");
    answer(&mut queue, &start, Verdict::Stored, 1);
    assert_eq!(queue.take_settled(), [(1, Settled::Safe)], "sent before it was written");
    for n in 0..4 {
        queue.append_urgent(pushed(n, None), 2);
    }
    assert_eq!(queue.take_settled(), [(2, Settled::Lost)], "the bound was reached");
    let records = queue.take_writes(2, false);
    let start = queue.start(2, false).remove(0);
    answer(&mut queue, &start, Verdict::Stored, 3);
    let told = [3, 4, 5].map(|n| (n, Settled::Safe));
    assert_eq!(queue.take_settled(), told, "sent while it was being written");
    write_down(&mut queue, &records);
    assert_eq!(queue.take_settled(), [], "and told once");
}

#[test]
fn what_is_handed_over_is_safe() {
    let mut queue = queue(|_| {});
    queue.append_urgent(pushed(0, Some(5)), 0);
    let records = queue.extract(slot(0)).records;
    assert!(records[0].pushed);
    queue.bury(slot(0), &[records[0].name]);
    assert_eq!(queue.take_settled(), [(1, Settled::Safe)]);
}

#[test]
fn what_is_refused_leaves_without_a_trace() {
    let mut queue = queue(|limits| limits.lanes = 2);
    queue.open(slot(1), EVER);
    append(&mut queue, "team", 0, 0);
    for (number, since_ms) in [(0, None), (1, Some(5)), (2, Some(5)), (0, None)] {
        queue.append_urgent(pushed(number, since_ms), 0);
    }
    append(&mut queue, "team", 0, 0);
    let written = queue.take_writes(0, true);
    assert_eq!(written.len(), 6);
    queue.withdraw(&[2..4, 4..5]);
    assert_eq!(queue.unsent(), Totals { bytes: 30, samples: 3, records: 3 });
    assert_eq!((lost(&mut queue), queue.held_records()), (vec![], 0));
    queue.not_written(true);
    assert_eq!(queue.fresh.unwritten_bytes(), 30);
    assert_eq!(sequences(&queue.take_writes(0, true)), [1, 5, 6]);
    // What reached the disk all the same is let go when it is told of, and no position stays behind.
    write_down(&mut queue, &written);
    for start in queue.start(0, true) {
        answer(&mut queue, &start, Verdict::Stored, 0);
    }
    for start in queue.start(0, true) {
        answer(&mut queue, &start, Verdict::Stored, 0);
    }
    assert_eq!(queue.unsent().records, 0);
    let positions = queue.take_positions();
    assert!(positions.iter().all(|(_, position)| *position == 6), "{positions:?}");
}

#[test]
fn what_is_on_its_way_stays() {
    let mut queue = queue(|limits| limits.lanes = 1);
    queue.append_urgent(pushed(0, None), 0);
    let start = queue.start(0, false).remove(0);
    queue.append_urgent(pushed(0, None), 0);
    queue.append_urgent(pushed(1, Some(5)), 0);
    queue.extract(slot(1));
    queue.withdraw(&[1..3, 3..4]);
    assert_eq!((queue.unsent().records, queue.held_records()), (2, 1));
    answer(&mut queue, &start, Verdict::Stored, 0);
    assert_eq!(queue.unsent().records, 1);
}

/// A request that failed is formed anew without them.
#[test]
fn what_waits_to_be_repeated_leaves() {
    let mut queue = queue(|limits| limits.lanes = 1);
    append(&mut queue, "team", 0, 0);
    queue.append_urgent(pushed(1, None), 0);
    let start = queue.start(0, false).remove(0);
    let busy = Verdict::Retry { wait_ms: Some(10), maybe_stored: false };
    answer(&mut queue, &start, busy, 0);
    queue.withdraw(std::slice::from_ref(&(2..3)));
    let again = queue.start(20, false).remove(0);
    assert_eq!(again.shares[0].entries.len(), 1);
}

#[test]
fn room_is_what_the_bounds_leave() {
    let mut queue = queue(|limits| (limits.bytes_max, limits.records_max) = (1000, 10));
    assert_eq!(queue.free(), Free { bytes: 875, records: 10, memory_bytes: 1000 });
    queue.append_urgent(pushed(0, None), 0);
    assert_eq!(queue.free(), Free { bytes: 865, records: 9, memory_bytes: 990 });
    let records = queue.take_writes(0, false);
    write_down(&mut queue, &records);
    assert_eq!(queue.free(), Free { bytes: 865, records: 9, memory_bytes: 1000 });
}

#[test]
fn a_push_is_never_late_by_its_stream() {
    let mut queue = queue(|limits| limits.lanes = 1);
    queue.open(slot(0), EVER);
    queue.append(pushed(0, Some(5)), 0);
    let start = queue.start(0, false).remove(0);
    answer(&mut queue, &start, Verdict::Stored, 0);
    let stream = pushed(0, None).stream;
    assert_eq!(queue.look(&[stream]).sent, [], "nothing is noted of it");
    queue.close(&BTreeSet::from([slot(0)]));
    queue.append(pushed(0, Some(5)), 0);
    let sent = vec![crate::model::record::Sent { stream, newest_ms: 1_000_000 }];
    let planned = queue.plan(slot(0), Stored { sent, ..Stored::default() }, 0);
    queue.stored(slot(0), planned, &[], 0);
    assert_eq!((lost(&mut queue), queue.held_records()), (vec![], 1));
}
