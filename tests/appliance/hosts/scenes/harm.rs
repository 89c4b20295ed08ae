//! What befalls hosts: crashes, power cuts, pulled cables.

use super::{
    super::{table::Bound, wires},
    Members, SPLIT, Stage,
};

/// Nobody can scrape without power or network; that is as long as the test needs to boot hosts.
const DARK: Bound = Bound { late_ms: 60_000, ..SPLIT };

impl Stage {
    /// systemd starts it anew, sooner than others would have missed it.
    pub(super) async fn kill(&mut self) {
        let (begun, since) = self.begin_harm().await;
        self.world.host(3).run("systemctl kill -s KILL starling").await;
        let words = "Main process exited, code=killed, status=9/KILL";
        self.world.said(3, since, words, &[]).await;
        self.world.said(3, since, "starling runs", &[]).await;
        self.crashed("systemctl kill -s KILL", begun, &[3].into()).await;
    }

    pub(super) async fn power(&mut self) {
        let victim = Members::from([3]);
        let (begun, since) = self.begin_harm().await;
        self.world.power_off(&victim).await;
        self.world.sharing.remove(&3);
        self.crashed("a host's power cut", begun, &victim).await;
        self.world.said(1, since, "a member is dead", &[("MEMBER", "vm3")]).await;
        let (begun, since) = self.begin();
        self.world.boot(&victim, true).await;
        self.world.sharing.insert(3);
        // As after a cut: on a busy machine its return may cost others a moment.
        self.over("its power is back", begun, SPLIT, &victim).await;
        self.world.said(1, since, "a member is here", &[("MEMBER", "vm3")]).await;
    }

    pub(super) async fn cable(&mut self) {
        let victim = Members::from([4]);
        let (begun, since) = self.begin_harm().await;
        wires::unplug(4);
        self.world.sharing.remove(&4);
        self.crashed("a host's cable pulled", begun, &victim).await;
        self.world.said(1, since, "a member is dead", &[("MEMBER", "vm4")]).await;
        let (begun, since) = self.begin();
        wires::plug(4);
        self.world.sharing.insert(4);
        self.over("its cable is in again", begun, SPLIT, &victim).await;
        self.world.said(1, since, "a member is here", &[("MEMBER", "vm4")]).await;
    }

    /// The power is cut for all at once, and when it is back the network is not, yet: a switch takes
    /// longer to boot than a host.
    pub(super) async fn blackout(&mut self) {
        let all = self.world.sharing.clone();
        let (_, since) = self.begin_harm().await;
        self.world.power_off(&all).await;
        self.world.boot(&all, false).await;
        for &number in &all {
            self.world.said(number, since, "Started starling.service", &[]).await;
        }
        let (begun, since) = self.begin();
        for &number in &all {
            wires::plug(number);
        }
        self.over("all booted without a network, and it comes", begun, DARK, &all).await;
        for &number in &all {
            self.world.said(number, since, "a member is here", &[]).await;
        }
    }
}
