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
        text::{good, warning},
    },
    config::units::{parse_duration, print_duration},
};

const DRAINED: &str = "drained";
const WORKING: &str = "working";
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
    /// Until it has its share again, or for so long; exit code 1 if it has not by then
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
}

impl Question for Drain {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        carry_out(agent, "/api/v1/drain", DRAINED, self.wait).await
    }
}

impl Question for Undrain {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        carry_out(agent, "/api/v1/undrain", WORKING, self.wait).await
    }
}

async fn carry_out(
    agent: &Agent,
    path: &str,
    goal: &str,
    wait: Option<Duration>,
) -> Result<Told, Fault> {
    let answer = agent.post::<Answered>(path, None).await?;
    let (mut state, mut text) = (answer.value.state, answer.text);
    let Some(wait) = wait else { return Ok(told(&state, goal, text, None)) };
    let deadline = Instant::now() + wait;
    while state != goal && Instant::now() < deadline {
        sleep(LOOK_AGAIN.min(deadline - Instant::now())).await;
        match agent.get::<Fleet>("/api/v1/fleet", &Query::new()).await {
            Ok(fleet) => state = fleet.value.node.drain,
            Err(fault) if fault.kind == Kind::NotYet => {}
            Err(fault) => return Err(fault),
        }
        text = serde_json::json!({ "state": state }).to_string();
    }
    Ok(told(&state, goal, text, Some(wait)))
}

fn told(state: &str, goal: &str, text: String, waited: Option<Duration>) -> Told {
    let mut sheet = Sheet::default();
    let code = match (state, waited) {
        (state, _) if state == goal => {
            sheet.line(good(state).then(match goal {
                DRAINED => ": it has nothing divided any more, and stays up",
                _ => ": it takes its share from its next turn on",
            }));
            Code::Fine
        }
        (state, None) => {
            sheet.line(
                warning(state)
                    .then(": under way; `--wait 60s` waits for it, `starling status` shows it"),
            );
            Code::Fine
        }
        (state, Some(wait)) => {
            let wait = print_duration(wait);
            sheet.line(
                warning(state).then(format!(": not {goal} within {wait}; it goes on by itself")),
            );
            Code::No
        }
    };
    Told::new(text, sheet, code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::sheet::Look;

    #[test]
    fn the_code_says_whether_it_is_done() {
        let check = |state, goal, waited, code, expected: &str| {
            let told = told(state, goal, String::new(), waited);
            assert_eq!(told.code, code);
            let drawn = told.sheet.draw(Look { columns: None, in_colour: false });
            assert!(drawn.contains(expected), "{drawn}");
        };
        let minute = Some(Duration::from_secs(60));
        check(DRAINED, DRAINED, None, Code::Fine, "nothing divided any more");
        check(WORKING, WORKING, minute, Code::Fine, "takes its share");
        check("draining", DRAINED, None, Code::Fine, "under way");
        check("draining", DRAINED, minute, Code::No, "not drained within 1m");
    }
}
