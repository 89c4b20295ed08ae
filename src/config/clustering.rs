//! `clustering` of a job, and in `global` what jobs take where they say nothing themselves.

use crate::{
    config::{
        Clustering,
        decode::{Section, shown},
    },
    model::target::{ADDRESS, META_PREFIX, METRICS_PATH, PARAM_PREFIX, SCHEME},
};

/// More are refused: what a target is known by is a few labels.
const KEY_LABELS_MAX: usize = 64;

/// Each key that is absent is as in `unset`.
pub(super) fn clustering(outer: &mut Section<'_, '_>, unset: &Clustering) -> Clustering {
    let node = outer.get("clustering");
    let section = node.and_then(|node| Section::open(node, "clustering", outer.findings));
    let Some(mut section) = section else { return unset.clone() };
    let clustering = Clustering {
        enabled: section.boolean("enabled").unwrap_or(unset.enabled),
        key_include: labels(&mut section, "key_include", includable)
            .unwrap_or_else(|| unset.key_include.clone()),
        key_exclude: labels(&mut section, "key_exclude", excludable)
            .unwrap_or_else(|| unset.key_exclude.clone()),
    };
    section.close();
    clustering
}

/// `fault` says what is wrong with one.
fn labels(
    section: &mut Section<'_, '_>,
    key: &'static str,
    fault: fn(&str) -> Option<&'static str>,
) -> Option<Vec<String>> {
    let labels = section.texts(key);
    if labels.len() > KEY_LABELS_MAX {
        let (place, count) = (section.place_of(key), labels.len());
        let message = format!("`{key}`: expected at most {KEY_LABELS_MAX} labels, found {count}");
        section.problem(place, message);
        return None;
    }
    for (label, place) in &labels {
        if let Some(fault) = fault(label) {
            section.problem(*place, format!("`{key}`: {fault}, found `{}`", shown(label)));
        }
    }
    section.has(key).then(|| labels.into_iter().map(|(label, _)| label.to_owned()).collect())
}

fn includable(label: &str) -> Option<&'static str> {
    let is_usable = !label.is_empty() && !label.starts_with(META_PREFIX);
    (!is_usable).then_some("expected a label that a target has after relabelling")
}

fn excludable(label: &str) -> Option<&'static str> {
    let is_parameter = label.strip_prefix(PARAM_PREFIX).is_some_and(|name| !name.is_empty());
    let is_identity = is_parameter || [SCHEME, ADDRESS, METRICS_PATH].contains(&label);
    (!is_identity).then_some(
        "expected `__scheme__`, `__address__`, `__metrics_path__` or a `__param_<name>`, as nothing else counts",
    )
}
