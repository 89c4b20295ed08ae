//! The right to act for the fleet, which runs out by itself: a process that stood still must not go
//! on with what was its share before anybody could tell it that it no longer is. It is renewed by who
//! hears the others; once it was revoked, it also takes the word of who acts on what was heard.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::time::{Duration, Instant};

/// Cloned to everyone who must ask before it scrapes or sends.
#[derive(Clone, Debug)]
pub struct Lease {
    started: Instant,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Milliseconds after `started`; 0 where it was revoked.
    until: AtomicU64,
    /// Rises with each revocation.
    generation: AtomicU64,
    /// The generation whose news were acted on.
    granted: AtomicU64,
}

impl Lease {
    /// Runs out unless it is renewed; nothing may be done before it was renewed and granted for the
    /// first time.
    pub fn new() -> Self {
        let state = State { generation: AtomicU64::new(1), ..State::default() };
        Self { started: Instant::now(), state: Arc::new(state) }
    }

    /// Of a member that is alone: nobody takes anything from it.
    pub fn endless() -> Self {
        let state = State { until: AtomicU64::new(u64::MAX), ..State::default() };
        Self { started: Instant::now(), state: Arc::new(state) }
    }

    pub fn renew(&self, length: Duration) {
        self.renew_at(self.now_ms(), millis(length));
    }

    /// Ends it at once. Renewed again, it needs to be granted anew.
    pub fn revoke(&self) {
        if self.state.until.swap(0, Ordering::SeqCst) > 0 {
            self.state.generation.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Names what the news must be of that is acted on before it is granted.
    pub fn generation(&self) -> u64 {
        self.state.generation.load(Ordering::SeqCst)
    }

    /// All that was heard up to this generation is acted on.
    pub fn grant(&self, generation: u64) {
        self.state.granted.store(generation, Ordering::SeqCst);
    }

    pub fn is_valid(&self) -> bool {
        self.is_valid_at(self.now_ms())
    }

    fn renew_at(&self, now_ms: u64, length_ms: u64) {
        self.state.until.store(now_ms.saturating_add(length_ms), Ordering::SeqCst);
    }

    fn is_valid_at(&self, now_ms: u64) -> bool {
        let state = &self.state;
        now_ms < state.until.load(Ordering::SeqCst)
            && state.granted.load(Ordering::SeqCst) == state.generation.load(Ordering::SeqCst)
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

    #[test]
    fn it_runs_out_unless_it_is_renewed() {
        let lease = Lease::new();
        assert!(!lease.is_valid_at(0), "nobody has given it yet");
        lease.renew_at(0, 900);
        assert!(!lease.is_valid_at(0), "nobody has acted on it yet");
        lease.grant(lease.generation());
        let other = lease.clone();
        assert!(other.is_valid_at(899));
        assert!(!other.is_valid_at(900));
        lease.renew_at(900, 900);
        assert!(other.is_valid_at(900));
    }

    #[test]
    fn after_a_revocation_it_needs_to_be_granted_anew() {
        let lease = Lease::new();
        lease.renew_at(0, 900);
        lease.grant(lease.generation());
        let before = lease.generation();
        lease.revoke();
        assert!(!lease.is_valid_at(0));
        lease.renew_at(0, 900);
        lease.grant(before);
        assert!(!lease.is_valid_at(0), "what was acted on is older than the revocation");
        lease.grant(lease.generation());
        assert!(lease.is_valid_at(0));
    }

    #[test]
    fn who_is_alone_has_it_for_ever() {
        assert!(Lease::endless().is_valid());
    }
}
