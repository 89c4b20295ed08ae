//! Every target of the fleet and who scrapes it: what the members have told, put together with what
//! this member's discovery and placement know. Pure.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use crate::{
    model::{
        member::NodeId,
        target::{Target, TargetName},
    },
    ownership::placement::Table,
    scrape::Health,
    survey::{
        answering::name_of,
        asking::Asked,
        message::{TargetsTold, Told},
    },
};

/// All that is scraped or should be, as of one round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FleetTargets {
    /// Rises with each round of this member.
    pub round: u64,
    /// When the members were asked, by this host's clock.
    pub at_ms: i64,
    pub asked: Vec<Asked>,
    /// In the order of job, URL, id and owner. One for each divided target, and one for each member
    /// that scrapes a target that is not divided.
    pub targets: Vec<FleetTarget>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct FleetTarget {
    /// With the key that it is divided by.
    pub target: Arc<Target>,
    pub is_divided: bool,
    /// Who scrapes it. Of a target that is divided and that nobody says to scrape, the member that
    /// should, where that one did not answer; else nobody.
    pub owner: Option<NodeId>,
    /// Who scrapes it as well, although it is divided.
    pub others: Vec<NodeId>,
    /// `None` where its owner did not answer.
    pub fare: Option<Fare>,
}

impl FleetTarget {
    pub fn health(&self) -> Health {
        self.fare.as_ref().map_or(Health::Unknown, |fare| fare.health)
    }
}

/// How a target fares, as its owner tells it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fare {
    pub health: Health,
    pub last_error: Option<String>,
    /// In milliseconds since the Unix epoch, by its owner's clock; `None` before the first scrape.
    pub last_scrape_ms: Option<i64>,
    pub duration: Duration,
    pub samples: u64,
    /// Of the last scrapes, the latest last.
    pub durations: Vec<Duration>,
}

/// What this member knows itself.
pub(super) struct Known<'a> {
    /// Divided, by its discovery.
    pub found: &'a [Arc<Target>],
    /// Not divided, by its discovery: what others scrape of them is not known but by themselves.
    pub undivided: &'a [Arc<Target>],
    pub owners: &'a Table,
    /// Members that did not answer.
    pub silent: &'a BTreeSet<NodeId>,
}

/// Those divided targets that members scrape and this member's discovery has not found.
pub(super) fn unknown(
    told: &BTreeMap<NodeId, TargetsTold>,
    found: &[Arc<Target>],
) -> BTreeMap<NodeId, Vec<TargetName>> {
    let mut known: BTreeSet<TargetName> = found.iter().map(|target| name_of(target)).collect();
    let mut unknown: BTreeMap<NodeId, Vec<TargetName>> = BTreeMap::new();
    for (id, told) in told {
        for one in told.targets.iter().filter(|one| one.is_divided) {
            if let Some(name) = named(told, one).filter(|name| known.insert(name.clone())) {
                unknown.entry(*id).or_default().push(name);
            }
        }
    }
    unknown
}

/// `described`: what was not known and was asked for.
pub(super) fn merge(
    told: BTreeMap<NodeId, TargetsTold>,
    described: Vec<Arc<Target>>,
    known: &Known<'_>,
) -> Vec<FleetTarget> {
    let mut rows: Vec<FleetTarget> = Vec::new();
    let mut places: HashMap<TargetName, usize> = HashMap::new();
    for target in known.found.iter().cloned().chain(described) {
        let place = rows.len();
        if *places.entry(name_of(&target)).or_insert(place) == place {
            let row =
                FleetTarget { target, is_divided: true, owner: None, others: vec![], fare: None };
            rows.push(row);
        }
    }
    for (id, mut told) in told {
        let (at_ms, targets) = (told.at_ms, std::mem::take(&mut told.targets));
        for mut one in targets {
            if let Some(description) = one.description.take() {
                let target = Arc::new(description.target());
                let (owner, fare) = (Some(id), Some(fare(one, at_ms)));
                let row = FleetTarget { target, is_divided: false, owner, others: vec![], fare };
                rows.push(row);
                continue;
            }
            // One that was not described in time can't be shown.
            let place = named(&told, &one).and_then(|name| places.get(&name).copied());
            let Some(row) = place.map(|place| &mut rows[place]) else { continue };
            // Of several the one that should: what it tells is what counts.
            let should = known.owners.owner(row.target.key.slot()) == Some(id);
            if row.owner.is_none() || should {
                row.others.extend(row.owner.replace(id));
                row.fare = Some(fare(one, at_ms));
            } else {
                row.others.push(id);
            }
        }
    }
    for row in rows.iter_mut().filter(|row| row.owner.is_none()) {
        let owner = known.owners.owner(row.target.key.slot());
        row.owner = owner.filter(|id| known.silent.contains(id));
    }
    for id in known.silent {
        rows.extend(known.undivided.iter().map(|target| FleetTarget {
            target: Arc::clone(target),
            is_divided: false,
            owner: Some(*id),
            others: Vec::new(),
            fare: None,
        }));
    }
    rows.sort_by(|one, other| order(one).cmp(&order(other)));
    rows
}

fn order(row: &FleetTarget) -> (&str, &str, u64, Option<NodeId>) {
    (&row.target.job, &row.target.url, row.target.id.0, row.owner)
}

fn named(told: &TargetsTold, one: &Told) -> Option<TargetName> {
    let job = told.jobs.get(usize::try_from(one.job).ok()?)?;
    Some((one.id, Arc::clone(job)))
}

fn fare(told: Told, at_ms: i64) -> Fare {
    let tenths = |tenths: u32| Duration::from_micros(u64::from(tenths) * 100);
    let ago = |ms: u64| at_ms.saturating_sub(i64::try_from(ms).unwrap_or(i64::MAX));
    Fare {
        health: told.health.into(),
        last_error: told.last_error,
        last_scrape_ms: told.scraped_before_ms.map(ago),
        duration: Duration::from_micros(told.duration_us),
        samples: told.samples,
        durations: told.durations.into_iter().map(tenths).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{
            labels::Labels,
            member::{Interval, Member, MemberState, Roster},
            overrides::Overrides,
            slot::StreamKey,
            target::TargetId,
        },
        survey::message::{Description, HealthTold},
    };

    fn target(number: u64) -> Arc<Target> {
        Arc::new(Target {
            job: "job".into(),
            labels: Labels::new(),
            discovered: Labels::new(),
            id: TargetId(number),
            key: StreamKey::of([number.to_string().as_str()]),
            url: format!("http://{number}/"),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
        })
    }

    fn owners() -> Table {
        let member = |id| Member {
            id: NodeId(id),
            name: String::new(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: vec![Interval { from_ms: 0, until_ms: None }],
        };
        let members = (1..4).map(|id| (NodeId(id), member(id))).collect();
        Table::new(0, &Roster { members, version: 0 }, &Overrides::default())
    }

    fn told(number: u64, is_divided: bool) -> Told {
        Told {
            id: TargetId(number),
            job: 0,
            is_divided,
            health: HealthTold::Up,
            scraped_before_ms: Some(number),
            last_error: None,
            duration_us: 5,
            samples: 1,
            durations: vec![1, 20],
            description: (!is_divided).then(|| Box::new(Description::of(&target(number)))),
        }
    }

    fn say(at_ms: i64, targets: Vec<Told>) -> TargetsTold {
        TargetsTold { at_ms, jobs: vec!["job".into()], targets }
    }

    /// Two targets of each of the three members, by the member.
    fn by_owner(owners: &Table) -> BTreeMap<u128, Vec<u64>> {
        let mut found: BTreeMap<u128, Vec<u64>> = BTreeMap::new();
        for number in 0..100 {
            let of = found.entry(owners.owner(target(number).key.slot()).unwrap().0).or_default();
            if of.len() < 2 {
                of.push(number);
            }
        }
        found
    }

    #[test]
    fn each_target_is_once_and_with_whoever_scrapes_it() {
        let owners = owners();
        let of = by_owner(&owners);
        let of = |id: u128, n: usize| of[&id][n];
        let (own, hidden, doubled) = (of(1, 0), of(1, 1), of(2, 0));
        let (foreign, mute, unheard) = (of(2, 1), of(3, 0), of(3, 1));
        let found: Vec<_> = [own, hidden, doubled, mute].map(target).into();
        // 1 scrapes what is its own but for `hidden`, and `doubled` that is 2's; 2 also what nobody
        // else knows; 3 is silent. Each of the two has a target for itself.
        let told: BTreeMap<NodeId, TargetsTold> = [
            (NodeId(1), say(1_000, vec![told(own, true), told(doubled, true), told(500, false)])),
            (
                NodeId(2),
                say(2_000, vec![told(doubled, true), told(foreign, true), told(500, false)]),
            ),
        ]
        .into();
        let unknown = unknown(&told, &found);
        assert_eq!(unknown, [(NodeId(2), vec![name_of(&target(foreign))])].into());
        let (undivided, silent) = ([target(500)], BTreeSet::from([NodeId(3)]));
        let known =
            Known { found: &found, undivided: &undivided, owners: &owners, silent: &silent };
        let rows = merge(told, vec![target(foreign)], &known);
        let row = |number: u64| -> Vec<_> {
            let of = rows.iter().filter(|row| row.target.id.0 == number);
            of.map(|row| {
                let others: Vec<u128> = row.others.iter().map(|id| id.0).collect();
                let at = row.fare.as_ref().and_then(|fare| fare.last_scrape_ms);
                (row.owner.map(|id| id.0), others, at)
            })
            .collect()
        };
        let ago = |at_ms: i64, number: u64| Some(at_ms - i64::try_from(number).unwrap());
        assert_eq!(row(own), [(Some(1), vec![], ago(1_000, own))]);
        assert_eq!(row(hidden), [(None, vec![], None)], "its owner has answered, and not named it");
        assert_eq!(
            row(doubled),
            [(Some(2), vec![1], ago(2_000, doubled))],
            "the one that should comes first"
        );
        assert_eq!(row(foreign), [(Some(2), vec![], ago(2_000, foreign))]);
        assert_eq!(row(mute), [(Some(3), vec![], None)]);
        assert_eq!(row(unheard), [], "nobody that answers knows it");
        assert_eq!(
            row(500),
            [
                (Some(1), vec![], ago(1_000, 500)),
                (Some(2), vec![], ago(2_000, 500)),
                (Some(3), vec![], None),
            ]
        );
        assert_eq!(rows.len(), 8);
        let fare = rows.iter().find_map(|row| row.fare.as_ref()).unwrap();
        assert_eq!(fare.durations, [Duration::from_micros(100), Duration::from_millis(2)]);
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        let owners = owners();
        let mut odd = told(1, true);
        odd.job = 9;
        // A divided one that nobody could describe.
        let told = [(NodeId(1), say(0, vec![odd, told(2, true)]))].into();
        let silent = BTreeSet::new();
        let known = Known { found: &[], undivided: &[], owners: &owners, silent: &silent };
        assert_eq!(merge(told, Vec::new(), &known), []);
    }
}
