//! TLS to the server: whom the command line trusts, and who it says it is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::failure::Failure;
use super::line::Encryption;

/// What is needed beside `https://` in the address of the server.
#[derive(Args, Clone, Default)]
#[command(next_display_order = 1010)]
pub(crate) struct Trust {
    /// The certificates that the server's must be signed by, as PEM [default: the public ones].
    #[arg(long = "tls-ca-file", global = true, value_name = "PATH", env = CA_FILE)]
    ca_file: Option<PathBuf>,
    /// The certificate of this client, as PEM, for a server that asks for one.
    #[arg(long = "tls-cert-file", global = true, value_name = "PATH", env = CERT_FILE)]
    cert_file: Option<PathBuf>,
    /// The private key to it, as PEM.
    #[arg(long = "tls-key-file", global = true, value_name = "PATH", env = KEY_FILE)]
    key_file: Option<PathBuf>,
    /// The name that the server's certificate must bear [default: the host of the address].
    #[arg(long = "tls-server-name", global = true, value_name = "NAME", env = SERVER_NAME)]
    server_name: Option<String>,
}

const CA_FILE: &str = "STREAMGATE_TLS_CA_FILE";
const CERT_FILE: &str = "STREAMGATE_TLS_CERT_FILE";
const KEY_FILE: &str = "STREAMGATE_TLS_KEY_FILE";
const SERVER_NAME: &str = "STREAMGATE_TLS_SERVER_NAME";

impl Trust {
    /// Reads the files; `host` is that of the address.
    pub(crate) fn encryption(&self, host: &str) -> Result<Encryption, Failure> {
        let mut roots = RootCertStore::empty();
        match &self.ca_file {
            None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|cause| unusable(path, cause))?;
                }
            }
        }
        let provider = CryptoProvider::get_default().cloned();
        let provider = provider.unwrap_or_else(|| Arc::new(aws_lc_rs::default_provider()));
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the usual versions")
            .with_root_certificates(roots);
        let mut config = match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => {
                let text = read(key)?;
                let private =
                    PrivateKeyDer::from_pem_slice(&text).map_err(|cause| unusable(key, cause))?;
                let shown = certificates(certificate)?;
                let config = builder.with_client_auth_cert(shown, private);
                config.map_err(|cause| unusable(key, cause))?
            }
            (None, None) => builder.with_no_client_auth(),
            (_, _) => return Err(Failure::usage("--tls-cert-file and --tls-key-file go together")),
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = self.server_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(name.to_owned()).map_err(|_| {
            let problem = format!("{name}: no certificate can bear this name; --tls-server-name");
            Failure::Configuration { problems: vec![problem] }
        })?;
        Ok(Encryption { config: Arc::new(config), name })
    }

    /// What was said on the command line itself. For a server, which has settings of its own, such
    /// a flag is a mistake that must not look as if it had been heard.
    pub(crate) fn flag(&self) -> Option<&'static str> {
        let is_flag = |name: &str, value: Option<OsString>| {
            value.is_some() && value != std::env::var_os(name)
        };
        let text = |path: &Option<PathBuf>| path.clone().map(PathBuf::into_os_string);
        [
            ("--tls-ca-file", CA_FILE, text(&self.ca_file)),
            ("--tls-cert-file", CERT_FILE, text(&self.cert_file)),
            ("--tls-key-file", KEY_FILE, text(&self.key_file)),
            ("--tls-server-name", SERVER_NAME, self.server_name.clone().map(OsString::from)),
        ]
        .into_iter()
        .find_map(|(flag, name, value)| is_flag(name, value).then_some(flag))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    let found = found.map_err(|cause| unusable(path, cause))?;
    if found.is_empty() { Err(unusable(path, "it holds no certificate")) } else { Ok(found) }
}

fn unusable(path: &Path, problem: impl std::fmt::Display) -> Failure {
    Failure::Configuration { problems: vec![format!("{}: {problem}", path.display())] }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::local(format!("read {}", path.display()), error))
}
