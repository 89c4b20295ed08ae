//! The demo's picture of a moment: which agent has what, and how evenly samples arrive. All of it is
//! what the receiving end has seen. Pure.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::cli::demo::{
    agent::{self, Departure},
    rates::Rates,
    scraping::ledger::{Ledger, Totals},
    show::{Seconds, Told},
};

pub(super) struct Summary {
    elapsed: Duration,
    agents: Vec<AgentLine>,
    targets: usize,
    targets_up: usize,
    series: usize,
    steps_ms: Option<(i64, i64)>,
    totals: Totals,
}

struct AgentLine {
    name: String,
    departure: Option<Departure>,
    targets: usize,
    samples_per_second: f64,
}

impl Summary {
    pub(super) fn of(ledger: &mut Ledger, elapsed: Duration, rates: &Rates) -> Self {
        let departures = ledger.kills().departures().iter().enumerate();
        let agents = departures.map(|(index, &departure)| AgentLine {
            name: agent::name_of(index),
            departure,
            targets: ledger.targets_of(index),
            samples_per_second: rates.per_second(index),
        });
        Self {
            elapsed,
            agents: agents.collect(),
            targets: ledger.targets(),
            targets_up: ledger.targets_up(),
            series: ledger.series(),
            totals: ledger.totals(),
            steps_ms: ledger.take_steps_ms(),
        }
    }
}

impl Told for Summary {
    fn json(&self) -> Value {
        let agents: Vec<Value> = self.agents.iter().map(AgentLine::json).collect();
        json!({
            "seconds": self.elapsed.as_secs(), "agents": agents,
            "targets": self.targets, "targets_up": self.targets_up, "series": self.series,
            "spacing_ms": self.steps_ms.map(|(shortest, longest)| [shortest, longest]),
            "received": self.totals.samples, "faults": self.totals.faults(),
        })
    }
}

impl AgentLine {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "state": agent::state_of(self.departure), "targets": self.targets,
            "samples_per_second": self.samples_per_second.round(),
        })
    }
}

/// Several lines, none of them wider than a terminal is at least.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} s  ", self.elapsed.as_secs())?;
        if self.targets == 0 {
            writeln!(f, "the agents look for each other")?;
        } else {
            write!(f, "{} of {} targets up", self.targets_up, self.targets)?;
            write!(f, ", {} series", self.series)?;
            if let Some((shortest, longest)) = self.steps_ms {
                write!(f, ", {} to {} s apart", Seconds(shortest), Seconds(longest))?;
            }
            match self.totals.faults() {
                0 => writeln!(f, ", no fault")?,
                1 => writeln!(f, ", 1 fault")?,
                faults => writeln!(f, ", {faults} faults")?,
            }
        }
        for agent in &self.agents {
            write!(f, "        {}  {:<6}", agent.name, agent::state_of(agent.departure))?;
            match (agent.departure, agent.targets) {
                (None, targets) => writeln!(
                    f,
                    "  {targets:>3} targets  {:>5.0} samples/s",
                    agent.samples_per_second
                )?,
                (Some(_), 0) => writeln!(f)?,
                (Some(_), 1) => writeln!(f, "    1 target waits for another")?,
                (Some(_), targets) => writeln!(f, "  {targets:>3} targets wait for another")?,
            }
        }
        Ok(())
    }
}

pub(super) fn targets(count: usize) -> String {
    if count == 1 { "1 target".to_owned() } else { format!("{count} targets") }
}
