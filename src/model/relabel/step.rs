//! One compiled rule at work on one label set.

use md5::{Digest, Md5};

use crate::model::{
    labels::Labels,
    relabel::{NameValidation, pattern::Pattern, template::Template},
};

#[derive(Clone, Debug)]
pub(super) struct Step {
    source: Vec<String>,
    separator: String,
    kind: Kind,
}

#[derive(Clone, Debug)]
pub(super) enum Kind {
    Replace {
        pattern: Pattern,
        target: Template,
        replacement: Template,
        validation: NameValidation,
    },
    Keep(Pattern),
    Drop(Pattern),
    KeepEqual(String),
    DropEqual(String),
    HashMod {
        modulus: u64,
        target: String,
    },
    LabelMap {
        pattern: Pattern,
        replacement: Template,
    },
    LabelDrop(Pattern),
    LabelKeep(Pattern),
    Lowercase(String),
    Uppercase(String),
}

impl Step {
    pub(super) fn new(source: Vec<String>, separator: String, kind: Kind) -> Self {
        Self { source, separator, kind }
    }

    /// `false`: the set is dropped.
    pub(super) fn run(&self, labels: &mut Labels, scratch: &mut String) -> bool {
        let value = joined(&self.source, &self.separator, labels, scratch);
        match &self.kind {
            Kind::Keep(pattern) => return pattern.matches(value),
            Kind::Drop(pattern) => return !pattern.matches(value),
            Kind::KeepEqual(target) => return labels.get(target) == value,
            Kind::DropEqual(target) => return labels.get(target) != value,
            Kind::Replace { pattern, target, replacement, validation } => {
                if let Some((name, value)) = replaced(pattern, target, replacement, value)
                    && validation.allows_label(&name)
                {
                    labels.set(&name, value);
                }
            }
            Kind::HashMod { modulus, target } => {
                let shard = md5_tail(value) % modulus;
                labels.set(target, shard.to_string());
            }
            Kind::Lowercase(target) => {
                let lower: String = value.chars().map(lowercase).collect();
                labels.set(target, lower);
            }
            Kind::Uppercase(target) => {
                let upper: String = value.chars().map(uppercase).collect();
                labels.set(target, upper);
            }
            Kind::LabelMap { pattern, replacement } => map_names(pattern, replacement, labels),
            Kind::LabelDrop(pattern) => labels.retain(|name, _| !pattern.matches(name)),
            Kind::LabelKeep(pattern) => labels.retain(|name, _| pattern.matches(name)),
        }
        true
    }
}

/// The values of `source`; only two or more need the scratch.
fn joined<'a>(
    source: &[String],
    separator: &str,
    labels: &'a Labels,
    scratch: &'a mut String,
) -> &'a str {
    match source {
        [] => "",
        [name] => labels.get(name),
        [first, others @ ..] => {
            scratch.clear();
            scratch.push_str(labels.get(first));
            for name in others {
                scratch.push_str(separator);
                scratch.push_str(labels.get(name));
            }
            scratch
        }
    }
}

fn replaced(
    pattern: &Pattern,
    target: &Template,
    replacement: &Template,
    value: &str,
) -> Option<(String, String)> {
    let groups = pattern.groups(value, target.needs_groups() || replacement.needs_groups())?;
    Some((target.expand(&groups), replacement.expand(&groups)))
}

/// Each name as it was before the step is looked at once; of several that map to one name, the last
/// in order wins.
fn map_names(pattern: &Pattern, replacement: &Template, labels: &mut Labels) {
    let mapped: Vec<(String, String)> = labels
        .iter()
        .filter_map(|(name, value)| {
            let groups = pattern.groups(name, replacement.needs_groups())?;
            Some((replacement.expand(&groups), value.to_owned()))
        })
        .collect();
    for (name, value) in mapped {
        // A label without a name can be neither asked for nor sent.
        if !name.is_empty() {
            labels.set(&name, value);
        }
    }
}

/// The last eight bytes of the MD5 sum: what Prometheus' shards are counted by.
fn md5_tail(value: &str) -> u64 {
    let sum = Md5::digest(value.as_bytes());
    let tail: [u8; 8] = sum[8..].try_into().expect("an MD5 sum has 16 bytes");
    u64::from_be_bytes(tail)
}

/// Go maps character by character; Rust's strings know final sigmas and characters that become two.
fn lowercase(c: char) -> char {
    match c {
        'İ' => 'i',
        _ => only(c.to_lowercase()).unwrap_or(c),
    }
}

fn uppercase(c: char) -> char {
    match c {
        // Become two characters in full, but have a single one beside it.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => {
            char::from_u32(u32::from(c) + 8).expect("the capitals stand eight places on")
        }
        '\u{1fb3}' => '\u{1fbc}',
        '\u{1fc3}' => '\u{1fcc}',
        '\u{1ff3}' => '\u{1ffc}',
        _ => only(c.to_uppercase()).unwrap_or(c),
    }
}

fn only(mut mapped: impl Iterator<Item = char>) -> Option<char> {
    let first = mapped.next()?;
    mapped.next().is_none().then_some(first)
}
