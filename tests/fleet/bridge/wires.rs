//! Two bridges between namespaces: `work`, where members talk, scrape and send, and whose links can
//! be cut or made lossy; and `watch`, never touched, by which the test looks at the members.

use std::{collections::BTreeSet, process::Command};

use crate::namespace::{Namespace, checked};

/// What is dropped between the ports of `work`. A drop in a bridge tells the sender nothing, as on
/// a real network; and nftables is in kernels that have no netem.
const RULES: &str = r#"
table bridge links {
    set mute { type ifname; }
    set deaf { type ifname; }
    set apart { type ifname; }
    chain loss {}
    chain forward {
        type filter hook forward priority 0;
        iifname @mute drop
        oifname @deaf drop
        iifname @apart oifname != @apart drop
        iifname != @apart oifname @apart drop
        iifname "work*" jump loss
    }
    chain input { type filter hook input priority 0; iifname "work*" jump loss; }
    chain output { type filter hook output priority 0; oifname "work*" jump loss; }
}
"#;

/// The hub's address on `work`: targets and the backend are there.
pub(crate) const HUB: &str = "10.98.0.254";

/// Members count from 1.
pub(crate) fn work_address(member: usize) -> String {
    format!("10.98.0.{member}")
}

pub(crate) fn watch_address(member: usize) -> String {
    format!("10.97.0.{member}")
}

pub(crate) struct Wires {
    places: Vec<Namespace>,
}

impl Wires {
    /// In the namespace that this process runs in, which has nothing else.
    pub(crate) fn lay(members: usize) -> Self {
        for (bridge, address) in [("work", HUB), ("watch", "10.97.0.254")] {
            here(&format!(
                "ip link add {bridge} type bridge; ip address add {address}/24 dev {bridge}
                ip link set {bridge} up"
            ));
        }
        here(&format!("nft -f - <<'END'\n{RULES}\nEND"));
        let places: Vec<_> = (1..=members).map(|_| Namespace::new().unwrap()).collect();
        for (place, n) in places.iter().zip(1..) {
            for (bridge, address) in [("work", work_address(n)), ("watch", watch_address(n))] {
                here(&format!(
                    "ip link add {bridge}{n} type veth peer name {bridge} netns {}
                    ip link set {bridge}{n} master {bridge} up",
                    place.name
                ));
                place.run(&format!(
                    "ip address add {address}/24 dev {bridge}; ip link set {bridge} up"
                ));
            }
        }
        Self { places }
    }

    pub(crate) fn place(&self, member: usize) -> Vec<String> {
        self.places[member - 1].place()
    }

    /// Takes the member's port down: it reaches nobody, nobody reaches it.
    pub(crate) fn unplug(member: usize) {
        here(&format!("ip link set work{member} down"));
    }

    pub(crate) fn plug(member: usize) {
        here(&format!("ip link set work{member} up"));
    }

    /// Other members do not hear it; it hears them, and reaches the targets and the backend.
    pub(crate) fn mute(member: usize) {
        here(&format!("nft add element bridge links mute '{{ work{member} }}'"));
    }

    /// It does not hear other members; they hear it.
    pub(crate) fn deafen(member: usize) {
        here(&format!("nft add element bridge links deaf '{{ work{member} }}'"));
    }

    /// These members and the others do not hear each other; all reach the targets.
    pub(crate) fn part(members: &BTreeSet<usize>) {
        let ports: Vec<_> = members.iter().map(|member| format!("work{member}")).collect();
        here(&format!("nft add element bridge links apart '{{ {} }}'", ports.join(", ")));
    }

    /// Each packet on `work` is lost with this chance, whoever sent it.
    pub(crate) fn lose(percent: u32) {
        here(&format!("nft add rule bridge links loss numgen random mod 100 '<' {percent} drop"));
    }

    /// Nothing is cut or lost any more, but for unplugged ports.
    pub(crate) fn heal() {
        here("for set in mute deaf apart; do nft flush set bridge links $set; done");
        here("nft flush chain bridge links loss");
    }
}

fn here(script: &str) {
    let output = Command::new("sh").args(["-ec", script]).output().unwrap();
    checked(script, &output);
}
