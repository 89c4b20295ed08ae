//! Somebody who asks a host's admin API all the time, as a dashboard does: a `curl` in a loop.

use std::{process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::host::Host;

const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Each with a connection of its own; what comes of it is a line. It ends when nobody reads.
const LOOP: &str = "while curl --silent --show-error --fail --output /dev/null --max-time 60 \
    --write-out 'answered %{time_total}\\n' http://127.0.0.1:9733/-/healthy 2>&1
    do sleep 0.02; done";

pub(crate) struct Knocks {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    answered: usize,
    longest_seconds: f64,
}

impl Knocks {
    pub(crate) fn begin(host: &Host) -> Self {
        let mut child = Command::from(host.in_network(&["sh", "-c", LOOP]))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, answered: 0, longest_seconds: 0.0 }
    }

    /// So many more than so far; what was not answered is told at the end.
    pub(crate) async fn are_answered(&mut self, more: usize) {
        for _ in 0..more {
            self.next().await;
        }
    }

    async fn next(&mut self) -> bool {
        let line = timeout(ANSWER_MAX, self.lines.next_line()).await.expect("it has an end");
        let Some(line) = line.unwrap() else { return false };
        let Some(took) = line.strip_prefix("answered ") else {
            panic!("after {} that were answered: {line}", self.answered);
        };
        self.answered += 1;
        self.longest_seconds = self.longest_seconds.max(took.parse().unwrap());
        true
    }

    /// How many were answered, and after how many seconds the slowest; panics if one was not.
    pub(crate) async fn end(mut self) -> (usize, f64) {
        self.child.start_kill().unwrap();
        while self.next().await {}
        (self.answered, self.longest_seconds)
    }
}
