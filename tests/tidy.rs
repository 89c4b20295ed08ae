//! Keeps the house in order: the floors, the length of files, and the opening line of each.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the source tree should panic")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The floors, from the ground up. A module may name only modules of rows above its own.
const FLOORS: &[&[&str]] = &[
    &["model"],
    &["config", "wire"],
    &["runtime"],
    &["discovery", "fleet", "history", "outbox"],
    &["ownership"],
    &["gateway", "scrape"],
    &["chronicle", "survey"],
    &["admin", "reload"],
    &["app"],
    &["cli"],
];

/// Test modules at the end of a file are not counted.
const LINES_MAX: usize = 500;

#[test]
fn tidy() {
    let faults: Vec<String> =
        rust_files(Path::new("src")).iter().flat_map(|path| faults_in(path)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn faults_in(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
    let at = path.display();
    let mut faults = Vec::new();

    if !text.starts_with("//!") {
        faults.push(format!("{at}: does not open with a `//!` line"));
    }
    if code.lines().count() > LINES_MAX {
        faults.push(format!("{at}: has more than {LINES_MAX} lines"));
    }

    let floors = floors();
    let home = path.iter().nth(1).unwrap().to_str().unwrap().trim_end_matches(".rs");
    let Some(&own) = floors.get(home) else {
        if !["main", "lib"].contains(&home) {
            faults.push(format!("{at}: `{home}` stands on no floor; add it to FLOORS"));
        }
        return faults;
    };
    for name in crate_paths(code) {
        if name != home && floors.get(name.as_str()).is_some_and(|&other| other >= own) {
            faults.push(format!("{at}: `{home}` reaches up or across to `{name}`"));
        }
    }
    faults
}

fn floors() -> BTreeMap<&'static str, usize> {
    FLOORS.iter().enumerate().flat_map(|(n, row)| row.iter().map(move |&name| (name, n))).collect()
}

/// The first segment of every `crate::…` path outside comments, groups included.
fn crate_paths(code: &str) -> Vec<String> {
    let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.push(first_word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = 0;
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    found.push(first_word(group[start..at].trim()));
                    start = at + 1;
                    if c == '}' {
                        break;
                    }
                }
                _ => {}
            }
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}
