//! Members that have no list of peers, on a wire between two networks, find each other by multicast
//! DNS; also where Avahi answers on the same host, and when one comes late.

use std::{process::Command, thread::sleep, time::Duration};

use tokio::time::Instant;

use crate::{
    member::{Member, Orders},
    namespace::{Namespace, checked, pair},
};

/// How late the late one comes. `STARLING_LATE_SECONDS=600` shows ten minutes.
const LATE_SECONDS: u64 = 20;
/// From its start until both show its first interval: names are probed for 0.75 s, peers greeted,
/// and clocks compared.
const MEET_MAX: Duration = Duration::from_secs(10);

fn orders(name: &str) -> Orders {
    Orders { listen: "0.0.0.0:9734".to_owned(), mdns: true, ..Orders::new(name) }
}

#[test]
fn two_find_each_other_on_a_wire() {
    let _machine = crate::shared_machine();
    let Some([here, there]) = pair() else { return };
    let a = Member::start(&orders("a"), &here.place());
    let b = Member::start(&orders("b"), &there.place());
    for one in [&a, &b] {
        let seen = one.sees_active(&["a", "b"]);
        assert_eq!(seen.notices, [""; 0]);
    }
    b.leave();
    a.sees_active(&["a"]);
}

/// Of two wires, one leads to the other member; the other is there, and is not asked.
#[test]
fn only_named_interfaces_are_used() {
    let _machine = crate::shared_machine();
    let Some([here, there]) = pair() else { return };
    here.run(
        "ip link add other type veth peer name end; ip address add 10.98.0.1/24 dev other; ip link set other up; ip link set end up",
    );
    let named = |name: &str, interface: &str| Orders {
        interfaces: vec![interface.to_owned()],
        ..orders(name)
    };
    let a = Member::start(&named("a", "wire"), &here.place());
    let b = Member::start(&named("b", "wire"), &there.place());
    for one in [&a, &b] {
        one.sees_active(&["a", "b"]);
    }
    b.leave();
    a.leave();
    let advertise = "10.99.0.1:9734".parse().unwrap();
    let deaf = Orders { advertise: Some(advertise), ..named("a", "other") };
    let a = Member::start(&deaf, &here.place());
    let b = Member::start(&named("b", "wire"), &there.place());
    for (one, name) in [(&a, "a"), (&b, "b")] {
        one.sees_active(&[name]);
    }
    // That they do not meet is what is tested.
    sleep(Duration::from_secs(5));
    for (one, name) in [(&a, "a"), (&b, "b")] {
        one.sees_active(&[name]);
    }
}

#[test]
fn one_that_comes_late_is_found() {
    let _machine = crate::shared_machine();
    let Some([here, there]) = pair() else { return };
    let a = Member::start(&orders("a"), &here.place());
    a.sees_active(&["a"]);
    let late =
        std::env::var("STARLING_LATE_SECONDS").map_or(LATE_SECONDS, |text| text.parse().unwrap());
    // That nothing happens for so long is what is tested.
    sleep(Duration::from_secs(late));
    let began = Instant::now();
    let b = Member::start(&orders("b"), &there.place());
    for one in [&a, &b] {
        one.sees_active(&["a", "b"]);
    }
    let took = began.elapsed();
    println!("{late} s late; both show both as members, with their intervals, after {took:?}");
    assert!(took < MEET_MAX, "{took:?}");
}

/// The daemon in the background, with a `/run` and a message bus of its own.
const AVAHI: &str = "mount -t tmpfs none /run
    mkdir -p /run/dbus /run/avahi-daemon
    dbus-daemon --system --fork --nopidfile
    avahi-daemon --no-drop-root --no-chroot --no-rlimits --daemonize";

#[test]
fn they_find_each_other_beside_avahi() {
    let has_avahi = Command::new("avahi-daemon").arg("--version").output();
    if !has_avahi.is_ok_and(|output| output.status.success()) {
        println!("skipped: no avahi-daemon");
        return;
    }
    let _machine = crate::shared_machine();
    let Some([here, there]) = pair() else { return };
    let _daemons = Daemons(&here);
    let a = Member::start(&orders("a"), &here.place_after(AVAHI));
    a.sees_active(&["a"]);
    let b = Member::start(&orders("b"), &there.place());
    for one in [&a, &b] {
        one.sees_active(&["a", "b"]);
    }
    // Avahi lives, and knows both, the one on its own host among them.
    let browse = "avahi-browse --parsable --resolve --terminate _starling._udp | grep ^=";
    let found = in_mounts_of(&a, browse);
    for address in ["10.99.0.1;9734", "10.99.0.2;9734"] {
        assert!(found.contains(address), "no {address} in\n{found}");
    }
    assert!(found.contains("\"cluster=test\""), "{found}");
}

fn in_mounts_of(member: &Member, script: &str) -> String {
    let pid = member.pid().to_string();
    let output = Command::new("nsenter")
        .args(["-t", &pid, "-m", "-n", "sh", "-ec", script])
        .output()
        .unwrap();
    checked(script, &output)
}

/// What was started in the background of a namespace ends with the test.
struct Daemons<'n>(&'n Namespace);

impl Drop for Daemons<'_> {
    fn drop(&mut self) {
        let pids = Command::new("ip").args(["netns", "pids", &self.0.name]).output().unwrap();
        for pid in String::from_utf8(pids.stdout).unwrap().split_whitespace() {
            // One may have ended by itself meanwhile.
            let _ = Command::new("kill").arg(pid).output();
        }
    }
}
