//! Words into flags, as Go and vmagent read them: `-name=value`, `--name value`, lists with
//! commas, one value for all URLs or one for each.

use std::collections::BTreeSet;

use crate::cli::convert::{tree::At, vmagent::words::Word};

/// More are not read: nobody writes them.
const FLAGS_MAX: usize = 10_000;

/// Which need no value.
const BOOLEANS: [&str; 21] = [
    "promscrape.config.strictParse",
    "promscrape.config.dryRun",
    "promscrape.suppressScrapeErrors",
    "promscrape.suppressDuplicateScrapeTargetErrors",
    "promscrape.dropOriginalLabels",
    "promscrape.noStaleMarkers",
    "promscrape.streamParse",
    "promscrape.disableCompression",
    "promscrape.disableKeepAlive",
    "remoteWrite.showURL",
    "remoteWrite.shardByURL",
    "remoteWrite.forceVMProto",
    "remoteWrite.forcePromProto",
    "remoteWrite.keepDanglingQueues",
    "remoteWrite.tlsInsecureSkipVerify",
    "remoteWrite.dropSamplesOnOverload",
    "remoteWrite.disableOnDiskQueue",
    "remoteWrite.aws.useSigv4",
    "envflag.enable",
    "tls",
    "enableTCP6",
];

#[derive(Debug)]
struct Flag {
    name: String,
    value: String,
    at: At,
}

/// All flags, and which were asked for: the others have no counterpart.
#[derive(Debug, Default)]
pub(super) struct Flags {
    all: Vec<Flag>,
    asked: BTreeSet<String>,
}

impl Flags {
    /// Words before the program's own name belong to whatever starts it.
    pub(super) fn read(words: &[Word]) -> Self {
        let is_program = |word: &Word| {
            let name = word.text.rsplit('/').next().unwrap_or("");
            !word.text.starts_with('-')
                && name
                    .split(':')
                    .next()
                    .is_some_and(|name| name == "vmagent" || name.starts_with("vmagent-"))
        };
        let start = words.iter().rposition(is_program).map_or(0, |n| n + 1);
        let mut all = Vec::new();
        let mut words = words[start..].iter().peekable();
        while let Some(word) = words.next() {
            let name = word.text.trim_start_matches('-');
            // A lone dash is the mark of a list.
            if name.len() == word.text.len() || name.is_empty() || all.len() >= FLAGS_MAX {
                continue;
            }
            let (name, value) = match name.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None if BOOLEANS.contains(&name) => (name, "true".to_owned()),
                None => match words.next_if(|next| !next.text.starts_with('-')) {
                    Some(next) => (name, next.text.clone()),
                    None => (name, "true".to_owned()),
                },
            };
            all.push(Flag { name: name.to_owned(), value, at: word.at.clone() });
        }
        Self { all, asked: BTreeSet::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The last counts, as in Go.
    pub(super) fn one(&mut self, name: &str) -> Option<(String, At)> {
        self.asked.insert(name.to_owned());
        let flag = self.all.iter().rev().find(|flag| flag.name == name)?;
        Some((flag.value.clone(), flag.at.clone()))
    }

    /// All values of a flag that may be repeated.
    pub(super) fn many(&mut self, name: &str) -> Vec<(String, At)> {
        self.asked.insert(name.to_owned());
        let own = self.all.iter().filter(|flag| flag.name == name);
        own.flat_map(|flag| values(&flag.value).into_iter().map(|v| (v, flag.at.clone()))).collect()
    }

    /// The value for the URL of number `n`: its own, or the only one. Nothing where it is empty.
    pub(super) fn for_url(&mut self, name: &str, n: usize) -> Option<(String, At)> {
        let mut values = self.many(name);
        let n = if values.len() == 1 { 0 } else { n };
        (n < values.len()).then(|| values.swap_remove(n)).filter(|(value, _)| !value.is_empty())
    }

    /// Those that nobody asked for, each name once.
    pub(super) fn others(&self) -> Vec<(&str, &At)> {
        let mut others: Vec<(&str, &At)> = Vec::new();
        for flag in self.all.iter().filter(|flag| !self.asked.contains(&flag.name)) {
            if !others.iter().any(|(name, _)| *name == flag.name) {
                others.push((&flag.name, &flag.at));
            }
        }
        others
    }
}

pub(super) fn is_true(value: &str) -> bool {
    ["true", "1", "t", "T", "TRUE", "True"].contains(&value)
}

/// Parted at commas that stand in no quotes and in no brackets.
fn values(text: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut quote: Option<char> = None;
    let mut depth = 0_u32;
    let mut previous = ',';
    for c in text.chars() {
        let value = values.last_mut().expect("there is always one");
        match (c, quote) {
            (',', None) if depth == 0 => values.push(String::new()),
            // Quotes count at the beginning of a value only.
            ('"' | '\'', None) if previous == ',' && depth == 0 => quote = Some(c),
            (c, Some(open)) if c == open && previous != '\\' => quote = None,
            (c, Some(_)) => value.push(c),
            (c, None) => {
                match c {
                    '{' | '[' | '(' => depth += 1,
                    '}' | ']' | ')' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                value.push(c);
            }
        }
        previous = c;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::problem::Place;

    fn flags(text: &str) -> Flags {
        let at = At::of(&"f".into(), Place::default());
        let words = text.split(' ').map(|text| Word { text: text.into(), at: at.clone() });
        Flags::read(&words.collect::<Vec<_>>())
    }

    #[test]
    fn lists_are_parted_at_their_commas() {
        for (text, expected) in [
            ("a,b", &["a", "b"][..]),
            ("", &[""]),
            ("a,,b", &["a", "", "b"]),
            ("'a,b',\"c\"", &["a,b", "c"]),
            ("{a,b},[c,d],(e,f)", &["{a,b}", "[c,d]", "(e,f)"]),
            ("foo:'x,y'", &["foo:'x", "y'"]),
        ] {
            assert_eq!(values(text), expected, "{text}");
        }
    }

    #[test]
    fn one_value_is_for_all_urls_and_more_are_for_each() {
        let mut read = flags("docker run -p 1:2 x/vmagent:v1 -u=a,b --u c -p x -t -q=1,,3 -tls z");
        assert_eq!(read.many("u").len(), 3);
        assert_eq!(read.for_url("p", 2).unwrap().0, "x");
        assert_eq!(read.for_url("q", 0).unwrap().0, "1");
        assert!(read.for_url("q", 1).is_none() && read.for_url("q", 3).is_none());
        assert_eq!(read.one("t").unwrap().0, "true");
        let others: Vec<&str> = read.others().into_iter().map(|(name, _)| name).collect();
        assert_eq!(others, ["tls"]);
    }
}
