//! The states of the fleet that someone should look at, each with a sentence that says what to do.

use std::{fmt, net::SocketAddr, sync::Arc};

use crate::model::member::NodeId;

/// Jobs that a sentence names; of more it tells the number.
const JOBS_NAMED_MAX: usize = 5;

const STALLED: &str = "this process stood still for a while, so it does nothing that is divided until a peer has said \
    whether its share was given away; where this repeats, find out what starves or suspends this host";
const DECLARED_DEAD: &str = "the others have declared this node dead, so it does nothing that is divided until a peer has \
    answered it; where this repeats, find out what loses packets to or from this host";
const SAME_SECRET: &str = "put the same `--cluster.secret-file` on both";
const SHUT_OUT: &str = " (a node that starts and hears no other peers stays out while they work)";
const SAME_FILE: &str = "bring both to the same file and reload";
const INSECURE: &str = "`--cluster.insecure` is on and no secret is set, so whoever reaches the cluster port \
    can join, and be given targets and unsent samples; put the same \
    `--cluster.secret-file` on all members (`openssl rand -hex 32` makes one)";
const OVERRIDE_CONFLICT: &str = "two members had each published which slots are moved to even out the load, as the two \
    sides of a split do; one is left and publishes for all within a minute, so where this \
    comes again, find out what parts the members from each other";

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Notice {
    /// Another member has this node's name.
    NameClash {
        name: String,
        holder: SocketAddr,
    },
    /// Another process has this node's id.
    IdClash {
        holder: SocketAddr,
    },
    /// A configured peer seals with a secret that is not ours.
    WrongSecret {
        peer: SocketAddr,
    },
    /// A configured peer has our secret and another cluster name.
    WrongCluster {
        peer: SocketAddr,
    },
    LoopbackAdvertise {
        address: SocketAddr,
    },
    /// The others' clocks are ahead of this one by so much, at their median.
    ClockSkew {
        ahead_ms: i64,
    },
    NoPeerAnswers {
        configured: usize,
    },
    /// This node stood still, or heard that it was declared dead, and does nothing until a peer
    /// has answered.
    Holding {
        why: HoldReason,
    },
    /// For a while now, the config of `member` has not been this node's.
    ConfigDrift {
        member: NodeId,
        name: String,
    },
    /// For a while now, `member` has found other targets than this node.
    TargetDrift {
        member: NodeId,
        name: String,
        /// Where that is known.
        jobs: Vec<Arc<str>>,
        /// Where the member has been asked for it.
        first: Option<Difference>,
    },
    /// There are more members than fit the book.
    TooManyMembers {
        records_max: usize,
    },
    /// This side of a split is the smaller one, and stops as it was told to.
    QuorumLost(Minority),
    /// So many members were waited for, and have never been here since this node started.
    WaitingForSize {
        here: usize,
        size: usize,
        /// It still waits, for so long at most after it started; `None`: it has gone on.
        seconds_max: Option<u64>,
    },
    /// The secret is the one that everybody knows.
    Insecure,
    /// Members had published, without knowing of each other, which slots are moved for balance.
    OverrideConflict,
}

/// The first target, by key, that two members see differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Difference {
    pub job: Arc<str>,
    pub url: String,
    pub found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// By this node alone.
    Here,
    /// By the other alone.
    There,
    /// By both, under different labels.
    Otherwise,
}

/// Of the members that a majority is counted over, too few are on this side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Minority {
    pub here: usize,
    pub base: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldReason {
    Stalled,
    DeclaredDead,
}

/// A notice, and since when this node has shown it, by its own clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raised {
    pub notice: Notice,
    pub since_ms: i64,
}

/// What is raised now. A state that goes on keeps its beginning, also while its figures change.
pub fn raise<'a>(
    before: &[Raised],
    notices: impl Iterator<Item = &'a Notice>,
    now_ms: i64,
) -> Vec<Raised> {
    let since = |notice: &Notice| {
        let known = before.iter().find(|raised| raised.notice.is_same_state(notice));
        known.map_or(now_ms, |raised| raised.since_ms)
    };
    notices.map(|notice| Raised { notice: notice.clone(), since_ms: since(notice) }).collect()
}

/// Those of `some` that tell of no state that `others` tell of.
pub fn only_in<'a>(some: &'a [Raised], others: &'a [Raised]) -> impl Iterator<Item = &'a Raised> {
    some.iter().filter(|one| !others.iter().any(|other| other.notice.is_same_state(&one.notice)))
}

impl Notice {
    /// Every kind there is.
    pub const KINDS: [&'static str; 15] = [
        "name_clash",
        "id_clash",
        "wrong_secret",
        "wrong_cluster",
        "loopback_advertise",
        "clock_skew",
        "no_peer_answers",
        "holding",
        "config_drift",
        "target_drift",
        "too_many_members",
        "quorum_lost",
        "waiting_for_size",
        "insecure",
        "override_conflict",
    ];

    /// The name under which it is counted and shown.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NameClash { .. } => "name_clash",
            Self::IdClash { .. } => "id_clash",
            Self::WrongSecret { .. } => "wrong_secret",
            Self::WrongCluster { .. } => "wrong_cluster",
            Self::LoopbackAdvertise { .. } => "loopback_advertise",
            Self::ClockSkew { .. } => "clock_skew",
            Self::NoPeerAnswers { .. } => "no_peer_answers",
            Self::Holding { .. } => "holding",
            Self::ConfigDrift { .. } => "config_drift",
            Self::TargetDrift { .. } => "target_drift",
            Self::TooManyMembers { .. } => "too_many_members",
            Self::QuorumLost(_) => "quorum_lost",
            Self::WaitingForSize { .. } => "waiting_for_size",
            Self::Insecure => "insecure",
            Self::OverrideConflict => "override_conflict",
        }
    }

    /// Whether both tell of one state, be it with other figures.
    fn is_same_state(&self, other: &Self) -> bool {
        (self.kind(), self.peer(), self.member()) == (other.kind(), other.peer(), other.member())
    }

    /// The peer that it is about; there may be one such notice a peer.
    fn peer(&self) -> Option<SocketAddr> {
        match self {
            Self::WrongSecret { peer } | Self::WrongCluster { peer } => Some(*peer),
            Self::NameClash { .. }
            | Self::IdClash { .. }
            | Self::LoopbackAdvertise { .. }
            | Self::ClockSkew { .. }
            | Self::NoPeerAnswers { .. }
            | Self::Holding { .. }
            | Self::ConfigDrift { .. }
            | Self::TargetDrift { .. }
            | Self::TooManyMembers { .. }
            | Self::QuorumLost(_)
            | Self::WaitingForSize { .. }
            | Self::Insecure
            | Self::OverrideConflict => None,
        }
    }

    /// The member that it is about; there may be one such notice a member.
    pub fn member(&self) -> Option<NodeId> {
        match self {
            Self::ConfigDrift { member, .. } | Self::TargetDrift { member, .. } => Some(*member),
            Self::NameClash { .. }
            | Self::IdClash { .. }
            | Self::WrongSecret { .. }
            | Self::WrongCluster { .. }
            | Self::LoopbackAdvertise { .. }
            | Self::ClockSkew { .. }
            | Self::NoPeerAnswers { .. }
            | Self::Holding { .. }
            | Self::TooManyMembers { .. }
            | Self::QuorumLost(_)
            | Self::WaitingForSize { .. }
            | Self::Insecure
            | Self::OverrideConflict => None,
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameClash { name, holder } => write!(
                f,
                "another member, at `{holder}`, is named `{name}` already, so this node stays out; \
                 give one of them another `--cluster.node-name`"
            ),
            Self::IdClash { holder } => write!(
                f,
                "the process at `{holder}` has this node's id, as a copied disk would, so this node \
                 stays out; stop it, delete the file `node_id` in its `--storage.path` and start it"
            ),
            Self::WrongSecret { peer } => {
                write!(f, "the peer `{peer}` has another secret; {SAME_SECRET}{SHUT_OUT}")
            }
            Self::WrongCluster { peer } => write!(
                f,
                "the peer `{peer}` has our secret but another cluster name; set the same \
                 `--cluster.name` on both, or give each cluster a secret of its own"
            ),
            Self::LoopbackAdvertise { address } => write!(
                f,
                "no other host can reach this node at `{address}`, as it tells them to; set \
                 `--cluster.advertise-address`"
            ),
            Self::ClockSkew { ahead_ms } => write!(
                f,
                "the clock of this host is {} ms {} beside its peers'; look after its time \
                 synchronization (`chronyc tracking`, `timedatectl`)",
                ahead_ms.unsigned_abs(),
                if *ahead_ms > 0 { "slow" } else { "fast" }
            ),
            Self::NoPeerAnswers { configured } => write!(
                f,
                "none of the {configured} addresses of `--cluster.peers` answers, so this node \
                 works alone; look at the list, at the firewall for UDP on the cluster port, and \
                 at the peers' log"
            ),
            Self::Holding { why: HoldReason::Stalled } => f.write_str(STALLED),
            Self::Holding { why: HoldReason::DeclaredDead } => f.write_str(DECLARED_DEAD),
            Self::ConfigDrift { name, .. } => {
                write!(f, "the member `{name}` has another config than this node; {SAME_FILE}")
            }
            Self::TargetDrift { name, jobs, first, .. } => write!(
                f,
                "the member `{name}` finds other targets than this node{}{}; compare \
                 `/api/v1/targets` on both, and what their discovery can reach and read",
                OfJobs(jobs),
                OfFirst(first.as_ref(), name)
            ),
            Self::TooManyMembers { records_max } => write!(
                f,
                "there are more than {records_max} members, and the newest are not taken; divide \
                 the fleet into clusters of their own names"
            ),
            Self::QuorumLost(Minority { here, base }) => write!(
                f,
                "only {here} of {base} members are on this side, so nothing that is divided is \
                 scraped or sent, as `--cluster.on-partition=minority_stops` says, and what is here \
                 is kept; bring the network or the others back, or set `scrape_all`"
            ),
            Self::WaitingForSize { here, size, seconds_max } => write!(
                f,
                "only {here} of the {size} members are here that `--cluster.wait-for-size` asks for, \
                 so this node {}; start the others, or ask for fewer",
                Goes(*seconds_max)
            ),
            Self::Insecure => f.write_str(INSECURE),
            Self::OverrideConflict => f.write_str(OVERRIDE_CONFLICT),
        }
    }
}

/// What a node does whose fleet is too small.
struct Goes(Option<u64>);

impl fmt::Display for Goes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(seconds) => {
                write!(f, "scrapes nothing that is divided until {seconds} s after its start")
            }
            None => f.write_str("has begun without them"),
        }
    }
}

struct OfJobs<'a>(&'a [Arc<str>]);

impl fmt::Display for OfJobs<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named: Vec<String> =
            self.0.iter().take(JOBS_NAMED_MAX).map(|job| format!("`{job}`")).collect();
        match self.0.len() {
            0 => Ok(()),
            1 => write!(f, " for the job {}", named[0]),
            count if count <= JOBS_NAMED_MAX => write!(f, " for the jobs {}", named.join(", ")),
            count => {
                write!(f, " for the jobs {} and {} more", named.join(", "), count - JOBS_NAMED_MAX)
            }
        }
    }
}

/// After the jobs.
struct OfFirst<'a>(Option<&'a Difference>, &'a str);

impl fmt::Display for OfFirst<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(Some(Difference { job, url, found }), name) = self else { return Ok(()) };
        write!(f, " (first of `{job}`: `{url}` is found ")?;
        match found {
            Found::Here => f.write_str("here and not there)"),
            Found::There => write!(f, "by `{name}` and not here)"),
            Found::Otherwise => f.write_str("by both, with different labels)"),
        }
    }
}

#[cfg(test)]
impl Notice {
    /// One of each kind, in the order of `KINDS`.
    pub(crate) fn examples() -> Vec<Self> {
        let at: SocketAddr = "10.0.0.2:9734".parse().unwrap();
        let (member, name) = (NodeId(2), "n2".to_owned());
        vec![
            Self::NameClash { name: name.clone(), holder: at },
            Self::IdClash { holder: at },
            Self::WrongSecret { peer: at },
            Self::WrongCluster { peer: at },
            Self::LoopbackAdvertise { address: "127.0.0.1:9734".parse().unwrap() },
            Self::ClockSkew { ahead_ms: 2000 },
            Self::NoPeerAnswers { configured: 2 },
            Self::Holding { why: HoldReason::Stalled },
            Self::ConfigDrift { member, name: name.clone() },
            Self::TargetDrift { member, name, jobs: vec!["node".into()], first: None },
            Self::TooManyMembers { records_max: 1024 },
            Self::QuorumLost(Minority { here: 1, base: 3 }),
            Self::WaitingForSize { here: 2, size: 3, seconds_max: Some(60) },
            Self::Insecure,
            Self::OverrideConflict,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_goes_on_while_its_figures_change() {
        let skew = |ahead_ms| Notice::ClockSkew { ahead_ms };
        let stranger = |peer: &str| Notice::WrongSecret { peer: peer.parse().unwrap() };
        let (one, other) = (stranger("10.0.0.1:1"), stranger("10.0.0.2:1"));
        let begin = raise(&[], [&skew(600), &one].into_iter(), 1000);
        let later = raise(&begin, [&skew(700), &other].into_iter(), 2000);
        let since: Vec<(&Notice, i64)> =
            later.iter().map(|raised| (&raised.notice, raised.since_ms)).collect();
        assert_eq!(since, [(&skew(700), 1000), (&other, 2000)]);
        let told = |some, others| -> Vec<Notice> {
            only_in(some, others).map(|raised| raised.notice.clone()).collect()
        };
        assert_eq!((told(&later, &begin), told(&begin, &later)), (vec![other], vec![one]));
    }

    #[test]
    fn drift_names_the_jobs() {
        let check = |count: usize, expected: &str| {
            let jobs = (0..count).map(|n| n.to_string().into()).collect();
            let (member, name) = (NodeId(2), "b".to_owned());
            let drift = Notice::TargetDrift { member, name, jobs, first: None };
            let expected = format!("the member `b` finds other targets than this node{expected}; ");
            assert!(drift.to_string().starts_with(&expected), "{drift}");
        };
        check(0, "");
        check(1, " for the job `0`");
        check(2, " for the jobs `0`, `1`");
        check(7, " for the jobs `0`, `1`, `2`, `3`, `4` and 2 more");
    }

    #[test]
    fn drift_names_the_first_target() {
        let check = |found, expected: &str| {
            let job: Arc<str> = "j".into();
            let (member, name, jobs) = (NodeId(2), "b".to_owned(), vec![Arc::clone(&job)]);
            let first = Some(Difference { job, url: "http://a:1/metrics".to_owned(), found });
            let drift = Notice::TargetDrift { member, name, jobs, first }.to_string();
            let expected =
                format!("for the job `j` (first of `j`: `http://a:1/metrics` {expected}); ");
            assert!(drift.contains(&expected), "{drift}");
        };
        check(Found::Here, "is found here and not there");
        check(Found::There, "is found by `b` and not here");
        check(Found::Otherwise, "is found by both, with different labels");
    }

    #[test]
    fn a_size_that_is_waited_for_is_told_until_it_is_given_up_and_after() {
        let check = |seconds_max, expected: &str| {
            let notice = Notice::WaitingForSize { here: 2, size: 5, seconds_max }.to_string();
            assert!(notice.contains("only 2 of the 5") && notice.contains(expected), "{notice}");
        };
        check(Some(60), "until 60 s after its start; start the others");
        check(None, "has begun without them; start the others");
    }
}
