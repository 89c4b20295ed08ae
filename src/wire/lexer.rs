//! The words of both text formats: names, quoted strings, label blocks, numbers, rests of lines.
//! `exposition` and `openmetrics` put them together.

use std::str;

use crate::wire::{content_type::Format, float, parser::ParseError};

/// Bytes of the input that an error message shows.
const SHOWN_BYTES_MAX: usize = 24;

#[derive(Debug)]
pub(super) struct Lexer<'a> {
    pub(super) body: &'a [u8],
    pub(super) at: usize,
    /// Where the line that is being read begins.
    pub(super) line_start: usize,
}

/// What stands between the braces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LabelPart<'a> {
    /// A metric name, in quotes; not unescaped.
    Name(&'a [u8]),
    /// The label's name, without quotes, and its value; neither is unescaped.
    Label(&'a [u8], &'a [u8]),
}

impl<'a> Lexer<'a> {
    pub(super) fn new(body: &'a [u8]) -> Self {
        Self { body, at: 0, line_start: 0 }
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    pub(super) fn take_all(&mut self, text: &[u8]) -> bool {
        let found = self.body[self.at..].starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    #[inline]
    pub(super) fn skip_blanks(&mut self) {
        while let Some(b' ' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    /// `[a-zA-Z_:][a-zA-Z0-9_:]*`; empty where there is none.
    #[inline]
    pub(super) fn metric_name(&mut self) -> &'a [u8] {
        self.word(METRIC_NAME)
    }

    /// Up to the line's end, which is left where it is.
    pub(super) fn rest_of_line(&mut self) -> &'a [u8] {
        let rest = &self.body[self.at..];
        let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// What a quoted name holds, not unescaped. It may span lines but hold no zero byte.
    pub(super) fn quoted_name(&mut self, expected: &str) -> Result<&'a [u8], ParseError> {
        let start = self.at;
        let inner = self.quoted(true, expected)?;
        if memchr::memchr(0, inner).is_some() {
            self.at = start;
            return Err(self.unexpected(expected));
        }
        Ok(inner)
    }

    /// From the byte after `{` to the one after `}`.
    #[inline]
    pub(super) fn label_block(
        &mut self,
        format: Format,
        mut visit: impl FnMut(&Self, LabelPart<'a>) -> Result<(), ParseError>,
    ) -> Result<(), ParseError> {
        loop {
            self.skip_inner(format);
            if self.take(b'}') {
                return Ok(());
            }
            let quoted = self.peek() == Some(b'"');
            let name =
                if quoted { self.quoted_name("a label name")? } else { self.word(LABEL_NAME) };
            if name.is_empty() && !quoted {
                return Err(self.unexpected("a label name"));
            }
            self.skip_inner(format);
            if quoted && matches!(self.peek(), Some(b',' | b'}')) {
                visit(self, LabelPart::Name(name))?;
                self.take(b',');
                continue;
            }
            if !self.take(b'=') {
                return Err(self.unexpected("`=`"));
            }
            self.skip_inner(format);
            let value = self.quoted(format == Format::PrometheusText, "a label value in quotes")?;
            visit(self, LabelPart::Label(name, value))?;
            self.skip_inner(format);
            // Prometheus takes labels without a comma between them in its own format.
            if !self.take(b',') && format == Format::OpenMetricsText && self.peek() != Some(b'}') {
                return Err(self.unexpected("a comma or `}`"));
            }
        }
    }

    /// The number at the cursor, which must end at a blank, at the line's end or at the body's.
    #[inline]
    pub(super) fn number(&mut self, expected: &str) -> Result<f64, ParseError> {
        if let Some((value, length)) = float::read(&self.body[self.at..])
            && matches!(self.body.get(self.at + length), None | Some(b' ' | b'\t' | b'\n'))
        {
            self.at += length;
            return Ok(value);
        }
        Err(self.unexpected(expected))
    }

    /// The bytes from `start` to the cursor, which must be UTF-8.
    #[inline]
    pub(super) fn text_from(&self, start: usize) -> Result<&'a str, ParseError> {
        self.utf8(&self.body[start..self.at])
    }

    #[inline]
    pub(super) fn utf8(&self, bytes: &'a [u8]) -> Result<&'a str, ParseError> {
        str::from_utf8(bytes).map_err(|_| {
            let message = format!("`{}` is not UTF-8", shown(bytes));
            ParseError::new(self.body, self.line_start, message)
        })
    }

    #[cold]
    pub(super) fn error(&self, message: String) -> ParseError {
        ParseError::new(self.body, self.at, message)
    }

    #[cold]
    pub(super) fn unexpected(&self, expected: &str) -> ParseError {
        let rest = &self.body[self.at..];
        match rest.first() {
            None => self.error(format!("expected {expected}, found the end of the body")),
            Some(b'\n') => self.error(format!("expected {expected}, found the end of the line")),
            Some(_) => {
                let length = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                self.error(format!("expected {expected}, found `{}`", shown(&rest[..length])))
            }
        }
    }

    /// Blanks inside the braces are the old format's alone.
    #[inline]
    fn skip_inner(&mut self, format: Format) {
        if format == Format::PrometheusText {
            self.skip_blanks();
        }
    }

    #[inline]
    fn word(&mut self, kind: u8) -> &'a [u8] {
        let start = self.at;
        let rest = &self.body[start..];
        if rest.first().is_some_and(|byte| !byte.is_ascii_digit()) {
            self.at += rest
                .iter()
                .position(|&byte| BYTES[usize::from(byte)] & kind == 0)
                .unwrap_or(rest.len());
        }
        &self.body[start..self.at]
    }

    /// What stands between the quote at the cursor and the next that has no backslash before it.
    #[inline]
    fn quoted(&mut self, lines: bool, expected: &str) -> Result<&'a [u8], ParseError> {
        let start = self.at + 1;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected(expected));
        }
        let mut at = start;
        loop {
            let rest = &self.body[at..];
            let found = if lines {
                memchr::memchr2(b'"', b'\\', rest)
            } else {
                memchr::memchr3(b'"', b'\\', b'\n', rest)
            };
            let Some(length) = found else { return Err(self.unexpected(expected)) };
            match rest[length] {
                b'"' => {
                    self.at = at + length + 1;
                    return Ok(&self.body[start..at + length]);
                }
                b'\\' if rest.get(length + 1).is_some_and(|&byte| byte != b'\n') => {
                    at += length + 2;
                }
                _ => return Err(self.unexpected(expected)),
            }
        }
    }
}

const METRIC_NAME: u8 = 1;
const LABEL_NAME: u8 = 2;

/// Which names a byte may be in. The first byte may not be a digit, which `word` sees to.
const BYTES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => METRIC_NAME | LABEL_NAME,
            b':' => METRIC_NAME,
            _ => 0,
        };
        byte += 1;
    }
    table
};

/// The beginning of what was found, fit for a message.
pub(super) fn shown(bytes: &[u8]) -> String {
    let more = if bytes.len() > SHOWN_BYTES_MAX { "…" } else { "" };
    format!("{}{more}", bytes[..bytes.len().min(SHOWN_BYTES_MAX)].escape_ascii())
}
