//! The sockets of the API: those that were there before this process where they fit, and those that
//! it opens itself, which are given into keeping.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use tracing::{info, warn};

use crate::runtime::{
    listen::{bind, resolve},
    service::{
        keep,
        sockets::{Allotment, Handed},
    },
};

/// Open, and answered once the API is served; until then who connects waits.
#[derive(Debug)]
pub struct Listening {
    pub(super) listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
    /// A socket unit has said where, and not the configuration.
    is_overruled: bool,
}

impl Listening {
    /// `listen` is `host:port`, with every address that the host resolves to; without a host it is
    /// every address of this machine. `handed` is what the service manager gave.
    ///
    /// # Errors
    /// Which address can't be listened on, and why.
    pub fn open(listen: &str, handed: Vec<Handed>) -> Result<Self, String> {
        let failed = |error: io::Error| format!("can't listen on `{listen}`: {error}");
        let is_from_unit = handed.iter().any(|one| !one.is_kept());
        let wanted = match resolve(listen) {
            Ok(wanted) => wanted,
            // What can't be resolved is not needed either.
            Err(_) if is_from_unit => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let allotment = Allotment::of(&handed, &wanted);
        let mut listeners = Vec::new();
        for (place, one) in handed.into_iter().enumerate() {
            if allotment.taken.contains(&place) {
                one.listener.set_nonblocking(true).map_err(failed)?;
                listeners.push(one.listener);
            } else {
                info!(address = %one.address, "a port that was kept is not asked for any more");
            }
        }
        let was_opened = !allotment.bound.is_empty();
        if was_opened {
            let is_needed = listeners.is_empty();
            listeners.extend(bind(&allotment.bound, is_needed).map_err(failed)?);
        }
        if was_opened || !allotment.let_go.is_empty() {
            // What a unit opened it keeps itself.
            let kept = if is_from_unit { &[][..] } else { &listeners };
            if let Err(error) = keep(kept) {
                warn!(%error, "the service manager can't keep the port open over a restart");
            }
        }
        let addresses: Vec<SocketAddr> =
            listeners.iter().filter_map(|one| one.local_addr().ok()).collect();
        if allotment.is_overruled {
            warn!(
                ?addresses,
                asked = listen,
                "a socket unit has opened the port of the API, and its address holds"
            );
        }
        Ok(Self { listeners, addresses, is_overruled: allotment.is_overruled })
    }

    /// With the port that the system chose, where `listen` left it open by `:0`.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where it is, for others to be told: as it was asked for, unless it is elsewhere.
    pub fn shown(&self, listen: &str) -> String {
        match self.addresses.first() {
            Some(address) if self.is_overruled => address.to_string(),
            Some(_) | None => listen.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handed(name: &str) -> Handed {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Handed { name: name.to_owned(), address, listener }
    }

    #[test]
    fn a_kept_port_is_used_and_one_that_is_not_wanted_is_closed() {
        let (wanted, former) = (handed("admin"), handed("admin"));
        let (here, gone) = (wanted.address, former.address);
        let listening = Listening::open(&here.to_string(), vec![former, wanted]).unwrap();
        assert_eq!(listening.addresses(), [here]);
        assert_eq!(listening.shown("localhost:1"), "localhost:1");
        drop(TcpListener::bind(gone).unwrap());
        assert!(TcpListener::bind(here).is_err(), "it is listened on");
    }

    #[test]
    fn the_address_of_a_socket_unit_holds_and_is_shown() {
        let unit = handed("starling.socket");
        let here = unit.address;
        let listening = Listening::open("127.0.0.1:9733", vec![unit]).unwrap();
        assert_eq!(listening.addresses(), [here]);
        assert_eq!(listening.shown("127.0.0.1:9733"), here.to_string());
        // Also where the configured name leads nowhere.
        let unit = handed("starling.socket");
        let here = unit.address;
        let listening = Listening::open("no.such.host.invalid:1", vec![unit]).unwrap();
        assert_eq!(listening.shown("no.such.host.invalid:1"), here.to_string());
    }

    #[test]
    fn a_listen_address_is_resolved_or_named() {
        let open = |listen: &str| Listening::open(listen, Vec::new());
        let check = |listen: &str, expected: &str| {
            let fault = open(listen).expect_err(listen);
            let named = format!("can't listen on `{listen}`: ");
            assert!(fault.starts_with(&named) && fault.contains(expected), "{listen}: {fault}");
        };
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        check(&taken.local_addr().unwrap().to_string(), "in use");
        check("nonsense", "invalid");
        check(":x", "`x` is no port number");
        let listening = open("localhost:0").unwrap();
        let ports: Vec<u16> = listening.addresses().iter().map(SocketAddr::port).collect();
        assert!(!ports.is_empty() && ports.iter().all(|port| *port == ports[0]), "{ports:?}");
        assert!(open(":0").unwrap().addresses()[0].ip().is_unspecified());
    }
}
