//! Plain values and the rules over them. Pure: no I/O, no clock, no runtime.

pub mod batch;
pub mod hidden;
pub mod histogram;
pub mod identity;
pub mod labels;
pub mod member;
pub mod overrides;
pub mod peer;
pub mod protocol;
pub mod record;
pub mod relabel;
pub mod sample;
pub mod slot;
pub mod target;
pub mod tenant;
pub mod time;
