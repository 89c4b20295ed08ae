//! What happens, told as it happens (Server-Sent Events). A client that comes back says which event it
//! saw last, and gets those since then, or is told to ask anew.

use std::{convert::Infallible, sync::Arc, time::Duration};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        Method,
        header::{self, ContentEncoding, HeaderValue},
    },
    web::{Bytes, Data},
};
use futures_util::stream::{self, Stream};
use serde::Serialize;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep_until},
};

use crate::{
    admin::{
        Window,
        api::{
            answer::problem,
            question::{Asked, Nothing},
        },
        view,
    },
    chronicle::{EventId, Live, Next, Replay, Subscription},
    model::time::rfc3339,
    runtime::stop::Stop,
};

/// Clients that listen at once; each holds a connection for as long as it likes.
pub(in crate::admin) const LISTENERS_MAX: usize = 64;
/// So often something is said, so that a connection that is dead is noticed at both ends.
const BREATH: Duration = Duration::from_secs(15);

/// What happens, as it happens. The first event is `hello`; `reset` says that events were missed, and
/// that what is shown should be asked for anew; all others are named by their kind. A client that sends
/// `Last-Event-ID` gets what came since that one.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "history",
    params(("Last-Event-ID" = Option<String>, Header, description = "the `id` of the event that was seen last")),
    responses((
        status = 200, content_type = "text/event-stream", body = String,
        description = "`data` of each event is an `EventShown`, of `hello` a `Hello`; it goes on for ever"
    ))
)]
pub(super) async fn events(
    window: Data<Window>,
    request: HttpRequest,
    _: Asked<Nothing>,
) -> HttpResponse {
    let mut answer = HttpResponse::Ok();
    answer
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        // Nobody on the way shall gather events before it passes them on.
        .insert_header(("X-Accel-Buffering", "no"))
        .insert_header(ContentEncoding::Identity);
    if request.method() == Method::HEAD {
        return answer.finish();
    }
    let Ok(place) = Arc::clone(&window.listeners).try_acquire_owned() else {
        return problem(503, &format!("{LISTENERS_MAX} clients listen already, and no more may"));
    };
    let last = request.headers().get("last-event-id").map(HeaderValue::to_str);
    // One that can't be read is of another server, or another version: that is for a reset, too.
    let last = last.map(|text| text.ok().and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN));
    let listener = Listener::new(&window, last, place);
    answer.streaming(listener.stream())
}

/// Of no run of any agent.
const UNKNOWN: EventId = EventId { start_ms: i64::MIN, number: 0 };

/// A client on its way through the events.
struct Listener {
    subscription: Subscription,
    stop: Stop,
    breath_at: Instant,
    /// What is said before any event.
    first: Option<Bytes>,
    _place: OwnedSemaphorePermit,
}

impl Listener {
    fn new(window: &Window, last: Option<EventId>, place: OwnedSemaphorePermit) -> Self {
        let subscription = window.sources.chronicle.subscribe(last);
        let fleet = &window.sources.fleet;
        let hello = view::Hello {
            node: view::Node::new(fleet.me, &fleet.name),
            at: rfc3339(fleet.time.now_ms()),
        };
        let mut first = said(subscription.place(), "hello", &hello);
        match subscription.replay {
            Replay::Complete => {}
            Replay::Reset => first.push_str(&reset(subscription.place())),
        }
        Self {
            subscription,
            stop: window.stop.clone(),
            breath_at: Instant::now() + BREATH,
            first: Some(first.into()),
            _place: place,
        }
    }

    fn stream(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut listener| async move {
            let bytes = listener.next().await?;
            Some((Ok(bytes), listener))
        })
    }

    /// `None` when the agent ends.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let text = tokio::select! {
            () = self.stop.raised() => return None,
            next = self.subscription.next() => match next? {
                Next::Event(Live { id, event }) => {
                    said(id, event.kind.name(), &view::event(&event))
                }
                Next::Reset => reset(self.subscription.place()),
            },
            () = sleep_until(self.breath_at) => {
                self.breath_at = Instant::now() + BREATH;
                ": nothing new\n\n".to_owned()
            }
        };
        Some(text.into())
    }
}

fn said(id: EventId, name: &str, data: &impl Serialize) -> String {
    // JSON has no line breaks of its own, so it is one line of data.
    let data = serde_json::to_string(data).expect("numbers and texts are JSON");
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n")
}

fn reset(id: EventId) -> String {
    format!("id: {id}\nevent: reset\ndata: {{}}\n\n")
}

/// Room for those who listen.
pub(in crate::admin) fn listeners() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(LISTENERS_MAX))
}
