//! The appliance: Starling as it is installed, on whole systems that boot.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]
#![allow(
    clippy::print_stdout,
    reason = "what is skipped and what was measured is told by printing"
)]

#[path = "../integration/eventually.rs"]
mod eventually;
mod hosts;
mod package;
#[path = "../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;

use eventually::eventually;
