//! How late this machine is with what it is asked to do, whoever asks: bounds in milliseconds are
//! for agents, and what kept the judge itself from waking up kept them as well.

use std::{
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use super::{Timeline, ledger::Window};

const NAP: Duration = Duration::from_millis(10);
/// Less is usual.
const NOTED_MS: i64 = 20;

/// Looks from its beginning until it is dropped.
#[derive(Debug)]
pub(crate) struct Lag {
    late: Arc<Mutex<Vec<Late>>>,
}

/// When a nap was over at last, and by how many milliseconds too late.
type Late = (i64, i64);

impl Lag {
    pub(crate) fn start(timeline: Timeline) -> Self {
        let late = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::downgrade(&late);
        thread::spawn(move || {
            let nap_ms = i64::try_from(NAP.as_millis()).unwrap();
            let mut last_ms = timeline.now_ms();
            while let Some(late) = kept.upgrade() {
                thread::sleep(NAP);
                let now_ms = timeline.now_ms();
                let late_ms = now_ms - last_ms - nap_ms;
                if late_ms >= NOTED_MS {
                    let mut late = late.lock().unwrap_or_else(PoisonError::into_inner);
                    late.push((now_ms, late_ms));
                }
                last_ms = now_ms;
            }
        });
        Self { late }
    }

    /// The most of it within the window.
    pub(crate) fn worst_ms(&self, window: Window) -> i64 {
        let late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        let within = late.iter().filter(|(at_ms, _)| window.has(*at_ms));
        within.map(|(_, late_ms)| *late_ms).max().unwrap_or(0)
    }
}
