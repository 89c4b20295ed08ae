//! A connection before and after its proof: the handshake over a socket, and frames read and
//! written. Every wait has its end here, so that a peer that hangs costs seconds and no more.

use std::{fmt, future::Future, io, net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    fleet::{
        channel::{
            frame::{HEAD_BYTES, Head, Kind, Opening, Refused, Sealing, TAG_BYTES},
            handshake::{
                ANSWER_BYTES, Dialing, HELLO_BYTES, Key, KeyId, Keyring, Keys, Listening,
                PROOF_BYTES,
            },
        },
        node_id::chance,
    },
    model::member::NodeId,
};

/// A host that does not even answer a dial in that time is not there.
const DIAL: Duration = Duration::from_secs(3);
/// From the accepted dial to the proof. A stranger costs a socket for no longer.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// Nothing of a frame could be written, or nothing more of one read, for so long: the peer hangs,
/// or is gone without a word. A slow network is not taken for that, as it does move.
const STALL: Duration = Duration::from_secs(10);

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) sealing: Sealing,
    pub(super) opening: Opening,
    /// The secret that it was proven by.
    pub(super) key: KeyId,
}

/// Why a connection ended, or did not come about.
#[derive(Debug)]
pub(super) enum Fault {
    /// By this node.
    Refused(Refused),
    Broken(io::Error),
    /// The other side ended it, between two frames.
    Ended,
    Silent,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) => write!(f, "not believed: {}", why.reason()),
            Self::Broken(error) => error.fmt(f),
            Self::Ended => f.write_str("ended by the other side"),
            Self::Silent => f.write_str("the other side does not answer"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

impl From<Refused> for Fault {
    fn from(why: Refused) -> Self {
        Self::Refused(why)
    }
}

/// To `to` at `address`, with the first secret that it knows. Who does not know one says nothing
/// about it but ends the connection, so that the next one is tried.
pub(super) async fn dial(
    keys: &Keyring,
    me: NodeId,
    to: NodeId,
    address: SocketAddr,
) -> Result<Connection, Fault> {
    let mut outcome = Err(Fault::Ended);
    for key in &keys.keys {
        let stream = within(DIAL, TcpStream::connect(address)).await?;
        outcome = within(HANDSHAKE, introduce(stream, key, me, to)).await;
        if !matches!(outcome, Err(Fault::Ended)) {
            break;
        }
    }
    outcome
}

async fn introduce(
    mut stream: TcpStream,
    key: &Key,
    me: NodeId,
    to: NodeId,
) -> Result<Connection, Fault> {
    stream.set_nodelay(true)?;
    let dialing = Dialing::new(key, me, to, &chance());
    let mut answer = [0; ANSWER_BYTES];
    let answered = async {
        stream.write_all(dialing.hello()).await?;
        stream.read_exact(&mut answer).await
    };
    answered.await.map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe => Fault::Ended,
        _ => Fault::Broken(error),
    })?;
    let (proof, keys) = dialing.answered(&answer)?;
    stream.write_all(&proof).await?;
    let mut connection = connection(stream, keys);
    let head = read_head(&mut connection.stream, HANDSHAKE).await?;
    read_body(&mut connection.stream, &mut connection.opening, head).await?;
    match head.0.kind {
        Kind::Pong => Ok(connection),
        Kind::Ping | Kind::Message(_) => Err(Refused::UnknownKind.into()),
    }
}

/// Tells who dialed that it is believed, and a member: nothing is said to anyone before that.
pub(super) async fn welcome(connection: &mut Connection) -> Result<usize, Fault> {
    write_frame(&mut connection.stream, &mut connection.sealing, Kind::Pong, &[]).await
}

/// Who it is that dialed.
pub(super) async fn admit(
    stream: TcpStream,
    keys: &Keyring,
    me: NodeId,
) -> Result<(NodeId, Connection), Refused> {
    match within(HANDSHAKE, listen(stream, keys, me)).await {
        Ok(admitted) => Ok(admitted),
        Err(Fault::Refused(why)) => Err(why),
        Err(Fault::Broken(_) | Fault::Ended) => Err(Refused::Closed),
        Err(Fault::Silent) => Err(Refused::Late),
    }
}

async fn listen(
    mut stream: TcpStream,
    keys: &Keyring,
    me: NodeId,
) -> Result<(NodeId, Connection), Fault> {
    stream.set_nodelay(true)?;
    let mut hello = [0; HELLO_BYTES];
    stream.read_exact(&mut hello).await?;
    let (listening, answer) = Listening::new(keys, me, &hello, &chance())?;
    stream.write_all(&answer).await?;
    let mut proof = [0; PROOF_BYTES];
    stream.read_exact(&mut proof).await?;
    let (from, keys) = listening.proven(&proof)?;
    Ok((from, connection(stream, keys)))
}

fn connection(stream: TcpStream, keys: Keys) -> Connection {
    Connection { stream, sealing: keys.sealing, opening: keys.opening, key: keys.id }
}

/// The head of the next frame, waited for no longer than `patience`.
pub(super) async fn read_head(
    reader: &mut (impl AsyncRead + Unpin),
    patience: Duration,
) -> Result<(Head, [u8; HEAD_BYTES]), Fault> {
    let mut head = [0; HEAD_BYTES];
    let first = within(patience, reader.read(&mut head[..1])).await?;
    if first == 0 {
        return Err(Fault::Ended);
    }
    read_whole(reader, &mut head[1..]).await?;
    Ok((Head::read(head)?, head))
}

/// The body that belongs to `head`.
pub(super) async fn read_body(
    reader: &mut (impl AsyncRead + Unpin),
    opening: &mut Opening,
    (head, beside): (Head, [u8; HEAD_BYTES]),
) -> Result<Vec<u8>, Fault> {
    let mut body = vec![0; head.bytes + TAG_BYTES];
    read_whole(reader, &mut body).await?;
    opening.open(&beside, &mut body)?;
    body.truncate(head.bytes);
    Ok(body)
}

/// The length of the frame that was written.
pub(super) async fn write_frame(
    writer: &mut (impl AsyncWrite + Unpin),
    sealing: &mut Sealing,
    kind: Kind,
    body: &[u8],
) -> Result<usize, Fault> {
    let frame = sealing.frame(kind, body);
    let mut rest = frame.as_slice();
    while !rest.is_empty() {
        let written = within(STALL, writer.write(rest)).await?;
        if written == 0 {
            return Err(Fault::Ended);
        }
        rest = &rest[written..];
    }
    Ok(frame.len())
}

async fn read_whole(
    reader: &mut (impl AsyncRead + Unpin),
    mut rest: &mut [u8],
) -> Result<(), Fault> {
    while !rest.is_empty() {
        let read = within(STALL, reader.read(rest)).await?;
        if read == 0 {
            return Err(Fault::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        rest = &mut rest[read..];
    }
    Ok(())
}

async fn within<T, E: Into<Fault>>(
    patience: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match timeout(patience, work).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => Err(Fault::Silent),
    }
}
