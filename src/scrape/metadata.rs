//! What targets say of their metrics: type, help, unit. For looking at, and for destinations that want
//! it with each series; equal texts of different targets are held once.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What a target says of one family of its metrics.
pub use crate::wire::remote_write::Family as Told;
use crate::{
    outbox::Families,
    wire::{Entry, Exposed, Format, MetricKind, ParseOptions, remote_write::Metadata},
};

/// Of one target's texts; families beyond are not listed.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Tells sets of metadata apart, whatever the order of their lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Fingerprint(u64);

impl Fingerprint {
    /// A line of metadata by the hash of its text.
    pub(super) fn add_line(&mut self, hash: u64) {
        self.0 = self.0.wrapping_add(hash);
    }

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

/// What a body has said of the family that it is at.
#[derive(Debug, Default)]
pub(super) struct Telling<'b> {
    family: Cow<'b, str>,
    metadata: Metadata<'b>,
}

impl<'b> Telling<'b> {
    pub(super) fn hear(&mut self, entry: Entry<'b>) {
        match entry {
            Entry::Type { family, kind } => self.about(family).kind = kind,
            Entry::Help { family, text } => self.about(family).help = text,
            Entry::Unit { family, unit } => self.about(family).unit = unit,
            Entry::Series(_) | Entry::Comment(_) => {}
        }
    }

    /// `None` where the series is not of that family, whatever stands before it.
    pub(super) fn of(&self, metric: &str) -> Option<&Metadata<'b>> {
        let is_told = !self.family.is_empty() && is_part(metric, &self.family, self.metadata.kind);
        is_told.then_some(&self.metadata)
    }

    fn about(&mut self, family: Cow<'b, str>) -> &mut Metadata<'b> {
        if family != self.family {
            *self = Self { family, metadata: Metadata::default() };
        }
        &mut self.metadata
    }
}

/// Whether a family of that kind has series of that name.
fn is_part(metric: &str, family: &str, kind: MetricKind) -> bool {
    let family = match kind {
        // Some write the name of the series for that of the family.
        MetricKind::Counter => family.strip_suffix("_total").unwrap_or(family),
        MetricKind::Gauge
        | MetricKind::Histogram
        | MetricKind::GaugeHistogram
        | MetricKind::Summary
        | MetricKind::Info
        | MetricKind::StateSet
        | MetricKind::Unknown => family,
    };
    let Some(suffix) = metric.strip_prefix(family) else { return false };
    let suffixes: &[&str] = match kind {
        MetricKind::Counter => &["_total", "_created"],
        MetricKind::Histogram => &["_bucket", "_sum", "_count", "_created"],
        MetricKind::GaugeHistogram => &["_bucket", "_gsum", "_gcount", "_sum", "_count"],
        MetricKind::Summary => &["_sum", "_count", "_created"],
        MetricKind::Info => &["_info"],
        MetricKind::Gauge | MetricKind::StateSet | MetricKind::Unknown => &[],
    };
    suffix.is_empty() || suffixes.contains(&suffix)
}

/// The sets in use.
#[derive(Debug)]
pub(super) struct Library {
    sets: Mutex<Sets>,
    /// Those who send them are told of each, as of no tenant.
    families: Families,
    nobody: Arc<str>,
}

type Sets = HashMap<Fingerprint, Weak<[Told]>>;

impl Library {
    pub(super) fn new(families: Families) -> Self {
        Self { sets: Mutex::default(), families, nobody: Arc::default() }
    }

    /// The set of that fingerprint, read from `body` if no target has it yet.
    pub(super) fn get(&self, fingerprint: Fingerprint, format: Format, body: &[u8]) -> Arc<[Told]> {
        if let Some(told) = self.lock().get(&fingerprint).and_then(Weak::upgrade) {
            return told;
        }
        let told: Arc<[Told]> = collect(format, body).into();
        self.families.add(&self.nobody, &told);
        let mut sets = self.lock();
        if sets.len() == sets.capacity() {
            sets.retain(|_, told| told.strong_count() > 0);
        }
        sets.insert(fingerprint, Arc::downgrade(&told));
        told
    }

    fn lock(&self) -> MutexGuard<'_, Sets> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
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
    fn a_series_has_what_is_said_of_its_family() {
        let body = "# HELP a x\n# TYPE a counter\na 1\n# TYPE h histogram\nh_sum 1\nb 1\n# HELP g y\ng 1\n";
        let mut telling = Telling::default();
        let mut found = String::new();
        for entry in Parser::new(Format::PrometheusText, body.as_bytes()).flatten() {
            if let Entry::Series(series) = &entry {
                let told = telling.of(series.text);
                let told = told.map_or("-".into(), |m| format!("{} {}", m.kind.name(), m.help));
                found.extend([series.text, ": ", &told, "\n"]);
            }
            telling.hear(entry);
        }
        assert_eq!(found, "a: counter x\nh_sum: histogram \nb: -\ng: unknown y\n");
        for (metric, family, kind, expected) in [
            ("a_total", "a", MetricKind::Counter, true),
            ("a_total", "a_total", MetricKind::Counter, true),
            ("a_totals", "a", MetricKind::Counter, false),
            ("h_bucket", "h", MetricKind::Histogram, true),
            ("h_bucket", "h", MetricKind::Summary, false),
            ("h_gsum", "h", MetricKind::GaugeHistogram, true),
            ("i_info", "i", MetricKind::Info, true),
            ("g_sum", "g", MetricKind::Gauge, false),
            ("g", "g", MetricKind::Unknown, true),
        ] {
            assert_eq!(is_part(metric, family, kind), expected, "{metric} of {family}");
        }
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
        let library = Library::new(Families::default());
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
