//! A target that counts its own scrapes: the value of a sample tells which scrape it came from.

use std::{
    fmt::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

pub(crate) struct Target {
    pub(crate) address: String,
    scrapes: Arc<AtomicU64>,
}

impl Target {
    /// Serves `series` series besides its counter, until the test's runtime ends.
    pub(crate) async fn start(series: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let scrapes = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&scrapes);
        starling::runtime::tasks::spawn("target", async move {
            while let Ok((stream, _)) = listener.accept().await {
                let count = Arc::clone(&count);
                starling::runtime::tasks::spawn("target connection", serve(stream, series, count));
            }
        });
        Self { address, scrapes }
    }

    pub(crate) fn scrapes(&self) -> u64 {
        self.scrapes.load(Ordering::SeqCst)
    }
}

async fn serve(mut stream: TcpStream, series: usize, count: Arc<AtomicU64>) {
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_buf(&mut request).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        request.clear();
        let scrape = count.fetch_add(1, Ordering::SeqCst) + 1;
        let mut body = format!("# TYPE scrapes_total counter\nscrapes_total {scrape}\n");
        for n in 0..series {
            writeln!(body, "filler{{n=\"{n}\"}} {scrape}").unwrap();
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}
