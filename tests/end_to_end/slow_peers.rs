//! Peers that do not read what they asked for: a slow reader of a long history, and a session that
//! is sent to and never listened to. The server's memory stays flat.
//!
//! `STREAMGATE_SLOW_EVENTS=1000000` makes both much longer.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use streamgate::grpc::v1;
use streamgate::runtime::{Entropy as _, Shutdown, SystemEntropy};
use tokio_stream::wrappers::ReceiverStream;

use crate::client::{Client, until};
use crate::process::{Folder, Server};

/// Events of 1 KiB that both peers could make the server hold: many times what it may.
fn events() -> usize {
    let asked = std::env::var("STREAMGATE_SLOW_EVENTS").ok();
    asked.map_or(120_000, |text| text.parse().expect("a number"))
}

const PAYLOAD_BYTES: usize = 1_024;
const BATCH: usize = 500;
/// What is held for one peer at most: pages, windows of the transport, the session's own bound.
const GROWTH_MAX: u64 = 64 * 1024 * 1024;

fn event() -> v1::NewEvent {
    v1::NewEvent {
        event_id: SystemEntropy.uuid().to_string(),
        event_type: "Noted".into(),
        payload: vec![7; PAYLOAD_BYTES].into(),
        ..v1::NewEvent::default()
    }
}

async fn serve() -> (Folder, Server, SocketAddr) {
    let folder = Folder::new(Duration::from_secs(10));
    // What the engine keeps by design would hide what a peer makes the server hold.
    let mut server = folder.start_with("memtable_bytes = 4194304\ncache_bytes = 4194304\n");
    let address = server.ready().await;
    (folder, server, address)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_costs_one_page() {
    let events = events();
    let (_folder, server, address) = serve().await;
    let client = Client::to(address);
    let object = v1::ObjectRef { object_name: "order".into(), object_id: "long".into() };
    for _ in 0..events / BATCH {
        let batch = (0..BATCH).map(|_| event()).collect();
        client.append(&object, None, batch).await.unwrap();
    }
    let before = server.memory();
    let mut readers = Vec::new();
    for _ in 0..4 {
        let request = v1::ReadRequest { object: Some(object.clone()), ..Default::default() };
        // Of its own connection: readers of one share its window, and stop each other.
        let mut stream = Client::to(address).events().read(request).await.unwrap().into_inner();
        // One message, and then nothing for a long time.
        assert!(stream.message().await.unwrap().is_some());
        readers.push(stream);
    }
    let peak = settled_memory(&server).await;
    println!("4 readers that stopped reading {events} events of 1 KiB: {before} -> {peak} bytes");
    assert!(peak < before + GROWTH_MAX, "{before} -> {peak} bytes");
    // The slowest of them still gets everything.
    let mut read = 0;
    let mut last = readers.pop().unwrap();
    while let Some(message) = last.message().await.unwrap() {
        if let Some(v1::read_response::Message::Batch(batch)) = message.message {
            read += batch.events.len();
        }
    }
    assert_eq!(read, events);
    let peak = server.memory();
    assert!(peak < before + GROWTH_MAX, "{before} -> {peak} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_not_listened_to_is_not_listened_to_either() {
    let events = events();
    let (_folder, server, address) = serve().await;
    let client = Client::to(address);
    let before = server.memory();
    let (requests, outgoing) = tokio::sync::mpsc::channel(1);
    let outgoing = ReceiverStream::new(outgoing);
    let mut answers = client.events().append_session(outgoing).await.unwrap().into_inner();
    let sender = Shutdown::new().spawn(async move {
        for sequence in 0..events as u64 {
            let object_id = format!("{}", sequence % 100);
            let append = v1::AppendRequest {
                object: Some(v1::ObjectRef { object_name: "order".into(), object_id }),
                events: vec![event()],
                ..v1::AppendRequest::default()
            };
            let append = Some(append);
            let request = v1::AppendSessionRequest { sequence, append, after_failure: false };
            if requests.send(request).await.is_err() {
                return;
            }
        }
    });
    let peak = settled_memory(&server).await;
    println!("a session that sends {events} events of 1 KiB unheard: {before} -> {peak} bytes");
    assert!(peak < before + GROWTH_MAX, "{before} -> {peak} bytes");
    assert!(!sender.is_finished(), "nothing held the sender back");
    // Once it is listened to, everything is answered, in order.
    for sequence in 0..events as u64 {
        let answer = answers.next().await.expect("the session goes on").unwrap();
        assert_eq!(answer.sequence, sequence);
    }
    sender.await.unwrap();
    // What it holds now is the engine's, whose tables grew with what was appended.
    println!("heard at last: {} bytes", server.memory());
}

/// The memory once it no longer grows.
async fn settled_memory(server: &Server) -> u64 {
    let mut last = 0;
    let mut equal = 0;
    until("the memory settles", async || {
        let now = server.memory();
        equal = if now.abs_diff(last) < 256 * 1024 { equal + 1 } else { 0 };
        last = now;
        (equal > 200).then_some(())
    })
    .await;
    last
}
