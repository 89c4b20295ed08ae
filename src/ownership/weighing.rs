//! The shell around `scales`: brings it what the pool, the fleet and the peers say, and has the
//! overrides obeyed that come of it. Part of the shell in `mod`.

use std::sync::Arc;

use tracing::{info, warn};

use crate::{
    fleet::membership::{Description, Order},
    model::{member::NodeId, overrides::Overrides},
    ownership::{Ownership, scales::Sight},
};

impl Ownership {
    pub(super) fn measured(&mut self) {
        let scraped = Arc::clone(&self.links.loads.borrow_and_update());
        let pushed = Arc::clone(&self.links.pushed.borrow_and_update());
        let loads = scraped.with(&pushed);
        let present = self.present();
        self.scales.measured(&loads, &present.table, present.now_ms);
    }

    /// Asks for what others have, and publishes where that is this member's to do.
    pub(super) fn weigh(&mut self) {
        let now_ms = self.now_ms();
        let (roster, status) = (self.links.roster.borrow(), self.links.status.borrow());
        let at = Sight { now_ms, roster: &roster, facts: &status.facts };
        self.scales.tick(at);
        let may_publish =
            self.links.fleet.is_some() && self.is_met && !self.on_hold && self.leaving.is_none();
        let is_new = may_publish && self.scales.publish(self.division.placement(), at);
        drop((roster, status));
        if is_new {
            if let Some(map) = &self.scales.overrides().latest {
                let (version, slots) = (map.stamp.version, map.moves.len());
                info!(
                    map_version = version,
                    slots,
                    from_ms = map.from_ms,
                    "published overrides to even out the load"
                );
            }
            self.roster_changed();
        }
    }

    pub(super) fn heard_overrides(&mut self, from: NodeId, overrides: Overrides) {
        let now_ms = self.now_ms();
        let conflicts = self.scales.conflicts();
        let (roster, status) = (self.links.roster.borrow(), self.links.status.borrow());
        let at = Sight { now_ms, roster: &roster, facts: &status.facts };
        let is_new = self.scales.heard_overrides(from, overrides, at);
        drop((roster, status));
        if self.scales.conflicts() != conflicts {
            warn!(member_id = %from, "two maps of overrides have met, as after a split; the greater one is kept until one for all is published");
            self.news.push(Order::OverrideConflict);
        }
        if is_new {
            self.status_changed();
        }
    }

    /// Tells the others which vector of loads and which overrides are here.
    pub(super) async fn tell_loads(&mut self) {
        let (Some(fleet), Some(described)) = (&self.links.fleet, &self.described) else { return };
        let (loads, overrides) = self.scales.tags();
        if (described.loads, described.overrides) != (loads, overrides) {
            let description = Description { loads, overrides, ..described.clone() };
            fleet.order(Order::Describe(description.clone())).await;
            self.described = Some(description);
        }
    }
}
