//! The peer channel: messages too large for a datagram, from member to member over TCP on the port
//! that gossips by UDP. `handshake` proves who is there, `frame` seals what is said, `outgoing` and
//! `incoming` say it and hear it. At most once, and in order while a connection lasts: what is lost
//! is said again by the rules above. This file is the loop around them, which decides nothing.

mod connection;
mod frame;
mod handshake;
mod incoming;
mod meters;
mod outgoing;

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tracing::{debug, warn};

pub use self::frame::{MESSAGE_BYTES_MAX, Topic};
use self::{
    connection::{Connection, admit},
    frame::Refused,
    handshake::{KeyId, Keyring},
    incoming::{Arrivals, Arrived, Incoming},
    meters::Meters,
    outgoing::{Outgoing, Queues, Room},
};
use crate::{
    fleet::{Status, seal::Secret},
    model::member::NodeId,
    runtime::{stop::Stop, tasks},
};

/// Commands beyond that many wait at the sender.
const COMMANDS_MAX: usize = 16;
/// Connections that are not proven yet. One more, and the oldest of them goes: it had the longest
/// time to prove itself, so who only holds connections open keeps no member out.
const UNPROVEN_MAX: usize = 64;
/// Bytes that wait for all members together, and of messages that arrive from all of them. As much
/// as eight of the longest messages, so that some members who hang leave room for the others.
/// Each topic has as much.
const WAITING_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
const ARRIVING_BYTES_MAX: usize = 8 * MESSAGE_BYTES_MAX;
/// Messages of one topic that have arrived and wait to be received. Beyond that, connections wait
/// with what is handed over, and what is asked and answered is thrown away.
const ARRIVED_MAX: usize = 256;
/// An accept in vain, mostly for want of file descriptors, is followed by this pause.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Clone, Debug)]
pub struct ChannelSettings {
    pub cluster: String,
    pub me: NodeId,
    /// The address and port that gossip is bound to.
    pub listen: SocketAddr,
    /// Dialed is with the first, then with the others; believed is any.
    pub secrets: Vec<Secret>,
}

enum Command {
    Secrets(Vec<Secret>),
}

type Task = JoinHandle<Option<()>>;
type Ways = Arc<BTreeMap<NodeId, Queues>>;

#[derive(Clone)]
pub struct Handle {
    queues: watch::Receiver<Ways>,
    commands: mpsc::Sender<Command>,
}

impl Handle {
    /// False where `to` is no member, where too much waits for it already, or for all, and where the
    /// message is longer than its topic allows. True is no promise that it arrives.
    pub fn send(&self, to: NodeId, topic: Topic, message: Bytes) -> bool {
        !is_too_long(to, topic, &message)
            && self.queues.borrow().get(&to).is_some_and(|queues| queues.of(topic).put(message))
    }

    /// The same, but waits for room: for one who has more to say than fits at once.
    pub async fn send_when_room(&self, to: NodeId, topic: Topic, message: Bytes) -> bool {
        if is_too_long(to, topic, &message) {
            return false;
        }
        let queues = self.queues.borrow().get(&to).cloned();
        match queues {
            Some(queues) => queues.of(topic).put_when_room(message).await,
            None => false,
        }
    }

    /// From now on dials with the first of these and believes any; connections by others end. An
    /// empty list changes nothing: there is no channel without a secret.
    pub async fn set_secrets(&self, secrets: Vec<Secret>) {
        // Nobody listens only when the channel has ended, and the agent with it.
        let _ = self.commands.send(Command::Secrets(secrets)).await;
    }
}

/// What members have said of one topic.
pub struct Inbox(mpsc::Receiver<Arrived>);

impl Inbox {
    /// The next message and who it is from; `None` when the channel has ended.
    pub async fn receive(&mut self) -> Option<(NodeId, Bytes)> {
        self.0.recv().await.map(Arrived::taken)
    }
}

/// One a topic. Letters that nobody reads hold up letters alone; of surveys and pushes that nobody
/// reads, what finds no room is thrown away.
pub struct Inboxes {
    pub letters: Inbox,
    pub surveys: Inbox,
    pub pushes: Inbox,
}

pub struct Channel {
    settings: ChannelSettings,
    listener: TcpListener,
    status: watch::Receiver<Arc<Status>>,
    keys: watch::Sender<Arc<Keyring>>,
    queues: watch::Sender<Ways>,
    members: BTreeMap<NodeId, Known>,
    unproven: VecDeque<(Stop, Task)>,
    commands: mpsc::Receiver<Command>,
    admitted_sender: mpsc::Sender<Admitted>,
    admitted: mpsc::Receiver<Admitted>,
    letters: Arrivals,
    surveys: Arrivals,
    pushes: Arrivals,
    room_to_wait: Room,
    meters: Meters,
}

#[cfg(test)]
impl Channel {
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it listens")
    }
}

/// A connection that was dialed here and is proven.
struct Admitted {
    from: NodeId,
    connection: Connection,
}

/// A member: the task that speaks to it, and the one that hears it.
struct Known {
    address: watch::Sender<SocketAddr>,
    outgoing: Stop,
    incoming: Option<Heard>,
}

struct Heard {
    key: KeyId,
    stop: Stop,
    task: Task,
}

impl Channel {
    pub async fn new(
        settings: ChannelSettings,
        status: watch::Receiver<Arc<Status>>,
        registry: &mut Registry,
    ) -> Result<(Handle, Inboxes, Self), String> {
        let keys = Keyring::new(&settings.secrets, &settings.cluster)
            .ok_or("a cluster needs a secret: set `--cluster.secret-file`")?;
        let listener = TcpListener::bind(settings.listen).await.map_err(|error| {
            let listen = settings.listen;
            format!("cluster address `{listen}` can't be listened on by TCP: {error}")
        })?;
        let (queues, queues_seen) = watch::channel(Ways::default());
        let (command_sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (admitted_sender, admitted) = mpsc::channel(UNPROVEN_MAX);
        let ((letters, letters_inbox), (surveys, surveys_inbox)) = (arrivals(), arrivals());
        let (pushes, pushes_inbox) = arrivals();
        let room = || Arc::new(Semaphore::new(WAITING_BYTES_MAX));
        let part = Self {
            settings,
            listener,
            status,
            keys: watch::channel(Arc::new(keys)).0,
            queues,
            members: BTreeMap::new(),
            unproven: VecDeque::new(),
            commands,
            admitted_sender,
            admitted,
            letters,
            surveys,
            pushes,
            room_to_wait: Room { letters: room(), surveys: room(), pushes: room() },
            meters: Meters::new(registry),
        };
        let handle = Handle { queues: queues_seen, commands: command_sender };
        let inboxes =
            Inboxes { letters: letters_inbox, surveys: surveys_inbox, pushes: pushes_inbox };
        Ok((handle, inboxes, part))
    }

    /// Listens, dials and passes on until told to stop.
    pub async fn run(mut self, stop: Stop) {
        // The tasks of connections end with this part, also when it ends early.
        let ended = stop.child();
        self.meet(&ended);
        while !stop.is_raised() {
            tokio::select! {
                accepted = accept(&self.listener) => self.greet(accepted, &ended),
                Some(admitted) = self.admitted.recv() => self.admit(admitted, &ended),
                Some(command) = self.commands.recv() => self.command(command),
                Ok(()) = self.status.changed() => self.meet(&ended),
                () = stop.raised() => {}
            }
        }
        ended.raise();
    }

    /// Has a queue and a task for each member that the fleet knows, where it says they are.
    fn meet(&mut self, ended: &Stop) {
        let status = self.status.borrow_and_update().clone();
        let before = self.members.len();
        self.members.retain(|id, known| {
            let stays = status.facts.contains_key(id);
            if !stays {
                known.outgoing.raise();
                known.incoming.iter().for_each(|heard| heard.stop.raise());
            }
            stays
        });
        let mut queues = None;
        if self.members.len() < before {
            let mut fewer = (**self.queues.borrow()).clone();
            fewer.retain(|id, _| self.members.contains_key(id));
            queues = Some(fewer);
        }
        for (&id, facts) in status.facts.iter().filter(|&(&id, _)| id != self.settings.me) {
            if let Some(known) = self.members.get(&id) {
                known.address.send_if_modified(|address| {
                    let moved = *address != facts.address;
                    *address = facts.address;
                    moved
                });
                continue;
            }
            let (own, known) = self.begin(id, facts.address, ended);
            queues.get_or_insert_with(|| (**self.queues.borrow()).clone()).insert(id, own);
            self.members.insert(id, known);
        }
        if let Some(queues) = queues {
            self.queues.send_replace(Arc::new(queues));
        }
    }

    fn begin(&self, to: NodeId, address: SocketAddr, ended: &Stop) -> (Queues, Known) {
        let (queues, waiting) = Queues::new(&self.room_to_wait);
        let (address, address_seen) = watch::channel(address);
        let outgoing = Outgoing {
            me: self.settings.me,
            to,
            address: address_seen,
            keys: self.keys.subscribe(),
            waiting,
            meters: self.meters.clone(),
        };
        let stop = ended.child();
        tasks::spawn("channel outgoing", outgoing.run(stop.clone()));
        (queues, Known { address, outgoing: stop, incoming: None })
    }

    /// Asks for a proof, beside the loop.
    fn greet(&mut self, stream: TcpStream, ended: &Stop) {
        self.unproven.retain(|(_, task)| !task.is_finished());
        if self.unproven.len() >= UNPROVEN_MAX
            && let Some((oldest, _)) = self.unproven.pop_front()
        {
            self.meters.refused(Refused::TooMany);
            oldest.raise();
        }
        let stop = ended.child();
        let (keys, me) = (self.keys.borrow().clone(), self.settings.me);
        let (admitted, meters) = (self.admitted_sender.clone(), self.meters.clone());
        let stopped = stop.clone();
        let task = tasks::spawn("channel handshake", async move {
            let outcome = tokio::select! {
                outcome = admit(stream, &keys, me) => outcome,
                () = stopped.raised() => return,
            };
            match outcome {
                // Nobody takes it only when the channel has ended.
                Ok((from, connection)) => {
                    let _ = admitted.send(Admitted { from, connection }).await;
                }
                Err(why) => meters.refused(why),
            }
        });
        self.unproven.push_back((stop, task));
    }

    /// Listens to a member. A connection of it that there is already is one that it gave up.
    fn admit(&mut self, admitted: Admitted, ended: &Stop) {
        let Admitted { from, connection } = admitted;
        let key = connection.key;
        let Some(known) = self.members.get_mut(&from) else {
            // It has heard of this node earlier than this one of it, and tries again.
            debug!(member_id = %from, "a connection from who is no member yet");
            self.meters.refused(Refused::UnknownMember);
            return;
        };
        if !self.keys.borrow().holds(key) {
            // The secret was withdrawn during the handshake.
            self.meters.refused(Refused::UnknownKey);
            return;
        }
        let before = known.incoming.take().map(|heard| {
            heard.stop.raise();
            heard.task
        });
        let incoming = Incoming {
            from,
            letters: self.letters.clone(),
            surveys: self.surveys.clone(),
            pushes: self.pushes.clone(),
            meters: self.meters.clone(),
        };
        let stop = ended.child();
        let task = incoming.run(connection, before, stop.clone());
        let task = tasks::spawn("channel incoming", task);
        known.incoming = Some(Heard { key, stop, task });
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Secrets(secrets) => {
                let Some(keys) = Keyring::new(&secrets, &self.settings.cluster) else { return };
                let heard = self.members.values().filter_map(|known| known.incoming.as_ref());
                heard.filter(|heard| !keys.holds(heard.key)).for_each(|heard| heard.stop.raise());
                self.keys.send_replace(Arc::new(keys));
            }
        }
    }
}

fn arrivals() -> (Arrivals, Inbox) {
    let (arrived, inbox) = mpsc::channel(ARRIVED_MAX);
    (Arrivals { arrived, room: Arc::new(Semaphore::new(ARRIVING_BYTES_MAX)) }, Inbox(inbox))
}

fn is_too_long(to: NodeId, topic: Topic, message: &Bytes) -> bool {
    let is_too_long = message.len() > topic.bytes_max();
    if is_too_long {
        warn!(member_id = %to, bytes = message.len(), "a message is too long for the peer channel");
    }
    is_too_long
}

/// The next connection. An error is of one, or of a moment: the next may be well.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn pause_after(error: &io::Error) {
    debug!(%error, "a connection can't be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

#[cfg(test)]
mod tests;
