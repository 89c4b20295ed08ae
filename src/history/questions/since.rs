//! What another member has missed, table by table and row by row, as entries again.

use rusqlite::{Connection, OptionalExtension, Result, Row, params};

use crate::{
    history::{
        answers::{After, Page},
        entry::{
            ConfigVersion, ENTRY_TARGETS_MAX, Entry, HealthChange, MemberChange, MemberSeen,
            NoticeChange, Placement, Reason, SamplesDrop, SlotMoves, Step, TargetSeen,
            TargetsChange,
        },
        nodes::parsed,
        questions::{Members, UNKNOWN},
        rows::{state_named, unpacked},
    },
    model::{
        member::{MemberState, NodeId},
        slot::Slot,
        target::TargetId,
    },
};

/// As it is sent; a message of the peer channel holds it with room to spare.
const PAGE_BYTES_MAX: usize = 768 << 10;

/// The order in which tables are told: who there is before what moved to them.
const TABLES: [Table; 8] = [
    Table::Members,
    Table::Presences,
    Table::Moves,
    Table::Health,
    Table::Config,
    Table::Placements,
    Table::Notices,
    Table::Drops,
];

#[derive(Clone, Copy)]
enum Table {
    Members,
    Presences,
    Moves,
    Health,
    Config,
    Placements,
    Notices,
    Drops,
}

pub(in crate::history) fn since(
    connection: &mut Connection,
    from_ms: i64,
    until_ms: i64,
    after: Option<After>,
    limit: usize,
) -> Result<Page> {
    let connection = &*connection.transaction()?;
    let look = Look { connection, members: Members::read(connection)? };
    let mut page = Page::default();
    let mut bytes = 0;
    let mut place = after.unwrap_or(After { table: 0, at_ms: from_ms, row: i64::MIN });
    for (table, at) in TABLES.iter().zip(0..).skip(usize::from(place.table)) {
        if at != place.table {
            place = After { table: at, at_ms: from_ms, row: i64::MIN };
        }
        let mut statement = connection.prepare_cached(table.rows())?;
        let mut rows = statement.query(params![place.at_ms, until_ms, place.row])?;
        while let Some(row) = rows.next()? {
            let entry = look.entry(*table, row)?;
            bytes += entry.as_ref().map_or(0, size);
            let is_full = page.rows.len() >= limit || bytes > PAGE_BYTES_MAX;
            if is_full && !page.rows.is_empty() {
                page.next = Some(place);
                page.rows = together(page.rows);
                return Ok(page);
            }
            page.rows.extend(entry);
            place = After { table: at, at_ms: row.get("at_ms")?, row: row.get("number")? };
        }
    }
    page.rows = together(page.rows);
    Ok(page)
}

impl Table {
    /// From an instant until before another, behind a row, in the order of time.
    fn rows(self) -> &'static str {
        macro_rules! of {
            ($table:literal) => {
                concat!(
                    "SELECT * FROM ",
                    $table,
                    " WHERE at_ms >= ?1 AND at_ms < ?2 AND (at_ms > ?1 OR number > ?3)
                      ORDER BY at_ms, number"
                )
            };
        }
        match self {
            Self::Members => of!("member_changes"),
            // A target must have gone before it comes again.
            Self::Presences => {
                "SELECT number * 2 + 1 AS number, from_ms AS at_ms, 1 AS came, came AS reason, target
                   FROM presences
                  WHERE from_ms >= ?1 AND from_ms < ?2 AND (from_ms > ?1 OR number * 2 + 1 > ?3)
                  UNION ALL
                 SELECT number * 2, until_ms, 0, went, target
                   FROM presences
                  WHERE until_ms >= ?1 AND until_ms < ?2 AND (until_ms > ?1 OR number * 2 > ?3)
                  ORDER BY at_ms, number"
            }
            Self::Moves => of!("move_groups"),
            Self::Health => of!("health_changes"),
            Self::Config => of!("config_versions"),
            Self::Placements => of!("placements"),
            Self::Notices => of!("notices"),
            Self::Drops => of!("drops"),
        }
    }
}

struct Look<'a> {
    connection: &'a Connection,
    members: Members,
}

impl Look<'_> {
    /// `None` of a target that is no longer known.
    fn entry(&self, table: Table, row: &Row<'_>) -> Result<Option<Entry>> {
        Ok(Some(match table {
            Table::Members => Entry::Member(self.member_change(row)?),
            Table::Presences => return Ok(self.presence(row)?.map(Entry::Targets)),
            Table::Moves => Entry::Moves(self.moves(row)?),
            Table::Health => return Ok(self.health(row)?.map(Entry::Health)),
            Table::Config => Entry::Config(self.config(row)?),
            Table::Placements => Entry::Placement(Placement {
                at_ms: row.get("at_ms")?,
                reason: reason(&row.get::<_, String>("reason")?),
                shares: shares(&row.get::<_, String>("shares")?),
            }),
            Table::Notices => Entry::Notice(NoticeChange {
                at_ms: row.get("at_ms")?,
                by: self.node(row, "by_node")?,
                about: self.members.id(row.get("about_node")?),
                kind: row.get("kind")?,
                text: row.get("text")?,
                is_raised: row.get("is_raised")?,
            }),
            Table::Drops => Entry::Drop(SamplesDrop {
                at_ms: row.get("at_ms")?,
                by: self.node(row, "by_node")?,
                destination: row.get("destination")?,
                reason: row.get("reason")?,
                samples: row.get("samples")?,
            }),
        }))
    }

    fn node(&self, row: &Row<'_>, column: &str) -> Result<NodeId> {
        Ok(self.members.id(row.get(column)?).unwrap_or(UNKNOWN))
    }

    fn member_change(&self, row: &Row<'_>) -> Result<MemberChange> {
        let step: String = row.get("step")?;
        let state: String = row.get("state")?;
        Ok(MemberChange {
            at_ms: row.get("at_ms")?,
            member: MemberSeen {
                id: self.node(row, "node")?,
                name: row.get("name")?,
                api_address: row.get("api_address")?,
                weight: row.get("weight")?,
                zone: row.get("zone")?,
                state: state_named(&state).unwrap_or(MemberState::Dead),
            },
            step: Step::named(&step).unwrap_or(Step::Changed),
            detail: row.get("detail")?,
        })
    }

    fn moves(&self, row: &Row<'_>) -> Result<SlotMoves> {
        Ok(SlotMoves {
            at_ms: row.get("at_ms")?,
            recorded_ms: row.get("recorded_ms")?,
            reason: reason(&row.get::<_, String>("reason")?),
            from: self.members.id(row.get("from_node")?),
            to: self.members.id(row.get("to_node")?),
            slots: unpacked(&row.get::<_, Vec<u8>>("slot_list")?),
            targets: row.get("targets")?,
        })
    }

    fn presence(&self, row: &Row<'_>) -> Result<Option<TargetsChange>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT id, job, url, labels, slot FROM targets WHERE number = ?1")?;
        let known = statement
            .query_row([row.get::<_, i64>("target")?], |row| {
                let target = TargetSeen {
                    id: target_id(&row.get::<_, String>(0)?),
                    url: row.get(2)?,
                    labels: labels(&row.get::<_, String>(3)?),
                    slot: row.get::<_, Option<u16>>(4)?.and_then(Slot::new),
                };
                Ok((row.get::<_, String>(1)?, target))
            })
            .optional()?;
        let Some((job, target)) = known else { return Ok(None) };
        Ok(Some(TargetsChange {
            at_ms: row.get("at_ms")?,
            job: job.into(),
            came: row.get("came")?,
            reason: reason(&row.get::<_, String>("reason")?),
            targets: vec![target],
        }))
    }

    fn health(&self, row: &Row<'_>) -> Result<Option<HealthChange>> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, job, url FROM targets WHERE number = ?1")?;
        let known = statement
            .query_row([row.get::<_, i64>("target")?], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get(2)?))
            })
            .optional()?;
        let Some((id, job, url)) = known else { return Ok(None) };
        Ok(Some(HealthChange {
            at_ms: row.get("at_ms")?,
            target: target_id(&id),
            job: job.into(),
            url,
            is_up: row.get("is_up")?,
            error: row.get("error")?,
            by: self.node(row, "by_node")?,
        }))
    }

    fn config(&self, row: &Row<'_>) -> Result<ConfigVersion> {
        let digest: String = row.get("digest")?;
        Ok(ConfigVersion {
            at_ms: row.get("at_ms")?,
            by: self.node(row, "by_node")?,
            digest: u64::from_str_radix(&digest, 16).unwrap_or_default(),
            cause: row.get("cause")?,
            changes: row.get("changes")?,
            refused: row.get("refused")?,
        })
    }
}

/// Targets that came or went at once become one entry again, up to its bound.
fn together(rows: Vec<Entry>) -> Vec<Entry> {
    let mut all: Vec<Entry> = Vec::with_capacity(rows.len());
    for row in rows {
        if let (Some(Entry::Targets(last)), Entry::Targets(next)) = (all.last_mut(), &row) {
            let is_same = (last.at_ms, &last.job, last.came, last.reason)
                == (next.at_ms, &next.job, next.came, next.reason);
            if is_same && last.targets.len() + next.targets.len() <= ENTRY_TARGETS_MAX {
                last.targets.extend(next.targets.iter().cloned());
                continue;
            }
        }
        all.push(row);
    }
    all
}

/// About as many bytes as it is sent in.
fn size(entry: &Entry) -> usize {
    const FIXED: usize = 64;
    FIXED
        + match entry {
            Entry::Member(change) => {
                change.member.name.len()
                    + change.member.api_address.len()
                    + change.member.zone.len()
                    + change.detail.as_ref().map_or(0, String::len)
            }
            Entry::Moves(moves) => 2 * moves.slots.len(),
            Entry::Targets(change) => change
                .targets
                .iter()
                .map(|target| {
                    let labels = target.labels.iter().map(|(name, value)| name.len() + value.len());
                    target.url.len() + labels.map(|bytes| bytes + 4).sum::<usize>()
                })
                .sum(),
            Entry::Health(change) => {
                change.url.len() + change.job.len() + change.error.as_ref().map_or(0, String::len)
            }
            Entry::Config(version) => {
                version.changes.len() + version.refused.as_ref().map_or(0, String::len)
            }
            Entry::Placement(placement) => 24 * placement.shares.len(),
            Entry::Notice(change) => change.kind.len() + change.text.len(),
            Entry::Drop(drop) => drop.destination.len() + drop.reason.len(),
        }
}

fn reason(name: &str) -> Reason {
    Reason::named(name).unwrap_or(Reason::Unseen)
}

fn target_id(text: &str) -> TargetId {
    TargetId(u64::from_str_radix(text, 16).unwrap_or_default())
}

/// Slots by the id of the node.
pub(super) fn shares(json: &str) -> Vec<(NodeId, u16)> {
    let shares: std::collections::BTreeMap<String, u16> =
        serde_json::from_str(json).unwrap_or_default();
    shares.into_iter().filter_map(|(id, slots)| Some((parsed(&id)?, slots))).collect()
}

pub(super) fn labels(json: &str) -> Vec<(String, String)> {
    let labels: std::collections::BTreeMap<String, String> =
        serde_json::from_str(json).unwrap_or_default();
    labels.into_iter().collect()
}
