//! From what the outbox keeps to a request of 2.0: each text once in the table of symbols, and
//! references to it everywhere else. Samples and histograms are taken over byte by byte, as both
//! versions write them alike.

use hashbrown::HashMap;

use crate::wire::{
    protobuf::{
        FieldValue, Fields, WireFault, bytes_tag, push_bytes, push_varint, varint_length,
        varint_tag,
    },
    remote_write::{
        Counts, EXEMPLAR_LABELS, EXEMPLARS, HISTOGRAMS, LABELS, METADATA, METADATA_HELP,
        METADATA_TYPE, METADATA_UNIT, SAMPLE_START, SAMPLES, START, TIMESERIES, bits,
        decode::label_bytes, histogram_field, v2_field,
    },
};

/// A `Request` that is growing. It borrows the texts, so what it is made from outlives it.
#[derive(Debug)]
pub struct V2Writer<'a> {
    places: HashMap<&'a [u8], u32>,
    symbols: Vec<u8>,
    timeseries: Vec<u8>,
    counts: Counts,
    parts: Parts<'a>,
    /// The labels of the series before, with their references. Most of a series' labels are those of
    /// the one before it, and to compare them costs less than to look up their texts.
    before: Vec<Known<'a>>,
    series: Vec<u8>,
    refs: Vec<u8>,
    message: Vec<u8>,
}

/// A label, with the references to its name and its value.
#[derive(Debug)]
struct Known<'a> {
    label: &'a [u8],
    refs: [u32; 2],
}

/// The fields of one series, each kind apart.
#[derive(Debug, Default)]
struct Parts<'a> {
    labels: Vec<&'a [u8]>,
    samples: Vec<&'a [u8]>,
    histograms: Vec<&'a [u8]>,
    exemplars: Vec<&'a [u8]>,
    metadata: Option<&'a [u8]>,
    start_ms: Option<i64>,
}

impl Default for V2Writer<'_> {
    fn default() -> Self {
        let mut writer = Self {
            places: HashMap::new(),
            symbols: Vec::new(),
            timeseries: Vec::new(),
            counts: Counts::default(),
            parts: Parts::default(),
            before: Vec::new(),
            series: Vec::new(),
            refs: Vec::new(),
            message: Vec::new(),
        };
        // What is not said refers to it.
        writer.symbol(b"");
        writer
    }
}

impl<'a> V2Writer<'a> {
    /// `raw` is what a fragment unpacks to.
    pub fn add(&mut self, raw: &'a [u8]) -> Result<(), WireFault> {
        self.add_in_turn([raw])
    }

    /// Several fragments at once, a series of each in turn. Of targets that are alike, the same series
    /// stand beside each other then, and compress to little.
    pub fn add_in_turn(
        &mut self,
        raws: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<(), WireFault> {
        let mut all: Vec<Fields<'a>> = raws.into_iter().map(Fields::of).collect();
        while !all.is_empty() {
            let mut fault = None;
            all.retain_mut(|fields| {
                let more = fields.next();
                let added = match more {
                    Some(Ok((TIMESERIES, FieldValue::Bytes(series)))) => {
                        self.parts.read(series).and_then(|()| self.add_series())
                    }
                    Some(Ok(_)) | None => Ok(()),
                    Some(Err(fault)) => Err(fault),
                };
                fault = fault.or(added.err());
                more.is_some()
            });
            if let Some(fault) = fault {
                return Err(fault);
            }
        }
        Ok(())
    }

    /// The raw body, and what is in it.
    pub fn finish(mut self) -> (Vec<u8>, Counts) {
        self.symbols.append(&mut self.timeseries);
        (self.symbols, self.counts)
    }

    fn add_series(&mut self) -> Result<(), WireFault> {
        let parts = std::mem::take(&mut self.parts);
        // A series has either; where ours has both, it goes as two.
        if !parts.samples.is_empty() {
            self.begin(&parts)?;
            self.push_values(v2_field::SAMPLES, &parts.samples, SAMPLE_START, parts.start_ms);
            self.counts.samples += count(&parts.samples);
            self.end(&parts)?;
        }
        if !parts.histograms.is_empty() {
            self.begin(&parts)?;
            let start = histogram_field::START;
            self.push_values(v2_field::HISTOGRAMS, &parts.histograms, start, parts.start_ms);
            self.counts.histograms += count(&parts.histograms);
            self.end(&parts)?;
        }
        let is_without_value = parts.samples.is_empty() && parts.histograms.is_empty();
        if is_without_value && !parts.exemplars.is_empty() {
            self.begin(&parts)?;
            self.end(&parts)?;
        }
        self.parts = parts;
        Ok(())
    }

    fn begin(&mut self, parts: &Parts<'a>) -> Result<(), WireFault> {
        self.series.clear();
        self.refer_to(&parts.labels)?;
        push_bytes(&mut self.series, v2_field::LABEL_REFS, &self.refs);
        Ok(())
    }

    fn push_values(
        &mut self,
        field: u64,
        values: &[&[u8]],
        start_field: u64,
        start_ms: Option<i64>,
    ) {
        self.message.clear();
        if let Some(start_ms) = start_ms {
            push_varint(&mut self.message, varint_tag(start_field));
            push_varint(&mut self.message, bits(start_ms));
        }
        for value in values {
            push_varint(&mut self.series, bytes_tag(field));
            push_varint(&mut self.series, (value.len() + self.message.len()) as u64);
            self.series.extend_from_slice(value);
            self.series.extend_from_slice(&self.message);
        }
    }

    fn end(&mut self, parts: &Parts<'a>) -> Result<(), WireFault> {
        for exemplar in &parts.exemplars {
            self.push_exemplar(exemplar)?;
        }
        self.counts.exemplars += count(&parts.exemplars);
        if let Some(metadata) = parts.metadata {
            self.push_metadata(metadata)?;
        }
        push_bytes(&mut self.timeseries, v2_field::TIMESERIES, &self.series);
        Ok(())
    }

    fn push_exemplar(&mut self, exemplar: &'a [u8]) -> Result<(), WireFault> {
        let mut labels = Vec::new();
        self.message.clear();
        let mut fields = Fields::of(exemplar);
        let mut rest = exemplar;
        while let Some(field) = fields.next() {
            let (number, value) = field?;
            let bytes = &rest[..rest.len() - fields.rest().len()];
            rest = fields.rest();
            match (number, value) {
                (EXEMPLAR_LABELS, FieldValue::Bytes(label)) => labels.push(label),
                // Such a number is no label, but in 2.0 it would be a reference.
                (EXEMPLAR_LABELS, _) => {}
                _ => self.message.extend_from_slice(bytes),
            }
        }
        self.refer_to(&labels)?;
        let refs_length = 1 + varint_length(self.refs.len() as u64) + self.refs.len();
        push_varint(&mut self.series, bytes_tag(v2_field::EXEMPLARS));
        push_varint(&mut self.series, (refs_length + self.message.len()) as u64);
        push_bytes(&mut self.series, EXEMPLAR_LABELS, &self.refs);
        self.series.extend_from_slice(&self.message);
        Ok(())
    }

    fn push_metadata(&mut self, metadata: &'a [u8]) -> Result<(), WireFault> {
        self.message.clear();
        for field in Fields::of(metadata) {
            let (number, value) = match field? {
                (METADATA_TYPE, FieldValue::Varint(kind)) => (METADATA_TYPE, kind),
                (number @ (METADATA_HELP | METADATA_UNIT), FieldValue::Bytes(text)) => {
                    (number, u64::from(self.symbol(text)))
                }
                _ => continue,
            };
            push_varint(&mut self.message, varint_tag(number));
            push_varint(&mut self.message, value);
        }
        push_bytes(&mut self.series, v2_field::METADATA, &self.message);
        Ok(())
    }

    /// Leaves the references to `labels` in `refs`.
    fn refer_to(&mut self, labels: &[&'a [u8]]) -> Result<(), WireFault> {
        self.refs.clear();
        for (at, label) in labels.iter().copied().enumerate() {
            let known = self.before.get(at).filter(|known| known.label == label);
            let refs = if let Some(known) = known {
                known.refs
            } else {
                let (name, value) = label_bytes(label)?;
                let refs = [self.symbol(name), self.symbol(value)];
                match self.before.get_mut(at) {
                    Some(before) => *before = Known { label, refs },
                    None => self.before.push(Known { label, refs }),
                }
                refs
            };
            for text in refs {
                push_varint(&mut self.refs, u64::from(text));
            }
        }
        Ok(())
    }

    fn symbol(&mut self, text: &'a [u8]) -> u32 {
        let next = self.places.len();
        let symbols = &mut self.symbols;
        *self.places.entry(text).or_insert_with(|| {
            push_bytes(symbols, v2_field::SYMBOLS, text);
            u32::try_from(next).expect("a request has fewer bytes")
        })
    }
}

impl<'a> Parts<'a> {
    fn read(&mut self, series: &'a [u8]) -> Result<(), WireFault> {
        let Self { labels, samples, histograms, exemplars, metadata, start_ms } = self;
        for kind in [&mut *labels, samples, histograms, exemplars] {
            kind.clear();
        }
        (*metadata, *start_ms) = (None, None);
        for field in Fields::of(series) {
            match field? {
                (LABELS, FieldValue::Bytes(label)) => labels.push(label),
                (SAMPLES, FieldValue::Bytes(sample)) => samples.push(sample),
                (HISTOGRAMS, FieldValue::Bytes(histogram)) => histograms.push(histogram),
                (EXEMPLARS, FieldValue::Bytes(exemplar)) => exemplars.push(exemplar),
                (METADATA, FieldValue::Bytes(told)) => *metadata = Some(told),
                // 0 would say that there is none.
                (START, FieldValue::Varint(bits)) if bits != 0 => {
                    *start_ms = Some(bits.cast_signed());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn count(values: &[&[u8]]) -> u32 {
    u32::try_from(values.len()).expect("a request has fewer bytes")
}
