//! What befalls hosts: crashes, hangs, power cuts, pulled cables.

use super::{Bound, Members, PLANNED, Stage};

/// Of those who go on: one interval and what it takes to notice. What the victim had in flight may
/// have been stored, and comes again when it is back.
const CRASH: Bound = Bound { agreed_ms: 10_000, late_ms: 5_000, repeated_max: 200, ..PLANNED };
/// Both sides scrape what they reach, and one that comes back is believed until it has been told.
const SPLIT: Bound = Bound { splits: true, late_ms: 6_000, ..CRASH };

impl Stage {
    fn after_a_crash(&self) -> std::time::Duration {
        self.world.size.interval + self.round()
    }

    /// systemd starts it anew, sooner than others would have missed it.
    pub(super) async fn kill(&mut self) {
        let (begun, since) = self.begin();
        self.world.host(3).run("systemctl kill -s KILL starling").await;
        let words = "Main process exited, code=killed, status=9/KILL";
        self.world.said(3, since, words, &[]).await;
        self.world.said(3, since, "starling runs", &[]).await;
        let after = self.after_a_crash();
        self.world.over("systemctl kill -s KILL", begun, CRASH, &[3].into(), after).await;
        self.world.is_verified().await;
    }

    /// Others take over soon; systemd ends it when its time is up, and starts it anew.
    pub(super) async fn hang(&mut self) {
        let victim = Members::from([2]);
        let (begun, since) = self.begin();
        self.world.host(2).run("systemctl kill -s STOP starling").await;
        self.world.sharing.remove(&2);
        let after = self.after_a_crash();
        self.world.over("SIGSTOP", begun, CRASH, &victim, after).await;
        self.world.said(1, since, "a member is dead", &[("MEMBER", "vm2")]).await;
        self.world.is_verified().await;
        self.world.said(2, since, "Watchdog timeout", &[]).await;
        let (begun, since) = self.begin();
        self.world.sharing.insert(2);
        self.world.said(2, since, "starling runs", &[]).await;
        let after = self.round();
        self.world.over("its restart by the watchdog", begun, CRASH, &victim, after).await;
        self.world.is_verified().await;
    }

    pub(super) async fn power(&mut self) {
        let victim = Members::from([3]);
        let (begun, since) = self.begin();
        self.world.power_off(&victim).await;
        self.world.sharing.remove(&3);
        let after = self.after_a_crash();
        self.world.over("power cut", begun, CRASH, &victim, after).await;
        self.world.said(1, since, "a member is dead", &[("MEMBER", "vm3")]).await;
        self.world.is_verified().await;
        let (begun, since) = self.begin();
        self.world.boot(&victim, true).await;
        self.world.sharing.insert(3);
        let after = self.round();
        self.world.over("power is back", begun, CRASH, &victim, after).await;
        self.world.said(1, since, "a member is here", &[("MEMBER", "vm3")]).await;
        self.world.is_verified().await;
    }

    pub(super) async fn cable(&mut self) {
        let victim = Members::from([4]);
        let (begun, since) = self.begin();
        super::super::wires::unplug(4);
        self.world.sharing.remove(&4);
        let after = self.after_a_crash();
        self.world.over("cable pulled", begun, CRASH, &victim, after).await;
        self.world.said(1, since, "a member is dead", &[("MEMBER", "vm4")]).await;
        self.world.is_verified().await;
        let (begun, since) = self.begin();
        super::super::wires::plug(4);
        self.world.sharing.insert(4);
        let after = self.round();
        self.world.over("cable back", begun, SPLIT, &victim, after).await;
        self.world.said(1, since, "a member is here", &[("MEMBER", "vm4")]).await;
        self.world.is_verified().await;
    }

    /// The power is cut for all at once, and when it is back the network is not, yet: a switch takes
    /// longer to boot than a host.
    pub(super) async fn blackout(&mut self) {
        let all = self.world.sharing.clone();
        self.world.power_off(&all).await;
        let (_, since) = self.begin();
        self.world.boot(&all, false).await;
        for &number in &all {
            self.world.said(number, since, "starling runs", &[]).await;
            self.world.host(number).run("systemctl is-active --wait starling").await;
        }
        let (begun, since) = self.begin();
        for &number in &all {
            super::super::wires::plug(number);
        }
        let after = self.round();
        self.world.over("network back after a blackout", begun, SPLIT, &all, after).await;
        self.world.said(1, since, "a member is here", &[]).await;
        self.world.is_verified().await;
    }
}
