//! The series selector of `match_target`: which targets a question is about. Pure.

use regex::Regex;

use crate::model::labels::{Labels, METRIC_NAME};

/// All matchers must agree.
#[derive(Debug, Default)]
pub(super) struct Selector(Vec<Matcher>);

#[derive(Debug)]
struct Matcher {
    name: String,
    negated: bool,
    wanted: Wanted,
}

#[derive(Debug)]
enum Wanted {
    Text(String),
    Pattern(Regex),
}

/// A longer pattern's program would cost more memory than the answer it narrows.
const PATTERN_BYTES_MAX: usize = 1 << 20;

impl Selector {
    /// `name{a="b", c!="d", e=~"f", g!~"h"}`, with the name or the braces left out. Nothing
    /// selects everything.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut reader = Reader { rest: text.trim_start() };
        let mut matchers = Vec::new();
        if let Some(name) = reader.identifier() {
            matchers.push(Matcher::name(name.to_owned()));
        }
        if reader.take("{") {
            while !reader.take("}") {
                matchers.push(reader.matcher()?);
                if !reader.take(",") && !reader.rest.starts_with('}') {
                    return Err(reader.expected("`,` or `}`"));
                }
            }
        }
        if reader.rest.is_empty() { Ok(Self(matchers)) } else { Err(reader.expected("the end")) }
    }

    pub(super) fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| {
            let value = labels.get(&matcher.name);
            let met = match &matcher.wanted {
                Wanted::Text(text) => value == text,
                Wanted::Pattern(pattern) => pattern.is_match(value),
            };
            met != matcher.negated
        })
    }
}

impl Matcher {
    fn name(text: String) -> Self {
        Self { name: METRIC_NAME.to_owned(), negated: false, wanted: Wanted::Text(text) }
    }
}

struct Reader<'a> {
    /// Never begins with a blank.
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn matcher(&mut self) -> Result<Matcher, String> {
        let name = match self.identifier() {
            Some(name) => name.to_owned(),
            None => self.string()?,
        };
        let operators =
            [("=~", true, false), ("!~", true, true), ("!=", false, true), ("=", false, false)];
        let operator = operators.into_iter().find(|(text, ..)| self.take(text));
        let Some((_, is_pattern, negated)) = operator else {
            // A quoted name alone is the metric's.
            return if self.rest.starts_with([',', '}']) {
                Ok(Matcher::name(name))
            } else {
                Err(self.expected("one of `=`, `!=`, `=~`, `!~`"))
            };
        };
        let text = self.string()?;
        let wanted = if is_pattern {
            let pattern = regex::RegexBuilder::new(&format!("^(?s:{text})$"))
                .size_limit(PATTERN_BYTES_MAX)
                .build()
                .map_err(|_| format!("`{text}` is not a regular expression"))?;
            Wanted::Pattern(pattern)
        } else {
            Wanted::Text(text)
        };
        Ok(Matcher { name, negated, wanted })
    }

    fn take(&mut self, token: &str) -> bool {
        let Some(rest) = self.rest.strip_prefix(token) else { return false };
        self.rest = rest.trim_start();
        true
    }

    fn identifier(&mut self) -> Option<&'a str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if self.rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        (!name.is_empty()).then_some(name)
    }

    fn string(&mut self) -> Result<String, String> {
        let quote = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'));
        let quote = quote.ok_or_else(|| self.expected("a quoted text"))?;
        let mut text = String::new();
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.rest = self.rest[at + c.len_utf8()..].trim_start();
                    return Ok(text);
                }
                '\\' if quote != '`' => text.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, 't')) => '\t',
                    Some((_, escaped @ ('\\' | '"' | '\''))) => escaped,
                    _ => return Err(self.expected("an escape of `\\\\`, `\\\"`, `\\n`, `\\t`")),
                }),
                _ => text.push(c),
            }
        }
        Err(self.expected("a text that ends with its quote"))
    }

    fn expected(&self, what: &str) -> String {
        let found = self.rest.split(char::is_whitespace).next().unwrap_or_default();
        let found = if found.is_empty() { "the end" } else { found };
        format!("invalid selector: expected {what}, found `{found}`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_choose_as_in_promql() {
        let labels: Labels =
            [("job", "node"), ("instance", "a:1"), ("weird.name", "\"")].into_iter().collect();
        let check = |text: &str, expected: bool| {
            let selector = Selector::parse(text).unwrap_or_else(|fault| panic!("{text}: {fault}"));
            assert_eq!(selector.selects(&labels), expected, "{text}");
        };
        check("", true);
        check("{}", true);
        check(r#"{job="node"}"#, true);
        check(r" { job = 'node' , instance=~`a:\d`, } ", true);
        check(r#"{job=~"nod"}"#, false);
        check(r#"{job!="node"}"#, false);
        check(r#"{job!~"x|y"}"#, true);
        check(r#"{absent=""}"#, true);
        check(r#"{"weird.name"="\""}"#, true);
        check("up", false);
        check(r#"{"up"}"#, false);
        check(r#"up{job="node"}"#, false);
    }

    #[test]
    fn what_is_no_selector_is_named() {
        let check = |text: &str, expected: &str| {
            assert_eq!(
                Selector::parse(text).unwrap_err(),
                format!("invalid selector: expected {expected}")
            );
        };
        check("{job", "one of `=`, `!=`, `=~`, `!~`, found `the end`");
        check("{job=node}", "a quoted text, found `node}`");
        check(r#"{job="node"#, "a text that ends with its quote, found `\"node`");
        check(r#"{a="b" c="d"}"#, r#"`,` or `}`, found `c="d"}`"#);
        check("{} x", "the end, found `x`");
        check("{,}", "a quoted text, found `,}`");
        assert!(Selector::parse(r#"{a=~"("}"#).is_err());
    }
}
