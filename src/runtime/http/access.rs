//! What a request carries to be let in: `Authorization` and the configured headers, from the settings,
//! from files that are read each time, or from who gives out tokens.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::{
    config::{Authorization, BasicAuth, HttpClient, OAuth2, Source},
    runtime::http::{Fault, oauth2::Tokens, read},
};

pub struct Access {
    settings: HttpClient,
    /// `None`: a part of them is in files, which may be rotated.
    constant: Option<HeaderMap>,
    tokens: Option<Arc<Tokens>>,
}

/// Names no secret.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Access")
    }
}

/// What one request carries.
#[derive(Clone, Debug, Default)]
pub struct Pass {
    pub headers: HeaderMap,
    /// Of the token among them.
    token: Option<u64>,
}

impl Access {
    pub fn new(settings: &HttpClient) -> Self {
        Self::with(settings, &Keyring::default())
    }

    /// With the tokens of whoever has the same settings and the same `keyring`.
    pub fn with(settings: &HttpClient, keyring: &Keyring) -> Self {
        let constant = (!reads_files(settings)).then(|| headers(settings).ok()).flatten();
        let tokens = settings.oauth2.as_deref().map(|oauth2| keyring.tokens(oauth2));
        Self { settings: settings.clone(), constant, tokens }
    }

    /// # Errors
    /// Why nothing can be shown: a file, or who gives out tokens. Never a secret.
    pub async fn pass(&self) -> Result<Pass, Fault> {
        let mut headers = match &self.constant {
            Some(headers) => headers.clone(),
            // A small local file: reading it costs less than handing it to another thread.
            None => headers(&self.settings).map_err(Fault::Unready)?,
        };
        let Some(tokens) = &self.tokens else { return Ok(Pass { headers, token: None }) };
        let lent = tokens.get().await?;
        headers.insert(AUTHORIZATION, lent.value);
        Ok(Pass { headers, token: Some(lent.number) })
    }

    /// A server has answered 401. Whether to ask it once more, with another token.
    pub fn was_refused(&self, pass: &Pass) -> bool {
        match (&self.tokens, pass.token) {
            (Some(tokens), Some(number)) => tokens.throw_away(number),
            (None, _) | (_, None) => false,
        }
    }
}

/// The tokens of all that share it, one for each distinct `oauth2`.
#[derive(Default)]
pub struct Keyring {
    tokens: Mutex<Vec<Weak<Tokens>>>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring")
    }
}

impl Keyring {
    fn tokens(&self, settings: &OAuth2) -> Arc<Tokens> {
        let mut all = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|tokens| tokens.strong_count() > 0);
        let found = all.iter().filter_map(Weak::upgrade).find(|one| one.settings() == settings);
        found.unwrap_or_else(|| {
            let tokens = Arc::new(Tokens::new(settings));
            all.push(Arc::downgrade(&tokens));
            tokens
        })
    }
}

fn reads_files(settings: &HttpClient) -> bool {
    let basic = settings.basic_auth.iter();
    let basic = basic.flat_map(|b| std::iter::once(&b.username).chain(&b.password));
    let bearer = settings.authorization.iter().filter_map(|a| a.credentials.as_ref());
    let headers = settings.headers.iter().flat_map(|(_, values)| values);
    basic.chain(bearer).chain(headers).any(|source| matches!(source, Source::File(_)))
}

/// `Authorization` and the configured extra headers, their files read now.
fn headers(settings: &HttpClient) -> Result<HeaderMap, String> {
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

pub(super) fn header_value(name: &str, text: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(text)
        .map_err(|_| format!("the value for header `{name}` has a character no header may have"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn inline(text: &str) -> Source {
        Source::Inline(Secret::new(text))
    }

    #[tokio::test]
    async fn credentials_are_read_again_from_their_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        let basic =
            BasicAuth { username: inline("me"), password: Some(Source::File(path.clone())) };
        let settings = HttpClient { basic_auth: Some(basic), ..HttpClient::default() };
        let access = Access::new(&settings);

        let missing = access.pass().await.unwrap_err().to_string();
        assert!(missing.contains("password"), "{missing}");
        for (content, expected) in [("one\n", "Basic bWU6b25l"), ("two", "Basic bWU6dHdv")] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(access.pass().await.unwrap().headers[AUTHORIZATION], expected);
        }
    }

    #[tokio::test]
    async fn no_message_repeats_a_secret() {
        let settings = HttpClient {
            headers: vec![("X-Key".to_owned(), vec![inline("hunter2\nhunter2")])],
            ..HttpClient::default()
        };
        let fault = Access::new(&settings).pass().await.unwrap_err().to_string();
        assert!(fault.contains("X-Key") && !fault.contains("hunter2"), "{fault}");
    }
}
