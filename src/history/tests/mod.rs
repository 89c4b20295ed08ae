//! History against real files.

mod asked;
mod faults;
mod fetched;
mod pruned;

use std::{path::PathBuf, time::Duration};

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::{
    Entry, Handle, History, Settings,
    entry::{HealthChange, Reason, SlotMoves, TargetSeen, TargetsChange},
};
use crate::{
    config::HistorySettings,
    model::{member::NodeId, slot::Slot, target::TargetId},
    runtime::{clock, clock::FleetTime, stop::Stop, tasks},
};

/// A history that runs, on a file that outlives it.
struct Book {
    folder: TempDir,
    section: HistorySettings,
    registry: Registry,
    handle: Handle,
    stop: Stop,
    task: JoinHandle<Option<()>>,
}

impl Book {
    fn new() -> Self {
        Self::over(tempfile::tempdir().unwrap(), HistorySettings::default())
    }

    fn over(folder: TempDir, section: HistorySettings) -> Self {
        let mut registry = Registry::default();
        let file = folder.path().join("history.db");
        let settings = Settings { file, section: section.clone(), time: FleetTime::default() };
        let (handle, part) = History::new(settings, &mut registry);
        let stop = Stop::new();
        let task = tasks::spawn("history", part.run(stop.clone()));
        Self { folder, section, registry, handle, stop, task }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("history.db")
    }

    /// All of it is written, or lost, when this returns.
    async fn record(&self, entries: Vec<Entry>) {
        let meters = &self.handle.common.meters;
        let done = || meters.entries.get() + meters.lost.get();
        let before = done();
        let count = entries.len() as u64;
        for entry in entries {
            self.handle.room().await.unwrap().send(entry);
        }
        eventually(|| done() >= before + count).await;
    }

    async fn stop(self) -> (TempDir, HistorySettings) {
        self.stop.raise();
        self.task.await.unwrap().unwrap();
        (self.folder, self.section)
    }

    async fn reopened(self) -> Self {
        let (folder, section) = self.stop().await;
        Self::over(folder, section)
    }

    /// Instead of the file that is written to.
    fn count(&self, sql: &str) -> i64 {
        let connection = rusqlite::Connection::open(self.file()).unwrap();
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn metric(&self, name: &str) -> f64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

/// The part works on threads of its own: what it does is looked for.
async fn eventually(mut is_so: impl FnMut() -> bool) {
    let give_up = tokio::time::Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(tokio::time::Instant::now() < give_up, "it has not come to that");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn now_ms() -> i64 {
    clock::now_ms()
}

fn slots(numbers: impl IntoIterator<Item = u16>) -> Vec<Slot> {
    numbers.into_iter().map(|number| Slot::new(number).unwrap()).collect()
}

fn moves(at_ms: i64, from: u128, to: u128, numbers: impl IntoIterator<Item = u16>) -> Entry {
    learnt(at_ms, at_ms, from, to, numbers)
}

/// 0 is nobody.
fn learnt(
    at_ms: i64,
    recorded_ms: i64,
    from: u128,
    to: u128,
    numbers: impl IntoIterator<Item = u16>,
) -> Entry {
    let node = |id: u128| (id != 0).then_some(NodeId(id));
    Entry::Moves(SlotMoves {
        at_ms,
        recorded_ms,
        reason: Reason::Join,
        from: node(from),
        to: node(to),
        slots: slots(numbers),
        targets: Some(3),
    })
}

fn target(id: u64) -> TargetSeen {
    TargetSeen {
        id: TargetId(id),
        url: format!("http://h{id}:9100/metrics"),
        labels: vec![("instance".into(), format!("h{id}:9100"))],
        slot: Slot::new(u16::try_from(id % 4096).unwrap()),
    }
}

fn came(at_ms: i64, ids: impl IntoIterator<Item = u64>) -> Entry {
    change(at_ms, true, Reason::Discovered, ids)
}

fn went(at_ms: i64, ids: impl IntoIterator<Item = u64>) -> Entry {
    change(at_ms, false, Reason::Vanished, ids)
}

fn change(at_ms: i64, came: bool, reason: Reason, ids: impl IntoIterator<Item = u64>) -> Entry {
    let targets = ids.into_iter().map(target).collect();
    Entry::Targets(TargetsChange { at_ms, job: "node".into(), came, reason, targets })
}

fn health(at_ms: i64, id: u64, error: Option<&str>) -> Entry {
    Entry::Health(HealthChange {
        at_ms,
        target: TargetId(id),
        job: "node".into(),
        url: target(id).url,
        is_up: error.is_none(),
        error: error.map(str::to_owned),
        by: NodeId(1),
    })
}
