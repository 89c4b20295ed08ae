//! The part that keeps history: gathers what is recorded, writes it in batches, prunes between them,
//! and gets over whatever happens to the file. It waits for the disk; nobody waits for it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot, watch},
    task::spawn_blocking,
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{
    config::HistorySettings,
    history::{
        answers::{LastMoves, StoreState, Unanswered},
        entry::Entry,
        fault::Fault,
        file,
        meters::Meters,
        prune::{Limits, Pruning},
        readers::Readers,
        rows::Origin,
        store::{RETRY_MIN, Store},
        writer::{Writer, file_bytes_max},
    },
    runtime::{clock::FleetTime, stop::Stop},
};

/// What has happened is written after so long at the latest, or when there is so much of it.
const BATCH_WAIT: Duration = Duration::from_millis(250);
const BATCH_ENTRIES_MAX: usize = 1_024;
/// How often it is written down that this member still looks, and looked for what is too old.
const CARE: Duration = Duration::from_secs(10);
/// Between two steps of pruning, for whoever else wants the disk.
const PRUNE_PAUSE: Duration = Duration::from_millis(20);
/// Between attempts to open a file that does not serve, after many.
const RETRY_MAX: Duration = Duration::from_secs(60);
/// Losses are told in the log so often at most.
const LOSS_TOLD: Duration = Duration::from_secs(60);

pub(super) enum Order {
    Insert {
        rows: Vec<Entry>,
        done: oneshot::Sender<Result<(), Unanswered>>,
    },
    /// Other members have told what happened between these instants.
    Fetched((i64, i64)),
}

/// What the handle and the part have in common.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) readers: Arc<Readers>,
    pub(super) lost: Arc<AtomicU64>,
    pub(super) meters: Meters,
}

pub struct History {
    pub(super) file: PathBuf,
    pub(super) time: FleetTime,
    pub(super) sections: watch::Receiver<HistorySettings>,
    pub(super) entries: mpsc::Receiver<Entry>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) state: watch::Sender<Arc<StoreState>>,
    pub(super) last_moves: watch::Sender<Arc<LastMoves>>,
    pub(super) common: Common,
    pub(super) store: Store,
    pub(super) batch: Vec<Entry>,
    pub(super) pruning: Pruning,
    /// As much of `lost` as the file's watches know of.
    pub(super) lost_known: u64,
    pub(super) loss_told: Option<(Instant, u64)>,
}

impl History {
    /// Writes what is recorded until it is told to stop, and then what is left. A disk may be slow:
    /// all that is done to the file is something that this waits for with good reason.
    pub async fn run(mut self, stop: Stop) {
        let mut care_at = Instant::now();
        let mut flush_at = None;
        let mut prune_at: Option<Instant> = None;
        while !stop.is_raised() {
            let retry_at = match self.store {
                Store::Faulted { retry_at, .. } => Some(retry_at),
                Store::Off | Store::Open(_) | Store::Away => None,
            };
            let room = BATCH_ENTRIES_MAX - self.batch.len();
            let common = self.common.clone();
            tokio::select! {
                count = self.entries.recv_many(&mut self.batch, room), if room > 0 => {
                    if count == 0 {
                        // Nobody is left who could record.
                        break;
                    }
                    flush_at.get_or_insert_with(|| Instant::now() + BATCH_WAIT);
                }
                () = at(flush_at) => {}
                Some(order) = self.orders.recv() => stop.during(self.obey(order)).await,
                () = sleep_until(care_at) => {
                    care_at = Instant::now() + CARE;
                    stop.during(self.care()).await;
                    prune_at.get_or_insert_with(Instant::now);
                }
                () = at(prune_at) => {
                    prune_at = stop.during(self.prune()).await.then(|| Instant::now() + PRUNE_PAUSE);
                }
                () = at(retry_at) => stop.during(self.try_again()).await,
                () = common.readers.damaged() => stop.during(self.look_for_damage()).await,
                Ok(()) = self.sections.changed() => stop.during(self.changed()).await,
                () = stop.raised() => {}
            }
            let is_due = flush_at.is_some_and(|at| at <= Instant::now());
            if is_due || self.batch.len() >= BATCH_ENTRIES_MAX {
                flush_at = None;
                stop.during(self.flush()).await;
                prune_at.get_or_insert_with(Instant::now);
            }
        }
        self.finish().await;
    }

    /// What was recorded before the stop, and the end of this member's watch.
    async fn finish(&mut self) {
        self.entries.close();
        while self.entries.recv_many(&mut self.batch, BATCH_ENTRIES_MAX).await > 0 {
            self.flush().await;
        }
        self.flush().await;
        self.care().await;
        if let Store::Open(writer) = std::mem::replace(&mut self.store, Store::Off) {
            // What is closed last empties the log.
            self.common.readers.close(Unanswered::Off);
            let _ = spawn_blocking(move || drop(writer)).await;
        }
    }

    async fn flush(&mut self) {
        let batch = Arc::new(std::mem::take(&mut self.batch));
        let count = batch.len() as u64;
        if count == 0 || matches!(self.store, Store::Off) {
            return;
        }
        if self.write(&batch, Origin::Here).await.is_ok() {
            self.common.meters.entries.inc_by(count);
        } else {
            self.common.lost.fetch_add(count, Ordering::Relaxed);
            self.common.meters.lost.inc_by(count);
        }
        self.tell_losses();
    }

    /// Also where the file is damaged, or has no room: then in a new one, or in the place of older
    /// rows.
    async fn write(&mut self, batch: &Arc<Vec<Entry>>, origin: Origin) -> Result<(), Unanswered> {
        const ATTEMPTS_MAX: usize = 3;
        let lost = self.common.lost.load(Ordering::Relaxed);
        let has_gap = std::mem::replace(&mut self.lost_known, lost) != lost;
        let now_ms = self.time.now_ms();
        for _ in 0..ATTEMPTS_MAX {
            let batch = Arc::clone(batch);
            let outcome = self.work(move |writer| {
                if has_gap {
                    writer.watch_ends();
                }
                writer.write(&batch, origin)?;
                writer.watch_goes_on(now_ms)
            });
            match outcome.await {
                Some(Ok(())) => {
                    self.show().await;
                    return Ok(());
                }
                Some(Err(fault)) => self.fail(fault).await,
                None => break,
            }
        }
        Err(self.unanswered())
    }

    fn unanswered(&self) -> Unanswered {
        match (&self.store, &self.state.borrow().fault) {
            (Store::Off, _) => Unanswered::Off,
            (_, Some(fault)) => Unanswered::Fault(fault.clone()),
            (_, None) => Unanswered::Busy,
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Insert { rows, done } => {
                let outcome = self.write(&Arc::new(rows), Origin::Elsewhere).await;
                // Who asked may have gone away.
                let _ = done.send(outcome);
            }
            Order::Fetched(stretch) => {
                if let Some(Err(fault)) = self.work(move |writer| writer.fetched(stretch)).await {
                    self.fail(fault).await;
                }
            }
        }
    }

    async fn care(&mut self) {
        let (now_ms, limits) = (self.time.now_ms(), self.limits());
        let mut pruning = std::mem::take(&mut self.pruning);
        let outcome = self.work(move |writer| {
            writer.watch_goes_on(now_ms)?;
            pruning.begin(writer, limits, now_ms)?;
            Ok(pruning)
        });
        match outcome.await {
            Some(Ok(pruning)) => self.pruning = pruning,
            Some(Err(fault)) => self.fail(fault).await,
            None => {}
        }
        self.show().await;
    }

    /// One step. Whether there is more to do.
    async fn prune(&mut self) -> bool {
        let (now_ms, limits) = (self.time.now_ms(), self.limits());
        let mut pruning = std::mem::take(&mut self.pruning);
        let outcome = self.work(move |writer| {
            pruning.begin(writer, limits, now_ms)?;
            let is_more = pruning.step(writer)?;
            Ok((pruning, is_more))
        });
        match outcome.await {
            Some(Ok((pruning, is_more))) => {
                self.pruning = pruning;
                if !is_more {
                    self.show().await;
                }
                is_more
            }
            Some(Err(fault)) => {
                self.fail(fault).await;
                false
            }
            None => false,
        }
    }

    fn limits(&self) -> Limits {
        let section = self.sections.borrow();
        let age_ms_max = i64::try_from(section.age_max.as_millis()).unwrap_or(i64::MAX);
        Limits { age_ms_max, bytes_max: section.bytes_max }
    }

    /// `None` where there is no file to work with.
    async fn work<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Writer) -> Result<T, Fault> + Send + 'static,
    ) -> Option<Result<T, Fault>> {
        let mut writer = match std::mem::replace(&mut self.store, Store::Away) {
            Store::Open(writer) => writer,
            other => {
                self.store = other;
                return None;
            }
        };
        let working = spawn_blocking(move || {
            let outcome = job(&mut writer);
            (writer, outcome)
        });
        let Ok((writer, outcome)) = working.await else {
            return Some(Err(Fault::Unusable("the writing of the history failed".to_owned())));
        };
        self.store = Store::Open(writer);
        Some(outcome)
    }

    /// Gets over what is wrong, as far as that is possible at once.
    async fn fail(&mut self, fault: Fault) {
        match fault {
            Fault::Corrupt(_) | Fault::Newer { .. } => self.begin_anew(&fault).await,
            Fault::Full => {
                let (now_ms, limits) = (self.time.now_ms(), self.limits());
                let pruning = std::mem::take(&mut self.pruning);
                let room = self.work(move |writer| pruning.make_room(writer, limits, now_ms)).await;
                if !matches!(room, Some(Ok(true))) {
                    self.give_up_for_now(&fault).await;
                }
            }
            Fault::Unusable(_) | Fault::Interrupted => self.give_up_for_now(&fault).await,
        }
    }

    /// Sets the file aside for what is known to be wrong with it.
    async fn begin_anew(&mut self, fault: &Fault) {
        self.common.readers.close(Unanswered::Busy);
        let before = std::mem::replace(&mut self.store, Store::Away);
        let (path, now_ms) = (self.file.clone(), self.time.now_ms());
        let setting_aside = spawn_blocking(move || {
            drop(before);
            file::set_aside(&path, now_ms)
        });
        self.pruning = Pruning::default();
        match setting_aside.await {
            Ok(Ok(aside)) => {
                self.common.meters.set_aside.inc();
                warn!(
                    error = %fault,
                    aside = %aside.display(),
                    "the history file is set aside, and a new one begun"
                );
                self.store = Store::faulted(RETRY_MIN);
                self.try_again().await;
            }
            Ok(Err(also)) => self.give_up_for_now(&also).await,
            Err(_) => self.give_up_for_now(fault).await,
        }
    }

    async fn give_up_for_now(&mut self, fault: &Fault) {
        let pause = match self.store {
            Store::Faulted { pause, .. } => (pause * 2).min(RETRY_MAX),
            Store::Off | Store::Open(_) | Store::Away => RETRY_MIN,
        };
        let text = fault.to_string();
        if self.state.borrow().fault.as_ref() != Some(&text) {
            warn!(error = text, "history is not written until this is over; all else goes on");
        }
        let before = std::mem::replace(&mut self.store, Store::faulted(pause));
        self.pruning = Pruning::default();
        // Closing it may read and write.
        let _ = spawn_blocking(move || drop(before)).await;
        self.state.send_modify(|state| {
            let bytes = state.bytes;
            *state = Arc::new(StoreState { fault: Some(text), bytes, oldest_ms: state.oldest_ms });
        });
        self.common.meters.works.set(0);
    }

    async fn try_again(&mut self) {
        let section = self.sections.borrow().clone();
        let (path, now_ms, meters) =
            (self.file.clone(), self.time.now_ms(), self.common.meters.clone());
        let opening = spawn_blocking(move || {
            let mut writer = Store::open(&path, &section, now_ms, &meters)?;
            // A disk that is full can be read.
            writer.watch_goes_on(now_ms)?;
            Ok(writer)
        });
        match opening.await {
            Ok(Ok(writer)) => {
                self.store = Store::Open(writer);
                self.common.readers.open();
                if self.state.borrow().fault.is_some() {
                    info!("history is written again");
                }
                self.show().await;
            }
            Ok(Err(fault)) => self.give_up_for_now(&fault).await,
            Err(_) => {
                let fault = Fault::Unusable("the opening of the history failed".to_owned());
                self.give_up_for_now(&fault).await;
            }
        }
    }

    /// A question has met what is no database: the same file is looked at from here.
    async fn look_for_damage(&mut self) {
        let fault = Fault::Corrupt("a question could not read it".to_owned());
        if matches!(self.store, Store::Open(_)) {
            self.begin_anew(&fault).await;
        }
    }

    /// The section of the configuration is another one.
    async fn changed(&mut self) {
        let section = self.sections.borrow_and_update().clone();
        match (&self.store, section.enabled) {
            (Store::Off, true) => self.try_again().await,
            (Store::Off, false) => {}
            (Store::Open(_) | Store::Faulted { .. } | Store::Away, false) => {
                self.flush().await;
                self.common.readers.close(Unanswered::Off);
                let before = std::mem::replace(&mut self.store, Store::Off);
                let _ = spawn_blocking(move || drop(before)).await;
                self.state.send_replace(Arc::default());
                self.common.meters.works.set(0);
            }
            (Store::Open(_) | Store::Faulted { .. } | Store::Away, true) => {
                let bytes_max = file_bytes_max(section.bytes_max);
                let bound = self.work(move |writer| file::bound(&writer.connection, bytes_max));
                if let Some(Err(fault)) = bound.await {
                    self.fail(fault).await;
                }
            }
        }
    }

    /// How the file fares, and the last moves, for those who look.
    async fn show(&mut self) {
        let file = self.file.clone();
        let shown = self.work(move |writer| {
            let state = StoreState {
                fault: None,
                bytes: file::bytes(&file),
                oldest_ms: writer.oldest_ms()?,
            };
            Ok((state, writer.last_moves()))
        });
        match shown.await {
            Some(Ok((state, last_moves))) => {
                self.common.meters.works.set(1);
                self.common.meters.bytes.set(i64::try_from(state.bytes).unwrap_or(i64::MAX));
                self.state.send_if_modified(|before| {
                    let is_new = **before != state;
                    if is_new {
                        *before = Arc::new(state);
                    }
                    is_new
                });
                self.last_moves.send_if_modified(|before| {
                    let is_new = !Arc::ptr_eq(before, &last_moves);
                    if is_new {
                        *before = last_moves;
                    }
                    is_new
                });
            }
            Some(Err(fault @ Fault::Corrupt(_))) => Box::pin(self.begin_anew(&fault)).await,
            Some(Err(fault)) => self.give_up_for_now(&fault).await,
            None => {}
        }
    }

    fn tell_losses(&mut self) {
        let lost = self.common.lost.load(Ordering::Relaxed);
        let told = self.loss_told.map_or(0, |(_, told)| told);
        let is_soon = self.loss_told.is_some_and(|(at, _)| at.elapsed() < LOSS_TOLD);
        // With a fault it was told that nothing is written.
        if lost > told && !is_soon && self.state.borrow().fault.is_none() {
            self.loss_told = Some((Instant::now(), lost));
            warn!(
                entries = lost - told,
                "some of what happened was lost and is not in the history"
            );
        }
    }
}

/// Never, of no instant.
async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
