//! What a person must know of a conversion, each with its place: what is not carried over, and what
//! is carried over and not quite the same. Never holds the value of a secret.

use std::fmt;

use crate::cli::convert::tree::At;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Something that was done is not done any more.
    Lost,
    /// It is done, in another way, or somewhere else.
    Differs,
}

/// One line for a person.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub weight: Weight,
    pub(super) at: At,
    pub message: String,
}

/// More are counted and not kept: nobody reads them.
const TOLD_MAX: usize = 10_000;

/// All of a conversion.
#[derive(Debug, Default)]
pub(super) struct Notes {
    all: Vec<Told>,
}

impl Notes {
    pub(super) fn lost(&mut self, at: &At, message: impl Into<String>) {
        self.add(Weight::Lost, at, message.into());
    }

    pub(super) fn differs(&mut self, at: &At, message: impl Into<String>) {
        self.add(Weight::Differs, at, message.into());
    }

    fn add(&mut self, weight: Weight, at: &At, message: String) {
        let told = Told { weight, at: at.clone(), message };
        if self.all.len() < TOLD_MAX && !self.all.contains(&told) {
            self.all.push(told);
        }
    }

    /// In the order of the files, what is lost first.
    pub(super) fn into_told(mut self) -> Vec<Told> {
        self.all.sort();
        self.all
    }
}

/// Of a variable that was replaced.
pub(super) fn value_stands(variable: &str) -> String {
    format!("the value that the environment variable `{variable}` has now stands in the output")
}

/// Of one that could not be.
pub(super) fn value_lacks(variable: &str) -> String {
    format!(
        "the environment variable `{variable}` is not set here: set it and convert again, or write the value by hand"
    )
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let At { file, place } = &self.at;
        write!(f, "{file}:")?;
        if place.line > 0 {
            write!(f, "{}:{}:", place.line, place.column)?;
        }
        // A message is one line, whatever was quoted in it.
        write!(f, " {}", self.message.replace(['\n', '\r'], " "))
    }
}
