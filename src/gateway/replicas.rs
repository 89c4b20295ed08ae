//! Of replicas that push the same, which one is sent: asked at the owner of a slot, before a series is
//! written. Pure: time is handed in.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// Clusters that replicas are told apart in. Of those beyond, everything is taken, and counted.
const CLUSTERS_MAX: usize = 10_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Take,
    /// Another replica is elected; whoever pushed is told that all is well.
    Drop,
}

/// The elected replica of each cluster. The first that pushes is elected, and stays so until it has been
/// silent for as long as a failover takes: the next that pushes then is.
#[derive(Debug)]
pub struct Election {
    failover_ms: u64,
    /// By tenant.
    elected: BTreeMap<Arc<str>, Clusters>,
    clusters: usize,
    changes: u64,
    beyond: u64,
    /// When room was last looked for, as that looks at all.
    swept_ms: Option<u64>,
}

/// By name.
type Clusters = BTreeMap<Arc<str>, Elected>;

#[derive(Clone, Debug)]
struct Elected {
    replica: Arc<str>,
    heard_ms: u64,
}

impl Elected {
    fn is_silent(&self, failover_ms: u64, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.heard_ms) >= failover_ms
    }
}

impl Election {
    pub fn new(failover: Duration) -> Self {
        let mut election = Self {
            failover_ms: 0,
            elected: BTreeMap::new(),
            clusters: 0,
            changes: 0,
            beyond: 0,
            swept_ms: None,
        };
        election.set_failover(failover);
        election
    }

    /// A changed configuration elects nobody anew.
    pub fn set_failover(&mut self, failover: Duration) {
        self.failover_ms = u64::try_from(failover.as_millis()).unwrap_or(u64::MAX);
    }

    /// What names no cluster or no replica is nobody's replica.
    pub fn judge(&mut self, tenant: &str, cluster: &str, replica: &str, now_ms: u64) -> Verdict {
        if cluster.is_empty() || replica.is_empty() {
            return Verdict::Take;
        }
        let own = self.elected.get_mut(tenant).and_then(|clusters| clusters.get_mut(cluster));
        let Some(elected) = own else { return self.first(tenant, cluster, replica, now_ms) };
        if *elected.replica == *replica {
            elected.heard_ms = elected.heard_ms.max(now_ms);
            return Verdict::Take;
        }
        if elected.is_silent(self.failover_ms, now_ms) {
            *elected = Elected { replica: replica.into(), heard_ms: now_ms };
            self.changes += 1;
            return Verdict::Take;
        }
        Verdict::Drop
    }

    /// Clusters with an elected replica.
    pub fn clusters(&self) -> usize {
        self.clusters
    }

    /// How often a replica took the place of another.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// How often something was taken because there were too many clusters.
    pub fn beyond(&self) -> u64 {
        self.beyond
    }

    fn first(&mut self, tenant: &str, cluster: &str, replica: &str, now_ms: u64) -> Verdict {
        if self.clusters >= CLUSTERS_MAX {
            self.sweep(now_ms);
        }
        if self.clusters >= CLUSTERS_MAX {
            self.beyond += 1;
            return Verdict::Take;
        }
        let elected = Elected { replica: replica.into(), heard_ms: now_ms };
        self.elected.entry(tenant.into()).or_default().insert(cluster.into(), elected);
        self.clusters += 1;
        Verdict::Take
    }

    /// Forgets the clusters whose elected replica is silent: whoever pushes next would be elected anyway.
    /// Not more often than one can have become silent.
    fn sweep(&mut self, now_ms: u64) {
        let is_early = self.swept_ms.is_some_and(|at| now_ms.saturating_sub(at) < self.failover_ms);
        if is_early {
            return;
        }
        self.swept_ms = Some(now_ms);
        let failover_ms = self.failover_ms;
        self.elected.retain(|_, clusters| {
            clusters.retain(|_, elected| !elected.is_silent(failover_ms, now_ms));
            !clusters.is_empty()
        });
        self.clusters = self.elected.values().map(BTreeMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAILOVER: Duration = Duration::from_secs(30);

    /// Pushes: when, `tenant/cluster/replica`, and whether it is taken.
    #[track_caller]
    fn check(pushes: &[(u64, &str, Verdict)]) -> Election {
        let mut election = Election::new(FAILOVER);
        for (n, (at_ms, who, expected)) in pushes.iter().enumerate() {
            let [tenant, cluster, replica] =
                who.split('/').collect::<Vec<_>>().try_into().expect("three names");
            let verdict = election.judge(tenant, cluster, replica, *at_ms);
            assert_eq!(verdict, *expected, "push {n}: {who} at {at_ms} ms");
        }
        election
    }

    #[test]
    fn the_first_is_elected_until_it_is_silent() {
        use Verdict::{Drop, Take};
        let election = check(&[
            (0, "t/c/a", Take),
            (1, "t/c/b", Drop),
            (29_999, "t/c/b", Drop),
            (30_000, "t/c/a", Take),
            (59_999, "t/c/b", Drop),
            (60_000, "t/c/b", Take),
            // Who comes back waits for its turn.
            (60_001, "t/c/a", Drop),
            (70_000, "t/c/b", Take),
            (99_999, "t/c/a", Drop),
            (100_000, "t/c/a", Take),
        ]);
        assert_eq!((election.clusters(), election.changes(), election.beyond()), (1, 2, 0));
        // A clock that steps back ends nothing.
        check(&[(50_000, "t/c/a", Take), (10_000, "t/c/a", Take), (60_000, "t/c/b", Drop)]);
    }

    #[test]
    fn clusters_and_tenants_are_told_apart_and_the_rest_is_taken() {
        use Verdict::{Drop, Take};
        let election = check(&[
            (0, "t/c/a", Take),
            (0, "t/d/b", Take),
            (0, "u/c/b", Take),
            (0, "/c/b", Take),
            (0, "t/c/b", Drop),
            (0, "u/c/a", Drop),
            (0, "t//b", Take),
            (0, "t//a", Take),
            (0, "t/c/", Take),
        ]);
        assert_eq!(election.clusters(), 4);
    }

    #[test]
    fn clusters_are_bounded_and_those_beyond_are_taken() {
        let mut election = Election::new(FAILOVER);
        for n in 0..CLUSTERS_MAX {
            assert_eq!(election.judge("t", &n.to_string(), "a", 0), Verdict::Take);
        }
        for replica in ["a", "b"] {
            assert_eq!(election.judge("t", "one more", replica, 10), Verdict::Take);
        }
        assert_eq!((election.clusters(), election.beyond()), (CLUSTERS_MAX, 2));
        assert_eq!(election.judge("t", "7", "b", 20), Verdict::Drop, "the known ones go on");
        assert_eq!(election.judge("t", "7", "a", 25_000), Verdict::Take);
        assert_eq!(election.judge("t", "one more", "a", 30_010), Verdict::Take);
        assert_eq!(election.judge("t", "one more", "b", 30_010), Verdict::Drop);
        assert_eq!(election.judge("t", "7", "b", 30_010), Verdict::Drop);
        assert_eq!((election.clusters(), election.beyond()), (2, 2));
    }

    #[test]
    fn a_changed_failover_holds_at_once_and_elects_nobody() {
        let mut election = Election::new(FAILOVER);
        assert_eq!(election.judge("t", "c", "a", 0), Verdict::Take);
        election.set_failover(Duration::from_secs(5));
        assert_eq!(election.judge("t", "c", "b", 4_999), Verdict::Drop);
        assert_eq!(election.judge("t", "c", "b", 5_000), Verdict::Take);
    }
}
