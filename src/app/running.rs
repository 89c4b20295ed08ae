//! A part on its way: its task, the flag that ends it alone, and its end where nobody asked for it.

use tokio::task::JoinHandle;

use crate::runtime::{pulse::Pulses, stop::Stop, tasks};

/// Starts parts, each of them watched.
#[derive(Clone)]
pub(super) struct Parts {
    root: Stop,
}

impl Parts {
    pub(super) fn watched_by(pulses: &Pulses) -> Self {
        Self { root: Stop::watched_by(pulses) }
    }

    pub(super) fn start<F>(&self, name: &'static str, part: impl FnOnce(Stop) -> F) -> Running
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let own = self.root.part(name);
        Running { name, stop: own.clone(), task: tasks::spawn(name, part(own)) }
    }

    /// On a thread of its own.
    pub(super) fn start_apart<F>(&self, name: &'static str, part: impl FnOnce(Stop) -> F) -> Running
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let own = self.root.part(name);
        Running { name, stop: own.clone(), task: tasks::spawn_apart(name, part(own)) }
    }
}

/// A part on its way, and the flag that ends it alone.
pub(super) struct Running {
    name: &'static str,
    stop: Stop,
    task: JoinHandle<Option<()>>,
}

impl Running {
    /// Resolves only when the part ends although nobody asked it to.
    pub(super) async fn ended(&mut self) -> &'static str {
        // An error would mean that the task was aborted, which nothing here does.
        let _ = (&mut self.task).await;
        self.name
    }

    pub(super) async fn stop(self) {
        self.stop.raise();
        if !self.task.is_finished() {
            let _ = self.task.await;
        }
    }
}
