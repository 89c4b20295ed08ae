//! Keeps the file within its age and its bytes, in steps so small that what is recorded meanwhile
//! waits for none of them. Blocks.

use rusqlite::params;

use crate::{
    history::{
        fault::Fault,
        nodes,
        writer::{LOG_RESERVE_BYTES, Writer, file_bytes_max},
    },
    model::slot::SLOTS,
};

/// Deleted in one step.
const STEP_ROWS_MAX: i64 = 1_000;
/// Looked at in one step.
const STEP_SLOTS: u16 = 64;
const STEP_TARGETS: i64 = 1_000;
/// Given back to the file system in one step: half a megabyte.
const STEP_PAGES: i64 = 128;
/// Above this part of the room the oldest goes.
const FULL_PERCENT: u64 = 90;
/// One part in so many of the time that the file tells of goes at once.
const SLICES: i64 = 32;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) age_ms_max: i64,
    pub(super) bytes_max: u64,
}

/// How far a round has come. A round forgets all that is older than one instant.
#[derive(Debug, Default)]
pub(super) struct Pruning {
    round: Option<Round>,
}

#[derive(Debug)]
struct Round {
    until_ms: i64,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// What happened at an instant, by the position in `DATED`.
    Dated(usize),
    /// From this slot on.
    Slots(u16),
    /// Behind this target.
    Targets(i64),
    Members,
    Pages,
}

/// Tables of which a row is of one instant, with the column that tells it.
const DATED: [(&str, &str); 10] = [
    ("health_changes", "at_ms"),
    ("move_groups", "at_ms"),
    ("target_changes", "at_ms"),
    ("presences", "until_ms"),
    ("member_changes", "at_ms"),
    ("placements", "at_ms"),
    ("notices", "at_ms"),
    ("drops", "at_ms"),
    ("config_versions", "at_ms"),
    ("watches", "until_ms"),
];

impl Pruning {
    /// Begins a round, where one is not under way, and something is too old or the file too large.
    pub(super) fn begin(
        &mut self,
        writer: &Writer,
        limits: Limits,
        now_ms: i64,
    ) -> Result<(), Fault> {
        if self.round.is_some() {
            return Ok(());
        }
        let Some(oldest_ms) = writer.oldest_ms()? else { return Ok(()) };
        let too_old_ms = now_ms.saturating_sub(limits.age_ms_max);
        let room = file_bytes_max(limits.bytes_max) / 100 * FULL_PERCENT;
        let until_ms = if writer.used_bytes()? > room {
            let slice_ms = (now_ms.saturating_sub(oldest_ms) / SLICES).max(1);
            too_old_ms.max(oldest_ms.saturating_add(slice_ms))
        } else {
            too_old_ms
        };
        if oldest_ms < until_ms {
            self.round = Some(Round { until_ms, stage: Stage::Dated(0) });
        }
        Ok(())
    }

    /// Deletes at once, whether or not the file is as large as it may be, as much as goes in one
    /// round. Whether that made room.
    pub(super) fn make_room(
        mut self,
        writer: &mut Writer,
        limits: Limits,
        now_ms: i64,
    ) -> Result<bool, Fault> {
        let before = writer.used_bytes()?;
        while self.step(writer)? {}
        // As if it were allowed to be a little smaller than it is.
        let bytes_max = limits.bytes_max.min(before + LOG_RESERVE_BYTES);
        self.begin(writer, Limits { bytes_max, ..limits }, now_ms)?;
        while self.step(writer)? {}
        Ok(writer.used_bytes()? < before)
    }

    /// One step. Whether there is more to do.
    pub(super) fn step(&mut self, writer: &mut Writer) -> Result<bool, Fault> {
        let Some(Round { until_ms, stage }) = &mut self.round else { return Ok(false) };
        let next = match *stage {
            Stage::Dated(at) => match DATED.get(at) {
                Some(table) if writer.delete_dated(*table, *until_ms)? < STEP_ROWS_MAX => {
                    Some(Stage::Dated(at + 1))
                }
                Some(_) => Some(Stage::Dated(at)),
                None => Some(Stage::Slots(0)),
            },
            Stage::Slots(from) if from < SLOTS => {
                Some(Stage::Slots(writer.delete_slot_moves(from, *until_ms)?))
            }
            Stage::Slots(_) => Some(Stage::Targets(0)),
            Stage::Targets(after) => Some(match writer.delete_targets(after, *until_ms)? {
                Some(last) => Stage::Targets(last),
                None => Stage::Members,
            }),
            Stage::Members => {
                writer.delete_members(*until_ms)?;
                Some(Stage::Pages)
            }
            Stage::Pages => writer.give_pages_back()?.then_some(Stage::Pages),
        };
        match next {
            Some(next) => *stage = next,
            None => self.round = None,
        }
        writer.keep_log_small()?;
        Ok(self.round.is_some())
    }
}

impl Writer {
    /// When the oldest happened that is not kept for ever.
    pub(super) fn oldest_ms(&self) -> Result<Option<i64>, Fault> {
        let mut oldest: Option<i64> = None;
        for (table, column) in DATED {
            let sql = format!("SELECT min({column}) FROM {table}");
            let found: Option<i64> =
                self.connection.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
            oldest = oldest.into_iter().chain(found).min();
        }
        Ok(oldest)
    }

    /// What of the file is not free.
    pub(super) fn used_bytes(&self) -> Result<u64, Fault> {
        let pragma = |name| self.connection.pragma_query_value(None, name, |row| row.get(0));
        let (pages, free): (u64, u64) = (pragma("page_count")?, pragma("freelist_count")?);
        let page_bytes: u64 = pragma("page_size")?;
        Ok(pages.saturating_sub(free) * page_bytes)
    }

    fn delete_dated(&self, (table, column): (&str, &str), until_ms: i64) -> Result<i64, Fault> {
        let sql = format!(
            "DELETE FROM {table} WHERE number IN
                    (SELECT number FROM {table} WHERE {column} < ?1 ORDER BY {column} LIMIT ?2)"
        );
        let deleted = self.connection.prepare_cached(&sql)?.execute([until_ms, STEP_ROWS_MAX])?;
        Ok(i64::try_from(deleted).unwrap_or(i64::MAX))
    }

    /// Of each slot all but the last move before the instant: it tells who had it then. Gives the
    /// slot to go on with.
    fn delete_slot_moves(&self, from: u16, until_ms: i64) -> Result<u16, Fault> {
        let mut delete = self.connection.prepare_cached(
            "DELETE FROM slot_moves WHERE slot = ?1 AND at_ms <
                    (SELECT max(at_ms) FROM slot_moves
                      WHERE slot = ?1 AND at_ms < ?2 AND void = 0)",
        )?;
        let (mut deleted, mut slot) = (0, from);
        let end = SLOTS.min(from + STEP_SLOTS);
        let step_rows_max = usize::try_from(STEP_ROWS_MAX).expect("it is small");
        self.connection.execute_batch("BEGIN")?;
        while slot < end && deleted < step_rows_max {
            deleted += delete.execute(params![slot, until_ms])?;
            slot += 1;
        }
        self.connection.execute_batch("COMMIT")?;
        Ok(slot)
    }

    /// Those that nothing tells of any more. Gives the target to go on behind, where there are more.
    fn delete_targets(&self, after: i64, until_ms: i64) -> Result<Option<i64>, Fault> {
        let last: Option<i64> = self
            .connection
            .prepare_cached(
                "SELECT max(number) FROM
                        (SELECT number FROM targets WHERE number > ?1 ORDER BY number LIMIT ?2)",
            )?
            .query_row([after, STEP_TARGETS], |row| row.get(0))?;
        let Some(last) = last else { return Ok(None) };
        self.connection
            .prepare_cached(
                "DELETE FROM targets WHERE number > ?1 AND number <= ?2 AND last_seen_ms < ?3
                    AND NOT EXISTS (SELECT 1 FROM presences WHERE target = targets.number)
                    AND NOT EXISTS (SELECT 1 FROM health_changes WHERE target = targets.number)",
            )?
            .execute([after, last, until_ms])?;
        Ok(Some(last))
    }

    /// Those that are gone, and that no slot has moved from or to last.
    fn delete_members(&mut self, until_ms: i64) -> Result<(), Fault> {
        let last_moves = self.last_moves();
        let is_named = |id: &str| {
            let id = nodes::parsed(id);
            let mut moves = last_moves.0.iter().flatten();
            id.is_none() || moves.any(|last| last.from == id || last.to == id)
        };
        let gone: Vec<(i64, String)> = self
            .connection
            .prepare_cached(
                "SELECT number, id FROM members
                  WHERE last_seen_ms < ?1 AND state NOT IN ('alive', 'suspect') LIMIT ?2",
            )?
            .query_map([until_ms, STEP_ROWS_MAX], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        for (number, _) in gone.iter().filter(|(_, id)| !is_named(id)) {
            self.connection
                .prepare_cached("DELETE FROM members WHERE number = ?1")?
                .execute([number])?;
        }
        self.forget_nodes();
        Ok(())
    }

    /// Whether there are more.
    fn give_pages_back(&self) -> Result<bool, Fault> {
        let free = || {
            let count: Result<i64, _> =
                self.connection.pragma_query_value(None, "freelist_count", |row| row.get(0));
            count
        };
        if free()? == 0 {
            return Ok(false);
        }
        let sql = format!("PRAGMA incremental_vacuum({STEP_PAGES})");
        // Each page is a step of the statement.
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut pages = statement.query([])?;
        while pages.next()?.is_some() {}
        Ok(free()? > 0)
    }
}
