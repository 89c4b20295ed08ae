//! `starling plan`: what would move, before anybody does it.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Fault},
    answer::{Plan as Answered, Planned},
    measure::{counted, percent, rate},
    sheet::{Sheet, Table, left, right},
    text::{Text, faint, head, warning},
};

/// What a member has where nothing else is said.
const WEIGHT: u32 = 100;

#[derive(Args)]
#[group(required = true, multiple = true, id = "changes")]
pub(in crate::cli) struct Plan {
    /// A member leaves, by its name or id; again for more
    #[arg(long, value_name = "MEMBER", value_delimiter = ',', group = "changes")]
    leave: Vec<String>,
    /// One joins, with a weight of 100 if none is said
    #[arg(long, value_name = "NAME[:WEIGHT]", value_delimiter = ',', value_parser = newcomer,
        group = "changes")]
    join: Vec<Newcomer>,
    /// A member's weight changes
    #[arg(long, value_name = "MEMBER=WEIGHT", value_delimiter = ',', value_parser = weighed,
        group = "changes")]
    weight: Vec<(String, u32)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Newcomer {
    name: String,
    weight: u32,
}

impl Question for Plan {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        let answer = agent.post::<Answered>("/api/v1/fleet/plan", Some(&self.body())).await?;
        let sheet = show(&answer.value);
        Ok(Told::new(answer.text, sheet, Code::Fine))
    }
}

impl Plan {
    fn body(&self) -> Value {
        let join: Vec<Value> =
            self.join.iter().map(|one| json!({"name": one.name, "weight": one.weight})).collect();
        let weights: BTreeMap<&str, u32> =
            self.weight.iter().map(|(name, weight)| (&**name, *weight)).collect();
        json!({"join": join, "leave": self.leave, "weights": weights})
    }
}

fn newcomer(text: &str) -> Result<Newcomer, String> {
    let (name, weight) = match text.rsplit_once(':') {
        Some((name, weight)) => (name, number(weight)?),
        None => (text, WEIGHT),
    };
    Ok(Newcomer { name: named(name)?, weight })
}

fn weighed(text: &str) -> Result<(String, u32), String> {
    let (name, weight) =
        text.rsplit_once('=').ok_or("expected a member and its weight, like `n2=50`")?;
    Ok((named(name)?, number(weight)?))
}

fn named(name: &str) -> Result<String, String> {
    if name.is_empty() { Err("expected a name".to_owned()) } else { Ok(name.to_owned()) }
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no weight: expected a whole number, like 100"))
}

fn show(plan: &Answered) -> Sheet {
    let mut sheet = Sheet::default();
    let moved = format!("{} of {}", plan.targets_moved, counted(plan.targets_total, "target"));
    let samples = plan
        .samples_per_second_moved
        .map_or_else(String::new, |value| format!(", {} samples/s", rate(value)));
    sheet.line(
        head("would move: ")
            .then(format!("{moved}{samples} ({})", counted(plan.slots_moved, "slot"))),
    );
    sheet.gap();
    let mut table = Table::new([
        left("MEMBER"),
        right("WEIGHT"),
        right("SHARE"),
        right("TARGETS"),
        right("SAMPLES/S"),
    ]);
    let slots = |of: fn(&Planned) -> usize| plan.members.iter().map(of).sum::<usize>();
    let (all_before, all_after) = (slots(|one| one.slots_before), slots(|one| one.slots_after));
    let mut members: Vec<&Planned> = plan.members.iter().collect();
    members.sort_by_key(|member| &*member.name);
    for member in members {
        let weight = |weight: Option<u32>| weight.map_or_else(|| "-".into(), |w| w.to_string());
        let load = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), rate);
        table.row([
            (&*member.name).into(),
            change(&weight(member.weight_before), &weight(member.weight_after)),
            change(&part(member.slots_before, all_before), &part(member.slots_after, all_after)),
            change(&member.targets_before.to_string(), &member.targets_after.to_string()),
            change(&load(member.samples_per_second_before), &load(member.samples_per_second_after)),
        ]);
    }
    sheet.table(table, "no members");
    sheet.gap();
    let mut table = Table::new([left("FROM"), left("TO"), right("SLOTS"), right("TARGETS")]);
    for moves in &plan.moves {
        table.row([
            moves.from.as_ref().map_or_else(|| warning("nobody"), |node| (&*node.name).into()),
            (&*moves.to.name).into(),
            moves.slots.to_string().into(),
            moves.targets.to_string().into(),
        ]);
    }
    sheet.table(table, "nothing moves");
    sheet
}

fn part(slots: usize, all: usize) -> String {
    #[expect(clippy::cast_precision_loss, reason = "there are 4,096 slots")]
    percent(slots as f64 / all.max(1) as f64)
}

fn change(before: &str, after: &str) -> Text {
    if before == after { faint(after) } else { format!("{before} → {after}").into() }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::ask::sheet::Look;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        plan: Plan,
    }

    #[test]
    fn changes_are_typed_in_one_word() {
        let check = |line: &[&str], expected: Result<Value, &str>| {
            let parsed = Line::try_parse_from([&["plan"], line].concat());
            match (parsed, expected) {
                (Ok(line), Ok(expected)) => assert_eq!(line.plan.body(), expected),
                (Err(fault), Err(part)) => {
                    assert!(fault.to_string().contains(part), "{fault}");
                }
                (Ok(_), Err(part)) => panic!("{line:?} is taken; expected {part}"),
                (Err(fault), Ok(_)) => panic!("{line:?}: {fault}"),
            }
        };
        check(
            &["--leave", "n1,n3", "--join", "n9", "--join=n8:50", "--weight", "n2=0"],
            Ok(json!({"leave": ["n1", "n3"], "weights": {"n2": 0},
                "join": [{"name": "n9", "weight": 100}, {"name": "n8", "weight": 50}]})),
        );
        check(&[], Err("required"));
        check(&["--join", "n9:heavy"], Err("`heavy` is no weight"));
        check(&["--weight", "n2"], Err("like `n2=50`"));
        check(&["--join", ":5"], Err("expected a name"));
    }

    #[test]
    fn what_would_change_is_shown_beside_what_is() {
        let text = r#"{"slots_moved": 1365, "targets_moved": 8, "targets_total": 24,
            "samples_per_second_moved": 312.4, "members": [
              {"id": "01", "name": "a", "weight_before": 100, "weight_after": null,
               "slots_before": 1365, "slots_after": 0, "targets_before": 8, "targets_after": 0,
               "samples_per_second_before": 312.4, "samples_per_second_after": 0.0},
              {"id": "02", "name": "b", "weight_before": 100, "weight_after": 100,
               "slots_before": 2731, "slots_after": 4096, "targets_before": 16,
               "targets_after": 24, "samples_per_second_before": null,
               "samples_per_second_after": null}],
            "moves": [{"from": {"id": "01", "name": "a"}, "to": {"id": "02", "name": "b"},
               "slots": 1365, "targets": 8}], "targets": []}"#;
        let plan: Answered = serde_json::from_str(text).unwrap();
        assert_eq!(
            show(&plan).draw(Look { columns: None, in_colour: false }),
            "\
would move: 8 of 24 targets, 312 samples/s (1365 slots)

MEMBER   WEIGHT           SHARE  TARGETS  SAMPLES/S
a       100 → -    33.3% → 0.0%    8 → 0  312 → 0.0
b           100  66.7% → 100.0%  16 → 24          -

FROM  TO  SLOTS  TARGETS
a     b    1365        8
"
        );
    }
}
