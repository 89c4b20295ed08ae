//! What is under way between clients and members, and among members as the peer channel carries it:
//! at most once, and in order while a connection lasts.

use std::{collections::BTreeMap, ops::Range, sync::Arc};

use rand::RngExt;

use crate::{
    gateway::{
        parcel::{Message, Parcel},
        simulation::{
            Air,
            clients::Outcome,
            delay_ms,
            delivery::{ANSWER_WAIT_MS, Delivery},
        },
    },
    model::member::NodeId,
};

/// Until a member is dialed again that was not there.
const REDIAL_MS: i64 = 1_000;
/// Between a client and a member.
const NEAR_MS_MAX: i64 = 30;
/// Between members.
const FAR_MS_MAX: i64 = 40;
const SLOW_MS_MAX: i64 = 8_000;
/// When the sender is about to give it up, or just has.
const GIVEN_UP_MS: Range<i64> = ANSWER_WAIT_MS - 100..ANSWER_WAIT_MS + 50;

pub(super) enum Post {
    Request { client: usize, attempt: u64, to: NodeId, push: Arc<Parcel> },
    Message { from: NodeId, to: NodeId, message: Message },
    Response { client: usize, attempt: u64, outcome: Outcome },
}

#[derive(Default)]
pub(super) struct Wire {
    posts: Vec<(i64, Post)>,
    /// When the last that is under way between two members arrives.
    last_ms: BTreeMap<(NodeId, NodeId), i64>,
}

impl Post {
    fn to(&self) -> Option<NodeId> {
        match self {
            Self::Request { to, .. } | Self::Message { to, .. } => Some(*to),
            Self::Response { .. } => None,
        }
    }
}

pub(super) fn request(client: usize, attempt: u64, to: NodeId, push: Arc<Parcel>, air: &mut Air) {
    let due_ms = air.now_ms + delay_ms(NEAR_MS_MAX, air);
    let post = Post::Request { client, attempt, to, push };
    air.outside.wire.posts.push((due_ms, post));
}

pub(super) fn respond(done: Delivery, air: &mut Air) {
    let Delivery { client, attempt, outcome, .. } = done;
    let outcome = outcome.expect("it is done");
    if air.has_network_trouble() && air.rng.random_ratio(1, 20) {
        return;
    }
    let due_ms = air.now_ms + delay_ms(NEAR_MS_MAX, air);
    air.outside.wire.posts.push((due_ms, Post::Response { client, attempt, outcome }));
}

/// What can't be brought over waits at its sender, or was on its way and is lost.
pub(super) fn send(from: NodeId, to: NodeId, message: Message, air: &mut Air) {
    let cut_ms = air.cuts.get(&(from, to)).copied().unwrap_or_default();
    let is_cut = air.now_ms < cut_ms;
    let trouble = air.has_network_trouble();
    if (is_cut || trouble) && air.rng.random_ratio(1, if is_cut { 2 } else { 10 }) {
        return;
    }
    let is_slow = trouble && air.rng.random_ratio(1, 20);
    let delay_ms = match is_slow {
        false => delay_ms(FAR_MS_MAX, air),
        true if air.rng.random_ratio(1, 2) => air.rng.random_range(GIVEN_UP_MS),
        true => air.rng.random_range(0..SLOW_MS_MAX),
    };
    let last_ms = air.outside.wire.last_ms.entry((from, to)).or_default();
    *last_ms = (air.now_ms.max(cut_ms) + delay_ms).max(*last_ms);
    air.outside.wire.posts.push((*last_ms, Post::Message { from, to, message }));
}

pub(super) fn arrived(at: NodeId, air: &mut Air) -> Vec<Post> {
    let now_ms = air.now_ms;
    let is_there = |(due_ms, post): &mut (i64, Post)| *due_ms <= now_ms && post.to() == Some(at);
    let posts = air.outside.wire.posts.extract_if(.., is_there);
    posts.map(|(_, post)| post).collect()
}

pub(super) fn has_response(to: usize, of: u64, wire: &Wire) -> bool {
    let is_it = |post: &Post| matches!(post, Post::Response { client, attempt, .. } if (*client, *attempt) == (to, of));
    wire.posts.iter().any(|(_, post)| is_it(post))
}

pub(super) fn responses(to: usize, air: &mut Air) -> Vec<(u64, Outcome)> {
    let now_ms = air.now_ms;
    let is_there = |(due_ms, post): &mut (i64, Post)| {
        *due_ms <= now_ms && matches!(post, Post::Response { client, .. } if *client == to)
    };
    let posts = air.outside.wire.posts.extract_if(.., is_there);
    let response = |(_, post)| match post {
        Post::Response { attempt, outcome, .. } => Some((attempt, outcome)),
        Post::Request { .. } | Post::Message { .. } => None,
    };
    posts.filter_map(response).collect()
}

/// Of what comes to a member that is down, some still waits at its sender.
pub(super) fn meet_the_dead(air: &mut Air, is_up: &dyn Fn(NodeId) -> bool) {
    let now_ms = air.now_ms;
    let is_there = |(due_ms, post): &mut (i64, Post)| {
        *due_ms <= now_ms && post.to().is_some_and(|to| !is_up(to))
    };
    let posts: Vec<(i64, Post)> = air.outside.wire.posts.extract_if(.., is_there).collect();
    for (_, post) in posts {
        if matches!(post, Post::Message { .. }) && air.rng.random_ratio(1, 2) {
            air.outside.wire.posts.push((now_ms + REDIAL_MS, post));
        }
    }
}
