//! How a member is asked: a numbered question goes out, its answer comes back in parts, and whoever
//! does not answer in time is named with the reason.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use tokio::{
    sync::oneshot,
    time::{Instant, timeout_at},
};

use crate::{
    fleet::channel::{self, Topic},
    model::member::NodeId,
    survey::{
        Sources, answering,
        message::{Answer, Message, Question, decode, encode},
    },
};

/// Of one answer. A longer one is not taken, and whoever sent it is named.
pub(super) const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Of all answers that are still incomplete. Beyond that, those whose parts come next are given up.
const PARTS_BYTES_MAX: usize = 256 << 20;

/// Asks, and takes in what is answered.
#[derive(Clone)]
pub(super) struct Asker {
    sources: Sources,
    channel: Option<channel::Handle>,
    waiting: Arc<Mutex<Waiting>>,
}

/// Questions that are not answered yet, by number.
struct Waiting {
    next: u64,
    open: BTreeMap<u64, Open>,
    /// Of the parts of all.
    bytes: usize,
}

struct Open {
    to: NodeId,
    parts: Vec<u8>,
    done: oneshot::Sender<Result<Vec<u8>, String>>,
}

impl Waiting {
    /// The number of the question.
    fn open(&mut self, to: NodeId, done: oneshot::Sender<Result<Vec<u8>, String>>) -> u64 {
        let number = self.next;
        self.next = number.wrapping_add(1);
        self.open.insert(number, Open { to, parts: Vec::new(), done });
        number
    }

    /// One that nobody waits for any more is passed over.
    fn heard(&mut self, from: NodeId, number: u64, bytes_total: u64, part: &[u8]) {
        let Some(open) = self.open.get_mut(&number).filter(|open| open.to == from) else { return };
        open.parts.extend_from_slice(part);
        self.bytes += part.len();
        let have = open.parts.len() as u64;
        let verdict = if bytes_total > ANSWER_BYTES_MAX {
            let (mib, mib_max) = (bytes_total >> 20, ANSWER_BYTES_MAX >> 20);
            Err(format!("has an answer of {mib} MiB, more than {mib_max} MiB are not taken"))
        } else if have > bytes_total {
            Err("answers with more than it said".to_owned())
        } else if have == bytes_total {
            Ok(())
        } else if self.bytes > PARTS_BYTES_MAX {
            Err("has an answer for which there is no room, as others answer too".to_owned())
        } else {
            return;
        };
        let open = self.open.remove(&number).expect("it was found");
        self.bytes -= open.parts.len();
        // Who asked may have lost patience.
        let _ = open.done.send(verdict.map(|()| open.parts));
    }
}

impl Asker {
    /// `first` should be random: what is answered to an earlier run of this agent is then told
    /// apart from what it asks now.
    pub(super) fn new(sources: Sources, channel: Option<channel::Handle>, first: u64) -> Self {
        let waiting = Waiting { next: first, open: BTreeMap::new(), bytes: 0 };
        Self { sources, channel, waiting: Arc::new(Mutex::new(waiting)) }
    }

    pub(super) fn sources(&self) -> &Sources {
        &self.sources
    }

    /// # Errors
    /// Why there is no answer: a part of a sentence, with the member before it.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        to: NodeId,
        question: &Question,
        until: Instant,
    ) -> Result<T, String> {
        let question = Bytes::from(encode(question));
        let answer = if to == self.sources.me {
            timeout_at(until, answering::answer(&self.sources, &question)).await
        } else {
            let (open, answered) = self.send(to, question)?;
            let answer = timeout_at(until, answered).await;
            drop(open);
            match answer {
                Ok(Ok(Ok(bytes))) => Ok(bytes),
                Ok(Ok(Err(reason))) => return Err(reason),
                Ok(Err(_)) => return Err("this member is stopping".to_owned()),
                Err(elapsed) => Err(elapsed),
            }
        };
        let Ok(bytes) = answer else { return Err("did not answer in time".to_owned()) };
        match decode(&bytes) {
            Some(Answer::Given(told)) => Ok(told),
            Some(Answer::Unknown) => {
                Err("is of another version and does not know the question".to_owned())
            }
            Some(Answer::Busy) => Err("has too many to answer".to_owned()),
            Some(Answer::Failed(reason)) => Err(reason),
            None => Err("is of another version and answers in another form".to_owned()),
        }
    }

    fn send(
        &self,
        to: NodeId,
        question: Bytes,
    ) -> Result<(OpenGuard, oneshot::Receiver<Result<Vec<u8>, String>>), String> {
        let Some(channel) = &self.channel else {
            return Err("can't be reached by a node that is in no cluster".to_owned());
        };
        let (done, answered) = oneshot::channel();
        let number = self.lock().open(to, done);
        let guard = OpenGuard { number, waiting: Arc::clone(&self.waiting) };
        let message = encode(&Message::Ask { number, question });
        if channel.send(to, Topic::Survey, message.into()) {
            Ok((guard, answered))
        } else {
            Err("can't be reached, or too much waits for it already".to_owned())
        }
    }

    /// A part of an answer has come.
    pub(super) fn heard(&self, from: NodeId, number: u64, bytes_total: u64, part: &[u8]) {
        self.lock().heard(from, number, bytes_total, part);
    }

    /// Nobody answers any more.
    pub(super) fn close(&self) {
        let mut waiting = self.lock();
        waiting.open.clear();
        waiting.bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is waited for; who stops waiting takes it back.
struct OpenGuard {
    number: u64,
    waiting: Arc<Mutex<Waiting>>,
}

impl Drop for OpenGuard {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = waiting.open.remove(&self.number) {
            waiting.bytes -= open.parts.len();
        }
    }
}

/// A member that was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub id: NodeId,
    pub name: String,
    pub answered: bool,
    /// Why it did not answer, or not in full.
    pub error: Option<String>,
    pub took: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(1);
    const B: NodeId = NodeId(2);

    fn waiting() -> Arc<Mutex<Waiting>> {
        Arc::new(Mutex::new(Waiting { next: u64::MAX, open: BTreeMap::new(), bytes: 0 }))
    }

    fn lock(waiting: &Arc<Mutex<Waiting>>) -> MutexGuard<'_, Waiting> {
        waiting.lock().unwrap()
    }

    /// Bytes of parts, and open questions.
    fn held(waiting: &Arc<Mutex<Waiting>>) -> (usize, usize) {
        let waiting = lock(waiting);
        (waiting.bytes, waiting.open.len())
    }

    /// The number of the question, what takes it back, and where its answer comes.
    fn ask(
        waiting: &Arc<Mutex<Waiting>>,
        to: NodeId,
    ) -> (u64, OpenGuard, oneshot::Receiver<Result<Vec<u8>, String>>) {
        let (done, answered) = oneshot::channel();
        let number = lock(waiting).open(to, done);
        (number, OpenGuard { number, waiting: Arc::clone(waiting) }, answered)
    }

    #[test]
    fn parts_become_an_answer() {
        let waiting = waiting();
        let (number, _open, mut answered) = ask(&waiting, B);
        let (other, _other, mut unanswered) = ask(&waiting, B);
        assert_ne!(number, other, "also where numbers begin anew");
        lock(&waiting).heard(B, number, 5, b"ab");
        assert!(answered.try_recv().is_err());
        // Not from whom it was asked, or to no question that is open.
        lock(&waiting).heard(A, number, 5, b"xxx");
        lock(&waiting).heard(B, 77, 5, b"xxx");
        lock(&waiting).heard(B, number, 5, b"cde");
        assert_eq!(answered.try_recv().unwrap(), Ok(b"abcde".to_vec()));
        assert_eq!(lock(&waiting).bytes, 0);
        assert!(unanswered.try_recv().is_err());
        lock(&waiting).heard(B, other, 0, b"");
        assert_eq!(unanswered.try_recv().unwrap(), Ok(Vec::new()));
    }

    #[test]
    fn an_answer_is_bounded() {
        let check = |total: u64, part: &[u8], bytes: usize, expected: &str| {
            let waiting = waiting();
            lock(&waiting).bytes = bytes;
            let (number, _open, mut answered) = ask(&waiting, B);
            lock(&waiting).heard(B, number, total, part);
            let reason = answered.try_recv().unwrap().unwrap_err();
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(held(&waiting), (bytes, 0));
        };
        check(ANSWER_BYTES_MAX + (1 << 20), b"a", 0, "an answer of 65 MiB, more than 64 MiB");
        check(u64::MAX, b"a", 0, "more than 64 MiB");
        check(2, b"abc", 0, "with more than it said");
        check(5, b"ab", PARTS_BYTES_MAX, "no room");
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let waiting = waiting();
        let (number, open, _answered) = ask(&waiting, B);
        lock(&waiting).heard(B, number, 5, b"ab");
        assert_eq!(held(&waiting), (2, 1));
        drop(open);
        assert_eq!(held(&waiting), (0, 0));
        lock(&waiting).heard(B, number, 5, b"cde");
        assert_eq!(lock(&waiting).bytes, 0);
    }
}
