//! What an operator does on any day: enable, scale out, upgrade, restart.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    super::{backend::Backend, knocks::Knocks, wires},
    Stage,
};
use crate::eventually;

const SECRET: &str = "the-secret-of-this-fleet";
const SCRAPED_MAX: Duration = Duration::from_secs(60);

impl Stage {
    /// All but the last host: that one comes later.
    pub(super) async fn enable(&mut self) {
        let world = &mut self.world;
        let all: Vec<usize> = (1..=world.size.members).collect();
        join_all(all.iter().map(|&number| world.install(number))).await;
        for &number in &all {
            assert!(!world.host(number).succeeds("systemctl is-enabled starling").await);
            world.configure(number, SECRET).await;
        }
        self.tell("installed");
        let world = &mut self.world;
        world.sharing = all[..all.len() - 1].iter().copied().collect();
        let sharing = world.sharing.clone();
        world.host(1).run("systemctl enable --now avahi-daemon").await;
        world.on(&sharing, "systemctl enable --now starling").await;
        world.judge.settled(&world.expected()).await;
        world.is_verified().await;
        let browse = "avahi-browse --parsable --resolve --terminate _starling._udp | grep ^=";
        let found = world.host(1).run(browse).await;
        for &number in &sharing {
            let line = format!("{};9734", wires::address(number));
            assert!(found.contains(&line), "Avahi does not know {line}:\n{found}");
            self.scrapes_its_exporter(number).await;
        }
        self.tell("each of three members scrapes its own node_exporter");
    }

    /// The job of the installed configuration, which is not divided.
    async fn scrapes_its_exporter(&self, number: usize) {
        let query = format!("up{{job=\"node\",instance=\"vm{number}\"}} == 1");
        eventually(&query, SCRAPED_MAX, || async {
            (Backend::asked(&query).await.len() == 1).then_some(())
        })
        .await;
    }

    pub(super) async fn scale_out(&mut self) {
        let last = self.world.size.members;
        let (begun, since) = self.begin();
        self.world.host(last).run("systemctl enable --now starling").await;
        self.world.sharing.insert(last);
        self.planned("a host more", begun).await;
        let name = format!("vm{last}");
        self.world.said(1, since, "a member is here", &[("MEMBER", &name)]).await;
        self.scrapes_its_exporter(last).await;
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
            let version =
                self.world.host(number).run("dpkg-query -W -f '${Version}' starling").await;
            assert!(package.contains(&version), "vm{number} has {version}, of {package}");
            self.world.said(number, since, "this member's share is handed over", &[]).await;
        }
        self.world.said(1, since, "a member has left", &[("MEMBER", "vm2")]).await;
    }

    /// Whoever asks meanwhile waits; nobody is refused.
    pub(super) async fn restart(&mut self) {
        let (begun, since) = self.begin();
        let mut knocks = Knocks::begin(self.world.host(1));
        knocks.are_answered(1).await;
        self.world.host(1).run("systemctl restart starling").await;
        self.world.judge.settled(&self.world.expected()).await;
        knocks.are_answered(1).await;
        let answered = knocks.end().await;
        self.tell(&format!("restarted, while {answered} requests were answered and none refused"));
        self.planned("systemctl restart", begun).await;
        self.world.said(2, since, "a member has left", &[("MEMBER", "vm1")]).await;
    }

    /// The same, with the port in systemd's hands.
    pub(super) async fn socket(&mut self) {
        let (begun, since) = self.begin();
        let host = self.world.host(2);
        host.run("systemctl stop starling; systemctl enable --now starling.socket").await;
        host.run("systemctl start starling").await;
        self.world.judge.settled(&self.world.expected()).await;
        let host = self.world.host(2);
        let mut knocks = Knocks::begin(host);
        knocks.are_answered(1).await;
        host.run("systemctl restart starling").await;
        self.world.judge.settled(&self.world.expected()).await;
        knocks.are_answered(1).await;
        let answered = knocks.end().await;
        self.tell(&format!("restarted, while {answered} requests were answered and none refused"));
        self.planned("systemctl restart, with starling.socket", begun).await;
        self.world.said(1, since, "a member has left", &[("MEMBER", "vm2")]).await;
    }
}
