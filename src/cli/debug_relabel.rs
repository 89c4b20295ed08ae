//! `starling debug relabel`: applies relabelling rules to label sets, one JSON object a line in and
//! out. The way from a question in a chat to an answer without an agent that runs.
//!
//! In: `{"input": {"a": "1"}, "config": "- target_label: b\n  replacement: x"}`.
//! Out: `{"drop": false, "output": {"a": "1", "b": "x"}}`, or `{"error": "…"}`.

use std::{
    collections::BTreeMap,
    io::{self, BufRead, Write},
};

use serde::{Deserialize, Serialize};

use crate::{
    config,
    model::{
        labels::Labels,
        relabel::{self, NameValidation},
    },
};

pub fn run(input: impl BufRead, mut output: impl Write) -> io::Result<()> {
    for line in input.lines() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = answer(&line).unwrap_or_else(|error| Answer::Failed { error });
        serde_json::to_writer(&mut output, &answer)?;
        output.write_all(b"\n")?;
        // Whoever asks line by line waits for each.
        output.flush()?;
    }
    Ok(())
}

#[derive(Deserialize)]
struct Question {
    input: BTreeMap<String, String>,
    config: String,
    #[serde(default)]
    name_validation_scheme: Scheme,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Scheme {
    #[default]
    Utf8,
    Legacy,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Answer {
    Relabelled { drop: bool, output: Option<BTreeMap<String, String>> },
    Failed { error: String },
}

fn answer(line: &str) -> Result<Answer, String> {
    let question: Question = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let validation = match question.name_validation_scheme {
        Scheme::Utf8 => NameValidation::Utf8,
        Scheme::Legacy => NameValidation::Legacy,
    };
    let rules = config::relabel_rules(&question.config, validation)
        .map_err(|problems| problems.to_string())?;
    let labels: Labels = question.input.into_iter().collect();
    let output = relabel::apply(&rules, labels).map(|labels| {
        labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    });
    Ok(Answer::Relabelled { drop: output.is_none(), output })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_line_by_line() {
        let asked = concat!(
            r#"{"input":{"a":"1","e":""},"config":"- {target_label: b, replacement: x}"}"#,
            "\n\n",
            r#"{"input":{"a":"1"},"config":"- {action: drop}"}"#,
            "\n",
            r#"{"input":{},"config":"- {action: nothing}"}"#,
            "\n",
            r#"{"input":{},"config":"- {target_label: a-b}","name_validation_scheme":"legacy"}"#,
            "\nnonsense\n",
        );
        let mut told = Vec::new();
        run(asked.as_bytes(), &mut told).unwrap();
        let told = String::from_utf8(told).unwrap();
        let lines: Vec<&str> = told.lines().collect();
        assert_eq!(lines[0], r#"{"drop":false,"output":{"a":"1","b":"x"}}"#);
        assert_eq!(lines[1], r#"{"drop":true,"output":null}"#);
        for (line, expected) in lines[2..].iter().zip(["unknown relabel action", "invalid", ""]) {
            assert!(line.starts_with(r#"{"error":""#) && line.contains(expected), "{line}");
        }
        assert_eq!(lines.len(), 5);
    }
}
