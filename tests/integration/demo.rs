//! The demo is the first thing that anybody runs: it must end well, and leave nothing behind.

use std::{fs, path::Path, process::Command};

use serde_json::Value;

fn folders_in(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn the_demo_loses_nothing_and_cleans_up() {
    let temporary = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(["demo", "--seconds", "6", "--json"])
        .env("TMPDIR", temporary.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let faults = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}{faults}");

    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let verdict = lines.last().unwrap();
    assert_eq!(verdict["sound"], true, "{verdict}");
    assert!(verdict["received"].as_u64().unwrap() > 100, "{verdict}");
    let up = lines.iter().filter_map(|line| line["targets_up"].as_u64()).max();
    assert_eq!(up, Some(5), "every target is up before its first half minute is over: {said}");
    assert_eq!(folders_in(temporary.path()), 0, "the demo's files are gone");
}
