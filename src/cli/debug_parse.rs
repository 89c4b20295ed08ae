//! `starling debug parse`: a scraped body in, its entries out, as JSON lines. It serves support and
//! the conformance tests, so it goes through the parser that scrapes go through.

use std::io::{self, BufRead, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    model::sample::normalise,
    wire::{Entry, Parser, Series, content_type, float},
};

/// What stands on a line of the input. Options that are not named here have no effect yet.
#[derive(Deserialize)]
struct Question {
    input_b64: String,
    #[serde(default)]
    content_type: String,
    #[serde(default)]
    nhcb: bool,
}

/// Answers each line of `input` by one of `output`.
pub fn run(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    for line in input.lines() {
        let line = line?;
        if !line.trim().is_empty() {
            writeln!(output, "{}", answer(&line))?;
        }
    }
    output.flush()
}

/// `{"entries": […]}`, with an `error` after the entries that were read before it.
pub fn answer(question: &str) -> Value {
    let mut entries = Vec::new();
    match read(question, &mut entries) {
        Ok(()) => json!({ "entries": entries }),
        Err(error) => json!({ "entries": entries, "error": error }),
    }
}

fn read(question: &str, entries: &mut Vec<Value>) -> Result<(), String> {
    let question: Question =
        serde_json::from_str(question).map_err(|error| format!("not a question: {error}"))?;
    let body = STANDARD
        .decode(&question.input_b64)
        .map_err(|error| format!("`input_b64` is not base64: {error}"))?;
    let format = content_type::parser_for(Some(&question.content_type), None)?;
    if question.nhcb {
        return Err("native histograms from classic ones are not supported yet".to_owned());
    }
    for entry in Parser::new(format, &body) {
        entries.push(entry_json(&entry.map_err(|error| error.to_string())?));
    }
    Ok(())
}

fn entry_json(entry: &Entry<'_>) -> Value {
    match entry {
        Entry::Series(series) => series_json(series),
        Entry::Type { family, kind } => {
            json!({ "kind": "type", "metric": family, "type": kind.name() })
        }
        Entry::Help { family, text } => json!({ "kind": "help", "metric": family, "help": text }),
        Entry::Unit { family, unit } => json!({ "kind": "unit", "metric": family, "unit": unit }),
        Entry::Comment(text) => json!({ "kind": "comment", "comment": text }),
    }
}

fn series_json(series: &Series<'_>) -> Value {
    let mut pairs = Vec::new();
    series.pairs(&mut pairs);
    let labels: Map<_, _> =
        pairs.into_iter().map(|(name, value)| (name.into_owned(), Value::from(value))).collect();
    let mut json = json!({
        "kind": "series",
        "labels": labels,
        "value": float::shortest(normalise(series.value)),
    });
    if let Some(timestamp_ms) = series.timestamp_ms {
        json["timestamp_ms"] = timestamp_ms.into();
    }
    if let Some(exemplar) = &series.exemplar {
        let exemplar = exemplar.decode();
        let labels: Map<_, _> = exemplar
            .labels
            .iter()
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let mut one = json!({
            "labels": labels,
            "value": float::shortest(exemplar.value),
        });
        if let Some(timestamp_ms) = exemplar.timestamp_ms {
            one["timestamp_ms"] = timestamp_ms.into();
        }
        json["exemplars"] = json!([one]);
    }
    json
}
