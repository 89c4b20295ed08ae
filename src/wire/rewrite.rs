//! Text whose lines are not what is stored, as a transcript: classic histograms are gathered and
//! become native ones with custom buckets, and series get labels of their type and unit.

use std::borrow::Cow;

use crate::{
    model::{
        histogram::ResetHint,
        labels::METRIC_NAME,
        sample::{Exemplar, PointValue},
    },
    wire::{
        classic::Classic,
        exposed::ParseOptions,
        float,
        parser::{Entry, MetricKind, ParseError, Parser},
        series::{LabelPair, Series},
        transcript::{Facts, Full, Stored, Transcript, write_series_text},
    },
};

const TYPE_LABEL: &str = "__type__";
const UNIT_LABEL: &str = "__unit__";

/// On a fault, what was read before it is in `transcript`.
pub(super) fn transcribe(
    mut parser: Parser<'_>,
    options: ParseOptions,
    transcript: &mut Transcript,
) -> Result<(), ParseError> {
    let mut rewriter = Rewriter {
        options,
        transcript,
        family: Family::default(),
        gathering: None,
        text: Vec::new(),
    };
    for entry in parser.by_ref() {
        rewriter.entry(entry?).map_err(too_much)?;
    }
    rewriter.end_histogram().map_err(too_much)
}

fn too_much(full: Full) -> ParseError {
    ParseError::at_byte(0, full.to_string())
}

/// The labels of a series of that type and unit; what the target itself says under their names does
/// not count.
pub(super) fn label_type_and_unit<'a>(
    pairs: &mut Vec<LabelPair<'a>>,
    kind: MetricKind,
    unit: &'a str,
) {
    pairs.retain(|(name, _)| name != TYPE_LABEL && name != UNIT_LABEL);
    if kind != MetricKind::Unknown {
        pairs.push((TYPE_LABEL.into(), kind.name().into()));
    }
    if !unit.is_empty() {
        pairs.push((UNIT_LABEL.into(), unit.into()));
    }
}

/// What the last lines of metadata said.
#[derive(Default)]
struct Family {
    name: String,
    /// The family that the last `# TYPE` named, and its type.
    typed: String,
    kind: MetricKind,
    unit: String,
}

impl Family {
    /// A line of metadata is about that family.
    fn name(&mut self, family: &str) {
        if self.name != family {
            family.clone_into(&mut self.name);
            self.unit.clear();
        }
    }
}

struct Rewriter<'t> {
    options: ParseOptions,
    transcript: &'t mut Transcript,
    family: Family,
    gathering: Option<Gathering>,
    text: Vec<u8>,
}

/// A classic histogram of which series have come.
struct Gathering {
    family: String,
    /// By name, without `le`.
    labels: Vec<(String, String)>,
    classic: Classic,
    timestamp_ms: Option<i64>,
    start_ms: Option<i64>,
    exemplars: Vec<Exemplar>,
}

/// What a series of a classic histogram says.
enum Part {
    Bucket(f64),
    Count,
    Sum,
}

impl Rewriter<'_> {
    fn entry(&mut self, entry: Entry<'_>) -> Result<(), Full> {
        if let Entry::Series(series) = &entry {
            return self.series(series);
        }
        self.end_histogram()?;
        match entry {
            Entry::Type { family, kind } => {
                self.family.name(&family);
                family.as_ref().clone_into(&mut self.family.typed);
                self.family.kind = kind;
                self.transcript.push_type(&family, kind)
            }
            Entry::Help { family, text } => {
                self.family.name(&family);
                self.transcript.push_help(&family, &text)
            }
            Entry::Unit { family, unit } => {
                self.family.name(&family);
                unit.as_ref().clone_into(&mut self.family.unit);
                self.transcript.push_unit(&family, &unit)
            }
            Entry::Comment(text) => self.transcript.push_comment(&text),
            Entry::Series(_) => Ok(()),
        }
    }

    fn series(&mut self, series: &Series<'_>) -> Result<(), Full> {
        let mut pairs = Vec::new();
        series.pairs(&mut pairs);
        if let PointValue::Float(value) = series.value
            && self.options.custom_buckets
        {
            let is_part = self.gather(series, value, &pairs)?;
            if is_part && !self.options.classic {
                return Ok(());
            }
        }
        let value = match series.value {
            PointValue::Float(value) => Stored::Float(value),
            PointValue::Histogram(histogram) => Stored::Histogram(histogram.clone()),
        };
        let facts = Facts {
            value,
            timestamp_ms: series.timestamp_ms,
            start_ms: series.start_ms,
            exemplars: &series.exemplars.decode(),
        };
        self.push(pairs, facts)
    }

    /// Whether the series is part of a classic histogram, which is then what is gathered. Ends the
    /// one before where it is of another.
    fn gather(
        &mut self,
        series: &Series<'_>,
        value: f64,
        pairs: &[LabelPair<'_>],
    ) -> Result<bool, Full> {
        let Some(part) = self.part(pairs) else {
            self.end_histogram()?;
            return Ok(false);
        };
        let labels = || pairs.iter().filter(|(name, _)| name != METRIC_NAME && name != "le");
        let is_same = self.gathering.as_ref().is_some_and(|gathering| {
            gathering.family == self.family.typed
                && is_same_set(&gathering.labels, labels().map(|(name, value)| (&**name, &**value)))
        });
        if !is_same {
            self.end_histogram()?;
        }
        let gathering = self.gathering.get_or_insert_with(|| Gathering {
            family: self.family.typed.clone(),
            labels: labels()
                .map(|(n, v)| (n.clone().into_owned(), v.clone().into_owned()))
                .collect(),
            classic: Classic::default(),
            timestamp_ms: series.timestamp_ms,
            start_ms: series.start_ms,
            exemplars: Vec::new(),
        });
        gathering.exemplars.append(&mut series.exemplars.decode());
        match part {
            Part::Bucket(upper) => gathering.classic.set_bucket(upper, value),
            Part::Count => gathering.classic.set_count(value),
            Part::Sum => gathering.classic.set_sum(value),
        }
        Ok(true)
    }

    /// What the series is of a classic histogram, if its family is one.
    fn part(&self, pairs: &[LabelPair<'_>]) -> Option<Part> {
        if self.family.kind != MetricKind::Histogram {
            return None;
        }
        match pairs.first()?.1.strip_prefix(self.family.typed.as_str())? {
            "_count" => Some(Part::Count),
            "_sum" => Some(Part::Sum),
            "_bucket" => {
                let (_, upper) = pairs.iter().find(|(name, _)| name == "le")?;
                float::parse(upper).filter(|upper| !upper.is_nan()).map(Part::Bucket)
            }
            _ => None,
        }
    }

    /// Puts down what was gathered. What is no histogram is left out, as by Prometheus.
    fn end_histogram(&mut self) -> Result<(), Full> {
        let Some(gathering) = self.gathering.take() else { return Ok(()) };
        let Gathering { family, labels, classic, timestamp_ms, start_ms, exemplars } = gathering;
        let Some(histogram) = classic.convert(ResetHint::Unknown) else { return Ok(()) };
        let mut pairs: Vec<LabelPair<'_>> = vec![(METRIC_NAME.into(), family.into())];
        pairs.extend(labels.into_iter().map(|(n, v)| (Cow::Owned(n), Cow::Owned(v))));
        let value = Stored::Histogram(histogram);
        self.push(pairs, Facts { value, timestamp_ms, start_ms, exemplars: &exemplars })
    }

    /// `pairs` has the name first.
    fn push(&mut self, mut pairs: Vec<LabelPair<'_>>, facts: Facts<'_>) -> Result<(), Full> {
        let name = pairs.remove(0).1;
        let mut pairs: Vec<LabelPair<'_>> = pairs;
        if self.options.type_and_unit {
            let family = &self.family;
            // Metadata is about series whose names begin with that of the family.
            let kind =
                if name.starts_with(&family.typed) { family.kind } else { MetricKind::Unknown };
            let unit = if name.starts_with(&family.name) { &*family.unit } else { "" };
            label_type_and_unit(&mut pairs, kind, unit);
        }
        let labels = pairs.iter().map(|(name, value)| (&**name, &**value));
        write_series_text(&mut self.text, &name, labels);
        self.transcript.push_series(&self.text, facts)
    }
}

/// Whether both hold the same labels, in whatever order.
fn is_same_set<'l>(
    known: &[(String, String)],
    found: impl Iterator<Item = (&'l str, &'l str)> + Clone,
) -> bool {
    let has = |(name, value): (&str, &str)| known.iter().any(|(n, v)| n == name && v == value);
    found.clone().count() == known.len() && found.into_iter().all(has)
}
