//! What Redis is told of certificates.

use streamgate::coordination::RedisOptions;

use crate::certificates::Certificates;

impl Certificates {
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
