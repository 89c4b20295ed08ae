//! A label set: names and values, sorted by name, each name once, no empty value.

use xxhash_rust::xxh3::Xxh3;

pub const METRIC_NAME: &str = "__name__";

/// Labels sorted by name (byte order, as remote write demands). Setting a label to the empty
/// string removes it: in Prometheus' data model an empty value and an absent label are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Labels(Vec<(String, String)>);

impl Labels {
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of `name`, or the empty string where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.position(name).map_or("", |at| &self.0[at].1)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match (self.position(name), value.is_empty()) {
            (Ok(at), true) => drop(self.0.remove(at)),
            (Ok(at), false) => self.0[at].1 = value,
            (Err(_), true) => {}
            (Err(at), false) => self.0.insert(at, (name.to_owned(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.position(name) {
            self.0.remove(at);
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.0.retain(|(name, value)| keep(name, value));
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash that is the same on every host and in every version (XXH3, 128 bits).
    pub fn hash(&self) -> u128 {
        let mut hasher = Xxh3::new();
        for (name, value) in &self.0 {
            // 0xFF is in no UTF-8 text, so no two label sets give the same bytes.
            hasher.update(name.as_bytes());
            hasher.update(&[0xff]);
            hasher.update(value.as_bytes());
            hasher.update(&[0xff]);
        }
        hasher.digest128()
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(own, _)| own.as_str().cmp(name))
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Labels {
    /// Of a name that comes twice, the last value stays.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (name, value) in pairs {
            labels.set(&name.into(), value);
        }
        labels
    }
}

impl std::fmt::Display for Labels {
    /// As Prometheus prints a label set: `{a="b", c="d"}`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (n, (name, value)) in self.0.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_sorted_and_holds_no_empty_value() {
        let mut labels: Labels = [("b", "2"), ("a", "1"), ("c", "")].into_iter().collect();
        assert_eq!(labels.to_string(), r#"{a="1", b="2"}"#);
        labels.set("a", "");
        labels.set("B", "0");
        assert_eq!(labels.to_string(), r#"{B="0", b="2"}"#);
        assert_eq!(labels.get("nothing"), "");
    }

    #[test]
    fn hash_tells_names_from_values() {
        let one: Labels = [("ab", "c")].into_iter().collect();
        let other: Labels = [("a", "bc")].into_iter().collect();
        assert_ne!(one.hash(), other.hash());
    }
}
