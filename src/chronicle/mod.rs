//! Watches what the parts publish, and turns what changes into history and into live events. The
//! rules are pure, a file for each thing that is watched; this file is the loop around them.

mod config;
mod drops;
mod members;
mod moves;
mod notices;
mod ring;
mod targets;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        watch,
    },
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tracing::warn;

pub use crate::chronicle::ring::{EventId, Live, Next, Replay, Subscription};
use crate::{
    chronicle::{
        drops::Dropped,
        members::Seen,
        moves::{Moved, Owners, SlotTargets},
        ring::Ring,
        targets::{Change, Present},
    },
    config::{digest, show},
    discovery,
    fleet::{self, notice::Raised},
    history::{
        self, Entry, Event, LastKnown, Reason,
        entry::{ConfigVersion, HealthChange, TEXT_BYTES_MAX, cut},
    },
    model::member::{NodeId, Roster},
    outbox,
    ownership::{moves::Move, view},
    runtime::{clock::FleetTime, config_state::ConfigState, stop::Stop},
    scrape::{self, shown_url},
};

/// So long is waited for what this member has missed before what it sees is written behind it.
const CATCH_UP_MAX: Duration = Duration::from_secs(40);
/// What is seen meanwhile; more is lost, and counted.
const HELD_MAX: usize = 8_192;
/// How often is looked what the queues have dropped.
const DROPS_LOOK: Duration = Duration::from_secs(5);

/// What is watched.
pub struct Links {
    pub me: NodeId,
    /// Of this node, where no roster tells it.
    pub name: String,
    pub time: FleetTime,
    pub roster: watch::Receiver<Arc<Roster>>,
    pub status: watch::Receiver<Arc<fleet::Status>>,
    pub discovery: discovery::Handle,
    pub config: watch::Receiver<Arc<ConfigState>>,
    pub owners: watch::Receiver<Arc<view::Owners>>,
    pub moves: broadcast::Receiver<Arc<[Move]>>,
    pub health: broadcast::Receiver<Arc<scrape::HealthChange>>,
    pub outbox: outbox::Handle,
    pub history: history::Handle,
}

/// Who wants to be told as it happens.
#[derive(Clone)]
pub struct Handle {
    ring: Arc<Ring>,
}

impl Handle {
    /// All events from now on, with those since `after` first where they are still known.
    pub fn subscribe(&self, after: Option<EventId>) -> Subscription {
        self.ring.subscribe(after)
    }
}

pub struct Chronicle {
    links: Links,
    ring: Arc<Ring>,
    names: BTreeMap<NodeId, String>,
    /// Until what was missed is here, and with it what the file knows.
    held: Option<Vec<Entry>>,
    known: Option<LastKnown>,
    /// `None` until the fleet is met, as are the owners.
    members: Option<Seen>,
    owners: Option<Owners>,
    /// As they were then, and when that was.
    first_members: Option<(i64, Seen)>,
    first_owners: Option<Arc<view::Owners>>,
    /// Some moves were missed; who has what is to be looked up when those are heard that were not.
    has_missed_moves: bool,
    /// `None` before the first look.
    present: Option<Present>,
    /// Discovery has had its first round.
    is_complete: bool,
    /// The first look, until it can be compared with what the file knows.
    first_found: Option<Vec<Change>>,
    /// Targets that came or went and wait for room in the history.
    waiting: VecDeque<Change>,
    slot_targets: SlotTargets,
    notices: Vec<Raised>,
    dropped: Dropped,
    shown_config: String,
    refused: Option<String>,
    /// A part that is watched has ended before this one; the agent ends.
    has_ended: bool,
}

impl Chronicle {
    pub fn new(links: Links) -> (Handle, Self) {
        let ring = Arc::new(Ring::new(links.time.now_ms()));
        let names = [(links.me, links.name.clone())].into();
        let part = Self {
            links,
            ring: Arc::clone(&ring),
            names,
            held: Some(Vec::new()),
            known: None,
            members: None,
            owners: None,
            first_members: None,
            first_owners: None,
            has_missed_moves: false,
            present: None,
            is_complete: false,
            first_found: None,
            waiting: VecDeque::new(),
            slot_targets: SlotTargets::default(),
            notices: Vec::new(),
            dropped: Dropped::default(),
            shown_config: String::new(),
            refused: None,
            has_ended: false,
        };
        (Handle { ring }, part)
    }

    /// Ends with a last word to those who listen.
    pub async fn run(mut self, stop: Stop) {
        let history = self.links.history.clone();
        let mut found = self.links.discovery.targets();
        let first_round = self.links.discovery.first_round();
        tokio::pin!(first_round);
        let give_up_at = Instant::now() + CATCH_UP_MAX;
        let mut look = interval(DROPS_LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.begin();
        while !stop.is_raised() {
            let is_held = self.held.is_some();
            let can_look = self.is_complete && self.waiting.is_empty();
            tokio::select! {
                Ok(()) = self.links.owners.changed() => self.owners_changed(),
                moves = self.links.moves.recv(), if !self.has_ended => self.moved(moves),
                Ok(()) = self.links.roster.changed() => self.roster_changed(),
                Ok(()) = self.links.status.changed() => self.status_changed(),
                Ok(()) = self.links.config.changed() => self.config_changed(),
                change = self.links.health.recv(), if !self.has_ended => {
                    self.health_changed(change);
                }
                () = &mut first_round, if !self.is_complete => {
                    self.is_complete = true;
                    found.mark_changed();
                }
                Ok(()) = found.changed(), if can_look => {
                    let snapshot = Arc::clone(&found.borrow_and_update());
                    self.found(&snapshot);
                }
                room = history.room(), if !is_held && !self.waiting.is_empty() => {
                    if let Some((room, entry)) = room.zip(targets::next_entry(&mut self.waiting)) {
                        room.send(entry);
                    }
                }
                () = history.is_caught_up(), if is_held => stop.during(self.caught_up()).await,
                () = sleep_until(give_up_at), if is_held => stop.during(self.caught_up()).await,
                _ = look.tick() => self.look_at_drops(),
                () = stop.raised() => {}
            }
        }
        self.look_at_drops();
        // Better without the comparison than not at all.
        for entry in self.held.take().unwrap_or_default() {
            history.record(entry);
        }
        self.ring.close();
    }

    fn begin(&mut self) {
        self.links.owners.mark_changed();
        self.links.roster.mark_changed();
        self.links.status.mark_changed();
        self.links.config.mark_changed();
        // What was given up before is known to whoever counts.
        self.dropped = drops::dropped(&self.links.outbox.queues());
    }

    fn now_ms(&self) -> i64 {
        self.links.time.now_ms()
    }

    fn tell(&mut self, entry: Entry) {
        let names = &self.names;
        let name = |id: NodeId| names.get(&id).cloned().unwrap_or_default();
        self.ring.push(Event::of(&entry, &name));
        self.keep(entry);
    }

    fn tell_all(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.tell(entry);
        }
    }

    fn keep(&mut self, entry: Entry) {
        match &mut self.held {
            Some(held) if held.len() < HELD_MAX => held.push(entry),
            Some(_) => self.links.history.lost(1),
            None => self.links.history.record(entry),
        }
    }

    /// From now on what is seen is written; first what differs from what the file knows.
    async fn caught_up(&mut self) {
        // Without an answer all is new.
        let known = self.links.history.last_known().await.unwrap_or_default();
        let held = self.held.take().unwrap_or_default();
        let now_ms = self.now_ms();
        self.known = Some(known);
        self.compare_members();
        self.compare_owners(now_ms);
        self.compare_targets(now_ms);
        for entry in held {
            self.keep(entry);
        }
    }

    /// Not told as it happens: it has happened before.
    fn compare_members(&mut self) {
        let Some(known) = &mut self.known else { return };
        let Some((at_ms, seen)) = self.first_members.take() else { return };
        let before: Seen = std::mem::take(&mut known.members)
            .into_iter()
            .map(|member| (member.id, member))
            .collect();
        let is_unseen = !before.is_empty();
        let entries = members::changes(&before, &seen, at_ms, is_unseen);
        for entry in entries {
            self.keep(entry);
        }
    }

    fn compare_owners(&mut self, now_ms: i64) {
        let Some((known, first)) = self.known.as_mut().zip(self.first_owners.clone()) else {
            return;
        };
        let Some(table) = &first.table else { return };
        let known = std::mem::take(&mut known.owners);
        let at_ms = first.since_ms.min(now_ms);
        let before = Owners::known(&known).unwrap_or_default();
        let moves = before.unseen(table, at_ms);
        let reason = if known.is_empty() { Reason::Start } else { Reason::Unseen };
        let entries = moves::entries(&moves, &self.slot_targets, at_ms);
        if !entries.is_empty() {
            self.keep(Owners::of(table).placement(at_ms, reason));
        }
        for entry in entries {
            self.keep(entry);
        }
    }

    fn compare_targets(&mut self, now_ms: i64) {
        let Some(known) = self.known.as_mut().filter(|_| self.first_found.is_some()) else {
            return;
        };
        let known = std::mem::take(&mut known.targets);
        let first = self.first_found.take().unwrap_or_default();
        let later = std::mem::take(&mut self.waiting);
        self.waiting = Present::first(first, &known, now_ms).into();
        self.waiting.extend(later);
    }

    fn owners_changed(&mut self) {
        let owners = Arc::clone(&self.links.owners.borrow_and_update());
        let Some(table) = &owners.table else { return };
        if self.owners.is_none() {
            self.owners = Some(Owners::of(table));
            self.first_owners = Some(Arc::clone(&owners));
            let (now_ms, seen) = (self.now_ms(), members::seen(&self.links.roster.borrow()));
            self.first_members = Some((now_ms, seen.clone()));
            self.members = Some(seen);
            self.compare_members();
            self.compare_owners(now_ms);
        }
    }

    fn moved(&mut self, moves: Result<Arc<[Move]>, RecvError>) {
        match moves {
            Ok(moves) => {
                let moves_told: Vec<Moved> = moves.iter().map(Moved::from).collect();
                if let Some(owners) = &mut self.owners {
                    owners.moved(&moves);
                }
                self.tell_moves(&moves_told);
            }
            Err(RecvError::Lagged(looks)) => {
                warn!(
                    looks,
                    "moves came faster than they could be noted; the owners are looked up"
                );
                self.has_missed_moves = true;
            }
            Err(RecvError::Closed) => self.has_ended = true,
        }
        if self.has_missed_moves && self.links.moves.is_empty() {
            self.has_missed_moves = false;
            self.look_up_owners();
        }
    }

    fn look_up_owners(&mut self) {
        let seen = Arc::clone(&self.links.owners.borrow());
        let Some((owners, table)) = self.owners.as_mut().zip(seen.table.as_ref()) else { return };
        let moves = owners.unseen(table, seen.since_ms);
        *owners = Owners::of(table);
        self.tell_moves(&moves);
    }

    fn tell_moves(&mut self, moves: &[Moved]) {
        let entries = moves::entries(moves, &self.slot_targets, self.now_ms());
        let last = moves.iter().max_by_key(|one| one.at_ms);
        let placement = last.zip(self.owners.as_ref());
        let placement = placement.map(|(last, owners)| owners.placement(last.at_ms, last.reason));
        self.tell_all(entries);
        if let Some(placement) = placement {
            self.tell(placement);
        }
    }

    fn roster_changed(&mut self) {
        let roster = Arc::clone(&self.links.roster.borrow_and_update());
        let seen = members::seen(&roster);
        self.names.extend(seen.values().map(|member| (member.id, member.name.clone())));
        if let Some(before) = &self.members {
            let entries = members::changes(before, &seen, self.now_ms(), false);
            let me = self.links.me;
            // Those that nobody speaks of any more are still told of.
            let is_known =
                |id: &NodeId| seen.contains_key(id) || before.contains_key(id) || *id == me;
            self.names.retain(|id, _| is_known(id));
            self.members = Some(seen);
            self.tell_all(entries);
        }
    }

    fn status_changed(&mut self) {
        let status = Arc::clone(&self.links.status.borrow_and_update());
        let entries =
            notices::changes(&self.notices, &status.notices, self.links.me, self.now_ms());
        self.notices.clone_from(&status.notices);
        self.tell_all(entries);
    }

    fn config_changed(&mut self) {
        let state = Arc::clone(&self.links.config.borrow_and_update());
        let version = |changes, refused| {
            Entry::Config(ConfigVersion {
                at_ms: self.now_ms(),
                by: self.links.me,
                digest: digest(&state.config),
                cause: state.cause.name().to_owned(),
                changes,
                refused,
            })
        };
        let shown = show::show(&state.config);
        let is_first = self.shown_config.is_empty();
        let told = if state.refused.is_some() && state.refused != self.refused {
            Some(version(String::new(), state.refused.clone()))
        } else if is_first {
            Some(version(String::new(), None))
        } else if shown != self.shown_config {
            Some(version(config::changes(&self.shown_config, &shown), None))
        } else {
            None
        };
        self.shown_config = shown;
        self.refused.clone_from(&state.refused);
        if let Some(told) = told {
            self.tell(told);
        }
    }

    fn health_changed(&mut self, change: Result<Arc<scrape::HealthChange>, RecvError>) {
        match change {
            Ok(change) => {
                let target = &change.target;
                self.tell(Entry::Health(HealthChange {
                    at_ms: change.at_ms,
                    target: target.id,
                    job: Arc::clone(&target.job),
                    url: shown_url(target),
                    is_up: change.is_up,
                    error: change.error.as_ref().map(|error| cut(error, TEXT_BYTES_MAX)),
                    by: self.links.me,
                }));
            }
            Err(RecvError::Lagged(missed)) => self.links.history.lost(missed),
            Err(RecvError::Closed) => self.has_ended = true,
        }
    }

    fn found(&mut self, snapshot: &discovery::Snapshot) {
        let (is_first, now_ms) = (self.present.is_none(), self.now_ms());
        let changes = self.present.get_or_insert_default().look(snapshot, now_ms);
        for change in &changes {
            if let Some(slot) = change.slot {
                self.slot_targets.add(slot, change.came());
            }
        }
        if is_first {
            self.first_found = Some(changes);
            self.compare_targets(now_ms);
        } else {
            let names = &self.names;
            let name = |id: NodeId| names.get(&id).cloned().unwrap_or_default();
            for event in targets::events(&changes, &name) {
                self.ring.push(event);
            }
            self.waiting.extend(changes);
        }
    }

    fn look_at_drops(&mut self) {
        let dropped = drops::dropped(&self.links.outbox.queues());
        let entries = drops::changes(&self.dropped, &dropped, self.links.me, self.now_ms());
        self.dropped = dropped;
        self.tell_all(entries);
    }
}
