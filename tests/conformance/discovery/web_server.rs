//! A small HTTP server on a port of its own: answers from a script, the last answer again and again,
//! and tells what it was asked.

use std::{
    fmt::Write,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use starling::runtime::tasks;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
}

pub(crate) fn json(body: &str) -> Answer {
    let headers = vec![("Content-Type", "application/json".to_owned())];
    Answer { status: "200 OK", headers, body: body.to_owned() }
}

pub(crate) struct WebServer {
    pub(crate) address: SocketAddr,
    answer: Arc<Mutex<Answer>>,
    requests: watch::Receiver<Vec<String>>,
}

impl WebServer {
    pub(crate) async fn start(first: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::new(Mutex::new(first));
        let (told, requests) = watch::channel(Vec::new());
        let script = Arc::clone(&answer);
        tasks::spawn("web server", async move {
            while let Ok((stream, _)) = listener.accept().await {
                tasks::spawn("web connection", serve(stream, Arc::clone(&script), told.clone()));
            }
        });
        Self { address, answer, requests }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/sd", self.address)
    }

    pub(crate) fn answer(&self, next: Answer) {
        *self.answer.lock().unwrap() = next;
    }

    /// Waits until `count` requests have been answered, and gives the heads of all so far.
    pub(crate) async fn asked(&mut self, count: usize) -> Vec<String> {
        self.requests.wait_for(|requests| requests.len() >= count).await.unwrap().clone()
    }

    /// Waits until a request that came after this call is answered.
    pub(crate) async fn asked_again(&mut self) -> String {
        let so_far = self.requests.borrow().len();
        // The next one may have been under way already.
        self.asked(so_far + 2).await.pop().unwrap()
    }
}

async fn serve(
    mut stream: TcpStream,
    answer: Arc<Mutex<Answer>>,
    told: watch::Sender<Vec<String>>,
) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let answer = answer.lock().unwrap().clone();
        let mut text = format!("HTTP/1.1 {}\r\n", answer.status);
        for (name, value) in &answer.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        write!(text, "Content-Length: {}\r\n\r\n{}", answer.body.len(), answer.body).unwrap();
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
        told.send_modify(|requests| requests.push(String::from_utf8(head).unwrap()));
    }
}
