//! One scrape over HTTP: request, redirects, body, all within the target's timeout. What comes back
//! is bytes and their type, or a named failure; the connection is kept for the next scrape.

mod answer;
mod body;
mod connect;
mod connection;
mod http1;
mod place;
#[cfg(test)]
mod tests;
mod tunnel;

use std::{num::NonZero, sync::Arc, thread::available_parallelism, time::Duration};

use http::{HeaderValue, StatusCode};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, timeout_at},
};

use crate::{
    config::Job,
    runtime::http::{Access, Keyring, Pass, Route, TlsSource},
    scrape::{
        failure::{Failure, Stage},
        fetch::{
            answer::Answer,
            body::{BODY_BYTES_MAX, Packed, ReadBuffers, Unpacker, Unpackers},
            connect::{Dialer, Line},
            connection::Connection,
            place::{Place, Question},
        },
    },
    wire::content_type,
};

const REDIRECTS_MAX: usize = 10;
/// The body of an answer that is not wanted is read up to here, so that its connection can go on
/// being used; one that is longer costs a new connection.
const UNWANTED_BYTES_MAX: u64 = 64 << 10;

/// Pages up to here are read as they come.
const SMALL_BYTES_MAX: usize = 256 << 10;

/// What all fetches share.
#[derive(Debug)]
pub(super) struct Shared {
    dialer: Dialer,
    keyring: Keyring,
    buffers: ReadBuffers,
    pub(super) unpackers: Unpackers,
    turns: Semaphore,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            dialer: Dialer::new(),
            keyring: Keyring::default(),
            buffers: ReadBuffers::default(),
            unpackers: Unpackers::default(),
            turns: Semaphore::new(available_parallelism().map_or(1, NonZero::get)),
        }
    }

    /// To be held while the page is read. Large ones are read one a core: more at once would be no
    /// faster, and each of them is in memory unpacked meanwhile. Who waits here waits for no target.
    pub(super) async fn turn(&self, page: Option<&Page>) -> Option<SemaphorePermit<'_>> {
        let bytes = page.map_or(0, Page::bytes_expected);
        if bytes <= SMALL_BYTES_MAX {
            return None;
        }
        Some(self.turns.acquire().await.expect("it is never closed"))
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

    fn question<'a>(
        &'a self,
        place: &'a Place,
        announced: Duration,
        pass: &'a Pass,
    ) -> Question<'a> {
        let (accept, compressed) = (&self.accept, self.job.enable_compression);
        Question { place, accept, compressed, announced, secrets: &pass.headers }
    }

    fn body_bytes_max(&self) -> u64 {
        match self.job.limits.body_bytes_max {
            0 => BODY_BYTES_MAX,
            limit => limit.min(BODY_BYTES_MAX),
        }
    }
}

/// What a target answered.
#[derive(Debug)]
pub(super) struct Page {
    body: Packed,
    pub(super) content_type: Option<Box<str>>,
}

impl Page {
    /// About how long its body is.
    pub(super) fn bytes_expected(&self) -> usize {
        self.body.bytes_expected()
    }

    pub(super) fn body<'a>(&'a self, unpacker: &'a mut Unpacker) -> Result<&'a [u8], Failure> {
        self.body.unpack(unpacker)
    }
}

/// The client of one target.
pub(super) struct Fetcher {
    shared: Arc<Shared>,
    /// Of the last fetch.
    place: Option<Place>,
    connection: Option<Connection>,
}

impl Fetcher {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, place: None, connection: None }
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
        outcome.unwrap_or(Err(Failure::Timeout { after: timeout, stage }))
    }

    async fn exchange(
        &mut self,
        url: &str,
        terms: &Terms,
        announced: Duration,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<Page, Failure> {
        let known = self.place.take().filter(|place| place.is_of(url));
        let place = known.map_or_else(|| Place::parse(url), Ok)?;
        let outcome = self.exchange_from(&place, terms, announced, deadline, stage).await;
        self.place = Some(place);
        outcome
    }

    async fn exchange_from(
        &mut self,
        start: &Place,
        terms: &Terms,
        announced: Duration,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<Page, Failure> {
        let mut pass = terms.pass().await?;
        let mut is_trusted = true;
        let mut elsewhere: Option<Place> = None;
        for _ in 0..=REDIRECTS_MAX {
            let place = elsewhere.as_ref().unwrap_or(start);
            let question = terms.question(place, announced, &pass);
            let (mut connection, mut answer) = self.ask(&question, terms, deadline, stage).await?;
            if answer.status == StatusCode::UNAUTHORIZED
                && is_trusted
                && terms.access.was_refused(&pass)
            {
                // Once more, with another token.
                self.put_away(connection).await;
                *stage = Stage::Credentials;
                pass = terms.pass().await?;
                let question = terms.question(place, announced, &pass);
                (connection, answer) = self.ask(&question, terms, deadline, stage).await?;
            }
            *stage = Stage::Body;
            let Some(next) = redirection(place, terms, &answer)? else {
                return self.read_page(connection, answer, terms).await;
            };
            self.put_away(connection).await;
            if !place.origin.trusts(&next.origin) {
                is_trusted = false;
                pass = Pass::default();
            }
            elsewhere = Some(next);
        }
        Err(Failure::Redirects)
    }

    /// For the next request, if what is left of the last answer is not too long.
    async fn put_away(&mut self, mut connection: Connection) {
        let body = connection.body(UNWANTED_BYTES_MAX, &self.shared.buffers).await;
        if let Ok(Some(_)) = body {
            self.keep(connection);
        }
    }

    fn keep(&mut self, connection: Connection) {
        self.connection = connection.keeps().then_some(connection);
    }

    /// Sends the request over the kept connection, or a new one where there is none or it turns out
    /// to have been closed meanwhile.
    async fn ask(
        &mut self,
        question: &Question<'_>,
        terms: &Terms,
        deadline: Instant,
        stage: &mut Stage,
    ) -> Result<(Connection, Answer), Failure> {
        let Shared { dialer, buffers, .. } = &*self.shared;
        let origin = &question.place.origin;
        // Taken out, not borrowed: when the fetch is given up midway the connection goes with it.
        let kept = self.connection.take();
        let kept = kept.filter(|one| *one.origin() == **origin && terms.holds(one));
        if let Some(mut connection) = kept
            && connection.is_ready(buffers).await
        {
            *stage = Stage::Answer;
            if let Ok(answer) = connection.ask(question, buffers).await {
                return Ok((connection, answer));
            }
        }
        let mut connection = dialer.connect(origin, &terms.line, deadline, stage).await?;
        *stage = Stage::Answer;
        let answer = connection.ask(question, buffers).await?;
        Ok((connection, answer))
    }

    async fn read_page(
        &mut self,
        mut connection: Connection,
        answer: Answer,
        terms: &Terms,
    ) -> Result<Page, Failure> {
        if answer.status != StatusCode::OK {
            self.put_away(connection).await;
            return Err(Failure::Status(answer.status));
        }
        let encoding = answer.encoding?;
        let bytes_max = terms.body_bytes_max();
        let too_large = Failure::BodySize { bytes_max };
        let packed_bytes_max = encoding.packed_bytes_max(bytes_max);
        if answer.length.is_some_and(|length| length > packed_bytes_max) {
            return Err(too_large);
        }
        let bytes = connection.body(packed_bytes_max, &self.shared.buffers).await?;
        let bytes = bytes.ok_or(too_large)?;
        self.keep(connection);
        let content_type = answer.content_type;
        Ok(Page { body: Packed { bytes, encoding, bytes_max }, content_type })
    }
}

/// Where to go instead; `None` for an answer that stands for itself.
fn redirection(place: &Place, terms: &Terms, answer: &Answer) -> Result<Option<Place>, Failure> {
    let redirects = matches!(
        answer.status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    if !redirects || !terms.job.http.follow_redirects {
        return Ok(None);
    }
    match &answer.location {
        Some(location) => place.join(location).map(Some),
        None => Err(Failure::Http(format!("{} response missing Location header", answer.status))),
    }
}
