//! What an operator does on any day: enable, scale out, upgrade, restart.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    super::{backend::Backend, knocks::Knocks, watch::Members, wires},
    Stage,
};
use crate::eventually;

/// Two intervals of the installed configuration, and then some.
const SCRAPED_MAX: Duration = Duration::from_secs(60);
/// How much of the system a service may reach, as systemd counts it: 0 to 10.
const EXPOSURE_MAX: f64 = 2.0;

impl Stage {
    /// All but the last host: that one comes later.
    pub(super) async fn enable(&mut self) {
        let world = &mut self.world;
        let all: Members = (1..=world.size.members).collect();
        join_all(all.iter().map(|&number| world.install(number))).await;
        world.configure(&all).await;
        self.tell("installed");
        let world = &mut self.world;
        let last = world.size.members;
        world.sharing = (1..last).collect();
        world.host(1).run("systemctl enable --now avahi-daemon").await;
        world.on(&world.sharing, "systemctl enable --now starling").await;
        world.judge.settled(&world.expected()).await;
        world.is_verified().await;
        self.is_known_to_avahi().await;
        self.is_shut_in().await;
        for &number in &self.world.sharing {
            self.scrapes_its_exporter(number).await;
        }
        self.tell("each of three members scrapes its own node_exporter");

        let (begun, since) = self.begin();
        self.world.host(last).run("systemctl enable --now starling").await;
        self.world.sharing.insert(last);
        self.planned("a host more: enable --now", begun).await;
        let name = format!("vm{last}");
        self.world.said(1, since, "a member is here", &[("MEMBER", &name)]).await;
        self.scrapes_its_exporter(last).await;
    }

    async fn is_known_to_avahi(&self) {
        let browse = "avahi-browse --parsable --resolve --terminate _starling._udp | grep ^=";
        let found = self.world.host(1).run(browse).await;
        for &number in &self.world.sharing {
            let line = format!("{};9734", wires::address(number));
            assert!(found.contains(&line), "Avahi does not know {line}:\n{found}");
        }
    }

    async fn is_shut_in(&self) {
        let ask = "systemd-analyze security --no-pager starling.service | tail -n 1";
        let told = self.world.host(1).run(ask).await;
        let level = told.split(": ").nth(1).and_then(|rest| rest.split(' ').next());
        let level: f64 = level.unwrap_or_default().parse().unwrap_or_else(|_| panic!("{told}"));
        assert!(level <= EXPOSURE_MAX, "{told}");
        println!("    {}", told.trim());
    }

    /// The job of the installed configuration, which is not divided.
    async fn scrapes_its_exporter(&self, number: usize) {
        let query = format!("up{{job=\"node\",instance=\"vm{number}\"}} == 1");
        eventually(&query, SCRAPED_MAX, || async {
            (Backend::asked(&query).await.len() == 1).then_some(())
        })
        .await;
    }

    /// One host after the other, each when all is well again.
    pub(super) async fn upgrade(&mut self) {
        let (begun, since) = self.begin();
        let package = self.world.packages.files[1].clone();
        for number in self.world.sharing.clone() {
            let host = self.world.host(number);
            host.run(&format!("apt-get install -y {package}")).await;
            host.run("starling verify --wait 60s").await;
            self.world.judge.settled(&self.world.expected()).await;
        }
        self.planned("a rolling upgrade", begun).await;
        for &number in &self.world.sharing {
            let ask = "dpkg-query --show --showformat='${Version}' starling";
            let version = self.world.host(number).run(ask).await;
            assert!(package.contains(&format!("_{version}_")), "vm{number} has {version}");
            self.world.said(number, since, "this member's share is handed over", &[]).await;
        }
        self.world.said(1, since, "a member has left", &[("MEMBER", "vm2")]).await;
    }

    /// Whoever asks meanwhile waits; nobody is refused.
    pub(super) async fn restart(&mut self) {
        let (begun, since) = self.begin();
        self.restart_asked(1).await;
        self.planned("systemctl restart", begun).await;
        self.world.said(2, since, "a member has left", &[("MEMBER", "vm1")]).await;
    }

    /// The same, with the port in systemd's hands.
    pub(super) async fn socket(&mut self) {
        let (begun, since) = self.begin();
        let host = self.world.host(2);
        host.run("systemctl stop starling && systemctl enable --now starling.socket").await;
        host.run("systemctl start starling").await;
        self.world.judge.settled(&self.world.expected()).await;
        self.restart_asked(2).await;
        self.planned("systemctl restart, with starling.socket", begun).await;
        self.world.said(1, since, "a member has left", &[("MEMBER", "vm2")]).await;
        // Stopping closes the port, so that the next question does not start it.
        let host = self.world.host(2);
        host.run("systemctl disable --now starling.socket").await;
        self.world.judge.settled(&self.world.expected()).await;
    }

    async fn restart_asked(&self, number: usize) {
        let host = self.world.host(number);
        let mut knocks = Knocks::begin(host);
        knocks.are_answered(1).await;
        host.run("systemctl restart starling").await;
        self.world.judge.settled(&self.world.expected()).await;
        knocks.are_answered(1).await;
        let (answered, longest) = knocks.end().await;
        println!("    {answered} questions answered, none refused; the longest took {longest} s");
    }
}
