//! How every request of the agent is set up: way, TLS, credentials, headers, redirects. Scrapes take the
//! parts (`Access`, `Route`, `TlsSource`), all others a `Caller`.

mod access;
pub mod aws;
mod caller;
mod certificate;
#[cfg(test)]
pub(crate) mod fake;
pub mod jwt;
mod line;
mod oauth2;
mod proxy;
mod renewed;
mod rotation;
mod server_tls;
#[cfg(test)]
mod tests;
mod tls;

use std::{fmt, path::Path};

use crate::config::Source;
pub use crate::runtime::http::{
    access::{Access, Keyring, Pass},
    caller::{Call, Caller},
    certificate::CertificateNames,
    proxy::{Route, Via},
    server_tls::ServerTls,
    tls::TlsSource,
};

/// A larger credentials file is taken for a mistake (`/dev/zero`, a log) and refused.
const CREDENTIAL_BYTES_MAX: u64 = 1 << 20;

/// What all requests say of who asks.
pub const USER_AGENT: &str = concat!("starling/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer. None of it shows a URL or a secret.
#[derive(Debug)]
pub enum Fault {
    /// Nothing was sent, and soon again would be no better: a file, a certificate, a proxy that is none,
    /// or who gives out credentials refuses to.
    Unready(String),
    /// Nothing was sent, as who gives out credentials can't be asked now.
    NotNow(String),
    Failed(reqwest::Error),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unready(reason) | Self::NotNow(reason) => f.write_str(reason),
            Self::Failed(error) => f.write_str(&chain(error)),
        }
    }
}

/// The error with what caused it, without the URL: that may hold a password.
pub fn reason_of(error: reqwest::Error) -> String {
    chain(&error.without_url())
}

fn chain(error: &reqwest::Error) -> String {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        reason.push_str(": ");
        reason.push_str(&error.to_string());
        cause = error.source();
    }
    reason
}

/// The text of `source`; of a file, without blanks around it, as Prometheus reads one.
///
/// # Errors
/// A sentence that names the file; never its content.
pub fn read(source: &Source) -> Result<String, String> {
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
