//! The door for every request but scrapes: what is asked goes out with credentials, signed where that is
//! asked for, to where redirects lead, and never with our secrets to a stranger.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION},
};
use reqwest::{Method, Response};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};
use url::{Url, form_urlencoded};

use crate::{
    config::HttpClient,
    runtime::http::{Access, Fault, Pass, aws::Signer, line::Line},
};

const REDIRECTS_MAX: usize = 10;

/// Makes requests with one set of settings, and notices rotated certificates.
pub struct Caller {
    terms: Arc<Terms>,
}

struct Terms {
    line: Line,
    access: Access,
    signer: Option<Signer>,
    follow_redirects: bool,
}

impl Caller {
    pub fn new(settings: &HttpClient) -> Self {
        Self::over(Self::line(settings), settings)
    }

    /// Each new connection goes to the next address of the host name.
    pub fn rotating(settings: &HttpClient) -> Self {
        Self::over(Self::line(settings).rotating(), settings)
    }

    /// A request that is yet to be sent.
    ///
    /// # Errors
    /// `url` is none.
    pub fn request(&self, method: Method, url: &str) -> Result<Call, String> {
        let url = Url::parse(url).map_err(|e| format!("no URL: {e}"))?;
        let (headers, firm) = (HeaderMap::new(), HeaderMap::new());
        let asked = Asked { method, url, headers, firm, body: None };
        Ok(Call { terms: Arc::clone(&self.terms), asked, timeout: None, fault: None })
    }

    fn line(settings: &HttpClient) -> Line {
        Line::new(&settings.tls, settings.proxy.as_ref(), settings.enable_http2)
    }

    fn over(line: Line, settings: &HttpClient) -> Self {
        let terms = Terms {
            line,
            access: Access::new(settings),
            signer: settings.sigv4.as_deref().map(Signer::new),
            follow_redirects: settings.follow_redirects,
        };
        Self { terms: Arc::new(terms) }
    }
}

impl Terms {
    /// Credentials are read anew for each request.
    async fn send(&self, mut asked: Asked, deadline: Option<Instant>) -> Result<Response, Fault> {
        let mut is_trusted = true;
        for _ in 0..=REDIRECTS_MAX {
            let answer = self.send_once(&asked, is_trusted, deadline).await?;
            let Some(next) = self.redirection(&asked, &answer) else { return Ok(answer) };
            let (from, to) = (asked.url.clone(), &next.url);
            is_trusted &= from.host() == to.host()
                && (from.scheme() == to.scheme() || to.scheme() == "https");
            asked = next;
        }
        Err(Fault::Unready(format!("stopped after {REDIRECTS_MAX} redirects")))
    }

    /// Once more where the credentials are no longer good and there are others.
    async fn send_once(
        &self,
        asked: &Asked,
        is_trusted: bool,
        deadline: Option<Instant>,
    ) -> Result<Response, Fault> {
        if !is_trusted {
            let request = self.built(asked, &Pass::default(), deadline)?;
            return self.execute(asked, request).await;
        }
        let pass = self.access.pass().await?;
        let (answer, keys) = self.send_with(asked, &pass, deadline).await?;
        let refused = match answer.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
                if let (Some(signer), Some(keys)) = (&self.signer, keys) =>
            {
                signer.were_refused(keys)
            }
            StatusCode::UNAUTHORIZED => self.access.was_refused(&pass),
            _ => false,
        };
        if !refused {
            return Ok(answer);
        }
        let pass = self.access.pass().await?;
        Ok(self.send_with(asked, &pass, deadline).await?.0)
    }

    /// With the number of the keys that it was signed with.
    async fn send_with(
        &self,
        asked: &Asked,
        pass: &Pass,
        deadline: Option<Instant>,
    ) -> Result<(Response, Option<u64>), Fault> {
        let mut request = self.built(asked, pass, deadline)?;
        let keys = match &self.signer {
            Some(signer) => Some(signer.sign(&mut request).await?),
            None => None,
        };
        Ok((self.execute(asked, request).await?, keys))
    }

    fn built(
        &self,
        asked: &Asked,
        pass: &Pass,
        deadline: Option<Instant>,
    ) -> Result<reqwest::Request, Fault> {
        let client = self.line.client(&asked.url).map_err(Fault::Unready)?;
        // What is configured wins over what is asked with, and over a user in the URL.
        let mut builder = client
            .request(asked.method.clone(), asked.url.clone())
            .headers(asked.headers.clone())
            .headers(pass.headers.clone())
            .headers(asked.firm.clone());
        if let Some(body) = &asked.body {
            builder = builder.body(body.clone());
        }
        if let Some(deadline) = deadline {
            builder = builder.timeout(deadline.saturating_duration_since(Instant::now()));
        }
        builder.build().map_err(|e| Fault::Failed(e.without_url()))
    }

    async fn execute(&self, asked: &Asked, request: reqwest::Request) -> Result<Response, Fault> {
        let client = self.line.client(&asked.url).map_err(Fault::Unready)?;
        client.execute(request).await.map_err(|e| Fault::Failed(e.without_url()))
    }

    /// Where to go instead; `None` for an answer that stands for itself.
    fn redirection(&self, asked: &Asked, answer: &Response) -> Option<Asked> {
        if !self.follow_redirects {
            return None;
        }
        let keeps_method = match answer.status().as_u16() {
            307 | 308 => true,
            301..=303 => matches!(asked.method, Method::GET | Method::HEAD),
            _ => return None,
        };
        let location = answer.headers().get(LOCATION)?.to_str().ok()?;
        let url = answer.url().join(location).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        let mut next = Asked { url, ..asked.clone() };
        if !keeps_method {
            // As browsers, Go and everyone do.
            next.method = Method::GET;
            next.body = None;
            for name in [CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH] {
                next.headers.remove(name);
            }
        }
        Some(next)
    }
}

#[derive(Clone)]
struct Asked {
    method: Method,
    url: Url,
    headers: HeaderMap,
    /// These win over what is configured.
    firm: HeaderMap,
    body: Option<Bytes>,
}

/// A request that is yet to be sent.
#[must_use = "it is sent by `send` only"]
pub struct Call {
    terms: Arc<Terms>,
    asked: Asked,
    timeout: Option<Duration>,
    /// What of it can't be.
    fault: Option<String>,
}

impl Call {
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N>,
        HeaderValue: TryFrom<V>,
    {
        if let Some((name, value)) = self.checked(name, value) {
            self.asked.headers.append(name, value);
        }
        self
    }

    /// In the place of a configured one of that name.
    pub fn firm_header<N, V>(mut self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N>,
        HeaderValue: TryFrom<V>,
    {
        if let Some((name, value)) = self.checked(name, value) {
            self.asked.firm.insert(name, value);
        }
        self
    }

    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.asked.body = Some(body.into());
        self
    }

    pub fn json(self, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.header(CONTENT_TYPE, "application/json").body(body),
            Err(e) => Self { fault: Some(format!("no JSON: {e}")), ..self },
        }
    }

    pub fn form(self, pairs: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
    }

    /// For all of it: credentials, redirects and the answer's body.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// # Errors
    /// Why there is no answer; any status is one.
    pub async fn send(self) -> Result<Response, Fault> {
        let Self { terms, asked, timeout, fault } = self;
        if let Some(fault) = fault {
            return Err(Fault::Unready(fault));
        }
        let Some(timeout) = timeout else { return Box::pin(terms.send(asked, None)).await };
        let deadline = Instant::now() + timeout;
        // A little later than the request's own timeout, whose words are the better ones.
        let last = deadline + Duration::from_millis(50);
        match timeout_at(last, Box::pin(terms.send(asked, Some(deadline)))).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Fault::NotNow(format!("no answer within {timeout:?}"))),
        }
    }

    fn checked<N, V>(&mut self, name: N, value: V) -> Option<(HeaderName, HeaderValue)>
    where
        HeaderName: TryFrom<N>,
        HeaderValue: TryFrom<V>,
    {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => return Some((name, value)),
            (Ok(name), Err(_)) => {
                self.fault = Some(format!("header `{name}` has a character no header may have"));
            }
            (Err(_), _) => self.fault = Some("no header has such a name".to_owned()),
        }
        None
    }
}
