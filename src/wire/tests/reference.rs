//! A slow reading of both text formats, by one regular expression a word, that the parser is held
//! against. It says what a body holds, or that it is not to be taken; not where or why.

use std::{cell::RefCell, collections::HashMap};

use regex::bytes::Regex;

use crate::wire::float;

const NAME: &str = r"[a-zA-Z_:][a-zA-Z0-9_:]*";
const QUOTED_NAME: &str = r#""((?:\\[^\n\x00]|[^\\"\x00])*)""#;
const PLAIN_LABEL: &str = "([a-zA-Z_][a-zA-Z0-9_]*)";

#[derive(Default)]
pub(super) struct Reference {
    compiled: RefCell<HashMap<String, Regex>>,
}

struct Cursor<'a> {
    body: &'a [u8],
    reference: &'a Reference,
}

/// What a body holds, each entry put as `tests::shown` puts it.
pub(super) type Reading = Option<Vec<String>>;

impl Reference {
    pub(super) fn exposition(&self, body: &[u8]) -> Reading {
        let mut cursor = Cursor { body, reference: self };
        let mut entries = Vec::new();
        let mut kind = String::new();
        while !cursor.body.is_empty() {
            if cursor.eat(r"[ \t]*(?:\n|$)").is_some() {
                continue;
            }
            if cursor.eat(r"[ \t]*#[ \t]+HELP[ \t]+").is_some() {
                let family = cursor.family()?;
                let text = cursor.eat(r"[ \t]*(?:\n|$)|[^\n]([^\n]*)(?:\n|$)")?[1].clone();
                entries.push(format!("help {family} {:?}", unescape(&text, false)?));
            } else if cursor.eat(r"[ \t]*#[ \t]+TYPE[ \t]+").is_some() {
                let family = cursor.family()?;
                kind = text(&cursor.eat(r"[^\n]([^\n]*)(?:\n|$)")?[1])?;
                let known = ["counter", "gauge", "histogram", "summary", "untyped"];
                known.contains(&kind.as_str()).then_some(())?;
                entries.push(format!("type {family} {}", kind.replace("untyped", "unknown")));
            } else if cursor.eat(r"[ \t]*#[^\n]*(?:\n|$)").is_some() {
                entries.push("comment".to_owned());
            } else {
                entries.push(cursor.exposition_series(&kind)?);
            }
        }
        Some(entries)
    }

    pub(super) fn openmetrics(&self, body: &[u8]) -> Reading {
        let mut cursor = Cursor { body, reference: self };
        let mut entries = Vec::new();
        let mut kind = String::new();
        loop {
            if cursor.eat(r"# EOF\n?").is_some() {
                return cursor.body.is_empty().then_some(entries);
            }
            if cursor.eat("# HELP ").is_some() {
                let family = cursor.family()?;
                let text = cursor.eat(r" ([^\n]*)\n")?[1].clone();
                entries.push(format!("help {family} {:?}", unescape(&text, true)?));
            } else if cursor.eat("# TYPE ").is_some() {
                let family = cursor.family()?;
                kind = text(&cursor.eat(r" ([^\n]*)\n")?[1])?;
                let known = "counter gauge histogram gaugehistogram summary info stateset unknown";
                known.split(' ').any(|known| known == kind).then_some(())?;
                entries.push(format!("type {family} {kind}"));
            } else if cursor.eat("# UNIT ").is_some() {
                let family = cursor.family()?;
                let unit = String::from_utf8_lossy(&cursor.eat(r" ([^\n]*)\n")?[1]).into_owned();
                let fits = unit.is_empty() || family.ends_with(&format!("_{unit}"));
                fits.then_some(())?;
                entries.push(format!("unit {family} {unit:?}"));
            } else {
                entries.push(cursor.openmetrics_series(&kind)?);
            }
        }
    }
}

impl Cursor<'_> {
    /// The groups of `pattern`, if the rest of the body begins with it.
    fn eat(&mut self, pattern: &str) -> Option<Vec<Vec<u8>>> {
        let mut compiled = self.reference.compiled.borrow_mut();
        let regex = compiled
            .entry(pattern.to_owned())
            .or_insert_with(|| Regex::new(&format!("^(?-u:{pattern})")).unwrap());
        let groups = regex.captures(self.body)?;
        let bytes = |n| groups.get(n).map_or(Vec::new(), |group| group.as_bytes().to_vec());
        let found: Vec<_> = (0..groups.len()).map(bytes).collect();
        self.body = &self.body[found[0].len()..];
        Some(found)
    }

    fn family(&mut self) -> Option<String> {
        if let Some(found) = self.eat(QUOTED_NAME) {
            return unescape(&found[1], true);
        }
        text(&self.eat(NAME)?[0])
    }

    fn exposition_series(&mut self, kind: &str) -> Option<String> {
        let blanks = self.eat(r"[ \t]*")?[0].clone();
        let mut name = match self.eat(NAME) {
            Some(found) => Some(text(&[blanks, found[0].clone()].concat())?),
            None => None,
        };
        let mut pairs = Vec::new();
        if self.eat(r"[ \t]*\{").is_some() {
            let value = r#""((?:\\[^\n]|[^\\"])*)""#;
            while self.eat(r"[ \t]*\}").is_none() {
                let quoted = format!(r"[ \t]*{QUOTED_NAME}[ \t]*,");
                let last = format!(r"[ \t]*{QUOTED_NAME}[ \t]*\}}");
                let label =
                    format!(r"[ \t]*(?:{PLAIN_LABEL}|{QUOTED_NAME})[ \t]*=[ \t]*{value}[ \t]*,?");
                if let Some(found) = self.eat(&label) {
                    pairs.push(label_of(&found)?);
                } else if let Some(found) = self.eat(&quoted) {
                    name.replace(unescape(&found[1], true)?).is_none().then_some(())?;
                } else {
                    let found = self.eat(&last)?;
                    name.replace(unescape(&found[1], true)?).is_none().then_some(())?;
                    break;
                }
            }
        }
        let value = number(&self.eat(r"[ \t]*([^ \t\n]+)")?[1])?;
        let timestamp = match self.eat(r"[ \t]+([0-9]+)") {
            Some(found) => Some(text(&found[1])?.parse::<i64>().ok()?),
            None => None,
        };
        self.eat(r"[ \t]*(?:\n|$)")?;
        Some(series(name?, pairs, kind, &point(value, timestamp)))
    }

    fn openmetrics_series(&mut self, kind: &str) -> Option<String> {
        let mut name = match self.eat(NAME) {
            Some(found) => Some(text(&found[0])?),
            None => None,
        };
        let mut pairs = Vec::new();
        if self.eat(r"\{").is_some() {
            pairs = self.openmetrics_labels(Some(&mut name), r#""((?:\\[^\n]|[^\\"\n])*)""#)?;
        }
        let mut rest = self.openmetrics_point()?;
        if self.eat(r" # \{").is_some() {
            let value = r#""((?:\\[^\n\x00]|[^\\"\n\x00])*)""#;
            let mut labels = self.openmetrics_labels(None, value)?;
            labels.sort();
            labels.retain(|(_, value)| !value.is_empty());
            let last: std::collections::BTreeMap<_, _> = labels.into_iter().collect();
            rest = format!("{rest} exemplar {last:?} {}", self.openmetrics_point()?);
        }
        self.eat(r"\n")?;
        Some(series(name?, pairs, kind, &rest))
    }

    fn openmetrics_point(&mut self) -> Option<String> {
        let value = number(&self.eat(r" ([^ \n]+)")?[1])?;
        let mut ahead = Cursor { body: self.body, reference: self.reference };
        let timestamp = if ahead.eat(r" # \{").is_none()
            && let Some(found) = self.eat(r" ([^ \n]+)")
        {
            let seconds = number(&found[1]).filter(|seconds| seconds.is_finite())?;
            #[expect(clippy::cast_possible_truncation, reason = "generated times are small")]
            Some((seconds * 1000.0) as i64)
        } else {
            None
        };
        Some(point(value, timestamp))
    }

    fn openmetrics_labels(
        &mut self,
        mut name: Option<&mut Option<String>>,
        value: &str,
    ) -> Option<Vec<(String, String)>> {
        let label = format!("(?:{PLAIN_LABEL}|{QUOTED_NAME})={value}(,|\\}})");
        let mut pairs = Vec::new();
        while self.eat(r"\}").is_none() {
            let end = if let Some(found) = self.eat(&label) {
                pairs.push(label_of(&found)?);
                found[4].clone()
            } else {
                let found = self.eat(&format!("{QUOTED_NAME}(,|\\}})"))?;
                name.as_mut()?.replace(unescape(&found[1], true)?).is_none().then_some(())?;
                found[2].clone()
            };
            if end == b"}" {
                break;
            }
        }
        Some(pairs)
    }
}

fn series(name: String, mut pairs: Vec<(String, String)>, kind: &str, rest: &str) -> String {
    for (name, value) in &mut pairs {
        if matches!((kind, name.as_str()), ("histogram", "le") | ("summary", "quantile"))
            && let Some(number) = number(value.as_bytes())
        {
            *value = float::canonical(number);
        }
    }
    pairs.insert(0, ("__name__".to_owned(), name));
    format!("series {pairs:?} {rest}")
}

pub(super) fn point(value: f64, timestamp_ms: Option<i64>) -> String {
    format!("{:016x} {timestamp_ms:?}", value.to_bits())
}

fn label_of(found: &[Vec<u8>]) -> Option<(String, String)> {
    let name = [found[1].clone(), found[2].clone()].concat();
    Some((unescape(&name, true)?, unescape(&found[3], true)?))
}

fn number(token: &[u8]) -> Option<f64> {
    let token = text(token)?;
    let number = r"^(?:[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?i:inf(?:inity)?)|(?i:nan))$";
    let value: f64 =
        Regex::new(number).unwrap().is_match(token.as_bytes()).then(|| token.parse())?.ok()?;
    let spelled = token.to_lowercase().contains("inf");
    (spelled || !value.is_infinite()).then_some(value)
}

fn text(bytes: &[u8]) -> Option<String> {
    String::from_utf8(bytes.to_vec()).ok()
}

fn unescape(bytes: &[u8], quotes: bool) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text(bytes)?.chars().collect::<Vec<_>>().into_iter().peekable();
    while let Some(c) = chars.next() {
        let meant = match (c, chars.peek()) {
            ('\\', Some('\\')) => '\\',
            ('\\', Some('n')) => '\n',
            ('\\', Some('"')) if quotes => '"',
            _ => {
                plain.push(c);
                continue;
            }
        };
        chars.next();
        plain.push(meant);
    }
    Some(plain)
}
