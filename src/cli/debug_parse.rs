//! `starling debug parse`: a scraped body in, its entries out, as JSON lines. It serves support and
//! the conformance tests, so it goes through the parser that scrapes go through.

use std::io::{self, BufRead, Write};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    model::sample::{Exemplar, PointValue, normalise},
    wire::{Entry, Exposed, ParseOptions, Series, content_type, float, native},
};

/// What stands on a line of the input.
#[derive(Deserialize)]
#[serde(default)]
#[expect(clippy::struct_excessive_bools, reason = "the options are those of the contract")]
struct Question {
    input_b64: String,
    content_type: String,
    /// Classic histograms become native ones with custom buckets.
    nhcb: bool,
    /// Classic series are kept beside native histograms.
    classic: bool,
    ignore_native: bool,
    /// `_created` says when a series started and is none itself.
    skip_st: bool,
    type_and_unit: bool,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            input_b64: String::new(),
            content_type: String::new(),
            nhcb: false,
            classic: false,
            ignore_native: false,
            skip_st: true,
            type_and_unit: false,
        }
    }
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
    let options = ParseOptions {
        native: !question.ignore_native,
        classic: question.classic,
        custom_buckets: question.nhcb,
        starts: question.skip_st,
        keeps_created: false,
        type_and_unit: question.type_and_unit,
    };
    for entry in Exposed::new(format, &body, options).parser() {
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
    let mut json = match series.value {
        PointValue::Float(value) => {
            json!({ "kind": "series", "value": float::shortest(normalise(value)) })
        }
        PointValue::Histogram(histogram) => {
            json!({ "kind": "histogram", "histogram": native::shown(histogram) })
        }
    };
    json["labels"] = labels.into();
    if let Some(timestamp_ms) = series.timestamp_ms {
        json["timestamp_ms"] = timestamp_ms.into();
    }
    if let Some(start_ms) = series.start_ms {
        json["start_timestamp_ms"] = start_ms.into();
    }
    if !series.exemplars.is_empty() {
        json["exemplars"] = series.exemplars.decode().iter().map(exemplar_json).collect();
    }
    json
}

fn exemplar_json(exemplar: &Exemplar) -> Value {
    let labels: Map<_, _> =
        exemplar.labels.iter().map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    let mut json = json!({ "labels": labels, "value": float::shortest(exemplar.value) });
    if let Some(timestamp_ms) = exemplar.timestamp_ms {
        json["timestamp_ms"] = timestamp_ms.into();
    }
    json
}
