//! Tokens of OAuth 2.0, as the identity services of the clouds give them out: how they are asked for,
//! and what the answer says. Pure.

use std::time::Duration;

use ::http::{HeaderValue, Request, header::CONTENT_TYPE};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use url::{Url, form_urlencoded};

use crate::discovery::api::Answer;

/// Where it is not said.
const LIFE_SECONDS_UNSAID: u64 = 300;
/// Of the name that a refusal has; what is longer is none.
const REASON_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct Granted {
    access_token: String,
    /// Seconds, as a number or as a text.
    #[serde(default)]
    expires_in: Value,
}

pub(super) fn form(url: Url, fields: &[(&str, &str)]) -> Request<Vec<u8>> {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    Request::builder()
        .method(Method::POST)
        .uri(String::from(url))
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.into_bytes())
        .expect("a URL is a URI")
}

/// The value for `Authorization`, and how long it is good for.
pub(super) fn granted(answer: Answer) -> Result<(HeaderValue, Duration), String> {
    if !answer.status.is_success() {
        let reason = reason(&answer.body);
        let refused = answer.good().err().unwrap_or_default();
        return Err(reason.map_or(refused.clone(), |reason| format!("{refused}: {reason}")));
    }
    let Granted { access_token, expires_in } = answer.json()?;
    let mut value = HeaderValue::try_from(format!("Bearer {access_token}"))
        .map_err(|_| answer.fault("unexpected answer: no header can carry the token"))?;
    value.set_sensitive(true);
    let seconds = match &expires_in {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    Ok((value, Duration::from_secs(seconds.unwrap_or(LIFE_SECONDS_UNSAID))))
}

/// The standard's name for what is wrong; the rest of the answer may repeat what was sent.
fn reason(body: &[u8]) -> Option<String> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let reason = answer.get("error")?.as_str()?;
    let is_name = reason.len() <= REASON_BYTES_MAX
        && reason.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_name.then(|| reason.to_owned())
}
