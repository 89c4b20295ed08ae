//! Bounded load: from how busy slots are to the overrides that relieve the hottest member. Pure; run
//! by one member alone, whose map the others merely obey, so that no two need agree on a float.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::{
    model::{
        member::{MemberState, NodeId, Roster},
        overrides::{OverrideMap, Overrides, Stamp},
        slot::{SLOTS, Slot},
    },
    ownership::placement::{Placement, Table, slots},
};

/// Balancing starts when a member has more than this part of its fair share …
const ACT_ABOVE: f64 = 1.10;

/// … and stops here, so that a load that breathes by a few percent does not move a slot each minute.
const RELIEVE_TO: f64 = 1.05;

/// Owners have measured a slot once each of its targets was scraped; so long after any change of
/// owners nothing is moved. It is also what keeps maps a minute apart.
const SETTLE_MS: i64 = 60_000;

/// Every member has heard of a map by then, so that it takes effect everywhere at one instant.
const NOTICE_MS: i64 = 10_000;

/// A slot's samples per second as its owner tells them, in one byte: 0 is none, and from 1 on each
/// step is a factor of 2^(1/8), from 1/64 to 56 million.
pub fn encode_load(samples_per_second: f64) -> u8 {
    if samples_per_second.is_nan() || samples_per_second <= 0.0 {
        return 0;
    }
    let step = (samples_per_second.log2() + 6.0) * 8.0 + 1.0;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what a byte holds"
    )]
    let byte = step.round().clamp(1.0, 255.0) as u8;
    byte
}

pub fn decode_load(byte: u8) -> f64 {
    if byte == 0 { 0.0 } else { ((f64::from(byte) - 1.0) / 8.0 - 6.0).exp2() }
}

/// How busy each slot is, in samples per second.
#[derive(Clone, Debug, PartialEq)]
pub struct Loads(Box<[f64]>);

impl Default for Loads {
    fn default() -> Self {
        Self::from_fn(|_| 0.0)
    }
}

impl Loads {
    /// Each slot as its owner tells it. `vectors` has a byte a slot from each member; one that is
    /// missing, or of another length, tells nothing.
    pub fn gather(owners: &Table, vectors: &BTreeMap<NodeId, Bytes>) -> Self {
        let told = |(slot, owner): (Slot, Option<NodeId>)| {
            let vector = vectors.get(&owner?).filter(|v| v.len() == usize::from(SLOTS))?;
            Some(decode_load(vector[usize::from(slot.number())]))
        };
        Self(owners.iter().map(|owned| told(owned).unwrap_or(0.0)).collect())
    }

    pub fn from_fn(load: impl FnMut(Slot) -> f64) -> Self {
        Self(slots().map(load).collect())
    }

    pub fn of(&self, slot: Slot) -> f64 {
        self.0[usize::from(slot.number())]
    }

    pub fn add(&mut self, slot: Slot, samples_per_second: f64) {
        self.0[usize::from(slot.number())] += samples_per_second;
    }

    /// Both together.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self::from_fn(|slot| self.of(slot) + other.of(slot))
    }

    /// What `node` has of it: a byte a slot, and the sum. Of slots that are not its own it tells none.
    pub fn told_by(&self, node: NodeId, owners: &Table) -> (Bytes, f64) {
        let own = self.0.iter().zip(owners.owned_by(node));
        let own: Vec<f64> = own.map(|(load, is_own)| if is_own { *load } else { 0.0 }).collect();
        (own.iter().map(|load| encode_load(*load)).collect(), own.iter().sum())
    }

    /// How busy each member is that takes part.
    pub fn by_owner(&self, owners: &Table) -> BTreeMap<NodeId, f64> {
        let mut busy: BTreeMap<NodeId, f64> = owners.nodes().iter().map(|id| (*id, 0.0)).collect();
        for (slot, owner) in owners.iter() {
            if let Some(owner) = owner {
                *busy.entry(owner).or_default() += self.of(slot);
            }
        }
        busy
    }
}

/// The hottest member's load as a multiple of its fair share: 1 is perfect, and 1 where all is idle.
pub fn imbalance(busy: &BTreeMap<NodeId, f64>, roster: &Roster) -> f64 {
    let weight =
        |id: &NodeId| roster.members.get(id).map_or(0.0, |member| f64::from(member.weight));
    let weights: f64 = busy.keys().map(weight).sum();
    let total: f64 = busy.values().sum();
    // Where nobody has anything there is no fair share, and `max` passes over what is no number.
    busy.iter().map(|(id, load)| load / (total * weight(id) / weights)).fold(1.0, f64::max)
}

/// The map to publish now, if any. `forked`: two maps met after a heal, so that all members need a
/// new one even where the load needs none.
pub fn next_map(
    me: NodeId,
    placement: &mut Placement,
    loads: &Loads,
    forked: bool,
    now_ms: i64,
) -> Option<OverrideMap> {
    let overrides = placement.overrides().clone();
    let pending = overrides.latest.as_ref().is_some_and(|map| map.from_ms > now_ms);
    if publisher(placement.roster(), now_ms) != Some(me) || pending {
        return None;
    }
    // Whatever is about to change would be weighed at its old place.
    let settled = placement.next_border(now_ms).is_none()
        && placement.last_border(now_ms).is_none_or(|border| border + SETTLE_MS <= now_ms);
    let none = BTreeMap::new();
    let current = overrides.latest.as_ref().map_or(&none, |map| &map.moves);
    let balanced = settled.then(|| {
        let homes = Table::new(now_ms, placement.roster(), &Overrides::default());
        rebalance(&homes, placement.roster(), loads, current)
    });
    let balanced = balanced.flatten();
    let moves = balanced.or_else(|| forked.then(|| current.clone()))?;
    let version = overrides.stamp().map_or(0, |stamp| stamp.version) + 1;
    let stamp = Stamp { version, publisher: me };
    Some(OverrideMap { stamp, from_ms: now_ms + NOTICE_MS, moves })
}

/// Who may publish: the lowest id that is alive and active.
pub fn publisher(roster: &Roster, now_ms: i64) -> Option<NodeId> {
    roster.active_at(now_ms).find(|member| member.state == MemberState::Alive).map(|m| m.id)
}

/// Overrides that bring every member to `RELIEVE_TO` of its share, or to its single largest slot, or
/// as near as slots of that size allow; `None` where nobody is above `ACT_ABOVE`. What is overridden
/// already stays so unless its member must be relieved: going home is a move as well.
pub fn rebalance(
    homes: &Table,
    roster: &Roster,
    loads: &Loads,
    current: &BTreeMap<Slot, NodeId>,
) -> Option<BTreeMap<Slot, NodeId>> {
    let mut scales = Scales::new(homes, roster, loads, current);
    if !scales.pans.iter().any(|pan| pan.load > pan.limit(ACT_ABOVE)) {
        return None;
    }
    // Each move lowers the higher of two pans, so that this ends; the bound is for rounding.
    for _ in 0..4 * u32::from(SLOTS) {
        let Some(hot) = scales.hottest() else { break };
        if !scales.relieve(hot, homes) {
            scales.pans[hot].stuck = true;
        }
    }
    Some(scales.overrides(homes))
}

/// One member's load in the balance.
struct Pan {
    id: NodeId,
    /// What its weight's part of the whole load comes to.
    share: f64,
    load: f64,
    /// Its slots that are busy at all, and how busy; the busiest first.
    slots: Vec<(f64, Slot)>,
    /// None of its slots can go anywhere that would be cooler.
    stuck: bool,
}

impl Pan {
    fn limit(&self, factor: f64) -> f64 {
        let largest = self.slots.first().map_or(0.0, |(load, _)| *load);
        // A hair more, as sums of the same loads in another order differ in the last bits.
        (self.share * factor).max(largest) * (1.0 + 1e-9)
    }

    fn room(&self) -> f64 {
        self.share * RELIEVE_TO - self.load
    }
}

struct Scales {
    /// In the order of their ids.
    pans: Vec<Pan>,
    /// Idle slots that are overridden: they weigh nothing, so they stay where they are.
    idle: BTreeMap<Slot, NodeId>,
}

impl Scales {
    fn new(
        homes: &Table,
        roster: &Roster,
        loads: &Loads,
        current: &BTreeMap<Slot, NodeId>,
    ) -> Self {
        let weight =
            |id: &NodeId| roster.members.get(id).map_or(0.0, |member| f64::from(member.weight));
        let weights: f64 = homes.nodes().iter().map(weight).sum();
        let total: f64 = loads.0.iter().sum();
        let pan = |id: &NodeId| Pan {
            id: *id,
            share: total * weight(id) / weights,
            load: 0.0,
            slots: Vec::new(),
            stuck: false,
        };
        let mut scales =
            Self { pans: homes.nodes().iter().map(pan).collect(), idle: BTreeMap::new() };
        for (slot, home) in homes.iter() {
            let chosen = current.get(&slot).filter(|id| homes.nodes().contains(id));
            let Some(owner) = chosen.copied().or(home) else { continue };
            let load = loads.of(slot);
            if load > 0.0 {
                let at = scales.position(owner);
                scales.pans[at].load += load;
                scales.pans[at].slots.push((load, slot));
            } else if Some(owner) != home {
                scales.idle.insert(slot, owner);
            }
        }
        for pan in &mut scales.pans {
            pan.slots.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        }
        scales
    }

    fn position(&self, id: NodeId) -> usize {
        self.pans.binary_search_by_key(&id, |pan| pan.id).expect("owners take part")
    }

    fn hottest(&self) -> Option<usize> {
        let heat = |at: &usize| self.pans[*at].load / self.pans[*at].share;
        (0..self.pans.len())
            .filter(|&at| {
                !self.pans[at].stuck && self.pans[at].load > self.pans[at].limit(RELIEVE_TO)
            })
            .max_by(|a, b| heat(a).total_cmp(&heat(b)))
    }

    /// Moves one slot away from `hot`: the smallest that is enough alone, else the largest that fits
    /// somewhere. `false` where none would make things better.
    fn relieve(&mut self, hot: usize, homes: &Table) -> bool {
        let Some(widest) = self.widest_but(hot) else { return false };
        let room = self.pans[widest].room();
        let pan = &self.pans[hot];
        let excess = pan.load - pan.limit(RELIEVE_TO);
        // Sorted downwards: those that fit are the tail, and those that are enough the head.
        let fits_from = pan.slots.partition_point(|(load, _)| *load > room);
        let enough_to = pan.slots.partition_point(|(load, _)| *load >= excess);
        let at = if fits_from < enough_to { enough_to - 1 } else { fits_from };
        if let Some(&(load, slot)) = pan.slots.get(at) {
            let home = homes.owner(slot).map(|home| self.position(home));
            let to = home.filter(|&home| home != hot && self.pans[home].room() >= load);
            self.shift(hot, at, to.unwrap_or(widest));
            return true;
        }
        // Nothing fits below the line; a smaller overload elsewhere is still better than this one.
        let Some(&(load, _)) = pan.slots.last() else { return false };
        let to = &self.pans[widest];
        let better = (to.load + load) / to.share < pan.load / pan.share;
        if better {
            self.shift(hot, self.pans[hot].slots.len() - 1, widest);
        }
        better
    }

    fn widest_but(&self, hot: usize) -> Option<usize> {
        (0..self.pans.len())
            .filter(|&at| at != hot)
            .max_by(|&a, &b| self.pans[a].room().total_cmp(&self.pans[b].room()))
    }

    fn shift(&mut self, from: usize, at: usize, to: usize) {
        let (load, slot) = self.pans[from].slots.remove(at);
        self.pans[from].load -= load;
        let to = &mut self.pans[to];
        to.load += load;
        let at = to.slots.partition_point(|(other, _)| *other > load);
        to.slots.insert(at, (load, slot));
    }

    fn overrides(mut self, homes: &Table) -> BTreeMap<Slot, NodeId> {
        let mut moves = std::mem::take(&mut self.idle);
        for pan in &self.pans {
            let away = pan.slots.iter().filter(|(_, slot)| homes.owner(*slot) != Some(pan.id));
            moves.extend(away.map(|(_, slot)| (*slot, pan.id)));
        }
        moves
    }
}

#[cfg(test)]
mod tests;
