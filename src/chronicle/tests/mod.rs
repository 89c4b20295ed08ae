//! The observer: a fleet that is simulated, and one part among real ones.

mod fleet;
mod watched;

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    config::HistorySettings,
    history::{History, Settings},
    runtime::tasks,
};

/// A history on a file that outlives it.
struct Book {
    folder: TempDir,
    handle: history::Handle,
    stop: Stop,
    task: JoinHandle<Option<()>>,
}

impl Book {
    fn over(folder: TempDir) -> Self {
        let settings = Settings {
            file: folder.path().join("history.db"),
            section: HistorySettings::default(),
            time: FleetTime::default(),
        };
        let (handle, part) = History::new(settings, &mut Registry::default());
        let stop = Stop::new();
        let task = tasks::spawn("history", part.run(stop.clone()));
        Self { folder, handle, stop, task }
    }

    async fn record(&self, entries: impl IntoIterator<Item = Entry>) {
        for entry in entries {
            self.handle.room().await.unwrap().send(entry);
        }
    }

    async fn stop(self) -> TempDir {
        self.stop.raise();
        self.task.await.unwrap().unwrap();
        self.folder
    }

    async fn reopened(self) -> Self {
        Self::over(self.stop().await)
    }
}
