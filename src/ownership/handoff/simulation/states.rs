//! The same fleet, small, and its fate not left to chance: every sequence of a few events, each so soon
//! that it falls into the fences of those before. `STARLING_DEPTH=3` takes longer sequences, and
//! `STARLING_SEED=7` other members, clocks and delays for all of them.

use std::collections::BTreeSet;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    model::{
        member::{MemberState, NodeId},
        overrides::Overrides,
        slot::Slot,
    },
    ownership::{
        handoff::simulation::{
            Fleet,
            air::{Air, Faults, Setting, Tally, Times},
            feed::Feed,
            number, roster,
            scrapes::Scrapes,
        },
        placement::{self, slots},
    },
};

/// So many events follow each other, in the ordinary run.
const DEPTH: u64 = 2;
/// The last of them is not there at first.
const MEMBERS: usize = 3;
/// Those who push have begun by then.
const FIRST_MS: i64 = 1_500;
/// Until a death has been declared and heard of, and what was the dead one's taken over.
const REST_MS: i64 = 5_000;
/// Until those that come back have their share again.
const RETURN_MS: i64 = 3_000;
const STEADY: &str = "steady";
/// Down at first, so that there is much to hand over.
const SHAKY: &str = "shaky";
/// Down until those that crashed are back and have given what lay on their disks.
const DARK: &str = "dark";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deed {
    Nothing,
    /// It comes, for the first time or again: one that is about to leave, as soon as it has.
    Start(usize),
    Leave(usize),
    Crash(usize),
    /// Between these no message passes any more; or, the second time, they do again.
    Cut(usize, usize),
    /// A destination is up, or down again.
    Switch,
}

const DEEDS: [Deed; 14] = [
    Deed::Nothing,
    Deed::Start(0),
    Deed::Start(1),
    Deed::Start(2),
    Deed::Leave(0),
    Deed::Leave(1),
    Deed::Leave(2),
    Deed::Crash(0),
    Deed::Crash(1),
    Deed::Crash(2),
    Deed::Cut(0, 1),
    Deed::Cut(0, 2),
    Deed::Cut(1, 2),
    Deed::Switch,
];

/// One that is longer than those that are all played.
struct Longer {
    /// The fault that it shows.
    shows: &'static str,
    pause_ms: i64,
    seed: u64,
    deeds: &'static [Deed],
}

const LONGER: [Longer; 10] = {
    use Deed::{Crash, Cut, Leave, Nothing, Start, Switch};
    [
        Longer {
            shows: "a dark destination takes what a crash leaves under way",
            pause_ms: 2_100,
            seed: 0,
            deeds: &[Crash(0), Nothing, Crash(1)],
        },
        Longer {
            shows: "the same, and the second was about to leave",
            pause_ms: 2_100,
            seed: 0,
            deeds: &[Crash(0), Leave(1), Crash(1)],
        },
        Longer {
            shows: "the same, with another destination up",
            pause_ms: 2_100,
            seed: 0,
            deeds: &[Crash(0), Switch, Crash(1)],
        },
        Longer {
            shows: "an owner that is not foreseen is not waited for",
            pause_ms: 1_300,
            seed: 0,
            deeds: &[Crash(1), Start(2), Start(1)],
        },
        Longer {
            shows: "a member waits for itself",
            pause_ms: 3_300,
            seed: 1,
            deeds: &[Start(2), Crash(0), Start(0)],
        },
        Longer {
            shows: "a parcel is taken after its time",
            pause_ms: 2_100,
            seed: 0,
            deeds: &[Cut(0, 1), Switch, Start(2), Leave(2)],
        },
        Longer {
            shows: "a parcel is taken after its time, while another link is cut",
            pause_ms: 3_300,
            seed: 0,
            deeds: &[Cut(0, 1), Start(2), Nothing, Cut(1, 2), Leave(2)],
        },
        Longer {
            shows: "a line opens for one giver while another has something",
            pause_ms: 1_300,
            seed: 1,
            deeds: &[Leave(0), Start(2), Cut(1, 2)],
        },
        Longer {
            shows: "whom a giver waits for does not close the line",
            pause_ms: 700,
            seed: 2,
            deeds: &[Leave(0), Start(2), Leave(1), Start(1), Cut(1, 2)],
        },
        Longer {
            shows: "whom a leaver waited for is not passed on",
            pause_ms: 700,
            seed: 2,
            deeds: &[Cut(0, 1), Leave(0), Start(0)],
        },
    ]
};

impl Deed {
    fn is_of(self, member: usize) -> bool {
        match self {
            Self::Start(of) | Self::Leave(of) | Self::Crash(of) => of == member,
            Self::Cut(one, other) => one == member || other == member,
            Self::Nothing | Self::Switch => false,
        }
    }
}

/// What is done, with the same pause between each two.
#[derive(Debug)]
struct Script {
    deeds: Vec<Deed>,
    pause_ms: i64,
}

impl Script {
    fn at_ms(&self, place: usize) -> i64 {
        FIRST_MS + self.pause_ms * i64::try_from(place).expect("there are a few")
    }

    /// What is done at that instant, by its place.
    fn due(&self, now_ms: i64) -> Option<usize> {
        (0..self.deeds.len()).find(|place| self.at_ms(*place) == now_ms)
    }

    fn times(&self) -> Times {
        let faults_ms = self.at_ms(self.deeds.len() - 1) + REST_MS;
        let samples_ms = faults_ms + RETURN_MS;
        Times { faults_ms, samples_ms, end_ms: samples_ms + 190_000 }
    }

    /// Something is done first, and of the two members that are there, who are alike, to the first.
    fn is_worth_it(&self) -> bool {
        let first = self.deeds.iter().find(|deed| deed.is_of(0) != deed.is_of(1));
        self.deeds[0] != Deed::Nothing && first.is_none_or(|deed| deed.is_of(0))
    }

    /// Whether the last deed can be done after the others.
    fn is_possible(&self) -> bool {
        let (last, before) = self.deeds.split_last().expect("there is one");
        match *last {
            Deed::Nothing | Deed::Switch => true,
            Deed::Start(member) => !is_wanted(member, before),
            Deed::Leave(member) => is_wanted(member, before),
            // Also one that is about to leave.
            Deed::Crash(member) => {
                is_wanted(member, before) || fate(member, before) == Some(Deed::Leave(member))
            }
            Deed::Cut(one, other) => {
                let are_wanted = is_wanted(one, before) && is_wanted(other, before);
                are_wanted || is_done_once(*last, before)
            }
        }
    }
}

/// What last became of the member.
fn fate(member: usize, deeds: &[Deed]) -> Option<Deed> {
    let is_fate = |deed: &&Deed| match deed {
        Deed::Start(of) | Deed::Leave(of) | Deed::Crash(of) => *of == member,
        Deed::Nothing | Deed::Cut(..) | Deed::Switch => false,
    };
    deeds.iter().rfind(is_fate).copied()
}

/// Whether it is to be up after all that.
fn is_wanted(member: usize, deeds: &[Deed]) -> bool {
    fate(member, deeds).map_or(member < MEMBERS - 1, |deed| deed == Deed::Start(member))
}

/// And not undone.
fn is_done_once(deed: Deed, deeds: &[Deed]) -> bool {
    deeds.iter().filter(|before| **before == deed).count() % 2 == 1
}

impl<F: Feed> Fleet<F> {
    fn scripted(ids: &[NodeId], seed: u64, script: &Script) -> Self {
        let crashes = script.deeds.iter().any(|deed| matches!(deed, Deed::Crash(_)));
        let faults = Faults { crashes, ..Faults::default() };
        let destinations = &[STEADY, SHAKY, DARK];
        let setting = Setting { seed, faults, times: script.times(), destinations };
        let mut fleet = Self::of(ids, StdRng::seed_from_u64(seed), setting);
        fleet.air.switch();
        let absent = fleet.truth.members.get_mut(&ids[MEMBERS - 1]).expect("all are members");
        absent.state = MemberState::Left;
        absent.intervals.clear();
        for id in &ids[..MEMBERS - 1] {
            let node = fleet.nodes.get_mut(id).expect("all are members");
            node.start(fleet.truth.clone(), &mut fleet.air);
        }
        fleet
    }

    /// `None` where something turns out to be impossible.
    fn play(mut self, ids: &[NodeId], script: &Script) -> Option<Tally> {
        let mut done = 0;
        while self.advance() {
            let now_ms = self.air.now_ms;
            // Before a crash, as what is under way may arrive with it where it is not dark.
            self.darken(|name| name == DARK);
            if let Some(place) = script.due(now_ms) {
                if !self.does(place, ids, script) {
                    return None;
                }
                done = place + 1;
            }
            let is_over = now_ms >= script.times().faults_ms;
            for (member, id) in ids.iter().enumerate() {
                let is_wanted = is_over || is_wanted(member, &script.deeds[..done]);
                let node = self.nodes.get_mut(id).expect("all are members");
                node.back_ms = is_wanted.then_some(now_ms);
            }
            self.step();
        }
        self.check();
        // A scraped sample is also late beside a newer one that is under way, and may not arrive.
        let lost = &self.air.destinations[DARK].lost;
        assert!(!F::IS_PUSHED || lost.is_empty(), "it was dark, and still {lost:?} came too late");
        Some(self.air.tally)
    }

    /// Whether that was possible.
    fn does(&mut self, place: usize, ids: &[NodeId], script: &Script) -> bool {
        let deed = script.deeds[place];
        match deed {
            Deed::Nothing | Deed::Start(_) => true,
            Deed::Leave(member) => {
                let may_leave = self.may_leave(ids[member]);
                if may_leave {
                    self.leave(ids[member]);
                }
                may_leave
            }
            Deed::Crash(member) => {
                let is_up = self.nodes[&ids[member]].is_up();
                if is_up {
                    self.crash(ids[member]);
                }
                is_up
            }
            Deed::Cut(one, other) => {
                if !is_done_once(deed, &script.deeds[..place]) {
                    let again =
                        (place + 1..script.deeds.len()).find(|at| script.deeds[*at] == deed);
                    let until_ms =
                        again.map_or(script.times().faults_ms, |place| script.at_ms(place));
                    let (one, other) = (ids[one], ids[other]);
                    self.air.cuts.extend([((one, other), until_ms), ((other, one), until_ms)]);
                }
                true
            }
            Deed::Switch => {
                self.air.switch();
                true
            }
        }
    }
}

impl<O> Air<O> {
    fn switch(&mut self) {
        let until_ms = if self.accepts(SHAKY) { self.times.faults_ms } else { self.now_ms };
        self.destinations.get_mut(SHAKY).expect("it is there").down_until_ms = until_ms;
    }
}

/// Plays all that are possible, and says how many that were and what came of them. All that fail are
/// told, not the first.
pub(crate) fn every_sequence<F: Feed>(pause_ms: i64) -> (usize, Tally) {
    let seed = number("STARLING_SEED").unwrap_or_default();
    let depth = usize::try_from(number("STARLING_DEPTH").unwrap_or(DEPTH)).expect("it is small");
    let ids = members::<F>(seed);
    let (mut sequences, mut tally, mut failed) = (0, Tally::default(), Vec::new());
    let mut script = Script { deeds: Vec::new(), pause_ms };
    each(depth, &mut script, &mut |script| {
        let play = || Fleet::<F>::scripted(&ids, seed, script).play(&ids, script);
        match std::panic::catch_unwind(play) {
            Ok(Some(of_script)) => {
                sequences += 1;
                tally.add(of_script);
            }
            Ok(None) => {}
            Err(_) => failed.push(format!("{:?}", script.deeds)),
        }
    });
    assert!(failed.is_empty(), "failed, with pauses of {pause_ms} ms: {failed:#?}");
    (sequences, tally)
}

/// Plays those that are too long to play all of their length.
pub(crate) fn longer_sequences<F: Feed>() {
    let mut failed = Vec::new();
    for Longer { shows, pause_ms, seed, deeds } in LONGER {
        let (ids, script) = (members::<F>(seed), Script { deeds: deeds.to_vec(), pause_ms });
        let play = || Fleet::<F>::scripted(&ids, seed, &script).play(&ids, &script);
        if !matches!(std::panic::catch_unwind(play), Ok(Some(_))) {
            failed.push((shows, script.deeds));
        }
    }
    assert!(failed.is_empty(), "failed: {failed:#?}");
}

fn each(depth: usize, script: &mut Script, play: &mut impl FnMut(&Script)) {
    if script.deeds.len() == depth {
        return play(script);
    }
    for deed in DEEDS {
        script.deeds.push(deed);
        if script.is_worth_it() && script.is_possible() {
            each(depth, script, play);
        }
        script.deeds.pop();
    }
}

/// Each has a slot that is used, lest what happens to one is nothing.
fn members<F: Feed>(seed: u64) -> Vec<NodeId> {
    let mut rng = StdRng::seed_from_u64(seed);
    let used: Vec<Slot> = slots().filter(|slot| F::is_used(*slot)).collect();
    loop {
        let mut ids: Vec<NodeId> = (0..MEMBERS).map(|_| NodeId(rng.random())).collect();
        ids.sort_unstable();
        let roster = roster(&ids);
        let owner = |slot: &Slot| placement::owner(*slot, 0, &roster, &Overrides::default());
        if used.iter().map(owner).collect::<BTreeSet<_>>().len() == MEMBERS {
            return ids;
        }
    }
}

/// Before the first event has taken effect, while it does, and when it has.
#[test]
fn after_every_sequence_of_events_all_that_was_scraped_has_arrived_in_order() {
    for pause_ms in [700, 2_100, 3_300] {
        let (sequences, tally) = every_sequence::<Scrapes>(pause_ms);
        assert!(sequences >= 30 && tally.handed_over > 0, "{sequences}: {tally:?}");
    }
}
