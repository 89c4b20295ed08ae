//! What the service manager gave this process on its way, by its environment: where to tell it
//! something, how often, and sockets.

use std::{env, time::Duration};

use listenfd::ListenFd;
use tracing::warn;

use crate::runtime::service::{Manager, sockets::Handed};

/// Sockets beyond that many are not looked at; there are two at most that anyone has use for.
const SOCKETS_MAX: usize = 64;

#[derive(Debug, Default)]
pub struct Inherited {
    pub manager: Manager,
    /// Within which it wants to hear that all is well.
    pub watchdog: Option<Duration>,
    pub sockets: Vec<Handed>,
}

impl Inherited {
    /// Once a process, and before it has threads: what says which descriptors are sockets is taken
    /// out of the environment.
    pub fn take() -> Self {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut descriptors = ListenFd::from_env();
        let mut sockets = Vec::new();
        let count = descriptors.len().min(SOCKETS_MAX);
        // Without names there are as many that are empty.
        for (number, name) in (0..count).zip(names.split(':').chain(std::iter::repeat(""))) {
            match descriptors.take_tcp_listener(number) {
                Ok(Some(listener)) => sockets.extend(Handed::new(name, listener)),
                Ok(None) => {}
                Err(error) => {
                    warn!(socket = name, %error, "a socket was handed over that can't be used");
                }
            }
        }
        Self {
            manager: Manager::new(env::var_os("NOTIFY_SOCKET")),
            watchdog: sd_notify::watchdog_enabled(),
            sockets,
        }
    }
}
