//! Targets that write down who scraped them when. Each scrape gets a number of its own as the value
//! of a sample, so what the backend stores names the scrapes that it came from.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use starling::runtime::tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Timeline, wires::HUB};

const PORT: usize = 20_000;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Scrape {
    pub(crate) target: usize,
    pub(crate) member: usize,
    pub(crate) at_ms: i64,
    pub(crate) number: u64,
}

#[derive(Clone)]
pub(crate) struct Farm {
    timeline: Timeline,
    log: Arc<Mutex<Vec<Scrape>>>,
    numbers: Arc<AtomicU64>,
}

pub(crate) fn address(target: usize) -> String {
    format!("{HUB}:{}", PORT + target)
}

impl Farm {
    pub(crate) async fn start(targets: usize, timeline: Timeline) -> Self {
        let farm = Self { timeline, log: Arc::default(), numbers: Arc::default() };
        for target in 0..targets {
            let listener = TcpListener::bind(address(target)).await.unwrap();
            let farm = farm.clone();
            tasks::spawn("target", async move {
                while let Ok((stream, peer)) = listener.accept().await {
                    tasks::spawn("scraped", farm.clone().serve(target, stream, peer));
                }
            });
        }
        farm
    }

    async fn serve(self, target: usize, mut stream: TcpStream, peer: SocketAddr) {
        let SocketAddr::V4(peer) = peer else { panic!("{peer} has no business here") };
        let member = usize::from(peer.ip().octets()[3]);
        let mut request = Vec::new();
        loop {
            while !request.ends_with(b"\r\n\r\n") {
                match stream.read_buf(&mut request).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {}
                }
            }
            request.clear();
            let at_ms = self.timeline.now_ms();
            let number = self.numbers.fetch_add(1, Ordering::Relaxed) + 1;
            self.log.lock().unwrap().push(Scrape { target, member, at_ms, number });
            let body = format!("# TYPE scrape_number counter\nscrape_number {number}\n");
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n\
                Content-Length: {}\r\n\r\n",
                body.len()
            );
            if stream.write_all((head + &body).as_bytes()).await.is_err() {
                return;
            }
        }
    }

    pub(crate) fn log(&self) -> Vec<Scrape> {
        self.log.lock().unwrap().clone()
    }
}
