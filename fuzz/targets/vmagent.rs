//! Any text as vmagent's command line, and as each file that it names; and as Grafana Agent's file.

#![no_main]

use std::path::Path;

use starling::{
    cli::convert::{Kind, World, convert},
    config,
};

libfuzzer_sys::fuzz_target!(|input: (&str, &str)| {
    let (text, named) = input;
    let world = World {
        read: &|_| Ok(named.to_owned()),
        environment: &|_| None,
        host: "host".to_owned(),
        current: "/".into(),
        output: None,
    };
    for kind in [Kind::Vmagent, Kind::AgentStatic, Kind::Prometheus] {
        if let Ok(converted) = convert(Some(kind), Path::new("vmagent"), text, &world) {
            config::parse(Path::new("starling.yml"), &converted.yaml, &|_| None).expect("taken");
        }
    }
});
