//! The line that `systemctl status` shows: how far the agent is and how it fares, what is wrong
//! first. Pure.

use std::{fmt::Write, sync::Arc};

use crate::runtime::service::Stage;

/// Of the line; a service manager takes no endless one.
const STATUS_BYTES_MAX: usize = 600;

/// What there is to say of a running agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// What someone should look at, a sentence each, the first one first.
    pub loud: Vec<String>,
    /// Of the fleet, this one included; `None` where there is no cluster.
    pub members: Option<usize>,
    /// Scraped here.
    pub targets: usize,
    pub down: usize,
    /// Unsent, of all destinations; `None` where there are none.
    pub queue: Option<QueueFacts>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFacts {
    pub samples: u64,
    /// Of the oldest unsent sample.
    pub age_ms: Option<i64>,
}

/// Those who do not answer come first, then what someone should look at.
pub(super) fn status(stage: Stage, facts: Option<&Facts>, silent: &[Arc<str>]) -> String {
    let mut parts = Vec::new();
    if !silent.is_empty() {
        parts.push(format!("no answer from {}", silent.join(", ")));
    }
    let loud = facts.map_or(&[][..], |facts| &facts.loud);
    if let [first, others @ ..] = loud {
        let more =
            if others.is_empty() { String::new() } else { format!(" (and {} more)", others.len()) };
        parts.push(format!("{first}{more}"));
    }
    match stage {
        Stage::Starting { does, .. } => parts.insert(0, format!("starting: {does}")),
        Stage::Ready => parts.extend(facts.map(running)),
        Stage::Leaving(left) => {
            let (bytes, lines) = (grouped(left.bytes), grouped(left.lines as u64));
            parts.insert(
                0,
                format!("stopping: {bytes} bytes are unsent, {lines} lines to be handed over"),
            );
        }
        Stage::Stopping => parts.insert(0, "stopping: writes and sends what is left".to_owned()),
    }
    let mut line = parts.join("; ").replace(['\n', '\r'], " ");
    if line.len() > STATUS_BYTES_MAX {
        let end = (0..=STATUS_BYTES_MAX).rev().find(|at| line.is_char_boundary(*at));
        line.truncate(end.unwrap_or_default());
        line.push('…');
    }
    line
}

fn running(facts: &Facts) -> String {
    let mut line = String::new();
    let mut say = |text: String| {
        let separator = if line.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(line, "{separator}{text}");
    };
    if let Some(members) = facts.members {
        say(counted(members, "member"));
    }
    let down = if facts.down == 0 { String::new() } else { format!(", {} down", facts.down) };
    say(format!("{}{down}", counted(facts.targets, "target")));
    match facts.queue {
        None => say("no destination".to_owned()),
        Some(QueueFacts { samples: 0, .. }) => say("queue empty".to_owned()),
        Some(QueueFacts { samples, age_ms }) => {
            let seconds = age_ms.unwrap_or(0).max(0);
            let age =
                format!("{}.{} s", grouped(seconds.unsigned_abs() / 1000), seconds % 1000 / 100);
            say(format!("queue {} samples, {age}", grouped(samples)));
        }
    }
    line
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {what}{plural}", grouped(number as u64))
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::service::Left;

    fn check(stage: Stage, facts: &Facts, silent: &[&str], expected: &str) {
        let silent: Vec<Arc<str>> = silent.iter().map(|name| Arc::from(*name)).collect();
        assert_eq!(status(stage, Some(facts), &silent), expected);
    }

    #[test]
    fn a_line_says_how_the_agent_fares() {
        let queue = |samples, age_ms| Some(QueueFacts { samples, age_ms });
        let well = Facts {
            members: Some(3),
            targets: 120,
            down: 2,
            queue: queue(4210, Some(1234)),
            ..Facts::default()
        };
        check(
            Stage::Ready,
            &well,
            &[],
            "3 members; 120 targets, 2 down; queue 4,210 samples, 1.2 s",
        );
        let alone =
            Facts { members: None, targets: 1, down: 0, queue: queue(0, None), ..well.clone() };
        check(Stage::Ready, &alone, &[], "1 target; queue empty");
        check(Stage::Ready, &Facts { queue: None, ..alone }, &[], "1 target; no destination");
        let loud = Facts {
            loud: vec!["the peer has another secret".to_owned(), "b".to_owned()],
            ..well.clone()
        };
        check(
            Stage::Ready,
            &loud,
            &["history", "scrape"],
            "no answer from history, scrape; the peer has another secret (and 1 more); 3 members; 120 targets, 2 down; queue 4,210 samples, 1.2 s",
        );
        let starting = Stage::Starting { does: "meets the fleet", goes_on: true };
        check(
            starting,
            &loud,
            &[],
            "starting: meets the fleet; the peer has another secret (and 1 more)",
        );
        let left = Left { bytes: 1_234_567, lines: 12, targets: 3 };
        check(
            Stage::Leaving(left),
            &well,
            &[],
            "stopping: 1,234,567 bytes are unsent, 12 lines to be handed over",
        );
        check(Stage::Stopping, &well, &[], "stopping: writes and sends what is left");
    }

    #[test]
    fn it_is_one_line_and_has_an_end() {
        let facts = Facts { loud: vec!["ä\n".repeat(600)], ..Facts::default() };
        let line = status(Stage::Ready, Some(&facts), &[]);
        assert!(line.len() <= STATUS_BYTES_MAX + 3 && line.ends_with('…') && !line.contains('\n'));
    }
}
