//! Networks of a test's own: namespaces with a wire between them. It takes root; where they can't be
//! made, the test says so and passes.

use std::{
    process::{Command, Output, id},
    sync::atomic::{AtomicU32, Ordering},
};

/// Names must not meet those of a test that runs beside this one.
static MADE: AtomicU32 = AtomicU32::new(0);

/// One network namespace with its loopback up; gone with its guard.
pub(crate) struct Namespace {
    pub(crate) name: String,
}

impl Namespace {
    pub(crate) fn new() -> Option<Self> {
        let name = format!("starling-{}-{}", id(), MADE.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        if !made.is_ok_and(|output| output.status.success()) {
            println!("skipped: no right to make a network with `ip netns add`");
            return None;
        }
        let namespace = Self { name };
        namespace.run("ip link set lo up");
        Some(namespace)
    }

    /// What comes before a command that is to run in it.
    pub(crate) fn place(&self) -> Vec<String> {
        ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec()
    }

    /// In it, after `script`, and with mounts that nobody else sees.
    pub(crate) fn place_after(&self, script: &str) -> Vec<String> {
        let script = format!("set -e\n{script}\nexec \"$@\"");
        let shell = ["sh", "-c", &script, "sh"].map(str::to_owned);
        self.place().into_iter().chain(shell).collect()
    }

    pub(crate) fn run(&self, script: &str) -> String {
        let place = self.place();
        let output =
            Command::new(&place[0]).args(&place[1..]).args(["sh", "-ec", script]).output().unwrap();
        checked(script, &output)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // It fails only where it is gone already.
        let _ = Command::new("ip").args(["netns", "del", &self.name]).output();
    }
}

/// As containers make one, with one of them running. It comes before the wire.
const BRIDGE: &str = "ip link add docker0 type bridge \
    && ip link add container type veth peer name inside \
    && ip link set inside up && ip link set container up && ip link set container master docker0 \
    && ip address add 172.17.0.1/16 dev docker0 && ip link set docker0 up \
    && until grep -q up /sys/class/net/docker0/operstate; do sleep 0.1; done";

/// Two namespaces with a wire between them: 10.99.0.1 and 10.99.0.2.
pub(crate) fn pair() -> Option<[Namespace; 2]> {
    let (a, b) = (Namespace::new()?, Namespace::new()?);
    for namespace in [&a, &b] {
        // A kernel without bridges has none that could be taken for a way out.
        namespace.run(&format!("{BRIDGE} || true"));
    }
    a.run(&format!("ip link add wire type veth peer name wire netns {}", b.name));
    for (namespace, address) in [(&a, "10.99.0.1/24"), (&b, "10.99.0.2/24")] {
        namespace.run(&format!("ip address add {address} dev wire; ip link set wire up"));
    }
    Some([a, b])
}

pub(crate) fn checked(what: &str, output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{what}`: {}: {told}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}
