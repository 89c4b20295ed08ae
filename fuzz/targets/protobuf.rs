//! Any body as metric families in protobuf.

#![no_main]

mod twice;

use starling::wire::Format;

libfuzzer_sys::fuzz_target!(|body: &[u8]| twice::read(Format::Protobuf, body));
