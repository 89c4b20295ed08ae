//! What happens to the demo's gateways, in a sentence each. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::demo::{
    agent::{self, Departure},
    pushing::{RETURN_AFTER, kills::Kill, ledger::Ledger},
    show::{Seconds, Told},
};

pub(super) enum Event {
    /// Each gateway has acknowledged a push.
    Meeting(usize),
    Gone {
        gateway: usize,
        how: Departure,
    },
    Returned {
        gateway: usize,
        pid: u32,
    },
    /// All is stored that was acknowledged before a kill.
    Whole(Kill),
}

/// Which events were told already.
#[derive(Default)]
pub(super) struct Events {
    have_met: bool,
    /// By kill, in their order.
    whole: Vec<bool>,
}

impl Events {
    /// What has come to pass.
    pub(super) fn next(&mut self, ledger: &Ledger) -> Option<Event> {
        let gateways = ledger.gateways();
        if !self.have_met && gateways.iter().all(|gateway| gateway.acknowledged > 0) {
            self.have_met = true;
            return Some(Event::Meeting(gateways.len()));
        }
        let kills = ledger.kills().all();
        self.whole.resize(kills.len(), false);
        let is_news = |kill: &usize| !self.whole[*kill] && ledger.is_whole_after(*kill);
        let kill = (0..kills.len()).find(is_news)?;
        self.whole[kill] = true;
        Some(Event::Whole(kills[kill].clone()))
    }
}

impl Told for Event {
    fn json(&self) -> Value {
        match self {
            Self::Meeting(gateways) => json!({ "event": "taking_pushes", "gateways": gateways }),
            Self::Gone { gateway, how } => {
                json!({ "event": how.name(), "gateway": agent::name_of(*gateway) })
            }
            Self::Returned { gateway, pid } => {
                json!({ "event": "returned", "gateway": agent::name_of(*gateway), "pid": pid })
            }
            Self::Whole(kill) => {
                let mut told = kill.json();
                told["event"] = "whole".into();
                told
            }
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Meeting(1) => write!(f, "the gateway takes pushes"),
            Self::Meeting(gateways) => write!(f, "all {gateways} gateways take pushes"),
            Self::Gone { gateway, how: Departure::Left } => {
                write!(f, "{} has left, after it handed over", agent::name_of(*gateway))
            }
            Self::Gone { gateway, how: Departure::Killed } => {
                let (name, seconds) = (agent::name_of(*gateway), RETURN_AFTER.as_secs());
                write!(f, "{name} was killed; it is started again in {seconds} s")
            }
            Self::Returned { gateway, pid } => {
                write!(f, "{} is started again, pid {pid}", agent::name_of(*gateway))
            }
            Self::Whole(kill) => {
                let Kill { gateway, longest_wait_ms, late, repeated, .. } = kill;
                let (name, wait) = (agent::name_of(*gateway), Seconds(*longest_wait_ms));
                writeln!(f, "all is stored that was acknowledged before {name} was killed:")?;
                write!(f, "        a push waited {wait} s at most, ")?;
                write!(f, "{late} samples came late, {repeated} twice")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_told_once_when_it_has_come_to_pass() {
        let mut ledger = Ledger::new(1, 2);
        let mut events = Events::default();
        let mut check = |ledger: &Ledger, expected: &[&str]| {
            let told: Vec<Value> =
                std::iter::from_fn(|| events.next(ledger)).map(|event| event.json()).collect();
            let names: Vec<&str> =
                told.iter().map(|told| told["event"].as_str().unwrap()).collect();
            assert_eq!(names, expected);
        };
        ledger.acknowledged(0, 0, 1);
        check(&ledger, &[]);
        ledger.acknowledged(0, 1, 2);
        check(&ledger, &["taking_pushes"]);
        ledger.gone(1, Departure::Killed, 20_000);
        check(&ledger, &[]);
        ledger.returned(1, 30_000);
        check(&ledger, &[]);
        ledger.pushing(0, 31_000, 31_000);
        ledger.acknowledged(0, 1, 31_010);
        check(&ledger, &["whole"]);
    }
}
