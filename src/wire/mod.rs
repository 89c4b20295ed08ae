//! Bytes to values and back, pure: the text formats that targets answer in, and remote write.
//! `parser` is the door to the text formats; `remote_write` the one to what is sent.

pub mod content_type;
mod exposition;
pub mod float;
mod lexer;
mod openmetrics;
pub mod parser;
pub mod protobuf;
pub mod remote_write;
mod series;

pub use self::{
    content_type::Format,
    openmetrics::ExemplarText,
    parser::{Entry, MetricKind, ParseError, Parser, Value},
    series::{LabelPair, Series},
};

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
