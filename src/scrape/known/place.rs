//! A place in the chain of lines. Part of `known`.

/// In the order of the lines: a text or a run, by its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) u32);

impl Place {
    pub(super) const NOWHERE: Self = Self(u32::MAX);
    const OF_RUN: u32 = 1 << 31;

    pub(super) fn of_text(at: u32) -> Self {
        Self(at)
    }

    pub(super) fn of_run(at: u32) -> Self {
        Self(at | Self::OF_RUN)
    }

    pub(super) fn run(self) -> Option<u32> {
        let is_run = self != Self::NOWHERE && self.0 & Self::OF_RUN != 0;
        is_run.then_some(self.0 & !Self::OF_RUN)
    }
}
