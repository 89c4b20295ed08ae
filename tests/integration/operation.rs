//! Running it: reloads, refusals, what it says of itself, and trouble with the disk.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    backend::Prometheus,
    eventually,
    process::{Agent, free_port, get, post, status},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// No destination, one job with these targets.
fn config(interval: &str, targets: &[&str]) -> String {
    let targets = targets.iter().map(|target| format!("'{target}'")).collect::<Vec<_>>().join(", ");
    format!(
        "global: {{ scrape_interval: {interval} }}\nscrape_configs:\n  - job_name: a\n    \
         static_configs: [{{ targets: [{targets}] }}]\n"
    )
}

async fn active_targets(agent: &Agent) -> Vec<String> {
    let answer = agent.json("/api/v1/targets?state=active").await;
    let targets = answer["data"]["activeTargets"].as_array().unwrap();
    let mut urls: Vec<String> =
        targets.iter().map(|target| target["scrapeUrl"].as_str().unwrap().to_owned()).collect();
    urls.sort();
    urls
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_file_a_signal_and_an_order_each_reload() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::start(0).await;
    let agent = Agent::start(directory.path(), &config("1s", &[&target.address])).await;

    let count = |expected: usize| {
        let agent = &agent;
        async move {
            eventually("the new targets were in force", PATIENCE, || async {
                (active_targets(agent).await.len() == expected).then_some(())
            })
            .await;
        }
    };
    agent.write_config(&config("1s", &[&target.address, "127.0.0.1:1"]));
    count(2).await;

    agent.write_config(&config("1s", &[&target.address, "127.0.0.1:1", "127.0.0.1:2"]));
    agent.process.signal(Signal::HUP);
    count(3).await;

    agent.write_config(&config("1s", &[&target.address]));
    let (status, body) = post(&format!("{}/-/reload", agent.url)).await.unwrap();
    assert_eq!(status, 200, "{body}");
    count(1).await;
}

/// A reload that does not touch a target leaves its schedule alone: no scrape more, none less.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_file_leaves_everything_running_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let target = Target::start(0).await;
    let agent = Agent::start(directory.path(), &config("1s", &[&target.address])).await;
    agent.write_config("global: { scrape_intervall: 1s }\nscrape_configs:\n  - job_name: 7\n    bearer_token: hunter2\n    authorization: { credentials: hunter2 }\n");

    let (status, body) = post(&format!("{}/-/reload", agent.url)).await.unwrap();
    assert_eq!(status, 500, "{body}");
    assert!(body.contains("scrape_intervall") && body.contains("starling.yml:1:"), "{body}");
    assert!(!body.contains("hunter2"), "a secret in a message: {body}");
    assert_eq!(active_targets(&agent).await.len(), 1);
    let metrics = get(&format!("{}/metrics", agent.url)).await.unwrap().1;
    assert!(metrics.contains("\nstarling_config_last_reload_successful 0"), "{metrics}");
    assert!(!agent.process.log().contains("hunter2"), "a secret in the log");

    let before = target.scrapes();
    eventually("the target was scraped on", PATIENCE, || async {
        (target.scrapes() > before + 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_metrics_pass_promtool() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Prometheus::start(directory.path()).await;
    let target = Target::start(3).await;
    let text = config("1s", &[&target.address])
        + &format!("remote_write: [{{ url: '{}' }}]\n", backend.write_url());
    let agent = Agent::start(directory.path(), &text).await;
    eventually("two scrapes were made", PATIENCE, || async {
        (target.scrapes() >= 2).then_some(())
    })
    .await;

    let metrics = get(&format!("{}/metrics", agent.url)).await.unwrap().1;
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let verdict = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&verdict.stderr);
    assert!(verdict.status.success(), "promtool: {said}\n{metrics}");
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"] {
        assert!(metrics.contains(&format!("\n{name} ")), "no `{name}`");
    }
}

/// A target that never answers is one failed target; the other keeps its second.
#[tokio::test(flavor = "multi_thread")]
async fn a_hung_target_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hung = silent.local_addr().unwrap().to_string();
    let target = Target::start(0).await;
    let agent = Agent::start(directory.path(), &config("1s", &[&target.address, &hung])).await;
    eventually("five scrapes of the sound target were made", PATIENCE, || async {
        (target.scrapes() >= 5).then_some(())
    })
    .await;
    let answer = agent.json("/api/v1/targets").await;
    let targets = answer["data"]["activeTargets"].as_array().unwrap();
    for one in targets {
        let is_hung = one["scrapeUrl"].as_str().unwrap().contains(&hung);
        let expected = if is_hung { "down" } else { "up" };
        assert_eq!(one["health"], expected, "{one}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_the_same_storage_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let backend = Prometheus::start(directory.path()).await;
    let text =
        config("1s", &[]) + &format!("remote_write: [{{ url: '{}' }}]\n", backend.write_url());
    let agent = Agent::start(directory.path(), &text).await;
    let second = Command::new(env!("CARGO_BIN_EXE_starling"))
        .arg("run")
        .arg(format!("--config.file={}", directory.path().join("starling.yml").display()))
        .arg(format!("--storage.path={}", agent.storage().display()))
        .arg(format!("--web.listen-address=127.0.0.1:{}", free_port()))
        .output()
        .unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8_lossy(&second.stderr);
    assert!(said.contains("storage") && said.contains("another"), "{said}");
    assert_eq!(status(&format!("{}/-/ready", agent.url)).await, Some(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_at_the_start_names_every_problem() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.yml");
    fs::write(&path, "global: { scrape_interval: 1x }\nscrape_configs:\n  - job_nam: a\n").unwrap();
    for mode in ["run", "check"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        command.arg(mode);
        if mode == "run" {
            command.arg(format!("--config.file={}", path.display()));
            command.arg(format!("--storage.path={}", directory.path().join("s").display()));
        } else {
            command.arg(&path);
        }
        let output = command.output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(1), "{said}");
        for part in ["bad.yml:1:", "1x", "bad.yml:3:", "job_nam"] {
            assert!(said.contains(part), "`{mode}` does not name `{part}`:\n{said}");
        }
    }
}

/// The outbox's file system fills up while the backend is away: scraping goes on, the API says
/// what is wrong, and when both are well again what memory held arrives.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let small = directory.path().join("storage");
    fs::create_dir(&small).unwrap();
    let Some(_mounted) = Mounted::tmpfs(&small, "2m") else {
        println!("skipped: no right to mount a tmpfs");
        return;
    };
    let mut backend = Prometheus::start(directory.path()).await;
    let target = Target::start(50).await;
    let text = config("1s", &[&target.address])
        + &format!(
            "remote_write: [{{ url: '{}', queue_config: {{ max_backoff: 1s }} }}]\n",
            backend.write_url()
        )
        + "outbox: { min_free_disk: 0 }\n";
    let agent = Agent::start(directory.path(), &text).await;
    backend.stop().await;
    let ballast = fs::File::create(small.join("ballast")).unwrap();
    let filled = fill(ballast);
    assert!(filled > 0, "the ballast did not fit at all");
    let before = target.scrapes();
    eventually("the outbox told of the full disk", PATIENCE, || async {
        let queues = agent.json("/api/v1/queues").await;
        let disk = queues["destinations"][0]["disk"].to_string();
        (disk.contains("space") || disk.contains("full")).then_some(())
    })
    .await;
    eventually("scraping went on", PATIENCE, || async {
        (target.scrapes() > before + 3).then_some(())
    })
    .await;

    backend.start_again().await;
    fs::remove_file(small.join("ballast")).unwrap();
    let made = target.scrapes();
    let stored = eventually("what memory held had arrived", PATIENCE, || async {
        let stored = backend.samples("scrapes_total[10m]").await;
        let last = stored.first()?.last()?.1;
        (last >= f64::from(u32::try_from(made).unwrap())).then_some(stored)
    })
    .await;
    let regular = stored[0].windows(2).all(|pair| pair[1].0 - pair[0].0 <= 1100);
    assert!(regular, "a full disk cost samples that memory could hold: {:?}", stored[0]);
}

fn fill(mut file: fs::File) -> usize {
    let block = [0_u8; 4096];
    let mut filled = 0;
    while file.write_all(&block).is_ok() {
        filled += block.len();
    }
    filled
}

struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn tmpfs(path: &'a Path, size: &str) -> Option<Self> {
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(path)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()).then_some(Self(path))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        // Lazily, as the agent may still hold a file open when a test fails.
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}
