//! Go's regular expressions (RE2) in the words of the `regex` crate. Both engines match alike; what
//! differs is the spelling, and this file is the list of the differences:
//!
//! - `\d \w \s \b` know ASCII only, and `\s` has no vertical tab;
//! - within a class `[`, `&&`, `--` and `~~` are plain characters, not set operations;
//! - a `{` that starts no repetition is itself; a repetition can't be repeated, nor exceed 1000;
//! - `\Q…\E`, octal escapes, `\p{^Greek}`, and any escaped punctuation are known; `\u`, `\<`, `(?x)`
//!   and group names with a dot are not;
//! - a group's name may start with a digit, and come twice.

/// `regex` is never shown the names of groups: it has other rules for them.
#[derive(Debug, PartialEq)]
pub(super) struct Translated {
    pub(super) pattern: String,
    /// Name and number of each named group, in order.
    pub(super) names: Vec<(String, usize)>,
}

const REPEAT_MAX: u32 = 1000;

/// The error is what Go says, without the expression.
pub(super) fn translate(text: &str) -> Result<Translated, String> {
    let mut translator = Translator { rest: text, ..Translator::default() };
    while !translator.rest.is_empty() {
        translator.item()?;
    }
    if translator.open > 0 {
        return Err("missing closing )".to_owned());
    }
    Ok(Translated { pattern: translator.out, names: translator.names })
}

#[derive(Default)]
struct Translator<'t> {
    rest: &'t str,
    out: String,
    open: usize,
    groups: usize,
    names: Vec<(String, usize)>,
    /// The last item was a repetition.
    repeated: bool,
}

impl<'t> Translator<'t> {
    fn item(&mut self) -> Result<(), String> {
        let was_repeated = std::mem::take(&mut self.repeated);
        match self.take() {
            '\\' => self.escape()?,
            '[' => self.class()?,
            '(' => self.group()?,
            ')' => {
                self.open = self.open.checked_sub(1).ok_or("unexpected )")?;
                self.out.push(')');
            }
            c @ ('*' | '+' | '?') => {
                self.out.push(c);
                self.repetition(was_repeated)?;
            }
            '{' => match count(self.rest) {
                Some((least, most, rest)) => {
                    let span = &self.rest[..self.rest.len() - rest.len()];
                    if least > REPEAT_MAX
                        || most.is_some_and(|most| most > REPEAT_MAX || most < least)
                    {
                        return Err(format!("invalid repeat count {{{span}"));
                    }
                    self.out.push('{');
                    self.out.push_str(span);
                    self.rest = rest;
                    self.repetition(was_repeated)?;
                }
                None => self.literal('{'),
            },
            c @ ('.' | '^' | '$' | '|') => self.out.push(c),
            c => self.literal(c),
        }
        Ok(())
    }

    fn repetition(&mut self, was_repeated: bool) -> Result<(), String> {
        if self.accept("?") {
            self.out.push('?');
        }
        if was_repeated {
            return Err("invalid nested repetition operator".to_owned());
        }
        self.repeated = true;
        Ok(())
    }

    fn group(&mut self) -> Result<(), String> {
        self.open += 1;
        if self.rest.starts_with("?P<") || self.rest.starts_with("?<") {
            let (_, named) = self.rest.split_once('<').expect("both start with it");
            let (name, rest) = named.split_once('>').ok_or("invalid named capture")?;
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(format!("invalid named capture `{name}`"));
            }
            self.rest = rest;
            self.groups += 1;
            self.names.push((name.to_owned(), self.groups));
            self.out.push('(');
        } else if let Some(flags) = self.rest.strip_prefix('?') {
            let end = flags.find([':', ')']).ok_or("invalid or unsupported Perl syntax")?;
            let (on, off) = flags[..end].split_once('-').unwrap_or((&flags[..end], "s"));
            let known = |set: &str| set.bytes().all(|b| b"imsU".contains(&b));
            if !known(on) || !known(off) || off.is_empty() {
                return Err(format!("invalid or unsupported Perl syntax (?{}", &flags[..end]));
            }
            self.rest = &flags[end + 1..];
            let sets_for_the_rest = flags[end..].starts_with(')');
            if sets_for_the_rest {
                self.open -= 1;
            }
            // `regex` knows no empty `(?)`.
            if end > 0 || !sets_for_the_rest {
                self.out.push_str("(?");
                self.out.push_str(&flags[..=end]);
            }
        } else {
            self.groups += 1;
            self.out.push('(');
        }
        Ok(())
    }

    /// After a backslash, outside a class.
    fn escape(&mut self) -> Result<(), String> {
        match self.rest.bytes().next() {
            Some(b'A') => self.replace("A", r"\A"),
            Some(b'z') => self.replace("z", r"\z"),
            Some(b'b') => self.replace("b", r"(?-u:\b)"),
            Some(b'B') => self.replace("B", r"(?-u:\B)"),
            Some(b'Q') => {
                let quoted = &self.rest[1..];
                let (text, rest) = quoted.split_once(r"\E").unwrap_or((quoted, ""));
                self.rest = rest;
                text.chars().for_each(|c| self.literal(c));
            }
            _ => {
                if !self.set_escape()? {
                    let c = self.character_escape()?;
                    self.literal(c);
                }
            }
        }
        Ok(())
    }

    /// `\d` and its like, and `\p`: written so that they stand within a class as well as outside.
    fn set_escape(&mut self) -> Result<bool, String> {
        match self.rest.bytes().next() {
            Some(b'd') => self.replace("d", "[0-9]"),
            Some(b'D') => self.replace("D", "[^0-9]"),
            Some(b's') => self.replace("s", r"[\t\n\f\r\x20]"),
            Some(b'S') => self.replace("S", r"[^\t\n\f\r\x20]"),
            Some(b'w') => self.replace("w", "[0-9A-Za-z_]"),
            Some(b'W') => self.replace("W", "[^0-9A-Za-z_]"),
            Some(b'p' | b'P') => self.unicode_class()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn unicode_class(&mut self) -> Result<(), String> {
        let mut negated = self.take() == 'P';
        let (mut name, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}'),
            None => self.rest.char_indices().nth(1).map_or_else(
                || (!self.rest.is_empty()).then_some((self.rest, "")),
                |(end, _)| Some(self.rest.split_at(end)),
            ),
        }
        .ok_or("invalid character class range")?;
        if let Some(bare) = name.strip_prefix('^') {
            negated = !negated;
            name = bare;
        }
        // `regex` would also take properties by `name=value`, and ages.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphabetic() || b"_- ".contains(&b))
        {
            return Err(format!(r"invalid character class range \p{{{name}}}"));
        }
        self.rest = rest;
        self.out.push_str(if negated { r"\P{" } else { r"\p{" });
        self.out.push_str(name);
        self.out.push('}');
        Ok(())
    }

    /// The one character that an escape stands for.
    fn character_escape(&mut self) -> Result<char, String> {
        let escape = self.rest;
        let Some(c) = escape.chars().next() else {
            return Err("trailing backslash at end of expression".to_owned());
        };
        self.take();
        let named = match c {
            'a' => Some('\u{7}'),
            'f' => Some('\u{c}'),
            'n' => Some('\n'),
            'r' => Some('\r'),
            't' => Some('\t'),
            'v' => Some('\u{b}'),
            'x' => self.hexadecimal(),
            '0'..='7' => self.octal(c, escape),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Some(c),
            _ => None,
        };
        named.ok_or_else(|| format!(r"invalid escape sequence \{c}"))
    }

    /// `\0`, or two or three digits: a lone other digit would be a reference to a group.
    fn octal(&mut self, first: char, escape: &'t str) -> Option<char> {
        let digits = escape.bytes().take(3).take_while(|b| (b'0'..=b'7').contains(b)).count();
        if first != '0' && digits < 2 {
            return None;
        }
        self.rest = &escape[digits..];
        char::from_u32(u32::from_str_radix(&escape[..digits], 8).ok()?)
    }

    fn hexadecimal(&mut self) -> Option<char> {
        let (digits, rest) = match self.rest.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => self.rest.split_at_checked(2)?,
        };
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        self.rest = rest;
        char::from_u32(u32::from_str_radix(digits, 16).ok()?)
    }

    /// After `[`.
    fn class(&mut self) -> Result<(), String> {
        self.out.push('[');
        if self.accept("^") {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            if self.rest.is_empty() {
                return Err("missing closing ]".to_owned());
            }
            if !first && self.accept("]") {
                self.out.push(']');
                return Ok(());
            }
            first = false;
            if self.named_class()? || (self.rest.starts_with('\\') && self.class_set_escape()?) {
                continue;
            }
            let low = self.class_character()?;
            self.literal(low);
            if self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1 {
                self.take();
                let high = self.class_character()?;
                if high < low {
                    return Err(format!("invalid character class range {low}-{high}"));
                }
                self.out.push('-');
                self.literal(high);
            }
        }
    }

    /// `[:alpha:]` and its like; a `[:` that nothing closes is two characters.
    fn named_class(&mut self) -> Result<bool, String> {
        let Some((name, rest)) =
            self.rest.strip_prefix("[:").and_then(|named| named.split_once(":]"))
        else {
            return Ok(false);
        };
        if !POSIX_CLASSES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return Err(format!("invalid character class range [:{name}:]"));
        }
        self.out.push_str("[:");
        self.out.push_str(name);
        self.out.push_str(":]");
        self.rest = rest;
        Ok(true)
    }

    /// Takes the backslash only where a set follows.
    fn class_set_escape(&mut self) -> Result<bool, String> {
        let before = self.rest;
        self.take();
        let is_set = self.set_escape()?;
        if !is_set {
            self.rest = before;
        }
        Ok(is_set)
    }

    fn class_character(&mut self) -> Result<char, String> {
        match self.take() {
            '\\' => self.character_escape(),
            c => Ok(c),
        }
    }

    /// Escaped wherever it could mean something, within a class or outside.
    fn literal(&mut self, c: char) {
        if c.is_ascii_punctuation() && !matches!(c, '_' | '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    fn replace(&mut self, letter: &str, by: &str) {
        self.rest = &self.rest[letter.len()..];
        self.out.push_str(by);
    }

    fn accept(&mut self, text: &str) -> bool {
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// The next character; the callers have seen that there is one.
    fn take(&mut self) -> char {
        let mut chars = self.rest.chars();
        let c = chars.next().expect("the callers have seen that something is left");
        self.rest = chars.as_str();
        c
    }
}

const POSIX_CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// The bounds, and what follows.
type Count<'t> = (u32, Option<u32>, &'t str);

/// `2}`, `2,}` or `2,3}`.
fn count(text: &str) -> Option<Count<'_>> {
    let (span, rest) = text.split_once('}')?;
    let (least, most) = match span.split_once(',') {
        None => (number(span)?, Some(number(span)?)),
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((least, most, rest))
}

/// Digits without a leading zero; one that is too large for 32 bits is too large for any use.
fn number(digits: &str) -> Option<u32> {
    let is_number = !digits.is_empty()
        && digits.bytes().all(|b| b.is_ascii_digit())
        && (digits.len() == 1 || !digits.starts_with('0'));
    is_number.then(|| digits.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spells_go_in_regex() {
        for (go, expected) in [
            (r"a.b", r"a.b"),
            (r"\d\pN\s", r"[0-9]\p{N}[\t\n\f\r\x20]"),
            (r"[\d\W-]", r"[[0-9][^0-9A-Za-z_]\-]"),
            (r"\p{^Greek}\P{^Lu}\PL", r"\P{Greek}\p{Lu}\P{L}"),
            (r"\bx\B", r"(?-u:\b)x(?-u:\B)"),
            (r"\Qa.b\E+", r"a\.b+"),
            (r"\Qa.b", r"a\.b"),
            (r"[a[b]", r"[a\[b]"),
            (r"[a&&+--~~d]", r"[a\&\&\+-\-\~\~d]"),
            (r"[]a]", r"[\]a]"),
            (r"[^]a-]", r"[^\]a\-]"),
            (r"[[:word:]-z]", r"[[:word:]\-z]"),
            (r"[[:^digit:][:x]", r"[[:^digit:]\[\:x]"),
            (r"a{,5}b{2,}c{3}d{2,3}?{", r"a\{\,5\}b{2,}c{3}d{2,3}?\{"),
            (r"x{02}", r"x\{02\}"),
            (r"\101\0\x41\x{1F600}", "A\0A\u{1F600}"),
            (r"\_\<\-\/", r"_<\-\/"),
            (r"(?i)a(?-s:.)(?:b)(?sU)", r"(?i)a(?-s:.)(?:b)(?sU)"),
            (r"(?)a", r"a"),
            (r"a#b c", r"a\#b c"),
        ] {
            assert_eq!(translate(go).map(|t| t.pattern), Ok(expected.to_owned()), "{go}");
        }
    }

    #[test]
    fn names_groups_by_number() {
        let translated = translate(r"(a)(?:b)(?P<c>c)(?<1x>d(?P<c>e))").unwrap();
        assert_eq!(translated.pattern, "(a)(?:b)(c)(d(e))");
        let names = [("c", 2), ("1x", 3), ("c", 4)].map(|(name, n)| (name.to_owned(), n));
        assert_eq!(translated.names, names);
    }

    #[test]
    fn refuses_what_go_refuses() {
        for (go, expected) in [
            (r"a**", "invalid nested repetition operator"),
            (r"a{2}{3}", "invalid nested repetition operator"),
            (r"a*??", "invalid nested repetition operator"),
            (r"a{1001}", "invalid repeat count {1001}"),
            (r"a{3,2}", "invalid repeat count {3,2}"),
            (r"a{99999999999}", "invalid repeat count {99999999999}"),
            (r"(a", "missing closing )"),
            (r"a)|(b", "unexpected )"),
            (r"[a", "missing closing ]"),
            (r"[]", "missing closing ]"),
            (r"[b-a]", "invalid character class range b-a"),
            (r"[[:nothing:]]", "invalid character class range [:nothing:]"),
            (r"[a-\d]", r"invalid escape sequence \d"),
            (r"\C", r"invalid escape sequence \C"),
            (r"\Z", r"invalid escape sequence \Z"),
            (r"\h", r"invalid escape sequence \h"),
            (r"\1", r"invalid escape sequence \1"),
            (r"\é", r"invalid escape sequence \é"),
            (r"\u0041", r"invalid escape sequence \u"),
            (r"\x{110000}", r"invalid escape sequence \x"),
            (r"\E", r"invalid escape sequence \E"),
            (r"[\b]", r"invalid escape sequence \b"),
            ("\\", "trailing backslash at end of expression"),
            (r"(?x)a", "invalid or unsupported Perl syntax (?x"),
            (r"(?=a)", "invalid or unsupported Perl syntax (?=a"),
            (r"(?i-)a", "invalid or unsupported Perl syntax (?i-"),
            (r"(?P<a.b>c)", "invalid named capture `a.b`"),
            (r"\p{Script=Greek}", r"invalid character class range \p{Script=Greek}"),
            (r"\p", "invalid character class range"),
        ] {
            assert_eq!(translate(go).map(|t| t.pattern), Err(expected.to_owned()), "{go}");
        }
    }
}
