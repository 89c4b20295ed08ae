//! Who owns a slot at an instant: weighted rendezvous over the members active then. Pure, and the
//! same on every member: whoever has the same roster and overrides gets the same owners.
//!
//! Each member draws `u` in (0, 1] for each slot, from a hash of its id and the slot, and bids
//! `-ln(u) / weight`; the lowest bid wins. Such a bid is a draw from an exponential distribution
//! whose rate is the weight, and the least of several exponentials is each one's with a probability
//! of its rate's share of the sum: so shares are as the weights, exactly. As nobody's bid hangs on
//! the others, a member that comes, goes or changes its weight moves only slots that it wins or
//! loses itself. (Thaler and Ravishankar 1998, "Using name-based mappings to increase hit rates";
//! Schindelhauer and Schomaker 2005, "Weighted distributed hash tables", the logarithmic method.)

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use xxhash_rust::xxh3::xxh3_64;

use crate::model::{
    member::{Member, NodeId, Roster},
    overrides::Overrides,
    slot::{SLOTS, Slot},
};

/// Epochs whose tables are kept; the oldest goes first, and is computed again when asked for.
const TABLES_MAX: usize = 32;

const NOBODY: u16 = u16::MAX;

/// Who does `slot` at `instant_ms` (fleet time). `None` while nobody with a weight is active.
pub fn owner(
    slot: Slot,
    instant_ms: i64,
    roster: &Roster,
    overrides: &Overrides,
) -> Option<NodeId> {
    let chosen = overrides.at(instant_ms).and_then(|map| map.moves.get(&slot));
    if let Some(chosen) = chosen.filter(|id| takes_part(roster, **id, instant_ms)) {
        return Some(*chosen);
    }
    candidates(roster, instant_ms)
        .map(|member| Bid::of(member.id, member.weight, slot))
        .min()
        .map(|bid| bid.id)
}

/// All that could do `slot` at `instant_ms`, best first. Overrides don't count here: this is who
/// comes next when the ones before are gone.
pub fn ranking(slot: Slot, instant_ms: i64, roster: &Roster) -> Vec<NodeId> {
    let mut bids: Vec<Bid> = candidates(roster, instant_ms)
        .map(|member| Bid::of(member.id, member.weight, slot))
        .collect();
    bids.sort_unstable();
    bids.into_iter().map(|bid| bid.id).collect()
}

/// Who takes part at that instant, in the order of their ids.
pub fn candidates(roster: &Roster, instant_ms: i64) -> impl Iterator<Item = &Member> {
    roster.active_at(instant_ms).filter(|member| member.weight > 0)
}

fn takes_part(roster: &Roster, id: NodeId, instant_ms: i64) -> bool {
    roster
        .members
        .get(&id)
        .is_some_and(|member| member.weight > 0 && member.is_active_at(instant_ms))
}

/// The owners of all slots in one epoch: a stretch of time in which none of them changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// In order, so that equal tables are equal values.
    nodes: Vec<NodeId>,
    /// Positions in `nodes`, by slot.
    owners: Box<[u16]>,
}

impl Table {
    pub fn new(instant_ms: i64, roster: &Roster, overrides: &Overrides) -> Self {
        let members: Vec<&Member> = candidates(roster, instant_ms).collect();
        let nodes: Vec<NodeId> = members.iter().map(|member| member.id).collect();
        let mut owners = rendezvous(&members);
        for (slot, id) in overrides.at(instant_ms).iter().flat_map(|map| &map.moves) {
            if let Ok(at) = nodes.binary_search(id) {
                owners[usize::from(slot.number())] = position(at);
            }
        }
        Self { nodes, owners }
    }

    pub fn owner(&self, slot: Slot) -> Option<NodeId> {
        let at = self.owners[usize::from(slot.number())];
        (at != NOBODY).then(|| self.nodes[usize::from(at)])
    }

    /// Whether each slot is `node`'s, in order.
    pub fn owned_by(&self, node: NodeId) -> impl Iterator<Item = bool> {
        let at = self.nodes.binary_search(&node).ok().map(position);
        self.owners.iter().map(move |owner| Some(*owner) == at)
    }

    /// Everyone that takes part, slots or not, in order.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, Option<NodeId>)> {
        slots().map(|slot| (slot, self.owner(slot)))
    }

    /// How many slots each has.
    pub fn counts(&self) -> BTreeMap<NodeId, usize> {
        let mut counts = vec![0; self.nodes.len()];
        for at in self.owners.iter().filter(|at| **at != NOBODY) {
            counts[usize::from(*at)] += 1;
        }
        self.nodes.iter().copied().zip(counts).collect()
    }
}

pub fn slots() -> impl Iterator<Item = Slot> {
    (0..SLOTS).map(|number| Slot::new(number).expect("it is below SLOTS"))
}

fn position(at: usize) -> u16 {
    u16::try_from(at).expect("a fleet is far smaller than 65,535 members")
}

fn rendezvous(members: &[&Member]) -> Box<[u16]> {
    let winner = |slot| {
        let mut best: Option<(Bid, usize)> = None;
        for (at, member) in members.iter().enumerate() {
            let bid = Bid::of(member.id, member.weight, slot);
            if best.is_none_or(|(best, _)| bid.may_beat(best) && bid < best) {
                best = Some((bid, at));
            }
        }
        best.map_or(NOBODY, |(_, at)| position(at))
    };
    slots().map(winner).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bid {
    id: NodeId,
    weight: u32,
    hash: u64,
}

impl Bid {
    fn of(id: NodeId, weight: u32, slot: Slot) -> Self {
        Self { id, weight, hash: draw(id, slot) }
    }

    /// `false` spares a logarithm: `1 - u <= -ln u <= 2 (1 - u)` for `u` of a half or more, so that
    /// a bid that is twice as high by `1 - u` can't be the lower one.
    fn may_beat(self, best: Self) -> bool {
        let least = u128::from(!self.hash) * u128::from(best.weight);
        let most = 2 * (u128::from(!best.hash) + 1) * u128::from(self.weight);
        best.hash < u64::MAX / 2 || least <= most
    }
}

impl Ord for Bid {
    /// The lower bid first. `a / v < b / w` is `a · w < b · v`, which is exact in integers.
    fn cmp(&self, other: &Self) -> Ordering {
        if self.weight == other.weight {
            return other.hash.cmp(&self.hash).then(self.id.cmp(&other.id));
        }
        let own = u128::from(minus_log2(self.hash)) * u128::from(other.weight);
        let theirs = u128::from(minus_log2(other.hash)) * u128::from(self.weight);
        own.cmp(&theirs).then(other.hash.cmp(&self.hash)).then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Bid {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Fixed for ever: another order of bytes would move every slot of every fleet.
fn draw(id: NodeId, slot: Slot) -> u64 {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&id.0.to_be_bytes());
    bytes[16..].copy_from_slice(&slot.number().to_be_bytes());
    xxh3_64(&bytes)
}

/// Binary digits of a logarithm after the point. At 100 members winning bids lie around 2^-6, so
/// that a bid is exact to one part in 2^34.
const FRACTION_BITS: u32 = 40;

/// `-log2(hash / 2^64)` in fixed point, by squaring: integers alone, as the logarithms of two
/// hosts' mathematics libraries may differ in the last bit.
fn minus_log2(hash: u64) -> u64 {
    let hash = hash.max(1);
    let zeros = hash.leading_zeros();
    let mut mantissa = hash << zeros;
    let mut fraction = 0;
    for _ in 0..FRACTION_BITS {
        let square = u128::from(mantissa) * u128::from(mantissa);
        fraction <<= 1;
        // The mantissa stands for [1, 2) with its point after the first bit.
        let doubled = square >> 127 == 1;
        if doubled {
            fraction |= 1;
        }
        let shifted = square >> if doubled { 64 } else { 63 };
        mantissa = u64::try_from(shifted).expect("a mantissa is below 2^64");
    }
    (u64::from(zeros + 1) << FRACTION_BITS) - fraction
}

/// A roster and overrides with their epochs and tables: what the rest of ownership asks.
#[derive(Clone, Debug, Default)]
pub struct Placement {
    roster: Arc<Roster>,
    overrides: Overrides,
    /// Where an epoch ends and the next begins; in order, each once.
    borders: Vec<i64>,
    /// By the first instant of the epoch.
    tables: BTreeMap<i64, Arc<Table>>,
}

impl Placement {
    pub fn new(roster: Arc<Roster>, overrides: Overrides) -> Self {
        let intervals = roster.members.values().flat_map(|member| &member.intervals);
        let mut borders: Vec<i64> =
            intervals.flat_map(|i| [Some(i.from_ms), i.until_ms]).flatten().collect();
        let maps = [&overrides.latest, &overrides.predecessor];
        borders.extend(maps.into_iter().flatten().map(|map| map.from_ms));
        borders.sort_unstable();
        borders.dedup();
        Self { roster, overrides, borders, tables: BTreeMap::new() }
    }

    /// What these are now, with the tables of those epochs that are as they were: most news is of
    /// one epoch, or of none.
    #[must_use]
    pub fn renewed(self, roster: Arc<Roster>, overrides: Overrides) -> Self {
        let mut new = Self::new(roster, overrides);
        let parts = |of: &Self, epoch: i64| -> Vec<(NodeId, u32)> {
            candidates(&of.roster, epoch).map(|member| (member.id, member.weight)).collect()
        };
        for (epoch, table) in &self.tables {
            let is_epoch = new.last_border(*epoch).unwrap_or(i64::MIN) == *epoch;
            if is_epoch
                && parts(&self, *epoch) == parts(&new, *epoch)
                && self.overrides.at(*epoch) == new.overrides.at(*epoch)
            {
                new.tables.insert(*epoch, Arc::clone(table));
            }
        }
        new
    }

    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    pub fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// The first instant after `after_ms` at which an owner may change.
    pub fn next_border(&self, after_ms: i64) -> Option<i64> {
        self.borders.get(self.borders.partition_point(|&border| border <= after_ms)).copied()
    }

    /// The last instant, `at_ms` or before it, at which an owner may have changed.
    pub fn last_border(&self, at_ms: i64) -> Option<i64> {
        let after = self.borders.partition_point(|&border| border <= at_ms);
        after.checked_sub(1).map(|last| self.borders[last])
    }

    pub fn table_at(&mut self, instant_ms: i64) -> Arc<Table> {
        Arc::clone(self.known_at(instant_ms))
    }

    pub fn owner(&mut self, slot: Slot, instant_ms: i64) -> Option<NodeId> {
        self.known_at(instant_ms).owner(slot)
    }

    fn known_at(&mut self, instant_ms: i64) -> &Arc<Table> {
        let epoch = self.last_border(instant_ms).unwrap_or(i64::MIN);
        if !self.tables.contains_key(&epoch) && self.tables.len() >= TABLES_MAX {
            self.tables.pop_first();
        }
        let Self { roster, overrides, tables, .. } = self;
        tables.entry(epoch).or_insert_with(|| Table::new(instant_ms, roster, overrides).into())
    }
}

#[cfg(test)]
mod tests;
