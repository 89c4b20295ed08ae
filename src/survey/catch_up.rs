//! What this member missed while it was down, fetched from one that was up: page by page, as soon as
//! the fleet is met. Given up after a while, as the past of this start waits to be compared.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};
use tracing::{info, warn};

use crate::{
    fleet::standing::Standing,
    history::{After, Page},
    model::member::{Member, MemberState, NodeId},
    survey::{PATIENCE, asking::Asker, message::Question},
};

/// So long after the start what is missing stays missing.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);
/// Rows of a page, unless they would be more than a message holds.
const PAGE_ROWS_MAX: usize = 2_000;
/// A member that has just met the fleet has no connection yet, and the first question may get lost.
const TRIES_MAX: usize = 3;

pub(super) async fn catch_up(asker: &Asker) {
    let history = asker.sources().history.clone();
    let Some((from_ms, until_ms)) = history.missed() else {
        history.caught_up();
        return;
    };
    let end = Instant::now() + CATCH_UP_MAX;
    match timeout_at(end, fetch(asker, from_ms, until_ms)).await {
        Ok(Some((from, rows))) => {
            info!(member_id = %from, from_ms, until_ms, rows, "what this member missed was fetched");
            history.caught_up();
        }
        Ok(None) => history.gave_up(),
        Err(_) => {
            let seconds = CATCH_UP_MAX.as_secs();
            warn!(
                from_ms,
                until_ms, seconds, "what this member missed could not be fetched in time"
            );
            history.gave_up();
        }
    }
}

/// Whom it came from, and how many rows; `None` where nobody is there who has any.
async fn fetch(asker: &Asker, from_ms: i64, until_ms: i64) -> Option<(NodeId, usize)> {
    let mut status = asker.sources().status.clone();
    let is_met = |status: &std::sync::Arc<crate::fleet::Status>| match status.standing {
        Standing::Seeking | Standing::Refused => false,
        Standing::Waiting
        | Standing::Active { .. }
        | Standing::Holding
        | Standing::Leaving { .. }
        | Standing::Gone => true,
    };
    status.wait_for(is_met).await.ok()?;
    let candidates = longest_first(asker);
    for id in candidates {
        match fetch_from(asker, id, from_ms, until_ms).await {
            Ok(rows) => return Some((id, rows)),
            Err(reason) => {
                info!(member_id = %id, error = reason, "a member can't tell what this one missed");
            }
        }
    }
    None
}

/// The other members, those first that have worked for longest: they missed least.
fn longest_first(asker: &Asker) -> Vec<NodeId> {
    let sources = asker.sources();
    let roster = sources.roster.borrow();
    let since = |member: &Member| member.intervals.last().map_or(i64::MAX, |last| last.from_ms);
    let mut others: Vec<&Member> = roster
        .members
        .values()
        .filter(|member| member.id != sources.me && member.state == MemberState::Alive)
        .collect();
    others.sort_by_key(|member| since(member));
    others.into_iter().map(|member| member.id).collect()
}

async fn fetch_from(
    asker: &Asker,
    id: NodeId,
    from_ms: i64,
    until_ms: i64,
) -> Result<usize, String> {
    let mut after: Option<After> = None;
    let mut rows = 0;
    loop {
        let limit = PAGE_ROWS_MAX as u64;
        let question = Question::History { from_ms, until_ms, after, limit };
        let page = ask(asker, id, &question).await?;
        rows += page.rows.len();
        let history = &asker.sources().history;
        history.insert(page.rows).await.map_err(|error| error.to_string())?;
        match page.next {
            Some(next) if Some(next) != after => after = Some(next),
            Some(_) | None => return Ok(rows),
        }
    }
}

async fn ask(asker: &Asker, id: NodeId, question: &Question) -> Result<Page, String> {
    let mut reason = String::new();
    for _ in 0..TRIES_MAX {
        match asker.ask(id, question, Instant::now() + PATIENCE).await {
            Ok(page) => return Ok(page),
            Err(error) => reason = error,
        }
    }
    Err(reason)
}
