//! What targets say against the cases of other programs, with Prometheus' verdict on each.

use std::{collections::BTreeMap, fs};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use starling::{
    cli::debug_parse,
    model::protocol::ScrapeProtocol,
    wire::{Format, content_type},
};

use crate::{conformance, read};

#[test]
fn corpora() {
    let Some(data) = conformance("textparse") else { return };
    let mut report = Report::default();
    for file in ["prometheus_unit", "expfmt_corpus", "vm_inputs", "openmetrics_corpus", "protobuf"]
    {
        for case in read(&data.join(format!("{file}.json"))).as_array().unwrap() {
            report.check(case, &body(case));
        }
    }
    for file in ["1histogram.om", "alltypes.237mfs.prom"] {
        let case = read(&data.join(format!("{file}.expected.json")));
        let body = fs::read(data.join(case["input_file"].as_str().unwrap())).unwrap();
        report.check(&case, &body);
    }
    report.finish();
}

#[test]
fn content_types() {
    let Some(data) = conformance("textparse") else { return };
    for case in read(&data.join("content_type.json")).as_array().unwrap() {
        let fallback = case["fallback_scrape_protocol"].as_str().map(|name| match name {
            "PrometheusProto" => ScrapeProtocol::PrometheusProto,
            other => panic!("the protocol `{other}` is new to this test"),
        });
        let found = content_type::parser_for(case["content_type"].as_str(), fallback);
        let name = &case["name"];
        match (case["parser"].as_str(), case["error_contains"].as_str()) {
            (Some("prometheus-text"), None) => assert_eq!(found, Ok(Format::PrometheusText)),
            (Some("openmetrics-text"), None) => assert_eq!(found, Ok(Format::OpenMetricsText)),
            (parser @ (None | Some("protobuf")), Some(expected)) => {
                let header = case["content_type"].as_str().unwrap();
                let warning = content_type::format(header).unwrap_err();
                let error = found.clone().err().unwrap_or(warning);
                assert!(error.contains(expected), "{name}: {error}");
                assert_eq!(found.ok(), parser.map(|_| Format::Protobuf), "{name}");
            }
            other => panic!("{name}: {other:?} is new to this test"),
        }
    }
}

#[derive(Default)]
struct Report {
    checked: usize,
    faults: Vec<String>,
}

impl Report {
    fn check(&mut self, case: &Value, body: &[u8]) {
        let expected = if case["expect"].is_null() { &case["prometheus"] } else { &case["expect"] };
        let id = case["id"].as_str().unwrap();
        if let Err(fault) = compare(expected, &ask(case, body)) {
            self.faults.push(format!("{id}: {fault}"));
        }
        self.checked += 1;
    }

    fn finish(self) {
        assert!(self.faults.is_empty(), "\n{}\n", self.faults.join("\n"));
        assert!(self.checked > 100, "only {} cases were found", self.checked);
    }
}

fn compare(expected: &Value, answer: &Value) -> Result<(), String> {
    let error = answer["error"].as_str();
    match (expected["ok"].as_bool().unwrap(), error) {
        (true, Some(error)) => return Err(format!("refused: {error}")),
        (false, None) => return Err(format!("accepted, expected {}", expected["error"])),
        // What was read before the error is not kept, so it is not compared.
        (false, Some(_)) => return Ok(()),
        (true, None) => {}
    }
    let expected: Vec<_> = expected["entries"].as_array().unwrap().iter().map(canonical).collect();
    let found: Vec<_> = answer["entries"].as_array().unwrap().iter().map(canonical).collect();
    match expected.iter().zip(&found).find(|(expected, found)| expected != found) {
        Some((expected, found)) => Err(format!("expected {expected}\n    found {found}")),
        None if expected.len() != found.len() => {
            Err(format!("expected {} entries, found {}", expected.len(), found.len()))
        }
        None => Ok(()),
    }
}

/// The stored NaN shows its bits in the cases.
fn canonical(entry: &Value) -> String {
    let sorted: BTreeMap<_, _> = entry.as_object().unwrap().iter().collect();
    json!(sorted).to_string().replace("NaN:7ff8000000000001", "NaN")
}

fn ask(case: &Value, body: &[u8]) -> Value {
    let mut question = json!({
        "input_b64": STANDARD.encode(body),
        "content_type": case["content_type"],
    });
    if let Some(options) = case["options"].as_object() {
        question.as_object_mut().unwrap().extend(options.clone());
    }
    let mut answer = Vec::new();
    debug_parse::run(format!("{question}\n").as_bytes(), &mut answer).unwrap();
    serde_json::from_slice(&answer).unwrap()
}

fn body(case: &Value) -> Vec<u8> {
    match (case["input_base64"].as_str(), case["input"].as_str()) {
        (Some(base64), _) => STANDARD.decode(base64).unwrap(),
        (None, Some(text)) => text.as_bytes().to_vec(),
        (None, None) => panic!("{} has no input", case["id"]),
    }
}
