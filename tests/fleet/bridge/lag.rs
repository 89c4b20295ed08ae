//! How late this machine is with what it is asked to do, whoever asks: bounds in milliseconds are
//! for agents, and what kept the judge itself from a little work kept them as well.

use std::{
    hint::black_box,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use tokio::time::Instant;

use super::{Timeline, ledger::Window};

const NAP: Duration = Duration::from_millis(40);
/// Of the processor, which who only wakes up is given before all others.
const WORK: Duration = Duration::from_millis(1);
/// Less is usual.
const NOTED_MS: i64 = 20;

/// Looks from its beginning until it is dropped.
#[derive(Debug)]
pub(crate) struct Lag {
    late: Arc<Mutex<Vec<Late>>>,
}

/// When a little work was done at last, and by how many milliseconds too late.
type Late = (i64, i64);

impl Lag {
    pub(crate) fn start(timeline: Timeline) -> Self {
        let late = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::downgrade(&late);
        thread::spawn(move || {
            let due_ms = i64::try_from((NAP + WORK).as_millis()).unwrap();
            let rounds = rounds();
            let mut last_ms = timeline.now_ms();
            while let Some(late) = kept.upgrade() {
                thread::sleep(NAP);
                work(rounds);
                let now_ms = timeline.now_ms();
                let late_ms = now_ms - last_ms - due_ms;
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

fn work(rounds: u32) {
    for round in 0..rounds {
        black_box(round);
    }
}

/// Of `work`, that take as long as `WORK` where nothing else is done.
fn rounds() -> u32 {
    const TRIED: u32 = 100_000;
    let took = |_| {
        let began = Instant::now();
        work(TRIED);
        began.elapsed()
    };
    let least = (0..10).map(took).min().unwrap_or(WORK);
    u32::try_from(WORK.as_nanos() * u128::from(TRIED) / least.as_nanos().max(1)).unwrap()
}
