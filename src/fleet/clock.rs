//! Fleet time: this node's clock, set right by the median of what its peers' clocks show.

use std::collections::BTreeMap;

use crate::{model::member::NodeId, runtime::clock::STEP_MS_MAX};

/// What time it is, from outside: pure code reads no clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Never goes back; starts anywhere.
    pub mono_ms: u64,
    /// The wall clock.
    pub wall_ms: i64,
}

/// Of a peer, the quickest exchange among so many is believed: the least lies hidden in its way.
const SAMPLES_MAX: usize = 8;
/// An exchange that took longer says nothing about a clock.
const ROUND_TRIP_MS_MAX: i64 = 2000;
/// Fleet time is led to where it belongs by so much at a beat, so that no tick is run twice or out
/// of turn …
const SLEW_MS_MAX: i64 = 10;
/// … and set at once where it is further off, and most clocks say so: then it was not known before.
const SLEWED_MS_MAX: i64 = 1000;
/// Where no two clocks agree it goes on for so many beats, as one of them was set and may be set
/// right; two halves of a fleet that went apart must meet all the same.
const FAR_BEATS_MAX: u32 = 600;

#[derive(Default)]
pub struct FleetClock {
    peers: BTreeMap<NodeId, Vec<Sample>>,
    /// Wall clock minus monotonic clock, when last looked at.
    standing: Option<i64>,
    offset_ms: i64,
    /// Where `offset_ms` is led.
    target_ms: i64,
    /// For so many beats it has been too far from there to be led.
    far_beats: u32,
}

#[derive(Clone, Copy)]
struct Sample {
    round_trip_ms: i64,
    offset_ms: i64,
}

impl FleetClock {
    pub fn fleet_ms(&self, now: Now) -> i64 {
        now.wall_ms.saturating_add(self.offset_ms)
    }

    /// To add to the wall clock to get fleet time.
    pub fn offset_ms(&self) -> i64 {
        self.offset_ms
    }

    /// How far the clock of `peer` is ahead of this node's.
    pub fn peer_offset_ms(&self, peer: NodeId) -> Option<i64> {
        let best = self.peers.get(&peer)?.iter().min_by_key(|sample| sample.round_trip_ms)?;
        Some(best.offset_ms)
    }

    /// How far the clocks of the others are ahead of this one, at their median: of two in the
    /// middle the one that is nearer, so that the one good clock of three is not called wrong.
    pub fn skew_ms(&self) -> i64 {
        let mut offsets: Vec<i64> =
            self.peers.keys().filter_map(|&peer| self.peer_offset_ms(peer)).collect();
        offsets.sort_unstable();
        match offsets.len() {
            0 => 0,
            n if n % 2 == 1 => offsets[n / 2],
            n if offsets[n / 2].abs() < offsets[n / 2 - 1].abs() => offsets[n / 2],
            n => offsets[n / 2 - 1],
        }
    }

    /// Looks whether the wall clock was set; gives by how much it jumped ahead, else 0.
    pub fn look(&mut self, now: Now) -> i64 {
        let mono =
            i64::try_from(now.mono_ms).expect("a process does not run for 292 million years");
        let standing = now.wall_ms.saturating_sub(mono);
        let jump = self.standing.replace(standing).map_or(0, |before| standing - before);
        if jump.abs() > STEP_MS_MAX {
            if jump > 0 {
                // The host may have been suspended, and so what was measured is void.
                self.peers.clear();
            }
            for sample in self.peers.values_mut().flatten() {
                sample.offset_ms = sample.offset_ms.saturating_sub(jump);
            }
            // Fleet time goes on where it was, until the peers are heard again.
            self.offset_ms = self.offset_ms.saturating_sub(jump);
            self.target_ms = self.offset_ms;
        }
        jump.max(0)
    }

    /// Takes in an exchange: asked at `asked_ms` and answered at `heard_ms` by this node's clock,
    /// while the peer's showed `theirs_ms`.
    pub fn observe(&mut self, peer: NodeId, asked_ms: i64, theirs_ms: i64, heard_ms: i64) {
        let round_trip_ms = heard_ms.saturating_sub(asked_ms);
        if !(0..=ROUND_TRIP_MS_MAX).contains(&round_trip_ms) {
            return;
        }
        let offset_ms = theirs_ms.saturating_sub(asked_ms + round_trip_ms / 2);
        let samples = self.peers.entry(peer).or_default();
        if samples.len() == SAMPLES_MAX {
            samples.remove(0);
        }
        samples.push(Sample { round_trip_ms, offset_ms });
        self.settle();
    }

    /// Of how many peers the clock is known.
    pub fn measured(&self) -> usize {
        self.peers.len()
    }

    /// What was measured is void, as time may have passed that no clock of this host shows.
    pub fn forget(&mut self) {
        self.peers.clear();
    }

    /// Sets fleet time right at once: nobody relies on it yet.
    pub fn set(&mut self) {
        self.offset_ms = self.target_ms;
    }

    /// Leads fleet time a step to where it belongs. A few clocks do not say where that is, where
    /// `knows_all` is false: others are still to be measured.
    pub fn beat(&mut self, knows_all: bool) {
        let off = self.target_ms - self.offset_ms;
        let is_far = off.abs() > SLEWED_MS_MAX;
        self.far_beats = if is_far { self.far_beats + 1 } else { 0 };
        let is_sure = knows_all && self.is_agreed() || self.far_beats > FAR_BEATS_MAX;
        self.offset_ms += match is_far {
            true if is_sure => off,
            false if knows_all => off.clamp(-SLEW_MS_MAX, SLEW_MS_MAX),
            true | false => 0,
        };
    }

    /// Most clocks show what fleet time is led to.
    fn is_agreed(&self) -> bool {
        let clocks = self.clocks();
        let is_near = |offset: &&i64| (**offset - self.target_ms).abs() <= SLEWED_MS_MAX;
        clocks.iter().filter(is_near).count() * 2 > clocks.len()
    }

    /// Only the living count.
    pub fn keep_only(&mut self, is_alive: impl Fn(NodeId) -> bool) {
        let before = self.peers.len();
        self.peers.retain(|&peer, _| is_alive(peer));
        if self.peers.len() != before {
            self.settle();
        }
    }

    /// How far each is ahead of this node's, and this one.
    fn clocks(&self) -> Vec<i64> {
        let peers = self.peers.keys().filter_map(|&peer| self.peer_offset_ms(peer));
        std::iter::once(0).chain(peers).collect()
    }

    fn settle(&mut self) {
        let mut offsets = self.clocks();
        if offsets.len() == 1 {
            // Alone: fleet time goes on as it went.
            return;
        }
        offsets.sort_unstable();
        let (low, high) = (offsets[(offsets.len() - 1) / 2], offsets[offsets.len() / 2]);
        self.target_ms = low + (high - low) / 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fleet_time_is_the_median_clock() {
        let check = |offsets: &[i64], offset_ms: i64, skew_ms: i64| {
            let mut clock = FleetClock::default();
            for (id, offset) in (1..).zip(offsets) {
                clock.observe(NodeId(id), 1000, 1010 + offset, 1020);
            }
            clock.set();
            assert_eq!((clock.offset_ms(), clock.skew_ms()), (offset_ms, skew_ms), "{offsets:?}");
        };
        check(&[], 0, 0);
        check(&[400], 200, 400);
        check(&[-400], -200, -400);
        check(&[0, 2000], 0, 0);
        check(&[2000, 2000], 2000, 2000);
        check(&[10, 20, 30, 40], 20, 20);
    }

    #[test]
    fn the_quickest_of_the_last_exchanges_is_believed() {
        let mut clock = FleetClock::default();
        let peer = NodeId(1);
        clock.observe(peer, 1000, 1200, 1400);
        clock.observe(peer, 1000, 1045, 1010);
        clock.observe(peer, 1000, 9000, 900);
        clock.observe(peer, 1000, 9000, 5000);
        assert_eq!(clock.peer_offset_ms(peer), Some(40));
        for _ in 0..SAMPLES_MAX {
            clock.observe(peer, 1000, 1110, 1020);
        }
        assert_eq!(clock.peer_offset_ms(peer), Some(100));
    }

    #[test]
    fn fleet_time_is_led_and_set_only_where_it_is_far_off() {
        let check = |theirs_ms: &[i64], knows_all, expected: [i64; 3]| {
            let mut clock = FleetClock::default();
            for (id, theirs_ms) in (1..).zip(theirs_ms) {
                clock.observe(NodeId(id), 0, *theirs_ms, 0);
            }
            let found = expected.map(|_| {
                clock.beat(knows_all);
                clock.offset_ms()
            });
            assert_eq!(found, expected, "{theirs_ms:?} {knows_all}");
        };
        check(&[50], true, [10, 20, 25]);
        check(&[-50], true, [-10, -20, -25]);
        check(&[5000, 5000], true, [5000, 5000, 5000]);
        // Others are to be asked yet.
        check(&[50], false, [0; 3]);
        check(&[5000, 5000], false, [0; 3]);
        // One of two was set, and who knows which.
        check(&[5000], true, [0; 3]);
        check(&[-3_600_000, 3_600_000, 3_600_000], true, [0; 3]);
    }

    #[test]
    fn two_that_went_apart_meet_in_the_middle() {
        let mut clock = FleetClock::default();
        clock.observe(NodeId(1), 0, 5000, 0);
        (0..FAR_BEATS_MAX).for_each(|_| clock.beat(true));
        assert_eq!(clock.offset_ms(), 0);
        clock.beat(true);
        assert_eq!(clock.offset_ms(), 2500);
    }

    #[test]
    fn a_clock_that_is_set_does_not_move_fleet_time() {
        let mut clock = FleetClock::default();
        let at = |mono_ms, wall_ms| Now { mono_ms, wall_ms };
        assert_eq!(clock.look(at(0, 10_000)), 0);
        clock.observe(NodeId(1), 0, 1000, 0);
        clock.set();
        assert_eq!(clock.fleet_ms(at(50, 10_050)), 10_550);
        assert_eq!(clock.look(at(100, 15_100)), 5000);
        assert_eq!(clock.fleet_ms(at(100, 15_100)), 10_600);
        assert_eq!(clock.look(at(200, 10_200)), 0);
        assert_eq!(clock.fleet_ms(at(200, 10_200)), 10_700);
        clock.keep_only(|_| false);
        assert_eq!(clock.fleet_ms(at(200, 10_200)), 10_700);
    }
}
