//! Any bytes as an answer of an API that discovery asks; the first says which API.

#![no_main]

use starling::discovery::polled;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, answer)) = bytes.split_first() else { return };
    for target in polled::decode(*kind, answer) {
        assert!(target.contains("__address__"), "a target without an address");
    }
});
