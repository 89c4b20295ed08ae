//! How the demo speaks: to a person at a terminal, to a file, or to a program.

use std::{
    fmt,
    io::{self, IsTerminal, Write},
};

use serde_json::Value;

/// How often the summary is written where it can't be written over.
const PLAIN_SUMMARY_SECONDS: u64 = 5;

/// Something to say: a text for people, whole lines where it is more than a sentence, and for programs
/// one object.
pub(super) trait Told: fmt::Display {
    fn json(&self) -> Value;
}

pub(super) struct Show {
    manner: Manner,
    /// The last summary, at the bottom of the terminal; the next words go over it.
    drawn: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Terminal,
    Plain,
    Json,
}

impl Show {
    pub(super) fn new(is_json: bool) -> Self {
        let manner = match (is_json, io::stdout().is_terminal()) {
            (true, _) => Manner::Json,
            (false, true) => Manner::Terminal,
            (false, false) => Manner::Plain,
        };
        Self { manner, drawn: String::new() }
    }

    /// First and last words.
    pub(super) fn text(&self, text: &dyn Told) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Terminal | Manner::Plain => write!(out, "{text}")?,
            Manner::Json => writeln!(out, "{}", text.json())?,
        }
        out.flush()
    }

    pub(super) fn summary(
        &mut self,
        summary: &dyn Told,
        seconds: u64,
        has_changed: bool,
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Terminal => {
                self.erase(&mut out)?;
                self.drawn = summary.to_string();
                write!(out, "{}", self.drawn)?;
            }
            Manner::Plain => {
                if has_changed || seconds.is_multiple_of(PLAIN_SUMMARY_SECONDS) {
                    write!(out, "{summary}")?;
                }
            }
            Manner::Json => writeln!(out, "{}", summary.json())?,
        }
        out.flush()
    }

    pub(super) fn event(&mut self, event: &dyn Told, seconds: u64) -> io::Result<()> {
        let mut out = io::stdout().lock();
        match self.manner {
            Manner::Terminal => {
                self.erase(&mut out)?;
                // In bold, as the only lines that stay.
                writeln!(out, "\x1b[1m{seconds:>4} s  {event}\x1b[0m")?;
                write!(out, "{}", self.drawn)?;
            }
            Manner::Plain => writeln!(out, "{seconds:>4} s  {event}")?,
            Manner::Json => writeln!(out, "{}", event.json())?,
        }
        out.flush()
    }

    fn erase(&self, out: &mut impl Write) -> io::Result<()> {
        match self.drawn.lines().count() {
            0 => Ok(()),
            // From the first column: a terminal writes `^C` where the cursor is.
            lines => write!(out, "\r\x1b[{lines}A\x1b[J"),
        }
    }
}

/// Milliseconds as people read them.
pub(super) struct Seconds(pub(super) i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.max(0);
        write!(f, "{}.{:02}", ms / 1000, ms % 1000 / 10)
    }
}
