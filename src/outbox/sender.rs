//! POSTs the body of one request by remote write, and brings back the answer. Decides nothing:
//! `dialect` says in which form, `verdict` judges, `lane` repeats.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderMap, IF_NONE_MATCH, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Response, Url};

use crate::{
    config::{Destination, HttpClient, WriteMessage},
    outbox::{
        dialect::{Form, Packing},
        placing::{Question, Told},
        verdict::{Answer, Reply, Written},
    },
    runtime::http::{Caller, Fault},
    wire::placement::PLACEMENT_BYTES_MAX,
};

/// Of an answer, what a person gets to see.
const TEXT_BYTES_MAX: usize = 1024;
/// What is read of an answer, so that its connection can be used again; a longer one costs it.
const ANSWER_BYTES_MAX: usize = 64 << 10;
const REDIRECTS_MAX: usize = 5;
/// The version of remote write, and the version of `VictoriaMetrics`' own that has Zstandard.
const VERSION: &str = "X-Prometheus-Remote-Write-Version";
const VICTORIA_METRICS_VERSION: &str = "X-VictoriaMetrics-Remote-Write-Version";
/// `VictoriaMetrics` answers it with the number of its version, and stores nothing.
const VERSION_QUESTION: (&str, &str) = ("get_vm_proto_version", "1");
/// In every answer of `VictoriaMetrics`, unless it was told to leave it out.
const VICTORIA_METRICS_SIGN: &str = "X-Server-Hostname";
/// Whose samples a request has, where there is tenancy.
const TENANT: &str = "X-Scope-OrgID";
/// How many samples a gateway has sent on, as other members own them.
const FORWARDED: &str = "X-Starling-Forwarded";
/// Where a gateway says who owns what, beside the path for pushes.
const PLACEMENT: &str = "placement";
/// A gateway has answered by then, whatever becomes of its push.
const MEMBER_TIMEOUT_MAX: Duration = Duration::from_secs(10);
const PLACEMENT_TIMEOUT_MAX: Duration = Duration::from_secs(5);
/// How much of a request was stored, by kind: samples, histograms, exemplars.
const WRITTEN: [&str; 3] = [
    "X-Prometheus-Remote-Write-Samples-Written",
    "X-Prometheus-Remote-Write-Histograms-Written",
    "X-Prometheus-Remote-Write-Exemplars-Written",
];

/// What one request carries.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) body: Bytes,
    pub(super) form: Form,
    /// Empty where there is none. It replaces one that is configured for all.
    pub(super) tenant: Arc<str>,
    /// The attempts before this one.
    pub(super) repeat: u32,
    /// Another gateway than the one that is configured.
    pub(super) to: Option<Arc<str>>,
}

pub(super) struct Sender {
    caller: Caller,
    url: String,
    timeout: Duration,
    follow_redirects: bool,
    has_credentials: bool,
}

impl Sender {
    pub(super) fn new(destination: &Destination) -> Self {
        let http = &destination.http;
        // A client that follows by itself turns a POST into a GET, which many servers answer with
        // 200: everything would be lost in silence.
        let settings = HttpClient { follow_redirects: false, ..http.clone() };
        let rotates = destination.round_robin_dns;
        let caller = if rotates { Caller::rotating(&settings) } else { Caller::new(&settings) };
        Self {
            caller,
            url: destination.url.expose().to_owned(),
            timeout: destination.timeout,
            follow_redirects: http.follow_redirects,
            has_credentials: http.basic_auth.is_some()
                || http.authorization.is_some()
                || http.oauth2.is_some()
                || http.sigv4.is_some()
                || !http.headers.is_empty(),
        }
    }

    pub(super) async fn post(&self, parcel: Parcel) -> Answer {
        let timeout = match parcel.to {
            Some(_) => self.timeout.min(MEMBER_TIMEOUT_MAX),
            None => self.timeout,
        };
        match tokio::time::timeout(timeout, self.follow(&parcel)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Timeout,
        }
    }

    /// Whether the destination takes Zstandard; `None` where it does not say.
    pub(super) async fn ask_for_zstd(&self) -> Option<bool> {
        let asking = async {
            let (name, value) = VERSION_QUESTION;
            let mut url = Url::parse(&self.url).ok()?;
            url.query_pairs_mut().append_pair(name, value);
            let request = self.caller.request(Method::GET, url.as_str()).ok()?;
            let reply = reply_of(request.send().await.ok()?).await;
            let is_answer = reply.code == 200 && reply.text.parse::<u32>().is_ok_and(|n| n >= 1);
            Some(is_answer)
        };
        tokio::time::timeout(self.timeout, asking).await.ok().flatten()
    }

    /// Asks a gateway who owns what.
    pub(super) async fn ask_for_placement(&self, question: &Question) -> Told {
        let timeout = self.timeout.min(PLACEMENT_TIMEOUT_MAX);
        let asking = self.question(question);
        tokio::time::timeout(timeout, asking).await.unwrap_or(Told::Silence)
    }

    async fn question(&self, Question { to, version }: &Question) -> Told {
        let push = to.as_deref().unwrap_or(&self.url);
        let url = Url::parse(push).and_then(|url| url.join(PLACEMENT));
        let Ok(url) = url else { return Told::None("its URL is none".to_owned()) };
        let Ok(mut request) = self.caller.request(Method::GET, url.as_str()) else {
            return Told::Silence;
        };
        if let Some(version) = version {
            request = request.header(IF_NONE_MATCH, version.as_str());
        }
        let Ok(mut response) = request.send().await else { return Told::Silence };
        match response.status().as_u16() {
            200 => {}
            304 => return Told::Same,
            408 | 429 | 500..=599 => return Told::Silence,
            code => return Told::None(format!("it answers with HTTP status {code}")),
        }
        let version = text_of(response.headers(), ETAG.as_str()).map(str::to_owned);
        let mut json = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if json.len() + chunk.len() <= PLACEMENT_BYTES_MAX => {
                    json.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => return Told::None("it answers at too great length".to_owned()),
                Ok(None) => return Told::New { json, version },
                Err(_) => return Told::Silence,
            }
        }
    }

    async fn follow(&self, parcel: &Parcel) -> Answer {
        let mut url = parcel.to.as_deref().unwrap_or(&self.url).to_owned();
        for _ in 0..REDIRECTS_MAX {
            let response = match self.post_to(&url, parcel).await {
                Ok(response) => response,
                Err(answer) => return answer,
            };
            match self.redirect(&response) {
                Some(Ok(next)) => url = next.into(),
                Some(Err(reason)) => return Answer::Unready(reason),
                None => return Answer::Status(reply_of(response).await),
            }
        }
        Answer::Unready(format!("more than {REDIRECTS_MAX} redirects"))
    }

    async fn post_to(&self, url: &str, parcel: &Parcel) -> Result<Response, Answer> {
        let Parcel { body, form, tenant, repeat, to: _ } = parcel;
        let (content_type, version) = match form.message {
            WriteMessage::V1 => ("application/x-protobuf", "0.1.0"),
            WriteMessage::V2 => {
                ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0")
            }
        };
        let request = self
            .caller
            .request(Method::POST, url)
            .map_err(Answer::Unready)?
            .header(CONTENT_TYPE, content_type)
            .header(VERSION, version);
        let mut request = match form.packing {
            Packing::Snappy => request.header(CONTENT_ENCODING, "snappy"),
            Packing::Zstd => {
                request.header(CONTENT_ENCODING, "zstd").header(VICTORIA_METRICS_VERSION, "1")
            }
        }
        .body(body.clone());
        if !tenant.is_empty() {
            request = request.firm_header(TENANT, &**tenant);
        }
        if *repeat > 0 {
            request = request.header("Retry-Attempt", *repeat);
        }
        request.send().await.map_err(|fault| {
            let reason = fault.to_string();
            match fault {
                Fault::Unready(_) => Answer::Unready(reason),
                Fault::NotNow(_) => Answer::Unreachable(reason),
                Fault::Failed(e) if e.is_connect() => Answer::Unreachable(reason),
                Fault::Failed(e) if e.is_timeout() => Answer::Timeout,
                Fault::Failed(e) if e.is_builder() => Answer::Unready(reason),
                Fault::Failed(_) => Answer::Broken(reason),
            }
        })
    }

    /// Where the same request is to go instead; never to another host with our credentials on it.
    /// An error where it does not go there: that is for the operator to see to.
    fn redirect(&self, response: &Response) -> Option<Result<Url, String>> {
        let status = response.status();
        let location = response.headers().get(LOCATION).filter(|_| status.is_redirection())?;
        let next = response.url().join(location.to_str().ok()?).ok()?;
        let stays = next.host_str() == response.url().host_str()
            && (next.scheme() == response.url().scheme() || next.scheme() == "https");
        // The origin alone, as the rest may be a secret.
        let to = next.origin().ascii_serialization();
        let code = status.as_u16();
        Some(if !self.follow_redirects {
            Err(format!("HTTP status {code}: redirected to `{to}`, and `follow_redirects` is off"))
        } else if !matches!(code, 301 | 302 | 307 | 308) {
            Err(format!("HTTP status {code}: redirected to `{to}`, but not as a POST"))
        } else if self.has_credentials && !stays {
            Err(format!("HTTP status {code}: redirected to `{to}`, which gets no credentials"))
        } else {
            Ok(next)
        })
    }
}

async fn reply_of(mut response: Response) -> Reply {
    let code = response.status().as_u16();
    let headers = response.headers();
    let retry_after = text_of(headers, RETRY_AFTER.as_str()).map(str::to_owned);
    let written = Written::read(WRITTEN.map(|name| text_of(headers, name)));
    let is_victoria_metrics = headers.contains_key(VICTORIA_METRICS_SIGN);
    let forwarded = text_of(headers, FORWARDED).and_then(|count| count.parse::<u64>().ok());
    let has_forwarded = forwarded.is_some_and(|count| count > 0);
    let mut text = Vec::new();
    let mut read = 0;
    // The status stands, however the body ends.
    while let Ok(Some(chunk)) = response.chunk().await
        && read < ANSWER_BYTES_MAX
    {
        read += chunk.len();
        text.extend(chunk.iter().take(TEXT_BYTES_MAX - text.len()));
    }
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    Reply { code, retry_after, text, written, is_victoria_metrics, has_forwarded }
}

/// A header that is there and is no text says as much as one that can't be understood.
fn text_of<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}
