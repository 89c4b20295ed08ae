//! Where the agent's own words go: fields in the journal when systemd started it, else one line an
//! event on standard error, as text or JSON. Records of libraries that use `log` come the same way.

use std::{
    borrow::Cow,
    fmt::{Debug, Write as _},
    io::{self, Write as _},
    str::FromStr,
};

use serde_json::{Map, Value};
use systemd_journal_logger::JournalLog;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_log::{LogTracer, NormalizeEvent};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
};

use crate::{model::time::rfc3339, runtime::clock};

/// Libraries whose `info` tells an operator nothing, and one that tells of each refused certificate
/// what the failed scrape tells once; a later directive of the user overrides.
const QUIET_LIBRARIES: &str = "actix_server=warn,actix_http=warn,rustls_platform_verifier=off";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// The journal when standard error leads there, else text.
    #[default]
    Auto,
    Json,
    Text,
}

impl Format {
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Json => "json",
            Self::Text => "text",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Auto, Self::Json, Self::Text];
        let found = all.into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| format!("`{text}` is no log format; expected `auto`, `json` or `text`"))
    }
}

/// Makes this the process's log, for good. `filter` is a level (`info`) or a list with modules
/// (`info,starling::scrape=debug`).
pub fn install(filter: &str, format: Format) -> Result<(), String> {
    let subscriber = tracing_subscriber::registry()
        .with(parse_filter(filter)?)
        .with(Lines::new(format, write_line));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| "the log is installed already".to_owned())?;
    LogTracer::init().map_err(|_| "another log is installed already".to_owned())
}

fn parse_filter(filter: &str) -> Result<EnvFilter, String> {
    // A lone word that is no level is taken for a module's name, and silences all others.
    let is_level = |part: &str| !part.is_empty() && part.parse::<LevelFilter>().is_ok();
    if let Some(part) =
        filter.split(',').map(str::trim).find(|part| !part.contains('=') && !is_level(part))
    {
        return Err(format!(
            "log level `{filter}`: found `{part}`, expected error, warn, info, debug, trace or off"
        ));
    }
    EnvFilter::builder()
        .parse(format!("{QUIET_LIBRARIES},{filter}"))
        .map_err(|error| format!("log level `{filter}`: {error}"))
}

/// Turns each event, with the fields of the spans around it, into one line or one journal entry.
struct Lines<W> {
    sink: Sink,
    write: W,
}

enum Sink {
    Journal(JournalLog),
    Json,
    Text,
}

impl<W: Fn(&str)> Lines<W> {
    fn new(format: Format, write: W) -> Self {
        let sink = match format {
            Format::Json => Sink::Json,
            Format::Text => Sink::Text,
            Format::Auto => journal().map_or(Sink::Text, Sink::Journal),
        };
        Self { sink, write }
    }
}

/// `None` also where systemd named a journal that does not answer: text on standard error still
/// reaches it.
fn journal() -> Option<JournalLog> {
    if !systemd_journal_logger::connected_to_journal() {
        return None;
    }
    Some(JournalLog::empty().ok()?.with_syslog_identifier("starling".to_owned()))
}

impl<S, W> Layer<S> for Lines<W>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: Fn(&str) + 'static,
{
    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let span = ctx.span(id).expect("a new span is in the registry");
        span.extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        let span = ctx.span(id).expect("a span that records is in the registry");
        if let Some(fields) = span.extensions_mut().get_mut::<Fields>() {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut fields = Fields::default();
        for span in ctx.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.values {
                    fields.put(name, value.clone());
                }
            }
        }
        event.record(&mut fields);

        // Events made of `log` records carry the place of the bridge; the record's own is inside.
        let normalised = event.normalized_metadata();
        let metadata = normalised.as_ref().unwrap_or_else(|| event.metadata());
        match &self.sink {
            Sink::Json => (self.write)(&json_line(clock::now_ms(), metadata, &fields)),
            Sink::Text => (self.write)(&text_line(clock::now_ms(), metadata, &fields)),
            Sink::Journal(journal) => {
                let sent = journal_record(metadata, &fields, |record| journal.journal_send(record));
                if sent.is_err() {
                    (self.write)(&text_line(clock::now_ms(), metadata, &fields));
                }
            }
        }
    }
}

/// One write, so that lines of two threads don't mix. Nobody is left to be told of a failure.
fn write_line(line: &str) {
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// Message and fields; of a name that comes twice the inner one stays.
#[derive(Default)]
struct Fields {
    message: String,
    values: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, name: &'static str, value: Value) {
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

fn text_line(now_ms: i64, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut line = format!(
        "{} {:>5} {}: {}",
        rfc3339(now_ms),
        metadata.level(),
        metadata.target(),
        on_one_line(&fields.message),
    );
    for (name, value) in &fields.values {
        // Quoted where a reader could not tell the end of it.
        let shown = match value {
            Value::String(text) if text.is_empty() || text.contains([' ', '"', '=']) => {
                format!("{text:?}")
            }
            other => on_one_line(&plain(other)).into_owned(),
        };
        let _ = write!(line, " {name}={shown}");
    }
    line.push('\n');
    line
}

fn json_line(now_ms: i64, metadata: &Metadata<'_>, fields: &Fields) -> String {
    let mut object: Map<String, Value> =
        fields.values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    object.insert("time".to_owned(), rfc3339(now_ms).into());
    object.insert("level".to_owned(), metadata.level().as_str().to_ascii_lowercase().into());
    object.insert("module".to_owned(), metadata.target().into());
    object.insert("message".to_owned(), fields.message.clone().into());
    let mut line = Value::Object(object).to_string();
    line.push('\n');
    line
}

/// Hands `send` the event as a record whose key-values become fields of the journal.
fn journal_record<T>(
    metadata: &Metadata<'_>,
    fields: &Fields,
    send: impl FnOnce(&log::Record<'_>) -> T,
) -> T {
    let values: Vec<(String, String)> = fields
        .values
        .iter()
        .map(|(name, value)| (journal_name(name), on_one_line(&plain(value)).into_owned()))
        .collect();
    let pairs: Vec<(&str, &str)> =
        values.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    send(
        &log::Record::builder()
            .level(journal_level(*metadata.level()))
            .target(metadata.target())
            .module_path(metadata.module_path())
            .file(metadata.file())
            .line(metadata.line())
            .args(format_args!("{}", on_one_line(&fields.message)))
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

/// The lines of `events`.
#[cfg(test)]
pub(crate) fn lines(format: Format, events: impl FnOnce()) -> Vec<String> {
    let written = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let sink = written.clone();
    let write = move |line: &str| sink.lock().unwrap().push(line.to_owned());
    let subscriber = tracing_subscriber::registry().with(Lines::new(format, write));
    tracing::subscriber::with_default(subscriber, events);
    std::mem::take(&mut *written.lock().unwrap())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        fs::{self, File},
        os::unix::{fs::MetadataExt, net::UnixDatagram},
        process::Command,
    };

    use tracing::{enabled, info, info_span, warn};

    use super::*;

    #[test]
    fn text_is_one_line_an_event_with_the_fields_of_its_spans() {
        let written = lines(Format::Text, || {
            let _job = info_span!("job", job = "node", up = 1).entered();
            info!(up = 2, note = "two words", empty = "", ratio = 0.5, "targets\nchanged");
            warn!(error = "a\nb\u{1b}[31m", "no");
        });
        let check = |line: &str, expected: &str| {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.ends_with('Z'), "{line}");
            assert_eq!(rest, expected);
        };
        check(
            &written[0],
            " INFO starling::runtime::log::tests: targets\\nchanged \
             job=node up=2 note=\"two words\" empty=\"\" ratio=0.5\n",
        );
        check(
            &written[1],
            " WARN starling::runtime::log::tests: no job=node up=1 error=a\\nb\\u{1b}[31m\n",
        );
        assert_eq!(written.len(), 2);
    }

    #[test]
    fn json_keeps_types_and_its_own_names() {
        let written = lines(Format::Json, || info!(up = 2, fine = true, level = "mine", "a\nb"));
        assert_eq!(written[0].matches('\n').count(), 1);
        let mut line: Value = serde_json::from_str(&written[0]).unwrap();
        line.as_object_mut().unwrap().remove("time").unwrap();
        let expected = serde_json::json!({
            "level": "info", "module": "starling::runtime::log::tests", "message": "a\nb",
            "up": 2, "fine": true
        });
        assert_eq!(line, expected);
    }

    #[test]
    fn libraries_are_quiet_unless_asked_for() {
        let check = |filter: &str, expected: (bool, bool)| {
            let subscriber = tracing_subscriber::registry().with(parse_filter(filter).unwrap());
            let found = tracing::subscriber::with_default(subscriber, || {
                let own = enabled!(target: "starling", Level::INFO);
                (own, enabled!(target: "rustls_platform_verifier::others", Level::ERROR))
            });
            assert_eq!(found, expected, "{filter}");
        };
        check("info", (true, false));
        check("warn", (false, false));
        check("info,rustls_platform_verifier=error", (true, true));
    }

    #[test]
    fn a_filter_that_is_none_is_named() {
        for filter in ["starling=loud", "inof", "", "info,debgu"] {
            let error = install(filter, Format::Text).unwrap_err();
            assert!(error.starts_with(&format!("log level `{filter}`: ")), "{error}");
        }
    }

    const INSIDE: &str = "STARLING_TEST_JOURNAL";

    /// Runs itself again where `/run` is its own, as the journal's socket has a fixed place there.
    #[test]
    fn the_journal_gets_fields() {
        if std::env::var_os(INSIDE).is_some() {
            return journal_inside();
        }
        let dir = tempfile::tempdir().unwrap();
        let stderr = File::create(dir.path().join("stderr")).unwrap();
        let stream = stderr.metadata().map(|m| format!("{}:{}", m.dev(), m.ino())).unwrap();
        let run = |script: &str, stderr: File| {
            Command::new("unshare")
                .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
                .arg(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "runtime::log::tests::the_journal_gets_fields"])
                .env(INSIDE, "1")
                .env("JOURNAL_STREAM", &stream)
                .stderr(stderr)
                .output()
        };
        let mount = "mount -t tmpfs tmpfs /run";
        if !run(mount, stderr.try_clone().unwrap()).is_ok_and(|out| out.status.success()) {
            let _ = writeln!(io::stdout(), "skipped: no mount namespace can be made here");
            return;
        }
        let inside = format!("{mount} && mkdir -p /run/systemd/journal && exec \"$0\" \"$@\"");
        let out = run(&inside, stderr).unwrap();
        let told = fs::read_to_string(dir.path().join("stderr")).unwrap();
        assert!(out.status.success(), "{}{told}", String::from_utf8_lossy(&out.stdout));
        assert!(told.is_empty(), "what the journal has is not said twice: {told}");
    }

    fn journal_inside() {
        let socket = UnixDatagram::bind("/run/systemd/journal/socket").unwrap();
        install("info", Format::Auto).unwrap();
        let connected = datagram(&socket);
        assert!(connected.is_empty());

        let _job = info_span!("job", job = "node").entered();
        info!(target_count = 3, target = "http://a:1/m", "targets\nchanged");
        let entry = fields_of(&datagram(&socket));
        let check = |name: &str, expected: &str| {
            assert_eq!(entry.get(name).map(String::as_str), Some(expected), "{name} in {entry:?}");
        };
        check("MESSAGE", "targets\\nchanged");
        check("PRIORITY", "6");
        check("SYSLOG_IDENTIFIER", "starling");
        check("JOB", "node");
        check("TARGET_COUNT", "3");
        check("FIELD_TARGET", "http://a:1/m");
        check("TARGET", "starling::runtime::log::tests");
        check("CODE_FILE", file!());

        log::warn!(target: "a_library", "of a library");
        let entry = fields_of(&datagram(&socket));
        assert_eq!(entry["MESSAGE"], "of a library");
        assert_eq!(entry["PRIORITY"], "4");
        assert_eq!(entry["TARGET"], "a_library");
        assert_eq!(entry["JOB"], "node");
        assert!(!entry.keys().any(|name| name.starts_with("LOG_")), "{entry:?}");
    }

    fn datagram(socket: &UnixDatagram) -> Vec<u8> {
        let mut bytes = vec![0; 64 * 1024];
        let length = socket.recv(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }

    /// The journal's native protocol: `NAME=value\n`, or `NAME\n`, a length and that many bytes.
    fn fields_of(mut bytes: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !bytes.is_empty() {
            let end = bytes.iter().position(|b| *b == b'\n').unwrap();
            let line = String::from_utf8(bytes[..end].to_vec()).unwrap();
            bytes = &bytes[end + 1..];
            let (name, value) = if let Some((name, value)) = line.split_once('=') {
                (name.to_owned(), value.to_owned())
            } else {
                let length = u64::from_le_bytes(bytes[..8].try_into().unwrap());
                let (value, rest) = bytes[8..].split_at(usize::try_from(length).unwrap());
                bytes = &rest[1..];
                (line, String::from_utf8(value.to_vec()).unwrap())
            };
            assert_eq!(fields.insert(name.clone(), value), None, "{name} comes once");
        }
        fields
    }
}
