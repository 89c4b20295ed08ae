//! What is wrong with one host alone: its disk is full, its clock jumps.

use super::Stage;

const FULL: usize = 3;
const JUMPS: usize = 4;
/// More than the outbox leaves free (256 MiB), so that there is something to fill.
const SMALL: &str = "320m";
/// A library that shows one process another wall clock, and the file that says which.
const SHIFTED: &str = "/etc/systemd/system/starling.service.d/clock.conf";
const SHIFT: &str = "/etc/starling/clock-shift";

impl Stage {
    /// Samples go on by way of memory.
    pub(super) async fn full(&mut self) {
        let (begun, since) = self.begin();
        let host = self.world.host(FULL);
        host.run(&format!(
            "systemctl stop starling
            mkdir /mnt/small && mount -t tmpfs -o size={SMALL} none /mnt/small
            cp -a /var/lib/starling/. /mnt/small/ && chown starling:starling /mnt/small
            mount --bind /mnt/small /var/lib/starling
            systemctl start starling"
        ))
        .await;
        // What it is handed over is on its disk before that is full.
        let has_share = [("REASON", "join")];
        self.world.said(FULL, since, "slots changed owners", &has_share).await;
        self.planned("a restart onto a small disk", begun).await;
        let (begun, since) = self.begin();
        let host = self.world.host(FULL);
        host.run("! dd if=/dev/zero of=/mnt/small/ballast bs=1M 2>/dev/null").await;
        let words = "history is not written until this is over";
        self.world.said(FULL, since, words, &[]).await;
        self.planned("its disk is full", begun).await;
        let (begun, since) = self.begin();
        self.world.host(FULL).run("rm /mnt/small/ballast").await;
        self.world.said(FULL, since, "history is written again", &[]).await;
        self.planned("it is not full any more", begun).await;
    }

    /// Not a container's: all share the machine's clock, which is nobody's to set.
    pub(super) async fn clock(&mut self) {
        let (begun, _) = self.begin();
        let host = self.world.host(JUMPS);
        host.run(&format!(
            "mkdir -p $(dirname {SHIFTED})
            library=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1)
            echo +0s >{SHIFT} && chmod 644 {SHIFT}
            printf '[Service]\\nEnvironment=%s\\n' \
                \"LD_PRELOAD=$library FAKETIME_TIMESTAMP_FILE={SHIFT} \
                FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1\" >{SHIFTED}
            systemctl daemon-reload
            systemctl restart starling"
        ))
        .await;
        self.planned("a restart with a clock of its own", begun).await;
        let (begun, since) = self.begin();
        self.world.host(JUMPS).run(&format!("echo +5s >{SHIFT}")).await;
        let fields = [("KIND", "clock_skew")];
        self.world.said(JUMPS, since, "the fleet needs a look", &fields).await;
        self.planned("its clock jumps ahead by 5 s", begun).await;
        let (begun, since) = self.begin();
        self.world.host(JUMPS).run(&format!("echo +0s >{SHIFT}")).await;
        self.world.said(JUMPS, since, "no more", &fields).await;
        self.planned("its clock jumps back", begun).await;
    }
}
