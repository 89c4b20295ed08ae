//! Any text as a configuration: refused with problems, or taken, but never a panic.

#![no_main]

use std::path::Path;

libfuzzer_sys::fuzz_target!(|text: &str| {
    _ = starling::config::parse(Path::new("starling.yml"), text, &|_| None);
});
