//! Where a server listens: the addresses that its setting means, and their sockets.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs},
};

/// Where any is needed, at least one is opened.
pub fn bind(addresses: &[SocketAddr], is_needed: bool) -> io::Result<Vec<TcpListener>> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut fault = None;
    for mut address in addresses.iter().copied() {
        // A port that the system chose holds for all addresses of the name.
        if let (0, Some(first)) = (address.port(), listeners.first()) {
            address.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(address) {
            Ok(listener) => {
                listener.set_nonblocking(true)?;
                listeners.push(listener);
            }
            // `localhost` has an IPv6 address also where the machine has no IPv6.
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => fault = Some(error),
            Err(error) => return Err(error),
        }
    }
    match fault {
        Some(fault) if listeners.is_empty() && is_needed => Err(fault),
        _ => Ok(listeners),
    }
}

/// `host:port`, with every address that the host resolves to; without a host it is every address of
/// this machine.
pub fn resolve(listen: &str) -> io::Result<Vec<SocketAddr>> {
    let Some(port) = listen.strip_prefix(':') else {
        let mut addresses: Vec<SocketAddr> = listen.to_socket_addrs()?.collect();
        addresses.sort_unstable();
        addresses.dedup();
        return Ok(addresses);
    };
    let port = port.parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("`{port}` is no port number"))
    })?;
    // An IPv6 socket takes IPv4 connections as well, where there is IPv6.
    let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
    let has_ipv6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok();
    Ok(vec![if has_ipv6 { any } else { SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)) }])
}
