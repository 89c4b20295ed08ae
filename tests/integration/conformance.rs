//! The conformance data's own black-box tools, run over the real binary.
//! Where the data is absent, each test says so and passes.

#![expect(clippy::print_stdout, reason = "what the tools said is what a reader of a failure needs")]

use std::{path::PathBuf, process::Command};

const AGENT: &str = env!("CARGO_BIN_EXE_starling");

/// Cases that Starling answers otherwise on purpose, or cannot answer yet, each with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("rw1-retries-400", "a 400 is bisected, so that one bad sample does not cost the batch"),
    ("rwb-429-no-retry", "a 429 asks for patience: dropping the samples would lose data"),
    ("scrape_config_files_glob.good.yml", "includes a file with a discovery that is not here"),
];

/// Every step of the command line against every corpus.
#[test]
fn relabelling_parsing_and_checking_over_the_command_line() {
    let Some(data) = data() else { return };
    let output = Command::new("python3")
        .arg(data.join("corpus_check.py"))
        .arg(&data)
        .args(["--relabel-cmd", &format!("{AGENT} debug relabel")])
        .args(["--parse-cmd", &format!("{AGENT} debug parse")])
        .args(["--config-cmd", &format!("{AGENT} check {{file}}"), "--match-error", "-v"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let is_refused = |line: &str| REFUSED.iter().any(|(case, _)| line.ends_with(case));
    let failed: Vec<&str> =
        said.lines().filter(|line| line.starts_with("FAIL ") && !is_refused(line)).collect();
    assert!(failed.is_empty(), "{failed:#?}\n{said}");
    for family in [
        "relabel/relabel.json",
        "textparse/prometheus_unit.json",
        "textparse/openmetrics_corpus.json",
        "textparse/protobuf.json",
        "config/bad.json",
    ] {
        let line = said.lines().find(|line| line.starts_with(family));
        assert!(line.is_some_and(|line| line.ends_with(" 0 failed")), "{family}:\n{said}");
    }
}

#[test]
fn scraping_and_remote_write_as_a_black_box() {
    let Some(data) = data() else { return };
    let command = format!(
        "{AGENT} run --config.file={{config}} --storage.path={{dir}}/d \
         --web.listen-address=127.0.0.1:{{port}}"
    );
    let refused: Vec<&str> = REFUSED.iter().map(|(case, _)| *case).collect();
    let groups = ["rw1", "rw2", "rw2prog", "rwbehaviour", "scrape", "sd"]
        .map(|name| format!("rw/{name}.json"));
    let output = Command::new("python3")
        .arg(data.join("rw_compliance.py"))
        .args(groups.map(|file| data.join(file)))
        .args(["--have", "3.13", "-j", "16", "--cmd", &command])
        .args(["--only", &format!("^(?!({})$)", refused.join("|"))])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for (case, reason) in REFUSED {
        println!("refused on purpose: {case}: {reason}");
    }
    println!("{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
}

pub(crate) fn data() -> Option<PathBuf> {
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance");
    let path = std::env::var_os("STARLING_CONFORMANCE")
        .map_or_else(|| PathBuf::from(beside), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    println!("skipped: no conformance data at {}", path.display());
    None
}
