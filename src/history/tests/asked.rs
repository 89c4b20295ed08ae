//! Questions, on a small history that is known by heart.

use super::*;
use crate::{
    history::{
        Cursor, EventFilter, Kind,
        entry::{
            ConfigVersion, MemberChange, MemberSeen, NoticeChange, Placement, SamplesDrop, Step,
        },
    },
    model::member::MemberState,
};

fn joined(at_ms: i64, id: u128) -> Entry {
    member(at_ms, id, Step::Joined, MemberState::Alive)
}

fn member(at_ms: i64, id: u128, step: Step, state: MemberState) -> Entry {
    let member = MemberSeen {
        id: NodeId(id),
        name: format!("n{id}"),
        api_address: format!("10.0.0.{id}:9733"),
        weight: 100,
        zone: String::new(),
        state,
    };
    Entry::Member(MemberChange { at_ms, member, step, detail: None })
}

/// Of each kind something, at 1,000 to 9,000 after `base`.
pub(super) fn story(base: i64) -> Vec<Entry> {
    let by = NodeId(1);
    vec![
        joined(base + 1_000, 1),
        joined(base + 1_000, 2),
        moves(base + 1_500, 0, 1, 0..4096),
        came(base + 2_000, 0..10),
        came(base + 2_500, [77]),
        moves(base + 3_000, 1, 2, 0..2048),
        Entry::Placement(Placement {
            at_ms: base + 3_000,
            reason: Reason::Join,
            shares: vec![(NodeId(1), 2048), (NodeId(2), 2048)],
        }),
        health(base + 4_000, 3, Some("connection refused")),
        health(base + 5_000, 3, None),
        went(base + 5_500, [3]),
        member(base + 6_000, 2, Step::Crashed, MemberState::Dead),
        learnt(base + 6_000, base + 6_100, 2, 1, 0..2048),
        came(base + 6_500, [3]),
        Entry::Config(ConfigVersion {
            at_ms: base + 7_000,
            by,
            digest: 7,
            cause: "file".into(),
            changes: " global:\n-  scrape_interval: 15s\n+  scrape_interval: 5s\n".into(),
            refused: None,
        }),
        Entry::Notice(NoticeChange {
            at_ms: base + 8_000,
            by,
            about: Some(NodeId(2)),
            kind: "config_drift".into(),
            text: "another config".into(),
            is_raised: true,
        }),
        Entry::Drop(SamplesDrop {
            at_ms: base + 9_000,
            by,
            destination: "far".into(),
            reason: "late".into(),
            samples: 5,
        }),
    ]
}

async fn told() -> (Book, i64) {
    let book = Book::new();
    let base = now_ms() - 60_000;
    book.record(story(base)).await;
    (book, base)
}

/// A file that is saved twice in a hurry, the second time wrong.
#[tokio::test]
async fn two_configurations_in_one_millisecond_are_both_kept() {
    let book = Book::new();
    let at_ms = now_ms();
    let version = |digest, refused| {
        let (cause, changes) = ("file".into(), String::new());
        Entry::Config(ConfigVersion { at_ms, by: NodeId(1), digest, cause, changes, refused })
    };
    book.record(vec![version(7, None), version(8, Some("1:1: no".into()))]).await;
    assert_eq!(book.count("SELECT count(*) FROM config_versions"), 2);
}

#[tokio::test]
async fn events_are_told_by_filter_and_page() {
    let (book, base) = told().await;
    let check = async |filter: EventFilter, expected: &[&str]| {
        let whole = book.handle.events(filter.clone(), None, 100).await.unwrap();
        assert_eq!(whole.next, None);
        let told: Vec<String> = whole
            .items
            .iter()
            .map(|event| format!("{} {}", event.at_ms - base, event.summary))
            .collect();
        assert_eq!(told, expected, "{filter:?}");
        // Page by page it is the same, each event once.
        for limit in 1..=3 {
            let (mut paged, mut after) = (Vec::new(), None::<Cursor>);
            loop {
                let page = book.handle.events(filter.clone(), after, limit).await.unwrap();
                assert!(page.items.len() <= limit);
                paged.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(paged, whole.items, "{filter:?} by {limit}");
        }
    };
    let all = [
        "9000 n1 dropped 5 samples for `far`: late",
        "8000 another config",
        "7000 n1 runs a new configuration (file): 2 lines changed",
        "6500 http://h3:9100/metrics of `node` is there: discovered",
        "6000 2048 slots with 3 targets have moved from n2 to n1: a member joined",
        "6000 n2 was declared dead",
        "5500 http://h3:9100/metrics of `node` is gone: no longer discovered",
        "5000 http://h3:9100/metrics of `node` is up",
        "4000 http://h3:9100/metrics of `node` is down: connection refused",
        "3000 slots from then on: n1 2048, n2 2048",
        "3000 2048 slots with 3 targets have moved from n1 to n2: a member joined",
        "2500 http://h77:9100/metrics of `node` is there: discovered",
        "2000 10 targets of `node` are there: discovered",
        "1500 4096 slots with 3 targets have moved to n1: a member joined",
        "1000 n2 joined with weight 100",
        "1000 n1 joined with weight 100",
    ];
    check(EventFilter::default(), &all).await;
    let between =
        EventFilter { from_ms: Some(base + 6_000), until_ms: Some(base + 7_000), ..<_>::default() };
    check(between, &all[3..6]).await;
    let kind = |kind| EventFilter { kind: Some(kind), ..<_>::default() };
    check(kind(Kind::Health), &all[7..9]).await;
    check(kind(Kind::Moves), &[all[4], all[10], all[13]]).await;
    let node = |id| EventFilter { node: Some(NodeId(id)), ..<_>::default() };
    check(node(2), &[all[1], all[4], all[5], all[10], all[14]]).await;
    check(node(9), &[]).await;
    let of = |id| EventFilter { target: Some(TargetId(id)), ..<_>::default() };
    let one = |at, from: &str, to| {
        format!("{at} 1 slot with 1 target has moved{from} to {to}: a member joined")
    };
    let past = [
        all[3].to_owned(),
        all[6].to_owned(),
        all[7].to_owned(),
        all[8].to_owned(),
        one(3000, " from n1", "n2"),
        "2000 http://h3:9100/metrics of `node` is there: discovered".to_owned(),
    ];
    check(of(3), &past.each_ref().map(String::as_str)).await;
    check(EventFilter { job: Some("other".into()), ..of(3) }, &[]).await;
    check(EventFilter { node: Some(NodeId(2)), ..of(3) }, &[&past[4]]).await;
    check(of(12345), &[]).await;
}

#[tokio::test]
async fn a_target_has_its_spans() {
    let (book, base) = told().await;
    let check = async |id: u64, from: Option<i64>, until: Option<i64>, expected: &[&str]| {
        let at = |ms: i64| base + ms;
        let name = (TargetId(id), "node".into());
        let past = book.handle.target(name, from.map(at), until.map(at)).await.unwrap().unwrap();
        assert_eq!(past.target.url, format!("http://h{id}:9100/metrics"));
        assert_eq!(past.labels[0].1, format!("h{id}:9100"));
        let told: Vec<String> = past
            .spans
            .iter()
            .map(|span| {
                let owner = span.owner.as_ref().map_or("nobody", |node| &node.name);
                let until = span.until_ms.map_or(0, |ms| ms - base);
                format!("{owner} {}..{until} {}", span.from_ms - base, span.reason.name())
            })
            .collect();
        assert_eq!(told, expected);
    };
    let all = [
        "n1 2000..3000 discovered",
        "n2 3000..5500 join",
        "nobody 5500..6500 vanished",
        "n1 6500..0 discovered",
    ];
    check(3, None, None, &all).await;
    check(3, Some(4_000), Some(5_000), &["n2 4000..5500 discovered"]).await;
    check(77, Some(3_500), None, &["n2 3500..6000 discovered", "n1 6000..0 join"]).await;
    let nobody = book.handle.target((TargetId(3), "other".into()), None, None).await.unwrap();
    assert_eq!(nobody, None);
}

#[tokio::test]
async fn the_fleet_is_told_as_it_was() {
    let (book, base) = told().await;
    let check =
        async |at: i64, node: Option<u128>, members: &[(&str, u64)], targets: &[(u64, &str)]| {
            let (mut found, mut after) = (Vec::new(), None);
            loop {
                let node = node.map(NodeId);
                let page = book.handle.state_at(base + at, None, node, after, 4).await.unwrap();
                let shares: Vec<(&str, u64)> =
                    page.members.iter().map(|one| (&*one.node.name, one.slots)).collect();
                assert_eq!(shares, members, "at {at}");
                if node.is_none() {
                    assert_eq!(page.total, Some(targets.len() as u64), "at {at}");
                }
                found.extend(page.items);
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            let mut found: Vec<(u64, &str)> = found
                .iter()
                .map(|(target, owner)| (target.id.0, owner.as_ref().map_or("", |node| &*node.name)))
                .collect();
            found.sort_unstable();
            assert_eq!(found, targets, "at {at}");
        };
    let ten = |but: Option<u64>, owner| {
        (0..10).filter(|id| Some(*id) != but).map(|id| (id, owner)).collect::<Vec<_>>()
    };
    check(500, None, &[], &[]).await;
    check(1_999, None, &[("n1", 4096), ("n2", 0)], &[]).await;
    check(2_000, None, &[("n1", 4096), ("n2", 0)], &ten(None, "n1")).await;
    let with = |mut targets: Vec<(u64, &'static str)>, one| {
        targets.push(one);
        targets
    };
    check(3_000, None, &[("n1", 2048), ("n2", 2048)], &with(ten(None, "n2"), (77, "n2"))).await;
    check(3_000, Some(1), &[("n1", 2048), ("n2", 2048)], &[]).await;
    check(5_999, Some(2), &[("n1", 2048), ("n2", 2048)], &with(ten(Some(3), "n2"), (77, "n2")))
        .await;
    check(6_000, None, &[("n1", 4096)], &with(ten(Some(3), "n1"), (77, "n1"))).await;
    let one = book.handle.state_at(base + 3_000, Some(TargetId(5)), None, None, 10).await.unwrap();
    assert_eq!(one.items.len(), 1);
    assert_eq!(one.items[0].0.id, TargetId(5));
}

/// As an operator would.
#[tokio::test]
async fn the_views_can_be_read() {
    let (book, base) = told().await;
    let connection = rusqlite::Connection::open(book.file()).unwrap();
    let lines = |sql: &str| -> Vec<String> {
        let mut statement = connection.prepare(sql).unwrap();
        let found = statement.query_map([], |row| row.get(0)).unwrap();
        found.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(
        lines(
            "SELECT \"from\" || '>' || \"to\" || ' ' || reason FROM moves
              WHERE url LIKE '%h3:%' ORDER BY at"
        ),
        [">n1 discovered", "n1>n2 join", "n2> vanished", ">n1 discovered"],
    );
    let at = crate::model::time::rfc3339(base + 4_000).replace('T', " ").replace('Z', "");
    assert_eq!(
        lines(
            "SELECT at || ' ' || state || ' ' || error || ' ' || \"by\" FROM health WHERE state = 'down'"
        ),
        [format!("{at} down connection refused n1")],
    );
    assert_eq!(
        lines("SELECT name || ' ' || step FROM membership ORDER BY at DESC LIMIT 1"),
        ["n2 crashed"]
    );
    let known = book.handle.last_known().await.unwrap();
    assert_eq!((known.members.len(), known.targets.len()), (2, 11));
    assert_eq!(known.owners, vec![Some(NodeId(1)); 4096]);
}

/// A later look has another owner for an instant that was told of before.
#[tokio::test]
async fn later_news_of_an_instant_counts() {
    let base = now_ms() - 60_000;
    let entries = [
        learnt(base, base, 0, 1, [5]),
        learnt(base + 100, base + 101, 1, 2, [5]),
        // It comes later, and is of an earlier instant.
        learnt(base + 50, base + 200, 2, 3, [5]),
        learnt(base + 300, base + 301, 3, 4, [5]),
    ];
    let check = async |order: [usize; 4], is_fetched: bool| {
        let book = Book::new();
        let entries: Vec<Entry> = order.iter().map(|at| entries[*at].clone()).collect();
        if is_fetched {
            book.handle.insert(entries).await.unwrap();
        } else {
            book.record(entries).await;
        }
        for (at, owner) in [(0, 1), (49, 1), (50, 3), (100, 3), (299, 3), (300, 4)] {
            let owners = book.handle.owners_at(base + at).await.unwrap();
            assert_eq!(owners[5], Some(NodeId(owner)), "at {at} in order {order:?}");
        }
        let last = book.handle.last_moves().borrow().of(Slot::new(5).unwrap()).unwrap();
        assert_eq!(
            (last.at_ms, last.from, last.to),
            (base + 300, Some(NodeId(3)), Some(NodeId(4)))
        );
    };
    check([0, 1, 2, 3], false).await;
    check([0, 1, 2, 3], true).await;
    check([3, 2, 1, 0], true).await;
    check([2, 0, 3, 1], true).await;
}
