//! When nobody was looking whose history is here. The rule is pure.

use rusqlite::{Connection, Result, params};

/// Gaps that are told of; of more the latest.
const GAPS_MAX: usize = 1_000;
/// What lies between two watches of one process is less.
const SLACK_MS: i64 = 1_000;
/// The watch that goes on is written down every ten seconds.
const RUNNING_SLACK_MS: i64 = 12_000;

pub(in crate::history) fn unwatched(
    connection: &mut Connection,
    from_ms: i64,
    until_ms: i64,
) -> Result<Vec<(i64, i64)>> {
    let mut statement = connection.prepare_cached(
        "SELECT from_ms, until_ms FROM watches WHERE until_ms >= ?1 AND from_ms <= ?2
          ORDER BY from_ms",
    )?;
    let watches =
        statement.query_map(params![from_ms, until_ms], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let watches: Vec<(i64, i64)> = watches.collect::<Result<_>>()?;
    let mut gaps = gaps(&watches, from_ms, until_ms);
    Ok(gaps.split_off(gaps.len().saturating_sub(GAPS_MAX)))
}

/// What `watches`, in order of their beginnings, leave of the time between.
fn gaps(watches: &[(i64, i64)], from_ms: i64, until_ms: i64) -> Vec<(i64, i64)> {
    let mut gaps = Vec::new();
    let mut seen_ms = from_ms;
    for &(begin_ms, end_ms) in watches {
        if begin_ms > seen_ms + SLACK_MS {
            gaps.push((seen_ms, begin_ms));
        }
        seen_ms = seen_ms.max(end_ms);
    }
    if until_ms > seen_ms + RUNNING_SLACK_MS {
        gaps.push((seen_ms, until_ms));
    }
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_watch_covers_is_a_gap() {
        let check = |watches: &[(i64, i64)], expected: &[(i64, i64)]| {
            assert_eq!(gaps(watches, 10_000, 100_000), expected, "{watches:?}");
        };
        check(&[], &[(10_000, 100_000)]);
        check(&[(0, 200_000)], &[]);
        check(&[(0, 20_000), (30_000, 99_500)], &[(20_000, 30_000)]);
        check(&[(0, 50_000), (20_000, 30_000), (50_900, 90_000)], &[]);
        check(&[(0, 50_000), (20_000, 30_000), (50_900, 87_000)], &[(87_000, 100_000)]);
    }
}
