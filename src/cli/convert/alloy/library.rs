//! The functions of Alloy's standard library that make texts of texts.

use std::fmt::Write;

/// Between the entries of a list that came as one argument: no configuration has it.
pub(super) const BETWEEN: &str = "\u{0}";

/// `None`: a function that is not known, or one that was called in another way.
pub(super) fn call(name: &str, arguments: &[String]) -> Option<String> {
    let name = name.strip_prefix("string.").unwrap_or(name);
    Some(match (name, arguments) {
        ("format", [format, values @ ..]) => formatted(format, values)?,
        ("join", [list, separator]) => list.split(BETWEEN).collect::<Vec<_>>().join(separator),
        ("replace", [text, old, new]) if !old.is_empty() => text.replace(old.as_str(), new),
        ("to_lower", [text]) => text.to_lowercase(),
        ("to_upper", [text]) => text.to_uppercase(),
        ("trim", [text, set]) => text.trim_matches(|c| set.contains(c)).to_owned(),
        ("trim_prefix", [text, prefix]) => {
            text.strip_prefix(prefix.as_str()).unwrap_or(text).into()
        }
        ("trim_suffix", [text, suffix]) => {
            text.strip_suffix(suffix.as_str()).unwrap_or(text).into()
        }
        ("trim_space", [text]) => text.trim().to_owned(),
        ("file.path_join", parts) => parts.join("/"),
        _ => return None,
    })
}

/// `%s`, `%v`, `%d`, `%q` and `%%`; other verbs give `None`.
fn formatted(format: &str, values: &[String]) -> Option<String> {
    let mut values = values.iter();
    let mut text = String::new();
    let mut rest = format;
    while let Some((before, after)) = rest.split_once('%') {
        text += before;
        let verb = after.chars().next()?;
        match verb {
            's' | 'v' | 'd' => text += values.next()?,
            'q' => write!(text, "{:?}", values.next()?).ok()?,
            '%' => text.push('%'),
            _ => return None,
        }
        rest = &after[verb.len_utf8()..];
    }
    Some(text + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_made_of_texts() {
        for (name, arguments, expected) in [
            ("string.format", &["%s:%d/%%", "h", "1"][..], Some("h:1/%")),
            ("format", &["%x", "1"], None),
            ("format", &["%s"], None),
            ("format", &["100%"], None),
            ("string.join", &["a\u{0}b", ","], Some("a,b")),
            ("string.replace", &["a-b", "-", "_"], Some("a_b")),
            ("string.to_lower", &["A"], Some("a")),
            ("string.trim_prefix", &["http://a", "http://"], Some("a")),
            ("array.combine_maps", &[], None),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(call(name, &arguments).as_deref(), expected, "{name}");
        }
    }
}
