//! Certificates that tests make for themselves: an authority, what it signs, and files of both.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

/// The names that every certificate of these tests bears.
pub(crate) const NAMES: [&str; 2] = ["127.0.0.1", "proxy.example"];
/// When they expire, but for those that have.
pub(crate) const EXPIRES: &str = "2050-01-01T00:00:00Z";

/// Who signs certificates.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, as PEM.
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn certificate(&self) -> String {
        self.0.pem()
    }

    /// A certificate that is good for both sides of a connection.
    pub(crate) fn sign(&self) -> Pair {
        self.sign_until(2050)
    }

    pub(crate) fn sign_expired(&self) -> Pair {
        self.sign_until(2001)
    }

    fn sign_until(&self, year: i32) -> Pair {
        let mut params = CertificateParams::new(NAMES.map(str::to_owned)).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}

impl Pair {
    /// Into `NAME.crt` and `NAME.key`, in one step each, as who renews certificates does it.
    pub(crate) fn write(&self, folder: &Path, name: &str) {
        write(&folder.join(format!("{name}.key")), &self.key);
        write(&folder.join(format!("{name}.crt")), &self.certificate);
    }
}

/// Whole or not at all.
pub(crate) fn write(path: &PathBuf, text: &str) {
    let unfinished = path.with_extension("unfinished");
    fs::write(&unfinished, text).unwrap();
    fs::rename(&unfinished, path).unwrap();
}
