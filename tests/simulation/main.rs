//! The fleet in virtual time: the real code over a network in memory, with seeded faults and
//! checkers that judge from outside. `STARLING_SEED=n` runs one seed again and tells its story;
//! `STARLING_SEEDS=n` sets how many are run, `STARLING_SEEDS=m..n` which.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a simulation tells what it measured")]

mod flock;
mod ledger;
mod loud;
mod membership;
mod shares;
mod strangers;
mod world;
