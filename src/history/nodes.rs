//! The numbers that nodes have in the file, so that a row names one in a byte or two.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::model::member::NodeId;

/// Kept in memory; when there are more they are looked up again.
const NODES_MAX: usize = 4_096;
/// What stands for nobody.
pub(super) const NOBODY: i64 = 0;

#[derive(Debug, Default)]
pub(super) struct Nodes {
    numbers: BTreeMap<NodeId, i64>,
    ids: BTreeMap<i64, NodeId>,
}

impl Nodes {
    /// A node that the file does not know gets a row without a name.
    pub(super) fn number(
        &mut self,
        connection: &Connection,
        id: Option<NodeId>,
        at_ms: i64,
    ) -> Result<i64> {
        let Some(id) = id else { return Ok(NOBODY) };
        if let Some(number) = self.numbers.get(&id) {
            return Ok(*number);
        }
        let number = match number_of(connection, id)? {
            Some(number) => number,
            None => connection
                .prepare_cached(
                    "INSERT INTO members (id, name, api_address, weight, zone, state, first_seen_ms, last_seen_ms)
                     VALUES (?1, '', '', 0, '', '', ?2, ?2) RETURNING number",
                )?
                .query_row(params![id.to_string(), at_ms], |row| row.get(0))?,
        };
        self.learn(id, number);
        Ok(number)
    }

    /// `None` of nobody, and of a node that is no longer known.
    pub(super) fn id(&mut self, connection: &Connection, number: i64) -> Result<Option<NodeId>> {
        if number == NOBODY {
            return Ok(None);
        }
        if let Some(id) = self.ids.get(&number) {
            return Ok(Some(*id));
        }
        let found = connection
            .prepare_cached("SELECT id FROM members WHERE number = ?1")?
            .query_row([number], |row| row.get::<_, String>(0))
            .optional()?;
        let id = found.as_deref().and_then(parsed);
        if let Some(id) = id {
            self.learn(id, number);
        }
        Ok(id)
    }

    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    fn learn(&mut self, id: NodeId, number: i64) {
        if self.numbers.len() >= NODES_MAX {
            self.forget();
        }
        self.numbers.insert(id, number);
        self.ids.insert(number, id);
    }
}

pub(super) fn number_of(connection: &Connection, id: NodeId) -> Result<Option<i64>> {
    connection
        .prepare_cached("SELECT number FROM members WHERE id = ?1")?
        .query_row([id.to_string()], |row| row.get(0))
        .optional()
}

/// As a node's id is written.
pub(super) fn parsed(text: &str) -> Option<NodeId> {
    u128::from_str_radix(text, 16).ok().map(NodeId)
}
