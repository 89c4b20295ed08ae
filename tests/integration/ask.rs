//! The commands beside a real agent: how they wait, watch and end.

use std::{process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use crate::process::{Agent, free_port};

const PATIENCE: Duration = Duration::from_secs(60);
const CONFIG: &str = "scrape_configs: [{ job_name: none }]\n";

fn command(url: &str, words: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(words)
        .env("STARLING_URL", url)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

/// The exit code, and all that it says.
async fn ended(child: Child) -> (i32, String) {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().expect("no signal ends it"), String::from_utf8(said).unwrap())
}

fn lines(child: &mut Child) -> Lines<BufReader<ChildStdout>> {
    BufReader::new(child.stdout.take().unwrap()).lines()
}

/// Up to the second answer.
async fn second_block(lines: &mut Lines<BufReader<ChildStdout>>, begins: &str) {
    let mut blocks = 0;
    while blocks < 2 {
        let line = timeout(PATIENCE, lines.next_line()).await.expect("it goes on").unwrap();
        blocks += usize::from(line.expect("it says more").starts_with(begins));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_watched_goes_on_until_it_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(directory.path(), CONFIG).await;

    let mut watching = command(&agent.url, &["peers", "--watch=1"]);
    let mut table = lines(&mut watching);
    second_block(&mut table, "MEMBER").await;
    // An agent that is restarted is waited for, and seen again.
    agent.process.signal(Signal::TERM);
    agent.process.ended().await;
    second_block(&mut table, "nobody listens at").await;
    agent.restart().await;
    second_block(&mut table, "MEMBER").await;
    let pid = Pid::from_raw(i32::try_from(watching.id().unwrap()).unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    let (code, said) = ended(watching).await;
    assert_eq!((code, &*said), (0, ""));

    // As `head` does: it reads a line and goes.
    let mut watching = command(&agent.url, &["peers", "--watch=1", "--json"]);
    let mut answers = lines(&mut watching);
    second_block(&mut answers, "{\"").await;
    drop(answers);
    let (code, said) = ended(watching).await;
    assert_eq!((code, &*said), (0, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_waits_for_an_agent_that_is_started() {
    let directory = tempfile::tempdir().unwrap();
    let mut agent = Agent::start(directory.path(), CONFIG).await;
    agent.process.signal(Signal::TERM);
    agent.process.ended().await;
    let (code, said) = ended(command(&agent.url, &["verify"])).await;
    assert!(code == 2 && said.contains("is starling running there?"), "{code}: {said}");

    let waiting = command(&agent.url, &["verify", "--wait", "60s"]);
    agent.restart().await;
    let (code, said) = ended(waiting).await;
    assert!(code == 0 && said.starts_with("ok: 0 divided targets"), "{code}: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_tell_a_no_from_a_question_that_was_not_asked() {
    let directory = tempfile::tempdir().unwrap();
    let agent = Agent::start(directory.path(), CONFIG).await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    let check = async |url: &str, words: &[&str], expected: i32, part: &str| {
        let (code, said) = ended(command(url, words)).await;
        assert!(code == expected && said.contains(part), "{words:?}: {code}: {said}");
    };
    check(&agent.url, &["status"], 0, "config").await;
    check(&agent.url, &["explain", "db7"], 1, "no target matches `db7`").await;
    check(&agent.url, &["explain", "0123456789abcdef"], 1, "0123456789abcdef").await;
    check(&agent.url, &["drain"], 1, "nobody").await;
    check(&agent.url, &["plan", "--leave", "nobody"], 2, "`nobody`").await;
    check(&agent.url, &["history", "--at", "yesterday"], 2, "expected an instant").await;
    check(&nobody, &["status"], 2, "is starling running there?").await;

    agent.write_config("nonsense: 1\n");
    check(&agent.url, &["reload"], 1, "unknown key `nonsense`").await;
}
