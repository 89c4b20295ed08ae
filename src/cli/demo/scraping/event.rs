//! What happens to the demo's flock, in a sentence each. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::demo::{
    agent::{self, Departure},
    scraping::{kills::Kill, ledger::Ledger, summary},
    show::{Seconds, Told},
};

pub(super) enum Event {
    /// The first samples of all targets are here; their numbers by agent.
    Divided(Vec<usize>),
    Gone {
        agent: usize,
        how: Departure,
        /// That it had.
        targets: usize,
    },
    TakenOver {
        kill: Kill,
        gap_ms_max: i64,
    },
}

/// Which events were told already.
#[derive(Default)]
pub(super) struct Events {
    is_divided: bool,
    /// So many kills, the earliest first.
    taken_over: usize,
}

impl Events {
    /// What has come to pass; `targets` are all that there are.
    pub(super) fn next(&mut self, ledger: &Ledger, targets: usize) -> Option<Event> {
        let kills = ledger.kills();
        if !self.is_divided && ledger.targets() >= targets {
            self.is_divided = true;
            let agents = 0..kills.departures().len();
            return Some(Event::Divided(agents.map(|agent| ledger.targets_of(agent)).collect()));
        }
        let kill = kills.all().get(self.taken_over)?;
        kill.taken_over_ms?;
        self.taken_over += 1;
        if kill.targets == 0 {
            return self.next(ledger, targets);
        }
        Some(Event::TakenOver { kill: kill.clone(), gap_ms_max: kills.gap_ms_max() })
    }
}

impl Told for Event {
    fn json(&self) -> Value {
        match self {
            Self::Divided(targets) => json!({ "event": "divided", "targets": targets }),
            Self::Gone { agent, how, targets } => {
                json!({ "event": how.name(), "agent": agent::name_of(*agent), "targets": targets })
            }
            Self::TakenOver { kill, gap_ms_max } => {
                let mut told = kill.json();
                told["event"] = "taken_over".into();
                told["gap_ms_max"] = (*gap_ms_max).into();
                told
            }
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Divided(targets) => {
                let shares: Vec<String> = targets.iter().map(usize::to_string).collect();
                let all: usize = targets.iter().sum();
                write!(f, "the agents have met and share {all} targets: {}", shares.join(" + "))
            }
            Self::Gone { agent, how: Departure::Left, .. } => {
                write!(f, "{} has left, after it handed over its targets", agent::name_of(*agent))
            }
            Self::Gone { agent, how: Departure::Killed, targets } => {
                write!(
                    f,
                    "{} was killed; it had {}",
                    agent::name_of(*agent),
                    summary::targets(*targets)
                )
            }
            Self::TakenOver { kill, gap_ms_max } => {
                let name = agent::name_of(kill.agent);
                let targets = summary::targets(kill.targets);
                write!(f, "the others took over the {targets} of {name}: ")?;
                let (gap, most) = (Seconds(kill.longest_gap_ms), Seconds(*gap_ms_max));
                write!(f, "longest gap {gap} s (at most {most})")
            }
        }
    }
}
