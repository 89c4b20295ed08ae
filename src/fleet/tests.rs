//! Whole parts over real sockets on the loopback.

#![expect(clippy::print_stdout, reason = "a skipped test must say so")]

use std::process::Command as Process;

use tokio::{task::JoinHandle, time::timeout};

use super::*;
use crate::{
    fleet::notice::Notice,
    model::member::{Member, MemberState},
    runtime::log::{Format, lines},
};

const PATIENCE: Duration = Duration::from_secs(20);

struct Running {
    handle: Handle,
    stop: Stop,
    task: JoinHandle<Option<()>>,
}

impl Running {
    async fn start(settings: FleetSettings) -> Self {
        let (handle, part) = Fleet::new(settings, &mut Registry::default()).await.unwrap();
        let stop = Stop::new();
        let task = tasks::spawn("fleet", part.run(stop.clone()));
        Self { handle, stop, task }
    }

    async fn roster(&self, what: &str, is_so: impl Fn(&Roster) -> bool) -> Arc<Roster> {
        let mut roster = self.handle.roster();
        let waited = timeout(PATIENCE, roster.wait_for(|roster| is_so(roster))).await;
        let Ok(found) = waited else { panic!("{what}: {:#?}", self.handle.roster.borrow()) };
        found.unwrap().clone()
    }

    async fn notice(&self, kind: &str) {
        let mut status = self.handle.status();
        let is_so =
            |status: &Arc<Status>| status.notices.iter().any(|one| one.notice.kind() == kind);
        let waited = timeout(PATIENCE, status.wait_for(is_so)).await;
        assert!(waited.is_ok(), "no {kind}: {:#?}", self.handle.status.borrow());
    }
}

fn settings(name: &str, peers: &[SocketAddr]) -> FleetSettings {
    FleetSettings {
        cluster: "test".to_owned(),
        id: NodeId(u128::from_be_bytes(node_id::chance())),
        name: name.to_owned(),
        listen: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        api_address: format!("{name}:9733"),
        weight: 100,
        zone: String::new(),
        secrets: vec![Secret::new("secret")],
        peers: peers.iter().map(|&peer| Peer::Address(peer)).collect(),
        mdns: None,
        settle: Duration::from_millis(500),
        wait_for_size: 1,
        wait_timeout: Duration::from_secs(60),
    }
}

fn active(roster: &Roster) -> Vec<&str> {
    let is_active = |member: &&Member| {
        matches!(member.state, MemberState::Alive | MemberState::Suspect)
            && member.intervals.last().is_some_and(|last| last.until_ms.is_none())
    };
    let mut names: Vec<&str> =
        roster.members.values().filter(is_active).map(|member| member.name.as_str()).collect();
    names.sort_unstable();
    names
}

#[tokio::test]
async fn three_meet_one_leaves_and_one_dies() {
    let a = Running::start(settings("a", &[])).await;
    a.handle.order(Order::Ready).await;
    let seed = [a.handle.local_address()];
    let b = Running::start(settings("b", &seed)).await;
    let c = Running::start(settings("c", &seed)).await;
    for one in [&b, &c] {
        one.handle.order(Order::Ready).await;
    }
    for one in [&a, &b, &c] {
        one.roster("three meet", |roster| active(roster) == ["a", "b", "c"]).await;
    }

    b.stop.raise();
    b.task.await.unwrap();
    for one in [&a, &c] {
        let roster = one.roster("b leaves", |roster| active(roster) == ["a", "c"]).await;
        let b = roster.members.values().find(|member| member.name == "b").unwrap();
        assert_eq!(b.state, MemberState::Left);
    }

    c.task.abort();
    let roster = a.roster("c dies", |roster| active(roster) == ["a"]).await;
    let c = roster.members.values().find(|member| member.name == "c").unwrap();
    assert_eq!(c.state, MemberState::Dead);
    assert!(c.intervals[0].until_ms.is_some());
}

#[tokio::test]
async fn a_name_that_is_taken_keeps_the_newcomer_out_until_it_is_free() {
    let a = Running::start(settings("twin", &[])).await;
    a.handle.order(Order::Ready).await;
    a.roster("a is here", |roster| active(roster) == ["twin"]).await;
    let b = Running::start(settings("twin", &[a.handle.local_address()])).await;
    b.handle.order(Order::Ready).await;
    b.notice("name_clash").await;
    assert_eq!(a.handle.roster.borrow().members.len(), 1);

    let own = |roster: &Roster| active(roster) == ["twin"] && roster.members.len() == 2;
    a.stop.raise();
    b.roster("b takes the name", own).await;
}

#[tokio::test]
async fn strangers_stay_outside_and_both_sides_say_why() {
    let a = Running::start(settings("a", &[])).await;
    a.handle.order(Order::Ready).await;
    let seed = [a.handle.local_address()];
    let other_secret = vec![Secret::new("other")];
    let b = Running::start(FleetSettings { secrets: other_secret, ..settings("b", &seed) }).await;
    let c =
        Running::start(FleetSettings { cluster: "other".to_owned(), ..settings("c", &seed) }).await;
    b.notice("wrong_secret").await;
    b.notice("no_peer_answers").await;
    c.notice("wrong_cluster").await;
    assert_eq!(a.handle.roster.borrow().members.len(), 1);

    b.handle.set_secrets(vec![Secret::new("secret")]).await;
    b.handle.order(Order::Ready).await;
    a.roster("b comes with the right secret", |roster| active(roster) == ["a", "b"]).await;
}

#[test]
fn each_notice_is_told_once_when_it_comes_and_when_it_goes() {
    let status = |notices| Status {
        standing: Standing::Waiting,
        fleet_offset_ms: 0,
        notices,
        facts: BTreeMap::new(),
        generation: 0,
    };
    let calm = status(Vec::new());
    for notice in Notice::examples() {
        let (kind, sentence) = (notice.kind(), notice.to_string());
        let loud = status(vec![notice::Raised { notice, since_ms: 0 }]);
        let told = lines(Format::Json, || {
            tell_status(&calm, &loud);
            tell_status(&loud, &loud);
            tell_status(&loud, &calm);
        });
        let told: Vec<serde_json::Value> =
            told.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(told.len(), 2, "{told:?}");
        for (line, level) in told.iter().zip(["warn", "info"]) {
            let found = (&line["level"], &line["kind"], &line["problem"]);
            let expected = (&level.into(), &kind.into(), &sentence.as_str().into());
            assert_eq!(found, expected, "{line}");
        }
    }
}

#[tokio::test]
async fn a_cluster_without_a_secret_does_not_start() {
    let settings = FleetSettings { secrets: Vec::new(), ..settings("a", &[]) };
    let outcome = Fleet::new(settings, &mut Registry::default()).await;
    assert!(outcome.is_err_and(|error| error.contains("needs a secret")));
}

const MDNS_CHILD: &str = "STARLING_MDNS_CHILD";

/// Multicast needs a network of its own, which takes root: this test runs itself again in one.
#[test]
fn members_find_each_other_by_mdns() {
    if std::env::var(MDNS_CHILD).is_ok() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(find_by_mdns());
        return;
    }
    let script = "ip link set lo up && exec \"$0\" --exact \"$1\"";
    let this = std::env::current_exe().unwrap();
    let test = "fleet::tests::members_find_each_other_by_mdns";
    let may = Process::new("unshare").args(["-n", "ip", "link", "set", "lo", "up"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        println!("skipped: no right to make a network with `unshare -n` and `ip`");
        return;
    }
    let output = Process::new("unshare")
        .args(["-n", "sh", "-c", script])
        .arg(this)
        .arg(test)
        .env(MDNS_CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

async fn find_by_mdns() {
    let mdns = |name| FleetSettings {
        mdns: Some(Interfaces::Loopback { port: 5399 }),
        ..settings(name, &[])
    };
    let a = Running::start(mdns("a")).await;
    a.handle.order(Order::Ready).await;
    let other = FleetSettings { cluster: "other".to_owned(), ..mdns("x") };
    let other = Running::start(other).await;
    other.handle.order(Order::Ready).await;
    a.roster("a is alone", |roster| active(roster) == ["a"]).await;
    let b = Running::start(mdns("b")).await;
    b.handle.order(Order::Ready).await;
    for one in [&a, &b] {
        one.roster("they meet", |roster| active(roster) == ["a", "b"]).await;
    }
    other.roster("the other cluster is alone", |roster| active(roster) == ["x"]).await;
    for one in [a, b, other] {
        one.stop.raise();
        one.task.await.unwrap();
    }
}
