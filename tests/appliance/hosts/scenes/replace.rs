//! One host hangs while another is replaced: it leaves, all that was Starling's is removed, and it is
//! set up anew, first with a wrong secret, then with the right one, which only systemd can read.

use std::time::Duration;

use super::{
    super::{backend::Backend, table::Bound, watch::Members},
    CRASH, Stage,
};

const HANGS: usize = 2;
const REPLACED: usize = 4;
const NAME: &str = "vm4";
const CREDENTIAL: &str = "starling.cluster-secret-encrypted";

/// The watchdog waits for 20 s, a process that does not heed it is killed 5 s later.
const WATCHDOG: Bound = Bound { agreed_ms: 45_000, ..CRASH };

impl Stage {
    pub(super) async fn replace(&mut self) {
        self.scale_in().await;
        let victim = Members::from([HANGS]);
        let (begun, since) = self.begin_harm().await;
        self.world.host(HANGS).run("systemctl kill -s STOP starling").await;
        self.world.sharing.remove(&HANGS);
        self.world.over("SIGSTOP", begun, CRASH, &victim, Duration::ZERO).await;
        self.world.is_verified().await;
        self.world.said(1, since, "a member is dead", &[("MEMBER", "vm2")]).await;
        // The watchdog needs its time.
        self.removes_and_purges().await;
        self.tell("removed, purged, and installed again");
        self.world.said(HANGS, since, "Watchdog timeout", &[]).await;
        self.world.sharing.insert(HANGS);
        self.over("SIGSTOP, until the watchdog has restarted it", begun, WATCHDOG, &victim).await;
        self.world.said(HANGS, since, "starling runs", &[]).await;
        self.world.said(1, since, "a member is here", &[("MEMBER", "vm2")]).await;
        self.takes_no_wrong_secret().await;
        self.takes_a_credential().await;
    }

    async fn scale_in(&mut self) {
        let (begun, since) = self.begin();
        self.world.host(REPLACED).run("systemctl disable --now starling").await;
        self.world.sharing.remove(&REPLACED);
        self.planned("a host less: disable --now", begun).await;
        self.world.said(1, since, "a member has left", &[("MEMBER", NAME)]).await;
        let words = "this member's share is handed over";
        self.world.said(REPLACED, since, words, &[]).await;
    }

    /// Nothing of it is in the fleet meanwhile.
    async fn removes_and_purges(&self) {
        let host = self.world.host(REPLACED);
        let id = host.run("cat /var/lib/starling/node_id").await;
        host.run("apt-get remove -y starling").await;
        assert!(!host.succeeds("test -e /usr/bin/starling").await);
        assert_eq!(host.run("cat /var/lib/starling/node_id").await, id);
        host.run(
            "test -s /var/lib/starling/history.db && test -s /etc/starling/starling.yml \
            && test -s /etc/starling/cluster.secret",
        )
        .await;
        host.run("apt-get purge -y starling").await;
        let left =
            host.run("find /var/lib/starling /etc/starling -type f 2>/dev/null || true").await;
        // What the operator put there.
        assert_eq!(left.trim(), "/etc/starling/divided.yml");
        host.run("rm -r /etc/starling").await;
        let package = &self.world.packages.files[1];
        host.run(&format!("apt-get install -y {package}")).await;
        assert!(!host.succeeds("systemctl is-active starling").await);
        assert!(!host.succeeds("test -e /var/lib/starling/node_id").await);
    }

    /// Loud, and harmless.
    async fn takes_no_wrong_secret(&mut self) {
        let host = self.world.host(REPLACED);
        let setup = format!("starling setup --mdns --remote-write {}", Backend::write_url());
        host.run(&setup).await;
        self.world.add_jobs(REPLACED).await;
        let (begun, since) = self.begin();
        // It is not ready, so nobody waits for that.
        self.world.host(REPLACED).run("systemctl enable starling").await;
        self.world.host(REPLACED).run("systemctl start --no-block starling").await;
        let fields = [("KIND", "wrong_secret")];
        self.world.said(REPLACED, since, "the fleet needs a look", &fields).await;
        let told = self.world.host(REPLACED).output("starling status").await;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        assert!(told.contains("secret"), "{told}");
        self.planned("a stranger: a wrong secret", begun).await;
    }

    /// It is on the disk encrypted, and in no file that the agent could read without systemd.
    async fn takes_a_credential(&mut self) {
        let secret = self.world.host(1).run("cat /etc/starling/cluster.secret").await;
        let (begun, since) = self.begin();
        let host = self.world.host(REPLACED);
        host.run(&format!(
            "rm /etc/starling/cluster.secret
            sed -i '/secret_file:/d' /etc/starling/starling.yml
            mkdir -p -m 700 /etc/credstore.encrypted
            echo '{}' | systemd-creds encrypt --with-key=host --name={CREDENTIAL} - \
                /etc/credstore.encrypted/{CREDENTIAL}
            systemctl restart starling",
            secret.trim()
        ))
        .await;
        self.world.sharing.insert(REPLACED);
        self.planned("it joins by an encrypted secret", begun).await;
        self.world.said(1, since, "a member is here", &[("MEMBER", NAME)]).await;
    }
}
