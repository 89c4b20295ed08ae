//! Whole commands against an agent that answers as it is told to: what they wait for, and the exit
//! codes that they end with.

use std::{
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use clap::Parser;

use super::*;
use crate::cli::ask::agent::tests::{FakeAgent, agent};

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

/// The code of what a command line asks, and what it says.
async fn told(line: &str, agent: &Agent) -> Result<(Code, String), Fault> {
    let words = ["starling"].into_iter().chain(line.split(' '));
    let told = match Line::try_parse_from(words).unwrap().command {
        Command::Status(look) => look.question.ask(agent, 0).await,
        Command::Peers(look) => look.question.ask(agent, 0).await,
        Command::Targets(look) => look.question.ask(agent, 0).await,
        Command::History(look) => look.question.ask(agent, 0).await,
        Command::Explain(look) => look.question.ask(agent, 0).await,
        Command::Verify(look) => look.question.ask(agent, 0).await,
        Command::Plan(look) => look.question.ask(agent, 0).await,
        Command::Queues(look) => look.question.ask(agent, 0).await,
        Command::Drain(order) => order.question.ask(agent, 0).await,
        Command::Undrain(order) => order.question.ask(agent, 0).await,
        Command::Reload(order) => order.question.ask(agent, 0).await,
    }?;
    Ok((told.code, told.sheet.draw(sheet::Look { columns: None, in_colour: false })))
}

/// The exit code, and the words of the answer or of the fault.
async fn ended(line: &str, agent: &Agent) -> (u8, String) {
    match told(line, agent).await {
        Ok((code, words)) => (code as u8, words),
        Err(fault) => (fault.code() as u8, fault.reason),
    }
}

fn verdict(ok: bool, unanswered: bool) -> String {
    let unanswered = if unanswered { r#"{"id": "02", "name": "b"}"# } else { "" };
    format!(
        r#"{{"ok": {ok}, "at": "2026-11-21T12:00:00.000Z", "targets": 1, "members": [],
            "unowned": [], "unowned_total": 0, "doubled": [], "doubled_total": 0,
            "disagreements": [], "unanswered": [{unanswered}]}}"#
    )
}

#[tokio::test]
async fn verify_has_three_codes() {
    let check = async |ok, unanswered, code| {
        let fake = FakeAgent::start(move |_| (200, verdict(ok, unanswered))).await;
        assert_eq!(ended("verify", &fake.agent()).await.0, code);
    };
    check(true, false, 0).await;
    check(false, false, 1).await;
    check(false, true, 2).await;
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = agent(&["--url", &format!("http://{nobody}")]).unwrap();
    assert_eq!(ended("verify", &nobody).await.0, 2);
}

#[tokio::test]
async fn verify_waits_until_it_is_so() {
    let rounds = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&rounds);
    let fake = FakeAgent::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => (503, r#"{"detail": "starting"}"#.to_owned()),
        1 => (200, verdict(false, true)),
        2 => (200, verdict(false, false)),
        _ => (200, verdict(true, false)),
    })
    .await;
    assert_eq!(ended("verify --wait 1m", &fake.agent()).await.0, 0);
    assert_eq!(rounds.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn verify_waits_for_an_agent_that_does_not_listen_yet() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let agent = agent(&["--url", &format!("http://{address}")]).unwrap();
    let starts = async {
        // Not before it was asked once in vain.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        answer_one(tokio::net::TcpListener::from_std(listener).unwrap()).await;
    };
    let (ended, ()) = tokio::join!(ended("verify --wait 1m", &agent), starts);
    assert_eq!(ended.0, 0, "{}", ended.1);
}

async fn answer_one(listener: tokio::net::TcpListener) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_buf(&mut head).await.unwrap();
    }
    let body = verdict(true, false);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    stream.write_all(answer.as_bytes()).await.unwrap();
}

#[tokio::test]
async fn verify_tells_the_last_state_when_time_is_over_and_does_not_wait_in_vain() {
    let fake = FakeAgent::start(|_| (200, verdict(false, false))).await;
    assert_eq!(ended("verify --wait 700ms", &fake.agent()).await.0, 1);
    assert!(fake.asked().len() > 1, "{:?}", fake.asked());
    // No waiting brings the right password.
    let fake = FakeAgent::start(|_| (401, "{}".to_owned())).await;
    assert_eq!(ended("verify --wait 1h", &fake.agent()).await.0, 2);
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn drain_waits_until_all_is_handed_over() {
    let fleet = |drain: &str| {
        peers::tests::FLEET.replace(r#""drain": "working""#, &format!(r#""drain": "{drain}""#))
    };
    let looks = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&looks);
    let fake = FakeAgent::start(move |question| match question {
        "POST /api/v1/drain" => (202, r#"{"state": "draining"}"#.to_owned()),
        "GET /api/v1/fleet" if count.fetch_add(1, Ordering::SeqCst) == 0 => {
            (200, fleet("draining"))
        }
        "GET /api/v1/fleet" => (200, fleet("drained")),
        other => panic!("{other}"),
    })
    .await;
    let (code, words) = ended("drain", &fake.agent()).await;
    assert_eq!((code, looks.load(Ordering::SeqCst)), (0, 0), "{words}");
    let (code, words) = ended("drain --wait 1m", &fake.agent()).await;
    assert_eq!((code, looks.load(Ordering::SeqCst)), (0, 2), "{words}");
    let unready = fleet("working").replace(r#""slots": 2048"#, r#""slots": 0"#);
    let fake = FakeAgent::start(move |question| match question {
        "POST /api/v1/undrain" => (202, r#"{"state": "working"}"#.to_owned()),
        _ => (200, unready.clone()),
    })
    .await;
    let (code, words) = ended("undrain --wait 10ms", &fake.agent()).await;
    assert!(code == 1 && words.contains("not working within 10ms"), "{words}");
    let fake = FakeAgent::start(move |question| match question {
        "POST /api/v1/drain" => (202, r#"{"state": "draining"}"#.to_owned()),
        "POST /api/v1/undrain" => (202, r#"{"state": "working"}"#.to_owned()),
        _ => (200, fleet("draining")),
    })
    .await;
    for order in ["drain", "undrain"] {
        let (code, words) = ended(&format!("{order} --wait 10ms"), &fake.agent()).await;
        assert!(code == 1 && words.contains("within 10ms"), "{order}: {words}");
    }
}

#[tokio::test]
async fn a_refused_reload_is_a_no_with_its_reason() {
    let refused = "The configuration is refused:\na.yml:1:1: unknown key `x`\n";
    let check = async |status: u16, text: &'static str, code, part: &str| {
        let fake = FakeAgent::start(move |_| (status, text.to_owned())).await;
        let (found, words) = ended("reload", &fake.agent()).await;
        assert_eq!(found, code, "{words}");
        assert!(words.contains(part), "{words}");
        assert_eq!(fake.asked(), ["POST /-/reload"]);
    };
    check(200, "The configuration is in force.\n", 0, "ok: The configuration is in force.").await;
    check(500, refused, 1, "a.yml:1:1: unknown key `x`").await;
    check(504, "The reload takes long and goes on.\n", 2, "takes long").await;
}

#[tokio::test]
async fn a_target_is_found_by_words_also_a_dropped_one() {
    let fake = FakeAgent::start(|question| {
        let list = |items: &str| {
            (
                200,
                format!(
                    r#"{{"items": [{items}], "total": 1,
            "counts": {{"up": 0, "down": 0, "unknown": 0}}, "jobs": [], "next": null,
            "asked": []}}"#
                ),
            )
        };
        let explained = r#"{"id": "0000000000000009", "job": "node", "outcome": "dropped",
            "reason": "step 1", "discovered_labels": {}, "steps": [], "labels": null, "url": null,
            "divided": true, "placement": null, "schedule": null, "status": null}"#;
        if question.starts_with("GET /api/v1/targets/0000000000000009/explain?job=node") {
            (200, explained.to_owned())
        } else if question.contains("q=web+north") && question.contains("state=dropped") {
            list(
                r#"{"id": "0000000000000009", "job": "node", "error": null,
                "discovered_labels": {"__address__": "h:9"}}"#,
            )
        } else if question.starts_with("GET /api/v1/targets/") {
            (404, r#"{"detail": "no target has that id"}"#.to_owned())
        } else {
            list("")
        }
    })
    .await;
    let (code, words) = ended("explain web north", &fake.agent()).await;
    assert!(code == 0 && words.contains("dropped: step 1"), "{words}");
    let (code, words) = ended("explain web south", &fake.agent()).await;
    assert!(code == 1 && words.contains("no target matches `web south`"), "{words}");
    let (code, words) = ended("explain 0000000000000001", &fake.agent()).await;
    assert!(code == 1 && words.contains("no target has that id"), "{words}");
}

#[tokio::test]
async fn status_shows_what_it_can() {
    let fake = FakeAgent::start(|question| match question {
        "GET /api/v1/fleet" => (200, peers::tests::FLEET.to_owned()),
        "GET /api/v1/queues" => (200, r#"{"destinations": []}"#.to_owned()),
        _ => (503, r#"{"detail": "busy"}"#.to_owned()),
    })
    .await;
    let (code, words) = ended("status", &fake.agent()).await;
    assert_eq!(code, 0);
    assert!(words.contains("queue      no destinations"), "{words}");
    assert!(words.contains("history    not known") && words.contains("busy"), "{words}");
}
