//! gRPC-web as a browser sends it: over HTTP/1.1, after asking whether it may.

use prost::Message;
use streamgate::grpc::v1;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::kit::{Server, append, expecting, read};

const PAGE: &str = "http://localhost:8080";

fn allowing(origin: &str) -> String {
    format!("[grpc]\ncors_allowed_origins = ['{origin}']")
}

/// What the server answers to one request, its headers in lower case, its body as text.
async fn send(server: &Server, head: &str, body: &[u8]) -> String {
    let address = server.app.grpc_address();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let head = format!(
        "{head}\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(server: &Server, origin: &str) -> String {
    let head = format!(
        "OPTIONS /streamgate.v1.EventStoreService/Append HTTP/1.1\r\norigin: {origin}\r\n\
         access-control-request-method: POST\r\n\
         access-control-request-headers: content-type,x-grpc-web,grpc-timeout"
    );
    send(server, &head, b"").await
}

async fn call(server: &Server, path: &str, origin: &str, message: &impl Message) -> String {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let head = format!(
        "POST /{path} HTTP/1.1\r\norigin: {origin}\r\n\
         content-type: application/grpc-web+proto\r\nx-grpc-web: 1"
    );
    send(server, &head, &[&[0], &length[..], &message[..]].concat()).await
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_may_call_and_sees_errors() {
    let server = Server::with(&[&allowing(PAGE)]).await;
    let answer = ask(&server, PAGE).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains(&format!("access-control-allow-origin: {PAGE}\r\n")), "{answer}");
    let mirrored = "access-control-allow-headers: content-type,x-grpc-web,grpc-timeout\r\n";
    assert!(answer.contains(mirrored), "{answer}");

    let path = "streamgate.v1.EventStoreService/Append";
    let done = call(&server, path, PAGE, &append("a", &["x"])).await;
    assert!(done.starts_with("HTTP/1.1 200"), "{done}");
    assert!(done.contains("content-type: application/grpc-web+proto\r\n"), "{done}");
    assert!(done.contains("grpc-status:0\r\n"), "{done}");

    let conflict = expecting(v1::expected_version::Kind::Exact(7), append("a", &["y"]));
    let refused = call(&server, path, PAGE, &conflict).await;
    let exposed = refused.lines().find(|line| line.starts_with("access-control-expose-headers"));
    for name in ["grpc-status", "grpc-message", "grpc-status-details-bin"] {
        assert!(exposed.unwrap().split([' ', ',']).any(|it| it == name), "{refused}");
        assert!(refused.contains(&format!("\r\n{name}: ")), "{refused}");
    }
    assert!(refused.contains("grpc-status: 10\r\n"), "{refused}");
}

#[tokio::test]
async fn streams_health_and_reflection_are_served_to_pages_as_well() {
    let server = Server::with(&[&allowing("*")]).await;
    let append_path = "streamgate.v1.EventStoreService/Append";
    call(&server, append_path, PAGE, &append("a", &["history"])).await;
    let read = call(&server, "streamgate.v1.EventStoreService/Read", PAGE, &read("a")).await;
    assert!(read.contains("access-control-allow-origin: *\r\n"), "{read}");
    assert!(read.contains("history") && read.contains("grpc-status:0"), "{read}");
    let check = tonic_health::pb::HealthCheckRequest::default();
    let health = call(&server, "grpc.health.v1.Health/Check", PAGE, &check).await;
    assert!(health.contains("grpc-status:0"), "{health}");
    let list = tonic_reflection::pb::v1::ServerReflectionRequest {
        message_request: Some(
            tonic_reflection::pb::v1::server_reflection_request::MessageRequest::ListServices(
                String::new(),
            ),
        ),
        ..Default::default()
    };
    let path = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let services = call(&server, path, PAGE, &list).await;
    assert!(services.contains("streamgate.v1.EventStoreService"), "{services}");
}

#[tokio::test]
async fn other_pages_are_not_let_in() {
    let server = Server::with(&[&allowing(PAGE)]).await;
    let other = ask(&server, "http://localhost:8081").await;
    assert!(!other.contains("access-control-allow-origin"), "{other}");
    let closed = Server::start().await;
    let answer = ask(&closed, PAGE).await;
    assert!(!answer.contains("access-control"), "{answer}");
    let path = "streamgate.v1.EventStoreService/Append";
    let done = call(&closed, path, PAGE, &append("a", &["x"])).await;
    assert!(done.contains("grpc-status:0"), "gRPC-web needs no page: {done}");
    assert!(!done.contains("access-control"), "{done}");
}

#[tokio::test]
async fn what_is_neither_grpc_nor_grpc_web_is_refused() {
    let server = Server::start().await;
    let answer = send(&server, "GET / HTTP/1.1", b"").await;
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
}
