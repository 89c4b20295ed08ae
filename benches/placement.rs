//! What a change of the roster costs: all owners anew.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use starling::{
    model::{
        member::{Interval, Member, MemberState, NodeId, Roster},
        overrides::Overrides,
    },
    ownership::placement::Table,
};

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

criterion_group!(benches, tables);
criterion_main!(benches);
