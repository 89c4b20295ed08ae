//! What has been: one `SQLite` file that an operator can read, too. What happens is recorded off the
//! way of the samples, written in batches, pruned in small steps, and asked about from elsewhere.
//! It is disposable: where the disk does not serve, history stops and nothing else does.

mod answers;
pub mod entry;
pub mod event;
mod fault;
mod file;
mod keeper;
mod meters;
mod nodes;
mod prune;
mod questions;
mod readers;
mod rows;
mod store;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64, atomic::Ordering},
};

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, oneshot, watch};
use tracing::warn;

pub use crate::history::{
    answers::{
        After, EventFilter, EventPage, LastKnown, LastMove, LastMoves, MemberAt, Page, Span,
        StateAt, StateCursor, StoreState, TargetPast, Unanswered,
    },
    entry::{Entry, Reason},
    event::{Cursor, Event, Kind, NodeRef, TargetRef},
    keeper::History,
};
use crate::{
    config::HistorySettings,
    history::{
        keeper::{Common, Order},
        meters::Meters,
        prune::Pruning,
        readers::Readers,
        store::{RETRY_MIN, Store},
    },
    model::{
        member::NodeId,
        target::{TargetId, TargetName},
    },
    runtime::clock::FleetTime,
};

/// What is recorded and not yet written; more is lost, and counted.
const ENTRIES_MAX: usize = 16_384;
/// Rows of other members that wait to be written; whoever sends more waits.
const ORDERS_MAX: usize = 4;

#[derive(Clone, Debug)]
pub struct Settings {
    pub file: PathBuf,
    pub section: HistorySettings,
    pub time: FleetTime,
}

#[derive(Clone)]
pub struct Handle {
    entries: mpsc::Sender<Entry>,
    orders: mpsc::Sender<Order>,
    sections: Arc<watch::Sender<HistorySettings>>,
    state: watch::Receiver<Arc<StoreState>>,
    last_moves: watch::Receiver<Arc<LastMoves>>,
    missed: Option<(i64, i64)>,
    caught_up: Arc<watch::Sender<bool>>,
    common: Common,
}

impl Handle {
    /// Never waits: where the writer is behind by `ENTRIES_MAX` the entry is lost and counted.
    pub fn record(&self, entry: Entry) {
        if self.entries.try_send(entry).is_err() {
            self.lost(1);
        }
    }

    /// Room for one entry, for who can wait until there is some. `None` when history has ended.
    pub async fn room(&self) -> Option<mpsc::Permit<'_, Entry>> {
        self.entries.reserve().await.ok()
    }

    /// Things have happened that nobody could record.
    pub fn lost(&self, count: u64) {
        self.common.lost.fetch_add(count, Ordering::Relaxed);
        self.common.meters.lost.inc_by(count);
    }

    /// From now on as this section says.
    pub fn apply(&self, section: HistorySettings) {
        self.sections.send_replace(section);
    }

    /// A page of what happened, the newest first, behind `after`.
    pub async fn events(
        &self,
        filter: EventFilter,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<EventPage, Unanswered> {
        let ask = move |connection: &mut _| {
            Ok(questions::events::events(connection, &filter, after, limit)?)
        };
        self.common.readers.ask(ask).await
    }

    /// `None` where history does not know the target.
    pub async fn target(
        &self,
        name: TargetName,
        from_ms: Option<i64>,
        until_ms: Option<i64>,
    ) -> Result<Option<TargetPast>, Unanswered> {
        let (from_ms, until_ms) = (from_ms.unwrap_or(0), until_ms.unwrap_or(i64::MAX));
        let ask = move |connection: &mut _| {
            Ok(questions::target::target(connection, &name, from_ms, until_ms)?)
        };
        self.common.readers.ask(ask).await
    }

    /// Who had each slot at an instant, by its number.
    pub async fn owners_at(&self, at_ms: i64) -> Result<Vec<Option<NodeId>>, Unanswered> {
        let ask = move |connection: &mut _| Ok(questions::owners::owners_at(connection, at_ms)?);
        self.common.readers.ask(ask).await
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
        let ask = move |connection: &mut _| {
            let after = after.as_ref();
            Ok(questions::state::state_at(connection, at_ms, target, node, after, limit)?)
        };
        self.common.readers.ask(ask).await
    }

    /// When within these instants nobody whose history is here was looking.
    pub async fn unwatched(
        &self,
        from_ms: i64,
        until_ms: i64,
    ) -> Result<Vec<(i64, i64)>, Unanswered> {
        let ask = move |connection: &mut _| {
            Ok(questions::watches::unwatched(connection, from_ms, until_ms)?)
        };
        self.common.readers.ask(ask).await
    }

    /// What the file knew when it was last written.
    pub async fn last_known(&self) -> Result<LastKnown, Unanswered> {
        let ask = |connection: &mut _| Ok(questions::last_known::last_known(connection)?);
        self.common.readers.ask(ask).await
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

    /// What another member asks for, in the order of time within each table, in a message of less
    /// than a megabyte.
    pub async fn since(
        &self,
        from_ms: i64,
        until_ms: i64,
        after: Option<After>,
        limit: usize,
    ) -> Result<Page, Unanswered> {
        let ask = move |connection: &mut _| {
            Ok(questions::since::since(connection, from_ms, until_ms, after, limit)?)
        };
        self.common.readers.ask(ask).await
    }

    /// Rows that another member has sent; what is known is left as it is. Resolves when they are
    /// written.
    pub async fn insert(&self, rows: Vec<Entry>) -> Result<(), Unanswered> {
        let (done, outcome) = oneshot::channel();
        if self.orders.send(Order::Insert { rows, done }).await.is_err() {
            return Err(Unanswered::Off);
        }
        outcome.await.unwrap_or(Err(Unanswered::Off))
    }

    /// All that was missed has been inserted.
    pub fn caught_up(&self) {
        if let Some(missed) = self.missed {
            // With so many orders waiting it stays a gap, which is no lie.
            let _ = self.orders.try_send(Order::Fetched(missed));
        }
        self.caught_up.send_replace(true);
    }

    /// Nobody has what was missed, or there is nobody.
    pub fn gave_up(&self) {
        self.caught_up.send_replace(true);
    }

    /// Resolves when what was missed is here, or was given up on.
    pub async fn is_caught_up(&self) {
        // This handle keeps the sender.
        let _ = self.caught_up.subscribe().wait_for(|done| *done).await;
    }
}

impl History {
    /// Opens the file, or sets it aside and begins a new one. Where neither is possible, it is tried
    /// again while this runs.
    pub fn new(settings: Settings, registry: &mut Registry) -> (Handle, Self) {
        let Settings { file, section, time } = settings;
        let (entry_sender, entries) = mpsc::channel(ENTRIES_MAX);
        let (order_sender, orders) = mpsc::channel(ORDERS_MAX);
        let common = Common {
            readers: Arc::new(Readers::new(file.clone())),
            lost: Arc::new(AtomicU64::new(0)),
            meters: Meters::new(registry),
        };
        let now_ms = time.now_ms();
        let mut first = StoreState::default();
        let (mut missed, mut last) = (None, Arc::default());
        let store = if section.enabled {
            match Store::open(&file, &section, now_ms, &common.meters) {
                Ok(writer) => {
                    common.readers.open();
                    common.meters.works.set(1);
                    last = writer.last_moves();
                    missed = writer.missed(now_ms).unwrap_or_default();
                    Store::Open(writer)
                }
                Err(fault) => {
                    let reason = fault.to_string();
                    warn!(
                        error = reason,
                        "history is not written until this is over; all else goes on"
                    );
                    first.fault = Some(reason);
                    Store::faulted(RETRY_MIN)
                }
            }
        } else {
            Store::Off
        };
        let (sections, section_seen) = watch::channel(section);
        let (state_sender, state) = watch::channel(Arc::new(first));
        let (last_sender, last_moves) = watch::channel(last);
        let handle = Handle {
            entries: entry_sender,
            orders: order_sender,
            sections: Arc::new(sections),
            state,
            last_moves,
            missed,
            caught_up: Arc::new(watch::channel(missed.is_none()).0),
            common: common.clone(),
        };
        let part = Self {
            file,
            time,
            sections: section_seen,
            entries,
            orders,
            state: state_sender,
            last_moves: last_sender,
            common,
            store,
            batch: Vec::new(),
            pruning: Pruning::default(),
            lost_known: 0,
            loss_told: None,
        };
        (handle, part)
    }
}
