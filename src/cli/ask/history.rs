//! `starling history`: what happened; who had what at an instant; where one target has been.

use clap::{Args, ValueEnum};

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Answer, Fault, Query},
    answer::{Event, Events, Node, Past, Store, Timeline},
    find::find,
    measure::{When, counted},
    peers,
    sheet::{Sheet, Table, left, long, right},
    targets::show_silent,
    text::{Text, bad, faint, good, head, warning},
};

/// Where nobody says how many: a screen and some.
const EVENTS: u32 = 100;
const PATH: &str = "/api/v1/history";

#[derive(Args)]
pub(in crate::cli) struct History {
    /// Who had what at that instant: `2026-11-21T19:30:00Z`, `2026-11-21 19:30` (UTC), or `-10m`
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = When::parse,
        conflicts_with_all = ["from", "to", "kind"])]
    at: Option<When>,
    /// Of one target: its id, URL, address, or words that match it alone
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Of the target of this job, where two have it
    #[arg(long, value_name = "NAME", requires = "target")]
    job: Option<String>,
    /// Of one member, by its name or id
    #[arg(long, value_name = "MEMBER")]
    node: Option<String>,
    /// Since then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = When::parse)]
    from: Option<When>,
    /// Until then
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = When::parse)]
    to: Option<When>,
    /// Of one kind
    #[arg(long, value_name = "KIND")]
    kind: Option<Kind>,
    /// So many at most [default: 100, and all with `--at`]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Member,
    Moves,
    Target,
    Health,
    Config,
    Placement,
    Notice,
    Drop,
}

impl Question for History {
    async fn ask(&self, agent: &Agent, now_ms: i64) -> Result<Told, Fault> {
        let found = match &self.target {
            Some(words) => Some(find(agent, words, self.job.as_deref()).await?),
            None => None,
        };
        let mut query = self.query(now_ms);
        let limit = |default| self.limit.or(default).map(to_usize);
        if self.at.is_some() {
            query.extend(found.map(|found| ("target", found.id)));
            let answer: Answer<Past> = agent.list(PATH, &query, limit(None)).await?;
            return Ok(Told::new(answer.text, show_past(&answer.value), Code::Fine));
        }
        match found {
            // What a target alone has, its owners first; narrower questions are about events.
            Some(found) if self.kind.is_none() && self.node.is_none() => {
                let path = format!("/api/v1/targets/{}/history", found.id);
                query.push(("limit", self.limit.unwrap_or(EVENTS).to_string()));
                query.extend(found.job.map(|job| ("job", job)));
                let answer: Answer<Timeline> = agent.get(&path, &query).await?;
                Ok(Told::new(answer.text, show_timeline(&answer.value), Code::Fine))
            }
            found => {
                query.extend(found.map(|found| ("target", found.id)));
                let answer: Answer<Events> = agent.list(PATH, &query, limit(Some(EVENTS))).await?;
                Ok(Told::new(answer.text, show_events(&answer.value), Code::Fine))
            }
        }
    }
}

impl History {
    fn query(&self, now_ms: i64) -> Query<'static> {
        let when = |when: &Option<When>| when.as_ref().map(|when| when.rfc3339(now_ms));
        let kind = self.kind.and_then(|kind| kind.to_possible_value());
        let said = [
            ("at", when(&self.at)),
            ("from", when(&self.from)),
            ("to", when(&self.to)),
            ("node", self.node.clone()),
            ("kind", kind.map(|kind| kind.get_name().to_owned())),
        ];
        said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }
}

fn to_usize(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn show_events(answer: &Events) -> Sheet {
    let mut sheet = Sheet::default();
    table_of(&answer.items, &mut sheet);
    if answer.next.is_some() {
        sheet.line(faint("there is more: `--limit`, `--from` and `--to` reach it"));
    }
    show_store(&answer.store, &mut sheet);
    sheet
}

fn table_of(events: &[Event], sheet: &mut Sheet) {
    let mut table = Table::new([left("TIME"), left("KIND"), long("WHAT")]);
    for event in events {
        table.row([faint(&event.at), kind(&event.kind), (&*event.summary).into()]);
    }
    sheet.table(table, "nothing happened, or nobody saw it");
}

fn kind(kind: &str) -> Text {
    match kind {
        "member" | "moves" | "config" => head(kind),
        "notice" => warning(kind),
        "drop" => bad(kind),
        kind => kind.into(),
    }
}

/// A fault of the file that history is kept in: what is shown may lack something.
pub(super) fn show_store(store: &Store, sheet: &mut Sheet) {
    if let Some(fault) = &store.fault {
        sheet.line(bad("history is not kept now: ").then(&**fault));
    }
}

fn show_past(past: &Past) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.line(head(format!("at {}", past.at)));
    sheet.gap();
    let mut table = Table::new([left("MEMBER"), left("STATE"), right("SLOTS")]);
    for member in &past.members {
        table.row([
            (&*member.name).into(),
            peers::state(&member.state),
            member.slots.to_string().into(),
        ]);
    }
    sheet.table(table, "no members are known of that time");
    sheet.gap();
    let mut table = Table::new([left("OWNER"), left("JOB"), long("URL")]);
    for one in &past.items {
        table.row([
            owner(one.owner.as_ref()),
            (&*one.target.job).into(),
            (&*one.target.url).into(),
        ]);
    }
    sheet.table(table, "no targets are known of that time");
    if let Some(total) = past.total.filter(|total| *total > past.items.len()) {
        let shown = past.items.len();
        sheet.line(faint(format!("{}; {shown} shown", counted(total, "target"))));
    }
    show_store(&past.store, &mut sheet);
    sheet
}

/// Of a target that is not divided nobody is the owner, and nothing is wrong.
fn owner(owner: Option<&Node>) -> Text {
    owner.map_or_else(|| faint("-"), |node| (&*node.name).into())
}

fn show_timeline(timeline: &Timeline) -> Sheet {
    let mut sheet = Sheet::default();
    let target = &timeline.target;
    sheet.line(head(&target.url).then(format!("  job {}, id {}", target.job, target.id)));
    sheet.gap();
    let mut table = Table::new([left("OWNER"), left("FROM"), left("UNTIL"), left("WHY")]);
    for span in &timeline.spans {
        let until = span.until.as_deref().map_or_else(|| good("now"), Text::from);
        table.row([
            owner(span.owner.as_ref()),
            (&*span.from).into(),
            until,
            (&*span.reason).into(),
        ]);
    }
    sheet.table(table, "no owner is known");
    sheet.gap();
    table_of(&timeline.changes, &mut sheet);
    for gap in &timeline.unwatched {
        let until = gap.until.as_deref().unwrap_or("now");
        sheet.line(faint(format!("nobody looked from {} until {until}", gap.from)));
    }
    show_silent(&timeline.asked, &mut sheet);
    sheet
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::ask::sheet::Look;

    const PLAIN: Look = Look { columns: None, in_colour: false };
    const NOON_MS: i64 = 1_795_262_400_000;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        history: History,
    }

    #[test]
    fn every_kind_can_be_asked_for() {
        let typed = Kind::value_variants().iter().filter_map(Kind::to_possible_value);
        let typed: Vec<String> = typed.map(|value| value.get_name().to_owned()).collect();
        assert_eq!(typed, crate::history::Kind::ALL.map(|kind| kind.name().to_owned()));
    }

    #[test]
    fn instants_may_be_relative() {
        let check = |line: &[&str], expected: &[(&str, &str)]| {
            let line = Line::try_parse_from([&["history"], line].concat()).unwrap();
            let query = line.history.query(NOON_MS);
            let query: Vec<(&str, &str)> =
                query.iter().map(|(name, value)| (*name, &**value)).collect();
            assert_eq!(query, expected);
        };
        check(&["--at", "-10m"], &[("at", "2026-11-21T11:50:00.000Z")]);
        check(
            &["--from=-1h", "--to", "now", "--kind", "moves", "--node", "n1"],
            &[
                ("from", "2026-11-21T11:00:00.000Z"),
                ("to", "2026-11-21T12:00:00.000Z"),
                ("node", "n1"),
                ("kind", "moves"),
            ],
        );
        check(&[], &[]);
        assert!(Line::try_parse_from(["history", "--at", "-1h", "--from", "-2h"]).is_err());
    }

    #[test]
    fn events_are_lines() {
        let text = r#"{"items": [
              {"id": 2, "at": "2026-11-21T12:00:00.000Z", "kind": "moves",
               "summary": "1365 slots with 8 targets from b to a: crash", "node": null,
               "reason": "crash", "from": null, "to": null, "slots": 1365, "targets": 8,
               "target": null, "error": null},
              {"id": 1, "at": "2026-11-21T11:59:58.250Z", "kind": "member",
               "summary": "b is dead", "node": {"id": "02", "name": "b"}, "reason": "crash",
               "from": null, "to": null, "slots": null, "targets": null, "target": null,
               "error": null}],
            "total": null, "next": "x",
            "store": {"fault": "no space left on device", "bytes": 4096, "oldest": null}}"#;
        let answer: Events = serde_json::from_str(text).unwrap();
        assert_eq!(
            show_events(&answer).draw(PLAIN),
            "\
TIME                      KIND    WHAT
2026-11-21T12:00:00.000Z  moves   1365 slots with 8 targets from b to a: crash
2026-11-21T11:59:58.250Z  member  b is dead
there is more: `--limit`, `--from` and `--to` reach it
history is not kept now: no space left on device
"
        );
    }

    #[test]
    fn an_instant_has_members_and_targets() {
        let text = r#"{"at": "2026-11-21T11:50:00.000Z",
            "members": [{"id": "01", "name": "a", "state": "alive", "slots": 4096}],
            "items": [{"target": {"id": "11", "job": "node", "url": "http://h:1/metrics"},
                "owner": {"id": "01", "name": "a"}},
              {"target": {"id": "12", "job": "node", "url": "http://h:2/metrics"}, "owner": null}],
            "total": 3, "next": "x", "store": {"fault": null, "bytes": 4096, "oldest": null}}"#;
        let past: Past = serde_json::from_str(text).unwrap();
        assert_eq!(
            show_past(&past).draw(PLAIN),
            "\
at 2026-11-21T11:50:00.000Z

MEMBER  STATE  SLOTS
a       alive   4096

OWNER  JOB   URL
a      node  http://h:1/metrics
-      node  http://h:2/metrics
3 targets; 2 shown
"
        );
    }

    #[test]
    fn a_target_has_a_timeline() {
        let text = r#"{"target": {"id": "11", "job": "node", "url": "http://h:1/metrics"},
            "spans": [{"owner": {"id": "02", "name": "b"}, "from": "2026-11-21T11:00:00.000Z",
                "until": "2026-11-21T11:59:58.250Z", "reason": "join"},
              {"owner": {"id": "01", "name": "a"}, "from": "2026-11-21T11:59:58.250Z",
                "until": null, "reason": "crash"}],
            "changes": [], "unwatched": [{"from": "2026-11-21T10:00:00.000Z",
                "until": "2026-11-21T10:59:00.000Z"}], "asked": []}"#;
        let timeline: Timeline = serde_json::from_str(text).unwrap();
        assert_eq!(
            show_timeline(&timeline).draw(PLAIN),
            "\
http://h:1/metrics  job node, id 11

OWNER  FROM                      UNTIL                     WHY
b      2026-11-21T11:00:00.000Z  2026-11-21T11:59:58.250Z  join
a      2026-11-21T11:59:58.250Z  now                       crash

nothing happened, or nobody saw it
nobody looked from 2026-11-21T10:00:00.000Z until 2026-11-21T10:59:00.000Z
"
        );
    }
}
