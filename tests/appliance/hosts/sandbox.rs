//! Where hosts live: namespaces of a test's own for network, mounts and processes, so that whatever
//! it started, mounted or connected ends with it, also when it is killed. What is left then, a folder
//! and its control groups, is removed by the next run.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio, id},
};

/// What the test that runs inside is told: where its folder is, and the name of its control group.
const FOLDER: &str = "STARLING_HOSTS_FOLDER";
const PREFIX: &str = "starling-hosts-";
const GROUPS: &str = "/sys/fs/cgroup";
/// Named hierarchies of version 1 that systemd uses; of version 2 there is one, without a name.
const HIERARCHIES: &[&str] = &["systemd", "unified"];

/// What nspawn wants of a place: a `/run` of its own, and a `/sys` that shows this network, read-only
/// as on a system without a device manager.
const FURNISH: &str = "mount -t tmpfs -o mode=755 none /run
    mkdir /run/cgroup
    mount --rbind /sys/fs/cgroup /run/cgroup
    mount -t sysfs -o ro none /sys
    mount --rbind /run/cgroup /sys/fs/cgroup
    umount --lazy /run/cgroup
    ip link set lo up
    exec \"$@\"";

/// Runs one test of this very executable inside; where that can't be, says why and passes.
pub(crate) fn run_inside(test: &str) {
    if let Some(reason) = is_missing() {
        println!("skipped: {reason}");
        return;
    }
    let place = Place::new();
    let status = inside(&[env::current_exe().unwrap().to_str().unwrap()])
        .args(["--exact", test, "--nocapture"])
        .env(FOLDER, &place.folder)
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{test}: {status}");
}

/// The folder of the run; none outside.
pub(crate) fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// Control groups of a host, one a hierarchy; systemd in it needs groups that nobody else has.
pub(crate) fn groups(folder: &Path, host: &str) -> Vec<PathBuf> {
    let name = folder.file_name().unwrap();
    hierarchies().iter().map(|hierarchy| hierarchy.join(name).join(host)).collect()
}

fn inside(words: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--pdeathsig", "KILL", "unshare", "--net", "--mount", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "sh", "-ec", FURNISH, "sh"])
        .args(words);
    command
}

fn is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("hosts are for root to boot".to_owned());
    }
    for program in ["systemd-nspawn", "mmdebstrap", "prometheus", "nsenter"] {
        let found = Command::new(program).arg("--version").output();
        if !found.is_ok_and(|output| output.status.success()) {
            return Some(format!("no {program}; tests/setup.sh installs it"));
        }
    }
    for hierarchy in hierarchies() {
        let group = hierarchy.join(format!("{PREFIX}{}", id()));
        if let Err(error) = fs::create_dir(&group).and_then(|()| fs::remove_dir(&group)) {
            return Some(format!("no control groups of its own at {}: {error}", group.display()));
        }
    }
    let tried = inside(&["ip", "link", "add", "work", "type", "bridge"]).output().unwrap();
    let told = String::from_utf8_lossy(&tried.stderr);
    (!tried.status.success()).then(|| format!("no namespaces of its own: {}", told.trim()))
}

fn hierarchies() -> Vec<PathBuf> {
    let groups = Path::new(GROUPS);
    let named: Vec<_> = HIERARCHIES.iter().map(|name| groups.join(name)).collect();
    let named: Vec<_> = named.into_iter().filter(|hierarchy| hierarchy.is_dir()).collect();
    if named.is_empty() { vec![groups.to_owned()] } else { named }
}

/// What a run leaves outside of its namespaces; gone with its guard.
struct Place {
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folders = Path::new(env!("CARGO_TARGET_TMPDIR"));
        for folder in hierarchies().iter().map(PathBuf::as_path).chain([folders]) {
            for name in runs_in(folder) {
                let pid = name.trim_start_matches(PREFIX);
                if !Path::new("/proc").join(pid).exists() {
                    remove(&folders.join(&name));
                }
            }
        }
        let folder = folders.join(format!("{PREFIX}{}", id()));
        fs::create_dir_all(&folder).unwrap();
        Self { folder }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn runs_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(PREFIX)).collect()
}

/// The folder of a run, and its control groups, in which nothing runs any more.
fn remove(folder: &Path) {
    // Either may be gone already.
    let _ = fs::remove_dir_all(folder);
    for hierarchy in hierarchies() {
        remove_group(&hierarchy.join(folder.file_name().unwrap()));
    }
}

/// The files in a control group go with it.
fn remove_group(group: &Path) {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    let _ = fs::remove_dir(group);
}
