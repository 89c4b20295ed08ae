//! `starling status`: the one screen to look at first. Each part is asked for by itself, so that one
//! that can't answer hides nothing else.

use clap::Args;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Answer, Fault, Query},
    answer::{Counts, Events, Fleet, Queues, RuntimeInfo, Store, Success, Targets},
    measure::{ago, bytes, counted, seconds},
    peers::is_living,
    queues::{age, troubles},
    sheet::{Sheet, Table, left},
    targets::show_silent,
    text::{Text, bad, faint, good, head, warning},
};

/// Of the targets that are down; the others are counted.
const DOWN_MAX: usize = 5;

#[derive(Args)]
pub(in crate::cli) struct Status {}

/// What was answered, part by part.
struct Parts {
    fleet: Fleet,
    targets: Result<Targets, Fault>,
    queues: Result<Queues, Fault>,
    runtime: Result<RuntimeInfo, Fault>,
    history: Result<Store, Fault>,
}

impl Question for Status {
    async fn ask(&self, agent: &Agent, now_ms: i64) -> Result<Told, Fault> {
        let few = |limit: usize| vec![("limit", limit.to_string())];
        let mut down = few(DOWN_MAX);
        down.push(("health", "down".to_owned()));
        let (nothing, newest) = (Query::new(), few(1));
        let (fleet, targets, queues, runtime, history) = tokio::join!(
            agent.get::<Fleet>("/api/v1/fleet", &nothing),
            agent.get::<Targets>("/api/v1/fleet/targets", &down),
            agent.get::<Queues>("/api/v1/queues", &nothing),
            agent.get::<Success<RuntimeInfo>>("/api/v1/status/runtimeinfo", &nothing),
            agent.get::<Events>("/api/v1/history", &newest),
        );
        let mut json = Map::new();
        let fleet = fleet?;
        let parts = Parts {
            fleet: kept("fleet", Ok(fleet), &mut json)?,
            targets: kept("targets", targets, &mut json),
            queues: kept("queues", queues, &mut json),
            runtime: kept("runtime", runtime, &mut json).map(|answer| answer.data),
            history: kept("history", history, &mut json).map(|answer| answer.store),
        };
        let json = Value::Object(json).to_string();
        Ok(Told::new(json, show(&parts, now_ms), Code::Fine))
    }
}

/// The answer as it is goes under its name; what could not be answered is `null`.
fn kept<T: DeserializeOwned>(
    name: &str,
    answer: Result<Answer<T>, Fault>,
    json: &mut Map<String, Value>,
) -> Result<T, Fault> {
    let text = answer.as_ref().ok().map(|answer| &*answer.text);
    let value = text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(Value::Null);
    json.insert(name.to_owned(), value);
    answer.map(|answer| answer.value)
}

fn show(parts: &Parts, now_ms: i64) -> Sheet {
    let mut sheet = Sheet::default();
    let mut facts = Table::new([left(""), left("")]);
    let mut fact = |name: &str, what: Text| facts.row([head(name), what]);
    fact("agent", agent(parts, now_ms));
    fact("members", members(&parts.fleet));
    fact("targets", or_fault(&parts.targets, |targets| health(&targets.counts)));
    fact("queue", or_fault(&parts.queues, queue));
    if let Some(text) = hand_over(&parts.fleet) {
        fact("hand-over", text);
    }
    fact("config", or_fault(&parts.runtime, |runtime| config(runtime, now_ms)));
    fact("history", or_fault(&parts.history, history));
    sheet.table(facts, "");
    sheet.gap();

    if let Ok(Targets { items, counts, asked, .. }) = &parts.targets {
        for target in items {
            let error = target.last_error.as_deref().unwrap_or("no reason told");
            sheet.line(bad("down     ").then(format!("{}: {error}", target.url)));
        }
        if counts.down > items.len() {
            let more = counts.down - items.len();
            sheet.line(faint(format!("         and {more} more: `starling targets --down`")));
        }
        show_silent(asked, &mut sheet);
    }
    for queue in parts.queues.iter().flat_map(|queues| &queues.destinations) {
        troubles(queue, "", &mut sheet);
    }
    if let Ok(RuntimeInfo { reload_config_error: Some(reason), .. }) = &parts.runtime {
        sheet.line(bad("refused configuration:"));
        for line in reason.lines() {
            sheet.line(format!("  {line}"));
        }
    }
    for raised in &parts.fleet.warnings {
        let since = format!(" ({})", ago(&raised.since, now_ms));
        sheet.line(warning("warning  ").then(&*raised.message).then(faint(since)));
    }
    sheet
}

fn or_fault<T>(part: &Result<T, Fault>, show: impl FnOnce(&T) -> Text) -> Text {
    match part {
        Ok(part) => show(part),
        Err(fault) => warning("not known: ").then(&*fault.reason),
    }
}

fn agent(parts: &Parts, now_ms: i64) -> Text {
    let here = &parts.fleet.node;
    let mut text = head(&here.name);
    if let Some(cluster) = &here.cluster {
        text = text.then(format!(" of cluster {cluster}"));
    }
    text = text.then(", ").then(match &*here.standing {
        "active" | "alone" => good(&here.standing),
        "refused" | "holding" => bad(&here.standing),
        other => warning(other),
    });
    if here.drain != "working" {
        text = text.then(", ").then(warning(&here.drain));
    }
    if let Ok(runtime) = &parts.runtime {
        text = text.then(format!(", started {}", ago(&runtime.start_time, now_ms)));
    }
    text
}

fn members(fleet: &Fleet) -> Text {
    let count =
        |is: &dyn Fn(&str) -> bool| fleet.members.iter().filter(|member| is(&member.state)).count();
    let mut text = Text::from(format!("{} alive", count(&|state| state == "alive")));
    for state in ["suspect", "dead"] {
        let count = count(&|other| other == state);
        if count > 0 {
            text = text.then(", ").then(bad(format!("{count} {state}")));
        }
    }
    let left = count(&|state| state == "left");
    if left > 0 {
        text = text.then(format!(", {left} left"));
    }
    if fleet.members.iter().filter(|member| is_living(member)).count() > 1 {
        let here = fleet.members.iter().find(|member| member.id == fleet.node.id);
        let slots = here.map_or(0, |member| member.slots);
        text = text.then(faint(format!("; this one has {}", counted(slots, "slot"))));
    }
    text
}

fn health(counts: &Counts) -> Text {
    let down = format!("{} down", counts.down);
    Text::from(format!("{} up, ", counts.up))
        .then(if counts.down > 0 { bad(down) } else { down.into() })
        .then(format!(", {} unknown", counts.unknown))
}

fn queue(queues: &Queues) -> Text {
    let destinations = &queues.destinations;
    if destinations.is_empty() {
        return "no destinations: what is scraped goes nowhere".into();
    }
    let samples: u64 = destinations.iter().map(|queue| queue.samples).sum();
    let size: u64 = destinations.iter().map(|queue| queue.bytes).sum();
    let oldest = destinations.iter().filter_map(|queue| queue.oldest_age_seconds);
    let oldest = oldest.max_by(f64::total_cmp);
    let to = counted(destinations.len(), "destination");
    Text::from(format!("{samples} samples ({}) for {to}, oldest ", bytes(size))).then(age(oldest))
}

fn hand_over(fleet: &Fleet) -> Option<Text> {
    let view = &fleet.hand_over;
    if fleet.division.on_hold {
        return Some(warning("on hold"));
    }
    if view.taking + view.giving == 0 {
        return None;
    }
    let longest = view
        .longest_wait_seconds
        .map_or_else(String::new, |wait| format!(", the longest waits {}", seconds(wait)));
    Some(format!("{} to take, {} to give{longest}", view.taking, view.giving).into())
}

fn config(runtime: &RuntimeInfo, now_ms: i64) -> Text {
    let since = ago(&runtime.last_config_time, now_ms);
    if runtime.reload_config_success {
        return good("in force").then(format!(" since {since}"));
    }
    bad("the last reload was refused").then(format!(", the one of {since} is in force"))
}

fn history(store: &Store) -> Text {
    if let Some(fault) = &store.fault {
        return bad("not kept now: ").then(&**fault);
    }
    let since = store.oldest.as_ref().map_or_else(String::new, |at| format!(" since {at}"));
    good("kept").then(format!("{since}, {}", bytes(store.bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::{agent::Kind, peers::tests::FLEET, sheet::Look};

    fn parts() -> Parts {
        let targets = r#"{"items": [{"id": "0000000000000002", "job": "node",
              "url": "http://h:2/metrics", "labels": {}, "divided": true, "owner": null,
              "others": [], "health": "down", "last_scrape": null,
              "last_duration_seconds": null, "last_error": "connection refused",
              "samples": null, "last_move": null}],
            "total": 7, "counts": {"up": 20, "down": 7, "unknown": 1}, "jobs": [], "next": "x",
            "asked": []}"#;
        let queues = r#"{"destinations": [{"name": "b", "bytes": 3145728, "samples": 90000,
              "oldest_age_seconds": 240.0, "sent_samples": 0, "dropped_samples": {},
              "last_answer": null, "disk": {"fault": "no space left on device"}, "lanes": []}]}"#;
        let runtime = r#"{"startTime": "2026-11-21T11:00:00.000Z",
            "lastConfigTime": "2026-11-21T11:00:00.000Z", "reloadConfigSuccess": false,
            "reloadConfigError": "a.yml:1:1: unknown key `x`\na.yml:2:1: job_name is empty"}"#;
        Parts {
            fleet: serde_json::from_str(FLEET).unwrap(),
            targets: Ok(serde_json::from_str(targets).unwrap()),
            queues: Ok(serde_json::from_str(queues).unwrap()),
            runtime: Ok(serde_json::from_str(runtime).unwrap()),
            history: Err(Fault::new(Kind::NotYet, "no answer within 10s")),
        }
    }

    #[test]
    fn one_screen_tells_all_that_is_wrong() {
        let drawn = show(&parts(), 1_795_262_400_000);
        assert_eq!(
            drawn.draw(Look { columns: None, in_colour: false }),
            "\
agent      a of cluster default, active, started 1h00m ago
members    1 alive, 1 suspect, 1 dead; this one has 2048 slots
targets    20 up, 7 down, 1 unknown
queue      90000 samples (3.0 MiB) for 1 destination, oldest 4m00s
hand-over  0 to take, 2 to give, the longest waits 1.5s
config     the last reload was refused, the one of 1h00m ago is in force
history    not known: no answer within 10s

down     http://h:2/metrics: connection refused
         and 6 more: `starling targets --down`
b: disk: no space left on device
refused configuration:
  a.yml:1:1: unknown key `x`
  a.yml:2:1: job_name is empty
warning  `b` finds other targets (1m00s ago)
"
        );
    }
}
