//! What a target's former owner knew: unpacked for the loop that goes on with it, or told to the
//! receivers where the target is gone.

use std::sync::Arc;

use tracing::warn;

use crate::{
    outbox::Shapings,
    ownership::orders::Knowledge,
    runtime::tasks::beside_others,
    scrape::{
        failure_log::shown_url,
        inventory::Inventory,
        read::{Moment, end_all},
        schedule::Grid,
        target_loop::Context,
    },
};

/// `None`, and said so, where it can't be read.
pub(super) fn unpack(knowledge: &Knowledge, shapings: &Shapings) -> Option<Inventory> {
    let told = Inventory::unpack(&knowledge.series, shapings);
    let target = &knowledge.target;
    told.inspect_err(|reason| {
        let (job, url) = (&*target.job, shown_url(target));
        warn!(
            job,
            url,
            error = reason,
            "the series of a target that was handed over can't be read"
        );
    })
    .ok()
}

/// The markers of a target that is gone, and that another member scraped last: at the tick that it
/// missed first. They are filed behind that member's samples and before this one's: the new
/// ownership began after the last tick of the former, and the former before it.
pub(super) async fn end_of(context: Arc<Context>, knowledge: Arc<Knowledge>) {
    let Some(last_tick_ms) = knowledge.last_tick_ms else { return };
    let target = &knowledge.target;
    let shapings = Arc::clone(&context.outbox.shapings().borrow());
    let unpacking = || unpack(&knowledge, &shapings);
    let Some(inventory) = beside_others(knowledge.series.len(), unpacking) else { return };
    let moment = Moment {
        timestamp_ms: Grid::of(target).first_after(last_tick_ms),
        now_ms: context.time.now_ms(),
        since_ms: Some(last_tick_ms + 1),
    };
    context.outbox.append(end_all(&inventory, shapings, target.key, moment)).await;
}
