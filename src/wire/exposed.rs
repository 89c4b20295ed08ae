//! A body made ready to be read: text as it came, protobuf and what is converted as a transcript.
//! The first station of a body's bytes; `Parser` is the second.

use crate::wire::{
    content_type::Format,
    metric_family,
    parser::{ParseError, Parser},
    rewrite,
    transcript::Transcript,
};

/// What becomes of what a target exposes, in the words of the scrape configuration. By default
/// entries are what the body says, but for native histograms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct ParseOptions {
    /// `scrape_native_histograms`: native histograms are taken; else only their classic buckets.
    pub native: bool,
    /// `always_scrape_classic_histograms`: classic series are kept beside the native histogram that
    /// they are, or are made.
    pub classic: bool,
    /// `convert_classic_histograms_to_nhcb`: classic histograms become native ones with custom
    /// buckets.
    pub custom_buckets: bool,
    /// `_created` in OpenMetrics text says when its series started and is no series itself.
    pub starts: bool,
    /// With `starts`: it is a series all the same.
    pub keeps_created: bool,
    /// The labels `__type__` and `__unit__` are added, as with Prometheus' feature
    /// `type-and-unit-labels`.
    pub type_and_unit: bool,
}

#[derive(Debug)]
pub struct Exposed<'a>(Form<'a>);

#[derive(Debug)]
enum Form<'a> {
    Text {
        format: Format,
        body: &'a [u8],
        options: ParseOptions,
    },
    /// With what ended it too early.
    Transcript(Transcript, Option<ParseError>),
}

impl<'a> Exposed<'a> {
    /// A fault in `body` is told by the parser, behind what comes before it.
    pub fn new(format: Format, body: &'a [u8], options: ParseOptions) -> Self {
        let mut transcript = Transcript::default();
        let fault = match format {
            Format::Protobuf => metric_family::transcribe(body, options, &mut transcript),
            Format::PrometheusText | Format::OpenMetricsText => {
                if !options.custom_buckets && !options.type_and_unit {
                    return Self(Form::Text { format, body, options });
                }
                let parser = Parser::of_text(format, body, options);
                rewrite::transcribe(parser, options, &mut transcript)
            }
        };
        Self(Form::Transcript(transcript, fault.err()))
    }

    pub fn parser(&self) -> Parser<'_> {
        match &self.0 {
            Form::Text { format, body, options } => Parser::of_text(*format, body, *options),
            Form::Transcript(transcript, fault) => {
                Parser::of_transcript(transcript, fault.as_ref())
            }
        }
    }
}
