//! An owner's side of what is pushed, as the gateway's intake has it: what waits is taken together,
//! written, and answered when that is done.

use std::time::Duration;

use crate::{
    gateway::{
        ledger::{Bounds, Ledger},
        parcel::{Answer, Parcel, Refusal},
        replicas::Election,
        simulation::{Air, delay_ms},
        taking::{Memory, Taken, Terms, by_batch, take},
    },
    model::{member::NodeId, slot::Slot},
    ownership::{
        handoff::simulation::{air::Point, feed::Made},
        shares::Shares,
    },
};

const WRITE_MS_MAX: i64 = 60;

#[derive(Clone, Copy, Debug)]
pub(super) enum Reply {
    Here { number: u64 },
    Peer { to: NodeId, number: u64 },
}

struct Order {
    parcel: Parcel,
    until_ms: i64,
    reply: Reply,
}

type Answers = Vec<(Reply, Answer)>;

pub(super) struct Intake {
    memory: Memory,
    orders: Vec<Order>,
    /// Until when, and what is said then.
    writing: Option<(i64, Answers)>,
    answers: Answers,
}

impl Default for Intake {
    fn default() -> Self {
        let election = Election::new(Duration::from_secs(30));
        let memory = Memory { ledger: Ledger::default(), election };
        Self { memory, orders: Vec::new(), writing: None, answers: Vec::new() }
    }
}

impl Intake {
    pub(super) fn ask(&mut self, parcel: Parcel, until_ms: i64, reply: Reply) {
        self.orders.push(Order { parcel, until_ms, reply });
    }

    pub(super) fn is_idle(&self) -> bool {
        self.orders.is_empty() && self.answers.is_empty() && !self.is_writing()
    }

    pub(super) fn is_writing(&self) -> bool {
        self.writing.is_some()
    }

    pub(super) fn take_answers(&mut self, now_ms: i64) -> Answers {
        let is_over = |(until_ms, _): &mut (i64, Answers)| *until_ms <= now_ms;
        if let Some((_, answers)) = self.writing.take_if(is_over) {
            self.answers.extend(answers);
        }
        std::mem::take(&mut self.answers)
    }

    /// Not while it writes.
    pub(super) fn seal(&mut self, slot: Slot) -> bool {
        if self.is_writing() {
            return false;
        }
        self.memory.ledger.forget(slot);
        true
    }

    pub(super) fn step(
        &mut self,
        shares: &Shares,
        has_room: bool,
        now_ms: i64,
        air: &mut Air,
    ) -> Vec<Made> {
        if self.is_writing() || self.orders.is_empty() {
            return Vec::new();
        }
        let orders = std::mem::take(&mut self.orders);
        let mut taken = Vec::new();
        let mut answers: Answers = Vec::new();
        for (number, Order { parcel, until_ms, reply }) in (0..).zip(&orders) {
            let bounds = Bounds { late_ms_max: 0, series_max: 0 };
            let terms = Terms { shares, pipeline: None, bounds, until_ms: *until_ms, now_ms };
            let taking = take(parcel, number, &terms, &mut self.memory, &mut taken);
            let answer = match taking {
                Ok((exceptions, _)) => Answer::Kept(exceptions),
                Err(refusal) => Answer::Refused(refusal),
            };
            answers.push((*reply, answer));
        }
        if taken.is_empty() {
            self.memory.ledger.settle();
            self.answers.extend(answers);
            return Vec::new();
        }
        if !has_room {
            self.memory.ledger.take_back();
            let refused = |(reply, _)| (reply, Answer::Refused(Refusal::Full));
            self.answers.extend(answers.into_iter().map(refused));
            return Vec::new();
        }
        self.memory.ledger.settle();
        self.writing = Some((now_ms + delay_ms(WRITE_MS_MAX, air), answers));
        let is_same = |a: &Taken, b: &Taken| (a.stream, a.round) == (b.stream, b.round);
        let taken: Vec<Taken> = by_batch(&taken).copied().collect();
        taken.chunk_by(is_same).map(|batch| made(batch, &orders)).collect()
    }
}

fn made(batch: &[Taken], orders: &[Order]) -> Made {
    let point = |one: &Taken| -> Point {
        let (start, bytes) = (one.start as usize, one.bytes as usize);
        let field = &orders[one.parcel as usize].parcel.fields[start..start + bytes];
        let series = u64::from_le_bytes(field.try_into().expect("it is a series' number"));
        (series, one.timestamp_ms)
    };
    let Taken { stream, since_ms, round, .. } = batch[0];
    Made { stream, since_ms, round, points: batch.iter().map(point).collect() }
}
