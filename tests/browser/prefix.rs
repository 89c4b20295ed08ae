//! A proxy that shows an agent below a path of its own, as operators put it behind one.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

const PREFIX: &str = "/fleets/eu";

/// Where `agent` is found from then on, until the test's runtime ends.
pub(crate) async fn below_a_path(agent: &str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{PREFIX}", listener.local_addr().unwrap());
    let agent = agent.trim_start_matches("http://").to_owned();
    starling::runtime::tasks::spawn("proxy", async move {
        while let Ok((client, _)) = listener.accept().await {
            starling::runtime::tasks::spawn("proxy connection", pass_on(client, agent.clone()));
        }
    });
    url
}

/// One request a connection. What asks for anything outside of the path gets no answer.
async fn pass_on(mut client: TcpStream, agent: String) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(client.read_buf(&mut head).await, Ok(1..)) {
            return;
        }
    }
    let head = String::from_utf8(head).unwrap();
    if !head.starts_with(&format!("GET {PREFIX}/")) {
        return;
    }
    let head = head.replacen(PREFIX, "", 1).replace("Connection: keep-alive", "Connection: close");
    let mut server = TcpStream::connect(agent).await.unwrap();
    if server.write_all(head.as_bytes()).await.is_ok() {
        // Either side may hang up when it likes.
        let _ = copy_bidirectional(&mut client, &mut server).await;
    }
}
