//! What feeds the simulated members: scrapes, or the pushes of the gateway.

use std::ops::Range;

use rand::rngs::StdRng;

use crate::{
    model::{
        member::NodeId,
        slot::{Slot, StreamKey},
    },
    ownership::{
        assign::{self, Assign, JobShare},
        handoff::simulation::air::{Air, Point},
    },
};

/// One member's side of it; a crash takes it.
pub(crate) trait Feed: Default {
    /// What lies outside of the members.
    type Outside;

    /// How finely what members do is told apart.
    const STEP_MS: i64;
    /// By how much each member's clock is off, this way or the other.
    const SKEW_MS_MAX: i64;
    const IS_PUSHED: bool;
    /// How long a request to a destination takes.
    const REQUEST_MS: Range<i64>;

    fn outside(members: &[NodeId], rng: &mut StdRng) -> Self::Outside;

    /// Lets what lies outside have its turn, first in every step.
    fn step_outside(air: &mut Air<Self::Outside>, is_up: &dyn Fn(NodeId) -> bool);

    /// Whether all that was to come has come.
    fn is_done(outside: &Self::Outside) -> bool;

    fn is_used(slot: Slot) -> bool;

    /// What is discovered.
    fn jobs() -> Vec<JobShare>;

    /// The member has started.
    fn begin(&mut self, now_ms: i64, air: &mut Air<Self::Outside>);

    /// What is left to others of what assignment wants.
    fn divide(&mut self, effect: assign::Effect) -> Option<assign::Effect>;

    /// What has come to this member's disk.
    fn step(&mut self, moment: Moment<'_>, air: &mut Air<Self::Outside>) -> Vec<Made>;

    /// Whether it has answered all who ask: a member that leaves ends what is under way.
    fn is_idle(&self) -> bool;

    /// Whether what it made last may not be on disk yet.
    fn is_writing(&self) -> bool;

    /// Whether nothing of the slot is on its way any more of the time before.
    fn is_done_with(&mut self, slot: Slot, until_ms: i64) -> bool;

    fn crashed(self, air: &mut Air<Self::Outside>);
}

pub(crate) struct Moment<'a> {
    pub(crate) me: NodeId,
    pub(crate) now_ms: i64,
    pub(crate) assign: &'a mut Assign,
    pub(crate) has_room: bool,
}

/// A record that has no name yet.
pub(crate) struct Made {
    pub(crate) stream: StreamKey,
    /// When the ownership began that it was made in.
    pub(crate) since_ms: i64,
    pub(crate) round: i64,
    pub(crate) points: Vec<Point>,
}
