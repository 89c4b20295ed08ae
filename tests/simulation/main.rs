//! The fleet in virtual time: the real code over a network in memory, with seeded faults and
//! checkers that judge from outside. `STARLING_SEED=n` runs one seed again and tells its story;
//! `STARLING_SEEDS=n` sets how many are run, `STARLING_SEEDS=m..n` which.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a simulation tells what it measured")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "the numbers of a simulation are small"
)]
#![allow(
    clippy::needless_pass_by_value,
    clippy::unused_self,
    clippy::type_complexity,
    reason = "what stands for another part has its shape"
)]
#![allow(clippy::incompatible_msrv, reason = "tests are built with the newest")]

mod flock;
mod ledger;
mod loud;
mod membership;
mod shares;
mod strangers;
mod world;
