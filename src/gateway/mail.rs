//! What other members say: parcels for this member, which go to the intake, copies of what they own,
//! and answers to what it has sent.

use tokio::{sync::mpsc, time::Instant};
use tracing::debug;

use crate::{
    fleet::channel::{self, Inbox, Topic},
    gateway::{
        addresses::Addresses,
        copies::{CopyMail, Copying},
        forward::Waiting,
        intake::{Order, Reply},
        parcel::{Answer, Message, Refusal},
    },
    runtime::stop::Stop,
};

pub(super) struct Mail {
    pub(super) channel: channel::Handle,
    pub(super) inbox: Inbox,
    pub(super) intake: mpsc::Sender<Order>,
    pub(super) copies: mpsc::Sender<CopyMail>,
    pub(super) waiting: Waiting,
    pub(super) addresses: Addresses,
}

impl Mail {
    pub(super) async fn run(mut self, stop: Stop) {
        while !stop.is_raised() {
            let (from, bytes) = tokio::select! {
                Some(mail) = self.inbox.receive() => mail,
                () = stop.raised() => return,
            };
            match Message::read(&bytes) {
                Some(Message::Push { number, until_ms, parcel, .. }) => {
                    let order = Order { parcel, until_ms, reply: Reply::Peer { to: from, number } };
                    if self.intake.try_send(order).is_err() {
                        let full = Message::answer(number, Answer::Refused(Refusal::Full));
                        self.channel.send(from, Topic::Push, full);
                    }
                }
                Some(Message::Answer { number, answer }) => {
                    self.waiting.heard(from, number, answer);
                }
                Some(Message::Copies { number, destination, records }) => {
                    let copying = Copying::Keep { number, destination, records };
                    if self.copies.try_send((from, copying)).is_err() {
                        let busy = Message::answer(number, Answer::Refused(Refusal::NotNow));
                        self.channel.send(from, Topic::Push, busy);
                    }
                }
                // Who hears nothing of these asks again.
                Some(Message::AskDone { destination, numbers }) => {
                    let _ = self.copies.try_send((from, Copying::AskDone { destination, numbers }));
                }
                Some(Message::Done { destination, numbers }) => {
                    let _ = self.copies.try_send((from, Copying::Done { destination, numbers }));
                }
                Some(Message::Listens { url }) => self.addresses.heard(from, url, Instant::now()),
                // Whoever sent a push hears nothing, and answers its client that it is not kept.
                None => debug!(member_id = %from, "a push came in a form that is not known"),
            }
        }
    }
}
