//! The published service config carries a client that handles no error at all over lost answers
//! and a server that is killed and started again.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use futures::FutureExt as _;
use streamgate::grpc::v1;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use super::GRACE_PERIOD;
use super::language::Language;
use crate::client::{Client, soon, until};
use crate::process::{Folder, Tracing};
use crate::relay::Relay;

const WRITERS: u64 = 8;
const ANSWERS_BETWEEN: u64 = 20;

/// The writers of `tests/clients/plain_writer.py`, and what they were told.
struct Writers {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// How many appends of each object were answered.
    answered: BTreeMap<u64, u64>,
    replays: u64,
}

impl Writers {
    fn start(relay: &Relay) -> Self {
        let config = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/service-config.json");
        let mut command = Language::Python.program("plain_writer");
        command.env("STREAMGATE_SERVER", format!("http://{}", relay.address()));
        command.env("SERVICE_CONFIG", config);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let answered = (0..WRITERS).map(|number| (number, 0)).collect();
        Self { child, lines, answered, replays: 0 }
    }

    /// None after the end.
    async fn next(&mut self) -> Option<()> {
        let line = soon("an answer", self.lines.next_line()).await.unwrap()?;
        let words: Vec<&str> = line.split(' ').collect();
        let ["appended", object, version, replay] = words[..] else { panic!("{line}") };
        let answered = self.answered.get_mut(&object.parse().unwrap()).unwrap();
        assert_eq!(version.parse::<u64>().unwrap(), *answered, "in order, each once");
        *answered += 1;
        self.replays += u64::from(replay == "True");
        Some(())
    }

    /// Until every writer got so many more answers.
    async fn go_on(&mut self, more: u64) {
        let wanted: Vec<u64> = self.answered.values().map(|answered| answered + more).collect();
        while self.answered.values().zip(&wanted).any(|(answered, wanted)| answered < wanted) {
            self.next().await.expect("the writers go on");
        }
    }

    async fn stop(&mut self) {
        drop(self.child.stdin.take());
        while self.next().await.is_some() {}
        let status = soon("the writers end", self.child.wait()).await.unwrap();
        assert!(status.success(), "a writer saw an error: {status}");
    }
}

fn object(number: u64) -> v1::ObjectRef {
    v1::ObjectRef { object_name: "order".into(), object_id: number.to_string() }
}

/// Holds the answers until each writer waits for one in vain: a writer sends one append at a time,
/// so each has then exactly one event that was appended and not answered.
async fn lose_answers(relay: &Relay, client: &Client, writers: &mut Writers) {
    relay.hold_answers();
    until("every writer has an append done and not answered", async || {
        while let Some(Some(())) = writers.next().now_or_never() {}
        let heads = heads(client).await;
        let done = heads.iter().map(|head| head.map_or(0, |head| head + 1));
        let lost = done.zip(writers.answered.values()).all(|(done, answered)| done > *answered);
        lost.then_some(())
    })
    .await;
}

async fn heads(client: &Client) -> Vec<Option<u64>> {
    let mut heads = Vec::new();
    for number in 0..WRITERS {
        heads.push(client.object(&object(number)).await.unwrap().head_version);
    }
    heads
}

#[tokio::test]
async fn the_service_config_carries_a_plain_client_over_cuts_and_a_restart() {
    let folder = Folder::new(GRACE_PERIOD);
    let mut server = folder.start(&Tracing::Off);
    let address = server.ready().await;
    let (relay, client) = (Relay::to(address).await, Client::to(address));
    let mut writers = Writers::start(&relay);
    writers.go_on(ANSWERS_BETWEEN).await;

    lose_answers(&relay, &client, &mut writers).await;
    relay.cut();
    writers.go_on(ANSWERS_BETWEEN).await;
    assert!(writers.replays > 0, "no answer was lost");

    lose_answers(&relay, &client, &mut writers).await;
    server.kill();
    // Nobody answers at the address while the server is away.
    relay.cut();
    let mut server = folder.start(&Tracing::Off);
    let address = server.ready().await;
    relay.point_to(address);
    writers.go_on(ANSWERS_BETWEEN).await;

    writers.stop().await;
    let client = Client::to(address);
    for (number, answered) in &writers.answered {
        let history = client.read(&object(*number)).await.unwrap();
        assert_eq!(history.events.len() as u64, *answered, "events of {number}");
    }
}
