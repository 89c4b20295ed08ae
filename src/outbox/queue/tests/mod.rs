//! The queue's rules: turns, bounds, what is written and what is let go.

mod copies;
mod judge;
mod lines;
mod pushes;
mod turns;

use std::num::NonZeroU32;

use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    model::{batch::Signal, slot::StreamKey},
    outbox::verdict::Verdict,
};

fn queue(change: impl Fn(&mut Limits)) -> Queue {
    let mut limits = Limits {
        lanes: 4,
        in_flight_max: 64,
        bytes_max: 1000,
        records_max: 1000,
        memory_bytes_max: 1000,
        written_bytes_max: 1000,
        age_ms_max: 0,
        sample_age_ms_max: 0,
        late_ms_max: 0,
        hold_ms: 600,
        drops_oldest: true,
    };
    change(&mut limits);
    let rules = Rules {
        request_samples_max: 100,
        request_bytes_max: u64::MAX,
        deadline_ms: 0,
        backoff_min_ms: 30,
        backoff_max_ms: 400,
    };
    Queue::new(limits, rules, NodeId(1), 1)
}

/// A record of 10 bytes and one sample in that lane.
fn append(queue: &mut Queue, tenant: &str, lane: u64, now_ms: i64) {
    let batch = Batch {
        signal: Signal::Metrics,
        tenant: tenant.into(),
        stream: StreamKey(lane << 52),
        round: now_ms,
        since_ms: None,
        pushed: false,
        samples: 1,
        oldest_ms: now_ms,
        raw_length: 10,
        bytes: Bytes::from_static(&[7; 10]),
    };
    queue.append(batch, now_ms);
}

fn answer(queue: &mut Queue, start: &Start, verdict: Verdict, now_ms: i64) -> Answered {
    let mut chance = StdRng::seed_from_u64(1);
    queue.answer(start.ticket, verdict, 10, now_ms, &mut chance)
}

fn lanes_of(start: &Start) -> Vec<usize> {
    start.shares.iter().map(|share| share.lane).collect()
}

fn place(number: u32) -> Place {
    Place { segment: NonZeroU32::MIN.saturating_add(number / 2), offset: number, length: 70 }
}

fn write_all(queue: &mut Queue, now_ms: i64) -> Vec<u64> {
    let records = queue.take_writes(now_ms, false);
    let sequences: Vec<u64> = records.iter().map(|record| record.sequence).collect();
    let places: Vec<Place> = sequences.iter().map(|n| place(u32::try_from(*n).unwrap())).collect();
    queue.written(&places);
    sequences
}

fn lost(queue: &mut Queue) -> Vec<(Reason, u64)> {
    queue.take_losses().iter().map(|loss| (loss.reason, loss.samples)).collect()
}

#[test]
fn every_lane_has_its_turn_under_a_small_bound() {
    let mut queue = queue(|limits| limits.in_flight_max = 2);
    queue.rules.request_samples_max = 1;
    for now_ms in 0..3 {
        for lane in 0..4 {
            append(&mut queue, "", lane, now_ms);
        }
    }
    let mut order = Vec::new();
    for _ in 0..3 {
        let starts = queue.start(3, false);
        assert_eq!((starts.len(), queue.start(3, false).len()), (2, 0));
        for start in starts {
            order.extend(lanes_of(&start));
            answer(&mut queue, &start, Verdict::Stored, 0);
        }
    }
    assert_eq!(order, [0, 1, 2, 3, 0, 1]);
}

#[test]
fn who_is_refused_holds_up_only_himself() {
    let mut queue = queue(|_| {});
    for lane in 0..3 {
        append(&mut queue, "bad", lane, 0);
        append(&mut queue, "good", lane, 0);
    }
    let starts = queue.start(0, false);
    assert_eq!(starts.iter().map(lanes_of).collect::<Vec<_>>(), [[0, 2, 4], [1, 3, 5]]);
    let mut changes = Vec::new();
    for start in &starts {
        let bad = &*queue.lanes[start.shares[0].lane].0.tenant == "bad";
        let verdict = if bad { Verdict::Hold } else { Verdict::Stored };
        changes.extend(answer(&mut queue, start, verdict, 0).held);
    }
    assert_eq!(changes, [true], "told once");
    assert_eq!(queue.unsent().records, 3);
    append(&mut queue, "good", 0, 1);
    assert_eq!(queue.start(1, false).len(), 1);
    assert_eq!(queue.start_due_ms(1, false), Some(600));
    let probes = queue.start(600, false);
    assert_eq!((probes.len(), probes[0].shares.len()), (1, 1), "one lane asks for all");
    assert_eq!(queue.start_due_ms(600, false), None);
    assert_eq!(answer(&mut queue, &probes[0], Verdict::Stored, 700).held, Some(false));
    assert_eq!(queue.start(700, false).len(), 2, "what was refused is repeated as it was");
}

#[test]
fn bounds_drop_the_oldest_and_name_the_reason() {
    let bounded = |limits: &mut Limits| (limits.bytes_max, limits.records_max) = (35, 100);
    let mut by_bytes = queue(bounded);
    for n in 0..5 {
        append(&mut by_bytes, "", n % 2, 0);
    }
    assert_eq!((lost(&mut by_bytes), by_bytes.unsent().records), (vec![(Reason::Bytes, 2)], 3));
    let oldest = by_bytes.lanes().map(|(_, lane)| lane.first().unwrap().sequence).min();
    assert_eq!(oldest, Some(3));

    let mut by_records = queue(|limits| limits.records_max = 2);
    for n in 0..5 {
        append(&mut by_records, "", n, 0);
    }
    assert_eq!(lost(&mut by_records), [(Reason::Records, 3)]);

    let mut by_age = queue(|limits| limits.age_ms_max = 100);
    append(&mut by_age, "", 0, 0);
    append(&mut by_age, "", 0, 50);
    by_age.expire(100);
    assert_eq!(lost(&mut by_age), []);
    by_age.expire(101);
    assert_eq!((lost(&mut by_age), by_age.unsent().records), (vec![(Reason::Age, 1)], 1));
}

#[test]
fn told_to_push_back_it_drops_nothing() {
    let mut queue = queue(|limits| (limits.bytes_max, limits.drops_oldest) = (25, false));
    for _ in 0..3 {
        assert!(queue.has_room());
        append(&mut queue, "", 0, 0);
    }
    assert!(!queue.has_room());
    assert_eq!((lost(&mut queue), queue.unsent().records), (vec![], 3));
}

#[test]
fn only_what_is_not_acknowledged_in_time_is_written() {
    let mut queue = queue(|_| {});
    queue.rules.request_samples_max = 1;
    append(&mut queue, "", 0, 0);
    append(&mut queue, "", 1, 10);
    append(&mut queue, "", 2, 650);
    for start in queue.start(10, false).into_iter().take(1) {
        answer(&mut queue, &start, Verdict::Stored, 20);
    }
    assert!(write_all(&mut queue, 699).is_empty());
    assert_eq!(write_all(&mut queue, 710), [2], "the youngest waits for the next write");
    assert_eq!(queue.write_due_ms(), Some(1350));
    assert_eq!(queue.take_writes(711, true).len(), 1, "unless all is to be written");
    queue.not_written(false);
    assert_eq!(write_all(&mut queue, 1350), [3]);
    assert!(queue.is_all_written());
}

#[test]
fn what_leaves_while_it_is_written_is_let_go_afterwards() {
    let mut queue = queue(|_| {});
    append(&mut queue, "", 0, 0);
    let starts = queue.start(0, false);
    assert_eq!(queue.take_writes(700, false).len(), 1);
    answer(&mut queue, &starts[0], Verdict::Stored, 710);
    assert!(queue.take_positions().is_empty(), "it is not on disk as far as anybody knows");
    queue.written(&[place(1)]);
    assert_eq!(queue.take_released(), [(1, place(1))]);
    assert_eq!(queue.take_positions()[0].1, 1);
}

#[test]
fn memory_keeps_the_oldest_of_what_is_written() {
    let mut queue = queue(|limits| limits.written_bytes_max = 25);
    for lane in 0..4 {
        append(&mut queue, "", lane, 0);
    }
    assert_eq!(write_all(&mut queue, 700), [1, 2, 3, 4]);
    let in_memory: Vec<bool> = (1..=4).map(|n| queue.body(n).is_some()).collect();
    assert_eq!(in_memory, [true, true, false, false]);
    assert_eq!(queue.unsent().records, 4);
}

#[test]
fn a_disk_that_takes_nothing_costs_the_oldest_beyond_memory() {
    let on_disk = |full: bool| {
        let mut queue = queue(|limits| limits.memory_bytes_max = 25);
        for lane in 0..4 {
            append(&mut queue, "", lane, 0);
        }
        write_all(&mut queue, 700);
        for lane in 0..4 {
            append(&mut queue, "", lane, 1000);
        }
        queue.take_writes(1700, false);
        queue.not_written(full);
        let left: Vec<u64> =
            (1..=8).filter(|n| queue.lanes().any(|(_, lane)| lane.entry(*n).is_some())).collect();
        (left, lost(&mut queue))
    };
    // Records 1; 2 and 3; 4 lie in segments of their own.
    assert_eq!(on_disk(true), (vec![2, 3, 4, 5, 6, 7, 8], vec![(Reason::DiskFull, 1)]));
    assert_eq!(on_disk(false), (vec![1, 2, 3, 4, 7, 8], vec![(Reason::Memory, 2)]));
}

#[test]
fn a_disk_that_hangs_does_not_fill_memory_for_ever() {
    let mut queue = queue(|limits| limits.memory_bytes_max = 50);
    append(&mut queue, "", 0, 0);
    queue.take_writes(700, false);
    for n in 0..30 {
        append(&mut queue, "", n, 700);
    }
    assert!(queue.fresh.unwritten_bytes() <= 100);
    assert_eq!(lost(&mut queue), [(Reason::Memory, 21)]);
}

#[test]
fn a_learned_size_is_forgotten_after_a_while() {
    let mut queue = queue(|_| {});
    append(&mut queue, "", 0, 0);
    let starts = queue.start(0, false);
    answer(&mut queue, &starts[0], Verdict::TooLarge, 0);
    assert_eq!(queue.rules.request_bytes_max, 5);
    queue.start(SIZE_LEARNED_MS + 1, false);
    assert_eq!(queue.rules.request_bytes_max, REQUEST_BYTES_MAX);
}
