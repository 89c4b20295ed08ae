//! Tenants that the destination refuses: their lanes stand still, but for one that asks again at a
//! slow pace. A mistake in the configuration must not burn data. Pure; part of `queue`.

use std::{collections::BTreeMap, sync::Arc};

use crate::outbox::verdict::Verdict;

#[derive(Debug, Default)]
pub(super) struct Holds(BTreeMap<Arc<str>, Hold>);

#[derive(Debug)]
struct Hold {
    until_ms: i64,
    /// The lane that asks whether it is over.
    probe: Option<usize>,
}

impl Holds {
    pub(super) fn contains(&self, tenant: &str) -> bool {
        self.0.contains_key(tenant)
    }

    /// Whether this lane of the tenant may send now; it then is the one that asks.
    pub(super) fn admit(&mut self, tenant: &str, lane: usize, now_ms: i64) -> bool {
        let Some(hold) = self.0.get_mut(tenant) else { return true };
        let free = hold.probe.is_none() && hold.until_ms <= now_ms;
        if free {
            hold.probe = Some(lane);
        }
        free
    }

    /// When a lane of the tenant that is due at `due_ms` may send.
    pub(super) fn due_ms(&self, tenant: &str, due_ms: i64) -> Option<i64> {
        match self.0.get(tenant) {
            None => Some(due_ms),
            Some(hold) if hold.probe.is_none() => Some(due_ms.max(hold.until_ms)),
            Some(_) => None,
        }
    }

    /// The lane did not get to ask.
    pub(super) fn take_back(&mut self, tenant: &str, lane: usize) {
        if let Some(hold) = self.0.get_mut(tenant) {
            hold.probe = hold.probe.filter(|probe| *probe != lane);
        }
    }

    /// `Some(true)`: held from now on; `Some(false)`: no longer.
    pub(super) fn judge(
        &mut self,
        tenant: &Arc<str>,
        verdict: Verdict,
        until_ms: i64,
    ) -> Option<bool> {
        let hold = Hold { until_ms, probe: None };
        match verdict {
            Verdict::Hold => self.0.insert(Arc::clone(tenant), hold).is_none().then_some(true),
            // Says nothing about who may send.
            Verdict::Retry { .. } => {
                if let Some(old) = self.0.get_mut(tenant) {
                    *old = hold;
                }
                None
            }
            // Its lane asks again, in another form.
            Verdict::OtherForm { .. } => {
                if let Some(old) = self.0.get_mut(tenant) {
                    old.probe = None;
                }
                None
            }
            Verdict::Stored
            | Verdict::StoredPartly { .. }
            | Verdict::TooLarge
            | Verdict::Rejected
            | Verdict::Refused => self.0.remove(tenant).map(|_| false),
        }
    }
}
