//! Requests signed as AWS asks for it (Signature Version 4), with keys from wherever its own tools
//! would take them.

mod chain;
mod instance;
mod profile;
mod sts;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use http::{HeaderName, HeaderValue};

use crate::{
    config::SigV4,
    runtime::{
        clock,
        http::{
            Fault,
            aws::chain::Chain,
            renewed::{Renewed, Trouble},
        },
    },
};

/// What AWS' own tools take their settings from.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// Of this process.
    pub fn own() -> Self {
        let is_ours = |name: &str| name.starts_with("AWS_") || name == "HOME";
        Self(std::env::vars().filter(|(name, _)| is_ours(name)).collect())
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl<'e> FromIterator<(&'e str, &'e str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'e str, &'e str)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
    }
}

/// Access key, secret and session, and the region that requests are for.
#[derive(Clone, Debug)]
pub struct Keys {
    credentials: Credentials,
    region: String,
}

/// Signs with one set of settings; keys that have an end are asked for anew before it.
pub struct Signer {
    chain: Arc<Chain>,
    renewed: Arc<Renewed<Keys>>,
}

impl Signer {
    pub fn new(settings: &SigV4) -> Self {
        Self::with(settings, Environment::own())
    }

    pub fn with(settings: &SigV4, environment: Environment) -> Self {
        let chain = Chain::new(settings.clone(), environment);
        Self { chain: Arc::new(chain), renewed: Renewed::new() }
    }

    /// Where requests go: as configured, else of the environment, the profile or the instance.
    ///
    /// # Errors
    /// Why there are no keys, and so no region either.
    pub async fn region(&self) -> Result<String, Fault> {
        self.keys().await.map(|(keys, _)| keys.region)
    }

    /// To be called last: what it signs must not change any more. Gives the number of the keys.
    ///
    /// # Errors
    /// Why there are no keys; never anything of them.
    pub async fn sign(&self, request: &mut reqwest::Request) -> Result<u64, Fault> {
        let (keys, number) = self.keys().await?;
        let service = &self.chain.settings.service;
        let signed = signed(request, &keys, service, clock::now_ms()).map_err(Fault::Unready)?;
        for (name, value) in signed {
            request.headers_mut().insert(name, value);
        }
        Ok(number)
    }

    /// Whether to sign once more, with other keys.
    pub fn were_refused(&self, number: u64) -> bool {
        self.renewed.throw_away(number)
    }

    async fn keys(&self) -> Result<(Keys, u64), Fault> {
        let ask = || {
            let chain = Arc::clone(&self.chain);
            async move { chain.keys().await }
        };
        let lent = self.renewed.get(ask).await.map_err(|trouble| match trouble {
            Trouble::Lasting(reason) => {
                Fault::Unready(format!("could not get SigV4 credentials: {reason}"))
            }
            Trouble::Passing(reason) => {
                Fault::NotNow(format!("could not get SigV4 credentials: {reason}"))
            }
        })?;
        Ok((lent.value, lent.number))
    }
}

type Added = Vec<(HeaderName, HeaderValue)>;

/// The headers to add.
fn signed(
    request: &reqwest::Request,
    keys: &Keys,
    service: &str,
    now_ms: i64,
) -> Result<Added, String> {
    let failed = |e: &dyn std::fmt::Display| format!("the request can't be signed: {e}");
    let headers = request
        .headers()
        .iter()
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let body = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
    let mut url = request.url().clone();
    // Of no concern to the server.
    url.set_fragment(None);
    let signable = SignableRequest::new(
        request.method().as_str(),
        url.as_str(),
        headers,
        SignableBody::Bytes(body),
    );
    let signable = signable.map_err(|e| failed(&e))?;
    let identity = keys.credentials.clone().into();
    let since_epoch = Duration::from_millis(u64::try_from(now_ms).unwrap_or_default());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(&keys.region)
        .name(service)
        .time(UNIX_EPOCH + since_epoch)
        .settings(SigningSettings::default())
        .build()
        .map_err(|e| failed(&e))?;
    let params = params.into();
    let (instructions, _) = sign(signable, &params).map_err(|e| failed(&e))?.into_parts();
    let added = instructions.headers().map(|(name, value)| {
        let name = HeaderName::try_from(name).map_err(|e| failed(&e))?;
        let mut value = HeaderValue::try_from(value).map_err(|e| failed(&e))?;
        value.set_sensitive(true);
        Ok((name, value))
    });
    added.collect()
}
