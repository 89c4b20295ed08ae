//! What this node has to say to one member: a bounded queue, and the task that dials when something
//! waits in it and writes it out in order. One a member, so that one that hangs stops nobody else.

use std::{net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    net::tcp::OwnedReadHalf,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::{Instant, sleep_until},
};
use tracing::{info, warn};

use crate::{
    fleet::channel::{
        connection::{self, Connection, Fault},
        frame::{Kind, MESSAGE_BYTES_MAX, Opening, Refused, Topic},
        handshake::Keyring,
        meters::Meters,
    },
    model::member::NodeId,
    runtime::stop::Stop,
};

/// Messages of one topic that wait for one member; beyond that many `send` says no.
pub(super) const QUEUE_MESSAGES_MAX: usize = 1024;
/// Their bytes: as many as one message may have.
pub(super) const QUEUE_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// How often the other side is asked whether it is there.
const PING: Duration = Duration::from_secs(3);
/// It has so long to say yes.
const SILENCE: Duration = Duration::from_secs(10);
/// A connection over which nothing was said for so long is ended: of 100 members few have something
/// to say to each other at a time.
const IDLE: Duration = Duration::from_secs(60);
/// After a dial in vain the next one waits, twice as long each time …
const BACKOFF: Duration = Duration::from_millis(100);
/// … up to this: whoever is back is wanted at once, and a dial costs next to nothing.
const BACKOFF_MAX: Duration = Duration::from_secs(1);
/// So many dials in vain are told in the log. A member that dies is not dialed so often.
const FAILURES_TOLD: u32 = 10;

/// A message, and the room that it takes.
pub(super) struct Waiting {
    topic: Topic,
    message: Bytes,
    _room: [OwnedSemaphorePermit; 2],
}

/// The sending ends of one member's queues, one a topic.
#[derive(Clone)]
pub(super) struct Queues {
    letters: Queue,
    surveys: Queue,
    pushes: Queue,
}

/// What waits for one member, by topic.
pub(super) struct Received {
    letters: mpsc::Receiver<Waiting>,
    surveys: mpsc::Receiver<Waiting>,
    pushes: mpsc::Receiver<Waiting>,
}

#[derive(Clone)]
pub(super) struct Queue {
    topic: Topic,
    waiting: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    /// Shared by the queues of all members for the same topic.
    room_of_all: Arc<Semaphore>,
}

/// For the messages of all members that wait, by topic.
pub(super) struct Room {
    pub(super) letters: Arc<Semaphore>,
    pub(super) surveys: Arc<Semaphore>,
    pub(super) pushes: Arc<Semaphore>,
}

impl Queues {
    pub(super) fn new(room: &Room) -> (Self, Received) {
        let (letters, letters_received) = Queue::new(Topic::Ownership, &room.letters);
        let (surveys, surveys_received) = Queue::new(Topic::Survey, &room.surveys);
        let (pushes, pushes_received) = Queue::new(Topic::Push, &room.pushes);
        let received = Received {
            letters: letters_received,
            surveys: surveys_received,
            pushes: pushes_received,
        };
        (Self { letters, surveys, pushes }, received)
    }

    pub(super) fn of(&self, topic: Topic) -> &Queue {
        match topic {
            Topic::Ownership => &self.letters,
            Topic::Survey => &self.surveys,
            Topic::Push => &self.pushes,
        }
    }
}

impl Queue {
    fn new(topic: Topic, room_of_all: &Arc<Semaphore>) -> (Self, mpsc::Receiver<Waiting>) {
        let (waiting, received) = mpsc::channel(QUEUE_MESSAGES_MAX);
        let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX));
        (Self { topic, waiting, room, room_of_all: Arc::clone(room_of_all) }, received)
    }

    /// False where there is no room for it.
    pub(super) fn put(&self, message: Bytes) -> bool {
        let Ok(bytes) = u32::try_from(message.len()) else { return false };
        let room = |of: &Arc<Semaphore>| Arc::clone(of).try_acquire_many_owned(bytes);
        let (Ok(one), Ok(other)) = (room(&self.room), room(&self.room_of_all)) else {
            return false;
        };
        let topic = self.topic;
        self.waiting.try_send(Waiting { topic, message, _room: [one, other] }).is_ok()
    }

    /// Waits for room. False where the member is none any more.
    pub(super) async fn put_when_room(&self, message: Bytes) -> bool {
        let Ok(bytes) = u32::try_from(message.len()) else { return false };
        let room = async |of: &Arc<Semaphore>| Arc::clone(of).acquire_many_owned(bytes).await;
        // The member's own room comes first: one that hangs takes nothing of what all share.
        let Ok(one) = room(&self.room).await else { return false };
        let Ok(other) = room(&self.room_of_all).await else { return false };
        let topic = self.topic;
        self.waiting.send(Waiting { topic, message, _room: [one, other] }).await.is_ok()
    }
}

impl Received {
    /// What is handed over goes first, then what is pushed, then what is asked and answered. `None`
    /// when nobody can put anything in any more: all ends are dropped together.
    async fn next(&mut self) -> Option<Waiting> {
        tokio::select! {
            biased;
            letter = self.letters.recv() => letter,
            Some(push) = self.pushes.recv() => Some(push),
            Some(survey) = self.surveys.recv() => Some(survey),
        }
    }

    /// Throws away what waits, and tells how much that was.
    fn drain(&mut self) -> u64 {
        let mut dropped = 0;
        for queue in [&mut self.letters, &mut self.surveys, &mut self.pushes] {
            while queue.try_recv().is_ok() {
                dropped += 1;
            }
        }
        dropped
    }
}

pub(super) struct Outgoing {
    pub(super) me: NodeId,
    pub(super) to: NodeId,
    pub(super) address: watch::Receiver<SocketAddr>,
    pub(super) keys: watch::Receiver<Arc<Keyring>>,
    pub(super) waiting: Received,
    pub(super) meters: Meters,
}

impl Outgoing {
    /// Until told to stop, or until nobody can put anything into the queue any more.
    pub(super) async fn run(mut self, stop: Stop) {
        let mut failures = 0;
        loop {
            let first = tokio::select! {
                first = self.waiting.next() => first,
                () = stop.raised() => return,
            };
            let Some(first) = first else { return };
            let dialed = tokio::select! {
                dialed = self.dial() => dialed,
                () = stop.raised() => return,
            };
            match dialed {
                Ok(connection) => {
                    if failures >= FAILURES_TOLD {
                        info!(member_id = %self.to, "a member's peer channel is reached again");
                    }
                    failures = 0;
                    tokio::select! {
                        fault = self.talk(connection, first) => self.tell(fault),
                        () = stop.raised() => return,
                    }
                }
                Err(fault) => {
                    failures += 1;
                    self.give_up(first);
                    self.tell_failure(failures, &fault);
                    let doublings = failures.min(10) - 1;
                    let pause = (BACKOFF * (1 << doublings)).min(BACKOFF_MAX);
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stop.raised() => return,
                    }
                }
            }
        }
    }

    async fn dial(&mut self) -> Result<Connection, Fault> {
        let (address, keys) = (*self.address.borrow_and_update(), self.keys.borrow().clone());
        connection::dial(&keys, self.me, self.to, address).await
    }

    /// What waited is thrown away: the rules above say it again, fresh, while what is old by the
    /// time that the member is back would only keep it busy.
    fn give_up(&mut self, first: Waiting) {
        drop(first);
        self.meters.dropped(1 + self.waiting.drain());
    }

    fn tell_failure(&self, failures: u32, fault: &Fault) {
        if let Fault::Refused(why) = fault {
            self.meters.refused(*why);
        }
        if failures == FAILURES_TOLD {
            let (address, member_id) = (*self.address.borrow(), self.to);
            warn!(
                %member_id, %address, error = %fault,
                "a member can't be reached by TCP on its gossip's port, or shares no secret with us"
            );
        }
    }

    /// Ends with why it could not go on, or `None` where it was to end.
    async fn talk(&mut self, connection: Connection, first: Waiting) -> Option<Fault> {
        let Connection { stream, mut sealing, opening, key } = connection;
        let meters = self.meters.outgoing();
        let _connected = meters.connected();
        let (reader, mut writer) = stream.into_split();
        let (alive_sender, alive) = watch::channel(Instant::now());
        let mut hearing = pin!(hear(reader, opening, alive_sender));
        let mut next = Some(first);
        let mut said = Instant::now();
        let mut ping_due = said + PING;
        // When the oldest ping was written that is not answered.
        let mut asked: Option<Instant> = None;
        loop {
            if let Some(Waiting { topic, message, _room }) = next.take() {
                let kind = Kind::Message(topic);
                let written = connection::write_frame(&mut writer, &mut sealing, kind, &message);
                match written.await {
                    Ok(bytes) => meters.message(bytes),
                    Err(fault) => return Some(fault),
                }
                said = Instant::now();
            }
            tokio::select! {
                // What was heard comes before the look at whether anything was.
                biased;
                fault = &mut hearing => return Some(fault),
                Ok(()) = self.address.changed() => return None,
                Ok(()) = self.keys.changed() => {
                    if !self.keys.borrow().holds(key) {
                        return None;
                    }
                }
                () = sleep_until(ping_due) => {
                    let now = Instant::now();
                    if now >= said + IDLE {
                        return None;
                    }
                    asked = asked.filter(|&asked| *alive.borrow() < asked);
                    if asked.is_some_and(|asked| now >= asked + SILENCE) {
                        return Some(Fault::Silent);
                    }
                    ping_due = now + PING;
                    asked.get_or_insert(now);
                    let written =
                        connection::write_frame(&mut writer, &mut sealing, Kind::Ping, &[]);
                    match written.await {
                        Ok(bytes) => meters.bytes(bytes),
                        Err(fault) => return Some(fault),
                    }
                }
                waiting = self.waiting.next() => match waiting {
                    Some(waiting) => next = Some(waiting),
                    None => return None,
                },
            }
        }
    }

    fn tell(&self, fault: Option<Fault>) {
        if let Some(Fault::Refused(why)) = fault {
            self.meters.refused(why);
        }
        if let Some(fault) = fault {
            info!(member_id = %self.to, error = %fault, "a connection to a member ended");
        }
    }
}

/// Notes each sign of life. Ends only when the connection does.
async fn hear(
    mut reader: OwnedReadHalf,
    mut opening: Opening,
    alive: watch::Sender<Instant>,
) -> Fault {
    loop {
        let read = async {
            // Whether it is silent for too long is for who asks to judge.
            let head = connection::read_head(&mut reader, Duration::MAX).await?;
            match head.0.kind {
                Kind::Pong => connection::read_body(&mut reader, &mut opening, head).await,
                Kind::Ping | Kind::Message(_) => Err(Fault::Refused(Refused::UnknownKind)),
            }
        };
        match read.await {
            Ok(_) => alive.send_replace(Instant::now()),
            Err(fault) => return fault,
        };
    }
}
