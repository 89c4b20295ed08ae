//! What members say to each other, and its bytes. Stands between `seal` and `membership`.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{
    fleet::{
        drift::{JOBS_MAX, JobDigest},
        seal::{FRAME_BYTES_MAX, OVERHEAD_BYTES},
    },
    model::member::{INTERVALS_MAX, Interval, NodeId},
};

/// The longest message: with its seal and the headers of UDP and IPv6 it fits an Ethernet frame.
pub const MESSAGE_BYTES_MAX: usize = FRAME_BYTES_MAX - OVERHEAD_BYTES;
/// Of foca's packets, so that the byte or two around them fit as well.
pub const SWIM_BYTES_MAX: usize = 1300;
/// Longer names and addresses are refused when the agent starts, and not believed of others.
pub const TEXT_BYTES_MAX: usize = 255;
/// As for those; a zone is a short word, and a record must fit a datagram.
pub const ZONE_BYTES_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// "This is me; who are you?" Also from one that is not a member yet.
    Hello {
        card: Card,
        /// Says that what came before was not believed, and asks for a greeting made for this life.
        challenge: bool,
    },
    Welcome(Box<Welcome>),
    /// A packet of foca's.
    Swim(#[serde(with = "block")] Vec<u8>),
    /// "Do we know the same?", and what the sender's clock shows.
    Compare {
        hash: u64,
        sent_ms: i64,
    },
    Compared {
        by: NodeKey,
        same: bool,
        asked_ms: i64,
        now_ms: i64,
    },
    /// What the sender knows of the ids from `first` to `last`; an id in between that is not listed
    /// is unknown to it.
    Versions {
        first: NodeKey,
        last: NodeKey,
        versions: Vec<Version>,
    },
    Records(Vec<Record>),
    /// Asks for the records of these.
    Want(Vec<NodeKey>),
}

impl Message {
    /// `None` for what is not a message of ours, or says what no member could.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (message, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        (rest.is_empty() && message.is_sound()).then_some(message)
    }

    pub fn bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(self).expect("plain values serialize into memory")
    }

    fn is_sound(&self) -> bool {
        match self {
            Self::Hello { card, challenge: _ } => card.is_sound(),
            Self::Welcome(welcome) => {
                welcome.card.is_sound() && welcome.known.iter().all(Record::is_sound)
            }
            Self::Records(records) => records.iter().all(Record::is_sound),
            Self::Swim(_)
            | Self::Compare { .. }
            | Self::Compared { .. }
            | Self::Versions { .. }
            | Self::Want(_) => true,
        }
    }
}

/// Bytes as one block, where serde would go from one to the next.
mod block {
    use serde::{Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'d, D, T>(from: D) -> Result<T, D::Error>
    where
        D: Deserializer<'d>,
        T: for<'b> TryFrom<&'b [u8]>,
    {
        from.deserialize_bytes(Block(std::marker::PhantomData))
    }

    struct Block<T>(std::marker::PhantomData<T>);

    impl<T: for<'b> TryFrom<&'b [u8]>> de::Visitor<'_> for Block<T> {
        type Value = T;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a block of bytes")
        }

        fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<T, E> {
            T::try_from(bytes).map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }
}

/// A node id on the wire: sixteen bytes, where serde would make a longer varint of the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NodeKey(#[serde(with = "block")] [u8; 16]);

impl From<NodeId> for NodeKey {
    fn from(id: NodeId) -> Self {
        Self(id.0.to_be_bytes())
    }
}

impl From<NodeKey> for NodeId {
    fn from(key: NodeKey) -> Self {
        Self(u128::from_be_bytes(key.0))
    }
}

/// Who sends a greeting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Card {
    pub id: NodeKey,
    pub name: String,
    pub address: SocketAddr,
    pub started_ms: i64,
    /// It has joined, and neither holds nor was refused.
    pub member: bool,
}

impl Card {
    fn is_sound(&self) -> bool {
        self.name.len() <= TEXT_BYTES_MAX
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub card: Card,
    /// What the sender knows of the one it welcomes.
    pub known: Option<Record>,
    pub refusal: Option<Refusal>,
}

/// Why a newcomer may not join.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Another member, at this address, has the name.
    Name(SocketAddr),
    /// Another process has the very node id.
    Id(SocketAddr),
}

/// All that is known of one member: what it says of itself, which only a later word of its own
/// replaces, and what others say of its death.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: NodeKey,
    /// Of one life in the fleet: greater after each restart, and after each false death.
    pub generation: u64,
    /// Of what it said of itself in this generation.
    pub version: u32,
    pub about: About,
    pub phase: Phase,
    /// `(from, until)` in fleet time, in order.
    pub intervals: Vec<(i64, Option<i64>)>,
    pub closure: Option<Closure>,
}

impl Record {
    fn is_sound(&self) -> bool {
        let about = &self.about;
        [&about.name, &about.api_address].iter().all(|text| text.len() <= TEXT_BYTES_MAX)
            && about.zone.len() <= ZONE_BYTES_MAX
            && about.jobs.len() <= JOBS_MAX
            && self.intervals.len() <= INTERVALS_MAX
    }

    /// Declared dead in this very generation, or gone by its own word.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Gone || self.death().is_some()
    }

    /// The closure, where it is of this generation and not of an earlier one. Who said goodbye has
    /// named its end itself: a death that was noticed before the goodbye was heard is none.
    pub fn death(&self) -> Option<Closure> {
        self.closure.filter(|one| one.generation >= self.generation && self.phase == Phase::Here)
    }

    pub fn is_forgotten(&self) -> bool {
        self.closure.is_some_and(|one| one.generation >= self.generation && one.forgotten)
    }

    /// The intervals, cut where a death cuts them.
    pub fn effective(&self) -> Vec<Interval> {
        let cut = self.death().map_or(i64::MAX, |closure| closure.until_ms);
        let cut_one = |&(from_ms, until): &(i64, Option<i64>)| {
            let until_ms = until.filter(|&until| until < cut).or((cut != i64::MAX).then_some(cut));
            Interval { from_ms, until_ms }
        };
        let not_empty = |one: &Interval| one.until_ms.is_none_or(|until| one.from_ms < until);
        self.intervals.iter().map(cut_one).filter(not_empty).collect()
    }
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct About {
    pub name: String,
    /// Where its gossip and its peer channel answer.
    pub address: SocketAddr,
    /// Where its admin API answers, as `host:port`.
    pub api_address: String,
    pub weight: u32,
    pub zone: String,
    /// When its process started, by its own clock: of two of one name, the later one yields.
    pub started_ms: i64,
    pub config_digest: u64,
    /// Of the targets of all divided jobs; 0 while they are not known.
    pub targets_digest: u64,
    /// Where to look when `targets_digest` differs.
    pub jobs: Vec<JobDigest>,
    pub loads: LoadsTag,
    pub overrides: OverridesTag,
}

/// Which vector of slot loads a member has; the vector itself travels by the peer channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadsTag {
    /// 0: it has not told any yet.
    pub version: u32,
    pub hash: u64,
    /// Of all slots of the member.
    pub samples_per_second: u32,
}

/// Which map of overrides a member has; the map itself travels by the peer channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverridesTag {
    /// 0: none.
    pub version: u64,
    pub hash: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    Here,
    /// It said goodbye; its generation does not come back.
    Gone,
}

/// The death of one generation of a member, as those who noticed it agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closure {
    pub generation: u64,
    pub until_ms: i64,
    pub by: NodeKey,
    /// An operator said that it will not come back.
    pub forgotten: bool,
}

impl Closure {
    /// The later generation counts; of one generation the earliest death, so that all end with one.
    pub fn outweighs(&self, other: &Self) -> bool {
        let rank = |one: &Self| {
            let earliness = (std::cmp::Reverse(one.until_ms), std::cmp::Reverse(one.by));
            (one.generation, one.forgotten, earliness)
        };
        rank(self) > rank(other)
    }
}

/// Which state of a record the sender has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub id: NodeKey,
    pub generation: u64,
    pub version: u32,
    pub closure_hash: u32,
}

#[cfg(test)]
impl About {
    pub(in crate::fleet) fn example(weight: u32) -> Self {
        Self {
            name: "a".to_owned(),
            address: "10.0.0.1:9734".parse().unwrap(),
            api_address: "10.0.0.1:9733".to_owned(),
            weight,
            zone: String::new(),
            started_ms: 0,
            config_digest: 0,
            targets_digest: 0,
            jobs: Vec::new(),
            loads: LoadsTag::default(),
            overrides: OverridesTag::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::drift;

    fn record() -> Record {
        let text = "x".repeat(TEXT_BYTES_MAX);
        let jobs = (0..JOBS_MAX).map(|n| (n.to_string().into(), 0)).collect();
        Record {
            id: NodeId(u128::MAX).into(),
            generation: u64::MAX,
            version: u32::MAX,
            about: About {
                name: text.clone(),
                address: "[2001:db8::1]:9734".parse().unwrap(),
                api_address: text,
                weight: u32::MAX,
                zone: "x".repeat(ZONE_BYTES_MAX),
                started_ms: i64::MIN,
                config_digest: u64::MAX,
                targets_digest: u64::MAX,
                jobs: drift::digests(&jobs),
                loads: LoadsTag { version: u32::MAX, hash: u64::MAX, samples_per_second: u32::MAX },
                overrides: OverridesTag { version: u64::MAX, hash: u64::MAX },
            },
            phase: Phase::Here,
            intervals: vec![(i64::MIN, Some(i64::MIN)); INTERVALS_MAX],
            closure: Some(closure(u64::MAX, i64::MIN, 1)),
        }
    }

    fn closure(generation: u64, until_ms: i64, by: u128) -> Closure {
        Closure { generation, until_ms, by: NodeId(by).into(), forgotten: false }
    }

    #[test]
    fn the_longest_record_fits_a_datagram() {
        let card = Card {
            id: NodeId(u128::MAX).into(),
            name: "x".repeat(TEXT_BYTES_MAX),
            address: "[2001:db8::1]:9734".parse().unwrap(),
            started_ms: i64::MIN,
            member: true,
        };
        let refusal = Some(Refusal::Name(card.address));
        let welcome = Message::Welcome(Box::new(Welcome { card, known: Some(record()), refusal }));
        assert!(welcome.bytes().len() <= MESSAGE_BYTES_MAX, "{}", welcome.bytes().len());
        assert_eq!(Message::read(&welcome.bytes()), Some(welcome));
        assert!(Message::Swim(vec![0; SWIM_BYTES_MAX]).bytes().len() <= MESSAGE_BYTES_MAX);
    }

    #[test]
    fn what_no_member_says_is_not_read() {
        let mut long = record();
        long.about.name.push('x');
        assert_eq!(Message::read(&Message::Records(vec![long]).bytes()), None);
        let mut many = record();
        many.intervals.push((0, None));
        assert_eq!(Message::read(&Message::Records(vec![many]).bytes()), None);
        let mut much = record();
        much.about.jobs.push(much.about.jobs[0]);
        assert_eq!(Message::read(&Message::Records(vec![much]).bytes()), None);
        let mut trailing = Message::Want(Vec::new()).bytes();
        trailing.push(0);
        assert_eq!(Message::read(&trailing), None);
    }

    #[test]
    fn a_death_cuts_the_intervals_of_its_generation() {
        let check_in = |phase, generation, death, expected: &[(i64, Option<i64>)]| {
            let intervals = vec![(100, Some(200)), (300, None)];
            let record = Record { phase, generation, intervals, closure: death, ..record() };
            let found: Vec<_> =
                record.effective().iter().map(|one| (one.from_ms, one.until_ms)).collect();
            assert_eq!(found, expected);
        };
        let check = |generation, death, expected: &[_]| {
            check_in(Phase::Here, generation, death, expected);
        };
        check_in(Phase::Gone, 5, Some(closure(5, 150, 1)), &[(100, Some(200)), (300, None)]);
        check(5, None, &[(100, Some(200)), (300, None)]);
        check(5, Some(closure(4, 150, 1)), &[(100, Some(200)), (300, None)]);
        check(5, Some(closure(5, 400, 1)), &[(100, Some(200)), (300, Some(400))]);
        check(5, Some(closure(6, 150, 1)), &[(100, Some(150))]);
        check(5, Some(closure(5, 300, 1)), &[(100, Some(200))]);
    }

    #[test]
    fn the_earliest_death_of_the_latest_generation_outweighs() {
        let check = |winner: Closure, loser: Closure| {
            assert!(winner.outweighs(&loser) && !loser.outweighs(&winner));
        };
        check(closure(2, 9, 9), closure(1, 1, 1));
        check(closure(1, 1, 9), closure(1, 2, 1));
        check(closure(1, 1, 1), closure(1, 1, 2));
        check(Closure { forgotten: true, ..closure(1, 9, 9) }, closure(1, 1, 1));
    }

    proptest! {
        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(message) = Message::read(&bytes) {
                // A varint may be longer than it need be, so only the meaning comes back.
                prop_assert_eq!(Message::read(&message.bytes()), Some(message));
            }
        }
    }
}
