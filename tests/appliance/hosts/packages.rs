//! The packages that hosts install: two versions, so that there is something to upgrade to.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::host::PACKAGES;

/// A folder with both; without it, they are made of the binary that the tests use.
const GIVEN: &str = "STARLING_PACKAGES";
/// The second one is the same binary in a package of a higher version.
const VERSIONS: [&str; 2] = ["0.1.0", "0.1.1"];

/// What hosts install first, and what they upgrade to.
pub(crate) struct Packages {
    pub(crate) folder: PathBuf,
    pub(crate) files: [String; 2],
}

impl Packages {
    pub(crate) fn made(folder: &Path) -> Self {
        let folder = env::var_os(GIVEN).map_or_else(
            || {
                let folder = folder.join("packages");
                for version in VERSIONS {
                    build(version, &folder);
                }
                folder
            },
            PathBuf::from,
        );
        let files = VERSIONS.map(|version| {
            let names = fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.file_name());
            let mut names = names.map(|name| name.into_string().unwrap());
            let begin = format!("starling_{version}-");
            let found = names.find(|name| {
                name.starts_with(&begin) && Path::new(name).extension() == Some("deb".as_ref())
            });
            let name = found.unwrap_or_else(|| panic!("no {begin}*.deb in {}", folder.display()));
            format!("{PACKAGES}/{name}")
        });
        Self { folder, files }
    }
}

fn build(version: &str, folder: &Path) {
    let status = Command::new("bash")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/build.sh"))
        .args(["deb", "--debug", "--binary", env!("CARGO_BIN_EXE_starling")])
        .args(["--version", version, "--out"])
        .arg(folder)
        .status()
        .unwrap();
    assert!(status.success(), "packages of {version}: {status}");
}
