//! `starling peers`: who is here, what each has, and who differs.

use clap::Args;

use crate::cli::ask::{
    Code, Question, Told,
    agent::{Agent, Fault, Query},
    answer::{Fleet, Member},
    measure::{percent, rate},
    sheet::{Sheet, Table, left, long, right},
    text::{Text, bad, faint, good, warning},
};

#[derive(Args)]
pub(in crate::cli) struct Peers {
    /// Members that have left or died as well, of the last day
    #[arg(long)]
    all: bool,
}

/// A clock that is further off costs the fences their meaning.
const CLOCK_AHEAD_MS_FINE: i64 = 500;
/// Of a digest; enough to see that two differ.
const DIGEST_LETTERS: usize = 8;

impl Question for Peers {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        let answer = agent.get::<Fleet>("/api/v1/fleet", &Query::new()).await?;
        let sheet = show(&answer.value, self.all);
        Ok(Told::new(answer.text, sheet, Code::Fine))
    }
}

fn show(fleet: &Fleet, all: bool) -> Sheet {
    let mut sheet = Sheet::default();
    let mut table = Table::new([
        left("MEMBER"),
        left("STATE"),
        long("API"),
        left("ZONE"),
        right("WEIGHT"),
        right("SLOTS"),
        right("SHARE"),
        right("SAMPLES/S"),
        right("CLOCK"),
        left("CONFIG"),
        left("TARGETS"),
    ]);
    let mut members: Vec<&Member> =
        fleet.members.iter().filter(|member| all || is_living(member)).collect();
    members.sort_by_key(|member| &*member.name);
    for member in members {
        let is_this = member.id == fleet.node.id;
        table.row([
            if is_this { Text::from(&*member.name).then("*") } else { (&*member.name).into() },
            state(&member.state),
            (&*member.api_address).into(),
            (&*member.zone).into(),
            member.weight.to_string().into(),
            member.slots.to_string().into(),
            percent(member.share).into(),
            member.samples_per_second.map_or_else(|| faint("-"), |value| rate(value).into()),
            clock(member.clock_ahead_ms),
            digest(member, fleet, |member| member.config_digest.as_deref()),
            digest(member, fleet, |member| member.targets_digest.as_deref()),
        ]);
    }
    sheet.table(table, "no members");
    let gone = fleet.members.iter().filter(|member| !is_living(member)).count();
    if !all && gone > 0 {
        sheet.line(faint(format!("and {gone} that left or died: --all")));
    }
    for raised in &fleet.warnings {
        sheet.line(warning("warning: ").then(&*raised.message));
    }
    sheet
}

pub(super) fn is_living(member: &Member) -> bool {
    !matches!(&*member.state, "left" | "dead")
}

pub(super) fn state(state: &str) -> Text {
    match state {
        "alive" => good(state),
        "left" => faint(state),
        "dead" => bad(state),
        _ => warning(state),
    }
}

fn clock(ahead_ms: Option<i64>) -> Text {
    match ahead_ms {
        None => faint("-"),
        Some(ms) if ms.abs() <= CLOCK_AHEAD_MS_FINE => format!("{ms:+}ms").into(),
        Some(ms) => warning(format!("{ms:+}ms")),
    }
}

/// Of a living member that differs from the one that answers, with a mark.
fn digest(member: &Member, fleet: &Fleet, of: impl Fn(&Member) -> Option<&str>) -> Text {
    let Some(own) = of(member) else { return faint("-") };
    let short: String = own.chars().take(DIGEST_LETTERS).collect();
    let here = fleet.members.iter().find(|one| one.id == fleet.node.id).and_then(&of);
    if is_living(member) && here.is_some_and(|here| here != own) {
        return warning(format!("{short} differs"));
    }
    short.into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::cli::ask::sheet::Look;

    /// As an agent answered, but for the parts that nobody shows.
    pub(in crate::cli::ask) const FLEET: &str = r#"{
      "node": {"id": "01", "name": "a", "cluster": "default", "standing": "active",
        "standing_at": "2026-11-21T11:00:00.000Z", "fleet_time": "2026-11-21T12:00:00.000Z",
        "fleet_offset_ms": 0, "drain": "working"},
      "members": [
        {"id": "01", "name": "a", "state": "alive", "api_address": "10.0.0.1:9733",
         "cluster_address": "10.0.0.1:9734", "weight": 100, "zone": "north", "intervals": [],
         "slots": 2048, "share": 0.5, "samples_per_second": 812.4,
         "config_digest": "aaaaaaaaaaaaaaaa", "targets_digest": "bbbbbbbbbbbbbbbb",
         "clock_ahead_ms": null, "generation": 3},
        {"id": "02", "name": "b", "state": "suspect", "api_address": "10.0.0.2:9733",
         "cluster_address": null, "weight": 100, "zone": "", "intervals": [],
         "slots": 2048, "share": 0.5, "samples_per_second": null,
         "config_digest": "aaaaaaaaaaaaaaaa", "targets_digest": "cccccccccccccccc",
         "clock_ahead_ms": -1200, "generation": 1},
        {"id": "03", "name": "c", "state": "dead", "api_address": "10.0.0.3:9733",
         "cluster_address": null, "weight": 50, "zone": "", "intervals": [], "slots": 0,
         "share": 0.0, "samples_per_second": null, "config_digest": null, "targets_digest": null,
         "clock_ahead_ms": 3, "generation": 1}],
      "division": {"slots": 4096, "imbalance": {"slots": 1.0, "samples": null}, "moves": {},
        "late_fences": 0, "gap_seconds": {"last": null, "longest": null}, "on_hold": false,
        "quorum": null, "overrides": null},
      "hand_over": {"taking": 0, "giving": 2, "longest_wait_seconds": 1.5,
        "took_seconds": {"last": null, "longest": null}, "refused": [], "refused_unnamed": 0},
      "warnings": [{"kind": "drift", "message": "`b` finds other targets",
        "since": "2026-11-21T11:59:00.000Z"}]
    }"#;

    #[track_caller]
    fn check(all: bool, expected: &str) {
        let fleet: Fleet = serde_json::from_str(FLEET).unwrap();
        assert_eq!(show(&fleet, all).draw(Look { columns: None, in_colour: false }), expected);
    }

    #[test]
    fn members_stand_in_a_table() {
        check(
            false,
            "\
MEMBER  STATE    API            ZONE   WEIGHT  SLOTS  SHARE  SAMPLES/S    CLOCK  CONFIG    TARGETS
a*      alive    10.0.0.1:9733  north     100   2048  50.0%        812        -  aaaaaaaa  bbbbbbbb
b       suspect  10.0.0.2:9733            100   2048  50.0%          -  -1200ms  aaaaaaaa  cccccccc differs
and 1 that left or died: --all
warning: `b` finds other targets
",
        );
    }

    #[test]
    fn the_dead_are_shown_where_all_are_asked_for() {
        check(
            true,
            "\
MEMBER  STATE    API            ZONE   WEIGHT  SLOTS  SHARE  SAMPLES/S    CLOCK  CONFIG    TARGETS
a*      alive    10.0.0.1:9733  north     100   2048  50.0%        812        -  aaaaaaaa  bbbbbbbb
b       suspect  10.0.0.2:9733            100   2048  50.0%          -  -1200ms  aaaaaaaa  cccccccc differs
c       dead     10.0.0.3:9733             50      0   0.0%          -     +3ms  -         -
warning: `b` finds other targets
",
        );
    }
}
