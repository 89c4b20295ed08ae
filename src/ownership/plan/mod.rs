//! What would move if members joined, left or changed their weight: the placement of after the change
//! beside that of before it. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    config::WEIGHT_MAX,
    model::{
        member::{Interval, Member, MemberState, NodeId, Roster},
        overrides::Overrides,
        slot::Slot,
        target::Target,
    },
    ownership::{
        balance::Loads,
        placement::{Table, candidates, slots},
    },
};

/// Members that may be said to join, leave or change at once.
pub const CHANGES_MAX: usize = 256;

/// What would change. A member is named by its id or its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Change {
    pub join: Vec<Newcomer>,
    pub leave: Vec<String>,
    pub weights: BTreeMap<String, u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Newcomer {
    pub name: String,
    pub weight: u32,
}

/// What is divided now.
pub struct Division<'a> {
    pub roster: &'a Roster,
    pub overrides: &'a Overrides,
    /// Fleet time.
    pub now_ms: i64,
    /// With the keys that they are divided by.
    pub targets: &'a [Arc<Target>],
    /// `None` where not all members have told.
    pub loads: Option<&'a Loads>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub slots_moved: usize,
    pub targets_moved: usize,
    pub targets_total: usize,
    pub samples_per_second_moved: Option<f64>,
    /// Those with a share before or after, in the order of their ids, newcomers last.
    pub members: Vec<Planned>,
    /// Those between whom something moves, by `from` and `to`.
    pub moves: Vec<Flow>,
    /// All targets that move, by `Division::targets`.
    pub targets: Vec<Moved>,
}

/// One that would join has no id yet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Node {
    pub id: Option<NodeId>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    pub node: Node,
    /// `None` where it does not take part.
    pub weight_before: Option<u32>,
    pub weight_after: Option<u32>,
    pub before: Part,
    pub after: Part,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Part {
    pub slots: usize,
    pub targets: usize,
    /// `None` where it is not known.
    pub samples_per_second: Option<f64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Flow {
    /// `None`: nobody had them, as nobody took part.
    pub from: Option<Node>,
    pub to: Node,
    pub slots: usize,
    pub targets: usize,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Moved {
    pub target: Arc<Target>,
    pub from: Option<Node>,
    pub to: Node,
}

/// # Errors
/// What is wrong with the change: a sentence that names the member.
///
/// The overrides stay as they are, although those who publish them would soon publish others. Which
/// slots a newcomer wins hangs on the id that it will draw: how many is as told here but for chance,
/// and which ones is not. A member whose weight changes gives up its share for a moment; told is what
/// is different in the end.
pub fn plan(now: &Division<'_>, change: &Change) -> Result<Plan, String> {
    let settled_ms = settled_ms(now.roster, now.overrides, now.now_ms);
    let (after, newcomers) = changed(now.roster, change, settled_ms)?;
    let tables = [
        Table::new(settled_ms, now.roster, now.overrides),
        Table::new(settled_ms, &after, now.overrides),
    ];
    if tables[1].nodes().is_empty() {
        return Err("nobody would be left that takes part".to_owned());
    }
    let node = |id: NodeId| {
        let member = after.members.get(&id).or_else(|| now.roster.members.get(&id));
        let name = member.map(|member| member.name.clone()).unwrap_or_default();
        Node { id: (!newcomers.contains(&id)).then_some(id), name }
    };
    // Slots and targets, by from whom to whom.
    let mut flows: BTreeMap<_, [usize; 2]> = BTreeMap::new();
    let owners = |slot: Slot| (tables[0].owner(slot), tables[1].owner(slot));
    let change_of = |slot: Slot| match owners(slot) {
        (from, Some(to)) if from != Some(to) => Some((from, to)),
        _ => None,
    };
    let mut samples_per_second_moved = now.loads.map(|_| 0.0);
    for slot in slots() {
        let Some(flow) = change_of(slot) else { continue };
        flows.entry(flow).or_default()[0] += 1;
        if let (Some(sum), Some(loads)) = (&mut samples_per_second_moved, now.loads) {
            *sum += loads.of(slot);
        }
    }
    let mut targets = Vec::new();
    for target in now.targets {
        let Some((from, to)) = change_of(target.key.slot()) else { continue };
        flows.entry((from, to)).or_default()[1] += 1;
        let target = Arc::clone(target);
        targets.push(Moved { target, from: from.map(node), to: node(to) });
    }
    let moves: Vec<Flow> = flows
        .into_iter()
        .map(|((from, to), [slots, targets])| Flow {
            from: from.map(node),
            to: node(to),
            slots,
            targets,
        })
        .collect();
    Ok(Plan {
        slots_moved: moves.iter().map(|flow| flow.slots).sum(),
        targets_moved: targets.len(),
        targets_total: now.targets.len(),
        samples_per_second_moved,
        members: members(now, &after, &tables, settled_ms, node),
        moves,
        targets,
    })
}

/// The member of that id or name.
///
/// # Errors
/// That there is none, or that the name is of several.
pub fn member<'r>(roster: &'r Roster, named: &str) -> Result<&'r Member, String> {
    let by_id = u128::from_str_radix(named, 16).ok().filter(|_| named.len() == 32);
    if let Some(member) = by_id.and_then(|id| roster.members.get(&NodeId(id))) {
        return Ok(member);
    }
    let is_here =
        |member: &&Member| matches!(member.state, MemberState::Alive | MemberState::Suspect);
    let of_name: Vec<&Member> =
        roster.members.values().filter(|member| member.name == named).collect();
    let here: Vec<&Member> = of_name.iter().copied().filter(is_here).collect();
    // A name is given on: to who has it now before who had it.
    match (&here[..], &of_name[..]) {
        ([one], _) | ([], [one]) => Ok(one),
        ([], []) => Err(format!("`{named}` is neither the id nor the name of a member")),
        _ => Err(format!("`{named}` is the name of several members, an id names one")),
    }
}

/// The first instant from now on after which nobody comes or goes, as far as is known.
fn settled_ms(roster: &Roster, overrides: &Overrides, now_ms: i64) -> i64 {
    let intervals = roster.members.values().flat_map(|member| &member.intervals);
    let borders = intervals.flat_map(|interval| [Some(interval.from_ms), interval.until_ms]);
    let map_ms = overrides.latest.as_ref().map(|map| map.from_ms);
    borders.flatten().chain(map_ms).fold(now_ms, i64::max)
}

/// The roster of after the change, and the ids that newcomers are given for it.
fn changed(
    roster: &Roster,
    change: &Change,
    at_ms: i64,
) -> Result<(Roster, BTreeSet<NodeId>), String> {
    let changes = change.join.len() + change.leave.len() + change.weights.len();
    if changes > CHANGES_MAX {
        return Err(format!("{changes} changes at once, expected {CHANGES_MAX} at most"));
    }
    let mut after = roster.clone();
    let taking_part = |id: NodeId| candidates(roster, at_ms).any(|member| member.id == id);
    let mut left = Vec::new();
    for named in &change.leave {
        let id = member(roster, named)?.id;
        if left.contains(&id) {
            return Err(format!("`{named}` is to leave twice"));
        }
        if !taking_part(id) {
            return Err(format!("`{named}` has no share that it could leave"));
        }
        left.push(id);
        after.members.remove(&id);
    }
    for (named, weight) in &change.weights {
        let id = member(roster, named)?.id;
        let bounded = bounded(named, *weight)?;
        if left.contains(&id) {
            return Err(format!("`{named}` is to leave and to have another weight"));
        }
        let Some(member) = after.members.get_mut(&id).filter(|one| one.is_active_at(at_ms)) else {
            return Err(format!("`{named}` does not take part, its weight changes nothing"));
        };
        member.weight = bounded;
    }
    let mut newcomers = BTreeSet::new();
    for Newcomer { name, weight } in &change.join {
        let weight = bounded(name, *weight)?;
        let is_here = |member: &&Member| {
            member.name == *name
                && matches!(member.state, MemberState::Alive | MemberState::Suspect)
        };
        if name.is_empty() {
            return Err("a member that would join needs a name".to_owned());
        }
        if after.members.values().any(|member| is_here(&member)) {
            return Err(format!("`{name}` is to join, and a member has that name already"));
        }
        let id = NodeId(xxh3_128(name.as_bytes()));
        newcomers.insert(id);
        after.members.insert(id, newcomer(id, name, weight, at_ms));
    }
    Ok((after, newcomers))
}

fn bounded(named: &str, weight: u32) -> Result<u32, String> {
    if weight > WEIGHT_MAX {
        return Err(format!("weight {weight} of `{named}`, expected 0 to {WEIGHT_MAX}"));
    }
    Ok(weight)
}

fn newcomer(id: NodeId, name: &str, weight: u32, from_ms: i64) -> Member {
    Member {
        id,
        name: name.to_owned(),
        api_address: String::new(),
        weight,
        zone: String::new(),
        state: MemberState::Alive,
        intervals: vec![Interval { from_ms, until_ms: None }],
    }
}

fn members(
    now: &Division<'_>,
    after: &Roster,
    tables: &[Table; 2],
    at_ms: i64,
    node: impl Fn(NodeId) -> Node,
) -> Vec<Planned> {
    let rosters = [now.roster, after];
    let weights = rosters.map(|roster| {
        let active = roster.active_at(at_ms);
        active.map(|member| (member.id, member.weight)).collect::<BTreeMap<_, _>>()
    });
    let shares = tables.each_ref().map(|table| shares(now, table));
    let mut ids: Vec<NodeId> = weights.iter().flat_map(|of| of.keys().copied()).collect();
    ids.sort_unstable();
    ids.dedup();
    let mut members: Vec<Planned> = ids
        .into_iter()
        .map(|id| Planned {
            node: node(id),
            weight_before: weights[0].get(&id).copied(),
            weight_after: weights[1].get(&id).copied(),
            before: part(&shares[0], id, now),
            after: part(&shares[1], id, now),
        })
        .collect();
    members.sort_by_key(|planned| planned.node.id.is_none());
    members
}

fn part(shares: &BTreeMap<NodeId, Part>, id: NodeId, now: &Division<'_>) -> Part {
    let none = Part { samples_per_second: now.loads.map(|_| 0.0), ..Part::default() };
    shares.get(&id).copied().unwrap_or(none)
}

fn shares(now: &Division<'_>, table: &Table) -> BTreeMap<NodeId, Part> {
    let mut shares: BTreeMap<NodeId, Part> = BTreeMap::new();
    for (slot, owner) in table.iter() {
        let Some(owner) = owner else { continue };
        let part = shares.entry(owner).or_default();
        part.slots += 1;
        if let Some(loads) = now.loads {
            part.samples_per_second = Some(part.samples_per_second.unwrap_or(0.0) + loads.of(slot));
        }
    }
    for target in now.targets {
        if let Some(owner) = table.owner(target.key.slot()) {
            shares.entry(owner).or_default().targets += 1;
        }
    }
    shares
}

#[cfg(test)]
mod tests;
