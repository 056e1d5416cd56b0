//! The decision page on stored formats, held against what the code writes.

use std::time::Duration;
use streamgate::coordination::in_documents::lock::LockRecord;
use streamgate::documents::{DocumentKey, objects};
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::object_document::MigrationClaim;
use streamgate::domain::{
    Checksum, CloseEvent, Continuation, Digest, Event, EventId, Head, MigrationId, ObjectDocument,
    ObjectKey, Reason, StoreName, StreamRef, Timestamp, Version, canonical,
};
use streamgate::migration::record::{Certificate, Failure, Orders, RecordedProgress};
use streamgate::migration::{MigrationOptions, MigrationRecord, OnConvergenceFailure, Phase};
use uuid::Uuid;

const PAGE: &str = include_str!("../../docs/decisions/0002-stored-formats.md");

/// Spaces and line breaks are the page's own.
#[track_caller]
fn page_shows(what: &str, written: &str) {
    let without_space = |text: &str| -> String { text.split_whitespace().collect() };
    let shown = without_space(PAGE).contains(&without_space(written));
    assert!(shown, "the page does not show this {what}:\n{written}");
}

fn shipment() -> Event {
    let mut event = Event {
        event_id: EventId(Uuid::from_u128(0x0192_0000_0000_7000_8000_0000_0000_0001)),
        event_type: "OrderShipped".into(),
        schema_version: 2,
        content_type: "application/json".into(),
        payload: b"{\"carrier\":\"post\"}".as_slice().into(),
        metadata: [("trace".into(), "7".into()), ("actor".into(), "u1".into())].into(),
        occurred_at: Some(Timestamp::from_nanos(1_700_000_000_000_000_001)),
        recorded_at: Timestamp::from_nanos(1_700_000_000_250_000_000),
        digest: Digest::from_bytes([0; 32]),
    };
    event.digest = Digest::of(&event);
    event
}

#[test]
fn events_are_written_as_the_page_says() {
    let event = shipment();
    let mut bytes = Vec::new();
    canonical::write_event(&event, &mut bytes);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    page_shows("event", &hex);
    page_shows("digest", &event.digest.to_string());
    page_shows("checksum", &Checksum::START.chain(Version::FIRST, &event).to_string());
}

/// An object that has moved once and moves again, and the CloseEvent of its first move.
fn moved_object() -> (ObjectDocument, CloseEvent) {
    let object = ObjectKey::new("Order", "A/1").expect("the key is valid");
    let [hot, cold] = ["hot", "cold"].map(|name| StoreName::new(name).expect("the name is valid"));
    let moment = |second: i64| Timestamp::from_nanos(1_700_000_000_000_000_000 + second);
    let mut document = ObjectDocument::new(object, hot.clone(), moment(0));
    let claim = |document: &ObjectDocument, number: u128, store: &StoreName| MigrationClaim {
        migration: MigrationId(Uuid::from_u128(number)),
        kind: MigrationKind::Copy,
        source: document.active.address.clone(),
        target_store: store.clone(),
        target_stream_id: None,
        target_base: Some(Version::FIRST),
    };
    let first = claim(&document, 1, &cold);
    let running = document.claim(&first).expect("nothing runs");
    let close = CloseEvent {
        migration: running.migration,
        kind: running.kind,
        continuation: Some(Continuation(StreamRef {
            address: running.target,
            base: Version::FIRST,
            made_by: Some(running.migration),
        })),
        head: Head::at(Version(0)),
        checksum: Some(Checksum::START.chain(Version::FIRST, &shipment())),
        closed_at: moment(1),
    };
    document.reroute(&running.source, &close).expect("the source was active");
    let second = claim(&document, 2, &hot);
    document.claim(&second).expect("nothing runs");
    (document, close)
}

#[test]
fn records_are_written_as_the_page_says() {
    let (document, close) = moved_object();
    page_shows("key", DocumentKey::object(&document.object).as_str());
    let written = objects::encode(&document);
    page_shows("object document", std::str::from_utf8(&written).expect("JSON is UTF-8"));
    page_shows("CloseEvent", &serde_json::to_string(&close).expect("no part of it can fail"));
}

/// A record with something in every member, though no migration has all of it at once.
fn record() -> MigrationRecord {
    let (document, close) = moved_object();
    let moment = |second: i64| Timestamp::from_nanos((1_700_000_000 + second) * 1_000_000_000);
    let checksum = close.checksum.expect("the example has one");
    MigrationRecord {
        migration: close.migration,
        request_id: "move A/1 to cold".into(),
        object: document.object,
        kind: close.kind,
        source: document.terminated_streams[0].stream.clone(),
        target_store: document.active.address.store.clone(),
        target_stream_id: None,
        target_base: Some(Version::FIRST),
        target: Some(document.active.address),
        options: MigrationOptions {
            close_timeout: Duration::from_secs(300),
            catch_up_delay: Duration::from_millis(100),
            on_convergence_failure: OnConvergenceFailure::PauseSource,
            pause_source_max: Duration::from_millis(500),
            events_per_second_max: Some(50_000),
            bytes_per_second_max: None,
            page_events_max: 1_000,
            page_bytes_max: 4_194_304,
        },
        labels: [("ticket".into(), "4711".into())].into(),
        phase: Phase::CatchingUp,
        orders: Orders { paused: true, ..Orders::default() },
        provisional: false,
        released: false,
        failure: Some(Failure { reason: Reason::CloseTimeout, message: "too slow".into() }),
        progress: RecordedProgress::default(),
        certificate: Some(Certificate {
            events: 1,
            head: close.head,
            source_checksum: checksum,
            target_checksum: checksum,
            verified_at: moment(3),
        }),
        token: 7,
        owner: Some("proxy-1".into()),
        lease_expires_at: Some(moment(12)),
        created_at: moment(0),
        updated_at: moment(2),
        ended_at: None,
        paused_since: Some(moment(1)),
        paused_ms: 0,
    }
}

#[test]
fn locks_are_kept_as_the_page_says() {
    let expires_at = Timestamp::from_nanos(1_700_000_012_000_000_000);
    let record = LockRecord { owner: Some("proxy-1".into()), token: 7, expires_at };
    let written = objects::encode(&record);
    page_shows("lock", std::str::from_utf8(&written).expect("JSON is UTF-8"));
}

#[test]
fn migrations_are_remembered_as_the_page_says() {
    let written = objects::encode(&record());
    let written = std::str::from_utf8(&written).expect("JSON is UTF-8");
    page_shows("record", written);
}
