//! Failures as they are told: in the agent's own log when something changes, and each of them, as a
//! line of JSON, in the job's `scrape_failure_log_file`.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use prometheus_client::metrics::counter::Counter;
use serde_json::json;
use tokio::{sync::mpsc, task::spawn_blocking};
use tracing::{info, warn};

use crate::{
    config::Job,
    model::{target::Target, time::rfc3339},
    scrape::failure::Failure,
};

/// Lines that wait to be written; those beyond are counted and not written.
const LINES_MAX: usize = 1024;

/// One failure for one file.
#[derive(Debug)]
pub(super) struct Line {
    file: PathBuf,
    text: String,
}

impl Line {
    pub(super) fn new(
        file: &Path,
        target: &Target,
        shown_url: &str,
        failure: &str,
        now_ms: i64,
    ) -> Self {
        let text = json!({
            "time": rfc3339(now_ms),
            "level": "ERROR",
            "msg": failure,
            "job_name": &*target.job,
            "target": shown_url,
        });
        Self { file: file.to_owned(), text: format!("{text}\n") }
    }
}

/// Hands lines to the writer.
#[derive(Clone, Debug)]
pub(super) struct FailureLog {
    lines: mpsc::Sender<Line>,
    unwritten: Counter,
}

pub(super) struct FailureWriter {
    lines: mpsc::Receiver<Line>,
    unwritten: Counter,
}

impl FailureLog {
    pub(super) fn new(unwritten: Counter) -> (Self, FailureWriter) {
        let (sender, lines) = mpsc::channel(LINES_MAX);
        let writer = FailureWriter { lines, unwritten: unwritten.clone() };
        (Self { lines: sender, unwritten }, writer)
    }

    /// In the agent's log on change: a target that goes on failing as it did is no news. `change` is
    /// from the last scrape to this one, and `text` what this one's failure says.
    pub(super) fn tell(
        &self,
        own: &Job,
        target: &Target,
        change: (Option<&Failure>, Option<&Failure>),
        text: Option<&str>,
        now_ms: i64,
    ) {
        if let (Some(file), Some(text)) = (&own.scrape_failure_log_file, text) {
            self.write(Line::new(file, target, &shown_url(target), text, now_ms));
        }
        let is_news = match change {
            (None, None) => false,
            (Some(before), Some(now)) => !before.is_like(now),
            (None, Some(_)) | (Some(_), None) => true,
        };
        if !is_news {
            return;
        }
        let (job, url) = (&*target.job, shown_url(target));
        if let Some(error) = text {
            warn!(job, url, error, "scrape failed");
        } else {
            info!(job, url, "scrape succeeds again");
        }
    }

    fn write(&self, line: Line) {
        if self.lines.try_send(line).is_err() {
            self.unwritten.inc();
        }
    }
}

impl FailureWriter {
    /// Ends when nobody can hand in lines any more and all are written.
    pub(super) async fn run(mut self) {
        let mut broken: Option<Arc<str>> = None;
        let mut lines = Vec::new();
        while self.lines.recv_many(&mut lines, LINES_MAX).await > 0 {
            let mut files: BTreeMap<PathBuf, (String, u64)> = BTreeMap::new();
            for line in lines.drain(..) {
                let (text, count) = files.entry(line.file).or_default();
                text.push_str(&line.text);
                *count += 1;
            }
            for (file, (text, count)) in files {
                let path = file.clone();
                let written = spawn_blocking(move || append(&path, &text)).await;
                let fault = match written {
                    Ok(Ok(())) => None,
                    Ok(Err(error)) => Some(Arc::from(error.to_string())),
                    Err(panic) => Some(Arc::from(panic.to_string())),
                };
                if let Some(reason) = &fault {
                    self.unwritten.inc_by(count);
                    if broken != fault {
                        warn!(file = %file.display(), error = &**reason, "can't write a scrape failure log");
                    }
                }
                broken = fault;
            }
        }
    }
}

/// Opened for each writing, so that a file that was rotated away is not written on.
fn append(file: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().create(true).append(true).open(file)?.write_all(text.as_bytes())
}

/// Without what may be secret in it.
pub fn shown_url(target: &Target) -> String {
    target.shown_url().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scrape::test_job::target;

    #[tokio::test]
    async fn failures_are_lines_of_json() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("failures.json");
        let unwritten = Counter::default();
        let (log, writer) = FailureLog::new(unwritten.clone());
        let target = target(&[]);
        log.write(Line::new(&file, &target, "http://x/metrics", "it \"failed\"", 1_000));
        log.write(Line::new(&file, &target, "http://x/metrics", "again", 2_000));
        log.write(Line::new(Path::new("/nowhere/at/all"), &target, "u", "lost", 2_000));
        drop(log);
        writer.run().await;
        let text = std::fs::read_to_string(&file).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["msg"], "it \"failed\"");
        assert_eq!(lines[0]["job_name"], "test");
        assert_eq!(lines[1]["time"], "1970-01-01T00:00:02.000Z");
        assert_eq!(unwritten.get(), 1);
    }
}
