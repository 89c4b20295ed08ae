//! The fleet on real networks: members as processes of their own, in network namespaces where a
//! test needs some, beside real servers, and against those who do not belong.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]
#![allow(
    clippy::print_stdout,
    reason = "a member is read by its output, a measurement by its test's"
)]

mod bridge;
mod channel;
mod cost;
#[path = "../integration/eventually.rs"]
mod eventually;
mod mdns;
mod member;
#[path = "../conformance/discovery/name_server.rs"]
#[expect(dead_code, reason = "the other tests that share it ask for more")]
mod name_server;
mod names;
mod namespace;
#[path = "../integration/process.rs"]
#[expect(dead_code, reason = "the tests of one agent ask for more")]
mod process;
mod strangers;
mod wire;

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use eventually::eventually;

/// A flood takes the whole of a small machine: whoever judges members does not run beside it.
static MACHINE: RwLock<()> = RwLock::new(());

fn shared_machine() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().unwrap_or_else(PoisonError::into_inner)
}

fn whole_machine() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().unwrap_or_else(PoisonError::into_inner)
}
