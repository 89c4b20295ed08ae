//! What a service manager hears, over a socket of its own.

use std::time::Duration;

use tokio::{net::UnixDatagram, time::timeout};

use super::*;
use crate::runtime::tasks;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

struct Heard {
    socket: UnixDatagram,
    _folder: tempfile::TempDir,
}

impl Heard {
    fn listen() -> (Self, Manager) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        (Self { socket, _folder: folder }, Manager::new(Some(path.into_os_string())))
    }

    async fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let received = timeout(PATIENCE, self.socket.recv(&mut buffer)).await;
        let length = received.expect("a datagram comes in time").unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap().trim_end().to_owned()
    }

    /// All until one begins so, with it.
    async fn until(&self, start: &str) -> Vec<String> {
        let mut heard = Vec::new();
        loop {
            heard.push(self.next().await);
            if heard.last().is_some_and(|last| last.starts_with(start)) {
                return heard;
            }
        }
    }
}

fn facts() -> Facts {
    Facts { targets: 2, down: 1, ..Facts::default() }
}

#[tokio::test]
async fn a_life_is_told_in_order() {
    let (heard, manager) = Heard::listen();
    // Its watchdog is not what this is about.
    let long = Some(Duration::from_secs(3600));
    let (handle, part) = Service::new(manager, long, Pulses::default());
    let stop = Stop::new();
    let task = tasks::spawn("service", part.run(stop.clone()));

    assert_eq!(heard.next().await, "STATUS=starting: reads its configuration");
    assert_eq!(heard.next().await, "EXTEND_TIMEOUT_USEC=30000000");
    // What comes before it is ready is none of the manager's business.
    handle.reloading().await;
    handle.reloaded().await;
    handle.stage(Stage::Starting { does: "meets its peers", goes_on: true });
    assert_eq!(heard.next().await, "STATUS=starting: meets its peers");

    handle.look(Box::new(facts)).await;
    handle.stage(Stage::Ready);
    let ready = heard.until("READY=1").await;
    assert_eq!(ready, ["STATUS=2 targets, 1 down; no destination", "READY=1"]);

    handle.reloading().await;
    let reloading = heard.next().await;
    let (word, at) = reloading.split_once("\nMONOTONIC_USEC=").unwrap();
    assert!(word == "RELOADING=1" && at.parse::<u64>().unwrap() > 0, "{reloading}");
    handle.reloaded().await;
    assert_eq!(heard.next().await, "READY=1");

    handle.stage(Stage::Leaving(Left { bytes: 1000, lines: 4, targets: 0 }));
    assert_eq!(heard.next().await, "STOPPING=1");
    assert_eq!(
        heard.next().await,
        "STATUS=stopping: 1,000 bytes are unsent, 4 lines to be handed over"
    );
    handle.stage(Stage::Stopping);
    let stopping = heard.until("STATUS=stopping: writes").await;
    // It asked for more time within the ten seconds before.
    assert_eq!(stopping, ["STOPPING=1", "STATUS=stopping: writes and sends what is left"]);
    stop.raise();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_watchdog_starves_while_a_part_hangs_and_the_status_names_it() {
    let (heard, manager) = Heard::listen();
    let pulses = Pulses::default();
    let parts = Stop::watched_by(&pulses);
    let lives = parts.part("scrape");
    tasks::spawn("lives", async move { lives.raised().await });
    let limit = Some(Duration::from_millis(400));
    let (handle, service) = Service::new(manager, limit, pulses);
    let task = tasks::spawn("service", service.run(parts.part("service")));
    handle.stage(Stage::Ready);
    heard.until("WATCHDOG=1").await;

    // It is here, and its loop never comes by.
    let hangs = parts.part("history");
    let named = heard.until("STATUS=no answer from history").await;
    let fed = named.iter().filter(|line| *line == "WATCHDOG=1").count();
    assert!(fed <= 1, "it may have been fed before the part was asked: {named:?}");
    // From here on nothing feeds it until the part has gone.
    handle.reloading().await;
    assert_eq!(heard.until("RELOADING=1").await.len(), 1);
    drop(hangs);
    assert_eq!(heard.next().await, "WATCHDOG=1");
    parts.raise();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn who_has_no_manager_tells_nothing_and_lives() {
    let pulses = Pulses::default();
    let (handle, part) = Service::new(Manager::default(), None, pulses);
    let stop = Stop::new();
    let task = tasks::spawn("service", part.run(stop.clone()));
    handle.stage(Stage::Ready);
    handle.reloading().await;
    handle.reloaded().await;
    stop.raise();
    task.await.unwrap().unwrap();
}
