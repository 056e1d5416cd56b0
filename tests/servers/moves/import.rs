//! The log of real events, each object of it written through one proxy while another moves it, and
//! what must be true of both sides then.

use std::sync::atomic::{AtomicUsize, Ordering};

use streamgate::grpc::v1;
use streamgate::grpc::v1::read_response::Message;

use super::client::{Client, assert_same};
use super::moving::{Move, Moved};
use super::permits::Permit;

/// Where objects begin, and where they go.
pub(super) const STORES: [&str; 2] = ["hot", "cold"];

/// How objects are written while they move.
#[derive(Clone, Copy)]
pub(super) struct Import<'a> {
    /// They take turns.
    pub(super) writers: &'a [Client],
    pub(super) operator: &'a Client,
    /// How many lines one append takes before the move.
    pub(super) lines_at_first: usize,
    /// A copy of a few events then takes a while, whatever the machine: time to pause it in.
    pub(super) events_per_second_max: u64,
    pub(super) in_flight: &'a InFlight,
}

/// Appends that wait for their answers.
#[derive(Default)]
pub(super) struct InFlight {
    now: AtomicUsize,
    pub(super) peak: AtomicUsize,
}

impl Import<'_> {
    /// Writes the first half of an object's lines, and the second half while it moves.
    pub(super) async fn run(self, permit: &Permit) -> Moved {
        let Self { writers, operator, in_flight, .. } = self;
        let (object, turn) = (&permit.object, AtomicUsize::new(0));
        let append = async |batch| {
            let now = in_flight.now.fetch_add(1, Ordering::SeqCst) + 1;
            in_flight.peak.fetch_max(now, Ordering::SeqCst);
            let writer = &writers[turn.fetch_add(1, Ordering::SeqCst) % writers.len()];
            let answer = writer.append(object, None, batch).await;
            in_flight.now.fetch_sub(1, Ordering::SeqCst);
            answer.unwrap_or_else(|status| panic!("an append to {object:?} gave {status:?}"))
        };
        let (first, held) = permit.events.split_at(permit.events.len().div_ceil(2));
        for lines in first.chunks(self.lines_at_first) {
            append(lines.to_vec()).await;
        }
        let held: Vec<_> = held.iter().map(|event| vec![event.clone()]).collect();
        let events_per_second_max = Some(self.events_per_second_max);
        let moving = Move { object, target: STORES[1], events_per_second_max, held: &held };
        moving.run(operator, append).await
    }
}

/// Compares history, certificate and both sides, as they are stored, with every byte that was
/// sent: the target holds all of it, the source all up to its close. Answers how many appends the
/// source acknowledged after its catch-up began.
pub(super) async fn check(permit: &Permit, moved: &Moved, client: &Client) -> usize {
    let history = client.read(&permit.object).await.expect("every object can be read");
    assert_same(&permit.object, &history, &permit.events);
    let chain = &history.header.chain;
    let stores: Vec<&str> = chain.iter().map(|stream| stream.store.as_str()).collect();
    assert_eq!(stores, STORES, "the chain of {:?}", permit.object);
    let last = chain[0].last_version.expect("a source is closed");
    let (source, close) = read_stream(client, &chain[0]).await;
    let (target, open) = read_stream(client, &chain[1]).await;
    assert_eq!(source, history.events[..=last as usize], "the source of {:?}", permit.object);
    assert_eq!(target, history.events, "the target of {:?}", permit.object);
    assert_eq!(close.expect("a source is closed").last_version, Some(last));
    assert!(open.is_none(), "the target is open");
    assert_certified(&moved.migration, last);
    moved.acknowledged.iter().filter(|version| **version <= last).count()
}

#[track_caller]
pub(super) fn assert_certified(migration: &v1::Migration, last: u64) {
    let certificate = migration.certificate.as_ref().expect("a copy is certified");
    assert_eq!(certificate.last_version, Some(last), "{migration:#?}");
    assert_eq!(certificate.source_checksum.len(), 32, "{certificate:?}");
    assert_eq!(certificate.source_checksum, certificate.target_checksum, "{certificate:?}");
}

/// One stream as it is stored.
pub(super) async fn read_stream(
    client: &Client,
    stream: &v1::StreamInfo,
) -> (Vec<v1::RecordedEvent>, Option<v1::CloseEventInfo>) {
    let (store, stream_id) = (stream.store.clone(), stream.stream_id.clone());
    let raw = Some(v1::RawStream { store, stream_id });
    let request = v1::ReadRequest { raw, ..Default::default() };
    let mut messages = client.events().read(request).await.unwrap().into_inner();
    let (mut events, mut close) = (Vec::new(), None);
    while let Some(message) = messages.message().await.unwrap() {
        match message.message.expect("a message is one of them") {
            Message::Batch(batch) => events.extend(batch.events),
            Message::CloseEvent(event) => close = Some(event),
            _ => {}
        }
    }
    (events, close)
}
