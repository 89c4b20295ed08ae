//! One request and its answer over a connection of HTTP/1.1. Nothing but the socket is held while a
//! target is waited for: what arrives is read into a buffer that is borrowed for that one moment.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};

use crate::scrape::{
    failure::{Failure, io_reason},
    fetch::{
        answer::{Answer, Framing, HEAD_BYTES_MAX, Head},
        body::ReadBuffers,
        connect::Stream,
        place::{Form, Question},
    },
};

pub(super) struct Http1 {
    stream: Stream,
    form: Form,
    /// Another request may follow, when the body of the last one's answer is over.
    keeps: bool,
    framing: Framing,
    /// What has come of the answer: of its head until that is whole, then of its body.
    arrived: Vec<u8>,
}

/// What one read has brought.
enum Piece {
    End,
    /// All of it was put where it belongs.
    More,
    Head(Answer),
}

impl Http1 {
    pub(super) fn new(stream: Stream, form: Form) -> Self {
        Self { stream, form, keeps: true, framing: Framing::Length(0), arrived: Vec::new() }
    }

    /// Whether another request may be sent, as far as this side knows: nothing has come that was
    /// not asked for, and no end.
    pub(super) async fn is_ready(&mut self, buffers: &ReadBuffers) -> bool {
        if !self.keeps || !self.framing.is_over() {
            return false;
        }
        let stream = &mut self.stream;
        poll_fn(|cx| {
            let mut bytes = buffers.take();
            let poll = Pin::new(&mut *stream).poll_read(cx, &mut ReadBuf::new(&mut bytes));
            buffers.give_back(bytes);
            Poll::Ready(poll.is_pending())
        })
        .await
    }

    pub(super) async fn ask(
        &mut self,
        question: &Question<'_>,
        buffers: &ReadBuffers,
    ) -> Result<Answer, Failure> {
        let lines = question.lines(&self.form);
        self.stream.write_all(&lines).await.map_err(|e| broken(&e))?;
        self.stream.flush().await.map_err(|e| broken(&e))?;
        drop(lines);
        self.arrived = Vec::new();
        loop {
            match self.read(buffers, Self::take_head).await? {
                Piece::Head(answer) => return Ok(answer),
                Piece::More => {}
                Piece::End => return Err(cut()),
            }
        }
    }

    /// The whole body of the last answer. `None`: it is longer than `bytes_max`.
    pub(super) async fn body(
        &mut self,
        bytes_max: u64,
        buffers: &ReadBuffers,
    ) -> Result<Option<Vec<u8>>, Failure> {
        if let Framing::Length(left) = self.framing {
            let room = usize::try_from(left.min(bytes_max)).unwrap_or(usize::MAX);
            self.arrived.reserve_exact(room.min(ROOM_BYTES_MAX));
        }
        loop {
            if self.arrived.len() as u64 > bytes_max {
                return Ok(None);
            }
            if self.framing.is_over() {
                break;
            }
            match self.read(buffers, Self::take_body).await? {
                Piece::Head(_) | Piece::More => {}
                Piece::End if self.framing == Framing::UntilClose => break,
                Piece::End => return Err(cut()),
            }
        }
        Ok(Some(std::mem::take(&mut self.arrived)))
    }

    /// Whether nothing stands in the way of another request.
    pub(super) fn keeps(&self) -> bool {
        self.keeps && self.framing.is_over()
    }

    async fn read(
        &mut self,
        buffers: &ReadBuffers,
        take: impl Fn(&mut Self, &[u8]) -> Result<Piece, Failure>,
    ) -> Result<Piece, Failure> {
        poll_fn(|cx| {
            let mut bytes = buffers.take();
            let mut room = ReadBuf::new(&mut bytes);
            let poll = Pin::new(&mut self.stream).poll_read(cx, &mut room).map(|outcome| {
                outcome.map_err(|e| broken(&e))?;
                let read = room.filled();
                if read.is_empty() { Ok(Piece::End) } else { take(self, read) }
            });
            buffers.give_back(bytes);
            Poll::Ready(ready!(poll))
        })
        .await
    }

    fn take_head(&mut self, read: &[u8]) -> Result<Piece, Failure> {
        let before = self.arrived.len();
        // Nearly always the first read brings the whole head.
        let found = if before == 0 {
            Head::read(read)?
        } else {
            self.arrived.extend_from_slice(read);
            Head::read(&self.arrived)?
        };
        let Some(Head { answer, framing, keeps, bytes }) = found else {
            if before == 0 {
                self.arrived.extend_from_slice(read);
            }
            if self.arrived.len() > HEAD_BYTES_MAX {
                return Err(Failure::Http("the head of the answer has no end".to_owned()));
            }
            return Ok(Piece::More);
        };
        (self.framing, self.keeps) = (framing, keeps);
        self.arrived = Vec::new();
        if let Framing::Length(length) = framing {
            let room = usize::try_from(length).unwrap_or(usize::MAX).min(ROOM_BYTES_MAX);
            self.arrived.reserve_exact(room);
        }
        // What was there before was not enough for a head, so all of the body is in `read`.
        self.take_body(&read[bytes - before..])?;
        Ok(Piece::Head(answer))
    }

    fn take_body(&mut self, read: &[u8]) -> Result<Piece, Failure> {
        let used = self.framing.push(read, &mut self.arrived)?;
        if used < read.len() {
            // What comes behind the answer was not asked for.
            self.keeps = false;
        }
        Ok(Piece::More)
    }
}

/// A body that says how long it is has room for so much at once; the rest when it truly comes.
const ROOM_BYTES_MAX: usize = 4 << 20;

fn cut() -> Failure {
    Failure::Http("unexpected EOF: the connection was closed before the answer's end".to_owned())
}

fn broken(error: &io::Error) -> Failure {
    let reason = io_reason(error);
    let is_cut = error.kind() == io::ErrorKind::UnexpectedEof;
    Failure::Http(if is_cut { format!("unexpected EOF: {reason}") } else { reason })
}
