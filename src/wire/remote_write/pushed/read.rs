//! A raw request of 1.0 or 2.0 to its series, read in place: texts and histograms are borrowed from
//! the request, and only exemplars are written anew.

use std::borrow::Cow;

use super::{
    PUSHED_LABELS_MAX, PushedExemplars, PushedLabel, PushedPoint, PushedSeries, PushedValue,
    WriteVersion,
};
use crate::wire::{
    protobuf::{FieldValue, Fields, WireFault, bytes_tag, push_bytes},
    remote_write::{
        DecodeError, EXEMPLAR_LABELS, EXEMPLARS, Family, HISTOGRAMS, LABEL_NAME, LABELS, Metadata,
        RAW_BYTES_MAX, SAMPLE_START, SAMPLE_TIMESTAMP, SAMPLE_VALUE, SAMPLES, TIMESERIES,
        decode::{decode_v2_metadata, label, packed, symbol, text},
        encode::{label_field_length, label_length, push_labels},
        histogram_field,
        metadata::REQUEST_METADATA,
        v2_field,
    },
};

/// Of one series. Two bytes of a request may be a point, which takes thirty times as much in memory.
const POINTS_MAX: usize = 1 << 18;
/// Of one request. Two bytes may be a symbol, which takes eight times as much.
const SYMBOLS_MAX: usize = 1 << 21;

/// Tells each series of a raw message, and in 1.0 what it says of families of metrics. After an
/// error the whole request is to be forgotten, whatever was told before. An error is also what would
/// be longer than `RAW_BYTES_MAX` as it is kept, with the texts at each point.
pub fn read_pushed<'a>(
    raw: &'a [u8],
    version: WriteVersion,
    series: impl FnMut(&PushedSeries<'a>),
    families: impl FnMut(Family),
) -> Result<(), DecodeError> {
    match version {
        WriteVersion::V1 => read_v1(raw, series, families),
        WriteVersion::V2 => read_v2(raw, series),
    }
}

fn read_v1<'a>(
    raw: &'a [u8],
    mut tell: impl FnMut(&PushedSeries<'a>),
    mut families: impl FnMut(Family),
) -> Result<(), DecodeError> {
    let mut series = PushedSeries::default();
    let mut before = LabelsBefore::default();
    let mut room = Room::default();
    for field in Fields::of(raw) {
        match field? {
            (TIMESERIES, FieldValue::Bytes(message)) => {
                series.clear();
                series.read_v1(message, &mut before)?;
                series.order_labels();
                room.take(&series)?;
                tell(&series);
            }
            (REQUEST_METADATA, FieldValue::Bytes(message)) => families(Family::decode(message)?),
            _ => {}
        }
    }
    Ok(())
}

/// Symbols come first, but need not.
fn read_v2<'a>(raw: &'a [u8], mut tell: impl FnMut(&PushedSeries<'a>)) -> Result<(), DecodeError> {
    let symbols = read_symbols(raw)?;
    let mut series = PushedSeries::default();
    let mut room = Room::default();
    for field in Fields::of(raw) {
        if let (v2_field::TIMESERIES, FieldValue::Bytes(message)) = field? {
            series.clear();
            series.read_v2(message, &symbols)?;
            series.order_labels();
            room.take(&series)?;
            tell(&series);
        }
    }
    Ok(())
}

fn read_symbols(raw: &[u8]) -> Result<Vec<&str>, DecodeError> {
    let mut symbols = Vec::new();
    for field in Fields::of(raw) {
        if let (v2_field::SYMBOLS, FieldValue::Bytes(symbol)) = field? {
            if symbols.len() == SYMBOLS_MAX {
                return Err(DecodeError::TooMany("symbols"));
            }
            symbols.push(text(symbol)?);
        }
    }
    match symbols.first() {
        Some(first) if !first.is_empty() => Err(DecodeError::BadSymbols),
        Some(_) | None => Ok(symbols),
    }
}

impl<'a> PushedSeries<'a> {
    fn read_v1(
        &mut self,
        message: &'a [u8],
        before: &mut LabelsBefore<'a>,
    ) -> Result<(), DecodeError> {
        let mut place = 0;
        // Of labels that are encoded in the one way in which we would; from the first other field on
        // the sum is smaller than where they end.
        let (mut encoded_length, mut labels_end) = (0, 0);
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next() {
            match field? {
                (LABELS, FieldValue::Bytes(label)) => {
                    let KnownLabel { label, encoded_length: own, .. } =
                        before.read(place, label)?;
                    self.push_label(label);
                    place += 1;
                    encoded_length += own;
                    labels_end = message.len() - fields.rest().len();
                }
                (SAMPLES, FieldValue::Bytes(message)) => self.push_point(read_sample(message)?)?,
                (HISTOGRAMS, FieldValue::Bytes(message)) => {
                    self.push_point(read_histogram(message)?)?;
                }
                (EXEMPLARS, FieldValue::Bytes(message)) => self.exemplars.push_v1(message)?,
                _ => {}
            }
        }
        let is_all = self.labels.len() == place && encoded_length == labels_end;
        self.encoded_labels = is_all.then(|| &message[..labels_end]);
        Ok(())
    }

    fn read_v2(&mut self, message: &'a [u8], symbols: &[&'a str]) -> Result<(), DecodeError> {
        let mut pairs = Pairs { symbols, name: None };
        for field in Fields::of(message) {
            match field? {
                (v2_field::LABEL_REFS, value) => pairs.take(value, |name, text| {
                    self.push_label((name, text));
                    Ok(())
                })?,
                (v2_field::SAMPLES, FieldValue::Bytes(message)) => {
                    self.push_point(read_sample(message)?)?;
                }
                (v2_field::HISTOGRAMS, FieldValue::Bytes(message)) => {
                    self.push_point(read_histogram(message)?)?;
                }
                (v2_field::EXEMPLARS, FieldValue::Bytes(message)) => {
                    self.exemplars.push_v2(message, symbols)?;
                }
                (v2_field::METADATA, FieldValue::Bytes(message)) => {
                    let metadata = decode_v2_metadata(message, symbols)?;
                    self.metadata = (metadata != Metadata::default()).then_some(metadata);
                }
                _ => {}
            }
        }
        pairs.finish()
    }

    /// One more than may be is enough to see that there are too many.
    fn push_label(&mut self, label: PushedLabel<'a>) {
        if !label.1.is_empty() && self.labels.len() <= PUSHED_LABELS_MAX {
            self.labels.push(label);
        }
    }

    fn push_point(&mut self, point: PushedPoint<'a>) -> Result<(), DecodeError> {
        if self.points.len() == POINTS_MAX {
            return Err(DecodeError::TooMany("samples of one series"));
        }
        self.points.push(point);
        Ok(())
    }

    /// They come in order, but for senders that do not keep to the protocol.
    fn order_labels(&mut self) {
        if !self.labels.is_sorted_by(|one, next| one.0 <= next.0) {
            self.labels.sort_unstable();
            self.encoded_labels = None;
        }
    }
}

/// The labels of the series before, by their place. Most of a series' labels are those of the one
/// before it, and to compare them costs a tenth of reading them.
#[derive(Default)]
struct LabelsBefore<'a> {
    known: Vec<KnownLabel<'a>>,
}

#[derive(Clone, Copy)]
struct KnownLabel<'a> {
    message: &'a [u8],
    label: PushedLabel<'a>,
    /// Of its field as we would write it; 0 where it is written otherwise.
    encoded_length: usize,
}

impl<'a> LabelsBefore<'a> {
    fn read(&mut self, place: usize, message: &'a [u8]) -> Result<KnownLabel<'a>, DecodeError> {
        match self.known.get_mut(place) {
            Some(known) if known.message == message => Ok(*known),
            Some(known) => {
                *known = KnownLabel::read(message)?;
                Ok(*known)
            }
            None => {
                let known = KnownLabel::read(message)?;
                if place < PUSHED_LABELS_MAX {
                    self.known.push(known);
                }
                Ok(known)
            }
        }
    }
}

impl<'a> KnownLabel<'a> {
    fn read(message: &'a [u8]) -> Result<Self, DecodeError> {
        let (name, value) = label(message)?;
        let length = label_length(name, value);
        // As long as it has to be, and the name first: then each is there once.
        let is_name_first =
            message.first().is_some_and(|tag| u64::from(*tag) == bytes_tag(LABEL_NAME));
        let is_usual = message.len() == length && is_name_first;
        let encoded_length = if is_usual { label_field_length(length) } else { 0 };
        Ok(Self { message, label: (name, value), encoded_length })
    }
}

impl PushedExemplars {
    fn push_v1(&mut self, message: &[u8]) -> Result<(), DecodeError> {
        for field in Fields::of(message) {
            if let (EXEMPLAR_LABELS, FieldValue::Bytes(message)) = field? {
                label(message)?;
            }
        }
        self.push(message);
        Ok(())
    }

    /// But for the labels, both versions write them alike.
    fn push_v2(&mut self, message: &[u8], symbols: &[&str]) -> Result<(), DecodeError> {
        let mut pairs = Pairs { symbols, name: None };
        let (mut kept, mut others) = (Vec::new(), Vec::new());
        for field in whole_fields(message) {
            match field? {
                (EXEMPLAR_LABELS, value, _) => pairs.take(value, |name, text| {
                    let length = self.fields.len() + kept.len() + name.len() + text.len();
                    if length > RAW_BYTES_MAX {
                        return Err(DecodeError::TooLarge(length));
                    }
                    push_labels(&mut kept, EXEMPLAR_LABELS, std::iter::once((name, text)));
                    Ok(())
                })?,
                (_, _, whole) => others.extend_from_slice(whole),
            }
        }
        pairs.finish()?;
        kept.extend_from_slice(&others);
        self.push(&kept);
        Ok(())
    }

    fn push(&mut self, message: &[u8]) {
        push_bytes(&mut self.fields, EXEMPLARS, message);
        self.count += 1;
    }
}

/// References to symbols, a name and a value in turn.
struct Pairs<'s, 'a> {
    symbols: &'s [&'a str],
    /// The one whose value has not come yet.
    name: Option<&'a str>,
}

impl<'a> Pairs<'_, 'a> {
    /// They come packed or one field each; a reader takes both.
    fn take(
        &mut self,
        value: FieldValue<'_>,
        mut tell: impl FnMut(&'a str, &'a str) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut take = |at| {
            let text = symbol(self.symbols, at)?;
            match self.name.take() {
                Some(name) => tell(name, text)?,
                None => self.name = Some(text),
            }
            Ok(())
        };
        match value {
            FieldValue::Varint(at) => take(at),
            FieldValue::Bytes(bytes) => packed(bytes).try_for_each(|at| take(at?)),
            FieldValue::Fixed64(_) | FieldValue::Fixed32(_) => Ok(()),
        }
    }

    fn finish(self) -> Result<(), DecodeError> {
        if self.name.is_some() { Err(DecodeError::BadSymbols) } else { Ok(()) }
    }
}

/// How much of `RAW_BYTES_MAX` is taken. A few bytes may refer to a long text again and again, and
/// a field of its own for each point repeats the labels.
#[derive(Default)]
struct Room {
    taken: usize,
}

impl Room {
    fn take(&mut self, series: &PushedSeries<'_>) -> Result<(), DecodeError> {
        let labels = series.labels.iter().map(|(name, value)| name.len() + value.len());
        let told = series.metadata.as_ref().map_or(0, |told| told.help.len() + told.unit.len());
        let texts = labels.sum::<usize>() + told;
        let kept = texts.saturating_mul(series.points.len().max(1));
        self.taken = self.taken.saturating_add(kept).saturating_add(series.exemplars.fields.len());
        if self.taken > RAW_BYTES_MAX {
            return Err(DecodeError::TooLarge(self.taken));
        }
        Ok(())
    }
}

fn read_sample<'a>(message: &[u8]) -> Result<PushedPoint<'a>, DecodeError> {
    let (mut value, mut timestamp_ms, mut start_ms) = (0, 0, None);
    for field in Fields::of(message) {
        match field? {
            (SAMPLE_VALUE, FieldValue::Fixed64(bits)) => value = bits,
            (SAMPLE_TIMESTAMP, FieldValue::Varint(bits)) => timestamp_ms = bits.cast_signed(),
            (SAMPLE_START, FieldValue::Varint(bits)) => start_ms = start(bits),
            _ => {}
        }
    }
    Ok(PushedPoint { timestamp_ms, start_ms, value: PushedValue::Float(value) })
}

/// The start is cut out, as what is kept has it beside the histogram. It is the last field unless
/// its sender is very odd, so that what is before it can be borrowed.
fn read_histogram(message: &[u8]) -> Result<PushedPoint<'_>, DecodeError> {
    let (mut timestamp_ms, mut start_ms) = (0, None);
    let mut kept = Cow::Borrowed(&message[..0]);
    let mut end = 0;
    for field in whole_fields(message) {
        let (number, value, whole) = field?;
        let begin = end;
        end += whole.len();
        match (number, value) {
            (histogram_field::START, FieldValue::Varint(bits)) => {
                start_ms = start(bits);
                continue;
            }
            (histogram_field::TIMESTAMP, FieldValue::Varint(bits)) => {
                timestamp_ms = bits.cast_signed();
            }
            _ => {}
        }
        if kept.len() == begin {
            kept = Cow::Borrowed(&message[..end]);
        } else {
            kept.to_mut().extend_from_slice(whole);
        }
    }
    Ok(PushedPoint { timestamp_ms, start_ms, value: PushedValue::Histogram(kept) })
}

/// 0 is none.
fn start(bits: u64) -> Option<i64> {
    (bits != 0).then_some(bits.cast_signed())
}

/// A field's number, its value, and all its bytes.
type WholeField<'a> = (u64, FieldValue<'a>, &'a [u8]);

fn whole_fields(message: &[u8]) -> impl Iterator<Item = Result<WholeField<'_>, WireFault>> {
    let mut fields = Fields::of(message);
    let mut rest = message;
    std::iter::from_fn(move || {
        let field = fields.next()?;
        let whole = &rest[..rest.len() - fields.rest().len()];
        rest = fields.rest();
        Some(field.map(|(number, value)| (number, value, whole)))
    })
}
