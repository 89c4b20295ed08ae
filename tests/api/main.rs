//! The admin API of a real fleet, asked by machines: by schemathesis, which makes questions of the
//! `OpenAPI` document and judges the answers by it, and by a client that listens to events.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod events;
#[path = "../integration/eventually.rs"]
mod eventually;
mod flock;
#[path = "../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;
#[path = "../integration/python.rs"]
mod python;
mod schemathesis;
#[path = "../integration/target.rs"]
#[expect(dead_code, reason = "others count the scrapes")]
mod target;

use eventually::eventually;
