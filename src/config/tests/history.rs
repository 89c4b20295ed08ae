//! The `history` section.

use super::*;

#[test]
fn history_is_bounded() {
    check(
        "history: {max_bytes: 1MB, max_age: 0, enabled: maybe, max_rows: 1}\n",
        &[
            "1:11: `max_bytes` must be at least 32MiB",
            "1:27: `max_age` must be more than 0",
            "1:48: `enabled`: expected true or false, found `maybe`",
            "1:55: unknown key `max_rows` in `history`",
        ],
    );
    let history =
        read("history: {enabled: false, max_age: 7d, max_bytes: 1GiB}\n").expect("good").history;
    let age_max = Duration::from_secs(7 * 86_400);
    assert_eq!(history, HistorySettings { enabled: false, age_max, bytes_max: 1 << 30 });
    assert!(HistorySettings::default().enabled);
}
