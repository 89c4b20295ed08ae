//! A sample as it stands on its line, and its labels, decoded only when somebody asks for them.

use std::borrow::Cow;

use crate::{
    model::{
        labels::{Labels, METRIC_NAME},
        sample::PointValue,
    },
    wire::{
        content_type::Format,
        exemplars::Exemplars,
        float,
        lexer::{LabelPart, Lexer, shown},
        parser::{MetricKind, ParseError, Value},
    },
};

pub(super) const PLAIN: u8 = 0;
const HISTOGRAM: u8 = 1;
const SUMMARY: u8 = 2;

/// A label's name and value, unescaped.
pub type LabelPair<'a> = (Cow<'a, str>, Cow<'a, str>);

#[derive(Clone, Debug, PartialEq)]
pub struct Series<'a> {
    /// The name and the labels exactly as exposed. Together with `context` it decides the labels.
    pub text: &'a str,
    /// A float as written: a NaN is not yet the one that is stored.
    pub value: PointValue<'a>,
    pub timestamp_ms: Option<i64>,
    /// Since when the series has counted.
    pub start_ms: Option<i64>,
    pub exemplars: Exemplars<'a>,
    context: u8,
    /// For the place of an error; `None` where the text does not stand in the body.
    body: Option<&'a [u8]>,
}

impl<'a> Series<'a> {
    pub(super) fn new(
        lexer: &Lexer<'a>,
        text: &'a str,
        value: Value<'a>,
        kind: MetricKind,
    ) -> Self {
        Self { context: context(kind), body: Some(lexer.body), ..Self::transcribed(text, value) }
    }

    pub(super) fn transcribed(text: &'a str, value: Value<'a>) -> Self {
        let Value { value, timestamp_ms, start_ms, exemplars } = value;
        Self { text, value, timestamp_ms, start_ms, exemplars, context: PLAIN, body: None }
    }

    /// What follows the name and labels.
    pub fn facts(&self) -> Value<'a> {
        let Self { value, timestamp_ms, start_ms, exemplars, .. } = *self;
        Value { value, timestamp_ms, start_ms, exemplars }
    }

    /// What besides `text` decides the labels: `le` of a histogram's family and `quantile` of a
    /// summary's are put in canonical form.
    pub fn context(&self) -> u8 {
        self.context
    }

    /// The labels, by name. A label that is exposed empty is absent; one that is exposed twice is
    /// an error.
    pub fn labels(&self) -> Result<Labels, ParseError> {
        let mut pairs = Vec::new();
        self.pairs(&mut pairs);
        pairs.sort_unstable();
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = shown(twice[0].0.as_bytes());
            let message = format!("the label `{name}` stands twice in a sample");
            let Some(body) = self.body else { return Err(ParseError::at_byte(0, message)) };
            let offset = self.text.as_ptr().addr() - body.as_ptr().addr();
            return Err(ParseError::new(body, offset, message));
        }
        Ok(pairs.into_iter().collect())
    }

    /// Replaces what is in `pairs` by the name, as `__name__`, and the labels in the order of the
    /// line, those with an empty value and those that stand twice among them.
    pub fn pairs(&self, pairs: &mut Vec<LabelPair<'a>>) {
        pairs.clear();
        let mut lexer = Lexer::new(self.text.as_bytes());
        // Prometheus takes blanks that lead the line into the name; a name in braces stands there.
        lexer.skip_blanks();
        lexer.metric_name();
        pairs.push((METRIC_NAME.into(), self.text[..lexer.at].into()));
        lexer.skip_blanks();
        if lexer.take(b'{') {
            decode_block(&mut lexer, self.context, pairs);
        }
    }
}

pub(super) fn context(kind: MetricKind) -> u8 {
    match kind {
        MetricKind::Histogram => HISTOGRAM,
        MetricKind::Summary => SUMMARY,
        MetricKind::Counter
        | MetricKind::Gauge
        | MetricKind::GaugeHistogram
        | MetricKind::Info
        | MetricKind::StateSet
        | MetricKind::Unknown => PLAIN,
    }
}

/// Whether a label of this name is written without quotes.
pub(super) fn is_label_word(name: &str) -> bool {
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|byte| !byte.is_ascii_digit())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// A visitor of label blocks that refuses a second metric name.
#[inline]
pub(super) fn name_once(
    lexer: &Lexer<'_>,
    part: LabelPart<'_>,
    named: &mut bool,
) -> Result<(), ParseError> {
    match part {
        LabelPart::Name(_) if *named => {
            Err(lexer.error("a second metric name in a sample".to_owned()))
        }
        LabelPart::Name(_) => {
            *named = true;
            Ok(())
        }
        LabelPart::Label(..) => Ok(()),
    }
}

/// The family that a line of metadata is about.
pub(super) fn family<'a>(lexer: &mut Lexer<'a>) -> Result<Cow<'a, str>, ParseError> {
    const EXPECTED: &str = "a metric name";
    if lexer.peek() == Some(b'"') {
        let name = lexer.quoted_name(EXPECTED)?;
        return Ok(unescape(lexer.utf8(name)?, true));
    }
    let name = lexer.metric_name();
    if name.is_empty() {
        return Err(lexer.unexpected(EXPECTED));
    }
    Ok(Cow::Borrowed(lexer.utf8(name)?))
}

pub(super) fn invalid_kind(lexer: &Lexer<'_>, text: &[u8]) -> ParseError {
    lexer.error(format!("`{}` is not a metric type", shown(text)))
}

/// `\\`, `\n` and, where `quotes`, `\"`; any other backslash is one.
pub(super) fn unescape(text: &str, quotes: bool) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let meant = match rest.as_bytes().get(at + 1) {
            Some(b'\\') => '\\',
            Some(b'n') => '\n',
            Some(b'"') if quotes => '"',
            _ => {
                plain.push('\\');
                rest = &rest[at + 1..];
                continue;
            }
        };
        plain.push(meant);
        rest = &rest[at + 2..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// Adds what a label block holds that has been read before, and so is known to be well formed.
pub(super) fn decode_block<'a>(lexer: &mut Lexer<'a>, context: u8, pairs: &mut Vec<LabelPair<'a>>) {
    let read = lexer.label_block(Format::PrometheusText, |lexer, part| {
        match part {
            LabelPart::Name(name) => {
                let name = unescape(lexer.utf8(name)?, true);
                pairs.first_mut().expect("only a sample has a name in its block").1 = name;
            }
            LabelPart::Label(name, value) => {
                let name = unescape(lexer.utf8(name)?, true);
                let value = canonical(context, &name, unescape(lexer.utf8(value)?, true));
                pairs.push((name, value));
            }
        }
        Ok(())
    });
    debug_assert!(read.is_ok(), "the block was read when its line was");
}

fn canonical<'a>(context: u8, name: &str, value: Cow<'a, str>) -> Cow<'a, str> {
    if matches!((context, name), (HISTOGRAM, "le") | (SUMMARY, "quantile"))
        && let Some(number) = float::parse(&value)
    {
        return Cow::Owned(float::canonical(number));
    }
    value
}
