//! A fleet of Debian systems on a bridge, each with the package installed by apt and nothing else
//! prepared. What befalls hosts, and what operators do to them, is done to these; and it is judged
//! from outside: by the targets, which know who scraped them when, and by a Prometheus that takes
//! nothing out of order. A test binary of its own, as those run one after the other: whoever judges
//! hosts has the machine alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]
#![allow(
    clippy::print_stdout,
    reason = "what is skipped and what was measured is told by printing"
)]

mod eyes;
mod host;
mod journal;
mod knocks;
mod packages;
mod sandbox;
mod scenes;
mod wires;
mod world;

#[path = "../../fleet/bridge/backend.rs"]
mod backend;
#[path = "../../fleet/bridge/farm.rs"]
mod farm;
#[path = "../../fleet/bridge/judge.rs"]
#[expect(dead_code, reason = "the fleet of namespaces asks for more")]
mod judge;
#[path = "../../fleet/bridge/lag.rs"]
mod lag;
#[path = "../../fleet/bridge/ledger.rs"]
mod ledger;
#[path = "../../fleet/bridge/table.rs"]
mod table;
#[path = "../../fleet/bridge/watch.rs"]
#[expect(dead_code, reason = "the fleet of namespaces asks for more")]
mod watch;

#[path = "../../integration/eventually.rs"]
mod eventually;
#[path = "../../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;

use eventually::eventually;
use tokio::time::Instant;

/// Milliseconds since the world began.
#[derive(Clone, Copy, Debug)]
struct Timeline(Instant);

impl Timeline {
    fn now_ms(self) -> i64 {
        i64::try_from(self.0.elapsed().as_millis()).unwrap()
    }
}

#[test]
fn a_fleet_of_real_systems_bears_what_befalls_it() {
    sandbox::run_inside("runs_when_told_to");
}

/// Not a test: what runs inside.
#[test]
fn runs_when_told_to() {
    let Some(folder) = sandbox::folder() else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(Box::pin(scenes::play(&folder)));
}
