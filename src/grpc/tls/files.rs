//! What the files of the settings hold, made into what handshakes need.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest, Sha256};
use x509_cert::der::Decode;

use super::{ClientAuth, TlsOptions, Validity};
use crate::domain::{InvalidValue, Timestamp};

/// What clients may choose from: gRPC, and what browsers speak where they have no HTTP/2.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Whether files hold what they held: a digest of all of them.
pub(super) type Contents = [u8; 32];

/// Everything that the files hold, found to fit together.
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) contents: Contents,
    pub(super) validity: Validity,
}

/// A file, with the setting that names it.
struct File<'a> {
    setting: &'static str,
    path: &'a Path,
    text: Vec<u8>,
}

impl<'a> File<'a> {
    fn read(setting: &'static str, path: &'a Path) -> Result<Self, InvalidValue> {
        match std::fs::read(path) {
            Ok(text) => Ok(Self { setting, path, text }),
            Err(cause) => {
                let problem = format!("{} cannot be read: {cause}", path.display());
                Err(InvalidValue::new(setting, problem))
            }
        }
    }

    fn unusable(&self, problem: impl std::fmt::Display) -> InvalidValue {
        InvalidValue::new(self.setting, format!("{}: {problem}", self.path.display()))
    }

    fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, InvalidValue> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&self.text).collect();
        let found = found.map_err(|cause| self.unusable(cause))?;
        if found.is_empty() { Err(self.unusable("it holds no certificate")) } else { Ok(found) }
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, InvalidValue> {
        PrivateKeyDer::from_pem_slice(&self.text).map_err(|cause| match cause {
            rustls::pki_types::pem::Error::NoItemsFound => {
                self.unusable("it holds no private key that is not itself encrypted")
            }
            cause => self.unusable(cause),
        })
    }
}

impl TlsOptions {
    /// Reads the files and checks that certificate and key are a pair; none when TLS is off.
    /// Blocks for as long as reading takes.
    ///
    /// # Errors
    ///
    /// The setting that names the file, the file, and what is wrong with it.
    pub(super) fn load(&self) -> Result<Option<Loaded>, InvalidValue> {
        let (Some(certificate), Some(key)) = (&self.cert_file, &self.key_file) else {
            return Ok(None);
        };
        let certificate = File::read("cert_file", certificate)?;
        let key = File::read("key_file", key)?;
        let authorities = match &self.client_ca_file {
            Some(path) => Some(File::read("client_ca_file", path)?),
            None => None,
        };
        let chain = certificate.certificates()?;
        let validity = validity_of(&chain[0]).map_err(|problem| certificate.unusable(problem))?;
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions");
        let builder = match &authorities {
            None => builder.with_no_client_auth(),
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for certificate in file.certificates()? {
                    roots.add(certificate).map_err(|cause| file.unusable(cause))?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = match self.client_auth {
                    ClientAuth::Required => verifier,
                    ClientAuth::Optional => verifier.allow_unauthenticated(),
                };
                let verifier = verifier.build().map_err(|cause| file.unusable(cause))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let private = key.key()?;
        let mut config = builder.with_single_cert(chain, private).map_err(|cause| match cause {
            rustls::Error::InconsistentKeys(_) => {
                let path = certificate.path.display();
                key.unusable(format!("it is not the key to the certificate in {path}"))
            }
            cause => certificate.unusable(cause),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        if authorities.is_some() {
            // A resumed session would let in a certificate that has expired since.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        let mut digest = Sha256::new();
        for file in [Some(&certificate), Some(&key), authorities.as_ref()].into_iter().flatten() {
            digest.update(Sha256::digest(&file.text));
        }
        let contents = digest.finalize().into();
        Ok(Some(Loaded { config: Arc::new(config), contents, validity }))
    }

    /// Whether the files can be used, without using them.
    ///
    /// # Errors
    ///
    /// As [`super::Tls::load`].
    pub fn try_files(&self) -> Result<(), InvalidValue> {
        self.load().map(drop)
    }
}

fn validity_of(certificate: &CertificateDer<'_>) -> Result<Validity, x509_cert::der::Error> {
    let parsed = x509_cert::Certificate::from_der(certificate)?;
    let validity = parsed.tbs_certificate.validity;
    let moment = |time: x509_cert::time::Time| Timestamp::EPOCH.plus(time.to_unix_duration());
    Ok(Validity { not_before: moment(validity.not_before), not_after: moment(validity.not_after) })
}
