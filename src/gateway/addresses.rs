//! Where each member takes pushes: every member says it to the others every now and then, and forgets
//! who is silent. Edges are told of it by `placing`.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::watch,
    time::{Duration, Instant, sleep},
};

use crate::{
    config::MetricsGateway,
    fleet::{
        self,
        channel::{self, Topic},
    },
    gateway::parcel::Message,
    model::member::{MemberState, NodeId, PUSH_URL_BYTES_MAX, Roster},
    runtime::{config_state::ConfigState, host, stop::Stop},
};

/// How often it is said. Some hundred bytes to each member.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Who has said nothing for so long takes none, for all that is known.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// What is known.
#[derive(Clone, Default)]
pub(super) struct Addresses(Arc<Mutex<BTreeMap<NodeId, Heard>>>);

struct Heard {
    url: Arc<str>,
    at: Instant,
}

/// Tells the others, and notes what this member has told them.
pub(super) struct Teller {
    pub(super) me: NodeId,
    pub(super) roster: watch::Receiver<Arc<Roster>>,
    pub(super) status: watch::Receiver<Arc<fleet::Status>>,
    pub(super) config: watch::Receiver<Arc<ConfigState>>,
    pub(super) channel: Option<channel::Handle>,
    pub(super) addresses: Addresses,
}

impl Addresses {
    pub(super) fn url_of(&self, member: NodeId) -> Option<Arc<str>> {
        self.lock().get(&member).map(|heard| Arc::clone(&heard.url))
    }

    /// `from` is a member, so there are no more of them than the fleet has.
    pub(super) fn heard(&self, from: NodeId, url: Option<Arc<str>>, now: Instant) {
        let mut known = self.lock();
        match url.filter(|url| url.len() <= PUSH_URL_BYTES_MAX) {
            Some(url) => drop(known.insert(from, Heard { url, at: now })),
            None => drop(known.remove(&from)),
        }
    }

    fn forget(&self, now: Instant) {
        self.lock().retain(|_, heard| now.duration_since(heard.at) <= SILENCE_MAX);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<NodeId, Heard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Teller {
    pub(super) async fn run(mut self, stop: Stop) {
        while !stop.is_raised() {
            self.tell();
            tokio::select! {
                () = sleep(TELL_EVERY) => {}
                // Others have come, or are reached elsewhere.
                Ok(()) = self.roster.changed() => {}
                Ok(()) = self.config.changed() => {}
                () = stop.raised() => {}
            }
        }
    }

    fn tell(&mut self) {
        let config = Arc::clone(&self.config.borrow_and_update().config);
        let settings = config.gateway.metrics.as_ref();
        let address = self.status.borrow().facts.get(&self.me).map(|facts| facts.address.ip());
        let url: Option<Arc<str>> =
            settings.and_then(|settings| push_url(settings, address)).map(Arc::from);
        let now = Instant::now();
        self.addresses.heard(self.me, url.clone(), now);
        self.addresses.forget(now);
        let roster = Arc::clone(&self.roster.borrow_and_update());
        let Some(channel) = &self.channel else { return };
        let message = Message::Listens { url }.bytes();
        for member in roster.members.values().filter(|member| member.id != self.me) {
            match member.state {
                MemberState::Alive | MemberState::Suspect => {
                    // Who does not hear it now hears it the next time.
                    channel.send(member.id, Topic::Push, message.clone());
                }
                MemberState::Left | MemberState::Dead => {}
            }
        }
    }
}

/// Under which URL others push to a member that the fleet knows by `address`; `None` where they can't.
fn push_url(settings: &MetricsGateway, address: Option<IpAddr>) -> Option<String> {
    if let Some(url) = &settings.advertise_url {
        return Some(url.clone());
    }
    let listen = &settings.listen_address;
    let (host, port) = listen.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port != 0)?;
    let is_bound = listen
        .parse::<SocketAddr>()
        .map_or(!host.is_empty(), |listen| !listen.ip().is_unspecified());
    let is_reached = |address: IpAddr| address.is_loopback() || !host::is_local(listen);
    let authority = match address {
        _ if is_bound && address.is_none_or(is_reached) => listen.clone(),
        Some(address) if !is_bound => SocketAddr::new(address, port).to_string(),
        Some(_) | None => return None,
    };
    let scheme = if settings.tls.is_some() { "https" } else { "http" };
    Some(format!("{scheme}://{authority}/api/v1/write"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    #[test]
    fn others_push_to_where_it_listens_or_to_what_it_says() {
        let check = |fields: &str, address: &str, expected: &str| {
            let text = format!("gateway: {{metrics: {{{fields}}}}}\n");
            let config = config::parse(Path::new(""), &text, &|_| None).expect("good");
            let url = push_url(&config.gateway.metrics.unwrap(), address.parse().ok());
            assert_eq!(url.unwrap_or_default(), expected, "{fields} {address}");
        };
        let any = "listen_address: '0.0.0.0:9735'";
        check(any, "10.0.0.1", "http://10.0.0.1:9735/api/v1/write");
        check("listen_address: ':9735'", "10.0.0.1", "http://10.0.0.1:9735/api/v1/write");
        check("listen_address: '[::]:9735'", "fd00::1", "http://[fd00::1]:9735/api/v1/write");
        check("listen_address: '10.9.9.9:1'", "10.0.0.1", "http://10.9.9.9:1/api/v1/write");
        check("listen_address: 'gateway:1'", "10.0.0.1", "http://gateway:1/api/v1/write");
        check(any, "", "");
        check("listen_address: '0.0.0.0:0'", "10.0.0.1", "");
        let local = "listen_address: '127.0.0.1:9735'";
        check(local, "127.0.0.1", "http://127.0.0.1:9735/api/v1/write");
        check(local, "10.0.0.1", "");
        let tls = format!("{any}, tls: {{cert_file: c, key_file: k}}");
        check(&tls, "10.0.0.1", "https://10.0.0.1:9735/api/v1/write");
        let said = format!("{local}, advertise_url: 'https://g.example/write'");
        check(&said, "10.0.0.1", "https://g.example/write");
    }

    #[test]
    fn who_is_silent_is_forgotten() {
        let (addresses, now) = (Addresses::default(), Instant::now());
        let known = || [1, 2, 3].map(|id| addresses.url_of(NodeId(id)).is_some());
        for id in [1, 2] {
            addresses.heard(NodeId(id), Some("http://a/".into()), now);
        }
        addresses.heard(NodeId(3), Some("x".repeat(PUSH_URL_BYTES_MAX + 1).into()), now);
        assert_eq!(known(), [true, true, false]);
        addresses.heard(NodeId(1), None, now);
        addresses.forget(now + SILENCE_MAX);
        assert_eq!(known(), [false, true, false]);
        addresses.forget(now + SILENCE_MAX + Duration::from_millis(1));
        assert_eq!(known(), [false; 3]);
    }
}
