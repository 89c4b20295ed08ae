//! The new owner's side: whom a line waits for, what of it is known already, and how far its fence
//! is open. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use crate::{
    model::{
        member::NodeId,
        record::{Record, RecordName},
    },
    ownership::{
        assign::Previous,
        handoff::{
            Bet, Effect, Outlook, Settings, World,
            message::{Answer, Ask, Give, Line, Message, Names, Verdict},
        },
    },
};

/// How long a taker listens before it asks, and between questions.
const ASK_MS: i64 = 2_000;

/// Whom one line may wait for. More owners in a few minutes are a fleet that is not to be waited for.
const AWAITS_MAX: usize = 16;

/// How long after the last word of a line it is remembered what was taken of it and that nobody is
/// waited for any more. Longer than a slot's earlier owners are looked back for, so that a restart
/// asks nobody twice; and an unanswered giver offers again every few seconds. What comes still later,
/// out of a disk that was away, is told by what the outbox has or has sent, and counted as late.
const REMEMBERED_MS: i64 = 600_000;

#[derive(Debug)]
pub(super) struct Taker {
    me: NodeId,
    fence_ms_max: i64,
    lines: BTreeMap<Line, Saved>,
    /// Those of `lines` that wait for somebody.
    waiting: BTreeSet<Line>,
    /// Those of `lines` that were this member's before a restart. Until they are gained anew they may
    /// be another's by now, who is to be given what is left of them.
    unconfirmed: BTreeSet<Line>,
    /// Those of `lines` that are worth to be remembered, each once; when it may be time to forget,
    /// in about that order.
    remembered: VecDeque<(i64, Line)>,
    /// When `tick` was last called.
    ticked_ms: Option<i64>,
}

/// What is known of a line that was gained; kept on disk beside its records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Saved {
    /// `None` where the slot is another's.
    mine_since_ms: Option<i64>,
    /// By the end of their ownership. Where the line is another's, those whom it is to wait for.
    awaits: BTreeMap<(i64, NodeId), Waiting>,
    /// Nobody but the one that is waited for has anything of the line, nor does this disk: it gives in order, so that
    /// what it gives can be sent as it comes.
    is_sole: bool,
    /// Who had the slot before those that are waited for, the latest first. Each knows whom it waited
    /// for itself, so the next is only asked when one is dead or unaware.
    before: Vec<Previous>,
    names: Names,
    /// When there was last any word of others about it; `None` where there never was, or where it was
    /// forgotten.
    heard_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Waiting {
    /// In silence, while the destination accepted.
    waited_ms: i64,
    /// When it was last asked or heard.
    asked_ms: Option<i64>,
    /// It has begun to give, and so has told whom it waited for and what is gone.
    has_begun: bool,
}

impl Saved {
    /// Records of intervals before this may be sent. `None`: the line is another's.
    fn open_before_ms(&self) -> Option<i64> {
        self.mine_since_ms?;
        Some(match self.awaits.first_key_value() {
            // Also those of intervals that began after this member's: the other side of a split had
            // the slot meanwhile, and gives back what it could not send.
            None => i64::MAX,
            Some(((until_ms, _), waiting)) if self.is_sole && waiting.has_begun => *until_ms,
            Some(_) => i64::MIN,
        })
    }

    /// A giving that ended before the ownership that is waited for is an old one, heard late.
    fn awaits(&self, give: &Give, from: NodeId) -> bool {
        self.awaits.keys().any(|&(until_ms, node)| node == from && until_ms <= give.until_ms)
    }

    /// Somebody that the line does not wait for has something for it, while it waits for others. The news
    /// that it had the slot in between may be under way yet, or it comes back from long ago: once the
    /// line is open, it comes too late. Of what `me` was about to give to others, nothing more will come.
    fn is_unforeseen(&self, give: &Give, from: NodeId, me: NodeId) -> bool {
        let waits = !self.awaits.is_empty() && self.awaits.len() < AWAITS_MAX;
        let is_known = |record: &Record| self.names.contains(&record.name);
        waits
            && from != me
            && self.awaits.keys().all(|&(_, node)| node != from)
            && !give.records.iter().all(is_known)
    }

    /// Waits for the one who had the slot before `instant_ms`, as far as it may still answer. Those
    /// who had it later are passed over, not struck out: word of them may be yet to come.
    fn await_before(
        &mut self,
        instant_ms: i64,
        line: &Line,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let is_earlier = |previous: &Previous| previous.until_ms < instant_ms;
        while let Some(at) = self.before.iter().position(is_earlier) {
            let Previous { node, until_ms } = self.before.remove(at);
            // What one had that has left lies with one of those after it: that is waited for, or a bet
            // on it was made.
            if world.has_left(node) {
                continue;
            }
            if world.is_dead(node) {
                bet(line, node, Bet::Death, effects);
                continue;
            }
            self.awaits.entry((until_ms, node)).or_default();
            return;
        }
    }
}

fn bet(line: &Line, on: NodeId, why: Bet, effects: &mut Vec<Effect>) {
    effects.push(Effect::Bet { line: line.clone(), on, why });
}

impl Taker {
    pub(super) fn new(settings: &Settings, mut lines: BTreeMap<Line, Saved>) -> Self {
        let (mut waiting, mut remembered) = (BTreeSet::new(), Vec::new());
        for (line, state) in &mut lines {
            // What a giving had set aside before the restart lies among the rest now.
            state.is_sole = false;
            if state.mine_since_ms.is_some() && !state.awaits.is_empty() {
                waiting.insert(line.clone());
            }
            remembered
                .extend(state.heard_ms.map(|heard_ms| (heard_ms + REMEMBERED_MS, line.clone())));
        }
        remembered.sort_unstable();
        let was_mine = lines.iter().filter(|(_, state)| state.mine_since_ms.is_some());
        let unconfirmed = was_mine.map(|(line, _)| line.clone()).collect();
        let Settings { me, fence_ms_max, .. } = *settings;
        let remembered = remembered.into();
        Self { me, fence_ms_max, lines, waiting, unconfirmed, remembered, ticked_ms: None }
    }

    pub(super) fn keep_destinations(&mut self, destinations: &[Arc<str>]) {
        let stays = |line: &Line| destinations.contains(&line.destination);
        self.lines.retain(|line, _| stays(line));
        self.waiting.retain(stays);
        self.unconfirmed.retain(stays);
        self.remembered.retain(|(_, line)| stays(line));
    }

    pub(super) fn is_mine(&self, line: &Line) -> bool {
        let state = self.lines.get(line).filter(|_| !self.unconfirmed.contains(line));
        state.is_some_and(|state| state.mine_since_ms.is_some())
    }

    pub(super) fn saved(&self, line: &Line) -> Option<&Saved> {
        self.lines.get(line).filter(|state| state.heard_ms.is_some())
    }

    pub(super) fn all_saved(&self) -> impl Iterator<Item = (&Line, &Saved)> {
        self.remembered.iter().filter_map(|(_, line)| self.lines.get_key_value(line))
    }

    pub(super) fn open_before_ms(&self, line: &Line) -> Option<i64> {
        let state = self.lines.get(line).filter(|_| !self.unconfirmed.contains(line));
        state.and_then(Saved::open_before_ms)
    }

    pub(super) fn is_waiting(&self, line: &Line) -> bool {
        self.lines.get(line).is_some_and(|state| !state.awaits.is_empty())
    }

    pub(super) fn names(&self, line: &Line) -> Option<&Names> {
        self.lines.get(line).map(|state| &state.names)
    }

    pub(super) fn inherited(&mut self, line: &Line, names: &[RecordName], now_ms: i64) -> bool {
        let mine = self.lines.get_mut(line).filter(|state| state.mine_since_ms.is_some());
        let Some(state) = mine else { return false };
        for name in names {
            state.names.add(*name);
        }
        self.remember(line, now_ms);
        true
    }

    /// What was given on may come back: it is not known here any more.
    pub(super) fn forget(&mut self, line: &Line, names: &[RecordName]) {
        if let Some(state) = self.lines.get_mut(line) {
            state.names.remove(names);
        }
    }

    pub(super) fn closed(&self) -> usize {
        self.waiting.len()
    }

    /// `cancelled`: this disk still has something of the line, from an earlier time, for which these
    /// were waited for.
    pub(super) fn gained(
        &mut self,
        line: &Line,
        from_ms: i64,
        previous: &[Previous],
        cancelled: Option<Vec<Previous>>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        self.unconfirmed.remove(line);
        let state = self.lines.entry(line.clone()).or_default();
        // After a restart it may be known already, and only the outbox has to be told again.
        if state.mine_since_ms != Some(from_ms) {
            state.mine_since_ms = Some(from_ms);
            state.before = previous.to_vec();
            state.await_before(i64::MAX, line, world, effects);
            let is_here = cancelled.is_some();
            for Previous { node, until_ms } in cancelled.into_iter().flatten() {
                state.awaits.entry((until_ms, node)).or_default();
            }
            // Before the first tick, after a restart, the disk may hold anything.
            state.is_sole = !is_here && state.awaits.len() == 1 && self.ticked_ms.is_some();
            if is_here || !previous.is_empty() {
                self.remember(line, world.now_ms);
            }
        }
        self.open(line, effects);
    }

    /// A line that nobody had before.
    pub(super) fn began(&mut self, line: &Line, from_ms: i64, effects: &mut Vec<Effect>) {
        self.unconfirmed.remove(line);
        self.lines.entry(line.clone()).or_default().mine_since_ms = Some(from_ms);
        self.open(line, effects);
    }

    /// Whom the line still waits for: the next owner is to be told. Until it has been, that is not
    /// forgotten, lest a crash breaks the chain.
    pub(super) fn lost(&mut self, line: &Line) -> Vec<Previous> {
        self.unconfirmed.remove(line);
        let Some(state) = self.lines.get_mut(line) else { return Vec::new() };
        state.mine_since_ms = None;
        state.before.clear();
        state.awaits.values_mut().for_each(|waiting| *waiting = Waiting::default());
        self.waiting.remove(line);
        state.awaits.keys().map(|&(until_ms, node)| Previous { node, until_ms }).collect()
    }

    /// All of the line was given, and so the next owner knows whom to wait for.
    pub(super) fn passed_on(&mut self, line: &Line) {
        if let Some(state) = self.lines.get_mut(line) {
            state.awaits.clear();
        }
    }

    /// `outlook` is `None` where no destination has the line's name.
    pub(super) fn given(
        &mut self,
        from: NodeId,
        give: Give,
        outlook: Option<&Outlook<'_>>,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let verdict = self.verdict(from, &give, outlook, world);
        let answer = Message::Answer(Answer {
            line: give.line.clone(),
            until_ms: give.until_ms,
            through: give.records.last().map(|record| record.name),
            is_end: give.end.is_some(),
            verdict,
        });
        let (Verdict::Taken, Some(outlook)) = (verdict, outlook) else {
            effects.push(Effect::Send { to: from, message: answer });
            return;
        };
        let line = give.line.clone();
        let me = self.me;
        let state = self.lines.get_mut(&line).expect("what is taken was gained");
        if state.is_unforeseen(&give, from, me) {
            state.awaits.entry((give.until_ms, from)).or_default();
            state.is_sole = false;
        }
        if state.awaits(&give, from) {
            note_awaits(state, from, &give, me, world, effects);
        }
        let (records, late) = take_records(state, &give.records, outlook);
        for name in &give.gone {
            state.names.add(*name);
        }
        effects.push(Effect::Store {
            line: line.clone(),
            records,
            late,
            gone: give.gone,
            sent: give.end.unwrap_or_default(),
            to: from,
            answer,
        });
        self.remember(&line, world.now_ms);
        self.open(&line, effects);
    }

    /// Fences open on deaths, and on silence while the destination accepts; the silent are asked.
    pub(super) fn tick(
        &mut self,
        accepts: &dyn Fn(&str) -> bool,
        world: &World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let passed_ms = self.ticked_ms.map_or(0, |ticked_ms| (world.now_ms - ticked_ms).max(0));
        self.ticked_ms = Some(world.now_ms);
        let mut opened = Vec::new();
        for line in &self.waiting {
            let state = self.lines.get_mut(line).expect("lines that wait are known");
            let accepted_ms = if accepts(&line.destination) { passed_ms } else { 0 };
            let mut given_up = Vec::new();
            for (&(until_ms, node), waiting) in &mut state.awaits {
                waiting.waited_ms += accepted_ms;
                if world.is_dead(node) {
                    given_up.push((until_ms, node, Bet::Death));
                } else if waiting.waited_ms >= self.fence_ms_max {
                    given_up.push((until_ms, node, Bet::Timeout));
                } else if world.now_ms - *waiting.asked_ms.get_or_insert(world.now_ms) >= ASK_MS {
                    waiting.asked_ms = Some(world.now_ms);
                    let message = Message::Ask(Ask { line: line.clone(), until_ms });
                    effects.push(Effect::Send { to: node, message });
                }
            }
            for (until_ms, node, why) in given_up {
                state.awaits.remove(&(until_ms, node));
                bet(line, node, why, effects);
                match why {
                    Bet::Death => {
                        state.is_sole = false;
                        state.await_before(until_ms, line, world, effects);
                    }
                    Bet::Timeout => {}
                }
                opened.push(line.clone());
            }
        }
        for line in opened {
            self.open(&line, effects);
        }
        self.forget_old(world.now_ms);
    }

    fn verdict(
        &self,
        from: NodeId,
        give: &Give,
        outlook: Option<&Outlook<'_>>,
        world: &World<'_>,
    ) -> Verdict {
        let Some(outlook) = outlook else { return Verdict::NoDestination };
        let mine = self.lines.get(&give.line).filter(|state| state.mine_since_ms.is_some());
        let Some(state) = mine.filter(|_| (world.owner)(give.line.slot) == Some(self.me)) else {
            return Verdict::NotOwner;
        };
        let is_awaited = state.awaits(give, from);
        if !state.awaits.is_empty() && !is_awaited && !state.is_unforeseen(give, from, self.me) {
            return Verdict::NotYet;
        }
        let has_room = outlook.has_room || is_awaited && outlook.has_reserve;
        let is_new = |record: &Record| !state.names.contains(&record.name);
        if !has_room && give.records.iter().any(is_new) {
            return Verdict::NoRoom;
        }
        Verdict::Taken
    }

    /// Says how far the line is open now, and notes whether it waits.
    fn open(&mut self, line: &Line, effects: &mut Vec<Effect>) {
        let Some(state) = self.lines.get(line) else { return };
        if state.awaits.is_empty() {
            self.waiting.remove(line);
        } else if !self.waiting.contains(line) {
            self.waiting.insert(line.clone());
        }
        if let Some(before_ms) = state.open_before_ms() {
            effects.push(Effect::Open { line: line.clone(), before_ms });
        }
    }

    fn remember(&mut self, line: &Line, now_ms: i64) {
        let Some(state) = self.lines.get_mut(line) else { return };
        if state.heard_ms.replace(now_ms).is_none() {
            self.remembered.push_back((now_ms + REMEMBERED_MS, line.clone()));
        }
    }

    fn forget_old(&mut self, now_ms: i64) {
        while self.remembered.front().is_some_and(|(due_ms, _)| *due_ms <= now_ms)
            && let Some((_, line)) = self.remembered.pop_front()
        {
            let Some(state) = self.lines.get_mut(&line) else { continue };
            let due_ms = state.heard_ms.map_or(now_ms, |heard_ms| heard_ms + REMEMBERED_MS);
            if !state.awaits.is_empty() || due_ms > now_ms {
                self.remembered.push_back((due_ms.max(now_ms + REMEMBERED_MS), line));
            } else if state.mine_since_ms.is_some() {
                let mine_since_ms = state.mine_since_ms;
                *state = Saved { mine_since_ms, ..Saved::default() };
            } else {
                self.lines.remove(&line);
            }
        }
    }
}

/// Takes over those that `from` waited for, and ends the wait for `from` if it has ended.
fn note_awaits(
    state: &mut Saved,
    from: NodeId,
    give: &Give,
    me: NodeId,
    world: &World<'_>,
    effects: &mut Vec<Effect>,
) {
    let mut is_news = None;
    for (&(until_ms, _), waiting) in state.awaits.iter_mut().filter(|((_, node), _)| *node == from)
    {
        if !waiting.has_begun {
            is_news = Some(until_ms);
        }
        *waiting = Waiting { waited_ms: 0, asked_ms: Some(world.now_ms), has_begun: true };
    }
    for &Previous { node, until_ms } in give.awaits.iter().filter(|_| is_news.is_some()) {
        if node == me {
            // What this member was waited for lies here already; but it may have been down while the
            // line was its own, so that it has not heard those before it.
            state.is_sole = false;
            state.await_before(until_ms, &give.line, world, effects);
        } else if world.is_dead(node) {
            bet(&give.line, node, Bet::Death, effects);
            state.is_sole = false;
            state.await_before(until_ms, &give.line, world, effects);
        } else if state.awaits.len() < AWAITS_MAX {
            state.awaits.entry((until_ms, node)).or_default();
            state.is_sole = false;
        }
    }
    if let Some(until_ms) = is_news.filter(|_| give.is_unaware) {
        state.is_sole = false;
        state.await_before(until_ms, &give.line, world, effects);
    }
    if give.end.is_some() {
        state.awaits.retain(|&(until_ms, node), _| node != from || until_ms > give.until_ms);
    }
}

/// Those to be written, and those that come too late: the destination has newer ones of their stream
/// and would refuse them.
fn take_records(
    state: &mut Saved,
    records: &[Record],
    outlook: &Outlook<'_>,
) -> (Vec<RecordName>, Vec<RecordName>) {
    let (mut taken, mut late) = (Vec::new(), Vec::new());
    for record in records {
        if !state.names.add(record.name) {
            continue;
        }
        let sent_ms = (outlook.sent_ms)(record).filter(|_| !record.pushed);
        if sent_ms.is_none_or(|sent_ms| record.oldest_ms > sent_ms - outlook.window_ms) {
            taken.push(record.name);
        } else {
            late.push(record.name);
        }
    }
    (taken, late)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::slot::StreamKey;

    /// The destination has a sample of 100 of the only stream.
    #[test]
    fn late_is_what_the_destinations_window_does_not_reach() {
        let check = |window_ms, oldest_ms, pushed, is_late| {
            let name = RecordName { interval_ms: 0, node: NodeId(1), sequence: 1 };
            let records = [Record { name, stream: StreamKey(0), oldest_ms, bytes: 1, pushed }];
            let sent_ms = |_: &Record| Some(100);
            let outlook =
                Outlook { has_room: true, has_reserve: true, window_ms, sent_ms: &sent_ms };
            let (taken, late) = take_records(&mut Saved::default(), &records, &outlook);
            assert_eq!((taken.len(), late.len()), if is_late { (0, 1) } else { (1, 0) });
        };
        check(0, 101, false, false);
        check(0, 100, false, true);
        check(30, 71, false, false);
        check(30, 70, false, true);
        check(0, 50, true, false);
    }
}
