//! Attempts on their way to an answer: their records are gathered from memory or disk, joined to a
//! body and sent. Part of `destination`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use hashbrown::HashMap;
use tokio::{
    task::spawn_blocking,
    time::{Duration, Instant},
};

use crate::{
    model::batch::Signal,
    outbox::{
        body::{Body, Cut, Tools, build, cuts},
        dialect::{Dialect, Form, Sent, Turn},
        disk::Wanted,
        families::Families,
        log::Found,
        queue::{Queue, Share, Start},
        sender::{Parcel, Sender},
        verdict::{Answer, Verdict},
    },
    wire::remote_write::{Compressor, metadata_request},
};

/// The attempts of one destination; `queue` bounds how many.
pub(super) struct Requests {
    sender: Arc<Sender>,
    dialect: Dialect,
    /// Their records are to be read from disk.
    waiting: Vec<Gathering>,
    /// The disk is at it.
    reading: HashMap<u64, Gathering>,
    under_way: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// A round of metadata is on its way.
    tells: bool,
    tools: Option<Tools>,
}

struct Gathering {
    ticket: u64,
    repeat: u32,
    signal: Signal,
    tenant: Arc<str>,
    parts: Vec<Part>,
}

/// Of a record in that lane.
struct Part {
    lane: usize,
    cut: Cut,
    body: Option<Bytes>,
}

/// What was under way and is over.
#[derive(Debug)]
pub(super) enum Ended {
    Posted(Posted),
    /// The question whether the destination takes Zstandard; `None`: it did not say.
    Asked(Option<bool>),
    Told(Told),
}

/// A round of metadata.
#[derive(Debug)]
pub(super) struct Told {
    /// As many as the destination has taken.
    pub(super) families: usize,
    /// Why not the others.
    pub(super) failure: Option<Answer>,
}

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Posted {
    pub(super) ticket: u64,
    pub(super) repeat: u32,
    pub(super) answer: Answer,
    pub(super) sent: Sent,
    pub(super) request_bytes: usize,
    pub(super) took: Duration,
}

/// An attempt that did not become a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) ticket: u64,
    /// Records that can't be had any more.
    pub(super) lost: Vec<u64>,
    /// They can be had later: why not now.
    pub(super) not_now: Option<String>,
}

impl Requests {
    pub(super) fn new(sender: Sender, dialect: Dialect) -> Self {
        Self {
            sender: Arc::new(sender),
            dialect,
            waiting: Vec::new(),
            reading: HashMap::new(),
            under_way: FuturesUnordered::new(),
            tells: false,
            tools: None,
        }
    }

    /// For requests from now on.
    pub(super) fn set_sender(&mut self, sender: Sender, dialect: Dialect) {
        self.sender = Arc::new(sender);
        self.dialect = dialect;
    }

    pub(super) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// What an answer teaches of how to speak to the destination.
    pub(super) fn heard(&mut self, posted: &Posted, verdict: Verdict, now_ms: i64) -> Option<Turn> {
        let turn = self.dialect.heard(posted.sent.form, &posted.answer, verdict, now_ms);
        if self.dialect.asks() {
            let sender = Arc::clone(&self.sender);
            let asking = async move { Ended::Asked(sender.ask_for_zstd().await) };
            self.under_way.push(Box::pin(asking));
        }
        turn
    }

    pub(super) fn asked(&mut self, takes: Option<bool>, now_ms: i64) -> Option<Turn> {
        self.dialect.told(takes, now_ms)
    }

    /// Sends what targets say of their metrics, in requests of 1.0 one after the other, none of them
    /// twice: the next round brings it again. `ended` must hear of it before there is another.
    pub(super) fn tell(&mut self, families: Families, families_per_send_max: usize) {
        if self.tells {
            return;
        }
        self.tells = true;
        let sender = Arc::clone(&self.sender);
        self.under_way.push(Box::pin(async move {
            let mut told = 0;
            // There may be a great many.
            let all = spawn_blocking(move || families.all()).await.unwrap_or_default();
            for (tenant, families) in all {
                for some in families.chunks(families_per_send_max) {
                    let body = Compressor::default().body(&metadata_request(some));
                    let (form, tenant) = (Form::default(), Arc::clone(&tenant));
                    let answer = sender.post(Parcel { body, form, tenant, repeat: 0 }).await;
                    if !answer.is_success() {
                        return Ended::Told(Told { families: told, failure: Some(answer) });
                    }
                    told += some.len();
                }
            }
            Ended::Told(Told { families: told, failure: None })
        }));
    }

    pub(super) fn told(&mut self) {
        self.tells = false;
    }

    pub(super) fn begin(&mut self, start: Start, queue: &Queue, now_ms: i64) -> Result<(), Failed> {
        let Start { ticket, signal, tenant, repeat, shares } = start;
        let parts = shares.iter().flat_map(|Share { lane, entries, samples }| {
            cuts(entries, samples).into_iter().map(|cut| {
                let body = queue.body(cut.sequence).cloned();
                Part { lane: *lane, cut, body }
            })
        });
        let gathering = Gathering { ticket, repeat, signal, tenant, parts: parts.collect() };
        if gathering.parts.iter().all(|part| part.body.is_some()) {
            return self.post(&gathering, now_ms);
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
            let missing = gathering.parts.iter().filter(|part| part.body.is_none());
            let places = missing.map(|Part { lane, cut, .. }| {
                queue.place(*lane, cut.sequence).map(|place| (cut.sequence, place))
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
    pub(super) fn read(
        &mut self,
        ticket: u64,
        found: Vec<Found>,
        now_ms: i64,
    ) -> Result<(), Failed> {
        let Some(mut gathering) = self.reading.remove(&ticket) else { return Ok(()) };
        let mut lost = Vec::new();
        let mut not_now = None;
        let missing = gathering.parts.iter_mut().filter(|part| part.body.is_none());
        for (part, found) in missing.zip(found) {
            match found {
                Found::Batch(bytes) => part.body = Some(bytes),
                Found::Lost => lost.push(part.cut.sequence),
                Found::NotNow(reason) => not_now = Some(reason),
            }
        }
        if lost.is_empty() && not_now.is_none() {
            return self.post(&gathering, now_ms);
        }
        Err(gathering.failed(lost, not_now))
    }

    /// The next that ends; for ever where nothing is under way.
    pub(super) async fn next(&mut self) -> Ended {
        match self.under_way.next().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    fn post(&mut self, gathering: &Gathering, now_ms: i64) -> Result<(), Failed> {
        let parts = gathering.parts.iter();
        let parts: Vec<(Cut, Bytes)> =
            parts.filter_map(|part| Some((part.cut.clone(), part.body.clone()?))).collect();
        let form = self.dialect.form(now_ms);
        let body = match build(gathering.signal, form, &parts, &mut self.tools) {
            Ok(body) => body,
            Err(sequence) => return Err(gathering.failed(vec![sequence], None)),
        };
        let Body { bytes, sent } = body;
        let sender = Arc::clone(&self.sender);
        let Gathering { ticket, repeat, .. } = *gathering;
        let tenant = Arc::clone(&gathering.tenant);
        self.under_way.push(Box::pin(async move {
            let (started, request_bytes) = (Instant::now(), bytes.len());
            let answer = if sent.counts.is_empty() {
                Answer::Unsaid
            } else {
                sender.post(Parcel { body: bytes, form, tenant, repeat }).await
            };
            let took = started.elapsed();
            Ended::Posted(Posted { ticket, repeat, answer, sent, request_bytes, took })
        }));
        Ok(())
    }
}

impl Gathering {
    fn failed(&self, lost: Vec<u64>, not_now: Option<String>) -> Failed {
        Failed { ticket: self.ticket, lost, not_now }
    }
}
