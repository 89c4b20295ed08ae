//! The selectors of `if`: `name{label="value", other=~"regex" or third!="x"}`.

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Matcher {
    pub(super) label: String,
    pub(super) is_negative: bool,
    /// Of the whole value.
    pub(super) regex: String,
}

/// More are refused: each is a rule.
const MATCHERS_MAX: usize = 100;

/// Each alternative with its matchers, all of which must match.
pub(super) fn parse(text: &str) -> Result<Vec<Vec<Matcher>>, String> {
    let mut rest = text.trim();
    let end = rest.find('{').unwrap_or(rest.len());
    let name = rest[..end].trim();
    if name.contains(|c: char| !c.is_ascii_alphanumeric() && !"_:.".contains(c)) {
        return Err("its selector cannot be read".to_owned());
    }
    let named = (!name.is_empty()).then(|| Matcher {
        label: "__name__".to_owned(),
        is_negative: false,
        regex: regex::escape(name),
    });
    let mut alternatives = vec![named.iter().cloned().collect::<Vec<_>>()];
    let mut count = 0;
    if let Some(inside) = rest[end..].strip_prefix('{') {
        rest = inside.trim_start();
        loop {
            rest = rest.trim_start_matches([',', ' ', '\t', '\n']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            if let Some(after) = rest.strip_prefix("or ") {
                alternatives.push(named.iter().cloned().collect());
                rest = after;
                continue;
            }
            let (matcher, after) = matcher(rest)?;
            count += 1;
            if count > MATCHERS_MAX {
                return Err(format!("its selector has more than {MATCHERS_MAX} matchers"));
            }
            alternatives.last_mut().expect("there is always one").push(matcher);
            rest = after;
        }
    } else {
        rest = "";
    }
    if rest.trim().is_empty() {
        Ok(alternatives)
    } else {
        Err("its selector cannot be read".to_owned())
    }
}

fn matcher(text: &str) -> Result<(Matcher, &str), String> {
    let fault = || "its selector cannot be read".to_owned();
    let end = text.find(['=', '!', '}', ',']).ok_or_else(fault)?;
    let label = text[..end].trim().trim_matches(['"', '\'']).to_owned();
    let rest = &text[end..];
    let (sign, rest) = ["=~", "!~", "!=", "="]
        .iter()
        .find_map(|sign| Some((*sign, rest.strip_prefix(sign)?)))
        .ok_or_else(fault)?;
    let (value, rest) = quoted(rest.trim_start()).ok_or_else(fault)?;
    if label.is_empty() {
        return Err(fault());
    }
    let regex = if sign.ends_with('~') { format!("(?:{value})") } else { regex::escape(&value) };
    Ok((Matcher { label, is_negative: sign.starts_with('!'), regex }, rest))
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\'' | '`'))?;
    let mut value = String::new();
    let mut characters = text.char_indices().skip(1);
    while let Some((at, c)) = characters.next() {
        if c == quote {
            return Some((value, &text[at + 1..]));
        }
        if c == '\\' && quote != '`' {
            match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                other => value.push(other),
            }
        } else {
            value.push(c);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_alternatives_of_matchers() {
        let shown = |text: &str| {
            let shown = |m: &Matcher| {
                format!("{}{}{}", m.label, if m.is_negative { "!" } else { "=" }, m.regex)
            };
            parse(text).map(|all| {
                let all = all.iter().map(|ms| ms.iter().map(shown).collect::<Vec<_>>().join(" "));
                all.collect::<Vec<_>>().join(" | ")
            })
        };
        for (text, expected) in [
            ("a", "__name__=a"),
            ("{}", ""),
            ("a{b=\"c.d\",e=~'f|g'}", "__name__=a b=c\\.d e=(?:f|g)"),
            ("{a!=\"b\" or c!~`d\\d`}", "a!b | c!(?:d\\d)"),
            ("{a=\"}\\\"\"}", "a=\\}\""),
        ] {
            assert_eq!(shown(text).as_deref(), Ok(expected), "{text}");
        }
        for text in ["a{", "{a}", "{a=b}", "{a=\"b}", "a b", "{a=\"b\"} + 1", "{=\"b\"}"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
