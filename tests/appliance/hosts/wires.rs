//! One bridge, with a wire to each host that can be pulled out.

use std::process::Command;

/// The bridge's own address: targets and the backend are there.
pub(crate) const HUB: &str = "10.98.0.254";

/// Hosts count from 1.
pub(crate) fn address(host: usize) -> String {
    format!("10.98.0.{host}")
}

/// The host's end of its wire, as it is called there.
pub(crate) fn interface(host: usize) -> String {
    format!("eth{host}")
}

pub(crate) fn lay() {
    here(&format!(
        "ip link add work type bridge; ip address add {HUB}/24 dev work; ip link set work up"
    ));
}

/// A new wire, as the old one went with the host that had it; not plugged in yet.
pub(crate) fn spool(host: usize) {
    let interface = interface(host);
    here(&format!(
        "ip link del work{host} 2>/dev/null || true
        ip link add work{host} type veth peer name {interface}
        ip link set work{host} master work"
    ));
}

/// Its interface has no carrier any more.
pub(crate) fn unplug(host: usize) {
    here(&format!("ip link set work{host} down"));
}

pub(crate) fn plug(host: usize) {
    here(&format!("ip link set work{host} up"));
}

fn here(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`{script}`: {}: {told}", output.status);
}
