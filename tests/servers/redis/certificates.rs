//! Certificates for servers of Redis, made anew for each test.

use std::path::{Path, PathBuf};
use std::process::Command;

use streamgate::coordination::RedisOptions;
use tempfile::TempDir;

/// A folder with `ca.pem`, the pairs that it signed, and `other.pem`, which signed nothing.
pub(super) struct Certificates(TempDir);

/// The pairs, and the names that they are for.
const PAIRS: [(&str, &str); 3] = [
    ("localhost", "DNS:localhost"),
    ("everywhere", "DNS:localhost,IP:127.0.0.1"),
    ("client", "DNS:client.example"),
];

impl Certificates {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = folder.path();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        for authority in ["ca", "other"] {
            openssl(
                made,
                &format!(
                    "req -x509 {key} -keyout {authority}.key -out {authority}.pem -subj \
                     /CN={authority} -days 2 -addext basicConstraints=critical,CA:TRUE"
                ),
            );
        }
        for (pair, names) in PAIRS {
            std::fs::write(made.join("names"), format!("subjectAltName={names}\n")).unwrap();
            openssl(
                made,
                &format!("req {key} -keyout {pair}.key -out {pair}.csr -subj /CN={pair}"),
            );
            let sign = format!(
                "x509 -req -in {pair}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out {pair}.pem"
            );
            openssl(made, &sign);
        }
        Self(folder)
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// What a server or a sentinel is told of its pair, as settings and their values. Both speak
    /// TLS with each other as well.
    pub(super) fn of_server(&self, pair: &str) -> [(&'static str, String); 4] {
        [
            ("tls-cert-file", self.text(&format!("{pair}.pem"))),
            ("tls-key-file", self.text(&format!("{pair}.key"))),
            ("tls-ca-cert-file", self.text("ca.pem")),
            ("tls-replication", "yes".into()),
        ]
    }

    /// What `redis-cli` is told.
    pub(super) fn of_cli(&self) -> [String; 7] {
        let [ca, certificate, key] = ["ca.pem", "client.pem", "client.key"].map(|n| self.text(n));
        let [tls, cacert, cert, of_key] =
            ["--tls", "--cacert", "--cert", "--key"].map(String::from);
        [tls, cacert, ca, cert, certificate, of_key, key]
    }

    /// The options of somebody who trusts these, and is known.
    pub(super) fn of_client(&self, options: RedisOptions) -> RedisOptions {
        RedisOptions {
            tls_ca_file: Some(self.path("ca.pem")),
            tls_cert_file: Some(self.path("client.pem")),
            tls_key_file: Some(self.path("client.key")),
            ..options
        }
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
