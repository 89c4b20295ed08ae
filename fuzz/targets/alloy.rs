//! Any text as a `config.alloy`: refused with a place, or made into what the agent takes.

#![no_main]

use std::path::Path;

use starling::{
    cli::convert::{Kind, World, convert},
    config,
};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let world = World {
        read: &|_| Err("no files here".to_owned()),
        environment: &|_| None,
        host: "host".to_owned(),
        current: "/".into(),
        output: None,
    };
    if let Ok(converted) = convert(Some(Kind::Alloy), Path::new("config.alloy"), text, &world) {
        config::parse(Path::new("starling.yml"), &converted.yaml, &|_| None).expect("taken");
    }
});
