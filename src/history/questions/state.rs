//! The fleet as it was at an instant: its members, and a page of its targets with their owners.

use std::collections::BTreeMap;

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::{
    history::{
        answers::{MemberAt, StateAt, StateCursor},
        event::TargetRef,
        nodes::NOBODY,
        questions::{Members, owners},
    },
    model::{member::NodeId, slot::Slot, target::TargetId},
};

/// Targets that are looked at for one page; a page that is not full by then goes on in the next.
const LOOKED_AT_MAX: i64 = 20_000;

pub(in crate::history) fn state_at(
    connection: &mut Connection,
    at_ms: i64,
    target: Option<TargetId>,
    node: Option<NodeId>,
    after: Option<&StateCursor>,
    limit: usize,
) -> Result<StateAt> {
    let connection = &*connection.transaction()?;
    let members = Members::read(connection)?;
    let owners = owners::numbers_at(connection, at_ms)?;
    let mut state = StateAt { at_ms, ..StateAt::default() };
    state.members = members_at(connection, &members, &owners, at_ms)?;
    let wanted = match node {
        Some(id) => match members.number(id) {
            Some(number) => Some(number),
            None => return Ok(state),
        },
        None => None,
    };
    let place = |slot: Option<u16>| {
        let slot = slot.and_then(Slot::new)?;
        Some(owners[usize::from(slot.number())])
    };
    let mut looked_at = 0;
    let mut last = None;
    let mut statement = connection.prepare_cached(match target {
        Some(_) => {
            "SELECT number, job, url, id, slot FROM targets
              WHERE id = ?4 AND (job, url, number) > (?1, ?2, ?3) ORDER BY job, url, number LIMIT ?5"
        }
        None => {
            "SELECT number, job, url, id, slot FROM targets
              WHERE (job, url, number) > (?1, ?2, ?3) AND ?4 IS NULL
              ORDER BY job, url, number LIMIT ?5"
        }
    })?;
    let mut was_there = connection.prepare_cached(
        "SELECT from_ms <= ?2 AND (until_ms IS NULL OR until_ms > ?2) FROM presences
          WHERE target = ?1 AND from_ms <= ?2 ORDER BY from_ms DESC LIMIT 1",
    )?;
    let (job, url, number) = after
        .map_or(("", "", i64::MIN), |after| (after.job.as_str(), after.url.as_str(), after.number));
    let id = target.map(|id| id.to_string());
    let mut rows = statement.query(params![job, url, number, id, LOOKED_AT_MAX + 1])?;
    while let Some(row) = rows.next()? {
        if state.items.len() == limit || looked_at == LOOKED_AT_MAX {
            state.next = last;
            break;
        }
        looked_at += 1;
        let number: i64 = row.get(0)?;
        let (job, url): (String, String) = (row.get(1)?, row.get(2)?);
        last = Some(StateCursor { job: job.clone(), url: url.clone(), number });
        let owner = place(row.get(4)?);
        let is_wanted = wanted.is_none_or(|wanted| owner == Some(wanted));
        let is_there = is_wanted
            && was_there
                .query_row(params![number, at_ms], |row| row.get::<_, bool>(0))
                .optional()?
                .unwrap_or(false);
        if is_there {
            let id = u64::from_str_radix(&row.get::<_, String>(3)?, 16).unwrap_or_default();
            let target = TargetRef { id: TargetId(id), job: job.into(), url };
            state.items.push((target, owner.and_then(|number| members.node(number))));
        }
    }
    if target.is_none() && node.is_none() {
        state.total = Some(count_at(connection, at_ms)?);
    }
    Ok(state)
}

/// How many targets there were: those there are now, less what has come since, and what has gone.
fn count_at(connection: &Connection, at_ms: i64) -> Result<u64> {
    let now: i64 = connection
        .prepare_cached("SELECT count(*) FROM presences WHERE until_ms IS NULL")?
        .query_row([], |row| row.get(0))?;
    let gained: i64 = connection
        .prepare_cached(
            "SELECT coalesce(sum(CASE came WHEN 1 THEN targets ELSE -targets END), 0)
               FROM target_changes WHERE at_ms > ?1",
        )?
        .query_row([at_ms], |row| row.get(0))?;
    Ok(u64::try_from(now - gained).unwrap_or(0))
}

/// Who was in the division, or known to be alive, then.
fn members_at(
    connection: &Connection,
    members: &Members,
    owners: &[i64],
    at_ms: i64,
) -> Result<Vec<MemberAt>> {
    let mut slots: BTreeMap<i64, u64> = BTreeMap::new();
    for owner in owners.iter().filter(|owner| **owner != NOBODY) {
        *slots.entry(*owner).or_default() += 1;
    }
    let mut state = connection.prepare_cached(
        "SELECT state FROM member_changes WHERE node = ?1 AND at_ms <= ?2
          ORDER BY at_ms DESC, number DESC LIMIT 1",
    )?;
    let mut found = Vec::new();
    for (number, node) in &members.0 {
        let state = state.query_row([*number, at_ms], |row| row.get::<_, String>(0)).optional()?;
        let slots = slots.get(number).copied().unwrap_or(0);
        let was_here = matches!(state.as_deref(), Some("alive" | "suspect"));
        if was_here || slots > 0 {
            found.push(MemberAt { node: node.clone(), state, slots });
        }
    }
    found.sort_by(|one, other| one.node.name.cmp(&other.node.name));
    Ok(found)
}
