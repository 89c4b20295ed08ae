//! What a question to the history takes when the file has five million rows, beside a look at all of
//! them; and what writing costs. Run by hand: filling the file takes a minute or two.

#![expect(clippy::disallowed_types, reason = "a benchmark measures real time")]
#![expect(clippy::print_stdout, reason = "what it has measured")]

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use prometheus_client::registry::Registry;
use starling::{
    config::HistorySettings,
    history::{
        Entry, EventFilter, Handle, History, Kind, Reason, Settings,
        entry::{
            HealthChange, MemberChange, MemberSeen, SlotMoves, Step, TargetSeen, TargetsChange,
        },
    },
    model::{
        member::{MemberState, NodeId},
        slot::{SLOTS, Slot},
        target::TargetId,
    },
    runtime::{clock, clock::FleetTime, stop::Stop, tasks},
};

const DAY_MS: i64 = 24 * 3_600_000;
const MEMBERS: u128 = 20;
const TARGETS: u64 = 100_000;
/// Three million slot moves, 1.75 million changes of health, the rest is targets that come and go.
const MOVES: i64 = 750;
const HEALTH: i64 = 1_750_000;
const TURNS: i64 = 4;
/// A question must not take longer.
const ANSWER_MAX: Duration = Duration::from_millis(50);
const REPEATS: u32 = 20;

fn main() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    runtime.block_on(run());
}

async fn run() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("history.db");
    let settings = Settings {
        file: file.clone(),
        section: HistorySettings { bytes_max: 8 << 30, ..HistorySettings::default() },
        time: FleetTime::default(),
    };
    let (history, part) = History::new(settings, &mut Registry::default());
    let stop = Stop::new();
    let task = tasks::spawn("history", part.run(stop.clone()));
    let begin_ms = clock::now_ms() - 60 * DAY_MS;
    let began = now();
    let rows = fill(&history, begin_ms).await;
    // An order is obeyed behind all that was recorded.
    history.insert(Vec::new()).await.expect("it works");
    let took = began.elapsed().as_secs_f64();
    println!(
        "{rows} rows written in {took:.0} s, {:.0} rows/s; the file has {} MiB",
        rows as f64 / took,
        history.store().bytes >> 20
    );
    ask(&history, &file, begin_ms).await;
    stop.raise();
    let _ = task.await;
}

fn now() -> Instant {
    Instant::now()
}

/// As years of a lively fleet would: moves and changes of health take turns.
async fn fill(history: &Handle, begin_ms: i64) -> i64 {
    let members = (1..=MEMBERS).map(|id| {
        let member = MemberSeen {
            id: NodeId(id),
            name: format!("n{id}"),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: MemberState::Alive,
        };
        Entry::Member(MemberChange { at_ms: begin_ms, member, step: Step::Joined, detail: None })
    });
    let mut rows = 0;
    for entry in members {
        rows += record(history, entry).await;
    }
    rows += come_and_go(history, begin_ms, 0..TARGETS, true).await;
    let step_ms = 60 * DAY_MS / MOVES;
    for turn in 0..MOVES {
        let at_ms = begin_ms + (turn + 1) * step_ms;
        for member in 0..MEMBERS {
            let (from, to) = ((member + turn.unsigned_abs() as u128) % MEMBERS, member);
            let mine = |slot: &u16| u128::from(*slot) % MEMBERS == member;
            let slots = (0..4_000).filter(mine).filter_map(Slot::new).collect();
            let moves = Entry::Moves(SlotMoves {
                at_ms,
                recorded_ms: at_ms,
                reason: Reason::Rebalance,
                from: Some(NodeId(from + 1)),
                to: Some(NodeId((to + turn.unsigned_abs() as u128) % MEMBERS + 1)),
                slots,
                targets: Some(5_000),
            });
            rows += record(history, moves).await;
        }
        for n in 0..HEALTH / MOVES {
            let number = (turn * (HEALTH / MOVES) + n).unsigned_abs();
            let target = seen(number * 7 % TARGETS);
            let is_up = number / TARGETS % 2 == 0;
            let health = Entry::Health(HealthChange {
                at_ms: at_ms + n * step_ms / (HEALTH / MOVES + 1),
                target: target.id,
                job: "node".into(),
                url: target.url,
                is_up,
                error: (!is_up).then(|| "connection refused".to_owned()),
                by: NodeId(u128::from(number) % MEMBERS + 1),
            });
            rows += record(history, health).await;
        }
        if turn % (MOVES / TURNS) == 1 {
            let some = || (0..TARGETS / 10).map(|n| n * 10 + turn.unsigned_abs() % 10);
            rows += come_and_go(history, at_ms + 1_000, some(), false).await;
            rows += come_and_go(history, at_ms + 600_000, some(), true).await;
        }
    }
    rows
}

async fn come_and_go(
    history: &Handle,
    at_ms: i64,
    ids: impl Iterator<Item = u64>,
    came: bool,
) -> i64 {
    let all: Vec<TargetSeen> = ids.map(seen).collect();
    let mut rows = 0;
    for targets in all.chunks(256) {
        let reason = if came { Reason::Discovered } else { Reason::Vanished };
        let targets = targets.to_vec();
        let change = TargetsChange { at_ms, job: "node".into(), came, reason, targets };
        rows += record(history, Entry::Targets(change)).await;
    }
    rows
}

fn seen(id: u64) -> TargetSeen {
    TargetSeen {
        id: TargetId(id.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        url: format!("http://host-{id:06}.example.com:9100/metrics"),
        labels: vec![("instance".into(), format!("host-{id:06}.example.com:9100"))],
        slot: Slot::new(u16::try_from(id % u64::from(SLOTS)).expect("below SLOTS")),
    }
}

async fn record(history: &Handle, entry: Entry) -> i64 {
    let rows = i64::try_from(entry.rows()).expect("few");
    history.room().await.expect("it runs").send(entry);
    rows
}

async fn ask(history: &Handle, file: &Path, begin_ms: i64) {
    let began = now();
    let connection = rusqlite::Connection::open(file).expect("a file");
    let mut rows = 0;
    for table in ["slot_moves", "health_changes", "presences", "targets", "move_groups"] {
        let sql = format!(
            "SELECT count(*), max(length(quote({}))) FROM {table} NOT INDEXED",
            match table {
                "slot_moves" | "move_groups" => "reason",
                "health_changes" => "error",
                "presences" => "came",
                _ => "labels",
            }
        );
        rows += connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).expect("it is ours");
    }
    let scan = began.elapsed();
    println!("a look at all {rows} rows: {:.0} ms", scan.as_secs_f64() * 1e3);
    println!("| question | median | longest | scan / median |\n|---|---|---|---|");
    let mut is_quick = true;
    let mut shown = |what: &str, mut took: Vec<Duration>| {
        took.sort_unstable();
        let (median, longest) = (took[took.len() / 2], took[took.len() - 1]);
        is_quick &= median <= ANSWER_MAX;
        println!(
            "| {what} | {:.1} ms | {:.1} ms | {:.0} |",
            median.as_secs_f64() * 1e3,
            longest.as_secs_f64() * 1e3,
            scan.as_secs_f64() / median.as_secs_f64()
        );
    };
    macro_rules! time {
        ($what:literal, $n:ident => $question:expr) => {{
            let mut took = Vec::new();
            for $n in 0..i64::from(REPEATS) {
                let began = now();
                let answer = $question.await;
                took.push(began.elapsed());
                assert!(answer.is_ok(), "{}: {answer:?}", $what);
            }
            shown($what, took);
        }};
    }
    // Instants and targets all over the file.
    let at = |n: i64| begin_ms + (n * 2_654_435_761 % 5_184_000) * 1_000;
    let id = |n: i64| seen(n.unsigned_abs() * 4_999 % TARGETS).id;
    let all = EventFilter::default;
    time!("owners of all slots at an instant", n => history.owners_at(at(n)));
    time!("100 of 100,000 targets at an instant", n => history.state_at(at(n), None, None, None, 100));
    time!("100 of a node's targets at an instant", n => {
        history.state_at(at(n), None, Some(NodeId(u128::from(n.unsigned_abs()) % MEMBERS + 1)), None, 100)
    });
    time!("100 latest events", _n => history.events(all(), None, 100));
    time!("100 events before an instant", n => {
        history.events(EventFilter { until_ms: Some(at(n)), ..all() }, None, 100)
    });
    time!("1,000 events before an instant", n => {
        history.events(EventFilter { until_ms: Some(at(n)), ..all() }, None, 1_000)
    });
    time!("100 events of a node before an instant", n => {
        let node = Some(NodeId(u128::from(n.unsigned_abs()) % MEMBERS + 1));
        history.events(EventFilter { node, until_ms: Some(at(n)), ..all() }, None, 100)
    });
    time!("100 moves before an instant", n => {
        history.events(EventFilter { kind: Some(Kind::Moves), until_ms: Some(at(n)), ..all() }, None, 100)
    });
    time!("all that happened to a target", n => {
        history.events(EventFilter { target: Some(id(n)), ..all() }, None, 1_000)
    });
    time!("who had a target when", n => history.target((id(n), Arc::from("node")), None, None));
    time!("1,000 rows for another member", n => history.since(at(n), at(n) + DAY_MS, None, 1_000));
    time!("when nobody looked", _n => history.unwatched(begin_ms, begin_ms + 60 * DAY_MS));
    assert!(is_quick, "a question took longer than {ANSWER_MAX:?}");
}
