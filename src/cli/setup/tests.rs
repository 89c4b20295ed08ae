//! What is told, case by case.

use clap::Parser;

use super::*;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    flags: Flags,
}

fn flags(line: &str) -> Flags {
    Line::parse_from(["setup"].into_iter().chain(line.split_whitespace())).flags
}

fn told_of(line: &str, text: &str, step: &Step) -> String {
    let flags = flags(line);
    let path = Path::new("/e/starling.yml");
    let added = section::add(path, text, &flags.asked().unwrap()).unwrap();
    told::told(&flags, path, &added, step, "vm1")
}

#[test]
fn what_was_done_and_what_is_next_is_told() {
    let made = told_of("--mdns", "", &Step::Make(Secret::new("geheim")));
    let expected = [
        "/etc/starling/cluster.secret: made: a new secret, which root and group `starling` may read\n",
        "/e/starling.yml: added at its end:\n\n  cluster:\n    enabled: true\n",
        "No job is divided yet",
        "Nothing was started",
        "  systemctl enable --now starling\n",
        "  ssh root@vm1 cat /etc/starling/cluster.secret | starling setup --mdns --secret-stdin\n",
    ];
    for expected in expected {
        assert!(made.contains(expected), "{expected:?} in {made}");
    }
    assert!(!made.contains("geheim"));

    let shared = "scrape_configs: [{job_name: a, clustering: {enabled: true}}]\n";
    let line =
        "--peers a,b --name me --cluster c --remote-write http://m/w --secret-file /s --group g";
    let taken = told_of(line, shared, &Step::Take(Secret::new("geheim")));
    assert!(taken.contains("/s: written: the secret from standard input\n"), "{taken}");
    assert!(
        taken.contains("cat /s | starling setup --peers a,b --cluster 'c' --remote-write 'http://m/w' --secret-stdin"),
        "{taken}"
    );
    assert!(!taken.contains("No job is divided") && !taken.contains("geheim"), "{taken}");

    // Who brings the secret knows the way, and a script has no use for it.
    let step = Step::Take(Secret::new("geheim"));
    let brought = told_of("--mdns --secret-stdin", shared, &step);
    assert!(brought.contains("systemctl enable") && !brought.contains("ssh"), "{brought}");
    let asked = told_of("--mdns --print-secret", shared, &step);
    assert!(asked.contains("added at its end") && !asked.contains("systemctl"), "{asked}");
}

#[test]
fn what_would_be_done_is_told_as_such() {
    let told = told_of("--mdns --dry-run", "", &Step::Make(Secret::new("geheim")));
    let expected =
        ["would be made: a new secret", "would be added at its end", "Nothing was changed."];
    for expected in expected {
        assert!(told.contains(expected), "{expected:?} in {told}");
    }
    assert!(!told.contains("systemctl"), "{told}");

    let there = "cluster: {enabled: true, mdns: true, secret_file: /s}\n";
    let told = told_of("--mdns --dry-run", there, &Step::Keep);
    assert!(told.contains("/s: the secret is there\n"), "{told}");
    assert!(told.contains("/e/starling.yml: has all that was asked for\n"), "{told}");
    let told = told_of("--mdns --dry-run", there, &Step::Permit);
    assert!(told.contains("its rights would be set to 0640"), "{told}");
}

/// It would be a secret that is kept nowhere.
#[test]
fn no_secret_is_printed_that_is_not_kept() {
    let line = ["setup", "--mdns", "--dry-run", "--print-secret"];
    assert!(Line::try_parse_from(line).is_err());
}
