//! TLS: who is let in, what a client is shown, and certificates that are renewed meanwhile.

use std::sync::Arc;

use prost::Message;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use streamgate::app::{App, AppParts, Listeners, Resources, Stopped, registry};
use streamgate::grpc::v1::event_store_service_client::EventStoreServiceClient;
use streamgate::runtime::Runtime;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::Status;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic_types::StatusExt;

use crate::certificates::{Authority, EXPIRES, Pair, write};
use crate::kit::{Server, TWO_STORES, append, config};

/// A folder with certificate and key of a server, and the settings that name them.
struct Files {
    folder: TempDir,
    servers: Authority,
}

impl Files {
    fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap(), servers: Authority::new("ours") };
        files.servers.sign().write(files.folder.path(), "server");
        files
    }

    fn settings(&self, more: &str) -> String {
        let file = |name: &str| self.folder.path().join(name).display().to_string();
        let (certificate, key) = (file("server.crt"), file("server.key"));
        format!("[server.tls]\ncert_file = '{certificate}'\nkey_file = '{key}'\n{more}")
    }

    /// Settings that ask clients for a certificate of this authority.
    fn asking(&self, clients: &Authority, more: &str) -> String {
        let path = self.folder.path().join("clients.crt");
        write(&path, &clients.certificate());
        self.settings(&format!("client_ca_file = '{}'\n{more}", path.display()))
    }

    fn trusting(&self) -> ClientTlsConfig {
        trusting(&self.servers)
    }
}

fn trusting(authority: &Authority) -> ClientTlsConfig {
    ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.certificate()))
}

fn showing(pair: &Pair) -> Identity {
    Identity::from_pem(&pair.certificate, &pair.key)
}

fn client(server: &Server, tls: ClientTlsConfig) -> EventStoreServiceClient<Channel> {
    let address = format!("https://{}", server.app.grpc_address());
    let endpoint = Endpoint::from_shared(address).unwrap().tls_config(tls).unwrap();
    EventStoreServiceClient::new(endpoint.connect_lazy())
}

async fn appends(server: &Server, tls: ClientTlsConfig) -> Result<(), Status> {
    client(server, tls).append(append("a", &["x"])).await.map(drop)
}

/// What TLS itself said.
#[track_caller]
fn tls_error(outcome: Result<(), Status>) -> String {
    let status = outcome.unwrap_err();
    assert!(status.get_details_error_info().is_none(), "nobody answered: {status:?}");
    let mut source = std::error::Error::source(&status);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            // What the connection met after the handshake is handed on as text alone.
            return error.to_string();
        }
        source = error.source();
    }
    panic!("not about TLS: {status:?}")
}

/// How the server turns a client away. For the client the handshake is over by then, and the
/// library above may find the connection closed before it finds out why.
async fn turned_away(server: &Server, files: &Files, identity: Option<&Pair>) -> String {
    let stream = connect(server, &files.servers, &[b"h2"], identity).await;
    let mut stream = stream.expect("the server's certificate is right");
    stream.read(&mut [0]).await.expect_err("it was turned away").to_string()
}

fn alert(description: AlertDescription) -> String {
    rustls::Error::AlertReceived(description).to_string()
}

/// A connection below gRPC, with what is chosen from `protocols`.
async fn connect(
    server: &Server,
    authority: &Authority,
    protocols: &[&[u8]],
    identity: Option<&Pair>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let pem = authority.certificate();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(pair) => {
            let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![der(pair)], key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let address = server.app.grpc_address();
    let name = ServerName::from(address.ip());
    let socket = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(name, socket).await
}

/// The certificate that a new connection is shown.
async fn shown(server: &Server, authority: &Authority) -> CertificateDer<'static> {
    let stream = connect(server, authority, &[b"h2"], None).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()
}

async fn metric(server: &Server, name: &str) -> Option<u64> {
    let text = server.http("/metrics").await;
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("streamgate_{name} ")));
    line.map(|value| value.parse().unwrap())
}

async fn until_metric(server: &Server, name: &str, value: u64) {
    until(server, name, |now| now == Some(value)).await;
}

async fn until(server: &Server, name: &str, is_enough: impl Fn(Option<u64>) -> bool) {
    while !is_enough(metric(server, name).await) {
        tokio::task::yield_now().await;
    }
}

const OK: &str = "tls_handshakes_total{outcome=\"ok\"}";
const FAILED: &str = "tls_handshakes_total{outcome=\"failed\"}";
const TIMED_OUT: &str = "tls_handshakes_total{outcome=\"timed_out\"}";
const TAKEN: &str = "tls_reloads_total{outcome=\"taken\"}";
const REFUSED: &str = "tls_reloads_total{outcome=\"refused\"}";

#[tokio::test]
async fn who_trusts_the_authority_is_served_and_others_turn_away() {
    let files = Files::new();
    let server = Server::with(&[&files.settings("")]).await;
    appends(&server, files.trusting()).await.unwrap();
    appends(&server, files.trusting().domain_name("proxy.example")).await.unwrap();
    assert_eq!(metric(&server, OK).await, Some(2));

    let stranger = appends(&server, trusting(&Authority::new("ours"))).await;
    let error = tls_error(stranger);
    assert!(error.contains("invalid peer certificate: BadSignature"), "{error}");
    let other = appends(&server, files.trusting().domain_name("other.example")).await;
    let error = tls_error(other);
    assert!(error.contains("not valid for name \"other.example\""), "{error}");

    let plain = server.events.clone().append(append("a", &["x"])).await.unwrap_err();
    assert!(plain.get_details_error_info().is_none(), "nobody answered: {plain:?}");
    until_metric(&server, FAILED, 3).await;
}

#[tokio::test]
async fn a_required_certificate_must_be_shown_valid_and_signed_by_the_right_one() {
    let (files, clients) = (Files::new(), Authority::new("clients"));
    let server = Server::with(&[&files.asking(&clients, "")]).await;
    appends(&server, files.trusting().identity(showing(&clients.sign()))).await.unwrap();

    let status = appends(&server, files.trusting()).await.unwrap_err();
    assert!(status.get_details_error_info().is_none(), "nobody answered: {status:?}");
    for (identity, expected) in [
        (None, AlertDescription::CertificateRequired),
        (Some(clients.sign_expired()), AlertDescription::CertificateExpired),
        (Some(files.servers.sign()), AlertDescription::UnknownCA),
    ] {
        assert_eq!(turned_away(&server, &files, identity.as_ref()).await, alert(expected));
    }
    until_metric(&server, FAILED, 4).await;
}

#[tokio::test]
async fn where_it_is_optional_none_is_needed_and_a_wrong_one_is_refused() {
    let (files, clients) = (Files::new(), Authority::new("clients"));
    let server = Server::with(&[&files.asking(&clients, "client_auth = 'optional'")]).await;
    appends(&server, files.trusting()).await.unwrap();
    appends(&server, files.trusting().identity(showing(&clients.sign()))).await.unwrap();
    let foreign = turned_away(&server, &files, Some(&files.servers.sign())).await;
    assert_eq!(foreign, alert(AlertDescription::UnknownCA));
}

#[tokio::test]
async fn an_expired_certificate_is_served_and_no_client_takes_it() {
    let files = Files::new();
    files.servers.sign_expired().write(files.folder.path(), "server");
    let server = Server::with(&[&files.settings("")]).await;
    let error = tls_error(appends(&server, files.trusting()).await);
    assert!(error.contains("certificate expired"), "{error}");
}

#[tokio::test]
async fn a_renewed_certificate_is_for_new_connections_and_open_ones_go_on() {
    let files = Files::new();
    let folder = files.folder.path();
    let server = Server::with(&[&files.settings("reload_interval = '100ms'")]).await;
    let mut open = client(&server, files.trusting());
    open.append(append("a", &["x"])).await.unwrap();
    let expires: streamgate::domain::Timestamp = EXPIRES.parse().unwrap();
    let seconds = u64::try_from(expires.parts().0).unwrap();
    assert_eq!(metric(&server, "tls_certificate_expires_seconds").await, Some(seconds));

    let second = files.servers.sign();
    second.write(folder, "server");
    until_metric(&server, TAKEN, 1).await;
    assert_eq!(shown(&server, &files.servers).await, der(&second));

    // None of these can be used. Each is told at least once: a pair is written in two steps, and
    // the server may look between them.
    let (foreign, expired) = (files.servers.sign(), files.servers.sign_expired());
    let faults: [&dyn Fn(); 3] = [
        &|| write(&folder.join("server.key"), &foreign.key),
        &|| write(&folder.join("server.key"), "nothing"),
        &|| expired.write(folder, "server"),
    ];
    for fault in faults {
        let before = metric(&server, REFUSED).await;
        fault();
        until(&server, REFUSED, |now| now > before).await;
    }
    assert_eq!(shown(&server, &files.servers).await, der(&second));
    assert_eq!(metric(&server, "tls_certificate_expires_seconds").await, Some(seconds));

    let third = files.servers.sign();
    third.write(folder, "server");
    until_metric(&server, TAKEN, 2).await;
    assert_eq!(shown(&server, &files.servers).await, der(&third));
    let handshakes = metric(&server, OK).await;
    open.append(append("a", &["y"])).await.unwrap();
    assert_eq!(metric(&server, OK).await, handshakes, "it is the connection of the beginning");
}

#[tokio::test]
async fn who_signs_clients_can_be_renewed_too() {
    let files = Files::new();
    let [before, after] = ["before", "after"].map(Authority::new);
    let settings = files.asking(&before, "reload_interval = '100ms'");
    let server = Server::with(&[&settings]).await;
    let mut open = client(&server, files.trusting().identity(showing(&before.sign())));
    open.append(append("a", &["x"])).await.unwrap();
    write(&files.folder.path().join("clients.crt"), &after.certificate());
    until_metric(&server, TAKEN, 1).await;
    let old = turned_away(&server, &files, Some(&before.sign())).await;
    assert_eq!(old, alert(AlertDescription::UnknownCA));
    appends(&server, files.trusting().identity(showing(&after.sign()))).await.unwrap();
    open.append(append("a", &["y"])).await.expect("who was let in stays");
}

#[tokio::test]
async fn pages_call_over_http_1_and_grpc_over_http_2() {
    let files = Files::new();
    let server = Server::with(&[&files.settings("")]).await;
    let stream = connect(&server, &files.servers, &[b"h2", b"http/1.1"], None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let mut stream = connect(&server, &files.servers, &[b"http/1.1"], None).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let message = append("a", &["x"]).encode_to_vec();
    let head = format!(
        "POST /streamgate.v1.EventStoreService/Append HTTP/1.1\r\nhost: test\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n",
        message.len() + 5
    );
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let request = [head.as_bytes(), &[0], &length, &message].concat();
    stream.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("it is closed as TLS wants it");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("grpc-status:0"), "{answer}");
}

/// The first bytes of a handshake that does not go on.
async fn stall(server: &Server) -> TcpStream {
    let mut stream = TcpStream::connect(server.app.grpc_address()).await.unwrap();
    stream.write_all(&[22, 3, 1]).await.unwrap();
    stream
}

#[tokio::test]
async fn a_stalled_handshake_gives_its_place_back_in_time() {
    let files = Files::new();
    let settings = files.settings("handshakes_max = 1\nhandshake_timeout = '200ms'");
    let server = Server::with(&[&settings]).await;
    let mut stalled = stall(&server).await;
    until_metric(&server, TIMED_OUT, 1).await;
    assert_eq!(stalled.read(&mut [0]).await.unwrap_or(0), 0, "the connection was closed");
    // On a busy machine an honest handshake may take longer than that as well.
    while appends(&server, files.trusting()).await.is_err() {}
}

#[tokio::test]
async fn connections_that_say_nothing_take_no_place_and_are_counted_nowhere() {
    let files = Files::new();
    let settings = files.settings("handshakes_max = 1\nhandshake_timeout = '60s'");
    let server = Server::with(&[&settings]).await;
    let address = server.app.grpc_address();
    let silent = TcpStream::connect(address).await.unwrap();
    drop(TcpStream::connect(address).await.unwrap());
    appends(&server, files.trusting()).await.unwrap();
    drop(silent);
    until_metric(&server, "connections", 0).await;
    assert_eq!((metric(&server, OK).await, metric(&server, FAILED).await), (Some(1), None));
}

#[tokio::test]
async fn a_stop_does_not_wait_for_handshakes() {
    let files = Files::new();
    let server = Server::with(&[&files.settings("handshake_timeout = '1h'")]).await;
    let _stalled = stall(&server).await;
    let _silent = TcpStream::connect(server.app.grpc_address()).await.unwrap();
    until_metric(&server, "connections", 2).await;
    assert_eq!(server.app.stop().await, Stopped::InTime);
}

/// Why a server with these settings does not start.
async fn refused(settings: &str) -> String {
    let config = config(&format!("{settings}\n{TWO_STORES}"));
    let runtime = Runtime::system();
    let mut registry = registry();
    let resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
    let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listeners = Listeners { grpc, http: None };
    let started = App::start(AppParts { config, runtime, resources, listeners, registry }).await;
    started.err().expect("it does not start").to_string()
}

#[tokio::test]
async fn files_that_cannot_be_used_are_told_with_setting_path_and_reason() {
    let (files, clients) = (Files::new(), Authority::new("clients"));
    let folder = files.folder.path();
    for (name, text, setting, reason) in [
        ("clients.crt", Some("nothing"), "client_ca_file", "no certificate"),
        ("clients.crt", None, "client_ca_file", "cannot be read"),
        ("server.key", Some(&*Authority::new("x").sign().key), "key_file", "not the key to"),
        ("server.key", Some("nothing"), "key_file", "no private key"),
        ("server.key", None, "key_file", "cannot be read"),
        ("server.crt", Some("nothing"), "cert_file", "no certificate"),
        ("server.crt", None, "cert_file", "cannot be read"),
    ] {
        files.servers.sign().write(folder, "server");
        let asking = files.asking(&clients, "");
        let path = folder.join(name);
        match text {
            Some(text) => write(&path, text),
            None => std::fs::remove_file(&path).unwrap(),
        }
        let fault = refused(&asking).await;
        let path = path.display().to_string();
        for part in [&format!("server.tls.{setting}"), &path, reason] {
            assert!(fault.contains(part), "{part} in {fault}");
        }
    }
}
