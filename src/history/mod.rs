//! What has been: one SQLite file that an operator can read, too. What happens is recorded off the
//! way of the samples, written in batches, pruned in small steps, and asked about from elsewhere.
//! It is disposable: where the disk does not serve, history stops and nothing else does.

mod answers;
pub mod entry;
pub mod event;

use std::{path::PathBuf, sync::Arc};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};

pub use crate::history::{
    answers::{
        After, EventFilter, EventPage, LastKnown, LastMove, LastMoves, MemberAt, Page, Span,
        StateAt, StateCursor, StoreState, TargetPast, Unanswered,
    },
    entry::{Entry, Reason},
    event::{Cursor, Event, Kind, NodeRef, TargetRef},
};
use crate::{
    config::HistorySettings,
    model::{
        member::NodeId,
        target::{TargetId, TargetName},
    },
    runtime::stop::Stop,
};

/// What is recorded and not yet written; more is lost, and counted.
const ENTRIES_MAX: usize = 16_384;

#[derive(Clone, Debug)]
pub struct Settings {
    pub me: NodeId,
    pub file: PathBuf,
    pub section: HistorySettings,
    /// Fleet time.
    pub now_ms: i64,
}

#[derive(Clone)]
pub struct Handle {
    entries: mpsc::Sender<Entry>,
    missed: Option<(i64, i64)>,
    caught_up: Arc<watch::Sender<bool>>,
    state: watch::Receiver<Arc<StoreState>>,
    last_moves: watch::Receiver<Arc<LastMoves>>,
}

impl Handle {
    /// Never waits: where the writer is behind by `ENTRIES_MAX` the entry is lost and counted.
    pub fn record(&self, entry: Entry) {
        let _ = self.entries.try_send(entry);
    }

    /// A page of what happened, the newest first, behind `after`.
    pub async fn events(
        &self,
        filter: EventFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<EventPage, Unanswered> {
        let _ = (filter, after, limit);
        Err(Unanswered::Off)
    }

    /// `None` where history does not know the target. Two jobs may have one in common.
    pub async fn target(
        &self,
        name: TargetName,
        from_ms: Option<i64>,
        until_ms: Option<i64>,
    ) -> Result<Option<TargetPast>, Unanswered> {
        let _ = (name, from_ms, until_ms);
        Err(Unanswered::Off)
    }

    /// Who had each slot at an instant, by its number.
    pub async fn owners_at(&self, at_ms: i64) -> Result<Vec<Option<NodeId>>, Unanswered> {
        let _ = at_ms;
        Err(Unanswered::Off)
    }

    /// The fleet as it was at an instant; of its targets a page.
    pub async fn state_at(
        &self,
        at_ms: i64,
        target: Option<TargetId>,
        node: Option<NodeId>,
        after: Option<StateCursor>,
        limit: usize,
    ) -> Result<StateAt, Unanswered> {
        let _ = (at_ms, target, node, after, limit);
        Err(Unanswered::Off)
    }

    /// When within these instants nobody whose history is here was looking.
    pub async fn unwatched(
        &self,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<(i64, i64)>, Unanswered> {
        let _ = (from_ms, until_ms);
        Err(Unanswered::Off)
    }

    /// Kept in memory, as every list of targets shows them.
    pub fn last_moves(&self) -> watch::Receiver<Arc<LastMoves>> {
        self.last_moves.clone()
    }

    pub fn store(&self) -> Arc<StoreState> {
        Arc::clone(&self.state.borrow())
    }

    /// The stretch before this start that it has not seen; `None` where nothing is to be fetched.
    pub fn missed(&self) -> Option<(i64, i64)> {
        self.missed
    }

    /// What another member asks for, the oldest of each table first, in a message of at most a
    /// megabyte.
    pub async fn since(
        &self,
        from_ms: i64,
        until_ms: i64,
        after: Option<After>,
        limit: usize,
    ) -> Result<Page, Unanswered> {
        let _ = (from_ms, until_ms, after, limit);
        Err(Unanswered::Off)
    }

    /// Rows that another member has sent; what is known is left as it is. Resolves when they are
    /// written.
    pub async fn insert(&self, rows: Vec<Entry>) -> Result<(), Unanswered> {
        let _ = rows;
        Err(Unanswered::Off)
    }

    /// All that was missed has been inserted.
    pub fn caught_up(&self) {
        self.caught_up.send_replace(true);
    }

    /// Nobody has what was missed, or there is nobody.
    pub fn gave_up(&self) {
        self.caught_up.send_replace(true);
    }
}

pub struct History {
    settings: Settings,
    entries: mpsc::Receiver<Entry>,
}

impl History {
    /// Opens the file, or sets it aside and begins a new one.
    pub fn new(settings: Settings, registry: &mut Registry) -> (Handle, Self) {
        let _ = registry;
        let (sender, entries) = mpsc::channel(ENTRIES_MAX);
        let (_, state) = watch::channel(Arc::default());
        let (_, last_moves) = watch::channel(Arc::default());
        let handle = Handle {
            entries: sender,
            missed: None,
            caught_up: Arc::new(watch::channel(false).0),
            state,
            last_moves,
        };
        (handle, Self { settings, entries })
    }

    /// Writes what is recorded until it is told to stop, and then what is left.
    pub async fn run(mut self, stop: Stop) {
        let _ = &self.settings;
        while !stop.is_raised() {
            tokio::select! {
                Some(_) = self.entries.recv() => {}
                () = stop.raised() => {}
            }
        }
    }
}
