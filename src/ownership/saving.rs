//! What ownership writes to disk beside the outbox, as soon as it has changed. Part of the shell in
//! `mod`.

use tracing::warn;

use crate::ownership::{Ownership, kept::Kept};

impl Ownership {
    pub(super) fn keep(&mut self) {
        if let Some(lines) = self.exchange.take_unsaved()
            && let Err(error) = self.lines_file.save(&lines)
        {
            warn!(%error, "the state of hand-overs can't be kept on disk");
        }
        if let Some(deaths) = self.exchange.take_deaths()
            && let Err(error) = self.deaths_file.save(&deaths)
        {
            warn!(%error, "whose copies are this member's own can't be kept on disk");
        }
        if let Some(overrides) = self.scales.take_unsaved()
            && let Err(error) = self.overrides_file.save(overrides)
        {
            warn!(%error, "the overrides of owners can't be kept on disk");
        }
    }
}

pub(super) fn loaded<T: serde::de::DeserializeOwned + Default>(file: &Kept) -> T {
    file.load().unwrap_or_else(|reason| {
        warn!(error = reason, "a file of the hand-over can't be used, the peers are asked instead");
        T::default()
    })
}
