//! Three gateways before their judge: it pushes through any of them, breaks things, and holds what was
//! acknowledged against what a strict backend has.

#![expect(clippy::print_stdout, reason = "what the judge said is what a reader of a failure needs")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

#[path = "../integration/python.rs"]
mod python;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use python::environment;

/// Of each kind the one that shows most in the least time: a backend that comes and goes on one path,
/// a planned end and a crash with a backlog, tenants, and attacks.
const SCENARIOS: &str = "blip,leave,kill9-restart,tenants,abuse";
/// Its addresses are no other judge's.
const WORLD: [&str; 4] = ["--n", "3", "--ip-base", "90"];
/// A machine that was busy with something else may have kept a push waiting.
const ATTEMPTS_MAX: usize = 3;
const STALL: &str = "stall_max_s";

#[test]
fn three_gateways_hold_the_bounds() {
    let Some(judge) = judge() else { return };
    // With the package that the judge packs its pushes with.
    let python = environment("gateways", "tests/gateways/requirements.txt").join("bin/python");
    let mut open = SCENARIOS.to_owned();
    for attempt in 1..=ATTEMPTS_MAX {
        let (mut again, mut broken) = (Vec::new(), Vec::new());
        for (name, faults) in run(&judge, &python, &open) {
            let waited_only = faults.iter().all(|fault| fault.contains(STALL));
            match (faults.is_empty(), waited_only && attempt < ATTEMPTS_MAX) {
                (true, _) => {}
                (false, true) => again.push(name),
                (false, false) => broken.push(format!("{name}: {faults:?}")),
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
        if again.is_empty() {
            return;
        }
        open = again.join(",");
        println!("attempt {attempt}: a push waited too long in {open}");
    }
}

/// The bounds that each scenario broke.
fn run(judge: &Path, python: &Path, scenarios: &str) -> Vec<(String, Vec<String>)> {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let output = Command::new(python)
        .current_dir(judge)
        .args(["-m", "gwjudge", "run", "--template", "templates/starling.toml"])
        .args(["--scenario", scenarios, "--bin", env!("CARGO_BIN_EXE_starling"), "--out"])
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
    let faults = |one: &Value| -> Vec<String> {
        one["broken"].as_array().unwrap().iter().map(Value::to_string).collect()
    };
    let judged: Vec<(String, Vec<String>)> = report["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["scenario"].as_str().unwrap().to_owned(), faults(one)))
        .collect();
    assert_eq!(judged.len(), scenarios.split(',').count(), "all are judged: {said}");
    judged
}

fn judge() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/gwjudge");
    let path =
        std::env::var_os("STARLING_GATEWAY_JUDGE").map_or_else(|| beside.into(), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no judge of gateways at {}", path.display());
    None
}
