//! One of the demo's agents: a `starling run` of its own, which ends with the demo however that ends.

use std::{
    fs::{self, File},
    io,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, Command},
    time::timeout,
};

use crate::cli::{
    demo::{
        folder::{SECRET_FILE, TARGETS_FILE},
        receiver,
    },
    signals::ENDED_AT_ONCE,
};

/// Longer than an agent gives itself to hand over; then it is killed.
const STOP_MAX: Duration = Duration::from_secs(30);
/// A port that is free for TCP is nearly always free for UDP as well.
const TRIES_MAX: usize = 100;
/// So much of the log is told when an agent could not go on.
const LOG_LINES_MAX: usize = 5;

pub(super) struct Agent {
    pub(super) name: String,
    pub(super) pid: u32,
    departure: Option<Departure>,
    place: Place,
    home: PathBuf,
    log_level: String,
    child: Child,
}

/// How an agent went, whose end was somebody's wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It handed over before.
    Left,
    Killed,
}

/// Where an agent listens.
#[derive(Clone, Copy)]
struct Place {
    admin: SocketAddr,
    /// UDP and TCP.
    cluster: SocketAddr,
    gateway: SocketAddr,
}

/// What agents are there for.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// Of the targets in `TARGETS_FILE`.
    Scrape {
        interval: Duration,
    },
    TakePushes,
}

/// What all agents have alike.
pub(super) struct Common<'a> {
    pub(super) agents: usize,
    pub(super) receiver: SocketAddr,
    pub(super) work: Work,
    pub(super) log_level: &'a str,
}

/// Each gets a folder of its own in `folder`.
pub(super) fn start(folder: &Path, common: &Common<'_>) -> io::Result<Vec<Agent>> {
    let places = free_places(common.agents)?;
    let peers: Vec<String> = places.iter().map(|place| place.cluster.to_string()).collect();
    let peers = peers.join(", ");
    let start = |(index, place): (usize, &Place)| {
        let home = folder.join(name_of(index));
        fs::create_dir(&home)?;
        fs::write(config_file(&home), config(index, place, &peers, common))?;
        Agent::start(name_of(index), *place, home, common.log_level)
    };
    places.iter().enumerate().map(start).collect()
}

pub(super) fn name_of(index: usize) -> String {
    format!("starling-{}", index + 1)
}

pub(super) fn state_of(departure: Option<Departure>) -> &'static str {
    match departure {
        None => "up",
        Some(departure) => departure.name(),
    }
}

impl Departure {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Killed => "killed",
        }
    }
}

impl Agent {
    fn start(name: String, place: Place, home: PathBuf, log_level: &str) -> io::Result<Self> {
        let child = spawn(place, &home, log_level)?;
        let pid = child.id().expect("nobody has waited for it yet");
        Ok(Self { name, pid, departure: None, place, home, log_level: log_level.to_owned(), child })
    }

    /// After it has gone: with all that it had on disk.
    pub(super) fn start_again(&mut self) -> io::Result<()> {
        self.child = spawn(self.place, &self.home, &self.log_level)?;
        self.pid = self.child.id().expect("nobody has waited for it yet");
        self.departure = None;
        Ok(())
    }

    pub(super) fn is_up(&self) -> bool {
        self.departure.is_none()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.place.admin)
    }

    /// Where metrics can be pushed to, of one that takes pushes.
    pub(super) fn push_url(&self) -> String {
        format!("http://{}/api/v1/write", self.place.gateway)
    }

    pub(super) fn config_file(&self) -> PathBuf {
        config_file(&self.home)
    }

    pub(super) fn log_file(&self) -> PathBuf {
        log_file(&self.home)
    }

    /// How it went; an error, where nobody had wished it to.
    pub(super) async fn gone(&mut self) -> Result<Departure, String> {
        let status = self.child.wait().await.map_err(|e| e.to_string())?;
        let departure = departure(status).ok_or_else(|| {
            let log = fs::read_to_string(self.log_file()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES_MAX)..].join("\n");
            format!("`{}` ended on its own, {status}; its log ends with:\n{last}", self.name)
        })?;
        self.departure = Some(departure);
        Ok(departure)
    }

    /// Asks it to hand over and end.
    pub(super) fn terminate(&self) {
        let id = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(pid) = id {
            // Fails where it has ended already.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// After it was asked to end.
    pub(super) async fn stopped(&mut self) -> Result<Departure, String> {
        if let Ok(gone) = timeout(STOP_MAX, self.gone()).await {
            return gone;
        }
        // What can't be killed has ended.
        let _ = self.child.start_kill();
        Err(format!("`{}` did not end within {} s", self.name, STOP_MAX.as_secs()))
    }
}

fn config_file(home: &Path) -> PathBuf {
    home.join("starling.yml")
}

fn log_file(home: &Path) -> PathBuf {
    home.join("log")
}

fn spawn(place: Place, home: &Path, log_level: &str) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(log_file(home))?;
    let mut command = Command::new(std::env::current_exe()?);
    // What the environment would set for an agent of this host is nothing to the demo's.
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("STARLING_") {
            command.env_remove(variable);
        }
    }
    // A group of its own: Ctrl-C reaches the demo alone, which then stops its agents once. The
    // system ends an agent with the thread that started it: here the main one.
    command
        .arg("run")
        .arg(format!("--config.file={}", config_file(home).display()))
        .arg(format!("--storage.path={}", home.join("storage").display()))
        .arg(format!("--web.listen-address={}", place.admin))
        .arg(format!("--log.level={log_level}"))
        .arg("--log.format=text")
        .arg(format!("--end-with-parent={}", std::process::id()))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

fn departure(status: ExitStatus) -> Option<Departure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Some(Departure::Left),
        (Some(ENDED_AT_ONCE), _) | (None, Some(_)) => Some(Departure::Killed),
        (Some(_) | None, _) => None,
    }
}

fn config(index: usize, place: &Place, peers: &str, common: &Common<'_>) -> String {
    let (work, sending) = match common.work {
        Work::Scrape { interval } => (
            format!(
                "global:
  scrape_interval: {interval}s
scrape_configs:
  - job_name: examples
    clustering: {{ enabled: true }}
    file_sd_configs: [{{ files: [../{TARGETS_FILE}] }}]
",
                interval = interval.as_secs()
            ),
            "",
        ),
        Work::TakePushes => (
            format!("gateway:\n  metrics:\n    listen_address: {}\n", place.gateway),
            "\n    out_of_order_window: 10m",
        ),
    };
    format!(
        "{work}cluster:
  enabled: true
  node_name: {name}
  secret_file: ../{SECRET_FILE}
  listen_address: {cluster}
  peers: [{peers}]
  wait_for_size: {agents}
  wait_timeout: 20s
remote_write:
  - name: receiver
    url: http://{receiver}{path}{sending}
    queue_config: {{ batch_send_deadline: 200ms }}
",
        name = name_of(index),
        cluster = place.cluster,
        agents = common.agents,
        receiver = common.receiver,
        path = receiver::path(index),
    )
}

/// Free when asked, and taken by nobody else for the moment it takes the agents to bind them.
fn free_places(count: usize) -> io::Result<Vec<Place>> {
    // All are held until all are found, so that none is found twice.
    let mut held = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let admin = TcpListener::bind("127.0.0.1:0")?;
        let gateway = TcpListener::bind("127.0.0.1:0")?;
        let (channel, gossip) = bind_both()?;
        places.push(Place {
            admin: admin.local_addr()?,
            cluster: channel.local_addr()?,
            gateway: gateway.local_addr()?,
        });
        held.push((admin, gateway, channel, gossip));
    }
    Ok(places)
}

fn bind_both() -> io::Result<(TcpListener, UdpSocket)> {
    for _ in 0..TRIES_MAX {
        let channel = TcpListener::bind("127.0.0.1:0")?;
        if let Ok(gossip) = UdpSocket::bind(channel.local_addr()?) {
            return Ok((channel, gossip));
        }
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, "no port is free for both TCP and UDP"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_wished_an_end_is_told_by_the_status() {
        let check = |wait_status: i32, expected| {
            let status = ExitStatus::from_raw(wait_status);
            assert_eq!(departure(status), expected, "{status}");
        };
        check(0, Some(Departure::Left));
        check(9, Some(Departure::Killed));
        check(130 << 8, Some(Departure::Killed));
        check(1 << 8, None);
    }
}
