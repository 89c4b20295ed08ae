//! Any body as OpenMetrics text.

#![no_main]

mod twice;

use starling::wire::Format;

libfuzzer_sys::fuzz_target!(|body: &[u8]| twice::read(Format::OpenMetricsText, body));
