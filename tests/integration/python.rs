//! What tests need of Python: each set of packages in an environment of its own, which the next run
//! finds again.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// Where the packages of `requirements` are installed, a file's path from the repository's root.
pub(crate) fn environment(name: &str, requirements: &str) -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join(requirements);
    let wanted = fs::read(&requirements).unwrap();
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let done = home.join("requirements.txt");
    if fs::read(&done).is_ok_and(|had| had == wanted) {
        return home;
    }
    // Not the one of an environment in which the tests themselves may run.
    succeed(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&home));
    let mut pip = Command::new(home.join("bin/pip"));
    succeed(pip.args(["install", "--quiet", "--requirement"]).arg(&requirements));
    fs::write(done, wanted).unwrap();
    home
}

/// What the command said.
pub(crate) fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = told(&output);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    said
}

pub(crate) fn told(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}
