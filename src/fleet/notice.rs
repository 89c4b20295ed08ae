//! The states of the fleet that someone should look at, each with a sentence that says what to do.

use std::{fmt, net::SocketAddr};

use crate::model::member::NodeId;

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
    },
    /// There are more members than fit the book.
    TooManyMembers {
        records_max: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldReason {
    Stalled,
    DeclaredDead,
}

impl Notice {
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
            Self::WrongSecret { peer } => write!(
                f,
                "the peer `{peer}` has another secret; put the same `--cluster.secret-file` on both"
            ),
            Self::WrongCluster { peer } => write!(
                f,
                "the peer `{peer}` has our secret but another cluster name; set the same \
                 `--cluster.name` on both, or give each cluster a secret of its own"
            ),
            Self::LoopbackAdvertise { address } => write!(
                f,
                "this node tells others to reach it at `{address}`, which no other host can; set \
                 `--cluster.advertise-address`"
            ),
            Self::ClockSkew { ahead_ms } => {
                let (by, which) = (ahead_ms.unsigned_abs(), if *ahead_ms > 0 { "slow" } else { "fast" });
                write!(
                    f,
                    "the clock of this host is {by} ms {which} beside its peers'; look after its \
                     time synchronization (`chronyc tracking`, `timedatectl`)"
                )
            }
            Self::NoPeerAnswers { configured } => write!(
                f,
                "none of the {configured} addresses of `--cluster.peers` answers, so this node \
                 works alone; look at the list, at the firewall for UDP on the cluster port, and \
                 at the peers' log"
            ),
            Self::Holding { why: HoldReason::Stalled } => f.write_str(
                "this process stood still for a while, so it does nothing until a peer has said \
                 whether its share was given away; where this repeats, the host is starved or suspended",
            ),
            Self::Holding { why: HoldReason::DeclaredDead } => f.write_str(
                "the others have declared this node dead, so it does nothing until a peer has \
                 answered it; where this repeats, packets to or from this host are lost",
            ),
            Self::ConfigDrift { name, .. } => write!(
                f,
                "the member `{name}` has another config than this node; bring both to the same \
                 file and reload"
            ),
            Self::TargetDrift { name, .. } => write!(
                f,
                "the member `{name}` finds other targets than this node; compare what their \
                 discovery sees"
            ),
            Self::TooManyMembers { records_max } => write!(
                f,
                "there are more than {records_max} members, and the newest are not taken; divide \
                 the fleet into clusters of their own names"
            ),
        }
    }
}
