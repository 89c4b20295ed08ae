//! Orders for a pool that nobody shares the work with: what discovery finds is scraped, all of it.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    discovery::Snapshot,
    model::target::{Target, TargetName},
    ownership::{
        assign::Ending,
        orders::{Orders, Task},
        shares::{Duties, always},
    },
};

/// What was ordered so far.
#[derive(Debug)]
pub(super) struct Alone {
    duties: Duties,
    running: BTreeMap<TargetName, Arc<Target>>,
}

impl Default for Alone {
    fn default() -> Self {
        Self { duties: always(), running: BTreeMap::new() }
    }
}

impl Alone {
    pub(super) fn orders(&mut self, found: &Arc<Snapshot>) -> Orders {
        let mut before = std::mem::take(&mut self.running);
        let mut tasks = Vec::new();
        for target in found.jobs.iter().flat_map(|job| job.active.iter()) {
            let name = (target.id, Arc::clone(&target.job));
            if before.remove(&name).is_none_or(|before| before != *target) {
                let duties = Arc::clone(&self.duties);
                tasks.push(Task::Run { target: Arc::clone(target), duties });
            }
            self.running.insert(name, Arc::clone(target));
        }
        let gone = before.into_keys();
        tasks.extend(gone.map(|target| Task::Stop { target, ending: Ending::Gone }));
        Orders { found: Arc::clone(found), tasks }
    }
}
