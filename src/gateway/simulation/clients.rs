//! Those who push, as they should: what is newer waits until the push under way is acknowledged, and
//! that is repeated, at the next member, until it is.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use rand::{RngExt, rngs::StdRng};

use crate::{
    gateway::{
        parcel::{Kind, Parcel, Piece, Promise, Unwanted},
        simulation::{Air, TENANT, series, wire},
    },
    model::member::NodeId,
    ownership::handoff::simulation::air::Point,
};

const SERIES: u64 = 4;
/// As long as the least patient of those that are in use; longer than a member looks for owners.
const TIMEOUT_MS: i64 = 10_000;
const PAUSE_MS: i64 = 50;
/// Some samples are apart by no more than this, lest owners could be as slow as clients are.
const HURRY_MS: i64 = 20;
/// Of one push.
const SAMPLES_MAX: usize = 40;
pub(super) const FIELD_BYTES: usize = 8;

pub(super) struct Client {
    number: u64,
    members: Vec<NodeId>,
    next_member: usize,
    interval_ms: i64,
    next_ms: i64,
    waiting: VecDeque<Point>,
    push: Option<Arc<Parcel>>,
    /// When the push may be tried again, while it is not under way.
    retry_ms: i64,
    attempt: u64,
    under_way: Option<(NodeId, i64)>,
    has_ended: bool,
}

/// What a client is told of a push.
pub(super) type Outcome = Result<Vec<(u32, Unwanted)>, ()>;

impl Client {
    pub(super) fn new(n: usize, members: &[NodeId], rng: &mut StdRng) -> Self {
        Self {
            number: u64::try_from(n).expect("there are a few"),
            members: members.to_vec(),
            next_member: n,
            interval_ms: rng.random_range(40..150) * 10,
            next_ms: rng.random_range(0..1_000),
            waiting: VecDeque::new(),
            push: None,
            retry_ms: 0,
            attempt: 0,
            under_way: None,
            has_ended: false,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.has_ended && self.push.is_none() && self.waiting.is_empty()
    }

    fn make_samples(&mut self, now_ms: i64, until_ms: i64, hurries: bool) {
        self.has_ended = now_ms > until_ms;
        if self.has_ended || now_ms < self.next_ms {
            return;
        }
        self.next_ms += if hurries { HURRY_MS } else { self.interval_ms };
        let first = self.number * SERIES;
        self.waiting.extend((first..first + SERIES).map(|number| (series(number), now_ms)));
    }

    /// Those of its samples that newer ones of their series follow.
    fn begin_push(&mut self) -> Vec<Point> {
        if self.push.is_some() || self.waiting.is_empty() {
            return Vec::new();
        }
        let count = self.waiting.len().min(SAMPLES_MAX);
        let points: Vec<Point> = self.waiting.drain(..count).collect();
        self.push = Some(Arc::new(parcel(&points)));
        let newest_ms = points.last().map(|(_, at_ms)| *at_ms);
        points.into_iter().filter(|(_, at_ms)| Some(*at_ms) != newest_ms).collect()
    }

    /// The next of those that are up.
    fn next(&mut self, is_up: &dyn Fn(NodeId) -> bool) -> Option<NodeId> {
        let all = self.members.len();
        let places = (0..all).map(|n| (self.next_member + n) % all);
        let at = places.into_iter().find(|at| is_up(self.members[*at]))?;
        self.next_member = at + 1;
        Some(self.members[at])
    }
}

/// The client of that number does what it is time for.
pub(super) fn step(n: usize, air: &mut Air, is_up: &dyn Fn(NodeId) -> bool) {
    for (attempt, outcome) in wire::responses(n, air) {
        heard(n, attempt, outcome, air);
    }
    let (now_ms, hurries) = (air.now_ms, air.rng.random_ratio(1, 4));
    let client = &mut air.outside.clients[n];
    client.make_samples(now_ms, air.times.samples_ms, hurries);
    let led_on = client.begin_push();
    air.led_on.extend(led_on);
    let client = &air.outside.clients[n];
    // The connection breaks, once it has brought what was said, or nothing was heard for too long.
    let is_answered = wire::has_response(n, client.attempt, &air.outside.wire);
    let client = &mut air.outside.clients[n];
    client.under_way.take_if(|(to, until_ms)| !is_up(*to) && !is_answered || now_ms >= *until_ms);
    let Some(push) = client.push.clone() else { return };
    if client.under_way.is_some() || now_ms < client.retry_ms {
        return;
    }
    let Some(to) = client.next(is_up) else { return };
    client.attempt += 1;
    client.under_way = Some((to, now_ms + TIMEOUT_MS));
    let attempt = client.attempt;
    wire::request(n, attempt, to, push, air);
}

fn heard(n: usize, attempt: u64, outcome: Outcome, air: &mut Air) {
    let (seed, now_ms) = (air.seed, air.now_ms);
    let client = &mut air.outside.clients[n];
    if client.attempt != attempt || client.under_way.take().is_none() {
        return;
    }
    let Ok(unwanted) = outcome else {
        client.retry_ms = now_ms + PAUSE_MS;
        return;
    };
    let push = client.push.take().expect("one is under way");
    assert_eq!(unwanted, [], "seed {seed}: a client that goes forward was told of the past");
    air.expected.extend(push.pieces.iter().map(|piece| (piece.series, piece.timestamp_ms)));
}

/// The field of each sample names its series.
fn parcel(points: &[Point]) -> Parcel {
    let piece = |&(series, timestamp_ms): &Point| Piece {
        series,
        digest: series ^ timestamp_ms.unsigned_abs(),
        timestamp_ms,
        bytes: u32::try_from(FIELD_BYTES).expect("it is small"),
        kind: Kind::Float,
        is_plain: true,
        replica: 0,
    };
    let fields: Vec<u8> = points.iter().flat_map(|(series, _)| series.to_le_bytes()).collect();
    Parcel {
        tenant: TENANT.into(),
        pipeline: 0,
        promise: Promise::Durable,
        replicas: Vec::new(),
        pieces: points.iter().map(piece).collect(),
        fields: Bytes::from(fields),
    }
}
