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
        frame::{Kind, Refused},
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

pub(super) struct Incoming {
    pub(super) from: NodeId,
    pub(super) arrived: mpsc::Sender<Arrived>,
    /// For the bytes of messages, shared by all connections.
    pub(super) room: Arc<Semaphore>,
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
                info!(member = %self.from, %fault, "a connection from a member ended");
            }
            Fault::Broken(_) | Fault::Silent => {
                info!(member = %self.from, %fault, "a connection from a member ended");
            }
        }
    }

    async fn listen(&self, mut connection: Connection, meters: &DirectionMeters) -> Fault {
        let heard = async {
            connection::welcome(&mut connection).await?;
            let Connection { mut stream, mut sealing, mut opening, key: _ } = connection;
            loop {
                let head = connection::read_head(&mut stream, SILENCE).await?;
                // Where there is none, the reading waits, and the sender with it. Who stops in the
                // midst of a message keeps its room for some seconds.
                let room = self.room_for(head.0.bytes).await;
                let body = connection::read_body(&mut stream, &mut opening, head).await?;
                match head.0.kind {
                    Kind::Message => {
                        meters.message(head.0.frame_bytes());
                        let message = Bytes::from(body);
                        let arrived = Arrived { from: self.from, message, _room: room };
                        if self.arrived.send(arrived).await.is_err() {
                            return Err(Fault::Ended);
                        }
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

    async fn room_for(&self, bytes: usize) -> OwnedSemaphorePermit {
        let bytes = u32::try_from(bytes).expect("a message is no longer than its maximum");
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await;
        room.expect("nobody closes the room")
    }
}
