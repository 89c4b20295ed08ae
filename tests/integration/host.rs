//! A host without a machine: namespaces of its own, in which `/etc`, `/usr` and `/var` can be written
//! and the disk below stays as it is. Enough to install and to set up; what boots is tested elsewhere.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

/// Each line of it is a command that systemctl was given.
const SYSTEMCTL_LOG: &str = "/var/log/systemctl";

/// Why there can be no hosts here; printed.
#[expect(clippy::print_stderr, reason = "who reads the output must see what was not tested")]
pub(crate) fn skipped(what: &str) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--uts", "--net", "true"]).stdin(Stdio::null());
    let output = unshare.output().unwrap();
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        eprintln!("skipped: {what}: needs root and namespaces: {}", reason.trim());
    }
    !output.status.success()
}

/// Hosts that reach each other by `ssh root@NAME`, and end with this.
pub(crate) struct Hosts {
    folder: tempfile::TempDir,
    hosts: Vec<Host>,
}

struct Host {
    name: String,
    /// Keeps the namespaces; ends when its standard input does.
    keeper: Child,
}

impl Hosts {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), hosts: Vec::new() }
    }

    /// As the machine is that the test runs on, with a name of its own and without its users' Starling.
    pub(crate) fn add(&mut self, name: &str) {
        let base = self.folder.path().join(name);
        fs::create_dir_all(&base).unwrap();
        let script = format!(
            "set -e
             mount -t tmpfs none {base}
             for folder in etc usr var root; do
               mkdir -p {base}/up/$folder {base}/work/$folder
               mount -t overlay none -o lowerdir=/$folder,upperdir={base}/up/$folder,workdir={base}/work/$folder /$folder
             done
             rm -rf /etc/starling
             hostname {name}
             ip link set lo up
             echo ready
             exec cat",
            base = base.display(),
        );
        let mut keeper = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "--uts", "--net", "sh", "-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        BufReader::new(keeper.stdout.as_mut().unwrap()).read_line(&mut said).unwrap();
        assert_eq!(said, "ready\n", "no host `{name}`");
        fs::write(self.folder.path().join(format!("{name}.pid")), keeper.id().to_string()).unwrap();
        self.hosts.push(Host { name: name.to_owned(), keeper });
        self.tool(name, "systemctl", &format!("echo \"$*\" >> {SYSTEMCTL_LOG}"));
    }

    /// A host as the package leaves it: the binary, the user, the folders, the default files.
    pub(crate) fn add_installed(&mut self, name: &str) {
        self.add(name);
        let home = env!("CARGO_MANIFEST_DIR");
        let script = format!(
            "touch /usr/bin/starling
             mount --bind {} /usr/bin/starling
             install -D -m 644 {home}/systemd/starling.sysusers /usr/lib/sysusers.d/starling.conf
             install -D -m 644 {home}/systemd/starling.tmpfiles /usr/lib/tmpfiles.d/starling.conf
             systemd-sysusers starling.conf
             systemd-tmpfiles --create starling.conf
             install -m 640 -g starling {home}/packaging/starling.yml /etc/starling/starling.yml",
            env!("CARGO_BIN_EXE_starling"),
        );
        self.succeed(name, &script);
    }

    /// From now on `systemctl` on that host does what it is told, with the one service there is.
    pub(crate) fn serve(&self, host: &str) {
        let pid = self.agent(host);
        let script = format!(
            r#"echo "$*" >> {SYSTEMCTL_LOG}
running() {{ kill -0 "$(cat {pid} 2>/dev/null || echo none)" 2>/dev/null; }}
start() {{
  # Not runuser, which stays in between: its end would leave the agent behind.
  setpriv --reuid=starling --regid=starling --init-groups starling run > /var/log/starling.log 2>&1 < /dev/null &
  echo $! > {pid}
  # As for a unit that says when it is ready.
  for try in $(seq 600); do
    curl -sf -o /dev/null localhost:9733/-/ready && return
    running
    sleep 0.1
  done
  exit 1
}}
stop() {{
  kill "$(cat {pid})"
  while running; do sleep 0.1; done
}}
case "$1" in
  show)
    echo "Id=starling.service"
    echo "LoadState=loaded"
    if running; then echo "ActiveState=active"; else echo "ActiveState=inactive"; fi
    ;;
  is-enabled) test -e /etc/starling.enabled && echo enabled || {{ echo disabled; exit 1; }} ;;
  is-active) running ;;
  enable)
    touch /etc/starling.enabled
    if [ "$2" = --now ] && ! running; then start; fi
    ;;
  start) running || start ;;
  restart) if running; then stop; fi; start ;;
esac"#,
            pid = pid.display(),
        );
        self.tool(host, "systemctl", &script);
    }

    fn agent(&self, host: &str) -> PathBuf {
        self.folder.path().join(format!("{host}.agent"))
    }

    /// A program of that name, found before any other.
    pub(crate) fn tool(&self, host: &str, name: &str, script: &str) {
        let path = self.folder.path().join("tools").join(host).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, format!("#!/bin/sh\nset -e\n{script}\n")).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub(crate) fn run(&self, host: &str, script: &str) -> Output {
        let mut child = self.command(host, &["bash", "-euo", "pipefail", "-s"]).spawn().unwrap();
        // A broken pipe is a script that has ended, and its outcome is what is looked at.
        let _ = child.stdin.take().unwrap().write_all(script.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// What it prints.
    pub(crate) fn succeed(&self, host: &str, script: &str) -> String {
        let output = self.run(host, script);
        let out = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{host}: {script}\n{out}{error}");
        out
    }

    pub(crate) fn systemctl(&self, host: &str) -> Vec<String> {
        let log = self.succeed(host, &format!("cat {SYSTEMCTL_LOG} 2>/dev/null || true"));
        log.lines().map(str::to_owned).collect()
    }

    fn command(&self, host: &str, words: &[&str]) -> Command {
        self.write_ssh();
        let folder = self.folder.path();
        let keeper = self.hosts.iter().find(|found| found.name == host).unwrap().keeper.id();
        let path = std::env::var("PATH").unwrap();
        let tools = folder.join("tools");
        let mut command = Command::new("nsenter");
        command
            .args(["--mount", "--uts", "--net", "--target"])
            .arg(keeper.to_string())
            .args([&format!("--wdns={}", env!("CARGO_MANIFEST_DIR")), "--"])
            .args(words)
            .env("PATH", format!("{}:{}:{path}", tools.join(host).display(), tools.display()))
            .env_remove("STARLING_URL")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// `ssh` that goes from one host into another by its namespaces, and `sudo` for who is root.
    fn write_ssh(&self) {
        let folder = self.folder.path();
        let tools = folder.join("tools");
        if tools.join("ssh").exists() {
            return;
        }
        let mut ssh = String::from("#!/bin/bash\nset -eu\nhost=${1#root@}\nshift\n");
        let (base, path) = (folder.display(), std::env::var("PATH").unwrap());
        write!(
            ssh,
            "export PATH={base}/tools/$host:{base}/tools:{path}\nexec nsenter --mount --uts --net --target \"$(cat {base}/$host.pid)\" --wdns=/root -- bash -c \"$*\"\n",
        )
        .unwrap();
        for (name, script) in [("ssh", ssh.as_str()), ("sudo", "#!/bin/sh\nexec \"$@\"\n")] {
            let tool: PathBuf = tools.join(name);
            fs::create_dir_all(&tools).unwrap();
            fs::write(&tool, script).unwrap();
            fs::set_permissions(&tool, PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        let agents: Vec<PathBuf> = self.hosts.iter().map(|host| self.agent(&host.name)).collect();
        for pid in agents.iter().filter_map(|file| fs::read_to_string(file).ok()) {
            // It may have ended already.
            let _ = Command::new("kill").args(["-KILL", pid.trim()]).status();
        }
        for host in &mut self.hosts {
            drop(host.keeper.stdin.take());
            let _ = host.keeper.wait();
        }
    }
}

/// The blocks of `document` that are marked as `mark`, in their order.
pub(crate) fn blocks(document: &str, mark: &str) -> Vec<String> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let opening = format!("\n```{mark}\n");
    let blocks = text.split(&opening).skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap().to_owned()).collect()
}
