//! A label set: names and values, sorted by name, each name once, no empty value.

use std::cmp::Ordering;

use xxhash_rust::xxh3::xxh3_128;

pub const METRIC_NAME: &str = "__name__";

/// Labels sorted by name (byte order, as remote write demands). Setting a label to the empty
/// string removes it: in Prometheus' data model an empty value and an absent label are the same.
/// A hundred thousand targets have two sets each, so that a set is one text and not two of each label.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// Name, value, name, value, …
    text: String,
    /// Where each of these ends.
    ends: Vec<u32>,
}

impl Labels {
    pub fn new() -> Self {
        Self::default()
    }

    /// Of pairs that are in order of name already, each name once: nothing is moved, and room is made
    /// once. A pair with an empty value is none.
    pub fn of_sorted<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> Self {
        let is_sorted = pairs.is_sorted_by(|one, next| one.0.as_ref() < next.0.as_ref());
        debug_assert!(is_sorted, "each name once, in order");
        let pairs = || pairs.iter().map(|(name, value)| (name.as_ref(), value.as_ref()));
        let length = pairs().map(|(name, value)| name.len() + value.len()).sum();
        let mut labels = Self {
            text: String::with_capacity(length),
            ends: Vec::with_capacity(2 * pairs().len()),
        };
        for (name, value) in pairs().filter(|(_, value)| !value.is_empty()) {
            labels.push(name, value);
        }
        labels
    }

    /// The value of `name`, or the empty string where there is none.
    pub fn get(&self, name: &str) -> &str {
        self.position(name).map_or("", |at| self.at(at).1)
    }

    pub fn contains(&self, name: &str) -> bool {
        self.position(name).is_ok()
    }

    pub fn set(&mut self, name: &str, value: impl AsRef<str>) {
        let value = value.as_ref();
        match (self.position(name), value.is_empty()) {
            (Ok(at), true) => self.remove_at(at),
            (Ok(at), false) => {
                let (begin, end) = (self.end(2 * at), self.end(2 * at + 1));
                self.text.replace_range(begin..end, value);
                self.move_ends(2 * at + 1, end - begin, value.len());
            }
            (Err(_), true) => {}
            (Err(at), false) => {
                let begin = self.begin(at);
                self.text.insert_str(begin, value);
                self.text.insert_str(begin, name);
                self.ends.splice(2 * at..2 * at, [short(begin); 2]);
                self.move_ends(2 * at, 0, name.len());
                self.move_ends(2 * at + 1, 0, value.len());
            }
        }
    }

    pub fn remove(&mut self, name: &str) {
        if let Ok(at) = self.position(name) {
            self.remove_at(at);
        }
    }

    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        let mut kept = Self::new();
        for (name, value) in self.iter().filter(|(name, value)| keep(name, value)) {
            kept.push(name, value);
        }
        *self = kept;
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        (0..self.len()).map(|at| self.at(at))
    }

    pub fn len(&self) -> usize {
        self.ends.len() / 2
    }

    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Gives back what was kept for labels to come: for sets that stay.
    pub fn shrink(&mut self) {
        self.text.shrink_to_fit();
        self.ends.shrink_to_fit();
    }

    /// A hash that is the same on every host and in every version (XXH3, 128 bits).
    pub fn hash(&self) -> u128 {
        let mut bytes = Vec::with_capacity(self.text.len() + self.ends.len());
        for (name, value) in self.iter() {
            // 0xFF is in no UTF-8 text, so no two label sets give the same bytes.
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(0xff);
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0xff);
        }
        xxh3_128(&bytes)
    }

    /// Behind all that are there.
    fn push(&mut self, name: &str, value: &str) {
        for piece in [name, value] {
            self.text.push_str(piece);
            self.ends.push(short(self.text.len()));
        }
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.at(middle).0.cmp(name) {
                Ordering::Less => low = middle + 1,
                Ordering::Equal => return Ok(middle),
                Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    fn at(&self, at: usize) -> (&str, &str) {
        let (begin, middle, end) = (self.begin(at), self.end(2 * at), self.end(2 * at + 1));
        (&self.text[begin..middle], &self.text[middle..end])
    }

    /// Of the label at that place.
    fn begin(&self, at: usize) -> usize {
        if at == 0 { 0 } else { self.end(2 * at - 1) }
    }

    fn end(&self, piece: usize) -> usize {
        self.ends[piece] as usize
    }

    fn remove_at(&mut self, at: usize) {
        let (begin, end) = (self.begin(at), self.end(2 * at + 1));
        self.text.replace_range(begin..end, "");
        self.ends.drain(2 * at..=2 * at + 1);
        self.move_ends(2 * at, end - begin, 0);
    }

    /// From that piece on, where what was so long before is so long now.
    fn move_ends(&mut self, from: usize, before: usize, now: usize) {
        for end in &mut self.ends[from..] {
            *end = short(*end as usize + now - before);
        }
    }
}

fn short(at: usize) -> u32 {
    u32::try_from(at).expect("labels come from bodies and files that are much smaller than 4 GiB")
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.iter().cmp(other.iter())
    }
}

impl std::fmt::Debug for Labels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Labels {
    /// Of a name that comes twice, the last value stays.
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut labels = Self::new();
        for (name, value) in pairs {
            labels.set(name.as_ref(), value);
        }
        labels
    }
}

impl std::fmt::Display for Labels {
    /// As Prometheus prints a label set: `{a="b", c="d"}`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (n, (name, value)) in self.iter().enumerate() {
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

    /// Beside a map, which is what a label set means.
    #[test]
    fn whatever_is_done_to_it_it_is_a_sorted_map() {
        use std::collections::BTreeMap;

        use rand::{RngExt, SeedableRng, rngs::StdRng};

        let mut rng = StdRng::seed_from_u64(1);
        let names = ["", "a", "aa", "b", "ä", "__name__", "job", "instance"];
        let values = ["", "1", "zwölf", "a much longer value than the others"];
        let (mut labels, mut map) = (Labels::new(), BTreeMap::new());
        let mut before = (labels.clone(), map.clone());
        for step in 0..20_000 {
            let name = names[rng.random_range(0..names.len())];
            let value = values[rng.random_range(0..values.len())];
            match rng.random_range(0..20) {
                0..15 if value.is_empty() => {
                    labels.set(name, value);
                    map.remove(name);
                }
                0..15 => {
                    labels.set(name, value);
                    map.insert(name, value);
                }
                15..18 => {
                    labels.remove(name);
                    map.remove(name);
                }
                18 => {
                    labels.retain(|own, _| own > name);
                    map.retain(|own, _| *own > name);
                }
                _ => before = (labels.clone(), map.clone()),
            }
            assert!(labels.iter().eq(map.iter().map(|(n, v)| (*n, *v))), "{step}: {labels:?}");
            assert_eq!((labels.len(), labels.is_empty()), (map.len(), map.is_empty()));
            assert_eq!(labels.get(name), *map.get(name).unwrap_or(&""));
            let again: Labels = map.iter().rev().map(|(n, v)| (*n, *v)).collect();
            assert_eq!((&labels, labels.hash()), (&again, again.hash()));
            let pairs: Vec<_> = map.iter().map(|(n, v)| (*n, *v)).chain([("ö", "")]).collect();
            assert_eq!(Labels::of_sorted(&pairs), labels);
            assert_eq!(labels.cmp(&before.0), map.cmp(&before.1));
        }
    }

    #[test]
    fn hash_tells_names_from_values() {
        let one: Labels = [("ab", "c")].into_iter().collect();
        let other: Labels = [("a", "bc")].into_iter().collect();
        assert_ne!(one.hash(), other.hash());
    }
}
