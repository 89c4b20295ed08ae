//! What ownership and the pool of scrapes tell each other.

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    discovery::Snapshot,
    model::{
        slot::Slot,
        target::{Target, TargetName},
    },
    ownership::{assign::Ending, shares::Duties},
};

/// To the pool: what discovery has found, and what is to be done of it from now on, in this order.
#[derive(Clone, Debug)]
pub struct Orders {
    /// Tells the jobs and their settings; which targets are scraped is said by `tasks` alone.
    pub found: Arc<Snapshot>,
    pub tasks: Vec<Task>,
}

#[derive(Clone, Debug)]
pub enum Task {
    /// Scrape this target at those of its ticks that lie in `duties`; new, or with other duties.
    Run { target: Arc<Target>, duties: Duties },
    /// No more ticks; a scrape under way, or due before the end of its duties, is still finished.
    /// One that has moved ends without markers, and what is known of it is reported.
    Stop { target: TargetName, ending: Ending },
    /// Scrape once, off the ticks.
    CatchUp { target: TargetName, at_ms: i64 },
    /// `true`: scrape nothing that is divided until told otherwise.
    Hold(bool),
    /// When all scrapes of the slot's ticks before `until_ms` have ended, and what they brought is
    /// in the outbox, say `Report::Sealed`.
    Seal { slot: Slot, until_ms: i64 },
    /// All that was heard up to this generation of the lease is in the tasks before.
    Grant(u64),
    /// What its former owner knew of a target that runs here, or is about to.
    Adopt(Arc<Knowledge>),
    /// The target is gone, and its former owner left the markers of its series to this member.
    End(Arc<Knowledge>),
}

/// From the pool, and of seals also from who takes pushes.
#[derive(Clone, Debug)]
pub enum Report {
    Sealed {
        slot: Slot,
    },
    /// Of a target that has moved: for its next owner.
    Left(Knowledge),
    /// A target that was taken over was first scraped so long after its former owner's last scrape.
    Gap {
        ms: i64,
    },
}

/// What an owner of a target knows that the next one needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Knowledge {
    pub target: Arc<Target>,
    /// The last tick that was taken, if any was.
    pub last_tick_ms: Option<i64>,
    /// The series that the last scrape had and whose end would be told by a marker, packed by the
    /// pool.
    pub series: Bytes,
}

impl Knowledge {
    /// The target was never scraped: the next owner begins as this one would have.
    pub fn is_nothing(&self) -> bool {
        self.last_tick_ms.is_none() && self.series.is_empty()
    }

    /// When the target was there for sure, if it was another's until `fence_ms`: who heard late that
    /// it had lost it has scraped it since, and may have found it since.
    pub fn seen_ms(&self, fence_ms: i64) -> i64 {
        self.last_tick_ms.map_or(fence_ms, |last_ms| last_ms.max(fence_ms))
    }
}
