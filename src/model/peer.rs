//! One entry of the list of peers: where another member may be.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Address(SocketAddr),
    /// All addresses of a name, with a port.
    Name(String, u16),
    /// All targets of an SRV record, with its ports.
    Service(String),
}

impl Peer {
    /// `IP`, `IP:port`, `host`, `host:port`, `dns+host:port` or `dnssrv+name`. Without a port, the
    /// peer listens where this node does.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        let text = text.trim();
        if let Some(service) = text.strip_prefix("dnssrv+") {
            return host(service, text).map(Self::Service);
        }
        let place = text.strip_prefix("dns+").unwrap_or(text);
        let no_port = || format!("peer `{text}`: expected a port from 1 to 65535 after `:`");
        if let Ok(address) = place.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(no_port()) } else { Ok(Self::Address(address)) };
        }
        let bare = place.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Ok(ip) = bare.unwrap_or(place).parse::<IpAddr>() {
            return Ok(Self::Address(SocketAddr::new(ip, default_port)));
        }
        match place.rsplit_once(':') {
            None => Ok(Self::Name(host(place, text)?, default_port)),
            Some((name, port)) => {
                let port = port.parse().ok().filter(|&port| port != 0);
                Ok(Self::Name(host(name, text)?, port.ok_or_else(no_port)?))
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
            Self::Service(name) => write!(f, "dnssrv+{name}"),
        }
    }
}

fn host(name: &str, text: &str) -> Result<String, String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 253 || !name.bytes().all(is_plain) {
        return Err(format!("peer `{text}`: expected an address, a host name or `dnssrv+` a name"));
    }
    Ok(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_written_in_many_ways() {
        let check = |text: &str, expected: &str| {
            let found = Peer::parse(text, 9734).map(|peer| format!("{peer:?}"));
            assert_eq!(found.unwrap_or_else(|error| error), expected);
        };
        check("10.0.0.1", "Address(10.0.0.1:9734)");
        check(" 10.0.0.1:1 ", "Address(10.0.0.1:1)");
        check("2001:db8::1", "Address([2001:db8::1]:9734)");
        check("[2001:db8::1]", "Address([2001:db8::1]:9734)");
        check("[2001:db8::1]:1", "Address([2001:db8::1]:1)");
        check("host", "Name(\"host\", 9734)");
        check("dns+host.example:1", "Name(\"host.example\", 1)");
        check("dnssrv+_starling._udp.example", "Service(\"_starling._udp.example\")");
        let expected = "expected an address, a host name or `dnssrv+` a name";
        check("", &format!("peer ``: {expected}"));
        check("a b", &format!("peer `a b`: {expected}"));
        check("dnssrv+", &format!("peer `dnssrv+`: {expected}"));
        check("10.0.0.1:0", "peer `10.0.0.1:0`: expected a port from 1 to 65535 after `:`");
        check("host:0", "peer `host:0`: expected a port from 1 to 65535 after `:`");
        check("host:x", "peer `host:x`: expected a port from 1 to 65535 after `:`");
    }
}
