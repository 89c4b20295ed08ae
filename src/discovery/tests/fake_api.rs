//! An HTTP API on a port or a socket of its own, that answers by path and tells what it was asked.

use std::{collections::BTreeMap, net::SocketAddr, path::Path, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::{TcpListener, UnixListener},
    sync::watch,
};

use crate::runtime::tasks;

/// Far beyond anything that is waited for: only a failing test gets there.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// `X-Consul-Index`: a query that names the same one is held until the reply is another.
    pub(super) index: Option<u64>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn json(body: impl Into<Vec<u8>>) -> Self {
        Self { status: 200, index: None, body: body.into() }
    }

    pub(super) fn status(status: u16) -> Self {
        Self { status, ..Self::json("{}") }
    }

    pub(super) fn at(self, index: u64) -> Self {
        Self { index: Some(index), ..self }
    }
}

/// By path and query, or by path alone.
type Replies = BTreeMap<String, Reply>;

/// The line of a request and its headers, in lower case.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) target: String,
    pub(super) head: String,
}

pub(super) struct FakeApi {
    address: Option<SocketAddr>,
    replies: watch::Sender<Replies>,
    asked: watch::Receiver<Vec<Asked>>,
}

impl FakeApi {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (api, teller) = Self::new(Some(address));
        let replies = api.replies.subscribe();
        tasks::spawn("fake API", async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks::spawn("fake connection", serve(stream, replies.clone(), teller.clone()));
            }
        });
        api
    }

    pub(super) fn on_socket(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (api, teller) = Self::new(None);
        let replies = api.replies.subscribe();
        tasks::spawn("fake API", async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks::spawn("fake connection", serve(stream, replies.clone(), teller.clone()));
            }
        });
        api
    }

    fn new(address: Option<SocketAddr>) -> (Self, watch::Sender<Vec<Asked>>) {
        let (teller, asked) = watch::channel(Vec::new());
        (Self { address, replies: watch::Sender::new(Replies::new()), asked }, teller)
    }

    pub(super) fn address(&self) -> String {
        self.address.unwrap().to_string()
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub(super) fn reply(&self, target: &str, reply: Reply) {
        self.replies.send_modify(|replies| {
            replies.insert(target.to_owned(), reply);
        });
    }

    /// All requests so far.
    pub(super) fn asked(&self) -> Vec<Asked> {
        self.asked.borrow().clone()
    }

    /// Resolves with the first request that fits, be it of the past.
    pub(super) async fn asked_for(&self, fits: impl Fn(&Asked) -> bool) -> Asked {
        let mut asked = self.asked.clone();
        let waiting = asked.wait_for(|asked| asked.iter().any(&fits));
        let Ok(found) = tokio::time::timeout(PATIENCE, waiting).await else {
            panic!("not asked for; there were {:#?}", self.asked());
        };
        found.unwrap().iter().find(|asked| fits(asked)).unwrap().clone()
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    mut replies: watch::Receiver<Replies>,
    teller: watch::Sender<Vec<Asked>>,
) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let target = head.split(' ').nth(1).unwrap().to_owned();
        teller.send_modify(|asked| {
            asked.push(Asked { target: target.clone(), head: head.to_lowercase() });
        });
        let Reply { status, index, body } = reply(&target, &mut replies).await;
        let index = index.map_or_else(String::new, |index| format!("X-Consul-Index: {index}\r\n"));
        let mut answer = format!(
            "HTTP/1.1 {status} Whatever\r\nContent-Type: application/json\r\n{index}Content-Length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(&body);
        if stream.write_all(&answer).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

async fn reply(target: &str, replies: &mut watch::Receiver<Replies>) -> Reply {
    let known = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("index="));
    let known: Option<u64> = known.map(|index| index.parse().unwrap());
    loop {
        let reply = {
            let replies = replies.borrow_and_update();
            let path = target.split('?').next().unwrap();
            replies.get(target).or_else(|| replies.get(path)).cloned()
        };
        let reply = reply.unwrap_or_else(|| Reply::status(404));
        if reply.index.is_none() || reply.index != known {
            return reply;
        }
        if replies.changed().await.is_err() {
            return reply;
        }
    }
}
