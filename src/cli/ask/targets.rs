//! `starling targets`: every target of the fleet, with who has it and how it fares.

use clap::{Args, ValueEnum};

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Fault, Query},
    answer::{Asked, DroppedTargets, Node, Target, Targets as Answered},
    measure::{ago, counted, seconds},
    sheet::{Sheet, Table, left, long, right},
    text::{Text, bad, faint, good, warning},
};

const PATH: &str = "/api/v1/fleet/targets";

#[derive(Args)]
pub(in crate::cli) struct Targets {
    /// Of one job
    #[arg(long, value_name = "NAME")]
    job: Option<String>,
    /// Of one member, by its name or id
    #[arg(long, value_name = "MEMBER", conflicts_with = "dropped")]
    owner: Option<String>,
    /// With that health
    #[arg(long, value_name = "HEALTH", conflicts_with = "dropped")]
    health: Option<Health>,
    /// Those that are down: short for `--health down`
    #[arg(long, conflicts_with_all = ["health", "dropped"])]
    down: bool,
    /// With all of these words in their URL, job, labels, owner or error
    #[arg(short, long = "query", value_name = "WORDS")]
    query: Option<String>,
    /// Those that relabelling dropped, or that can't be scraped
    #[arg(long)]
    dropped: bool,
    /// In that order
    #[arg(long, value_name = "ORDER", conflicts_with = "dropped")]
    sort: Option<Sort>,
    /// So many at most
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Health {
    Up,
    Down,
    Unknown,
}

#[derive(Clone, Copy, ValueEnum)]
enum Sort {
    Health,
    Job,
    Url,
    Owner,
    #[value(name = "last_scrape")]
    LastScrape,
    Duration,
}

impl Question for Targets {
    async fn ask(&self, agent: &Agent, now_ms: i64) -> Result<Told, Fault> {
        let limit = self.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        if self.dropped {
            let answer = agent.list::<DroppedTargets>(PATH, &self.query(), limit).await?;
            let sheet = show_dropped(&answer.value);
            return Ok(Told::new(answer.text, sheet, Code::Fine));
        }
        let answer = agent.list::<Answered>(PATH, &self.query(), limit).await?;
        let sheet = show(&answer.value, now_ms);
        Ok(Told::new(answer.text, sheet, Code::Fine))
    }
}

impl Targets {
    fn query(&self) -> Query<'_> {
        let health = if self.down { Some(Health::Down) } else { self.health };
        let said = [
            ("job", self.job.clone()),
            ("owner", self.owner.clone()),
            ("health", health.as_ref().map(name)),
            ("q", self.query.clone()),
            ("sort", self.sort.as_ref().map(name)),
            ("state", self.dropped.then(|| "dropped".to_owned())),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn name(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn show(answer: &Answered, now_ms: i64) -> Sheet {
    let mut sheet = Sheet::default();
    let mut table = Table::new([
        left("HEALTH"),
        left("OWNER"),
        left("JOB"),
        long("URL"),
        right("SCRAPED"),
        right("TOOK"),
        right("SAMPLES"),
        long("ERROR"),
    ]);
    for target in &answer.items {
        let or_none = |text: Option<String>| text.map_or_else(|| faint("-"), Text::from);
        table.row([
            health(&target.health),
            owners(target),
            (&*target.job).into(),
            (&*target.url).into(),
            or_none(target.last_scrape.as_deref().map(|at| ago(at, now_ms))),
            or_none(target.last_duration_seconds.map(seconds)),
            or_none(target.samples.map(|samples| samples.to_string())),
            target.last_error.as_deref().unwrap_or_default().into(),
        ]);
    }
    let nothing = if answer.total > 0 { "" } else { "no target matches" };
    sheet.table(table, nothing);
    let counts = &answer.counts;
    let mut line = Text::from(format!("{}: ", counted(answer.total, "target")))
        .then(format!("{} up, ", counts.up))
        .then(if counts.down > 0 { bad(format!("{} down", counts.down)) } else { "0 down".into() })
        .then(format!(", {} unknown", counts.unknown));
    if answer.items.len() < answer.total {
        line = line.then(faint(format!("; {} shown", answer.items.len())));
    }
    sheet.line(line);
    show_silent(&answer.asked, &mut sheet);
    sheet
}

fn show_dropped(answer: &DroppedTargets) -> Sheet {
    let mut sheet = Sheet::default();
    let mut table = Table::new([left("ID"), left("JOB"), long("ADDRESS"), long("ERROR")]);
    for target in &answer.items {
        let address = target.discovered_labels.get("__address__").map_or("", String::as_str);
        table.row([
            (&*target.id).into(),
            (&*target.job).into(),
            address.into(),
            target.error.as_deref().unwrap_or_default().into(),
        ]);
    }
    sheet.table(table, "no dropped target matches");
    if !answer.items.is_empty() {
        let left_out = answer.total.saturating_sub(answer.items.len());
        let more = if left_out > 0 { format!(", {left_out} not shown") } else { String::new() };
        sheet.line(format!(
            "{} dropped{more}; `starling explain ID` tells by which step",
            counted(answer.total, "target")
        ));
    }
    sheet
}

/// Those that did not answer, as what is shown lacks them.
pub(super) fn show_silent(asked: &[Asked], sheet: &mut Sheet) {
    for silent in asked.iter().filter(|asked| !asked.answered) {
        let why = silent.error.as_deref().unwrap_or("no reason told");
        sheet.line(warning(format!("{} did not answer: ", silent.name)).then(why));
    }
}

pub(super) fn health(health: &str) -> Text {
    match health {
        "up" => good(health),
        "down" => bad(health),
        _ => faint(health),
    }
}

/// Who scrapes it; more than one is said with a `!`.
fn owners(target: &Target) -> Text {
    let mut text = match &target.owner {
        Some(owner) => Text::from(&*owner.name),
        None => warning("nobody"),
    };
    if !target.others.is_empty() {
        let others: Vec<&str> = target.others.iter().map(|node: &Node| &*node.name).collect();
        let mark = if target.divided { " ! " } else { ", " };
        text = text.then(warning(format!("{mark}{}", others.join(", "))));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::sheet::Look;

    const NOON_MS: i64 = 1_795_262_400_000;
    const PLAIN: Look = Look { columns: None, in_colour: false };

    #[test]
    fn targets_stand_in_a_table() {
        let text = r#"{"items": [
            {"id": "0000000000000001", "job": "node", "url": "http://h:1/metrics",
             "labels": {"instance": "h:1"}, "divided": true, "slot": 7,
             "owner": {"id": "01", "name": "a"}, "others": [], "health": "up",
             "last_scrape": "2026-11-21T11:59:57.000Z", "last_duration_seconds": 0.0123,
             "last_error": null, "samples": 420, "interval_seconds": 15.0,
             "durations_seconds": [0.01], "last_move": null, "newer": 1},
            {"id": "0000000000000002", "job": "node", "url": "http://h:2/metrics", "labels": {},
             "divided": true, "slot": 8, "owner": {"id": "01", "name": "a"},
             "others": [{"id": "02", "name": "b"}], "health": "down",
             "last_scrape": "2026-11-21T11:59:50.000Z", "last_duration_seconds": 10.0,
             "last_error": "connection refused", "samples": null, "interval_seconds": 15.0,
             "durations_seconds": [], "last_move": null},
            {"id": "0000000000000003", "job": "x", "url": "http://h:3/metrics", "labels": {},
             "divided": true, "slot": 9, "owner": null, "others": [], "health": "unknown",
             "last_scrape": null, "last_duration_seconds": null, "last_error": null,
             "samples": null, "interval_seconds": 15.0, "durations_seconds": [],
             "last_move": null}],
          "total": 4, "counts": {"up": 2, "down": 1, "unknown": 1}, "jobs": ["node", "x"],
          "next": "abc", "asked": [
            {"id": "01", "name": "a", "answered": true, "error": null, "took_seconds": 0.0},
            {"id": "02", "name": "b", "answered": false, "error": "no answer within 2 s",
             "took_seconds": 2.0}]}"#;
        let answer: Answered = serde_json::from_str(text).unwrap();
        assert_eq!(
            show(&answer, NOON_MS).draw(PLAIN),
            "\
HEALTH   OWNER   JOB   URL                 SCRAPED  TOOK  SAMPLES  ERROR
up       a       node  http://h:1/metrics   3s ago  12ms      420
down     a ! b   node  http://h:2/metrics  10s ago   10s        -  connection refused
unknown  nobody  x     http://h:3/metrics        -     -        -
4 targets: 2 up, 1 down, 1 unknown; 3 shown
b did not answer: no answer within 2 s
"
        );
    }

    #[test]
    fn dropped_ones_have_a_table_of_their_own() {
        let check = |text: &str, expected: &str| {
            let answer: DroppedTargets = serde_json::from_str(text).unwrap();
            assert_eq!(show_dropped(&answer).draw(PLAIN), expected);
        };
        check(
            r#"{"items": [{"id": "0000000000000009", "job": "node",
                "discovered_labels": {"__address__": "h:9"}, "error": null}],
                "total": 1, "next": null, "asked": []}"#,
            "\
ID                JOB   ADDRESS  ERROR
0000000000000009  node  h:9
1 target dropped; `starling explain ID` tells by which step
",
        );
        check(r#"{"items": [], "total": 0}"#, "no dropped target matches\n");
    }
}
