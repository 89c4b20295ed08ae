//! What can be asked of the file, each question with the index that answers it. All of it blocks,
//! on connections that can only read.

pub(super) mod events;
pub(super) mod last_known;
pub(super) mod owners;
pub(super) mod since;
pub(super) mod state;
pub(super) mod target;
pub(super) mod watches;

use std::collections::BTreeMap;

use rusqlite::{Connection, Result};

use crate::{
    history::{event::NodeRef, nodes},
    model::member::NodeId,
};

/// All nodes that the file knows, by their number there.
struct Members(BTreeMap<i64, NodeRef>);

impl Members {
    fn read(connection: &Connection) -> Result<Self> {
        let mut statement = connection.prepare_cached("SELECT number, id, name FROM members")?;
        let mut rows = statement.query([])?;
        let mut members = BTreeMap::new();
        while let Some(row) = rows.next()? {
            if let Some(id) = nodes::parsed(&row.get::<_, String>(1)?) {
                members.insert(row.get(0)?, NodeRef { id, name: row.get(2)? });
            }
        }
        Ok(Self(members))
    }

    fn node(&self, number: i64) -> Option<NodeRef> {
        self.0.get(&number).cloned()
    }

    fn id(&self, number: i64) -> Option<NodeId> {
        self.0.get(&number).map(|node| node.id)
    }

    fn number(&self, id: NodeId) -> Option<i64> {
        self.0.iter().find(|(_, node)| node.id == id).map(|(number, _)| *number)
    }

    fn name(&self, id: NodeId) -> String {
        self.0
            .values()
            .find(|node| node.id == id)
            .map_or_else(String::new, |node| node.name.clone())
    }
}

/// Nobody has number 0, and this id is nobody's.
const UNKNOWN: NodeId = NodeId(0);
