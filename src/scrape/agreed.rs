//! What the loops of one job have in common.

use std::sync::Arc;

use crate::{
    config::Job,
    model::target::Target,
    scrape::{desk::Setup, fetch::Terms},
};

/// A job and how its targets are asked.
pub(super) struct Agreed {
    pub(super) job: Arc<Job>,
    pub(super) terms: Arc<Terms>,
    pub(super) limit_exceeded: bool,
}

impl Agreed {
    pub(super) fn setup(&self, target: Arc<Target>) -> Setup {
        Setup {
            job: Arc::clone(&self.job),
            terms: Arc::clone(&self.terms),
            target,
            limit_exceeded: self.limit_exceeded,
        }
    }
}
