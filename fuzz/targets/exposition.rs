//! Any body as the Prometheus text format.

#![no_main]

mod twice;

use starling::wire::Format;

libfuzzer_sys::fuzz_target!(|body: &[u8]| twice::read(Format::PrometheusText, body));
