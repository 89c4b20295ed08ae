//! Copies of what other members own, for the case that they die: kept in the queue that they would
//! leave by then, until their owner, asked again and again, has sent them. And the answers to those who
//! have copies of what is this member's. A shell around the outbox, which knows what is where.

use std::sync::Arc;

use futures_util::{StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::{
    sync::{mpsc, oneshot},
    time::{Duration, MissedTickBehavior, interval},
};
use tracing::debug;

use crate::{
    fleet::channel::{self, Topic},
    gateway::parcel::{Answer, Exceptions, Message, Refusal},
    model::member::NodeId,
    outbox::{
        self, NotKept,
        lines::{CopyNumber, LineOrder, Numbered},
    },
    runtime::stop::Stop,
};

/// Messages of other members that wait; one more is refused, and comes again.
const WAITING_MAX: usize = 64;
/// Messages whose copies are on their way to the disk; one more waits.
const KEEPING_MAX: usize = 64;
/// How often owners are asked. What an owner has sent in the time before its death is sent again.
const ASK: Duration = Duration::from_millis(100);

/// What another member wants.
pub(super) enum Copying {
    Keep { number: u64, destination: Arc<str>, records: Vec<Numbered> },
    AskDone { destination: Arc<str>, numbers: Vec<CopyNumber> },
    Done { destination: Arc<str>, numbers: Vec<u64> },
}

/// From whom, and what.
pub(super) type CopyMail = (NodeId, Copying);

type Kept = (NodeId, u64, Answer);

pub(super) struct Copies {
    outbox: outbox::Handle,
    channel: channel::Handle,
    mail: mpsc::Receiver<CopyMail>,
    keeping: FuturesUnordered<BoxFuture<'static, Kept>>,
}

impl Copies {
    pub(super) fn new(
        outbox: outbox::Handle,
        channel: channel::Handle,
    ) -> (mpsc::Sender<CopyMail>, Self) {
        let (sender, mail) = mpsc::channel(WAITING_MAX);
        (sender, Self { outbox, channel, mail, keeping: FuturesUnordered::new() })
    }

    pub(super) async fn run(mut self, stop: Stop) {
        let mut asks = interval(ASK);
        asks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_raised() {
            let has_room = self.keeping.len() < KEEPING_MAX;
            tokio::select! {
                Some((from, copying)) = self.mail.recv(), if has_room => {
                    stop.during(self.hear(from, copying)).await;
                }
                Some((to, number, answer)) = self.keeping.next() => {
                    self.channel.send(to, Topic::Push, Message::answer(number, answer));
                }
                _ = asks.tick() => stop.during(self.ask_owners()).await,
                () = stop.raised() => {}
            }
        }
    }

    async fn hear(&mut self, from: NodeId, copying: Copying) {
        match copying {
            Copying::Keep { number, destination, records } => {
                let outbox = self.outbox.clone();
                let keeping =
                    async move { (from, number, keep(&outbox, from, &destination, records).await) };
                self.keeping.push(Box::pin(keeping));
            }
            Copying::AskDone { destination, numbers: asked } => {
                let (answer, answered) = oneshot::channel();
                let done = LineOrder::Done { by: from, asked, answer };
                self.outbox.order(&destination, vec![done]).await;
                // Without such a destination nothing is known of them.
                let numbers = answered.await.unwrap_or_default();
                if !numbers.is_empty() {
                    let done = Message::Done { destination, numbers }.bytes();
                    self.channel.send(from, Topic::Push, done);
                }
            }
            Copying::Done { destination, numbers } => {
                let discard = LineOrder::Discard { owner: from, numbers };
                self.outbox.order(&destination, vec![discard]).await;
            }
        }
    }

    /// Of the dead nothing is asked: ownership sees to what they have left here.
    async fn ask_owners(&mut self) {
        for destination in self.outbox.destinations() {
            let (answer, answered) = oneshot::channel();
            self.outbox.order(&destination, vec![LineOrder::Copies { answer }]).await;
            for (owner, numbers) in answered.await.unwrap_or_default() {
                let destination = Arc::clone(&destination);
                let ask = Message::AskDone { destination, numbers }.bytes();
                self.channel.send(owner, Topic::Push, ask);
            }
        }
    }
}

async fn keep(
    outbox: &outbox::Handle,
    from: NodeId,
    destination: &str,
    records: Vec<Numbered>,
) -> Answer {
    let elsewhere = records.first().map(|record| record.batch.stream.slot());
    match outbox.keep_copies(destination, from, records).await {
        Some(Ok(())) => Answer::Kept(Exceptions::default()),
        None => Answer::Kept(Exceptions {
            elsewhere: elsewhere.into_iter().collect(),
            ..Exceptions::default()
        }),
        Some(Err(NotKept::Full)) => Answer::Refused(Refusal::Full),
        Some(Err(NotKept::Disk(error))) => {
            debug!(error, "copies can't be kept on disk");
            Answer::Refused(Refusal::Disk)
        }
        Some(Err(NotKept::Ended | NotKept::BadTenant)) => Answer::Refused(Refusal::NotNow),
    }
}
