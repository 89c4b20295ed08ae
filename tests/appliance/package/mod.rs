//! The packages, without a host that boots: what is in them, what those say who judge packages for a
//! living, that they come out the same twice, and what their scripts do to a system.

mod contents;
mod deb;
mod judged;
mod notices;
mod root;
mod rpm;

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::OnceLock,
};

/// The second is the same binary in a package of a higher version.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

/// Made once for all tests; `packaging/tools.sh` has installed what makes them.
fn packages() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
        for version in VERSIONS {
            build(Path::new(env!("CARGO_MANIFEST_DIR")), &["all", "--version", version], &folder);
        }
        folder
    })
}

fn deb(version: &str) -> PathBuf {
    packages().join(format!("starling_{version}-1_{}.deb", architecture().0))
}

fn rpm(version: &str) -> PathBuf {
    packages().join(format!("starling-{version}-1.{}.rpm", architecture().1))
}

/// As Debian and as Red Hat call that of this host.
fn architecture() -> (&'static str, &'static str) {
    if cfg!(target_arch = "aarch64") { ("arm64", "aarch64") } else { ("amd64", "x86_64") }
}

/// Packages of the binary that the tests are about, from the sources in `source`.
fn build(source: &Path, words: &[&str], folder: &Path) {
    let mut command = Command::new("bash");
    command
        .arg(source.join("packaging/build.sh"))
        .args(["--debug", "--binary", env!("CARGO_BIN_EXE_starling"), "--out"])
        .arg(folder)
        .args(words);
    run(&mut command);
}

/// What a command said that succeeded.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = said(&output);
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
    format!("{out}{err}")
}

/// Says so where it is not; `tests/setup.sh` installs all of them.
fn is_there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok();
    if !found {
        println!("skipped: no {program}; tests/setup.sh installs it");
    }
    found
}
