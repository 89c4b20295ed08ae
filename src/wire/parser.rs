//! From a body to its entries, without a copy or an allocation for a sample. `exposition` and
//! `openmetrics` hold the two grammars of text, `transcript` the records of what is no text; all
//! read through `lexer`.

use std::{borrow::Cow, fmt};

use crate::{
    model::{histogram::Histogram, sample::PointValue},
    wire::{
        content_type::Format,
        exemplars::Exemplars,
        exposed::ParseOptions,
        exposition,
        lexer::Lexer,
        openmetrics,
        series::{self, Series},
        starts::Starts,
        transcript::{self, Transcript},
    },
};

/// A longer line fails the scrape, and so does a name and its labels that span as much. Ten times
/// the longest that is known from practice (SQL statements as label values).
pub const LINE_BYTES_MAX: usize = 512 * 1024;

#[derive(Clone, Debug, PartialEq)]
pub enum Entry<'a> {
    Series(Series<'a>),
    Type { family: Cow<'a, str>, kind: MetricKind },
    Help { family: Cow<'a, str>, text: Cow<'a, str> },
    Unit { family: Cow<'a, str>, unit: Cow<'a, str> },
    Comment(Cow<'a, str>),
}

/// What `# TYPE` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
    GaugeHistogram,
    Summary,
    Info,
    StateSet,
    /// Nothing was said, or `untyped`.
    #[default]
    Unknown,
}

impl MetricKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Summary => "summary",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }

    /// As a transcript has it.
    pub(super) fn number(self) -> u8 {
        let at = KINDS.iter().position(|&kind| kind == self).expect("every kind is listed");
        u8::try_from(at).expect("there are eight kinds")
    }

    pub(super) fn numbered(number: u8) -> Self {
        KINDS.get(usize::from(number)).copied().unwrap_or_default()
    }
}

const KINDS: [MetricKind; 8] = [
    MetricKind::Counter,
    MetricKind::Gauge,
    MetricKind::Histogram,
    MetricKind::GaugeHistogram,
    MetricKind::Summary,
    MetricKind::Info,
    MetricKind::StateSet,
    MetricKind::Unknown,
];

/// What follows the name and labels on a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value<'a> {
    /// A float as written: a NaN is not yet the one that is stored.
    pub value: PointValue<'a>,
    pub timestamp_ms: Option<i64>,
    /// Since when the series has counted.
    pub start_ms: Option<i64>,
    pub exemplars: Exemplars<'a>,
}

/// Where and why a body is not what it claims to be. Nothing of such a body is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// In bytes from the start of the body.
    pub offset: usize,
    /// From 1; of a body that is no text there is none.
    pub line: Option<usize>,
    pub message: String,
}

impl ParseError {
    pub(super) fn new(body: &[u8], offset: usize, message: String) -> Self {
        let offset = offset.min(body.len());
        let line = 1 + memchr::memchr_iter(b'\n', &body[..offset]).count();
        Self { offset, line: Some(line), message }
    }

    /// In a body that is no text.
    pub(super) fn at_byte(offset: usize, message: String) -> Self {
        Self { offset, line: None, message }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => write!(f, "byte {}: {}", self.offset, self.message),
        }
    }
}

impl std::error::Error for ParseError {}

/// Where a parser stands: it can go back there.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    at: usize,
    kind: MetricKind,
}

impl Place {
    /// Whether what was read up to the one ends where the other begins.
    pub fn is_at(self, other: Self) -> bool {
        self.at == other.at
    }
}

/// Reads a body from front to back. As an iterator it ends after the first error.
#[derive(Debug)]
pub struct Parser<'a> {
    lexer: Lexer<'a>,
    grammar: Grammar<'a>,
    /// Of the last `# TYPE`, whichever family it named: as Prometheus reads `le` and `quantile`.
    kind: MetricKind,
    ended: bool,
}

#[derive(Debug)]
enum Grammar<'a> {
    Exposition,
    OpenMetrics,
    /// With start timestamps from `_created`.
    OpenMetricsWithStarts(Starts),
    Transcript {
        histograms: &'a [Histogram],
        fault: Option<&'a ParseError>,
    },
}

impl<'a> Parser<'a> {
    /// Of a text format; `Exposed` is the way to read any.
    pub fn new(format: Format, body: &'a [u8]) -> Self {
        Self::of_text(format, body, ParseOptions::default())
    }

    pub(super) fn of_text(format: Format, body: &'a [u8], options: ParseOptions) -> Self {
        let grammar = match format {
            Format::PrometheusText => Grammar::Exposition,
            Format::OpenMetricsText if options.starts => {
                Grammar::OpenMetricsWithStarts(Starts::new(options.keeps_created))
            }
            Format::OpenMetricsText => Grammar::OpenMetrics,
            Format::Protobuf => unreachable!("protobuf is read as a transcript"),
        };
        Self { lexer: Lexer::new(body), grammar, kind: MetricKind::Unknown, ended: false }
    }

    pub(super) fn of_transcript(transcript: &'a Transcript, fault: Option<&'a ParseError>) -> Self {
        let grammar = Grammar::Transcript { histograms: transcript.histograms(), fault };
        let lexer = Lexer::new(transcript.bytes());
        Self { lexer, grammar, kind: MetricKind::Unknown, ended: false }
    }

    /// What besides its text decides the labels of a series that would come next.
    #[inline]
    pub fn context(&self) -> u8 {
        match self.grammar {
            Grammar::Transcript { .. } => series::PLAIN,
            Grammar::Exposition | Grammar::OpenMetrics | Grammar::OpenMetricsWithStarts(_) => {
                series::context(self.kind)
            }
        }
    }

    /// The value of the next line if its name and labels read exactly `expected` (the `text` of an
    /// earlier series) in the same `context`. Otherwise nothing is consumed.
    #[inline]
    pub fn next_known(&mut self, expected: &str, context: u8) -> Option<Value<'a>> {
        self.next_if(expected.len(), context, |text| text == expected.as_bytes())
    }

    /// `next_known` for who has kept less than the text: its length, and a way to recognise it.
    #[inline]
    pub fn next_if(
        &mut self,
        length: usize,
        context: u8,
        is_known: impl FnOnce(&[u8]) -> bool,
    ) -> Option<Value<'a>> {
        if let Grammar::Transcript { histograms, .. } = self.grammar {
            let text = transcript::series_text(&self.lexer, length)?;
            if context != series::PLAIN || !is_known(text) {
                return None;
            }
            transcript::skip_text(&mut self.lexer, length);
            return Some(transcript::value(&mut self.lexer, histograms));
        }
        if let Grammar::OpenMetricsWithStarts(starts) = &mut self.grammar {
            starts.skip(&mut self.lexer, self.kind);
        }
        let start = self.lexer.at;
        let (text, after) = self.lexer.body[start..].split_at_checked(length)?;
        // A blank ends both a name and a label block, so `text` is the whole text; unless the
        // labels stand apart from the name, which the value then refuses.
        if !matches!(after.first(), Some(b' ' | b'\t'))
            || context != self.context()
            || !is_known(text)
        {
            return None;
        }
        self.lexer.line_start = start;
        self.lexer.at = start + length;
        let value = self.known_value(text);
        if value.is_none() {
            self.lexer.at = start;
        }
        value
    }

    /// Skips the next line if it is metadata of `length` bytes that `is_known`: that has been read
    /// before, and said `kind`. Otherwise nothing is consumed.
    #[inline]
    pub fn skip_metadata(
        &mut self,
        length: usize,
        kind: Option<MetricKind>,
        is_known: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        let start = self.lexer.at;
        let Some((text, [b'\n', ..])) = self.lexer.body[start..].split_at_checked(length) else {
            return false;
        };
        if !self.remembers_metadata() || !is_known(text) {
            return false;
        }
        self.lexer.line_start = start;
        self.lexer.at = start + length + 1;
        self.kind = kind.unwrap_or(self.kind);
        true
    }

    /// Whether lines of metadata can be recognised by their text.
    pub fn remembers_metadata(&self) -> bool {
        match self.grammar {
            Grammar::Exposition | Grammar::OpenMetrics => true,
            Grammar::OpenMetricsWithStarts(_) | Grammar::Transcript { .. } => false,
        }
    }

    /// The line of the entry that was read last, without its end; only of text.
    pub fn line(&self) -> &'a [u8] {
        let line = &self.lexer.body[self.lexer.line_start..self.lexer.at];
        line.strip_suffix(b"\n").unwrap_or(line)
    }

    /// The next entry if it is no sample; else nothing is consumed.
    pub fn next_comment(&mut self) -> Option<Result<Entry<'a>, ParseError>> {
        let is_comment = match self.grammar {
            Grammar::Exposition | Grammar::OpenMetrics => self.lexer.peek() == Some(b'#'),
            Grammar::OpenMetricsWithStarts(_) => false,
            Grammar::Transcript { .. } => transcript::is_comment(&self.lexer),
        };
        if is_comment { self.entry().transpose() } else { None }
    }

    /// `None` where what it has read cannot be read again.
    pub fn place(&self) -> Option<Place> {
        match self.grammar {
            Grammar::Exposition | Grammar::OpenMetrics | Grammar::Transcript { .. } => {
                Some(Place { at: self.lexer.at, kind: self.kind })
            }
            Grammar::OpenMetricsWithStarts(_) => None,
        }
    }

    pub fn go_back(&mut self, place: Place) {
        (self.lexer.at, self.kind) = (place.at, place.kind);
    }

    /// What has been read since `start`, once more. Only of text.
    #[must_use]
    pub fn again(&self, start: Place, end: Place) -> Parser<'a> {
        let grammar = match self.grammar {
            Grammar::OpenMetrics => Grammar::OpenMetrics,
            Grammar::Exposition
            | Grammar::OpenMetricsWithStarts(_)
            | Grammar::Transcript { .. } => Grammar::Exposition,
        };
        let lexer = Lexer::new(&self.lexer.body[start.at..end.at]);
        Parser { lexer, grammar, kind: start.kind, ended: false }
    }

    /// What follows a text that is known to be well formed.
    #[inline]
    fn known_value(&mut self, text: &'a [u8]) -> Option<Value<'a>> {
        match &mut self.grammar {
            Grammar::Exposition => exposition::value(&mut self.lexer).ok(),
            Grammar::OpenMetrics => openmetrics::value(&mut self.lexer).ok(),
            Grammar::OpenMetricsWithStarts(starts) => {
                let mut value = openmetrics::value(&mut self.lexer).ok()?;
                value.start_ms = starts.of(&self.lexer, text, self.kind);
                Some(value)
            }
            Grammar::Transcript { .. } => None,
        }
    }

    fn entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let entry = match &mut self.grammar {
            Grammar::Exposition => exposition::entry(&mut self.lexer, self.kind)?,
            Grammar::OpenMetrics => openmetrics::entry(&mut self.lexer, self.kind)?,
            Grammar::OpenMetricsWithStarts(starts) => starts.entry(&mut self.lexer, self.kind)?,
            Grammar::Transcript { histograms, fault } => {
                match (transcript::entry(&mut self.lexer, histograms), fault) {
                    (None, Some(fault)) => return Err(fault.clone()),
                    (entry, _) => entry,
                }
            }
        };
        if let Some(Entry::Type { kind, .. }) = &entry {
            self.kind = *kind;
        }
        let is_text = !matches!(self.grammar, Grammar::Transcript { .. });
        if is_text && self.lexer.at - self.lexer.line_start > LINE_BYTES_MAX {
            let message = format!("the line is longer than {LINE_BYTES_MAX} bytes");
            return Err(ParseError::new(self.lexer.body, self.lexer.line_start, message));
        }
        Ok(entry)
    }
}

impl<'a> Iterator for Parser<'a> {
    type Item = Result<Entry<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let entry = self.entry().transpose();
        self.ended = !matches!(entry, Some(Ok(_)));
        entry
    }
}
