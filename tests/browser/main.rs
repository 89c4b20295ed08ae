//! The page as a person meets it: in a real browser, on a real flock of three agents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod driver;
#[path = "../integration/eventually.rs"]
mod eventually;
mod flock;
mod page;
mod prefix;
#[path = "../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;
#[path = "../integration/target.rs"]
#[expect(dead_code, reason = "the tests of delivery count scrapes")]
mod target;

use eventually::eventually;
