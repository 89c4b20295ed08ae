//! One host: a Debian system that boots in a container, over a root that all share.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

use crate::{eventually, process::Process};

use super::{eyes::Eyes, sandbox, wires};

const BOOT_MAX: Duration = Duration::from_secs(60);
/// The longest that an operator waits for: a package's installation on a busy machine.
const COMMAND_MAX: Duration = Duration::from_secs(120);
/// Of the journal of each host, where a test fails.
const LINES: u32 = 60;
/// Where a host finds the packages.
pub(crate) const PACKAGES: &str = "/srv/packages";

pub(crate) struct Host {
    pub(crate) number: usize,
    pub(crate) name: String,
    folder: PathBuf,
    groups: Vec<PathBuf>,
    packages: PathBuf,
    machine: Option<Machine>,
}

/// It is on.
struct Machine {
    process: Process,
    /// Its first process.
    leader: Pid,
    eyes: Eyes,
}

impl Host {
    /// Not booted yet. `folder` is the run's, `base` the root below.
    pub(crate) fn new(number: usize, folder: &Path, base: &Path, packages: &Path) -> Self {
        let name = format!("vm{number}");
        let host = Self {
            number,
            groups: sandbox::groups(folder, &name),
            folder: folder.join(&name),
            name,
            packages: packages.to_owned(),
            machine: None,
        };
        host.lay_over(base);
        let (interface, address) = (wires::interface(number), wires::address(number));
        let files = [
            ("etc/hostname", format!("{}\n", host.name)),
            ("etc/hosts", format!("127.0.0.1 localhost\n127.0.1.1 {}\n", host.name)),
            ("etc/resolv.conf", format!("nameserver {}\n", wires::HUB)),
            (
                "etc/systemd/network/10-wired.network",
                format!(
                    "[Match]\nName={interface}\n[Network]\nAddress={address}/24\nGateway={}\n",
                    wires::HUB
                ),
            ),
        ];
        for (path, text) in files {
            fs::write(host.root().join(path), text).unwrap();
        }
        host
    }

    /// What the host writes is its own. Where there is no overlay, as over an overlay, it is a copy.
    fn lay_over(&self, base: &Path) {
        let (upper, work) = (self.folder.join("upper"), self.folder.join("work"));
        for folder in [&upper, &work, &self.root()] {
            fs::create_dir_all(folder).unwrap();
        }
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            base.display(),
            upper.display(),
            work.display()
        );
        let mut mount = Command::new("mount");
        mount.args(["-t", "overlay", "overlay", "-o", &layers]).arg(self.root());
        if !mount.output().unwrap().status.success() {
            let mut copy = Command::new("cp");
            copy.args(["-a", "--reflink=auto"]).arg(base.join(".")).arg(self.root());
            assert!(copy.status().unwrap().success(), "{copy:?}");
        }
    }

    /// As it is seen from outside.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// Until its services are started.
    pub(crate) async fn boot(&mut self, is_plugged: bool, eyes: impl FnOnce(Pid) -> Eyes) {
        assert!(self.machine.is_none(), "{} is on", self.name);
        wires::spool(self.number);
        if is_plugged {
            wires::plug(self.number);
        }
        let pid_file = self.folder.join("pid");
        // That of the last time.
        let _ = fs::remove_file(&pid_file);
        let process = Process::start(&mut self.container(), &self.folder.join("console.log"));
        // The first child makes the container, and is followed by the one that runs it.
        let leader = eventually(&format!("{} had booted", self.name), BOOT_MAX, || async {
            let pid = fs::read_to_string(&pid_file).ok()?;
            let children = format!("/proc/{0}/task/{0}/children", pid.trim());
            let children = fs::read_to_string(children).ok()?;
            let leader = Pid::from_raw(children.split_whitespace().next()?.parse().ok()?)?;
            let ask = "systemctl is-active --quiet multi-user.target";
            let answer = enter(leader, ask).output().await.unwrap();
            answer.status.success().then_some(leader)
        })
        .await;
        self.machine = Some(Machine { process, leader, eyes: eyes(leader) });
    }

    fn container(&self) -> Command {
        let folder = self.folder.display();
        let enter = |group: &PathBuf| {
            let group = group.display();
            format!("mkdir -p {group}; echo $$ >{group}/cgroup.procs\n")
        };
        let enters: String = self.groups.iter().map(enter).collect();
        let script = format!("echo $$ >{folder}/pid\n{enters}exec systemd-nspawn \"$@\"");
        let mut command = Command::new("sh");
        command
            .args(["-ec", &script, "sh", "--quiet", "--boot", "--console=pipe"])
            // Nobody outside is to know of it.
            .args(["--keep-unit", "--register=no", "--link-journal=no", "--timezone=off"])
            .args(["--resolv-conf=off", &format!("--machine={}", self.name)])
            .arg(format!("--network-interface={}", wires::interface(self.number)))
            .arg(format!("--bind-ro={}:{PACKAGES}", self.packages.display()))
            .arg(format!("--directory={}", self.root().display()));
        command
    }

    /// The power is cut: whatever it did is not done any more, and nobody is told.
    pub(crate) async fn power_off(&mut self) {
        let Machine { mut process, leader, eyes } = self.machine.take().expect("it is on");
        wires::unplug(self.number);
        kill_process(leader, Signal::KILL).unwrap();
        process.ended().await;
        drop(eyes);
    }

    /// What came of a script in a shell of root's, there.
    pub(crate) async fn output(&self, script: &str) -> Output {
        let leader = self.machine.as_ref().expect("it is on").leader;
        let output = timeout(COMMAND_MAX, enter(leader, script).output()).await;
        output.unwrap_or_else(|_| panic!("{}: `{script}` took too long", self.name)).unwrap()
    }

    /// What a script said that succeeded.
    pub(crate) async fn run(&self, script: &str) -> String {
        let output = self.output(script).await;
        let (said, told) = (lossy(&output.stdout), lossy(&output.stderr));
        assert!(
            output.status.success(),
            "{}: `{script}`: {}\n{said}{told}",
            self.name,
            output.status
        );
        said
    }

    pub(crate) async fn succeeds(&self, script: &str) -> bool {
        self.output(script).await.status.success()
    }

    /// Runs `words` in its network, with what the outside has else.
    pub(crate) fn in_network(&self, words: &[&str]) -> Command {
        let leader = self.machine.as_ref().expect("it is on").leader;
        let mut command = Command::new("nsenter");
        command.args(["-t", &leader.as_raw_nonzero().to_string(), "-n"]).args(words);
        command
    }
}

/// What it said last, where a test failed.
impl Drop for Host {
    #[expect(clippy::print_stderr, reason = "a failed test shows the log")]
    fn drop(&mut self) {
        if let Some(machine) = self.machine.as_ref().filter(|_| std::thread::panicking()) {
            let ask = format!(
                "journalctl --unit=starling --lines={LINES} --no-hostname; starling status"
            );
            let mut command = enter(machine.leader, &ask).into_std();
            let said = command.output().map(|output| lossy(&output.stdout));
            eprintln!("--- {} says:\n{}", self.name, said.unwrap_or_default());
        }
    }
}

fn enter(leader: Pid, script: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new("nsenter");
    command
        .args(["-t", &leader.as_raw_nonzero().to_string(), "--all", "env", "-i", "HOME=/root"])
        .args(["LANG=C.UTF-8", "DEBIAN_FRONTEND=noninteractive"])
        .arg("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["sh", "-ec", script])
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
