//! A body read as at its first scrape and as at every later one: both must say the same.

use starling::wire::{Entry, Format, Parser};

pub fn read(format: Format, body: &[u8]) {
    let mut parser = Parser::new(format, body);
    for entry in Parser::new(format, body) {
        if let Ok(Entry::Series(series)) = &entry {
            _ = series.labels();
            _ = series.exemplar.map(|exemplar| exemplar.decode());
            if let Some(value) = parser.next_known(series.text, series.context()) {
                assert_eq!(value.value.to_bits(), series.value.to_bits());
                assert_eq!(value.timestamp_ms, series.timestamp_ms);
                assert_eq!(value.exemplar, series.exemplar);
                continue;
            }
        }
        // As text, for a NaN is not equal to itself.
        assert_eq!(format!("{:?}", parser.next()), format!("{:?}", Some(entry)));
    }
    assert_eq!(parser.next(), None);
}
