//! How parts are told to end: a flag that is raised once and can be awaited.

use tokio_util::sync::CancellationToken;

/// Cloned to everyone who must end; a child ends with its parent, and can be ended alone.
#[derive(Clone, Debug, Default)]
pub struct Stop(CancellationToken);

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn child(&self) -> Self {
        Self(self.0.child_token())
    }

    pub fn raise(&self) {
        self.0.cancel();
    }

    pub fn is_raised(&self) -> bool {
        self.0.is_cancelled()
    }

    pub async fn raised(&self) {
        self.0.cancelled().await;
    }
}
