//! What a loop tells its pool of its end, also when that is a panic.

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::{ownership::orders::Knowledge, runtime::tasks};

/// What a loop tells its pool.
#[derive(Debug)]
pub(super) enum Ended {
    /// By the number of the leaving. Its series have ended, at that instant where there were any; it
    /// waits to be let go, or to be called back.
    Gone { leaving: u64, at_ms: Option<i64> },
    /// By the number of the leaving. All that it scraped is in the outbox, and this is known.
    Moved(u64, Knowledge),
    /// A target that was taken over was first scraped so many milliseconds after its former owner's
    /// last scrape.
    Gap(i64),
    /// By the number of the loop.
    Panicked(u64),
}

/// Tells of the panic of the loop that holds it.
pub(super) struct PanicGuard {
    number: u64,
    ended: mpsc::Sender<Ended>,
}

impl PanicGuard {
    pub(super) fn new(number: u64, ended: &mpsc::Sender<Ended>) -> Self {
        Self { number, ended: ended.clone() }
    }
}

impl Drop for PanicGuard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let told = self.ended.try_send(Ended::Panicked(self.number));
            if let Err(TrySendError::Full(news)) = told {
                // A slot may wait for this loop, so that it must be heard of.
                let ended = self.ended.clone();
                drop(tasks::spawn(
                    "news of a panic",
                    async move { ended.send(news).await.is_ok() },
                ));
            }
        }
    }
}
