//! Whether every divided target has exactly one owner: judged from what the members say of one
//! instant of fleet time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{member::NodeId, overrides::Stamp, target::TargetName};

/// What one member says of the instant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Said {
    /// What it truly scrapes of the divided targets.
    pub scrapes: Vec<TargetName>,
    pub config_digest: u64,
    /// Of what its discovery has found.
    pub targets_digest: u64,
    /// Who takes part, with their weights.
    pub roster: Vec<(NodeId, u32)>,
    /// Of the overrides that hold.
    pub overrides: Option<Stamp>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// How many divided targets there are, scraped or not.
    pub targets: usize,
    pub unowned: BTreeSet<TargetName>,
    pub doubled: BTreeMap<TargetName, Vec<NodeId>>,
    pub disagreements: Vec<Disagreement>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Disagreement {
    pub about: About,
    /// Who differs from most of those who answered.
    pub node: NodeId,
    pub detail: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    Config,
    Targets,
    Roster,
    Overrides,
}

impl About {
    /// The name under which it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Targets => "targets",
            Self::Roster => "roster",
            Self::Overrides => "overrides",
        }
    }
}

impl Judgement {
    pub fn is_faultless(&self) -> bool {
        self.unowned.is_empty() && self.doubled.is_empty() && self.disagreements.is_empty()
    }

    /// The faults that are in both: what the news of a change brings about for a moment is not.
    #[must_use]
    pub fn lasting(self, earlier: &Self) -> Self {
        let was = |one: &Disagreement| {
            earlier.disagreements.iter().any(|o| (o.about, o.node) == (one.about, one.node))
        };
        Self {
            targets: self.targets,
            unowned: self.unowned.intersection(&earlier.unowned).cloned().collect(),
            doubled: self
                .doubled
                .into_iter()
                .filter(|(name, _)| earlier.doubled.contains_key(name))
                .collect(),
            disagreements: self.disagreements.into_iter().filter(was).collect(),
        }
    }
}

/// `found`: all divided targets that the discovery of any of them has found.
pub fn judge(said: &BTreeMap<NodeId, Said>, found: &BTreeSet<TargetName>) -> Judgement {
    let mut by: BTreeMap<&TargetName, Vec<NodeId>> =
        found.iter().map(|name| (name, Vec::new())).collect();
    for (id, said) in said {
        for name in &said.scrapes {
            by.entry(name).or_default().push(*id);
        }
    }
    let unowned = by.iter().filter(|(_, owners)| owners.is_empty());
    let doubled = by.iter().filter(|(_, owners)| owners.len() > 1);
    Judgement {
        targets: by.len(),
        unowned: unowned.map(|(name, _)| (*name).clone()).collect(),
        doubled: doubled.map(|(name, owners)| ((*name).clone(), owners.clone())).collect(),
        disagreements: disagreements(said),
    }
}

fn disagreements(said: &BTreeMap<NodeId, Said>) -> Vec<Disagreement> {
    let mut found = Vec::new();
    let digest = |what: &str, theirs: u64, most: u64| {
        format!("its {what} has the digest {theirs:016x}, that of most has {most:016x}")
    };
    differing(
        said,
        About::Config,
        |said| said.config_digest,
        &mut found,
        |theirs, most| digest("configuration of jobs", *theirs, *most),
    );
    differing(
        said,
        About::Targets,
        |said| said.targets_digest,
        &mut found,
        |theirs, most| digest("discovery of targets", *theirs, *most),
    );
    differing(
        said,
        About::Roster,
        |said| said.roster.clone(),
        &mut found,
        |theirs, most| roster_detail(theirs, most),
    );
    differing(
        said,
        About::Overrides,
        |said| said.overrides,
        &mut found,
        |theirs, most| {
            let shown = |stamp: &Option<Stamp>| match stamp {
                Some(Stamp { version, publisher }) => format!("version {version} by {publisher}"),
                None => "none".to_owned(),
            };
            format!("its overrides are {}, those of most are {}", shown(theirs), shown(most))
        },
    );
    found
}

/// Names those who differ from most; where as many say the one as the other, from the one that the
/// lowest id says.
fn differing<T: PartialEq>(
    said: &BTreeMap<NodeId, Said>,
    about: About,
    value: impl Fn(&Said) -> T,
    found: &mut Vec<Disagreement>,
    detail: impl Fn(&T, &T) -> String,
) {
    let values: Vec<(NodeId, T)> = said.iter().map(|(id, said)| (*id, value(said))).collect();
    let count = |at: usize| values.iter().filter(|(_, other)| *other == values[at].1).count();
    // Of several with the greatest count the first, so the lowest id.
    let most = (0..values.len()).rev().max_by_key(|&at| count(at));
    let Some((_, most)) = most.map(|at| &values[at]) else { return };
    for (node, theirs) in values.iter().filter(|(_, theirs)| theirs != most) {
        found.push(Disagreement { about, node: *node, detail: detail(theirs, most) });
    }
}

fn roster_detail(theirs: &[(NodeId, u32)], most: &[(NodeId, u32)]) -> String {
    let ids = |of: &[(NodeId, u32)]| of.iter().map(|(id, _)| *id).collect::<BTreeSet<NodeId>>();
    let (their_ids, most_ids) = (ids(theirs), ids(most));
    let listed = |ids: Vec<String>| ids.join(", ");
    let missing = listed(most_ids.difference(&their_ids).map(ToString::to_string).collect());
    let extra = listed(their_ids.difference(&most_ids).map(ToString::to_string).collect());
    match (missing.is_empty(), extra.is_empty()) {
        (false, true) => format!("for it these don't take part, for most they do: {missing}"),
        (true, false) => format!("for it these take part, for most they don't: {extra}"),
        (false, false) => format!(
            "for it these don't take part, for most they do: {missing}; and the other way round: {extra}"
        ),
        (true, true) => "it knows members by other weights than most".to_owned(),
    }
}
