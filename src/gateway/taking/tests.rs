//! What an owner takes, from whom and when.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    gateway::parcel::{Kind, Piece, Promise, Replica, Unwanted},
    model::{
        identity::SeriesKey,
        member::{Interval, Member, MemberState, NodeId, Roster},
        overrides::Overrides,
    },
    ownership::placement::Placement,
};

const ME: NodeId = NodeId(1);

/// Of a member that is there from 0, or `from_ms`, until `until_ms`, and after that another one.
fn shares(until_ms: Option<i64>, now_ms: i64) -> Shares {
    shares_from(0, until_ms, now_ms)
}

fn shares_from(from_ms: i64, until_ms: Option<i64>, now_ms: i64) -> Shares {
    let member = |id: u128, interval| Member {
        id: NodeId(id),
        name: String::new(),
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![interval],
    };
    let mine = member(1, Interval { from_ms, until_ms });
    let other = member(2, Interval { from_ms: until_ms.unwrap_or(i64::MAX), until_ms: None });
    let members = [mine, other].map(|member| (member.id, member));
    let roster = Roster { version: 1, members: members.into_iter().collect() };
    let mut placement = Placement::new(Arc::new(roster), Overrides::default());
    Shares::default().advance(&mut placement, &std::collections::BTreeMap::new(), ME, now_ms)
}

fn memory() -> Memory {
    Memory { ledger: Ledger::default(), election: Election::new(Duration::from_secs(30)) }
}

/// Series, time and replica of each.
fn parcel(pieces: &[(u64, i64, u16)]) -> Parcel {
    let piece = |&(series, timestamp_ms, replica): &(u64, i64, u16)| Piece {
        series,
        digest: 0,
        timestamp_ms,
        bytes: 10,
        kind: Kind::Float,
        is_plain: true,
        replica,
    };
    let replica = |name: &str| Replica { cluster: "c".into(), replica: name.into() };
    Parcel {
        tenant: Arc::from("t"),
        pipeline: 7,
        promise: Promise::Durable,
        replicas: vec![replica("one"), replica("two")],
        pieces: pieces.iter().map(piece).collect(),
        fields: vec![0; pieces.len() * 10].into(),
    }
}

fn terms(shares: &Shares, now_ms: i64) -> Terms<'_> {
    let bounds = Bounds { late_ms_max: 0, series_max: 0 };
    Terms { shares, pipeline: Some(7), bounds, until_ms: i64::MAX, now_ms }
}

#[test]
fn what_is_taken_is_filed_under_its_stream_and_round_and_ownership() {
    let shares = shares(None, 100);
    let mut taken = Vec::new();
    let mut memory = memory();
    let all = parcel(&[(1, 10, 0), (2, 10, 0), (1, 11, 0), (1, 10, 0)]);
    let outcome = take(&all, 3, &terms(&shares, 100), &mut memory, &mut taken);
    let unwanted = vec![(3, Unwanted::Late)];
    let exceptions = Exceptions { unwanted, elsewhere: Vec::new() };
    assert_eq!(outcome, Ok((exceptions, PassedOver::default())));
    let found: Vec<(i64, i64, u32, u32)> =
        taken.iter().map(|one| (one.round, one.since_ms, one.parcel, one.start)).collect();
    assert_eq!(found, [(100, 0, 3, 0), (100, 0, 3, 10), (101, 0, 3, 20)]);
    let tenant = TenantKey::of("t");
    assert_eq!(taken[0].stream, tenant.stream(tenant.slot(SeriesKey(1))));
}

/// As where two members have seen a death some milliseconds apart, and agree on the earlier.
#[test]
fn an_ownership_that_began_earlier_after_all_changes_no_order() {
    let mut memory = memory();
    let mut filed = |from_ms, at_ms| {
        let shares = shares_from(from_ms, None, 100);
        let mut taken = Vec::new();
        let terms = terms(&shares, 100);
        take(&parcel(&[(1, at_ms, 0)]), 0, &terms, &mut memory, &mut taken).unwrap();
        taken[0].since_ms
    };
    assert_eq!([filed(50, 1), filed(47, 2), filed(80, 3)], [50, 50, 80]);
}

/// Pushes of one series, at these times; which of each are taken, which are repeats, and which late.
#[test]
fn several_samples_of_a_series_are_known_again_together() {
    let shares = shares(None, 100);
    let mut memory = memory();
    for (times, expected) in [
        (&[10, 11, 12][..], (3, 0, 0)),
        (&[10, 11, 12], (0, 3, 0)),
        (&[12], (0, 1, 0)),
        (&[10], (0, 0, 1)),
        (&[12, 11], (0, 1, 1)),
        (&[10, 11, 12, 13], (1, 1, 2)),
        (&[13, 14], (1, 1, 0)),
    ] {
        let pieces: Vec<(u64, i64, u16)> = times.iter().map(|at_ms| (1, *at_ms, 0)).collect();
        let mut taken = Vec::new();
        let terms = terms(&shares, 100);
        let outcome = take(&parcel(&pieces), 0, &terms, &mut memory, &mut taken);
        let (exceptions, passed) = outcome.unwrap();
        let late = exceptions.unwanted.len();
        assert_eq!((taken.len(), passed.repeats, late), expected, "{times:?}");
    }
}

#[test]
fn a_slot_is_given_up_a_little_before_it_is_anothers() {
    let until_ms = 10_000;
    for (now_ms, is_mine) in [
        (0, true),
        (until_ms - BORDER_MS - 1, true),
        (until_ms - BORDER_MS, false),
        (until_ms, false),
        (until_ms + 1, false),
    ] {
        let shares = shares(Some(until_ms), now_ms.min(until_ms - 1));
        let mut taken = Vec::new();
        let one = parcel(&[(1, 10, 0)]);
        let outcome = take(&one, 0, &terms(&shares, now_ms), &mut memory(), &mut taken);
        let (exceptions, _) = outcome.unwrap();
        assert_eq!(
            (taken.len(), exceptions.elsewhere.len()),
            if is_mine { (1, 0) } else { (0, 1) }
        );
    }
}

#[test]
fn of_two_replicas_one_is_taken_and_what_comes_again_is_passed_over() {
    let shares = shares(None, 0);
    let mut memory = memory();
    let mut check = |pieces: &[(u64, i64, u16)], now_ms, expected: (usize, u64, u64)| {
        let mut taken = Vec::new();
        let terms = terms(&shares, now_ms);
        let (exceptions, passed) =
            take(&parcel(pieces), 0, &terms, &mut memory, &mut taken).unwrap();
        assert_eq!(exceptions, Exceptions::default());
        assert_eq!((taken.len(), passed.repeats, passed.of_other_replicas), expected);
    };
    check(&[(1, 10, 1), (2, 10, 2), (3, 10, 0)], 0, (2, 0, 1));
    check(&[(1, 10, 1), (3, 10, 0)], 1_000, (0, 2, 0));
    check(&[(1, 20, 2)], 2_000, (0, 0, 1));
    check(&[(1, 20, 2)], 40_000, (1, 0, 0));
    check(&[(1, 30, 1)], 40_001, (0, 0, 1));
}

#[test]
fn a_limit_of_all_members_is_shared_as_the_slots_are() {
    let alone = shares(None, 0);
    assert_eq!(part_of(0, "t", &alone, 0), 0);
    assert_eq!(part_of(1_000, "t", &alone, 0), 1_000);
    assert_eq!(part_of(1_000, "t", &Shares::default(), 0), 1);
}

#[test]
fn other_rules_are_noticed_where_there_are_any() {
    let shares = shares(None, 0);
    for (pipeline, expected) in [(Some(7), true), (Some(8), false), (None, true)] {
        let terms = Terms { pipeline, ..terms(&shares, 0) };
        let mut taken = Vec::new();
        let outcome = take(&parcel(&[(1, 10, 0)]), 0, &terms, &mut memory(), &mut taken);
        assert_eq!(outcome.is_ok(), expected, "{pipeline:?}");
        assert!(expected || outcome == Err(Refusal::OtherPipeline));
    }
}

/// What comes after its time is not noted either: pushed again, it is new.
#[test]
fn what_nobody_waits_for_is_not_taken() {
    let shares = shares(None, 100);
    let mut memory = memory();
    let mut check = |until_ms, expected| {
        let mut taken = Vec::new();
        let terms = Terms { until_ms, ..terms(&shares, 100) };
        let taking = take(&parcel(&[(1, 10, 0)]), 0, &terms, &mut memory, &mut taken);
        assert_eq!((taking.err(), taken.len()), expected, "{until_ms}");
    };
    check(99, (Some(Refusal::NotNow), 0));
    check(100, (Some(Refusal::NotNow), 0));
    check(101, (None, 1));
}
