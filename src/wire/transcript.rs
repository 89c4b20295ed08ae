//! A body put down anew, one record an entry, for what is no text (protobuf) and for text whose
//! lines are not what is stored (classic histograms that are made native). A sample's name and
//! labels stand in a record as OpenMetrics writes them, so one reader recognises all formats.

use crate::{
    model::{
        histogram::Histogram,
        sample::{Exemplar, PointValue},
    },
    wire::{
        exemplars::{self, Exemplars},
        lexer::Lexer,
        parser::{Entry, LINE_BYTES_MAX, MetricKind, Value},
        series::{self, Series},
    },
};

/// What the records and histograms of one body may take. Protobuf names a family once and a text
/// repeats it, so few bytes can say very much; a body beyond fails the scrape.
pub(super) const TRANSCRIPT_BYTES_MAX: usize = 256 << 20;

const SERIES: u8 = 0;
const TYPE: u8 = 1;
const HELP: u8 = 2;
const UNIT: u8 = 3;
const COMMENT: u8 = 4;

/// What a sample's record has besides its value.
const TIMESTAMP: u8 = 1;
const START: u8 = 2;
const NATIVE: u8 = 4;
const EXEMPLARS: u8 = 8;

/// Before a record's text: what it is, and the length of the text.
const HEAD_BYTES: usize = 5;

#[derive(Debug, Default)]
pub(super) struct Transcript {
    bytes: Vec<u8>,
    histograms: Vec<Histogram>,
    histogram_bytes: usize,
}

/// What a sample has besides its name and labels.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    pub(super) value: Stored,
    pub(super) timestamp_ms: Option<i64>,
    pub(super) start_ms: Option<i64>,
    pub(super) exemplars: &'a [Exemplar],
}

#[derive(Debug)]
pub(super) enum Stored {
    Float(f64),
    Histogram(Histogram),
}

/// The rest of the body finds no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// A name with its labels, or a text of metadata, is longer than a line may be.
    Line,
    Body,
}

impl std::fmt::Display for Full {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Line => write!(f, "an entry is longer than {LINE_BYTES_MAX} bytes"),
            Self::Body => write!(
                f,
                "the body holds more than {} MiB when it is put in full",
                TRANSCRIPT_BYTES_MAX >> 20
            ),
        }
    }
}

impl Transcript {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) fn histograms(&self) -> &[Histogram] {
        &self.histograms
    }

    pub(super) fn push_type(&mut self, family: &str, kind: MetricKind) -> Result<(), Full> {
        self.record(|this| {
            this.push_text(TYPE, family.as_bytes())?;
            this.bytes.push(kind.number());
            Ok(())
        })
    }

    pub(super) fn push_help(&mut self, family: &str, text: &str) -> Result<(), Full> {
        self.push_about(HELP, family, text)
    }

    pub(super) fn push_unit(&mut self, family: &str, unit: &str) -> Result<(), Full> {
        self.push_about(UNIT, family, unit)
    }

    pub(super) fn push_comment(&mut self, text: &str) -> Result<(), Full> {
        self.record(|this| this.push_text(COMMENT, text.as_bytes()))
    }

    /// `text` is what `write_series_text` made.
    pub(super) fn push_series(&mut self, text: &[u8], facts: Facts<'_>) -> Result<(), Full> {
        self.record(|this| {
            this.push_text(SERIES, text)?;
            this.push_facts(facts)
        })
    }

    /// Writes a record whole or not at all.
    fn record(&mut self, write: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        let start = self.bytes.len();
        let written = write(self).and_then(|()| self.check_room());
        if written.is_err() {
            self.bytes.truncate(start);
        }
        written
    }

    fn push_about(&mut self, record: u8, family: &str, text: &str) -> Result<(), Full> {
        self.record(|this| {
            this.push_text(record, family.as_bytes())?;
            this.push_blob(text.as_bytes())
        })
    }

    fn push_facts(&mut self, facts: Facts<'_>) -> Result<(), Full> {
        let Facts { value, timestamp_ms, start_ms, exemplars } = facts;
        let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
        let flags = flag(timestamp_ms.is_some(), TIMESTAMP)
            | flag(start_ms.is_some(), START)
            | flag(matches!(value, Stored::Histogram(_)), NATIVE)
            | flag(!exemplars.is_empty(), EXEMPLARS);
        self.bytes.push(flags);
        let bits = match value {
            Stored::Float(value) => value.to_bits(),
            Stored::Histogram(histogram) => {
                self.histogram_bytes += histogram.heap_bytes() + size_of::<Histogram>();
                self.histograms.push(histogram);
                self.histograms.len() as u64 - 1
            }
        };
        self.bytes.extend_from_slice(&bits.to_le_bytes());
        for time_ms in [timestamp_ms, start_ms].into_iter().flatten() {
            self.bytes.extend_from_slice(&time_ms.to_le_bytes());
        }
        if exemplars.is_empty() { Ok(()) } else { self.push_exemplars(exemplars) }
    }

    /// Their length, then each: labels, value, timestamp.
    fn push_exemplars(&mut self, exemplars: &[Exemplar]) -> Result<(), Full> {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        for exemplar in exemplars {
            let mut labels = Vec::new();
            write_labels(&mut labels, exemplar.labels.iter());
            labels.push(b'}');
            self.push_blob(&labels)?;
            self.bytes.extend_from_slice(&exemplar.value.to_bits().to_le_bytes());
            self.bytes.push(u8::from(exemplar.timestamp_ms.is_some()));
            self.bytes.extend_from_slice(&exemplar.timestamp_ms.unwrap_or(0).to_le_bytes());
        }
        let length = u32::try_from(self.bytes.len() - at - 4).map_err(|_| Full::Body)?;
        self.bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn push_text(&mut self, record: u8, text: &[u8]) -> Result<(), Full> {
        self.bytes.push(record);
        self.push_blob(text)
    }

    fn push_blob(&mut self, blob: &[u8]) -> Result<(), Full> {
        if blob.len() > LINE_BYTES_MAX {
            return Err(Full::Line);
        }
        let length = u32::try_from(blob.len()).expect("a line's limit is far below");
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(blob);
        self.check_room()
    }

    fn check_room(&self) -> Result<(), Full> {
        let bytes = self.bytes.len() + self.histogram_bytes;
        if bytes > TRANSCRIPT_BYTES_MAX { Err(Full::Body) } else { Ok(()) }
    }
}

/// The name and labels as OpenMetrics writes them: what recognises a series from scrape to scrape.
pub(super) fn write_series_text<'l>(
    out: &mut Vec<u8>,
    name: &str,
    labels: impl IntoIterator<Item = (&'l str, &'l str)>,
) {
    out.clear();
    let bare = is_metric_word(name);
    let mut labels = labels.into_iter().peekable();
    if bare {
        out.extend_from_slice(name.as_bytes());
        if labels.peek().is_none() {
            return;
        }
    }
    out.push(b'{');
    if !bare {
        write_quoted(out, name);
        if labels.peek().is_some() {
            out.push(b',');
        }
    }
    write_labels(out, labels);
    out.push(b'}');
}

/// The record at the cursor, or the end.
pub(super) fn entry<'a>(lexer: &mut Lexer<'a>, histograms: &'a [Histogram]) -> Option<Entry<'a>> {
    lexer.line_start = lexer.at;
    let record = byte(lexer)?;
    let text = blob(lexer);
    Some(match record {
        SERIES => {
            let value = value(lexer, histograms);
            Entry::Series(Series::transcribed(text, value))
        }
        TYPE => {
            let kind = MetricKind::numbered(byte(lexer).expect(WHOLE));
            Entry::Type { family: text.into(), kind }
        }
        HELP => Entry::Help { family: text.into(), text: blob(lexer).into() },
        UNIT => Entry::Unit { family: text.into(), unit: blob(lexer).into() },
        _ => Entry::Comment(text.into()),
    })
}

/// Whether there is a record at the cursor, and no sample.
pub(super) fn is_comment(lexer: &Lexer<'_>) -> bool {
    lexer.peek().is_some_and(|record| record != SERIES)
}

/// The text of the sample at the cursor if it is `length` bytes long. The cursor stays.
#[inline]
pub(super) fn series_text<'a>(lexer: &Lexer<'a>, length: usize) -> Option<&'a [u8]> {
    let (head, rest) = lexer.body[lexer.at..].split_first_chunk::<HEAD_BYTES>()?;
    let [SERIES, bytes @ ..] = *head else { return None };
    if u32::from_le_bytes(bytes) as usize != length {
        return None;
    }
    rest.get(..length)
}

/// What follows a sample's text.
#[inline]
pub(super) fn value<'a>(lexer: &mut Lexer<'a>, histograms: &'a [Histogram]) -> Value<'a> {
    let flags = byte(lexer).expect(WHOLE);
    let bits = u64::from_le_bytes(array(lexer));
    let value = if flags & NATIVE == 0 {
        PointValue::Float(f64::from_bits(bits))
    } else {
        let at = usize::try_from(bits).expect("the number of a histogram that was kept");
        PointValue::Histogram(&histograms[at])
    };
    let mut time_ms = |flag| (flags & flag != 0).then(|| i64::from_le_bytes(array(lexer)));
    let (timestamp_ms, start_ms) = (time_ms(TIMESTAMP), time_ms(START));
    let exemplars = if flags & EXEMPLARS == 0 { &[][..] } else { sized(lexer) };
    Value { value, timestamp_ms, start_ms, exemplars: Exemplars::transcribed(exemplars) }
}

/// Moves the cursor behind the text of the sample that it is at.
#[inline]
pub(super) fn skip_text(lexer: &mut Lexer<'_>, length: usize) {
    lexer.line_start = lexer.at;
    lexer.at += HEAD_BYTES + length;
}

pub(super) fn exemplars(bytes: &[u8]) -> Vec<Exemplar> {
    let mut lexer = Lexer::new(bytes);
    let mut all = Vec::new();
    while lexer.peek().is_some() {
        let labels = exemplars::labels(&mut Lexer::new(sized(&mut lexer)));
        let value = f64::from_bits(u64::from_le_bytes(array(&mut lexer)));
        let is_timed = byte(&mut lexer).expect(WHOLE) != 0;
        let timestamp_ms = i64::from_le_bytes(array(&mut lexer));
        all.push(Exemplar { labels, value, timestamp_ms: is_timed.then_some(timestamp_ms) });
    }
    all
}

const WHOLE: &str = "a transcript holds whole records";

fn byte(lexer: &mut Lexer<'_>) -> Option<u8> {
    let byte = lexer.peek()?;
    lexer.at += 1;
    Some(byte)
}

#[inline]
fn array<const N: usize>(lexer: &mut Lexer<'_>) -> [u8; N] {
    let array = *lexer.body[lexer.at..].first_chunk().expect(WHOLE);
    lexer.at += N;
    array
}

#[inline]
fn sized<'a>(lexer: &mut Lexer<'a>) -> &'a [u8] {
    let length = u32::from_le_bytes(array(lexer)) as usize;
    let start = lexer.at;
    lexer.at += length;
    &lexer.body[start..lexer.at]
}

fn blob<'a>(lexer: &mut Lexer<'a>) -> &'a str {
    std::str::from_utf8(sized(lexer)).expect("only text was written")
}

/// `a="b",c="d"`
fn write_labels<'l>(out: &mut Vec<u8>, labels: impl IntoIterator<Item = (&'l str, &'l str)>) {
    for (n, (name, value)) in labels.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        if series::is_label_word(name) {
            out.extend_from_slice(name.as_bytes());
        } else {
            write_quoted(out, name);
        }
        out.push(b'=');
        write_quoted(out, value);
    }
}

fn write_quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'"' => out.extend_from_slice(b"\\\""),
            b'\n' => out.extend_from_slice(b"\\n"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
}

fn is_metric_word(name: &str) -> bool {
    let mut lexer = Lexer::new(name.as_bytes());
    lexer.metric_name().len() == name.len() && !name.is_empty()
}
