//! How parts are told to end: a flag that is raised once and can be awaited. A part's loop that
//! awaits it comes by each time around, and so answers there, too, when it is asked whether it lives.

use tokio_util::sync::CancellationToken;

use crate::runtime::pulse::{Pulse, Pulses};

/// Cloned to everyone who must end; a child ends with its parent, and can be ended alone.
#[derive(Debug, Default)]
pub struct Stop {
    token: CancellationToken,
    /// Of one loop alone, so that no other answers for it.
    pulse: Option<Pulse>,
    /// Where loops below this one are watched.
    pulses: Option<Pulses>,
}

impl Stop {
    /// Nobody is watched.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag of its own, whose parts are watched by `pulses`.
    pub fn watched_by(pulses: &Pulses) -> Self {
        Self { pulses: Some(pulses.clone()), ..Self::default() }
    }

    /// A flag of its own, whose parts are watched where those of this one are.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self { pulses: self.pulses.clone(), ..Self::default() }
    }

    #[must_use]
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token(), pulse: None, pulses: self.pulses.clone() }
    }

    /// A child whose loop is watched under that name, where anything is.
    #[must_use]
    pub fn part(&self, name: &str) -> Self {
        let child = self.child();
        let pulse = self.pulses.as_ref().map(|pulses| pulses.join(name, child.token.clone()));
        Self { pulse, ..child }
    }

    pub fn raise(&self) {
        self.token.cancel();
    }

    pub fn is_raised(&self) -> bool {
        self.token.is_cancelled()
    }

    pub async fn raised(&self) {
        match &self.pulse {
            None => self.token.cancelled().await,
            Some(pulse) => tokio::select! {
                () = self.token.cancelled() => {}
                never = pulse.answer() => match never {},
            },
        }
    }

    /// For what a loop does outside of its `select!` and what may take long for a good reason: a slow
    /// disk, another part with a full queue. Ends when the work does.
    pub async fn during<T>(&self, work: impl Future<Output = T>) -> T {
        match &self.pulse {
            None => work.await,
            Some(pulse) => tokio::select! {
                outcome = work => outcome,
                never = pulse.answer() => match never {},
            },
        }
    }
}

/// A clone is told the same, and answers nothing.
impl Clone for Stop {
    fn clone(&self) -> Self {
        Self { token: self.token.clone(), pulse: None, pulses: self.pulses.clone() }
    }
}
