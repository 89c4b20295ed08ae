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
