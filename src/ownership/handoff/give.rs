//! The old owner's side: seal, let the request under way end, offer part by part, bury what was
//! taken. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    model::{
        member::NodeId,
        record::{Record, RecordName, Sent},
    },
    ownership::{
        assign::Previous,
        handoff::{
            Effect, Settings, World,
            message::{Answer, Give, Line, Message, Names, Verdict},
        },
    },
};

/// An answer takes a round trip and a write to disk; a lost one costs this.
const ANSWER_MS_MAX: i64 = 1_000;

/// The pauses double up to this while nobody answers.
const OFFER_MS_MAX: i64 = 15_000;

/// Until a taker knows that it is the owner, or has heard those that it waits for.
const TURN_MS: i64 = 500;

/// A taker without room, or without that destination, may have it after a while. One whose line is
/// closed for want of these records asks for them sooner.
const ROOM_MS: i64 = 10_000;

#[derive(Debug)]
pub(super) struct Giver {
    part_records_max: usize,
    part_bytes_max: u64,
    givings: BTreeMap<Line, Giving>,
}

#[derive(Debug)]
struct Giving {
    until_ms: i64,
    awaits: Vec<Previous>,
    is_unaware: bool,
    gone: Vec<RecordName>,
    sent: Vec<Sent>,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Scrapes may still be under way.
    Sealing,
    /// A request may still be under way.
    Extracting,
    Offering {
        records: VecDeque<Record>,
        /// So many of the first are in the offer that was made last.
        offered: usize,
        due_ms: i64,
        pause_ms: i64,
    },
    /// The owner has no destination of that name, so it is sent by this member meanwhile.
    PutBack { due_ms: i64 },
}

impl Giving {
    fn new(until_ms: i64, awaits: Vec<Previous>, stage: Stage) -> Self {
        let (gone, sent) = (Vec::new(), Vec::new());
        Self { until_ms, awaits, is_unaware: false, gone, sent, stage }
    }
}

impl Giver {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            part_records_max: settings.part_records_max,
            part_bytes_max: settings.part_bytes_max,
            givings: BTreeMap::new(),
        }
    }

    pub(super) fn keep_destinations(&mut self, destinations: &[Arc<str>]) {
        self.givings.retain(|line, _| destinations.contains(&line.destination));
    }

    pub(super) fn len(&self) -> usize {
        self.givings.len()
    }

    pub(super) fn has(&self, line: &Line) -> bool {
        self.givings.contains_key(line)
    }

    /// `awaits` are those that this member still waited for itself: the next owner is to wait for
    /// them too.
    pub(super) fn begin(&mut self, line: Line, until_ms: i64, awaits: Vec<Previous>) {
        self.givings.insert(line, Giving::new(until_ms, awaits, Stage::Sealing));
    }

    /// The line is this member's again before all of it was given; whom the next owner was to wait
    /// for, this one has to.
    pub(super) fn cancel(&mut self, line: &Line) -> Option<Vec<Previous>> {
        self.givings.remove(line).map(|giving| giving.awaits)
    }

    pub(super) fn sealed(&mut self, line: Line) -> Option<Effect> {
        let giving = self.givings.get_mut(&line)?;
        if !matches!(giving.stage, Stage::Sealing) {
            return None;
        }
        giving.stage = Stage::Extracting;
        Some(Effect::Extract { line })
    }

    /// Somebody waits for this member, and so is there, and may have room by now: the next offer comes
    /// soon, however long the pause. Where nothing is known of the line, the outbox is asked, lest a
    /// restart has forgotten some of it.
    pub(super) fn ask(&mut self, line: &Line, until_ms: i64, now_ms: i64) -> Option<Effect> {
        if let Some(giving) = self.givings.get_mut(line) {
            // The asker knows of an ownership after this one, of which nothing is known here.
            giving.is_unaware |= until_ms > giving.until_ms;
            giving.until_ms = giving.until_ms.max(until_ms);
            if let Stage::Offering { due_ms, pause_ms, .. } = &mut giving.stage {
                *due_ms = (*due_ms).min(now_ms + TURN_MS);
                *pause_ms = ANSWER_MS_MAX;
            }
            return None;
        }
        Some(self.left_over(line.clone(), until_ms, Vec::new()))
    }

    /// No scrape of this member's is under way, so that there is nothing to seal; and while it was
    /// down, the line may have been its own without its knowing.
    pub(super) fn left_over(&mut self, line: Line, until_ms: i64, awaits: Vec<Previous>) -> Effect {
        let giving = Giving::new(until_ms, awaits, Stage::Extracting);
        self.givings.insert(line.clone(), Giving { is_unaware: true, ..giving });
        Effect::Extract { line }
    }

    pub(super) fn extracted(
        &mut self,
        line: &Line,
        records: VecDeque<Record>,
        names: Option<&Names>,
        sent: Vec<Sent>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(giving) = self.givings.get_mut(line) else { return };
        if !matches!(giving.stage, Stage::Extracting) {
            return;
        }
        let is_here =
            |name: &RecordName| records.binary_search_by_key(name, |record| record.name).is_ok();
        let taken = names.into_iter().flat_map(Names::iter);
        giving.gone = taken.filter(|name| !is_here(name)).collect();
        giving.sent = sent;
        giving.stage =
            Stage::Offering { records, offered: 0, due_ms: world.now_ms, pause_ms: ANSWER_MS_MAX };
        self.offer(line, world, effects);
    }

    pub(super) fn answered(
        &mut self,
        from: NodeId,
        answer: &Answer,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let line = &answer.line;
        let Some(giving) = self.givings.get_mut(line) else { return };
        let Stage::Offering { records, offered, due_ms, pause_ms } = &mut giving.stage else {
            return;
        };
        let last = offered.checked_sub(1).map(|last| records[last].name);
        // An answer to an earlier offer; what it confirmed is gone already, or comes again.
        if answer.until_ms != giving.until_ms || answer.through != last {
            return;
        }
        match answer.verdict {
            Verdict::Taken if answer.is_end != records.is_empty() => {}
            Verdict::Taken => {
                let names: Vec<RecordName> = records.drain(..*offered).map(|r| r.name).collect();
                *offered = 0;
                *pause_ms = ANSWER_MS_MAX;
                if !names.is_empty() {
                    effects.push(Effect::Bury { line: line.clone(), names });
                }
                if answer.is_end {
                    self.givings.remove(line);
                    effects.push(Effect::Given { line: line.clone() });
                } else {
                    self.offer(line, world, effects);
                }
            }
            Verdict::NotYet | Verdict::NotOwner => *due_ms = world.now_ms + TURN_MS,
            // To send it from here would be to race with a taker that may have a part of it.
            Verdict::NoRoom => {
                *due_ms = world.now_ms + ROOM_MS;
                effects.push(refused(line, from, records.len(), answer.verdict));
            }
            Verdict::NoDestination => {
                effects.push(refused(line, from, records.len(), answer.verdict));
                *due_ms = world.now_ms + ROOM_MS;
                if giving.awaits.is_empty() {
                    giving.stage = Stage::PutBack { due_ms: world.now_ms + ROOM_MS };
                    effects.push(Effect::PutBack { line: line.clone() });
                    effects.push(Effect::Open { line: line.clone(), before_ms: i64::MAX });
                }
            }
        }
    }

    pub(super) fn tick(&mut self, world: &World<'_>, effects: &mut Vec<Effect>) {
        let mut due = Vec::new();
        for (line, giving) in &mut self.givings {
            match giving.stage {
                Stage::Offering { due_ms, .. } if due_ms <= world.now_ms => due.push(line.clone()),
                Stage::PutBack { due_ms } if due_ms <= world.now_ms => {
                    giving.stage = Stage::Extracting;
                    effects.push(Effect::Extract { line: line.clone() });
                }
                Stage::Sealing
                | Stage::Extracting
                | Stage::Offering { .. }
                | Stage::PutBack { .. } => {}
            }
        }
        for line in due {
            self.offer(&line, world, effects);
        }
    }

    /// To whoever owns the slot now.
    fn offer(&mut self, line: &Line, world: &World<'_>, effects: &mut Vec<Effect>) {
        let Some(giving) = self.givings.get_mut(line) else { return };
        let Stage::Offering { records, offered, due_ms, pause_ms } = &mut giving.stage else {
            return;
        };
        *due_ms = world.now_ms + *pause_ms;
        let Some(to) = (world.owner)(line.slot) else { return };
        *pause_ms = (*pause_ms * 2).min(OFFER_MS_MAX);

        let mut bytes = 0;
        let fits = |record: &&Record| {
            bytes += u64::from(record.bytes);
            bytes <= self.part_bytes_max
        };
        // A record that is larger than a part is one.
        let count = records.iter().take(self.part_records_max).take_while(fits).count();
        *offered = count.max(1).min(records.len());
        // Told by itself, once all is confirmed: whoever takes the end opens the line, and a record that
        // its disk then does not take would come late.
        let is_end = records.is_empty();
        let give = Give {
            line: line.clone(),
            until_ms: giving.until_ms,
            awaits: giving.awaits.clone(),
            is_unaware: giving.is_unaware,
            records: records.iter().take(*offered).copied().collect(),
            gone: giving.gone.clone(),
            end: is_end.then(|| giving.sent.clone()),
        };
        effects.push(Effect::Send { to, message: Message::Give(give) });
    }
}

fn refused(line: &Line, by: NodeId, records: usize, why: Verdict) -> Effect {
    Effect::Refused { line: line.clone(), by, records, why }
}
