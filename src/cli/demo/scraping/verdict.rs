//! The demo's last word: what each kill cost, apart from what must never be. Pure.

use std::fmt;

use serde_json::{Value, json};

use crate::cli::demo::{
    agent,
    scraping::{
        kills::Kill,
        ledger::{Ledger, Totals},
        summary,
    },
    show::{Seconds, Told},
};

pub(super) struct Verdict {
    pub(super) ledger: Ledger,
    /// Time enough, and not one sample.
    pub(super) nothing_arrived: bool,
}

impl Verdict {
    pub(super) fn is_sound(&self) -> bool {
        self.ledger.totals().faults() == 0 && !self.nothing_arrived
    }
}

impl Told for Verdict {
    fn json(&self) -> Value {
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

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { samples, gaps, duplicates, out_of_order, lost, slow_take_overs, unreadable } =
            self.ledger.totals();
        if samples == 0 && unreadable == 0 {
            return writeln!(f, "\nno sample arrived");
        }
        let kills = self.ledger.kills();
        let most = Seconds(kills.gap_ms_max());
        writeln!(f, "\nreceived {samples} samples of {} series", self.ledger.series())?;
        for kill in kills.all() {
            let (name, targets) = (agent::name_of(kill.agent), summary::targets(kill.targets));
            let (gap, lost) = (Seconds(kill.longest_gap_ms), kill.lost);
            match (kill.targets, kill.taken_over_ms) {
                (0, _) => writeln!(f, "the kill of {name} cost nothing: it had no target")?,
                (_, None) => writeln!(f, "the kill of {name}: nobody took over all its {targets}")?,
                (_, Some(_)) => writeln!(
                    f,
                    "the kill of {name} cost its {targets} a gap of {gap} s (at most {most}); \
                     unsent scrapes: {lost}",
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
                "unsent when the agents stopped, and on their disks: the last scrape of {}",
                summary::targets(self.ledger.targets_behind())
            )?;
        }
        for fault in self.ledger.faults() {
            writeln!(f, "  {fault}")?;
        }
        let verdict = if self.is_sound() { "sound" } else { "not sound" };
        writeln!(f, "verdict: {verdict}")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        cli::demo::{agent::Departure, receiver::Ledger as _},
        model::{labels::Labels, sample::Sample},
        wire::remote_write::TimeSeries,
    };

    /// `up` of one target, scraped by the first agent for two seconds and by the second from then on.
    fn ledger(kill_ms: Option<i64>, resumed_ms: i64) -> Ledger {
        let labels: Labels = [("__name__", "up"), ("instance", "a")].into_iter().collect();
        let mut ledger = Ledger::new(Duration::from_secs(1), 2);
        for (agent, timestamp_ms) in [(0, 1000), (0, 2000), (1, resumed_ms)] {
            if agent == 1
                && let Some(kill_ms) = kill_ms
            {
                ledger.gone(0, Departure::Killed, kill_ms);
            }
            let samples = vec![Sample { value: 1.0, timestamp_ms }];
            let series = TimeSeries { labels: labels.clone(), samples, ..TimeSeries::default() };
            ledger.take(agent, &[series], timestamp_ms);
        }
        ledger
    }

    #[test]
    fn the_cost_of_a_kill_is_told_apart_from_a_fault() {
        let check = |kill_ms, resumed_ms, is_sound, sentences: &[&str]| {
            let ledger = ledger(kill_ms, resumed_ms);
            let verdict = Verdict { ledger, nothing_arrived: false };
            assert_eq!(verdict.is_sound(), is_sound, "{verdict}");
            let text = verdict.to_string();
            for sentence in sentences {
                assert!(text.contains(sentence), "`{sentence}` is not in:\n{text}");
            }
        };
        check(None, 3000, true, &["\n0 gaps, ", "\nverdict: sound\n"]);
        check(None, 6000, false, &["\n1 gaps, ", "a gap (4000 ms) at 6000 of", "not sound"]);
        let cost = "the kill of starling-1 cost its 1 target a gap of 4.00 s (at most 6.00)";
        check(Some(2500), 6000, true, &[cost, "else: 0 gaps", "\nverdict: sound\n"]);
        let slow = "1 gaps after a kill were longer than they may be";
        check(Some(2500), 8001, false, &[slow, "else: 0 gaps", "\nverdict: not sound\n"]);
    }
}
