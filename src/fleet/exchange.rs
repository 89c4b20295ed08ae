//! What a node answers to each message, and what it says on its own: greetings, comparisons of
//! books, news. Part of the state machine `membership`.

use std::net::SocketAddr;

use rand::RngExt;

use crate::{
    fleet::{
        clock::Now,
        membership::{BEAT_MS, Membership},
        message::{Card, Message, NodeKey, Refusal, Version, Welcome},
        notice::Notice,
    },
    model::member::NodeId,
};

/// How often two books are compared, with one peer chosen at random.
const COMPARE_MS: u64 = 1000;
/// News goes to so many members at a beat, for so many beats, by each who hears it; what is missed
/// even so comes with the next comparison.
const RUMOUR_PEERS: usize = 3;
pub(super) const RUMOUR_BEATS: u8 = 3;
/// Of many news, so many go with a beat; the rest with the next.
const RUMOURS_PER_BEAT_MAX: usize = 20;
const WANTED_PER_MESSAGE: usize = 64;

impl Membership {
    pub(super) fn message(&mut self, from: SocketAddr, message: Message, now: Now) {
        match message {
            Message::Hello { card, challenge } => self.hello(from, &card, challenge, now),
            Message::Welcome(welcome) => self.welcome(from, *welcome, now),
            Message::Swim(packet) => {
                let effects = self.swim.packet(&packet);
                self.apply(effects, now);
            }
            Message::Compare { hash, sent_ms } => {
                let same = hash == self.records.hash();
                let (by, now_ms) = (self.settings.id.into(), now.wall_ms);
                self.send(from, Message::Compared { by, same, asked_ms: sent_ms, now_ms });
                if !same {
                    for page in self.records.versions() {
                        self.send(from, page);
                    }
                }
            }
            Message::Compared { by, same, asked_ms, now_ms } => {
                self.clock.observe(by.into(), asked_ms, now_ms, now.wall_ms);
                self.seek.compared(same, by);
                self.try_end_hold(now);
            }
            Message::Versions { first, last, versions } => {
                self.versions(from, first, last, &versions);
            }
            Message::Records(records) => {
                for record in records {
                    self.learn(record, now);
                }
                if !self.swim.is_joined() {
                    // A newcomer waits for nothing but to know what the others know.
                    self.next_compare_ms = self.lived_ms();
                }
            }
            Message::Want(keys) => {
                for message in self.records.told(keys.into_iter().map(NodeId::from)) {
                    self.send(from, message);
                }
            }
        }
    }

    fn versions(&mut self, from: SocketAddr, first: NodeKey, last: NodeKey, theirs: &[Version]) {
        let (tell, ask) = self.records.differences(first, last, theirs);
        for message in self.records.told(tell) {
            self.send(from, message);
        }
        for keys in ask.chunks(WANTED_PER_MESSAGE) {
            self.send(from, Message::Want(keys.to_vec()));
        }
    }

    fn hello(&mut self, from: SocketAddr, card: &Card, challenge: bool, now: Now) {
        self.hear_of(card);
        let refusal = self.refusal_of(card, now);
        let known = self.records.get(card.id.into()).cloned();
        let welcome = Welcome { card: self.card(), known, refusal };
        self.send(from, Message::Welcome(Box::new(welcome)));
        if challenge {
            // What was sent before was not believed; this will be.
            self.send(from, Message::Hello { card: self.card(), challenge: false });
        }
        self.seek.answered(from, card.id, self.lived_ms());
    }

    fn welcome(&mut self, from: SocketAddr, welcome: Welcome, now: Now) {
        let Welcome { card, known, refusal } = welcome;
        self.seek.answered(from, card.id, self.lived_ms());
        self.seek.welcomed(&card, self.lived_ms());
        self.hear_of(&card);
        if let Some(known) = known {
            self.learn(known, now);
        }
        if let Some(refusal) = refusal {
            let notice = match refusal {
                Refusal::Name(holder) => {
                    Notice::NameClash { name: self.about.name.clone(), holder }
                }
                Refusal::Id(holder) => Notice::IdClash { holder },
            };
            self.stay_out(notice, now);
        } else {
            self.hold_welcomed(&card);
        }
        let is_in_doubt = !self.swim.is_joined() || self.hold.is_some();
        if is_in_doubt || !self.alive.iter().any(|&(id, _)| id == card.id.into()) {
            let (hash, sent_ms) = (self.records.hash(), now.wall_ms);
            self.send(from, Message::Compare { hash, sent_ms });
        }
    }

    /// Compares books with somebody, where it is time.
    pub(super) fn compare(&mut self, now: Now) {
        if self.lived_ms() < self.next_compare_ms {
            return;
        }
        let jitter = self.rng.random_range(0..=COMPARE_MS / 2);
        let pause = if self.knows_time() { COMPARE_MS * 3 / 4 + jitter } else { BEAT_MS };
        self.next_compare_ms = self.lived_ms() + pause;
        if let Some(&(_, to)) = self.some_alive(1).first() {
            let (hash, sent_ms) = (self.records.hash(), now.wall_ms);
            self.send(to, Message::Compare { hash, sent_ms });
        }
    }

    /// Repeats the news, for some beats, to some members.
    pub(super) fn spread(&mut self) {
        if self.rumours.is_empty() || self.alive.is_empty() {
            return;
        }
        let mut fresh: Vec<(u8, NodeId)> =
            self.rumours.iter().map(|(&id, &beats)| (beats, id)).collect();
        fresh.sort_unstable_by_key(|&(beats, id)| (std::cmp::Reverse(beats), id));
        fresh.truncate(RUMOURS_PER_BEAT_MAX);
        let messages = self.records.told(fresh.iter().map(|&(_, id)| id));
        for (_, to) in self.some_alive(RUMOUR_PEERS) {
            for message in &messages {
                self.send(to, message.clone());
            }
        }
        for (beats, id) in fresh {
            if beats > 1 {
                self.rumours.insert(id, beats - 1);
            } else {
                self.rumours.remove(&id);
            }
        }
    }

    /// So many of the living others, by chance.
    pub(super) fn some_alive(&mut self, count: usize) -> Vec<(NodeId, SocketAddr)> {
        let total = self.alive.len();
        let count = count.min(total);
        for n in 0..count {
            let other = self.rng.random_range(n..total);
            self.alive.swap(n, other);
        }
        self.alive[..count].to_vec()
    }
}
