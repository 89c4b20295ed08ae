//! What is lent for a time and asked for anew before it runs out: tokens, temporary keys. However many
//! want it at once, one asks; who asks may go away without the answer being lost.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use crate::runtime::tasks;

/// Before its end by so much, or a fifth of its life where that is less, it is asked for anew.
const RENEWED_BEFORE_SECONDS_MAX: u64 = 60;
/// So long before its end, or a tenth of its life, it is used no more: it would run out on the way.
const UNUSED_BEFORE_SECONDS_MAX: u64 = 10;
/// The longest that nobody asks after an answer without what was asked for; it doubles from a second.
const QUIET_SECONDS_MAX: u64 = 30;
/// What is refused is thrown away at most so often: a server that refuses whatever it is shown would
/// otherwise have each request ask for something new.
const THROWN_AWAY_SECONDS_MIN: u64 = 60;

/// Why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// It will not pass by waiting: who gives it out refuses, or the settings make no question.
    Lasting(String),
    Passing(String),
}

pub(super) struct Fresh<T> {
    pub(super) value: T,
    /// `None`: nothing is said of an end.
    pub(super) life: Option<Duration>,
}

/// One that was given out, and by its number the same one when it is refused.
pub(super) struct Lent<T> {
    pub(super) value: T,
    pub(super) number: u64,
}

pub(super) struct Renewed<T> {
    state: Mutex<State<T>>,
    settled: watch::Sender<()>,
}

impl<T: Clone + Send + 'static> Renewed<T> {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::new()), settled: watch::Sender::new(()) })
    }

    /// `ask` is called where there is none, or soon will be none.
    pub(super) async fn get<F>(self: &Arc<Self>, ask: impl Fn() -> F) -> Result<Lent<T>, Trouble>
    where
        F: Future<Output = Result<Fresh<T>, Trouble>> + Send + 'static,
    {
        let mut settled = self.settled.subscribe();
        loop {
            settled.mark_unchanged();
            let plan = self.state().plan(Instant::now());
            match plan {
                Plan::Use(lent) => return Ok(lent),
                Plan::UseAndAsk(lent) => {
                    self.start(ask());
                    return Ok(lent);
                }
                Plan::Ask => self.start(ask()),
                Plan::Wait => {}
                Plan::Fail(trouble) => return Err(trouble),
            }
            settled.changed().await.expect("the sender is in self");
        }
    }

    /// It was refused. Whether there is another one, or may be one now.
    pub(super) fn throw_away(&self, number: u64) -> bool {
        self.state().throw_away(number, Instant::now())
    }

    /// A task of its own: who waits may have less time than the answer needs.
    fn start<F>(self: &Arc<Self>, asking: F)
    where
        F: Future<Output = Result<Fresh<T>, Trouble>> + Send + 'static,
    {
        let settling = Settling { renewed: Arc::clone(self), outcome: None };
        tasks::spawn("credentials", async move {
            let outcome = asking.await;
            settling.end(outcome);
        });
    }

    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the outcome also where there is none, or those who wait would do so for ever.
struct Settling<T: Clone + Send + 'static> {
    renewed: Arc<Renewed<T>>,
    outcome: Option<Result<Fresh<T>, Trouble>>,
}

impl<T: Clone + Send + 'static> Settling<T> {
    fn end(mut self, outcome: Result<Fresh<T>, Trouble>) {
        self.outcome = Some(outcome);
    }
}

impl<T: Clone + Send + 'static> Drop for Settling<T> {
    fn drop(&mut self) {
        let broken_off = || Err(Trouble::Passing("the request broke off".to_owned()));
        let outcome = self.outcome.take().unwrap_or_else(broken_off);
        self.renewed.state().settle(outcome, Instant::now());
        self.renewed.settled.send_replace(());
    }
}

struct State<T> {
    held: Option<Held<T>>,
    /// Of the one that is held, or was last.
    number: u64,
    is_asked: bool,
    failed: Option<Failed>,
    thrown_away: Option<Instant>,
}

struct Held<T> {
    value: T,
    /// `None`: it has no end that is known of.
    ends: Option<Ends>,
}

struct Ends {
    renewed_from: Instant,
    unused_from: Instant,
}

struct Failed {
    trouble: Trouble,
    quiet_until: Instant,
    quiet: Duration,
}

enum Plan<T> {
    Use(Lent<T>),
    UseAndAsk(Lent<T>),
    Ask,
    /// Another asks.
    Wait,
    Fail(Trouble),
}

impl<T: Clone> State<T> {
    fn new() -> Self {
        Self { held: None, number: 0, is_asked: false, failed: None, thrown_away: None }
    }

    fn plan(&mut self, now: Instant) -> Plan<T> {
        let failed = self.failed.as_ref().filter(|failed| now < failed.quiet_until);
        let usable = self
            .held
            .as_ref()
            .filter(|held| held.ends.as_ref().is_none_or(|ends| now < ends.unused_from));
        let Some(held) = usable else {
            return match failed {
                _ if self.is_asked => Plan::Wait,
                Some(failed) => Plan::Fail(failed.trouble.clone()),
                None => {
                    self.is_asked = true;
                    Plan::Ask
                }
            };
        };
        let lent = Lent { value: held.value.clone(), number: self.number };
        let is_due = held.ends.as_ref().is_some_and(|ends| now >= ends.renewed_from);
        if is_due && !self.is_asked && failed.is_none() {
            self.is_asked = true;
            return Plan::UseAndAsk(lent);
        }
        Plan::Use(lent)
    }

    fn settle(&mut self, outcome: Result<Fresh<T>, Trouble>, now: Instant) {
        self.is_asked = false;
        match outcome {
            Ok(Fresh { value, life }) => {
                self.failed = None;
                self.number += 1;
                let ends = life.map(|life| Ends {
                    renewed_from: now + life - sooner(life / 5, RENEWED_BEFORE_SECONDS_MAX),
                    unused_from: now + life - sooner(life / 10, UNUSED_BEFORE_SECONDS_MAX),
                });
                self.held = Some(Held { value, ends });
            }
            Err(trouble) => {
                let quiet = self.failed.as_ref().map_or(Duration::from_secs(1), |failed| {
                    sooner(failed.quiet * 2, QUIET_SECONDS_MAX)
                });
                self.failed = Some(Failed { trouble, quiet_until: now + quiet, quiet });
            }
        }
    }

    fn throw_away(&mut self, number: u64, now: Instant) -> bool {
        if number != self.number {
            return self.held.is_some();
        }
        let least = Duration::from_secs(THROWN_AWAY_SECONDS_MIN);
        if self.thrown_away.is_some_and(|last| now - last < least) {
            return false;
        }
        self.thrown_away = Some(now);
        self.held.take().is_some() || self.is_asked
    }
}

fn sooner(duration: Duration, seconds_max: u64) -> Duration {
    duration.min(Duration::from_secs(seconds_max))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// At an instant of its own: what is given out counts up, or is refused where `is_up` is not.
    struct Giver {
        state: State<u64>,
        now: Instant,
        asked: u64,
        life: Option<Duration>,
    }

    impl Giver {
        fn new(life: Option<u64>) -> Self {
            let life = life.map(seconds);
            Self { state: State::new(), now: Instant::now(), asked: 0, life }
        }

        /// What who comes `after` seconds more gets; what is asked for is there at once.
        fn get(&mut self, after: u64, is_up: bool) -> Option<u64> {
            self.now += seconds(after);
            loop {
                match self.state.plan(self.now) {
                    Plan::Use(lent) => return Some(lent.value),
                    Plan::UseAndAsk(lent) => {
                        self.answer(is_up);
                        return Some(lent.value);
                    }
                    Plan::Ask => self.answer(is_up),
                    Plan::Wait => panic!("nobody asks"),
                    Plan::Fail(_) => return None,
                }
            }
        }

        fn answer(&mut self, is_up: bool) {
            self.asked += 1;
            let fresh = Fresh { value: self.asked, life: self.life };
            let down = || Trouble::Passing("down".to_owned());
            self.state.settle(is_up.then_some(fresh).ok_or_else(down), self.now);
        }
    }

    #[test]
    fn it_is_asked_for_once_and_before_its_end() {
        let mut giver = Giver::new(Some(100));
        for (after, value, asked) in [
            (0, 1, 1),
            (79, 1, 1),
            // Due: the old one is good for now, the new one is on its way.
            (2, 1, 2),
            (1, 2, 2),
            // Long after its end, who comes waits.
            (500, 3, 3),
        ] {
            assert_eq!(giver.get(after, true), Some(value), "after {after} more seconds");
            assert_eq!(giver.asked, asked, "after {after} more seconds");
        }
        let mut endless = Giver::new(None);
        assert_eq!((endless.get(0, true), endless.get(1_000_000, true)), (Some(1), Some(1)));
        // One that is as good as at its end is given to who waited for it, and to nobody else.
        let mut short = Giver::new(Some(0));
        short.now += seconds(1);
        assert!(matches!(short.state.plan(short.now), Plan::Ask));
    }

    #[test]
    fn after_a_failure_nobody_asks_for_a_while() {
        let mut giver = Giver::new(Some(100));
        for (after, asked) in [(0, 1), (0, 1), (1, 2), (1, 2), (1, 3), (3, 3), (1, 4)] {
            assert_eq!(giver.get(after, false), None);
            assert_eq!(giver.asked, asked, "after {after} more seconds");
        }
        assert_eq!(giver.get(30, true), Some(5));
        // One that is still good is used on while its successor can't be had.
        for after in [85, 0, 0] {
            assert_eq!(giver.get(after, false), Some(5));
        }
        assert_eq!(giver.asked, 6);
    }

    #[test]
    fn what_is_refused_is_thrown_away_once_a_minute() {
        let mut giver = Giver::new(None);
        assert_eq!(giver.get(0, true), Some(1));
        assert!(giver.state.throw_away(1, giver.now));
        assert_eq!(giver.get(0, true), Some(2));
        // Of the one before this one: another has taken its place.
        assert!(giver.state.throw_away(1, giver.now));
        assert!(!giver.state.throw_away(2, giver.now), "the new one is as bad");
        giver.now += seconds(60);
        assert!(giver.state.throw_away(2, giver.now));
        assert_eq!(giver.get(0, true), Some(3));
    }

    #[tokio::test]
    async fn many_wait_for_one_answer_and_it_outlives_who_asked() {
        let renewed: Arc<Renewed<&str>> = Renewed::new();
        let (open, asked) = (Arc::new(Semaphore::new(0)), AtomicUsize::new(0));
        let ask = || {
            asked.fetch_add(1, Ordering::SeqCst);
            let open = Arc::clone(&open);
            async move {
                let _ = open.acquire().await;
                Ok(Fresh { value: "it", life: None })
            }
        };
        let hasty = tokio::time::timeout(Duration::from_millis(10), renewed.get(ask)).await;
        assert!(hasty.is_err(), "it was there before it was let be");
        open.add_permits(1);
        let all = futures_util::future::join_all((0..100).map(|_| renewed.get(ask))).await;
        assert!(all.into_iter().all(|one| one.is_ok_and(|lent| lent.value == "it")));
        assert_eq!(asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn who_asks_and_dies_leaves_nobody_waiting() {
        let renewed: Arc<Renewed<()>> = Renewed::new();
        let outcome = renewed.get(|| async { panic!("as a fault would") }).await;
        assert!(matches!(outcome, Err(Trouble::Passing(_))));
    }
}
