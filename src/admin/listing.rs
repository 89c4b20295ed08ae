//! Which targets of the fleet a client wants to see: filtered, sorted, and of these one page. Pure.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

use crate::{
    model::{member::NodeId, target::TargetId},
    scrape::Health,
    survey::FleetTarget,
};

/// All of it must be so.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) job: Option<String>,
    pub(super) owner: Option<NodeId>,
    pub(super) health: Option<Health>,
    pub(super) words: Words,
}

/// Words that all must be found, in any case.
#[derive(Debug, Default)]
pub(super) struct Words(Vec<String>);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    #[default]
    Job,
    /// What is down comes first.
    Health,
    Url,
    Owner,
    /// The one that was not scraped for longest comes first.
    LastScrape,
    /// The slowest comes first.
    Duration,
}

impl Order {
    pub(super) const WORDS: [(&str, Self); 6] = [
        ("health", Self::Health),
        ("job", Self::Job),
        ("url", Self::Url),
        ("owner", Self::Owner),
        ("last_scrape", Self::LastScrape),
        ("duration", Self::Duration),
    ];
}

/// Where a page ends: the next one has what comes behind it, whatever has changed meanwhile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    order: Order,
    key: (Key, String, String, TargetId, Option<NodeId>),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Key {
    Nothing,
    Number(i64),
    Longest(Reverse<u64>),
    Text(String),
}

#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) up: usize,
    pub(super) down: usize,
    pub(super) unknown: usize,
}

pub(super) struct Listed<'t> {
    pub(super) page: Vec<&'t FleetTarget>,
    pub(super) total: usize,
    /// Of all that the filter lets through, were it not for the health asked for.
    pub(super) counts: Counts,
    pub(super) next: Option<Place>,
}

/// `name` tells what people call a member. A place of another order than `order` is none.
pub(super) fn list<'t>(
    targets: &'t [FleetTarget],
    filter: &Filter,
    order: Order,
    after: Option<&Place>,
    limit: usize,
    name: impl Fn(NodeId) -> String,
) -> Listed<'t> {
    let mut counts = Counts::default();
    let mut found: Vec<&FleetTarget> = Vec::new();
    for row in targets.iter().filter(|row| filter.lets_through(row, &name)) {
        match row.health() {
            Health::Up => counts.up += 1,
            Health::Down => counts.down += 1,
            Health::Unknown => counts.unknown += 1,
        }
        if filter.health.is_none_or(|health| row.health() == health) {
            found.push(row);
        }
    }
    let total = found.len();
    let place = |row: &FleetTarget| Place::of(row, order, &name);
    // As they come they are in the order of jobs.
    if order != Order::Job {
        found.sort_by_cached_key(|row| place(row).key);
    }
    let after = after.filter(|after| after.order == order);
    let begin = after.map_or(0, |after| found.partition_point(|row| place(row).key <= after.key));
    let rest = &found[begin..];
    let page: Vec<&FleetTarget> = rest.iter().take(limit).copied().collect();
    let next = page.last().filter(|_| rest.len() > limit).map(|last| place(last));
    Listed { page, total, counts, next }
}

impl Place {
    pub(super) fn is_of(&self, order: Order) -> bool {
        self.order == order
    }

    fn of(row: &FleetTarget, order: Order, name: impl Fn(NodeId) -> String) -> Self {
        let key = match order {
            Order::Job => Key::Nothing,
            Order::Health => Key::Number(match row.health() {
                Health::Down => 0,
                Health::Unknown => 1,
                Health::Up => 2,
            }),
            Order::Url => Key::Text(row.target.shown_url().into_owned()),
            Order::Owner => row.owner.map_or(Key::Nothing, |owner| Key::Text(name(owner))),
            Order::LastScrape => {
                let last_ms = row.fare.as_ref().and_then(|fare| fare.last_scrape_ms);
                last_ms.map_or(Key::Nothing, Key::Number)
            }
            Order::Duration => {
                let duration = row.fare.as_ref().map_or(0, |fare| fare.duration.as_micros());
                Key::Longest(Reverse(u64::try_from(duration).unwrap_or(u64::MAX)))
            }
        };
        let target = &row.target;
        Self {
            order,
            key: (
                key,
                target.job.to_string(),
                target.shown_url().into_owned(),
                target.id,
                row.owner,
            ),
        }
    }
}

impl Filter {
    fn lets_through(&self, row: &FleetTarget, name: impl Fn(NodeId) -> String) -> bool {
        let target = &row.target;
        let is_owner = |owner| row.owner == Some(owner) || row.others.contains(&owner);
        self.job.as_deref().is_none_or(|job| *target.job == *job)
            && self.owner.is_none_or(is_owner)
            && self.words.are_in(|| {
                let mut text = format!("{}\n{}", target.shown_url(), target.job);
                let public = target.labels.iter().filter(|(name, _)| !name.starts_with("__"));
                for (name, value) in public {
                    text.extend(["\n", name, "=", value]);
                }
                let error = row.fare.as_ref().and_then(|fare| fare.last_error.as_deref());
                let owners = row.owner.iter().chain(&row.others).map(|id| name(*id));
                for one in owners.chain(error.map(str::to_owned)) {
                    text.extend(["\n", &one]);
                }
                text
            })
    }
}

impl Words {
    pub(super) fn of(text: &str) -> Self {
        Self(text.split_whitespace().map(str::to_lowercase).collect())
    }

    /// `text` is asked for only where there are words.
    pub(super) fn are_in(&self, text: impl FnOnce() -> String) -> bool {
        if self.0.is_empty() {
            return true;
        }
        let text = text().to_lowercase();
        self.0.iter().all(|word| text.contains(word))
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use super::*;
    use crate::{
        model::{labels::Labels, slot::StreamKey, target::Target},
        survey::Fare,
    };

    fn row(id: u64, job: &str, owner: Option<u128>, health: Health, ms: u64) -> FleetTarget {
        let target = Target {
            job: job.into(),
            labels: [("instance", format!("host{id}:1").as_str()), ("__own", "hidden")]
                .into_iter()
                .collect(),
            discovered: Labels::new(),
            id: TargetId(id),
            key: StreamKey(id),
            url: format!("http://host{id}:1/metrics"),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
        };
        let fare = Fare {
            health,
            last_error: (health == Health::Down).then(|| "connection REFUSED".to_owned()),
            last_scrape_ms: (health != Health::Unknown)
                .then_some(1000 - i64::try_from(id).unwrap()),
            duration: Duration::from_millis(ms),
            samples: 0,
            durations: Vec::new(),
        };
        FleetTarget {
            target: Arc::new(target),
            is_divided: true,
            owner: owner.map(NodeId),
            others: Vec::new(),
            fare: Some(fare),
        }
    }

    fn rows() -> Vec<FleetTarget> {
        vec![
            row(1, "db", Some(2), Health::Up, 5),
            row(2, "db", Some(1), Health::Down, 900),
            row(3, "node", Some(1), Health::Up, 7),
            row(4, "node", None, Health::Unknown, 0),
        ]
    }

    fn name(id: NodeId) -> String {
        format!("vm{}", 9 - id.0)
    }

    fn ids(listed: &Listed<'_>) -> Vec<u64> {
        listed.page.iter().map(|row| row.target.id.0).collect()
    }

    #[test]
    fn words_are_looked_for_wherever_a_person_would() {
        let rows = rows();
        let check = |text: &str, expected: &[u64]| {
            let filter = Filter { words: Words::of(text), ..Filter::default() };
            let listed = list(&rows, &filter, Order::Job, None, 10, name);
            assert_eq!(ids(&listed), expected, "{text}");
        };
        check("", &[1, 2, 3, 4]);
        check("HOST3", &[3]);
        check("db refused", &[2]);
        check("vm8", &[2, 3]);
        check("vm8 node", &[3]);
        check("instance=host4", &[4]);
        check("hidden", &[]);
    }

    #[test]
    fn health_is_counted_whatever_health_is_asked_for() {
        let rows = rows();
        let filter =
            Filter { job: Some("db".into()), health: Some(Health::Up), ..Filter::default() };
        let listed = list(&rows, &filter, Order::Job, None, 10, name);
        assert_eq!((ids(&listed), listed.total), (vec![1], 1));
        assert_eq!(listed.counts, Counts { up: 1, down: 1, unknown: 0 });
        let filter = Filter { owner: Some(NodeId(1)), ..Filter::default() };
        assert_eq!(ids(&list(&rows, &filter, Order::Job, None, 10, name)), [2, 3]);
    }

    #[test]
    fn pages_follow_each_other_in_every_order() {
        let rows = rows();
        let check = |order: Order, expected: [u64; 4]| {
            for limit in 1..=5 {
                let (mut seen, mut place) = (Vec::new(), None);
                loop {
                    let listed =
                        list(&rows, &Filter::default(), order, place.as_ref(), limit, name);
                    assert_eq!(listed.total, 4);
                    seen.extend(ids(&listed));
                    place = listed.next;
                    if place.is_none() {
                        break;
                    }
                }
                assert_eq!(seen, expected, "{order:?} by {limit}");
            }
        };
        check(Order::Job, [1, 2, 3, 4]);
        check(Order::Health, [2, 4, 1, 3]);
        check(Order::Url, [1, 2, 3, 4]);
        // `vm7`, then `vm8` twice, and before them nobody.
        check(Order::Owner, [4, 1, 2, 3]);
        check(Order::LastScrape, [4, 3, 2, 1]);
        check(Order::Duration, [2, 3, 1, 4]);
    }

    #[test]
    fn a_page_goes_on_where_the_last_one_ended_though_rows_have_gone() {
        let mut rows = rows();
        let first = list(&rows, &Filter::default(), Order::Job, None, 2, name);
        let place = first.next.unwrap();
        rows.remove(1);
        rows.remove(0);
        let second = list(&rows, &Filter::default(), Order::Job, Some(&place), 2, name);
        assert_eq!((ids(&second), second.next), (vec![3, 4], None));
    }
}
