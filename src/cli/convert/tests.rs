//! Files as people have them, each with what it becomes and what is told of it: `fixtures/x.alloy`
//! becomes `fixtures/x.alloy.expected`. Every output is taken by the agent's own loader.

use std::path::Path;

use super::*;
use crate::config;

/// Set it to write what is instead of comparing with what was.
const WRITE: &str = "STARLING_WRITE_FIXTURES";

const FIXTURES: [(&str, Kind); 8] = [
    ("first.alloy", Kind::Alloy),
    ("graph.alloy", Kind::Alloy),
    ("discoveries.alloy", Kind::Alloy),
    ("others.alloy", Kind::Alloy),
    ("details.alloy", Kind::Alloy),
    ("unit.service", Kind::Vmagent),
    ("agent.yaml", Kind::AgentStatic),
    ("prometheus.yml", Kind::Prometheus),
];

/// Nothing but what a test says.
pub(super) fn world<'w>(read: &'w dyn Fn(&Path) -> Result<String, String>) -> World<'w> {
    World {
        read,
        environment: &|name| (name == "TOKEN").then(|| "hunter2".to_owned()),
        host: "vm1".to_owned(),
        current: "/home".into(),
        output: None,
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/convert/fixtures")
}

/// A fixture as it is named, so that no place of this machine is in what is expected.
fn fixture(path: &Path) -> Result<String, String> {
    read(&folder().join(path)).map_err(|_| "no such file".to_owned())
}

fn converted(name: &str, kind: Option<Kind>, text: &str) -> Converted {
    let converted = convert(kind, Path::new(name), text, &world(&fixture));
    converted.unwrap_or_else(|problem| panic!("{name}: {problem}"))
}

#[track_caller]
fn check_taken(name: &str, yaml: &str) {
    if let Err(problems) = config::parse(Path::new(name), yaml, &|_| None) {
        panic!("{name} became what is refused:\n{problems}\n{yaml}");
    }
}

#[test]
fn fixtures_become_what_is_expected() {
    for (name, kind) in FIXTURES {
        let text = fixture(Path::new(name)).unwrap();
        assert_eq!(guess(Path::new(name), &text), Some(kind), "{name}");
        let converted = converted(name, None, &text);
        check_taken(name, &converted.yaml);
        assert!(converted.told.iter().all(|told| !told.message.contains("hunter2")), "{name}");
        let (head, _) = converted.yaml.split_once("\n\n").unwrap();
        assert!(!head.contains("hunter2"), "{head}");
        let expected = folder().join(format!("{name}.expected"));
        if std::env::var_os(WRITE).is_some() {
            fs::write(&expected, &converted.yaml).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap();
        assert_eq!(converted.yaml, expected, "{name}; set {WRITE}=1 to take it as it is now");
    }
}
