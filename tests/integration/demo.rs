//! The demo is the first thing that anybody runs: it must end well, leave nothing behind, and show
//! what it promises when one of its agents is killed.

use std::{fs, path::Path, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::eventually;

/// For a step that takes seconds where nothing else runs.
const PATIENCE: Duration = Duration::from_secs(60);

struct Demo {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// Takes the demo's files even where the demo can't.
    temporary: tempfile::TempDir,
}

impl Demo {
    fn start(flags: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_starling"))
            .arg("demo")
            .args(flags)
            .env("TMPDIR", temporary.path())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines, temporary }
    }

    fn signal(&self, signal: Signal) {
        kill_process(pid(self.child.id().unwrap()), signal).unwrap();
    }

    async fn line(&mut self) -> Option<String> {
        let read = timeout(PATIENCE, self.lines.next_line()).await;
        read.expect("the demo says something").unwrap()
    }

    /// The next line that `is_it`.
    async fn told(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let search = async {
            while let Some(line) = self.line().await {
                let said: Value = serde_json::from_str(&line).unwrap();
                if is_it(&said) {
                    return said;
                }
            }
            panic!("the demo ended before it told: {what}");
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("waited in vain for: {what}"))
    }

    async fn event(&mut self, name: &str) -> Value {
        self.told(name, |said| said["event"] == name).await
    }

    /// Its last line, when it has ended; its files are gone then.
    async fn verdict(mut self) -> (Value, Option<i32>) {
        let mut last = String::new();
        while let Some(line) = self.line().await {
            last = line;
        }
        let status = timeout(PATIENCE, self.child.wait()).await.expect("it ends").unwrap();
        assert_eq!(folders_in(self.temporary.path()), 0, "the demo's files are gone");
        (serde_json::from_str(&last).unwrap(), status.code())
    }
}

fn folders_in(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

fn pid(raw: u32) -> Pid {
    Pid::from_raw(i32::try_from(raw).unwrap()).unwrap()
}

/// What has ended and waits to be buried does not run.
fn is_running(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}

/// As its introduction has them.
fn pids(introduction: &Value) -> Vec<u32> {
    let agents = introduction["agents"].as_array().unwrap();
    agents.iter().map(|agent| u32::try_from(agent["pid"].as_u64().unwrap()).unwrap()).collect()
}

/// Of a summary, by agent.
fn targets(said: &Value) -> Vec<u64> {
    let agents = said["agents"].as_array().into_iter().flatten();
    agents.map(|agent| agent["targets"].as_u64().unwrap()).collect()
}

/// A summary in which no series waited for more than an interval of 2 s and a half.
fn is_calm(said: &Value) -> bool {
    said["spacing_ms"][1].as_u64().is_some_and(|longest| longest <= 3000)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demo_loses_nothing_and_cleans_up() {
    let mut demo = Demo::start(&["--interval", "2", "--seconds", "15", "--json"]);
    let introduction = demo.told("the introduction", |_| true).await;
    let all = introduction["targets"].as_array().unwrap().len();
    assert!(all >= 12, "{introduction}");
    demo.told("every target is up before its first half minute is over", |said| {
        said["targets_up"] == all
    })
    .await;

    let (verdict, code) = demo.verdict().await;
    assert_eq!((&verdict["sound"], code), (&Value::Bool(true), Some(0)), "{verdict}");
    assert!(verdict["received"].as_u64().unwrap() > 100, "{verdict}");
    assert!(!pids(&introduction).into_iter().any(is_running), "all agents have ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_others_take_over_from_one_that_is_killed() {
    let mut demo = Demo::start(&["--interval", "2", "--json"]);
    let introduction = demo.told("the introduction", |_| true).await;
    let agents = pids(&introduction);
    let all = introduction["targets"].as_array().unwrap().len() as u64;
    let [_, killed, leaver] = agents[..] else { panic!("three agents: {introduction}") };

    let divided = demo.event("divided").await;
    let had = divided["targets"][1].as_u64().unwrap();
    kill_process(pid(killed), Signal::KILL).unwrap();
    assert_eq!(demo.event("killed").await["agent"], "starling-2");
    let taken_over = demo.event("taken_over").await;
    assert_eq!(taken_over["agent"], "starling-2", "{taken_over}");
    assert_eq!(taken_over["targets"], had, "{taken_over}");
    demo.told("the two that are left have all, at their interval", |said| {
        is_calm(said) && targets(said)[1] == 0 && targets(said).iter().sum::<u64>() == all
    })
    .await;

    kill_process(pid(leaver), Signal::TERM).unwrap();
    assert_eq!(demo.event("left").await["agent"], "starling-3");
    demo.told("the one that is left has all, at their interval", |said| {
        is_calm(said) && targets(said) == [all, 0, 0]
    })
    .await;

    demo.signal(Signal::INT);
    let (verdict, code) = demo.verdict().await;
    assert_eq!((&verdict["sound"], code), (&Value::Bool(true), Some(0)), "{verdict}");
    let kills = verdict["kills"].as_array().unwrap();
    assert_eq!(kills.len(), 1, "{verdict}");
    assert_eq!(kills[0]["agent"], "starling-2", "{verdict}");
    let gap_ms = kills[0]["longest_gap_ms"].as_u64().unwrap();
    assert!(gap_ms > 2000 && gap_ms <= verdict["gap_ms_max"].as_u64().unwrap(), "{verdict}");
    assert!(!agents.into_iter().any(is_running), "all agents have ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_its_last_agent_the_demo_ends() {
    let mut demo = Demo::start(&["--agents", "1", "--interval", "2", "--json"]);
    let introduction = demo.told("the introduction", |_| true).await;
    demo.event("divided").await;
    kill_process(pid(pids(&introduction)[0]), Signal::KILL).unwrap();
    demo.event("nobody_left").await;
    let (verdict, code) = demo.verdict().await;
    assert_eq!(verdict["kills"][0]["taken_over_after_ms"], Value::Null, "{verdict}");
    assert_eq!((&verdict["sound"], code), (&Value::Bool(true), Some(0)), "{verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_agent_outlives_the_demo() {
    let mut demo = Demo::start(&[]);
    let mut agents: Vec<u32> = Vec::new();
    while agents.len() < 3 {
        let line = demo.line().await.expect("the introduction names three agents");
        if let Some((_, rest)) = line.split_once("  pid ") {
            agents.push(rest.split(' ').next().unwrap().parse().unwrap());
        }
    }
    assert!(agents.iter().all(|agent| is_running(*agent)), "{agents:?}");
    demo.signal(Signal::KILL);
    eventually("the agents had ended", PATIENCE, || async {
        (!agents.iter().any(|agent| is_running(*agent))).then_some(())
    })
    .await;
}

/// Of a summary or a verdict of the gateway's demo, added up.
fn sum(said: &Value, names: &[&str]) -> u64 {
    names.iter().map(|name| said[*name].as_u64().unwrap()).sum()
}

/// All that was acknowledged is stored, or was acknowledged just now.
fn is_whole(said: &Value) -> bool {
    said["faults"] == 0 && said["missing"] == 0 && said["held"] == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_killed_and_what_was_acknowledged_is_stored() {
    let mut demo = Demo::start(&["--gateway", "--json"]);
    let introduction = demo.told("the introduction", |_| true).await;
    let gateways = pids(&introduction);
    let [_, killed, leaver] = gateways[..] else { panic!("three gateways: {introduction}") };

    demo.event("taking_pushes").await;
    kill_process(pid(killed), Signal::KILL).unwrap();
    assert_eq!(demo.event("killed").await["gateway"], "starling-2");
    let returned = demo.event("returned").await;
    assert_eq!(returned["gateway"], "starling-2", "{returned}");
    let whole = demo.event("whole").await;
    assert_eq!((&whole["gateway"], &whole["is_back"]), (&"starling-2".into(), &true.into()));

    kill_process(pid(leaver), Signal::TERM).unwrap();
    assert_eq!(demo.event("left").await["gateway"], "starling-3");
    demo.told("two are left, and the ledger is whole", |said| {
        said["gateways"][2]["state"] == "left" && is_whole(said)
    })
    .await;

    demo.signal(Signal::INT);
    let (verdict, code) = demo.verdict().await;
    assert_eq!((&verdict["sound"], code), (&Value::Bool(true), Some(0)), "{verdict}");
    let acknowledged = verdict["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 1_000, "{verdict}");
    assert!(sum(&verdict, &["stored"]) >= acknowledged, "{verdict}");
    let never = ["missing", "lost", "held", "unsent", "out_of_order", "duplicates", "refused"];
    assert_eq!(sum(&verdict, &never), 0, "{verdict}");
    assert_eq!(verdict["kills"].as_array().unwrap().len(), 1, "{verdict}");
    let again = u32::try_from(returned["pid"].as_u64().unwrap()).unwrap();
    assert!(!gateways.into_iter().chain([again]).any(is_running), "all gateways have ended");
}
