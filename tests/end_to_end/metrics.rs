//! The metrics of a server, as its endpoint tells them.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What a counter without labels stands at.
pub(crate) async fn counter(address: SocketAddr, name: &str) -> u64 {
    let answer = all(address).await;
    let value = answer.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} among the metrics:\n{answer}"));
    value.trim().parse().unwrap()
}

/// All that the endpoint tells.
pub(crate) async fn all(address: SocketAddr) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await.unwrap();
    answer
}
