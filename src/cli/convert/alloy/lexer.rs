//! A text of Alloy's language into words with their places. Bounded by the length of the text.

use crate::config::problem::Place;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Name(String),
    Number(String),
    Text(String),
    /// An operator or a bracket.
    Sign(&'static str),
    End,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Word {
    pub(super) kind: Kind,
    pub(super) place: Place,
    /// A line ends an attribute.
    pub(super) begins_line: bool,
}

/// What is wrong, and where.
pub(super) type Fault = (Place, String);

/// Longer ones first.
const SIGNS: [&str; 28] = [
    "==", "!=", "<=", ">=", "&&", "||", "??", "{", "}", "[", "]", "(", ")", "=", ",", ".", "+",
    "-", "*", "/", "%", "^", "<", ">", "!", ":", "?", "@",
];

pub(super) fn words(text: &str) -> Result<Vec<Word>, Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lexer = Lexer { rest: text, place: Place { line: 1, column: 1 }, begins_line: true };
    let mut words = Vec::new();
    loop {
        lexer.skip()?;
        let (place, begins_line) = (lexer.place, lexer.begins_line);
        let kind = lexer.word()?;
        lexer.begins_line = false;
        let is_end = kind == Kind::End;
        words.push(Word { kind, place, begins_line });
        if is_end {
            return Ok(words);
        }
    }
}

struct Lexer<'t> {
    rest: &'t str,
    place: Place,
    begins_line: bool,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.place.line = self.place.line.saturating_add(1);
            self.place.column = 1;
            self.begins_line = true;
        } else {
            self.place.column = self.place.column.saturating_add(1);
        }
        Some(c)
    }

    fn advance(&mut self, characters: usize) {
        for _ in 0..characters {
            self.next();
        }
    }

    /// Blanks and comments.
    fn skip(&mut self) -> Result<(), Fault> {
        loop {
            if self.rest.starts_with("//") {
                while self.rest.chars().next().is_some_and(|c| c != '\n') {
                    self.next();
                }
            } else if self.rest.starts_with("/*") {
                let place = self.place;
                self.advance(2);
                while !self.rest.starts_with("*/") {
                    if self.next().is_none() {
                        return Err((place, "a comment does not end".to_owned()));
                    }
                }
                self.advance(2);
            } else if self.rest.starts_with(char::is_whitespace) {
                self.next();
            } else {
                return Ok(());
            }
        }
    }

    fn word(&mut self) -> Result<Kind, Fault> {
        let Some(first) = self.rest.chars().next() else { return Ok(Kind::End) };
        if first.is_alphabetic() || first == '_' {
            return Ok(Kind::Name(self.take(|c| c.is_alphanumeric() || c == '_')));
        }
        if first.is_ascii_digit() {
            return Ok(Kind::Number(self.number()));
        }
        match first {
            '"' => return self.text().map(Kind::Text),
            '`' => return self.raw().map(Kind::Text),
            _ => {}
        }
        let sign = SIGNS.iter().find(|sign| self.rest.starts_with(**sign));
        let Some(sign) = sign else {
            return Err((self.place, format!("unexpected character {first:?}")));
        };
        self.advance(sign.len());
        Ok(Kind::Sign(sign))
    }

    fn take(&mut self, is_part: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(c) = self.rest.chars().next().filter(|c| is_part(*c)) {
            taken.push(c);
            self.next();
        }
        taken
    }

    /// Digits, a fraction, an exponent.
    fn number(&mut self) -> String {
        let mut number = self.take(|c| c.is_ascii_alphanumeric() || c == '.' || c == '_');
        if number.ends_with(['e', 'E']) && self.rest.starts_with(['+', '-']) {
            number.extend(self.next());
            number += &self.take(|c| c.is_ascii_digit());
        }
        number.retain(|c| c != '_');
        number
    }

    fn raw(&mut self) -> Result<String, Fault> {
        let place = self.place;
        self.next();
        let raw = self.take(|c| c != '`');
        match self.next() {
            // As in Go, so that a file with Windows' line ends reads as one without.
            Some(_) => Ok(raw.replace('\r', "")),
            None => Err((place, "a raw text does not end: a ` is missing".to_owned())),
        }
    }

    fn text(&mut self) -> Result<String, Fault> {
        let begin = self.place;
        self.next();
        let mut bytes = Vec::new();
        loop {
            let place = self.place;
            match self.next() {
                Some('"') => break,
                Some('\\') => self.escape(place, &mut bytes)?,
                None | Some('\n') => {
                    return Err((begin, "a text does not end on its line: a \" is missing".into()));
                }
                Some(c) => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        String::from_utf8(bytes).map_err(|_| (begin, "a text that is no UTF-8".to_owned()))
    }

    /// Go's escapes: those of one letter, of bytes and of characters.
    fn escape(&mut self, place: Place, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let fault = || (place, "an escape that no text has".to_owned());
        let letter = self.next().ok_or_else(fault)?;
        let (digits, radix) = match letter {
            'x' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='7' => (3, 8),
            _ => {
                let byte = match letter {
                    'a' => 7,
                    'b' => 8,
                    'f' => 12,
                    'n' => b'\n',
                    'r' => b'\r',
                    't' => b'\t',
                    'v' => 11,
                    '\\' => b'\\',
                    '"' => b'"',
                    '\'' => b'\'',
                    _ => return Err(fault()),
                };
                bytes.push(byte);
                return Ok(());
            }
        };
        let mut number = String::new();
        if radix == 8 {
            number.push(letter);
        }
        while number.len() < digits {
            let digit = self.rest.chars().next().filter(|c| c.is_digit(radix));
            number.push(digit.ok_or_else(fault)?);
            self.next();
        }
        let number = u32::from_str_radix(&number, radix).map_err(|_| fault())?;
        if matches!(letter, 'u' | 'U') {
            let c = char::from_u32(number).ok_or_else(fault)?;
            bytes.extend(c.encode_utf8(&mut [0; 4]).bytes());
        } else {
            bytes.push(u8::try_from(number).map_err(|_| fault())?);
        }
        Ok(())
    }
}
