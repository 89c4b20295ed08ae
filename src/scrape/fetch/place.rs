//! Where a target is: its URL, taken apart once and not for each scrape, and the lines that ask for it. Pure.

use std::{fmt::Write as _, sync::Arc, time::Duration};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT, ACCEPT_ENCODING, HOST, PROXY_AUTHORIZATION, USER_AGENT},
};
use url::{Host, Position, Url};

use crate::{model::hidden, runtime::http::USER_AGENT as OURS, scrape::failure::Failure};

const TIMEOUT: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// What a connection belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) tls: bool,
    pub(super) host: Host<String>,
    pub(super) port: u16,
    /// Its scheme, host and port, by which the way is found.
    pub(super) url: Url,
}

impl Origin {
    pub(super) fn of(url: &Url) -> Result<Self, Failure> {
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return Err(Failure::Http(format!("unsupported protocol scheme `{other}`"))),
        };
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(Failure::Http("no host in request URL".to_owned()));
        };
        let mut origin = url.clone();
        // What else stands in it is no concern of the way. Neither of the two can fail with a host.
        origin.set_path("");
        origin.set_query(None);
        origin.set_fragment(None);
        let _ = origin.set_username("").and_then(|()| origin.set_password(None));
        Ok(Self { tls, host: host.to_owned(), port, url: origin })
    }

    /// Whether what is secret between us and `self` may be told to `other`: the same host, and not
    /// in the clear after TLS.
    pub(super) fn trusts(&self, other: &Self) -> bool {
        self.host == other.host && (other.tls || !self.tls)
    }

    fn shown_host(&self) -> &str {
        &self.url[Position::BeforeHost..Position::AfterPort]
    }
}

/// A URL, ready to be asked for.
pub(super) struct Place {
    text: Box<str>,
    pub(super) origin: Arc<Origin>,
    /// With the query.
    path: Box<str>,
}

impl Place {
    pub(super) fn parse(text: &str) -> Result<Self, Failure> {
        let url = Url::parse(text)
            .map_err(|e| Failure::Settings(format!("`{}` is no URL: {e}", hidden::url(text))))?;
        Self::of(&url, text)
    }

    /// Where a redirection leads from here.
    pub(super) fn join(&self, location: &str) -> Result<Self, Failure> {
        let here = Url::parse(&self.text).expect("it was parsed before");
        let next = here
            .join(location)
            .map_err(|e| Failure::Http(format!("failed to parse Location header: {e}")))?;
        Self::of(&next, next.as_str())
    }

    pub(super) fn is_of(&self, text: &str) -> bool {
        *self.text == *text
    }

    fn of(url: &Url, text: &str) -> Result<Self, Failure> {
        Ok(Self {
            text: text.into(),
            origin: Arc::new(Origin::of(url)?),
            path: url[Position::BeforePath..Position::AfterQuery].into(),
        })
    }
}

/// What one scrape asks.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    pub(super) place: &'a Place,
    pub(super) accept: &'a HeaderValue,
    pub(super) compressed: bool,
    /// How long it waits, as the target is told.
    pub(super) announced: Duration,
    /// They win over what is said anyway.
    pub(super) secrets: &'a HeaderMap,
}

/// How the line of a request of HTTP/1.1 is written.
pub(super) enum Form {
    Origin,
    /// To a proxy that passes on plain HTTP, with what it is to be shown.
    Absolute(Option<HeaderValue>),
}

impl Question<'_> {
    /// As the bytes of HTTP/1.1.
    pub(super) fn lines(&self, form: &Form) -> Vec<u8> {
        let Place { origin, path, .. } = self.place;
        let mut lines = Vec::with_capacity(512);
        lines.extend_from_slice(b"GET ");
        if let Form::Absolute(_) = form {
            // Not the user that the URL may have: that is in a header.
            let scheme: &[u8] = if origin.tls { b"https://" } else { b"http://" };
            lines.extend_from_slice(scheme);
            lines.extend_from_slice(origin.shown_host().as_bytes());
        }
        lines.extend_from_slice(path.as_bytes());
        lines.extend_from_slice(b" HTTP/1.1\r\n");
        let shown = if let Form::Absolute(shown) = form { shown.as_ref() } else { None };
        self.each_header(|name, value| {
            if name != PROXY_AUTHORIZATION || shown.is_none() {
                add_line(&mut lines, name, value);
            }
        });
        if let Some(shown) = shown {
            add_line(&mut lines, &PROXY_AUTHORIZATION, shown.as_bytes());
        }
        lines.extend_from_slice(b"\r\n");
        lines
    }

    /// As a request of HTTP/2.
    pub(super) fn request<B: Default>(&self) -> Result<http::Request<B>, Failure> {
        let Place { origin, path, .. } = self.place;
        let scheme = if origin.tls { "https" } else { "http" };
        let invalid = |e: &dyn std::fmt::Display| Failure::Http(format!("invalid request: {e}"));
        let mut request = http::Request::get(format!("{scheme}://{}{path}", origin.shown_host()))
            .body(B::default())
            .map_err(|e| invalid(&e))?;
        let mut outcome = Ok(());
        self.each_header(|name, value| {
            // The host is in the URL.
            if name == HOST {
                return;
            }
            match HeaderValue::from_bytes(value) {
                Ok(value) => drop(request.headers_mut().append(name, value)),
                Err(e) => outcome = Err(invalid(&e)),
            }
        });
        outcome.map(|()| request)
    }

    fn each_header(&self, mut add: impl FnMut(&HeaderName, &[u8])) {
        let mut own = |name: &HeaderName, value: &[u8]| {
            if self.secrets.is_empty() || !self.secrets.contains_key(name) {
                add(name, value);
            }
        };
        own(&HOST, self.place.origin.shown_host().as_bytes());
        own(&USER_AGENT, OURS.as_bytes());
        own(&ACCEPT, self.accept.as_bytes());
        own(&ACCEPT_ENCODING, if self.compressed { b"gzip" } else { b"identity" });
        let mut seconds = String::new();
        let _ = write!(seconds, "{}", self.announced.as_secs_f64());
        own(&TIMEOUT, seconds.as_bytes());
        for (name, value) in self.secrets {
            add(name, value.as_bytes());
        }
    }
}

/// Exporters on small devices are known to look for headers as the RFCs print them.
fn add_line(lines: &mut Vec<u8>, name: &HeaderName, value: &[u8]) {
    let start = lines.len();
    lines.extend_from_slice(name.as_str().as_bytes());
    let mut is_first = true;
    for byte in &mut lines[start..] {
        if is_first {
            byte.make_ascii_uppercase();
        }
        is_first = *byte == b'-';
    }
    lines.extend_from_slice(b": ");
    lines.extend_from_slice(value);
    lines.extend_from_slice(b"\r\n");
}
