//! What the file knew last: what a member that starts compares its first look with.

use rusqlite::{Connection, Result};

use crate::{
    history::{
        answers::LastKnown,
        entry::MemberSeen,
        nodes::{self, NOBODY},
        questions::{Members, owners},
        rows::state_named,
    },
    model::target::TargetId,
};

pub(in crate::history) fn last_known(connection: &mut Connection) -> Result<LastKnown> {
    let connection = &*connection.transaction()?;
    let mut statement = connection.prepare_cached(
        "SELECT id, name, api_address, weight, zone, state FROM members WHERE state <> ''",
    )?;
    let mut rows = statement.query([])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        let id = nodes::parsed(&row.get::<_, String>(0)?);
        if let Some((id, state)) = id.zip(state_named(&row.get::<_, String>(5)?)) {
            members.push(MemberSeen {
                id,
                name: row.get(1)?,
                api_address: row.get(2)?,
                weight: row.get(3)?,
                zone: row.get(4)?,
                state,
            });
        }
    }
    let mut statement = connection.prepare_cached(
        "SELECT t.id, t.job FROM presences p JOIN targets t ON t.number = p.target
          WHERE p.until_ms IS NULL",
    )?;
    let targets = statement.query_map([], |row| {
        let id = u64::from_str_radix(&row.get::<_, String>(0)?, 16).unwrap_or_default();
        Ok((TargetId(id), row.get::<_, String>(1)?.into()))
    })?;
    let targets = targets.collect::<Result<_>>()?;
    let known = Members::read(connection)?;
    let owners = owners::numbers_at(connection, i64::MAX)?;
    let is_known = owners.iter().any(|owner| *owner != NOBODY);
    let owners = owners.into_iter().map(|number| known.id(number));
    Ok(LastKnown { members, targets, owners: if is_known { owners.collect() } else { Vec::new() } })
}
