//! The appliance as it is packaged: what is in the packages, and what installing them does.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic where it stands")]
#![allow(clippy::print_stdout, reason = "what is skipped is told by printing")]

mod package;
