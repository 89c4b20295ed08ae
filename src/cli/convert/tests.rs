//! Files as people have them, each with what it becomes and what is told of it: `fixtures/x.alloy`
//! becomes `fixtures/x.alloy.expected`. Every output is taken by the agent's own loader.

use std::path::Path;

use proptest::prelude::*;

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

type Read = dyn Fn(&Path) -> Result<String, String>;

/// Nothing but what a test says.
pub(super) fn world(read: &Read) -> World<'_> {
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

#[test]
fn a_path_is_right_wherever_the_output_stands() {
    let text = "scrape_configs: [{job_name: a, file_sd_configs: [{files: [a.yml]}]}]\n";
    for (output, expected) in [(None, "- a.yml"), (Some("/etc/starling"), "- /home/in/a.yml")] {
        let world = World { output: output.map(PathBuf::from), ..world(&fixture) };
        let converted = convert(None, Path::new("in/p.yml"), text, &world).unwrap();
        assert!(converted.yaml.contains(expected), "{output:?}: {}", converted.yaml);
        assert!(converted.is_whole(), "{:?}", converted.told);
    }
}

#[test]
fn a_file_is_known_by_its_content() {
    for (text, expected) in [
        ("prometheus.scrape \"a\" {\n}\n", Some(Kind::Alloy)),
        ("// x\nloki.write \"a\" { broken", Some(Kind::Alloy)),
        ("/usr/bin/vmagent --promscrape.config x", Some(Kind::Vmagent)),
        ("server: {}\nmetrics: [", Some(Kind::AgentStatic)),
        ("global:\nscrape_configs: [", Some(Kind::Prometheus)),
        ("hello: world", None),
        ("", None),
    ] {
        assert_eq!(guess(Path::new("file"), text), expected, "{text}");
    }
}

/// The file alone, as people have it in their repository.
#[test]
fn the_scrapes_of_vmagent_need_no_flags() {
    let text = "scrape_configs: [{job_name: a, stream_parse: true, static_configs: [{targets: ['h:1']}]}]\n";
    let converted = converted("vm.yml", Some(Kind::Vmagent), text);
    check_taken("vm.yml", &converted.yaml);
    assert!(converted.is_whole(), "{:?}", converted.told);
    assert!(converted.yaml.contains("honor_timestamps: false"), "{}", converted.yaml);
}

#[test]
fn what_cannot_be_understood_has_a_place() {
    let relabels = |from: &str, to: &str| {
        format!(
            "prometheus.relabel \"{from}\" {{\n  forward_to = [prometheus.relabel.{to}.receiver]\n}}\n"
        )
    };
    let circle = relabels("a", "b") + &relabels("b", "a");
    let scraped = "prometheus.scrape \"s\" {\n  targets = []\n  forward_to = [prometheus.relabel.a.receiver]\n}\n".to_owned() + &circle;
    let targets = "discovery.relabel \"a\" {\n  targets = discovery.relabel.b.output\n}\ndiscovery.relabel \"b\" {\n  targets = discovery.relabel.a.output\n}\n";
    let itself = "discovery.relabel \"a\" {\n  targets = discovery.relabel.a.output\n}\n";
    let link = |n: usize| {
        let next = n + 1;
        format!("discovery.relabel \"r{n}\" {{\n  targets = discovery.relabel.r{next}.output\n}}\n")
    };
    let long = (0..200).map(link).collect::<Vec<_>>().concat();
    let doubling: String = (0..64)
        .map(|n| {
            let one = |name: char| format!("discovery.relabel \"{name}{n}\" {{\n  targets = concat(discovery.relabel.a{m}.output, discovery.relabel.b{m}.output)\n  rule {{ target_label = \"x\" }}\n}}\n", m = n + 1);
            one('a') + &one('b')
        })
        .chain(["discovery.relabel \"a64\" {\n  targets = [{__address__ = \"h:1\"}]\n  rule { target_label = \"x\" }\n}\ndiscovery.relabel \"b64\" {\n  targets = discovery.relabel.a64.output\n  rule { target_label = \"x\" }\n}\n".to_owned()])
        .collect();
    let twice = "prometheus.scrape \"a\" { }\nprometheus.scrape \"a\" { }\n";
    for (name, text, expected) in [
        ("f.alloy", "a {", "f.alloy:1:4: expected `}`, found the end of the file"),
        ("f.alloy", &scraped, "f.alloy:9:17: `prometheus.relabel.a` passes samples on to itself"),
        ("f.alloy", &circle, "f.alloy:5:17: `prometheus.relabel.a` passes samples on to itself"),
        ("f.alloy", targets, "needs its own targets, by way of"),
        ("f.alloy", itself, "f.alloy:2:13: `discovery.relabel.a` needs its own targets"),
        ("f.alloy", &long, "components in a row"),
        ("f.alloy", &doubling, "sources"),
        ("f.alloy", twice, "f.alloy:2:1: `prometheus.scrape \"a\"` is there already"),
        ("f.txt", "hello", "`--from`"),
        ("f.yml", "scrape_configs: [\n", "f.yml:2:1: yaml: "),
        (
            "f.txt",
            "vmagent -promscrape.config=absent.yml",
            "f.txt:1:9: `-promscrape.config`: `absent.yml`: no such file",
        ),
    ] {
        let problem = convert(None, Path::new(name), text, &world(&fixture)).unwrap_err();
        assert!(problem.to_string().contains(expected), "{expected}: {problem}");
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test must say so")]
fn the_loader_takes_what_becomes_of_others_configurations() {
    let data = option_env!("STARLING_CONFORMANCE")
        .unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/conformance"));
    let Ok(files) = fs::read_dir(Path::new(data).join("config/examples")) else {
        println!("skipped: no conformance data at {data}");
        return;
    };
    let mut count = 0;
    for file in files {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        // Its name says what it is.
        if name.contains("broken") {
            assert!(convert(Some(Kind::Prometheus), &path, &text, &world(&fixture)).is_err());
            continue;
        }
        let converted = converted(name, Some(Kind::Prometheus), &text);
        check_taken(name, &converted.yaml);
        count += 1;
    }
    assert!(count > 20, "{count}");
}

/// A fixture with some of its lines gone, doubled, cut short or put elsewhere.
fn spoilt(text: &str, strokes: &[(prop::sample::Index, prop::sample::Index, u8)]) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for (at, other, stroke) in strokes {
        if lines.is_empty() {
            break;
        }
        let (n, m) = (at.index(lines.len()), other.index(lines.len()));
        match stroke % 6 {
            0 => drop(lines.remove(n)),
            1 => lines.insert(n, lines[m].clone()),
            2 => lines.swap(n, m),
            3 => {
                let cut = other.index(lines[n].chars().count() + 1);
                lines[n] = lines[n].chars().take(cut).collect();
            }
            4 => lines[n] = lines[n].replace(['"', '\''], ""),
            _ => lines[n] = lines[n].replace("= ", "= null"),
        }
    }
    lines.join("\n")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn what_comes_out_is_always_taken(
        which in 0..FIXTURES.len(),
        strokes: Vec<(prop::sample::Index, prop::sample::Index, u8)>,
    ) {
        let (name, kind) = FIXTURES[which];
        let text = spoilt(&fixture(Path::new(name)).unwrap(), &strokes);
        match convert(Some(kind), Path::new(name), &text, &world(&fixture)) {
            Ok(converted) => check_taken(name, &converted.yaml),
            // The tree is never what is at fault: whatever is refused is taken out.
            Err(problem) => prop_assert!(problem.place.line > 0 || kind == Kind::Vmagent, "{}", problem),
        }
    }
}
