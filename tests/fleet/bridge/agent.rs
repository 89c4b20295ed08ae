//! The agent's binary as a process in a namespace of its own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use rustix::process::Signal;

use crate::process::Process;

use super::wires::{watch_address, work_address};

/// What a member is started with that differs from the others.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clock {
    pub(crate) ahead_seconds: i32,
}

pub(crate) struct Agent {
    pub(crate) member: usize,
    place: Vec<String>,
    directory: PathBuf,
    peers: String,
    process: Option<Process>,
}

impl Agent {
    /// Not started yet. `directory` holds what all share: `starling.yml` and `secret`.
    pub(crate) fn new(member: usize, place: Vec<String>, members: usize, directory: &Path) -> Self {
        let peers: Vec<_> = (1..=members).map(work_address).collect();
        let directory = directory.to_owned();
        Self { member, place, directory, peers: peers.join(","), process: None }
    }

    /// Must be called by a thread that lives as long as the test does: with it the agent ends.
    pub(crate) fn start(&mut self, clock: Clock) {
        let (n, directory) = (self.member, self.directory.display());
        let mut words = self.place.clone();
        words.extend(["setpriv", "--pdeathsig", "KILL", "env"].map(str::to_owned));
        if clock.ahead_seconds != 0 {
            let library = clock_library().expect("asked for before");
            words.push(format!("LD_PRELOAD={library}"));
            words.push(format!("FAKETIME={:+}s", clock.ahead_seconds));
            words.push("FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned());
        }
        words.push(env!("CARGO_BIN_EXE_starling").to_owned());
        words.push("run".to_owned());
        words.extend([
            format!("--config.file={directory}/starling.yml"),
            format!("--storage.path={directory}/m{n}"),
            format!("--web.listen-address={}:9733", watch_address(n)),
            "--cluster.enabled".to_owned(),
            format!("--cluster.node-name=m{n}"),
            format!("--cluster.peers={}", self.peers),
            format!("--cluster.listen-address={}:9734", work_address(n)),
            format!("--cluster.secret-file={directory}/secret"),
        ]);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        self.process = Some(Process::start(&mut command, &self.log_file()));
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("runs").signal(signal);
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// By plan, with whatever it has to hand over.
    pub(crate) async fn stop(&mut self) {
        let mut process = self.process.take().expect("runs");
        process.signal(Signal::TERM);
        let status = process.ended().await;
        assert!(status.success(), "m{}: {status}", self.member);
    }

    pub(crate) fn log_file(&self) -> PathBuf {
        self.directory.join(format!("m{}.log", self.member))
    }
}

/// Debian's libfaketime, which shifts the wall clock of one process; none where it is not installed.
pub(crate) fn clock_library() -> Option<&'static str> {
    static FOUND: OnceLock<Option<String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| {
        let architectures = fs::read_dir("/usr/lib").ok()?.flatten();
        let library = |place: fs::DirEntry| place.path().join("faketime/libfaketimeMT.so.1");
        let library = architectures.map(library).find(|path| path.exists())?;
        let library = library.into_os_string().into_string().ok()?;
        // A library that can't be loaded is only complained about.
        let shown = |ahead: &str| {
            let date = Command::new("date")
                .arg("+%s")
                .env("LD_PRELOAD", &library)
                .env("FAKETIME", ahead)
                .stderr(Stdio::null())
                .output()
                .ok()?;
            String::from_utf8(date.stdout).ok()?.trim().parse::<i64>().ok()
        };
        (shown("+1000s")? - shown("+0s")? >= 999).then_some(library)
    });
    found.as_deref()
}
