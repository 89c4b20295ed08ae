//! Those who ask: a few connections that can only read, each question on a thread of its own and
//! with an end.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use rusqlite::Connection;
use tokio::{
    sync::{Notify, Semaphore},
    task::spawn_blocking,
    time::{Instant, timeout_at},
};

use crate::history::{answers::Unanswered, fault::Fault, file};

/// Questions that are answered at once; more wait.
const READERS_MAX: usize = 4;
const INTERRUPT_PAUSE: Duration = Duration::from_millis(20);
/// What takes longer is not worth its answer, and keeps the log of changes from being emptied.
const QUESTION_MAX: Duration = Duration::from_secs(2);

pub(super) struct Readers {
    file: PathBuf,
    idle: Mutex<Idle>,
    places: Arc<Semaphore>,
    /// A question has met damage in the file.
    damage: Notify,
}

#[derive(Default)]
struct Idle {
    connections: Vec<Connection>,
    /// Why none can be had; begins so.
    closed: Option<Unanswered>,
    /// A connection of an earlier one reads a file that was set aside.
    generation: u64,
}

impl Readers {
    pub(super) fn new(file: PathBuf) -> Self {
        let idle = Idle { closed: Some(Unanswered::Off), ..Idle::default() };
        Self {
            file,
            idle: Mutex::new(idle),
            places: Arc::new(Semaphore::new(READERS_MAX)),
            damage: Notify::new(),
        }
    }

    /// From now on the file can be read.
    pub(super) fn open(&self) {
        self.lock().closed = None;
    }

    /// From now on it can't be: it is being replaced, or history is off.
    pub(super) fn close(&self, why: Unanswered) {
        let mut idle = self.lock();
        idle.closed = Some(why);
        idle.generation += 1;
        idle.connections.clear();
    }

    /// Resolves when a question finds the file damaged.
    pub(super) async fn damaged(&self) {
        self.damage.notified().await;
    }

    /// An answer, or why there is none; after `QUESTION_MAX` at the latest.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Connection) -> Result<T, Fault> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let deadline = Instant::now() + QUESTION_MAX;
        let places = Arc::clone(&self.places);
        let Ok(Ok(place)) = timeout_at(deadline, places.acquire_owned()).await else {
            return Err(Unanswered::Busy);
        };
        let (idle, generation) = {
            let mut idle = self.lock();
            if let Some(why) = &idle.closed {
                return Err(why.clone());
            }
            (idle.connections.pop(), idle.generation)
        };
        let connection = match idle {
            Some(connection) => connection,
            None => file::open_for_reading(&self.file).map_err(|fault| unanswered(&fault))?,
        };
        let interrupt = connection.get_interrupt_handle();
        let mut asking = spawn_blocking(move || {
            let mut connection = connection;
            let answer = question(&mut connection);
            // The place is free when the question is over, whoever still waits for its answer.
            drop(place);
            (connection, answer)
        });
        let mut outcome = timeout_at(deadline, &mut asking).await;
        while outcome.is_err() {
            // Again, as one that has not begun yet does not notice.
            interrupt.interrupt();
            outcome = timeout_at(Instant::now() + INTERRUPT_PAUSE, &mut asking).await;
        }
        let outcome = outcome.expect("the loop ends with an answer");
        let Ok((connection, answer)) = outcome else {
            return Err(Unanswered::Fault("the question failed".to_owned()));
        };
        let mut idle = self.lock();
        if idle.generation == generation && idle.connections.len() < READERS_MAX && answer.is_ok() {
            idle.connections.push(connection);
        }
        let is_present = idle.generation == generation;
        drop(idle);
        if is_present && matches!(answer, Err(Fault::Corrupt(_))) {
            self.damage.notify_one();
        }
        answer.map_err(|fault| unanswered(&fault))
    }

    fn lock(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unanswered(fault: &Fault) -> Unanswered {
    match fault {
        Fault::Interrupted => Unanswered::TooSlow,
        Fault::Corrupt(_) | Fault::Newer { .. } | Fault::Full | Fault::Unusable(_) => {
            Unanswered::Fault(fault.to_string())
        }
    }
}
