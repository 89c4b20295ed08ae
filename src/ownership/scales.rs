//! How busy slots are, told around, and the overrides that come of it: what to ask whom, what to
//! answer, and when the one member that may publishes a map. Pure; part of the shell in `mod`.

use std::collections::BTreeMap;

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    fleet::{
        Facts,
        message::{LoadsTag, OverridesTag},
    },
    model::{
        member::{MemberState, NodeId, Roster},
        overrides::{Merged, Overrides},
        slot::SLOTS,
    },
    ownership::{
        balance::{self, Loads},
        letter::Letter,
        placement::{Placement, Table},
    },
};

/// An answer takes a round trip; whoever does not answer is asked again, in turn with the others.
const REPEAT_MS: i64 = 2_000;
/// Weighing costs a look at each slot for each member.
const WEIGH_MS: i64 = 5_000;
/// A slot whose byte differs by one step breathes; only so often is that told to all.
const BREATH_MS: i64 = 60_000;

/// What the fleet shows at the moment of an event.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub now_ms: i64,
    pub roster: &'a Roster,
    pub facts: &'a BTreeMap<NodeId, Facts>,
}

#[derive(Debug)]
pub(super) struct Scales {
    me: NodeId,
    overrides: Overrides,
    tag: OverridesTag,
    /// Two maps have met of which neither followed the other, and none was published since.
    is_forked: bool,
    conflicts: u64,
    /// Of the own slots, as the others were told.
    told: Told,
    told_ms: i64,
    heard: BTreeMap<NodeId, Told>,
    maps_asked: BTreeMap<NodeId, i64>,
    loads_asked: BTreeMap<NodeId, i64>,
    weighed_ms: i64,
    letters: Vec<(NodeId, Letter)>,
    /// The overrides are not those on the disk.
    is_unsaved: bool,
}

/// A vector, a byte a slot, and what tells it from others.
#[derive(Clone, Debug, Default)]
struct Told {
    tag: LoadsTag,
    vector: Bytes,
}

impl Scales {
    pub(super) fn new(me: NodeId, overrides: Overrides) -> Self {
        Self {
            me,
            tag: tag_of(&overrides),
            overrides,
            is_forked: false,
            conflicts: 0,
            told: Told::default(),
            told_ms: 0,
            heard: BTreeMap::new(),
            maps_asked: BTreeMap::new(),
            loads_asked: BTreeMap::new(),
            weighed_ms: i64::MIN,
            letters: Vec::new(),
            is_unsaved: false,
        }
    }

    pub(super) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    pub(super) fn conflicts(&self) -> u64 {
        self.conflicts
    }

    /// For the gossip.
    pub(super) fn tags(&self) -> (LoadsTag, OverridesTag) {
        (self.told.tag, self.tag)
    }

    /// The samples per second of each member that has told, this one included.
    pub(super) fn told(&self, facts: &BTreeMap<NodeId, Facts>) -> BTreeMap<NodeId, f64> {
        let tags = facts.iter().map(|(id, facts)| (*id, facts.loads));
        // What the gossip has of this member may be older.
        let tags = tags.chain([(self.me, self.told.tag)]);
        let has_told = tags.filter(|(_, tag)| tag.version > 0);
        has_told.map(|(id, tag)| (id, f64::from(tag.samples_per_second))).collect()
    }

    /// The pool has measured its slots.
    pub(super) fn measured(&mut self, loads: &Loads, owners: &Table, now_ms: i64) {
        let (vector, samples_per_second) = loads.told_by(self.me, owners);
        let known = &self.told;
        let differs = vector != known.vector;
        if known.tag.version > 0
            && !is_news(&known.vector, &vector)
            && !(differs && now_ms - self.told_ms >= BREATH_MS)
        {
            return;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it saturates, far beyond what a member can do"
        )]
        let samples_per_second = samples_per_second.round() as u32;
        let (version, hash) = (known.tag.version + 1, xxh3_64(&vector));
        self.told = Told { tag: LoadsTag { version, hash, samples_per_second }, vector };
        self.told_ms = now_ms;
    }

    pub(super) fn asked_for_loads(&mut self, from: NodeId) {
        let Told { tag, vector } = self.told.clone();
        self.letters.push((from, Letter::Loads { version: tag.version, vector }));
    }

    pub(super) fn asked_for_overrides(&mut self, from: NodeId) {
        self.letters.push((from, Letter::Overrides(self.overrides.clone())));
    }

    pub(super) fn heard_loads(&mut self, from: NodeId, version: u32, vector: Bytes) {
        // What is longer is no vector, and would only be kept.
        if vector.len() == usize::from(SLOTS) {
            let hash = xxh3_64(&vector);
            let tag = LoadsTag { version, hash, samples_per_second: 0 };
            self.heard.insert(from, Told { tag, vector });
        }
    }

    /// Whether that changes the overrides.
    pub(super) fn heard_overrides(
        &mut self,
        from: NodeId,
        heard: Overrides,
        at: Sight<'_>,
    ) -> bool {
        let before = self.overrides.clone();
        let mut after = before.clone();
        let merged = after.merge(heard.clone());
        let changes = after != before;
        if changes {
            self.set(after);
        }
        match merged {
            Merged::Known => {}
            Merged::Adopted => self.is_forked = false,
            Merged::Conflict => {
                self.is_forked = true;
                self.conflicts += 1;
                let loser = if changes { before } else { heard };
                // Whoever publishes may have seen but one of them. What came from there and has
                // lost is asked back by it.
                let publisher = balance::publisher(at.roster, at.now_ms);
                if let Some(publisher) = publisher.filter(|id| *id != self.me)
                    && (changes || publisher != from)
                {
                    self.letters.push((publisher, Letter::Overrides(loser)));
                }
            }
        }
        changes
    }

    /// A member that is alive shows a map that should be here, too.
    pub(super) fn is_behind(&self, at: Sight<'_>) -> bool {
        self.leaders(at).next().is_some()
    }

    /// Asks for what others show and is not here.
    pub(super) fn tick(&mut self, at: Sight<'_>) {
        let is_here = |id: &NodeId| at.roster.members.contains_key(id);
        self.heard.retain(|id, _| is_here(id));
        self.maps_asked.retain(|id, _| is_here(id));
        self.loads_asked.retain(|id, _| is_here(id));
        // One at a time, and whoever was asked longest ago: most have the same.
        let asked_ms = |id: &NodeId| self.maps_asked.get(id).copied().unwrap_or(i64::MIN);
        let was_asked = self.maps_asked.values().any(|ms| is_within(REPEAT_MS, *ms, at.now_ms));
        if !was_asked && let Some(id) = self.leaders(at).min_by_key(asked_ms) {
            self.maps_asked.insert(id, at.now_ms);
            self.letters.push((id, Letter::AskOverrides));
        }
        if balance::publisher(at.roster, at.now_ms) != Some(self.me) {
            return;
        }
        for member in at.roster.active_at(at.now_ms).filter(|member| member.id != self.me) {
            let was_asked = self.loads_asked.get(&member.id);
            let is_due = was_asked.is_none_or(|ms| !is_within(REPEAT_MS, *ms, at.now_ms));
            if is_due && shows_loads(at, member.id) && self.vector_of(member.id, at).is_none() {
                self.loads_asked.insert(member.id, at.now_ms);
                self.letters.push((member.id, Letter::AskLoads));
            }
        }
    }

    /// Publishes a map, where it is this member's to do and the load asks for it. Whether it did.
    pub(super) fn publish(&mut self, placement: &mut Placement, at: Sight<'_>) -> bool {
        if is_within(WEIGH_MS, self.weighed_ms, at.now_ms)
            || balance::publisher(at.roster, at.now_ms) != Some(self.me)
            || self.is_behind(at)
        {
            return false;
        }
        self.weighed_ms = at.now_ms;
        let owners = placement.table_at(at.now_ms);
        let vectors = owners.nodes().iter().map(|id| Some((*id, self.vector_of(*id, at)?)));
        // Who has not told yet is not idle.
        let Some(vectors) = vectors.collect::<Option<BTreeMap<_, _>>>() else { return false };
        let loads = Loads::gather(&owners, &vectors);
        let map = balance::next_map(self.me, placement, &loads, self.is_forked, at.now_ms);
        let Some(map) = map else { return false };
        self.set(self.overrides.followed_by(map));
        self.is_forked = false;
        let letter = |id| (id, Letter::Overrides(self.overrides.clone()));
        self.letters.extend(self.alive(at).map(letter));
        true
    }

    pub(super) fn take_letters(&mut self) -> Vec<(NodeId, Letter)> {
        std::mem::take(&mut self.letters)
    }

    /// What is to be kept on disk, where that has changed.
    pub(super) fn take_unsaved(&mut self) -> Option<&Overrides> {
        std::mem::take(&mut self.is_unsaved).then_some(&self.overrides)
    }

    fn set(&mut self, overrides: Overrides) {
        self.tag = tag_of(&overrides);
        self.overrides = overrides;
        self.is_unsaved = true;
    }

    fn alive<'a>(&self, at: Sight<'a>) -> impl Iterator<Item = NodeId> + use<'a> {
        let me = self.me;
        let members = at.roster.members.values();
        let others = members.filter(move |member| member.id != me);
        others.filter(|member| member.state == MemberState::Alive).map(|member| member.id)
    }

    fn leaders<'a>(&self, at: Sight<'a>) -> impl Iterator<Item = NodeId> + use<'a> {
        let own = self.tag;
        self.alive(at).filter(move |id| {
            let theirs = at.facts.get(id).map(|facts| facts.overrides).unwrap_or_default();
            theirs.version > own.version || theirs.version == own.version && theirs.hash != own.hash
        })
    }

    /// The vector that the member shows, if it is here.
    fn vector_of(&self, id: NodeId, at: Sight<'_>) -> Option<Bytes> {
        if id == self.me {
            return (self.told.tag.version > 0).then(|| self.told.vector.clone());
        }
        let shown = at.facts.get(&id)?.loads;
        let told = self.heard.get(&id)?;
        let is_shown = (told.tag.version, told.tag.hash) == (shown.version, shown.hash);
        is_shown.then(|| told.vector.clone())
    }
}

fn shows_loads(at: Sight<'_>, id: NodeId) -> bool {
    at.facts.get(&id).is_some_and(|facts| facts.loads.version > 0)
}

/// Also where the clock was set back since.
fn is_within(span_ms: i64, since_ms: i64, now_ms: i64) -> bool {
    (0..span_ms).contains(&now_ms.saturating_sub(since_ms))
}

/// A slot has come, gone, or changed by more than it breathes.
fn is_news(before: &[u8], after: &[u8]) -> bool {
    let differs = |(a, b): (&u8, &u8)| a.abs_diff(*b) > 1 || (*a == 0) != (*b == 0);
    before.len() != after.len() || before.iter().zip(after).any(differs)
}

fn tag_of(overrides: &Overrides) -> OverridesTag {
    let Some(map) = &overrides.latest else { return OverridesTag::default() };
    let bytes = postcard::to_stdvec(&**map).expect("plain values serialize into memory");
    OverridesTag { version: map.stamp.version, hash: xxh3_64(&bytes) }
}

#[cfg(test)]
mod tests;
