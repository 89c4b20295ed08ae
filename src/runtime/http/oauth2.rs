//! Tokens of `oauth2`: asked for with the client's own credentials or a signed assertion, held until
//! shortly before their end.

use std::{sync::Arc, sync::Mutex, sync::PoisonError, time::Duration};

use http::{
    HeaderValue, StatusCode,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use reqwest::Response;
use serde_json::Value;
use tokio::time::timeout;
use url::{Url, form_urlencoded};

use crate::{
    config::{Assertion, Grant, OAuth2},
    runtime::{
        clock,
        http::{
            Fault,
            access::header_value,
            jwt,
            line::Line,
            read, reason_of,
            renewed::{Fresh, Lent, Renewed, Trouble},
        },
    },
};

/// A larger answer is none with a token in it.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const ANSWER_SECONDS_MAX: u64 = 30;
/// An assertion is believed for so long.
const ASSERTION_SECONDS: i64 = 600;
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Of one set of settings.
pub(super) struct Tokens {
    asker: Arc<Asker>,
    renewed: Arc<Renewed<HeaderValue>>,
}

struct Asker {
    settings: OAuth2,
    line: Line,
    /// What this server has taken; before its first answer it is not known.
    style: Mutex<Option<Style>>,
}

/// Where the client's id and secret stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Header,
    Form,
}

/// What came back instead of a token.
enum Refused {
    /// As an answer, which another style may mend.
    ByStatus(Trouble),
    Otherwise(Trouble),
}

impl Tokens {
    pub(super) fn new(settings: &OAuth2) -> Self {
        let line = Line::new(&settings.tls, settings.proxy.as_ref(), false);
        let asker = Asker { settings: settings.clone(), line, style: Mutex::new(None) };
        Self { asker: Arc::new(asker), renewed: Renewed::new() }
    }

    pub(super) fn settings(&self) -> &OAuth2 {
        &self.asker.settings
    }

    /// The value of `Authorization`.
    pub(super) async fn get(&self) -> Result<Lent<HeaderValue>, Fault> {
        let ask = || {
            let asker = Arc::clone(&self.asker);
            async move { asker.ask().await }
        };
        self.renewed.get(ask).await.map_err(|trouble| match trouble {
            Trouble::Lasting(reason) => {
                Fault::Unready(format!("oauth2: cannot fetch token: {reason}"))
            }
            Trouble::Passing(reason) => {
                Fault::NotNow(format!("oauth2: cannot fetch token: {reason}"))
            }
        })
    }

    pub(super) fn throw_away(&self, number: u64) -> bool {
        self.renewed.throw_away(number)
    }
}

impl Asker {
    async fn ask(&self) -> Result<Fresh<HeaderValue>, Trouble> {
        let seconds = ANSWER_SECONDS_MAX;
        match timeout(Duration::from_secs(seconds), self.ask_in_a_style()).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Trouble::Passing(format!("no answer within {seconds} s"))),
        }
    }

    /// By the header first, as the standard would have it, and then as it often is instead.
    async fn ask_in_a_style(&self) -> Result<Fresh<HeaderValue>, Trouble> {
        let known = *self.style.lock().unwrap_or_else(PoisonError::into_inner);
        let styles = match (&self.settings.grant, known) {
            (_, Some(style)) => vec![style],
            (Grant::JwtBearer(_), None) => vec![Style::Form],
            (Grant::ClientCredentials { .. }, None) => vec![Style::Header, Style::Form],
        };
        let mut first = None;
        for style in styles {
            match self.ask_with(style).await {
                Ok(fresh) => {
                    *self.style.lock().unwrap_or_else(PoisonError::into_inner) = Some(style);
                    return Ok(fresh);
                }
                Err(Refused::ByStatus(trouble)) => {
                    first.get_or_insert(trouble);
                }
                Err(Refused::Otherwise(trouble)) => return Err(trouble),
            }
        }
        Err(first.expect("one style at least was tried"))
    }

    async fn ask_with(&self, style: Style) -> Result<Fresh<HeaderValue>, Refused> {
        let lasting = |reason| Refused::Otherwise(Trouble::Lasting(reason));
        let passing = |reason| Refused::Otherwise(Trouble::Passing(reason));
        let url = Url::parse(self.settings.token_url.expose())
            .map_err(|e| lasting(format!("`token_url` is no URL: {e}")))?;
        let client = self.line.client(&url).map_err(lasting)?;
        let (form, authorization) = self.question(style).map_err(lasting)?;
        let mut request = client
            .post(url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(ACCEPT, "application/json")
            .body(form);
        if let Some(value) = authorization {
            request = request.header(AUTHORIZATION, value);
        }
        let answer = request.send().await.map_err(|e| passing(reason_of(e)))?;
        let status = answer.status();
        let is_form = is_form(&answer);
        let body = body_of(answer).await.map_err(passing)?;
        if !status.is_success() {
            return Err(refusal(status, &body));
        }
        token_of(&body, is_form).map_err(|reason| Refused::Otherwise(Trouble::Passing(reason)))
    }

    /// The form, and the client's `Authorization`.
    fn question(&self, style: Style) -> Result<(String, Option<HeaderValue>), String> {
        let settings = &self.settings;
        let mut form = form_urlencoded::Serializer::new(String::new());
        let mut authorization = None;
        match &settings.grant {
            Grant::ClientCredentials { secret } => {
                let secret = secret.as_ref().map(read).transpose()?.unwrap_or_default();
                form.append_pair("grant_type", "client_credentials");
                match style {
                    Style::Header => authorization = Some(basic(&settings.client_id, &secret)?),
                    Style::Form => {
                        form.append_pair("client_id", &settings.client_id);
                        if !secret.is_empty() {
                            form.append_pair("client_secret", &secret);
                        }
                    }
                }
            }
            Grant::JwtBearer(assertion) => {
                let signed = self.assertion(assertion)?;
                form.append_pair("grant_type", JWT_BEARER).append_pair("assertion", &signed);
            }
        }
        if !settings.scopes.is_empty() {
            form.append_pair("scope", &settings.scopes.join(" "));
        }
        for (name, value) in &settings.endpoint_params {
            form.append_pair(name, value.expose());
        }
        Ok((form.finish(), authorization))
    }

    fn assertion(&self, assertion: &Assertion) -> Result<String, String> {
        let settings = &self.settings;
        let now_s = clock::now_ms() / 1000;
        let mut claims = serde_json::Map::new();
        let text = |text: &str| Value::from(text);
        claims.insert("iss".into(), text(assertion.issuer.as_ref().unwrap_or(&settings.client_id)));
        claims.insert("sub".into(), text(&settings.client_id));
        claims.insert("jti".into(), text(&jwt::unlike_any_other()?));
        let audience = assertion.audience.as_deref().unwrap_or(settings.token_url.expose());
        claims.insert("aud".into(), text(audience));
        claims.insert("iat".into(), Value::from(now_s));
        claims.insert("exp".into(), Value::from(now_s + ASSERTION_SECONDS));
        if !settings.scopes.is_empty() {
            claims.insert("scope".into(), text(&settings.scopes.join(" ")));
        }
        claims.extend(assertion.claims.clone());
        jwt::sign(&assertion.key, assertion.algorithm, assertion.key_id.as_deref(), &claims)
    }
}

/// As the standard has it, both parts are form-encoded first (RFC 6749, 2.3.1).
fn basic(id: &str, secret: &str) -> Result<HeaderValue, String> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(id), encoded(secret));
    header_value("Authorization", &format!("Basic {}", BASE64_STANDARD.encode(pair)))
}

fn is_form(answer: &Response) -> bool {
    let kind = answer.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = kind.unwrap_or("").split(';').next().unwrap_or("").trim();
    kind.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        || kind.eq_ignore_ascii_case("text/plain")
}

async fn body_of(mut answer: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(reason_of)? {
        if body.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Of the body only the code that the standard gives it, as the rest may repeat what was sent.
fn refusal(status: StatusCode, body: &[u8]) -> Refused {
    let told: Option<Value> = serde_json::from_slice(body).ok();
    let code = told.as_ref().and_then(|told| told["error"].as_str());
    let code = code.filter(|code| {
        code.len() <= 64 && code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
    });
    let reason = match code {
        Some(code) => format!("server returned HTTP status {status}: {code}"),
        None => format!("server returned HTTP status {status}"),
    };
    let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if passes {
        Refused::Otherwise(Trouble::Passing(reason))
    } else {
        Refused::ByStatus(Trouble::Lasting(reason))
    }
}

fn token_of(body: &[u8], is_form: bool) -> Result<Fresh<HeaderValue>, String> {
    let (token, kind, seconds) = if is_form {
        let mut found = [None, None, None];
        for (name, value) in form_urlencoded::parse(body) {
            match &*name {
                "access_token" => found[0] = Some(value.into_owned()),
                "token_type" => found[1] = Some(value.into_owned()),
                "expires_in" => found[2] = Some(value.into_owned()),
                _ => {}
            }
        }
        let [token, kind, seconds] = found;
        (token, kind, seconds.and_then(|text| text.parse().ok()))
    } else {
        let told: Value = serde_json::from_slice(body).map_err(|e| {
            format!("the answer is no JSON, at line {} column {}", e.line(), e.column())
        })?;
        let text = |name: &str| told[name].as_str().map(str::to_owned);
        let seconds = match &told["expires_in"] {
            Value::String(text) => text.parse().ok(),
            number => number.as_f64(),
        };
        (text("access_token"), text("token_type"), seconds)
    };
    let token = token.filter(|token| !token.is_empty());
    let token = token.ok_or("the answer has no `access_token`")?;
    // Of another type it is shown as that, in whatever case servers look for theirs.
    let kind = kind.filter(|kind| !kind.is_empty() && !kind.eq_ignore_ascii_case("bearer"));
    let kind = kind.unwrap_or_else(|| "Bearer".to_owned());
    let value = header_value("Authorization", &format!("{kind} {token}"))?;
    let life = seconds.filter(|seconds: &f64| *seconds > 0.0);
    let life = life.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    // None lives for ever, and a later instant than a century hence is not for clocks.
    let life = life.map(|life| life.min(Duration::from_secs(100 * 365 * 86_400)));
    Ok(Fresh { value, life })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `Authorization` and its life in seconds, or a part of the message.
    type Expected = Result<(&'static str, Option<u64>), &'static str>;

    #[test]
    fn tokens_are_found_in_answers() {
        let check = |body: &str, is_form: bool, expected: Expected| {
            let found = token_of(body.as_bytes(), is_form);
            let found = found.map(|fresh| {
                (fresh.value.to_str().unwrap().to_owned(), fresh.life.map(|life| life.as_secs()))
            });
            match (found, expected) {
                (Ok(found), Ok((value, life))) => assert_eq!(found, (value.to_owned(), life)),
                (Err(fault), Err(part)) => assert!(fault.contains(part), "{body}: {fault}"),
                (found, expected) => panic!("{body}: {found:?} instead of {expected:?}"),
            }
        };
        let json = |body, expected| check(body, false, expected);
        json(
            r#"{"access_token":"t","token_type":"bearer","expires_in":60}"#,
            Ok(("Bearer t", Some(60))),
        );
        json(r#"{"access_token":"t","expires_in":"60"}"#, Ok(("Bearer t", Some(60))));
        json(r#"{"access_token":"t","token_type":"MAC","expires_in":0}"#, Ok(("MAC t", None)));
        json(r#"{"access_token":"t","expires_in":-1}"#, Ok(("Bearer t", None)));
        json(r#"{"access_token":"t","expires_in":1e300}"#, Ok(("Bearer t", None)));
        json(r#"{"access_token":""}"#, Err("no `access_token`"));
        json("[]", Err("no `access_token`"));
        json("<html>hunter2", Err("no JSON, at line 1 column 1"));
        json("{\"access_token\":\"a\\nb\"}", Err("no header may have"));
        check("access_token=t&expires_in=5", true, Ok(("Bearer t", Some(5))));
        check("error=x", true, Err("no `access_token`"));
    }
}
