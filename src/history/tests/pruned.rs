//! The file keeps within its age and its bytes.

use super::*;
use crate::history::{EventFilter, file};

const DAY_MS: i64 = 24 * 3_600_000;

#[tokio::test]
async fn what_is_too_old_is_forgotten_but_for_the_last_owners() {
    let book = Book::new();
    let now = now_ms();
    let old = now - 100 * DAY_MS;
    let mut entries = vec![
        moves(old, 0, 1, 0..4096),
        moves(old + 1_000, 1, 2, 0..2048),
        came(old, 0..3_000),
        went(old + 5_000, 0..2_000),
        moves(now - DAY_MS, 2, 3, 0..1024),
        came(now - DAY_MS, [5_000]),
        health(now - DAY_MS, 5_000, Some("no")),
    ];
    entries.extend((0..3_000).map(|n| health(old + n, n.unsigned_abs() % 100, Some("no"))));
    book.record(entries).await;
    let book = book.reopened().await;
    eventually(|| book.count("SELECT count(*) FROM targets") == 1_001).await;
    let check = |sql: &str, expected: i64| assert_eq!(book.count(sql), expected, "{sql}");
    check("SELECT count(*) FROM health_changes", 1);
    check("SELECT count(*) FROM presences", 1_001);
    check("SELECT count(*) FROM move_groups", 1);
    // One for each slot, and the recent ones.
    check("SELECT count(*) FROM slot_moves", 4_096 + 1_024);
    eventually(|| book.count("PRAGMA freelist_count") == 0).await;
    for (at, slot, owner) in
        [(now, 5, 3), (now - 2 * DAY_MS, 5, 2), (now, 2_000, 2), (now - 2 * DAY_MS, 4_000, 1)]
    {
        let owners = book.handle.owners_at(at).await.unwrap();
        assert_eq!(owners[slot], Some(NodeId(owner)), "{at} {slot}");
    }
    let page = book.handle.events(EventFilter::default(), None, 100).await.unwrap();
    assert_eq!(page.items.len(), 3, "{page:?}");
    assert!(book.handle.store().oldest_ms.is_some_and(|oldest| oldest >= now - DAY_MS));
}

#[tokio::test]
async fn the_file_never_grows_beyond_its_bytes_and_the_oldest_makes_room() {
    let bytes_max = 32 << 20;
    let section = HistorySettings { bytes_max, ..HistorySettings::default() };
    let book = Book::over(tempfile::tempdir().unwrap(), section);
    let (rounds, each) = (40_u64, 1_000_u64);
    let begin = now_ms() - DAY_MS;
    let error = "e".repeat(900);
    let mut largest = 0;
    for round in 0..rounds {
        let entry = |n: u64| {
            let number = i64::try_from(round * each + n).unwrap();
            health(begin + number * 1_000, n, Some(&error))
        };
        book.record((0..each).map(entry).collect()).await;
        largest = largest.max(file::bytes(&book.file()));
    }
    assert!(largest <= bytes_max, "{largest}");
    // More than half of it was full, or this has shown nothing.
    assert!(largest > bytes_max / 3, "{largest}");
    assert_eq!(book.handle.common.meters.lost.get(), 0);
    let rows = book.count("SELECT count(*) FROM health_changes");
    assert!((1_000..40_000).contains(&rows), "{rows}");
    let newest = begin + i64::try_from(rounds * each - 1).unwrap() * 1_000;
    assert_eq!(book.count("SELECT max(at_ms) FROM health_changes"), newest);
    let oldest = book.count("SELECT min(at_ms) FROM health_changes");
    assert!(oldest > begin, "{oldest}");
}

/// A person looks, and goes to lunch: the log can't be emptied, and must not fill the disk.
#[tokio::test]
async fn an_open_transaction_elsewhere_stops_history_before_the_log_is_too_large() {
    let bytes_max = 32 << 20;
    let section = HistorySettings { bytes_max, ..HistorySettings::default() };
    let book = Book::over(tempfile::tempdir().unwrap(), section);
    book.record(vec![came(now_ms(), [1])]).await;
    let mut person = rusqlite::Connection::open(book.file()).unwrap();
    let looking = person.transaction().unwrap();
    let _: i64 = looking.query_row("SELECT count(*) FROM targets", [], |row| row.get(0)).unwrap();
    let error = "e".repeat(900);
    let mut round = 0;
    while book.handle.store().fault.is_none() {
        let begin = now_ms() - DAY_MS + round * 1_000;
        let entry = |n: i64| health(begin + n, n.unsigned_abs(), Some(&error));
        book.record((0..1_000).map(entry).collect()).await;
        assert!(file::bytes(&book.file()) <= bytes_max);
        round += 1;
    }
    let fault = book.handle.store().fault.clone().unwrap();
    assert!(fault.contains("another process"), "{fault}");
    drop(looking);
    eventually(|| book.handle.store().fault.is_none()).await;
    let before = book.handle.common.meters.entries.get();
    book.record(vec![came(now_ms(), [2])]).await;
    assert_eq!(book.handle.common.meters.entries.get(), before + 1);
}
