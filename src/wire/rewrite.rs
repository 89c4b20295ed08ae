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

impl Gathering {
    fn has(&self, labels: &[(&str, &str)]) -> bool {
        self.labels.iter().map(|(name, value)| (&**name, &**value)).eq(labels.iter().copied())
    }
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
        let own = pairs.iter().filter(|(name, _)| name != METRIC_NAME && name != "le");
        let mut labels: Vec<(&str, &str)> = own.map(|(name, value)| (&**name, &**value)).collect();
        labels.sort_unstable();
        if self.gathering.as_ref().is_some_and(|gathering| !gathering.has(&labels)) {
            self.end_histogram()?;
        }
        let gathering = self.gathering.get_or_insert_with(|| Gathering {
            family: self.family.typed.clone(),
            labels: labels.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
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

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;
    use crate::wire::{Exposed, Format, native};

    /// What is read of `body`, a series a line; of others but that they are there.
    fn check(format: Format, options: ParseOptions, body: &str, expected: &[&str]) {
        let exposed = Exposed::new(format, body.as_bytes(), options);
        let mut found = Vec::new();
        for entry in exposed.parser() {
            let Entry::Series(series) = entry.unwrap() else { continue };
            let value = match series.value {
                PointValue::Float(value) => float::shortest(value),
                PointValue::Histogram(histogram) => native::shown(histogram),
            };
            let started = series.start_ms.map_or(String::new(), |ms| format!(" @{ms}"));
            let at = series.timestamp_ms.map_or(String::new(), |ms| format!(" {ms}"));
            let mut line = format!("{} {value}{at}{started}", series.text);
            for exemplar in series.exemplars.decode() {
                _ = write!(line, " # {}", exemplar.value);
            }
            found.push(line);
        }
        assert_eq!(found, expected, "{body}");
    }

    const HISTOGRAM: &str = "# TYPE h histogram\n\
        h_bucket{le=\"1\",a=\"x\"} 1 # {t=\"1\"} 0.5\nh_bucket{a=\"x\",le=\"+Inf\"} 3 # {t=\"2\"} 7 8\n\
        h_count{a=\"x\"} 3\nh_sum{a=\"x\"} 9\nh_created{a=\"x\"} 5\n\
        h_count{a=\"y\"} 1 2\nh_sum{a=\"y\"} 4 2\n\
        # TYPE g gauge\ng_count 1\n# EOF\n";

    #[test]
    fn classic_histograms_become_native() {
        let options =
            ParseOptions { custom_buckets: true, starts: true, ..ParseOptions::default() };
        check(
            Format::OpenMetricsText,
            options,
            HISTOGRAM,
            &[
                "h{a=\"x\"} {count:3, sum:9, [-Inf,1]:1, (1,+Inf]:2} @5000 # 0.5 # 7",
                "h{a=\"y\"} {count:1, sum:4, [-Inf,+Inf]:1} 2000",
                "g_count 1",
            ],
        );
        check(
            Format::OpenMetricsText,
            ParseOptions { classic: true, ..options },
            "# TYPE h histogram\nh_count 1\nh_sum 2\n# EOF\n",
            &["h_count 1", "h_sum 2", "h {count:1, sum:2, [-Inf,+Inf]:1}"],
        );
    }

    #[test]
    fn what_is_of_no_classic_histogram_stays() {
        let options = ParseOptions { custom_buckets: true, ..ParseOptions::default() };
        check(
            Format::PrometheusText,
            options,
            "# TYPE h histogram\nh_bucket{le=\"x\"} 1\nh_bucket 2\nh 3\nhh_sum 4\n\
             # TYPE s summary\ns_sum 5\ns_count 6\n",
            &["h_bucket{le=\"x\"} 1", "h_bucket 2", "h 3", "hh_sum 4", "s_sum 5", "s_count 6"],
        );
        // Counts that fall are no histogram: nothing of it is taken.
        check(
            Format::PrometheusText,
            options,
            "# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"2\"} 1\nh_count 2\nx 1\n",
            &["x 1"],
        );
    }

    #[test]
    fn type_and_unit_become_labels() {
        let options = ParseOptions { type_and_unit: true, ..ParseOptions::default() };
        check(
            Format::OpenMetricsText,
            options,
            "# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{b=\"c\"} 1\n\
             a_seconds_total{__unit__=\"x\"} 2\nother 3\n# TYPE u unknown\nu 4\n# EOF\n",
            &[
                "a_seconds_total{b=\"c\",__type__=\"counter\",__unit__=\"seconds\"} 1",
                "a_seconds_total{__type__=\"counter\",__unit__=\"seconds\"} 2",
                "other 3",
                "u 4",
            ],
        );
    }
}
