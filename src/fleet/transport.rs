//! How datagrams travel: the door between a node and its network, with UDP behind it; `memory` is
//! the other side that fits.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
    task::{Context, Poll},
};

use tokio::{io::ReadBuf, net::UdpSocket};

/// A way for datagrams that may be lost, doubled, delayed and turned round.
pub trait Transport: Send + Sync {
    /// Sends, or loses: nobody waits for a network that has no room.
    fn send(&self, to: SocketAddr, datagram: &[u8]);

    /// The next datagram, cut where `buffer` ends.
    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>>;

    fn local_address(&self) -> SocketAddr;
}

pub struct Udp {
    socket: UdpSocket,
    local: SocketAddr,
}

impl Udp {
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let local = socket.local_addr()?;
        // Before the first word from the runtime, every send would be taken for one without room.
        socket.writable().await?;
        Ok(Self { socket, local })
    }
}

impl Transport for Udp {
    fn send(&self, to: SocketAddr, datagram: &[u8]) {
        // Through a socket that listens to both families, IPv4 goes in IPv6's clothes.
        let to = match (self.local, to) {
            (SocketAddr::V6(_), SocketAddr::V4(v4)) => {
                SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port())
            }
            (SocketAddr::V6(_), SocketAddr::V6(_)) | (SocketAddr::V4(_), _) => to,
        };
        let _ = self.socket.try_send_to(datagram, to);
    }

    fn poll_receive(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buffer = ReadBuf::new(buffer);
        self.socket.poll_recv_from(context, &mut buffer).map_ok(|from| {
            let ip = from.ip().to_canonical();
            (buffer.filled().len(), SocketAddr::new(ip, from.port()))
        })
    }

    fn local_address(&self) -> SocketAddr {
        self.local
    }
}

/// The address that this host would send from to reach `peer`: a connected UDP socket knows it,
/// and sends nothing. Without a peer, one beyond the default route is asked for.
pub fn route_source(peer: Option<SocketAddr>) -> Option<IpAddr> {
    // Addresses kept for documentation: everybody's default route leads there, and nobody is there.
    let v4 = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let v6 = SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9));
    let beyond: &[SocketAddr] = &[v4, v6];
    let asked = peer.as_ref().map_or(beyond, std::slice::from_ref);
    asked.iter().find_map(|&to| {
        let any: IpAddr =
            if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = std::net::UdpSocket::bind((any, 0)).ok()?;
        socket.connect(to).ok()?;
        let source = socket.local_addr().ok()?.ip();
        (!source.is_unspecified()).then_some(source)
    })
}

/// An address of this host where no route leads beyond it, as on a network without a gateway. Not
/// of a container bridge, which no other host reaches, nor one that holds on its own link alone.
pub fn interface_address(local: SocketAddr) -> Option<IpAddr> {
    let mut interfaces = if_addrs::get_if_addrs().ok()?;
    interfaces.retain(|interface| {
        let is_wide = match interface.ip() {
            IpAddr::V4(ip) => !ip.is_link_local(),
            IpAddr::V6(ip) => !ip.is_unicast_link_local() && local.is_ipv6(),
        };
        is_wide && !interface.is_loopback() && interface.is_oper_up() && !is_bridge(&interface.name)
    });
    let first = interfaces.iter().min_by_key(|one| (one.ip().is_ipv6(), one.index));
    first.map(if_addrs::Interface::ip)
}

fn is_bridge(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).join("bridge").is_dir()
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn check(listen: &str) {
        let (a, b) = (bound(listen).await, bound(listen).await);
        let to = |udp: &Udp| SocketAddr::new("127.0.0.1".parse().unwrap(), udp.local.port());
        a.send(to(&b), b"hello");
        let mut buffer = [0; 16];
        let (length, from) = poll_fn(|cx| b.poll_receive(cx, &mut buffer)).await.unwrap();
        assert_eq!((&buffer[..length], from), (b"hello".as_slice(), to(&a)));
    }

    async fn bound(listen: &str) -> Udp {
        Udp::bind(listen.parse().unwrap()).await.unwrap()
    }

    #[tokio::test]
    async fn datagrams_travel_in_either_family() {
        check("127.0.0.1:0").await;
        check("0.0.0.0:0").await;
        check("[::]:0").await;
    }

    #[test]
    fn the_source_is_the_one_of_the_route() {
        let peer = Some("127.0.0.9:1".parse().unwrap());
        assert_eq!(route_source(peer), Some("127.0.0.1".parse().unwrap()));
    }
}
