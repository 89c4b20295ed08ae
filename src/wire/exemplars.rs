//! The exemplars of a sample as they stand behind its value, decoded only when somebody asks.

use crate::{
    model::{labels::Labels, sample::Exemplar},
    wire::{
        lexer::Lexer,
        openmetrics,
        series::{self, LabelPair},
        transcript,
    },
};

/// In the order of the body; most samples have none.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Exemplars<'a>(Written<'a>);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Written<'a> {
    #[default]
    None,
    /// One, as OpenMetrics writes it, from behind the opening brace; well formed.
    Text(&'a str),
    /// As a transcript has them.
    Transcribed(&'a [u8]),
}

impl<'a> Exemplars<'a> {
    pub(super) fn text(text: &'a str) -> Self {
        Self(Written::Text(text))
    }

    pub(super) fn transcribed(bytes: &'a [u8]) -> Self {
        Self(if bytes.is_empty() { Written::None } else { Written::Transcribed(bytes) })
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Written::None)
    }

    pub fn decode(&self) -> Vec<Exemplar> {
        match self.0 {
            Written::None => Vec::new(),
            Written::Text(text) => {
                let mut lexer = Lexer::new(text.as_bytes());
                let labels = labels(&mut lexer);
                let (value, timestamp_ms) =
                    openmetrics::point(&mut lexer).expect("it was read when its line was");
                vec![Exemplar { labels, value, timestamp_ms }]
            }
            Written::Transcribed(bytes) => transcript::exemplars(bytes),
        }
    }
}

/// What stands in a label block, from behind its opening brace.
pub(super) fn labels(lexer: &mut Lexer<'_>) -> Labels {
    let mut pairs: Vec<LabelPair<'_>> = Vec::new();
    series::decode_block(lexer, series::PLAIN, &mut pairs);
    // In order, so that a great many labels do not make the set slow to build.
    pairs.sort_unstable();
    pairs.into_iter().collect()
}
