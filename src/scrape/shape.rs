//! From the labels that a target exposes to those of the stored series: target labels, metric
//! relabelling, limits. Done once a series, not once a sample. Pure.

use std::{borrow::Cow, sync::Arc};

use crate::{
    config::{Job, Limits},
    model::{
        labels::{Labels, METRIC_NAME},
        relabel::{self, NameValidation},
        target::Target,
    },
    scrape::failure::Failure,
    wire::LabelPair,
};

const EXPORTED: &str = "exported_";
/// Of a name or value in a message.
const SHOWN_CHARS_MAX: usize = 50;

/// The rules for one target's series.
pub(super) struct Shape {
    job: Arc<Job>,
    /// Of this target.
    limits: Limits,
    target_labels: Labels,
}

impl Shape {
    pub(super) fn new(job: Arc<Job>, limits: Limits, target: &Target) -> Self {
        Self { job, limits, target_labels: target.public_labels() }
    }

    /// `None`: a rule drops the series. `pairs` is what the line says.
    pub(super) fn labels<'a>(
        &'a self,
        mut pairs: Vec<LabelPair<'a>>,
        scratch: &mut String,
    ) -> Result<Option<Labels>, Failure> {
        pairs.sort_unstable();
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let name = shown(&twice[0].0);
            return Err(Failure::Parse(format!(
                "label name `{name}` is not unique: invalid sample"
            )));
        }
        if self.job.honor_labels {
            self.complete(&mut pairs);
        } else {
            self.overwrite(&mut pairs);
        }
        pairs.sort_unstable();
        let exposed = Labels::of_sorted(&pairs);
        let Some(labels) = relabel::apply_with(&self.job.metric_relabel, exposed, scratch) else {
            return Ok(None);
        };
        if labels.is_empty() {
            return Ok(None);
        }
        self.check_names(&labels)?;
        self.check_limits(&labels)?;
        Ok(Some(labels))
    }

    /// The labels of a series about the scrape itself: no rule and no limit touches them.
    pub(super) fn report(&self, name: &str) -> Labels {
        let mut labels = self.target_labels.clone();
        labels.set(METRIC_NAME, name);
        labels
    }

    /// An exposed label wins over the target's, an empty one too: it says that there is none.
    fn complete<'a>(&'a self, pairs: &mut Vec<LabelPair<'a>>) {
        for (name, value) in self.target_labels.iter() {
            if position(pairs, name).is_none() {
                pairs.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
    }

    /// The target's label wins; the exposed one stays under another name.
    fn overwrite<'a>(&'a self, pairs: &mut Vec<LabelPair<'a>>) {
        let mut overwritten = Vec::new();
        for (name, value) in self.target_labels.iter() {
            match position(pairs, name) {
                Some(at) => {
                    let exposed = std::mem::replace(&mut pairs[at].1, Cow::Borrowed(value));
                    if !exposed.is_empty() {
                        overwritten.push((name, exposed));
                    }
                }
                None => pairs.push((Cow::Borrowed(name), Cow::Borrowed(value))),
            }
        }
        // The shortest first, as a longer one may be what a shorter one is about to be called.
        overwritten.sort_by_key(|(name, _)| name.len());
        for (name, exposed) in overwritten {
            let mut free = format!("{EXPORTED}{name}");
            loop {
                match position(pairs, &free) {
                    Some(at) if !pairs[at].1.is_empty() => free.insert_str(0, EXPORTED),
                    Some(at) => break pairs[at].1 = exposed,
                    None => break pairs.push((Cow::Owned(free), exposed)),
                }
            }
        }
    }

    fn check_names(&self, labels: &Labels) -> Result<(), Failure> {
        let name = labels.get(METRIC_NAME);
        if name.is_empty() {
            return Err(Failure::Parse(format!(
                "missing metric name (__name__ label) of {}",
                shown(&labels.to_string())
            )));
        }
        let valid = match self.job.metric_name_validation {
            NameValidation::Utf8 => true,
            NameValidation::Legacy => {
                is_legacy_metric_name(name)
                    && labels.iter().all(|(name, _)| NameValidation::Legacy.allows_label(name))
            }
        };
        if valid {
            return Ok(());
        }
        let shown = shown(&labels.to_string());
        Err(Failure::Parse(format!("invalid metric name or label names: {shown}")))
    }

    fn check_limits(&self, labels: &Labels) -> Result<(), Failure> {
        let limits = &self.limits;
        let metric = || shown(labels.get(METRIC_NAME));
        let exceeds = |found: usize, limit: usize| limit > 0 && found > limit;
        let (count, limit) = (labels.len(), limits.labels_max);
        if exceeds(count, limit) {
            let metric = metric();
            return Err(Failure::LabelLimit(format!(
                "label_limit exceeded (metric: {metric}, number of labels: {count}, limit: {limit})"
            )));
        }
        for (name, value) in labels.iter() {
            let (length, limit) = (name.len(), limits.label_name_bytes_max);
            if exceeds(length, limit) {
                let (metric, name) = (metric(), shown(name));
                return Err(Failure::LabelLimit(format!(
                    "label_name_length_limit exceeded (metric: {metric}, label name: {name}, \
                     length: {length}, limit: {limit})"
                )));
            }
            let (length, limit) = (value.len(), limits.label_value_bytes_max);
            if exceeds(length, limit) {
                let (metric, name, value) = (metric(), shown(name), shown(value));
                return Err(Failure::LabelLimit(format!(
                    "label_value_length_limit exceeded (metric: {metric}, label name: {name}, \
                     value: {value:?}, length: {length}, limit: {limit})"
                )));
            }
        }
        Ok(())
    }
}

fn position(pairs: &[LabelPair<'_>], name: &str) -> Option<usize> {
    pairs.iter().position(|(own, _)| own == name)
}

fn is_legacy_metric_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':'))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        scrape::test_job::{job, rules, target},
        wire::{Entry, Format, Parser},
    };

    fn labels(job: Job, own: &[(&str, &str)], line: &str) -> Result<Option<String>, String> {
        let body = format!("{line} 1\n");
        let Some(Ok(Entry::Series(series))) =
            Parser::new(Format::PrometheusText, body.as_bytes()).next()
        else {
            panic!("`{line}` is no sample");
        };
        let mut pairs = Vec::new();
        series.pairs(&mut pairs);
        let limits = job.limits;
        let shape = Shape::new(Arc::new(job), limits, &target(own));
        match shape.labels(pairs, &mut String::new()) {
            Ok(labels) => Ok(labels.map(|labels| labels.to_string())),
            Err(failure) => Err(failure.to_string()),
        }
    }

    /// `honor_labels`, the labels of the target, the line, what is stored.
    type Case = (bool, &'static [(&'static str, &'static str)], &'static str, &'static str);

    #[test]
    fn target_labels_meet_exposed_ones() {
        let cases: &[Case] = &[
            (false, &[("n", "2")], r#"m{n="1"}"#, r#"{__name__="m", exported_n="1", n="2"}"#),
            (true, &[("n", "2")], r#"m{n="1"}"#, r#"{__name__="m", n="1"}"#),
            (false, &[], r#"m{n=""}"#, r#"{__name__="m"}"#),
            (false, &[("n", "2")], r#"m{n=""}"#, r#"{__name__="m", n="2"}"#),
            (true, &[("n", "2")], r#"m{n=""}"#, r#"{__name__="m"}"#),
            (true, &[("n", "2"), ("o", "3")], r#"m{n=""}"#, r#"{__name__="m", o="3"}"#),
            (
                false,
                &[("foo", "3")],
                r#"m{foo="1", exported_foo="2"}"#,
                r#"{__name__="m", exported_exported_foo="1", exported_foo="2", foo="3"}"#,
            ),
            (
                false,
                &[("foo", "3"), ("exported_foo", "4")],
                r#"m{foo="1", exported_foo="2"}"#,
                r#"{__name__="m", exported_exported_exported_foo="2", exported_exported_foo="1", exported_foo="4", foo="3"}"#,
            ),
            (
                false,
                &[("foo", "2"), ("exported_foo", "3")],
                r#"m{foo="1"}"#,
                r#"{__name__="m", exported_exported_foo="1", exported_foo="3", foo="2"}"#,
            ),
            (
                false,
                &[("foo", "0"), ("exported_exported_foo", "2")],
                r#"m{foo="1", exported_foo="3", exported_exported_foo="4"}"#,
                r#"{__name__="m", exported_exported_exported_exported_foo="4", exported_exported_exported_foo="1", exported_exported_foo="2", exported_foo="3", foo="0"}"#,
            ),
            (
                false,
                &[("foo", "2")],
                r#"m{foo="1", exported_foo=""}"#,
                r#"{__name__="m", exported_foo="1", foo="2"}"#,
            ),
            (false, &[("__hidden", "x"), ("seen", "y")], "m", r#"{__name__="m", seen="y"}"#),
        ];
        for (honor_labels, own, line, expected) in cases {
            let job = Job { honor_labels: *honor_labels, ..job() };
            assert_eq!(labels(job, own, line), Ok(Some((*expected).to_owned())), "{line}");
        }
    }

    #[test]
    fn rules_come_after_target_labels() {
        let job = Job {
            metric_relabel: rules(
                "- {source_labels: [n], regex: drop, action: drop}\n\
                 - {source_labels: [n], target_label: copied}\n\
                 - {regex: __name__|n, action: labeldrop}\n\
                 - {source_labels: [copied], regex: named, target_label: __name__, replacement: named}\n\
                 - {source_labels: [copied], regex: nothing, target_label: copied, replacement: ''}",
            ),
            ..job()
        };
        for (own, line, expected) in [
            ("drop", "m", Ok(None)),
            ("named", "m", Ok(Some(r#"{__name__="named", copied="named"}"#.to_owned()))),
            // Nothing is left of it, which is to drop it; without a name alone, it is a fault.
            ("nothing", "m", Ok(None)),
            (
                "other",
                "m",
                Err(r#"missing metric name (__name__ label) of {copied="other"}"#.to_owned()),
            ),
        ] {
            assert_eq!(labels(job.clone(), &[("n", own)], line), expected, "{own}");
        }
    }

    #[test]
    fn faults_of_one_sample() {
        let legacy = Job { metric_name_validation: NameValidation::Legacy, ..job() };
        let limited = |limits| Job { limits, ..job() };
        let count = limited(Limits { labels_max: 3, ..Limits::default() });
        let names = limited(Limits { label_name_bytes_max: 8, ..Limits::default() });
        let values = limited(Limits { label_value_bytes_max: 3, ..Limits::default() });
        for (job, own, line, expected) in [
            (&job(), "i", r#"m{le="1",le="2"}"#, Some("label name `le` is not unique")),
            (&job(), "i", r#"m{le="",le="2"}"#, Some("label name `le` is not unique")),
            (&job(), "i", r#"{"a.b","c d"="e"}"#, None),
            (&legacy, "i", r#"{"a.b"}"#, Some("invalid metric name or label names: ")),
            (&legacy, "i", r#"m{"c d"="e"}"#, Some("invalid metric name or label names: ")),
            (&legacy, "i", r#"a:b{c_1="é"}"#, None),
            (&count, "i", r#"m{a="1"}"#, None),
            (&count, "i", r#"m{a="1",b=""}"#, None),
            (
                &count,
                "i",
                r#"m{a="1",b="2"}"#,
                Some("label_limit exceeded (metric: m, number of labels: 4, limit: 3)"),
            ),
            (&names, "i", r#"m{eightlet="1"}"#, None),
            (
                &names,
                "i",
                r#"m{ninelette="1"}"#,
                Some("label name: ninelette, length: 9, limit: 8"),
            ),
            (&values, "i", r#"m{a="333"}"#, None),
            (&values, "four", r#"m{a="1"}"#, Some(r#"value: "four", length: 4, limit: 3)"#)),
        ] {
            match (labels(job.clone(), &[("n", own)], line), expected) {
                (Ok(Some(_)), None) => {}
                (Err(fault), Some(part)) => assert!(fault.contains(part), "{line}: {fault}"),
                (outcome, _) => panic!("{line}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn report_series_carry_the_target_s_labels_alone() {
        let job = Job { metric_relabel: rules("- {regex: n, action: labeldrop}"), ..job() };
        let shape =
            Shape::new(Arc::new(job), Limits::default(), &target(&[("n", "1"), ("__x", "2")]));
        assert_eq!(shape.report("up").to_string(), r#"{__name__="up", n="1"}"#);
    }
}
