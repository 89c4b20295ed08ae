//! Three agents before a judge from outside, a program that this project does not hold: it counts each
//! scrape at the targets and each sample at a strict destination, and asks the agents nothing.

#![expect(clippy::print_stdout, reason = "what the judge said is what a reader of a failure needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod bounds;

use std::process::Command;

use serde_json::Value;

use bounds::{broken, hold, judge, report};

/// One of each kind: a planned end, a beginning, a crash, a backend that is down while a member
/// goes, and a stranger.
const SCENARIOS: &str = "stop_one,start_one,kill_one,backend_down_stop,wrong_secret";
/// Small and quick, on addresses of their own: an interval of a second would leave a busy machine
/// too little for the tenth of it that a scrape may be late.
const WORLD: [&str; 8] = ["-n", "3", "-t", "40", "-i", "2", "--set", "ip_offset=60"];
/// A judge that was kept from its work is not believed.
const LAG: &str = "judge_lag_ms";
/// Scrapes that were late, and not lost, missed or made twice: a fault of the agents comes again.
const LATE: [&str; 2] = ["spacing_max", "ts_spacing_max"];

#[test]
fn three_agents_hold_the_bounds() {
    let Some(judge) = judge("STARLING_JUDGE", "judge") else { return };
    let play = |scenarios: &str| {
        // Debian's own interpreter: it has the package for snappy.
        let mut command = Command::new("/usr/bin/python3");
        command
            .current_dir(&judge)
            .args(["judge.py", "run", "--agent", "templates/starling.toml"])
            .args(["--scenario", scenarios, "--bin", env!("CARGO_BIN_EXE_starling")])
            .args(WORLD)
            .arg("--out");
        let report = report(&mut command);
        let scenarios = report["scenarios"].as_object().unwrap().iter();
        scenarios.map(|(name, one)| (name.clone(), broken(one))).collect()
    };
    let may_be_busy = |faults: &[Value], is_last: bool| {
        let is_late = |fault: &Value| LATE.iter().any(|late| fault["metric"] == *late);
        faults.iter().any(|fault| fault["metric"] == LAG) || !is_last && faults.iter().all(is_late)
    };
    hold(SCENARIOS, play, may_be_busy);
}
