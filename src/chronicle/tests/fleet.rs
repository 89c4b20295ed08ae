//! A fleet that is simulated, and what history knows of it.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::*;
use crate::{
    chronicle::{
        members::Seen,
        moves::{Moved, Owners, SlotTargets},
    },
    model::{
        member::{INTERVALS_MAX, Interval, Member, MemberState},
        overrides::Overrides,
        slot::{SLOTS, Slot, StreamKey},
        target::TargetId,
    },
    ownership::{
        moves::Trail,
        placement::{Placement, Table},
    },
    runtime::clock,
};

const HOUR_MS: i64 = 3_600_000;

/// Members that come, go and die, with all that they ever did.
struct World {
    rng: StdRng,
    now_ms: i64,
    members: BTreeMap<NodeId, Member>,
}

impl World {
    fn new(seed: u64, now_ms: i64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let members = (1..=20).map(|n| {
            let member = Member {
                id: NodeId(rng.random()),
                name: format!("n{n}"),
                api_address: String::new(),
                weight: 100,
                zone: String::new(),
                state: MemberState::Alive,
                intervals: vec![Interval { from_ms: now_ms, until_ms: None }],
            };
            (member.id, member)
        });
        let members = members.collect();
        Self { rng, now_ms, members }
    }

    /// What every member is told; what is long past it forgets.
    fn roster(&self, version: u64) -> Roster {
        let mut members = self.members.clone();
        for member in members.values_mut() {
            let old = member.intervals.len().saturating_sub(INTERVALS_MAX);
            member.intervals.drain(..old);
        }
        Roster { members, version }
    }

    /// One member comes, leaves or dies; the news is of now.
    fn change(&mut self) {
        self.now_ms += self.rng.random_range(10_000..600_000);
        let active = self.members.values().filter(|m| m.state == MemberState::Alive).count();
        let at = self.rng.random_range(0..self.members.len());
        let is_crash = self.rng.random_bool(0.5);
        let late_ms = self.rng.random_range(500..8_000);
        let now_ms = self.now_ms;
        let member = self.members.values_mut().nth(at).unwrap();
        let last = member.intervals.last_mut().unwrap();
        match member.state {
            MemberState::Alive if active > 2 => {
                member.state = if is_crash { MemberState::Dead } else { MemberState::Left };
                let until_ms = if is_crash { now_ms - late_ms } else { now_ms + late_ms };
                last.until_ms = Some(until_ms.max(last.from_ms + 1));
            }
            MemberState::Alive => {}
            MemberState::Suspect | MemberState::Left | MemberState::Dead => {
                member.state = MemberState::Alive;
                member.intervals.push(Interval { from_ms: now_ms + late_ms, until_ms: None });
            }
        }
    }

    /// Who has what at an instant, by all that is known now.
    fn owners_at(&self, at_ms: i64) -> Vec<Option<NodeId>> {
        let roster = Roster { members: self.members.clone(), version: 0 };
        let table = Table::new(at_ms, &roster, &Overrides::default());
        table.iter().map(|(_, owner)| owner).collect()
    }
}

/// What one member sees of the world.
struct Observer {
    placement: Placement,
    trail: Trail,
    seen: Seen,
    owners: Owners,
    targets: SlotTargets,
}

impl Observer {
    fn new(world: &World) -> (Self, Vec<Entry>) {
        let roster = world.roster(0);
        let (seen, none) = (members::seen(&roster), Seen::new());
        let mut entries = members::changes(&none, &seen, world.now_ms, false);
        let mut placement = Placement::new(Arc::new(roster), Overrides::default());
        let mut trail = Trail::default();
        trail.begin(&mut placement, world.now_ms);
        let table = placement.table_at(world.now_ms);
        let targets = SlotTargets::default();
        let moves = Owners::default().unseen(&table, world.now_ms);
        entries.extend(moves::entries(&moves, &targets, world.now_ms));
        (Self { placement, trail, seen, owners: Owners::of(&table), targets }, entries)
    }

    fn look(&mut self, world: &World, now_ms: i64, news: Option<Roster>) -> Vec<Entry> {
        let mut entries = Vec::new();
        let is_news = news.is_some();
        if let Some(roster) = news {
            let seen = members::seen(&roster);
            entries = members::changes(&self.seen, &seen, now_ms, false);
            self.seen = seen;
            let before = std::mem::take(&mut self.placement);
            self.placement = before.renewed(Arc::new(roster), Overrides::default());
        }
        let moves = self.trail.advance(&mut self.placement, now_ms, is_news).unwrap_or_default();
        self.owners.moved(&moves);
        let told: Vec<Moved> = moves.iter().map(Moved::from).collect();
        entries.extend(moves::entries(&told, &self.targets, now_ms));
        assert!(now_ms >= world.now_ms);
        entries
    }
}

fn targets(ids: impl Iterator<Item = u64>, at_ms: i64, came: bool) -> Vec<Entry> {
    use crate::history::entry::{ENTRY_TARGETS_MAX, TargetSeen, TargetsChange};
    let seen = |id: u64| TargetSeen {
        id: TargetId(id),
        url: format!("http://h{id:05}/metrics"),
        labels: Vec::new(),
        slot: Some(slot_of(id)),
    };
    let all: Vec<TargetSeen> = ids.map(seen).collect();
    let reason = if came { Reason::Discovered } else { Reason::Vanished };
    let entry = |targets: &[TargetSeen]| {
        let (job, targets) = ("j".into(), targets.to_vec());
        Entry::Targets(TargetsChange { at_ms, job, came, reason, targets })
    };
    all.chunks(ENTRY_TARGETS_MAX).map(entry).collect()
}

fn slot_of(id: u64) -> Slot {
    StreamKey::of([id.to_string().as_str()]).slot()
}

/// 10,000 targets, 20 members, 100 changes of who is there: at any instant history knows what was,
/// also after it was closed and opened again.
#[expect(clippy::print_stderr, reason = "shown where the test fails")]
#[tokio::test]
async fn history_knows_what_the_simulation_knows() {
    let seed = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| rand::rng().random());
    eprintln!("SEED={seed}");
    let begin_ms = clock::now_ms() - 24 * HOUR_MS;
    let mut world = World::new(seed, begin_ms);
    let mut book = Book::over(tempfile::tempdir().unwrap());
    let (mut observer, first) = Observer::new(&world);
    book.record(first).await;
    book.record(targets(0..10_000, begin_ms, true)).await;
    let mut present: BTreeSet<u64> = (0..10_000).collect();
    let mut past = vec![(begin_ms, present.clone())];
    for round in 0..100 {
        world.change();
        let news = world.roster(round + 1);
        book.record(observer.look(&world, world.now_ms, Some(news))).await;
        // What was planned happens within the next ten seconds.
        let later_ms = world.now_ms + 9_000;
        book.record(observer.look(&world, later_ms, None)).await;
        if round % 10 == 5 {
            let gone: Vec<u64> =
                present.iter().copied().filter(|_| world.rng.random_bool(0.05)).collect();
            present.retain(|id| !gone.contains(id));
            book.record(targets(gone.into_iter(), later_ms, false)).await;
            past.push((later_ms, present.clone()));
        }
        if round % 40 == 20 {
            book = book.reopened().await;
        }
    }
    let end_ms = world.now_ms + 10_000;
    let book = book.reopened().await;
    assert!(book.handle.last_moves().borrow().owners() == world.owners_at(end_ms));
    for _ in 0..200 {
        let at_ms = world.rng.random_range(begin_ms..end_ms);
        let expected = world.owners_at(at_ms);
        let found = book.handle.owners_at(at_ms).await.unwrap();
        let differs =
            (0..usize::from(SLOTS)).filter(|slot| found[*slot] != expected[*slot]).count();
        assert_eq!(differs, 0, "at {} after the begin", at_ms - begin_ms);
    }
    for _ in 0..20 {
        let at_ms = world.rng.random_range(begin_ms..end_ms);
        look_at_targets(&book, &mut world, &past, at_ms).await;
    }
}

/// A page somewhere, the number of all, and one target's owner.
async fn look_at_targets(
    book: &Book,
    world: &mut World,
    past: &[(i64, BTreeSet<u64>)],
    at_ms: i64,
) {
    let expected = world.owners_at(at_ms);
    let (_, present) = past.iter().rev().find(|(since_ms, _)| *since_ms <= at_ms).unwrap();
    let page = book.handle.state_at(at_ms, None, None, None, 100).await.unwrap();
    assert_eq!(page.total, Some(present.len() as u64));
    let ids: Vec<u64> = page.items.iter().map(|(target, _)| target.id.0).collect();
    assert_eq!(ids, present.iter().copied().take(100).collect::<Vec<_>>());
    for (target, owner) in &page.items {
        let slot = usize::from(slot_of(target.id.0).number());
        assert_eq!(owner.as_ref().map(|node| node.id), expected[slot]);
    }
    let slots: u64 = page.members.iter().map(|member| member.slots).sum();
    assert_eq!(slots, u64::from(SLOTS));
    let id = world.rng.random_range(0..10_000);
    let past = book.handle.target((TargetId(id), "j".into()), None, None).await.unwrap().unwrap();
    let is_then = |span: &&history::Span| {
        span.from_ms <= at_ms && span.until_ms.is_none_or(|until_ms| at_ms < until_ms)
    };
    let span = past.spans.iter().find(is_then).unwrap();
    let owner = expected[usize::from(slot_of(id).number())].filter(|_| present.contains(&id));
    assert_eq!(span.owner.as_ref().map(|node| node.id), owner, "{past:?} at {at_ms}");
}
