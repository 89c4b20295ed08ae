//! How a provider asks an API: a request with the settings' credentials on it, and its answer within
//! bounds of time and size. What a message says of it has no query: there may be a token in it.

use std::{fmt::Display, path::Path, time::Duration};

use ::http::{HeaderMap, Request, StatusCode, header::ACCEPT};
use reqwest::{Client, Method, Response};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use url::Url;

use crate::{
    config::{HttpClient, Tls},
    model::hidden,
    runtime::http::{Caller, TlsSource, USER_AGENT, reason_of},
};

/// A larger answer is refused; what was found before stays.
const BODY_BYTES_MAX: usize = 64 << 20;
/// A server that has not answered in full by then has failed this round.
const ANSWER_SECONDS_MAX: u64 = 60;
/// A list that goes on behind so many pages is refused: the API turns in circles.
const PAGES_MAX: usize = 1_000;
/// A list of more is refused, as what it makes is kept in memory several times.
const ENTRIES_MAX: usize = 200_000;

pub(super) struct Api {
    way: Way,
    patience: Duration,
}

enum Way {
    Network(Box<Caller>),
    Socket(Client),
}

impl Api {
    pub(super) fn new(client: &HttpClient, refresh_interval: Duration) -> Self {
        Self {
            way: Way::Network(Box::new(Caller::new(client))),
            patience: patience(refresh_interval),
        }
    }

    /// Asks over a Unix socket, whatever host a URL names. Nothing of an HTTP client's settings has a
    /// meaning there.
    pub(super) fn over_socket(path: &Path, refresh_interval: Duration) -> Result<Self, String> {
        // A client is not made without any; on a socket nobody speaks it.
        let (_, tls) = TlsSource::new(&Tls::default(), false).current()?;
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .tls_backend_preconfigured((*tls).clone())
            .unix_socket(path)
            .build()
            .map_err(reason_of)?;
        Ok(Self { way: Way::Socket(client), patience: patience(refresh_interval) })
    }

    /// What a good answer to a GET holds.
    pub(super) async fn get<T: DeserializeOwned>(&self, url: Url) -> Result<T, String> {
        self.send(get(url)).await?.good()?.json()
    }

    /// Whatever the server answers.
    pub(super) async fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, String> {
        self.send_within(request, self.patience).await
    }

    /// As `send`, for a request that the server is asked to take its time for.
    pub(super) async fn send_within(
        &self,
        request: Request<Vec<u8>>,
        patience: Duration,
    ) -> Result<Answer, String> {
        let (head, content) = request.into_parts();
        let url = head.uri.to_string();
        let at = without_query(&hidden::url(&url)).to_owned();
        let fault = |reason: String| format!("`{at}`: {reason}");
        let response = match &self.way {
            Way::Network(caller) => {
                let mut call = caller.request(head.method, &url).map_err(fault)?.timeout(patience);
                for (name, value) in &head.headers {
                    call = call.header(name, value);
                }
                let call = if content.is_empty() { call } else { call.body(content) };
                call.send().await.map_err(|error| fault(error.to_string()))?
            }
            Way::Socket(client) => {
                let request = client.request(head.method, &url).headers(head.headers);
                let sent = request.timeout(patience).body(content).send();
                sent.await.map_err(|error| fault(reason_of(error)))?
            }
        };
        let (status, headers) = (response.status(), response.headers().clone());
        let body = body(response).await.map_err(fault)?;
        Ok(Answer { at, status, headers, body })
    }
}

/// A request for JSON.
pub(super) fn get(url: Url) -> Request<Vec<u8>> {
    Request::builder()
        .method(Method::GET)
        .uri(String::from(url))
        .header(ACCEPT, "application/json")
        .body(Vec::new())
        .expect("a URL is a URI")
}

pub(super) struct Answer {
    /// Of the request, without its query and without a password.
    at: String,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl Answer {
    /// # Errors
    /// That the status says no. Not what the body says: whoever asked knows which part of it is safe to
    /// repeat.
    pub(super) fn good(self) -> Result<Self, String> {
        if self.status.is_success() {
            return Ok(self);
        }
        Err(self.fault(format!("server returned HTTP status {}", self.status)))
    }

    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body)
            .map_err(|error| self.fault(format!("unexpected answer: {error}")))
    }

    /// `reason`, with where it was asked.
    pub(super) fn fault(&self, reason: impl Display) -> String {
        format!("`{}`: {reason}", self.at)
    }
}

/// Counts what a list of several pages brings, so that it ends.
#[derive(Default)]
pub(super) struct Pages {
    turned: usize,
    entries: usize,
}

impl Pages {
    /// Another page was read, with so many entries.
    pub(super) fn turn(&mut self, entries: usize) -> Result<(), String> {
        self.turned += 1;
        self.count(entries)?;
        if self.turned > PAGES_MAX {
            return Err(format!("a list of more than {PAGES_MAX} pages"));
        }
        Ok(())
    }

    /// A list of its own was read, which belongs to the same whole.
    pub(super) fn count(&mut self, entries: usize) -> Result<(), String> {
        self.entries += entries;
        if self.entries > ENTRIES_MAX {
            return Err(format!("more than {ENTRIES_MAX} entries"));
        }
        Ok(())
    }
}

/// `base`, a path behind it, and a query.
pub(super) fn url(base: &str, path: &str, query: &[(&str, &str)]) -> Result<Url, String> {
    let mut url = Url::parse(&format!("{}{path}", base.trim_end_matches('/')))
        .map_err(|error| format!("`{}` is no URL: {error}", without_query(&hidden::url(base))))?;
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url)
}

/// How long an answer may take.
pub(super) fn patience(refresh_interval: Duration) -> Duration {
    refresh_interval.min(Duration::from_secs(ANSWER_SECONDS_MAX))
}

pub(super) async fn body(mut response: Response) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(reason_of)? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(format!("the answer is larger than {BODY_BYTES_MAX} bytes"));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Go writes `null` for a list or a mapping that has nothing in it.
pub(super) fn or_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or(url)
}
