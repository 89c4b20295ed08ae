//! The addresses of a host name in turn: each new connection begins with the next one, so that those
//! of one client spread over all servers behind the name.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

#[derive(Debug)]
pub(super) struct Rotation(AtomicUsize);

impl Rotation {
    /// `first` should be another one for each client, or they all begin with the same server.
    pub(super) fn new(first: usize) -> Self {
        Self(AtomicUsize::new(first))
    }

    fn turn(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        // The resolver may shuffle them as well, and undo it.
        addresses.sort_unstable();
        let turn = self.0.fetch_add(1, Ordering::Relaxed);
        if !addresses.is_empty() {
            let first = turn % addresses.len();
            addresses.rotate_left(first);
        }
        addresses
    }
}

/// As reqwest wants it: what resolves outlives the call.
#[derive(Clone, Debug)]
pub(super) struct Rotating(pub(super) Arc<Rotation>);

impl Resolve for Rotating {
    fn resolve(&self, name: Name) -> Resolving {
        let rotation = Arc::clone(&self.0);
        Box::pin(async move {
            // The port is that of the URL, and put in by who asks.
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let addresses: Addrs = Box::new(rotation.turn(found.collect()).into_iter());
            Ok(addresses)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_has_its_turn() {
        let rotation = Rotation::new(4);
        let address = |n: u8| SocketAddr::from(([10, 0, 0, n], 0));
        let first = |order: [u8; 3]| rotation.turn(order.map(address).to_vec())[0];
        let firsts = [first([1, 2, 3]), first([3, 1, 2]), first([2, 3, 1]), first([1, 3, 2])];
        assert_eq!(firsts, [address(2), address(3), address(1), address(2)]);
        assert_eq!(rotation.turn(Vec::new()), []);
    }

    #[tokio::test]
    async fn names_are_resolved() {
        let rotating = Rotating(Arc::new(Rotation::new(0)));
        let found: Vec<_> = rotating.resolve("localhost".parse().unwrap()).await.unwrap().collect();
        assert!(found.iter().all(|address| address.ip().is_loopback()), "{found:?}");
        assert!(!found.is_empty());
    }
}
