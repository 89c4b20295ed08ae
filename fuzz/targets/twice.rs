//! A body read as at its first scrape and as at every later one: both must say the same.

use starling::wire::{Entry, Exposed, Format, ParseOptions};

/// In each way that it can be asked for.
pub fn read(format: Format, body: &[u8]) {
    for bits in 0..64_u8 {
        let has = |bit: u8| bits & 1 << bit != 0;
        let options = ParseOptions {
            native: has(0),
            classic: has(1),
            custom_buckets: has(2),
            starts: has(3),
            type_and_unit: has(4),
            keeps_created: has(5),
        };
        read_twice(&Exposed::new(format, body, options));
    }
}

fn read_twice(exposed: &Exposed<'_>) {
    let mut parser = exposed.parser();
    for entry in exposed.parser() {
        if let Ok(Entry::Series(series)) = &entry {
            _ = series.labels();
            _ = series.exemplars.decode();
            if let Some(value) = parser.next_known(series.text, series.context()) {
                assert_eq!(format!("{value:?}"), format!("{:?}", series.facts()));
                continue;
            }
        }
        // As text, for a NaN is not equal to itself.
        assert_eq!(format!("{:?}", parser.next()), format!("{:?}", Some(entry)));
    }
    assert_eq!(parser.next(), None);
}
