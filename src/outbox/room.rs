//! What a destination's queue has room for, as those who push must know it before they hand over: the
//! queue's loop tells, and what is on its way to it counts already. Between `push` and `destination`.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{model::batch::Batch, outbox::queue::Free};

/// Lanes are never removed, so that no more tenants than these get any: what others push is refused.
/// What other members hand over is taken in any case; they have no more either.
pub(super) const TENANTS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(super) struct Room(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: Free,
    /// Of `free`, what is on its way.
    claimed: Load,
    drops_oldest: bool,
    /// Why nothing can be written now.
    fault: Option<Arc<str>>,
    tenants: BTreeSet<Arc<str>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Load {
    bytes: u64,
    records: usize,
}

/// Room for one push, until it is dropped.
#[derive(Debug)]
pub(super) struct Claim {
    room: Arc<Room>,
    load: Load,
    pub(super) fit: Fit,
}

/// What becomes of a push if it is handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fit {
    HasRoom,
    /// The oldest has to go.
    Overflows,
    /// It must not be handed over: the queue is told to push back.
    Refused,
}

impl Room {
    /// How it is now, but for what is claimed.
    pub(super) fn tell(&self, free: Free, drops_oldest: bool, fault: Option<&str>) {
        let mut state = self.state();
        (state.free, state.drops_oldest) = (free, drops_oldest);
        if state.fault.as_deref() != fault {
            state.fault = fault.map(Arc::from);
        }
    }

    pub(super) fn fault(&self) -> Option<Arc<str>> {
        self.state().fault.clone()
    }

    pub(super) fn claim(self: &Arc<Self>, batches: &[Batch]) -> Claim {
        let bytes = batches.iter().map(|batch| batch.bytes.len() as u64).sum();
        let load = Load { bytes, records: batches.len() };
        let fit = self.state().claim(load);
        Claim { room: Arc::clone(self), load, fit }
    }

    /// Whether all of them may have lanes: from now on they may.
    pub(super) fn admit<'a>(&self, tenants: impl Iterator<Item = &'a Arc<str>>) -> bool {
        let mut state = self.state();
        for tenant in tenants {
            if !state.tenants.contains(tenant) {
                if state.tenants.len() >= TENANTS_MAX {
                    return false;
                }
                state.tenants.insert(Arc::clone(tenant));
            }
        }
        true
    }

    /// Of what lay on disk.
    pub(super) fn know<'a>(&self, tenants: impl Iterator<Item = &'a Arc<str>>) {
        self.state().tenants.extend(tenants.cloned());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn claim(&mut self, load: Load) -> Fit {
        let Free { bytes, records, memory_bytes } = self.free;
        self.claimed.bytes += load.bytes;
        self.claimed.records += load.records;
        let has_room =
            self.claimed.bytes <= bytes.min(memory_bytes) && self.claimed.records <= records;
        match (has_room, self.drops_oldest) {
            (true, _) => Fit::HasRoom,
            (false, true) => Fit::Overflows,
            (false, false) => Fit::Refused,
        }
    }
}

impl Claim {
    /// The push counts in the queue, which is `free` as far as this now.
    pub(super) fn end(self, free: Free) {
        self.room.state().free = free;
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut state = self.room.state();
        state.claimed.bytes -= self.load.bytes;
        state.claimed.records -= self.load.records;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{batch::Signal, slot::StreamKey},
        outbox::room::Fit::{HasRoom, Overflows, Refused},
    };

    fn batch(bytes: usize) -> Batch {
        Batch {
            signal: Signal::Metrics,
            tenant: "".into(),
            stream: StreamKey(0),
            round: 0,
            since_ms: None,
            pushed: true,
            samples: 1,
            oldest_ms: 0,
            raw_length: 0,
            bytes: vec![0; bytes].into(),
        }
    }

    fn room(free: Free, drops_oldest: bool) -> Arc<Room> {
        let room = Arc::new(Room::default());
        room.tell(free, drops_oldest, None);
        room
    }

    #[test]
    fn what_is_on_its_way_counts() {
        let free = |bytes, records, memory_bytes| Free { bytes, records, memory_bytes };
        for (free, drops_oldest, expected) in [
            (free(30, 9, 99), false, [HasRoom, HasRoom, HasRoom, Refused]),
            (free(99, 2, 99), false, [HasRoom, HasRoom, Refused, Refused]),
            (free(99, 9, 19), true, [HasRoom, Overflows, Overflows, Overflows]),
            (free(0, 9, 99), true, [Overflows; 4]),
        ] {
            let room = room(free, drops_oldest);
            let claims: Vec<Claim> = (0..4).map(|_| room.claim(&[batch(10)])).collect();
            assert_eq!(claims.iter().map(|claim| claim.fit).collect::<Vec<_>>(), expected);
            drop(claims);
            assert_eq!(room.claim(&[batch(10)]).fit, expected[0], "what was claimed is free again");
        }
    }

    #[test]
    fn tenants_are_bounded() {
        let room = Room::default();
        let tenants: Vec<Arc<str>> = (0..=TENANTS_MAX).map(|n| n.to_string().into()).collect();
        room.know(tenants[..2].iter());
        assert!(room.admit(tenants[..TENANTS_MAX].iter()));
        assert!(!room.admit(tenants[TENANTS_MAX..].iter()));
        assert!(room.admit(tenants[..1].iter()), "who has lanes keeps them");
    }
}
