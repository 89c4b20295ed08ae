//! From what a person types to one target: an id, a URL, an address, or words.

use std::{collections::BTreeSet, fmt::Write as _};

use crate::cli::ask::{
    agent::{Agent, Fault, Kind, Query},
    answer::{DroppedTargets, Target, Targets},
    measure::counted,
};

/// Of the targets that match the words; who has more of them types more words.
const MATCHES_MAX: usize = 5000;
/// Of several that match, so many are named.
const NAMED_MAX: usize = 10;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Found {
    pub(super) id: String,
    /// Where two jobs have the id, the one that is meant.
    pub(super) job: Option<String>,
    /// For a person to tell it from others.
    shown: String,
}

/// # Errors
/// `Kind::No` where no target matches, or several do; then they are named.
pub(super) async fn find(agent: &Agent, words: &str, job: Option<&str>) -> Result<Found, Fault> {
    let words = words.trim();
    if is_id(words) {
        let id = words.to_ascii_lowercase();
        return Ok(Found { shown: id.clone(), id, job: job.map(str::to_owned) });
    }
    let mut query: Query<'_> = vec![("q", words.to_owned())];
    query.extend(job.map(|job| ("job", job.to_owned())));
    let path = "/api/v1/fleet/targets";
    let active = agent.list::<Targets>(path, &query, Some(MATCHES_MAX)).await?.value;
    if let Some(found) = one(words, matching(words, &active.items))? {
        return Ok(found);
    }
    query.push(("state", "dropped".to_owned()));
    let dropped = agent.list::<DroppedTargets>(path, &query, Some(MATCHES_MAX)).await?.value;
    let found: BTreeSet<Found> = dropped
        .items
        .into_iter()
        .map(|dropped| {
            let address = dropped.discovered_labels.get("__address__");
            let address = address.map_or("no address", String::as_str);
            Found {
                shown: format!("{}  {}  {address} (dropped)", dropped.id, dropped.job),
                id: dropped.id,
                job: Some(dropped.job),
            }
        })
        .collect();
    one(words, found)?.ok_or_else(|| {
        let reason = format!(
            "no target matches `{words}`, and no dropped one: `starling targets` lists them, \
             `starling targets --dropped` those that relabelling dropped"
        );
        Fault::new(Kind::No, reason)
    })
}

/// Those that are named exactly; where there are none, all of them.
fn matching(words: &str, targets: &[Target]) -> BTreeSet<Found> {
    let found = |target: &Target| Found {
        id: target.id.clone(),
        job: Some(target.job.clone()),
        shown: format!("{}  {}  {}", target.id, target.job, target.url),
    };
    let exact: BTreeSet<Found> =
        targets.iter().filter(|target| is_named(words, target)).map(found).collect();
    if exact.is_empty() { targets.iter().map(found).collect() } else { exact }
}

fn is_named(words: &str, target: &Target) -> bool {
    let authority = target.url.split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next());
    let instance = target.labels.get("instance").map(String::as_str);
    let names = [Some(&*target.url), authority, instance];
    names.into_iter().flatten().any(|name| name.eq_ignore_ascii_case(words))
}

fn one(words: &str, found: BTreeSet<Found>) -> Result<Option<Found>, Fault> {
    if found.len() <= 1 {
        return Ok(found.into_iter().next());
    }
    let mut reason = format!(
        "{} match `{words}`; more words, `--job` or an id name one of them:",
        counted(found.len(), "target")
    );
    for target in found.iter().take(NAMED_MAX) {
        let _ = write!(reason, "\n  {}", target.shown);
    }
    if found.len() > NAMED_MAX {
        let _ = write!(reason, "\n  and {} more", found.len() - NAMED_MAX);
    }
    Err(Fault::new(Kind::No, reason))
}

fn is_id(words: &str) -> bool {
    words.len() == 16 && words.bytes().all(|letter| letter.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(id: &str, job: &str, url: &str, instance: &str) -> Target {
        serde_json::from_value(serde_json::json!({
            "id": id, "job": job, "url": url, "labels": {"instance": instance}, "divided": true,
            "owner": null, "others": [], "health": "up", "last_scrape": null,
            "last_duration_seconds": null, "last_error": null, "samples": null, "last_move": null,
        }))
        .unwrap()
    }

    #[track_caller]
    fn check(words: &str, expected: Result<Option<&str>, &str>) {
        let targets = [
            target("01", "node", "http://h:1/metrics", "web"),
            target("02", "node", "http://h:10/metrics", "db"),
            target("02", "node", "http://h:10/metrics", "db"),
            target("03", "app", "http://h:11/m?x=1", "h:10"),
        ];
        let found = one(words, matching(words, &targets));
        match (&found, expected) {
            (Ok(found), Ok(id)) => assert_eq!(found.as_ref().map(|found| &*found.id), id),
            (Err(fault), Err(part)) => assert!(fault.reason.contains(part), "{}", fault.reason),
            _ => panic!("{words}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn an_exact_name_wins_over_a_part_of_one() {
        check("http://h:1/metrics", Ok(Some("01")));
        check("h:1", Ok(Some("01")));
        check("H:11", Ok(Some("03")));
        check("DB", Ok(Some("02")));
        check("h:10", Err("2 targets match `h:10`"));
        check("h", Err("\n  03  app  http://h:11/m?x=1"));
    }

    #[test]
    fn ids_are_sixteen_digits() {
        assert!(is_id("0123456789abcDEF"));
        assert!(!is_id("0123456789abcde") && !is_id("0123456789abcdeg"));
    }
}
