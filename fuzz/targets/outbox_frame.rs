//! Any bytes as a segment of the outbox: what a torn or rotten disk may hold.

#![no_main]

use starling::outbox::frame;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok((_, length)) = frame::decode(bytes) {
        assert!(length <= bytes.len());
    }
    let mut end = 0;
    let damage = frame::scan(bytes, 0, |offset, length, _| {
        assert!(offset >= end, "frames overlap");
        end = offset + length;
        assert!(end <= bytes.len());
    });
    assert!(damage.torn.start >= end, "a good frame counts as torn");
});
