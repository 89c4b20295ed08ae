//! How what an API says becomes labels: names and lists, as Prometheus writes them. Pure.

use crate::model::{
    labels::Labels,
    target::{ADDRESS, TargetGroup},
};

/// For the end of a label's name: what no name may have becomes `_`.
pub(super) fn sanitized(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

/// A separator before and after each, so that a rule can look for one without caring for its place.
pub(super) fn joined<'v>(values: impl IntoIterator<Item = &'v str>, separator: &str) -> String {
    let mut joined = separator.to_owned();
    for value in values {
        joined.push_str(value);
        joined.push_str(separator);
    }
    joined
}

/// As `joined`; nothing where there is none, and so no label.
pub(super) fn some_joined(values: &[String], separator: &str) -> String {
    if values.is_empty() {
        return String::new();
    }
    joined(values.iter().map(String::as_str), separator)
}

/// An IPv6 address gets its brackets. An empty host is left empty.
pub(super) fn host_port(host: &str, port: impl std::fmt::Display) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// One target: its address, and labels that are left out where their value is empty.
pub(super) fn target<N: AsRef<str>, V: AsRef<str>>(
    address: String,
    labels: impl IntoIterator<Item = (N, V)>,
) -> Labels {
    let mut target = Labels::new();
    for (name, value) in labels {
        target.set(name.as_ref(), value);
    }
    target.set(ADDRESS, address);
    target
}

/// All that one refresh found.
pub(super) fn group(source: &str, targets: Vec<Labels>) -> Vec<TargetGroup> {
    vec![TargetGroup { source: source.to_owned(), targets, labels: Labels::new() }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lists_and_addresses_are_prometheus_own() {
        for (name, expected) in
            [("a-b.c/d", "a_b_c_d"), ("_Z9", "_Z9"), ("é", "_"), ("", ""), ("1", "1")]
        {
            assert_eq!(sanitized(name), expected, "{name}");
        }
        assert_eq!(joined([], ","), ",");
        assert_eq!(joined(["a", "b"], "::"), "::a::b::");
        assert_eq!(some_joined(&[], ","), "");
        assert_eq!(some_joined(&["a".to_owned()], ","), ",a,");
        assert_eq!(host_port("::1", 80), "[::1]:80");
        assert_eq!(host_port("", 80), ":80");
        assert_eq!(host_port("a", 80), "a:80");
    }
}
