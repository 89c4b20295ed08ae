//! The fleet of hand-over's simulation, fed by pushes: clients push to any member, the real rules
//! split, forward, take and note, over a network that loses and delays. Checkers look from outside, at
//! what clients were told and what strict destinations got. Seeds as there.

mod clients;
mod delivery;
mod intake;
mod wire;

use std::ops::Range;

use rand::{RngExt, rngs::StdRng};

use crate::{
    gateway::{
        parcel::{Answer, Message},
        simulation::{
            clients::Client,
            delivery::{Asking, Delivery},
            intake::{Intake, Reply},
            wire::{Post, Wire},
        },
    },
    model::{
        identity::{SeriesKey, TenantKey},
        member::NodeId,
        slot::Slot,
    },
    ownership::{
        assign::{self, JobShare},
        handoff::simulation::{
            air::{self, Faults},
            feed::{Feed, Made, Moment},
            run, states,
        },
    },
};

/// Of each scenario, in the ordinary run.
const SEEDS: u64 = 10;
const TENANT: &str = "t";
const SLOTS_USED: u64 = 4;
const SERIES_BITS: u32 = 7;
const CLIENTS: usize = 3;
const QUICK_MS_MAX: i64 = 3;

type Air = air::Air<Outside>;

/// The series of that number, in one of the slots that are used.
fn series(number: u64) -> u64 {
    ((number % SLOTS_USED) << (64 - SERIES_BITS)) | number
}

pub(in crate::gateway) struct Outside {
    clients: Vec<Client>,
    wire: Wire,
    /// In some runs disks and links are quick, so that two pushes may follow each other within the
    /// difference of two members' clocks.
    is_quick: bool,
}

/// Something on its way, or being written, for no longer than this.
fn delay_ms(most_ms: i64, air: &mut Air) -> i64 {
    air.rng.random_range(0..if air.outside.is_quick { QUICK_MS_MAX } else { most_ms })
}

/// One member's door, and its intake.
#[derive(Default)]
struct Pushes {
    deliveries: Vec<Delivery>,
    intake: Intake,
    next_number: u64,
}

impl Feed for Pushes {
    type Outside = Outside;

    const STEP_MS: i64 = 10;
    /// Two clocks differ by less than the border of an owner's time; by more, and order breaks.
    const SKEW_MS_MAX: i64 = 24;
    const IS_PUSHED: bool = true;
    const REQUEST_MS: Range<i64> = 10..150;

    fn outside(members: &[NodeId], rng: &mut StdRng) -> Outside {
        let clients = (0..CLIENTS).map(|n| Client::new(n, members, rng)).collect();
        Outside { clients, wire: Wire::default(), is_quick: rng.random_ratio(1, 2) }
    }

    fn step_outside(air: &mut Air, is_up: &dyn Fn(NodeId) -> bool) {
        wire::meet_the_dead(air, is_up);
        for n in 0..CLIENTS {
            clients::step(n, air, is_up);
        }
    }

    fn is_done(outside: &Outside) -> bool {
        outside.clients.iter().all(Client::is_done)
    }

    fn is_used(slot: Slot) -> bool {
        let tenant = TenantKey::of(TENANT);
        (0..SLOTS_USED).any(|number| tenant.slot(SeriesKey(series(number))) == slot)
    }

    fn jobs() -> Vec<JobShare> {
        Vec::new()
    }

    fn begin(&mut self, _: i64, air: &mut Air) {
        self.next_number = air.rng.random();
    }

    fn divide(&mut self, effect: assign::Effect) -> Option<assign::Effect> {
        Some(effect)
    }

    fn step(&mut self, moment: Moment<'_>, air: &mut Air) -> Vec<Made> {
        let Moment { me, now_ms, assign, has_room } = moment;
        let table = assign.placement().table_at(now_ms);
        for post in wire::arrived(me, air) {
            match post {
                Post::Request { client, attempt, push, .. } => {
                    self.deliveries.push(Delivery::new(client, attempt, push, now_ms));
                }
                Post::Message { from, message, .. } => match message {
                    Message::Push { number, until_ms, parcel, .. } => {
                        self.intake.ask(parcel, until_ms, Reply::Peer { to: from, number });
                    }
                    Message::Answer { number, answer } => self.answered(from, number, &answer),
                    Message::Copies { .. }
                    | Message::AskDone { .. }
                    | Message::Done { .. }
                    | Message::Listens { .. } => {
                        unreachable!("one disk and any member are enough for these clients")
                    }
                },
                Post::Response { .. } => unreachable!("clients hear them"),
            }
        }
        let made = self.intake.step(assign.all_shares(), has_room, now_ms, air);
        for (reply, answer) in self.intake.take_answers(now_ms) {
            match reply {
                Reply::Here { number } => self.answered(me, number, &answer),
                Reply::Peer { to, number } => {
                    wire::send(me, to, Message::Answer { number, answer }, air);
                }
            }
        }
        for delivery in &mut self.deliveries {
            for Asking { owner, number, until_ms, parcel } in
                delivery.step(&table, &mut self.next_number, now_ms)
            {
                if owner == me {
                    self.intake.ask(parcel, until_ms, Reply::Here { number });
                } else {
                    let raw_bytes = u32::try_from(parcel.fields.len()).expect("it is bounded");
                    wire::send(
                        me,
                        owner,
                        Message::Push { number, until_ms, raw_bytes, parcel },
                        air,
                    );
                }
            }
        }
        for done in self.deliveries.extract_if(.., |delivery| delivery.outcome.is_some()) {
            wire::respond(done, air);
        }
        made
    }

    fn is_idle(&self) -> bool {
        self.deliveries.is_empty() && self.intake.is_idle()
    }

    fn is_writing(&self) -> bool {
        self.intake.is_writing()
    }

    /// As the intake's loop: what it is at comes to its end first.
    fn is_done_with(&mut self, slot: Slot, _: i64) -> bool {
        self.intake.seal(slot)
    }

    fn crashed(self, _: &mut Air) {}
}

impl Pushes {
    fn answered(&mut self, from: NodeId, number: u64, answer: &Answer) {
        for delivery in &mut self.deliveries {
            delivery.answered(from, number, answer);
        }
    }
}

#[test]
fn what_is_pushed_to_members_that_come_and_go_arrives_in_order() {
    let tally = run::<Pushes>(SEEDS, Faults { outages: true, ..Faults::default() });
    assert!(tally.handed_over > 0, "{tally:?}");
    assert_eq!((tally.late, tally.out_of_order), (0, 0), "{tally:?}");
    // Whoever forwards does not wait for an owner whose time has ended: what that has taken at the very
    // end, several samples of a series, the next owner takes once more.
    assert!(tally.stale * 1_000 < tally.samples, "{tally:?}");
}

#[test]
fn also_with_links_cut_and_bad_and_destinations_down_and_disks_full() {
    let tally = run::<Pushes>(SEEDS, Faults { crashes: false, ..Faults::all() });
    assert!(tally.handed_over > 0 && tally.repeats > 0, "{tally:?}");
    assert_eq!((tally.bets, tally.late, tally.out_of_order), (0, 0, 0), "{tally:?}");
}

/// Order may break where a death was bet on; nowhere else, and little.
#[test]
fn what_was_acknowledged_outlives_crashes() {
    let tally = run::<Pushes>(SEEDS, Faults::all());
    assert!(tally.handed_over > 0 && tally.bets > 0, "{tally:?}");
    assert!(tally.out_of_order * 25 < tally.samples, "{tally:?}");
}

/// What is left on the disks of those that crashed falls into its place before anything leaves.
#[test]
fn in_the_dark_crashes_break_no_order() {
    let tally = run::<Pushes>(SEEDS, Faults { darkness: true, ..Faults::all() });
    assert!(tally.handed_over > 0 && tally.bets > 0, "{tally:?}");
    assert_eq!((tally.late, tally.out_of_order), (0, 0), "{tally:?}");
}

/// The next event comes before the last has taken effect.
#[test]
fn every_sequence_of_quick_events_keeps_what_was_acknowledged_and_its_order() {
    every_sequence(700);
}

/// … just when it does …
#[test]
fn every_sequence_of_events_at_borders_does() {
    every_sequence(2_100);
}

/// … or when the dead have been declared so, and not all know.
#[test]
fn every_sequence_of_events_around_deaths_does() {
    every_sequence(3_300);
}

#[test]
fn so_do_longer_ones_in_which_one_broken_rule_would_show() {
    states::longer_sequences::<Pushes>();
}

fn every_sequence(pause_ms: i64) {
    let (sequences, tally) = states::every_sequence::<Pushes>(pause_ms);
    assert!(sequences >= 30 && tally.handed_over > 0, "{sequences}: {tally:?}");
}
