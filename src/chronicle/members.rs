//! Who came, left, died or changed between two looks at the roster. Pure.

use std::collections::BTreeMap;

use crate::{
    history::{
        Entry,
        entry::{MemberChange, MemberSeen, Step},
    },
    model::member::{Member, MemberState, NodeId, Roster},
};

pub(super) type Seen = BTreeMap<NodeId, MemberSeen>;

const UNSEEN: &str = "while this member did not look";

pub(super) fn seen(roster: &Roster) -> Seen {
    roster.members.values().map(|member| (member.id, seen_of(member))).collect()
}

fn seen_of(member: &Member) -> MemberSeen {
    MemberSeen {
        id: member.id,
        name: member.name.clone(),
        api_address: member.api_address.clone(),
        weight: member.weight,
        zone: member.zone.clone(),
        state: member.state,
    }
}

/// `is_unseen`: nobody was looking between the two.
pub(super) fn changes(before: &Seen, after: &Seen, at_ms: i64, is_unseen: bool) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut tell = |member: &MemberSeen, step, detail: Option<String>| {
        let unseen = is_unseen.then(|| UNSEEN.to_owned());
        let detail =
            detail.into_iter().chain(unseen).reduce(|what, unseen| format!("{what}, {unseen}"));
        entries.push(Entry::Member(MemberChange { at_ms, member: member.clone(), step, detail }));
    };
    for (id, now) in after {
        let was = before.get(id);
        match step(was.map(|was| was.state), now.state) {
            Some(step) => tell(now, step, None),
            None => {
                if let Some(detail) =
                    was.filter(|_| is_here(now.state)).and_then(|was| detail(was, now))
                {
                    tell(now, Step::Changed, Some(detail));
                }
            }
        }
    }
    for (_, gone) in before.iter().filter(|(id, was)| !after.contains_key(id) && is_here(was.state))
    {
        let gone = MemberSeen { state: MemberState::Dead, ..gone.clone() };
        tell(&gone, Step::Crashed, Some("nobody speaks of it any more".to_owned()));
    }
    entries
}

fn is_here(state: MemberState) -> bool {
    match state {
        MemberState::Alive | MemberState::Suspect => true,
        MemberState::Left | MemberState::Dead => false,
    }
}

/// What has happened to a member that was in one state and is in another.
fn step(was: Option<MemberState>, is: MemberState) -> Option<Step> {
    let was_here = was.is_some_and(is_here);
    match is {
        MemberState::Alive if was == Some(MemberState::Suspect) => Some(Step::Recovered),
        MemberState::Alive => (!was_here).then_some(Step::Joined),
        // Who is not answering when it is seen first has joined before.
        MemberState::Suspect if !was_here => Some(Step::Joined),
        MemberState::Suspect => (was == Some(MemberState::Alive)).then_some(Step::Suspected),
        // Those that were gone before anyone here looked are no news.
        MemberState::Left => was_here.then_some(Step::Left),
        MemberState::Dead => was_here.then_some(Step::Crashed),
    }
}

fn detail(was: &MemberSeen, is: &MemberSeen) -> Option<String> {
    let mut changes = Vec::new();
    let mut compare = |what: &str, was: &str, is: &str| {
        if was != is {
            changes.push(format!("{what} `{was}` is now `{is}`"));
        }
    };
    compare("name", &was.name, &is.name);
    compare("address", &was.api_address, &is.api_address);
    compare("weight", &was.weight.to_string(), &is.weight.to_string());
    compare("zone", &was.zone, &is.zone);
    (!changes.is_empty()).then(|| changes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemberState::{Alive, Dead, Left, Suspect};

    fn one(id: u128, state: MemberState, weight: u32) -> (NodeId, MemberSeen) {
        let member = MemberSeen {
            id: NodeId(id),
            name: format!("n{id}"),
            api_address: String::new(),
            weight,
            zone: String::new(),
            state,
        };
        (NodeId(id), member)
    }

    #[test]
    fn members_come_and_go() {
        let check = |before: Option<(MemberState, u32)>,
                     after: Option<(MemberState, u32)>,
                     expected: &[&str]| {
            let seen = |what: Option<(MemberState, u32)>| -> Seen {
                what.map(|(state, weight)| one(1, state, weight)).into_iter().collect()
            };
            let found = changes(&seen(before), &seen(after), 7, false);
            let found = found.iter().map(|entry| match entry {
                Entry::Member(change) => {
                    assert_eq!(change.at_ms, 7);
                    let detail = change.detail.as_deref().unwrap_or_default();
                    format!("{} {detail}", change.step.name()).trim().to_owned()
                }
                other => panic!("{other:?}"),
            });
            assert_eq!(found.collect::<Vec<_>>(), expected, "{before:?} {after:?}");
        };
        check(None, None, &[]);
        check(None, Some((Alive, 100)), &["joined"]);
        check(None, Some((Suspect, 100)), &["joined"]);
        check(None, Some((Dead, 100)), &[]);
        check(None, Some((Left, 100)), &[]);
        check(Some((Alive, 100)), Some((Alive, 100)), &[]);
        check(Some((Alive, 100)), Some((Suspect, 100)), &["suspected"]);
        check(Some((Suspect, 100)), Some((Suspect, 100)), &[]);
        check(Some((Suspect, 100)), Some((Alive, 100)), &["recovered"]);
        check(Some((Alive, 100)), Some((Left, 100)), &["left"]);
        check(Some((Suspect, 100)), Some((Dead, 100)), &["crashed"]);
        check(Some((Dead, 100)), Some((Dead, 200)), &[]);
        check(Some((Dead, 100)), Some((Alive, 100)), &["joined"]);
        check(Some((Alive, 100)), Some((Alive, 200)), &["changed weight `100` is now `200`"]);
        check(Some((Alive, 100)), None, &["crashed nobody speaks of it any more"]);
        check(Some((Left, 100)), None, &[]);
    }
}
