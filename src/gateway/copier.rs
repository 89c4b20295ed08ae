//! The owner's side of replication: what it has goes to each slot's runner-up, who would own it if this
//! member died. Of a new push it is on that one's disk before its client hears of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures_util::future::join_all;
use tokio::{
    sync::{oneshot, watch},
    time::{Duration, Instant, sleep_until},
};

use crate::{
    fleet::channel::{self, Topic},
    gateway::{
        forward::Waiting,
        parcel::{Answer, Message, Refusal},
    },
    model::{
        member::{NodeId, Roster},
        slot::Slot,
    },
    outbox::{
        self, NotKept,
        lines::{LineOrder, Numbered},
    },
    ownership::placement,
    runtime::clock::FleetTime,
};

/// Of the batches in one message; a single one may be larger.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// What is larger than the peer channel takes is on one disk alone.
const RECORD_BYTES_MAX: usize = (2 << 20) - (1 << 16);
/// A member that has not answered by then is asked again; what it has it knows.
const ANSWER_WAIT: Duration = Duration::from_secs(2);
/// So long is a runner-up waited for. Longer than it takes to see that one is dead.
const COPY_WAIT_MAX: Duration = Duration::from_secs(8);
/// Before one that can't be reached, or has too much to do, is tried again.
const PAUSE: Duration = Duration::from_millis(50);
/// Who leaves within so long keeps no copies.
const LEAVING_MS: i64 = 5_000;

#[derive(Clone)]
pub(super) struct Links {
    pub(super) me: NodeId,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) time: FleetTime,
    pub(super) channel: Option<channel::Handle>,
    pub(super) waiting: Waiting,
    pub(super) outbox: outbox::Handle,
}

#[derive(Clone)]
pub(super) struct Copier {
    links: Links,
}

type Records = Vec<Numbered>;

/// To a member, for a destination.
type Way = (NodeId, Arc<str>);

/// Each with how many bytes it has.
type Messages = Vec<(usize, Records)>;

/// What goes to one member at once.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    to: NodeId,
    destination: Arc<str>,
    records: Records,
}

/// What has become of a part.
enum Outcome {
    Kept,
    /// That member has no such destination.
    Unwanted,
    /// To be tried again, perhaps with another member.
    Open,
    Full,
}

impl Copier {
    pub(super) fn new(links: Links) -> Self {
        Self { links }
    }

    /// Who could have a copy of what is here.
    pub(super) fn keepers(&self) -> BTreeSet<NodeId> {
        let (roster, now_ms) = (self.links.roster.borrow().clone(), self.links.time.now_ms());
        let others = roster.members.keys().filter(|id| **id != self.links.me);
        others.filter(|id| stays(**id, &roster, now_ms)).copied().collect()
    }

    /// Resolves when each record is on the disk of its slot's runner-up, or where there is none; with
    /// how many samples are on this disk alone, then.
    ///
    /// # Errors
    /// A runner-up lives and does not take them.
    pub(super) async fn copy(&mut self, records: Vec<(Arc<str>, Records)>) -> Result<u64, NotKept> {
        let until = Instant::now() + COPY_WAIT_MAX;
        let (mut left, mut alone) = (records, 0);
        loop {
            let roster = Arc::clone(&self.links.roster.borrow_and_update());
            let (parts, without) = divide(left, self.links.me, &roster, self.links.time.now_ms());
            alone += without;
            let asked = parts.into_iter().map(|part| self.ask(part, until));
            let mut again = Vec::new();
            for (part, outcome) in join_all(asked).await {
                match outcome {
                    Outcome::Kept => self.tell_of(&part).await,
                    Outcome::Unwanted => alone += samples_of(&part.records),
                    Outcome::Open => again.push((part.destination, part.records)),
                    Outcome::Full => return Err(NotKept::Full),
                }
            }
            if again.is_empty() {
                return Ok(alone);
            }
            left = again;
            if Instant::now() >= until {
                return Err(NotKept::Ended);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn tell_of(&self, Part { to, destination, records }: &Part) {
        let numbers = records.iter().map(|one| (one.batch.stream.slot(), one.number)).collect();
        let copied = LineOrder::Copied { by: *to, numbers };
        self.links.outbox.order(destination, vec![copied]).await;
    }

    async fn ask(&self, part: Part, until: Instant) -> (Part, Outcome) {
        let Some(channel) = &self.links.channel else { return (part, Outcome::Unwanted) };
        let (done, answered) = oneshot::channel();
        let open = self.links.waiting.open(part.to, done);
        let Part { to, destination, records } = part.clone();
        let message = Message::Copies { number: open.number, destination, records }.bytes();
        if !channel.send(to, Topic::Push, message) {
            return (part, Outcome::Open);
        }
        let outcome = match self.answer_of(to, answered, until).await {
            Some(Answer::Kept(exceptions)) if exceptions.elsewhere.is_empty() => Outcome::Kept,
            Some(Answer::Kept(_)) => Outcome::Unwanted,
            Some(Answer::Refused(Refusal::Full | Refusal::Disk)) => Outcome::Full,
            Some(Answer::Refused(Refusal::OtherPipeline | Refusal::NotNow)) | None => Outcome::Open,
        };
        (part, outcome)
    }

    /// `None` where the member takes part no more, or does not answer in time.
    async fn answer_of(
        &self,
        to: NodeId,
        mut answered: oneshot::Receiver<Answer>,
        until: Instant,
    ) -> Option<Answer> {
        let until = until.min(Instant::now() + ANSWER_WAIT);
        let mut roster = self.links.roster.clone();
        loop {
            tokio::select! {
                answer = &mut answered => return answer.ok(),
                Ok(()) = roster.changed() => {
                    let now_ms = self.links.time.now_ms();
                    let member = roster.borrow_and_update().members.get(&to).cloned();
                    if !member.is_some_and(|member| member.is_active_at(now_ms)) {
                        return None;
                    }
                }
                () = sleep_until(until) => return None,
            }
        }
    }
}

/// To whom the records go, in messages, and of how many samples there is nobody.
fn divide(
    records: Vec<(Arc<str>, Records)>,
    me: NodeId,
    roster: &Roster,
    now_ms: i64,
) -> (Vec<Part>, u64) {
    let mut runners_up = BTreeMap::new();
    let mut messages: BTreeMap<Way, Messages> = BTreeMap::new();
    let mut alone = 0;
    for (destination, records) in records {
        for record in records {
            let batch = &record.batch;
            let (slot, bytes) = (batch.stream.slot(), batch.bytes.len());
            let to = runners_up.entry(slot).or_insert_with(|| runner_up(slot, me, roster, now_ms));
            let Some(to) = to.filter(|_| bytes <= RECORD_BYTES_MAX) else {
                alone += u64::from(batch.samples);
                continue;
            };
            let messages = messages.entry((to, Arc::clone(&destination))).or_default();
            match messages.last_mut() {
                Some((total, last)) if *total + bytes <= MESSAGE_BYTES_MAX => {
                    *total += bytes;
                    last.push(record);
                }
                Some(_) | None => messages.push((bytes, vec![record])),
            }
        }
    }
    let mut parts = Vec::new();
    for ((to, destination), messages) in messages {
        for (_, records) in messages {
            parts.push(Part { to, destination: Arc::clone(&destination), records });
        }
    }
    (parts, alone)
}

/// Who owns the slot when `me` has died.
fn runner_up(slot: Slot, me: NodeId, roster: &Roster, now_ms: i64) -> Option<NodeId> {
    let ranking = placement::ranking(slot, now_ms, roster);
    ranking.into_iter().find(|id| *id != me && stays(*id, roster, now_ms))
}

/// It takes part, and is not about to leave.
fn stays(id: NodeId, roster: &Roster, now_ms: i64) -> bool {
    roster.members.get(&id).is_some_and(|member| member.is_active_at(now_ms + LEAVING_MS))
}

fn samples_of(records: &Records) -> u64 {
    records.iter().map(|record| u64::from(record.batch.samples)).sum()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{
        batch::{Batch, Signal},
        member::{Interval, Member, MemberState},
        record::RecordName,
        slot::StreamKey,
    };

    const NOW_MS: i64 = 100_000;

    fn roster(members: &[(u128, Option<i64>)]) -> Roster {
        let member = |&(id, until_ms): &(u128, Option<i64>)| Member {
            id: NodeId(id),
            name: id.to_string(),
            api_address: String::new(),
            weight: 100,
            zone: String::new(),
            state: MemberState::Alive,
            intervals: vec![Interval { from_ms: 0, until_ms }],
        };
        let members = members.iter().map(member).map(|member| (member.id, member));
        Roster { members: members.collect(), version: 1 }
    }

    fn record(slot: u16, bytes: usize) -> Numbered {
        let batch = Batch {
            signal: Signal::Metrics,
            tenant: "".into(),
            stream: StreamKey(u64::from(slot) << 52),
            round: 1,
            since_ms: Some(0),
            pushed: true,
            samples: 3,
            oldest_ms: 0,
            raw_length: 0,
            bytes: Bytes::from(vec![0; bytes]),
        };
        let number = u64::from(slot);
        let name = RecordName { interval_ms: 0, node: NodeId(1), sequence: number };
        Numbered { number, name, batch }
    }

    #[test]
    fn the_runner_up_is_who_would_own_the_slot() {
        let overrides = crate::model::overrides::Overrides::default();
        let all = roster(&[(1, None), (2, None), (3, None)]);
        for slot in placement::slots() {
            let owner = placement::owner(slot, NOW_MS, &all, &overrides).unwrap();
            let survivors: Vec<_> = [1, 2, 3]
                .into_iter()
                .filter(|id| NodeId(*id) != owner)
                .map(|id| (id, None))
                .collect();
            let heir = placement::owner(slot, NOW_MS, &roster(&survivors), &overrides);
            assert_eq!(runner_up(slot, owner, &all, NOW_MS), heir);
        }
    }

    #[test]
    fn who_is_about_to_leave_keeps_nothing() {
        let check = |until_ms, expected: Option<u128>| {
            let roster = roster(&[(1, None), (2, until_ms)]);
            let slot = Slot::new(7).unwrap();
            assert_eq!(runner_up(slot, NodeId(1), &roster, NOW_MS), expected.map(NodeId));
        };
        check(None, Some(2));
        check(Some(NOW_MS + 60_000), Some(2));
        check(Some(NOW_MS + 2_000), None);
        check(Some(NOW_MS - 1), None);
    }

    #[test]
    fn what_is_copied_fits_into_messages() {
        let check =
            |members: &[(u128, Option<i64>)], bytes: &[usize], expected: &[usize], alone| {
                let records = (0..).zip(bytes).map(|(slot, bytes)| record(slot, *bytes)).collect();
                let divided =
                    divide(vec![("a".into(), records)], NodeId(1), &roster(members), NOW_MS);
                let counts: Vec<usize> = divided.0.iter().map(|part| part.records.len()).collect();
                assert_eq!((&counts[..], divided.1), (expected, alone));
            };
        let two = [(1, None), (2, None)];
        check(&two, &[10, 10, 10], &[3], 0);
        check(&two, &[1 << 19, 1 << 19, 1], &[2, 1], 0);
        check(&two, &[RECORD_BYTES_MAX, 1], &[1, 1], 0);
        check(&two, &[RECORD_BYTES_MAX + 1, 1], &[1], 3);
        check(&two[..1], &[1, 1], &[], 6);
    }
}
