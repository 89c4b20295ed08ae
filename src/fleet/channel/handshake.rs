//! How two members prove to each other that they hold the cluster's secret, and come to keys that
//! only this connection has. Pure: bytes in, bytes out, the random numbers handed in.
//!
//! - hello, from who dials: `magic | version | key id | cluster tag | nonce | seal`
//! - answer, from who listens: `nonce | sealed id`, given to nobody whose hello is not sealed
//! - proof, from who dials: `sealed id`
//!
//! Both nonces are in the keys, so a recorded side convinces nobody, and both ids are sealed under
//! those keys beside all that was said before: neither can be put into another connection.

use std::sync::Arc;

use crate::{
    fleet::{
        channel::frame::{KEY_BYTES, Opening, Refused, Sealing, TAG_BYTES},
        seal::{Secret, derive},
    },
    model::member::NodeId,
};

const MAGIC: [u8; 2] = *b"SC";
const VERSION: u8 = 1;
pub(super) const NONCE_BYTES: usize = 32;
const HEADER_BYTES: usize = 2 + 1 + 4 + 4 + NONCE_BYTES;
const ID_BYTES: usize = 16;
pub(super) const HELLO_BYTES: usize = HEADER_BYTES + TAG_BYTES;
pub(super) const ANSWER_BYTES: usize = NONCE_BYTES + ID_BYTES + TAG_BYTES;
pub(super) const PROOF_BYTES: usize = ID_BYTES + TAG_BYTES;

pub(super) type ChannelNonce = [u8; NONCE_BYTES];

/// Tells secrets apart without showing them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyId([u8; 4]);

/// All secrets that are believed; the first is the one to dial with.
#[derive(Debug)]
pub(super) struct Keyring {
    pub(super) keys: Vec<Key>,
}

#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) id: KeyId,
    cluster_tag: [u8; 4],
    cluster: Arc<str>,
    secret: Secret,
}

impl Keyring {
    /// `None` without a secret.
    pub(super) fn new(secrets: &[Secret], cluster: &str) -> Option<Self> {
        let cluster: Arc<str> = cluster.into();
        let key = |secret: &Secret| Key {
            id: KeyId(derive(secret, b"starling channel key id", &[])),
            cluster_tag: derive(secret, b"starling channel cluster tag", cluster.as_bytes()),
            cluster: Arc::clone(&cluster),
            secret: secret.clone(),
        };
        let keys: Vec<Key> = secrets.iter().map(key).collect();
        (!keys.is_empty()).then_some(Self { keys })
    }

    pub(super) fn holds(&self, id: KeyId) -> bool {
        self.keys.iter().any(|key| key.id == id)
    }
}

impl Key {
    /// Sealed with it is the hello alone: its nonce makes it one that is used once.
    fn of_hello(&self, nonce: &ChannelNonce) -> [u8; KEY_BYTES] {
        let info = [nonce, self.cluster.as_bytes()].concat();
        derive(&self.secret, b"starling channel hello", &info)
    }

    fn directions(&self, nonces: [&ChannelNonce; 2]) -> [[u8; KEY_BYTES]; 2] {
        let info = [nonces[0], nonces[1], self.cluster.as_bytes()].concat();
        [
            derive(&self.secret, b"starling channel from who dials", &info),
            derive(&self.secret, b"starling channel from who listens", &info),
        ]
    }
}

/// What a proven connection is sealed and opened with.
pub(super) struct Keys {
    pub(super) sealing: Sealing,
    pub(super) opening: Opening,
    /// The secret they come from.
    pub(super) id: KeyId,
}

/// Who has said hello and waits for the answer.
pub(super) struct Dialing<'k> {
    key: &'k Key,
    me: NodeId,
    to: NodeId,
    hello: [u8; HELLO_BYTES],
}

impl<'k> Dialing<'k> {
    /// `nonce` must be random.
    pub(super) fn new(key: &'k Key, me: NodeId, to: NodeId, nonce: &ChannelNonce) -> Self {
        let header = [&MAGIC[..], &[VERSION], &key.id.0, &key.cluster_tag, nonce].concat();
        let tag = Sealing::new(key.of_hello(nonce)).seal(&header, &mut []);
        let hello = [&header[..], tag.as_ref()].concat();
        Self { key, me, to, hello: hello.try_into().expect("the parts add up") }
    }

    pub(super) fn hello(&self) -> &[u8; HELLO_BYTES] {
        &self.hello
    }

    /// The proof to send, where the answer proves the other side.
    pub(super) fn answered(
        self,
        answer: &[u8; ANSWER_BYTES],
    ) -> Result<([u8; PROOF_BYTES], Keys), Refused> {
        let own = nonce_of(&self.hello);
        let (other, sealed) = answer.split_first_chunk().expect("it begins with its nonce");
        let [ours, theirs] = self.key.directions([&own, other]);
        let (mut sealing, mut opening) = (Sealing::new(ours), Opening::new(theirs));
        let id = opened_id(&mut opening, &beside_answer(&self.hello, other), &mut sealed.to_vec())?;
        if id == self.me {
            return Err(Refused::Own);
        }
        if id != self.to {
            return Err(Refused::OtherMember);
        }
        let proof = sealed_id(&mut sealing, &[&self.hello[..], answer].concat(), self.me);
        let proof = proof.try_into().expect("the parts add up");
        Ok((proof, Keys { sealing, opening, id: self.key.id }))
    }
}

/// Who has answered a hello and waits for the proof.
pub(super) struct Listening {
    me: NodeId,
    key: KeyId,
    sealing: Sealing,
    opening: Opening,
    said: Vec<u8>,
}

impl Listening {
    /// The answer to send, where the hello is of one who holds a secret, or was recorded from one.
    /// `nonce` must be random.
    pub(super) fn new(
        keys: &Keyring,
        me: NodeId,
        hello: &[u8; HELLO_BYTES],
        nonce: &ChannelNonce,
    ) -> Result<(Self, [u8; ANSWER_BYTES]), Refused> {
        let (header, tag) = hello.split_at(HEADER_BYTES);
        if header[..2] != MAGIC {
            return Err(Refused::Foreign);
        }
        if header[2] != VERSION {
            return Err(Refused::Version);
        }
        let key = keys.keys.iter().find(|key| header[3..7] == key.id.0);
        let key = key.ok_or(Refused::UnknownKey)?;
        if header[7..11] != key.cluster_tag {
            return Err(Refused::OtherCluster);
        }
        let other = nonce_of(hello);
        Opening::new(key.of_hello(&other)).open(header, &mut tag.to_vec())?;

        let [theirs, ours] = key.directions([&other, nonce]);
        let (mut sealing, opening) = (Sealing::new(ours), Opening::new(theirs));
        let sealed = sealed_id(&mut sealing, &beside_answer(hello, nonce), me);
        let answer = [&nonce[..], &sealed].concat();
        let said = [&hello[..], &answer].concat();
        let answer = answer.try_into().expect("the parts add up");
        Ok((Self { me, key: key.id, sealing, opening, said }, answer))
    }

    /// Who dialed.
    pub(super) fn proven(mut self, proof: &[u8; PROOF_BYTES]) -> Result<(NodeId, Keys), Refused> {
        let id = opened_id(&mut self.opening, &self.said, &mut proof.to_vec())?;
        if id == self.me {
            return Err(Refused::Own);
        }
        Ok((id, Keys { sealing: self.sealing, opening: self.opening, id: self.key }))
    }
}

fn nonce_of(hello: &[u8; HELLO_BYTES]) -> ChannelNonce {
    hello[HEADER_BYTES - NONCE_BYTES..HEADER_BYTES].try_into().expect("as long as asked for")
}

fn beside_answer(hello: &[u8; HELLO_BYTES], nonce: &ChannelNonce) -> Vec<u8> {
    [&hello[..], nonce].concat()
}

fn sealed_id(sealing: &mut Sealing, beside: &[u8], id: NodeId) -> Vec<u8> {
    let mut sealed = id.0.to_be_bytes().to_vec();
    let tag = sealing.seal(beside, &mut sealed);
    sealed.extend_from_slice(tag.as_ref());
    sealed
}

fn opened_id(opening: &mut Opening, beside: &[u8], sealed: &mut [u8]) -> Result<NodeId, Refused> {
    opening.open(beside, sealed)?;
    let id = sealed.first_chunk().expect("an id comes before its tag");
    Ok(NodeId(u128::from_be_bytes(*id)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fleet::channel::frame::{Kind, Topic};

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn keyring(secrets: &[&str], cluster: &str) -> Keyring {
        let secrets: Vec<Secret> = secrets.iter().map(|text| Secret::new(*text)).collect();
        Keyring::new(&secrets, cluster).unwrap()
    }

    fn hello(keys: &Keyring, nonce: u8) -> Dialing<'_> {
        Dialing::new(&keys.keys[0], A, B, &[nonce; NONCE_BYTES])
    }

    /// What both ends of a connection from A to B come to.
    fn connect(a: &Keyring, b: &Keyring) -> Result<(Keys, Keys), Refused> {
        let dialing = hello(a, 1);
        let (listening, answer) = Listening::new(b, B, dialing.hello(), &[2; NONCE_BYTES])?;
        let (proof, ours) = dialing.answered(&answer)?;
        let (from, theirs) = listening.proven(&proof)?;
        assert_eq!(from, A);
        Ok((ours, theirs))
    }

    #[test]
    fn both_come_to_the_same_keys() {
        let keys = keyring(&["s"], "c");
        let (mut ours, mut theirs) = connect(&keys, &keys).unwrap();
        for (sealing, opening) in
            [(&mut ours.sealing, &mut theirs.opening), (&mut theirs.sealing, &mut ours.opening)]
        {
            let mut frame = sealing.frame(Kind::Message(Topic::Ownership), b"x");
            let (head, body) = frame.split_at_mut(5);
            assert_eq!(opening.open(head, body), Ok(()));
            assert_eq!(body[0], b'x');
        }
    }

    #[test]
    fn strangers_are_told_apart_and_secrets_rotate() {
        let check = |a: (&[&str], &str), b: (&[&str], &str), expected: Result<(), Refused>| {
            let found = connect(&keyring(a.0, a.1), &keyring(b.0, b.1)).map(|_| ());
            assert_eq!(found, expected, "{a:?} {b:?}");
        };
        check((&["s"], "c"), (&["s"], "c"), Ok(()));
        check((&["x"], "c"), (&["s"], "c"), Err(Refused::UnknownKey));
        check((&["s"], "d"), (&["s"], "c"), Err(Refused::OtherCluster));
        check((&["old"], "c"), (&["new", "old"], "c"), Ok(()));
        check((&["new", "old"], "c"), (&["old", "new"], "c"), Ok(()));
        check((&["new"], "c"), (&["old"], "c"), Err(Refused::UnknownKey));
        assert!(Keyring::new(&[], "c").is_none());
    }

    #[test]
    fn a_recorded_side_convinces_nobody() {
        let keys = keyring(&["s"], "c");
        let dialing = hello(&keys, 1);
        let recorded = *dialing.hello();
        let (listening, answer) = Listening::new(&keys, B, &recorded, &[2; NONCE_BYTES]).unwrap();
        let (proof, _) = dialing.answered(&answer).unwrap();
        assert!(listening.proven(&proof).is_ok());

        let (listening, _) = Listening::new(&keys, B, &recorded, &[3; NONCE_BYTES]).unwrap();
        assert_eq!(listening.proven(&proof).map(|_| ()), Err(Refused::BadSeal));
        let found = hello(&keys, 4).answered(&answer).map(|_| ());
        assert_eq!(found, Err(Refused::BadSeal));
    }

    #[test]
    fn who_answers_is_who_was_dialed() {
        let keys = keyring(&["s"], "c");
        let check = |me: NodeId, expected: Refused| {
            let dialing = hello(&keys, 1);
            let (_, answer) =
                Listening::new(&keys, me, dialing.hello(), &[2; NONCE_BYTES]).unwrap();
            assert_eq!(dialing.answered(&answer).map(|_| ()), Err(expected));
        };
        check(NodeId(3), Refused::OtherMember);
        // Its own words, thrown back.
        check(A, Refused::Own);
    }

    #[test]
    fn each_fault_of_a_hello_has_its_reason() {
        let keys = keyring(&["s"], "c");
        let check = |at: usize, expected: Refused| {
            let mut changed = *hello(&keys, 1).hello();
            changed[at] ^= 1;
            let found = Listening::new(&keys, B, &changed, &[2; NONCE_BYTES]).map(|_| ());
            assert_eq!(found, Err(expected), "{at}");
        };
        check(0, Refused::Foreign);
        check(2, Refused::Version);
        check(3, Refused::UnknownKey);
        check(7, Refused::OtherCluster);
        check(11, Refused::BadSeal);
        check(HELLO_BYTES - 1, Refused::BadSeal);
    }

    proptest! {
        #[test]
        fn garbage_proves_nothing(
            garbage in prop::collection::vec(any::<u8>(), HELLO_BYTES + ANSWER_BYTES + PROOF_BYTES),
        ) {
            let keys = keyring(&["s"], "c");
            let (noise, rest) = garbage.split_first_chunk().unwrap();
            prop_assert!(Listening::new(&keys, B, noise, &[2; NONCE_BYTES]).is_err());
            let (noise, rest) = rest.split_first_chunk().unwrap();
            let dialing = hello(&keys, 1);
            let (listening, _) =
                Listening::new(&keys, B, dialing.hello(), &[2; NONCE_BYTES]).unwrap();
            prop_assert!(dialing.answered(noise).is_err());
            prop_assert!(listening.proven(rest.first_chunk().unwrap()).is_err());
        }

        #[test]
        fn a_changed_answer_or_proof_proves_nothing(
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let keys = keyring(&["s"], "c");
            let flip = |bytes: &mut [u8]| bytes[at.index(bytes.len())] ^= 1 << bit;
            let dialing = hello(&keys, 1);
            let (listening, answer) =
                Listening::new(&keys, B, dialing.hello(), &[2; NONCE_BYTES]).unwrap();
            let mut changed = answer;
            flip(&mut changed);
            prop_assert!(hello(&keys, 1).answered(&changed).is_err());
            let (mut proof, _) = dialing.answered(&answer).unwrap();
            flip(&mut proof);
            prop_assert!(listening.proven(&proof).is_err());
        }
    }
}
