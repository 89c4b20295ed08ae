//! A page of what happened: each kind gives its latest rows before the cursor from an index of its
//! own, and of all of them the latest are the page.

use rusqlite::{Connection, OptionalExtension, Result, Row, ToSql, named_params, params};

use crate::{
    history::{
        answers::{EventFilter, EventPage},
        entry::{
            ConfigVersion, HealthChange, MemberChange, MemberSeen, NoticeChange, Placement, Reason,
            SamplesDrop, SlotMoves, Step, TargetSeen, TargetsChange,
        },
        event::{Cursor, Event, Kind, TargetRef},
        questions::{Members, UNKNOWN},
        rows::state_named,
    },
    model::{member::MemberState, slot::Slot, target::TargetId},
};

pub(in crate::history) fn events(
    connection: &mut Connection,
    filter: &EventFilter,
    after: Option<Cursor>,
    limit: usize,
) -> Result<EventPage> {
    // All of it is of one moment.
    let connection = &*connection.transaction()?;
    let members = Members::read(connection)?;
    let node = match filter.node {
        Some(id) => match members.number(id) {
            Some(number) => Some(number),
            None => return Ok(EventPage::default()),
        },
        None => None,
    };
    let mut found = Vec::new();
    for kind in Kind::ALL {
        if filter.kind.is_some_and(|wanted| wanted != kind) {
            continue;
        }
        let look = Look { connection, members: &members, node, limit: limit + 1, filter, after };
        match filter.target {
            Some(id) => look.of_target(kind, id, &mut found)?,
            None => look.of_kind(kind, &mut found)?,
        }
    }
    found.sort_unstable_by_key(|(cursor, _)| std::cmp::Reverse(*cursor));
    let is_more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| is_more).map(|(cursor, _)| *cursor);
    Ok(EventPage { items: found.into_iter().map(|(_, event)| event).collect(), next })
}

type Found = Vec<(Cursor, Event)>;

struct Look<'a> {
    connection: &'a Connection,
    members: &'a Members,
    node: Option<i64>,
    limit: usize,
    filter: &'a EventFilter,
    after: Option<Cursor>,
}

/// What all queries say of the page; `number` is what tells rows of one instant apart.
const PAGE: &str = "at_ms >= :from AND at_ms <= :at AND (at_ms < :at OR number < :number)
    ORDER BY at_ms DESC, number DESC LIMIT :limit";

impl Look<'_> {
    fn of_kind(&self, kind: Kind, found: &mut Found) -> Result<()> {
        let by =
            |column: &str| self.node.map_or_else(String::new, |_| format!("{column} = :node AND "));
        let from = match kind {
            Kind::Member => format!("member_changes WHERE {}", by("node")),
            Kind::Moves if self.node.is_some() => {
                // Two indexes, so two questions.
                self.rows(kind, "move_groups WHERE from_node = :node AND ", found)?;
                "move_groups WHERE to_node = :node AND from_node <> :node AND ".to_owned()
            }
            Kind::Moves => "move_groups WHERE ".to_owned(),
            // These are of no member.
            Kind::Target | Kind::Placement if self.node.is_some() => return Ok(()),
            Kind::Target => "target_changes WHERE ".to_owned(),
            Kind::Placement => "placements WHERE ".to_owned(),
            Kind::Health => format!("health_changes WHERE {}", by("by_node")),
            Kind::Config => format!("config_versions WHERE {}", by("by_node")),
            Kind::Notice if self.node.is_some() => {
                "notices WHERE (by_node = :node OR about_node = :node) AND ".to_owned()
            }
            Kind::Notice => "notices WHERE ".to_owned(),
            Kind::Drop => format!("drops WHERE {}", by("by_node")),
        };
        self.rows(kind, &from, found)
    }

    fn rows(&self, kind: Kind, from: &str, found: &mut Found) -> Result<()> {
        let sql = format!("SELECT * FROM {from} {PAGE}");
        self.each(kind, &sql, &[], found, |row| self.event(kind, row))
    }

    /// Asks for the rows of one kind that the page may hold.
    fn each(
        &self,
        kind: Kind,
        sql: &str,
        more: &[(&str, &dyn ToSql)],
        found: &mut Found,
        event: impl Fn(&Row<'_>) -> Result<Event>,
    ) -> Result<()> {
        let (at_ms, number) = self.end(kind);
        let from_ms = self.filter.from_ms.unwrap_or(i64::MIN);
        let limit = i64::try_from(self.limit).unwrap_or(i64::MAX);
        let mut values: Vec<(&str, &dyn ToSql)> = named_params! {
            ":from": from_ms, ":at": at_ms, ":number": number, ":limit": limit
        }
        .to_vec();
        if let Some(node) = self.node.as_ref().filter(|_| sql.contains(":node")) {
            values.push((":node", node));
        }
        values.extend(more);
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(&values[..])?;
        while let Some(row) = rows.next()? {
            let number: i64 = row.get("number")?;
            let event = event(row)?;
            found.push((Cursor { at_ms: event.at_ms, kind, number }, event));
        }
        Ok(())
    }

    /// The place that the rows of `kind` come before, the latest first.
    fn end(&self, kind: Kind) -> (i64, i64) {
        let until = self.filter.until_ms.map(|until_ms| (until_ms, i64::MIN));
        let after = self.after.map(|after| {
            let number = match kind.cmp(&after.kind) {
                std::cmp::Ordering::Less => i64::MAX,
                std::cmp::Ordering::Equal => after.number,
                std::cmp::Ordering::Greater => i64::MIN,
            };
            (after.at_ms, number)
        });
        until.into_iter().chain(after).min().unwrap_or((i64::MAX, i64::MAX))
    }

    fn event(&self, kind: Kind, row: &Row<'_>) -> Result<Event> {
        let names = |id| self.members.name(id);
        let event = match kind {
            Kind::Member => Event::member(&self.member_change(row)?),
            Kind::Moves => Event::moves(&self.slot_moves(row)?, row.get("slots")?, &names),
            Kind::Target => self.targets_change(row)?,
            Kind::Health => Event::health(&self.health_change(row)?, &names),
            Kind::Config => Event::config(&self.config_version(row)?, &names),
            Kind::Placement => Event::placement(&placement(row)?, &names),
            Kind::Notice => Event::notice(&self.notice(row)?, &names),
            Kind::Drop => Event::dropped(&self.samples_drop(row)?, &names),
        };
        Ok(Event { id: Some(id_of(kind, row.get("number")?)), ..event })
    }

    fn member_change(&self, row: &Row<'_>) -> Result<MemberChange> {
        let step: String = row.get("step")?;
        let state: String = row.get("state")?;
        let member = MemberSeen {
            id: self.members.id(row.get("node")?).unwrap_or(UNKNOWN),
            name: row.get("name")?,
            api_address: row.get("api_address")?,
            weight: row.get("weight")?,
            zone: row.get("zone")?,
            state: state_named(&state).unwrap_or(MemberState::Dead),
        };
        Ok(MemberChange {
            at_ms: row.get("at_ms")?,
            member,
            step: Step::named(&step).unwrap_or(Step::Changed),
            detail: row.get("detail")?,
        })
    }

    fn slot_moves(&self, row: &Row<'_>) -> Result<SlotMoves> {
        Ok(SlotMoves {
            at_ms: row.get("at_ms")?,
            recorded_ms: row.get("recorded_ms")?,
            reason: reason(row, "reason")?,
            from: self.members.id(row.get("from_node")?),
            to: self.members.id(row.get("to_node")?),
            slots: Vec::new(),
            targets: row.get("targets")?,
        })
    }

    /// Where it is one alone it is named.
    fn targets_change(&self, row: &Row<'_>) -> Result<Event> {
        let (at_ms, job): (i64, String) = (row.get("at_ms")?, row.get("job")?);
        let (came, targets): (bool, u64) = (row.get("came")?, row.get("targets")?);
        let one = if targets == 1 { self.only_target(at_ms, &job, came)? } else { None };
        let change = TargetsChange {
            at_ms,
            job: job.into(),
            came,
            reason: reason(row, "reason")?,
            targets: one.into_iter().collect(),
        };
        Ok(Event::targets(&change, targets))
    }

    fn only_target(&self, at_ms: i64, job: &str, came: bool) -> Result<Option<TargetSeen>> {
        let column = if came { "from_ms" } else { "until_ms" };
        let sql = format!(
            "SELECT t.id, t.url, t.slot FROM presences p JOIN targets t ON t.number = p.target
              WHERE p.{column} = ?1 AND t.job = ?2 LIMIT 1"
        );
        self.connection
            .prepare_cached(&sql)?
            .query_row(params![at_ms, job], |row| {
                Ok(TargetSeen {
                    id: target_id(&row.get::<_, String>(0)?),
                    url: row.get(1)?,
                    labels: Vec::new(),
                    slot: row.get::<_, Option<u16>>(2)?.and_then(Slot::new),
                })
            })
            .optional()
    }

    fn health_change(&self, row: &Row<'_>) -> Result<HealthChange> {
        let mut statement =
            self.connection.prepare_cached("SELECT id, job, url FROM targets WHERE number = ?1")?;
        let target = statement
            .query_row([row.get::<_, i64>("target")?], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })
            .optional()?;
        let (id, job, url) = target.unwrap_or_default();
        Ok(HealthChange {
            at_ms: row.get("at_ms")?,
            target: target_id(&id),
            job: job.into(),
            url,
            is_up: row.get("is_up")?,
            error: row.get("error")?,
            by: self.members.id(row.get("by_node")?).unwrap_or(UNKNOWN),
        })
    }

    fn config_version(&self, row: &Row<'_>) -> Result<ConfigVersion> {
        let digest: String = row.get("digest")?;
        Ok(ConfigVersion {
            at_ms: row.get("at_ms")?,
            by: self.members.id(row.get("by_node")?).unwrap_or(UNKNOWN),
            digest: u64::from_str_radix(&digest, 16).unwrap_or_default(),
            cause: row.get("cause")?,
            changes: row.get("changes")?,
            refused: row.get("refused")?,
        })
    }

    fn notice(&self, row: &Row<'_>) -> Result<NoticeChange> {
        Ok(NoticeChange {
            at_ms: row.get("at_ms")?,
            by: self.members.id(row.get("by_node")?).unwrap_or(UNKNOWN),
            about: self.members.id(row.get("about_node")?),
            kind: row.get("kind")?,
            text: row.get("text")?,
            is_raised: row.get("is_raised")?,
        })
    }

    fn samples_drop(&self, row: &Row<'_>) -> Result<SamplesDrop> {
        Ok(SamplesDrop {
            at_ms: row.get("at_ms")?,
            by: self.members.id(row.get("by_node")?).unwrap_or(UNKNOWN),
            destination: row.get("destination")?,
            reason: row.get("reason")?,
            samples: row.get("samples")?,
        })
    }

    /// With a target asked for, what moves and comes and goes is it alone.
    fn of_target(&self, kind: Kind, id: TargetId, found: &mut Found) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "SELECT number, job, url, slot FROM targets WHERE id = ?1 AND (?2 IS NULL OR job = ?2)",
        )?;
        let mut rows = statement.query(params![id.to_string(), self.filter.job.as_deref()])?;
        while let Some(row) = rows.next()? {
            let target = Target {
                number: row.get(0)?,
                slot: row.get(3)?,
                named: TargetRef { id, job: row.get::<_, String>(1)?.into(), url: row.get(2)? },
            };
            match kind {
                Kind::Moves => self.moves_of(&target, found)?,
                Kind::Target if self.node.is_none() => {
                    self.presences_of(&target, true, found)?;
                    self.presences_of(&target, false, found)?;
                }
                Kind::Health => {
                    let by = if self.node.is_some() { "by_node = :node AND " } else { "" };
                    let sql = format!(
                        "SELECT * FROM health_changes WHERE target = :target AND {by} {PAGE}"
                    );
                    let more: &[(&str, &dyn ToSql)] = &[(":target", &target.number)];
                    self.each(kind, &sql, more, found, |row| self.event(kind, row))?;
                }
                Kind::Target
                | Kind::Member
                | Kind::Config
                | Kind::Placement
                | Kind::Notice
                | Kind::Drop => {}
            }
        }
        Ok(())
    }

    fn moves_of(&self, target: &Target, found: &mut Found) -> Result<()> {
        let Some(slot) = target.slot else { return Ok(()) };
        let by = match self.node {
            Some(_) => "(from_node = :node OR to_node = :node) AND ",
            None => "",
        };
        let sql = format!(
            "SELECT *, 1 AS slots, 1 AS targets FROM
                    (SELECT *, to_node * 4294967296 + from_node AS number FROM slot_moves
                      WHERE slot = :slot AND void = 0)
              WHERE {by} EXISTS (SELECT 1 FROM presences
                                  WHERE target = :target AND from_ms <= at_ms
                                    AND (until_ms IS NULL OR until_ms > at_ms))
                AND {PAGE}"
        );
        let more: &[(&str, &dyn ToSql)] = &[(":slot", &slot), (":target", &target.number)];
        self.each(Kind::Moves, &sql, more, found, |row| {
            let moves = self.slot_moves(row)?;
            let event = Event::moves(&moves, 1, &|id| self.members.name(id));
            Ok(Event { target: Some(target.named.clone()), ..event })
        })
    }

    fn presences_of(&self, target: &Target, came: bool, found: &mut Found) -> Result<()> {
        let (at, why) = if came { ("from_ms", "came") } else { ("until_ms", "went") };
        // Of one that came and went at once, both are told.
        let number = if came { "number * 2" } else { "number * 2 + 1" };
        let sql = format!(
            "SELECT * FROM (SELECT {at} AS at_ms, {why} AS reason, {number} AS number FROM presences
                             WHERE target = :target AND {at} IS NOT NULL)
              WHERE {PAGE}"
        );
        let more: &[(&str, &dyn ToSql)] = &[(":target", &target.number)];
        self.each(Kind::Target, &sql, more, found, |row| {
            let TargetRef { id, job, url } = target.named.clone();
            let slot = target.slot.and_then(Slot::new);
            let change = TargetsChange {
                at_ms: row.get("at_ms")?,
                job,
                came,
                reason: reason(row, "reason")?,
                targets: vec![TargetSeen { id, url, labels: Vec::new(), slot }],
            };
            Ok(Event::targets(&change, 1))
        })
    }
}

struct Target {
    number: i64,
    slot: Option<u16>,
    named: TargetRef,
}

/// The same for a row whenever it is asked for, and each once.
fn id_of(kind: Kind, number: i64) -> i64 {
    let kinds = i64::try_from(Kind::ALL.len()).expect("there are few");
    let kind = Kind::ALL.iter().position(|one| *one == kind).unwrap_or_default();
    number.wrapping_mul(kinds).wrapping_add(i64::try_from(kind).expect("there are few"))
}

fn placement(row: &Row<'_>) -> Result<Placement> {
    let shares: String = row.get("shares")?;
    Ok(Placement {
        at_ms: row.get("at_ms")?,
        reason: reason(row, "reason")?,
        shares: super::since::shares(&shares),
    })
}

fn reason(row: &Row<'_>, column: &str) -> Result<Reason> {
    Ok(Reason::named(&row.get::<_, String>(column)?).unwrap_or(Reason::Unseen))
}

fn target_id(text: &str) -> TargetId {
    TargetId(u64::from_str_radix(text, 16).unwrap_or_default())
}
