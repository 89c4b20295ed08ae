//! `starling convert` as it is typed: exit codes, what is written for whom, and no secret where people
//! look.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

const SECRET: &str = "hunter2";

fn convert(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_starling"))
        .arg("convert")
        .args(arguments)
        .current_dir(folder)
        .env("METRICS_TOKEN", SECRET)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What reads no input may be gone already.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn a_conversion_says_how_it_went() {
    let folder = tempfile::tempdir().unwrap();
    let whole = "prometheus.scrape \"a\" {\n  targets = [{__address__ = \"h:1\"}]\n  forward_to = [prometheus.remote_write.b.receiver]\n}\nprometheus.remote_write \"b\" {\n  endpoint {\n    url = \"http://b/w\"\n    bearer_token = sys.env(\"METRICS_TOKEN\")\n  }\n}\n";
    let partly = format!(
        "{whole}loki.write \"l\" {{\n  endpoint {{\n    url = \"http://u:{SECRET}@l/\"\n  }}\n}}\n"
    );
    let broken = format!("{whole}a = \"{SECRET}");
    fs::write(folder.path().join("whole.alloy"), whole).unwrap();
    fs::write(folder.path().join("partly.alloy"), &partly).unwrap();
    for (arguments, input, code, told) in [
        (
            &["whole.alloy"][..],
            "",
            0,
            "whole.alloy:8:20: the value that the environment variable `METRICS_TOKEN` has now stands in the output (differs)\n",
        ),
        (
            &["partly.alloy", "-o", "partly.yml"],
            "",
            3,
            "partly.alloy:11:1: `loki.write \"l\"`: logs are not collected yet",
        ),
        (
            &["partly.alloy", "-o", "partly.yml"],
            "",
            2,
            "starling: `partly.yml`: it is there already; `--force` replaces it\n",
        ),
        (&["partly.alloy", "-o", "partly.yml", "--force"], "", 3, "(not carried over)"),
        (&["--from=alloy", "-"], whole, 0, "-:8:20: "),
        (&["-"], "vmagent -remoteWrite.url=http://h/w", 0, ""),
        (&["--from=alloy", "-"], &broken, 2, "starling: -:11:5: a text does not end on its line"),
        (&["absent.alloy"], "", 2, "starling: `absent.alloy`: No such file"),
        (&["."], "", 2, "starling: `.`: expected a file, found a folder"),
        (&["--from=none", "-"], "", 2, "invalid value 'none'"),
    ] {
        let output = convert(folder.path(), arguments, input);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(told) && !said.contains(SECRET), "{arguments:?}: {said}");
        let is_shown = code != 2 && !arguments.contains(&"-o");
        assert_eq!(!output.stdout.is_empty(), is_shown, "{arguments:?}");
    }
    let written = folder.path().join("partly.yml");
    assert_eq!(fs::metadata(&written).unwrap().permissions().mode() & 0o777, 0o600);
    let written = fs::read_to_string(&written).unwrap();
    assert!(written.contains(&format!("bearer_token: {SECRET}")), "{written}");
    assert!(written.contains("#   partly.alloy:11:1: `loki.write"), "{written}");

    let checked = Command::new(env!("CARGO_BIN_EXE_starling"))
        .args(["check", "--strict", "partly.yml"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", text(&checked.stdout));
}
