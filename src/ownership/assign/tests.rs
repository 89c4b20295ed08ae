//! Assignment, told as what the pool hears; and as a fleet in which every tick must have one doer.

use std::time::Duration;

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{hole::ticks_around, *};
use crate::model::{
    labels::Labels,
    member::{Member, MemberState},
    overrides::{OverrideMap, Stamp},
    slot::StreamKey,
};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const DETECTION_MS: i64 = 5_000;

pub(super) fn member(id: NodeId, state: MemberState, intervals: &[(i64, Option<i64>)]) -> Member {
    let intervals = intervals.iter().map(|&(from_ms, until_ms)| Interval { from_ms, until_ms });
    Member {
        id,
        name: String::new(),
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        state,
        intervals: intervals.collect(),
    }
}

fn roster(members: &[Member]) -> Arc<Roster> {
    let members = members.iter().map(|member| (member.id, member.clone())).collect();
    Arc::new(Roster { members, version: 0 })
}

fn alive(id: NodeId, from_ms: i64) -> Member {
    member(id, MemberState::Alive, &[(from_ms, None)])
}

/// Each has a slot and a phase of its own.
pub(super) fn target(number: u64, interval_ms: u64) -> Arc<Target> {
    let key = StreamKey::of([number.to_string().as_str()]);
    Arc::new(Target {
        job: "j".into(),
        labels: Labels::new(),
        discovered: Labels::new(),
        id: TargetId(number),
        key,
        url: String::new(),
        interval: Duration::from_millis(interval_ms),
        timeout: Duration::from_secs(1),
    })
}

fn job(targets: &[Arc<Target>], enabled: bool, refreshed_ms: i64) -> JobShare {
    let clustering = Clustering { enabled, ..Clustering::default() };
    JobShare { name: "j".into(), clustering, targets: targets.into(), refreshed_ms }
}

fn assign(me: NodeId) -> Assign {
    Assign::new(Settings { me, detection_ms: DETECTION_MS })
}

/// What a pool would do: the duties of those it runs.
#[derive(Debug, Default)]
struct Pool {
    duties: BTreeMap<TargetName, Duties>,
    caught_up: BTreeMap<TargetName, i64>,
    stopped: Vec<(TargetName, Ending)>,
    gained: usize,
    lost: usize,
    moves: Vec<Move>,
    gaps_ms: Vec<i64>,
}

impl Pool {
    fn obey(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Run { target, duties } => {
                    self.duties.insert(name_of(&target), duties);
                }
                Effect::Stop { target, ending } => {
                    assert!(self.duties.remove(&target).is_some(), "stopped twice");
                    self.stopped.push((target, ending));
                }
                Effect::CatchUp { target, at_ms } => {
                    self.caught_up.insert(target, at_ms);
                }
                Effect::Gap { ms } => self.gaps_ms.push(ms),
                Effect::Hold(_) => {}
                Effect::Gained { .. } => self.gained += 1,
                Effect::Lost { .. } => self.lost += 1,
                Effect::Moved(moves) => self.moves.extend(moves),
            }
        }
    }
}

#[test]
fn a_join_and_a_leave_are_known_before_they_happen() {
    let targets: Vec<_> = (0..50).map(|n| target(n, 15_000)).collect();
    let mut mine = assign(ME);
    let mut pool = Pool::default();
    pool.obey(mine.placed(roster(&[alive(ME, 0)]), Overrides::default(), 1_000));
    pool.obey(mine.discovered(&[job(&targets, true, 1_000)]));
    assert_eq!(pool.duties.len(), 50);
    pool.moves.clear();

    let joined = roster(&[alive(ME, 0), alive(OTHER, 4_000)]);
    pool.obey(mine.placed(joined, Overrides::default(), 2_000));
    let ending = |duties: &Duties| duties[0].until_ms == Some(4_000);
    let moving = pool.duties.values().filter(|duties| ending(duties)).count();
    assert!((15..35).contains(&moving), "{moving}");
    assert!(pool.stopped.is_empty() && pool.lost == 0);
    assert_eq!(mine.next_wake_ms(2_000), Some(4_000));
    pool.obey(mine.passed(4_001));
    assert_eq!(pool.stopped.len(), moving);
    assert!(pool.stopped.iter().all(|(_, ending)| *ending == Ending::Moved));
    assert!(pool.moves.iter().all(|m| m.at_ms == 4_000 && !m.is_late));

    let left = member(OTHER, MemberState::Alive, &[(4_000, Some(9_000))]);
    pool.obey(mine.placed(roster(&[alive(ME, 0), left]), Overrides::default(), 7_000));
    pool.moves.clear();
    assert_eq!(pool.duties.len(), 50);
    assert!(pool.duties.values().all(|duties| duties.len() == 1 && duties[0].until_ms.is_none()));
    let fresh = pool.duties.values().filter(|duties| duties[0].from_ms == 9_000).count();
    assert_eq!(fresh, moving);
    pool.obey(mine.passed(9_000));
    assert!(pool.moves.iter().all(|m| m.why == Why::Leave && !m.is_late));
    assert_eq!(pool.gained - usize::from(crate::model::slot::SLOTS), pool.moves.len());
    assert!(pool.caught_up.is_empty(), "nothing was missed");
}

/// All slots by turns to the one and to the other, as news of it comes; a map after the next one.
#[test]
fn overrides_change_the_owner_of_every_tick_at_one_instant() {
    let targets: Vec<_> = (0..50).map(|n| target(n, 5_000)).collect();
    let both = roster(&[alive(ME, 0), alive(OTHER, 0)]);
    let mut members = [ME, OTHER].map(|id| (assign(id), Pool::default()));
    for (assign, pool) in &mut members {
        pool.obey(assign.placed(Arc::clone(&both), Overrides::default(), 100_000));
        pool.obey(assign.discovered(&[job(&targets, true, 100_000)]));
        pool.moves.clear();
        (pool.gained, pool.lost) = (0, 0);
    }
    let mut overrides = Overrides::default();
    let mut doers: BTreeMap<(TargetName, i64), usize> = BTreeMap::new();
    for now_ms in (100_000_i64..400_000).step_by(500) {
        let to = if now_ms % 140_000 == 0 { ME } else { OTHER };
        if now_ms % 70_000 == 0 {
            let moves = crate::ownership::placement::slots().map(|slot| (slot, to)).collect();
            let stamp = Stamp { version: now_ms.unsigned_abs(), publisher: ME };
            overrides =
                overrides.followed_by(OverrideMap { stamp, from_ms: now_ms + 10_000, moves });
        }
        for (at, (assign, pool)) in members.iter_mut().enumerate() {
            // What was due since the last look was done by what was known then.
            for (name, duties) in &pool.duties {
                let target = targets.iter().find(|target| name_of(target) == *name).unwrap();
                let (last_ms, _) = ticks_around(target, now_ms);
                if last_ms > now_ms - 500 && is_due(duties, last_ms) {
                    *doers.entry((name.clone(), last_ms)).or_default() += 1;
                }
            }
            // The other one hears of it late, and in time.
            let is_told = now_ms % 70_000 == 7_000 * i64::try_from(at).unwrap();
            let effects = if is_told {
                assign.placed(Arc::clone(&both), overrides.clone(), now_ms)
            } else {
                assign.passed(now_ms)
            };
            pool.obey(effects);
        }
    }
    assert_eq!(doers.len(), 50 * 60);
    assert!(doers.values().all(|count| *count == 1));
    let moves: Vec<&Move> = members.iter().flat_map(|(_, pool)| &pool.moves).collect();
    assert!(
        moves.iter().all(|m| m.why == Why::Balance && !m.is_late && m.at_ms % 70_000 == 10_000)
    );
    let [(_, mine), (_, others)] = members;
    // Four maps have come: half the slots changed owners, and then all of them three times.
    assert!(mine.gained == others.lost && mine.lost == others.gained && mine.lost > 4_096);
    assert!(mine.caught_up.is_empty() && others.caught_up.is_empty());
}

#[test]
fn after_a_death_the_hole_is_filled_within_a_second() {
    let targets: Vec<_> =
        (0..300).map(|n| target(n, [3_000, 7_000, 60_000][(n / 100) as usize])).collect();
    let mut mine = assign(ME);
    let mut pool = Pool::default();
    let both = roster(&[alive(ME, 0), alive(OTHER, 0)]);
    pool.obey(mine.placed(both, Overrides::default(), 100_000));
    pool.obey(mine.discovered(&[job(&targets, true, 100_000)]));
    let had: BTreeSet<TargetName> = pool.duties.keys().cloned().collect();

    let (silent_ms, died_ms, now_ms) = (198_000, 200_000, 200_300);
    let silent = member(OTHER, MemberState::Suspect, &[(0, None)]);
    pool.obey(mine.placed(roster(&[alive(ME, 0), silent]), Overrides::default(), silent_ms));
    let dead = member(OTHER, MemberState::Dead, &[(0, Some(died_ms))]);
    pool.obey(mine.placed(roster(&[alive(ME, 0), dead]), Overrides::default(), now_ms));
    for target in targets.iter().filter(|target| !had.contains(&name_of(target))) {
        assert!(is_due(&pool.duties[&name_of(target)], now_ms));
        let (last_ms, next_ms) = ticks_around(target, now_ms);
        let interval_ms = next_ms - last_ms;
        if let Some(at_ms) = pool.caught_up.get(&name_of(target)) {
            assert!(*at_ms < next_ms, "the next tick comes first");
            if last_ms >= silent_ms {
                assert!((now_ms..now_ms + 1_000).contains(at_ms));
            } else {
                assert!((at_ms - last_ms) * 2 > interval_ms, "it may have been taken");
            }
        } else if last_ms >= silent_ms {
            // The next tick is so near that it does instead.
            let near_ms = if interval_ms > 4_500 { 500 } else { interval_ms * 3 / 5 };
            assert!(next_ms - now_ms < near_ms, "{next_ms}");
        }
    }
    assert!(pool.caught_up.keys().all(|id| !had.contains(id)));
    // At most the interval, the time to detect it and what a catch-up is spread over; not near 0.
    let longest_ms = pool.gaps_ms.iter().max().copied().unwrap();
    assert!((60_000..=60_000 + DETECTION_MS + 1_300).contains(&longest_ms), "{longest_ms}");
    assert!(pool.gaps_ms.iter().all(|ms| *ms >= 3_000));
    assert!(pool.moves.iter().filter(|m| m.why != Why::Start).all(|m| m.why == Why::Death));
}

#[test]
fn what_is_not_divided_runs_here_whoever_is_there() {
    let targets = [target(1, 15_000), target(2, 15_000)];
    let mut mine = assign(ME);
    let mut pool = Pool::default();
    pool.obey(mine.discovered(&[job(&targets, false, 0)]));
    assert_eq!(pool.duties.len(), 2);
    pool.obey(mine.placed(roster(&[alive(OTHER, 0)]), Overrides::default(), 10));
    assert_eq!(pool.duties.len(), 2);
    pool.obey(mine.discovered(&[job(&targets, true, 20)]));
    assert_eq!(pool.duties.len(), 0);
    pool.obey(mine.discovered(&[job(&targets[..1], false, 30)]));
    pool.obey(mine.discovered(&[]));
    assert_eq!(pool.stopped.last(), Some(&(name_of(&targets[0]), Ending::Gone)));
}

#[test]
fn an_orphan_lives_until_discovery_has_looked_again() {
    let known = target(1, 15_000);
    let orphan = target(2, 15_000);
    let mut mine = assign(ME);
    let mut pool = Pool::default();
    pool.obey(mine.placed(roster(&[alive(ME, 0)]), Overrides::default(), 10));
    pool.obey(mine.discovered(&[job(&[Arc::clone(&known)], true, 100)]));
    assert_eq!(mine.adopt(&known, 150), Adopted::Known);
    assert_eq!(mine.adopt(&orphan, 50), Adopted::Gone);
    let Adopted::Orphan(effects) = mine.adopt(&orphan, 150) else { panic!("an orphan") };
    pool.obey(effects);
    assert!(pool.duties.contains_key(&name_of(&orphan)));
    // A refresh that began before the fence knows nothing yet.
    pool.obey(mine.discovered(&[job(&[Arc::clone(&known)], true, 140)]));
    assert!(pool.duties.contains_key(&name_of(&orphan)));
    pool.obey(mine.discovered(&[job(&[known], true, 151)]));
    assert_eq!(pool.stopped, [(name_of(&orphan), Ending::Gone)]);
}

/// When it is heard, and by whom.
type News = (i64, usize, Arc<Roster>);

/// Members that hear of planned changes at different times, but in time: each tick has one doer, and
/// no slot is gained or lost but where somebody else loses or gains it.
#[test]
fn in_calm_each_tick_is_done_once() {
    for seed in 0..8 {
        let mut rng = StdRng::seed_from_u64(seed);
        let targets: Vec<_> = (0..40).map(|n| target(n, 1_000)).collect();
        let ids: Vec<NodeId> = (1..=5).map(NodeId).collect();
        let mut members: Vec<Member> = ids.iter().map(|id| alive(*id, 0)).collect();
        members[4].intervals.clear();
        let mut fleet: Vec<(Assign, Pool)> =
            ids.iter().map(|id| (assign(*id), Pool::default())).collect();
        let mut done: BTreeMap<(TargetName, i64), u32> = BTreeMap::new();
        let mut news: Vec<News> = Vec::new();
        let start_ms = 600_000;
        for (assign, pool) in &mut fleet {
            pool.obey(assign.placed(roster(&members), Overrides::default(), start_ms));
            pool.obey(assign.discovered(&[job(&targets, true, start_ms)]));
        }
        for now_ms in (start_ms..start_ms + 40_000).step_by(50) {
            for (_, pool) in &fleet {
                for (name, duties) in &pool.duties {
                    let key = targets[usize::try_from(name.0.0).unwrap()].key;
                    let tick_ms =
                        now_ms - (now_ms - (key.0 % 1_000).cast_signed()).rem_euclid(1_000);
                    if tick_ms > now_ms - 50 && is_due(duties, tick_ms) {
                        *done.entry((name.clone(), tick_ms)).or_default() += 1;
                    }
                }
            }
            if now_ms % 5_000 == 0 {
                let at = rng.random_range(0..members.len());
                let change_ms = now_ms + 2_000;
                match members[at].intervals.last_mut() {
                    Some(last) if last.until_ms.is_none() => last.until_ms = Some(change_ms),
                    _ => {
                        let joined = Interval { from_ms: change_ms, until_ms: None };
                        members[at].intervals.push(joined);
                    }
                }
                for to in 0..fleet.len() {
                    news.push((now_ms + rng.random_range(0..1_900), to, roster(&members)));
                }
            }
            for (_, to, roster) in news.extract_if(.., |(due_ms, ..)| *due_ms <= now_ms) {
                let (assign, pool) = &mut fleet[to];
                pool.obey(assign.placed(roster, Overrides::default(), now_ms));
            }
            for (assign, pool) in &mut fleet {
                if assign.next_wake_ms(now_ms - 50).is_some_and(|wake_ms| wake_ms <= now_ms) {
                    pool.obey(assign.passed(now_ms));
                }
            }
        }
        let active = |ms: i64| members.iter().any(|member| member.is_active_at(ms));
        for target in &targets {
            let phase = (target.key.0 % 1_000).cast_signed();
            let mut tick_ms = start_ms + phase;
            while tick_ms < start_ms + 39_000 {
                let times = done.get(&(name_of(target), tick_ms)).copied().unwrap_or(0);
                assert_eq!(times, u32::from(active(tick_ms)), "seed {seed}, {tick_ms}");
                tick_ms += 1_000;
            }
        }
        for (_, pool) in &fleet {
            assert!(pool.moves.iter().all(|change| !change.is_late), "seed {seed}");
            assert!(pool.caught_up.is_empty(), "seed {seed}");
        }
    }
}
