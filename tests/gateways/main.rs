//! Three gateways before their judge: it pushes through any of them, breaks things, and holds what was
//! acknowledged against what a strict backend has.

#![expect(clippy::print_stdout, reason = "what the judge said is what a reader of a failure needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

#[path = "../judged/bounds.rs"]
mod bounds;
#[path = "../integration/python.rs"]
mod python;

use std::process::Command;

use serde_json::Value;

use bounds::{broken, hold, judge, report};
use python::environment;

/// Of each kind the one that shows most in the least time: a backend that comes and goes on one path,
/// a planned end and a crash with a backlog, tenants, and attacks.
const SCENARIOS: &str = "blip,leave,kill9-restart,tenants,abuse";
/// Its addresses are no other judge's.
const WORLD: [&str; 4] = ["--n", "3", "--ip-base", "90"];
/// A machine that was busy with something else may have kept a push waiting.
const STALL: &str = "stall_max_s";

#[test]
fn three_gateways_hold_the_bounds() {
    let Some(judge) = judge("STARLING_GATEWAY_JUDGE", "gwjudge") else { return };
    // With the package that the judge packs its pushes with.
    let python = environment("gateways", "tests/gateways/requirements.txt").join("bin/python");
    let play = |scenarios: &str| {
        let mut command = Command::new(&python);
        command
            .current_dir(&judge)
            .args(["-m", "gwjudge", "run", "--template", "templates/starling.toml"])
            .args(["--scenario", scenarios, "--bin", env!("CARGO_BIN_EXE_starling")])
            .args(WORLD)
            .arg("--out");
        let report = report(&mut command);
        let results = report["results"].as_array().unwrap().iter();
        results.map(|one| (one["scenario"].as_str().unwrap().to_owned(), broken(one))).collect()
    };
    let may_be_busy = |faults: &[Value], is_last: bool| {
        !is_last && faults.iter().all(|fault| fault.to_string().contains(STALL))
    };
    hold(SCENARIOS, play, may_be_busy);
}
