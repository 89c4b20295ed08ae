//! What goes back: a problem, a sentence, a shape, a list that knows whether the client has it already.

use actix_web::{
    HttpRequest, HttpResponse,
    http::{
        StatusCode,
        header::{self, EntityTag, Header, IfNoneMatch},
    },
};
use serde::Serialize;
use xxhash_rust::xxh3::xxh3_64;

use crate::admin::view;

/// An error of one of Starling's own paths (RFC 9457).
pub(in crate::admin) fn problem(status: u16, detail: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).expect("callers name statuses that exist");
    let body = serde_json::to_string(&view::Problem::new(status, detail));
    HttpResponse::build(status)
        .content_type("application/problem+json")
        .body(body.expect("a number and two texts are JSON"))
}

/// For a person with curl, as Prometheus' management paths answer.
pub(super) fn said(status: StatusCode, text: &str) -> HttpResponse {
    HttpResponse::build(status)
        .content_type("text/plain; charset=utf-8")
        .body(format!("{}\n", text.trim_end()))
}

/// As Prometheus wraps what it answers.
pub(super) fn success(data: impl Serialize) -> HttpResponse {
    HttpResponse::Ok().json(view::Success::of(data))
}

/// As Prometheus refuses a question.
pub(super) fn refused(fault: &str) -> HttpResponse {
    HttpResponse::BadRequest().json(view::Failure::new("bad_data", fault))
}

/// A list, or 304 where the client has the same already.
pub(super) fn listed(request: &HttpRequest, list: &impl Serialize) -> HttpResponse {
    match Written::of(list) {
        Ok(written) => written.answer(request),
        Err(_) => problem(500, "an answer could not be written"),
    }
}

/// A list that is written already, off the threads that answer.
pub(super) struct Written {
    body: Vec<u8>,
    tag: u64,
}

impl Written {
    pub(super) fn of(list: &impl Serialize) -> serde_json::Result<Self> {
        let body = serde_json::to_vec(list)?;
        Ok(Self { tag: xxh3_64(&body), body })
    }

    /// How long the members took to answer is told, but it is no reason to send a list again.
    pub(super) fn timeless<T: Serialize>(
        list: &mut T,
        asked: impl Fn(&mut T) -> &mut [view::AskedShown],
    ) -> serde_json::Result<Self> {
        let times: Vec<f64> = asked(list).iter_mut().map(view::AskedShown::take_time).collect();
        let tag = xxh3_64(&serde_json::to_vec(list)?);
        asked(list).iter_mut().zip(times).for_each(|(one, seconds)| one.set_time(seconds));
        Ok(Self { body: serde_json::to_vec(list)?, tag })
    }

    /// 304 where the client has the same already.
    pub(super) fn answer(self, request: &HttpRequest) -> HttpResponse {
        let tag = EntityTag::new_weak(format!("{:016x}", self.tag));
        let is_known = match IfNoneMatch::parse(request) {
            Ok(IfNoneMatch::Any) => true,
            Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
            Err(_) => false,
        };
        let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
        answer.insert_header(header::ETag(tag)).insert_header((header::CACHE_CONTROL, "no-cache"));
        if is_known {
            answer.finish()
        } else {
            answer.content_type("application/json").body(self.body)
        }
    }
}
