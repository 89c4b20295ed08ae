//! `starling drain` and `undrain`: out of the division and back, while the agent stays up.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep};

use crate::{
    cli::ask::{
        Code, Question, Told,
        agent::{Agent, Fault, Kind, Query},
        answer::{Drain as Answered, Fleet},
        sheet::Sheet,
        text::{Text, good, head, warning},
    },
    config::units::{parse_duration, print_duration},
};

/// Between two looks at how far it has come.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(in crate::cli) struct Drain {
    /// Until all is handed over, or for so long; exit code 1 if it is not by then
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

#[derive(Args)]
pub(in crate::cli) struct Undrain {
    /// Until it takes its share again, or for so long; exit code 1 if it does not by then
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

/// What an order leads to.
#[derive(Clone, Copy)]
enum Goal {
    Drained,
    Working,
}

impl Question for Drain {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        carry_out(agent, "/api/v1/drain", Goal::Drained, self.wait).await
    }
}

impl Question for Undrain {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        carry_out(agent, "/api/v1/undrain", Goal::Working, self.wait).await
    }
}

impl Goal {
    fn is_reached(self, fleet: &Fleet) -> bool {
        match self {
            Self::Drained => fleet.node.drain == "drained",
            // The instant from which on it has its share may lie ahead.
            Self::Working => {
                let this = fleet.members.iter().find(|member| member.id == fleet.node.id);
                let has_share = this.is_some_and(|this| this.slots > 0 || this.weight == 0);
                fleet.node.drain == "working" && has_share
            }
        }
    }

    fn reached(self) -> Text {
        match self {
            Self::Drained => good("drained").then(": it has nothing divided any more; it stays up"),
            Self::Working => good("working").then(": it takes its share again"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Working => "working",
        }
    }
}

async fn carry_out(
    agent: &Agent,
    path: &str,
    goal: Goal,
    wait: Option<Duration>,
) -> Result<Told, Fault> {
    let answer = agent.post::<Answered>(path, None).await?;
    let Some(wait) = wait else {
        let mut sheet = Sheet::default();
        let state = head(&answer.value.state);
        sheet.line(state.then(": ordered; `--wait 60s` waits for it, `starling status` shows it"));
        return Ok(Told::new(answer.text, sheet, Code::Fine));
    };
    let deadline = Instant::now() + wait;
    // What is ordered is not done yet: only the fleet's own word counts.
    let mut state = answer.value.state;
    let is_reached = loop {
        match agent.get::<Fleet>("/api/v1/fleet", &Query::new()).await {
            Ok(fleet) if goal.is_reached(&fleet.value) => break true,
            Ok(fleet) => state = fleet.value.node.drain,
            Err(fault) if fault.kind == Kind::NotYet => {}
            Err(fault) => return Err(fault),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break false;
        }
        sleep(LOOK_AGAIN.min(left)).await;
    };
    let mut sheet = Sheet::default();
    if is_reached {
        goal.name().clone_into(&mut state);
        sheet.line(goal.reached());
    } else {
        let (goal, wait) = (goal.name(), print_duration(wait));
        sheet.line(
            warning(&state).then(format!(": not {goal} within {wait}; it goes on by itself")),
        );
    }
    let json = serde_json::json!({ "state": state }).to_string();
    Ok(Told::new(json, sheet, if is_reached { Code::Fine } else { Code::No }))
}
