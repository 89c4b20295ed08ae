//! Starling: telemetry collection for fleets of plain VMs. This file is the map; `ARCHITECTURE.md`
//! tells the way of the data. A module imports only from the floors below it (`tests/tidy.rs`).

// door: parse, wire, start, stop
pub mod app;
pub mod cli;
// window: look in, change course
pub mod admin;
pub mod reload;
// lookout: what happens, and what the others say
pub mod chronicle;
pub mod survey;
// work: fetch samples, take pushes
pub mod gateway;
pub mod scrape;
// decision: who does what
pub mod ownership;
// services: who is here, what exists, what has been, what must leave
pub mod discovery;
pub mod fleet;
pub mod history;
pub mod outbox;
// ground: life of the process; file; formats; plain values
pub mod config;
pub mod model;
pub mod runtime;
pub mod wire;
