//! From what the outbox keeps to a request of 1.0, where that is not the same: without our own
//! fields, and without what 1.0 can't say.

use crate::wire::{
    protobuf::{FieldValue, Fields, WireFault, push_bytes},
    remote_write::{
        Counts, EXEMPLARS, HISTOGRAMS, METADATA, SAMPLES, START, TIMESERIES,
        histogram::has_custom_buckets,
    },
};

/// A `WriteRequest` that is growing.
#[derive(Debug, Default)]
pub struct V1Writer {
    out: Vec<u8>,
    counts: Counts,
    series: Vec<u8>,
}

impl V1Writer {
    /// `raw` is what a fragment unpacks to.
    pub fn add(&mut self, raw: &[u8]) -> Result<(), WireFault> {
        let mut fields = Fields::of(raw);
        let mut rest = raw;
        while let Some(field) = fields.next() {
            let (number, value) = field?;
            let whole = &rest[..rest.len() - fields.rest().len()];
            rest = fields.rest();
            let (TIMESERIES, FieldValue::Bytes(series)) = (number, value) else { continue };
            self.add_series(series, whole)?;
        }
        Ok(())
    }

    /// The raw body, and what is in it.
    pub fn finish(self) -> (Vec<u8>, Counts) {
        (self.out, self.counts)
    }

    /// `whole` is the series with what stands before it.
    fn add_series(&mut self, series: &[u8], whole: &[u8]) -> Result<(), WireFault> {
        self.series.clear();
        let mut counts = Counts::default();
        let mut fields = Fields::of(series);
        let mut rest = series;
        while let Some(field) = fields.next() {
            let (number, value) = field?;
            let bytes = &rest[..rest.len() - fields.rest().len()];
            rest = fields.rest();
            match (number, value) {
                (METADATA | START, _) => continue,
                (HISTOGRAMS, FieldValue::Bytes(histogram)) => {
                    if has_custom_buckets(histogram)? {
                        counts.unsendable += 1;
                        continue;
                    }
                    counts.histograms += 1;
                }
                (SAMPLES, _) => counts.samples += 1,
                (EXEMPLARS, _) => counts.exemplars += 1,
                _ => {}
            }
            self.series.extend_from_slice(bytes);
        }
        self.counts.unsendable += counts.unsendable;
        // Exemplars may have come alone, but those of a histogram do not go without it.
        let is_without_value = counts.samples + counts.histograms == 0;
        if counts.is_empty() || is_without_value && counts.unsendable > 0 {
            return Ok(());
        }
        self.counts.samples += counts.samples;
        self.counts.histograms += counts.histograms;
        self.counts.exemplars += counts.exemplars;
        if self.series.len() == series.len() {
            self.out.extend_from_slice(whole);
        } else {
            push_bytes(&mut self.out, TIMESERIES, &self.series);
        }
        Ok(())
    }
}
