//! Which targets exist: providers find groups, `resolve` makes targets of them, job by job.

use std::sync::Arc;

use crate::{
    config::Job,
    model::target::{DroppedTarget, Target},
};

/// The targets of all jobs at one moment, in the order of the jobs.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub jobs: Vec<JobTargets>,
}

#[derive(Clone, Debug)]
pub struct JobTargets {
    pub job: Arc<Job>,
    /// Each id once. Also filled when `limit_exceeded`: such targets report `up` 0 unscraped.
    pub active: Arc<[Arc<Target>]>,
    /// As many as `keep_dropped_targets` allows.
    pub dropped: Arc<[DroppedTarget]>,
    pub dropped_total: usize,
    /// More targets than `target_limit`.
    pub limit_exceeded: bool,
}
