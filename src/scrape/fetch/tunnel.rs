//! Through a proxy to a server of TLS: a tunnel that is asked for with CONNECT.

use http::HeaderValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use url::Host;

use crate::{
    runtime::http::Via,
    scrape::{
        failure::{Failure, io_reason},
        fetch::connect::Stream,
    },
};

/// A longer head of the proxy's answer is none.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// From here on `stream` leads to the server.
pub(super) async fn open(
    stream: &mut Stream,
    via: &Via,
    host: &Host<String>,
    port: u16,
) -> Result<(), Failure> {
    let failed = |reason: &str| Failure::Proxy(format!("proxy {}: {reason}", via.shown()));
    let asked = question(via, host, port);
    let broken = |e: std::io::Error| failed(&io_reason(&e));
    stream.write_all(&asked).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = stream.read(&mut piece).await.map_err(broken)?;
        if read == 0 {
            return Err(failed("unexpected EOF"));
        }
        head.extend_from_slice(&piece[..read]);
        if let Some(end) = memchr::memmem::find(&head, b"\r\n\r\n") {
            let is_whole = head.len() == end + 4;
            return verdict(&head, is_whole).map_err(|reason| failed(&reason));
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(failed("its answer has no end"));
        }
    }
}

fn question(via: &Via, host: &Host<String>, port: u16) -> Vec<u8> {
    let mut asked =
        format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
    let mut add = |name: &str, value: &HeaderValue| {
        asked.extend_from_slice(name.as_bytes());
        asked.extend_from_slice(b": ");
        asked.extend_from_slice(value.as_bytes());
        asked.extend_from_slice(b"\r\n");
    };
    let own = via.authorization.as_ref();
    // What is configured for the proxy by hand is meant.
    let own = own.filter(|_| !via.connect_header.contains_key("proxy-authorization"));
    if let Some(value) = own {
        add("Proxy-Authorization", value);
    }
    for (name, value) in &via.connect_header {
        add(name.as_str(), value);
    }
    asked.extend_from_slice(b"\r\n");
    asked
}

fn verdict(head: &[u8], is_whole: bool) -> Result<(), String> {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    let mut words = line.splitn(3, ' ');
    let is_http = words.next().is_some_and(|word| word.starts_with("HTTP/1."));
    let code: Option<u16> = words.next().and_then(|word| word.parse().ok());
    match code.filter(|_| is_http) {
        // A server of TLS says nothing before it was spoken to.
        Some(200..=299) if is_whole => Ok(()),
        Some(200..=299) => Err("its answer to CONNECT has a body".to_owned()),
        Some(code) => {
            let status = http::StatusCode::from_u16(code);
            let text = status.map_or_else(|_| code.to_string(), |status| status.to_string());
            Err(format!("it opens no tunnel: HTTP status {text}"))
        }
        None => Err("its answer is no HTTP".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_yes_opens_a_tunnel() {
        for (head, expected) in [
            ("HTTP/1.1 200 Connection established\r\n\r\n", Ok(())),
            ("HTTP/1.0 204\r\n\r\n", Ok(())),
            ("HTTP/1.1 407 x\r\n\r\n", Err("HTTP status 407 Proxy Authentication Required")),
            ("HTTP/1.1 999 x\r\n\r\n", Err("HTTP status 999")),
            ("HTTP/2 200\r\n\r\n", Err("no HTTP")),
            ("SSH-2.0-x\r\n\r\n", Err("no HTTP")),
        ] {
            match (verdict(head.as_bytes(), true), expected) {
                (Ok(()), Ok(())) => {}
                (Err(reason), Err(part)) => assert!(reason.contains(part), "{head}: {reason}"),
                (found, expected) => panic!("{head}: {found:?} instead of {expected:?}"),
            }
        }
        assert!(verdict(b"HTTP/1.1 200 x\r\n\r\nmore", false).is_err());
    }
}
