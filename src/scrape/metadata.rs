//! What targets say of their metrics: type, help, unit. Only for looking at; equal texts of
//! different targets are held once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::wire::{Entry, Exposed, Format, MetricKind, ParseOptions};

/// Of one target's texts; families beyond are not listed.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What a target says of one family of its metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    pub metric: String,
    pub kind: MetricKind,
    pub help: String,
    pub unit: String,
}

/// Tells sets of metadata apart, whatever the order of their lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    pub(super) fn add(&mut self, entry: &Entry<'_>) {
        let hash = |seed, family: &str, text: &str| {
            let hash = xxh3_64_with_seed(family.as_bytes(), seed);
            xxh3_64_with_seed(text.as_bytes(), hash)
        };
        // A sum, as some targets write their families in a new order each time.
        self.0 = self.0.wrapping_add(match entry {
            Entry::Type { family, kind } => hash(1, family, kind.name()),
            Entry::Help { family, text } => hash(2, family, text),
            Entry::Unit { family, unit } => hash(3, family, unit),
            Entry::Series(_) | Entry::Comment(_) => 0,
        });
    }
}

/// The sets in use.
#[derive(Debug, Default)]
pub(super) struct Library(Mutex<Sets>);

type Sets = HashMap<Fingerprint, Weak<[Told]>>;

impl Library {
    /// The set of that fingerprint, read from `body` if no target has it yet.
    pub(super) fn get(&self, fingerprint: Fingerprint, format: Format, body: &[u8]) -> Arc<[Told]> {
        if let Some(told) = self.lock().get(&fingerprint).and_then(Weak::upgrade) {
            return told;
        }
        let told: Arc<[Told]> = collect(format, body).into();
        let mut sets = self.lock();
        if sets.len() == sets.capacity() {
            sets.retain(|_, told| told.strong_count() > 0);
        }
        sets.insert(fingerprint, Arc::downgrade(&told));
        told
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn collect(format: Format, body: &[u8]) -> Vec<Told> {
    let mut all: Vec<Told> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    let mut bytes = 0;
    for entry in Exposed::new(format, body, ParseOptions::default()).parser().flatten() {
        let (family, kind, help, unit) = match entry {
            Entry::Type { family, kind } => (family, Some(kind), None, None),
            Entry::Help { family, text } => (family, None, Some(text), None),
            Entry::Unit { family, unit } => (family, None, None, Some(unit)),
            Entry::Series(_) | Entry::Comment(_) => continue,
        };
        bytes += family.len() + help.as_ref().map_or(0, |text| text.len());
        if bytes > TEXT_BYTES_MAX {
            break;
        }
        let at = *places.entry_ref(&*family).or_insert_with(|| {
            all.push(Told { metric: family.clone().into_owned(), ..Told::default() });
            all.len() - 1
        });
        let told = &mut all[at];
        told.kind = kind.unwrap_or(told.kind);
        if let Some(help) = help {
            told.help = help.into_owned();
        }
        if let Some(unit) = unit {
            told.unit = unit.into_owned();
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Parser;

    fn fingerprint(body: &str) -> Fingerprint {
        let mut fingerprint = Fingerprint::default();
        for entry in Parser::new(Format::PrometheusText, body.as_bytes()).flatten() {
            fingerprint.add(&entry);
        }
        fingerprint
    }

    #[test]
    fn the_order_of_lines_and_the_values_do_not_matter() {
        let one = fingerprint("# TYPE a counter\n# HELP a x\na 1\n# TYPE b gauge\nb 1\n");
        let two = fingerprint("# HELP a x\n# TYPE b gauge\nb 2\n# TYPE a counter\na 3\n");
        assert_eq!(one, two);
        for other in [
            "# TYPE a counter\n# HELP a y\n# TYPE b gauge\n",
            "# TYPE b counter\n# HELP a x\n# TYPE a gauge\n",
            "# TYPE a counter\n# HELP a x\n",
        ] {
            assert_ne!(fingerprint(other), one, "{other}");
        }
    }

    #[test]
    fn equal_sets_are_held_once_and_no_longer_than_in_use() {
        let library = Library::default();
        let body = b"# TYPE a counter\n# HELP a what a is\na 1\n# HELP b\nb 1\n";
        let get = || library.get(Fingerprint(1), Format::PrometheusText, body);
        let (one, two) = (get(), get());
        assert!(Arc::ptr_eq(&one, &two));
        let told = Told {
            metric: "a".into(),
            kind: MetricKind::Counter,
            help: "what a is".into(),
            unit: String::new(),
        };
        assert_eq!(one[0], told);
        assert_eq!(one[1], Told { metric: "b".into(), ..Told::default() });
        drop((one, two));
        for n in 2..1000 {
            library.get(Fingerprint(n), Format::PrometheusText, body);
        }
        assert!(library.lock().len() < 100);
    }
}
