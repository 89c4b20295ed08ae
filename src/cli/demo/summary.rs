//! The demo's picture of a moment: which agent has what, and how evenly samples arrive. All of it is
//! what the receiving end has seen. Pure.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::cli::demo::{
    agent::{self, Departure},
    ledger::{Ledger, Totals},
};

/// A shorter time says nothing of what comes in a second.
const RATED_MIN: Duration = Duration::from_millis(500);

pub(super) struct Summary {
    elapsed: Duration,
    /// When samples a second were last counted.
    rated: Duration,
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
    /// All that it had sent when they were last counted.
    samples: u64,
    samples_per_second: f64,
}

impl Summary {
    /// `before` is the picture that this one follows.
    pub(super) fn of(ledger: &mut Ledger, elapsed: Duration, before: Option<&Self>) -> Self {
        let rated = before.map_or(Duration::ZERO, |own| own.rated);
        let since = elapsed.saturating_sub(rated);
        let is_rated = since >= RATED_MIN;
        let departures = ledger.kills().departures();
        let agents = departures.iter().zip(ledger.samples()).enumerate();
        let agents = agents.map(|(index, (&departure, &samples))| {
            let earlier = before.map(|own| &own.agents[index]);
            let (samples, samples_per_second) = match earlier {
                Some(earlier) if !is_rated => (earlier.samples, earlier.samples_per_second),
                Some(_) | None => {
                    let arrived = samples - earlier.map_or(0, |earlier| earlier.samples);
                    // A second's samples are far below what 32 bits hold.
                    let arrived = f64::from(u32::try_from(arrived).unwrap_or(u32::MAX));
                    (samples, arrived / since.max(RATED_MIN).as_secs_f64())
                }
            };
            AgentLine {
                name: agent::name_of(index),
                departure,
                targets: ledger.targets_of(index),
                samples,
                samples_per_second,
            }
        });
        Self {
            elapsed,
            rated: if is_rated { elapsed } else { rated },
            agents: agents.collect(),
            targets: ledger.targets(),
            targets_up: ledger.targets_up(),
            series: ledger.series(),
            totals: ledger.totals(),
            steps_ms: ledger.take_steps_ms(),
        }
    }

    pub(super) fn seconds(&self) -> u64 {
        self.elapsed.as_secs()
    }

    pub(super) fn json(&self) -> Value {
        let agents: Vec<Value> = self.agents.iter().map(AgentLine::json).collect();
        json!({
            "seconds": self.seconds(), "agents": agents,
            "targets": self.targets, "targets_up": self.targets_up, "series": self.series,
            "spacing_ms": self.steps_ms.map(|(shortest, longest)| [shortest, longest]),
            "received": self.totals.samples, "faults": self.totals.faults(),
        })
    }
}

impl AgentLine {
    fn json(&self) -> Value {
        json!({
            "name": self.name, "state": self.state(), "targets": self.targets,
            "samples_per_second": self.samples_per_second.round(),
        })
    }

    fn state(&self) -> &'static str {
        match self.departure {
            None => "up",
            Some(Departure::Left) => "left",
            Some(Departure::Killed) => "killed",
        }
    }
}

/// Several lines, none of them wider than a terminal is at least.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>4} s  ", self.seconds())?;
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
            write!(f, "        {}  {:<6}", agent.name, agent.state())?;
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

/// Milliseconds as people read them.
pub(super) struct Seconds(pub(super) i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.0.max(0);
        write!(f, "{}.{:02}", ms / 1000, ms % 1000 / 10)
    }
}
