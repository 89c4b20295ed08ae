//! The fleet as its operator has it: hosts, what each of them runs, and whoever judges it.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::time::{Instant, sleep};

use super::{
    Timeline,
    backend::Backend,
    eyes::Eyes,
    farm,
    host::Host,
    journal::{Since, said},
    judge::{Begun, Expected, Judge, Judged, Over, STORED_WITHIN, Size, among},
    packages::Packages,
    table::{Bound, Table},
    watch::{Members, Watch},
    wires,
};

/// Which jobs a fleet divides: what the farm has, and the exporters of all hosts.
const JOBS: &str = "/etc/starling/divided.yml";

pub(crate) struct World {
    pub(crate) size: Size,
    pub(crate) judge: Judge,
    pub(crate) packages: Packages,
    hosts: Vec<Host>,
    /// Those that have a share.
    pub(crate) sharing: Members,
    watch: Watch,
    timeline: Timeline,
    overs: Vec<(&'static str, Bound, Over)>,
}

impl World {
    /// Hosts that are on, with nothing on them yet.
    pub(crate) async fn start(size: Size, folder: &Path) -> Self {
        let began = Instant::now();
        let base = base();
        let packages = Packages::made(folder);
        println!("a root and packages after {:.1} s", began.elapsed().as_secs_f64());
        let timeline = Timeline(Instant::now());
        wires::lay();
        let watch = Watch::default();
        let judge = Judge::start(size, watch.clone(), timeline, folder).await;
        let host = |number| Host::new(number, folder, &base, &packages.folder);
        let hosts = (1..=size.members).map(host).collect();
        let (sharing, overs) = (Members::new(), Vec::new());
        let mut world = Self { size, judge, packages, hosts, sharing, watch, timeline, overs };
        let all = (1..=size.members).collect();
        world.boot(&all, true).await;
        println!("{} hosts on after {:.1} s", size.members, began.elapsed().as_secs_f64());
        world
    }

    pub(crate) async fn boot(&mut self, numbers: &Members, is_plugged: bool) {
        let (watch, timeline) = (&self.watch, self.timeline);
        let hosts = self.hosts.iter_mut().filter(|host| numbers.contains(&host.number));
        join_all(hosts.map(|host| {
            let number = host.number;
            host.boot(is_plugged, move |leader| Eyes::open(leader, number, watch.clone(), timeline))
        }))
        .await;
    }

    pub(crate) async fn power_off(&mut self, numbers: &Members) {
        let hosts = self.hosts.iter_mut().filter(|host| numbers.contains(&host.number));
        join_all(hosts.map(Host::power_off)).await;
    }

    pub(crate) fn host(&self, number: usize) -> &Host {
        &self.hosts[number - 1]
    }

    /// The same on several hosts at once.
    pub(crate) async fn on(&self, numbers: &Members, script: &str) {
        join_all(numbers.iter().map(|&number| self.host(number).run(script))).await;
    }

    /// As an operator does it: nothing runs by that, nor at the next boot.
    pub(crate) async fn install(&self, number: usize) {
        let package = &self.packages.files[0];
        let host = self.host(number);
        host.run(&format!("apt-get install -y {package}")).await;
        for question in ["is-enabled", "is-active"] {
            let ask = format!("systemctl {question} starling.service starling.socket");
            assert!(!host.succeeds(&ask).await, "{}: `{ask}`", host.name);
        }
    }

    /// The secret is made by the first host, and taken by the others.
    pub(crate) async fn configure(&self, numbers: &Members) {
        let setup = format!("starling setup --mdns --remote-write {}", Backend::write_url());
        let mut secret: Option<String> = None;
        for &number in numbers {
            let host = self.host(number);
            match &secret {
                None => secret = Some(host.run(&format!("{setup} --print-secret")).await),
                Some(secret) => {
                    host.run(&format!("echo '{}' | {setup} --secret-stdin", secret.trim())).await;
                }
            }
            self.add_jobs(number).await;
        }
    }

    /// What is divided is the same on all hosts.
    pub(crate) async fn add_jobs(&self, number: usize) {
        let interval_ms = self.size.interval_ms();
        let farm: Vec<_> = (0..self.size.targets).map(farm::address).collect();
        let exporters =
            (1..=self.size.members).map(|host| format!("{}:9100", wires::address(host)));
        let (farm, exporters) = (farm.join(", "), exporters.collect::<Vec<_>>().join(", "));
        self.host(number)
            .run(&format!(
                "umask 027
            cat >{JOBS} <<'END'
scrape_configs:
  - job_name: farm
    scrape_interval: {interval_ms}ms
    scrape_timeout: {interval_ms}ms
    clustering: {{ enabled: true }}
    static_configs: [{{ targets: [{farm}] }}]
  - job_name: exporters
    clustering: {{ enabled: true }}
    static_configs: [{{ targets: [{exporters}] }}]
END
            chgrp starling {JOBS}
            echo 'scrape_config_files: [{JOBS}]' >>/etc/starling/starling.yml
            starling check /etc/starling/starling.yml"
            ))
            .await;
    }

    pub(crate) fn expected(&self) -> Expected {
        among(&self.sharing)
    }

    /// Waits until all who have a share agree on it, and for `after`; told in the end.
    pub(crate) async fn over(
        &mut self,
        event: &'static str,
        begun: Begun,
        bound: Bound,
        victims: &Members,
        after: Duration,
    ) {
        let judged = Judged { expected: self.expected(), victims: victims.clone(), after };
        let over = self.judge.over(begun, &judged).await;
        println!("    {event}: over at {} ms", over.window.to_ms);
        self.overs.push((event, bound, over));
    }

    /// Two members of it say that every target has one owner.
    pub(crate) async fn is_verified(&self) {
        let ends = [self.sharing.first(), self.sharing.last()];
        for &number in ends.into_iter().flatten() {
            self.host(number).run("starling verify --wait 60s").await;
        }
    }

    /// The journal of `number` has it in a line.
    pub(crate) async fn said(
        &self,
        number: usize,
        since: Since,
        words: &str,
        fields: &[(&str, &str)],
    ) {
        said(self.host(number), since, words, fields).await;
    }

    /// What each event was like, as a table; and whether that was within its bounds.
    pub(crate) async fn judged(self) {
        sleep(STORED_WITHIN).await;
        let mut table = Table::default();
        let all: Vec<_> = self.overs.iter().map(|(_, _, over)| over).collect();
        for (event, _, over) in &self.overs {
            let later = all.iter().filter(|later| later.window.from_ms >= over.window.to_ms);
            let mark_end = later.map(|later| later.mark).min().unwrap_or(self.judge.mark());
            println!("{event}");
            table.add(event, self.judge.outcome(over, mark_end, &all).await);
        }
        table.print(self.size);
        let mut bounds: BTreeMap<&str, &Bound> = BTreeMap::new();
        for (event, bound, _) in &self.overs {
            bounds.insert(event, bound);
        }
        for (event, bound) in bounds {
            table.check(event, bound, self.size);
        }
    }
}

/// The root that hosts are laid over; made where it is not there yet.
fn base() -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/appliance/root.sh");
    let output = Command::new("bash").arg(script).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {}: {told}", output.status);
    let base = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
    assert!(fs::exists(base.join("usr/lib/systemd/systemd")).unwrap(), "{}", base.display());
    base
}
