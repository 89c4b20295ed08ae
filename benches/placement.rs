//! What a change of the roster costs: all owners anew, and what of many targets is whose.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use starling::{
    config::Clustering,
    model::{
        labels::Labels,
        member::{Interval, Member, MemberState, NodeId, Roster},
        overrides::Overrides,
        slot::StreamKey,
        target::{Target, TargetId},
    },
    ownership::{
        assign::{Assign, JobShare, Settings},
        placement::Table,
    },
};

const TARGETS: u64 = 100_000;

fn roster(members: u32, weight: impl Fn(u32) -> u32) -> Roster {
    let member = |n: u32| Member {
        id: NodeId(u128::from(n) << 64 | 7),
        name: format!("n{n}"),
        api_address: String::new(),
        weight: weight(n),
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![Interval { from_ms: 0, until_ms: None }],
    };
    let members = (0..members).map(|n| (member(n).id, member(n))).collect();
    Roster { members, version: 0 }
}

fn tables(c: &mut Criterion) {
    let none = Overrides::default();
    for members in [3, 20, 100] {
        let equal = roster(members, |_| 100);
        c.bench_function(&format!("table, {members} members"), |b| {
            b.iter(|| Table::new(black_box(1), &equal, &none));
        });
        let unlike = roster(members, |n| 100 + n);
        c.bench_function(&format!("table, {members} members, each of its own weight"), |b| {
            b.iter(|| Table::new(black_box(1), &unlike, &none));
        });
    }
}

fn job() -> JobShare {
    let target = |n: u64| Target {
        job: "j".into(),
        labels: Labels::new(),
        discovered: Labels::new(),
        id: TargetId(n),
        key: StreamKey::of([n.to_string().as_str()]),
        url: String::new(),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
    };
    JobShare {
        name: "j".into(),
        clustering: Clustering { enabled: true, ..Clustering::default() },
        targets: (0..TARGETS).map(|n| Arc::new(target(n))).collect(),
        refreshed_ms: 0,
    }
}

/// As it is before a member dies, and with that.
fn death(members: u32) -> (Arc<Roster>, Arc<Roster>, NodeId) {
    let before = roster(members, |_| 100);
    let mut after = before.clone();
    let dead = after.members.values_mut().next_back().expect("there are some");
    dead.state = MemberState::Dead;
    dead.intervals[0].until_ms = Some(10_000);
    let me = *before.members.keys().next().expect("there are some");
    (before.into(), after.into(), me)
}

fn shares(c: &mut Criterion) {
    let (before, after, me) = death(100);
    let job = job();
    let begun = || {
        let mut assign = Assign::new(Settings { me, detection_ms: 5_000 });
        assign.placed(Arc::clone(&before), Overrides::default(), 5_000);
        assign.discovered(std::slice::from_ref(&job));
        assign
    };
    c.bench_function("a death, 100 members, 100,000 targets", |b| {
        let dies = |mut assign: Assign| {
            black_box(assign.placed(Arc::clone(&after), Overrides::default(), 10_000));
            assign
        };
        b.iter_batched(begun, dies, BatchSize::LargeInput);
    });
    let mut group = c.benchmark_group("discovery, 100 members, 100,000 targets");
    group.sample_size(20);
    group.bench_function("all new", |b| b.iter(begun));
    group.bench_function("as before", |b| {
        let mut assign = begun();
        b.iter(|| black_box(assign.discovered(std::slice::from_ref(&job))));
    });
}

criterion_group!(benches, tables, shares);
criterion_main!(benches);
