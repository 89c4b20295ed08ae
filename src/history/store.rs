//! The file as the keeper has it: open, off, or to be opened again.

use std::{path::Path, time::Duration};

use tokio::time::Instant;
use tracing::warn;

use crate::{
    config::HistorySettings,
    history::{fault::Fault, file, meters::Meters, writer::Writer},
};

/// Between attempts to open a file that does not serve, at first.
pub(super) const RETRY_MIN: Duration = Duration::from_secs(1);

pub(super) enum Store {
    Off,
    Open(Box<Writer>),
    Faulted {
        retry_at: Instant,
        pause: Duration,
    },
    /// On a thread that works with it.
    Away,
}

impl Store {
    /// Opens the file; what can't be used is set aside.
    pub(super) fn open(
        file: &Path,
        section: &HistorySettings,
        now_ms: i64,
        meters: &Meters,
    ) -> Result<Box<Writer>, Fault> {
        let open = || Writer::open(file.to_owned(), section.bytes_max).map(Box::new);
        let fault = match open() {
            Err(fault @ (Fault::Corrupt(_) | Fault::Newer { .. })) => fault,
            outcome => return outcome,
        };
        let aside = file::set_aside(file, now_ms)?;
        meters.set_aside.inc();
        warn!(
            error = %fault,
            aside = %aside.display(),
            "the history file is set aside, and a new one begun"
        );
        open()
    }

    /// Where the file could not be opened; what is recorded meanwhile is lost.
    pub(super) fn faulted(pause: Duration) -> Self {
        Self::Faulted { retry_at: Instant::now() + pause, pause }
    }
}
