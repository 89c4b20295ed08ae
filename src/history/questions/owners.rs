//! Who had each slot at an instant: one look into the index a slot.

use rusqlite::{CachedStatement, Connection, OptionalExtension, Result};

use crate::{
    history::questions::Members,
    model::{
        member::NodeId,
        slot::{SLOTS, Slot},
    },
};

pub(in crate::history) fn owners_at(
    connection: &mut Connection,
    at_ms: i64,
) -> Result<Vec<Option<NodeId>>> {
    let connection = &*connection.transaction()?;
    let members = Members::read(connection)?;
    let numbers = numbers_at(connection, at_ms)?;
    Ok(numbers.into_iter().map(|number| members.id(number)).collect())
}

/// By slot; 0 is nobody.
pub(super) fn numbers_at(connection: &Connection, at_ms: i64) -> Result<Vec<i64>> {
    let mut owner = OwnerAt::new(connection)?;
    (0..SLOTS).filter_map(Slot::new).map(|slot| owner.ask(slot, at_ms)).collect()
}

/// The same for single slots.
pub(super) struct OwnerAt<'a> {
    until: CachedStatement<'a>,
    after: CachedStatement<'a>,
}

impl<'a> OwnerAt<'a> {
    pub(super) fn new(connection: &'a Connection) -> Result<Self> {
        Ok(Self {
            until: connection.prepare_cached(
                "SELECT to_node FROM slot_moves WHERE slot = ?1 AND at_ms <= ?2 AND void = 0
                  ORDER BY at_ms DESC LIMIT 1",
            )?,
            // Before the first move that is known, whoever it moved from had it.
            after: connection.prepare_cached(
                "SELECT from_node FROM slot_moves WHERE slot = ?1 AND at_ms > ?2 AND void = 0
                  ORDER BY at_ms LIMIT 1",
            )?,
        })
    }

    pub(super) fn ask(&mut self, slot: Slot, at_ms: i64) -> Result<i64> {
        let place = rusqlite::params![slot.number(), at_ms];
        if let Some(owner) = self.until.query_row(place, |row| row.get(0)).optional()? {
            return Ok(owner);
        }
        let before = self.after.query_row(place, |row| row.get(0)).optional()?;
        Ok(before.unwrap_or(crate::history::nodes::NOBODY))
    }
}
