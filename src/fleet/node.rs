//! One node between its datagrams and its rules: opens what arrives, keeps the timers, seals what
//! leaves. Still without a socket and a clock, so that a simulation runs the very same code.

use std::{collections::BTreeMap, net::SocketAddr};

use crate::fleet::{
    clock::Now,
    membership::{Effect, Event, Membership, Timer},
    message::Message,
    seal::{Rejected, Sealer, Secret},
};

pub struct Node {
    pub membership: Membership,
    sealer: Sealer,
    /// By when they are due in the time that this process has lived, and the order they were set.
    timers: BTreeMap<(u64, u64), Timer>,
    timers_set: u64,
    datagrams: Vec<(SocketAddr, Vec<u8>)>,
}

impl Node {
    pub fn new(membership: Membership, sealer: Sealer) -> Self {
        let timers = BTreeMap::new();
        let mut node = Self { membership, sealer, timers, timers_set: 0, datagrams: Vec::new() };
        node.settle();
        node
    }

    /// What arrived. An error changes nothing but what the sender may be asked.
    pub fn receive(
        &mut self,
        from: SocketAddr,
        datagram: &mut [u8],
        now: Now,
    ) -> Result<(), Rejected> {
        self.membership.advance(now);
        let opened = self.sealer.open(from, datagram);
        let message = opened.and_then(|bytes| Message::read(bytes).ok_or(Rejected::Malformed));
        let (event, outcome) = match message {
            Ok(message) => (Event::Message { from, message }, Ok(())),
            Err(why) => (Event::Rejected { from, why }, Err(why)),
        };
        self.membership.handle(event, now);
        self.settle();
        outcome
    }

    /// Does what has become due.
    pub fn wake(&mut self, now: Now) {
        self.membership.advance(now);
        while let Some(entry) = self.timers.first_entry()
            && entry.key().0 <= self.membership.lived_ms()
        {
            let timer = entry.remove();
            self.membership.handle(Event::Timer(timer), now);
            self.settle();
        }
    }

    pub fn event(&mut self, event: Event, now: Now) {
        self.membership.advance(now);
        self.membership.handle(event, now);
        self.settle();
    }

    pub fn set_secrets(&mut self, secrets: &[Secret]) {
        self.sealer.set_secrets(secrets);
    }

    /// How long from the last event on until `wake` has something to do.
    pub fn next_wake_ms(&self) -> u64 {
        let due = self.timers.first_key_value().map_or(0, |((due, _), _)| *due);
        due.saturating_sub(self.membership.lived_ms())
    }

    /// What is to be sent, sealed.
    pub fn take_datagrams(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.datagrams)
    }

    fn settle(&mut self) {
        self.sealer.set_works(self.membership.works());
        for effect in self.membership.take_effects() {
            match effect {
                Effect::Send { to, message } => {
                    let frame = self.sealer.seal(to, &message.bytes());
                    self.datagrams.push((to, frame));
                }
                Effect::Challenge { to, session, message } => {
                    let frame = self.sealer.seal_for(session, &message.bytes());
                    self.datagrams.push((to, frame));
                }
                Effect::Wake { after_ms, timer } => {
                    self.timers_set += 1;
                    let due = self.membership.lived_ms() + after_ms;
                    self.timers.insert((due, self.timers_set), timer);
                }
            }
        }
    }
}
