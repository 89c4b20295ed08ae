//! From groups to targets: gives discovered labels their defaults, relabels them, and makes of what
//! is left a target, or says why not (Prometheus `scrape/target.go`). Pure.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc, time::Duration};

use hashbrown::{HashMap, HashSet};
use xxhash_rust::xxh3::Xxh3;

use crate::{
    config::{
        Job, Scheme,
        units::{parse_duration, print_duration},
    },
    discovery::{JobTargets, per_target, url},
    model::{
        hidden,
        labels::Labels,
        relabel::{self, Traced},
        slot::StreamKey,
        target::{
            ADDRESS, ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS, CONVERT_CLASSIC_HISTOGRAMS, DroppedTarget,
            HOST, INSTANCE, JOB, META_PREFIX, METRICS_PATH, PARAM_PREFIX, SCHEME, SCRAPE_INTERVAL,
            SCRAPE_NATIVE_HISTOGRAMS, SCRAPE_TIMEOUT, Target, TargetGroup, TargetId,
        },
    },
};

/// All targets of `job` as `host` sees them; when they were found is for who knows the rounds to say.
/// What is as it was in `before` keeps its place in memory, so that who holds it sees at once that
/// nothing has changed.
pub fn resolve<'g>(
    job: &Arc<Job>,
    host: &str,
    groups: impl IntoIterator<Item = &'g TargetGroup>,
    before: Option<&JobTargets>,
) -> JobTargets {
    let defaults = defaults(job, host);
    let known: HashMap<TargetId, &Arc<Target>> =
        before.iter().flat_map(|b| b.active.iter()).map(|target| (target.id, target)).collect();
    let mut seen = HashSet::new();
    let mut active = Vec::new();
    let mut faulty = Vec::new();
    let mut dropped = Vec::new();
    for group in groups {
        for labels in &group.targets {
            let discovered = discovered(&defaults, labels, &group.labels);
            match populate(job, discovered) {
                Ok(target) if !seen.insert(target.id) => {}
                Ok(target) => active.push(match known.get(&target.id) {
                    Some(same) if ***same == target => Arc::clone(same),
                    Some(_) | None => Arc::new(target),
                }),
                Err(drop) if drop.error.is_some() => faulty.push(drop),
                Err(drop) => dropped.push(drop),
            }
        }
    }
    let dropped_total = faulty.len() + dropped.len();
    // What is wrong is of more use than what was dropped on purpose, so it comes first.
    faulty.append(&mut dropped);
    if job.keep_dropped_targets > 0 {
        faulty.truncate(job.keep_dropped_targets);
    }
    let targets_max = job.limits.targets_max;
    JobTargets {
        job: Arc::clone(job),
        refreshed_ms: i64::MIN,
        limit_exceeded: targets_max > 0 && active.len() > targets_max,
        active: kept_if(before.map(|b| &b.active), active, |old, new| {
            old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
        }),
        dropped: kept_if(before.map(|b| &b.dropped), faulty, |old, new| old == new),
        dropped_total,
    }
}

type Same<T> = fn(&[T], &[T]) -> bool;

fn kept_if<T>(before: Option<&Arc<[T]>>, now: Vec<T>, same: Same<T>) -> Arc<[T]> {
    match before {
        Some(before) if before.len() == now.len() && same(before, &now) => Arc::clone(before),
        Some(_) | None => now.into(),
    }
}

/// The target that `discovered` becomes under the rules of `job`.
pub fn populate(job: &Job, discovered: Labels) -> Result<Target, DroppedTarget> {
    let relabelled = relabel::apply(&job.relabel, discovered.clone());
    populated(job, discovered, relabelled)
}

/// How `populate` comes to its outcome, for a person who asks why.
#[derive(Debug)]
pub struct Explained<'j> {
    pub steps: Vec<Traced<'j>>,
    /// After the last rule that kept them: without steps the discovered ones.
    pub labels: Labels,
    pub outcome: Result<Target, DroppedTarget>,
    /// What a dropped one would be, were it not for the rule that dropped it and those after that.
    pub otherwise: Option<Target>,
}

/// The same as `populate`, step by step.
pub fn explain(job: &Job, discovered: Labels) -> Explained<'_> {
    let steps = relabel::trace(&job.relabel, discovered.clone());
    let labels = steps.last().map_or_else(|| discovered.clone(), |last| last.labels.clone());
    let is_kept = steps.last().is_none_or(|last| last.kept);
    let otherwise = if is_kept { None } else { target(job, labels.clone()).ok() };
    let outcome = populated(job, discovered, is_kept.then(|| labels.clone()));
    Explained { steps, labels, outcome, otherwise }
}

/// `relabelled` is `None` where a rule dropped what was discovered.
fn populated(
    job: &Job,
    discovered: Labels,
    relabelled: Option<Labels>,
) -> Result<Target, DroppedTarget> {
    let Some(labels) = relabelled else {
        return Err(DroppedTarget { discovered, error: None });
    };
    match target(job, labels) {
        Ok(target) => Ok(Target { discovered, ..target }),
        Err(error) => Err(DroppedTarget { discovered, error: Some(error) }),
    }
}

/// What a target has before relabelling: its own labels, its group's, and the defaults of the job on
/// `host` where one is absent or empty.
pub fn discovered_labels(job: &Job, host: &str, target: &Labels, group: &Labels) -> Labels {
    discovered(&defaults(job, host), target, group)
}

/// What a label is where a target says nothing: name and value.
type Default<'j> = (Cow<'static, str>, Cow<'j, str>);

fn defaults<'j>(job: &'j Job, host: &'j str) -> Vec<Default<'j>> {
    let scheme = match job.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let word = |on: bool| Cow::from(if on { "true" } else { "false" });
    let mut defaults: Vec<Default<'j>> = vec![
        (JOB.into(), Cow::from(&*job.job_name)),
        (SCRAPE_INTERVAL.into(), print_duration(job.scrape_interval).into()),
        (SCRAPE_TIMEOUT.into(), print_duration(job.scrape_timeout).into()),
        (METRICS_PATH.into(), Cow::from(&job.metrics_path)),
        (SCHEME.into(), scheme.into()),
        (SCRAPE_NATIVE_HISTOGRAMS.into(), word(job.scrape_native_histograms)),
        (ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS.into(), word(job.always_scrape_classic_histograms)),
        (CONVERT_CLASSIC_HISTOGRAMS.into(), word(job.convert_classic_histograms_to_nhcb)),
    ];
    defaults.extend(
        per_target::phase_label(job.phase).map(|(name, value)| (name.into(), value.into())),
    );
    if !job.clustering.enabled {
        defaults.push((HOST.into(), Cow::from(host)));
    }
    defaults.extend(job.params.iter().filter_map(|(name, values)| {
        let first = values.first()?;
        Some((format!("{PARAM_PREFIX}{name}").into(), Cow::from(first)))
    }));
    defaults
}

fn discovered(defaults: &[Default<'_>], target: &Labels, group: &Labels) -> Labels {
    let mut labels = target.clone();
    for (name, value) in group.iter() {
        if !labels.contains(name) {
            labels.set(name, value);
        }
    }
    for (name, value) in defaults {
        if !labels.contains(name) {
            labels.set(name, &**value);
        }
    }
    labels
}

/// Leaves `discovered` empty: the caller has it, and needs it when this fails.
fn target(job: &Job, mut labels: Labels) -> Result<Target, String> {
    let address = labels.get(ADDRESS).to_owned();
    if address.is_empty() {
        return Err("no address".to_owned());
    }
    if address.contains('/') {
        return Err(format!("{:?} is not a valid hostname", hidden::url(&address)));
    }
    let interval = duration(&labels, SCRAPE_INTERVAL, "scrape interval")?;
    let timeout = duration(&labels, SCRAPE_TIMEOUT, "scrape timeout")?;
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            labels.get(SCRAPE_TIMEOUT),
            labels.get(SCRAPE_INTERVAL),
        ));
    }
    per_target::limits(job, &labels)?;
    per_target::phase(&labels)?;
    labels.retain(|name, _| !name.starts_with(META_PREFIX));
    if !labels.contains(INSTANCE) {
        labels.set(INSTANCE, address.as_str());
    }

    labels.shrink();

    let query = url::query(&params(job, &labels));
    let (scheme, path) = (labels.get(SCHEME), labels.get(METRICS_PATH));
    let url = url::of(scheme, &address, path, &query);
    Ok(Target {
        job: Arc::clone(&job.job_name),
        id: id(&job.job_name, &labels, &url),
        key: StreamKey::of([&*job.job_name, scheme, &address, path, &query]),
        url,
        interval,
        timeout,
        labels,
        discovered: Labels::new(),
    })
}

fn duration(labels: &Labels, name: &str, what: &str) -> Result<Duration, String> {
    let duration =
        parse_duration(labels.get(name)).map_err(|why| format!("error parsing {what}: {why}"))?;
    if duration.is_zero() {
        return Err(format!("{what} cannot be 0"));
    }
    Ok(duration)
}

/// A `__param_` label stands for the first value of its parameter only.
fn params<'a>(job: &'a Job, labels: &'a Labels) -> BTreeMap<&'a str, Vec<&'a str>> {
    let mut params: BTreeMap<&str, Vec<&str>> = job
        .params
        .iter()
        .map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect()))
        .collect();
    for (name, value) in labels.iter() {
        if let Some(param) = name.strip_prefix(PARAM_PREFIX) {
            let values = params.entry(param).or_default();
            match values.first_mut() {
                Some(first) => *first = value,
                None => values.push(value),
            }
        }
    }
    params
}

/// With the job's name, as relabelling may give two jobs' targets the same labels.
fn id(job: &str, labels: &Labels, url: &str) -> TargetId {
    let mut hasher = Xxh3::new();
    hasher.update(job.as_bytes());
    hasher.update(&[0xff]);
    hasher.update(&labels.hash().to_le_bytes());
    hasher.update(url.as_bytes());
    TargetId(hasher.digest())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    /// A job of the YAML fields `settings`.
    fn job(settings: &str) -> Arc<Job> {
        let text = format!("scrape_configs: [{{job_name: j, {settings}}}]");
        let config = config::parse(Path::new("test.yml"), &text, &|_| None).unwrap();
        Arc::clone(&config.jobs[0])
    }

    fn group(addresses: &[&str], labels: &[(&str, &str)]) -> TargetGroup {
        TargetGroup {
            source: "s".to_owned(),
            targets: addresses.iter().map(|a| [(ADDRESS, *a)].into_iter().collect()).collect(),
            labels: labels.iter().copied().collect(),
        }
    }

    fn only(settings: &str, labels: &[(&str, &str)]) -> Result<Target, DroppedTarget> {
        let group: Labels = labels.iter().copied().collect();
        let job = job(settings);
        populate(&job, discovered_labels(&job, "", &Labels::new(), &group))
    }

    #[test]
    fn a_url_is_made_of_labels() {
        let check = |settings, labels: &[(&str, &str)], expected: &str| {
            assert_eq!(only(settings, labels).unwrap().url, expected);
        };
        check("scheme: https, metrics_path: /m", &[(ADDRESS, "a:1")], "https://a:1/m");
        check("", &[(ADDRESS, "[::1]:9100")], "http://[::1]:9100/metrics");
        check(
            "",
            &[(ADDRESS, "a"), (SCHEME, "https"), (METRICS_PATH, "x"), ("__param_q", "b c")],
            "https://a/x?q=b+c",
        );
        check("params: {q: [one, two]}", &[(ADDRESS, "a")], "http://a/metrics?q=one&q=two");
        check(
            "params: {q: [one, two], b: []}",
            &[(ADDRESS, "a"), ("__param_q", "1"), ("__param_c", "2")],
            "http://a/metrics?c=2&q=1&q=two",
        );
        // Relabelling may take away the first value only by giving another.
        check(
            "params: {q: [one]}, relabel_configs: [{regex: __param_q, action: labeldrop}]",
            &[(ADDRESS, "a")],
            "http://a/metrics?q=one",
        );
        check(
            "relabel_configs: [{source_labels: [__address__], target_label: __param_target},
                {target_label: __address__, replacement: 'prober:9115'}]",
            &[(ADDRESS, "https://x/y")],
            "http://prober:9115/metrics?target=https%3A%2F%2Fx%2Fy",
        );
    }

    #[test]
    fn labels_are_those_after_relabelling() {
        let target = only(
            "relabel_configs: [{source_labels: [__meta_zone], target_label: zone}]",
            &[(ADDRESS, "a:1"), ("__meta_zone", "z"), ("__own", "x"), ("job", "mine")],
        )
        .unwrap();
        assert_eq!(target.public_labels().to_string(), r#"{instance="a:1", job="mine", zone="z"}"#);
        assert_eq!(target.labels.get("__own"), "x");
        assert!(!target.labels.contains("__meta_zone"));
        assert_eq!(target.discovered.get("__meta_zone"), "z");
        assert!(!target.discovered.contains(INSTANCE));
    }

    #[test]
    fn who_scrapes_is_known_where_nobody_else_may() {
        const RULE: &str =
            "relabel_configs: [{source_labels: [__meta_starling_host], target_label: instance}]";
        let check = |settings: &str, own: &[(&str, &str)], host: &str, instance: &str| {
            let job = job(&format!("{settings} {RULE}"));
            let given: Labels = [(ADDRESS, "localhost:9100")].iter().chain(own).copied().collect();
            let target =
                populate(&job, discovered_labels(&job, "vm1", &given, &Labels::new())).unwrap();
            let found = (target.discovered.get(HOST), target.labels.get(INSTANCE));
            assert_eq!(found, (host, instance), "{settings} {own:?}");
            assert!(!target.labels.contains(HOST));
        };
        check("", &[], "vm1", "vm1");
        check("clustering: {enabled: false},", &[], "vm1", "vm1");
        check("", &[(HOST, "rack7")], "rack7", "rack7");
        check("clustering: {enabled: true},", &[], "", "localhost:9100");

        // Whose it is shows in what it is: on another host it is another target.
        let on = |host: &str| {
            let job = job(RULE);
            resolve(&job, host, [&group(&["localhost:9100"], &[])], None).active[0].id
        };
        assert_ne!(on("vm1"), on("vm2"));
    }

    #[test]
    fn times_are_a_targets_own() {
        let target =
            only("", &[(ADDRESS, "a"), (SCRAPE_INTERVAL, "1h30m"), (SCRAPE_TIMEOUT, "500ms")])
                .unwrap();
        assert_eq!(target.interval, Duration::from_secs(5400));
        assert_eq!(target.timeout, Duration::from_millis(500));
    }

    #[test]
    fn what_can_not_be_scraped_is_told() {
        let check = |labels: &[(&str, &str)], expected: Option<&str>| {
            assert_eq!(only("", labels).unwrap_err().error.as_deref(), expected);
        };
        check(&[], Some("no address"));
        check(&[(ADDRESS, "a/b")], Some("\"a/b\" is not a valid hostname"));
        for (interval, expected) in [
            ("x", "error parsing scrape interval: not a valid duration string: \"x\""),
            ("0s", "scrape interval cannot be 0"),
            ("5s", "scrape timeout cannot be greater than scrape interval (\"10s\" > \"5s\")"),
        ] {
            check(&[(ADDRESS, "a"), (SCRAPE_INTERVAL, interval)], Some(expected));
        }
        check(
            &[(ADDRESS, "a"), (SCRAPE_TIMEOUT, "2x")],
            Some("error parsing scrape timeout: unknown unit \"x\" in duration \"2x\""),
        );
        check(
            &[(ADDRESS, "a"), ("__sample_limit__", "few")],
            Some("error parsing __sample_limit__: expected a whole number, found \"few\""),
        );
        check(
            &[(ADDRESS, "a"), ("__scrape_offset__", "half")],
            Some("error parsing __scrape_offset__: not a valid duration string: \"half\""),
        );
        let dropped = only("relabel_configs: [{action: drop}]", &[(ADDRESS, "a")]).unwrap_err();
        assert_eq!(dropped.error, None);
    }

    #[test]
    fn an_explanation_ends_where_resolving_does() {
        let rules = "relabel_configs: [
            {source_labels: [__meta_zone], target_label: zone},
            {source_labels: [zone], regex: far, action: drop},
            {source_labels: [zone], regex: slow, target_label: __scrape_timeout__, replacement: 2h},
            {target_label: late, replacement: x}]";
        let job = job(rules);
        // The labels of interest after each step; `-` after the last is a set that was dropped.
        let check = |zone: &str, expected: &[&str], would: Option<&str>| {
            let group: Labels = [(ADDRESS, "a:1"), ("__meta_zone", zone)].into_iter().collect();
            let discovered = discovered_labels(&job, "", &Labels::new(), &group);
            let explained = explain(&job, discovered.clone());
            let steps = explained.steps.iter().map(|step| {
                let kept = if step.kept { "" } else { "-" };
                format!("{}{}{kept}", step.labels.get("zone"), step.labels.get("late"))
            });
            assert_eq!(steps.collect::<Vec<_>>(), expected, "{zone}");
            assert_eq!(explained.outcome, populate(&job, discovered), "{zone}");
            let would_be = explained.otherwise.as_ref().map(|target| target.url.as_str());
            assert_eq!(would_be, would, "{zone}");
        };
        check("near", &["near", "near", "near", "nearx"], None);
        check("far", &["far", "far-"], Some("http://a:1/metrics"));
        check("slow", &["slow", "slow", "slow", "slowx"], None);
    }

    #[test]
    fn a_target_comes_once_and_limits_count_it_once() {
        let job = job("target_limit: 2, keep_dropped_targets: 1,
            relabel_configs: [{source_labels: [__address__], regex: drop.*, action: drop}]");
        let a_group = group(&["a", "b", "a", "drop1", "no/host"], &[]);
        let targets = resolve(&job, "", [&a_group, &a_group], None);
        assert_eq!(targets.active.len(), 2);
        assert!(!targets.limit_exceeded);
        assert_eq!((targets.dropped.len(), targets.dropped_total), (1, 4));
        assert!(targets.dropped[0].error.is_some());

        let other = group(&["a"], &[("x", "1")]);
        let targets = resolve(&job, "", [&a_group, &other], None);
        assert_eq!(targets.active.len(), 3);
        assert!(targets.limit_exceeded);
        assert_ne!(targets.active[0].id, targets.active[2].id);
        assert_eq!(targets.active[0].key, targets.active[2].key);
    }

    #[test]
    fn what_did_not_change_keeps_its_place() {
        let job = job("");
        let before = resolve(&job, "", [&group(&["a", "b"], &[])], None);
        let same = resolve(&job, "", [&group(&["a", "b"], &[])], Some(&before));
        assert!(Arc::ptr_eq(&before.active, &same.active));
        let grown = resolve(&job, "", [&group(&["c", "b"], &[])], Some(&before));
        assert!(!Arc::ptr_eq(&before.active, &grown.active));
        assert!(Arc::ptr_eq(&before.active[1], &grown.active[1]));
        let relabelled = resolve(&job, "", [&group(&["a"], &[("__meta_x", "1")])], Some(&before));
        assert_eq!(relabelled.active[0].id, before.active[0].id);
        assert!(!Arc::ptr_eq(&relabelled.active[0], &before.active[0]));
    }

    #[test]
    fn identity_is_the_same_on_every_host() {
        let target = only("", &[(ADDRESS, "a:1")]).unwrap();
        assert_eq!(target.key, StreamKey::of(["j", "http", "a:1", "/metrics", ""]));
        // A change here moves every target of a fleet at its upgrade.
        assert_eq!(target.id.to_string(), "4950dc4970ed8fa7");
    }
}
