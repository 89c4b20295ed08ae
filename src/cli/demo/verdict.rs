//! The demo's last word: what each kill cost, apart from what must never be. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::demo::{
    agent,
    kills::Kill,
    ledger::{Ledger, Totals},
    summary::Seconds,
};

pub(super) struct Verdict<'a> {
    pub(super) ledger: &'a Ledger,
    /// Time enough, and not one sample.
    pub(super) nothing_arrived: bool,
}

impl Verdict<'_> {
    pub(super) fn is_sound(&self) -> bool {
        self.ledger.totals().faults() == 0 && !self.nothing_arrived
    }

    pub(super) fn json(&self) -> Value {
        let Totals { samples, gaps, duplicates, out_of_order, lost, slow_take_overs, unreadable } =
            self.ledger.totals();
        let kills = self.ledger.kills();
        let costs: Vec<Value> = kills.all().iter().map(Kill::json).collect();
        json!({
            "sound": self.is_sound(), "received": samples, "series": self.ledger.series(),
            "kills": costs, "gap_ms_max": kills.gap_ms_max(),
            "gaps": gaps, "duplicates": duplicates, "out_of_order": out_of_order, "lost": lost,
            "targets_behind": self.ledger.targets_behind(),
            "slow_take_overs": slow_take_overs, "unreadable": unreadable,
            "faults": self.ledger.faults(),
        })
    }
}

impl fmt::Display for Verdict<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.nothing_arrived {
            return writeln!(f, "\nno sample arrived");
        }
        let Totals { samples, gaps, duplicates, out_of_order, lost, slow_take_overs, unreadable } =
            self.ledger.totals();
        let kills = self.ledger.kills();
        writeln!(f, "\nreceived {samples} samples of {} series", self.ledger.series())?;
        for kill in kills.all() {
            write!(f, "the kill of {} cost ", agent::name_of(kill.agent))?;
            let most = Seconds(kills.gap_ms_max());
            match (kill.targets, kill.taken_over_ms) {
                (0, _) => writeln!(f, "nothing: it had no target")?,
                (targets, None) => writeln!(f, "its {targets} targets: not all were taken over")?,
                (targets, Some(_)) => writeln!(
                    f,
                    "its {targets} targets a gap of {} s at the longest (at most {most}); {} \
                     scrapes were not sent yet",
                    Seconds(kill.longest_gap_ms),
                    kill.lost,
                )?,
            }
        }
        writeln!(
            f,
            "{}{gaps} gaps, {duplicates} duplicates, {out_of_order} out of order, {lost} scrapes \
             lost, {unreadable} unreadable requests",
            if kills.all().is_empty() { "" } else { "else: " },
        )?;
        if slow_take_overs > 0 {
            writeln!(f, "{slow_take_overs} gaps after a kill were longer than they may be")?;
        }
        if self.ledger.targets_behind() > 0 {
            writeln!(
                f,
                "the last scrape of {} targets stayed on an agent's disk, for its next start",
                self.ledger.targets_behind()
            )?;
        }
        for fault in self.ledger.faults() {
            writeln!(f, "  {fault}")?;
        }
        let verdict = if self.is_sound() { "sound" } else { "not sound" };
        writeln!(f, "verdict: {verdict}")
    }
}
