//! The host that this runs on.

use std::net::IpAddr;

/// As the kernel has it, and `hostname` prints it.
pub fn name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whether only this host reaches what listens on `host:port`.
pub fn is_local(listen_address: &str) -> bool {
    let host = listen_address.rsplit_once(':').map_or(listen_address, |(host, _)| host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost")
        || address.is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_of_this_host_or_of_all() {
        for local in ["localhost:1", "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "LocalHost:0"] {
            assert!(is_local(local), "{local}");
        }
        for open in ["0.0.0.0:1", ":1", "[::]:1", "10.0.0.1:1", "h.example:1", ""] {
            assert!(!is_local(open), "{open}");
        }
    }
}
