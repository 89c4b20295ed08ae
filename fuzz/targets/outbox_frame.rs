//! Any bytes as a frame of the outbox' segments: what a torn or rotten disk may hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    _ = starling::outbox::frame::decode(bytes);
});
