//! `starling verify`: does each target have exactly one owner? For rollouts: `--wait` asks until it
//! is so, also while an agent is still starting.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep, timeout_at};

use crate::{
    cli::ask::{
        Code, Question, Told,
        agent::{Agent, Answer, Fault, Kind, Query},
        answer::{TargetRef, Verdict},
        measure::counted,
        sheet::Sheet,
        text::{bad, faint, good, warning},
    },
    config::units::parse_duration,
};

/// Between two questions of `--wait`: each is put to all members.
const ASK_AGAIN: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(in crate::cli) struct Verify {
    /// Ask until it is so, or for so long; nobody listening yet counts as not yet
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, conflicts_with = "watch")]
    wait: Option<Duration>,
}

impl Question for Verify {
    async fn ask(&self, agent: &Agent, _now_ms: i64) -> Result<Told, Fault> {
        let Some(wait) = self.wait else { return verdict(agent).await.map(told) };
        let deadline = Instant::now() + wait;
        let mut last = verdict(agent).await;
        loop {
            match &last {
                Ok(answer) if code(&answer.value) == Code::Fine => break,
                Err(fault) if fault.kind != Kind::NotYet => break,
                Ok(_) | Err(_) => {}
            }
            // A question that the deadline cuts short changes nothing: the last state counts.
            let again = async {
                sleep(ASK_AGAIN).await;
                verdict(agent).await
            };
            match timeout_at(deadline, again).await {
                Ok(answer) => last = answer,
                Err(_) => break,
            }
        }
        last.map(told)
    }
}

async fn verdict(agent: &Agent) -> Result<Answer<Verdict>, Fault> {
    agent.get("/api/v1/fleet/verify", &Query::new()).await
}

fn told(answer: Answer<Verdict>) -> Told {
    Told::new(answer.text, show(&answer.value), code(&answer.value))
}

/// Without a member's word, nothing that it may scrape is known to have one owner.
fn code(verdict: &Verdict) -> Code {
    match verdict {
        verdict if !verdict.unanswered.is_empty() => Code::Unknown,
        verdict if verdict.ok => Code::Fine,
        _ => Code::No,
    }
}

fn show(verdict: &Verdict) -> Sheet {
    let mut sheet = Sheet::default();
    let members = counted(verdict.members.len(), "member");
    let targets = counted(verdict.targets, "divided target");
    match code(verdict) {
        Code::Fine => {
            sheet.line(
                good("ok: ").then(format!("{targets}, each with one owner; {members} asked")),
            );
            return sheet;
        }
        Code::No => sheet.line(bad("not ok: ").then(format!("{targets}; {members} asked"))),
        Code::Unknown => sheet.line(
            warning("not known: ")
                .then(format!("{targets}; not all of {members} answered, so this may change")),
        ),
    }
    for silent in verdict.members.iter().filter(|member| !member.answered) {
        let why = silent.error.as_deref().unwrap_or("no reason told");
        sheet.line(warning(format!("no answer   {}: ", silent.name)).then(why));
    }
    for target in &verdict.unowned {
        sheet.line(bad("no owner    ").then(name(target)));
    }
    more(&mut sheet, verdict.unowned_total, verdict.unowned.len());
    for doubled in &verdict.doubled {
        let by: Vec<&str> = doubled.by.iter().map(|node| &*node.name).collect();
        let by = format!(" by {}", by.join(", "));
        sheet.line(bad("two owners  ").then(name(&doubled.target)).then(by));
    }
    more(&mut sheet, verdict.doubled_total, verdict.doubled.len());
    for one in &verdict.disagreements {
        let what = format!("disagrees   {} ({}): ", one.node.name, one.kind);
        sheet.line(bad(what).then(&*one.detail));
    }
    for member in &verdict.members {
        if let Some(scrapes) = member.scrapes {
            sheet.line(faint(format!("{} scrapes {scrapes}", member.name)));
        }
    }
    sheet
}

fn name(target: &TargetRef) -> String {
    format!("{} (job {}, id {})", target.url, target.job, target.id)
}

fn more(sheet: &mut Sheet, total: usize, shown: usize) {
    if total > shown {
        sheet.line(faint(format!("            and {} more", total - shown)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::ask::sheet::Look;

    #[track_caller]
    fn check(parts: &str, expected_code: Code, expected: &str) {
        let members = r#"[{"id": "01", "name": "a", "answered": true, "error": null, "scrapes": 2,
             "config_digest": "aa", "targets_digest": "bb"},
            {"id": "02", "name": "b", "answered": true, "error": null, "scrapes": 1,
             "config_digest": "aa", "targets_digest": "bb"}]"#;
        let base = format!(
            r#"{{"ok": true, "at": "2026-11-21T12:00:00.000Z", "targets": 3, "members": {members},
               "unowned": [], "unowned_total": 0, "doubled": [], "doubled_total": 0,
               "disagreements": [], "unanswered": []}}"#
        );
        let mut whole: serde_json::Value = serde_json::from_str(&base).unwrap();
        let parts: serde_json::Value = serde_json::from_str(parts).unwrap();
        for (name, value) in parts.as_object().unwrap() {
            whole[name] = value.clone();
        }
        let verdict: Verdict = serde_json::from_value(whole).unwrap();
        assert_eq!(code(&verdict), expected_code);
        assert_eq!(show(&verdict).draw(Look { columns: None, in_colour: false }), expected);
    }

    #[test]
    fn a_sound_flock_is_one_line() {
        check("{}", Code::Fine, "ok: 3 divided targets, each with one owner; 2 members asked\n");
    }

    #[test]
    fn every_fault_is_named() {
        check(
            r#"{"ok": false, "unowned_total": 2,
                "unowned": [{"id": "11", "job": "node", "url": "http://h:1/metrics"}],
                "doubled_total": 1, "doubled": [{"target": {"id": "12", "job": "node",
                  "url": "http://h:2/metrics"},
                  "by": [{"id": "01", "name": "a"}, {"id": "02", "name": "b"}]}],
                "disagreements": [{"kind": "config", "node": {"id": "02", "name": "b"},
                  "detail": "runs another configuration"}]}"#,
            Code::No,
            "\
not ok: 3 divided targets; 2 members asked
no owner    http://h:1/metrics (job node, id 11)
            and 1 more
two owners  http://h:2/metrics (job node, id 12) by a, b
disagrees   b (config): runs another configuration
a scrapes 2
b scrapes 1
",
        );
    }

    #[test]
    fn what_a_silent_member_does_is_not_known() {
        check(
            r#"{"ok": false, "unanswered": [{"id": "02", "name": "b"}], "members": [
                {"id": "01", "name": "a", "answered": true, "error": null, "scrapes": 2},
                {"id": "02", "name": "b", "answered": false, "error": "no answer within 2 s",
                 "scrapes": null}]}"#,
            Code::Unknown,
            "\
not known: 3 divided targets; not all of 2 members answered, so this may change
no answer   b: no answer within 2 s
a scrapes 2
",
        );
    }
}
