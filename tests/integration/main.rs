//! The agent as its users meet it: the real binary, beside real servers, with real faults.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]

mod ask;
mod backend;
mod conformance;
mod convert;
mod delivery;
mod demo;
mod door;
mod eventually;
mod examples;
mod gateway;
mod histograms;
mod host;
mod install;
mod log;
mod newer;
mod operation;
mod process;
mod python;
mod reach;
mod readme;
mod secrets;
mod service;
mod target;
mod watch;

use eventually::eventually;
