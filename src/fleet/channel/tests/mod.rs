//! Whole channels over real sockets on the loopback.

mod topics;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::{Instant, sleep, timeout},
};

use super::*;
use crate::{
    fleet::{
        Facts,
        channel::outgoing::{QUEUE_BYTES_MAX, QUEUE_MESSAGES_MAX},
        standing::Standing,
    },
    runtime::meters::Exposition,
};

const PATIENCE: Duration = Duration::from_secs(20);
const A: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);

struct Running {
    id: NodeId,
    address: SocketAddr,
    handle: Handle,
    inbox: Inbox,
    surveys: Inbox,
    status: watch::Sender<Arc<Status>>,
    registry: Registry,
    stop: Stop,
    task: JoinHandle<Option<()>>,
}

impl Running {
    async fn start(id: NodeId, listen: &str, cluster: &str, secrets: &[&str]) -> Self {
        let settings = ChannelSettings {
            cluster: cluster.to_owned(),
            me: id,
            listen: listen.parse().unwrap(),
            secrets: secrets_of(secrets),
        };
        let (status, seen) = watch::channel(Arc::new(status(&[])));
        let mut registry = Registry::default();
        let (handle, inboxes, part) = Channel::new(settings, seen, &mut registry).await.unwrap();
        let Inboxes { letters: inbox, surveys, pushes: _ } = inboxes;
        let address = part.local_address();
        let stop = Stop::new();
        let task = tasks::spawn("channel", part.run(stop.clone()));
        Self { id, address, handle, inbox, surveys, status, registry, stop, task }
    }

    async fn usual(id: NodeId) -> Self {
        Self::start(id, "127.0.0.1:0", "c", &["s"]).await
    }

    /// Knows these members from now on.
    async fn meets(&self, members: &[(NodeId, SocketAddr)]) {
        self.status.send_replace(Arc::new(status(members)));
        let mut queues = self.handle.queues.clone();
        let knows_all = |queues: &Ways| queues.keys().eq(members.iter().map(|(id, _)| id));
        timeout(PATIENCE, queues.wait_for(knows_all)).await.unwrap().unwrap();
    }

    async fn receives(&mut self) -> (NodeId, String) {
        let message = timeout(PATIENCE, self.inbox.receive()).await.unwrap().unwrap();
        (message.0, String::from_utf8(message.1.to_vec()).unwrap())
    }

    fn says(&self, to: NodeId, text: &str) -> bool {
        self.handle.send(to, Topic::Ownership, Bytes::from(text.to_owned()))
    }

    /// Says it again and again, as the rules above do, until `other` has heard it.
    async fn reaches(&self, other: &mut Self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            self.says(other.id, text);
            let received = timeout(Duration::from_millis(100), other.inbox.receive()).await;
            if received.is_ok_and(|message| message.unwrap() == (self.id, text.to_owned().into())) {
                while timeout(Duration::from_millis(50), other.inbox.receive()).await.is_ok() {}
                return;
            }
        }
        panic!("`{text}` does not arrive:\n{}", self.metrics());
    }

    fn metrics(&self) -> String {
        Exposition::Text.encode(&self.registry).unwrap()
    }

    /// Waits until a metric, without its common prefix, has this value.
    async fn shows(&self, metric: &str, value: &str) {
        let line = format!("starling_cluster_channel_{metric} {value}\n");
        let deadline = Instant::now() + PATIENCE;
        while !self.metrics().contains(&line) {
            assert!(Instant::now() < deadline, "no {line} in\n{}", self.metrics());
            // A counter can't be awaited.
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn secrets_of(secrets: &[&str]) -> Vec<Secret> {
    secrets.iter().map(|text| Secret::new(*text)).collect()
}

fn status(members: &[(NodeId, SocketAddr)]) -> Status {
    let facts = |&(id, address): &(NodeId, SocketAddr)| (id, Facts::at(address));
    Status {
        standing: Standing::Waiting,
        fleet_offset_ms: 0,
        notices: Vec::new(),
        facts: members.iter().map(facts).collect(),
        generation: 0,
    }
}

async fn pair() -> (Running, Running) {
    let (a, b) = (Running::usual(A).await, Running::usual(B).await);
    introduce(&a, &b).await;
    (a, b)
}

async fn introduce(a: &Running, b: &Running) {
    a.meets(&[(b.id, b.address)]).await;
    b.meets(&[(a.id, a.address)]).await;
}

#[tokio::test]
async fn messages_arrive_in_order_both_ways() {
    let (mut a, mut b) = pair().await;
    assert!(!a.says(C, "who?"));
    for n in 0..500 {
        assert!(a.says(B, &format!("a{n}")));
        assert!(b.says(A, &format!("b{n}")));
    }
    for n in 0..500 {
        assert_eq!(b.receives().await, (A, format!("a{n}")));
        assert_eq!(a.receives().await, (B, format!("b{n}")));
    }
    let long = "x".repeat(MESSAGE_BYTES_MAX);
    assert!(a.says(B, &long));
    assert!(b.receives().await == (A, long.clone()));
    assert!(!a.says(B, &(long + "x")));
    a.shows("messages_total{direction=\"out\"}", "501").await;
    b.shows("messages_total{direction=\"in\"}", "501").await;
    for one in [&a, &b] {
        one.shows("connections{direction=\"in\"}", "1").await;
        one.shows("connections{direction=\"out\"}", "1").await;
    }
    a.stop.raise();
    a.task.await.unwrap();
    b.shows("connections{direction=\"in\"}", "0").await;
}

/// As gossip's socket, it takes whichever family its address is of; bound to both, either.
#[expect(clippy::print_stdout, reason = "a test that is skipped says so")]
#[tokio::test]
async fn members_are_reached_over_ipv6() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: no IPv6 on this host");
        return;
    }
    let mut v6 = Running::start(A, "[::1]:0", "c", &["s"]).await;
    let mut both = Running::start(B, "[::]:0", "c", &["s"]).await;
    both.address.set_ip("::1".parse().unwrap());
    introduce(&v6, &both).await;
    v6.reaches(&mut both, "to both").await;
    both.reaches(&mut v6, "to one").await;
    let mut v4 = Running::usual(C).await;
    let mapped = SocketAddr::from(([127, 0, 0, 1], both.address.port()));
    v4.meets(&[(B, mapped)]).await;
    both.meets(&[(A, v6.address), (C, v4.address)]).await;
    v4.reaches(&mut both, "from IPv4").await;
    both.reaches(&mut v4, "to IPv4").await;
}

#[tokio::test]
async fn a_member_that_restarts_is_reached_again() {
    let (a, mut b) = pair().await;
    a.reaches(&mut b, "before").await;
    for life in 0..3 {
        b.stop.raise();
        b.task.await.unwrap();
        let address = b.address.to_string();
        b = Running::start(B, &address, "c", &["s"]).await;
        b.meets(&[(A, a.address)]).await;
        a.reaches(&mut b, &format!("life {life}")).await;
    }
}

#[tokio::test]
async fn a_member_that_moves_is_found() {
    let (a, mut b) = pair().await;
    a.reaches(&mut b, "before").await;
    let mut moved = Running::usual(B).await;
    moved.meets(&[(A, a.address)]).await;
    a.meets(&[(B, moved.address)]).await;
    a.reaches(&mut moved, "after").await;
}

#[tokio::test]
async fn who_dialed_twice_is_heard_on_the_later_connection() {
    let (a, mut b) = pair().await;
    a.reaches(&mut b, "first").await;
    // Another process with A's id and secret, as after a crash that B has not noticed.
    let again = Running::usual(A).await;
    again.meets(&[(B, b.address)]).await;
    again.reaches(&mut b, "second").await;
    b.shows("connections{direction=\"in\"}", "1").await;
}

#[tokio::test]
async fn strangers_are_not_heard() {
    let (a, mut b) = pair().await;
    let other_secret = Running::start(C, "127.0.0.1:0", "c", &["x", "y"]).await;
    let other_cluster = Running::start(C, "127.0.0.1:0", "d", &["s"]).await;
    let no_member = Running::usual(C).await;
    for one in [&other_secret, &other_cluster, &no_member] {
        one.meets(&[(B, b.address)]).await;
        assert!(one.says(B, "let me in"));
    }
    b.shows("rejected_total{reason=\"other_cluster\"}", "1").await;
    b.shows("rejected_total{reason=\"unknown_key\"}", "2").await;
    b.shows("rejected_total{reason=\"unknown_member\"}", "1").await;
    for (noise, reason) in [
        (
            &b"GET / HTTP/1.1\r\nHost: starling.example.com:9734\r\nAccept: */*\r\n\r\n"[..],
            "foreign",
        ),
        (&b"SC\x02and then something that is as long as a hello has to be by far"[..], "version"),
        (&b"SC"[..], "closed"),
    ] {
        let mut stream = TcpStream::connect(b.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer, b"", "a stranger learns nothing");
        b.shows(&format!("rejected_total{{reason=\"{reason}\"}}"), "1").await;
    }
    let silent = TcpStream::connect(b.address).await.unwrap();
    b.shows("rejected_total{reason=\"late\"}", "1").await;
    drop(silent);
    for one in [&other_secret, &other_cluster, &no_member] {
        one.shows("connections{direction=\"out\"}", "0").await;
        one.shows("dropped_messages_total", "1").await;
    }
    assert!(a.says(B, "it is me"));
    assert_eq!(b.receives().await, (A, "it is me".to_owned()));
}

#[tokio::test]
async fn what_was_recorded_is_of_no_use() {
    let (a, mut b) = pair().await;
    // Everything that A says on the way to B goes through here, and is kept.
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.meets(&[(B, relay.local_addr().unwrap())]).await;
    assert!(a.says(B, "once"));
    let (mut dialed, _) = relay.accept().await.unwrap();
    let mut onward = TcpStream::connect(b.address).await.unwrap();
    let mut recorded = Vec::new();
    let (mut there, mut back) = ([0; 4096], [0; 4096]);
    while b.inbox.0.is_empty() {
        tokio::select! {
            read = dialed.read(&mut there) => {
                let read = read.unwrap();
                recorded.extend_from_slice(&there[..read]);
                onward.write_all(&there[..read]).await.unwrap();
            }
            read = onward.read(&mut back) => {
                let read = read.unwrap();
                dialed.write_all(&back[..read]).await.unwrap();
            }
            () = sleep(Duration::from_millis(20)) => {}
        }
    }
    assert_eq!(b.receives().await, (A, "once".to_owned()));
    let mut replayed = TcpStream::connect(b.address).await.unwrap();
    replayed.write_all(&recorded).await.unwrap();
    b.shows("rejected_total{reason=\"bad_seal\"}", "1").await;
    assert!(b.inbox.0.is_empty());
}

#[tokio::test]
async fn who_answers_at_a_members_address_must_be_it() {
    let (a, c) = (Running::usual(A).await, Running::usual(C).await);
    a.meets(&[(B, c.address)]).await;
    c.meets(&[(A, a.address)]).await;
    assert!(a.says(B, "for B alone"));
    a.shows("rejected_total{reason=\"other_member\"}", "1").await;
    a.meets(&[(B, a.address)]).await;
    assert!(a.says(B, "for B alone"));
    a.shows("rejected_total{reason=\"own\"}", "1").await;
    assert!(c.inbox.0.is_empty());
}

#[tokio::test]
async fn secrets_change_while_members_talk() {
    let mut a = Running::start(A, "127.0.0.1:0", "c", &["old"]).await;
    let mut b = Running::start(B, "127.0.0.1:0", "c", &["old"]).await;
    introduce(&a, &b).await;
    let steps: [&[&str]; 3] = [&["old", "new"], &["new", "old"], &["new"]];
    for (n, secrets) in steps.into_iter().enumerate() {
        a.handle.set_secrets(secrets_of(secrets)).await;
        a.reaches(&mut b, &format!("a {n}")).await;
        b.reaches(&mut a, &format!("b {n}")).await;
        b.handle.set_secrets(secrets_of(secrets)).await;
        a.reaches(&mut b, &format!("a {n} and both")).await;
        b.reaches(&mut a, &format!("b {n} and both")).await;
    }
    a.handle.set_secrets(secrets_of(&["old"])).await;
    b.shows("connections{direction=\"in\"}", "0").await;
    a.says(B, "by a secret that was withdrawn");
    b.shows("rejected_total{reason=\"unknown_key\"}", "1").await;
    a.handle.set_secrets(Vec::new()).await;
    a.handle.set_secrets(secrets_of(&["new"])).await;
    a.reaches(&mut b, "again").await;
}

/// Says a megabyte to `to` until there is no room, and how many there was room for.
fn fill(from: &Running, to: NodeId) -> usize {
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    (0..1000).take_while(|_| from.handle.send(to, Topic::Ownership, megabyte.clone())).count()
}

/// As much as both ends of one connection may hold.
fn kernel_mebibytes() -> usize {
    let greatest = |file: &str| -> usize {
        let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{file}")).unwrap();
        text.split_whitespace().last().unwrap().parse().unwrap()
    };
    (greatest("tcp_rmem") + greatest("tcp_wmem")).div_ceil(1 << 20)
}

#[tokio::test]
async fn a_member_that_hangs_stops_nobody_else() {
    let a = Running::usual(A).await;
    let mut c = Running::usual(C).await;
    // The kernel accepts for it, as for a process that is stopped.
    let hangs = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.meets(&[(B, hangs.local_addr().unwrap()), (C, c.address)]).await;
    c.meets(&[(A, a.address)]).await;
    let room = QUEUE_BYTES_MAX >> 20;
    assert_eq!(fill(&a, B), room);
    assert!(a.says(C, "for C"));
    assert_eq!(c.receives().await, (A, "for C".to_owned()));
    // Given up, it leaves its room to what is said then.
    a.shows("dropped_messages_total", &room.to_string()).await;
    assert_eq!(fill(&a, B), room);
    assert!((0..QUEUE_MESSAGES_MAX * 2).take_while(|_| a.says(C, "")).count() > 0);
}

#[tokio::test]
async fn a_member_that_stops_reading_is_noticed() {
    let a = Running::usual(A).await;
    let stops = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.meets(&[(B, stops.local_addr().unwrap())]).await;
    assert!(a.says(B, "hello"));
    let (stream, _) = stops.accept().await.unwrap();
    let keys = Keyring::new(&secrets_of(&["s"]), "c").unwrap();
    let (from, mut connection) = admit(stream, &keys, B).await.unwrap();
    assert_eq!(from, A);
    connection::welcome(&mut connection).await.unwrap();
    a.shows("connections{direction=\"out\"}", "1").await;
    // What the kernel takes for it is all that it takes.
    let mut taken = 0;
    while let more @ 1.. = fill(&a, B) {
        taken += more;
        sleep(Duration::from_millis(200)).await;
    }
    let may = (QUEUE_BYTES_MAX >> 20) + kernel_mebibytes() + 1;
    assert!(taken <= may, "{taken} MiB, and not {may}, went to who does not read");
    a.shows("connections{direction=\"out\"}", "0").await;
}

#[tokio::test]
async fn a_member_that_is_silent_is_noticed() {
    let a = Running::usual(A).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    a.meets(&[(B, silent.local_addr().unwrap())]).await;
    assert!(a.says(B, "hello"));
    let (stream, _) = silent.accept().await.unwrap();
    let keys = Keyring::new(&secrets_of(&["s"]), "c").unwrap();
    let (_, mut connection) = admit(stream, &keys, B).await.unwrap();
    connection::welcome(&mut connection).await.unwrap();
    a.shows("connections{direction=\"out\"}", "1").await;
    a.shows("connections{direction=\"out\"}", "0").await;
}

#[tokio::test]
async fn who_does_not_receive_is_sent_no_more_than_there_is_room_for() {
    let (a, mut b) = pair().await;
    let mut taken = 0;
    let mut in_vain = 0;
    // Until nothing went for a while.
    while in_vain < 10 {
        let more = fill(&a, B);
        taken += more;
        in_vain = if more > 0 { 0 } else { in_vain + 1 };
        sleep(Duration::from_millis(50)).await;
    }
    let room = (ARRIVING_BYTES_MAX + QUEUE_BYTES_MAX) >> 20;
    // Beside the room on both sides, what the kernel holds, and one message under way.
    let may = room + kernel_mebibytes() + 1;
    assert!((room..=may).contains(&taken), "{taken} MiB were taken, with room for {room} to {may}");
    for _ in 0..taken {
        let message = timeout(PATIENCE, b.inbox.receive()).await.unwrap().unwrap();
        assert_eq!(message.1.len(), 1 << 20);
    }
    assert!(a.says(B, "there is room again"));
    assert_eq!(b.receives().await.1, "there is room again");
}

#[tokio::test]
async fn connections_held_open_keep_no_member_out() {
    let (a, mut b) = pair().await;
    let mut held = Vec::new();
    for _ in 0..3 * UNPROVEN_MAX {
        held.push(TcpStream::connect(b.address).await.unwrap());
    }
    let before = Instant::now();
    a.reaches(&mut b, "hello").await;
    assert!(before.elapsed() < Duration::from_secs(2), "{:?}", before.elapsed());
    assert!(b.metrics().contains("rejected_total{reason=\"too_many\"}"), "{}", b.metrics());
}
