//! `starling debug compatibility`: every field of Prometheus' scrape and remote-write configuration,
//! and what becomes of it here. Nothing of that is claimed: each field is typed into a configuration,
//! alone, and what the reader of configurations says of it stands in the table.

mod discoveries;
mod fields;

use std::{collections::BTreeSet, fmt::Write, path::Path};

use crate::{
    cli::compatibility::{discoveries::DISCOVERIES, fields::SECTIONS},
    config,
};

/// A mapping of the configuration, as Prometheus' manual divides it.
struct Section {
    title: &'static str,
    /// Whole configurations with `@` where the fields go; of what is the same in several places one
    /// each.
    places: &'static [&'static str],
    /// What must stand beside a field for the mapping to be whole.
    base: &'static [(&'static str, &'static str)],
    fields: &'static [Field],
}

/// A key, a value for it, and where it differs from Prometheus, how.
struct Field(&'static str, &'static str, &'static str);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Answer {
    Supported,
    /// Taken, with a warning.
    Warned(String),
    Refused(String),
}

/// The page of the documentation.
pub fn page() -> String {
    let mut page = String::from(HEAD);
    for section in SECTIONS.iter().chain(DISCOVERIES) {
        // Writing to a string does not fail.
        let _ = write!(page, "\n## {}\n\n| field | here | |\n|---|---|---|\n", section.title);
        for field in section.fields {
            let Field(key, _, note) = field;
            let (word, told) = match section.answer(field) {
                Answer::Supported if note.is_empty() => ("supported", String::new()),
                Answer::Supported => ("differs", (*note).to_owned()),
                Answer::Warned(told) => ("differs", with_note(&told, note)),
                Answer::Refused(told) => ("not supported", with_note(&told, note)),
            };
            let _ = writeln!(page, "| `{key}` | {word} | {} |", told.replace('|', "\\|"));
        }
    }
    page
}

const HEAD: &str = "\
# Compatibility with Prometheus

What Starling does with each field of Prometheus' scrape and remote-write configuration. This page is printed by
`starling debug compatibility`, which types each field into a configuration, alone, and tells what `starling check`
says of it; so it is true of the very binary that printed it.

- **supported**: means what it means in Prometheus.
- **differs**: is taken; how it differs stands beside it, in the words of the warning where there is one.
- **not supported**: is an error, with these words and its place.
";

fn with_note(told: &str, note: &str) -> String {
    if note.is_empty() { told.to_owned() } else { format!("{told}; {note}") }
}

impl Section {
    /// The worst of all its places.
    fn answer(&self, field: &Field) -> Answer {
        let answers: BTreeSet<Answer> =
            self.places.iter().map(|place| ask(&self.text(place, field))).collect();
        answers.into_iter().next_back().unwrap_or(Answer::Supported)
    }

    fn text(&self, place: &str, Field(key, value, _): &Field) -> String {
        // A secret, the file of it and a name for it stand in each other's place.
        let own = key.trim_end_matches("_file").trim_end_matches("_ref");
        let beside = self.base.iter().filter(|(other, _)| other != key && *other != own);
        let fields: Vec<_> = beside
            .map(|(other, value)| format!("{other}: {value}"))
            .chain([format!("{key}: {value}")])
            .collect();
        place.replace('@', &fields.join(", "))
    }
}

fn ask(text: &str) -> Answer {
    let shown = |message: &str| {
        let place = message.splitn(4, ':').nth(3);
        place.unwrap_or(message).trim().to_owned()
    };
    match config::parse(Path::new("prometheus.yml"), text, &|_| None) {
        Ok(config) => match config.warnings.first() {
            None => Answer::Supported,
            Some(warning) => Answer::Warned(shown(warning)),
        },
        Err(problems) => {
            let all = problems.to_string();
            Answer::Refused(shown(all.lines().next().unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_refused_as_not_supported() {
        for section in SECTIONS.iter().chain(DISCOVERIES) {
            for field in section.fields {
                if let Answer::Refused(told) = section.answer(field) {
                    assert!(
                        told.contains("not supported"),
                        "{} `{}`: {told}",
                        section.title,
                        field.0
                    );
                }
            }
        }
    }

    #[test]
    fn a_field_stands_once_in_its_section() {
        for section in SECTIONS.iter().chain(DISCOVERIES) {
            let keys: BTreeSet<_> = section.fields.iter().map(|field| field.0).collect();
            assert_eq!(keys.len(), section.fields.len(), "{}", section.title);
        }
    }

    #[test]
    fn what_nobody_knows_is_not_taken_for_supported() {
        for section in SECTIONS.iter().chain(DISCOVERIES) {
            let answer = section.answer(&Field("no_such_field", "1", ""));
            assert!(matches!(answer, Answer::Refused(_)), "{}: {answer:?}", section.title);
        }
    }

    #[test]
    fn the_page_of_the_documentation_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/prometheus-compatibility.md");
        let written = std::fs::read_to_string(path).unwrap();
        assert!(
            written == page(),
            "make it anew: `starling debug compatibility >docs/prometheus-compatibility.md`"
        );
    }
}
