//! What goes over a proven connection: frames with a length, sealed under the connection's own keys
//! and in their order, so that one which is forged, left out, repeated or moved ends it. Pure.
//!
//! A frame is `kind | length of the body | sealed body`, its head authenticated with it. The nonce
//! is the number of the frame, which is not sent: each direction has a key that is used once.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, Tag, UnboundKey};

pub(super) const KEY_BYTES: usize = 32;
pub(super) const TAG_BYTES: usize = 16;
pub(super) const HEAD_BYTES: usize = 1 + 4;
/// Of a message. A larger one is not taken for sending, and a frame that says it is ends the
/// connection unread.
pub const MESSAGE_BYTES_MAX: usize = 8 << 20;
/// Of a message of a survey: what is longer comes in parts, so that a hand-over waits for no more
/// than this.
const SURVEY_BYTES_MAX: usize = 2 << 20;
/// Of a part of a push, or the answer to one: larger pushes go in several, for the same reason.
const PUSH_BYTES_MAX: usize = 2 << 20;

/// Why a connection was turned away, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Refused {
    /// More connections than there is room for wait for their proof; the oldest goes.
    TooMany,
    /// No proof in time.
    Late,
    /// The other side ended it before it was proven.
    Closed,
    /// Not one of ours at all.
    Foreign,
    Version,
    UnknownKey,
    OtherCluster,
    BadSeal,
    /// Who answered, or asks, is this very node.
    Own,
    /// Who answered is not the member that was dialed.
    OtherMember,
    /// Proven, but no member that this node has heard of yet.
    UnknownMember,
    UnknownKind,
    TooLong,
}

impl Refused {
    /// The label under which it is counted.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Late => "late",
            Self::Closed => "closed",
            Self::Foreign => "foreign",
            Self::Version => "version",
            Self::UnknownKey => "unknown_key",
            Self::OtherCluster => "other_cluster",
            Self::BadSeal => "bad_seal",
            Self::Own => "own",
            Self::OtherMember => "other_member",
            Self::UnknownMember => "unknown_member",
            Self::UnknownKind => "unknown_kind",
            Self::TooLong => "too_long",
        }
    }
}

/// What a message is about. Each topic has queues, bounds and an inbox of its own, so that none waits
/// for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// What ownership hands over; it goes first.
    Ownership,
    /// What members ask each other for those who look in.
    Survey,
    /// What was pushed to one member and is another's, and what became of it.
    Push,
}

impl Topic {
    /// Of one message.
    pub(super) fn bytes_max(self) -> usize {
        match self {
            Self::Ownership => MESSAGE_BYTES_MAX,
            Self::Survey => SURVEY_BYTES_MAX,
            Self::Push => PUSH_BYTES_MAX,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message(Topic),
    /// Are you there?
    Ping,
    /// I am.
    Pong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// Of the body, without its tag.
    pub(super) bytes: usize,
}

impl Head {
    pub(super) fn read(head: [u8; HEAD_BYTES]) -> Result<Self, Refused> {
        let [kind, length @ ..] = head;
        let kind = match kind {
            0 => Kind::Message(Topic::Ownership),
            1 => Kind::Ping,
            2 => Kind::Pong,
            3 => Kind::Message(Topic::Survey),
            4 => Kind::Message(Topic::Push),
            _ => return Err(Refused::UnknownKind),
        };
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        let bytes_max = match kind {
            Kind::Message(topic) => topic.bytes_max(),
            Kind::Ping | Kind::Pong => 0,
        };
        if bytes > bytes_max {
            return Err(Refused::TooLong);
        }
        Ok(Self { kind, bytes })
    }

    /// Of the whole frame.
    pub(super) fn frame_bytes(self) -> usize {
        HEAD_BYTES + self.bytes + TAG_BYTES
    }

    fn written(self) -> [u8; HEAD_BYTES] {
        let kind = match self.kind {
            Kind::Message(Topic::Ownership) => 0,
            Kind::Ping => 1,
            Kind::Pong => 2,
            Kind::Message(Topic::Survey) => 3,
            Kind::Message(Topic::Push) => 4,
        };
        let length = u32::try_from(self.bytes).expect("a message is no longer than its maximum");
        let [a, b, c, d] = length.to_be_bytes();
        [kind, a, b, c, d]
    }
}

/// One direction of one connection, at its sending end.
pub(super) struct Sealing(Direction);

/// The same, at its receiving end.
pub(super) struct Opening(Direction);

struct Direction {
    key: LessSafeKey,
    /// Of the next seal.
    number: u64,
}

impl Direction {
    fn new(key: [u8; KEY_BYTES]) -> Self {
        let key = UnboundKey::new(&AES_256_GCM, &key).expect("a key is as long as the cipher's");
        Self { key: LessSafeKey::new(key), number: 0 }
    }

    fn next_nonce(&mut self) -> Nonce {
        let mut bytes = [0; NONCE_LEN];
        bytes[NONCE_LEN - 8..].copy_from_slice(&self.number.to_be_bytes());
        self.number += 1;
        Nonce::assume_unique_for_key(bytes)
    }
}

impl Sealing {
    pub(super) fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(Direction::new(key))
    }

    /// Seals `body` in place; what is returned goes behind it.
    pub(super) fn seal(&mut self, beside: &[u8], body: &mut [u8]) -> Tag {
        let nonce = self.0.next_nonce();
        let sealed = self.0.key.seal_in_place_separate_tag(nonce, Aad::from(beside), body);
        sealed.expect("a frame is shorter than the cipher's limit")
    }

    /// `body` is no longer than its kind's maximum.
    pub(super) fn frame(&mut self, kind: Kind, body: &[u8]) -> Vec<u8> {
        let head = Head { kind, bytes: body.len() }.written();
        let mut frame = Vec::with_capacity(HEAD_BYTES + body.len() + TAG_BYTES);
        frame.extend_from_slice(&head);
        frame.extend_from_slice(body);
        let tag = self.seal(&head, &mut frame[HEAD_BYTES..]);
        frame.extend_from_slice(tag.as_ref());
        frame
    }
}

impl Opening {
    pub(super) fn new(key: [u8; KEY_BYTES]) -> Self {
        Self(Direction::new(key))
    }

    /// Opens `sealed`, a body and its tag, in place: the body is what comes before the tag.
    pub(super) fn open(&mut self, beside: &[u8], sealed: &mut [u8]) -> Result<(), Refused> {
        let nonce = self.0.next_nonce();
        let opened = self.0.key.open_in_place(nonce, Aad::from(beside), sealed);
        opened.map(|_| ()).map_err(|_| Refused::BadSeal)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ends() -> (Sealing, Opening) {
        (Sealing::new([7; KEY_BYTES]), Opening::new([7; KEY_BYTES]))
    }

    fn read(opening: &mut Opening, frame: &[u8]) -> Result<(Kind, Vec<u8>), Refused> {
        let (head, sealed) = frame.split_first_chunk().ok_or(Refused::Closed)?;
        let found = Head::read(*head)?;
        if sealed.len() < found.bytes + TAG_BYTES {
            return Err(Refused::Closed);
        }
        let mut body = sealed[..found.bytes + TAG_BYTES].to_vec();
        opening.open(head, &mut body)?;
        body.truncate(found.bytes);
        Ok((found.kind, body))
    }

    #[test]
    fn frames_are_read_in_the_order_they_were_sealed() {
        let check = |order: &[usize], expected: &[Result<&str, Refused>]| {
            let (mut sealing, mut opening) = ends();
            let frames = ["a", "b", "c"]
                .map(|text| sealing.frame(Kind::Message(Topic::Ownership), text.as_bytes()));
            let found = order.iter().map(|&n| read(&mut opening, &frames[n]));
            let found: Vec<_> = found
                .map(|one| one.map(|(_, body)| String::from_utf8(body).unwrap()))
                .take_while(|one| !expected.is_empty() || one.is_ok())
                .collect();
            let expected: Vec<_> =
                expected.iter().map(|one| one.map(std::borrow::ToOwned::to_owned)).collect();
            assert_eq!(found, expected);
        };
        let bad = Err(Refused::BadSeal);
        check(&[0, 1, 2], &[Ok("a"), Ok("b"), Ok("c")]);
        check(&[0, 0], &[Ok("a"), bad]);
        check(&[0, 2], &[Ok("a"), bad]);
        check(&[1], &[bad]);
    }

    #[test]
    fn a_direction_is_not_the_other() {
        let mut frame = Sealing::new([1; KEY_BYTES]).frame(Kind::Ping, b"");
        let found = Opening::new([2; KEY_BYTES]).open(&frame.clone()[..5], &mut frame[5..]);
        assert_eq!(found, Err(Refused::BadSeal));
    }

    #[test]
    fn heads_are_bounded() {
        let check = |head: [u8; 5], expected| {
            assert_eq!(Head::read(head).map(|head| (head.kind, head.bytes)), expected);
        };
        check([0, 0, 0x80, 0, 0], Ok((Kind::Message(Topic::Ownership), MESSAGE_BYTES_MAX)));
        check([3, 0, 0x20, 0, 0], Ok((Kind::Message(Topic::Survey), SURVEY_BYTES_MAX)));
        check([3, 0, 0x20, 0, 1], Err(Refused::TooLong));
        check([0, 0, 0x80, 0, 1], Err(Refused::TooLong));
        check([0, 255, 255, 255, 255], Err(Refused::TooLong));
        check([1, 0, 0, 0, 0], Ok((Kind::Ping, 0)));
        check([2, 0, 0, 0, 1], Err(Refused::TooLong));
        check([4, 0, 0x20, 0, 0], Ok((Kind::Message(Topic::Push), PUSH_BYTES_MAX)));
        check([4, 0, 0x20, 0, 1], Err(Refused::TooLong));
        check([5, 0, 0, 0, 0], Err(Refused::UnknownKind));
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens(bodies in prop::collection::vec(
            prop::collection::vec(any::<u8>(), 0..2000), 1..5,
        )) {
            let (mut sealing, mut opening) = ends();
            for body in bodies {
                let frame = sealing.frame(Kind::Message(Topic::Ownership), &body);
                prop_assert_eq!(read(&mut opening, &frame), Ok((Kind::Message(Topic::Ownership), body)));
            }
        }

        #[test]
        fn a_changed_frame_is_not_believed(
            body in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            bit in 0..8_u8,
        ) {
            let (mut sealing, mut opening) = ends();
            let mut frame = sealing.frame(Kind::Message(Topic::Ownership), &body);
            let at = at.index(frame.len());
            frame[at] ^= 1 << bit;
            prop_assert!(read(&mut opening, &frame).is_err());
        }

        #[test]
        fn a_cut_frame_is_not_believed(
            body in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
        ) {
            let (mut sealing, mut opening) = ends();
            let frame = sealing.frame(Kind::Message(Topic::Ownership), &body);
            prop_assert!(read(&mut opening, &frame[..at.index(frame.len())]).is_err());
        }

        #[test]
        fn garbage_is_not_believed(garbage in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(read(&mut ends().1, &garbage).is_err());
        }
    }
}
