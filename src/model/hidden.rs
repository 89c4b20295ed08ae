//! What of a target nobody is shown: parameters whose name says that they are secret, and users and
//! passwords in addresses. For whatever leaves the agent towards people: logs, the API, history. Pure.

use std::borrow::Cow;

use crate::model::{
    labels::Labels,
    relabel::RuleSpec,
    target::{ADDRESS, INSTANCE},
};

/// What stands in a text in place of a secret, as in Prometheus.
pub const SECRET: &str = "<secret>";
/// The same within a URL, as Go writes it.
const IN_URL: &str = "xxxxx";

/// Wherever in a name, in any case.
const PARTS: [&str; 11] = [
    "token",
    "secret",
    "passw",
    "pwd",
    "apikey",
    "api_key",
    "api-key",
    "accesskey",
    "credential",
    "signature",
    "authorization",
];
/// As a whole word of a name: within others they mean something else.
const WORDS: [&str; 7] = ["key", "auth", "sig", "sas", "pass", "jwt", "bearer"];

/// Whether a parameter or a label of this name holds what nobody may see.
pub fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let mut words = name.split(|c: char| !c.is_ascii_alphanumeric());
    PARTS.iter().any(|part| name.contains(part)) || words.any(|word| WORDS.contains(&word))
}

/// `url` without user, password and the values of secret parameters.
pub fn url(url: &str) -> Cow<'_, str> {
    let (rest, query) = match url.split_once('?') {
        Some((rest, query)) => (rest, Some(query)),
        None => (url, None),
    };
    let has_secret = query.is_some_and(|query| {
        query.split(['&', '#']).any(|pair| is_secret(pair.split('=').next().unwrap_or("")))
    });
    let start = rest.find("://").map_or(0, |at| at + 3);
    let end = rest[start..].find(['/', '#']).map_or(rest.len(), |at| start + at);
    // A target's address is escaped on its way into its URL.
    let authority = &rest[start..end];
    let user_end = authority.rfind('@').max(authority.rfind("%40")).map(|at| start + at);
    if !has_secret && user_end.is_none() {
        return Cow::Borrowed(url);
    }
    let mut shown = match user_end {
        Some(at) => format!("{}{IN_URL}{}", &rest[..start], &rest[at..]),
        None => rest.to_owned(),
    };
    let mut separator = '?';
    for pair in query.into_iter().flat_map(|query| query.split('&')) {
        shown.push(separator);
        separator = '&';
        match pair.split_once('=') {
            Some((name, _)) if is_secret(name) => {
                shown.push_str(name);
                shown.push('=');
                shown.push_str(IN_URL);
            }
            Some(_) | None => shown.push_str(pair),
        }
    }
    Cow::Owned(shown)
}

/// The value of a label as it may be shown. Labels that samples get are shown as they are, but for a
/// password in an address: they are in every backend.
pub fn value<'a>(name: &str, value: &'a str) -> Cow<'a, str> {
    if name == ADDRESS || name == INSTANCE {
        return url(value);
    }
    if !name.starts_with("__") || value.is_empty() {
        return Cow::Borrowed(value);
    }
    if is_secret(name) {
        return Cow::Borrowed(SECRET);
    }
    if value.contains("://") { url(value) } else { Cow::Borrowed(value) }
}

/// What a rule writes, where it does not write a secret.
pub fn replacement(spec: &RuleSpec) -> Option<Cow<'_, str>> {
    let replacement = spec.replacement.as_deref()?;
    let written = spec.target_label.as_deref().unwrap_or("");
    let is_hidden = written.starts_with("__") && is_secret(written);
    Some(if is_hidden && !is_reference(replacement) {
        Cow::Borrowed(SECRET)
    } else {
        value(written, replacement)
    })
}

/// One group of a match, such as `$1` or `${name}`: it says nothing itself.
fn is_reference(replacement: &str) -> bool {
    let Some(group) = replacement.strip_prefix('$') else { return false };
    let braced = group.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
    match braced {
        Some(name) => name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'),
        None => group.bytes().all(|b| b.is_ascii_digit()),
    }
}

pub fn labels(labels: &Labels) -> Labels {
    let shown: Vec<(&str, Cow<'_, str>)> =
        labels.iter().map(|(name, own)| (name, value(name, own))).collect();
    shown.iter().map(|(name, value)| (*name, &**value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_whether_it_is_secret() {
        for name in [
            "token",
            "__param_token",
            "access_token",
            "X-Api-Key",
            "apiKey",
            "__param_key",
            "auth",
            "sig",
            "X-Amz-Signature",
            "password",
            "client_secret",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in ["module", "target", "match[]", "__param_module", "monkey", "author", "design"]
        {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, expected) in [
            ("http://h:1/m", "http://h:1/m"),
            ("http://h:1/m?module=x&target=u@v", "http://h:1/m?module=x&target=u@v"),
            ("http://u:p@h:1/m", "http://xxxxx@h:1/m"),
            ("http://u:p@h:1?a=b", "http://xxxxx@h:1?a=b"),
            ("https://h/m?a=b&token=c%3D&token=d&e", "https://h/m?a=b&token=xxxxx&token=xxxxx&e"),
            ("u:p@h:1", "xxxxx@h:1"),
            ("http://u:p%40h:1/m", "http://xxxxx%40h:1/m"),
            ("h:1", "h:1"),
            ("", ""),
        ] {
            assert_eq!(super::url(url), expected, "{url}");
        }
    }

    #[test]
    fn labels_that_samples_get_are_shown() {
        for (name, own, expected) in [
            ("__param_token", "x", SECRET),
            ("__param_token", "", ""),
            ("__param_module", "x", "x"),
            ("token", "x", "x"),
            ("__meta_url", "http://u:p@h/?key=x", "http://xxxxx@h/?key=xxxxx"),
            ("instance", "u:p@h:1", "xxxxx@h:1"),
            ("zone", "u:p@h:1", "u:p@h:1"),
        ] {
            assert_eq!(value(name, own), expected, "{name}={own}");
        }
    }
}
