//! A member's side of one push, as `forward` has it: split by the owners that it knows of, ask them,
//! and split again what was not theirs.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    gateway::{
        parcel::{Answer, Parcel, Refusal, Unwanted},
        route::{Part, places_in, split},
        simulation::clients::Outcome,
    },
    model::member::NodeId,
    ownership::placement::Table,
};

const DELIVERY_MS_MAX: i64 = 7_000;
pub(super) const ANSWER_WAIT_MS: i64 = 3_000;
const PAUSE_MS: i64 = 15;

/// What an owner is asked.
pub(super) struct Asking {
    pub(super) owner: NodeId,
    pub(super) number: u64,
    pub(super) until_ms: i64,
    pub(super) parcel: Parcel,
}

pub(super) struct Delivery {
    pub(super) client: usize,
    pub(super) attempt: u64,
    /// What the client is to be told, as soon as it is known.
    pub(super) outcome: Option<Outcome>,
    push: Arc<Parcel>,
    until_ms: i64,
    unwanted: Vec<(u32, Unwanted)>,
    /// What is left to be asked for; `None` is all.
    places: Option<Vec<u32>>,
    asked: Vec<Asked>,
    resumes_ms: i64,
    /// As of the last look.
    table: Option<Arc<Table>>,
}

struct Asked {
    owner: NodeId,
    number: u64,
    part: Part,
    until_ms: i64,
    /// It is as good as a refusal that none comes any more.
    answer: Option<Answer>,
}

impl Delivery {
    pub(super) fn new(client: usize, attempt: u64, push: Arc<Parcel>, now_ms: i64) -> Self {
        Self {
            client,
            attempt,
            outcome: None,
            push,
            until_ms: now_ms + DELIVERY_MS_MAX,
            unwanted: Vec::new(),
            places: None,
            asked: Vec::new(),
            resumes_ms: now_ms,
            table: None,
        }
    }

    pub(super) fn answered(&mut self, from: NodeId, number: u64, answer: &Answer) {
        let is_it = |asked: &&mut Asked| (asked.owner, asked.number) == (from, number);
        if let Some(asked) = self.asked.iter_mut().find(is_it) {
            asked.answer.get_or_insert_with(|| answer.clone());
        }
    }

    /// Whom to ask for what.
    pub(super) fn step(
        &mut self,
        table: &Arc<Table>,
        next_number: &mut u64,
        now_ms: i64,
    ) -> Vec<Asking> {
        let is_news = self.table.as_ref().is_none_or(|known| !Arc::ptr_eq(known, table));
        self.table = Some(Arc::clone(table));
        if !self.asked.is_empty() {
            self.wait(table, now_ms);
            return Vec::new();
        }
        if !is_news && now_ms < self.resumes_ms {
            return Vec::new();
        }
        let split = split(&self.push, self.places.as_deref(), table);
        let mut left = split.unowned;
        left.sort_unstable();
        self.places = Some(left);
        let mut asking = Vec::new();
        for (owner, part) in split.parts {
            let number = *next_number;
            *next_number = number.wrapping_add(1);
            let until_ms = self.until_ms.min(now_ms + ANSWER_WAIT_MS);
            asking.push(Asking { owner, number, until_ms, parcel: part.parcel.clone() });
            self.asked.push(Asked { owner, number, part, until_ms, answer: None });
        }
        if asking.is_empty() {
            self.end_round(now_ms);
        }
        asking
    }

    fn wait(&mut self, table: &Table, now_ms: i64) {
        let members: BTreeSet<NodeId> = table.nodes().iter().copied().collect();
        for asked in &mut self.asked {
            if now_ms >= asked.until_ms || !members.contains(&asked.owner) {
                asked.answer.get_or_insert(Answer::Refused(Refusal::NotNow));
            }
        }
        if self.asked.iter().all(|asked| asked.answer.is_some()) {
            self.end_round(now_ms);
        }
    }

    fn end_round(&mut self, now_ms: i64) {
        let mut left = self.places.take().unwrap_or_default();
        for Asked { part, answer, .. } in std::mem::take(&mut self.asked) {
            match answer {
                Some(Answer::Kept(exceptions)) => {
                    let unwanted = exceptions.unwanted.iter();
                    self.unwanted
                        .extend(unwanted.map(|(at, why)| (part.places[*at as usize], *why)));
                    left.extend(places_in(&part, &exceptions.elsewhere));
                }
                Some(Answer::Refused(Refusal::Full | Refusal::Disk)) => {
                    self.outcome = Some(Err(()));
                }
                Some(Answer::Refused(Refusal::OtherPipeline | Refusal::NotNow)) | None => {
                    left.extend(&part.places);
                }
            }
        }
        if left.is_empty() {
            self.outcome.get_or_insert_with(|| Ok(std::mem::take(&mut self.unwanted)));
        } else if now_ms >= self.until_ms {
            self.outcome = Some(Err(()));
        }
        left.sort_unstable();
        self.places = Some(left);
        self.resumes_ms = now_ms + PAUSE_MS;
    }
}
