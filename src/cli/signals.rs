//! Signals: SIGTERM and SIGINT end the agent, a second one at once; SIGHUP loads the file again.

use rustix::process::{Pid, Signal as Number, getppid, set_parent_process_death_signal};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use tracing::{info, warn};

use crate::runtime::{audit, stop::Stop, tasks};

/// What a shell says of a process that SIGINT ended.
pub(super) const ENDED_AT_ONCE: i32 = 130;

pub(super) struct Signals {
    pub(super) stop: Stop,
    pub(super) hangups: mpsc::Receiver<()>,
}

pub(super) fn listen() -> Result<Signals, String> {
    let listen = |kind| signal(kind).map_err(|error| format!("can't listen to signals: {error}"));
    let stop = Stop::new();
    // One place: a second SIGHUP before the first is heard asks for nothing more.
    let (sender, hangups) = mpsc::channel(1);
    let ends = [listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?];
    tasks::spawn("signals", heed(ends, listen(SignalKind::hangup())?, stop.clone(), sender));
    Ok(Signals { stop, hangups })
}

/// However the parent ends, the system kills this process then, even one that stands still.
pub(super) fn end_with(parent: Pid) -> Result<(), String> {
    set_parent_process_death_signal(Some(Number::KILL))
        .map_err(|error| format!("can't ask to end with process {parent}: {error}"))?;
    // It may have ended before the system was asked.
    if getppid() == Some(parent) {
        return Ok(());
    }
    Err(format!("process {parent} is not the one that started this one, or has ended"))
}

async fn heed(
    [mut terminate, mut interrupt]: [Signal; 2],
    mut hangup: Signal,
    stop: Stop,
    hangups: mpsc::Sender<()>,
) {
    loop {
        let ends = tokio::select! {
            _ = terminate.recv() => Some("SIGTERM"),
            _ = interrupt.recv() => Some("SIGINT"),
            _ = hangup.recv() => None,
        };
        let Some(signal) = ends else {
            let _ = hangups.try_send(());
            continue;
        };
        audit::on_this_host("quit", signal, true);
        if stop.is_raised() {
            warn!("a second signal: ending at once");
            end_at_once();
        } else {
            info!("a signal: stopping; a second one ends at once");
            stop.raise();
        }
    }
}

#[expect(clippy::exit, reason = "whoever sends a second signal wants nothing to be waited for")]
fn end_at_once() -> ! {
    std::process::exit(ENDED_AT_ONCE)
}
