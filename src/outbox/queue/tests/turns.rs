//! Requests that lanes share: who goes with whom, and what an answer means for each.

use super::*;

const DEADLINE_MS: i64 = 300;

fn waiting() -> Queue {
    let mut queue = queue(|_| {});
    queue.rules.deadline_ms = DEADLINE_MS;
    queue
}

fn requests(queue: &mut Queue, now_ms: i64) -> Vec<Vec<usize>> {
    queue.start(now_ms, false).iter().map(lanes_of).collect()
}

/// One record a lane, all on their way in one request.
fn shared(queue: &mut Queue, lanes: u64) -> Start {
    for lane in 0..lanes {
        append(queue, "", lane, 0);
    }
    let mut starts = queue.start(DEADLINE_MS, false);
    assert_eq!(starts.len(), 1);
    starts.remove(0)
}

#[test]
fn who_is_due_takes_the_others_along() {
    let mut queue = waiting();
    append(&mut queue, "", 0, 0);
    append(&mut queue, "", 1, 250);
    append(&mut queue, "other", 2, 250);
    assert_eq!(queue.start_due_ms(250, false), Some(DEADLINE_MS));
    assert_eq!(requests(&mut queue, 299), [[0; 0]; 0]);
    assert_eq!(requests(&mut queue, DEADLINE_MS), [[0, 1]], "but no other tenant");
    append(&mut queue, "", 0, 310);
    append(&mut queue, "", 3, 310);
    assert_eq!(queue.start_due_ms(310, false), Some(550));
    assert_eq!(requests(&mut queue, 550), [[2]]);
    assert_eq!(requests(&mut queue, 610), [[3]], "0 has one under way");
}

#[test]
fn together_they_need_not_wait_when_they_fill_a_request() {
    let mut queue = waiting();
    queue.rules.request_samples_max = 3;
    for lane in 0..2 {
        append(&mut queue, "", lane, 0);
    }
    assert_eq!(requests(&mut queue, 0), [[0; 0]; 0]);
    for lane in 2..4 {
        append(&mut queue, "", lane, 0);
    }
    assert_eq!(queue.start_due_ms(0, false), Some(i64::MIN));
    assert_eq!(requests(&mut queue, 0), [[0, 1, 2]], "as many as fit");
    assert_eq!(queue.start_due_ms(0, false), Some(DEADLINE_MS), "the rest is company no more");
    assert_eq!(requests(&mut queue, DEADLINE_MS), [[3]]);
}

#[test]
fn what_is_known_of_all_counts_for_each() {
    let cases = [
        (Verdict::Stored, 3, vec![]),
        (Verdict::StoredPartly { refused: 2, unsendable: 0 }, 1, vec![(Reason::NotWritten, 2)]),
        (
            Verdict::StoredPartly { refused: 1, unsendable: 1 },
            1,
            vec![(Reason::Unsendable, 1), (Reason::NotWritten, 1)],
        ),
        (Verdict::StoredPartly { refused: 9, unsendable: 0 }, 0, vec![(Reason::NotWritten, 3)]),
    ];
    for (verdict, sent, expected) in cases {
        let mut queue = waiting();
        let start = shared(&mut queue, 3);
        assert_eq!(answer(&mut queue, &start, verdict, 400).sent_samples, sent, "{verdict:?}");
        assert_eq!((lost(&mut queue), queue.unsent().records), (expected, 0), "{verdict:?}");
        assert_eq!(queue.in_flight(), 0);
    }
}

#[test]
fn after_anything_else_each_goes_its_own_way() {
    let cases = [
        (Verdict::Rejected, 400),
        (Verdict::TooLarge, 400),
        (Verdict::Refused, 400),
        (Verdict::OtherForm { maybe_stored: true }, 400),
        (Verdict::Retry { wait_ms: Some(50), maybe_stored: true }, 450),
    ];
    for (verdict, again_ms) in cases {
        let mut queue = waiting();
        let start = shared(&mut queue, 3);
        assert_eq!(answer(&mut queue, &start, verdict, 400), Answered::default(), "{verdict:?}");
        assert_eq!((lost(&mut queue), queue.unsent().records), (vec![], 3), "{verdict:?}");
        let due_ms = queue.start_due_ms(400, false).unwrap().max(400);
        assert_eq!(due_ms, again_ms, "{verdict:?}");
        assert_eq!(requests(&mut queue, again_ms), [[1], [2], [0]], "{verdict:?}");
    }
}

#[test]
fn who_had_something_bad_stays_alone_for_a_while() {
    let mut queue = waiting();
    let start = shared(&mut queue, 3);
    answer(&mut queue, &start, Verdict::Rejected, 400);
    let alone = queue.start(400, false);
    for (start, verdict) in alone.iter().zip([Verdict::Stored, Verdict::Rejected, Verdict::Stored])
    {
        answer(&mut queue, start, verdict, 400);
    }
    assert_eq!(lost(&mut queue), [(Reason::Rejected, 1)]);
    let mut next = |now_ms| {
        for lane in 0..3 {
            append(&mut queue, "", lane, now_ms);
        }
        let starts = queue.start(now_ms + DEADLINE_MS, false);
        for start in &starts {
            answer(&mut queue, start, Verdict::Stored, now_ms + DEADLINE_MS);
        }
        let mut requests: Vec<Vec<usize>> = starts.iter().map(lanes_of).collect();
        for lanes in &mut requests {
            lanes.sort_unstable();
        }
        requests.sort();
        requests
    };
    assert_eq!(next(1000), [vec![0, 1], vec![2]]);
    assert_eq!(next(100_000), [[0, 1, 2]]);
}

#[test]
fn one_that_can_not_be_read_holds_up_no_other() {
    let mut queue = waiting();
    let start = shared(&mut queue, 3);
    queue.take_back(start.ticket, &[2]);
    assert_eq!((lost(&mut queue), queue.in_flight()), (vec![(Reason::Corrupt, 1)], 0));
    assert_eq!(requests(&mut queue, DEADLINE_MS), [[2], [0]]);
}
