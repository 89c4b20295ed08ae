//! Attempts on their way to an answer: their records are gathered from memory or disk, joined to a
//! body and sent. Part of `destination`.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{
    StreamExt,
    future::{BoxFuture, join_all},
    stream::FuturesUnordered,
};
use hashbrown::HashMap;
use rand::Rng;
use tokio::{
    task::spawn_blocking,
    time::{Duration, Instant},
};

use crate::{
    config::Destination,
    model::batch::Signal,
    outbox::{
        body::{Body, Cut, Tools, build, build_apart, cuts},
        dialect::{Dialect, Form, Sent, Turn},
        disk::Wanted,
        families::Families,
        legs::{joined, stands},
        log::Found,
        placing::{self, Placing, Routes, Routing},
        queue::{Queue, Share, Start},
        sender::{Parcel, Sender},
        verdict::{Answer, Verdict},
    },
    wire::{
        placement::SentLabels,
        remote_write::{Compressor, metadata_request},
    },
};

/// The attempts of one destination; `queue` bounds how many.
pub(super) struct Requests {
    sender: Arc<Sender>,
    dialect: Dialect,
    placing: Placing,
    /// How often there were other settings: who was asked by former ones is not believed.
    changes: u64,
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
    /// Who owns what, where the destination was asked.
    Placed {
        told: placing::Told,
        changes: u64,
    },
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
    /// How its series went to their owners; `None` where the destination is not asked who that is.
    pub(super) straight: Option<Straight>,
}

/// What became of the parts of a request that went to members at once.
#[derive(Debug, Default)]
pub(super) struct Straight {
    /// Whether it was well, by member. None where all of the request went the configured way.
    pub(super) members: Vec<(Arc<str>, bool)>,
    /// One of them has sent something on: its owner is another.
    pub(super) has_moved: bool,
}

/// A part of a request.
struct Leg {
    /// `None`: the configured way.
    to: Option<Arc<str>>,
    body: Body,
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
    pub(super) fn new(destination: &Destination) -> Self {
        Self {
            sender: Arc::new(Sender::new(destination)),
            dialect: Dialect::new(destination),
            placing: Placing::new(destination),
            changes: 0,
            waiting: Vec::new(),
            reading: HashMap::new(),
            under_way: FuturesUnordered::new(),
            tells: false,
            tools: None,
        }
    }

    /// For requests from now on.
    pub(super) fn change(&mut self, destination: &Destination) {
        self.sender = Arc::new(Sender::new(destination));
        self.dialect = Dialect::new(destination);
        self.placing = Placing::new(destination);
        self.changes += 1;
    }

    /// Asks who owns what, when it is time.
    pub(super) fn look(&mut self, now_ms: i64) {
        let Some(question) = self.placing.ask(now_ms) else { return };
        let (sender, changes) = (Arc::clone(&self.sender), self.changes);
        self.under_way.push(Box::pin(async move {
            let told = sender.ask_for_placement(&question).await;
            Ended::Placed { told, changes }
        }));
    }

    pub(super) fn placed(
        &mut self,
        told: placing::Told,
        changes: u64,
        now_ms: i64,
        chance: &mut impl Rng,
    ) -> Option<Routing> {
        if changes != self.changes {
            return None;
        }
        self.placing.heard(told, now_ms, chance)
    }

    pub(super) fn dialect(&self) -> &Dialect {
        &self.dialect
    }

    /// What an answer teaches of how to speak to the destination.
    pub(super) fn heard(&mut self, posted: &Posted, verdict: Verdict, now_ms: i64) -> Option<Turn> {
        let turn = self.dialect.heard(posted.sent.form, &posted.answer, verdict, now_ms);
        if let Some(straight) = &posted.straight {
            for (url, well) in &straight.members {
                self.placing.reached(url, *well, now_ms);
            }
            if straight.has_moved {
                self.placing.hurry(now_ms);
            }
        }
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
                    let parcel = Parcel { body, form, tenant, repeat: 0, to: None };
                    let answer = sender.post(parcel).await;
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
        let legs = match self.routes(gathering, now_ms) {
            Some(routes) => apart(form, &routes, &parts, &mut self.tools),
            None => build(gathering.signal, form, &parts, &mut self.tools)
                .map(|body| vec![Leg { to: None, body }]),
        };
        let legs = match legs {
            Ok(legs) => legs,
            Err(sequence) => return Err(gathering.failed(vec![sequence], None)),
        };
        let sender = Arc::clone(&self.sender);
        let Gathering { ticket, repeat, .. } = *gathering;
        let tenant = Arc::clone(&gathering.tenant);
        let is_asked = self.placing.is_on();
        self.under_way.push(Box::pin(async move {
            let (started, mut straight) = (Instant::now(), Straight::default());
            let request_bytes = legs.iter().map(|leg| leg.body.bytes.len()).sum();
            let ways = legs.into_iter().map(|leg| leg.go(&sender, &tenant, repeat));
            let mut ended = Vec::new();
            for (answer, sent, member) in join_all(ways).await {
                if let Some((url, well)) = member {
                    straight.has_moved |= matches!(&answer, Answer::Status(r) if r.has_forwarded);
                    straight.members.push((url, well));
                }
                ended.push((answer, sent));
            }
            let (answer, sent) = joined(ended);
            let straight = is_asked.then_some(straight);
            let took = started.elapsed();
            Ended::Posted(Posted { ticket, repeat, answer, sent, request_bytes, took, straight })
        }));
        Ok(())
    }

    /// Every second attempt goes the configured way, so that no member that only says "later" can hold
    /// up what another would take. What is a tenant's is not the one's that was asked about.
    fn routes(&self, gathering: &Gathering, now_ms: i64) -> Option<Routes> {
        let may = gathering.tenant.is_empty() && gathering.repeat.is_multiple_of(2);
        self.placing.routes(now_ms).filter(|_| may)
    }
}

fn apart(
    form: Form,
    routes: &Routes,
    parts: &[(Cut, Bytes)],
    tools: &mut Option<Tools>,
) -> Result<Vec<Leg>, u64> {
    let mut hashed = Vec::new();
    let member_for = |labels: &SentLabels<'_>| routes.member_for(labels, &mut hashed);
    let bodies = build_apart(form, parts, member_for, tools)?.into_iter();
    let to = |member: Option<usize>| member.and_then(|at| routes.url(at)).cloned();
    Ok(bodies.map(|(member, body)| Leg { to: to(member), body }).collect())
}

impl Leg {
    /// What was answered, and by which member, and whether it was well there.
    async fn go(
        self,
        sender: &Sender,
        tenant: &Arc<str>,
        repeat: u32,
    ) -> (Answer, Sent, Option<(Arc<str>, bool)>) {
        let Self { to, body: Body { bytes, sent } } = self;
        if sent.counts.is_empty() {
            return (Answer::Unsaid, sent, None);
        }
        let post = |to| {
            let (body, tenant) = (bytes.clone(), Arc::clone(tenant));
            sender.post(Parcel { body, form: sent.form, tenant, repeat, to })
        };
        let Some(url) = to else { return (post(None).await, sent, None) };
        let answer = post(Some(Arc::clone(&url))).await;
        if stands(&answer, &sent) {
            return (answer, sent, Some((url, true)));
        }
        (post(None).await, sent, Some((url, false)))
    }
}

impl Gathering {
    fn failed(&self, lost: Vec<u64>, not_now: Option<String>) -> Failed {
        Failed { ticket: self.ticket, lost, not_now }
    }
}
