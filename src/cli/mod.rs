//! cli

pub mod debug_parse;
