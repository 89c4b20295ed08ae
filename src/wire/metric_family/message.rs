//! The messages of `io.prometheus.client`, read field by field. Fields that are not known are
//! passed over; one that is known and has another wire type is a fault.

use crate::{
    model::{histogram::Span, labels::Labels, sample::Exemplar},
    wire::{
        metric_family::{shown, text},
        protobuf::{FieldValue, Fields},
    },
};

#[derive(Debug, Default)]
pub(super) struct Family<'a> {
    pub(super) name: &'a [u8],
    pub(super) help: &'a [u8],
    pub(super) unit: &'a [u8],
    pub(super) kind: u64,
    pub(super) metrics: Vec<&'a [u8]>,
}

#[derive(Debug)]
pub(super) struct Metric<'a> {
    pub(super) labels: Vec<Label<'a>>,
    /// 0: none.
    pub(super) timestamp_ms: i64,
    pub(super) value: Value,
}

pub(super) type Label<'a> = (&'a str, &'a str);

#[derive(Debug)]
pub(super) enum Value {
    /// Of a counter, a gauge or an untyped metric.
    Single {
        value: f64,
        start_ms: Option<i64>,
        exemplar: Option<Exemplar>,
    },
    Summary(Summary),
    Histogram(Box<Histogram>),
}

#[derive(Debug, Default)]
pub(super) struct Summary {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// Each with its value.
    pub(super) quantiles: Vec<(f64, f64)>,
    pub(super) start_ms: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct Histogram {
    pub(super) count: u64,
    pub(super) count_float: f64,
    pub(super) sum: f64,
    pub(super) buckets: Vec<Bucket>,
    pub(super) start_ms: Option<i64>,
    pub(super) schema: i32,
    pub(super) zero_threshold: f64,
    pub(super) zero_count: u64,
    pub(super) zero_count_float: f64,
    pub(super) negative: Side,
    pub(super) positive: Side,
    pub(super) exemplars: Vec<Exemplar>,
}

#[derive(Debug, Default)]
pub(super) struct Bucket {
    cumulative: u64,
    cumulative_float: f64,
    pub(super) upper: f64,
    pub(super) exemplar: Option<Exemplar>,
}

/// The buckets on one side of zero, as spans and either of the other two.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) spans: Vec<Span>,
    pub(super) deltas: Vec<i64>,
    pub(super) counts: Vec<f64>,
}

impl<'a> Family<'a> {
    pub(super) fn read(message: &'a [u8]) -> Result<Self, String> {
        let mut family = Self::default();
        each(message, "MetricFamily", |number, field| {
            match number {
                1 => family.name = field.bytes()?,
                2 => family.help = field.bytes()?,
                3 => family.kind = field.varint()?,
                4 => family.metrics.push(field.bytes()?),
                5 => family.unit = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(family)
    }
}

impl<'a> Metric<'a> {
    /// Of a metric that has several values the one of its family's type counts; one without it is 0.
    pub(super) fn read(message: &'a [u8], kind: u64) -> Result<Self, String> {
        let (mut labels, mut timestamp_ms, mut value) = (Vec::new(), 0, &[][..]);
        let wanted = match kind {
            0 => 3,
            1 => 2,
            2 => 4,
            3 => 5,
            _ => 7,
        };
        each(message, "Metric", |number, field| {
            match number {
                1 => labels.push(label(field.bytes()?)?),
                6 => timestamp_ms = field.varint()?.cast_signed(),
                number if number == wanted => value = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        let value = match kind {
            2 => Value::Summary(Summary::read(value)?),
            4 | 5 => Value::Histogram(Box::new(Histogram::read(value)?)),
            _ => single(value, kind)?,
        };
        Ok(Self { labels, timestamp_ms, value })
    }
}

/// A gauge and an untyped metric have but a value.
fn single(message: &[u8], kind: u64) -> Result<Value, String> {
    let (mut value, mut start_ms, mut exemplar) = (0.0, None, None);
    each(message, "the value of a metric", |number, field| {
        match number {
            1 => value = field.double()?,
            2 if kind == 0 => exemplar = Some(read_exemplar(field.bytes()?)?),
            3 if kind == 0 => start_ms = started(field.bytes()?)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Value::Single { value, start_ms, exemplar })
}

impl Summary {
    fn read(message: &[u8]) -> Result<Self, String> {
        let mut summary = Self::default();
        each(message, "Summary", |number, field| {
            match number {
                1 => summary.count = field.varint()?,
                2 => summary.sum = field.double()?,
                3 => summary.quantiles.push(quantile(field.bytes()?)?),
                4 => summary.start_ms = started(field.bytes()?)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(summary)
    }
}

impl Histogram {
    fn read(message: &[u8]) -> Result<Self, String> {
        let mut histogram = Self::default();
        each(message, "Histogram", |number, field| {
            match number {
                1 => histogram.count = field.varint()?,
                2 => histogram.sum = field.double()?,
                3 => histogram.buckets.push(Bucket::read(field.bytes()?)?),
                4 => histogram.count_float = field.double()?,
                5 => histogram.schema = zigzag_32(field.varint()?),
                6 => histogram.zero_threshold = field.double()?,
                7 => histogram.zero_count = field.varint()?,
                8 => histogram.zero_count_float = field.double()?,
                9 => histogram.negative.spans.push(span(field.bytes()?)?),
                10 => field.zigzags(&mut histogram.negative.deltas)?,
                11 => field.doubles(&mut histogram.negative.counts)?,
                12 => histogram.positive.spans.push(span(field.bytes()?)?),
                13 => field.zigzags(&mut histogram.positive.deltas)?,
                14 => field.doubles(&mut histogram.positive.counts)?,
                15 => histogram.start_ms = started(field.bytes()?)?,
                16 => histogram.exemplars.push(read_exemplar(field.bytes()?)?),
                _ => {}
            }
            Ok(())
        })?;
        Ok(histogram)
    }

    /// A span says so, even an empty one, and so does a zero bucket.
    pub(super) fn is_native(&self) -> bool {
        !self.positive.spans.is_empty()
            || !self.negative.spans.is_empty()
            || self.zero_threshold > 0.0
            || self.zero_count > 0
    }

    /// Whether its counts are floats.
    pub(super) fn is_float(&self) -> bool {
        self.count_float > 0.0 || self.zero_count_float > 0.0
    }

    pub(super) fn observations(&self) -> f64 {
        float_or(self.count_float, self.count)
    }
}

impl Bucket {
    fn read(message: &[u8]) -> Result<Self, String> {
        let mut bucket = Self::default();
        each(message, "Bucket", |number, field| {
            match number {
                1 => bucket.cumulative = field.varint()?,
                2 => bucket.upper = field.double()?,
                3 => bucket.exemplar = Some(read_exemplar(field.bytes()?)?),
                4 => bucket.cumulative_float = field.double()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(bucket)
    }

    pub(super) fn cumulative(&self) -> f64 {
        float_or(self.cumulative_float, self.cumulative)
    }
}

/// The float counts where it is there.
fn float_or(float: f64, integer: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "samples are floats, as in Prometheus")]
    let integer = integer as f64;
    if float == 0.0 { integer } else { float }
}

fn read_exemplar(message: &[u8]) -> Result<Exemplar, String> {
    let (mut labels, mut value, mut timestamp_ms) = (Vec::new(), 0.0, None);
    each(message, "Exemplar", |number, field| {
        match number {
            1 => labels.push(label(field.bytes()?)?),
            2 => value = field.double()?,
            3 => timestamp_ms = Some(milliseconds(field.bytes()?)?),
            _ => {}
        }
        Ok(())
    })?;
    labels.sort_unstable();
    Ok(Exemplar { labels: labels.into_iter().collect::<Labels>(), value, timestamp_ms })
}

fn label(message: &[u8]) -> Result<Label<'_>, String> {
    let (mut name, mut value) = (&[][..], &[][..]);
    each(message, "LabelPair", |number, field| {
        match number {
            1 => name = field.bytes()?,
            2 => value = field.bytes()?,
            _ => {}
        }
        Ok(())
    })?;
    if name.is_empty() || name.contains(&0) {
        return Err(format!("`{}` is no label name", shown(name)));
    }
    Ok((text(name, "label name")?, text(value, "label value")?))
}

fn quantile(message: &[u8]) -> Result<(f64, f64), String> {
    let (mut quantile, mut value) = (0.0, 0.0);
    each(message, "Quantile", |number, field| {
        match number {
            1 => quantile = field.double()?,
            2 => value = field.double()?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((quantile, value))
}

fn span(message: &[u8]) -> Result<Span, String> {
    let mut span = Span { offset: 0, length: 0 };
    each(message, "BucketSpan", |number, field| {
        match number {
            1 => span.offset = zigzag_32(field.varint()?),
            2 => span.length = low_32(field.varint()?),
            _ => {}
        }
        Ok(())
    })?;
    Ok(span)
}

/// A start of 0 is none.
fn started(message: &[u8]) -> Result<Option<i64>, String> {
    milliseconds(message).map(|start_ms| Some(start_ms).filter(|start_ms| *start_ms != 0))
}

/// Of a `google.protobuf.Timestamp`.
fn milliseconds(message: &[u8]) -> Result<i64, String> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    each(message, "Timestamp", |number, field| {
        match number {
            1 => seconds = field.varint()?.cast_signed(),
            2 => nanos = i64::from(low_32(field.varint()?).cast_signed()),
            _ => {}
        }
        Ok(())
    })?;
    Ok(seconds.wrapping_mul(1000).wrapping_add(nanos / 1_000_000))
}

/// A field of which the wire type has not been looked at.
struct Field<'a> {
    message: &'static str,
    number: u64,
    value: FieldValue<'a>,
}

fn each<'a>(
    message: &'a [u8],
    name: &'static str,
    mut visit: impl FnMut(u64, Field<'a>) -> Result<(), String>,
) -> Result<(), String> {
    for field in Fields::of(message) {
        let (number, value) = field.map_err(|fault| format!("{name}: {fault}"))?;
        visit(number, Field { message: name, number, value })?;
    }
    Ok(())
}

impl<'a> Field<'a> {
    fn varint(&self) -> Result<u64, String> {
        match self.value {
            FieldValue::Varint(value) => Ok(value),
            FieldValue::Fixed64(_) | FieldValue::Bytes(_) | FieldValue::Fixed32(_) => {
                Err(self.other_type())
            }
        }
    }

    fn double(&self) -> Result<f64, String> {
        match self.value {
            FieldValue::Fixed64(bits) => Ok(f64::from_bits(bits)),
            FieldValue::Varint(_) | FieldValue::Bytes(_) | FieldValue::Fixed32(_) => {
                Err(self.other_type())
            }
        }
    }

    fn bytes(&self) -> Result<&'a [u8], String> {
        match self.value {
            FieldValue::Bytes(bytes) => Ok(bytes),
            FieldValue::Varint(_) | FieldValue::Fixed64(_) | FieldValue::Fixed32(_) => {
                Err(self.other_type())
            }
        }
    }

    /// One of many, or all of them packed.
    fn zigzags(&self, all: &mut Vec<i64>) -> Result<(), String> {
        let FieldValue::Bytes(packed) = self.value else {
            all.push(zigzag_64(self.varint()?));
            return Ok(());
        };
        let mut fields = Fields::of(packed);
        while !fields.rest().is_empty() {
            let value = fields.varint().map_err(|fault| format!("{}: {fault}", self.message))?;
            all.push(zigzag_64(value));
        }
        Ok(())
    }

    /// One of many, or all of them packed.
    fn doubles(&self, all: &mut Vec<f64>) -> Result<(), String> {
        let FieldValue::Bytes(packed) = self.value else {
            all.push(self.double()?);
            return Ok(());
        };
        let (doubles, rest) = packed.as_chunks::<8>();
        if !rest.is_empty() {
            return Err(self.other_type());
        }
        all.extend(doubles.iter().map(|bytes| f64::from_le_bytes(*bytes)));
        Ok(())
    }

    fn other_type(&self) -> String {
        format!("{}: the field {} has another wire type than expected", self.message, self.number)
    }
}

fn zigzag_64(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn zigzag_32(value: u64) -> i32 {
    let value = low_32(value);
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

/// Longer varints are cut, as protobuf has it.
fn low_32(value: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the high half is cut on purpose")]
    let low = value as u32;
    low
}
