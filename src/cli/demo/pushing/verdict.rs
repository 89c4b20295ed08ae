//! The last word: whether all that was acknowledged is stored, and what each kill cost. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::demo::{
    agent,
    pushing::{
        kills::Kill,
        ledger::{Ledger, Outstanding, Totals},
    },
    show::{Seconds, Told},
};

pub(super) struct Verdict {
    pub(super) ledger: Ledger,
    pub(super) outstanding: Outstanding,
    /// Time enough, and not one sample.
    pub(super) nothing_arrived: bool,
}

impl Verdict {
    pub(super) fn is_sound(&self) -> bool {
        self.faults() == 0 && !self.nothing_arrived
    }

    fn faults(&self) -> u64 {
        self.ledger.totals().faults() + self.outstanding.missing
    }
}

impl Told for Verdict {
    fn json(&self) -> Value {
        let Outstanding { under_way, held, missing } = self.outstanding;
        let Totals {
            pushed,
            acknowledged,
            stored,
            late,
            repeated,
            out_of_order,
            duplicates,
            lost,
            strange,
            refused,
            unreadable,
        } = self.ledger.totals();
        let kills: Vec<Value> = self.ledger.kills().all().iter().map(Kill::json).collect();
        json!({
            "sound": self.is_sound(), "kills": kills,
            "pushed": pushed, "acknowledged": acknowledged, "stored": stored,
            "unsent": under_way, "held": held, "missing": missing, "lost": lost,
            "late": late, "repeated": repeated, "longest_wait_ms": self.ledger.longest_wait_ms(),
            "out_of_order": out_of_order, "duplicates": duplicates, "strange": strange,
            "refused": refused, "unreadable": unreadable, "faults": self.ledger.faults(),
        })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.ledger.totals();
        let Totals { pushed, acknowledged, stored, .. } = totals;
        if acknowledged == 0 && totals.faults() == 0 {
            return writeln!(f, "\nno push was acknowledged");
        }
        writeln!(f, "\n{pushed} samples pushed, {acknowledged} acknowledged, {stored} stored")?;
        for kill in self.ledger.kills().all() {
            let (name, wait) = (agent::name_of(kill.gateway), Seconds(kill.longest_wait_ms));
            writeln!(
                f,
                "the kill of {name} cost a wait of {wait} s at most; of what it had not sent came \
                 {} samples late, {} twice",
                kill.late, kill.repeated
            )?;
        }
        let Outstanding { under_way, held, missing } = self.outstanding;
        if held > 0 {
            writeln!(f, "on the disk of a killed gateway that is not back: {held} samples")?;
        }
        if under_way > 0 {
            writeln!(
                f,
                "unsent when the gateways stopped, and on their disks: {under_way} samples"
            )?;
        }
        let Totals { out_of_order, duplicates, lost, strange, refused, unreadable, .. } = totals;
        let missing = missing + lost;
        writeln!(
            f,
            "{}{missing} acknowledged samples missing, {out_of_order} out of order, {duplicates} \
             twice; {refused} pushes refused, {strange} strange samples, {unreadable} unreadable \
             requests",
            if self.ledger.kills().all().is_empty() { "" } else { "else: " },
        )?;
        for fault in self.ledger.faults() {
            writeln!(f, "  {fault}")?;
        }
        writeln!(f, "verdict: {}", if self.is_sound() { "sound" } else { "not sound" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::agent::Departure;

    #[test]
    fn what_lies_on_the_disk_of_a_killed_gateway_is_told_apart_from_a_fault() {
        let check = |killed_ms: Option<i64>, now_ms, is_sound, sentence: &str| {
            let mut ledger = Ledger::new(1, 1);
            ledger.pushing(0, 1_000, 1_000);
            ledger.acknowledged(0, 0, 1_100);
            if let Some(killed_ms) = killed_ms {
                ledger.gone(0, Departure::Killed, killed_ms);
            }
            let outstanding = ledger.outstanding(now_ms);
            let verdict = Verdict { ledger, outstanding, nothing_arrived: false };
            assert_eq!(verdict.is_sound(), is_sound, "{verdict}");
            let text = verdict.to_string();
            assert!(text.contains(sentence), "`{sentence}` is not in:\n{text}");
        };
        let unsent = "unsent when the gateways stopped, and on their disks: 40 samples\n";
        check(None, 1_200, true, unsent);
        check(None, 60_000, false, "\n40 acknowledged samples missing, 0 out of order");
        check(None, 60_000, false, "\nverdict: not sound\n");
        let held = "on the disk of a killed gateway that is not back: 40 samples\nelse: 0 ack";
        check(Some(1_150), 60_000, true, held);
        check(Some(1_150), 60_000, true, "the kill of starling-1 cost a wait of 0.00 s at most");
    }
}
