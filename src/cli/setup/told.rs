//! What `starling setup` has done, or would do, and what to do next. Pure, and without the secret.

use std::path::Path;

use crate::cli::setup::{Flags, secret::Step, section::Added};

pub(super) fn told(
    flags: &Flags,
    config_file: &Path,
    added: &Added,
    step: &Step,
    host: &str,
) -> String {
    let mut lines = Vec::new();
    if let Some(path) = &added.secret_file {
        lines.push(format!("{}: {}", path.display(), secret(flags, step)));
    }
    let (config, would) = (config_file.display(), would(flags));
    if added.text.is_some() {
        lines.push(format!("{config}: {would}added at its end:\n"));
        lines.extend(added.addition.lines().map(indented));
        lines.push(String::new());
    } else {
        lines.push(format!("{config}: has all that was asked for"));
    }
    if !added.divides {
        lines.push("No job is divided yet: give those whose targets the members shall share `clustering: { enabled: true }`.".to_owned());
    }
    if flags.dry_run {
        lines.push("Nothing was changed.".to_owned());
    } else if !flags.print_secret {
        // A script that asks for the secret goes on by itself.
        lines.extend(next(flags, added, host));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn would(flags: &Flags) -> &'static str {
    if flags.dry_run { "would be " } else { "" }
}

fn secret(flags: &Flags, step: &Step) -> String {
    let (group, would) = (&flags.group, would(flags));
    match step {
        Step::Make(_) => {
            format!("{would}made: a new secret, which root and group `{group}` may read")
        }
        Step::Take(_) => format!("{would}written: the secret from standard input"),
        Step::Keep => "the secret is there".to_owned(),
        Step::Permit => {
            format!("the secret is there; its rights {would}set to 0640, root and group `{group}`")
        }
    }
}

fn next(flags: &Flags, added: &Added, host: &str) -> Vec<String> {
    let mut lines = vec![
        "Nothing was started. To start it, or to have the change where it runs already:\n"
            .to_owned(),
        indented("systemctl enable --now starling"),
        indented("systemctl restart starling"),
    ];
    // Who brings the secret knows the way.
    if let Some(path) = added.secret_file.as_ref().filter(|_| !flags.secret_stdin) {
        let setup = format!("starling setup{} --secret-stdin", for_others(flags));
        lines.push("\nOn each other host, with the same secret:\n".to_owned());
        lines.push(indented(format!("ssh root@{host} cat {} | {setup}", path.display())));
    }
    lines
}

/// The flags as they are typed on the next host, where what is said of this one alone is left out.
fn for_others(flags: &Flags) -> String {
    let mut words = Vec::new();
    if flags.mdns {
        words.push(" --mdns".to_owned());
    }
    if !flags.peers.is_empty() {
        words.push(format!(" --peers {}", flags.peers.join(",")));
    }
    for (flag, value) in [("cluster", &flags.cluster), ("remote-write", &flags.remote_write)] {
        words.extend(value.iter().map(|value| {
            let quoted = value.replace('\'', r"'\''");
            format!(" --{flag} '{quoted}'")
        }));
    }
    words.concat()
}

fn indented(line: impl AsRef<str>) -> String {
    let line = line.as_ref();
    if line.is_empty() { String::new() } else { format!("  {line}") }
}
