//! A child process with its log in a file; it ends with its guard.

use std::{
    fs::{self, File},
    net::TcpListener,
    ops::Range,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Mutex,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use starling::{config::HttpClient, runtime::http::Caller};

use crate::eventually;

const START_MAX: Duration = Duration::from_secs(30);
/// An interval and the time that a sample may wait for company, with something to spare.
const WAIT_SECONDS_MAX: f64 = 3.0;
const END_MAX: Duration = Duration::from_secs(20);
/// For tests that must name a port before it is bound.
const PORTS: Range<u16> = 11_000..31_000;

pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Output is appended to `log`, so that a restart keeps what the run before it said.
    pub(crate) fn start(command: &mut Command, log: &Path) -> Self {
        Self::start_with(command, Stdio::null(), log)
    }

    /// With a descriptor of the caller's as its standard input.
    pub(crate) fn start_with(command: &mut Command, input: Stdio, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .stdin(input)
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|e| panic!("can't start {command:?}: {e}"));
        Self { child, log: log.to_owned() }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let log = self.log.clone();
        let what = format!("the process of {} had ended", log.display());
        let child = std::cell::RefCell::new(&mut self.child);
        eventually(&what, END_MAX, || {
            let status = child.borrow_mut().try_wait().unwrap();
            async move { status }
        })
        .await
    }
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "a failed test shows the log")]
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail = log.char_indices().rev().nth(6000).map_or(0, |(at, _)| at);
            eprintln!("--- {} ends with:\n{}", self.log.display(), &log[tail..]);
        }
    }
}

/// A starling process, and where it keeps its things.
pub(crate) struct Agent {
    pub(crate) process: Process,
    pub(crate) url: String,
    config_file: PathBuf,
    directory: PathBuf,
    listen: String,
}

impl Agent {
    pub(crate) async fn start(directory: &Path, config: &str) -> Self {
        let config_file = directory.join("starling.yml");
        fs::write(&config_file, config).unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let process = spawn(&config_file, directory, &listen);
        let agent = Self {
            process,
            url: format!("http://{listen}"),
            config_file,
            directory: directory.to_owned(),
            listen,
        };
        agent.ready().await;
        agent
    }

    pub(crate) async fn restart(&mut self) {
        self.process = spawn(&self.config_file, &self.directory, &self.listen);
        self.ready().await;
    }

    pub(crate) fn write_config(&self, config: &str) {
        let new = self.config_file.with_extension("new");
        fs::write(&new, config).unwrap();
        fs::rename(new, &self.config_file).unwrap();
    }

    pub(crate) fn storage(&self) -> PathBuf {
        self.directory.join("storage")
    }

    pub(crate) async fn ready(&self) {
        let url = format!("{}/-/ready", self.url);
        eventually("the agent was ready", START_MAX, || async {
            (status(&url).await == Some(200)).then_some(())
        })
        .await;
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        json(&format!("{}{path}", self.url)).await.unwrap()
    }

    /// Until nothing waits that is older than what a healthy queue holds back for company.
    pub(crate) async fn caught_up(&self, patience: Duration) {
        eventually("the outbox had caught up", patience, || async {
            let queues = self.json("/api/v1/queues").await;
            let destinations = queues["destinations"].as_array().unwrap();
            let oldest =
                destinations.iter().filter_map(|queue| queue["oldest_age_seconds"].as_f64());
            (oldest.fold(0.0, f64::max) < WAIT_SECONDS_MAX).then_some(())
        })
        .await;
    }
}

fn spawn(config_file: &Path, directory: &Path, listen: &str) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command
        .arg("run")
        .arg(format!("--config.file={}", config_file.display()))
        .arg(format!("--storage.path={}", directory.join("storage").display()))
        .arg(format!("--web.listen-address={listen}"));
    Process::start(&mut command, &directory.join("starling.log"))
}

/// Nobody else's: below the ports that the system gives to who asks for any, and claimed before other
/// tests by a name that is free again when this process ends.
pub(crate) fn free_port() -> u16 {
    static CLAIMS: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let offset = std::process::id() % u32::from(PORTS.end - PORTS.start);
    let first = PORTS.start + u16::try_from(offset).unwrap();
    for port in (first..PORTS.end).chain(PORTS.start..first) {
        let name = SocketAddr::from_abstract_name(format!("starling-tests-port-{port}")).unwrap();
        let Ok(claim) = UnixListener::bind_addr(&name) else { continue };
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            CLAIMS.lock().unwrap().push(claim);
            return port;
        }
    }
    panic!("none of the ports {PORTS:?} is free");
}

pub(crate) async fn get(url: &str) -> Option<(u16, String)> {
    let caller = Caller::new(&HttpClient::default());
    let request = caller.request(reqwest::Method::GET, url).unwrap();
    let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

pub(crate) async fn post(url: &str) -> Option<(u16, String)> {
    post_body(url, Vec::new()).await
}

pub(crate) async fn post_body(url: &str, body: Vec<u8>) -> Option<(u16, String)> {
    let caller = Caller::new(&HttpClient::default());
    let request = caller.request(reqwest::Method::POST, url).unwrap().body(body);
    let answer = request.timeout(Duration::from_secs(30)).send().await.ok()?;
    Some((answer.status().as_u16(), answer.text().await.ok()?))
}

pub(crate) async fn status(url: &str) -> Option<u16> {
    get(url).await.map(|(status, _)| status)
}

pub(crate) async fn json(url: &str) -> Option<Value> {
    let (_, body) = get(url).await?;
    serde_json::from_str(&body).ok()
}
