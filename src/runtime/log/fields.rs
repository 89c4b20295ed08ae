//! What an event carries, and what a line of it looks like: as text, as JSON, as an entry of the journal.

use std::{
    borrow::Cow,
    fmt::{Debug, Write as _},
};

use serde_json::{Map, Value};
use tracing::{
    Level, Metadata,
    field::{Field, Visit},
};

use crate::model::time::rfc3339;

/// Where in the code a line comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) level: Level,
    /// What `tracing` calls the target.
    pub(super) module: &'a str,
    pub(super) module_path: Option<&'a str>,
    pub(super) file: Option<&'a str>,
    pub(super) line: Option<u32>,
}

impl<'a> Place<'a> {
    pub(super) fn of(metadata: &'a Metadata<'a>) -> Self {
        Self {
            level: *metadata.level(),
            module: metadata.target(),
            module_path: metadata.module_path(),
            file: metadata.file(),
            line: metadata.line(),
        }
    }
}

/// Message and fields; of a name that comes twice the inner one stays.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) message: String,
    pub(super) values: Vec<(&'static str, Value)>,
}

impl Fields {
    pub(super) fn put(&mut self, name: &'static str, value: Value) {
        // `log.*` is how the bridge from `log` carries what `normalized_metadata` gives back.
        if name.starts_with("log.") {
            return;
        }
        match self.values.iter_mut().find(|(own, _)| *own == name) {
            Some((_, own)) => *own = value,
            None => self.values.push((name, value)),
        }
    }
}

impl Fields {
    /// The message and what it is about, as one line to read.
    fn in_words(&self) -> String {
        let mut words = on_one_line(&self.message).into_owned();
        for (name, value) in &self.values {
            // Quoted where a reader could not tell the end of it.
            let shown = match value {
                Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
                    format!("{text:?}")
                }
                other => on_one_line(&plain(other)).into_owned(),
            };
            let _ = write!(words, " {name}={shown}");
        }
        words
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        let number = serde_json::Number::from_f64(value);
        self.put(field.name(), number.map_or_else(|| value.to_string().into(), Value::Number));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.put(field.name(), value.into());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

pub(super) fn text_line(now_ms: i64, place: &Place<'_>, fields: &Fields) -> String {
    let (time, level, module) = (rfc3339(now_ms), place.level, place.module);
    format!("{time} {level:>5} {module}: {}\n", fields.in_words())
}

pub(super) fn json_line(now_ms: i64, place: &Place<'_>, fields: &Fields) -> String {
    let mut object: Map<String, Value> =
        fields.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    object.insert("time".to_owned(), rfc3339(now_ms).into());
    object.insert("level".to_owned(), place.level.as_str().to_ascii_lowercase().into());
    object.insert("module".to_owned(), place.module.into());
    object.insert("message".to_owned(), fields.message.clone().into());
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

/// Hands `send` the event as a record whose key-values become fields of the journal. `journalctl` shows
/// the message alone, so that says them, too; `EVENT` is what it always begins with.
pub(super) fn journal_record<T>(
    place: &Place<'_>,
    fields: &Fields,
    send: impl FnOnce(&log::Record<'_>) -> T,
) -> T {
    let event = ("event".to_owned(), on_one_line(&fields.message).into_owned());
    let values = fields
        .values
        .iter()
        .map(|(name, value)| (journal_name(name), on_one_line(&plain(value)).into_owned()));
    let values: Vec<(String, String)> = std::iter::once(event).chain(values).collect();
    let pairs: Vec<(&str, &str)> =
        values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    send(
        &log::Record::builder()
            .level(journal_level(place.level))
            .target(place.module)
            .module_path(place.module_path)
            .file(place.file)
            .line(place.line)
            .args(format_args!("{}", fields.in_words()))
            .key_values(&pairs)
            .build(),
    )
}

/// Chosen by the priority that the journal client gives each level: it files `Info` under 5
/// (notice), and `journalctl -p info` means 6.
fn journal_level(level: Level) -> log::Level {
    match level {
        Level::ERROR => log::Level::Error,
        Level::WARN => log::Level::Warn,
        Level::INFO => log::Level::Debug,
        _ => log::Level::Trace,
    }
}

/// A second value under a name of the journal's own is seen by nobody: `journalctl` shows the first.
fn journal_name(name: &str) -> String {
    const OWN: &[&str] = &[
        "code_file",
        "code_line",
        "code_module",
        "event",
        "message",
        "priority",
        "syslog_identifier",
        "syslog_pid",
        "target",
    ];
    if OWN.contains(&name.to_ascii_lowercase().as_str()) {
        format!("field_{name}")
    } else {
        name.to_owned()
    }
}

fn plain(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Control characters escaped: what a target or a file says can't forge a line or paint a terminal.
fn on_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if c.is_control() {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// The message alone, for which the rest need not be written out.
#[derive(Default)]
pub(super) struct Message(pub(super) String);

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
