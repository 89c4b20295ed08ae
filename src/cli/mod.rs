//! cli

pub mod check;
pub mod debug_parse;
pub mod debug_relabel;
