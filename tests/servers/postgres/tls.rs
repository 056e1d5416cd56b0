//! TLS: verified against what the settings trust, or not spoken at all.

use std::path::{Path, PathBuf};
use std::process::Command;

use streamgate::backends::postgres::{OpenError, PostgresOptions};
use streamgate::runtime::Secret;
use streamgate::testing::builders::events;
use tempfile::TempDir;

use super::kit::{append, hand, open, read_all, stream, url};
use crate::own_server::OwnServer;

/// A server with a certificate for `localhost`, an authority that signed it and a client's.
struct Guarded {
    server: OwnServer,
    folder: TempDir,
}

fn openssl(folder: &Path, arguments: &str) {
    let mut command = Command::new("openssl");
    let output = command.current_dir(folder).args(arguments.split(' ')).output();
    let output = output.expect("openssl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn data_folder(server: &OwnServer) -> PathBuf {
    let row = hand(&server.place).await.query_one("SHOW data_directory", &[]).await.unwrap();
    PathBuf::from(row.get::<_, &str>(0))
}

impl Guarded {
    async fn start() -> Self {
        let (server, folder) = (OwnServer::postgres(), tempfile::tempdir().unwrap());
        let made = folder.path();
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        openssl(
            made,
            &format!(
                "req -x509 {key} -keyout ca.key -out ca.pem -subj /CN=authority -days 2 \
                 -addext basicConstraints=critical,CA:TRUE"
            ),
        );
        std::fs::write(made.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
        for name in ["server", "client"] {
            openssl(
                made,
                &format!("req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}"),
            );
            let sign = format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                 -extfile names -out {name}.pem"
            );
            openssl(made, &sign);
        }
        let data = data_folder(&server).await;
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data).unwrap());
        for name in ["server.pem", "server.key", "ca.pem"] {
            let (from, to) = (made.join(name), data.join(name));
            std::fs::copy(from, &to).unwrap();
            let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&to, secret).unwrap();
            std::os::unix::fs::chown(&to, Some(owner), None).unwrap();
        }
        let by_hand = hand(&server.place).await;
        for setting in [
            "ssl_cert_file = 'server.pem'",
            "ssl_key_file = 'server.key'",
            "ssl_ca_file = 'ca.pem'",
            "ssl = on",
        ] {
            by_hand.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
        }
        server.restart();
        Self { server, folder }
    }

    fn options(&self, host: &str) -> PostgresOptions {
        let url = self.server.place.replace("127.0.0.1", host) + "?sslmode=require";
        PostgresOptions::at(url)
    }

    fn trusting(&self, host: &str) -> PostgresOptions {
        let tls_ca_file = Some(self.folder.path().join("ca.pem"));
        PostgresOptions { tls_ca_file, ..self.options(host) }
    }
}

fn reasons(error: &OpenError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_spoken_to_only_when_its_certificate_is_trusted_and_its_own() {
    let guarded = Guarded::start().await;
    let client = PostgresOptions {
        tls_cert_file: Some(guarded.folder.path().join("client.pem")),
        tls_key_file: Some(guarded.folder.path().join("client.key")),
        ..guarded.trusting("localhost")
    };
    for (options, shown) in [(guarded.trusting("localhost"), None), (client, Some("/CN=client"))] {
        let store = open(&options).await.unwrap();
        let object = if shown.is_some() { "shown" } else { "hidden" };
        let orders = stream(&store, object).await;
        append(&store, &orders, events(0..3)).await.unwrap();
        assert_eq!(read_all(&store, &orders).await, events(0..3));
        let look = "SELECT bool_and(ssl), max(client_dn) FROM pg_stat_ssl \
                    JOIN pg_stat_activity USING (pid) WHERE application_name = 'streamgate'";
        let row = hand(&guarded.server.place).await.query_one(look, &[]).await.unwrap();
        assert_eq!(row.get::<_, Option<bool>>(0), Some(true), "everything is encrypted");
        assert_eq!(row.get::<_, Option<&str>>(1), shown);
    }

    let untrusted = open(&guarded.options("localhost")).await.err().unwrap();
    assert!(reasons(&untrusted).contains("UnknownIssuer"), "{}", reasons(&untrusted));
    let another = open(&guarded.trusting("127.0.0.1")).await.err().unwrap();
    assert!(reasons(&another).contains("not valid for name"), "{}", reasons(&another));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_tls_is_not_spoken_to_when_it_is_required() {
    let options =
        PostgresOptions { url: Secret::Text(url() + "?sslmode=require"), ..super::kit::options() };
    let refused = open(&options).await.err().unwrap();
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
    assert!(reasons(&refused).contains("TLS"), "{}", reasons(&refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_holds_no_certificate_is_named() {
    let tls_ca_file = Some(Path::new("Cargo.toml").to_path_buf());
    let refused = open(&PostgresOptions { tls_ca_file, ..super::kit::options() }).await;
    assert!(refused.err().unwrap().to_string().contains("Cargo.toml"));
}
