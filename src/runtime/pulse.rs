//! Whether the parts live: a number is raised now and then, and each part's loop notes it when it
//! comes by. Who has not noted it hangs, or waits for something without saying so.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// All parts that are asked. Cloned to whoever adds some, and to the one who asks.
#[derive(Clone, Debug, Default)]
pub struct Pulses(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    number: AtomicU64,
    raised: Notify,
    /// As many as there are loops that are watched: the parts, the destinations, the threads of the
    /// API. A loop that ends goes.
    loops: Mutex<Vec<Arc<Watched>>>,
}

#[derive(Debug)]
struct Watched {
    name: Arc<str>,
    noted: AtomicU64,
    /// One that was told to end is asked no more: what it finishes has bounds of its own.
    end: CancellationToken,
}

/// One loop's answer. It is watched as long as it has this.
#[derive(Debug)]
pub struct Pulse {
    shared: Arc<Shared>,
    watched: Arc<Watched>,
}

impl Pulses {
    /// Watches a loop until it drops what this gives, or is told to end by `end`.
    pub fn join(&self, name: &str, end: CancellationToken) -> Pulse {
        let noted = AtomicU64::new(self.0.number.load(Ordering::SeqCst));
        let watched = Arc::new(Watched { name: name.into(), noted, end });
        self.0.loops().push(Arc::clone(&watched));
        Pulse { shared: Arc::clone(&self.0), watched }
    }

    /// Asks all of them.
    pub fn raise(&self) {
        self.0.number.fetch_add(1, Ordering::SeqCst);
        self.0.raised.notify_waiters();
    }

    /// The names of those that have not answered since they were asked last, in order and each once.
    pub fn silent(&self) -> Vec<Arc<str>> {
        let number = self.0.number.load(Ordering::SeqCst);
        let loops = self.0.loops();
        let is_silent = |one: &&Arc<Watched>| {
            one.noted.load(Ordering::SeqCst) < number && !one.end.is_cancelled()
        };
        let mut names: Vec<_> =
            loops.iter().filter(is_silent).map(|one| Arc::clone(&one.name)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

impl Shared {
    fn loops(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        // Whoever panicked with it has left it whole: it is a list.
        self.loops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pulse {
    /// Answers as long as it is polled; never resolves.
    pub async fn answer(&self) -> std::convert::Infallible {
        loop {
            // Listens before it looks, so that no raise falls in between.
            let raised = self.shared.raised.notified();
            let number = self.shared.number.load(Ordering::SeqCst);
            self.watched.noted.fetch_max(number, Ordering::SeqCst);
            raised.await;
        }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.shared.loops().retain(|one| !Arc::ptr_eq(one, &self.watched));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::stop::Stop;

    fn silent(pulses: &Pulses) -> Vec<String> {
        pulses.silent().iter().map(ToString::to_string).collect()
    }

    /// Lets every task that is woken come to its next await.
    async fn settle() {
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_loop_that_comes_by_answers_and_one_that_does_not_is_named() {
        let pulses = Pulses::default();
        let ends = Stop::watched_by(&pulses);
        let (comes_by, hangs) = (ends.part("comes by"), ends.part("hangs"));
        let task = crate::runtime::tasks::spawn("part", async move { comes_by.raised().await });
        settle().await;
        assert!(pulses.silent().is_empty(), "nobody was asked yet");
        pulses.raise();
        settle().await;
        assert_eq!(silent(&pulses), ["hangs"]);
        drop(hangs);
        assert!(pulses.silent().is_empty(), "what has ended is asked no more");
        ends.raise();
        assert!(task.await.unwrap().is_some());
    }

    #[tokio::test]
    async fn work_that_takes_long_for_a_reason_is_no_hang() {
        let pulses = Pulses::default();
        let stop = Stop::watched_by(&pulses).part("slow disk");
        let (done, waits) = tokio::sync::oneshot::channel::<u8>();
        let task = crate::runtime::tasks::spawn("part", async move { stop.during(waits).await });
        settle().await;
        pulses.raise();
        settle().await;
        assert!(pulses.silent().is_empty());
        done.send(7).unwrap();
        assert_eq!(task.await.unwrap().unwrap().unwrap(), 7);
    }

    #[tokio::test]
    async fn neither_children_nor_clones_answer_for_a_part() {
        let pulses = Pulses::default();
        let part = Stop::watched_by(&pulses).part("part");
        let (child, clone) = (part.child(), part.clone());
        let waits = async move { tokio::join!(child.raised(), clone.raised()) };
        let task = crate::runtime::tasks::spawn("others", waits);
        settle().await;
        pulses.raise();
        settle().await;
        assert_eq!(silent(&pulses), ["part"]);
        part.raise();
        assert!(pulses.silent().is_empty(), "what was told to end has its own bounds");
        assert!(task.await.unwrap().is_some());
    }
}
