//! Random text, and good text with letters changed: nothing panics, every problem has a place, and
//! what is shown reads back.

use proptest::prelude::*;

use super::read;
use crate::config::{
    Problems, show,
    yaml::{self, Node},
    yaml_out,
};

/// Pieces that, in any order, reach deep into the decoder.
fn pieces() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "global:",
        "scrape_configs:",
        "remote_write:",
        "outbox:",
        "gateway: {metrics: {listen_address: ':1', ",
        "tenants: {from: token, ",
        "limits: {overrides: {a: {",
        "cluster: {enabled: true, ",
        "clustering: {enabled: true}",
        "secret_files:",
        "peers: [h:",
        "scrape_config_files:",
        "alerting:",
        "- job_name: a",
        "  - ",
        "- ",
        "\n",
        "\n  ",
        "\n    ",
        " {",
        "}",
        "[",
        "]",
        ", ",
        ": ",
        "&a ",
        "*a",
        "<<: *a",
        "!!binary ",
        "/w==",
        "null",
        "~",
        "'",
        "\"",
        "|",
        ">",
        "---",
        "...",
        "# x",
        "static_configs:",
        "targets:",
        "relabel_configs:",
        "regex: (",
        "action: keep",
        "1h",
        "-1",
        "0x",
        "1e400",
        "${",
        "$",
        "external_labels:",
        "a: $X",
        "basic_auth:",
        "http_headers:",
        "url: http://",
        "queue_config:",
        "scrape_timeout: 5m",
        "%",
        "\u{0}",
        "\t",
        "\u{feff}",
        "é",
        "?",
    ]);
    let any = prop_oneof![4 => words.prop_map(str::to_owned), 1 => ".{0,6}"];
    prop::collection::vec(any, 0..40).prop_map(|pieces| pieces.concat())
}

/// A good file with a few letters changed.
fn mutated() -> impl Strategy<Value = String> {
    const GOOD: &str = "global:\n  external_labels: {a: $HOST}\nscrape_configs:\n- &x\n  job_name: a\n  scrape_interval: 5s\n  static_configs: [{targets: ['h:1'], labels: {a: b}}]\n  relabel_configs: [{source_labels: [a], regex: '(.*)', target_label: b}]\n- <<: *x\n  job_name: b\n  basic_auth: {username: u, password: p}\nremote_write:\n- url: http://h/\n  queue_config: {max_backoff: 5s}\n  tls_config: {ca: |\n    x\n  }\noutbox: {max_bytes: 1GiB}\ncluster: {enabled: true, peers: [h], secret: s, settle: 3s, listen_address: ':1'}\ngateway: {metrics: {listen_address: ':1', tenants: {allow: [a]}, ha: {}, auth: {bearer_tokens: [{name: a, token: b}]}}}\n";
    prop::collection::vec((0..GOOD.len(), any::<char>()), 0..6).prop_map(|changes| {
        let mut letters: Vec<char> = GOOD.chars().collect();
        for (at, letter) in changes {
            letters[at] = letter;
        }
        letters.into_iter().collect()
    })
}

proptest! {
    #[test]
    fn no_text_panics_and_each_problem_is_placed(text in prop_oneof![pieces(), mutated()]) {
        match read(&text) {
            Ok(config) => {
                let shown = show::show(&config);
                prop_assert!(yaml::parse(&shown).is_ok(), "{shown}");
            }
            Err(Problems(problems)) => {
                prop_assert!(!problems.is_empty());
                for problem in problems {
                    prop_assert!(problem.place.line > 0 && problem.place.column > 0, "{problem}");
                    prop_assert!(!problem.message.contains('\n'), "{problem:?}");
                }
            }
        }
    }

    #[test]
    fn what_is_printed_reads_back(key in ".{0,8}", value in ".{0,12}") {
        let printed = yaml_out::map([
            (key.as_str(), Some(yaml_out::list([yaml_out::text(value.as_str()), yaml_out::list([])]))),
        ])
        .to_yaml();
        let node = yaml::parse(&printed).map_err(|problem| TestCaseError::fail(format!("{problem}: {printed:?}")))?;
        let (found, list) = &node.as_map().expect("a mapping")[0];
        prop_assert_eq!(&found.text, &key);
        let list = list.as_seq().expect("a list");
        prop_assert_eq!(list[0].as_str(), Some(value.as_str()));
        prop_assert_eq!(list[1].as_seq().map(<[Node]>::len), Some(0));
    }
}
