//! Where the agent's own words go: fields in the journal when systemd started it, else one line an
//! event on standard error, as text or JSON. Records of libraries that use `log` come the same way.

mod fields;
mod limit;
mod meters;

use std::{
    convert::Infallible,
    fmt,
    io::{self, Write as _},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use systemd_journal_logger::JournalLog;
use tokio::time::Instant;
use tracing::{Event, Metadata, Subscriber, callsite::Identifier, span};
use tracing_log::{LogTracer, NormalizeEvent};
use tracing_subscriber::{
    EnvFilter, Layer,
    filter::LevelFilter,
    layer::{Context, SubscriberExt},
    registry::{LookupSpan, Scope},
};

pub use crate::runtime::log::{limit::AUDIT, meters::register};
use crate::runtime::{
    clock,
    log::{
        fields::{Fields, Message, Place, journal_record, json_line, text_line},
        limit::{LeftOut, Limiter, Rate, Site, Verdict},
        meters::Counted,
    },
};

/// Libraries whose `info` tells an operator nothing, and one that tells of each refused certificate
/// what the failed scrape tells once; a later directive of the user overrides.
const QUIET_LIBRARIES: &str = "actix_server=warn,actix_http=warn,rustls_platform_verifier=off";

/// So long after its end at the latest, a flood is summed up.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
pub fn install(filter: &str, format: Format) -> Result<Floods, String> {
    let filter = parse_filter(filter)?;
    let opened = Instant::now();
    let now_ms = move || u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX);
    let pen = Arc::new(Pen::new(format, meters::of_this_process(), now_ms, write_line));
    let subscriber = tracing_subscriber::registry().with(filter).with(Lines(Arc::clone(&pen)));
    tracing::subscriber::set_global_default(subscriber)
        .map_err(|_| "the log is installed already".to_owned())?;
    LogTracer::init().map_err(|_| "another log is installed already".to_owned())?;
    Ok(Floods(pen))
}

/// Tells how many lines were left out. Dropped at the end of the process, so that none is forgotten.
pub struct Floods(Arc<Pen>);

impl Floods {
    /// Looks each second, for as long as it is polled.
    pub async fn watch(&self) -> Infallible {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            self.0.tell_left_out(false);
        }
    }
}

impl fmt::Debug for Floods {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Floods")
    }
}

impl Drop for Floods {
    fn drop(&mut self) {
        self.0.tell_left_out(true);
    }
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
        .parse(format!("{QUIET_LIBRARIES},{AUDIT}=info,{filter}"))
        .map_err(|error| format!("log level `{filter}`: {error}"))
}

/// Turns each event, with the fields of the spans around it, into one line or one journal entry.
struct Lines(Arc<Pen>);

type Write = dyn Fn(&str) + Send + Sync;

/// Writes lines, up to the limit of the place that they come from.
struct Pen {
    sink: Sink,
    write: Box<Write>,
    limiter: Mutex<Limiter<Key>>,
    counted: Counted,
    /// What the limits go by.
    now_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

enum Sink {
    Journal(JournalLog),
    Json,
    Text,
}

/// What tells places in the code apart.
#[derive(PartialEq, Eq, Hash)]
enum Key {
    Own(Identifier),
    /// All records that come through `log` have the place of the bridge.
    Library(String, tracing::Level),
}

impl Pen {
    fn new(
        format: Format,
        counted: Counted,
        now_ms: impl Fn() -> u64 + Send + Sync + 'static,
        write: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let sink = match format {
            Format::Json => Sink::Json,
            Format::Text => Sink::Text,
            Format::Auto => journal().map_or(Sink::Text, Sink::Journal),
        };
        let limiter = Mutex::new(Limiter::new());
        Self { sink, write: Box::new(write), limiter, counted, now_ms: Box::new(now_ms) }
    }

    /// Whether the event is to be written; if not it is counted.
    fn takes(&self, event: &Event<'_>, metadata: &Metadata<'_>) -> bool {
        let Some(rate) = Rate::of(*metadata.level(), metadata.target()) else { return true };
        let is_library = !std::ptr::eq(metadata, event.metadata());
        let key = || {
            if is_library {
                Key::Library(metadata.target().to_owned(), *metadata.level())
            } else {
                Key::Own(event.metadata().callsite())
            }
        };
        let now_ms = (self.now_ms)();
        let verdict = self.limiter().take(key(), rate, now_ms, || Site {
            level: *metadata.level(),
            module: metadata.target().to_owned(),
            file: metadata.file().map(str::to_owned),
            line: metadata.line(),
        });
        match verdict {
            Verdict::Tell => return true,
            Verdict::LeaveOut { is_first: false } => {}
            Verdict::LeaveOut { is_first: true } => {
                // Written out with the lock open: a value may log when it is shown.
                let mut message = Message::default();
                event.record(&mut message);
                self.limiter().is_like(&key(), &message.0);
            }
        }
        self.counted.left_out(*metadata.level());
        false
    }

    fn put(&self, place: &Place<'_>, fields: &Fields) {
        self.counted.told(place.level);
        match &self.sink {
            Sink::Json => (self.write)(&json_line(clock::now_ms(), place, fields)),
            Sink::Text => (self.write)(&text_line(clock::now_ms(), place, fields)),
            Sink::Journal(journal) => {
                let sent = journal_record(place, fields, |record| journal.journal_send(record));
                if sent.is_err() {
                    (self.write)(&text_line(clock::now_ms(), place, fields));
                }
            }
        }
    }

    fn tell_left_out(&self, is_end: bool) {
        let due = self.limiter().due((self.now_ms)(), is_end);
        for LeftOut { site, like, lines, ms } in due {
            let place = Place {
                level: site.level,
                module: &site.module,
                module_path: None,
                file: site.file.as_deref(),
                line: site.line,
            };
            let mut fields = Fields { message: LEFT_OUT.to_owned(), ..Fields::default() };
            fields.put("left_out", lines.into());
            fields.put("like", like.into());
            fields.put("within_ms", ms.into());
            self.put(&place, &fields);
        }
    }

    fn limiter(&self) -> std::sync::MutexGuard<'_, Limiter<Key>> {
        self.limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const LEFT_OUT: &str = "more lines like this one came than are told, and were left out";

/// `None` also where systemd named a journal that does not answer: text on standard error still
/// reaches it.
fn journal() -> Option<JournalLog> {
    if !systemd_journal_logger::connected_to_journal() {
        return None;
    }
    Some(JournalLog::empty().ok()?.with_syslog_identifier("starling".to_owned()))
}

impl<S> Layer<S> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
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
        // Events made of `log` records carry the place of the bridge; the record's own is inside.
        let normalised = event.normalized_metadata();
        let metadata = normalised.as_ref().unwrap_or_else(|| event.metadata());
        if !self.0.takes(event, metadata) {
            return;
        }
        let mut fields = Fields::default();
        for span in ctx.event_scope(event).into_iter().flat_map(Scope::from_root) {
            if let Some(outer) = span.extensions().get::<Fields>() {
                for (name, value) in &outer.values {
                    fields.put(name, value.clone());
                }
            }
        }
        event.record(&mut fields);
        self.0.put(&Place::of(metadata), &fields);
    }
}

/// One write, so that lines of two threads don't mix. Nobody is left to be told of a failure.
fn write_line(line: &str) {
    let _ = io::stderr().lock().write_all(line.as_bytes());
}

/// The lines of `events`, all of one instant.
#[cfg(test)]
pub(crate) fn lines(format: Format, events: impl FnOnce()) -> Vec<String> {
    let written = Arc::new(Mutex::new(Vec::new()));
    let sink = written.clone();
    let write = move |line: &str| sink.lock().unwrap().push(line.to_owned());
    let pen = Arc::new(Pen::new(format, Counted::default(), || 0, write));
    let subscriber = tracing_subscriber::registry().with(Lines(Arc::clone(&pen)));
    tracing::subscriber::with_default(subscriber, events);
    drop(Floods(pen));
    std::mem::take(&mut *written.lock().unwrap())
}

#[cfg(test)]
mod tests;
