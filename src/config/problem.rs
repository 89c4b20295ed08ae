//! What is wrong with a file, and where: one line for each problem, in the order of the file.

use std::{fmt, sync::Arc};

/// A place in a file; both count from one. Line 0 is the file as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: u32,
    /// In characters.
    pub column: u32,
}

/// Never holds the value of a secret field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// As the user named it; empty where a text came from no file.
    pub file: Arc<str>,
    pub place: Place,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
        }
        if self.place.line > 0 {
            write!(f, "{}:{}:", self.place.line, self.place.column)?;
        }
        let blank = if self.file.is_empty() && self.place.line == 0 { "" } else { " " };
        write!(f, "{blank}{}", self.message)
    }
}

impl std::error::Error for Problem {}

/// All that is wrong, at least one; displayed one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.0.iter().enumerate() {
            let end = if n == 0 { "" } else { "\n" };
            write!(f, "{end}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
