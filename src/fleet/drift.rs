//! Which jobs two members see differently: each gossips a few bytes a job, which only tell where to
//! look; that something differs at all is told by the digest of the whole. Pure.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// Jobs that are told of one by one: those with the least name hashes, which are the same on all
/// members. A difference in another is shown without its name.
pub const JOBS_MAX: usize = 32;

/// The targets of each divided job, by its name: a digest, the same wherever they are the same.
pub type JobTargets = BTreeMap<Arc<str>, u64>;

/// One job as it is gossiped: six bytes, so that a record with all of them fits a datagram. Of two
/// digests that differ one in 65,536 looks the same; then the job stays unnamed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct JobDigest {
    name: [u8; 4],
    targets: [u8; 2],
}

impl JobDigest {
    fn of(name: &str, targets: u64) -> Self {
        Self { name: head(name.as_bytes()), targets: head(&targets.to_be_bytes()) }
    }
}

/// The first bytes of a hash.
fn head<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let hash = xxh3_64(bytes).to_be_bytes();
    *hash.first_chunk().expect("no more is asked for than a hash has")
}

/// What is gossiped of the jobs, in order.
pub fn digests(jobs: &JobTargets) -> Vec<JobDigest> {
    let mut all: Vec<JobDigest> =
        jobs.iter().map(|(name, &targets)| JobDigest::of(name, targets)).collect();
    all.sort_unstable();
    all.truncate(JOBS_MAX);
    all
}

/// Of all jobs together. 0 where there is none: nothing is known then.
pub fn digest(jobs: &JobTargets) -> u64 {
    let mut hasher = Xxh3::new();
    for (name, targets) in jobs {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&targets.to_le_bytes());
    }
    if jobs.is_empty() { 0 } else { hasher.digest().max(1) }
}

/// The jobs of this node that a member with `theirs` sees otherwise, or not at all.
pub fn differing(mine: &JobTargets, theirs: &[JobDigest]) -> Vec<Arc<str>> {
    let told_up_to = theirs.iter().map(|one| one.name).max().filter(|_| theirs.len() >= JOBS_MAX);
    let differs = |name: &str, targets: u64| {
        let own = JobDigest::of(name, targets);
        match theirs.iter().find(|one| one.name == own.name) {
            Some(their) => their.targets != own.targets,
            // Beyond the last one told, nothing is known.
            None => told_up_to.is_none_or(|last| own.name < last),
        }
    };
    let found = mine.iter().filter(|(name, targets)| differs(name, **targets));
    found.map(|(name, _)| Arc::clone(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jobs(targets: &[(&str, u64)]) -> JobTargets {
        targets.iter().map(|&(name, digest)| (Arc::from(name), digest)).collect()
    }

    #[test]
    fn what_differs_is_named() {
        let check = |mine: &[(&str, u64)], theirs: &[(&str, u64)], expected: &[&str]| {
            let (mine, theirs) = (jobs(mine), jobs(theirs));
            let found = differing(&mine, &digests(&theirs));
            assert_eq!(found.iter().map(|name| &**name).collect::<Vec<_>>(), expected);
            assert_eq!(digest(&mine) == digest(&theirs), mine == theirs);
        };
        check(&[], &[], &[]);
        check(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)], &[]);
        check(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 3)], &["b"]);
        check(&[("a", 1), ("b", 2)], &[("a", 1)], &["b"]);
        check(&[("a", 1)], &[("a", 1), ("b", 2)], &[]);
        check(&[("a", 0)], &[], &["a"]);
    }

    /// With more jobs than are told of, those told of are still compared, and no other is accused.
    #[test]
    fn of_many_jobs_some_are_compared() {
        let names: Vec<String> = (0..100).map(|n| format!("job-{n}")).collect();
        let all = |digest| -> JobTargets {
            names.iter().map(|name| (Arc::from(name.as_str()), digest)).collect()
        };
        assert_eq!(digests(&all(1)).len(), JOBS_MAX);
        assert_eq!(differing(&all(1), &digests(&all(1))), [] as [Arc<str>; 0]);
        assert_eq!(differing(&all(1), &digests(&all(2))).len(), JOBS_MAX);
    }

    #[test]
    fn nothing_known_is_not_a_digest() {
        assert_eq!(digest(&jobs(&[])), 0);
        assert_ne!(digest(&jobs(&[("a", 0)])), 0);
    }
}
