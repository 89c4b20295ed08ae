//! cli

pub mod check;
pub mod debug_relabel;
