//! What was found, as numbers that members compare: who sees other targets is told of it. Pure.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::{discovery::Snapshot, model::target::Target};

/// Of a job's targets in any order: their keys and the labels that their samples get.
pub fn targets_digest(targets: &[Arc<Target>]) -> u64 {
    // A sum, as it is the same in any order and, unlike an exclusive or, counts what comes twice.
    targets.iter().fold(0, |sum, target| sum.wrapping_add(target_digest(target)))
}

/// Of each job that is divided, in the order of their names.
pub fn jobs_digests(snapshot: &Snapshot) -> Vec<(Arc<str>, u64)> {
    let divided = snapshot.jobs.iter().filter(|targets| targets.job.clustering.enabled);
    let mut digests: Vec<_> = divided
        .map(|targets| (Arc::clone(&targets.job.job_name), targets_digest(&targets.active)))
        .collect();
    digests.sort();
    digests
}

/// Of one of them.
pub fn target_digest(target: &Target) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&target.key.0.to_le_bytes());
    for (name, value) in target.labels.iter().filter(|(name, _)| !name.starts_with("__")) {
        for text in [name, value] {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
    }
    hasher.digest()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        config,
        discovery::resolve::resolve,
        model::target::{ADDRESS, TargetGroup},
    };

    fn found(job: &str, targets: &[(&str, &str)]) -> Snapshot {
        let text = format!("scrape_configs: [{{{job}}}]");
        let config = config::parse(Path::new("test.yml"), &text, &|_| None).unwrap();
        let targets = targets.iter().map(|(address, team)| {
            [(ADDRESS, *address), ("team", *team), ("__hidden", *team)].into_iter().collect()
        });
        let group = TargetGroup { targets: targets.collect(), ..TargetGroup::default() };
        Snapshot { jobs: config.jobs.iter().map(|job| resolve(job, "", [&group], None)).collect() }
    }

    #[test]
    fn what_is_found_counts_and_not_in_which_order() {
        let of = |targets: &[(&str, &str)]| {
            targets_digest(&found("job_name: a", targets).jobs[0].active)
        };
        let both = of(&[("a:1", "x"), ("b:1", "x")]);
        assert_eq!(of(&[("b:1", "x"), ("a:1", "x")]), both);
        for other in [&[("a:1", "x")][..], &[], &[("a:1", "x"), ("b:1", "y")]] {
            assert_ne!(of(other), both, "{other:?}");
        }
        assert_eq!(of(&[]), 0);
        let hidden = "job_name: a, relabel_configs: [{target_label: __other, replacement: x}]";
        let hidden = targets_digest(&found(hidden, &[("b:1", "x"), ("a:1", "x")]).jobs[0].active);
        assert_eq!(hidden, both, "labels that no sample gets may differ");
    }

    #[test]
    fn only_divided_jobs_are_compared() {
        assert_eq!(jobs_digests(&found("job_name: a", &[("a:1", "x")])), []);
        let of = |name: &str, targets| {
            jobs_digests(&found(
                &format!("job_name: {name}, clustering: {{enabled: true}}"),
                targets,
            ))
        };
        let a = of("a", &[("a:1", "x")]);
        assert_eq!(&*a[0].0, "a");
        assert_eq!(of("a", &[("a:1", "x")]), a);
        assert_ne!(of("b", &[("a:1", "x")]), a);
        assert_ne!(of("a", &[]), a);
    }
}
