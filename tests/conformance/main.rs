//! What others hold a Prometheus-compatible program to, as data, through the library. Where that
//! data is absent, each test says so and passes.

#![allow(clippy::unwrap_used, reason = "a test that cannot read its data should panic")]

mod compatibility;
mod config;
mod discovery;
mod outbox;
mod relabel;
mod textparse;

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::Value;

/// The folder of one family of cases: beside the project, or where `STARLING_CONFORMANCE` says.
#[expect(clippy::print_stderr, reason = "a skipped test must say so")]
fn conformance(family: &str) -> Option<PathBuf> {
    let named = env::var_os("STARLING_CONFORMANCE").map(PathBuf::from);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/conformance");
    let folder = named.unwrap_or_else(beside);
    if folder.is_dir() {
        return Some(folder.join(family));
    }
    eprintln!("skipped: no conformance data at {}", folder.display());
    None
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn cases(folder: &Path, file: &str) -> Vec<Value> {
    let Value::Array(cases) = read(&folder.join(file)) else { panic!("{file} is no list") };
    assert!(!cases.is_empty(), "{file} holds no case");
    cases
}

fn report(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}
