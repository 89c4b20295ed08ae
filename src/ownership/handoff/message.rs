//! What members tell each other when a slot changes hands. Pure values.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        record::{Record, RecordName, Sent},
        slot::Slot,
    },
    ownership::assign::Previous,
};

/// What order is kept within: one slot's records for one destination, matched by its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Line {
    pub slot: Slot,
    pub destination: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    Give(Give),
    Ask(Ask),
    Answer(Answer),
}

/// From the old owner to the present one. The next follows when this one is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Give {
    pub line: Line,
    /// Until when the line was the giver's.
    pub until_ms: i64,
    /// Whom the giver still waited for itself: their records come before its own.
    pub awaits: Vec<Previous>,
    /// The giver may have owned the line without knowing, while it was down or behind with the news:
    /// whoever had it before may have found nobody to give to.
    pub is_unaware: bool,
    pub records: Vec<Record>,
    /// What the giver had taken from others, who may not know so and offer it again, and has itself
    /// sent, or given up, since.
    pub gone: Vec<RecordName>,
    /// Nothing comes after this one; and what the destination has, as far as the giver knows.
    pub end: Option<Vec<Sent>>,
}

/// From the new owner to an old one it has not heard of: have you something for me?
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub line: Line,
    /// When the old one's ownership ended, as the asker knows.
    pub until_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub line: Line,
    /// As in the `Give`.
    pub until_ms: i64,
    /// The last record of the `Give`; `None` where it had none.
    pub through: Option<RecordName>,
    pub is_end: bool,
    pub verdict: Verdict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// All of it is on disk here, or was before, or is too late to be of use.
    Taken,
    /// The line waits for others, or for what the giver had later, and for none of what this brings.
    NotYet,
    /// Not mine, as far as I know.
    NotOwner,
    /// Not for what is left over from earlier; nor, where the line waits for the giver, within the
    /// outbox's reserve.
    NoRoom,
    /// No destination of that name here.
    NoDestination,
}

/// Names of a line's records that were taken: what comes again is known by them. Only the latest are
/// kept; a message that comes again after so many others would have its records taken for new.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<RecordName>", into = "Vec<RecordName>")]
pub struct Names {
    /// `None` where there are none: there are thousands of lines, and hardly one that has any.
    found: Option<Box<Found>>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Found {
    order: VecDeque<RecordName>,
    known: BTreeSet<RecordName>,
}

impl Names {
    const COUNT_MAX: usize = 1_024;

    /// `false` where it is known already.
    pub fn add(&mut self, name: RecordName) -> bool {
        let found = self.found.get_or_insert_default();
        if !found.known.insert(name) {
            return false;
        }
        found.order.push_back(name);
        if found.order.len() > Self::COUNT_MAX
            && let Some(oldest) = found.order.pop_front()
        {
            found.known.remove(&oldest);
        }
        true
    }

    pub fn contains(&self, name: &RecordName) -> bool {
        self.found.as_ref().is_some_and(|found| found.known.contains(name))
    }

    pub fn remove(&mut self, names: &[RecordName]) {
        let Some(found) = &mut self.found else { return };
        let mut removed = false;
        for name in names {
            removed |= found.known.remove(name);
        }
        if removed {
            found.order.retain(|name| found.known.contains(name));
        }
        if found.order.is_empty() {
            self.found = None;
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = RecordName> {
        self.found.iter().flat_map(|found| found.order.iter().copied())
    }
}

impl From<Vec<RecordName>> for Names {
    fn from(order: Vec<RecordName>) -> Self {
        let mut names = Self::default();
        for name in order {
            names.add(name);
        }
        names
    }
}

impl From<Names> for Vec<RecordName> {
    fn from(names: Names) -> Self {
        names.found.map_or_else(Self::new, |found| found.order.into())
    }
}
