//! How every request of the agent is set up: TLS, credentials, headers, redirects. Scrapes take the
//! parts (`headers`, `TlsSource`), all others a `Caller`.

mod server_tls;
mod tls;

use std::{
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use reqwest::{Client, Method, RequestBuilder, redirect::Policy};

use crate::config::{Authorization, BasicAuth, HttpClient, Source};
pub use crate::runtime::http::{
    server_tls::{ServerTls, dns_names},
    tls::TlsSource,
};

/// A connection that is not up by then is given up, whatever the request's own timeout.
const CONNECT_SECONDS_MAX: u64 = 10;
const REDIRECTS_MAX: usize = 10;
/// A larger credentials file is taken for a mistake (`/dev/zero`, a log) and refused.
const CREDENTIAL_BYTES_MAX: u64 = 1 << 20;

/// What all requests say of who asks.
pub const USER_AGENT: &str = concat!("starling/", env!("CARGO_PKG_VERSION"));

/// Makes requests with one set of settings, and notices rotated certificates.
pub struct Caller {
    settings: HttpClient,
    tls: TlsSource,
    /// The client, and the version of the TLS files that it was built from.
    built: Mutex<Option<(u64, Client)>>,
}

impl Caller {
    pub fn new(settings: &HttpClient) -> Self {
        let tls = TlsSource::new(&settings.tls, settings.enable_http2);
        Self { settings: settings.clone(), tls, built: Mutex::new(None) }
    }

    /// A request with credentials and headers on it, both read again if they come from files.
    ///
    /// # Errors
    /// A sentence that names the file that can't be read or understood; never its content.
    pub fn request(&self, method: Method, url: &str) -> Result<RequestBuilder, String> {
        Ok(self.client()?.request(method, url).headers(headers(&self.settings)?))
    }

    fn client(&self) -> Result<Client, String> {
        let (version, tls) = self.tls.current()?;
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((built_from, client)) = &*built
            && *built_from == version
        {
            return Ok(client.clone());
        }
        let follow = self.settings.follow_redirects;
        let redirects = if follow { Policy::limited(REDIRECTS_MAX) } else { Policy::none() };
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(redirects)
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .tls_backend_preconfigured((*tls).clone());
        if !self.settings.enable_http2 {
            builder = builder.http1_only();
        }
        let client = builder.build().map_err(|e| format!("no HTTP client: {e}"))?;
        *built = Some((version, client.clone()));
        Ok(client)
    }
}

/// `Authorization` and the configured extra headers, their files read now.
///
/// # Errors
/// A sentence that names the header or the file; never a value.
pub fn headers(settings: &HttpClient) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, values) in &settings.headers {
        let header = HeaderName::try_from(name.as_str())
            .map_err(|_| format!("`{name}` is not a header name"))?;
        for value in values {
            headers.append(header.clone(), header_value(name, &read(value)?)?);
        }
    }
    let credentials = match (&settings.basic_auth, &settings.authorization) {
        (Some(basic), _) => Some(basic_credentials(basic)?),
        (None, Some(authorization)) => scheme_credentials(authorization)?,
        (None, None) => None,
    };
    if let Some(text) = credentials {
        headers.insert(AUTHORIZATION, header_value("Authorization", &text)?);
    }
    Ok(headers)
}

fn basic_credentials(basic: &BasicAuth) -> Result<String, String> {
    let username = read(&basic.username)?;
    let password = basic.password.as_ref().map(read).transpose()?.unwrap_or_default();
    Ok(format!("Basic {}", BASE64_STANDARD.encode(format!("{username}:{password}"))))
}

fn scheme_credentials(authorization: &Authorization) -> Result<Option<String>, String> {
    let Some(credentials) = &authorization.credentials else { return Ok(None) };
    Ok(Some(format!("{} {}", authorization.scheme, read(credentials)?)))
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("the value for header `{name}` has a character no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The text of `source`; of a file, without blanks around it, as Prometheus reads one.
fn read(source: &Source) -> Result<String, String> {
    match source {
        Source::Inline(secret) => Ok(secret.expose().to_owned()),
        Source::File(path) => {
            let bytes = read_bounded(path)?;
            let text = String::from_utf8(bytes)
                .map_err(|_| format!("`{}` is not UTF-8 text", path.display()))?;
            Ok(text.trim().to_owned())
        }
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let at = path.display();
    let file = std::fs::File::open(path).map_err(|e| format!("can't read `{at}`: {e}"))?;
    let mut bytes = Vec::new();
    file.take(CREDENTIAL_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("can't read `{at}`: {e}"))?;
    if bytes.len() as u64 > CREDENTIAL_BYTES_MAX {
        return Err(format!("`{at}` is larger than {CREDENTIAL_BYTES_MAX} bytes"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn inline(text: &str) -> Source {
        Source::Inline(Secret::new(text))
    }

    #[test]
    fn credentials_are_read_again_from_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let basic =
            BasicAuth { username: inline("me"), password: Some(Source::File(path.clone())) };
        let settings = HttpClient { basic_auth: Some(basic), ..HttpClient::default() };

        let missing = headers(&settings).unwrap_err();
        assert!(missing.contains("password"), "{missing}");
        for (content, expected) in [("one\n", "Basic bWU6b25l"), ("two", "Basic bWU6dHdv")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(headers(&settings).unwrap()[AUTHORIZATION], expected);
        }
    }

    #[test]
    fn no_message_repeats_a_secret() {
        let settings = HttpClient {
            headers: vec![("X-Key".to_owned(), vec![inline("hunter2\nhunter2")])],
            ..HttpClient::default()
        };
        let fault = headers(&settings).unwrap_err();
        assert!(fault.contains("X-Key") && !fault.contains("hunter2"), "{fault}");
    }
}
