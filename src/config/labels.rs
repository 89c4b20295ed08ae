//! Label sets in a file: names and values, and what of them is legal.

use crate::{
    config::{
        decode::{Section, shown},
        problem::Place,
        yaml::{Node, Value},
    },
    model::relabel::NameValidation,
};

/// Names, values and the places of the values, in the order of the file; illegal ones are told.
pub(super) fn pairs<'n>(
    section: &mut Section<'n, '_>,
    key: &'static str,
    validation: NameValidation,
) -> Vec<(&'n str, &'n str, Place)> {
    let mut pairs = Vec::new();
    for (name, node) in section.mapping(key) {
        if !validation.allows_label(&name.text) {
            let message =
                format!("{} is not a valid label name{}", quoted(&name.text), hint(validation));
            section.problem(name.place, message);
        }
        match value(node) {
            Ok(text) => pairs.push((name.text.as_str(), text, node.place)),
            Err(message) => section.problem(node.place, format!("`{key}`: {message}")),
        }
    }
    pairs
}

/// As Go's `%q`: bytes that are no text as `\xff`.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shown(text))
}

fn value(node: &Node) -> Result<&str, String> {
    match &node.value {
        Value::Scalar { .. } => Ok(node.as_str().unwrap_or("")),
        Value::Binary(bytes) => {
            Err(format!("\"{}\" is not a valid label value", bytes.escape_ascii()))
        }
        Value::Sequence(_) | Value::Mapping(_) => {
            Err(format!("expected a text as label value, found {}", node.kind()))
        }
    }
}

fn hint(validation: NameValidation) -> &'static str {
    match validation {
        NameValidation::Utf8 => "",
        NameValidation::Legacy => {
            " under `metric_name_validation_scheme: legacy` (letters, digits and `_`)"
        }
    }
}
