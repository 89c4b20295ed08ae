//! What an agent says in its log: each order in one line, a flood cut short, and under each name what
//! docs/log.md says. In a real journal, too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use regex::Regex;
use reqwest::Method;
use rustix::process::Signal;
use serde_json::Value;
use starling::{config::HttpClient, runtime::http::Caller};

use crate::{
    door::bearer,
    eventually,
    process::{Agent, Process, free_port, get},
};

const PATIENCE: Duration = Duration::from_secs(30);
const CONFIG: &str = "admin:\n  tokens:\n    - { name: boss, role: admin, token_file: boss.token }\n    \
    - { name: eye, role: read_only, token_file: eye.token }\nscrape_configs: [{ job_name: none }]\n";

/// An agent that writes JSON, and takes orders from `boss`.
struct Ordered {
    process: Process,
    url: String,
    folder: PathBuf,
}

impl Ordered {
    async fn start(folder: &Path) -> Self {
        fs::write(folder.join("starling.yml"), CONFIG).unwrap();
        fs::write(folder.join("boss.token"), "the-token-of-boss").unwrap();
        fs::write(folder.join("eye.token"), "the-token-of-eye").unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = Command::new(env!("CARGO_BIN_EXE_starling"));
        command
            .args(["run", "--log.format=json", &format!("--web.listen-address={address}")])
            .arg(format!("--config.file={}", folder.join("starling.yml").display()))
            .arg(format!("--storage.path={}", folder.join("storage").display()));
        let process = Process::start(&mut command, &folder.join("starling.log"));
        let agent = Self { process, url: format!("http://{address}"), folder: folder.to_owned() };
        let boss = bearer(Some("the-token-of-boss"));
        eventually("it was ready", PATIENCE, || async {
            let answer = agent.ask(&boss, Method::GET, "/-/ready", &[]).await;
            (answer == Some(200)).then_some(())
        })
        .await;
        agent
    }

    async fn ask(
        &self,
        client: &HttpClient,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Option<u16> {
        let url = format!("{}{path}", self.url);
        let caller = Caller::new(client);
        let mut request = caller.request(method, &url).unwrap();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.timeout(Duration::from_secs(10)).send().await.ok()?;
        Some(answer.status().as_u16())
    }

    fn write_config(&self, config: &str) {
        let new = self.folder.join("new.yml");
        fs::write(&new, config).unwrap();
        fs::rename(new, self.folder.join("starling.yml")).unwrap();
    }

    /// Who gave which order, with which outcome and status.
    fn audit(&self) -> Vec<(String, String, String, u64)> {
        let log = self.process.log();
        let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let audit = lines.filter(|line| line["module"] == "starling::audit");
        audit
            .map(|line| {
                let text = |key: &str| line[key].as_str().unwrap().to_owned();
                assert_eq!(text("message"), "an order was given");
                let level = if line["outcome"] == "taken" { "info" } else { "warn" };
                assert_eq!(text("level"), level, "{line}");
                let is_here = line["from"] == "this host";
                assert_eq!(line["method"].is_null(), is_here, "{line}");
                assert!(is_here || line["from"] == "127.0.0.1", "{line}");
                assert!(!text("role").is_empty(), "{line}");
                let status = line["status"].as_u64().unwrap_or(0);
                (text("order"), text("outcome"), text("who"), status)
            })
            .collect()
    }

    async fn audited(&self, lines: usize) {
        let what = format!("{lines} orders were told");
        eventually(&what, PATIENCE, || async { (self.audit().len() >= lines).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_order_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Ordered::start(folder.path()).await;
    let (boss, eye) = (bearer(Some("the-token-of-boss")), bearer(Some("the-token-of-eye")));
    let (nobody, stranger) = (bearer(None), bearer(Some("guessed")));
    let foreign = [("Origin", "http://evil.example")];
    let mut expected = Vec::new();
    let mut expect = |order: &str, outcome: &str, who: &str, status: u64| {
        expected.push((order.to_owned(), outcome.to_owned(), who.to_owned(), status));
        expected.len()
    };
    for (client, path, headers, (order, outcome, who, status)) in [
        (&boss, "/-/reload", &[][..], ("reload", "taken", "token boss", 200)),
        (&eye, "/-/reload", &[], ("reload", "refused", "token eye", 403)),
        (&nobody, "/-/reload", &[], ("reload", "refused", "unknown", 401)),
        (&stranger, "/-/quit", &[], ("quit", "refused", "unknown", 401)),
        (&boss, "/-/reload", &foreign, ("reload", "refused", "token boss", 403)),
        // Nobody else is there to take its share.
        (&boss, "/api/v1/drain", &[], ("drain", "refused", "token boss", 409)),
        (&boss, "/api/v1/undrain", &[], ("undrain", "taken", "token boss", 202)),
        (&boss, "/-/quit", &[], ("quit", "refused", "token boss", 403)),
        (&boss, "/nowhere", &[], ("other", "refused", "token boss", 404)),
    ] {
        let answer = agent.ask(client, Method::POST, path, headers).await;
        assert_eq!(answer, Some(u16::try_from(status).unwrap()), "{path} by {who}");
        expect(order, outcome, who, status);
    }
    // To look is no order.
    assert_eq!(agent.ask(&eye, Method::GET, "/metrics", &[]).await, Some(200));

    agent.process.signal(Signal::HUP);
    agent.audited(expect("reload", "taken", "SIGHUP", 0)).await;
    agent.write_config("scrape_configs: 7\n");
    agent.audited(expect("reload", "refused", "a changed file", 0)).await;
    agent.process.signal(Signal::HUP);
    agent.audited(expect("reload", "refused", "SIGHUP", 0)).await;
    assert_eq!(agent.ask(&boss, Method::POST, "/-/reload", &[]).await, Some(500));
    expect("reload", "refused", "token boss", 500);
    agent.write_config(CONFIG);
    agent.audited(expect("reload", "taken", "a changed file", 0)).await;
    agent.process.signal(Signal::TERM);
    expect("quit", "taken", "SIGTERM", 0);
    agent.process.ended().await;
    assert_eq!(agent.audit(), expected);
    let log = agent.process.log();
    assert!(!log.contains("the-token-of") && !log.contains("guessed"), "{log}");
}

/// Four hundred targets begin to fail within a second.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_failures_is_cut_short_and_counted() {
    const TARGETS: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let targets: Vec<String> =
        (0..TARGETS).map(|n| format!("'127.0.{}.{}:1'", 1 + n / 200, 1 + n % 200)).collect();
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs: [{{ job_name: dead, static_configs: \
         [{{ targets: [{}] }}] }}]\n",
        targets.join(", ")
    );
    let agent = Agent::start(directory.path(), &config).await;
    let summary = Regex::new(r#" left_out=(\d+) like="scrape failed" within_ms=\d+$"#).unwrap();
    let (told, left_out) = eventually("all were told or counted", PATIENCE, || async {
        let log = agent.process.log();
        let told = log.lines().filter(|line| line.contains(": scrape failed job=dead")).count();
        let sums = log.lines().filter_map(|line| summary.captures(line));
        let left_out: u64 = sums.map(|sum| sum[1].parse::<u64>().unwrap()).sum();
        (told as u64 + left_out == TARGETS).then_some((told, left_out))
    })
    .await;
    assert!((100..250).contains(&told), "{told} were told");
    // Others are heard meanwhile.
    let log = agent.process.log();
    assert!(log.contains(": starling runs ") && log.contains(": targets changed "), "{log}");
    let sums = log.lines().filter(|line| summary.is_match(line)).count();
    assert!(sums <= 3, "{sums} lines to sum up");
    let metrics = get(&format!("{}/metrics", agent.url)).await.unwrap().1;
    let count = format!("starling_log_left_out_lines_total{{level=\"warn\"}} {left_out}");
    assert!(metrics.lines().any(|line| line == count), "{count} in {metrics}");
}

const INSIDE: &str = r#"
set -e
wait_for() {
  tries=0
  until "$@"; do tries=$((tries + 1)); [ $tries -lt 200 ]; sleep 0.1; done
}
mount -t tmpfs tmpfs /run
[ ! -d /var/log/journal ] || mount -t tmpfs tmpfs /var/log/journal
# A journal of its own name leaves the kernel's messages to the host's; the agent knows one address.
mkdir -p /run/systemd
ln -s journal.starling /run/systemd/journal
"$JOURNALD" starling 2>"$FOLDER/journald.log" &
wait_for test -S /run/systemd/journal/socket
JOURNAL_STREAM=$(stat -Lc %d:%i "$FOLDER/stderr") "$@" 2>>"$FOLDER/stderr" & agent=$!
ask() { journalctl --namespace=starling --quiet "$@"; }
has() { [ -n "$(ask "$@")" ]; }
wait_for curl -sf -o "$FOLDER/answer" "$URL/-/ready"
wait_for has EVENT='scrape failed'
curl -sf -o "$FOLDER/answer" -X POST "$URL/-/reload"
kill -TERM $agent
wait $agent
wait_for has EVENT='starling has stopped'
ask --output=json JOB=dead EVENT='scrape failed' >"$FOLDER/failed"
ask --output=json TARGET=starling::audit >"$FOLDER/audit"
ask --output=cat --priority=warning >"$FOLDER/warnings"
"#;
const JOURNALD: &str = "/lib/systemd/systemd-journald";

/// A journald of the test's own, in a mount namespace, as the address of its socket is fixed.
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
#[test]
fn a_real_journal_is_asked_by_field() {
    let folder = tempfile::tempdir().unwrap();
    let inside = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]);
        command.args(["sh", "-c", script, "sh"]);
        command
    };
    let can = inside("mount -t tmpfs tmpfs /run").output();
    if !Path::new(JOURNALD).exists() || !can.is_ok_and(|output| output.status.success()) {
        println!("skipped: no journald here, or no right to make a mount namespace");
        return;
    }
    let path = |name: &str| folder.path().join(name);
    let read = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
    let config = "scrape_configs: [{ job_name: dead, scrape_interval: 1s, static_configs: \
                  [{ targets: ['127.0.0.1:1'] }] }]\n";
    fs::write(path("starling.yml"), config).unwrap();
    fs::write(path("stderr"), "").unwrap();
    let address = format!("127.0.0.1:{}", free_port());
    let output = inside(INSIDE)
        .arg(env!("CARGO_BIN_EXE_starling"))
        .args(["run", &format!("--web.listen-address={address}")])
        .arg(format!("--config.file={}", path("starling.yml").display()))
        .arg(format!("--storage.path={}", path("storage").display()))
        .env("FOLDER", folder.path())
        .env("JOURNALD", JOURNALD)
        .env("URL", format!("http://{address}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{}{}", read("stderr"), read("journald.log"));
    assert_eq!(read("stderr"), "", "what the journal has is not said twice");

    let entries = |name: &str| -> Vec<Value> {
        read(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let failed = &entries("failed")[0];
    let check = |entry: &Value, field: &str, expected: &str| {
        assert_eq!(entry[field], expected, "{field} of {entry:#}");
    };
    check(failed, "URL", "http://127.0.0.1:1/metrics");
    check(failed, "PRIORITY", "4");
    check(failed, "SYSLOG_IDENTIFIER", "starling");
    check(failed, "TARGET", "starling::scrape::failure_log");
    let message = failed["MESSAGE"].as_str().unwrap();
    assert!(message.starts_with("scrape failed job=dead url=http://127.0.0.1:1/metrics error="));
    assert!(read("warnings").lines().any(|line| line == message), "{}", read("warnings"));
    let audit = entries("audit");
    assert_eq!(audit.len(), 2, "{audit:#?}");
    check(&audit[0], "ORDER", "reload");
    check(&audit[0], "FROM", "127.0.0.1");
    check(&audit[1], "ORDER", "quit");
    check(&audit[1], "WHO", "SIGTERM");
    assert!(!read("warnings").contains("an order was given"), "{}", read("warnings"));
}

/// The names of fields, and where each is used first.
fn fields_in_the_code() -> BTreeMap<String, String> {
    let begins = Regex::new(r"\b(?:error|warn|info|debug|trace)!\(").unwrap();
    let name = Regex::new(r"^[a-z][a-z0-9_]*$").unwrap();
    let mut found = BTreeMap::new();
    for file in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        for begin in begins.find_iter(code) {
            let line = code[..begin.start()].matches('\n').count() + 1;
            let place = format!("{}:{line}", file.display());
            for part in arguments(&code[begin.end()..]) {
                if part.starts_with('"') || part.starts_with("target:") {
                    continue;
                }
                let shorthand = part.trim_start_matches(['%', '?']);
                let field = shorthand.split_once('=').map_or(shorthand, |(field, _)| field.trim());
                assert!(name.is_match(field), "{place}: `{part}` has no name of its own");
                found.entry(field.to_owned()).or_insert_with(|| place.clone());
            }
        }
    }
    found
}

/// Of the macro whose opening parenthesis is before `text`.
fn arguments(text: &str) -> Vec<String> {
    let (mut depth, mut is_string, mut found) = (0, false, vec![String::new()]);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let part = found.last_mut().unwrap();
        match c {
            '\\' if is_string => {
                chars.next();
                continue;
            }
            '"' => is_string = !is_string,
            _ if is_string => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' if depth == 0 => break,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(String::new());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    found.iter().map(|part| part.trim().to_owned()).filter(|part| !part.is_empty()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let is_test = |path: &Path| path.ends_with("tests") || path.ends_with("tests.rs");
    entries
        .filter(|path| !is_test(path))
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .collect()
}

#[test]
fn every_field_is_documented() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/log.md");
    let guide = fs::read_to_string(guide).unwrap();
    let section = guide.split("\n## Fields\n").nth(1).expect("a section of fields");
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    let named = rows.map(|row| row.split(" | ").next().unwrap().replace(['`', ' '], ""));
    let documented: BTreeSet<String> = named
        .flat_map(|names| names.split(',').map(str::to_lowercase).collect::<Vec<_>>())
        .collect();
    let used = fields_in_the_code();
    let missing: Vec<_> = used.iter().filter(|(name, _)| !documented.contains(*name)).collect();
    assert!(missing.is_empty(), "not in the table of docs/log.md: {missing:#?}");
    let gone: Vec<_> = documented.iter().filter(|name| !used.contains_key(*name)).collect();
    // Those that the log adds of itself.
    assert_eq!(gone, ["left_out", "like", "within_ms"], "in docs/log.md, and not in the code");
    assert!(used.len() > 50, "only {} were found", used.len());
}

#[test]
fn arguments_are_told_apart() {
    let check = |text: &str, expected: &[&str]| assert_eq!(arguments(text), expected, "{text}");
    check("a, %b, c = f(1, 2), \"x, \\\" (y\"); more(", &["a", "%b", "c = f(1, 2)", "\"x,  (y\""]);
    check("error = %self.why[0], \"no\",\n) }", &["error = %self.why[0]", "\"no\""]);
}
