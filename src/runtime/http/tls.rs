//! The client's side of TLS, from files that may be rotated while the agent runs.

use std::{
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};

use crate::{
    config::{Source, Tls, TlsVersion},
    runtime::http::read_bounded,
};

/// TLS settings and what was last built from them; built again when a file of them has changed.
pub struct TlsSource {
    settings: Tls,
    enable_http2: bool,
    built: Mutex<Built>,
}

#[derive(Default)]
struct Built {
    version: u64,
    stamps: Vec<Stamp>,
    config: Option<Arc<ClientConfig>>,
}

/// Tells a replaced or rewritten file from the one read before: inode, size, change time.
#[derive(PartialEq)]
pub(super) struct Stamp(Option<(u64, u64, i64, i64)>);

impl TlsSource {
    pub fn new(settings: &Tls, enable_http2: bool) -> Self {
        Self { settings: settings.clone(), enable_http2, built: Mutex::default() }
    }

    /// The configuration, and a number that rises whenever it was built anew.
    ///
    /// # Errors
    /// A sentence that names the file or setting; what was built before is then not used on, as
    /// a half-rotated pair of files would otherwise stay unnoticed.
    pub fn current(&self) -> Result<(u64, Arc<ClientConfig>), String> {
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps: Vec<Stamp> = self.files().map(stamp).collect();
        if let Some(config) = &built.config
            && built.stamps == stamps
        {
            return Ok((built.version, Arc::clone(config)));
        }
        built.config = None;
        let config = Arc::new(build(&self.settings, self.enable_http2)?);
        *built = Built { version: built.version + 1, stamps, config: Some(Arc::clone(&config)) };
        Ok((built.version, config))
    }

    /// The name to ask for and to verify, where it is not the host's.
    pub fn server_name(&self) -> Option<&str> {
        self.settings.server_name.as_deref()
    }

    fn files(&self) -> impl Iterator<Item = &Path> {
        let sources = [&self.settings.ca, &self.settings.cert, &self.settings.key];
        sources.into_iter().filter_map(|source| match source {
            Some(Source::File(path)) => Some(path.as_path()),
            Some(Source::Inline(_)) | None => None,
        })
    }
}

pub(super) fn stamp(path: &Path) -> Stamp {
    let meta = std::fs::metadata(path).ok();
    Stamp(meta.map(|meta| (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec())))
}

fn build(settings: &Tls, enable_http2: bool) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&versions(settings.min_version, settings.max_version)?)
        .map_err(|e| format!("TLS versions: {e}"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verification::new(settings, provider)?));
    let mut config = match (&settings.cert, &settings.key) {
        (Some(cert), Some(key)) => {
            let (chain, name) = (certificates(cert)?, describe(cert));
            builder
                .with_client_auth_cert(chain, private_key(key)?)
                .map_err(|e| format!("client certificate in {name}: {e}"))?
        }
        (None, None) => builder.with_no_client_auth(),
        (Some(_), None) | (None, Some(_)) => {
            return Err("a client certificate needs both `cert` and `key`".to_owned());
        }
    };
    let protocols: &[&[u8]] = if enable_http2 { &[b"h2", b"http/1.1"] } else { &[b"http/1.1"] };
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Ok(config)
}

pub(super) fn versions(
    min: Option<TlsVersion>,
    max: Option<TlsVersion>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let known = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
    let min = min.unwrap_or(TlsVersion::Tls12);
    let max = max.unwrap_or(TlsVersion::Tls13);
    let allowed: Vec<_> = known
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, supported)| supported)
        .collect();
    if allowed.is_empty() {
        return Err("no TLS version is left: 1.2 and 1.3 are supported".to_owned());
    }
    Ok(allowed)
}

pub(super) fn certificates(source: &Source) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = pem_bytes(source)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let chain = chain.map_err(|e| format!("{}: {e}", describe(source)))?;
    if chain.is_empty() {
        return Err(format!("{} holds no PEM certificate", describe(source)));
    }
    Ok(chain)
}

pub(super) fn private_key(source: &Source) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_slice(&pem_bytes(source)?).map_err(|e| match e {
        pem::Error::NoItemsFound => format!("{} holds no PEM private key", describe(source)),
        other => format!("{}: {other}", describe(source)),
    })
}

fn pem_bytes(source: &Source) -> Result<Vec<u8>, String> {
    match source {
        Source::Inline(text) => Ok(text.expose().as_bytes().to_vec()),
        Source::File(path) => read_bounded(path),
    }
}

pub(super) fn describe(source: &Source) -> String {
    match source {
        Source::Inline(_) => "the PEM text in the configuration".to_owned(),
        Source::File(path) => format!("`{}`", path.display()),
    }
}

/// Who is believed, and under which name.
#[derive(Debug)]
struct Verification {
    trust: Trust,
    name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
enum Trust {
    /// Those of `ca`.
    Own(OwnRoots),
    System(SystemRoots),
    /// `insecure_skip_verify`.
    Anyone,
}

impl Verification {
    fn new(settings: &Tls, provider: Arc<CryptoProvider>) -> Result<Self, String> {
        let name =
            match &settings.server_name {
                Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_| {
                    format!("`server_name` `{name}` is neither a host nor an address")
                })?),
                None => None,
            };
        let trust = match (&settings.ca, settings.insecure_skip_verify) {
            (_, true) => Trust::Anyone,
            (Some(ca), false) => Trust::Own(own_roots(ca, Arc::clone(&provider))?),
            (None, false) => Trust::System(SystemRoots::default()),
        };
        Ok(Self { trust, name, provider })
    }
}

fn own_roots(ca: &Source, provider: Arc<CryptoProvider>) -> Result<OwnRoots, String> {
    let mut roots = RootCertStore::empty();
    let listed = certificates(ca)?;
    for certificate in listed.iter().cloned() {
        roots.add(certificate).map_err(|e| format!("{}: {e}", describe(ca)))?;
    }
    let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| format!("{}: {e}", describe(ca)))?;
    Ok(OwnRoots { listed, authorities })
}

/// Read at the first handshake: they are some hundred kilobytes and milliseconds for each client, and
/// plain HTTP needs none. A system without any is told then, too.
#[derive(Debug, Default)]
struct SystemRoots(OnceLock<Result<rustls_platform_verifier::Verifier, String>>);

impl SystemRoots {
    fn of(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<&rustls_platform_verifier::Verifier, Error> {
        let read = self.0.get_or_init(|| {
            rustls_platform_verifier::Verifier::new(Arc::clone(provider)).map_err(|e| {
                format!(
                    "no certificate authorities on this system ({e}): install `ca-certificates` or \
                     set `ca_file`"
                )
            })
        });
        read.as_ref().map_err(|reason| {
            let reason: Box<dyn std::error::Error + Send + Sync> = reason.clone().into();
            CertificateError::Other(OtherError(reason.into())).into()
        })
    }
}

/// The certificates of `ca`, each as an authority and as a server's own: a self-signed one (what
/// `openssl req -x509` makes) is both, which webpki alone refuses and Prometheus takes.
#[derive(Debug)]
struct OwnRoots {
    listed: Vec<CertificateDer<'static>>,
    authorities: Arc<WebPkiServerVerifier>,
}

impl OwnRoots {
    fn verify(
        &self,
        server: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.authorities.verify_server_cert(server, intermediates, name, &[], now);
        if matches!(&verified, Err(error) if is_authority(error)) && self.listed.contains(server) {
            // Its dates were judged before its role was.
            verify_server_name(&ParsedCertificate::try_from(server)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        verified
    }
}

/// The one thing that webpki has against a self-signed server, told by its name as the type is not
/// ours to see.
pub(super) fn is_authority(error: &Error) -> bool {
    matches!(error, Error::InvalidCertificate(CertificateError::Other(OtherError(reason)))
        if format!("{reason:?}") == "CaUsedAsEndEntity")
}

impl ServerCertVerifier for Verification {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let name = self.name.as_ref().unwrap_or(server_name);
        match &self.trust {
            Trust::Own(own) => own.verify(end_entity, intermediates, name, now),
            Trust::System(system) => system.of(&self.provider)?.verify_server_cert(
                end_entity,
                intermediates,
                name,
                ocsp_response,
                now,
            ),
            Trust::Anyone => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// An agent that speaks plain HTTP never reads them.
    #[test]
    fn the_systems_authorities_are_read_at_the_first_handshake() {
        let provider = Arc::new(ring::default_provider());
        let verification = Verification::new(&Tls::default(), provider).unwrap();
        let Trust::System(system) = &verification.trust else {
            panic!("nothing else is asked for")
        };
        assert!(system.0.get().is_none());
        let nobody = CertificateDer::from(vec![0]);
        let name = ServerName::try_from("localhost").unwrap();
        let now = UnixTime::since_unix_epoch(Duration::ZERO);
        verification.verify_server_cert(&nobody, &[], &name, &[], now).unwrap_err();
        assert!(system.0.get().is_some());
    }
}
