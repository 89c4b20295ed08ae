//! The fleet of a node without one: a roster of itself that never changes, so that whoever divides
//! work needs no other path.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::watch;

use crate::{
    fleet::{Status, standing::Standing},
    model::member::{Interval, Member, MemberState, NodeId, Roster},
};

/// From ever on, so that what was made under an earlier run is of the same ownership.
const FROM_MS: i64 = 0;

/// What a fleet would publish.
pub type Alone = (watch::Receiver<Arc<Roster>>, watch::Receiver<Arc<Status>>);

pub fn alone(id: NodeId, name: String, api_address: String) -> Alone {
    let member = Member {
        id,
        name,
        api_address,
        weight: 100,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![Interval { from_ms: FROM_MS, until_ms: None }],
    };
    let roster = Roster { members: [(id, member)].into(), version: 1 };
    let status = Status {
        standing: Standing::Active { from_ms: FROM_MS },
        fleet_offset_ms: 0,
        notices: Vec::new(),
        facts: BTreeMap::new(),
        generation: 0,
    };
    (watch::channel(Arc::new(roster)).1, watch::channel(Arc::new(status)).1)
}
