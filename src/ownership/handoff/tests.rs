//! Hand-over, one rule at a time; `simulation` has them all at once.

use super::*;
use crate::model::{
    member::{Interval, Member},
    slot::{SLOTS, StreamKey},
};

const ME: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const THIRD: NodeId = NodeId(3);

fn roster(members: &[(NodeId, MemberState)]) -> Roster {
    let member = |&(id, state): &(NodeId, MemberState)| Member {
        id,
        name: String::new(),
        api_address: String::new(),
        weight: 100,
        zone: String::new(),
        state,
        intervals: vec![Interval { from_ms: 0, until_ms: None }],
    };
    Roster { members: members.iter().map(|m| (m.0, member(m))).collect(), version: 0 }
}

/// Calls the rules at an instant at which `owner` has all slots and all members are alive.
fn at<T>(now_ms: i64, owner: NodeId, act: impl FnOnce(&World<'_>) -> T) -> T {
    let alive = [ME, OTHER, THIRD].map(|id| (id, MemberState::Alive));
    let (roster, owner) = (roster(&alive), |_| Some(owner));
    act(&World { now_ms, roster: &roster, owner: &owner })
}

fn handoff(me: NodeId, destinations: &[&str], saved: BTreeMap<Line, Saved>) -> Handoff {
    let settings =
        Settings { me, fence_ms_max: 60_000, part_records_max: 2, part_bytes_max: 1_000 };
    Handoff::new(&settings, names(destinations), saved)
}

fn names(destinations: &[&str]) -> Vec<Arc<str>> {
    destinations.iter().map(|name| Arc::from(*name)).collect()
}

fn line(number: u16, destination: &str) -> Line {
    Line { slot: slot(number), destination: destination.into() }
}

fn slot(number: u16) -> Slot {
    Slot::new(number).unwrap()
}

fn record(interval_ms: i64, node: NodeId, sequence: u64) -> Record {
    let name = RecordName { interval_ms, node, sequence };
    let oldest_ms = interval_ms + i64::try_from(sequence).unwrap();
    Record { name, stream: StreamKey(7), oldest_ms, bytes: 300, pushed: false }
}

fn outlook(has_room: bool) -> Outlook<'static> {
    Outlook { has_room, has_reserve: true, window_ms: 0, sent_ms: &|_| None }
}

/// What a line's effects say of how far it is open, in order.
fn opened(effects: &[Effect], of: &Line) -> Vec<i64> {
    let before = |effect: &Effect| match effect {
        Effect::Open { line, before_ms } if line == of => Some(*before_ms),
        _ => None,
    };
    effects.iter().filter_map(before).collect()
}

/// The messages among the effects of `from`, each to its receiver.
fn deliver(
    effects: Vec<Effect>,
    from: NodeId,
    to: &mut Handoff,
    outlook: &Outlook<'_>,
    world: &World<'_>,
) -> Vec<Effect> {
    let mut answers = Vec::new();
    for effect in effects {
        if let Effect::Send { message, .. } | Effect::Store { answer: message, .. } = effect {
            answers.extend(to.heard(from, message, outlook, world));
        }
    }
    answers
}

#[test]
fn what_is_saved_goes_on_after_a_restart() {
    let line = line(5, "a");
    let mut taker = handoff(ME, &["a"], BTreeMap::new());
    let previous =
        [Previous { node: OTHER, until_ms: 2_000 }, Previous { node: THIRD, until_ms: 1_000 }];
    let effects = at(2_000, ME, |world| taker.gained(slot(5), 2_000, &previous, world));
    assert_eq!(opened(&effects, &line), [i64::MIN]);
    let give = Give {
        line: line.clone(),
        until_ms: 2_000,
        awaits: vec![previous[1]],
        is_unaware: false,
        records: vec![record(1_000, OTHER, 1)],
        gone: vec![record(0, THIRD, 9).name],
        end: None,
    };
    let given = Message::Give(give);
    at(2_100, ME, |world| taker.heard(OTHER, given.clone(), &outlook(true), world));

    let saved: BTreeMap<Line, Saved> =
        taker.all_saved().map(|(line, saved)| (line.clone(), saved.clone())).collect();
    let bytes = postcard::to_stdvec(&saved).unwrap();
    assert_eq!(postcard::from_bytes::<BTreeMap<Line, Saved>>(&bytes).unwrap(), saved);
    let mut again = handoff(ME, &["a"], saved.clone());
    assert_eq!(again.closed(), 1);
    let effects = at(3_000, ME, |world| again.gained(slot(5), 2_000, &previous, world));
    assert_eq!(opened(&effects, &line), [i64::MIN], "it still waits");
    let effects = at(3_100, ME, |world| again.heard(OTHER, given, &outlook(true), world));
    let stored = |effect: &Effect| match effect {
        Effect::Store { records, .. } => Some(records.len()),
        _ => None,
    };
    assert_eq!(effects.iter().find_map(stored), Some(0), "it is known by its name");
    // Not of this configuration any more.
    assert_eq!(handoff(ME, &["b"], saved).all_saved().count(), 0);
}

/// The third gave what it had to the other and left; then the other died with it.
#[test]
fn nobody_waits_for_one_that_has_left_when_the_one_after_it_is_dead() {
    let check = |third: MemberState, expected: &[i64]| {
        let line = line(5, "a");
        let mut taker = handoff(ME, &["a"], BTreeMap::new());
        let members = [(ME, MemberState::Alive), (OTHER, MemberState::Dead), (THIRD, third)];
        let (roster, owner) = (roster(&members), |_| Some(ME));
        let world = World { now_ms: 2_000, roster: &roster, owner: &owner };
        let previous =
            [Previous { node: OTHER, until_ms: 2_000 }, Previous { node: THIRD, until_ms: 1_000 }];
        let effects = taker.gained(slot(5), 2_000, &previous, &world);
        assert_eq!(opened(&effects, &line), expected, "{third:?}");
    };
    check(MemberState::Alive, &[i64::MIN]);
    check(MemberState::Suspect, &[i64::MIN]);
    check(MemberState::Left, &[i64::MAX]);
    check(MemberState::Dead, &[i64::MAX]);
}

/// The third gave all to this member and left. The line went to the other, and came back before this
/// member had given it: what the third had is here, and no order is given up.
#[test]
fn what_came_back_before_it_was_given_is_whole() {
    let of_slot = line(5, "a");
    let mut rules = handoff(ME, &["a"], BTreeMap::new());
    let third = Previous { node: THIRD, until_ms: 1_000 };
    let other = Previous { node: OTHER, until_ms: 3_000 };
    let give = |until_ms, awaits| Give {
        line: of_slot.clone(),
        until_ms,
        awaits,
        is_unaware: false,
        records: Vec::new(),
        gone: Vec::new(),
        end: Some(Vec::new()),
    };
    at(1_000, ME, |world| {
        rules.gained(slot(5), 1_000, &[third], world);
        let effects = rules.heard(THIRD, Message::Give(give(1_000, vec![])), &outlook(true), world);
        assert_eq!(opened(&effects, &of_slot), [i64::MAX]);
    });
    at(2_000, OTHER, |world| {
        rules.lost(slot(5), 2_000);
        rules.sealed(slot(5));
        rules.extracted(&of_slot, VecDeque::new(), Vec::new(), world);
    });
    let (alive, left) = (MemberState::Alive, MemberState::Left);
    let (roster, owner) = (roster(&[(ME, alive), (OTHER, alive), (THIRD, left)]), |_| Some(ME));
    let world = World { now_ms: 3_000, roster: &roster, owner: &owner };
    rules.gained(slot(5), 3_000, &[other, third], &world);
    let awaits = vec![Previous { node: ME, until_ms: 2_000 }];
    let effects = rules.heard(OTHER, Message::Give(give(3_000, awaits)), &outlook(true), &world);
    assert_eq!(opened(&effects, &of_slot), [i64::MAX]);
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::Bet { .. })), "{effects:?}");
}

/// The other took the line over when the third died, and died too; for a while nobody had it, and then
/// both are back. Who has it now hears them in whatever order, and sends nothing before it has all.
#[test]
fn after_two_deaths_a_line_waits_for_both_who_come_back() {
    let of_slot = line(5, "a");
    let mut taker = handoff(ME, &["a"], BTreeMap::new());
    let second = Previous { node: OTHER, until_ms: 8_200 };
    let first = Previous { node: THIRD, until_ms: 4_000 };
    at(12_600, ME, |world| taker.tick(&|_| true, world));
    let effects = at(12_700, ME, |world| taker.gained(slot(5), 12_700, &[second, first], world));
    assert_eq!(opened(&effects, &of_slot), [i64::MIN]);

    // None of them knows what happened while it was down, nor until when the line was its own.
    let given = |record: Option<Record>| Give {
        line: of_slot.clone(),
        until_ms: 10_700,
        awaits: vec![],
        is_unaware: true,
        records: record.into_iter().collect(),
        gone: vec![],
        end: record.is_none().then(Vec::new),
    };
    let mut check = |from, record: Option<Record>, verdict, before_ms: &[i64]| {
        let give = Message::Give(given(record));
        let effects = at(12_800, ME, |world| taker.heard(from, give, &outlook(true), world));
        let answer = |effect: &Effect| match effect {
            Effect::Send { message: Message::Answer(answer), .. }
            | Effect::Store { answer: Message::Answer(answer), .. } => Some(answer.verdict),
            _ => None,
        };
        assert_eq!(effects.iter().find_map(answer), Some(verdict), "{from} {record:?}");
        assert_eq!(opened(&effects, &of_slot), before_ms, "{from} {record:?}");
    };
    check(OTHER, Some(record(4_000, OTHER, 1)), Verdict::Taken, &[i64::MIN]);
    check(OTHER, None, Verdict::Taken, &[i64::MIN]);
    check(THIRD, Some(record(0, THIRD, 1)), Verdict::Taken, &[i64::MIN]);
    check(THIRD, None, Verdict::Taken, &[i64::MAX]);
}

/// The other had the slot until the third did, for a moment, of which the news has not come yet.
#[test]
fn a_line_that_waits_also_waits_for_one_that_it_did_not_know_of() {
    let of_slot = line(5, "a");
    let mut taker = handoff(ME, &["a"], BTreeMap::new());
    at(4_700, ME, |world| taker.tick(&|_| true, world));
    let previous = [Previous { node: OTHER, until_ms: 4_800 }];
    at(4_800, ME, |world| taker.gained(slot(5), 4_800, &previous, world));
    let give = |until_ms, records: Vec<Record>, awaits| Give {
        line: of_slot.clone(),
        until_ms,
        awaits,
        is_unaware: false,
        end: records.is_empty().then(Vec::new),
        records,
        gone: vec![],
    };
    let mut check = |from, give: Give, before_ms: &[i64]| {
        let give = Message::Give(give);
        let effects = at(4_900, ME, |world| taker.heard(from, give, &outlook(true), world));
        assert_eq!(opened(&effects, &of_slot), before_ms, "{effects:?}");
    };
    let in_between = || vec![record(4_000, THIRD, 1)];
    check(OTHER, give(4_800, vec![record(0, OTHER, 1)], vec![]), &[4_800]);
    // An offer to whoever would have the slot, and that is this member itself.
    check(ME, give(4_800, vec![record(0, ME, 1)], vec![]), &[]);
    check(THIRD, give(4_800, in_between(), vec![]), &[i64::MIN]);
    check(OTHER, give(4_800, vec![], vec![]), &[i64::MIN]);
    check(THIRD, give(4_800, vec![], vec![]), &[i64::MAX]);
    // Heard again, late, it is no news.
    check(THIRD, give(4_800, in_between(), vec![]), &[i64::MAX]);
    assert_eq!(taker.closed(), 0);
}

#[test]
fn a_line_at_rest_is_not_kept_on_disk() {
    let mut rules = handoff(ME, &["a"], BTreeMap::new());
    at(0, ME, |world| rules.gained(slot(1), 0, &[], world));
    assert!(rules.saved(&line(1, "a")).is_none(), "nobody had it before");
    let previous = [Previous { node: OTHER, until_ms: 0 }];
    at(0, ME, |world| rules.gained(slot(2), 0, &previous, world));
    assert!(rules.saved(&line(2, "a")).is_some());
    let end = Give {
        line: line(2, "a"),
        until_ms: 0,
        awaits: vec![],
        is_unaware: false,
        records: vec![record(-5, OTHER, 1)],
        gone: vec![],
        end: Some(vec![]),
    };
    at(500, ME, |world| rules.heard(OTHER, Message::Give(end), &outlook(true), world));
    assert_eq!((rules.closed(), rules.all_saved().count()), (0, 1));
    let mut tick = |now_ms| at(now_ms, ME, |world| rules.tick(&|_| true, world));
    assert!(tick(600_000).is_empty());
    tick(600_500);
    tick(1_200_000);
    assert_eq!(rules.all_saved().count(), 0);
    assert!(rules.taker.is_mine(&line(2, "a")));
}

#[test]
fn a_reload_opens_the_lines_of_a_new_destination_and_forgets_those_of_one_that_is_gone() {
    let mut rules = handoff(ME, &["a", "gone"], BTreeMap::new());
    let previous = [Previous { node: OTHER, until_ms: 100 }];
    at(100, ME, |world| rules.gained(slot(1), 100, &previous, world));
    at(100, ME, |world| rules.gained(slot(2), 50, &[], world));
    rules.lost(slot(2), 200);
    assert_eq!((rules.closed(), rules.unfinished()), (2, 2));
    let effects = rules.set_destinations(names(&["new", "a"]), &[(slot(1), 100)]);
    assert_eq!(effects, [Effect::Open { line: line(1, "new"), before_ms: i64::MAX }]);
    assert_eq!((rules.closed(), rules.unfinished()), (1, 1));
    assert!(rules.set_destinations(names(&["a", "new"]), &[(slot(1), 100)]).is_empty());
    // The new one's slots change hands as all others do.
    assert_eq!(rules.sealed(slot(2)), [Effect::Extract { line: line(2, "a") }]);
    rules.lost(slot(1), 300);
    assert_eq!(rules.sealed(slot(1)).len(), 2);
}

#[test]
fn what_the_new_owner_has_no_destination_for_is_sent_by_the_old_one_until_it_has() {
    let line = line(1, "a");
    let mut giver = handoff(OTHER, &["a"], BTreeMap::new());
    at(0, OTHER, |world| giver.gained(slot(1), 0, &[], world));
    giver.lost(slot(1), 1_000);
    giver.sealed(slot(1));
    let records = || VecDeque::from([record(0, OTHER, 1)]);
    let mut taker = handoff(ME, &[], BTreeMap::new());
    let previous = [Previous { node: OTHER, until_ms: 1_000 }];
    at(1_000, ME, |world| taker.gained(slot(1), 1_000, &previous, world));

    let effects = at(1_100, ME, |world| {
        let offer = giver.extracted(&line, records(), vec![], world);
        let answer = deliver(offer, OTHER, &mut taker, &outlook(true), world);
        deliver(answer, ME, &mut giver, &outlook(true), world)
    });
    let refused = |why| Effect::Refused { line: line.clone(), by: ME, records: 1, why };
    let put_back = Effect::PutBack { line: line.clone() };
    let open = Effect::Open { line: line.clone(), before_ms: i64::MAX };
    assert_eq!(effects, [refused(Verdict::NoDestination), put_back, open]);
    assert_eq!(giver.unfinished(), 1, "a leaver still waits");

    // It sends what was put back meanwhile; one more came that it had not sent when it looked again.
    taker.set_destinations(names(&["a"]), &[(slot(1), 1_000)]);
    let again = at(11_100, ME, |world| giver.tick(&|_| true, world));
    assert_eq!(again, [Effect::Extract { line: line.clone() }]);
    let effects = at(11_200, ME, |world| {
        let offer = giver.extracted(&line, records(), vec![], world);
        let answer = deliver(offer, OTHER, &mut taker, &outlook(true), world);
        let end = deliver(answer, ME, &mut giver, &outlook(true), world);
        let buried = Effect::Bury { line: line.clone(), names: vec![record(0, OTHER, 1).name] };
        assert_eq!(end[0], buried);
        let answer = deliver(end, OTHER, &mut taker, &outlook(true), world);
        deliver(answer, ME, &mut giver, &outlook(true), world)
    });
    assert_eq!(effects, [Effect::Given { line }]);
    assert_eq!(giver.unfinished(), 0);
}

/// A disk that is full just then refuses once, and takes what is offered again.
#[test]
fn a_line_opens_only_when_all_that_was_given_is_on_disk() {
    let line = line(1, "a");
    let mut giver = handoff(OTHER, &["a"], BTreeMap::new());
    at(0, OTHER, |world| giver.gained(slot(1), 0, &[], world));
    giver.lost(slot(1), 1_000);
    giver.sealed(slot(1));
    let mut taker = handoff(ME, &["a"], BTreeMap::new());
    let previous = [Previous { node: OTHER, until_ms: 1_000 }];
    at(1_000, ME, |world| taker.gained(slot(1), 1_000, &previous, world));
    let heard = |taker: &mut Handoff, offer: &[Effect], now_ms| {
        let [Effect::Send { message, .. }] = offer else { panic!("{offer:?}") };
        at(now_ms, ME, |world| taker.heard(OTHER, message.clone(), &outlook(true), world))
    };
    let record = record(0, OTHER, 1);
    let stored = |effects: &[Effect]| {
        effects.iter().any(|effect| match effect {
            Effect::Store { records, .. } => *records == [record.name],
            _ => false,
        })
    };

    let offer = at(1_100, ME, |world| giver.extracted(&line, [record].into(), vec![], world));
    let first = heard(&mut taker, &offer, 1_100);
    assert!(stored(&first) && opened(&first, &line) != [i64::MAX], "{first:?}");
    taker.not_stored(&line, &[record.name]);

    let again = at(60_000, ME, |world| giver.tick(&|_| true, world));
    let second = heard(&mut taker, &again, 60_000);
    assert!(stored(&second) && opened(&second, &line) != [i64::MAX], "{second:?}");
    let end = at(60_100, ME, |world| deliver(second, ME, &mut giver, &outlook(true), world));
    let last = heard(&mut taker, &end[1..], 60_100);
    assert_eq!(opened(&last, &line), [i64::MAX], "{last:?}");
}

#[test]
fn the_reserve_is_for_whom_a_closed_line_waits_for() {
    let mut taker = handoff(ME, &["a"], BTreeMap::new());
    let previous = [Previous { node: OTHER, until_ms: 1_000 }];
    at(1_000, ME, |world| taker.gained(slot(1), 1_000, &previous, world));
    let give = |from, sequence, end: Option<Vec<Sent>>| Give {
        line: line(1, "a"),
        until_ms: 1_000,
        awaits: vec![],
        is_unaware: false,
        records: vec![record(0, from, sequence)],
        gone: vec![],
        end,
    };
    let mut check = |from, give: Give, has_room, has_reserve, expected| {
        let outlook = Outlook { has_reserve, ..outlook(has_room) };
        let effects =
            at(1_100, ME, |world| taker.heard(from, Message::Give(give), &outlook, world));
        let answer = |effect: &Effect| match effect {
            Effect::Send { message: Message::Answer(answer), .. }
            | Effect::Store { answer: Message::Answer(answer), .. } => Some(answer.verdict),
            _ => None,
        };
        assert_eq!(effects.iter().find_map(answer), Some(expected), "{has_room} {has_reserve}");
    };
    check(OTHER, give(OTHER, 1, None), false, false, Verdict::NoRoom);
    check(THIRD, give(THIRD, 1, None), false, true, Verdict::NoRoom);
    check(OTHER, Give { until_ms: 900, ..give(OTHER, 1, None) }, true, true, Verdict::NotYet);
    check(OTHER, give(OTHER, 1, None), false, true, Verdict::Taken);
    // It is known, and so needs none.
    check(OTHER, give(OTHER, 1, None), false, false, Verdict::Taken);
    check(OTHER, give(OTHER, 2, Some(vec![])), false, true, Verdict::Taken);
    // Nobody is waited for any more.
    check(THIRD, give(THIRD, 1, None), false, true, Verdict::NoRoom);
    check(THIRD, give(THIRD, 1, None), true, false, Verdict::Taken);
}

#[test]
fn a_question_shortens_the_pause() {
    let line = line(1, "a");
    let mut giver = handoff(OTHER, &["a"], BTreeMap::new());
    at(0, OTHER, |world| giver.gained(slot(1), 0, &[], world));
    giver.lost(slot(1), 1_000);
    giver.sealed(slot(1));
    let records = VecDeque::from([record(0, OTHER, 1)]);
    at(1_100, ME, |world| giver.extracted(&line, records, vec![], world));
    let through = Some(record(0, OTHER, 1).name);
    let (until_ms, is_end, verdict) = (1_000, true, Verdict::NoRoom);
    let answer = Answer { line: line.clone(), until_ms, through, is_end, verdict };
    let mut heard = |now_ms, message| {
        at(now_ms, ME, |world| giver.heard(ME, message, &outlook(true), world));
    };
    heard(1_200, Message::Answer(answer));
    heard(3_200, Message::Ask(Ask { line, until_ms }));
    let mut offers = |now_ms| at(now_ms, ME, |world| giver.tick(&|_| true, world)).len();
    assert_eq!([offers(3_600), offers(3_700)], [0, 1]);
}

/// Half of all slots come and the other half go, for three destinations, and then all is quiet. Were
/// any of it quadratic, or did a quiet tick look at each line, it would take minutes.
#[test]
fn a_whole_fleets_slots_change_hands_at_once() {
    let began = tokio::time::Instant::now();
    let mut rules = handoff(ME, &["a", "b", "c"], BTreeMap::new());
    let previous = [Previous { node: OTHER, until_ms: 100 }];
    let halves = || (0..SLOTS / 2).zip(SLOTS / 2..SLOTS);
    at(100, ME, |world| rules.tick(&|_| true, world));
    for (gained, kept) in halves() {
        at(100, ME, |world| rules.gained(slot(gained), 100, &previous, world));
        at(100, ME, |world| rules.gained(slot(kept), 0, &[], world));
    }
    let lines = usize::from(SLOTS / 2) * 3;
    assert_eq!(rules.closed(), lines);
    let asked = at(100, ME, |world| rules.tick(&|_| true, world)).len();
    let asked = asked + at(2_100, ME, |world| rules.tick(&|_| true, world)).len();
    assert_eq!(asked, lines);
    for (gained, lost) in halves() {
        for destination in ["a", "b", "c"] {
            let end = Give {
                line: line(gained, destination),
                until_ms: 100,
                awaits: vec![],
                is_unaware: false,
                records: vec![record(0, OTHER, 1), record(0, OTHER, 2)],
                gone: vec![],
                end: Some(vec![]),
            };
            at(2_200, ME, |world| rules.heard(OTHER, Message::Give(end), &outlook(true), world));
        }
        rules.lost(slot(lost), 3_000);
        for effect in rules.sealed(slot(lost)) {
            let Effect::Extract { line } = effect else { panic!("{effect:?}") };
            let records = VecDeque::from([record(0, ME, 1)]);
            let offer = at(3_000, OTHER, |world| rules.extracted(&line, records, vec![], world));
            let [Effect::Send { message: Message::Give(give), .. }] = &offer[..] else {
                panic!("{offer:?}")
            };
            // The records first, and then that there are no more.
            for (given, is_end) in [(give.records.last(), false), (None, true)] {
                let through = given.map(|record| record.name);
                let (line, until_ms, verdict) = (line.clone(), give.until_ms, Verdict::Taken);
                let answer = Answer { line, until_ms, through, is_end, verdict };
                let answer = Message::Answer(answer);
                at(3_100, OTHER, |world| rules.heard(OTHER, answer, &outlook(true), world));
            }
        }
    }
    assert_eq!((rules.closed(), rules.unfinished()), (0, 0));
    for now_ms in (4_000..).step_by(500).take(50_000).take_while(|ms| *ms < 500_000) {
        assert!(at(now_ms, ME, |world| rules.tick(&|_| true, world)).is_empty());
    }
    let taken = began.elapsed();
    assert!(taken.as_secs() < 20, "{taken:?}");
}
