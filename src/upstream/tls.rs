//! TLS towards origins: one configuration for all upstreams with the same TLS settings.
//!
//! The machine's certificates are read and parsed once, whatever number of upstreams trusts them, and
//! sessions are kept in one place: a second connection to an origin, also one through another upstream or
//! for a retry, resumes the first one's. Files are read when the first upstream that names them is made.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;

use super::settings::{ClientError, Tls};

/// The TLS configurations that upstreams share: those that are made from the same `Shared` share them.
#[derive(Debug, Default)]
pub struct Shared(Mutex<Vec<(Way, ClientConfig)>>);

/// The settings of one configuration. The name that the origin must prove is no part of them.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    /// In clear text.
    Clear,
    /// With these settings.
    Tls(Tls),
}

/// A verifier that accepts any certificate.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

/// How many sessions are kept for each configuration: rustls makes room for 8 of each server.
const SESSIONS: usize = 8 * 512;

// === impl Shared ===

impl Shared {
    /// The configuration for upstreams in clear text. It trusts no certificate, so none are needed on the
    /// machine.
    pub(super) fn clear(&self) -> Result<ClientConfig, ClientError> {
        self.get(Way::Clear)
    }

    /// The configuration for these settings. The caller sets the protocols that are offered (ALPN).
    ///
    /// # Errors
    /// A file can't be read, or isn't what it should be; the machine has no certificates.
    pub(super) fn tls(&self, tls: &Tls) -> Result<ClientConfig, ClientError> {
        self.get(Way::Tls(Tls { server_name: None, ..tls.clone() }))
    }

    fn get(&self, way: Way) -> Result<ClientConfig, ClientError> {
        // Only whole pairs are put in.
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, config)) = made.iter().find(|(made, _)| *made == way) {
            return Ok(config.clone());
        }
        let mut config = match &way {
            Way::Clear => make(&Tls::default(), Some(RootCertStore::empty()))?,
            Way::Tls(tls) => make(tls, tls.ca.as_deref().map(authorities).transpose()?)?,
        };
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        made.push((way, config.clone()));
        Ok(config)
    }
}

/// Makes a configuration that trusts these authorities; `None`: the machine's.
fn make(tls: &Tls, roots: Option<RootCertStore>) -> Result<ClientConfig, ClientError> {
    let provider =
        CryptoProvider::get_default().cloned().unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(wrong)?;
    let builder = match roots {
        _ if tls.insecure => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        }
        Some(roots) => builder.with_root_certificates(roots),
        None => {
            let machine = Verifier::new(provider).map_err(wrong)?;
            builder.dangerous().with_custom_certificate_verifier(Arc::new(machine))
        }
    };
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            let chain = certificates("tls.cert", cert)?;
            let pem = read("tls.key", key)?;
            let key = PrivateKeyDer::from_pem_slice(&pem)
                .map_err(|error| ClientError::Tls(format!("{}: {error}", key.display())))?;
            builder.with_client_auth_cert(chain, key).map_err(wrong)
        }
        (None, None) => Ok(builder.with_no_client_auth()),
        _ => Err(ClientError::Tls("cert and key go together".to_owned())),
    }
}

fn authorities(path: &Path) -> Result<RootCertStore, ClientError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("tls.ca", path)? {
        roots.add(certificate).map_err(|error| ClientError::Tls(format!("{}: {error}", path.display())))?;
    }
    Ok(roots)
}

/// The certificates of a file; it holds at least one.
fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let pem = read(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    let found = found.map_err(|error| ClientError::Tls(format!("{}: {error}", path.display())))?;
    if found.is_empty() {
        return Err(ClientError::Tls(format!("{} holds no certificate", path.display())));
    }
    Ok(found)
}

fn read(what: &'static str, path: &Path) -> Result<Vec<u8>, ClientError> {
    fs::read(path).map_err(|source| ClientError::File { what, path: path.to_owned(), source })
}

#[expect(clippy::needless_pass_by_value, reason = "what map_err hands over")]
fn wrong(error: rustls::Error) -> ClientError {
    ClientError::Tls(error.to_string())
}

// === impl Anybody ===

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme as Scheme;
        // Also obsolete ones: nothing is verified.
        let old = [Scheme::RSA_PKCS1_SHA1, Scheme::ECDSA_SHA1_Legacy];
        self.0.signature_verification_algorithms.supported_schemes().into_iter().chain(old).collect()
    }
}
