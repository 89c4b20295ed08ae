//! Bytes to values and back, pure: the formats that targets answer in, and remote write.
//! `Exposed` is the door to what targets say; `remote_write` the one to what is sent, and `placement`
//! says where it may be sent at once.

mod classic;
pub mod content_type;
mod exemplars;
mod exposed;
mod exposition;
pub mod float;
mod lexer;
mod metric_family;
pub mod native;
mod openmetrics;
pub mod parser;
pub mod placement;
pub mod protobuf;
pub mod remote_write;
mod rewrite;
mod series;
mod starts;
mod transcript;

pub use self::{
    content_type::Format,
    exemplars::Exemplars,
    exposed::{Exposed, ParseOptions},
    parser::{Entry, MetricKind, ParseError, Parser, Place, Value},
    series::{LabelPair, Series},
};

#[cfg(test)]
mod tests;
