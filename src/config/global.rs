//! The `global` section: what jobs and destinations take where they say nothing themselves.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    config::{
        Clustering, Global, Limits, clustering,
        decode::{Findings, Section},
        labels, scrape,
        yaml::Node,
    },
    model::{labels::Labels, protocol::Escaping, relabel::NameValidation},
};

/// Where the value of an environment variable comes from.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

impl Default for Global {
    fn default() -> Self {
        Self {
            scrape_interval: Duration::from_secs(60),
            scrape_timeout: Duration::from_secs(10),
            external_labels: Labels::new(),
            scrape_timestamp_tolerance: Duration::from_millis(2),
            scrape_protocols: None,
            scrape_native_histograms: false,
            always_scrape_classic_histograms: false,
            convert_classic_histograms_to_nhcb: false,
            extra_scrape_metrics: false,
            start_timestamp_zeros: false,
            type_and_unit_labels: false,
            metric_name_validation: NameValidation::Utf8,
            metric_name_escaping: Escaping::AllowUtf8,
            limits: Limits::default(),
            keep_dropped_targets: 0,
            scrape_failure_log_file: None,
            clustering: Clustering::default(),
        }
    }
}

pub(super) fn global(node: &Node, environment: Environment<'_>, findings: &mut Findings) -> Global {
    let unset = Global::default();
    let Some(mut section) = Section::open(node, "global", findings) else { return unset };
    let validation = scrape::validation(&mut section).unwrap_or(unset.metric_name_validation);
    let (scrape_interval, scrape_timeout) = times(&mut section, &unset);
    let global = Global {
        scrape_interval,
        scrape_timeout,
        external_labels: external_labels(&mut section, validation, environment),
        scrape_timestamp_tolerance: section
            .duration("scrape_timestamp_tolerance")
            .unwrap_or(unset.scrape_timestamp_tolerance),
        scrape_protocols: scrape::protocols(&mut section, "global config"),
        scrape_native_histograms: flag(&mut section, "scrape_native_histograms"),
        always_scrape_classic_histograms: flag(&mut section, "always_scrape_classic_histograms"),
        convert_classic_histograms_to_nhcb: flag(
            &mut section,
            "convert_classic_histograms_to_nhcb",
        ),
        extra_scrape_metrics: flag(&mut section, "extra_scrape_metrics"),
        start_timestamp_zeros: flag(&mut section, scrape::START_TIMESTAMP_ZEROS),
        type_and_unit_labels: flag(&mut section, scrape::TYPE_AND_UNIT_LABELS),
        metric_name_validation: validation,
        metric_name_escaping: scrape::escaping(&mut section, "global")
            .unwrap_or_else(|| scrape::escaping_unset(validation)),
        limits: scrape::limits(&mut section),
        keep_dropped_targets: scrape::keep_dropped(&mut section).unwrap_or(0),
        scrape_failure_log_file: scrape::failure_log(&mut section),
        clustering: clustering::clustering(&mut section, &unset.clustering),
    };
    server_only(&mut section);
    section.close();
    global
}

fn times(section: &mut Section<'_, '_>, unset: &Global) -> (Duration, Duration) {
    let set = |duration: Option<Duration>| duration.filter(|duration| !duration.is_zero());
    let interval = set(section.duration("scrape_interval")).unwrap_or(unset.scrape_interval);
    let timeout = set(section.duration("scrape_timeout"));
    if timeout.is_some_and(|timeout| timeout > interval) {
        let place = section.place_of("scrape_timeout");
        section.problem(place, "global scrape timeout greater than scrape interval");
    }
    (interval, timeout.unwrap_or(unset.scrape_timeout.min(interval)))
}

/// What is off unless it is typed.
fn flag(section: &mut Section<'_, '_>, key: &'static str) -> bool {
    section.boolean(key).unwrap_or(false)
}

/// No warning for these: nearly every `prometheus.yml` has an `evaluation_interval`.
fn server_only(section: &mut Section<'_, '_>) {
    section.duration("evaluation_interval");
    section.duration("rule_query_offset");
    section.text("query_log_file");
}

fn external_labels(
    section: &mut Section<'_, '_>,
    validation: NameValidation,
    environment: Environment<'_>,
) -> Labels {
    let mut labels = Labels::new();
    for (name, value, place) in labels::pairs(section, "external_labels", validation) {
        let mut unset = BTreeSet::new();
        let value = expand(value, |variable| {
            environment(variable).filter(|value| !value.is_empty()).unwrap_or_else(|| {
                unset.insert(variable.to_owned());
                String::new()
            })
        });
        for variable in unset {
            let message = format!(
                "`external_labels`: the environment variable `{variable}` is not set and reads as empty"
            );
            section.findings.warning(place, message);
        }
        labels.set(name, value);
    }
    labels
}

/// `$NAME`, `${NAME}` and `$$`, as Go's `os.Expand` takes them: a lone `$` stays, broken braces go.
fn expand(text: &str, mut value_of: impl FnMut(&str) -> String) -> String {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded += before;
        rest = after;
        match after.chars().next() {
            Some('{') => {
                let Some((name, after)) = after[1..].split_once('}') else {
                    rest = &after[1..];
                    continue;
                };
                rest = after;
                if !name.is_empty() {
                    expanded += &variable(name, &mut value_of);
                }
            }
            Some(c) if c.is_ascii_digit() || "*#$@!?-".contains(c) => {
                expanded += &variable(&after[..1], &mut value_of);
                rest = &after[1..];
            }
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                let end = after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let (name, after) = after.split_at(end.unwrap_or(after.len()));
                expanded += &variable(name, &mut value_of);
                rest = after;
            }
            Some(_) | None => expanded.push('$'),
        }
    }
    expanded + rest
}

fn variable(name: &str, value_of: &mut impl FnMut(&str) -> String) -> String {
    if name == "$" { "$".into() } else { value_of(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands_as_go_does() {
        for (text, expected) in [
            ("foo", "foo"),
            ("$A", "<A>"),
            ("x${A}y$B_1-z", "x<A>y<B_1>-z"),
            ("$$A", "$A"),
            ("foo$${TEST}", "foo${TEST}"),
            ("$", "$"),
            ("a$ b", "a$ b"),
            ("${", ""),
            ("${}x", "x"),
            ("${A", "A"),
            ("$1x", "<1>x"),
            ("${$}", "$"),
            ("ü$ü", "ü$ü"),
        ] {
            assert_eq!(expand(text, |name| format!("<{name}>")), expected, "{text}");
        }
    }
}
