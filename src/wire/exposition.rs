//! The Prometheus text format, 0.0.4 and 1.0.0, line by line, with the verdicts of Prometheus'
//! own parser: blanks and empty lines where they please, commas between labels optional.

use crate::{
    model::sample::PointValue,
    wire::{
        content_type::Format,
        exemplars::Exemplars,
        lexer::Lexer,
        parser::{Entry, MetricKind, ParseError, Value},
        series::{self, Series},
    },
};

pub(super) fn entry<'a>(
    lexer: &mut Lexer<'a>,
    kind: MetricKind,
) -> Result<Option<Entry<'a>>, ParseError> {
    loop {
        lexer.line_start = lexer.at;
        lexer.skip_blanks();
        match lexer.peek() {
            None => return Ok(None),
            Some(b'\n') => lexer.at += 1,
            Some(b'#') => return hash_line(lexer).map(Some),
            Some(_) => return series(lexer, kind).map(|series| Some(Entry::Series(series))),
        }
    }
}

/// From the end of the name and labels to the next line.
#[inline]
pub(super) fn value<'a>(lexer: &mut Lexer<'a>) -> Result<Value<'a>, ParseError> {
    lexer.skip_blanks();
    let value = lexer.number("a value")?;
    lexer.skip_blanks();
    let timestamp_ms = match lexer.peek() {
        Some(byte) if byte.is_ascii_digit() => Some(timestamp(lexer)?),
        _ => None,
    };
    end_of_line(lexer)?;
    Ok(Value {
        value: PointValue::Float(value),
        timestamp_ms,
        start_ms: None,
        exemplars: Exemplars::default(),
    })
}

fn series<'a>(lexer: &mut Lexer<'a>, kind: MetricKind) -> Result<Series<'a>, ParseError> {
    let start = lexer.line_start;
    let mut named = !lexer.metric_name().is_empty();
    let mut end = lexer.at;
    if named {
        lexer.skip_blanks();
    } else if lexer.peek() != Some(b'{') {
        return Err(lexer.unexpected("a metric name"));
    }
    if lexer.take(b'{') {
        lexer.label_block(Format::PrometheusText, |lexer, part| {
            series::name_once(lexer, part, &mut named)
        })?;
        end = lexer.at;
    }
    if !named {
        return Err(lexer.error("a sample without a metric name".to_owned()));
    }
    let text = lexer.utf8(&lexer.body[start..end])?;
    let value = value(lexer)?;
    Ok(Series::new(lexer, text, value, kind))
}

/// Milliseconds since the Unix epoch. A minus is no digit: times before it cannot be told.
fn timestamp(lexer: &mut Lexer<'_>) -> Result<i64, ParseError> {
    let start = lexer.at;
    let mut value = Some(0_i64);
    while let Some(digit @ b'0'..=b'9') = lexer.peek() {
        value = value
            .and_then(|value| value.checked_mul(10))
            .and_then(|value| value.checked_add(i64::from(digit - b'0')));
        lexer.at += 1;
    }
    value.ok_or_else(|| {
        lexer.at = start;
        lexer.unexpected("a timestamp in milliseconds")
    })
}

fn end_of_line(lexer: &mut Lexer<'_>) -> Result<(), ParseError> {
    lexer.skip_blanks();
    match lexer.peek() {
        None => Ok(()),
        Some(b'\n') => {
            lexer.at += 1;
            Ok(())
        }
        Some(_) => Err(lexer.unexpected("a timestamp or the end of the line")),
    }
}

/// A line that opens with `#`: metadata, or anything at all.
fn hash_line<'a>(lexer: &mut Lexer<'a>) -> Result<Entry<'a>, ParseError> {
    let start = lexer.at;
    lexer.at += 1;
    let apart = matches!(lexer.peek(), Some(b' ' | b'\t'));
    lexer.skip_blanks();
    let help = apart && (lexer.take_all(b"HELP ") || lexer.take_all(b"HELP\t"));
    let kind_follows = apart && !help && (lexer.take_all(b"TYPE ") || lexer.take_all(b"TYPE\t"));
    if !help && !kind_follows {
        lexer.at = start;
        let comment = String::from_utf8_lossy(lexer.rest_of_line());
        end_of_line(lexer)?;
        return Ok(Entry::Comment(comment));
    }
    lexer.skip_blanks();
    let family = series::family(lexer)?;
    let rest = lexer.rest_of_line();
    // Whatever stands between the name and the text is one byte, as Prometheus has it; where
    // nothing but blanks follows, there is no text.
    let blank = rest.iter().all(|byte| matches!(byte, b' ' | b'\t'));
    let text = if blank { &[] } else { &rest[1..] };
    let entry = if help {
        // A quote is not escaped in a help text, so `\"` stays as it is.
        Entry::Help { family, text: series::unescape(lexer.utf8(text)?, false) }
    } else {
        Entry::Type { family, kind: kind(lexer, text)? }
    };
    end_of_line(lexer)?;
    Ok(entry)
}

fn kind(lexer: &Lexer<'_>, text: &[u8]) -> Result<MetricKind, ParseError> {
    match text {
        b"counter" => Ok(MetricKind::Counter),
        b"gauge" => Ok(MetricKind::Gauge),
        b"histogram" => Ok(MetricKind::Histogram),
        b"summary" => Ok(MetricKind::Summary),
        b"untyped" => Ok(MetricKind::Unknown),
        _ => Err(series::invalid_kind(lexer, text)),
    }
}
