//! A tree of texts, printed as YAML that reads back as the same tree.

use std::fmt::Display;

use crate::config::yaml::{Node, Value};

pub enum Shown {
    /// Quoted where it would read as something else.
    Text(String),
    /// A number or a boolean.
    Word(String),
    List(Vec<Shown>),
    Map(Vec<(String, Shown)>),
}

pub(super) fn text(text: impl Into<String>) -> Shown {
    Shown::Text(text.into())
}

pub(super) fn number(number: impl Display) -> Shown {
    Shown::Word(number.to_string())
}

pub(super) fn flag(flag: bool) -> Shown {
    Shown::Word(flag.to_string())
}

pub(super) fn list(entries: impl IntoIterator<Item = Shown>) -> Shown {
    Shown::List(entries.into_iter().collect())
}

/// Fields without a value are left out.
pub(super) fn map<'k>(fields: impl IntoIterator<Item = (&'k str, Option<Shown>)>) -> Shown {
    let fields = fields.into_iter().filter_map(|(key, shown)| Some((key.to_owned(), shown?)));
    Shown::Map(fields.collect())
}

impl Shown {
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        self.print(&mut yaml, 0);
        yaml
    }

    /// Begins where the line is already indented, ends a line.
    fn print(&self, yaml: &mut String, indent: usize) {
        match self {
            Self::Text(text) => *yaml += &quoted(text),
            Self::Word(word) => *yaml += word,
            Self::List(entries) if entries.is_empty() => *yaml += "[]",
            Self::Map(fields) if fields.is_empty() => *yaml += "{}",
            Self::List(entries) => {
                for (n, entry) in entries.iter().enumerate() {
                    next(yaml, n, indent);
                    *yaml += "- ";
                    entry.print(yaml, indent + 2);
                }
                return;
            }
            Self::Map(fields) => {
                for (n, (key, shown)) in fields.iter().enumerate() {
                    next(yaml, n, indent);
                    *yaml += &quoted(key);
                    *yaml += ":";
                    shown.print_value(yaml, indent);
                }
                return;
            }
        }
        yaml.push('\n');
    }

    fn print_value(&self, yaml: &mut String, indent: usize) {
        let (below, indent) = match self {
            Self::List(entries) => (!entries.is_empty(), indent),
            Self::Map(fields) => (!fields.is_empty(), indent + 2),
            Self::Text(_) | Self::Word(_) => (false, indent),
        };
        if below {
            yaml.push('\n');
            *yaml += &" ".repeat(indent);
        } else {
            yaml.push(' ');
        }
        self.print(yaml, indent);
    }
}

fn next(yaml: &mut String, n: usize, indent: usize) {
    if n > 0 {
        *yaml += &" ".repeat(indent);
    }
}

/// `text` as one value of a line.
pub fn quoted(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    // A JSON string is a YAML double-quoted one.
    serde_json::to_string(text).expect("a text can always be written")
}

/// Whether `text` reads as itself without quotes. Quotes too many do no harm.
fn is_plain(text: &str) -> bool {
    let letters = text.bytes().all(|b| {
        b.is_ascii_alphanumeric() || b"_-./$(){}*+^=\\<>~;:@%&?!'".contains(&b) || b == b' '
    });
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || "_/.$(<^".contains(c));
    let ends = !text.ends_with([' ', ':']) && !text.contains(": ");
    let node = Node {
        place: crate::config::problem::Place::default(),
        value: Value::Scalar { text: text.to_owned(), plain: true },
    };
    let is_typed = node.is_null()
        || node.as_bool().is_some()
        || node.as_integer().is_some()
        || node.as_float().is_some();
    letters && begins && ends && !is_typed
}
