//! A small name server on a UDP port of its own: answers what it was given, and refuses the rest.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex},
};

use starling::{discovery::provider::Nameservers, runtime::tasks};
use tokio::net::UdpSocket;

/// One record, or how the server fails.
#[derive(Clone, Debug)]
pub(crate) enum Record {
    Address(IpAddr),
    Srv { port: u16, target: String },
    Mx { preference: u16, target: String },
    Ns(String),
    Txt(String),
    Cname(String),
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Records(Vec<Record>),
    NoSuchName,
    ServerFailure,
}

pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    replies: Arc<Mutex<BTreeMap<String, Reply>>>,
}

impl NameServer {
    pub(crate) async fn start() -> Self {
        Self::start_at("127.0.0.1:0").await
    }

    pub(crate) async fn start_at(address: &str) -> Self {
        let socket = UdpSocket::bind(address).await.unwrap();
        let address = socket.local_addr().unwrap();
        let replies: Arc<Mutex<BTreeMap<String, Reply>>> = Arc::default();
        let known = Arc::clone(&replies);
        tasks::spawn("name server", async move {
            let mut packet = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut packet).await {
                let answer = answer(&packet[..length], &known.lock().unwrap());
                socket.send_to(&answer, from).await.unwrap();
            }
        });
        Self { address, replies }
    }

    /// Names end in a dot.
    pub(crate) fn set(&self, name: &str, reply: Reply) {
        self.replies.lock().unwrap().insert(name.to_owned(), reply);
    }

    pub(crate) fn nameservers(&self, search: &[&str]) -> Nameservers {
        let search = search.iter().map(|&domain| domain.to_owned()).collect();
        Nameservers::Fixed { servers: vec![self.address], search }
    }
}

/// RFC 1035, section 4: header, the question as it came, the answers; additional records are left
/// out.
fn answer(query: &[u8], replies: &BTreeMap<String, Reply>) -> Vec<u8> {
    let (name, question_end) = question(query);
    let reply = replies.get(&name.to_lowercase()).cloned().unwrap_or(Reply::NoSuchName);
    let (code, records) = match reply {
        Reply::Records(records) => (0, records),
        Reply::ServerFailure => (2, vec![]),
        Reply::NoSuchName => (3, vec![]),
    };
    let mut packet = query[..2].to_vec();
    // A response, recursion desired and available.
    packet.extend([0x81, 0x80 | code]);
    packet.extend([0, 1]);
    packet.extend(u16::try_from(records.len()).unwrap().to_be_bytes());
    packet.extend([0, 0, 0, 0]);
    packet.extend(&query[12..question_end]);
    for record in records {
        // The owner is the name asked for: a pointer to the question.
        packet.extend([0xc0, 12]);
        let (kind, data) = encoded(&record);
        packet.extend(u16::to_be_bytes(kind));
        packet.extend([0, 1, 0, 0, 0, 60]);
        packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        packet.extend(data);
    }
    packet
}

fn question(query: &[u8]) -> (String, usize) {
    let mut name = String::new();
    let mut at = 12;
    while query[at] > 0 {
        let end = at + 1 + usize::from(query[at]);
        name.push_str(std::str::from_utf8(&query[at + 1..end]).unwrap());
        name.push('.');
        at = end;
    }
    (name, at + 5)
}

fn encoded(record: &Record) -> (u16, Vec<u8>) {
    match record {
        Record::Address(IpAddr::V4(ip)) => (1, ip.octets().to_vec()),
        Record::Address(IpAddr::V6(ip)) => (28, ip.octets().to_vec()),
        Record::Ns(target) => (2, labels(target)),
        Record::Cname(target) => (5, labels(target)),
        Record::Mx { preference, target } => {
            (15, [&preference.to_be_bytes()[..], &labels(target)].concat())
        }
        Record::Txt(text) => (16, [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()),
        Record::Srv { port, target } => {
            (33, [&[0, 0, 0, 0], &port.to_be_bytes()[..], &labels(target)].concat())
        }
    }
}

fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split_terminator('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
