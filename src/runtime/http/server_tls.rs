//! The server's side of TLS: its certificate, and whose certificates it takes, from files that may be
//! rotated while the agent runs.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig,
    SignatureScheme, SupportedCipherSuite, SupportedProtocolVersion,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    server::{
        ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tracing::{error, info};
use webpki::EndEntityCert;

use crate::{
    config::{ClientAuth, Curve, Source, WebTls},
    runtime::http::tls::{self, Stamp},
};

/// What a server shows and takes; clones share it.
#[derive(Clone)]
pub struct ServerTls {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<CryptoProvider>,
    state: Mutex<State>,
}

struct State {
    settings: WebTls,
    stamps: Vec<Stamp>,
    made: Arc<Made>,
}

/// What the files held when they were last found whole.
struct Made {
    own: Arc<CertifiedKey>,
    /// `None`: certificates of clients are not verified.
    clients: Option<Clients>,
    allowed_sans: Vec<String>,
}

struct Clients {
    /// The certificates of `client_ca`, each as an authority and as a client's own.
    listed: Vec<CertificateDer<'static>>,
    authorities: Arc<dyn ClientCertVerifier>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl ServerTls {
    /// # Errors
    /// Which file or setting makes no server.
    pub fn new(settings: &WebTls) -> Result<Self, String> {
        let provider = Arc::new(provider(settings)?);
        let stamps = stamps(settings);
        let made = Arc::new(make(settings, &provider)?);
        let state = Mutex::new(State { settings: settings.clone(), stamps, made });
        Ok(Self { shared: Arc::new(Shared { provider, state }) })
    }

    /// # Errors
    /// What `new` would say of `settings`.
    pub fn check(settings: &WebTls) -> Result<(), String> {
        Self::new(settings)?.config().map(drop)
    }

    /// Goes on with the files that `settings` name. Versions, cipher suites, curves and what is asked
    /// of clients stay as they were when it was made.
    pub fn follow(&self, settings: &WebTls) {
        let mut state = self.state();
        if state.settings != *settings {
            state.settings = settings.clone();
            state.stamps.clear();
        }
    }

    /// # Errors
    /// Versions and cipher suites that leave nothing to speak.
    pub fn config(&self) -> Result<ServerConfig, String> {
        let settings = self.state().settings.clone();
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.shared.provider))
            .with_protocol_versions(&versions(&settings)?)
            .map_err(|e| format!("TLS versions and cipher suites: {e}"))?;
        let builder = match settings.client_auth {
            ClientAuth::None => builder.with_no_client_auth(),
            asked @ (ClientAuth::Request
            | ClientAuth::RequireAny
            | ClientAuth::VerifyIfGiven
            | ClientAuth::RequireAndVerify) => {
                builder.with_client_cert_verifier(Arc::new(Verifier { asked, tls: self.clone() }))
            }
        };
        let mut config = builder.with_cert_resolver(Arc::new(Resolver { tls: self.clone() }));
        config.ignore_client_order = settings.prefer_server_cipher_suites;
        // A resumed session would go on with what was verified before the files changed.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config)
    }

    /// What is in force for one handshake; read anew when a file has changed. Where that fails, what
    /// was good goes on: a half-rotated pair of files must not shut everyone out.
    fn current(&self) -> Arc<Made> {
        let mut state = self.state();
        let stamps = stamps(&state.settings);
        if state.stamps != stamps {
            let certificate = tls::describe(&state.settings.cert);
            match make(&state.settings, &self.shared.provider) {
                Ok(made) => {
                    info!(certificate, "the certificates of a server were read again");
                    state.made = Arc::new(made);
                }
                Err(reason) => {
                    error!(
                        certificate,
                        error = reason,
                        "the certificates of a server stay as they were"
                    );
                }
            }
            state.stamps = stamps;
        }
        Arc::clone(&state.made)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn stamps(settings: &WebTls) -> Vec<Stamp> {
    let sources = [Some(&settings.cert), Some(&settings.key), settings.client_ca.as_ref()];
    let files = sources.into_iter().flatten().filter_map(Source::file);
    files.map(|path| tls::stamp(path)).collect()
}

fn make(settings: &WebTls, provider: &Arc<CryptoProvider>) -> Result<Made, String> {
    let (chain, name) = (tls::certificates(&settings.cert)?, tls::describe(&settings.cert));
    let key = tls::private_key(&settings.key)?;
    let own = CertifiedKey::from_der(chain, key, provider)
        .map_err(|e| format!("the server's certificate in {name}: {e}"))?;
    let clients = match &settings.client_ca {
        Some(ca) => Some(clients(ca, provider)?),
        None => None,
    };
    let allowed_sans = settings.client_allowed_sans.clone();
    Ok(Made { own: Arc::new(own), clients, allowed_sans })
}

fn clients(ca: &Source, provider: &Arc<CryptoProvider>) -> Result<Clients, String> {
    let fault = |e: &dyn fmt::Display| format!("{}: {e}", tls::describe(ca));
    let listed = tls::certificates(ca)?;
    let mut roots = RootCertStore::empty();
    for certificate in listed.iter().cloned() {
        roots.add(certificate).map_err(|e| fault(&e))?;
    }
    let authorities =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|e| fault(&e))?;
    Ok(Clients { listed, authorities })
}

fn provider(settings: &WebTls) -> Result<CryptoProvider, String> {
    let mut provider = ring::default_provider();
    if !settings.cipher_suites.is_empty() {
        let of = |name: &String| {
            let found = ring::ALL_CIPHER_SUITES.iter().find(|suite| {
                suite.tls13().is_none() && suite.suite().as_str() == Some(name.as_str())
            });
            found.copied().ok_or_else(|| format!("`cipher_suites`: `{name}` is not spoken"))
        };
        let named: Result<Vec<SupportedCipherSuite>, String> =
            settings.cipher_suites.iter().map(of).collect();
        // Those of TLS 1.3 are not for choice, as in Go.
        provider.cipher_suites.retain(|suite| suite.tls13().is_some());
        provider.cipher_suites.extend(named?);
    }
    if !settings.curves.is_empty() {
        let groups = settings.curves.iter().map(|curve| match curve {
            Curve::X25519 => ring::kx_group::X25519,
            Curve::P256 => ring::kx_group::SECP256R1,
            Curve::P384 => ring::kx_group::SECP384R1,
        });
        provider.kx_groups = groups.collect();
    }
    Ok(provider)
}

fn versions(settings: &WebTls) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    tls::versions(settings.min_version, settings.max_version)
}

#[derive(Debug)]
struct Resolver {
    tls: ServerTls,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.tls.current().own))
    }
}

/// Verifies by what is in force when a client comes.
#[derive(Debug)]
struct Verifier {
    asked: ClientAuth,
    tls: ServerTls,
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        match self.asked {
            ClientAuth::RequireAny | ClientAuth::RequireAndVerify => true,
            ClientAuth::None | ClientAuth::Request | ClientAuth::VerifyIfGiven => false,
        }
    }

    /// None: they would be those of the start, and the authorities may change.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        client: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let made = self.tls.current();
        match self.asked {
            ClientAuth::None | ClientAuth::Request | ClientAuth::RequireAny => {
                ParsedCertificate::try_from(client).map(|_| ClientCertVerified::assertion())
            }
            ClientAuth::VerifyIfGiven | ClientAuth::RequireAndVerify => {
                let unknown = Error::InvalidCertificate(CertificateError::UnknownIssuer);
                let clients = made.clients.as_ref().ok_or(unknown)?;
                clients.verify(client, intermediates, now)?;
                if !is_allowed(client, &made.allowed_sans) {
                    return Err(CertificateError::ApplicationVerificationFailure.into());
                }
                Ok(ClientCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.tls.shared.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.tls.shared.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.tls.shared.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl Clients {
    fn verify(
        &self,
        client: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        match self.authorities.verify_client_cert(client, intermediates, now) {
            // A self-signed one that is listed itself; its dates were judged before its role was.
            Err(error) if tls::is_authority(&error) && self.listed.contains(client) => Ok(()),
            outcome => outcome.map(drop),
        }
    }
}

fn is_allowed(client: &CertificateDer<'_>, allowed: &[String]) -> bool {
    if allowed.is_empty() {
        return true;
    }
    let Ok(certificate) = EndEntityCert::try_from(client) else { return false };
    let is_named = |name: &str| allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(name));
    let has_address = |text: &String| {
        text.parse::<IpAddr>().is_ok_and(|address| {
            let name = ServerName::IpAddress(address.into());
            certificate.verify_is_valid_for_subject_name(&name).is_ok()
        })
    };
    certificate.valid_dns_names().any(is_named)
        || certificate.valid_uri_names().any(|uri| allowed.iter().any(|allowed| allowed == uri))
        || allowed.iter().any(has_address)
}
