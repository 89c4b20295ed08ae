//! Every state that someone should look at is brought about, shown by the member it befalls, and
//! gone when its cause is.

use std::collections::BTreeSet;

use starling::{
    fleet::{
        drift::JobTargets,
        membership::{Description, Event, Order},
        message::{About, Closure, LoadsTag, Message, OverridesTag, Phase, Record},
        notice::{Difference, Found, HoldReason, Minority, Notice},
        records::RECORDS_MAX,
        seal::Secret,
    },
    model::member::NodeId,
};

use crate::{
    membership::{AGREE_MS_MAX, calm, for_seeds, settle, start_all},
    world::World,
};

const HOSTS: usize = 4;
/// Not among the addresses that every host starts with.
const IT: usize = 3;
const SHOWN_MS_MAX: u64 = 70_000;
const GONE_MS_MAX: u64 = 75_000;

struct Case {
    kind: &'static str,
    /// Befalls `IT`.
    cause: fn(&mut World),
    /// What else must be so of the notice.
    is_right: fn(&Notice) -> bool,
    /// `None` where it takes longer than a test should.
    end: Option<fn(&mut World)>,
}

const CASES: &[Case] = &[
    Case {
        kind: "name_clash",
        cause: |world| {
            world.hosts[IT].name = world.hosts[0].name.clone();
            start_late(world);
        },
        is_right: |notice| notice.to_string().contains("`node-0`"),
        end: Some(|world| world.kill(0)),
    },
    Case {
        kind: "id_clash",
        cause: |world| {
            world.hosts[IT].id = world.hosts[1].id;
            start_late(world);
        },
        is_right: |notice| notice.to_string().contains("`10.0.0.2:9734`"),
        end: Some(|world| world.kill(1)),
    },
    Case {
        kind: "wrong_secret",
        cause: |world| {
            world.hosts[IT].secret = "other";
            start_all(world);
        },
        is_right: |_| true,
        end: Some(|world| {
            let node = world.hosts[IT].node.as_mut().unwrap();
            node.set_secrets(&[Secret::new("secret")]);
        }),
    },
    Case {
        kind: "wrong_cluster",
        cause: |world| {
            world.hosts[IT].cluster = "other";
            start_all(world);
        },
        is_right: |_| true,
        end: Some(|world| {
            world.kill(IT);
            world.hosts[IT].cluster = "simulated";
            world.start(IT);
        }),
    },
    Case {
        kind: "loopback_advertise",
        cause: |world| {
            world.hosts[IT].address = "127.0.0.1:9734".parse().unwrap();
            start_all(world);
        },
        is_right: |notice| notice.to_string().contains("`127.0.0.1:9734`"),
        end: Some(|world| {
            let address = "10.0.0.9:9734".parse().unwrap();
            world.hosts[IT].address = address;
            world.order(IT, Order::Advertise(address));
        }),
    },
    Case {
        kind: "clock_skew",
        cause: |world| {
            world.hosts[IT].skew_ms = -800;
            start_all(world);
        },
        is_right: |notice| matches!(notice, Notice::ClockSkew { ahead_ms: 700..900 }),
        end: Some(|world| world.hosts[IT].skew_ms = 0),
    },
    Case {
        kind: "no_peer_answers",
        cause: |world| {
            part_from_it(world);
            start_all(world);
        },
        is_right: |notice| matches!(notice, Notice::NoPeerAnswers { configured: 3 }),
        end: Some(World::mend),
    },
    Case {
        kind: "holding",
        cause: |world| {
            formed(world);
            part_from_it(world);
            world.hang(IT, 1_500_000);
        },
        is_right: |notice| matches!(notice, Notice::Holding { why: HoldReason::Stalled }),
        end: Some(World::mend),
    },
    Case {
        kind: "holding",
        cause: |world| {
            formed(world);
            part_from_it(world);
            declare_dead(world);
        },
        is_right: |notice| matches!(notice, Notice::Holding { why: HoldReason::DeclaredDead }),
        end: Some(World::mend),
    },
    Case {
        kind: "config_drift",
        cause: |world| {
            formed(world);
            describe(world, 2, 0);
        },
        is_right: |notice| notice.to_string().contains("`node-0`"),
        end: Some(|world| describe(world, 1, 0)),
    },
    Case {
        kind: "target_drift",
        cause: |world| {
            formed(world);
            describe(world, 1, 7);
        },
        is_right: |notice| notice.to_string().contains(" for the job `mysql`;"),
        end: Some(|world| describe(world, 1, 0)),
    },
    Case {
        kind: "target_drift",
        cause: |world| {
            formed(world);
            describe(world, 1, 7);
            world.run(5000, |_| {});
            let first = Difference {
                job: "mysql".into(),
                url: "http://a:1/metrics".to_owned(),
                found: Found::There,
            };
            for n in 0..IT {
                world.order(IT, Order::Differs(world.hosts[n].id, Some(first.clone())));
            }
        },
        is_right: |notice| notice.to_string().contains("`http://a:1/metrics` is found by `node-0`"),
        end: Some(|world| describe(world, 1, 0)),
    },
    Case {
        kind: "too_many_members",
        cause: |world| {
            formed(world);
            let records = (0..RECORDS_MAX).map(record).collect();
            let from = world.hosts[0].address;
            world.event(IT, Event::Message { from, message: Message::Records(records) });
        },
        is_right: |_| true,
        end: None,
    },
    Case {
        kind: "quorum_lost",
        cause: |world| {
            formed(world);
            world.order(IT, Order::Quorum(Some(Minority { here: 1, base: 4 })));
        },
        is_right: |notice| notice.to_string().contains("only 1 of 4 members"),
        end: Some(|world| world.order(IT, Order::Quorum(None))),
    },
    Case {
        kind: "waiting_for_size",
        cause: |world| {
            world.wait_for_size = HOSTS;
            for n in 1..HOSTS {
                world.start(n);
            }
        },
        is_right: |notice| {
            let waits = Some(60);
            *notice == Notice::WaitingForSize { here: 3, size: HOSTS, seconds_max: waits }
        },
        end: Some(|world| world.start(0)),
    },
    Case {
        kind: "waiting_for_size",
        cause: |world| {
            world.wait_for_size = HOSTS + 1;
            start_all(world);
        },
        is_right: |notice| {
            *notice == Notice::WaitingForSize { here: 4, size: HOSTS + 1, seconds_max: None }
        },
        end: None,
    },
    Case {
        kind: "insecure",
        cause: |world| {
            formed(world);
            world.order(IT, Order::Insecure(true));
        },
        is_right: |_| true,
        end: Some(|world| world.order(IT, Order::Insecure(false))),
    },
    Case {
        kind: "override_conflict",
        cause: |world| {
            formed(world);
            world.order(IT, Order::OverrideConflict);
        },
        is_right: |_| true,
        end: Some(|_| {}),
    },
];

fn formed(world: &mut World) {
    start_all(world);
    world.run(4000, |_| {});
    settle(world, AGREE_MS_MAX).unwrap();
}

fn start_late(world: &mut World) {
    for n in 0..IT {
        world.start(n);
    }
    world.run(4000, |_| {});
    world.start(IT);
}

fn part_from_it(world: &mut World) {
    world.part(&std::array::from_fn::<_, HOSTS, _>(|n| n == IT), true);
}

/// The last that `IT` hears is that a member took it for dead.
fn declare_dead(world: &mut World) {
    let (id, by) = (world.hosts[IT].id, world.hosts[0].id);
    let membership = &world.hosts[IT].node.as_ref().unwrap().membership;
    let generation = membership.facts()[&id].generation;
    let until_ms = world.fleet_ms(IT);
    let closure = Closure { generation, until_ms, by: by.into(), forgotten: false };
    let dead = Record { id: id.into(), generation, closure: Some(closure), ..record(0) };
    let from = world.hosts[0].address;
    world.event(IT, Event::Message { from, message: Message::Records(vec![dead]) });
}

/// All see the same jobs, but `IT` has its own `config` and its own targets of one job.
fn describe(world: &mut World, config_digest: u64, mysql: u64) {
    for n in 0..HOSTS {
        let is_it = n == IT;
        let targets: JobTargets =
            [("node".into(), 5), ("mysql".into(), if is_it { mysql } else { 0 })].into();
        let config_digest = if is_it { config_digest } else { 1 };
        let description = Description {
            config_digest,
            targets,
            loads: LoadsTag::default(),
            overrides: OverridesTag::default(),
        };
        world.order(n, Order::Describe(description));
    }
}

/// A member that nobody has met, nor ever will.
fn record(n: usize) -> Record {
    let byte = |number: usize| u8::try_from(number).unwrap();
    Record {
        id: NodeId(n as u128 + 1).into(),
        generation: 1,
        version: 1,
        about: About {
            name: format!("crowd-{n}"),
            address: ([10, 9, byte(n / 250), byte(n % 250)], 9734).into(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            started_ms: 0,
            config_digest: 0,
            targets_digest: 0,
            jobs: Vec::new(),
            loads: LoadsTag::default(),
            overrides: OverridesTag::default(),
        },
        phase: Phase::Here,
        intervals: Vec::new(),
        closure: None,
    }
}

fn shown(world: &World, case: &Case) -> Vec<Notice> {
    let membership = &world.hosts[IT].node.as_ref().unwrap().membership;
    membership.notices().filter(|notice| notice.kind() == case.kind).cloned().collect()
}

/// Runs until `is_so` of what is shown, as it may be so for a moment only.
fn wait(
    world: &mut World,
    case: &Case,
    ms_max: u64,
    is_so: impl Fn(&[Notice]) -> bool,
) -> Result<(), String> {
    let mut found = Vec::new();
    for _ in 0..ms_max / 100 {
        found = shown(world, case);
        if is_so(&found) {
            return Ok(());
        }
        world.run(100, |_| {});
    }
    Err(format!("{}: after {ms_max} ms there is {found:?}", case.kind))
}

#[test]
fn what_is_wrong_is_shown_and_goes_when_it_is_mended() {
    let kinds: BTreeSet<&str> = CASES.iter().map(|case| case.kind).collect();
    assert_eq!(kinds, BTreeSet::from(Notice::KINDS), "each kind has a case");
    for case in CASES {
        for_seeds(1, |seed| {
            let mut world = World::new(seed, HOSTS, calm(0));
            (case.cause)(&mut world);
            wait(&mut world, case, SHOWN_MS_MAX, |found| found.iter().any(case.is_right))?;
            let Some(end) = case.end else { return Ok(()) };
            end(&mut world);
            wait(&mut world, case, GONE_MS_MAX, <[_]>::is_empty)
        });
    }
}

#[test]
fn in_calm_nothing_is_shown() {
    for_seeds(3, |seed| {
        let mut world = World::new(seed, HOSTS, calm(2));
        formed(&mut world);
        describe(&mut world, 1, 0);
        world.run(120_000, |_| {});
        for (n, node) in world.running() {
            if let Some(notice) = node.membership.notices().next() {
                return Err(format!("{n} shows: {notice}"));
            }
        }
        Ok(())
    });
}
