//! Certificates for servers that speak TLS, made anew for each test.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A folder with `ca.pem`, the pairs that it signed, and `other.pem`, which signed nothing.
pub(crate) struct Certificates(TempDir);

/// The pairs, and the names that they are for.
const PAIRS: [(&str, &str); 3] = [
    ("localhost", "DNS:localhost"),
    ("everywhere", "DNS:localhost,IP:127.0.0.1"),
    ("client", "DNS:client.example"),
];

impl Certificates {
    pub(crate) fn new() -> Self {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
