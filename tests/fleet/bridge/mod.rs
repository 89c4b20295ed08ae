//! Agents as they are installed, each in a network namespace of its own, on one bridge: what befalls
//! hosts and wires is done to them, and judged from outside: by the targets, which know who scraped
//! them when, and by a Prometheus that takes nothing out of order.

mod agent;
mod backend;
mod farm;
mod judge;
mod lag;
mod ledger;
mod scenes;
mod table;
mod watch;
mod wires;
mod world;

use std::{
    env,
    process::{Command, Stdio},
};

use tokio::time::Instant;

use crate::namespace::Namespace;

/// What the test that runs inside is told by the one that made its network.
const SCENES: &str = "STARLING_BRIDGE_SCENES";

/// Milliseconds since the world began.
#[derive(Clone, Copy, Debug)]
struct Timeline(Instant);

impl Timeline {
    fn now_ms(self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

#[test]
fn a_small_fleet_bears_hangs_cuts_and_loss() {
    let _machine = crate::whole_machine();
    runs_in_a_namespace("short");
}

/// Takes most of an hour: `make measure-fleet`. `STARLING_ROUNDS` is how often each is done,
/// `STARLING_EVENTS` which (a part of the name; commas between).
#[test]
#[ignore = "a measurement; it takes most of an hour"]
fn measures_a_fleet_of_ten() {
    let _machine = crate::whole_machine();
    runs_in_a_namespace("long");
}

/// This very test executable again, inside: targets, backend and agents' ends are all there.
fn runs_in_a_namespace(scenes: &str) {
    let has = |words: &[&str]| {
        let output = Command::new(words[0]).args(&words[1..]).output();
        output.is_ok_and(|output| output.status.success())
    };
    let Some(hub) = Namespace::new() else { return };
    if !has(&["ip", "netns", "exec", &hub.name, "nft", "add", "table", "bridge", "links"]) {
        println!("skipped: no nftables for bridges (`nft add table bridge`)");
        return;
    }
    hub.run("nft delete table bridge links");
    let this = env::current_exe().unwrap();
    let status = Command::new("nsenter")
        .arg(format!("--net=/run/netns/{}", hub.name))
        .args(["setpriv", "--pdeathsig", "KILL"])
        .arg(this)
        .args(["--exact", "bridge::runs_when_told_to", "--nocapture"])
        .env(SCENES, scenes)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{scenes}: {status}");
}

/// Not a test: what runs inside.
#[test]
fn runs_when_told_to() {
    let Ok(scenes) = env::var(SCENES) else { return };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        match scenes.as_str() {
            "short" => Box::pin(scenes::short()).await,
            _ => Box::pin(scenes::long()).await,
        }
    });
}
