//! The loop with real channels and a real outbox: what it tells the pool, and when a line opens. The
//! pool is played by the test.

mod member;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::time::sleep;

use crate::{
    fleet::standing::Standing,
    model::{
        labels::Labels,
        member::NodeId,
        slot::StreamKey,
        target::{Target, TargetId},
    },
    ownership::{
        handoff::{Answer, Give, Line, Message, Verdict},
        letter::{Letter, pack, unpack},
        orders::{Knowledge, Report, Task},
        placement::slots,
        tests::member::{DESTINATION, Peer, TestMember, introduce},
    },
    runtime::clock,
};

const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
/// Slots.
const ALL: Option<usize> = Some(4_096);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_gained_from_one_who_lives_stays_closed_until_its_end_arrives() {
    let (mut old, new) = (TestMember::start(A).await, TestMember::start(B).await);
    introduce(&[&old, &new]);
    let begun_ms = clock::now_ms() - 60_000;
    for member in [&old, &new] {
        member.sees(&[(A, begun_ms, None)]);
    }
    old.stands(Standing::Active { from_ms: begun_ms }, 1);
    new.stands(Standing::Waiting, 1);
    old.until_view("all is its own", |view| view.shares.get(&A).map(|s| s.slots) == ALL).await;

    let border_ms = clock::now_ms() + 500;
    for member in [&old, &new] {
        member.sees(&[(A, begun_ms, Some(border_ms)), (B, border_ms, None)]);
    }
    old.stands(Standing::Leaving { until_ms: border_ms }, 1);
    new.stands(Standing::Active { from_ms: border_ms }, 1);
    new.until_view("all waits", |view| Some(view.hand_over.taking) == ALL).await;
    let mut sealed = BTreeSet::new();
    while Some(sealed.len()) != ALL {
        let task = old.pool.task().await;
        if let Task::Seal { slot, until_ms } = task {
            assert_eq!(until_ms, border_ms);
            sealed.insert(slot);
        }
    }
    // What the old one scrapes late is not in its outbox yet.
    sleep(Duration::from_secs(1)).await;
    assert_eq!(Some(new.view().hand_over.taking), ALL, "nothing was given");

    for slot in sealed {
        old.pool.report(Report::Sealed { slot }).await;
    }
    new.until_view("all is open", |view| view.hand_over.taking == 0).await;
    old.until_view("all is given", |view| view.hand_over.giving == 0).await;
    assert!(new.view().hand_over.took.longest_ms() >= Some(1_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_holds_has_its_pool_hold_until_the_fleet_has_answered() {
    let mut member = TestMember::start(A).await;
    let begun_ms = clock::now_ms() - 60_000;
    member.sees(&[(A, begun_ms, None)]);
    member.stands(Standing::Active { from_ms: begun_ms }, 1);
    let shown = |task: Task| match task {
        Task::Hold(on_hold) => Some(format!("hold {on_hold}")),
        Task::Grant(generation) => Some(format!("grant {generation}")),
        _ => None,
    };
    assert_eq!(member.pool.next(shown).await, "grant 1");
    member.stands(Standing::Holding, 2);
    assert_eq!(member.pool.next(shown).await, "hold true");
    member.until_view("it holds", |view| view.on_hold).await;
    member.stands(Standing::Active { from_ms: begun_ms }, 2);
    // Granted is what was acted on, so that comes last.
    assert_eq!(member.pool.next(shown).await, "hold false");
    assert_eq!(member.pool.next(shown).await, "grant 2");
    member.until_view("it goes on", |view| !view.on_hold).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_ask_is_answered() {
    let member = TestMember::start(A).await;
    let mut peer = Peer::start(B).await;
    peer.meets(&member);
    let begun_ms = clock::now_ms() - 60_000;
    let border_ms = clock::now_ms() - 10_000;
    member.sees(&[(B, begun_ms, Some(border_ms)), (A, border_ms, None)]);
    member.stands(Standing::Active { from_ms: border_ms }, 1);
    member.until_view("it is met", |view| !view.shares.is_empty()).await;

    let slot = slots().next().unwrap();
    let line = |destination: &str| Line { slot, destination: destination.into() };
    let give = |destination: &str| Give {
        line: line(destination),
        until_ms: border_ms,
        awaits: Vec::new(),
        is_unaware: false,
        records: Vec::new(),
        gone: Vec::new(),
        end: Some(Vec::new()),
    };
    for (destination, verdict) in
        [(DESTINATION, Verdict::Taken), ("elsewhere", Verdict::NoDestination)]
    {
        let message = Message::Give(give(destination));
        let answer = peer.ask(Letter::Handoff { message, batches: Vec::new() }, |letter| {
            let Letter::Handoff { message: Message::Answer(answer), .. } = letter else {
                return None;
            };
            (answer.line.destination == destination.into()).then_some(answer)
        });
        let Answer { verdict: found, is_end, .. } = answer.await;
        assert_eq!((found, is_end), (verdict, true), "{destination}");
    }
    let letter = Letter::AskDifference { job: "j".into(), targets: Vec::new() };
    let first = peer.ask(letter, |letter| {
        let Letter::Difference { first, .. } = letter else { return None };
        Some(first)
    });
    assert_eq!(first.await, None);
    let bundles = pack([Letter::Noted { number: 77 }]);
    assert_eq!(unpack(&bundles[0]).unwrap().len(), 1, "and one for nobody does no harm");
    peer.says(&bundles[0]);
    member.until_view("it lives", |view| view.hand_over.giving == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_known_of_a_target_goes_to_its_next_owner() {
    let member = TestMember::start(A).await;
    let mut peer = Peer::start(B).await;
    peer.meets(&member);
    let begun_ms = clock::now_ms() - 60_000;
    member.sees(&[(B, begun_ms, None)]);
    member.stands(Standing::Active { from_ms: begun_ms }, 1);
    member.until_view("it is met", |view| !view.shares.is_empty()).await;

    let never_scraped = knowledge("a:1", None);
    let scraped = knowledge("b:1", Some(begun_ms));
    for knowledge in [never_scraped, scraped.clone()] {
        member.pool.report(Report::Left(knowledge)).await;
    }
    let first = peer.ask(Letter::Noted { number: u64::MAX }, |letter| {
        let Letter::Knowledge { knowledge, .. } = letter else { return None };
        Some(knowledge)
    });
    assert_eq!(first.await, scraped);
}

fn knowledge(address: &str, last_tick_ms: Option<i64>) -> Knowledge {
    let target = Target {
        job: "j".into(),
        labels: Labels::new(),
        discovered: Labels::new(),
        id: TargetId(0),
        key: StreamKey::of([address]),
        url: format!("http://{address}/metrics"),
        interval: Duration::from_secs(15),
        timeout: Duration::from_secs(10),
    };
    Knowledge { target: Arc::new(target), last_tick_ms, series: Bytes::new() }
}

#[tokio::test(flavor = "multi_thread")]
async fn alone_all_lines_are_open_at_once() {
    let member = TestMember::start(A).await;
    member.sees(&[(A, 0, None)]);
    member.stands(Standing::Active { from_ms: 0 }, 0);
    member.until_view("all is its own", |view| view.shares.get(&A).map(|s| s.slots) == ALL).await;
    assert_eq!(member.view().hand_over.taking, 0);
    member.leave().await;
}
