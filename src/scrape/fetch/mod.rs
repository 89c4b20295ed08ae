//! One scrape over HTTP: request, redirects, body, all within the target's timeout. What comes back
//! is bytes and their type, or a named failure; the connection is kept for the next scrape.

mod body;
mod connect;
mod connection;
#[cfg(test)]
mod tests;
mod tunnel;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, LOCATION,
        USER_AGENT,
    },
};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use url::{Position, Url};

use crate::{
    config::Job,
    model::hidden,
    runtime::http::{Access, Keyring, Pass, Route, TlsSource, USER_AGENT as OURS},
    scrape::{
        failure::{Failure, Stage},
        fetch::{
            body::{BODY_BYTES_MAX, Buffers, Encoding, Unpacker},
            connect::{Dialer, Line, Origin},
            connection::Connection,
        },
    },
    wire::content_type,
};

const REDIRECTS_MAX: usize = 10;
/// The body of an answer that is not wanted is read up to here, so that its connection can go on
/// being used; one that is longer costs a new connection.
const UNWANTED_BYTES_MAX: usize = 64 << 10;
/// A body is believed to be as long as the last one, or as it says, up to here; beyond, it grows.
const HINT_BYTES_MAX: usize = 64 << 20;

/// What all fetches share.
#[derive(Debug)]
pub(super) struct Shared {
    dialer: Dialer,
    keyring: Keyring,
    pub(super) buffers: Buffers,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { dialer: Dialer::new(), keyring: Keyring::default(), buffers: Buffers::default() }
    }

    /// Jobs with the same `oauth2` have the same token.
    pub(super) fn terms(&self, job: Arc<Job>) -> Terms {
        Terms::with(job, &self.keyring)
    }
}

/// How the targets of one job are asked.
pub(super) struct Terms {
    job: Arc<Job>,
    line: Line,
    access: Access,
    accept: HeaderValue,
}

impl Terms {
    #[cfg(test)]
    pub(super) fn new(job: Arc<Job>) -> Self {
        Self::with(job, &Keyring::default())
    }

    fn with(job: Arc<Job>, keyring: &Keyring) -> Self {
        let accept = content_type::accept(&job.scrape_protocols, job.metric_name_escaping);
        Self {
            line: Line {
                tls: TlsSource::new(&job.http.tls, job.http.enable_http2),
                route: Route::new(job.http.proxy.as_ref()),
            },
            access: Access::with(&job.http, keyring),
            accept: HeaderValue::try_from(accept).expect("media types are visible ASCII"),
            job,
        }
    }

    async fn pass(&self) -> Result<Pass, Failure> {
        self.access.pass().await.map_err(|fault| Failure::Settings(fault.to_string()))
    }

    /// Whether a connection can be used on: its certificates were not rotated meanwhile. While they
    /// can't be read it can, as a new one would be none at all.
    fn holds(&self, connection: &Connection) -> bool {
        let current = || self.line.tls.current().ok().map(|(version, _)| version);
        connection.tls().is_none_or(|own| current().is_none_or(|version| version == own))
    }

    fn body_bytes_max(&self) -> u64 {
        match self.job.limits.body_bytes_max {
            0 => BODY_BYTES_MAX,
            limit => limit.min(BODY_BYTES_MAX),
        }
    }
}

/// What a target answered: the unpacked body, which goes back to `Buffers` after use.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) body: Vec<u8>,
    pub(super) content_type: Option<String>,
}

/// The client of one target.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    connection: Option<Connection>,
    last_body_bytes: usize,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, connection: None, last_body_bytes: 0 }
    }

    /// `timeout` bounds the fetch, `announced` is what the target is told.
    pub(super) async fn fetch(
        &mut self,
        url: &str,
        terms: &Terms,
        announced: Duration,
        timeout: Duration,
    ) -> Result<Page, Failure> {
        let deadline = Instant::now() + timeout;
        let mut stage = Stage::default();
        let exchange = self.exchange(url, terms, announced, deadline, &mut stage);
        // The fetch is large, and most of it is not needed while the target sleeps.
        let outcome = timeout_at(deadline, Box::pin(exchange)).await;
        let page = outcome.unwrap_or(Err(Failure::Timeout { after: timeout, stage }))?;
        self.last_body_bytes = page.body.len();
        Ok(page)
    }

    async fn exchange(
        &mut self,
        url: &str,
        terms: &Terms,
        announced: Duration,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<Page, Failure> {
        let mut url = Url::parse(url)
            .map_err(|e| Failure::Settings(format!("`{}` is no URL: {e}", hidden::url(url))))?;
        let mut pass = terms.pass().await?;
        let mut is_trusted = true;
        for _ in 0..=REDIRECTS_MAX {
            let origin = Origin::of(&url)?;
            let headers = request_headers(&url, terms, announced, &pass.headers)?;
            let (mut connection, mut answer) =
                self.ask(&url, &origin, &headers, terms, deadline, stage).await?;
            if answer.status() == StatusCode::UNAUTHORIZED
                && is_trusted
                && terms.access.was_refused(&pass)
            {
                // Once more, with another token.
                self.put_away(connection, answer.body_mut()).await;
                *stage = Stage::Credentials;
                pass = terms.pass().await?;
                let headers = request_headers(&url, terms, announced, &pass.headers)?;
                (connection, answer) =
                    self.ask(&url, &origin, &headers, terms, deadline, stage).await?;
            }
            *stage = Stage::Body;
            let Some(next) = redirection(&url, terms, &answer)? else {
                return self.read_page(connection, answer, terms).await;
            };
            self.put_away(connection, answer.body_mut()).await;
            if !origin.trusts(&Origin::of(&next)?) {
                is_trusted = false;
                pass = Pass::default();
            }
            url = next;
        }
        Err(Failure::Redirects)
    }

    /// For the next request, if what is left of this answer is not too long.
    async fn put_away(&mut self, mut connection: Connection, body: &mut Incoming) {
        if discard(&mut connection, body).await {
            self.connection = Some(connection);
        }
    }

    /// Sends the request over the kept connection, or a new one where there is none or it turns out
    /// to have been closed meanwhile.
    async fn ask(
        &mut self,
        url: &Url,
        origin: &Origin,
        headers: &HeaderMap,
        terms: &Terms,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        // Taken out, not borrowed: when the fetch is given up midway the connection goes with it.
        let kept = self.connection.take();
        let kept = kept.filter(|one| one.origin() == origin && terms.holds(one));
        if let Some(mut connection) = kept
            && connection.is_ready().await
        {
            *stage = Stage::Answer;
            if let Ok(answer) = connection.send(url, headers).await? {
                return Ok((connection, answer));
            }
        }
        let dialer = &self.shared.dialer;
        let mut connection = dialer.connect(origin, &terms.line, deadline, stage).await?;
        *stage = Stage::Answer;
        let answer = connection.send(url, headers).await?.map_err(|e| http_failure(&e))?;
        Ok((connection, answer))
    }

    async fn read_page(
        &mut self,
        mut connection: Connection,
        mut answer: Response<Incoming>,
        terms: &Terms,
    ) -> Result<Page, Failure> {
        if answer.status() != StatusCode::OK {
            let failure = Failure::Status(answer.status());
            self.put_away(connection, answer.body_mut()).await;
            return Err(failure);
        }
        let header = |name| answer.headers().get(name).map(HeaderValue::as_bytes);
        let encoding = Encoding::named(header(CONTENT_ENCODING))?;
        let content_type =
            header(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value).into_owned());
        let bytes_max = terms.body_bytes_max();
        let announced = match encoding {
            Encoding::Identity => content_length(answer.headers()),
            Encoding::Gzip => 0,
        };
        if announced > bytes_max {
            return Err(Failure::BodySize { bytes_max });
        }
        // A little more than last time, as bodies grow by a digit here and there.
        let hint = self.last_body_bytes + self.last_body_bytes / 16;
        let hint = hint.max(usize::try_from(announced).unwrap_or(usize::MAX)).min(HINT_BYTES_MAX);
        let mut unpacker = Unpacker::new(self.shared.buffers.take(hint), encoding, bytes_max);
        while let Some(frame) = connection.frame(answer.body_mut()).await {
            let frame = frame.map_err(|e| http_failure(&e))?;
            if let Some(piece) = frame.data_ref() {
                unpacker.push(piece)?;
            }
        }
        self.connection = Some(connection);
        Ok(Page { body: unpacker.finish()?, content_type })
    }
}

/// Where to go instead; `None` for an answer that stands for itself.
fn redirection(
    url: &Url,
    terms: &Terms,
    answer: &Response<Incoming>,
) -> Result<Option<Url>, Failure> {
    let redirects = matches!(
        answer.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if !redirects || !terms.job.http.follow_redirects {
        return Ok(None);
    }
    let Some(location) = answer.headers().get(LOCATION) else {
        return Err(Failure::Http(format!("{} response missing Location header", answer.status())));
    };
    let text = String::from_utf8_lossy(location.as_bytes());
    let next = url.join(&text);
    next.map(Some).map_err(|e| Failure::Http(format!("failed to parse Location header: {e}")))
}

/// Reads a body that nobody wants; whether the connection can be used again.
async fn discard(connection: &mut Connection, body: &mut Incoming) -> bool {
    let mut bytes = 0;
    while let Some(frame) = connection.frame(body).await {
        let Ok(frame) = frame else { return false };
        bytes += frame.data_ref().map_or(0, Bytes::len);
        if bytes > UNWANTED_BYTES_MAX {
            return false;
        }
    }
    true
}

fn request_headers(
    url: &Url,
    terms: &Terms,
    announced: Duration,
    secrets: &HeaderMap,
) -> Result<HeaderMap, Failure> {
    let encodings = if terms.job.enable_compression { "gzip" } else { "identity" };
    let timeout = HeaderValue::try_from(announced.as_secs_f64().to_string());
    let host = HeaderValue::try_from(&url[Position::BeforeHost..Position::AfterPort])
        .map_err(|_| Failure::Settings("the host is no value for a header".to_owned()))?;
    let mut headers = HeaderMap::with_capacity(8 + secrets.len());
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(OURS));
    headers.insert(ACCEPT, terms.accept.clone());
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(encodings));
    headers.insert(
        "x-prometheus-scrape-timeout-seconds",
        timeout.expect("a decimal number is visible ASCII"),
    );
    for name in secrets.keys() {
        headers.remove(name);
    }
    for (name, value) in secrets {
        headers.append(name, value.clone());
    }
    Ok(headers)
}

fn content_length(headers: &HeaderMap) -> u64 {
    let value = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    value.and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn http_failure(error: &hyper::Error) -> Failure {
    let source = std::error::Error::source(error);
    let cut = source
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .is_some_and(|error| error.kind() == std::io::ErrorKind::UnexpectedEof);
    let text = match source {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    };
    let cut = cut || error.is_incomplete_message();
    Failure::Http(if cut { format!("unexpected EOF: {text}") } else { text })
}
