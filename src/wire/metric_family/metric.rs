//! From one metric to its series: names, `le` and `quantile`, exemplars, and what is taken of a
//! histogram that is native, classic or both.

use super::message::{Histogram, Metric, Side, Summary, Value};
use crate::{
    model::{
        histogram::{self, Counts, ResetHint, Span},
        sample::Exemplar,
    },
    wire::{
        classic::Classic,
        exposed::ParseOptions,
        float,
        parser::MetricKind,
        rewrite::label_type_and_unit,
        series::LabelPair,
        transcript::{Facts, Full, Stored, Transcript, write_series_text},
    },
};

pub(super) struct Writer<'t> {
    options: ParseOptions,
    transcript: &'t mut Transcript,
    text: Vec<u8>,
}

/// What all series of a family have in common.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) kind: MetricKind,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
}

/// What all series of a metric have in common.
struct Base<'a> {
    name: &'a str,
    labels: Vec<LabelPair<'a>>,
    timestamp_ms: Option<i64>,
    start_ms: Option<i64>,
}

impl<'t> Writer<'t> {
    pub(super) fn new(options: ParseOptions, transcript: &'t mut Transcript) -> Self {
        Self { options, transcript, text: Vec::new() }
    }

    pub(super) fn metadata(&mut self, head: Head<'_>) -> Result<(), Full> {
        self.transcript.push_help(head.name, head.help)?;
        if !head.unit.is_empty() {
            self.transcript.push_unit(head.name, head.unit)?;
        }
        self.transcript.push_type(head.name, head.kind)
    }

    pub(super) fn metric(&mut self, head: Head<'_>, metric: &Metric<'_>) -> Result<(), Full> {
        let pairs = metric.labels.iter().map(|&(name, value)| (name.into(), value.into()));
        let mut labels: Vec<LabelPair<'_>> = pairs.collect();
        if self.options.type_and_unit {
            label_type_and_unit(&mut labels, head.kind, head.unit);
        }
        let base = |start_ms| Base {
            name: head.name,
            labels,
            // In protobuf a timestamp of 0 is not told from none.
            timestamp_ms: Some(metric.timestamp_ms).filter(|ms| *ms != 0),
            start_ms,
        };
        match &metric.value {
            Value::Single { value, start_ms, exemplar } => {
                let base = base(*start_ms);
                self.push(&base, "", None, Stored::Float(*value), exemplar.as_slice())
            }
            Value::Summary(summary) => self.summary(&base(summary.start_ms), summary),
            Value::Histogram(histogram) => {
                self.histogram(&base(histogram.start_ms), histogram, head.kind)
            }
        }
    }

    fn summary(&mut self, base: &Base<'_>, summary: &Summary) -> Result<(), Full> {
        #[expect(clippy::cast_precision_loss, reason = "samples are floats, as in Prometheus")]
        let count = summary.count as f64;
        self.push(base, "_count", None, Stored::Float(count), &[])?;
        self.push(base, "_sum", None, Stored::Float(summary.sum), &[])?;
        for &(quantile, value) in &summary.quantiles {
            let quantile = float::canonical(quantile);
            self.push(base, "", Some(("quantile", &quantile)), Stored::Float(value), &[])?;
        }
        Ok(())
    }

    /// The native histogram, and the classic series where that has none or both are wanted.
    fn histogram(
        &mut self,
        base: &Base<'_>,
        from: &Histogram,
        kind: MetricKind,
    ) -> Result<(), Full> {
        let reset_hint = match kind {
            MetricKind::GaugeHistogram => ResetHint::Gauge,
            _ => ResetHint::Unknown,
        };
        let native = if self.options.native && from.is_native() {
            Some(native(from, reset_hint))
        } else if self.options.custom_buckets {
            converted(from, reset_hint)
        } else {
            None
        };
        if let Some(native) = native {
            let exemplars = exemplars(from);
            self.push(base, "", None, Stored::Histogram(native), &exemplars)?;
            // A native histogram alone has no buckets to show.
            if !self.options.classic || from.buckets.is_empty() {
                return Ok(());
            }
        }
        self.classic(base, from)
    }

    fn classic(&mut self, base: &Base<'_>, from: &Histogram) -> Result<(), Full> {
        let count = from.observations();
        self.push(base, "_count", None, Stored::Float(count), &[])?;
        self.push(base, "_sum", None, Stored::Float(from.sum), &[])?;
        for bucket in &from.buckets {
            let (upper, value) = (float::canonical(bucket.upper), bucket.cumulative());
            let le = Some(("le", upper.as_str()));
            let exemplar = bucket.exemplar.as_slice();
            self.push(base, "_bucket", le, Stored::Float(value), exemplar)?;
            // What comes behind the last bucket is none.
            if bucket.upper == f64::INFINITY {
                return Ok(());
            }
        }
        self.push(base, "_bucket", Some(("le", "+Inf")), Stored::Float(count), &[])
    }

    fn push(
        &mut self,
        base: &Base<'_>,
        suffix: &str,
        label: Option<(&str, &str)>,
        value: Stored,
        exemplars: &[Exemplar],
    ) -> Result<(), Full> {
        let labels = base.labels.iter().map(|(name, value)| (&**name, &**value)).chain(label);
        let name = format!("{}{suffix}", base.name);
        write_series_text(&mut self.text, &name, labels);
        let Base { timestamp_ms, start_ms, .. } = *base;
        self.transcript.push_series(&self.text, Facts { value, timestamp_ms, start_ms, exemplars })
    }
}

fn native(from: &Histogram, reset_hint: ResetHint) -> histogram::Histogram {
    let Histogram { positive, negative, .. } = from;
    let counts = if from.is_float() {
        Counts::Float {
            count: from.count_float,
            zero_count: from.zero_count_float,
            positive: positive.counts.clone(),
            negative: negative.counts.clone(),
        }
    } else {
        Counts::Integer {
            count: from.count,
            zero_count: from.zero_count,
            positive_deltas: positive.deltas.clone(),
            negative_deltas: negative.deltas.clone(),
        }
    };
    let spans = |side: &Side| -> Vec<Span> { side.spans.clone() };
    let mut native = histogram::Histogram {
        schema: from.schema,
        zero_threshold: from.zero_threshold,
        sum: from.sum,
        reset_hint,
        positive_spans: spans(positive),
        negative_spans: spans(negative),
        counts,
        custom_bounds: Vec::new(),
    };
    native.compact(0);
    native
}

/// The classic buckets as a native histogram.
fn converted(from: &Histogram, reset_hint: ResetHint) -> Option<histogram::Histogram> {
    let mut classic = Classic::default();
    classic.set_count(from.observations());
    classic.set_sum(from.sum);
    for bucket in &from.buckets {
        classic.set_bucket(bucket.upper, bucket.cumulative());
    }
    classic.convert(reset_hint)
}

/// Those of a native histogram: its own or, where it has none, those of its classic buckets; only
/// with a timestamp, as nothing else orders them.
fn exemplars(from: &Histogram) -> Vec<Exemplar> {
    let own = &from.exemplars;
    let of_buckets = from.buckets.iter().filter_map(|bucket| bucket.exemplar.as_ref());
    let all: Vec<&Exemplar> =
        if own.is_empty() { of_buckets.collect() } else { own.iter().collect() };
    all.into_iter().filter(|exemplar| exemplar.timestamp_ms.is_some()).cloned().collect()
}
