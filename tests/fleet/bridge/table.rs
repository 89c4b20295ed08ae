//! The measured outcomes as a table of the documentation.

use std::collections::BTreeMap;

use super::judge::{Outcome, Size};

/// What an event may do at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bound {
    pub(crate) agreed_ms: i64,
    /// No target waits longer than its interval and this.
    pub(crate) late_ms: i64,
    /// Both sides scrape all that they reach, so that some of it is scraped and sent twice.
    pub(crate) splits: bool,
    /// Scrapes whose answer was late or lost on its way.
    pub(crate) lost_max: usize,
    /// Samples that came twice: of a request under way when its sender was killed, and repeated.
    pub(crate) repeated_max: usize,
}

#[derive(Default)]
pub(crate) struct Table {
    /// In the order in which they first came.
    order: Vec<&'static str>,
    outcomes: BTreeMap<&'static str, Vec<Outcome>>,
}

impl Table {
    pub(crate) fn add(&mut self, event: &'static str, outcome: Outcome) {
        if !self.order.contains(&event) {
            self.order.push(event);
        }
        self.outcomes.entry(event).or_default().push(outcome);
    }

    pub(crate) fn check(&self, event: &str, bound: &Bound, size: Size) {
        for outcome in &self.outcomes[event] {
            let agreed_ms = outcome.agreed_ms.unwrap_or(i64::MAX);
            let lag_ms = outcome.lag_ms;
            assert!(agreed_ms <= bound.agreed_ms + lag_ms, "{event}: {outcome:?}");
            let gap_ms_max = size.interval_ms() + bound.late_ms + lag_ms;
            assert!(outcome.account.gap_ms <= gap_ms_max, "{event}: {outcome:?}");
            if !bound.splits {
                assert_eq!(
                    outcome.refused_order + outcome.account.double,
                    0,
                    "{event}: {outcome:?}"
                );
                let repeated = outcome.refused_duplicate;
                assert!(repeated <= bound.repeated_max, "{event}: {outcome:?}");
                assert!(outcome.refused_other.is_empty(), "{event}: {outcome:?}");
                assert_eq!(outcome.false_deaths.len(), 0, "{event}: {outcome:?}");
                assert!(outcome.lost.len() <= bound.lost_max, "{event}: {outcome:?}");
            }
        }
    }

    /// Counts are the most of any run.
    #[expect(clippy::cast_precision_loss, reason = "milliseconds of an hour")]
    pub(crate) fn print(&self, size: Size) {
        println!(
            "| event | runs | all agree: median, max | longest gap of a target: median, max \
            | scrapes missed | made twice | refused: order, duplicate | missing at the backend \
            | healthy held for dead |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let second = |ms: i64| format!("{:.1} s", ms as f64 / 1000.0);
        for event in &self.order {
            let outcomes = &self.outcomes[event];
            let agreed = outcomes.iter().map(|one| one.agreed_ms.unwrap_or(i64::MAX)).collect();
            let agreed = spread(agreed, |ms| match ms {
                i64::MAX => "never".to_owned(),
                ms => second(ms),
            });
            let gaps = outcomes.iter().map(|one| one.account.gap_ms).collect();
            let intervals = |ms: i64| ms as f64 / size.interval_ms() as f64;
            let gaps = spread(gaps, |ms| format!("{} = {:.2} ×", second(ms), intervals(ms)));
            let most =
                |of: fn(&Outcome) -> usize| outcomes.iter().map(of).max().unwrap_or(0).to_string();
            println!(
                "| {event} | {} | {agreed} | {gaps} | {} | {} | {}, {} | {} | {} |",
                outcomes.len(),
                most(|one| usize::try_from(one.account.missed).unwrap()),
                most(|one| one.account.double),
                most(|one| one.refused_order),
                most(|one| one.refused_duplicate),
                most(|one| usize::try_from(one.stored.missed).unwrap()),
                most(|one| one.false_deaths.len()),
            );
        }
    }
}

fn spread(mut values: Vec<i64>, show: impl Fn(i64) -> String) -> String {
    values.sort_unstable();
    let (middle, last) = (values[values.len() / 2], values[values.len() - 1]);
    format!("{}, {}", show(middle), show(last))
}
