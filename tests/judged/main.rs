//! Three agents before a judge from outside, a program that this project does not hold: it counts each
//! scrape at the targets and each sample at a strict destination, and asks the agents nothing.

#![expect(clippy::print_stdout, reason = "what the judge said is what a reader of a failure needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

use std::{fs, path::PathBuf, process::Command};

use serde_json::Value;

/// One of each kind: a planned end, a beginning, a crash, a backend that is down while a member
/// goes, and a stranger.
const SCENARIOS: &str = "stop_one,start_one,kill_one,backend_down_stop,wrong_secret";
/// Small and quick, on addresses of their own: an interval of a second would leave a busy machine
/// too little for the tenth of it that a scrape may be late.
const WORLD: [&str; 8] = ["-n", "3", "-t", "40", "-i", "2", "--set", "ip_offset=60"];
/// A judge that was kept from its work by a busy machine is not believed, and asked again. So is one
/// that only says of scrapes that they were late, and not lost, missed or made twice: a fault of the
/// agents comes again.
const ATTEMPTS_MAX: usize = 3;
const LAG: &str = "judge_lag_ms";
const LATE: [&str; 2] = ["spacing_max", "ts_spacing_max"];

#[test]
fn three_agents_hold_the_bounds() {
    let Some(judge) = judge() else { return };
    let mut open = SCENARIOS.to_owned();
    for attempt in 1..=ATTEMPTS_MAX {
        let (mut undecided, mut broken) = (Vec::new(), Vec::new());
        for (name, faults) in run(&judge, &open) {
            let was_kept = faults.iter().any(|fault| fault["metric"] == LAG);
            let is_late = |fault: &Value| LATE.iter().any(|late| fault["metric"] == *late);
            let is_late_only = attempt < ATTEMPTS_MAX && faults.iter().all(is_late);
            match (faults.is_empty(), !was_kept && !is_late_only) {
                (true, _) => {}
                (false, true) => broken.push(format!("{name}: {faults:?}")),
                (false, false) => undecided.push(name),
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
        if undecided.is_empty() {
            return;
        }
        open = undecided.join(",");
        println!("attempt {attempt}: the machine may have been too busy for {open}");
    }
    println!("not decided, the machine was too busy: {open}");
}

/// The bounds that each scenario broke.
fn run(judge: &PathBuf, scenarios: &str) -> Vec<(String, Vec<Value>)> {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    // Debian's own interpreter: it has the package for snappy.
    let output = Command::new("/usr/bin/python3")
        .current_dir(judge)
        .args(["judge.py", "run", "--agent", "templates/starling.toml", "--scenario", scenarios])
        .args(["--bin", env!("CARGO_BIN_EXE_starling"), "--out"])
        .arg(&report)
        .args(WORLD)
        .env("TMPDIR", directory.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{}{said}", String::from_utf8_lossy(&output.stdout));
    let report = fs::read(&report).unwrap_or_else(|e| panic!("no report: {e}\n{said}"));
    let report: Value = serde_json::from_slice(&report).unwrap();
    let judged: Vec<(String, Vec<Value>)> = report["scenarios"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, one)| (name.clone(), one["broken"].as_array().unwrap().clone()))
        .collect();
    assert_eq!(judged.len(), scenarios.split(',').count(), "all are judged: {said}");
    judged
}

fn judge() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/judge");
    let path = std::env::var_os("STARLING_JUDGE").map_or_else(|| beside.into(), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no judge at {}", path.display());
    None
}
