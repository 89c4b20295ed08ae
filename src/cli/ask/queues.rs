//! `starling queues`: what has not been sent yet, how old it is, and what the destination says.

use clap::Args;

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Fault, Query},
    answer::{FleetQueues, MemberQueues, Queue, Queues as Answered},
    measure::{bytes, seconds},
    sheet::{Column, Sheet, Table, left, long, right},
    targets::show_silent,
    text::{Text, bad, faint, warning},
};

/// A healthy queue holds samples back for a second or so, for company.
const AGE_SECONDS_FINE: f64 = 30.0;

#[derive(Args)]
pub(in crate::cli) struct Queues {
    /// Of all members
    #[arg(long)]
    fleet: bool,
}

impl Question for Queues {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        if self.fleet {
            let answer = agent.get::<FleetQueues>("/api/v1/fleet/queues", &Query::new()).await?;
            let sheet = show_fleet(&answer.value);
            return Ok(Told::new(answer.text, sheet, Code::Fine));
        }
        let answer = agent.get::<Answered>("/api/v1/queues", &Query::new()).await?;
        let sheet = show(&answer.value);
        Ok(Told::new(answer.text, sheet, Code::Fine))
    }
}

fn show(answer: &Answered) -> Sheet {
    let mut sheet = Sheet::default();
    let mut table = Table::new(columns());
    for queue in &answer.destinations {
        table.row(cells(queue));
    }
    sheet.table(table, "no destinations: what is scraped goes nowhere");
    for queue in &answer.destinations {
        troubles(queue, "", &mut sheet);
    }
    sheet
}

fn show_fleet(answer: &FleetQueues) -> Sheet {
    let mut sheet = Sheet::default();
    let mut table = Table::new([vec![left("MEMBER")], columns()].concat());
    let mut members: Vec<&MemberQueues> = answer.members.iter().collect();
    members.sort_by_key(|member| &*member.name);
    for member in members {
        for queue in member.destinations.iter().flatten() {
            table.row([vec![Text::from(&*member.name)], cells(queue)].concat());
        }
    }
    sheet.table(table, "no destinations: what is scraped goes nowhere");
    for member in &answer.members {
        for queue in member.destinations.iter().flatten() {
            troubles(queue, &format!("{}, ", member.name), &mut sheet);
        }
    }
    show_silent(&answer.asked, &mut sheet);
    sheet
}

fn columns() -> Vec<Column> {
    vec![
        left("DESTINATION"),
        right("SAMPLES"),
        right("BYTES"),
        right("OLDEST"),
        right("SENT"),
        right("DROPPED"),
        long("LAST ANSWER"),
    ]
}

fn cells(queue: &Queue) -> Vec<Text> {
    let dropped: u64 = queue.dropped_samples.values().sum();
    vec![
        (&*queue.name).into(),
        queue.samples.to_string().into(),
        bytes(queue.bytes).into(),
        age(queue.oldest_age_seconds),
        queue.sent_samples.to_string().into(),
        if dropped > 0 { bad(dropped.to_string()) } else { "0".into() },
        queue.last_answer.as_ref().map_or_else(|| faint("-"), |answer| (&*answer.text).into()),
    ]
}

pub(super) fn age(age_seconds: Option<f64>) -> Text {
    match age_seconds {
        None => faint("-"),
        Some(age) if age <= AGE_SECONDS_FINE => seconds(age).into(),
        Some(age) => warning(seconds(age)),
    }
}

/// What keeps it from sending, and what it gave up.
pub(super) fn troubles(queue: &Queue, member: &str, sheet: &mut Sheet) {
    let at = format!("{member}{}: ", queue.name);
    if let Some(fault) = &queue.disk.fault {
        sheet.line(bad(format!("{at}disk: ")).then(&**fault));
    }
    let held: Vec<&str> = queue
        .lanes
        .iter()
        .filter(|lane| lane.state == "held")
        .map(|lane| lane.reason.as_deref().unwrap_or("held"))
        .collect();
    if let Some(reason) = held.first() {
        let count = format!("{at}{} of {} lanes are held: ", held.len(), queue.lanes.len());
        sheet.line(bad(count).then(*reason));
    }
    let dropped: Vec<String> = queue
        .dropped_samples
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| format!("{count} {reason}"))
        .collect();
    if !dropped.is_empty() {
        sheet.line(bad(format!("{at}dropped: ")).then(dropped.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::sheet::Look;

    const QUEUES: &str = r#"[
        {"name": "a", "bytes": 12288, "samples": 420, "records": 3, "oldest_age_seconds": 0.8,
         "in_flight": 1, "sent_samples": 100000, "dropped_samples": {}, "last_answer":
         {"text": "204", "time": "2026-11-21T12:00:00.000Z"}, "disk": {"fault": null,
         "segments": 0, "bytes": 0}, "lanes": [{"tenant": "", "number": 0, "position": 1,
         "records": 3, "state": "in_flight"}]},
        {"name": "b", "bytes": 3145728, "samples": 90000, "records": 900,
         "oldest_age_seconds": 240.0, "in_flight": 0, "sent_samples": 0,
         "dropped_samples": {"max_age": 7, "rejected": 2}, "last_answer": null, "disk":
         {"fault": "no space left on device", "segments": 1, "bytes": 9}, "lanes": [
         {"tenant": "", "number": 0, "position": 1, "records": 3, "state": "held",
          "reason": "401 Unauthorized"}, {"tenant": "", "number": 1, "position": 1,
          "records": 0, "state": "idle"}]}]"#;
    const PLAIN: Look = Look { columns: None, in_colour: false };

    #[test]
    fn queues_say_what_keeps_them() {
        let text = format!(r#"{{"destinations": {QUEUES}}}"#);
        let answer: Answered = serde_json::from_str(&text).unwrap();
        assert_eq!(
            show(&answer).draw(PLAIN),
            "\
DESTINATION  SAMPLES    BYTES  OLDEST    SENT  DROPPED  LAST ANSWER
a                420   12 KiB   800ms  100000        0  204
b              90000  3.0 MiB   4m00s       0        9  -
b: disk: no space left on device
b: 1 of 2 lanes are held: 401 Unauthorized
b: dropped: 7 max_age, 2 rejected
"
        );
    }

    #[test]
    fn of_the_fleet_each_member_has_rows() {
        let text = format!(
            r#"{{"members": [{{"id": "01", "name": "n1", "destinations": {QUEUES}}},
                {{"id": "02", "name": "n2", "destinations": null}}],
              "asked": [{{"id": "02", "name": "n2", "answered": false, "error": "too slow",
                "took_seconds": 2.0}}]}}"#
        );
        let answer: FleetQueues = serde_json::from_str(&text).unwrap();
        let drawn = show_fleet(&answer).draw(PLAIN);
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[0].starts_with("MEMBER  DESTINATION"), "{drawn}");
        assert!(lines[1].starts_with("n1      a"), "{drawn}");
        assert!(drawn.contains("n1, b: disk: no space left on device\n"), "{drawn}");
        assert!(drawn.ends_with("n2 did not answer: too slow\n"), "{drawn}");
    }
}
