//! Whether the agent lives, and the orders to read its configuration again and to end: the paths that
//! Prometheus has for it, answered in a sentence.

use std::time::Duration;

use actix_web::{HttpResponse, http::StatusCode, web::Data};
use tokio::sync::oneshot;

use crate::admin::{Readiness, Window, api::answer::said};

/// A reload reads files and opens queues; who waits longer than this is answered that it goes on.
const RELOAD_WAIT_MAX: Duration = Duration::from_secs(60);

/// Says that the process runs and answers.
#[utoipa::path(
    get, path = "/-/healthy", tag = "life",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "it does")
    )
)]
pub(super) async fn healthy() -> HttpResponse {
    said(StatusCode::OK, "Starling is healthy.")
}

/// Says whether discovery has had its first round, and the fleet was met or given up on.
#[utoipa::path(
    get, path = "/-/ready", tag = "life",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "it is ready"),
        (status = 503, body = String, content_type = "text/plain", description = "it is starting or stopping")
    )
)]
pub(super) async fn ready(window: Data<Window>) -> HttpResponse {
    match *window.sources.ready.borrow() {
        Readiness::Ready => said(StatusCode::OK, "Starling is ready."),
        Readiness::Starting => said(
            StatusCode::SERVICE_UNAVAILABLE,
            "Starling is not ready: discovery has not had its first round.",
        ),
        Readiness::Stopping => {
            said(StatusCode::SERVICE_UNAVAILABLE, "Starling is not ready: it is stopping.")
        }
    }
}

/// Reads the configuration file again, and waits until it is in force or refused.
#[utoipa::path(
    method(post, put), path = "/-/reload", tag = "life",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "it is in force"),
        (status = 500, body = String, content_type = "text/plain", description = "it is refused: the text names every problem; the one before stays in force"),
        (status = 503, body = String, content_type = "text/plain", description = "the agent is stopping"),
        (status = 504, body = String, content_type = "text/plain", description = "it takes long, and goes on")
    )
)]
pub(super) async fn reload(window: Data<Window>) -> HttpResponse {
    let (order, outcome) = oneshot::channel();
    let ordered = async {
        // Either fails only when the part that reloads has ended.
        window.sources.reload.send(order).await.ok()?;
        outcome.await.ok()
    };
    match tokio::time::timeout(RELOAD_WAIT_MAX, ordered).await {
        Ok(Some(Ok(()))) => said(StatusCode::OK, "The configuration is in force."),
        Ok(Some(Err(reason))) => said(
            StatusCode::INTERNAL_SERVER_ERROR,
            &format!("The configuration is refused, and the one before stays in force:\n{reason}"),
        ),
        Ok(None) => said(StatusCode::SERVICE_UNAVAILABLE, "Starling is stopping."),
        Err(_) => said(
            StatusCode::GATEWAY_TIMEOUT,
            "The reload takes long and goes on; /api/v1/status/runtimeinfo will say how it ended.",
        ),
    }
}

/// Ends the agent, where `--web.enable-lifecycle` allows it.
#[utoipa::path(
    method(post, put), path = "/-/quit", tag = "life",
    responses(
        (status = 200, body = String, content_type = "text/plain", description = "it ends"),
        (status = 403, body = String, content_type = "text/plain", description = "it is off, or not for who asks")
    )
)]
pub(super) async fn quit(window: Data<Window>) -> HttpResponse {
    let Some(stop) = &window.sources.quit else {
        return said(
            StatusCode::FORBIDDEN,
            "This is off; start Starling with --web.enable-lifecycle to allow it.",
        );
    };
    stop.raise();
    said(StatusCode::OK, "Starling stops.")
}
