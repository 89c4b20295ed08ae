//! Attempts on their way to an answer: their records are gathered from memory or disk, joined to a
//! body and sent. Part of `destination`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hashbrown::HashMap;
use tokio::time::{Duration, Instant};

use crate::{
    model::batch::Signal,
    outbox::{
        body::{Cut, build, cuts},
        disk::Wanted,
        log::Found,
        queue::{Queue, Start},
        sender::Sender,
        verdict::Answer,
    },
    wire::remote_write::Compressor,
};

/// The attempts of one destination; `queue` bounds how many.
pub(super) struct Requests {
    sender: Arc<Sender>,
    /// Their records are to be read from disk.
    waiting: Vec<Gathering>,
    /// The disk is at it.
    reading: HashMap<u64, Gathering>,
    posts: FuturesUnordered<BoxFuture<'static, Posted>>,
    compressor: Option<Compressor>,
}

struct Gathering {
    lane: usize,
    ticket: u64,
    repeat: u32,
    signal: Signal,
    parts: Vec<(Cut, Option<Bytes>)>,
}

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) lane: usize,
    pub(super) ticket: u64,
    pub(super) repeat: u32,
    pub(super) answer: Answer,
    pub(super) request_bytes: usize,
    pub(super) took: Duration,
}

/// An attempt that did not become a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) lane: usize,
    pub(super) ticket: u64,
    /// Records that can't be had any more.
    pub(super) lost: Vec<u64>,
    /// They can be had later: why not now.
    pub(super) not_now: Option<String>,
}

impl Requests {
    pub(super) fn new(sender: Sender) -> Self {
        Self {
            sender: Arc::new(sender),
            waiting: Vec::new(),
            reading: HashMap::new(),
            posts: FuturesUnordered::new(),
            compressor: None,
        }
    }

    /// For requests from now on.
    pub(super) fn set_sender(&mut self, sender: Sender) {
        self.sender = Arc::new(sender);
    }

    pub(super) fn begin(&mut self, start: Start, queue: &Queue) -> Result<(), Failed> {
        let Start { lane, signal, attempt } = start;
        let parts = cuts(&attempt.entries, &attempt.samples).into_iter().map(|cut| {
            let body = queue.body(cut.sequence).cloned();
            (cut, body)
        });
        let (ticket, repeat) = (attempt.ticket, attempt.repeat);
        let gathering = Gathering { lane, ticket, repeat, signal, parts: parts.collect() };
        if gathering.parts.iter().all(|(_, body)| body.is_some()) {
            return self.post(&gathering);
        }
        self.waiting.push(gathering);
        Ok(())
    }

    /// What is to be read from disk. Where the records lie is asked only now that no job runs that
    /// could move them.
    pub(super) fn take_wanted(&mut self, queue: &Queue) -> (Vec<Wanted>, Vec<Failed>) {
        let mut wanted = Vec::new();
        let mut failed = Vec::new();
        for gathering in self.waiting.drain(..) {
            let missing = gathering.parts.iter().filter(|(_, body)| body.is_none());
            let places = missing.map(|(cut, _)| {
                queue.place(gathering.lane, cut.sequence).map(|place| (cut.sequence, place))
            });
            // `None`: the record has been dropped, and the request with it.
            if let Some(records) = places.collect::<Option<Vec<_>>>() {
                wanted.push(Wanted { ticket: gathering.ticket, records });
                self.reading.insert(gathering.ticket, gathering);
            } else {
                failed.push(gathering.failed(Vec::new(), None));
            }
        }
        (wanted, failed)
    }

    /// `found` is in the order of what was wanted.
    pub(super) fn read(&mut self, ticket: u64, found: Vec<Found>) -> Result<(), Failed> {
        let Some(mut gathering) = self.reading.remove(&ticket) else { return Ok(()) };
        let mut lost = Vec::new();
        let mut not_now = None;
        let missing = gathering.parts.iter_mut().filter(|(_, body)| body.is_none());
        for ((cut, body), found) in missing.zip(found) {
            match found {
                Found::Batch(bytes) => *body = Some(bytes),
                Found::Lost => lost.push(cut.sequence),
                Found::NotNow(reason) => not_now = Some(reason),
            }
        }
        if lost.is_empty() && not_now.is_none() {
            return self.post(&gathering);
        }
        Err(gathering.failed(lost, not_now))
    }

    /// The next request that ends; for ever where none is on its way.
    pub(super) async fn next(&mut self) -> Posted {
        match self.posts.next().await {
            Some(posted) => posted,
            None => std::future::pending().await,
        }
    }

    fn post(&mut self, gathering: &Gathering) -> Result<(), Failed> {
        let parts = gathering.parts.iter();
        let parts: Vec<(Cut, Bytes)> =
            parts.filter_map(|(cut, body)| Some((cut.clone(), body.clone()?))).collect();
        let body = match build(gathering.signal, &parts, &mut self.compressor) {
            Ok(body) => body,
            Err(sequence) => return Err(gathering.failed(vec![sequence], None)),
        };
        let sender = Arc::clone(&self.sender);
        let Gathering { lane, ticket, repeat, .. } = *gathering;
        self.posts.push(Box::pin(async move {
            let (started, request_bytes) = (Instant::now(), body.len());
            let answer = sender.post(body, repeat).await;
            Posted { lane, ticket, repeat, answer, request_bytes, took: started.elapsed() }
        }));
        Ok(())
    }
}

impl Gathering {
    fn failed(&self, lost: Vec<u64>, not_now: Option<String>) -> Failed {
        Failed { lane: self.lane, ticket: self.ticket, lost, not_now }
    }
}
