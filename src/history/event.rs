//! What a person is told: one line for each thing that happened, the same whether it comes from the
//! file or as it happens. Plain values; `admin` gives them their JSON.

use std::{fmt, str::FromStr, sync::Arc};

use crate::{
    history::entry::{
        ConfigVersion, Entry, HealthChange, MemberChange, NoticeChange, Placement, Reason,
        SamplesDrop, SlotMoves, Step, TargetsChange,
    },
    model::{member::NodeId, target::TargetId},
};

/// A member, with the name that it was last known by; empty where nobody knows one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeRef {
    pub id: NodeId,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TargetRef {
    pub id: TargetId,
    pub job: Arc<str>,
    /// Without credentials and parameters.
    pub url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Member,
    Moves,
    Target,
    Health,
    Config,
    Placement,
    Notice,
    Drop,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Member,
        Self::Moves,
        Self::Target,
        Self::Health,
        Self::Config,
        Self::Placement,
        Self::Notice,
        Self::Drop,
    ];

    /// The name under which it is shown and asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Member => "member",
            Self::Moves => "moves",
            Self::Target => "target",
            Self::Health => "health",
            Self::Config => "config",
            Self::Placement => "placement",
            Self::Notice => "notice",
            Self::Drop => "drop",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Of an event that is stored: its place among those of its kind.
    pub id: Option<i64>,
    pub at_ms: i64,
    pub kind: Kind,
    /// One line.
    pub summary: String,
    /// Whom it is about.
    pub node: Option<NodeRef>,
    pub reason: Option<Arc<str>>,
    pub from: Option<NodeRef>,
    pub to: Option<NodeRef>,
    pub slots: Option<u64>,
    pub targets: Option<u64>,
    pub target: Option<TargetRef>,
    pub error: Option<String>,
}

/// Where a page of events ends: the next one begins behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub at_ms: i64,
    pub kind: Kind,
    pub number: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at_ms, self.kind.name(), self.number)
    }
}

impl FromStr for Cursor {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.split('.');
        let mut number = || parts.next().ok_or(());
        let at_ms = number()?.parse().map_err(drop)?;
        let kind = Kind::named(number()?).ok_or(())?;
        let number = number()?.parse().map_err(drop)?;
        if parts.next().is_some() { Err(()) } else { Ok(Self { at_ms, kind, number }) }
    }
}

/// Names for nodes.
pub type Names<'a> = &'a dyn Fn(NodeId) -> String;

impl Event {
    /// As it is told of an entry.
    pub fn of(entry: &Entry, names: Names<'_>) -> Self {
        match entry {
            Entry::Member(change) => Self::member(change),
            Entry::Moves(moves) => Self::moves(moves, moves.slots.len() as u64, names),
            Entry::Targets(change) => Self::targets(change, change.targets.len() as u64),
            Entry::Health(change) => Self::health(change, names),
            Entry::Config(version) => Self::config(version, names),
            Entry::Placement(placement) => Self::placement(placement, names),
            Entry::Notice(change) => Self::notice(change, names),
            Entry::Drop(drop) => Self::dropped(drop, names),
        }
    }

    /// Of which no more is known.
    pub(crate) fn new(kind: Kind, at_ms: i64, summary: String) -> Self {
        Self {
            id: None,
            at_ms,
            kind,
            summary,
            node: None,
            reason: None,
            from: None,
            to: None,
            slots: None,
            targets: None,
            target: None,
            error: None,
        }
    }

    pub(super) fn member(change: &MemberChange) -> Self {
        let name = &change.member.name;
        let weight = change.member.weight;
        let summary = match (change.step, &change.detail) {
            (Step::Joined, _) => format!("{name} joined with weight {weight}"),
            (Step::Left, _) => format!("{name} left"),
            (Step::Crashed, _) => format!("{name} was declared dead"),
            (Step::Suspected, _) => format!("{name} does not answer"),
            (Step::Recovered, _) => format!("{name} answers again"),
            (Step::Changed, Some(detail)) => format!("{name} has changed: {detail}"),
            (Step::Changed, None) => format!("{name} has changed"),
        };
        Self {
            node: Some(NodeRef { id: change.member.id, name: name.clone() }),
            reason: Some(change.step.name().into()),
            ..Self::new(Kind::Member, change.at_ms, summary)
        }
    }

    /// `slots` may be more than are listed.
    pub(super) fn moves(moves: &SlotMoves, slots: u64, names: Names<'_>) -> Self {
        let node = |id: Option<NodeId>| id.map(|id| NodeRef { id, name: names(id) });
        let (from, to) = (node(moves.from), node(moves.to));
        let what = match moves.targets {
            Some(targets) => format!("{} with {}", count(slots, "slot"), count(targets, "target")),
            None => count(slots, "slot"),
        };
        let way = match (&from, &to) {
            (Some(from), Some(to)) => format!("from {} to {}", shown(from), shown(to)),
            (None, Some(to)) => format!("to {}", shown(to)),
            (Some(from), None) => format!("from {} to nobody", shown(from)),
            (None, None) => "to nobody".to_owned(),
        };
        let verb = if slots == 1 { "has moved" } else { "have moved" };
        let summary = format!("{what} {verb} {way}: {}", in_words(moves.reason));
        // Who comes or goes is whom it is about.
        let about = match moves.reason {
            Reason::Leave | Reason::Crash => from.clone(),
            Reason::Start
            | Reason::Join
            | Reason::Rebalance
            | Reason::Weight
            | Reason::Discovered
            | Reason::Vanished
            | Reason::Config
            | Reason::Unseen => to.clone(),
        };
        Self {
            node: about,
            reason: Some(moves.reason.name().into()),
            from,
            to,
            slots: Some(slots),
            targets: moves.targets,
            ..Self::new(Kind::Moves, moves.at_ms, summary)
        }
    }

    /// `targets` may be more than are listed; the first is named where it is the only one.
    pub fn targets(change: &TargetsChange, targets: u64) -> Self {
        let TargetsChange { at_ms, job, came, reason, targets: listed } = change;
        let one = listed.first().filter(|_| targets == 1).map(|target| TargetRef {
            id: target.id,
            job: Arc::clone(job),
            url: target.url.clone(),
        });
        let what = match &one {
            Some(target) => format!("{} of `{job}`", target.url),
            None => format!("{} of `{job}`", count(targets, "target")),
        };
        let verb = match (came, targets == 1) {
            (true, true) => "is there",
            (true, false) => "are there",
            (false, true) => "is gone",
            (false, false) => "are gone",
        };
        Self {
            reason: Some(reason.name().into()),
            targets: Some(targets),
            target: one,
            ..Self::new(Kind::Target, *at_ms, format!("{what} {verb}: {}", in_words(*reason)))
        }
    }

    pub(super) fn health(change: &HealthChange, names: Names<'_>) -> Self {
        let HealthChange { at_ms, target, job, url, is_up, error, by } = change;
        let state = if *is_up { "is up" } else { "is down" };
        let why = error.as_ref().map_or_else(String::new, |error| format!(": {error}"));
        Self {
            node: Some(NodeRef { id: *by, name: names(*by) }),
            reason: Some(if *is_up { "up" } else { "down" }.into()),
            target: Some(TargetRef { id: *target, job: Arc::clone(job), url: url.clone() }),
            error: error.clone(),
            ..Self::new(Kind::Health, *at_ms, format!("{url} of `{job}` {state}{why}"))
        }
    }

    pub(super) fn config(version: &ConfigVersion, names: Names<'_>) -> Self {
        let by = NodeRef { id: version.by, name: names(version.by) };
        let cause = &version.cause;
        let summary = if version.refused.is_some() {
            format!("{} refused a new configuration ({cause})", shown(&by))
        } else {
            let is_line = |line: &&str| line.starts_with(['+', '-']);
            match version.changes.lines().filter(is_line).count() {
                0 => format!("{} runs a configuration ({cause})", shown(&by)),
                lines => format!(
                    "{} runs a new configuration ({cause}): {} changed",
                    shown(&by),
                    count(lines as u64, "line")
                ),
            }
        };
        Self {
            node: Some(by),
            reason: Some(cause.as_str().into()),
            error: version.refused.clone(),
            ..Self::new(Kind::Config, version.at_ms, summary)
        }
    }

    pub(super) fn placement(placement: &Placement, names: Names<'_>) -> Self {
        const NAMED_MAX: usize = 8;
        let share = |(id, slots): &(NodeId, u16)| {
            format!("{} {slots}", shown(&NodeRef { id: *id, name: names(*id) }))
        };
        let listed: Vec<String> = placement.shares.iter().take(NAMED_MAX).map(share).collect();
        let more = placement.shares.len().saturating_sub(NAMED_MAX);
        let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
        Self {
            reason: Some(placement.reason.name().into()),
            ..Self::new(
                Kind::Placement,
                placement.at_ms,
                format!("slots from then on: {}{rest}", listed.join(", ")),
            )
        }
    }

    pub(super) fn notice(change: &NoticeChange, names: Names<'_>) -> Self {
        let about = change.about.unwrap_or(change.by);
        let over = if change.is_raised { "" } else { "over: " };
        Self {
            node: Some(NodeRef { id: about, name: names(about) }),
            reason: Some(change.kind.as_str().into()),
            ..Self::new(Kind::Notice, change.at_ms, format!("{over}{}", change.text))
        }
    }

    pub(super) fn dropped(drop: &SamplesDrop, names: Names<'_>) -> Self {
        let by = NodeRef { id: drop.by, name: names(drop.by) };
        let summary = format!(
            "{} dropped {} for `{}`: {}",
            shown(&by),
            count(drop.samples, "sample"),
            drop.destination,
            drop.reason
        );
        Self {
            node: Some(by),
            reason: Some(drop.reason.as_str().into()),
            ..Self::new(Kind::Drop, drop.at_ms, summary)
        }
    }
}

fn in_words(reason: Reason) -> &'static str {
    match reason {
        Reason::Start => "nobody had it before",
        Reason::Join => "a member joined",
        Reason::Leave => "a member left",
        Reason::Crash => "a member died",
        Reason::Rebalance => "the load was evened out",
        Reason::Weight => "a weight changed",
        Reason::Discovered => "discovered",
        Reason::Vanished => "no longer discovered",
        Reason::Config => "the configuration changed",
        Reason::Unseen => "while this member did not look",
    }
}

fn shown(node: &NodeRef) -> String {
    if node.name.is_empty() { node.id.to_string() } else { node.name.clone() }
}

fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::slot::Slot;

    #[test]
    fn a_cursor_survives_its_text() {
        for kind in Kind::ALL {
            let cursor = Cursor { at_ms: 1_700_000_000_123, kind, number: -7 };
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
        }
        for text in ["", "1.member", "1.member.2.3", "x.member.1", "1.no.1"] {
            assert_eq!(text.parse::<Cursor>(), Err(()), "{text}");
        }
    }

    #[test]
    fn a_move_is_told_in_one_line() {
        let names = |id: NodeId| if id.0 == 9 { String::new() } else { format!("n{}", id.0) };
        let check =
            |reason, from: Option<u128>, to: Option<u128>, slots: u16, targets, expected| {
                let slots = (0..slots).map(|number| Slot::new(number).unwrap()).collect();
                let (from, to) = (from.map(NodeId), to.map(NodeId));
                let moves =
                    SlotMoves { at_ms: 0, recorded_ms: 0, reason, from, to, slots, targets };
                assert_eq!(Event::of(&Entry::Moves(moves), &names).summary, expected);
            };
        check(
            Reason::Crash,
            Some(1),
            Some(2),
            2,
            Some(1),
            "2 slots with 1 target have moved from n1 to n2: a member died",
        );
        check(
            Reason::Start,
            None,
            Some(2),
            1,
            None,
            "1 slot has moved to n2: nobody had it before",
        );
        check(
            Reason::Leave,
            Some(9),
            None,
            1,
            Some(0),
            "1 slot with 0 targets has moved from 00000000000000000000000000000009 to nobody: a member left",
        );
    }
}
