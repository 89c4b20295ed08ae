//! What has been: events, and the fleet as it was at an instant.

use actix_web::{HttpRequest, HttpResponse, web::Data};
use utoipa::IntoParams;

use crate::{
    admin::{
        Window,
        api::{
            answer::{listed, problem},
            question::{Asked, Parameters, Question, node_id, sealed, target_id},
        },
        view,
    },
    history::{Cursor, EventFilter, Kind, StateCursor, Unanswered},
    model::target::TargetId,
};

#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HistoryQuestion {
    /// The fleet as it was at this time. Not with `kind`, `from` and `to`.
    #[param(value_type = Option<String>, format = DateTime)]
    at: Option<i64>,
    /// Of the target of this id.
    #[param(value_type = Option<String>, pattern = "^[0-9a-f]{16}$")]
    target: Option<TargetId>,
    /// What is about this member, by its id or its name; with `at`, what it had.
    node: Option<String>,
    /// Of this kind.
    #[param(inline, value_type = Option<KindName>)]
    kind: Option<Kind>,
    /// From this time on.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<i64>,
    /// Until before this time.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<i64>,
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: usize,
    /// The `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// The kinds of events, for the document.
#[derive(utoipa::ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) enum KindName {
    Member,
    Moves,
    Target,
    Health,
    Config,
    Placement,
    Notice,
    Drop,
}

/// Where a page ended.
#[derive(serde::Serialize, serde::Deserialize)]
enum Place {
    Events { at_ms: i64, kind: String, number: i64 },
    Targets { at_ms: i64, job: String, url: String, number: i64 },
}

impl Question for HistoryQuestion {
    fn read(given: &mut Parameters) -> Self {
        let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
        let question = Self {
            at: given.instant_ms("at"),
            target: given.take("target", target_id),
            node: given.text("node"),
            kind: given.word("kind", &kinds),
            from: given.instant_ms("from"),
            to: given.instant_ms("to"),
            limit: given.limit(),
            cursor: given.cursor(),
        };
        if question.at.is_some() {
            let others = [
                ("kind", question.kind.is_some()),
                ("from", question.from.is_some()),
                ("to", question.to.is_some()),
            ];
            for (name, _) in others.into_iter().filter(|(_, is_given)| *is_given) {
                given
                    .refuse(name, "expected it not to be together with `at`, which is one instant");
            }
        }
        question
    }
}

/// What happened, the newest first; or with `at` the fleet as it was then: who was there, and who had
/// which target. Moves are told together where they went the same way at the same instant for the same
/// reason; with `target`, of that one.
#[utoipa::path(
    get, path = "/api/v1/history", tag = "history", params(HistoryQuestion),
    responses(
        (status = 200, description = "events, or with `at` the fleet as it was", body = view::EventsOrFleet),
        (status = 304),
        (status = 404, body = view::Problem<'_>, content_type = "application/problem+json", description = "no history is kept here")
    )
)]
pub(super) async fn history(
    window: Data<Window>,
    request: HttpRequest,
    Asked(question): Asked<HistoryQuestion>,
) -> HttpResponse {
    let node = match &question.node {
        None => None,
        Some(text) => match node_id(text, &window.sources.fleet.roster.borrow()) {
            Ok(id) => Some(id),
            Err(expected) => {
                return problem(400, &format!("`node`: expected {expected}, found `{text}`"));
            }
        },
    };
    let history = &window.sources.history;
    let Some(at_ms) = question.at else {
        let after = match question.cursor {
            None => None,
            Some(Place::Events { at_ms, kind, number }) => match Kind::named(&kind) {
                Some(kind) => Some(Cursor { at_ms, kind, number }),
                None => return unanswered(&Unanswered::Cursor),
            },
            Some(Place::Targets { .. }) => return unanswered(&Unanswered::Cursor),
        };
        let filter = EventFilter {
            target: question.target,
            job: None,
            node,
            kind: question.kind,
            from_ms: question.from,
            until_ms: question.to,
        };
        return match history.events(filter, after, question.limit).await {
            Ok(page) => {
                let next = page.next.map(|Cursor { at_ms, kind, number }| {
                    sealed(&Place::Events { at_ms, kind: kind.name().to_owned(), number })
                });
                listed(&request, &view::events(&page, next, &history.store()))
            }
            Err(reason) => unanswered(&reason),
        };
    };
    let after = match question.cursor {
        None => None,
        Some(Place::Targets { at_ms: before_ms, job, url, number }) if before_ms == at_ms => {
            Some(StateCursor { job, url, number })
        }
        Some(Place::Targets { .. } | Place::Events { .. }) => {
            return unanswered(&Unanswered::Cursor);
        }
    };
    match history.state_at(at_ms, question.target, node, after, question.limit).await {
        Ok(mut state) => {
            let next = state.next.take().map(|StateCursor { job, url, number }| {
                sealed(&Place::Targets { at_ms, job, url, number })
            });
            listed(&request, &view::fleet_then(&state, next, &history.store()))
        }
        Err(reason) => unanswered(&reason),
    }
}

/// Why there is no answer, as an answer.
pub(super) fn unanswered(reason: &Unanswered) -> HttpResponse {
    let status = match reason {
        Unanswered::Off => 404,
        Unanswered::Fault(_) | Unanswered::TooSlow | Unanswered::Busy => 503,
        Unanswered::Cursor => 400,
    };
    problem(status, &reason.to_string())
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema;

    use super::*;

    #[test]
    fn every_kind_is_in_the_document() {
        let schema = serde_json::to_value(KindName::schema()).unwrap();
        assert_eq!(schema["enum"], serde_json::json!(Kind::ALL.map(Kind::name)));
    }
}
