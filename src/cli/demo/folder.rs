//! The demo's temporary folder and what all its agents share in it: the cluster's secret and, where
//! they scrape, the list of targets.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// Beside the folders of the agents, whose configuration names them.
pub(super) const SECRET_FILE: &str = "cluster.secret";
pub(super) const TARGETS_FILE: &str = "targets.json";

/// Removed with all that is in it.
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!(
            "starling-demo-{}-{:08x}",
            std::process::id(),
            rand::random::<u32>()
        ));
        // Fails where somebody made it already: a folder of another is not to be trusted.
        DirBuilder::new().mode(0o700).create(&path)?;
        let folder = Self(path);
        folder.write_secret()?;
        Ok(folder)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn targets_file(&self) -> PathBuf {
        self.0.join(TARGETS_FILE)
    }

    fn write_secret(&self) -> io::Result<()> {
        let secret: [u128; 2] = rand::random();
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.0.join(SECRET_FILE))?;
        writeln!(file, "{:032x}{:032x}", secret[0], secret[1])
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What can't be removed is left to the system's cleaning of temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}
