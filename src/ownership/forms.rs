//! Which form of a job runs after a reload: a divided job keeps its old one until all members have
//! the new one, lest two of them name one target differently and both scrape it, or none. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    config::job_digest,
    discovery::{JobTargets, Snapshot},
};

#[derive(Debug, Default)]
pub(super) struct Forms {
    running: BTreeMap<Arc<str>, Form>,
    found: Arc<Snapshot>,
}

#[derive(Debug)]
struct Form {
    digest: u64,
    targets: JobTargets,
    /// Another form waits since then.
    waits: Option<Waiting>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    digest: u64,
    since_ms: i64,
}

impl Forms {
    /// Discovery has found these.
    pub(super) fn found(&mut self, found: Arc<Snapshot>) {
        self.found = found;
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.running.values().any(|form| form.waits.is_some())
    }

    /// What runs now. `is_agreed`: all active members have the configuration of this one.
    pub(super) fn running(&mut self, is_agreed: bool, grace_ms: i64, now_ms: i64) -> Arc<Snapshot> {
        let mut before = std::mem::take(&mut self.running);
        for targets in &self.found.jobs {
            let name = Arc::clone(&targets.job.job_name);
            let form = next_form(before.remove(&name), targets, is_agreed, grace_ms, now_ms);
            self.running.insert(name, form);
        }
        if !self.is_waiting() {
            return Arc::clone(&self.found);
        }
        let job = |targets: &JobTargets| self.running[&targets.job.job_name].targets.clone();
        Arc::new(Snapshot { jobs: self.found.jobs.iter().map(job).collect() })
    }
}

fn next_form(
    before: Option<Form>,
    found: &JobTargets,
    is_agreed: bool,
    grace_ms: i64,
    now_ms: i64,
) -> Form {
    let digest = match &before {
        // The digest of a job that is the very same one need not be made again.
        Some(form) if Arc::ptr_eq(&form.targets.job, &found.job) => form.digest,
        Some(_) | None => job_digest(&found.job),
    };
    let new = || Form { digest, targets: found.clone(), waits: None };
    let Some(form) = before else { return new() };
    let is_divided = form.targets.job.clustering.enabled || found.job.clustering.enabled;
    if form.digest == digest || !is_divided || is_agreed {
        return new();
    }
    let known = form.waits.filter(|waits| waits.digest == digest);
    let waits = known.unwrap_or(Waiting { digest, since_ms: now_ms });
    if now_ms - waits.since_ms >= grace_ms { new() } else { Form { waits: Some(waits), ..form } }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    const GRACE_MS: i64 = 60_000;

    /// What discovery found of that job at that instant.
    fn found(job: &str, refreshed_ms: i64) -> Arc<Snapshot> {
        let text = format!("scrape_configs: [{{job_name: j, {job}}}]");
        let config = config::parse(Path::new(""), &text, &|_| None).unwrap();
        let targets = |job: &Arc<config::Job>| JobTargets {
            job: Arc::clone(job),
            active: Arc::default(),
            dropped: Arc::default(),
            dropped_total: 0,
            limit_exceeded: false,
            refreshed_ms,
        };
        Arc::new(Snapshot { jobs: config.jobs.iter().map(targets).collect() })
    }

    /// The path of the form that runs, and when its targets were found.
    fn runs(forms: &mut Forms, is_agreed: bool, now_ms: i64) -> Vec<(String, i64)> {
        let running = forms.running(is_agreed, GRACE_MS, now_ms);
        let job = |targets: &JobTargets| (targets.job.metrics_path.clone(), targets.refreshed_ms);
        running.jobs.iter().map(job).collect()
    }

    const OLD: &str = "clustering: {enabled: true}, metrics_path: /old";
    const NEW: &str = "clustering: {enabled: true}, metrics_path: /new";

    fn expect(path: &str, refreshed_ms: i64) -> Vec<(String, i64)> {
        vec![(path.to_owned(), refreshed_ms)]
    }

    #[test]
    fn a_divided_job_keeps_its_form_until_all_have_the_new_one() {
        let mut forms = Forms::default();
        forms.found(found(OLD, 1));
        assert_eq!(runs(&mut forms, false, 0), expect("/old", 1), "the first has none before it");
        forms.found(found(OLD, 2));
        assert_eq!(
            runs(&mut forms, false, 10),
            expect("/old", 2),
            "what is found is no other form"
        );
        forms.found(found(NEW, 3));
        assert_eq!(runs(&mut forms, false, 20), expect("/old", 2));
        assert!(forms.is_waiting());
        assert_eq!(runs(&mut forms, true, 30), expect("/new", 3));
        assert!(!forms.is_waiting());
    }

    #[test]
    fn nobody_is_waited_for_longer_than_the_grace() {
        let mut forms = Forms::default();
        forms.found(found(OLD, 1));
        runs(&mut forms, false, 0);
        forms.found(found(NEW, 2));
        assert_eq!(runs(&mut forms, false, 1_000), expect("/old", 1));
        // Found again, it is still the same one that waits.
        forms.found(found(NEW, 3));
        assert_eq!(runs(&mut forms, false, 1_000 + GRACE_MS - 1), expect("/old", 1));
        assert_eq!(runs(&mut forms, false, 1_000 + GRACE_MS), expect("/new", 3));
    }

    #[test]
    fn another_form_waits_anew_and_the_old_one_may_come_back() {
        let mut forms = Forms::default();
        forms.found(found(OLD, 1));
        runs(&mut forms, false, 0);
        forms.found(found(NEW, 2));
        runs(&mut forms, false, 1_000);
        let other = "clustering: {enabled: true}, metrics_path: /other";
        forms.found(found(other, 3));
        assert_eq!(runs(&mut forms, false, GRACE_MS), expect("/old", 1));
        assert_eq!(runs(&mut forms, false, 1_000 + GRACE_MS), expect("/old", 1));
        forms.found(found(OLD, 4));
        assert_eq!(runs(&mut forms, false, 1_001 + GRACE_MS), expect("/old", 4));
        assert!(!forms.is_waiting());
    }

    #[test]
    fn what_each_member_scrapes_for_itself_waits_for_nobody() {
        let mut forms = Forms::default();
        forms.found(found("metrics_path: /old", 1));
        runs(&mut forms, false, 0);
        forms.found(found("metrics_path: /new", 2));
        assert_eq!(runs(&mut forms, false, 1), expect("/new", 2));
        // From now on it is divided: that is a form to be agreed on.
        forms.found(found(NEW, 3));
        assert_eq!(runs(&mut forms, false, 2), expect("/new", 2));
        // A job that is gone is forgotten.
        forms.found(Arc::default());
        assert_eq!(runs(&mut forms, false, 3), []);
        assert!(!forms.is_waiting());
    }
}
