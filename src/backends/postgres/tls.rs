//! TLS to the server: always verified, against the public certificates and those of the settings.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{Cause, OpenError};
use super::options::PostgresOptions;

pub(super) fn connector(options: &PostgresOptions) -> Result<MakeRustlsConnect, OpenError> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(file) = &options.tls_ca_file {
        for certificate in certificates(file)? {
            roots.add(certificate).map_err(|cause| unusable(file, cause))?;
        }
    }
    let provider = CryptoProvider::get_default().cloned();
    let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has the usual versions")
        .with_root_certificates(roots);
    let config = match (&options.tls_cert_file, &options.tls_key_file) {
        (Some(certificate), Some(key)) => {
            let shown = certificates(certificate)?;
            let private =
                PrivateKeyDer::from_pem_file(key).map_err(|cause| unusable(key, cause))?;
            let config = builder.with_client_auth_cert(shown, private);
            config.map_err(|cause| unusable(certificate, cause))?
        }
        (_, _) => builder.with_no_client_auth(),
    };
    Ok(MakeRustlsConnect::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, OpenError> {
    let read = CertificateDer::pem_file_iter(file).map_err(|cause| unusable(file, cause))?;
    let found: Result<Vec<_>, _> = read.collect();
    let found = found.map_err(|cause| unusable(file, cause))?;
    if found.is_empty() { Err(unusable(file, "it holds no certificate")) } else { Ok(found) }
}

fn unusable(file: &Path, cause: impl Into<Cause>) -> OpenError {
    OpenError::Certificate { file: file.to_path_buf(), cause: cause.into() }
}
