//! What a judge from outside says: which scenarios broke which bounds, and of which of them it is asked
//! again. Both judges are programs that this project does not hold.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// A busy machine may have kept the judge, or the agents, from their work.
const ATTEMPTS_MAX: usize = 3;

/// The bounds that each scenario broke.
pub(crate) type Judged = Vec<(String, Vec<Value>)>;

/// Has all scenarios played, and those again whose faults may be the machine's: `may_be_busy` is told
/// these faults, and whether it is the last attempt.
pub(crate) fn hold(
    scenarios: &str,
    play: impl Fn(&str) -> Judged,
    may_be_busy: impl Fn(&[Value], bool) -> bool,
) {
    let mut open = scenarios.to_owned();
    for attempt in 1..=ATTEMPTS_MAX {
        let (mut again, mut broken) = (Vec::new(), Vec::new());
        let judged = play(&open);
        assert_eq!(judged.len(), open.split(',').count(), "all are judged");
        for (name, faults) in judged.into_iter().filter(|(_, faults)| !faults.is_empty()) {
            if may_be_busy(&faults, attempt == ATTEMPTS_MAX) {
                again.push(name);
            } else {
                broken.push(format!("{name}: {faults:?}"));
            }
        }
        assert!(broken.is_empty(), "{broken:#?}");
        if again.is_empty() {
            return;
        }
        open = again.join(",");
        println!("attempt {attempt}: the machine may have been too busy for {open}");
    }
    println!("not decided, the machine was too busy: {open}");
}

/// Runs a judge that is told by its last argument where to write its report.
pub(crate) fn report(judge: &mut Command) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let report = directory.path().join("report.json");
    let output = judge
        .arg(&report)
        .env("TMPDIR", directory.path())
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    println!("{}{said}", String::from_utf8_lossy(&output.stdout));
    let report = fs::read(&report).unwrap_or_else(|e| panic!("no report: {e}\n{said}"));
    serde_json::from_slice(&report).unwrap()
}

pub(crate) fn broken(one: &Value) -> Vec<Value> {
    one["broken"].as_array().unwrap().clone()
}

/// Where the judge lies that a variable names, or else beside this project.
pub(crate) fn judge(variable: &str, name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(name);
    let path = env::var_os(variable).map_or_else(beside, PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no judge at {}", path.display());
    None
}
