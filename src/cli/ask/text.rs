//! Words for a person, with the tones they are said in, and how wide they stand on a terminal.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar;

/// Colour is never the only sign: what a tone says, the words say as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Head,
    Faint,
    Good,
    Warning,
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Head => "\x1b[1m",
            Self::Faint => "\x1b[2m",
            Self::Good => "\x1b[32m",
            Self::Warning => "\x1b[33m",
            Self::Bad => "\x1b[31m",
        }
    }
}

const RESET: &str = "\x1b[0m";
const CUT: char = '…';

/// Part of a line. Labels and errors come from targets that may be anybody's: what would steer a
/// terminal is shown as an escape.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    spans: Vec<(Tone, String)>,
}

impl Text {
    pub(super) fn new(tone: Tone, text: &str) -> Self {
        Self { spans: vec![(tone, harmless(text))] }
    }

    pub(super) fn then(mut self, more: impl Into<Self>) -> Self {
        self.spans.extend(more.into().spans);
        self
    }

    pub(super) fn width(&self) -> usize {
        self.spans.iter().map(|(_, text)| width(text)).sum()
    }

    /// At most `columns` wide; what is left out shows as an ellipsis.
    pub(super) fn cut(&self, columns: usize) -> Self {
        if self.width() <= columns {
            return self.clone();
        }
        let mut left = columns.saturating_sub(1);
        let mut spans = Vec::new();
        for (tone, text) in &self.spans {
            let mut kept = String::new();
            for letter in text.chars() {
                let wide = letter.width().unwrap_or(0);
                if wide > left {
                    kept.push(CUT);
                    spans.push((*tone, kept));
                    return Self { spans };
                }
                left -= wide;
                kept.push(letter);
            }
            spans.push((*tone, kept));
        }
        Self { spans }
    }

    pub(super) fn draw(&self, in_colour: bool, out: &mut String) {
        for (tone, text) in &self.spans {
            if in_colour && *tone != Tone::Plain && !text.is_empty() {
                let _ = write!(out, "{}{text}{RESET}", tone.code());
            } else {
                out.push_str(text);
            }
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(Tone::Plain, text)
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self::new(Tone::Plain, &text)
    }
}

pub(super) fn head(text: impl AsRef<str>) -> Text {
    Text::new(Tone::Head, text.as_ref())
}

pub(super) fn faint(text: impl AsRef<str>) -> Text {
    Text::new(Tone::Faint, text.as_ref())
}

pub(super) fn good(text: impl AsRef<str>) -> Text {
    Text::new(Tone::Good, text.as_ref())
}

pub(super) fn warning(text: impl AsRef<str>) -> Text {
    Text::new(Tone::Warning, text.as_ref())
}

pub(super) fn bad(text: impl AsRef<str>) -> Text {
    Text::new(Tone::Bad, text.as_ref())
}

/// Columns that a terminal gives `text`.
pub(super) fn width(text: &str) -> usize {
    text.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// For messages of several lines.
pub(super) fn harmless_lines(text: &str) -> String {
    text.lines().map(harmless).collect::<Vec<_>>().join("\n")
}

fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_control() || is_turn(letter) {
            out.extend(letter.escape_default());
        } else {
            out.push(letter);
        }
    }
    out
}

/// Turns the direction of what follows, and so shows another text than there is.
fn is_turn(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(text: &Text, in_colour: bool) -> String {
        let mut out = String::new();
        text.draw(in_colour, &mut out);
        out
    }

    #[test]
    fn what_would_steer_a_terminal_is_escaped() {
        let check = |text: &str, expected: &str| {
            assert_eq!(drawn(&text.into(), false), expected);
        };
        check("a\x1b[2Jb", "a\\u{1b}[2Jb");
        check("two\nlines\u{9b}", "two\\nlines\\u{9b}");
        check("\u{202e}abc", "\\u{202e}abc");
        check("Zürich 東京 👍", "Zürich 東京 👍");
    }

    #[test]
    fn text_is_cut_by_what_a_terminal_shows() {
        let check = |text: &str, columns, expected: &str| {
            let cut = Text::from(text).cut(columns);
            assert_eq!(drawn(&cut, false), expected);
            assert!(cut.width() <= columns, "{text} in {columns}");
        };
        check("abc", 3, "abc");
        check("abcd", 3, "ab…");
        check("東京都", 6, "東京都");
        check("東京都", 5, "東京…");
        check("東京都", 4, "東…");
        check("e\u{301}e\u{301}", 2, "e\u{301}e\u{301}");
        check("abc", 1, "…");
    }

    #[test]
    fn tones_are_drawn_in_colour_only() {
        let text = bad("down").then(" since noon");
        assert_eq!(drawn(&text, false), "down since noon");
        assert_eq!(drawn(&text, true), "\x1b[31mdown\x1b[0m since noon");
    }
}
