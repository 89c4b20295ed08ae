//! What `/api/v1/fleet` says of a fleet made by hand.

use super::*;
use crate::{
    fleet::{
        Facts,
        message::{LoadsTag, OverridesTag},
        notice::{Notice, Raised},
        standing::Standing,
    },
    model::{
        member::{Interval, Member, MemberState},
        overrides::Stamp,
        slot::Slot,
    },
    ownership::{
        handoff::{Line, Verdict},
        view::{Imbalance, Quorum, Refused, Share},
    },
};

pub(super) const T0_MS: i64 = 1_700_000_000_000;

pub(super) fn member(id: u128, state: MemberState, until_ms: Option<i64>) -> Member {
    Member {
        id: NodeId(id),
        name: format!("n{id}"),
        api_address: format!("10.0.0.{id}:9733"),
        weight: 100,
        zone: "a".to_owned(),
        state,
        intervals: vec![Interval { from_ms: T0_MS, until_ms }],
    }
}

fn roster() -> Roster {
    let members =
        [member(1, MemberState::Alive, None), member(2, MemberState::Dead, Some(T0_MS + 9000))];
    Roster { members: members.into_iter().map(|one| (one.id, one)).collect(), version: 3 }
}

pub(super) fn status(standing: Standing, notices: Vec<Raised>) -> Status {
    let facts = Facts {
        address: "10.0.0.2:9734".parse().unwrap(),
        generation: 7,
        config_digest: 0xab,
        targets_digest: 0,
        loads: LoadsTag::default(),
        overrides: OverridesTag::default(),
        clock_ahead_ms: Some(-12),
    };
    Status {
        standing,
        fleet_offset_ms: 3,
        notices,
        facts: [(NodeId(2), facts)].into(),
        generation: 0,
    }
}

fn view() -> View {
    let mut view = View {
        shares: [(NodeId(1), Share { slots: 4096, part: 1.0, samples_per_second: Some(12.5) })]
            .into(),
        imbalance: Imbalance { by_slots: 1.0, by_samples: Some(1.25) },
        moves: [("death", 2048)].into(),
        late_fences: 1,
        on_hold: true,
        quorum: Some(Quorum { base: vec![NodeId(1), NodeId(9)], here: 1, holds: false }),
        overrides: Some(Stamp { version: 4, publisher: NodeId(2) }),
        overridden: 7,
        override_conflicts: 1,
        ..View::default()
    };
    view.gaps.add(6500);
    view.hand_over.taking = 3;
    view.hand_over.longest_wait_ms = Some(1500);
    for ms in [900, 250] {
        view.hand_over.took.add(ms);
    }
    view.hand_over.refused(Refused {
        line: Line { slot: Slot::new(5).unwrap(), destination: "far".into() },
        by: NodeId(2),
        records: 10,
        why: Verdict::NoRoom,
    });
    view
}

pub(super) fn open(status: Status) -> House {
    let fleet = FleetSources {
        me: NodeId(1),
        name: "n1".to_owned(),
        cluster: Some("prod".to_owned()),
        roster: watch::channel(Arc::new(roster())).1,
        status: watch::channel(Arc::new(status)).1,
        ownership: watch::channel(Arc::new(view())).1,
        time: FleetTime::default(),
    };
    House::open_in(fleet, false)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_is_shown_as_this_member_knows_it() {
    let house = open(status(Standing::Active { from_ms: T0_MS }, Vec::new()));
    let mut found = house.get("/api/v1/fleet").await.json();
    assert!(found["node"]["fleet_time"].take().as_str().unwrap().ends_with('Z'));
    let (from, until) = ("2023-11-14T22:13:20.000Z", "2023-11-14T22:13:29.000Z");
    let (one, two) = (format!("{:032x}", 1), format!("{:032x}", 2));
    let expected = json!({
        "node": {
            "id": one, "name": "n1", "cluster": "prod",
            "standing": "active", "standing_at": from, "drain": "working", "fleet_time": null, "fleet_offset_ms": 3,
        },
        "members": [
            {
                "id": one, "name": "n1", "state": "alive", "api_address": "10.0.0.1:9733",
                "cluster_address": null, "weight": 100, "zone": "a",
                "intervals": [{ "from": from, "until": null }],
                "slots": 4096, "share": 1.0, "samples_per_second": 12.5,
                "config_digest": null, "targets_digest": null, "clock_ahead_ms": null,
                "generation": null,
            },
            {
                "id": two, "name": "n2", "state": "dead", "api_address": "10.0.0.2:9733",
                "cluster_address": "10.0.0.2:9734", "weight": 100, "zone": "a",
                "intervals": [{ "from": from, "until": until }],
                "slots": 0, "share": 0.0, "samples_per_second": null,
                "config_digest": "00000000000000ab", "targets_digest": null, "clock_ahead_ms": -12,
                "generation": 7,
            },
        ],
        "division": {
            "slots": 4096,
            "imbalance": { "slots": 1.0, "samples": 1.25 },
            "moves": { "death": 2048 },
            "late_fences": 1,
            "gap_seconds": { "last": 6.5, "longest": 6.5 },
            "on_hold": true,
            "quorum": {
                "holds": false, "here": 1,
                "base": [{ "id": one, "name": "n1" }, { "id": format!("{:032x}", 9), "name": null }],
            },
            "overrides": { "version": 4, "publisher": "n2", "slots": 7, "conflicts": 1 },
        },
        "hand_over": {
            "taking": 3, "giving": 0, "longest_wait_seconds": 1.5,
            "took_seconds": { "last": 0.25, "longest": 0.9 },
            "refused": [{
                "slot": 5, "destination": "far", "by": "n2", "records": 10, "reason": "no_room",
            }],
            "refused_unnamed": 0,
        },
        "warnings": [],
    });
    assert_eq!(found, expected, "{found:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_stands_where_it_says() {
    let at = Value::from("2023-11-14T22:13:20.000Z");
    for (standing, name, expected_at) in [
        (Standing::Seeking, "seeking", Value::Null),
        (Standing::Waiting, "waiting", Value::Null),
        (Standing::Active { from_ms: T0_MS }, "active", at.clone()),
        (Standing::Holding, "holding", Value::Null),
        (Standing::Refused, "refused", Value::Null),
        (Standing::Leaving { until_ms: T0_MS }, "leaving", at),
        (Standing::Gone, "gone", Value::Null),
    ] {
        let found = open(status(standing, Vec::new())).get("/api/v1/fleet").await.json();
        let node = &found["node"];
        assert_eq!((&node["standing"], &node["standing_at"]), (&name.into(), &expected_at));
    }
}

/// Every state that someone should look at has a sentence that says what to do, a line here and a
/// metric.
#[tokio::test(flavor = "multi_thread")]
async fn every_notice_is_loud() {
    let examples = Notice::examples();
    let kinds: Vec<&str> = examples.iter().map(Notice::kind).collect();
    assert_eq!(kinds, Notice::KINDS, "one example a kind");
    for notice in examples {
        let kind = notice.kind();
        let raised = vec![Raised { notice, since_ms: T0_MS }];
        let status = status(Standing::Waiting, raised);
        let metrics = crate::fleet::metrics_of(&status);
        let house = open(status);
        let found = house.get("/api/v1/fleet").await.json();
        let warning = &found["warnings"][0];
        assert_eq!(found["warnings"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&warning["kind"], &warning["since"]),
            (&kind.into(), &"2023-11-14T22:13:20.000Z".into(),)
        );
        // What is, and after it what to do.
        let sentence = warning["message"].as_str().unwrap();
        assert!(sentence.contains("; ") && !sentence.ends_with('.'), "{kind}: {sentence}");
        for other in Notice::KINDS {
            let line = format!(
                "starling_cluster_notices{{kind=\"{other}\"}} {}\n",
                u8::from(other == kind)
            );
            assert!(metrics.contains(&line), "{line} in {metrics}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_it_is_a_fleet_of_one() {
    let alone = House::open().get("/api/v1/fleet").await.json();
    let many = open(status(Standing::Waiting, Vec::new())).get("/api/v1/fleet").await.json();
    assert_eq!(keys(&alone), keys(&many));
    for part in ["node", "division", "hand_over"] {
        assert_eq!(keys(&alone[part]), keys(&many[part]), "{part}");
    }
    assert_eq!(keys(&alone["members"][0]), keys(&many["members"][0]));
    assert_eq!(alone["node"]["cluster"], Value::Null);
    assert_eq!(
        (&alone["members"][0]["slots"], alone["members"].as_array().unwrap().len()),
        (&4096.into(), 1,)
    );
}

fn keys(value: &Value) -> Vec<&String> {
    value.as_object().unwrap().keys().collect()
}
