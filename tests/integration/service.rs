//! The agent as a service manager meets it: what it is told, and the sockets that it keeps.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixDatagram},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::process::{Process, free_port, status};

const PATIENCE: Duration = Duration::from_secs(30);

fn agent(folder: &Path, listen: &str) -> Command {
    let config = folder.join("starling.yml");
    let job = format!("{{job_name: own, static_configs: [{{targets: ['{listen}']}}]}}");
    std::fs::write(&config, format!("scrape_configs: [{job}]\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
    command
        .arg("run")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.path={}", folder.join("storage").display()))
        .arg(format!("--web.listen-address={listen}"));
    command
}

/// All that is told until a datagram begins so, with that one.
fn until(socket: &UnixDatagram, start: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| {
            panic!("`{start}` was not told: {error}; but {heard:?}");
        });
        heard.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
        if heard.last().is_some_and(|last| last.starts_with(start)) {
            return heard;
        }
    }
}

#[tokio::test]
async fn a_service_manager_is_told_how_it_fares() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut command = agent(folder.path(), &listen);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "2000000");
    let mut process = Process::start(&mut command, &folder.path().join("starling.log"));

    let started = until(&socket, "READY=1");
    assert_eq!(status(&format!("http://{listen}/-/ready")).await, Some(200), "{started:?}");
    let at = |start: &str| started.iter().position(|told| told.starts_with(start));
    assert!(at("FDSTOREREMOVE=1\nFDNAME=admin\n") < at("FDSTORE=1\nFDNAME=admin\n"), "{started:?}");
    assert!(at("FDSTORE=1").is_some(), "the port is given into keeping: {started:?}");
    assert!(at("EXTEND_TIMEOUT_USEC=30000000").is_some(), "{started:?}");
    until(&socket, "STATUS=1 target; no destination");
    until(&socket, "WATCHDOG=1");

    process.signal(Signal::HUP);
    let reloaded = until(&socket, "RELOADING=1\nMONOTONIC_USEC=");
    assert!(!reloaded.iter().any(|told| told.starts_with("READY")), "{reloaded:?}");
    until(&socket, "READY=1");

    process.signal(Signal::TERM);
    until(&socket, "STOPPING=1");
    assert!(process.ended().await.success());
}

/// As over a restart, also one by `kill -9`: the port stays open, and who has asked meanwhile is
/// answered by the next process.
#[tokio::test]
async fn a_port_that_is_kept_refuses_nobody_while_the_agent_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let kept = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = kept.local_addr().unwrap().to_string();
    for _ in 0..2 {
        let mut early = TcpStream::connect(&listen).unwrap();
        early.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET /-/healthy HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n");
        early.write_all(request.as_bytes()).unwrap();
        let mut command = agent(folder.path(), &listen);
        command
            .env("LISTEN_FDS", "1")
            .env("LISTEN_FDS_FIRST_FD", "0")
            .env("LISTEN_FDNAMES", "admin");
        let input = Stdio::from(OwnedFd::from(kept.try_clone().unwrap()));
        let mut process =
            Process::start_with(&mut command, input, &folder.path().join("starling.log"));
        let mut answer = String::new();
        early.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        process.signal(Signal::KILL);
        process.ended().await;
    }
}
