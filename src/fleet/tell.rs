//! What the log hears of the fleet: changes, and each once.

use tracing::{info, warn};

use crate::{
    fleet::{
        Status,
        notice::{self, Raised},
    },
    model::member::{MemberState, Roster},
};

pub(super) fn tell_status(before: &Status, after: &Status) {
    if before.standing != after.standing {
        info!(standing = ?after.standing, "this node stands otherwise in the fleet");
    }
    for Raised { notice, .. } in notice::only_in(&after.notices, &before.notices) {
        warn!(kind = notice.kind(), problem = %notice, "the fleet needs a look");
    }
    for Raised { notice, .. } in notice::only_in(&before.notices, &after.notices) {
        info!(kind = notice.kind(), problem = %notice, "no more");
    }
}

pub(super) fn tell_changes(before: &Roster, after: &Roster) {
    for (id, member) in &after.members {
        let state = before.members.get(id).map(|member| member.state);
        if state != Some(member.state) {
            let name = &member.name;
            match member.state {
                MemberState::Alive => info!(member = name, member_id = %id, "a member is here"),
                MemberState::Suspect => {
                    info!(member = name, member_id = %id, "a member does not answer");
                }
                MemberState::Left => info!(member = name, member_id = %id, "a member has left"),
                MemberState::Dead => warn!(member = name, member_id = %id, "a member is dead"),
            }
        }
    }
}
