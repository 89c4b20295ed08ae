//! Slots that are to have another owner than placement alone would give them, to even out the load.
//! One member publishes a map; all members keep the greatest one they have heard of.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::model::{member::NodeId, slot::Slot};

/// What members compare: the greatest stamp wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Stamp {
    pub version: u64,
    pub publisher: NodeId,
}

/// What holds for ticks from `from_ms` (fleet time) on. In the order of the stamps; of one stamp there
/// is one map, unless a member forgot what it had published.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OverrideMap {
    pub stamp: Stamp,
    pub from_ms: i64,
    /// At most one a slot, so never more than `SLOTS`. Ignored where the member is not active.
    pub moves: BTreeMap<Slot, NodeId>,
}

/// The map that holds, or soon will, and the one before it, which ticks before it still need.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Overrides {
    pub latest: Option<Arc<OverrideMap>>,
    pub predecessor: Option<Arc<OverrideMap>>,
}

/// What became of overrides that a peer showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merged {
    /// Nothing new.
    Known,
    /// They follow the ones that were held here.
    Adopted,
    /// They follow others: two members had published for two parts of the fleet. The greater won;
    /// whoever publishes should do so anew, for all.
    Conflict,
}

impl Overrides {
    pub fn stamp(&self) -> Option<Stamp> {
        self.latest.as_ref().map(|map| map.stamp)
    }

    /// The map whose time has come at `instant_ms`.
    pub fn at(&self, instant_ms: i64) -> Option<&OverrideMap> {
        [&self.latest, &self.predecessor]
            .into_iter()
            .flatten()
            .find(|map| map.from_ms <= instant_ms)
            .map(|map| &**map)
    }

    /// These, followed by `map`.
    #[must_use]
    pub fn followed_by(&self, map: OverrideMap) -> Self {
        Self { latest: Some(Arc::new(map)), predecessor: self.latest.clone() }
    }

    pub fn merge(&mut self, heard: Self) -> Merged {
        let is_greater = match heard.latest.cmp(&self.latest) {
            Ordering::Equal => return Merged::Known,
            Ordering::Less => false,
            Ordering::Greater => true,
        };
        let (lost, won) = if is_greater { (self.stamp(), &heard) } else { (heard.stamp(), &*self) };
        let before_it = won.predecessor.as_ref().map(|map| map.stamp);
        // An older one may just have missed a few; one of the same version or of another line, but
        // later than what the winner followed, knew nothing of the winner.
        let conflict = lost.is_some() && lost > before_it;
        if is_greater {
            *self = heard;
        }
        match (conflict, is_greater) {
            (true, _) => Merged::Conflict,
            (false, true) => Merged::Adopted,
            (false, false) => Merged::Known,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(version: u64, publisher: u128, from_ms: i64) -> OverrideMap {
        let stamp = Stamp { version, publisher: NodeId(publisher) };
        OverrideMap { stamp, from_ms, moves: BTreeMap::new() }
    }

    /// Maps that followed each other.
    fn line(maps: &[(u64, u128)]) -> Overrides {
        maps.iter().fold(Overrides::default(), |line, &(version, publisher)| {
            line.followed_by(map(version, publisher, i64::try_from(version).unwrap() * 100))
        })
    }

    #[test]
    fn a_tick_has_the_map_of_its_time() {
        let overrides = line(&[(1, 1), (2, 1), (3, 1)]);
        let check = |instant, version: Option<u64>| {
            assert_eq!(overrides.at(instant).map(|map| map.stamp.version), version);
        };
        check(300, Some(3));
        check(299, Some(2));
        // The one before has been forgotten, so placement alone decides.
        check(199, None);
    }

    #[test]
    fn the_greatest_wins_and_a_fork_is_told() {
        let check = |own: &[_], heard: &[_], expected, latest| {
            let mut overrides = line(own);
            assert_eq!(overrides.merge(line(heard)), expected, "{own:?} {heard:?}");
            let stamp = overrides.stamp().map(|stamp| (stamp.version, stamp.publisher.0));
            assert_eq!(stamp, latest, "{own:?} {heard:?}");
        };
        check(&[], &[], Merged::Known, None);
        check(&[], &[(1, 1)], Merged::Adopted, Some((1, 1)));
        check(&[(1, 1)], &[(1, 1), (2, 1)], Merged::Adopted, Some((2, 1)));
        check(&[(1, 1), (2, 1)], &[(1, 1)], Merged::Known, Some((2, 1)));
        check(&[(1, 1), (2, 1)], &[(1, 1), (2, 1), (3, 2), (4, 2)], Merged::Adopted, Some((4, 2)));
        check(&[(1, 1), (2, 1)], &[(1, 1), (2, 2)], Merged::Conflict, Some((2, 2)));
        check(&[(1, 1), (2, 2)], &[(1, 1), (2, 1)], Merged::Conflict, Some((2, 2)));
        check(&[(1, 1), (2, 2)], &[(1, 1), (2, 1), (3, 1)], Merged::Conflict, Some((3, 1)));
    }

    #[test]
    fn of_two_maps_of_one_stamp_all_keep_the_same() {
        let (early, late) = (map(1, 1, 100), map(1, 1, 200));
        for (own, heard) in [(&early, &late), (&late, &early)] {
            let mut overrides = Overrides::default().followed_by(own.clone());
            let merged = overrides.merge(Overrides::default().followed_by(heard.clone()));
            assert_eq!(merged, Merged::Conflict);
            assert_eq!(overrides.latest.as_deref(), Some(&late));
        }
    }
}
