//! What happens to the file, and that history gets over it: real damage, and disks that are full.

use std::{
    fs,
    io::{Seek, SeekFrom, Write as _},
    path::Path,
    process::Command,
};

use super::*;
use crate::history::{EventFilter, Unanswered};

fn set_aside(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.contains(".corrupt-"));
    names.sort();
    names
}

async fn events(book: &Book) -> Result<usize, Unanswered> {
    book.handle.events(EventFilter::default(), None, 1_000).await.map(|page| page.items.len())
}

#[tokio::test]
async fn what_is_no_history_is_set_aside_and_two_such_files_are_kept() {
    let mut folder = tempfile::tempdir().unwrap();
    let mut before = Vec::new();
    for round in 1..=3 {
        fs::write(folder.path().join("history.db"), format!("round {round}").repeat(1_000))
            .unwrap();
        let book = Book::over(folder, HistorySettings::default());
        let aside = set_aside(book.folder.path());
        assert_eq!(aside.len(), round.min(2), "{aside:?}");
        assert_ne!(aside, before);
        assert!((book.metric("starling_history_set_aside_files_total") - 1.0).abs() < 0.1);
        before = aside;
        book.record(vec![moves(now_ms(), 0, 1, [1])]).await;
        assert_eq!(events(&book).await, Ok(1));
        folder = book.stop().await.0;
    }
    let newest = fs::read_to_string(folder.path().join(&before[1])).unwrap();
    assert!(newest.starts_with("round 3"));
}

#[tokio::test]
async fn a_file_of_a_later_version_is_set_aside_whole() {
    let book = Book::new();
    book.record(vec![moves(now_ms(), 0, 1, 0..100)]).await;
    let (folder, section) = book.stop().await;
    let file = folder.path().join("history.db");
    rusqlite::Connection::open(&file).unwrap().pragma_update(None, "user_version", 99).unwrap();

    let book = Book::over(folder, section);
    assert_eq!(events(&book).await, Ok(0));
    let aside = set_aside(book.folder.path());
    let aside = rusqlite::Connection::open(book.folder.path().join(&aside[0])).unwrap();
    let rows: i64 =
        aside.query_row("SELECT count(*) FROM slot_moves", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 100);
}

/// A table of another program under one of our names.
#[tokio::test]
async fn tables_that_are_not_ours_are_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("history.db");
    let theirs = rusqlite::Connection::open(file).unwrap();
    theirs.execute_batch("CREATE TABLE members (x); PRAGMA user_version = 1").unwrap();
    drop(theirs);
    let book = Book::over(folder, HistorySettings::default());
    assert_eq!(set_aside(book.folder.path()).len(), 1);
    assert_eq!(events(&book).await, Ok(0));
}

#[tokio::test]
async fn damage_is_met_while_it_runs() {
    let book = Book::new();
    let base = now_ms() - 60_000;
    book.record((0..2_000).map(|n| health(base + n, n.unsigned_abs(), Some("down"))).collect())
        .await;
    // All of it into the file; then all but its first page is overwritten.
    let other = rusqlite::Connection::open(book.file()).unwrap();
    other.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    drop(other);
    let mut file = fs::OpenOptions::new().write(true).open(book.file()).unwrap();
    let length = usize::try_from(file.metadata().unwrap().len()).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; length - 4096]).unwrap();
    file.sync_all().unwrap();

    let answer = events(&book).await;
    assert!(matches!(answer, Err(Unanswered::Fault(_))), "{answer:?}");
    eventually(|| set_aside(book.folder.path()).len() == 1).await;
    eventually(|| book.handle.store().fault.is_none()).await;
    book.record(vec![moves(now_ms(), 0, 1, [1])]).await;
    assert_eq!(events(&book).await, Ok(1));
    assert_eq!(book.handle.store().fault, None);
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("later/history.db");
    let mut registry = Registry::default();
    let settings = Settings {
        file: file.clone(),
        section: HistorySettings::default(),
        time: FleetTime::default(),
    };
    let (handle, part) = History::new(settings, &mut registry);
    let fault = handle.store().fault.clone().unwrap();
    assert!(fault.contains("unable to open"), "{fault}");
    let stop = Stop::new();
    let task = tasks::spawn("history", part.run(stop.clone()));
    handle.record(moves(now_ms(), 0, 1, [1]));
    eventually(|| handle.common.meters.lost.get() == 1).await;
    fs::create_dir(file.parent().unwrap()).unwrap();
    eventually(|| handle.store().fault.is_none()).await;
    handle.record(moves(now_ms(), 0, 2, [1]));
    stop.raise();
    task.await.unwrap().unwrap();
    assert_eq!(handle.common.meters.entries.get(), 1);
}

/// A file system of its own, small and in memory.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn new(kilobytes: usize) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        let is_mounted = disk.mount(&format!("size={kilobytes}k"));
        is_mounted.then_some(disk)
    }

    fn grow(&self, kilobytes: usize) {
        assert!(self.mount(&format!("remount,size={kilobytes}k")));
    }

    fn mount(&self, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(self.0.path());
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).output();
    }
}

#[expect(clippy::print_stderr, reason = "says what was not tested")]
#[tokio::test]
async fn a_full_disk_stops_history_until_there_is_room() {
    let Some(disk) = SmallDisk::new(2_048) else {
        eprintln!("skipped: this process may not mount a file system");
        return;
    };
    let mut registry = Registry::default();
    let settings = Settings {
        file: disk.0.path().join("history.db"),
        section: HistorySettings::default(),
        time: FleetTime::default(),
    };
    let (handle, part) = History::new(settings, &mut registry);
    let stop = Stop::new();
    let task = tasks::spawn("history", part.run(stop.clone()));
    let base = now_ms() - 60_000;
    let error = "x".repeat(1_000);
    let meters = handle.common.meters.clone();
    let mut recorded = 0;
    while handle.store().fault.is_none() {
        for n in 0..200 {
            handle.record(health(base + recorded, recorded.unsigned_abs() + n, Some(&error)));
        }
        recorded += 1;
        assert!(recorded < 1_000, "two megabytes are full by now");
        let all = recorded.unsigned_abs() * 200;
        eventually(|| meters.entries.get() + meters.lost.get() == all).await;
    }
    let fault = handle.store().fault.clone().unwrap();
    assert!(fault.contains("full") || fault.contains("I/O"), "{fault}");
    assert_eq!(meters.works.get(), 0);
    // It goes on taking and losing, and no one waits.
    let lost = meters.lost.get();
    (0..300).for_each(|n| handle.record(health(base, n, None)));
    eventually(|| meters.lost.get() == lost + 300).await;

    disk.grow(65_536);
    eventually(|| handle.store().fault.is_none()).await;
    let kept = meters.entries.get();
    (0..300).for_each(|n| handle.record(health(now_ms(), n, None)));
    eventually(|| meters.entries.get() == kept + 300).await;
    let page = handle.events(EventFilter::default(), None, 300).await.unwrap();
    assert!(page.items.iter().all(|event| event.summary.ends_with("is up")), "{page:?}");
    stop.raise();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_too_much_is_lost_and_counted_and_leaves_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        file: folder.path().join("history.db"),
        section: HistorySettings::default(),
        time: FleetTime::default(),
    };
    let (handle, part) = History::new(settings, &mut Registry::default());
    // Nobody writes yet.
    let all = super::super::ENTRIES_MAX as u64 + 100;
    (0..all).for_each(|n| handle.record(health(now_ms(), n, None)));
    assert_eq!(handle.common.meters.lost.get(), 100);
    let stop = Stop::new();
    let task = tasks::spawn("history", part.run(stop.clone()));
    eventually(|| handle.common.meters.entries.get() == all - 100).await;
    handle.lost(7);
    handle.record(health(now_ms(), 0, Some("no")));
    eventually(|| handle.common.meters.entries.get() == all - 99).await;
    stop.raise();
    task.await.unwrap().unwrap();
    let file = rusqlite::Connection::open(folder.path().join("history.db")).unwrap();
    let watches: i64 =
        file.query_row("SELECT count(*) FROM watches", [], |row| row.get(0)).unwrap();
    assert!(watches >= 2, "{watches}");
}

#[tokio::test]
async fn history_can_be_switched_off_and_on() {
    let off = HistorySettings { enabled: false, ..HistorySettings::default() };
    let book = Book::over(tempfile::tempdir().unwrap(), off.clone());
    assert_eq!(events(&book).await, Err(Unanswered::Off));
    assert!(!book.file().exists());
    book.handle.apply(HistorySettings::default());
    eventually(|| book.handle.common.meters.works.get() == 1).await;
    book.record(vec![moves(now_ms(), 0, 1, [1])]).await;
    assert_eq!(events(&book).await, Ok(1));
    book.handle.apply(off);
    eventually(|| book.handle.common.meters.works.get() == 0).await;
    assert_eq!(events(&book).await, Err(Unanswered::Off));
    assert_eq!(book.handle.insert(vec![moves(now_ms(), 0, 1, [2])]).await, Err(Unanswered::Off));
    assert_eq!(book.count("SELECT count(*) FROM slot_moves"), 1);
}
