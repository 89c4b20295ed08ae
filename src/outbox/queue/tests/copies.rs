//! Copies of what others have: out of every line while the other lives, in its place when it has died.

use std::collections::BTreeSet;

use super::{
    lines::{Bench, batch, foreign, slot},
    *,
};
use crate::{
    model::record::RecordName,
    outbox::lines::{Heirloom, Numbered, Stored},
};

const OTHER: u128 = 9;
const THIRD: u128 = 3;

/// An owner, and slots and numbers there.
type Asked = (u128, Vec<(u16, u64)>);

impl Bench {
    /// Of what its maker still has.
    fn copy(&mut self, number: u16, records: Vec<(RecordName, Batch)>) {
        let numbered =
            |(name, batch): (RecordName, Batch)| Numbered { number: name.sequence, name, batch };
        self.copy_of(OTHER, number, records.into_iter().map(numbered).collect());
    }

    fn copy_of(&mut self, owner: u128, number: u16, records: Vec<Numbered>) {
        let planned = self.queue.plan_copies(slot(number), NodeId(owner), records, 0);
        self.write(number, planned);
    }

    /// The numbers of what no other than these has, if it is old.
    fn uncopied(&mut self, keepers: &[u128]) -> Vec<u64> {
        let keepers = keepers.iter().map(|node| NodeId(*node)).collect();
        let uncopied = self.queue.uncopied(keepers, 1_000_000);
        assert_eq!(uncopied.samples, uncopied.next.len() as u64);
        let mut numbers: Vec<u64> = uncopied.next.iter().map(|((_, number), _)| *number).collect();
        numbers.sort_unstable();
        numbers
    }

    fn push(&mut self, number: u16, since_ms: i64) {
        self.append(number, since_ms);
        let pushed = Batch { pushed: true, ..batch(number, since_ms, 7) };
        self.queue.append(pushed, 7);
    }

    /// The numbers of what has become a record of its line.
    fn inherit(&mut self, heirloom: &Heirloom) -> Vec<u64> {
        let inherited = self.queue.inherit(heirloom);
        inherited.names.iter().map(|(_, name)| name.sequence).collect()
    }

    fn asked(&mut self) -> Vec<Asked> {
        let asked = self.queue.ask_about_copies().into_iter();
        let numbers = |numbers: Vec<(Slot, u64)>| {
            numbers.into_iter().map(|(slot, number)| (slot.number(), number)).collect()
        };
        asked.map(|(owner, asked)| (owner.0, numbers(asked))).collect()
    }
}

fn living(nodes: &[u128]) -> Heirloom {
    let living = nodes.iter().map(|node| NodeId(*node)).collect();
    Heirloom { living, ..Heirloom::default() }
}

#[test]
fn a_copy_is_of_no_line_while_its_owner_lives() {
    let mut bench = Bench::new();
    bench.copy(1, vec![foreign(1, 20, 5, 3), foreign(1, 20, 7, 4)]);
    bench.copy(1, vec![foreign(1, 20, 5, 3)]);
    assert_eq!(bench.queue.held_records(), 2, "the second time it is known");
    assert_eq!(bench.queue.take_handed().taken, 0);
    bench.queue.open(slot(1), 1000);
    bench.append(1, 50);
    assert_eq!(bench.sent(), ["1:50/1.3"]);
    assert_eq!(bench.queue.slots(), [], "nothing is left over");
    assert_eq!(bench.extracted(1), [0_u64; 0]);
    assert_eq!(bench.inherit(&living(&[1, OTHER])), [0_u64; 0]);
    assert_eq!(bench.asked(), [(OTHER, vec![(1, 5), (1, 7)])]);
}

#[test]
fn what_a_dead_owner_had_leaves_before_what_came_since() {
    let mut bench = Bench::new();
    bench.copy(1, vec![foreign(1, 20, 5, 3), foreign(1, 20, 4, 2)]);
    bench.append(1, 50);
    assert_eq!(bench.inherit(&living(&[1])), [4, 5]);
    assert_eq!(bench.asked(), []);
    assert_eq!(bench.queue.slots(), [slot(1)]);
    bench.queue.open(slot(1), 1000);
    assert_eq!(bench.sent(), ["1:20/9.4", "1:20/9.5", "1:50/1.3"]);
    assert_eq!((lost(&mut bench.queue), bench.queue.unsent().records), (vec![], 0));
}

#[test]
fn copies_go_when_their_owner_has_done_with_them() {
    let mut bench = Bench::new();
    bench.copy(1, (1..=4).map(|number| foreign(1, 20, number, 3)).collect());
    bench.queue.discard(NodeId(OTHER), Some(&[1, 3, 77]));
    assert_eq!(bench.asked(), [(OTHER, vec![(1, 2), (1, 4)])]);
    bench.queue.discard(NodeId(5), None);
    assert_eq!(bench.queue.held_records(), 2);
    let left = BTreeSet::from([NodeId(OTHER)]);
    assert_eq!(bench.inherit(&Heirloom { left, ..Heirloom::default() }), [0_u64; 0]);
    assert_eq!((bench.queue.held_records(), lost(&mut bench.queue)), (0, vec![]));
    assert_eq!(bench.positions(), [(1, 4)], "nothing pins the line's position");
}

#[test]
fn what_its_owner_gives_is_a_copy_no_more() {
    let mut bench = Bench::new();
    bench.copy(1, vec![foreign(1, 20, 5, 3), foreign(1, 20, 6, 4)]);
    bench.take(1, vec![foreign(1, 20, 5, 3)]);
    assert_eq!((bench.queue.held_records(), bench.queue.slots()), (2, vec![slot(1)]));
    assert_eq!(bench.asked(), [(OTHER, vec![(1, 6)])]);
    let gone = vec![foreign(1, 20, 6, 4).0];
    bench.store(1, Stored { gone, ..Stored::default() });
    assert_eq!(bench.extracted(1), [5]);
    bench.copy(1, vec![foreign(1, 20, 5, 3)]);
    assert_eq!(bench.asked(), [], "what is of the line is copied by none");
}

#[test]
fn an_owner_knows_what_it_still_has() {
    let mut bench = Bench::new();
    bench.queue.open(slot(2), 1000);
    for number in [1, 2, 2, 2] {
        bench.append(number, 50);
    }
    let asked = [(slot(1), 1), (slot(2), 2), (slot(2), 3), (slot(2), 4), (slot(2), 5)];
    let start = bench.queue.start(i64::MAX / 2, true).pop().unwrap();
    let mut done = || bench.queue.done_of(NodeId(OTHER), &asked);
    assert_eq!(done(), [0_u64; 0], "what is on its way is not done");
    let sent: Vec<u64> =
        bench.names(&start).iter().map(|name| name[7..].parse().unwrap()).collect();
    answer(&mut bench.queue, &start, Verdict::Stored, 9);
    assert_eq!(bench.queue.done_of(NodeId(OTHER), &asked), sent);
    bench.sent();
    let done = bench.queue.done_of(NodeId(OTHER), &asked);
    assert_eq!(done, [2, 3, 4], "the fifth was never made here");
}

/// As after a restart: of an owner that was dead once and has come back, what came before stays.
#[test]
fn who_was_dead_once_takes_nothing_back() {
    let mut bench = Bench::new();
    bench.copy(1, vec![foreign(1, 20, 5, 3), foreign(1, 20, 6, 4), foreign(1, 20, 7, 5)]);
    let were_dead = vec![(NodeId(OTHER), 2)];
    let inherited = bench.queue.inherit(&Heirloom { were_dead, ..living(&[1, OTHER]) });
    assert_eq!((inherited.names.len(), inherited.dead.len()), (2, 0));
    assert_eq!(bench.asked(), [(OTHER, vec![(1, 7)])]);
    assert_eq!(bench.queue.inherit(&living(&[1])).dead, BTreeSet::from([NodeId(OTHER)]));
}

#[test]
fn a_copy_that_is_dropped_by_a_bound_is_no_loss() {
    let mut bench = Bench::new();
    bench.queue = queue(|limits| (limits.lanes, limits.bytes_max) = (1, 40));
    bench.copy(1, vec![foreign(1, 20, 5, 3), foreign(1, 20, 6, 4)]);
    for _ in 0..2 {
        bench.append(2, 50);
    }
    assert_eq!((lost(&mut bench.queue), bench.asked()), (vec![], vec![(OTHER, vec![(1, 6)])]));
}

/// Its owner gave it to another, who has it copied, too: that one is asked from then on.
#[test]
fn a_copy_follows_its_record_to_another_owner() {
    let mut bench = Bench::new();
    let (name, batch) = foreign(1, 20, 5, 3);
    bench.copy(1, vec![(name, batch.clone())]);
    for _ in 0..2 {
        bench.copy_of(THIRD, 1, vec![Numbered { number: 88, name, batch: batch.clone() }]);
        assert_eq!(bench.asked(), [(THIRD, vec![(1, 88)])]);
        assert_eq!((bench.queue.held_records(), bench.queue.unsent().records), (1, 1));
    }
    bench.queue.discard(NodeId(OTHER), None);
    assert_eq!(bench.inherit(&living(&[1, THIRD])), [0_u64; 0], "who had it first may die");
    assert_eq!(bench.inherit(&living(&[1, OTHER])), [5]);
    bench.queue.open(slot(1), 1000);
    assert_eq!(bench.sent(), ["1:20/9.5"]);
}

/// This member made it, gave it away, and keeps a copy for whoever has it now.
#[test]
fn what_was_given_away_comes_back_as_a_copy() {
    let mut bench = Bench::new();
    bench.append(1, 20);
    let name = RecordName { interval_ms: 20, node: NodeId(1), sequence: 1 };
    assert_eq!(bench.extracted(1), [1]);
    bench.queue.bury(slot(1), &[name]);
    bench.copy_of(OTHER, 1, vec![Numbered { number: 30, name, batch: batch(1, 20, 1) }]);
    assert_eq!(bench.queue.done_of(NodeId(OTHER), &[(slot(1), 1)]), [1]);
    assert_eq!(bench.inherit(&living(&[1])), [1]);
    bench.queue.open(slot(1), 1000);
    assert_eq!(bench.sent(), ["1:20/1.1"]);
}

#[test]
fn what_was_pushed_is_copied_until_somebody_who_lives_has_it() {
    let mut bench = Bench::new();
    for number in [1, 2] {
        bench.push(number, 50);
    }
    bench.queue.open(slot(1), 1000);
    assert_eq!(bench.uncopied(&[OTHER]), [2, 4], "in its lane and held, but not what was scraped");
    let keepers = BTreeSet::from([NodeId(OTHER)]);
    assert_eq!(bench.queue.uncopied(keepers, 9).samples, 0, "its taker still sees to it");
    bench.queue.note_copied(NodeId(OTHER), &[(slot(1), 2), (slot(7), 4)]);
    assert_eq!(bench.uncopied(&[OTHER, THIRD]), [4]);
    assert_eq!(bench.queue.done_of(NodeId(THIRD), &[(slot(2), 4)]), [0_u64; 0]);
    assert_eq!(bench.uncopied(&[OTHER, THIRD]), [0_u64; 0], "who asks for it has it");
    assert_eq!(bench.uncopied(&[THIRD]), [2], "the other has died");
    assert_eq!(bench.sent(), ["1:50/1.1", "1:50/1.2"]);
    assert_eq!(bench.uncopied(&[]), [4]);
    assert_eq!(bench.queue.copied.len(), 1, "what is sent is forgotten");
}

#[test]
fn what_is_inherited_and_what_is_taken_over_is_copied_at_once() {
    let mut bench = Bench::new();
    let pushed = |sequence: u64, instant_ms: i64| {
        let (name, batch) = foreign(1, 20, sequence, instant_ms);
        (name, Batch { pushed: true, ..batch })
    };
    bench.copy(1, vec![pushed(5, 3)]);
    bench.take(1, vec![pushed(6, 3)]);
    let keepers = BTreeSet::from([NodeId(THIRD)]);
    let uncopied = |bench: &mut Bench| bench.queue.uncopied(keepers.clone(), 5).next.len();
    assert_eq!(uncopied(&mut bench), 1, "a copy is its owner's to copy");
    bench.queue.note_copied(NodeId(THIRD), &[(slot(1), 2)]);
    assert_eq!(uncopied(&mut bench), 0);
    bench.inherit(&living(&[1]));
    assert_eq!(uncopied(&mut bench), 1, "also where it was looked for just before");
    bench.queue.note_copied(NodeId(THIRD), &[(slot(1), 1)]);
    assert_eq!(uncopied(&mut bench), 0);
    bench.take(1, vec![pushed(7, 3)]);
    assert_eq!(uncopied(&mut bench), 1);
}
