//! TLS: verified against what the settings trust, or not spoken at all.

use std::path::{Path, PathBuf};

use streamgate::backends::postgres::{OpenError, PostgresOptions};
use streamgate::runtime::Secret;
use streamgate::testing::builders::events;

use super::kit::{append, hand, open, read_all, stream, url};
use crate::certificates::Certificates;
use crate::own_server::OwnServer;

/// A server with a certificate for `localhost`, an authority that signed it and a client's.
struct Guarded {
    server: OwnServer,
    made: Certificates,
}

async fn data_folder(server: &OwnServer) -> PathBuf {
    let row = hand(&server.place).await.query_one("SHOW data_directory", &[]).await.unwrap();
    PathBuf::from(row.get::<_, &str>(0))
}

impl Guarded {
    async fn start() -> Self {
        let (server, made) = (OwnServer::postgres(), Certificates::new());
        let data = data_folder(&server).await;
        let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&data).unwrap());
        for name in ["localhost.pem", "localhost.key", "ca.pem"] {
            let to = data.join(name);
            std::fs::copy(made.path(name), &to).unwrap();
            let secret = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&to, secret).unwrap();
            std::os::unix::fs::chown(&to, Some(owner), None).unwrap();
        }
        let by_hand = hand(&server.place).await;
        for setting in [
            "ssl_cert_file = 'localhost.pem'",
            "ssl_key_file = 'localhost.key'",
            "ssl_ca_file = 'ca.pem'",
            "ssl = on",
        ] {
            by_hand.batch_execute(&format!("ALTER SYSTEM SET {setting}")).await.unwrap();
        }
        server.restart();
        Self { server, made }
    }

    fn options(&self, host: &str) -> PostgresOptions {
        let url = self.server.place.replace("127.0.0.1", host) + "?sslmode=require";
        PostgresOptions::at(url)
    }

    fn trusting(&self, host: &str) -> PostgresOptions {
        let tls_ca_file = Some(self.made.path("ca.pem"));
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
        tls_cert_file: Some(guarded.made.path("client.pem")),
        tls_key_file: Some(guarded.made.path("client.key")),
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
