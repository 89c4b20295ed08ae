//! The file: opened, brought to the present schema, set aside where it can't be used. Blocks.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::{
    history::fault::{Fault, of_io},
    model::time::rfc3339,
};

/// Each brings the file from one version to the next; version 0 is an empty file.
const MIGRATIONS: [&str; 1] = [include_str!("schema.sql")];

/// Who writes while another does waits so long: only a person with `sqlite3` would.
pub(super) const BUSY_MAX: Duration = Duration::from_secs(2);
/// Of the log of changes beside the file, once what it holds is in the file.
pub(super) const LOG_BYTES_MAX: u64 = 4 << 20;
/// Files that were set aside; of more the oldest is deleted.
const SET_ASIDE_MAX: usize = 2;

/// For the one who writes.
pub(super) fn open(file: &Path, bytes_max: u64) -> Result<Connection, Fault> {
    let connection = Connection::open(file)?;
    connection.busy_timeout(BUSY_MAX)?;
    // Before the first table, or it has no effect.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // A row outlives what it names: what that was is not kept as long as that it was.
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES_MAX, |_| Ok(()))?;
    connection.set_prepared_statement_cache_capacity(128);
    bound(&connection, bytes_max)?;
    migrate(&connection, &MIGRATIONS)?;
    check(&connection)?;
    Ok(connection)
}

/// For those who ask.
pub(super) fn open_for_reading(file: &Path) -> Result<Connection, Fault> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_MAX)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

/// The file itself grows no further than so many bytes. Pruning keeps below it; this is the wall.
pub(super) fn bound(connection: &Connection, bytes_max: u64) -> Result<(), Fault> {
    let page_bytes: u64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages_max = bytes_max / page_bytes;
    connection.pragma_update_and_check(None, "max_page_count", pages_max, |_| Ok(()))?;
    Ok(())
}

fn migrate(connection: &Connection, migrations: &[&str]) -> Result<(), Fault> {
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(Fault::Newer { found });
    }
    let found = usize::try_from(found)
        .map_err(|_| Fault::Corrupt(format!("version {found} has never been")))?;
    for (version, migration) in migrations.iter().enumerate().skip(found) {
        let version = version + 1;
        let step = format!("BEGIN IMMEDIATE; {migration}; PRAGMA user_version = {version}; COMMIT");
        if let Err(error) = connection.execute_batch(&step) {
            // The first error is the one to tell.
            let _ = connection.execute_batch("ROLLBACK");
            return Err(error.into());
        }
    }
    Ok(())
}

/// Whether the tables are those of the version that it says it has.
fn check(connection: &Connection) -> Result<(), Fault> {
    for table in TABLES {
        let look = || {
            let sql = format!("SELECT * FROM {table} LIMIT 1");
            connection.prepare(&sql)?.query([])?.next().map(drop)
        };
        look().map_err(|error: rusqlite::Error| match error.sqlite_error_code() {
            // There is no such table, or it lacks a column that a view wants.
            Some(ErrorCode::Unknown) => Fault::Corrupt(error.to_string()),
            Some(_) | None => error.into(),
        })?;
    }
    Ok(())
}

const TABLES: [&str; 13] = [
    "members",
    "member_changes",
    "targets",
    "presences",
    "target_changes",
    "slot_moves",
    "move_groups",
    "health_changes",
    "config_versions",
    "placements",
    "notices",
    "drops",
    "watches",
];

/// Moves the file out of the way, with what belongs to it; gives the name that it has now.
pub(super) fn set_aside(file: &Path, now_ms: i64) -> Result<PathBuf, Fault> {
    let time = rfc3339(now_ms).replace(':', "-");
    let aside = with_suffix(file, &format!(".corrupt-{time}"));
    for suffix in ["-wal", "-shm"] {
        // It would be taken for the log of the file that comes. Often there is none.
        let _ = fs::remove_file(with_suffix(file, suffix));
    }
    fs::rename(file, &aside)
        .map_err(|error| of_io(&error, &format!("`{}` can't be set aside", file.display())))?;
    let aside_before = set_aside_before(file);
    for old in aside_before.iter().rev().skip(SET_ASIDE_MAX) {
        // It only costs room.
        let _ = fs::remove_file(old);
    }
    Ok(aside)
}

/// The oldest first, as their names tell the time.
pub(super) fn set_aside_before(file: &Path) -> Vec<PathBuf> {
    let prefix = file.file_name().unwrap_or_default().to_string_lossy().into_owned() + ".corrupt-";
    let folder = file.parent().unwrap_or(Path::new("."));
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let is_aside = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix))
    };
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_aside).collect();
    found.sort();
    found
}

/// Of the file and the log beside it.
pub(super) fn bytes(file: &Path) -> u64 {
    let of = |path: &Path| fs::metadata(path).map_or(0, |metadata| metadata.len());
    of(file) + of(&with_suffix(file, "-wal"))
}

pub(super) fn log_bytes(file: &Path) -> u64 {
    fs::metadata(with_suffix(file, "-wal")).map_or(0, |metadata| metadata.len())
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: &str = "ALTER TABLE members ADD COLUMN note TEXT; UPDATE members SET note = name";

    fn version_1() -> Connection {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &MIGRATIONS[..1]).unwrap();
        connection
            .execute("INSERT INTO members VALUES (1, 'a', 'n1', '', 100, '', 'alive', 0, 0)", [])
            .unwrap();
        connection
    }

    fn version(connection: &Connection) -> i64 {
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
    }

    #[test]
    fn a_file_is_brought_to_the_present_with_what_it_has() {
        let connection = version_1();
        assert_eq!(version(&connection), 1);
        let both = [MIGRATIONS[0], SECOND];
        migrate(&connection, &both).unwrap();
        let note: String =
            connection.query_row("SELECT note FROM members", [], |row| row.get(0)).unwrap();
        assert_eq!((note.as_str(), version(&connection)), ("n1", 2));
        // Nothing is done twice.
        migrate(&connection, &both).unwrap();
        assert_eq!(migrate(&connection, &both[..1]), Err(Fault::Newer { found: 2 }));
    }

    #[test]
    fn a_step_that_fails_leaves_the_version_before_it() {
        let connection = version_1();
        let broken = format!("{SECOND}; SELECT no_such_function()");
        let error = migrate(&connection, &[MIGRATIONS[0], &broken]).unwrap_err();
        assert!(error.to_string().contains("no_such_function"), "{error}");
        assert_eq!(version(&connection), 1);
        assert!(connection.prepare("SELECT note FROM members").is_err());
        migrate(&connection, &[MIGRATIONS[0], SECOND]).unwrap();
        assert_eq!(version(&connection), 2);
    }

    #[test]
    fn every_table_is_looked_at() {
        let connection = version_1();
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        for table in TABLES {
            assert_eq!(connection.query_row(sql, [table], |row| row.get(0)), Ok(1), "{table}");
            connection.execute_batch(&format!("SAVEPOINT s; DROP TABLE {table}")).unwrap();
            assert!(matches!(check(&connection), Err(Fault::Corrupt(_))), "{table}");
            connection.execute_batch("ROLLBACK TO s; RELEASE s").unwrap();
        }
        assert_eq!(check(&connection), Ok(()));
    }
}
