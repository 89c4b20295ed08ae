//! `starling explain`: one target from its discovery to its next scrape, each step with what it did
//! to the labels.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use clap::Args;

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Answer, Fault, Query},
    answer::{Explained, Node, Placement, Rule, Schedule, Target},
    find::find,
    measure::{ago, seconds},
    peers,
    sheet::{Sheet, Table, left, right},
    targets,
    text::{Text, bad, faint, good, head, warning},
};

/// The first is the owner and the second the next in line; more say nothing more.
const RANKED_MAX: usize = 5;

#[derive(Args)]
pub(in crate::cli) struct Explain {
    /// An id, a URL, an address `host:port`, or words that match one target alone, also a dropped
    /// one
    #[arg(required = true, value_name = "TARGET")]
    target: Vec<String>,
    /// Of this job, where two have the target
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
}

type Labels = BTreeMap<String, String>;

impl Question for Explain {
    async fn ask(&self, agent: &Agent, now_ms: i64) -> Result<Told, Fault> {
        let found = find(agent, &self.target.join(" "), self.job.as_deref()).await?;
        let path = format!("/api/v1/targets/{}/explain", found.id);
        let query: Query<'_> = found.job.into_iter().map(|job| ("job", job)).collect();
        let answer: Answer<Explained> = agent.get(&path, &query).await?;
        Ok(Told::new(answer.text, show(&answer.value, now_ms), Code::Fine))
    }
}

fn show(target: &Explained, now_ms: i64) -> Sheet {
    let mut sheet = Sheet::default();
    let address = target.discovered_labels.get("__address__").map_or("no address", String::as_str);
    let name = target.url.as_deref().unwrap_or(address);
    sheet.line(head(name).then(format!("  job {}, id {}", target.job, target.id)));
    let outcome = match &*target.outcome {
        "kept" => good("kept"),
        other => bad(other),
    };
    sheet.line(outcome.then(": ").then(&*target.reason));

    sheet.gap();
    sheet.line(head("discovered labels"));
    list(&target.discovered_labels, &mut sheet);
    for step in &target.steps {
        sheet.gap();
        sheet.line(head(format!("step {}: ", step.number)).then(rule(&step.rule)));
        let changes = changes(&step.before, &step.after);
        if changes.is_empty() && step.kept {
            sheet.line(faint("  changes nothing"));
        }
        for change in changes {
            sheet.line(change);
        }
        if !step.kept {
            sheet.line(bad("  drops it"));
        }
    }
    if let Some(labels) = &target.labels {
        sheet.gap();
        sheet.line(head(if target.outcome == "kept" {
            "labels"
        } else {
            "labels before it was dropped"
        }));
        list(labels, &mut sheet);
    }
    sheet.gap();
    place(target, &mut sheet);
    if let Some(due) = &target.schedule {
        schedule(due, now_ms, &mut sheet);
    }
    if let Some(status) = &target.status {
        health(status, now_ms, &mut sheet);
    }
    sheet
}

fn list(labels: &Labels, sheet: &mut Sheet) {
    let mut table = Table::new([left(""), left("")]);
    for (name, value) in labels {
        table.row([Text::from(format!("  {name}")), (&**value).into()]);
    }
    sheet.table(table, "  none");
}

/// As the file has it: `replace [a, b] /(.*)/ → instance = $1`.
fn rule(rule: &Rule) -> String {
    let mut text = rule.action.clone().unwrap_or_else(|| "replace".to_owned());
    if let Some(sources) = &rule.source_labels {
        let _ = write!(text, " [{}]", sources.join(", "));
    }
    let said = [
        ("separator", rule.separator.as_ref().map(|text| format!("`{text}`"))),
        ("regex", rule.regex.as_ref().map(|text| format!("`{text}`"))),
        ("modulus", rule.modulus.map(|number| number.to_string())),
        ("target_label", rule.target_label.clone()),
        ("replacement", rule.replacement.as_ref().map(|text| format!("`{text}`"))),
    ];
    for (name, value) in said {
        if let Some(value) = value {
            let _ = write!(text, " {name} {value}");
        }
    }
    text
}

/// `-` gone, `+` new, `~` changed.
fn changes(before: &Labels, after: &Labels) -> Vec<Text> {
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let change = |name: &String| match (before.get(name), after.get(name)) {
        (Some(old), Some(new)) if old == new => None,
        (Some(old), Some(new)) => Some(warning(format!("  ~ {name}: {old} → {new}"))),
        (Some(old), None) => Some(bad(format!("  - {name}: {old}"))),
        (None, Some(new)) => Some(good(format!("  + {name}: {new}"))),
        (None, None) => None,
    };
    names.into_iter().filter_map(change).collect()
}

fn place(target: &Explained, sheet: &mut Sheet) {
    let Some(placement) = &target.placement else {
        sheet.line(head("placement: ").then(if target.divided {
            "not known"
        } else {
            "its job is not divided: each member that discovers it scrapes it"
        }));
        return;
    };
    let owner = placement.owner.as_ref().map_or("nobody", |node| &*node.name);
    let verb = if placement.would { "would go to" } else { "goes to" };
    let why = if placement.overridden {
        ", moved there to even out the load"
    } else {
        ", the first in its ranking"
    };
    let why = if placement.owner.is_some() { why } else { "" };
    sheet.line(head("placement: ").then(format!("slot {} {verb} {owner}{why}", placement.slot)));
    ranking(placement, sheet);
}

fn ranking(placement: &Placement, sheet: &mut Sheet) {
    let mut table = Table::new([right("RANK"), left("MEMBER"), right("WEIGHT"), left("STATE")]);
    for (n, member) in placement.ranking.iter().take(RANKED_MAX).enumerate() {
        table.row([
            (n + 1).to_string().into(),
            (&*member.name).into(),
            member.weight.to_string().into(),
            peers::state(&member.state),
        ]);
    }
    sheet.table(table, "  nobody takes a share");
    let more = placement.ranking.len().saturating_sub(RANKED_MAX);
    if more > 0 {
        sheet.line(faint(format!("  and {more} more")));
    }
}

fn schedule(due: &Schedule, now_ms: i64, sheet: &mut Sheet) {
    let next = due
        .next_tick
        .as_ref()
        .map_or_else(String::new, |at| format!("; next at {at} ({})", ago(at, now_ms)));
    sheet.line(head("schedule: ").then(format!(
        "every {}, at most {}{next}",
        seconds(due.interval_seconds),
        seconds(due.timeout_seconds)
    )));
}

fn health(status: &Target, now_ms: i64, sheet: &mut Sheet) {
    let mut line = head("health: ").then(targets::health(&status.health));
    if let Some(at) = &status.last_scrape {
        line = line.then(format!(", scraped {}", ago(at, now_ms)));
    }
    if let Some(took) = status.last_duration_seconds {
        line = line.then(format!(" in {}", seconds(took)));
    }
    if let Some(samples) = status.samples {
        line = line.then(format!(", {samples} samples"));
    }
    if let Some(owner) = &status.owner {
        line = line.then(format!(", by {}", owner.name));
    }
    sheet.line(line);
    if let Some(error) = &status.last_error {
        sheet.line(head("error: ").then(&**error));
    }
    if let Some(last) = &status.last_move {
        let name = |node: &Option<_>| {
            node.as_ref().map_or_else(|| "nobody".to_owned(), |node: &Node| node.name.clone())
        };
        sheet.line(head("last move: ").then(format!(
            "{} ({}), from {} to {}: {}",
            last.at,
            ago(&last.at, now_ms),
            name(&last.from),
            name(&last.to),
            last.reason
        )));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::sheet::Look;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let answer: Explained = serde_json::from_str(text).unwrap();
        let drawn = show(&answer, 1_795_262_400_000).draw(Look { columns: None, in_colour: false });
        assert_eq!(drawn, expected);
    }

    #[test]
    fn a_target_is_told_from_discovery_to_its_next_tick() {
        check(
            r#"{"id": "0000000000000001", "job": "node", "outcome": "kept",
              "reason": "no step dropped it",
              "discovered_labels": {"__address__": "h:1", "__meta_old": "x"},
              "steps": [
                {"number": 1, "rule": {"action": "replace", "source_labels": ["__address__"],
                  "target_label": "instance"}, "before": {"__address__": "h:1", "env": "a"},
                  "after": {"__address__": "h:1", "env": "b", "instance": "h:1"}, "kept": true},
                {"number": 2, "rule": {"action": "keep", "source_labels": ["env"], "regex": "b"},
                  "before": {"env": "b"}, "after": {"env": "b"}, "kept": true},
                {"number": 3, "rule": {"action": "labeldrop", "regex": "e.*"},
                  "before": {"env": "b"}, "after": {}, "kept": true}],
              "labels": {"instance": "h:1", "job": "node"}, "url": "http://h:1/metrics",
              "divided": true,
              "placement": {"slot": 7, "key": "00aa", "would": false, "overridden": false,
                "owner": {"id": "02", "name": "b"},
                "ranking": [{"id": "02", "name": "b", "weight": 100, "state": "alive"},
                  {"id": "01", "name": "a", "weight": 50, "state": "suspect"}]},
              "schedule": {"interval_seconds": 15.0, "timeout_seconds": 10.0,
                "phase_seconds": 3.2, "next_tick": "2026-11-21T12:00:03.200Z"},
              "status": {"id": "0000000000000001", "job": "node", "url": "http://h:1/metrics",
                "labels": {}, "divided": true, "slot": 7, "owner": {"id": "02", "name": "b"},
                "others": [], "health": "down", "last_scrape": "2026-11-21T11:59:48.200Z",
                "last_duration_seconds": 0.0042, "last_error": "connection refused",
                "samples": null, "interval_seconds": 15.0, "durations_seconds": [],
                "last_move": {"at": "2026-11-21T11:58:00.000Z", "from": null,
                  "to": {"id": "02", "name": "b"}, "reason": "crash"}}}"#,
            "\
http://h:1/metrics  job node, id 0000000000000001
kept: no step dropped it

discovered labels
  __address__  h:1
  __meta_old   x

step 1: replace [__address__] target_label instance
  ~ env: a → b
  + instance: h:1

step 2: keep [env] regex `b`
  changes nothing

step 3: labeldrop regex `e.*`
  - env: b

labels
  instance  h:1
  job       node

placement: slot 7 goes to b, the first in its ranking
RANK  MEMBER  WEIGHT  STATE
   1  b          100  alive
   2  a           50  suspect
schedule: every 15s, at most 10s; next at 2026-11-21T12:00:03.200Z (in 3.2s)
health: down, scraped 11s ago in 4ms, by b
error: connection refused
last move: 2026-11-21T11:58:00.000Z (2m00s ago), from nobody to b: crash
",
        );
    }

    #[test]
    fn a_dropped_target_says_by_which_step_and_where_it_would_go() {
        check(
            r#"{"id": "0000000000000009", "job": "node", "outcome": "dropped",
              "reason": "step 1 drops it",
              "discovered_labels": {"__address__": "h:9"},
              "steps": [{"number": 1, "rule": {"action": "drop",
                "source_labels": ["__address__"], "regex": "h:9"},
                "before": {"__address__": "h:9"}, "after": {"__address__": "h:9"},
                "kept": false}],
              "labels": {"__address__": "h:9"}, "url": null, "divided": true,
              "placement": {"slot": 9, "key": "00aa", "would": true, "overridden": true,
                "owner": {"id": "01", "name": "a"}, "ranking": []},
              "schedule": null, "status": null}"#,
            "\
h:9  job node, id 0000000000000009
dropped: step 1 drops it

discovered labels
  __address__  h:9

step 1: drop [__address__] regex `h:9`
  drops it

labels before it was dropped
  __address__  h:9

placement: slot 9 would go to a, moved there to even out the load
  nobody takes a share
",
        );
    }

    #[test]
    fn what_is_not_divided_goes_nowhere() {
        check(
            r#"{"id": "0000000000000009", "job": "x", "outcome": "invalid", "reason": "no address",
              "discovered_labels": {}, "steps": [], "labels": null, "url": null,
              "divided": false, "placement": null, "schedule": null, "status": null}"#,
            "\
no address  job x, id 0000000000000009
invalid: no address

discovered labels
  none

placement: its job is not divided: each member that discovers it scrapes it
",
        );
    }
}
