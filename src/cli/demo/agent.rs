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
    admin: SocketAddr,
    home: PathBuf,
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
struct Place {
    admin: SocketAddr,
    /// UDP and TCP.
    cluster: SocketAddr,
}

/// What all agents have alike.
pub(super) struct Common<'a> {
    pub(super) agents: usize,
    pub(super) folder: &'a Path,
    pub(super) receiver: SocketAddr,
    pub(super) interval: Duration,
    pub(super) log_level: &'a str,
}

pub(super) fn start(common: &Common<'_>) -> io::Result<Vec<Agent>> {
    let places = free_places(common.agents)?;
    let peers: Vec<String> = places.iter().map(|place| place.cluster.to_string()).collect();
    let peers = peers.join(", ");
    let agents = places.iter().enumerate();
    agents.map(|(index, place)| Agent::start(index, place, &peers, common)).collect()
}

pub(super) fn name_of(index: usize) -> String {
    format!("starling-{}", index + 1)
}

impl Agent {
    fn start(index: usize, place: &Place, peers: &str, common: &Common<'_>) -> io::Result<Self> {
        let name = name_of(index);
        let home = common.folder.join(&name);
        fs::create_dir(&home)?;
        let config_file = home.join("starling.yml");
        fs::write(&config_file, config(index, place, peers, common))?;
        let log = File::create(home.join("log"))?;

        let mut command = Command::new(std::env::current_exe()?);
        // What the environment would set for an agent of this host is nothing to the demo's.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("STARLING_") {
                command.env_remove(variable);
            }
        }
        // A group of its own: Ctrl-C reaches the demo alone, which then stops its agents once. The
        // system ends an agent with the thread that started it: here the main one.
        let child = command
            .arg("run")
            .arg(format!("--config.file={}", config_file.display()))
            .arg(format!("--storage.path={}", home.join("storage").display()))
            .arg(format!("--web.listen-address={}", place.admin))
            .arg(format!("--log.level={}", common.log_level))
            .arg("--log.format=text")
            .arg(format!("--end-with-parent={}", std::process::id()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().expect("nobody has waited for it yet");
        Ok(Self { name, pid, departure: None, admin: place.admin, home, child })
    }

    pub(super) fn is_up(&self) -> bool {
        self.departure.is_none()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.admin)
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.home.join("starling.yml")
    }

    pub(super) fn log_file(&self) -> PathBuf {
        self.home.join("log")
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

fn departure(status: ExitStatus) -> Option<Departure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Some(Departure::Left),
        (Some(ENDED_AT_ONCE), _) | (None, Some(_)) => Some(Departure::Killed),
        (Some(_) | None, _) => None,
    }
}

fn config(index: usize, place: &Place, peers: &str, common: &Common<'_>) -> String {
    format!(
        "global:
  scrape_interval: {interval}s
cluster:
  enabled: true
  node_name: {name}
  secret_file: ../{SECRET_FILE}
  listen_address: {cluster}
  peers: [{peers}]
  wait_for_size: {agents}
  wait_timeout: 20s
scrape_configs:
  - job_name: examples
    clustering: {{ enabled: true }}
    file_sd_configs: [{{ files: [../{TARGETS_FILE}] }}]
remote_write:
  - name: receiver
    url: http://{receiver}{path}
    queue_config: {{ batch_send_deadline: 200ms }}
",
        interval = common.interval.as_secs(),
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
        let (channel, gossip) = bind_both()?;
        places.push(Place { admin: admin.local_addr()?, cluster: channel.local_addr()? });
        held.push((admin, channel, gossip));
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
