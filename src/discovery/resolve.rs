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
    discovery::{JobTargets, url},
    model::{
        labels::Labels,
        relabel,
        slot::StreamKey,
        target::{
            ADDRESS, ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS, CONVERT_CLASSIC_HISTOGRAMS, DroppedTarget,
            INSTANCE, JOB, META_PREFIX, METRICS_PATH, PARAM_PREFIX, SCHEME, SCRAPE_INTERVAL,
            SCRAPE_NATIVE_HISTOGRAMS, SCRAPE_TIMEOUT, Target, TargetGroup, TargetId,
        },
    },
};

/// All targets of `job`. What is as it was in `before` keeps its place in memory, so that who holds
/// it sees at once that nothing has changed.
pub fn resolve<'g>(
    job: &Arc<Job>,
    groups: impl IntoIterator<Item = &'g TargetGroup>,
    before: Option<&JobTargets>,
) -> JobTargets {
    let defaults = defaults(job);
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
        limit_exceeded: targets_max > 0 && active.len() > targets_max,
        active: kept_if(before.map(|b| &b.active), active, |old, new| {
            old.iter().zip(new).all(|(old, new)| Arc::ptr_eq(old, new))
        }),
        dropped: kept_if(before.map(|b| &b.dropped), faulty, |old, new| old == new),
        dropped_total,
    }
}

fn kept_if<T>(before: Option<&Arc<[T]>>, now: Vec<T>, same: fn(&[T], &[T]) -> bool) -> Arc<[T]> {
    match before {
        Some(before) if before.len() == now.len() && same(before, &now) => Arc::clone(before),
        Some(_) | None => now.into(),
    }
}

/// The target that `discovered` becomes under the rules of `job`.
pub fn populate(job: &Job, discovered: Labels) -> Result<Target, DroppedTarget> {
    let Some(labels) = relabel::apply(&job.relabel, discovered.clone()) else {
        return Err(DroppedTarget { discovered, error: None });
    };
    match target(job, labels) {
        Ok(target) => Ok(Target { discovered, ..target }),
        Err(error) => Err(DroppedTarget { discovered, error: Some(error) }),
    }
}

/// What a target has before relabelling: its own labels, its group's, and the job's defaults where
/// one is absent or empty.
pub fn discovered_labels(job: &Job, target: &Labels, group: &Labels) -> Labels {
    discovered(&defaults(job), target, group)
}

type Default<'j> = (Cow<'static, str>, Cow<'j, str>);

fn defaults(job: &Job) -> Vec<Default<'_>> {
    let scheme = match job.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let word = |on: bool| Cow::from(if on { "true" } else { "false" });
    let mut defaults: Vec<Default<'_>> = vec![
        (JOB.into(), Cow::from(&*job.job_name)),
        (SCRAPE_INTERVAL.into(), print_duration(job.scrape_interval).into()),
        (SCRAPE_TIMEOUT.into(), print_duration(job.scrape_timeout).into()),
        (METRICS_PATH.into(), Cow::from(&job.metrics_path)),
        (SCHEME.into(), scheme.into()),
        (SCRAPE_NATIVE_HISTOGRAMS.into(), word(job.scrape_native_histograms)),
        (ALWAYS_SCRAPE_CLASSIC_HISTOGRAMS.into(), word(job.always_scrape_classic_histograms)),
        (CONVERT_CLASSIC_HISTOGRAMS.into(), word(job.convert_classic_histograms_to_nhcb)),
    ];
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
        return Err(format!("{address:?} is not a valid hostname"));
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
    labels.retain(|name, _| !name.starts_with(META_PREFIX));
    if !labels.contains(INSTANCE) {
        labels.set(INSTANCE, address.as_str());
    }

    let query = url::query(&params(job, &labels));
    let (scheme, path) = (labels.get(SCHEME), labels.get(METRICS_PATH));
    let url = url::of(scheme, &address, path, &query);
    Ok(Target {
        job: Arc::clone(&job.job_name),
        id: id(&labels, &url),
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

fn id(labels: &Labels, url: &str) -> TargetId {
    let mut hasher = Xxh3::new();
    hasher.update(&labels.hash().to_le_bytes());
    hasher.update(url.as_bytes());
    TargetId(hasher.digest())
}
