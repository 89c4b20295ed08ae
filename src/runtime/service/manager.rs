//! The way to the service manager: a datagram for each thing that is said, over the socket that it
//! has named. Without one, nothing is said.

use std::{
    ffi::{OsStr, OsString},
    io,
    net::TcpListener,
    os::{
        fd::AsFd,
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram as StdDatagram},
        },
    },
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{net::UnixDatagram, time::timeout};
use tracing::warn;

use crate::runtime::service::sockets::KEPT;

/// A service manager that does not read is not waited for longer than this.
const SEND_MAX: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<OsString>,
    /// That nothing gets through was told.
    is_fault_told: bool,
}

impl Manager {
    /// `socket` as in `NOTIFY_SOCKET`: a path, or a name that begins with `@`.
    pub fn new(socket: Option<OsString>) -> Self {
        Self { socket: socket.filter(|socket| !socket.is_empty()), is_fault_told: false }
    }

    pub(super) async fn tell(&mut self, what: &[NotifyState<'_>]) {
        let Some(socket) = &self.socket else { return };
        let lines =
            what.iter().fold(String::new(), |lines, state| lines + &state.to_string() + "\n");
        let outcome = match timeout(SEND_MAX, send(socket, lines.as_bytes())).await {
            Ok(outcome) => outcome,
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read")),
        };
        match outcome {
            Ok(()) => self.is_fault_told = false,
            Err(error) if self.is_fault_told => drop(error),
            Err(error) => {
                self.is_fault_told = true;
                warn!(socket = %socket.display(), %error, "the service manager can't be told how this agent fares");
            }
        }
    }
}

/// Asks the service manager to keep these listening sockets over a restart, in place of those that
/// it kept before. It is asked by the environment alone, as the sockets came by it, too.
///
/// # Errors
/// Why it could not be asked.
pub fn keep(listeners: &[TcpListener]) -> io::Result<()> {
    let (name, sockets) = (NotifyState::FdName(KEPT), listeners.iter().map(AsFd::as_fd));
    sd_notify::notify(&[NotifyState::FdStoreRemove, name.clone()])?;
    if listeners.is_empty() {
        return Ok(());
    }
    sd_notify::notify_with_fds(&[NotifyState::FdStore, name], &sockets.collect::<Vec<_>>())
}

/// A socket for each datagram: one a few seconds, and none that was connected to a manager that has
/// been restarted since.
async fn send(socket: &OsStr, lines: &[u8]) -> io::Result<()> {
    let datagrams = StdDatagram::unbound()?;
    match socket.as_bytes().strip_prefix(b"@") {
        Some(name) => datagrams.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => datagrams.connect(socket)?,
    }
    datagrams.set_nonblocking(true)?;
    UnixDatagram::from_std(datagrams)?.send(lines).await.map(drop)
}
