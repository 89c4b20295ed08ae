//! What one member has to say to this node: the task that reads its connection, answers its pings,
//! and hands its messages up in their order.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinHandle,
};
use tracing::info;

use crate::{
    fleet::channel::{
        connection::{self, Connection, Fault},
        frame::{Kind, Refused, Topic},
        meters::{DirectionMeters, Meters},
    },
    model::member::NodeId,
    runtime::stop::Stop,
};

/// Who dialed asks every few seconds whether we are there; after so long without, it is not.
const SILENCE: Duration = Duration::from_secs(15);

/// A message that has arrived, and the room that it takes until it is received.
pub(super) struct Arrived {
    from: NodeId,
    message: Bytes,
    _room: OwnedSemaphorePermit,
}

impl Arrived {
    pub(super) fn taken(self) -> (NodeId, Bytes) {
        (self.from, self.message)
    }
}

/// Where the messages of one topic go, and the room for their bytes; shared by all connections.
#[derive(Clone)]
pub(super) struct Arrivals {
    pub(super) arrived: mpsc::Sender<Arrived>,
    pub(super) room: Arc<Semaphore>,
}

pub(super) struct Incoming {
    pub(super) from: NodeId,
    pub(super) letters: Arrivals,
    pub(super) surveys: Arrivals,
    pub(super) pushes: Arrivals,
    pub(super) meters: Meters,
}

impl Incoming {
    /// Until told to stop, or until the connection ends. Begins when `before`, the connection that
    /// the member had until now, has ended, so that what it said earlier comes first.
    pub(super) async fn run(
        self,
        connection: Connection,
        before: Option<JoinHandle<Option<()>>>,
        stop: Stop,
    ) {
        if let Some(before) = before {
            // It fails only where that task was made to end.
            let _ = before.await;
        }
        let meters = self.meters.incoming();
        let _connected = meters.connected();
        let fault = tokio::select! {
            fault = self.listen(connection, &meters) => fault,
            () = stop.raised() => return,
        };
        match fault {
            Fault::Ended => {}
            Fault::Refused(why) => {
                self.meters.refused(why);
                info!(member_id = %self.from, error = %fault, "a connection from a member ended");
            }
            Fault::Broken(_) | Fault::Silent => {
                info!(member_id = %self.from, error = %fault, "a connection from a member ended");
            }
        }
    }

    async fn listen(&self, mut connection: Connection, meters: &DirectionMeters) -> Fault {
        let heard = async {
            connection::welcome(&mut connection).await?;
            let Connection { mut stream, mut sealing, mut opening, key: _ } = connection;
            loop {
                let head = connection::read_head(&mut stream, SILENCE).await?;
                let room = self.room_for(head.0.kind, head.0.bytes).await;
                let body = connection::read_body(&mut stream, &mut opening, head).await?;
                match head.0.kind {
                    Kind::Message(topic) => {
                        meters.message(head.0.frame_bytes());
                        self.hand_up(topic, Bytes::from(body), room).await?;
                    }
                    Kind::Ping => {
                        meters.bytes(head.0.frame_bytes());
                        connection::write_frame(&mut stream, &mut sealing, Kind::Pong, &[]).await?;
                    }
                    Kind::Pong => return Err(Fault::Refused(Refused::UnknownKind)),
                }
            }
        };
        match heard.await {
            Ok(never) => never,
            Err(fault) => fault,
        }
    }

    /// Room for what is about to be read. For what is handed over the reading waits, and the sender
    /// with it; who stops in the midst of a message keeps its room for some seconds. For a survey
    /// or a push nothing waits: where there is no room it is read and thrown away, and whoever asked
    /// is told nothing.
    async fn room_for(&self, kind: Kind, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let bytes = u32::try_from(bytes).expect("a message is no longer than its maximum");
        match kind {
            Kind::Message(Topic::Ownership) => {
                let room = Arc::clone(&self.letters.room).acquire_many_owned(bytes).await;
                Some(room.expect("nobody closes the room"))
            }
            Kind::Message(Topic::Survey) => {
                Arc::clone(&self.surveys.room).try_acquire_many_owned(bytes).ok()
            }
            Kind::Message(Topic::Push) => {
                Arc::clone(&self.pushes.room).try_acquire_many_owned(bytes).ok()
            }
            Kind::Ping | Kind::Pong => None,
        }
    }

    async fn hand_up(
        &self,
        topic: Topic,
        message: Bytes,
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Fault> {
        let Some(room) = room else {
            self.meters.unread();
            return Ok(());
        };
        let arrived = Arrived { from: self.from, message, _room: room };
        match topic {
            Topic::Ownership => self.letters.arrived.send(arrived).await.map_err(|_| Fault::Ended),
            Topic::Survey => {
                self.try_hand_up(&self.surveys, arrived);
                Ok(())
            }
            Topic::Push => {
                self.try_hand_up(&self.pushes, arrived);
                Ok(())
            }
        }
    }

    fn try_hand_up(&self, to: &Arrivals, arrived: Arrived) {
        if to.arrived.try_send(arrived).is_err() {
            self.meters.unread();
        }
    }
}
