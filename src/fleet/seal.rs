//! Seals and opens datagrams: what a stranger sends never gets past this file, and what a member
//! sent once gets past it once. Stands between `transport` and `message`.
//!
//! A frame is `magic | version | works | key id | cluster tag | session | counter | ciphertext`, its
//! header authenticated with it. `works` is for strangers, who can read nothing else: 1 where the
//! sender has, or awaits, a share of the work. A session is one life of one process: the salt of its own key, so that a
//! counter is nonce enough. Inside, the sender echoes the start of the receiver's session: only a
//! frame made for this life of ours is believed, so a recording of an earlier one is worth nothing.

use std::{collections::BTreeMap, fmt, net::SocketAddr};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, KeyType, Salt},
};

const MAGIC: [u8; 2] = *b"SG";
const VERSION: u8 = 1;
const TAG_BYTES: usize = 16;
const ECHO_BYTES: usize = 8;
const HEADER_BYTES: usize = 2 + 1 + 1 + 4 + 4 + 16 + 8;
/// What a frame is longer than the message in it.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + ECHO_BYTES + TAG_BYTES;
/// Longer frames are rejected unread: none of ours is, as IP would have to cut it.
pub const FRAME_BYTES_MAX: usize = 1452;

/// Sessions remembered with their windows. Only holders of a secret make any; beyond that many the
/// one that was silent for longest is forgotten, and must be greeted anew.
const SESSIONS_MAX: usize = 4096;
/// How far behind the newest counter of a session a frame may arrive.
const WINDOW_FRAMES: u64 = 256;

/// The cluster's shared secret, as bytes of any length. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// One life of one process, chosen at random when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session(pub [u8; 16]);

impl Session {
    fn echo(self) -> [u8; ECHO_BYTES] {
        let mut echo = [0; ECHO_BYTES];
        echo.copy_from_slice(&self.0[..ECHO_BYTES]);
        echo
    }
}

/// Why a datagram was thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rejected {
    TooShort,
    TooLong,
    /// Not one of our frames at all.
    Foreign,
    Version,
    UnknownKey {
        works: bool,
    },
    OtherCluster {
        works: bool,
    },
    BadSeal,
    Replayed,
    /// Our own frame, from a list of peers that names us too, or thrown back at us.
    Own,
    /// Sealed by a member, but not for this life of ours. The session may be greeted.
    Unproven(Session),
    /// Opened, but no message of ours.
    Malformed,
}

impl Rejected {
    /// Every label there is.
    pub const REASONS: [&'static str; 11] = [
        "too_short",
        "too_long",
        "foreign",
        "version",
        "unknown_key",
        "other_cluster",
        "bad_seal",
        "replayed",
        "own",
        "unproven",
        "malformed",
    ];

    /// The label under which it is counted.
    pub fn reason(self) -> &'static str {
        match self {
            Self::TooShort => "too_short",
            Self::TooLong => "too_long",
            Self::Foreign => "foreign",
            Self::Version => "version",
            Self::UnknownKey { .. } => "unknown_key",
            Self::OtherCluster { .. } => "other_cluster",
            Self::BadSeal => "bad_seal",
            Self::Replayed => "replayed",
            Self::Own => "own",
            Self::Unproven(_) => "unproven",
            Self::Malformed => "malformed",
        }
    }
}

/// Seals with the first secret, opens with any.
pub struct Sealer {
    cluster: String,
    keys: Vec<ClusterKey>,
    own: Session,
    works: bool,
    /// Of the next frame. Never used twice under one key: each life has its own.
    counter: u64,
    sealing: LessSafeKey,
    sessions: BTreeMap<Session, Known>,
    /// The session that last spoke, proven, from an address.
    addresses: BTreeMap<SocketAddr, Session>,
    /// Counts opened frames, to know which session was silent for longest.
    opened: u64,
}

struct ClusterKey {
    id: [u8; 4],
    cluster_tag: [u8; 4],
    secret: Secret,
}

struct Known {
    key_id: [u8; 4],
    opening: LessSafeKey,
    window: Window,
    last_opened: u64,
}

impl Sealer {
    /// `None` without a secret. `own` must be random.
    pub fn new(secrets: &[Secret], cluster: &str, own: Session) -> Option<Self> {
        let keys = cluster_keys(secrets, cluster);
        let sealing = session_key(&keys.first()?.secret, cluster, own);
        Some(Self {
            cluster: cluster.to_owned(),
            keys,
            own,
            works: false,
            counter: 0,
            sealing,
            sessions: BTreeMap::new(),
            addresses: BTreeMap::new(),
            opened: 0,
        })
    }

    /// From now on these secrets. An empty list changes nothing: there is no unsealed frame.
    pub fn set_secrets(&mut self, secrets: &[Secret]) {
        let keys = cluster_keys(secrets, &self.cluster);
        if let Some(first) = keys.first() {
            self.sealing = session_key(&first.secret, &self.cluster, self.own);
            self.keys = keys;
        }
    }

    /// Told to all in the clear: whether this node has, or awaits, a share of the work.
    pub fn set_works(&mut self, works: bool) {
        self.works = works;
    }

    pub fn own_session(&self) -> Session {
        self.own
    }

    /// For whoever last spoke from `to`; the receiver believes it where that is still its life.
    pub fn seal(&mut self, to: SocketAddr, message: &[u8]) -> Vec<u8> {
        let echo = self.addresses.get(&to).map_or([0; ECHO_BYTES], |session| session.echo());
        self.seal_with(echo, message)
    }

    /// For a session that is not proven yet, as the answer to it.
    pub fn seal_for(&mut self, session: Session, message: &[u8]) -> Vec<u8> {
        self.seal_with(session.echo(), message)
    }

    fn seal_with(&mut self, echo: [u8; ECHO_BYTES], message: &[u8]) -> Vec<u8> {
        let counter = self.counter;
        self.counter += 1;
        let key = &self.keys[0];
        let mut frame = Vec::with_capacity(message.len() + OVERHEAD_BYTES);
        frame.extend_from_slice(&MAGIC);
        frame.push(VERSION);
        frame.push(u8::from(self.works));
        frame.extend_from_slice(&key.id);
        frame.extend_from_slice(&key.cluster_tag);
        frame.extend_from_slice(&self.own.0);
        frame.extend_from_slice(&counter.to_be_bytes());
        frame.extend_from_slice(&echo);
        frame.extend_from_slice(message);
        let (header, body) = frame.split_at_mut(HEADER_BYTES);
        let tag = self
            .sealing
            .seal_in_place_separate_tag(nonce(counter), Aad::from(header), body)
            .expect("a datagram is shorter than the cipher's limit");
        frame.extend_from_slice(tag.as_ref());
        frame
    }

    /// The message in `frame`, decrypted in place.
    pub fn open<'f>(
        &mut self,
        from: SocketAddr,
        frame: &'f mut [u8],
    ) -> Result<&'f [u8], Rejected> {
        let header = Header::read(frame)?;
        let key = self.keys.iter().find(|key| key.id == header.key_id);
        let works = header.works;
        let key = key.ok_or(Rejected::UnknownKey { works })?;
        if key.cluster_tag != header.cluster_tag {
            return Err(Rejected::OtherCluster { works });
        }
        if header.session == self.own {
            return Err(Rejected::Own);
        }
        let known = self.sessions.get(&header.session);
        if known.is_some_and(|known| !known.window.admits(header.counter)) {
            return Err(Rejected::Replayed);
        }
        let derived = match known {
            Some(known) if known.key_id == key.id => None,
            Some(_) | None => Some(session_key(&key.secret, &self.cluster, header.session)),
        };
        let opening = derived.as_ref().or(known.map(|known| &known.opening));
        let opening = opening.expect("a session without a known key has a derived one");

        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        let plain = opening
            .open_in_place(nonce(header.counter), Aad::from(head), body)
            .map_err(|_| Rejected::BadSeal)?;
        let (echo, message) = plain.split_at(ECHO_BYTES);
        if echo != self.own.echo() {
            return Err(Rejected::Unproven(header.session));
        }
        self.remember(from, &header, derived);
        Ok(message)
    }

    fn remember(&mut self, from: SocketAddr, header: &Header, derived: Option<LessSafeKey>) {
        self.opened += 1;
        let last_opened = self.opened;
        match (self.sessions.get_mut(&header.session), derived) {
            (Some(known), derived) => {
                known.window.add(header.counter);
                known.last_opened = last_opened;
                if let Some(opening) = derived {
                    known.opening = opening;
                    known.key_id = header.key_id;
                }
            }
            (None, derived) => {
                let opening = derived.expect("an unknown session's key was derived");
                let mut window = Window::default();
                window.add(header.counter);
                let known = Known { key_id: header.key_id, opening, window, last_opened };
                self.forget_one_beyond(SESSIONS_MAX - 1);
                self.sessions.insert(header.session, known);
            }
        }
        self.addresses.insert(from, header.session);
        if self.addresses.len() > SESSIONS_MAX {
            let sessions = &self.sessions;
            self.addresses.retain(|_, session| sessions.contains_key(session));
        }
        if self.addresses.len() > 2 * SESSIONS_MAX {
            // Each address is asked to prove itself once more; nothing else is lost.
            self.addresses.clear();
        }
    }

    fn forget_one_beyond(&mut self, max: usize) {
        if self.sessions.len() > max {
            let oldest = self.sessions.iter().min_by_key(|(_, known)| known.last_opened);
            let oldest = *oldest.expect("more than none").0;
            self.sessions.remove(&oldest);
            self.addresses.retain(|_, session| *session != oldest);
        }
    }
}

struct Header {
    works: bool,
    key_id: [u8; 4],
    cluster_tag: [u8; 4],
    session: Session,
    counter: u64,
}

impl Header {
    fn read(frame: &[u8]) -> Result<Self, Rejected> {
        let (header, body) = frame.split_first_chunk::<HEADER_BYTES>().ok_or(Rejected::TooShort)?;
        if header[..2] != MAGIC {
            return Err(Rejected::Foreign);
        }
        if header[2] != VERSION {
            return Err(Rejected::Version);
        }
        if body.len() < ECHO_BYTES + TAG_BYTES {
            return Err(Rejected::TooShort);
        }
        if frame.len() > FRAME_BYTES_MAX {
            return Err(Rejected::TooLong);
        }
        Ok(Self {
            works: header[3] == 1,
            key_id: bytes_at(header, 4),
            cluster_tag: bytes_at(header, 8),
            session: Session(bytes_at(header, 12)),
            counter: u64::from_be_bytes(bytes_at(header, 28)),
        })
    }
}

fn bytes_at<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    header[at..at + N].try_into().expect("as long as asked for")
}

/// Which of a session's latest counters have been seen.
#[derive(Default)]
struct Window {
    /// One above the greatest counter seen.
    end: u64,
    /// Bit `n`: the counter that is `n` modulo the window's length.
    seen: [u64; 4],
}

impl Window {
    fn admits(&self, counter: u64) -> bool {
        if counter >= self.end {
            return true;
        }
        counter + WINDOW_FRAMES >= self.end && !self.is_set(counter)
    }

    fn add(&mut self, counter: u64) {
        if counter >= self.end {
            let skipped = (counter - self.end).min(WINDOW_FRAMES);
            for passed in counter - skipped..counter {
                self.seen[Self::word(passed)] &= !(1 << (passed % 64));
            }
            // A counter of 2^64 - 1 ends its session: nothing is greater.
            self.end = counter.saturating_add(1);
        }
        self.seen[Self::word(counter)] |= 1 << (counter % 64);
    }

    fn is_set(&self, counter: u64) -> bool {
        self.seen[Self::word(counter)] & (1 << (counter % 64)) != 0
    }

    fn word(counter: u64) -> usize {
        usize::try_from(counter % WINDOW_FRAMES / 64).expect("one of four")
    }
}

fn cluster_keys(secrets: &[Secret], cluster: &str) -> Vec<ClusterKey> {
    let key = |secret: &Secret| ClusterKey {
        id: derive(secret, b"starling key id", &[]),
        cluster_tag: derive(secret, b"starling cluster tag", cluster.as_bytes()),
        secret: secret.clone(),
    };
    secrets.iter().map(key).collect()
}

/// What `purpose` may use of the secret, without learning it.
pub fn derive<const N: usize>(secret: &Secret, purpose: &[u8], info: &[u8]) -> [u8; N] {
    struct Length(usize);
    impl KeyType for Length {
        fn len(&self) -> usize {
            self.0
        }
    }
    let mut bytes = [0; N];
    Salt::new(HKDF_SHA256, purpose)
        .extract(&secret.0)
        .expand(&[info], Length(N))
        .and_then(|key| key.fill(&mut bytes))
        .expect("a few bytes are within HKDF's limit");
    bytes
}

fn session_key(secret: &Secret, cluster: &str, session: Session) -> LessSafeKey {
    let salt = Salt::new(HKDF_SHA256, &session.0).extract(&secret.0);
    let info = [b"starling gossip 1 ".as_slice(), cluster.as_bytes()];
    let key = salt.expand(&info, &AES_256_GCM).expect("a key is within HKDF's limit");
    LessSafeKey::new(UnboundKey::from(key))
}

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&counter.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const A: &str = "10.0.0.1:9734";
    const B: &str = "10.0.0.2:9734";

    fn sealer(secrets: &[&str], cluster: &str, session: u8) -> Sealer {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        Sealer::new(&secrets, cluster, Session([session; 16])).unwrap()
    }

    /// `a` and `b` after the greeting that proves each to the other.
    fn greeted(secrets_a: &[&str], secrets_b: &[&str]) -> (Sealer, Sealer) {
        let (mut a, mut b) = (sealer(secrets_a, "c", 1), sealer(secrets_b, "c", 2));
        let mut hello = a.seal(B.parse().unwrap(), b"hello");
        let unproven = b.open(A.parse().unwrap(), &mut hello).unwrap_err();
        let Rejected::Unproven(session) = unproven else { panic!("{unproven:?}") };
        let mut challenge = b.seal_for(session, b"who");
        a.open(B.parse().unwrap(), &mut challenge).unwrap();
        let mut answer = a.seal(B.parse().unwrap(), b"me");
        b.open(A.parse().unwrap(), &mut answer).unwrap();
        (a, b)
    }

    #[test]
    fn a_message_arrives_once() {
        let (mut a, mut b) = greeted(&["s"], &["s"]);
        let frame = a.seal(B.parse().unwrap(), b"news");
        assert_eq!(frame.len(), 4 + OVERHEAD_BYTES);
        let mut first = frame.clone();
        assert_eq!(b.open(A.parse().unwrap(), &mut first), Ok(b"news".as_slice()));
        assert_eq!(b.open(A.parse().unwrap(), &mut frame.clone()), Err(Rejected::Replayed));
        assert_eq!(a.open(B.parse().unwrap(), &mut frame.clone()), Err(Rejected::Own));
    }

    #[test]
    fn a_recording_is_not_believed_by_the_next_life() {
        let (mut a, _) = greeted(&["s"], &["s"]);
        let mut recorded = a.seal(B.parse().unwrap(), b"I leave");
        let mut next_life = sealer(&["s"], "c", 3);
        let answer = next_life.open(A.parse().unwrap(), &mut recorded);
        assert_eq!(answer, Err(Rejected::Unproven(Session([1; 16]))));
        assert!(next_life.sessions.is_empty(), "an unproven session costs no memory");
    }

    #[test]
    fn strangers_are_told_apart() {
        let check = |secrets: &[&str], cluster: &str, expected: Rejected| {
            let mut frame = sealer(secrets, cluster, 1).seal(B.parse().unwrap(), b"x");
            let mut b = sealer(&["s", "old"], "c", 2);
            assert_eq!(b.open(A.parse().unwrap(), &mut frame), Err(expected));
        };
        check(&["other"], "c", Rejected::UnknownKey { works: false });
        check(&["s"], "d", Rejected::OtherCluster { works: false });
        check(&["s"], "c", Rejected::Unproven(Session([1; 16])));
        check(&["old"], "c", Rejected::Unproven(Session([1; 16])));
    }

    #[test]
    fn each_fault_has_its_reason() {
        let (mut a, mut b) = greeted(&["s"], &["s"]);
        let mut check = |change: fn(&mut Vec<u8>), expected: Rejected| {
            let mut frame = a.seal(B.parse().unwrap(), b"message");
            change(&mut frame);
            assert_eq!(b.open(A.parse().unwrap(), &mut frame), Err(expected));
        };
        check(|frame| frame.truncate(20), Rejected::TooShort);
        check(|frame| frame.truncate(HEADER_BYTES + 10), Rejected::TooShort);
        check(|frame| frame.resize(2000, 0), Rejected::TooLong);
        check(|frame| frame[0] = b'X', Rejected::Foreign);
        check(|frame| frame[2] = 9, Rejected::Version);
        check(|frame| frame[3] ^= 1, Rejected::BadSeal);
        check(|frame| frame[4] ^= 1, Rejected::UnknownKey { works: false });
        check(|frame| frame[8] ^= 1, Rejected::OtherCluster { works: false });
        check(|frame| frame[12] ^= 1, Rejected::BadSeal);
        check(|frame| frame[35] ^= 1, Rejected::BadSeal);
        check(|frame| frame[40] ^= 1, Rejected::BadSeal);
        check(|frame| *frame.last_mut().unwrap() ^= 1, Rejected::BadSeal);
    }

    #[test]
    fn secrets_change_without_a_lost_frame() {
        let (mut a, mut b) = greeted(&["old"], &["old"]);
        let both = [Secret::new("old"), Secret::new("new")];
        let turned = [Secret::new("new"), Secret::new("old")];
        let last = [Secret::new("new")];
        let check = |a: &mut Sealer, b: &mut Sealer| {
            let mut frame = a.seal(B.parse().unwrap(), b"m");
            assert!(b.open(A.parse().unwrap(), &mut frame).is_ok());
            let mut frame = b.seal(A.parse().unwrap(), b"m");
            assert!(a.open(B.parse().unwrap(), &mut frame).is_ok());
        };
        for secrets in [&both[..], &turned[..], &last[..]] {
            a.set_secrets(secrets);
            check(&mut a, &mut b);
            b.set_secrets(secrets);
            check(&mut a, &mut b);
        }
        let mut frame = greeted(&["old"], &["old"]).0.seal(B.parse().unwrap(), b"m");
        assert_eq!(
            b.open(A.parse().unwrap(), &mut frame),
            Err(Rejected::UnknownKey { works: false })
        );
    }

    #[test]
    fn sessions_are_bounded() {
        let (_, mut b) = greeted(&["s"], &["s"]);
        for n in 0..SESSIONS_MAX + 10 {
            let mut own = [9; 16];
            own[..8].copy_from_slice(&(n as u64).to_be_bytes());
            let mut a = Sealer::new(&[Secret::new("s")], "c", Session(own)).unwrap();
            let mut frame = a.seal_for(b.own_session(), b"m");
            b.open(A.parse().unwrap(), &mut frame).unwrap();
        }
        assert_eq!(b.sessions.len(), SESSIONS_MAX);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Secret::new("hunter2")), "Secret(…)");
    }

    proptest! {
        #[test]
        fn the_window_admits_each_counter_once(
            counters in prop::collection::vec(prop_oneof![0..600_u64, any::<u64>()], 1..200),
        ) {
            let (mut window, mut seen) = (Window::default(), BTreeSet::new());
            for counter in counters {
                let in_reach = counter.saturating_add(WINDOW_FRAMES)
                    >= seen.last().map_or(0, |last: &u64| last.saturating_add(1));
                prop_assert_eq!(window.admits(counter), in_reach && !seen.contains(&counter)
                    || seen.is_empty());
                if window.admits(counter) {
                    window.add(counter);
                    seen.insert(counter);
                }
            }
        }

        #[test]
        fn garbage_is_rejected(mut garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut b = sealer(&["s"], "c", 2);
            prop_assert!(b.open(A.parse().unwrap(), &mut garbage).is_err());
        }

        #[test]
        fn what_is_sealed_opens(message in prop::collection::vec(any::<u8>(), 0..1300)) {
            let (mut a, mut b) = greeted(&["s"], &["s"]);
            let mut frame = a.seal(B.parse().unwrap(), &message);
            prop_assert_eq!(b.open(A.parse().unwrap(), &mut frame).unwrap(), &message[..]);
        }
    }
}
