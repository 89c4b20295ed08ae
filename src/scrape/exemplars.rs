//! Which exemplars of a series are news: a target shows the same ones until it has others. Pure.

use std::cmp::Ordering;

use hashbrown::HashMap;

use crate::{model::sample::Exemplar, scrape::staleness::Kind};

/// Of one sample; the oldest of more are left out, as backends keep few of a series.
const EXEMPLARS_MAX: usize = 128;

/// The last exemplar of each series that has any, by the hash of its labels.
#[derive(Debug, Default)]
pub(super) struct LastExemplars(HashMap<u64, Last>);

#[derive(Clone, Copy, Debug)]
pub(super) struct Last {
    timestamp_ms: i64,
    value: f64,
    labels: u128,
    /// Otherwise it has the sample's, and the same one may be shown again.
    has_own_timestamp: bool,
}

impl LastExemplars {
    /// Those of `shown` that come behind the last one, in the order of their timestamps, each with
    /// one; and what was the last one until now. `timestamp_ms` is the sample's.
    pub(super) fn news(
        &mut self,
        series: u64,
        kind: Kind,
        shown: Vec<Exemplar>,
        timestamp_ms: i64,
    ) -> (Vec<Exemplar>, Option<Last>) {
        let before = self.0.get(&series).copied();
        let mut last = before;
        let mut dated: Vec<(Last, Exemplar)> = shown
            .into_iter()
            // Of a histogram an exemplar that tells no time can't be told from the one before.
            .filter(|exemplar| kind == Kind::Float || exemplar.timestamp_ms.is_some())
            .map(|exemplar| {
                let own_ms = exemplar.timestamp_ms;
                let dated = Last {
                    timestamp_ms: own_ms.unwrap_or(timestamp_ms),
                    value: exemplar.value,
                    labels: exemplar.labels.hash(),
                    has_own_timestamp: own_ms.is_some(),
                };
                (dated, Exemplar { timestamp_ms: Some(dated.timestamp_ms), ..exemplar })
            })
            .collect();
        dated.sort_by(|(one, _), (other, _)| one.order(other));
        let mut news = Vec::new();
        for (dated, exemplar) in dated {
            if last.is_none_or(|last| dated.is_behind(&last)) {
                last = Some(dated);
                news.push(exemplar);
            }
        }
        if let Some(last) = last {
            self.0.insert(series, last);
        }
        news.drain(..news.len().saturating_sub(EXEMPLARS_MAX));
        (news, before)
    }

    /// The exemplars were not kept: they may come again.
    pub(super) fn take_back(&mut self, series: u64, before: Option<Last>) {
        match before {
            Some(last) => drop(self.0.insert(series, last)),
            None => drop(self.0.remove(&series)),
        }
    }

    pub(super) fn retain(&mut self, is_known: impl Fn(u64) -> bool) {
        self.0.retain(|series, _| is_known(*series));
    }
}

impl Last {
    fn order(&self, other: &Self) -> Ordering {
        self.timestamp_ms
            .cmp(&other.timestamp_ms)
            .then(self.value.total_cmp(&other.value))
            .then(self.labels.cmp(&other.labels))
    }

    /// A backend would refuse what is not.
    fn is_behind(&self, last: &Self) -> bool {
        let is_shown_again = !self.has_own_timestamp
            && !last.has_own_timestamp
            && self.value.total_cmp(&last.value).is_eq()
            && self.labels == last.labels;
        !is_shown_again && self.order(last).is_gt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exemplar as `id value` or `id value@timestamp`.
    fn exemplar(text: &str) -> Exemplar {
        let (id, rest) = text.split_once(' ').unwrap();
        let (value, timestamp_ms) = rest.split_once('@').unwrap_or((rest, ""));
        Exemplar {
            labels: [("id", id)].into_iter().collect(),
            value: value.parse().unwrap(),
            timestamp_ms: timestamp_ms.parse().ok(),
        }
    }

    fn shown(exemplar: &Exemplar) -> String {
        let Exemplar { labels, value, timestamp_ms } = exemplar;
        format!("{} {value}@{}", labels.get("id"), timestamp_ms.unwrap())
    }

    /// The exemplars of a sample, and those that are news.
    type Told = (&'static [&'static str], &'static [&'static str]);

    /// What is news of each sample of a series, at 10, 20, … ms.
    fn check(kind: Kind, samples: &[Told]) {
        let mut last = LastExemplars::default();
        for (n, (exemplars, expected)) in (1..).zip(samples) {
            let exemplars = exemplars.iter().map(|text| exemplar(text)).collect();
            let (news, _) = last.news(1, kind, exemplars, n * 10);
            assert_eq!(news.iter().map(shown).collect::<Vec<_>>(), *expected, "sample {n}");
        }
    }

    #[test]
    fn an_exemplar_goes_once() {
        check(
            Kind::Float,
            &[
                (&["a 1"], &["a 1@10"]),
                (&["a 1"], &[]),
                (&["a 2"], &["a 2@30"]),
                (&["b 2@35"], &["b 2@35"]),
                (&["b 2@35"], &[]),
                (&["b 2@34"], &[]),
                (&["b 3@35"], &["b 3@35"]),
                (&[], &[]),
                (&["a 2"], &["a 2@90"]),
            ],
        );
    }

    #[test]
    fn of_a_histogram_each_tells_its_time() {
        check(
            Kind::Histogram,
            &[
                (&["c 3@7", "a 1@5", "b 2"], &["a 1@5", "c 3@7"]),
                (&["c 3@7", "d 4@9", "a 1@5"], &["d 4@9"]),
                (&["e 5"], &[]),
            ],
        );
    }

    #[test]
    fn what_was_not_kept_comes_again() {
        let mut last = LastExemplars::default();
        for kept in [false, true, false] {
            let (_, before) = last.news(1, Kind::Float, vec![exemplar("a 1@5")], 10);
            if !kept {
                last.take_back(1, before);
            }
            assert_eq!(last.0.len(), usize::from(kept || before.is_some()));
        }
        last.retain(|series| series != 1);
        assert!(last.0.is_empty());
    }

    #[test]
    fn of_very_many_the_newest_go() {
        let mut last = LastExemplars::default();
        let many = (0..1000).map(|n| exemplar(&format!("a 1@{n}"))).collect();
        let (news, _) = last.news(1, Kind::Histogram, many, 10);
        assert_eq!((news.len(), news[0].timestamp_ms), (EXEMPLARS_MAX, Some(872)));
    }
}
