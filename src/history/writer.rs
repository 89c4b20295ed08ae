//! The one who writes: entries in transactions of bounded size, the stretches in which this member
//! was looking, and the last move of each slot, which is kept in memory. Blocks.

use std::{borrow::Cow, path::PathBuf, sync::Arc, time::Duration};

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use crate::{
    history::{
        answers::{LastMove, LastMoves},
        entry::{Entry, Reason, SlotMoves},
        fault::Fault,
        file,
        nodes::Nodes,
        rows::{self, Origin},
    },
    model::slot::{SLOTS, Slot},
};

/// Of one transaction, so that the log of changes stays small, and a question gets a look in.
const TRANSACTION_ROWS_MAX: usize = 500;
/// Kept free of `max_bytes` for the log of changes: what it may be when a transaction begins, and
/// what the largest transaction adds.
pub(super) const LOG_RESERVE_BYTES: u64 = 16 << 20;
const HELD_BY_A_READER: &str =
    "its log can't be emptied, as another process has begun to read the file and does not end";
/// What a file is taken to have missed that has just begun.
const NEW_MISSED_MS: i64 = 24 * 3_600_000;

/// From an instant until another.
type Stretch = (i64, i64);

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) file: PathBuf,
    nodes: Nodes,
    last_moves: Arc<LastMoves>,
    /// The row of the stretch that goes on.
    watch: Option<i64>,
}

/// What is left of `max_bytes` for the tables.
pub(super) fn file_bytes_max(bytes_max: u64) -> u64 {
    bytes_max.saturating_sub(LOG_RESERVE_BYTES)
}

impl Writer {
    pub(super) fn open(file: PathBuf, bytes_max: u64) -> Result<Self, Fault> {
        let connection = file::open(&file, file_bytes_max(bytes_max))?;
        let mut writer = Self {
            connection,
            file,
            nodes: Nodes::default(),
            last_moves: Arc::default(),
            watch: None,
        };
        writer.keep_log_small()?;
        writer.load_last_moves(0..SLOTS)?;
        Ok(writer)
    }

    /// What this member has not seen before `now_ms`.
    pub(super) fn missed(&self, now_ms: i64) -> Result<Option<Stretch>, Fault> {
        let seen: Option<i64> =
            self.connection.query_row("SELECT max(until_ms) FROM watches", [], |row| row.get(0))?;
        let from_ms = seen.unwrap_or(now_ms - NEW_MISSED_MS);
        Ok((from_ms < now_ms).then_some((from_ms, now_ms)))
    }

    pub(super) fn last_moves(&self) -> Arc<LastMoves> {
        Arc::clone(&self.last_moves)
    }

    /// All or, with an error, as much as was written before it.
    pub(super) fn write(&mut self, entries: &[Entry], origin: Origin) -> Result<(), Fault> {
        let entries: Vec<Cow<'_, Entry>> = entries.iter().flat_map(in_pieces).collect();
        let mut rest = &entries[..];
        while !rest.is_empty() {
            let mut rows = 0;
            let fits = |entry: &&Cow<'_, Entry>| {
                rows += entry.rows();
                rows <= TRANSACTION_ROWS_MAX
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let (now, later) = rest.split_at(count);
            let outcome = self.transaction(now, origin);
            if outcome.is_err() {
                // It may know numbers that were never written.
                self.nodes.forget();
            }
            outcome?;
            self.keep_log_small()?;
            rest = later;
        }
        Ok(())
    }

    fn transaction(&mut self, entries: &[Cow<'_, Entry>], origin: Origin) -> Result<(), Fault> {
        let transaction = self.connection.transaction()?;
        for entry in entries {
            rows::write(&transaction, &mut self.nodes, entry, origin)?;
        }
        transaction.commit()?;
        let moved = entries.iter().filter_map(|entry| match &**entry {
            Entry::Moves(moves) => Some(&moves.slots),
            Entry::Member(_)
            | Entry::Targets(_)
            | Entry::Health(_)
            | Entry::Config(_)
            | Entry::Placement(_)
            | Entry::Notice(_)
            | Entry::Drop(_) => None,
        });
        let moved: Vec<u16> = moved.flatten().map(|slot| slot.number()).collect();
        self.load_last_moves(moved)
    }

    fn load_last_moves(&mut self, slots: impl IntoIterator<Item = u16>) -> Result<(), Fault> {
        let mut slots = slots.into_iter().peekable();
        if slots.peek().is_none() {
            return Ok(());
        }
        let Self { connection, nodes, last_moves, .. } = self;
        let last_moves = Arc::make_mut(last_moves);
        let mut last = connection.prepare_cached(
            "SELECT at_ms, from_node, to_node, reason FROM slot_moves
              WHERE slot = ?1 AND void = 0 ORDER BY at_ms DESC LIMIT 1",
        )?;
        for slot in slots {
            let found = last
                .query_row([slot], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get::<_, String>(3)?))
                })
                .optional()?;
            last_moves.0[usize::from(slot)] = match found {
                Some((at_ms, from, to, reason)) => Some(LastMove {
                    at_ms,
                    from: nodes.id(connection, from)?,
                    to: nodes.id(connection, to)?,
                    reason: Reason::named(&reason).unwrap_or(Reason::Unseen),
                }),
                None => None,
            };
        }
        Ok(())
    }

    pub(super) fn forget_nodes(&mut self) {
        self.nodes.forget();
    }

    /// This member looks until now, and has since the last call, unless `watch_ends` was called.
    pub(super) fn watch_goes_on(&mut self, now_ms: i64) -> Result<(), Fault> {
        if let Some(watch) = self.watch {
            self.connection
                .prepare_cached(
                    "UPDATE watches SET until_ms = max(until_ms, ?2) WHERE number = ?1",
                )?
                .execute([watch, now_ms])?;
        } else {
            self.watch = Some(self.add_watch(now_ms, now_ms, false)?);
        }
        Ok(())
    }

    /// What happens from now on may be missed.
    pub(super) fn watch_ends(&mut self) {
        self.watch = None;
    }

    pub(super) fn fetched(&mut self, (from_ms, until_ms): (i64, i64)) -> Result<(), Fault> {
        self.add_watch(from_ms, until_ms, true).map(drop)
    }

    fn add_watch(&self, from_ms: i64, until_ms: i64, is_fetched: bool) -> Result<i64, Fault> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO watches (from_ms, until_ms, fetched) VALUES (?1, ?2, ?3) RETURNING number",
        )?;
        Ok(insert.query_row(params![from_ms, until_ms, is_fetched], |row| row.get(0))?)
    }

    /// Who reads an old state keeps the log from being emptied. Questions end soon, and are waited
    /// for when it gets large; a person with an open transaction may not.
    pub(super) fn keep_log_small(&self) -> Result<(), Fault> {
        let is_large = || file::log_bytes(&self.file) > LOG_RESERVE_BYTES / 2;
        if file::log_bytes(&self.file) <= file::LOG_BYTES_MAX {
            return Ok(());
        }
        let wait = if is_large() { file::BUSY_MAX } else { Duration::ZERO };
        self.connection.busy_timeout(wait)?;
        let emptied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        self.connection.busy_timeout(file::BUSY_MAX)?;
        match emptied {
            Err(error) if error.sqlite_error_code() != Some(ErrorCode::DatabaseBusy) => {
                Err(error.into())
            }
            Ok(()) | Err(_) if is_large() => Err(Fault::Unusable(HELD_BY_A_READER.to_owned())),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A burst of moves fills several transactions.
fn in_pieces(entry: &Entry) -> Vec<Cow<'_, Entry>> {
    let moves = match entry {
        Entry::Moves(moves) if moves.slots.len() >= TRANSACTION_ROWS_MAX => moves,
        entry => return vec![Cow::Borrowed(entry)],
    };
    let mut targets = moves.targets;
    let piece = |slots: &[Slot]| {
        // Counted once, with the first piece; the others add none.
        let targets = targets.as_mut().map(std::mem::take);
        let moves = SlotMoves { slots: slots.to_vec(), targets, ..moves.clone() };
        Cow::Owned(Entry::Moves(moves))
    };
    moves.slots.chunks(TRANSACTION_ROWS_MAX - 1).map(piece).collect()
}
