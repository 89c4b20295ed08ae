//! The right to act for the fleet, which runs out by itself: a process that stood still must not go
//! on with what was its share before anybody could tell it that it no longer is.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::{Duration, Instant};

/// Cloned to everyone who must ask before it scrapes or sends.
#[derive(Clone, Debug)]
pub struct Lease {
    started: Instant,
    /// Milliseconds after `started`.
    until: Arc<AtomicU64>,
}

impl Lease {
    /// Runs out unless it is renewed; nothing may be done before it was for the first time.
    pub fn new() -> Self {
        Self { started: Instant::now(), until: Arc::default() }
    }

    /// Of a member that is alone: nobody takes anything from it.
    pub fn endless() -> Self {
        Self { started: Instant::now(), until: Arc::new(AtomicU64::new(u64::MAX)) }
    }

    pub fn renew(&self, length: Duration) {
        let until_ms = self.now_ms().saturating_add(millis(length));
        self.until.store(until_ms, Ordering::Release);
    }

    /// Ends it at once.
    pub fn revoke(&self) {
        self.until.store(0, Ordering::Release);
    }

    pub fn is_valid(&self) -> bool {
        self.now_ms() < self.until.load(Ordering::Acquire)
    }

    fn now_ms(&self) -> u64 {
        millis(self.started.elapsed())
    }
}

impl Default for Lease {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_runs_out_unless_it_is_renewed() {
        let lease = Lease::new();
        assert!(!lease.is_valid(), "nobody has given it yet");
        lease.renew(Duration::from_millis(900));
        let other = lease.clone();
        tokio::time::advance(Duration::from_millis(899)).await;
        assert!(other.is_valid());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!other.is_valid());
        lease.renew(Duration::from_millis(900));
        assert!(other.is_valid());
        lease.revoke();
        assert!(!other.is_valid());
        assert!(Lease::endless().is_valid());
    }
}
