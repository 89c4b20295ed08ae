//! What a member missed, from one who saw it.

use super::*;
use crate::history::{EventFilter, Page, tests::asked::story};

async fn copy(from: &Book, to: &Book, (from_ms, until_ms): (i64, i64), limit: usize) -> usize {
    let (mut after, mut pages) = (None, 0);
    loop {
        let page = from.handle.since(from_ms, until_ms, after, limit).await.unwrap();
        let bytes = postcard::to_stdvec(&page).unwrap();
        assert!(bytes.len() < 1 << 20, "{}", bytes.len());
        let page: Page = postcard::from_bytes(&bytes).unwrap();
        to.handle.insert(page.rows).await.unwrap();
        pages += 1;
        after = page.next;
        if after.is_none() {
            return pages;
        }
    }
}

/// All that it tells, without what is its own: the numbers of rows.
async fn told(book: &Book) -> Vec<String> {
    let page = book.handle.events(EventFilter::default(), None, 1_000).await.unwrap();
    page.items.iter().map(|event| format!("{} {}", event.at_ms, event.summary)).collect()
}

#[tokio::test]
async fn a_copy_tells_the_same_and_twice_is_once() {
    let base = now_ms() - 60_000;
    let (seen, missed) = (Book::new(), Book::new());
    seen.record(story(base)).await;
    for limit in [1, 3, 1_000] {
        copy(&seen, &missed, (base, base + 60_000), limit).await;
        assert_eq!(told(&missed).await, told(&seen).await, "by {limit}");
        for at in [1_500, 3_000, 5_999, 6_000, 9_000] {
            let (one, other) =
                (missed.handle.owners_at(base + at).await, seen.handle.owners_at(base + at).await);
            assert_eq!(one, other, "at {at}");
        }
        let name = (TargetId(3), "node".into());
        let (one, other) = (
            missed.handle.target(name.clone(), None, None).await.unwrap(),
            seen.handle.target(name, None, None).await.unwrap(),
        );
        assert_eq!(one, other);
    }
    assert_eq!(*missed.handle.last_moves().borrow(), *seen.handle.last_moves().borrow());
}

#[tokio::test]
async fn only_what_was_missed_is_sent_in_pages_of_bounded_size() {
    let base = now_ms() - 60_000;
    let (seen, missed) = (Book::new(), Book::new());
    let long = |id: u64| {
        let mut target = target(id);
        target.labels.push(("long".into(), "l".repeat(1_000)));
        target
    };
    let targets: Vec<_> = (0..3_000).map(long).collect();
    let changes = targets.chunks(250).map(|some| {
        Entry::Targets(TargetsChange {
            at_ms: base + 1_000,
            job: "node".into(),
            came: true,
            reason: Reason::Discovered,
            targets: some.to_vec(),
        })
    });
    seen.record(changes.collect()).await;
    seen.record(vec![came(base, [9_000]), came(base + 2_000, [9_001])]).await;
    let pages = copy(&seen, &missed, (base + 500, base + 2_000), 100_000).await;
    assert!((4..10).contains(&pages), "{pages}");
    assert_eq!(missed.count("SELECT count(*) FROM presences"), 3_000);
    assert_eq!(missed.count("SELECT sum(targets) FROM target_changes"), 3_000);
}

#[tokio::test]
async fn what_was_missed_is_known_until_it_is_fetched() {
    let book = Book::new();
    let (from_ms, until_ms) = book.handle.missed().unwrap();
    assert_eq!(until_ms - from_ms, 24 * 3_600_000, "of a new file a day");
    book.record(vec![moves(now_ms(), 0, 1, [1])]).await;
    let (folder, section) = book.stop().await;
    // An hour ago by what is written there.
    let file = rusqlite::Connection::open(folder.path().join("history.db")).unwrap();
    file.execute(
        "UPDATE watches SET from_ms = from_ms - 7200000, until_ms = until_ms - 3600000",
        [],
    )
    .unwrap();
    drop(file);

    let book = Book::over(folder, section);
    let (from_ms, until_ms) = book.handle.missed().unwrap();
    assert!((3_590_000..3_700_000).contains(&(until_ms - from_ms)), "{from_ms} {until_ms}");
    let gaps = book.handle.unwatched(from_ms - 60_000, until_ms).await.unwrap();
    assert_eq!(gaps, [(from_ms, until_ms)]);
    assert!(!*book.handle.caught_up.borrow());
    book.handle.caught_up();
    book.handle.is_caught_up().await;
    eventually(|| book.count("SELECT count(*) FROM watches WHERE fetched = 1") == 1).await;
    assert_eq!(book.handle.unwatched(from_ms - 60_000, until_ms).await, Ok(Vec::new()));
}
