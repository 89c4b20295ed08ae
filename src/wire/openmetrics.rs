//! `application/openmetrics-text`, 0.0.1 and 1.0.0, with the verdicts of Prometheus' own parser:
//! strict about blanks and the final `# EOF`, lenient about what a family's samples must be like.

use crate::{
    model::sample::PointValue,
    wire::{
        content_type::Format,
        exemplars::Exemplars,
        lexer::{LabelPart, Lexer, shown},
        parser::{Entry, MetricKind, ParseError, Value},
        series::{self, Series},
    },
};

const NO_EOF: &str = "data does not end with `# EOF`";

pub(super) fn entry<'a>(
    lexer: &mut Lexer<'a>,
    kind: MetricKind,
) -> Result<Option<Entry<'a>>, ParseError> {
    lexer.line_start = lexer.at;
    match lexer.peek() {
        None => Err(lexer.error(NO_EOF.to_owned())),
        Some(b'#') => hash_line(lexer),
        Some(_) => series(lexer, kind).map(|series| Some(Entry::Series(series))),
    }
}

/// From the end of the name and labels to the next line.
#[inline]
pub(super) fn value<'a>(lexer: &mut Lexer<'a>) -> Result<Value<'a>, ParseError> {
    let value = number(lexer, "a space and a value")?;
    let mut timestamp_ms = None;
    let mut exemplars = Exemplars::default();
    if !at_exemplar(lexer) && lexer.peek() == Some(b' ') {
        timestamp_ms = Some(timestamp(lexer)?);
    }
    if at_exemplar(lexer) {
        exemplars = read_exemplar(lexer)?;
    }
    end_of_line(lexer, "a timestamp, an exemplar or the end of the line")?;
    Ok(Value { value: PointValue::Float(value), timestamp_ms, start_ms: None, exemplars })
}

pub(super) fn series<'a>(
    lexer: &mut Lexer<'a>,
    kind: MetricKind,
) -> Result<Series<'a>, ParseError> {
    let start = lexer.line_start;
    let mut named = !lexer.metric_name().is_empty();
    if !named && lexer.peek() != Some(b'{') {
        return Err(lexer.unexpected("a metric name"));
    }
    if lexer.take(b'{') {
        lexer.label_block(Format::OpenMetricsText, |lexer, part| {
            series::name_once(lexer, part, &mut named)
        })?;
    }
    if !named {
        return Err(lexer.error("a sample without a metric name".to_owned()));
    }
    let text = lexer.text_from(start)?;
    let value = value(lexer)?;
    Ok(Series::new(lexer, text, value, kind))
}

fn number(lexer: &mut Lexer<'_>, expected: &str) -> Result<f64, ParseError> {
    if !lexer.take(b' ') {
        return Err(lexer.unexpected(expected));
    }
    lexer.number(expected)
}

/// Seconds as a decimal, kept in milliseconds.
fn timestamp(lexer: &mut Lexer<'_>) -> Result<i64, ParseError> {
    const EXPECTED: &str = "a timestamp in seconds";
    let start = lexer.at;
    let seconds = number(lexer, EXPECTED)?;
    if !seconds.is_finite() {
        lexer.at = start + 1;
        return Err(lexer.unexpected(EXPECTED));
    }
    Ok(milliseconds(seconds))
}

/// What does not fit becomes the least there is, as Go has it on amd64.
pub(super) fn milliseconds(seconds: f64) -> i64 {
    let milliseconds = seconds * 1000.0;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "fractions are cut; what is too large is told by the bound that it becomes"
    )]
    let whole = milliseconds as i64;
    if whole == i64::MAX { i64::MIN } else { whole }
}

fn at_exemplar(lexer: &Lexer<'_>) -> bool {
    lexer.body[lexer.at..].starts_with(b" # {")
}

fn read_exemplar<'a>(lexer: &mut Lexer<'a>) -> Result<Exemplars<'a>, ParseError> {
    lexer.at += b" # {".len();
    let start = lexer.at;
    lexer.label_block(Format::OpenMetricsText, |lexer, part| match part {
        LabelPart::Label(_, value) if !value.contains(&0) => Ok(()),
        LabelPart::Label(..) => Err(lexer.error("a zero byte in an exemplar".to_owned())),
        LabelPart::Name(_) => Err(lexer.error("expected `=` in an exemplar's labels".to_owned())),
    })?;
    point(lexer)?;
    Ok(Exemplars::text(lexer.text_from(start)?))
}

/// What follows an exemplar's labels.
pub(super) fn point(lexer: &mut Lexer<'_>) -> Result<(f64, Option<i64>), ParseError> {
    let value = number(lexer, "a space and the exemplar's value")?;
    let timestamp_ms = if lexer.peek() == Some(b' ') { Some(timestamp(lexer)?) } else { None };
    Ok((value, timestamp_ms))
}

fn end_of_line(lexer: &mut Lexer<'_>, expected: &str) -> Result<(), ParseError> {
    if lexer.take(b'\n') {
        return Ok(());
    }
    match lexer.peek() {
        None => Err(lexer.error(NO_EOF.to_owned())),
        Some(_) => Err(lexer.unexpected(expected)),
    }
}

/// A line that opens with `#`: metadata or the end, nothing else.
fn hash_line<'a>(lexer: &mut Lexer<'a>) -> Result<Option<Entry<'a>>, ParseError> {
    if lexer.take_all(b"# EOF") {
        lexer.take(b'\n');
        return match lexer.peek() {
            None => Ok(None),
            Some(_) => Err(lexer.error("unexpected data after `# EOF`".to_owned())),
        };
    }
    let entry = if lexer.take_all(b"# HELP ") {
        let family = series::family(lexer)?;
        let text = metadata_text(lexer)?;
        Entry::Help { family, text: series::unescape(lexer.utf8(text)?, true) }
    } else if lexer.take_all(b"# TYPE ") {
        let family = series::family(lexer)?;
        let text = metadata_text(lexer)?;
        Entry::Type { family, kind: kind(lexer, text)? }
    } else if lexer.take_all(b"# UNIT ") {
        let family = series::family(lexer)?;
        let text = metadata_text(lexer)?;
        let unit = String::from_utf8_lossy(text);
        let suffixed = family.strip_suffix(&*unit).is_some_and(|rest| rest.ends_with('_'));
        if !unit.is_empty() && !suffixed {
            let (unit, family) = (shown(text), shown(family.as_bytes()));
            let message = format!("the unit `{unit}` is not a suffix of the metric `{family}`");
            return Err(lexer.error(message));
        }
        Entry::Unit { family, unit }
    } else {
        return Err(lexer.unexpected("`# HELP`, `# TYPE`, `# UNIT`, `# EOF` or a sample"));
    };
    end_of_line(lexer, "the end of the line")?;
    Ok(Some(entry))
}

/// What follows the family's name; the line's end is left.
fn metadata_text<'a>(lexer: &mut Lexer<'a>) -> Result<&'a [u8], ParseError> {
    if !lexer.take(b' ') {
        return Err(lexer.unexpected("a space and a text"));
    }
    Ok(lexer.rest_of_line())
}

fn kind(lexer: &Lexer<'_>, text: &[u8]) -> Result<MetricKind, ParseError> {
    match text {
        b"counter" => Ok(MetricKind::Counter),
        b"gauge" => Ok(MetricKind::Gauge),
        b"histogram" => Ok(MetricKind::Histogram),
        b"gaugehistogram" => Ok(MetricKind::GaugeHistogram),
        b"summary" => Ok(MetricKind::Summary),
        b"info" => Ok(MetricKind::Info),
        b"stateset" => Ok(MetricKind::StateSet),
        b"unknown" => Ok(MetricKind::Unknown),
        _ => Err(series::invalid_kind(lexer, text)),
    }
}
