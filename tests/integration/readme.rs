//! What the documents show is what happens: their examples are run against a real agent, and what
//! they answer is compared with what is shown.

use std::{cell::RefCell, fs, path::Path, process::Command, time::Duration};

use serde_json::Value;
use tokio::time::timeout;

use crate::{
    eventually,
    process::{Agent, free_port},
    target::Target,
};

const PATIENCE: Duration = Duration::from_secs(60);
/// What curl ends with when `--max-time` is over, as it must be for a stream without an end.
const TIME_IS_OVER: i32 = 28;

/// A command of a block that is marked as `console`, and what is shown below it.
struct Example {
    line: usize,
    command: String,
    shown: String,
}

fn examples(text: &str) -> Vec<Example> {
    let mut found: Vec<Example> = Vec::new();
    let mut block = None;
    for (n, line) in text.lines().enumerate() {
        if let Some(mark) = line.strip_prefix("```") {
            block = if block.is_none() { Some(mark) } else { None };
        } else if block == Some("console") {
            if let Some(command) = line.strip_prefix("$ ") {
                let (line, command) = (n + 1, command.to_owned());
                found.push(Example { line, command, shown: String::new() });
            } else {
                let example = found.last_mut().expect("a block begins with a command");
                example.shown += line;
                example.shown.push('\n');
            }
        } else if block.is_some() {
            assert!(
                !line.contains("curl") || !line.contains("localhost"),
                "line {}: mark the block as `console`, so that it is run: {line}",
                n + 1
            );
        }
    }
    found
}

/// A flock of two, whose one destination takes nothing.
async fn flock(cluster: &str, directories: [&Path; 2], targets: &[Target; 2]) -> [Agent; 2] {
    let (ports, nobody) = ([free_port(), free_port()], free_port());
    let config = |name: &str, port: u16| {
        format!(
            "global: {{ scrape_interval: 1s }}\n\
             cluster: {{ enabled: true, node_name: {name}, insecure: true, \
               listen_address: '127.0.0.1:{port}', \
               name: {cluster}, peers: ['127.0.0.1:{}', '127.0.0.1:{}'] }}\n\
             scrape_configs:\n\
             - job_name: node\n  \
               clustering: {{ enabled: true }}\n  \
               static_configs:\n  \
               - {{ targets: ['{}'], labels: {{ env: prod }} }}\n  \
               - targets: ['{}', 'nowhere:9102']\n  \
               relabel_configs:\n  \
               - {{ source_labels: [__address__], regex: '.*:9102', action: drop }}\n\
             - {{ job_name: host, static_configs: [{{ targets: ['{}'] }}] }}\n\
             remote_write: [{{ name: backend, url: 'http://127.0.0.1:{nobody}/api/v1/write' }}]\n",
            ports[0], ports[1], targets[0].address, targets[1].address, targets[1].address,
        )
    };
    let agents = [
        Agent::start(directories[0], &config("a", ports[0])).await,
        Agent::start(directories[1], &config("b", ports[1])).await,
    ];
    let seen = RefCell::new(Vec::new());
    let settled = eventually("both have their share", PATIENCE * 2, || async {
        let targets = agents[0].json("/api/v1/fleet/targets").await;
        let queues = agents[0].json("/api/v1/queues").await;
        let fleet = agents[0].json("/api/v1/fleet").await;
        let verdict = agents[0].json("/api/v1/fleet/verify").await;
        let is_settled = [
            // Two that are divided, and one that each has for itself.
            targets["counts"]["up"] == 4,
            queues["destinations"][0]["oldest_age_seconds"].is_number(),
            fleet["members"][0]["samples_per_second"].is_number(),
            fleet["members"][1]["samples_per_second"].is_number(),
            verdict["ok"] == true,
        ];
        seen.replace(vec![targets, queues, fleet, verdict]);
        (is_settled == [true; 5]).then_some(())
    });
    timeout(PATIENCE, settled)
        .await
        .unwrap_or_else(|_| panic!("not settled: {:#?}", seen.borrow()));
    agents
}

async fn check(document: &str, examples_min: usize) {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap();
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let targets = [Target::start(0).await, Target::start(0).await];
    // A name of its own keeps it apart from those of other tests.
    let cluster = document.replace(['/', '.'], "-");
    let flock = flock(&cluster, [directories[0].path(), directories[1].path()], &targets).await;
    let (mut named, mut faults, mut count) = (String::new(), Vec::new(), 0);
    for example in examples(&text) {
        // Later commands use what earlier ones have found.
        if example.command.split_once('=').is_some_and(|(name, _)| is_word(name)) {
            named += &example.command;
            named.push('\n');
            continue;
        }
        count += 1;
        let found = tokio::task::block_in_place(|| run(&flock[0], &named, &example));
        if let Err(fault) = found.and_then(|found| compare(&example, &found)) {
            faults.push(format!("{document}:{}: `{}`: {fault}", example.line, example.command));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
    assert!(count >= examples_min, "{document}: {count} examples are marked, {examples_min} were");
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|letter| letter.is_ascii_lowercase())
}

fn run(agent: &Agent, named: &str, example: &Example) -> Result<String, String> {
    let address = agent.url.trim_start_matches("http://");
    let script = format!("set -eo pipefail\n{named}{}\n", example.command);
    let binary = Path::new(env!("CARGO_BIN_EXE_starling")).parent().unwrap();
    let output = Command::new("bash")
        .args(["-c", &script.replace("localhost:9733", address)])
        .env("PATH", format!("{}:{}", binary.display(), std::env::var("PATH").unwrap()))
        .env("STARLING_URL", &agent.url)
        .output()
        .unwrap();
    let out = String::from_utf8(output.stdout).unwrap();
    let code = output.status.code().unwrap();
    if code != 0 && !(code == TIME_IS_OVER && example.command.contains("--max-time")) {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("ends with {code}, and says: {said}{out}"));
    }
    Ok(out)
}

fn compare(example: &Example, found: &str) -> Result<(), String> {
    if example.shown.starts_with(['{', '[']) {
        // What is left out is shown by an ellipsis behind the last thing that is not.
        let shown = example.shown.replace(", …}", "}").replace(", …]", "]");
        let parse = |text: &str, whose: &str| {
            let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
            let first = values.next().ok_or_else(|| format!("{whose}: nothing"))?;
            first.map_err(|error| format!("{whose}: {error}: {text}"))
        };
        return is_like(&parse(&shown, "shown")?, &parse(found, "found")?, "");
    }
    let words = |text: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.split_whitespace().next()).map(unnumbered).collect()
    };
    let (shown_words, found_words) = (words(&example.shown), words(found));
    if let Some(missing) = shown_words.iter().find(|word| !found_words.contains(word)) {
        return Err(format!("no line begins with `{missing}` in: {found}"));
    }
    let first = example.shown.lines().next().unwrap_or_default();
    let is_first = |line: &str| match first.strip_suffix('…') {
        Some(start) => line.starts_with(start),
        None => line == first,
    };
    // Tables are as wide as what is in them.
    if example.command.starts_with("curl") && !found.lines().any(is_first) {
        return Err(format!("expected `{first}` in: {found}"));
    }
    Ok(())
}

/// `310ms` and `8ms` are one.
fn unnumbered(word: &str) -> String {
    word.chars().map(|letter| if letter.is_ascii_digit() { '0' } else { letter }).collect()
}

/// Whether `found` has all that `shown` has, of the same types; truths must be the same.
fn is_like(shown: &Value, found: &Value, at: &str) -> Result<(), String> {
    match (shown, found) {
        (Value::Object(shown), Value::Object(found)) => {
            shown.iter().try_for_each(|(name, shown)| {
                let at = format!("{at}.{name}");
                let found = found.get(name).ok_or_else(|| format!("no `{at}` in the answer"))?;
                is_like(shown, found, &at)
            })
        }
        (Value::Array(shown), Value::Array(found)) => match (shown.first(), found.first()) {
            (Some(shown), Some(found)) => is_like(shown, found, &format!("{at}[0]")),
            (Some(_), None) => Err(format!("`{at}` is empty")),
            (None, _) => Ok(()),
        },
        (Value::Null, _)
        | (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_)) => Ok(()),
        (shown, found) if shown == found => Ok(()),
        (shown, found) => Err(format!("`{at}` is shown as {shown}, and is {found}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_shows_what_happens() {
    check("README.md", 11).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_the_api_shows_what_happens() {
    check("docs/api.md", 18).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_of_history_shows_what_happens() {
    check("docs/history.md", 3).await;
}

/// What a heading is called in a link, as GitHub has it.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn the_links_of_the_documents_lead_somewhere() {
    assert_eq!(anchor("## Starling's own: `admin`"), "starlings-own-admin");
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let in_folder = |folder: &str| {
        let entries = fs::read_dir(home.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.extension().is_some_and(|end| end == "md")).collect::<Vec<_>>()
    };
    let (mut faults, mut count) = (Vec::new(), 0);
    for document in [in_folder("."), in_folder("docs")].concat() {
        let text = fs::read_to_string(&document).unwrap();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        for (link, _) in links.filter(|(link, _)| !link.contains("://")) {
            count += 1;
            let (file, place) = link.split_once('#').unwrap_or((link, ""));
            let found = if file.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(file)
            };
            let is_there = found.exists()
                && (place.is_empty()
                    || fs::read_to_string(&found)
                        .unwrap()
                        .lines()
                        .any(|line| line.starts_with('#') && anchor(line) == place));
            if !is_there {
                faults.push(format!("{}: `{link}`", document.display()));
            }
        }
    }
    assert!(faults.is_empty(), "lead nowhere:\n{}", faults.join("\n"));
    assert!(count > 50, "only {count} links are seen");
}

#[test]
fn what_is_missing_in_an_answer_is_found() {
    let check = |shown: &str, found: &str, fault: &str| {
        let example = Example { line: 1, command: "curl".to_owned(), shown: shown.to_owned() };
        match compare(&example, found) {
            Ok(()) => assert_eq!(fault, "", "{shown} beside {found}"),
            Err(told) => assert!(!fault.is_empty() && told.contains(fault), "{told}"),
        }
    };
    check(r#"{"a": 1, "b": [{"c": "x", …}], …}"#, r#"{"b":[{"c":"y","d":1}],"a":2,"e":3}"#, "");
    check(r#"{"a": 1, "b": 2}"#, r#"{"a": 1}"#, "no `.b`");
    check(r#"{"a": [{"b": 1}]}"#, r#"{"a": []}"#, "`.a` is empty");
    check(r#"{"a": 1}"#, r#"{"a": "1"}"#, "`.a` is shown as 1");
    check(r#"{"ok": true}"#, r#"{"ok": false}"#, "`.ok` is shown as true");
    check(r#"{"a": null}"#, r#"{"a": 1}"#, "");
    check("It is.\n", "It is.\n", "");
    check("It is.\n", "It was.\n", "expected `It is.`");
    check("# HELP …\n", "# HELP a b\n", "");
}
