//! Which states that someone should look at began and ended between two looks. Pure.

use crate::{
    fleet::notice::{Raised, only_in},
    history::{Entry, entry::NoticeChange},
    model::member::NodeId,
};

pub(super) fn changes(before: &[Raised], after: &[Raised], by: NodeId, at_ms: i64) -> Vec<Entry> {
    let entry = |raised: &Raised, is_raised| {
        Entry::Notice(NoticeChange {
            at_ms,
            by,
            about: raised.notice.member(),
            kind: raised.notice.kind().to_owned(),
            text: raised.notice.to_string(),
            is_raised,
        })
    };
    let over = only_in(before, after).map(|raised| entry(raised, false));
    over.chain(only_in(after, before).map(|raised| entry(raised, true))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::notice::Notice;

    #[test]
    fn a_state_is_told_when_it_begins_and_when_it_ends() {
        let raised = |notice| Raised { notice, since_ms: 0 };
        let skew = |ahead_ms| raised(Notice::ClockSkew { ahead_ms });
        let insecure = || raised(Notice::Insecure);
        let check = |before: &[Raised], after: &[Raised], expected: &[(&str, bool)]| {
            let found = changes(before, after, NodeId(1), 5);
            let found = found.iter().map(|entry| match entry {
                Entry::Notice(change) => (change.kind.as_str(), change.is_raised),
                other => panic!("{other:?}"),
            });
            assert_eq!(found.collect::<Vec<_>>(), expected);
        };
        check(&[], &[skew(600)], &[("clock_skew", true)]);
        check(&[skew(600)], &[skew(700)], &[]);
        check(&[skew(600)], &[insecure()], &[("clock_skew", false), ("insecure", true)]);
    }
}
