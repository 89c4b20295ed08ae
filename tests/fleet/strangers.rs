//! Those who do not belong, on real sockets: a wrong secret, recordings played back, forgeries, and
//! a flood of garbage.

use std::{
    fs,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread::sleep,
    time::Duration,
};

use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};
use starling::fleet::{
    node_id::chance,
    seal::{Sealer, Secret, Session},
};
use tokio::time::Instant;

use crate::{
    member::{Member, Orders, Seen},
    wire::{Recorded, Wire},
};

const FLOOD: Duration = Duration::from_secs(10);
const DATAGRAMS_PER_SECOND: usize = 50_000;
/// What a process may grow by meanwhile: buffers and the allocator's whims, and not a byte a
/// datagram.
const GROWTH_KIB_MAX: u64 = 4096;
const REJECTED: &str = "starling_cluster_rejected_datagrams_total";
/// So long a member that believed something would have had time to show it.
const AFTERWARDS: Duration = Duration::from_secs(8);

fn start(n: usize, orders: &mut [Orders], wire: &Arc<Wire>) -> Member {
    let member = Member::start(&orders[n], &[]);
    wire.set(n, member.local());
    member
}

type Flock = (Arc<Wire>, Vec<Orders>, Vec<Member>);

/// Three members whose words all go over a wire.
fn three() -> Flock {
    let wire = Wire::between(3);
    let mut orders: Vec<Orders> = ["a", "b", "c"].map(Orders::new).to_vec();
    for (n, one) in orders.iter_mut().enumerate() {
        one.advertise = Some(wire.front(n));
        one.peers = (0..3).filter(|&other| other != n).map(|m| wire.front(m).to_string()).collect();
    }
    let members = (0..3).map(|n| start(n, &mut orders, &wire)).collect();
    (wire, orders, members)
}

fn calm(members: &[Member]) -> Vec<Seen> {
    for one in members {
        one.sees_active(&["a", "b", "c"]);
    }
    // The last rumours.
    sleep(Duration::from_secs(2));
    members.iter().map(|one| one.sees_active(&["a", "b", "c"])).collect()
}

/// The version of a roster rises with each change, so none is missed.
fn stay(members: &[Member], before: &[Seen]) {
    sleep(AFTERWARDS);
    for (one, before) in members.iter().zip(before) {
        let now = one.sees("goes on", |_| true);
        assert_eq!((now.version, &now.members), (before.version, &before.members));
    }
}

fn rejected(seen: &Seen, reason: &str) -> u64 {
    seen.metric(&format!("{REJECTED}{{reason=\"{reason}\"}}"))
}

#[test]
fn a_wrong_secret_stays_outside() {
    let _machine = crate::shared_machine();
    let (wire, _, members) = three();
    let before = calm(&members);
    let peer = members[1].local().to_string();
    let orders = Orders { secret: "other".to_owned(), peers: vec![peer], ..Orders::new("d") };
    let stranger = Member::start(&orders, &[]);
    let has_notice = |seen: &Seen| seen.notices.iter().any(|kind| kind == "wrong_secret");
    stranger.sees("says why it stays out", has_notice);
    stay(&members, &before);
    assert!(rejected(&members[1].sees("counts", |_| true), "unknown_key") > 0);
    // It would do the work of all a second time.
    assert!(stranger.sees("stays out", |_| true).members.is_empty());
    wire.end();
}

#[test]
fn recordings_and_forgeries_change_nothing() {
    let _machine = crate::shared_machine();
    let (wire, mut orders, mut members) = three();
    calm(&members);
    // On the tape: three joins, a goodbye, a death, and two returns of the same node.
    members.pop().unwrap().leave();
    members[0].sees_active(&["a", "b"]);
    members.push(start(2, &mut orders, &wire));
    calm(&members);
    drop(members.pop());
    members[0].sees_active(&["a", "b"]);
    members.push(start(2, &mut orders, &wire));
    let before = calm(&members);

    let tape = wire.tape();
    let mut rng = StdRng::seed_from_u64(1);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addresses: Vec<SocketAddr> = members.iter().map(Member::local).collect();
    for (n, recorded) in tape.iter().rev().chain(&tape).enumerate() {
        wire.play(recorded);
        stranger.send_to(&recorded.datagram, addresses[recorded.to]).unwrap();
        let mut forged = recorded.clone();
        let at = rng.random_range(0..forged.datagram.len());
        forged.datagram[at] ^= 1 << rng.random_range(0..8);
        wire.play(&forged);
        wire.play(&disguised(recorded));
        if n % 20 == 0 {
            // Members read as fast as they can; what does not fit the kernel's buffer proves nothing.
            sleep(Duration::from_millis(1));
        }
    }
    stay(&members, &before);
    for (one, before) in members.iter().zip(&before) {
        let after = one.sees("counts", |_| true);
        for reason in ["replayed", "unproven", "bad_seal", "unknown_key"] {
            let count = rejected(&after, reason) - rejected(before, reason);
            println!("rejected as {reason}: {count}");
            assert!(count > 0, "nothing counted as {reason}");
        }
    }
    wire.end();
}

/// The same words under another secret, with the outside of the right one.
fn disguised(recorded: &Recorded) -> Recorded {
    let mut sealer = Sealer::new(&[Secret::new("other")], "test", Session(chance())).unwrap();
    let mut datagram = sealer.seal("127.0.0.1:1".parse().unwrap(), &recorded.datagram[..50]);
    // Magic, version, key id and cluster tag can be read by everybody.
    datagram[..11].copy_from_slice(&recorded.datagram[..11]);
    Recorded { datagram, ..recorded.clone() }
}

/// All that a stranger can think of: noise, and the heads of real frames before it.
fn garbage(rng: &mut StdRng) -> Vec<Vec<u8>> {
    let mut own = Sealer::new(&[Secret::new("secret")], "test", Session(chance())).unwrap();
    let real = own.seal("127.0.0.1:1".parse().unwrap(), &[7; 400]);
    let one = |n: usize| {
        let mut datagram = vec![0; rng.random_range(0..1500)];
        rng.fill_bytes(&mut datagram);
        // As deep as the magic, the version, the key and the cluster, and the session.
        let depth = [0, 2, 3, 11, 27][n % 5].min(datagram.len());
        datagram[..depth].copy_from_slice(&real[..depth]);
        datagram
    };
    (0..1000).map(one).collect()
}

#[test]
fn a_flood_of_garbage_changes_nothing() {
    let _machine = crate::whole_machine();
    let a = Member::start(&Orders::new("a"), &[]);
    let peers = vec![a.local().to_string()];
    let with_peers = |name| Orders { peers: peers.clone(), ..Orders::new(name) };
    let (b, c) = (Member::start(&with_peers("b"), &[]), Member::start(&with_peers("c"), &[]));
    let members = [a, b, c];
    let before = calm(&members);

    let (address, socket) = (members[1].local(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let garbage = garbage(&mut StdRng::seed_from_u64(2));
    let (began, mut sent, mut memory_kib) = (Instant::now(), 0, Vec::new());
    while began.elapsed() < FLOOD {
        let due = began.elapsed().as_millis() as usize * DATAGRAMS_PER_SECOND / 1000;
        while sent < due {
            socket.send_to(&garbage[sent % garbage.len()], address).unwrap();
            sent += 1;
            if sent % (DATAGRAMS_PER_SECOND / 2) == 0 {
                memory_kib.push(members[1].latest().memory_kib);
            }
        }
        sleep(Duration::from_micros(500));
    }
    let rate = sent as u128 * 1000 / began.elapsed().as_millis();
    sleep(AFTERWARDS);
    // Where the kernel had no room, true words are among what it dropped: a member may have been
    // suspected and believed again, which are versions. But nobody has left or come.
    let dropped = dropped_by_kernel(address);
    for (one, before) in members.iter().zip(&before) {
        let now = one.sees("goes on", |_| true);
        assert_eq!(now.members, before.members);
        assert!(dropped > 0 || now.version == before.version, "{} changes", now.version);
    }
    let after = members[1].sees("counts", |_| true);
    let counted = after.metric(REJECTED) - before[1].metric(REJECTED);
    println!("{rate} datagrams/s; {counted} counted, {dropped} dropped by the kernel");
    println!(
        "memory in KiB: {} before, then {memory_kib:?}, and {}",
        before[1].memory_kib, after.memory_kib
    );
    assert!(rate * 10 > DATAGRAMS_PER_SECOND as u128 * 9, "the flood was only {rate}/s");
    assert!(counted + dropped >= sent as u64, "{sent} sent");
    let greatest = memory_kib.iter().chain([&after.memory_kib]).max().unwrap();
    assert!(greatest - before[1].memory_kib < GROWTH_KIB_MAX, "it grew");
}

/// Datagrams for which there was no room at a socket of this network.
fn dropped_by_kernel(address: SocketAddr) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap();
    let port = format!(":{:04X}", address.port());
    let mut rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1).is_some_and(|local| local.ends_with(&port)));
    row.unwrap().last().unwrap().parse().unwrap()
}
