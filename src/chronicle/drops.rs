//! Which samples the queues have given up between two looks. Pure.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use crate::{
    history::{Entry, entry::SamplesDrop},
    model::member::NodeId,
    outbox::QueueView,
};

/// By destination and reason, since the queue began.
pub(super) type Dropped = BTreeMap<(Arc<str>, Cow<'static, str>), u64>;

pub(super) fn dropped(queues: &[Arc<QueueView>]) -> Dropped {
    let of = |queue: &Arc<QueueView>| {
        let name = Arc::clone(&queue.name);
        let reasons = queue.dropped_samples.clone().into_iter();
        reasons.map(move |(reason, samples)| ((Arc::clone(&name), reason), samples))
    };
    queues.iter().flat_map(of).collect()
}

pub(super) fn changes(before: &Dropped, after: &Dropped, by: NodeId, at_ms: i64) -> Vec<Entry> {
    let more = after.iter().filter_map(|(place, count)| {
        // Fewer: the queue is a new one of an old name.
        let known = before.get(place).copied().filter(|known| known <= count).unwrap_or(0);
        (*count > known).then(|| (place, count - known))
    });
    more.map(|((destination, reason), samples)| {
        let (destination, reason) = (destination.to_string(), reason.to_string());
        Entry::Drop(SamplesDrop { at_ms, by, destination, reason, samples })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_told_once() {
        let counts = |counts: &[(&str, &'static str, u64)]| -> Dropped {
            counts
                .iter()
                .map(|&(name, reason, count)| ((name.into(), reason.into()), count))
                .collect()
        };
        let check = |before: &[_], after: &[_], expected: &[(&str, &str, u64)]| {
            let found = changes(&counts(before), &counts(after), NodeId(1), 5);
            let found = found.iter().map(|entry| match entry {
                Entry::Drop(one) => (one.destination.as_str(), one.reason.as_str(), one.samples),
                other => panic!("{other:?}"),
            });
            assert_eq!(found.collect::<Vec<_>>(), expected);
        };
        check(&[], &[("a", "late", 0)], &[]);
        check(
            &[("a", "late", 2)],
            &[("a", "late", 5), ("b", "late", 1)],
            &[("a", "late", 3), ("b", "late", 1)],
        );
        check(&[("a", "late", 9)], &[("a", "late", 2)], &[("a", "late", 2)]);
        check(&[("a", "late", 9)], &[], &[]);
    }
}
