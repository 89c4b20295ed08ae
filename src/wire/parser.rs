//! The door to the text formats: a body in, entries out, without a copy or an allocation for a
//! sample. `exposition` and `openmetrics` hold the two grammars; both read through `lexer`.

use std::{borrow::Cow, fmt};

use crate::wire::{
    content_type::Format,
    exposition,
    lexer::Lexer,
    openmetrics::{self, ExemplarText},
    series::{self, Series},
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
}

/// What follows the name and labels on a line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value<'a> {
    /// As written: a NaN is not yet the one that is stored.
    pub value: f64,
    pub timestamp_ms: Option<i64>,
    pub exemplar: Option<ExemplarText<'a>>,
}

/// Where and why a body is not what it claims to be. Nothing of such a body is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// In bytes from the start of the body.
    pub offset: usize,
    /// From 1.
    pub line: usize,
    pub message: String,
}

impl ParseError {
    pub(super) fn new(body: &[u8], offset: usize, message: String) -> Self {
        let offset = offset.min(body.len());
        let line = 1 + memchr::memchr_iter(b'\n', &body[..offset]).count();
        Self { offset, line, message }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl std::error::Error for ParseError {}

/// Reads a body from front to back. As an iterator it ends after the first error.
#[derive(Debug)]
pub struct Parser<'a> {
    lexer: Lexer<'a>,
    format: Format,
    /// Of the last `# TYPE`, whichever family it named: as Prometheus reads `le` and `quantile`.
    kind: MetricKind,
    ended: bool,
}

impl<'a> Parser<'a> {
    pub fn new(format: Format, body: &'a [u8]) -> Self {
        Self { lexer: Lexer::new(body), format, kind: MetricKind::Unknown, ended: false }
    }

    /// What besides its text decides the labels of a series that would come next.
    #[inline]
    pub fn context(&self) -> u8 {
        series::context(self.kind)
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
        let value = match self.format {
            Format::PrometheusText => exposition::value(&mut self.lexer),
            Format::OpenMetricsText => openmetrics::value(&mut self.lexer),
        };
        if value.is_err() {
            self.lexer.at = start;
        }
        value.ok()
    }

    fn entry(&mut self) -> Result<Option<Entry<'a>>, ParseError> {
        let entry = match self.format {
            Format::PrometheusText => exposition::entry(&mut self.lexer, self.kind)?,
            Format::OpenMetricsText => openmetrics::entry(&mut self.lexer, self.kind)?,
        };
        if let Some(Entry::Type { kind, .. }) = &entry {
            self.kind = *kind;
        }
        if self.lexer.at - self.lexer.line_start > LINE_BYTES_MAX {
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
