//! What an entry becomes in the tables. What is there already stays as it is, so that rows of
//! another member, or the same ones twice, do no harm.

use rusqlite::{Connection, OptionalExtension, Result, params};

use crate::{
    history::{
        entry::{
            CHANGES_BYTES_MAX, ConfigVersion, Entry, HealthChange, MemberChange, NoticeChange,
            Placement, SamplesDrop, SlotMoves, TEXT_BYTES_MAX, TargetSeen, TargetsChange, cut,
        },
        nodes::Nodes,
    },
    model::{member::MemberState, slot::Slot},
};

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// It happens, and is the latest news of what it tells of.
    Here,
    /// Another member has seen it, some time ago.
    Elsewhere,
}

pub(super) fn write(
    connection: &Connection,
    nodes: &mut Nodes,
    entry: &Entry,
    origin: Origin,
) -> Result<()> {
    match entry {
        Entry::Member(change) => member(connection, nodes, change),
        Entry::Moves(moves) => slot_moves(connection, nodes, moves, origin),
        Entry::Targets(change) => targets(connection, change),
        Entry::Health(change) => health(connection, nodes, change),
        Entry::Config(version) => config(connection, nodes, version),
        Entry::Placement(one) => placement(connection, one),
        Entry::Notice(change) => notice(connection, nodes, change),
        Entry::Drop(drop) => dropped(connection, nodes, drop),
    }
}

fn member(connection: &Connection, nodes: &mut Nodes, change: &MemberChange) -> Result<()> {
    let MemberChange { at_ms, member, step, detail } = change;
    let number = nodes.number(connection, Some(member.id), *at_ms)?;
    let state = state_name(member.state);
    connection
        .prepare_cached(
            "UPDATE members SET name = ?2, api_address = ?3, weight = ?4, zone = ?5, state = ?6,
                    first_seen_ms = min(first_seen_ms, ?7), last_seen_ms = max(last_seen_ms, ?7)
              WHERE number = ?1 AND (state = '' OR last_seen_ms <= ?7)",
        )?
        .execute(params![
            number,
            member.name,
            member.api_address,
            member.weight,
            member.zone,
            state,
            at_ms
        ])?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO member_changes
                    (at_ms, node, step, name, api_address, weight, zone, state, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            at_ms,
            number,
            step.name(),
            member.name,
            member.api_address,
            member.weight,
            member.zone,
            state,
            detail
        ])?;
    Ok(())
}

pub(super) fn state_name(state: MemberState) -> &'static str {
    match state {
        MemberState::Alive => "alive",
        MemberState::Suspect => "suspect",
        MemberState::Left => "left",
        MemberState::Dead => "dead",
    }
}

pub(super) fn state_named(name: &str) -> Option<MemberState> {
    [MemberState::Alive, MemberState::Suspect, MemberState::Left, MemberState::Dead]
        .into_iter()
        .find(|state| state_name(*state) == name)
}

fn slot_moves(
    connection: &Connection,
    nodes: &mut Nodes,
    moves: &SlotMoves,
    origin: Origin,
) -> Result<()> {
    let SlotMoves { at_ms, recorded_ms, reason, from, to, slots, targets } = moves;
    let from = nodes.number(connection, *from, *at_ms)?;
    let to = nodes.number(connection, *to, *at_ms)?;
    let mut void = connection.prepare_cached(
        "UPDATE slot_moves SET void = 1
          WHERE slot = ?1 AND at_ms >= ?2 AND recorded_ms < ?3 AND void = 0
            AND NOT (at_ms = ?2 AND from_node = ?4 AND to_node = ?5)",
    )?;
    let mut is_void = connection.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM slot_moves
                         WHERE slot = ?1 AND at_ms <= ?2 AND recorded_ms > ?3
                           AND NOT (at_ms = ?2 AND from_node = ?4 AND to_node = ?5))",
    )?;
    let mut insert = connection.prepare_cached(
        "INSERT INTO slot_moves (slot, at_ms, recorded_ms, from_node, to_node, reason, void)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT DO UPDATE SET recorded_ms = min(recorded_ms, excluded.recorded_ms)",
    )?;
    for slot in slots {
        let place = params![slot.number(), at_ms, recorded_ms, from, to];
        void.execute(place)?;
        // Of what happens here nothing later can be known.
        let is_void = match origin {
            Origin::Here => false,
            Origin::Elsewhere => is_void.query_row(place, |row| row.get(0))?,
        };
        insert.execute(params![
            slot.number(),
            at_ms,
            recorded_ms,
            from,
            to,
            reason.name(),
            is_void
        ])?;
    }
    group(connection, moves, from, to, *targets)?;
    connection
        .prepare_cached(
            "UPDATE members SET last_seen_ms = ?1
              WHERE number IN (?2, ?3) AND last_seen_ms < ?1",
        )?
        .execute(params![at_ms, from, to])?;
    Ok(())
}

fn group(
    connection: &Connection,
    moves: &SlotMoves,
    from: i64,
    to: i64,
    targets: Option<u64>,
) -> Result<()> {
    let SlotMoves { at_ms, recorded_ms, reason, slots, .. } = moves;
    let key = params![at_ms, reason.name(), from, to];
    let known = connection
        .prepare_cached(
            "SELECT slot_list, targets FROM move_groups
              WHERE at_ms = ?1 AND reason = ?2 AND from_node = ?3 AND to_node = ?4",
        )?
        .query_row(key, |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Option<u64>>(1)?)))
        .optional()?;
    let (mut all, mut targets_all) =
        known.map_or_else(|| (Vec::new(), Some(0)), |(list, targets)| (unpacked(&list), targets));
    let before = all.len();
    all.extend(slots);
    all.sort_unstable();
    all.dedup();
    if all.len() == before {
        return Ok(());
    }
    targets_all = targets_all.zip(targets).map(|(known, more)| known + more);
    connection
        .prepare_cached(
            "INSERT INTO move_groups
                    (at_ms, reason, from_node, to_node, recorded_ms, slots, targets, slot_list)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                 ON CONFLICT DO UPDATE
                SET slots = excluded.slots, targets = excluded.targets,
                    slot_list = excluded.slot_list,
                    recorded_ms = min(recorded_ms, excluded.recorded_ms)",
        )?
        .execute(params![
            at_ms,
            reason.name(),
            from,
            to,
            recorded_ms,
            all.len(),
            targets_all,
            packed(&all)
        ])?;
    Ok(())
}

fn packed(slots: &[Slot]) -> Vec<u8> {
    slots.iter().flat_map(|slot| slot.number().to_le_bytes()).collect()
}

/// What is no slot is left out.
pub(super) fn unpacked(list: &[u8]) -> Vec<Slot> {
    let (numbers, _) = list.as_chunks::<2>();
    numbers.iter().filter_map(|bytes| Slot::new(u16::from_le_bytes(*bytes))).collect()
}

fn targets(connection: &Connection, change: &TargetsChange) -> Result<()> {
    let TargetsChange { at_ms, job, came, reason, targets } = change;
    let mut changed = 0;
    for target in targets {
        let number = match known_target(connection, job, target, *at_ms)?.filter(|_| !came) {
            Some(number) => number,
            None => target_number(connection, job, target, *at_ms)?,
        };
        let row = params![number, at_ms, reason.name()];
        changed += if *came {
            connection
                .prepare_cached(
                    "INSERT OR IGNORE INTO presences (target, from_ms, came)
                     SELECT ?1, ?2, ?3 WHERE NOT EXISTS (
                            SELECT 1 FROM presences
                             WHERE target = ?1 AND (until_ms IS NULL OR until_ms > ?2))",
                )?
                .execute(row)?
        } else {
            connection
                .prepare_cached(
                    "UPDATE presences SET until_ms = ?2, went = ?3
                      WHERE target = ?1 AND until_ms IS NULL AND from_ms <= ?2",
                )?
                .execute(row)?
        };
    }
    if changed > 0 {
        connection
            .prepare_cached(
                "INSERT INTO target_changes (at_ms, job, came, reason, targets)
                 VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT DO UPDATE SET targets = targets + excluded.targets",
            )?
            .execute(params![at_ms, &**job, came, reason.name(), changed])?;
    }
    Ok(())
}

/// What it was last known as stays: who only tells that it went may know no more than its name.
fn known_target(
    connection: &Connection,
    job: &str,
    target: &TargetSeen,
    at_ms: i64,
) -> Result<Option<i64>> {
    connection
        .prepare_cached(
            "UPDATE targets SET last_seen_ms = max(last_seen_ms, ?3)
              WHERE id = ?1 AND job = ?2 RETURNING number",
        )?
        .query_row(params![target.id.to_string(), job, at_ms], |row| row.get(0))
        .optional()
}

fn target_number(
    connection: &Connection,
    job: &str,
    target: &TargetSeen,
    at_ms: i64,
) -> Result<i64> {
    let labels: serde_json::Map<String, serde_json::Value> =
        target.labels.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    connection
        .prepare_cached(
            "INSERT INTO targets (id, job, url, labels, slot, first_seen_ms, last_seen_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
                 ON CONFLICT (id, job) DO UPDATE
                SET url = excluded.url, labels = excluded.labels, slot = excluded.slot,
                    first_seen_ms = min(first_seen_ms, excluded.first_seen_ms),
                    last_seen_ms = max(last_seen_ms, excluded.last_seen_ms)
             RETURNING number",
        )?
        .query_row(
            params![
                target.id.to_string(),
                job,
                target.url,
                serde_json::Value::Object(labels).to_string(),
                target.slot.map(Slot::number),
                at_ms
            ],
            |row| row.get(0),
        )
}

fn health(connection: &Connection, nodes: &mut Nodes, change: &HealthChange) -> Result<()> {
    let HealthChange { at_ms, target, job, url, is_up, error, by } = change;
    let by = nodes.number(connection, Some(*by), *at_ms)?;
    let seen = TargetSeen { id: *target, url: url.clone(), labels: Vec::new(), slot: None };
    let number = match known_target(connection, job, &seen, *at_ms)? {
        Some(number) => number,
        // It is told of before discovery has told of it here.
        None => target_number(connection, job, &seen, *at_ms)?,
    };
    let error = error.as_ref().map(|error| cut(error, TEXT_BYTES_MAX));
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO health_changes (at_ms, target, is_up, error, by_node)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![at_ms, number, is_up, error, by])?;
    Ok(())
}

fn config(connection: &Connection, nodes: &mut Nodes, version: &ConfigVersion) -> Result<()> {
    let ConfigVersion { at_ms, by, digest, cause, changes, refused } = version;
    let by = nodes.number(connection, Some(*by), *at_ms)?;
    let refused = refused.as_ref().map(|refused| cut(refused, CHANGES_BYTES_MAX));
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO config_versions (at_ms, by_node, digest, cause, changes, refused)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            at_ms,
            by,
            format!("{digest:016x}"),
            cause,
            cut(changes, CHANGES_BYTES_MAX),
            refused
        ])?;
    Ok(())
}

fn placement(connection: &Connection, placement: &Placement) -> Result<()> {
    let Placement { at_ms, reason, shares } = placement;
    let shares: serde_json::Map<String, serde_json::Value> =
        shares.iter().map(|(id, slots)| (id.to_string(), (*slots).into())).collect();
    connection
        .prepare_cached(
            "INSERT INTO placements (at_ms, reason, shares) VALUES (?1, ?2, ?3)
                 ON CONFLICT (at_ms) DO UPDATE SET reason = excluded.reason, shares = excluded.shares",
        )?
        .execute(params![
            at_ms,
            reason.name(),
            serde_json::Value::Object(shares).to_string()
        ])?;
    Ok(())
}

fn notice(connection: &Connection, nodes: &mut Nodes, change: &NoticeChange) -> Result<()> {
    let NoticeChange { at_ms, by, about, kind, text, is_raised } = change;
    let by = nodes.number(connection, Some(*by), *at_ms)?;
    let about = nodes.number(connection, *about, *at_ms)?;
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO notices (at_ms, by_node, about_node, kind, text, is_raised)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![at_ms, by, about, kind, cut(text, TEXT_BYTES_MAX), is_raised])?;
    Ok(())
}

fn dropped(connection: &Connection, nodes: &mut Nodes, drop: &SamplesDrop) -> Result<()> {
    let SamplesDrop { at_ms, by, destination, reason, samples } = drop;
    let by = nodes.number(connection, Some(*by), *at_ms)?;
    let samples = i64::try_from(*samples).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO drops (at_ms, by_node, destination, reason, samples)
             VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![at_ms, by, destination, reason, samples])?;
    Ok(())
}
