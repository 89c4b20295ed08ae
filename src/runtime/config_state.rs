//! The configuration in force, and how the last attempt to change it ended: what everyone may see.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::Config;

#[derive(Clone, Debug)]
pub struct ConfigState {
    /// The one that is run; a refused file does not change it.
    pub config: Arc<Config>,
    /// When `config` was loaded, in milliseconds since the Unix epoch.
    pub loaded_ms: i64,
    /// Why the last attempt was refused; `None` where it was not.
    pub refused: Option<String>,
    /// What made the last attempt.
    pub cause: Cause,
}

/// Why a configuration was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    Start,
    /// It, or a file that it names, has changed.
    File,
    /// `SIGHUP`.
    Signal,
    /// `POST /-/reload`.
    Order,
}

impl Cause {
    /// The name under which it is kept and shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::File => "file",
            Self::Signal => "signal",
            Self::Order => "order",
        }
    }
}

/// An order to load the file again; the answer is why it was refused, with every problem.
pub type ReloadOrder = oneshot::Sender<Result<(), String>>;
