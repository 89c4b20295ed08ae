//! What others hold of ownership: who owns what, when it moves, and the orders that it takes.

use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, watch};

use crate::ownership::{
    leaving::Will,
    moves::Move,
    shares::Shares,
    view::{Owners, View},
};

#[derive(Clone)]
pub struct Handle {
    pub(super) wills: mpsc::Sender<Will>,
    pub(super) view: watch::Receiver<Arc<View>>,
    pub(super) owners: watch::Receiver<Arc<Owners>>,
    pub(super) shares: watch::Receiver<Shares>,
    pub(super) moves: broadcast::Sender<Arc<[Move]>>,
}

impl Handle {
    pub fn view(&self) -> watch::Receiver<Arc<View>> {
        self.view.clone()
    }

    /// Who has which slot now, as far as this member knows.
    pub fn owners(&self) -> watch::Receiver<Arc<Owners>> {
        self.owners.clone()
    }

    /// When each slot is this member's, from now on. Nothing is, before the fleet was met.
    pub fn shares(&self) -> watch::Receiver<Shares> {
        self.shares.clone()
    }

    /// All moves from now on, those of one look together. Who does not keep up is told how many
    /// he has missed, and finds out by the owners where he stands.
    pub fn moves(&self) -> broadcast::Receiver<Arc<[Move]>> {
        self.moves.subscribe()
    }
}
