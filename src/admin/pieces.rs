//! An answer that is written while it is sent: of a list of 100,000 targets only a few pieces are in
//! memory at once, and who reads slowly slows down nobody else.

use std::{
    io::{self, Write},
    time::Duration,
};

use actix_web::{HttpResponse, web::Bytes};
use futures_util::stream;
use tokio::{runtime::Handle, sync::mpsc, task::spawn_blocking, time::timeout};

/// Of a piece; one may be longer by the last thing that was written into it.
const PIECE_BYTES: usize = 64 << 10;
/// That wait to be sent.
const PIECES_MAX: usize = 4;
/// A client that takes no piece for so long is left.
const PATIENCE: Duration = Duration::from_secs(30);

/// The JSON that `write` writes. An answer that can't be finished breaks off, so that nobody takes
/// the half of it for all.
pub(super) fn json(
    write: impl FnOnce(&mut Pen) -> serde_json::Result<()> + Send + 'static,
) -> HttpResponse {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    // Ends by itself: with the last piece, or when nobody takes the next one.
    drop(spawn_blocking(move || {
        let mut pen = Pen { sender, piece: Vec::new() };
        if write(&mut pen).is_ok() && pen.flush().is_ok() {
            let _ = pen.send(None);
        }
    }));
    let body = stream::unfold(Some(pieces), async |pieces| {
        let mut pieces = pieces?;
        match pieces.recv().await {
            Some(Some(piece)) => Some((Ok(piece), Some(pieces))),
            Some(None) => None,
            None => Some((Err(io::Error::other("the answer could not be written")), None)),
        }
    });
    HttpResponse::Ok().content_type("application/json").streaming(Box::pin(body))
}

pub(super) struct Pen {
    /// `None` is the end of all.
    sender: mpsc::Sender<Option<Bytes>>,
    piece: Vec<u8>,
}

impl Pen {
    fn send(&self, piece: Option<Bytes>) -> io::Result<()> {
        match Handle::current().block_on(timeout(PATIENCE, self.sender.send(piece))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for Pen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let next = Vec::with_capacity(PIECE_BYTES + PIECE_BYTES / 16);
        let piece = std::mem::replace(&mut self.piece, next);
        self.send(Some(piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::body::{MessageBody, to_bytes};
    use serde::{Serialize, Serializer};

    use super::*;

    fn json_of(told: impl Serialize + Send + 'static) -> HttpResponse {
        json(move |pen| serde_json::to_writer(pen, &told))
    }

    #[actix_web::test]
    async fn what_is_written_arrives_in_order() {
        for count in [0, 1, 100_000] {
            let answer = json_of((0..count).collect::<Vec<_>>());
            assert_eq!(answer.headers().get("content-type").unwrap(), "application/json");
            let body = to_bytes(answer.into_body()).await.unwrap();
            assert_eq!(serde_json::from_slice::<Vec<usize>>(&body).unwrap().len(), count);
        }
    }

    #[actix_web::test]
    async fn what_can_not_be_finished_breaks_off() {
        struct Faulty;
        impl Serialize for Faulty {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let numbers = (0..100_000_u32).map(|n| (n < 99_999).then_some(n).unwrap());
                serializer.collect_seq(numbers)
            }
        }
        assert!(to_bytes(json_of(Faulty).into_body()).await.is_err());
    }

    #[actix_web::test]
    async fn who_goes_away_is_written_to_no_further() {
        struct Endless(std::sync::mpsc::Sender<()>);
        impl Serialize for Endless {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_seq((0_u64..).inspect(|_| self.0.send(()).unwrap()))
            }
        }
        let (tell, told) = std::sync::mpsc::channel();
        let answer = json_of(Endless(tell));
        let mut body = Box::pin(answer.into_body());
        let first = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        assert!(first.unwrap().unwrap().starts_with(b"[0,1,2,"));
        drop(body);
        // Ends when the writer has.
        let counted = tokio::task::spawn_blocking(move || told.iter().count()).await.unwrap();
        assert!(counted > 1_000);
    }
}
