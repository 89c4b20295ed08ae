//! One target over time: when it was there, and whose it was. The rule that makes spans of it is
//! pure.

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::{
    history::{
        answers::{Span, TargetPast},
        entry::Reason,
        event::{NodeRef, TargetRef},
        questions::{Members, owners::OwnerAt},
    },
    model::{slot::Slot, target::TargetName},
};

/// Presences and moves that are told of; of more the latest.
const ROWS_MAX: i64 = 2_000;

pub(in crate::history) fn target(
    connection: &mut Connection,
    (id, job): &TargetName,
    from_ms: i64,
    until_ms: i64,
) -> Result<Option<TargetPast>> {
    let connection = &*connection.transaction()?;
    let known = connection
        .prepare_cached("SELECT number, url, labels, slot FROM targets WHERE id = ?1 AND job = ?2")?
        .query_row(params![id.to_string(), &**job], |row| {
            Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get::<_, String>(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((number, url, labels, slot)) = known else { return Ok(None) };
    let slot: Option<u16> = slot;
    let slot = slot.and_then(Slot::new);
    let presences = presences(connection, number, from_ms, until_ms)?;
    let begin_ms = presences.first().map_or(from_ms, |first| first.from_ms.max(from_ms));
    let owners = match slot {
        Some(slot) => owners(connection, slot, begin_ms, until_ms)?,
        None => Vec::new(),
    };
    Ok(Some(TargetPast {
        target: TargetRef { id: *id, job: job.clone(), url },
        labels: super::since::labels(&labels),
        slot,
        spans: spans(&presences, &owners, from_ms, until_ms),
    }))
}

/// A stretch in which the target was there.
#[derive(Clone, Debug)]
struct Presence {
    from_ms: i64,
    came: Reason,
    until_ms: Option<i64>,
    went: Reason,
}

/// Who had its slot from then on.
#[derive(Clone, Debug)]
struct Owner {
    from_ms: i64,
    node: Option<NodeRef>,
    reason: Reason,
}

fn presences(
    connection: &Connection,
    target: i64,
    from_ms: i64,
    until_ms: i64,
) -> Result<Vec<Presence>> {
    let mut statement = connection.prepare_cached(
        "SELECT from_ms, came, until_ms, went FROM presences
          WHERE target = ?1 AND from_ms < ?3 AND (until_ms IS NULL OR until_ms > ?2)
          ORDER BY from_ms DESC LIMIT ?4",
    )?;
    let reason =
        |name: Option<String>| name.and_then(|name| Reason::named(&name)).unwrap_or(Reason::Unseen);
    let found = statement.query_map(params![target, from_ms, until_ms, ROWS_MAX], |row| {
        Ok(Presence {
            from_ms: row.get(0)?,
            came: reason(row.get(1)?),
            until_ms: row.get(2)?,
            went: reason(row.get(3)?),
        })
    })?;
    let mut found: Vec<Presence> = found.collect::<Result<_>>()?;
    found.reverse();
    Ok(found)
}

fn owners(connection: &Connection, slot: Slot, from_ms: i64, until_ms: i64) -> Result<Vec<Owner>> {
    let members = Members::read(connection)?;
    let first = OwnerAt::new(connection)?.ask(slot, from_ms)?;
    let mut owners =
        vec![Owner { from_ms: i64::MIN, node: members.node(first), reason: Reason::Unseen }];
    let mut statement = connection.prepare_cached(
        "SELECT at_ms, to_node, reason FROM slot_moves
          WHERE slot = ?1 AND at_ms > ?2 AND at_ms < ?3 AND void = 0
          ORDER BY at_ms DESC LIMIT ?4",
    )?;
    let mut rows = statement.query(params![slot.number(), from_ms, until_ms, ROWS_MAX])?;
    let mut moves = Vec::new();
    while let Some(row) = rows.next()? {
        moves.push(Owner {
            from_ms: row.get(0)?,
            node: members.node(row.get(1)?),
            reason: Reason::named(&row.get::<_, String>(2)?).unwrap_or(Reason::Unseen),
        });
    }
    moves.reverse();
    owners.extend(moves);
    Ok(owners)
}

/// Of a target whose slot's owners are not known, as it is not divided, one span a presence. Between
/// two presences it is nobody's.
fn spans(presences: &[Presence], owners: &[Owner], from_ms: i64, until_ms: i64) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for presence in presences {
        let begin_ms = presence.from_ms.max(from_ms);
        if let Some(gone) = spans.last_mut() {
            gone.until_ms = Some(begin_ms);
        }
        let before = owners.iter().rev().find(|owner| owner.from_ms <= begin_ms);
        spans.push(Span {
            owner: before.and_then(|owner| owner.node.clone()),
            from_ms: begin_ms,
            until_ms: None,
            reason: presence.came,
        });
        let end_ms = presence.until_ms.unwrap_or(i64::MAX);
        for owner in owners.iter().filter(|o| o.from_ms > begin_ms && o.from_ms < end_ms) {
            if let Some(last) = spans.last_mut() {
                last.until_ms = Some(owner.from_ms);
            }
            spans.push(Span {
                owner: owner.node.clone(),
                from_ms: owner.from_ms,
                until_ms: None,
                reason: owner.reason,
            });
        }
        if let Some(gone_ms) = presence.until_ms {
            if let Some(last) = spans.last_mut() {
                last.until_ms = Some(gone_ms);
            }
            if gone_ms < until_ms {
                spans.push(Span {
                    owner: None,
                    from_ms: gone_ms,
                    until_ms: None,
                    reason: presence.went,
                });
            }
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::member::NodeId;

    #[test]
    fn a_target_is_whose_its_slot_is_while_it_is_there() {
        let node = |n: u128| Some(NodeRef { id: NodeId(n), name: format!("n{n}") });
        let owner = |from_ms, n, reason| Owner { from_ms, node: node(n), reason };
        let presence = |from_ms, until_ms| Presence {
            from_ms,
            came: Reason::Discovered,
            until_ms,
            went: Reason::Vanished,
        };
        let owners = [
            owner(i64::MIN, 1, Reason::Unseen),
            owner(100, 2, Reason::Crash),
            owner(200, 3, Reason::Join),
            owner(300, 1, Reason::Leave),
        ];
        let check = |presences: &[Presence], owners: &[Owner], expected: &[&str]| {
            let shown = |span: Span| {
                let until = span.until_ms.map_or("now".to_owned(), |ms| ms.to_string());
                let owner = span.owner.map_or("nobody".to_owned(), |node| node.name);
                format!("{owner} {}..{until} {}", span.from_ms, span.reason.name())
            };
            let found: Vec<String> =
                spans(presences, owners, 50, 1_000).into_iter().map(shown).collect();
            assert_eq!(found, expected);
        };
        check(&[], &owners, &[]);
        check(&[presence(10, None)], &[], &["nobody 50..now discovered"]);
        check(
            &[presence(10, Some(150)), presence(250, None)],
            &owners,
            &[
                "n1 50..100 discovered",
                "n2 100..150 crash",
                "nobody 150..250 vanished",
                "n3 250..300 discovered",
                "n1 300..now leave",
            ],
        );
        check(
            &[presence(110, Some(120))],
            &owners,
            &["n2 110..120 discovered", "nobody 120..now vanished"],
        );
    }
}
