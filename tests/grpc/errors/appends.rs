//! The errors of applications: appends, sessions and reads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use streamgate::app::{Resources, registry};
use streamgate::domain::{ObjectKey, Reason, StoreName};
use streamgate::grpc::v1::append_session_response::Outcome;
use streamgate::grpc::v1::expected_version::Kind;
use streamgate::grpc::v1::read_request::Start;
use streamgate::grpc::v1::{self, AppendSessionRequest};
use streamgate::lock::Pauses;
use streamgate::runtime::Runtime;
use streamgate::store::{EventStore, StoreError, Stores, Wakeups};
use streamgate::testing::troubled::{Trouble, TroubledStore};

use super::seen::Seen;
use super::{Delay, Row, row};
use crate::kit::{Server, TWO_STORES, append, config, event, expecting, history, read, uuid};
use crate::migrations::{migrate_and_wait, slow};

/// A server whose store of that name is in trouble.
pub(super) async fn troubled(sections: &str, store: &str, trouble: Trouble) -> Server {
    let config = config(&format!("{sections}\n{TWO_STORES}"));
    let opened = Resources::open(&config, &Runtime::system(), &mut registry()).await;
    let mut resources = opened.unwrap();
    let wrapped = resources.stores.iter().map(|(name, opened)| {
        let opened = Arc::clone(opened);
        let is_it = name.as_str() == store;
        let store: Arc<dyn EventStore> =
            if is_it { Arc::new(TroubledStore::new(opened, trouble)) } else { opened };
        (name.clone(), store)
    });
    let wrapped: BTreeMap<StoreName, Arc<dyn EventStore>> = wrapped.collect();
    resources.stores = Stores::new(wrapped, Wakeups::new());
    Server::over(config, resources).await
}

/// An append that its store refuses so.
async fn refused_by_store(error: fn() -> StoreError) -> Seen {
    let quick = "[proxy]\nappend_timeout = '200ms'";
    let mut server = troubled(quick, "hot", Trouble::Refuses(error)).await;
    Seen::ended(server.events.append(append("a", &["x"])).await)
}

/// The answer to the last of these requests of one session.
async fn last_of_session(appends: Vec<v1::AppendRequest>) -> Seen {
    let mut server = Server::start().await;
    let requests = appends.into_iter().zip(0..).map(|(append, sequence)| AppendSessionRequest {
        sequence,
        append: Some(append),
        ..AppendSessionRequest::default()
    });
    let requests: Vec<AppendSessionRequest> = requests.collect();
    let answers = server.events.append_session(futures::stream::iter(requests)).await;
    let mut answers = answers.unwrap().into_inner();
    let mut last = None;
    while let Some(answer) = answers.message().await.unwrap() {
        last = answer.outcome;
    }
    let Some(Outcome::Error(error)) = last else { panic!("{last:?}") };
    Seen::told(&error)
}

fn follow(id: &str) -> v1::ReadRequest {
    v1::ReadRequest {
        start: Some(Start::FromEnd(())),
        follow: Some(v1::FollowOptions::default()),
        ..read(id)
    }
}

/// What reads one stream as it is stored.
pub(super) fn raw(store: &str, stream_id: &str) -> v1::ReadRequest {
    let raw = Some(v1::RawStream { store: store.into(), stream_id: stream_id.into() });
    v1::ReadRequest { raw, ..v1::ReadRequest::default() }
}

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_requests();
    rows.extend(of_objects());
    rows.extend(of_stores());
    rows
}

fn of_requests() -> Vec<Row> {
    vec![
        Row {
            fields: &["events"],
            ..row(Reason::InvalidArgument, "an append without events", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    Seen::ended(server.events.append(append("a", &[])).await)
                })
            })
        },
        Row {
            values: &[("index", Some("1")), ("size", Some("11")), ("limit", Some("10"))],
            fields: &["events[1].payload"],
            ..row(Reason::EventTooLarge, "an event above the limit", || {
                Box::pin(async {
                    let mut server = Server::with(&["[limits]\nevent_bytes_max = 10"]).await;
                    Seen::ended(server.events.append(append("a", &["x", "01234567890"])).await)
                })
            })
        },
        Row {
            values: &[
                ("events", Some("3")),
                ("bytes", None),
                ("events_max", Some("2")),
                ("bytes_max", None),
            ],
            fields: &["events"],
            ..row(Reason::BatchTooLarge, "more events than the limit", || {
                Box::pin(async {
                    let mut server = Server::with(&["[limits]\nbatch_events_max = 2"]).await;
                    Seen::ended(server.events.append(append("a", &["x", "y", "z"])).await)
                })
            })
        },
        row(Reason::BatchTooLarge, "a message that no batch can fill", || {
            Box::pin(async {
                let mut server = Server::start().await;
                let payload = "x".repeat(1 << 20);
                let payloads: Vec<&str> = (0..8).map(|_| payload.as_str()).collect();
                Seen::ended(server.events.append(append("a", &payloads)).await)
            })
        }),
        Row {
            values: &[("open_streams_max", Some("1"))],
            delay: Delay::Some,
            ..row(Reason::TooManyInFlight, "one stream more than a setting allows", || {
                Box::pin(async {
                    let mut server = Server::with(&["[grpc]\nopen_streams_max = 1"]).await;
                    server.events.append(append("a", &["x"])).await.unwrap();
                    let mut first = server.events.read(follow("a")).await.unwrap().into_inner();
                    first.message().await.unwrap().expect("the header");
                    Seen::ended(server.events.read(follow("a")).await)
                })
            })
        },
        Row {
            delay: Delay::Some,
            ..row(Reason::TooManyInFlight, "a store with too many calls", || {
                Box::pin(refused_by_store(|| StoreError::Overloaded { retry_after: None }))
            })
        },
        Row {
            values: &[("object_name", Some("order")), ("object_id", Some("a"))],
            ..row(Reason::PredecessorFailed, "a session's append behind a failed one", || {
                let failing = expecting(Kind::Exact(7), append("a", &["x"]));
                Box::pin(last_of_session(vec![failing, append("a", &["y"])]))
            })
        },
    ]
}

fn of_objects() -> Vec<Row> {
    vec![
        Row {
            values: &[("expected", Some("7")), ("actual", Some("0"))],
            ..row(Reason::WrongExpectedVersion, "an append behind another's", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    server.events.append(append("a", &["x"])).await.unwrap();
                    let behind = expecting(Kind::Exact(7), append("a", &["y"]));
                    Seen::ended(server.events.append(behind).await)
                })
            })
        },
        Row {
            values: &[("expected", Some("7")), ("actual", Some("none"))],
            ..row(Reason::WrongExpectedVersion, "the same in a session", || {
                Box::pin(last_of_session(vec![expecting(Kind::Exact(7), append("a", &["x"]))]))
            })
        },
        Row {
            values: &[("event_id", None)],
            ..row(Reason::DuplicateEventId, "a known event in a new batch", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    let mut batch = append("a", &["x"]);
                    server.events.append(batch.clone()).await.unwrap();
                    batch.events.push(event("new"));
                    Seen::ended(server.events.append(batch).await)
                })
            })
        },
        Row {
            values: &[("object_name", Some("order")), ("object_id", Some("nobody"))],
            ..row(Reason::ObjectNotFound, "a read of an object without events", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    Seen::of(history(&mut server.events, read("nobody")).await.unwrap_err())
                })
            })
        },
        Row {
            values: &[("stream_store", Some("hot")), ("stream_id", Some("no/such/stream"))],
            ..row(Reason::StreamNotFound, "a raw read of no stream", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    Seen::ended(server.events.read(raw("hot", "no/such/stream")).await)
                })
            })
        },
        Row {
            values: &[("stream_store", Some("cold")), ("stream_id", None)],
            ..row(Reason::StreamGone, "a raw read of a removed copy", || Box::pin(gone()))
        },
        Row {
            values: &[
                ("stream_store", Some("hot")),
                ("stream_id", Some("order/a/0000000000")),
                ("continuation_store", Some("cold")),
                ("continuation_stream_id", None),
                ("continuation_base_version", Some("0")),
                ("continuation_made_by", None),
            ],
            ..row(Reason::StreamClosed, "an append that follows by itself", || {
                let request = append("a", &["y"]);
                let auto_retry_on_stream_closure = Some(false);
                let by_itself = v1::AppendRequest { auto_retry_on_stream_closure, ..request };
                Box::pin(after_a_move("", by_itself))
            })
        },
        Row {
            values: &[("followed", Some("0"))],
            delay: Delay::Some,
            ..row(Reason::TooManyContinuations, "more closes than are followed", || {
                let never = "[proxy]\nmax_stream_continuation_retries = 0";
                Box::pin(after_a_move(never, append("a", &["y"])))
            })
        },
        Row {
            delay: Delay::Some,
            ..row(Reason::CutoverInProgress, "an append that is held back too long", || {
                Box::pin(async {
                    let quick = "[proxy]\nappend_timeout = '50ms'";
                    let mut server = Server::with(&[quick]).await;
                    let object = ObjectKey::new("order", "a").unwrap();
                    server.pauses.pause(&object, Duration::from_secs(60)).await.unwrap();
                    Seen::ended(server.events.append(append("a", &["x"])).await)
                })
            })
        },
    ]
}

/// An append through a proxy that did not hear of the object's move.
async fn after_a_move(sections: &str, request: v1::AppendRequest) -> Seen {
    let mut mover = Server::start().await;
    let config = config(&format!("{sections}\n{TWO_STORES}"));
    let mut stale = Server::over(config, mover.resources.clone()).await;
    stale.events.append(append("a", &["x"])).await.unwrap();
    migrate_and_wait(&mut mover, "a", "cold").await;
    Seen::ended(stale.events.append(request).await)
}

async fn gone() -> Seen {
    let mut server = Server::start().await;
    server.events.append(append("a", &["1", "2", "3"])).await.unwrap();
    let started = server.migrations.migrate(slow("a")).await.unwrap().into_inner();
    let migration_id = started.migration.unwrap().migration_id;
    let get = v1::GetMigrationRequest { migration_id: migration_id.clone() };
    let target = loop {
        let found = server.migrations.get_migration(get.clone()).await.unwrap().into_inner();
        let migration = found.migration.unwrap();
        let copied = migration.progress.as_ref().is_some_and(|it| it.target_version.is_some());
        if let Some(target) = migration.target.filter(|_| copied) {
            break target;
        }
        tokio::task::yield_now().await;
    };
    let cancel = v1::CancelMigrationRequest { migration_id, remove_target: true };
    server.migrations.cancel_migration(cancel).await.unwrap();
    loop {
        // The copy is removed once the source has gone past it.
        server.events.append(append("a", &["more"])).await.unwrap();
        match history_of_copy(&mut server, &target).await {
            Ok(()) => tokio::task::yield_now().await,
            Err(status) => return Seen::of(status),
        }
    }
}

async fn history_of_copy(server: &mut Server, copy: &v1::StreamInfo) -> Result<(), tonic::Status> {
    let mut read = server.events.read(raw(&copy.store, &copy.stream_id)).await?.into_inner();
    while read.message().await?.is_some() {}
    Ok(())
}

fn of_stores() -> Vec<Row> {
    vec![
        Row {
            values: &[("store", Some("nowhere"))],
            ..row(Reason::StoreNotFound, "a raw read of a store that is not there", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    Seen::ended(server.events.read(raw("nowhere", &uuid())).await)
                })
            })
        },
        Row {
            values: &[("store", Some("hot"))],
            delay: Delay::Some,
            ..row(Reason::StoreUnavailable, "a store that cannot be reached", || {
                Box::pin(refused_by_store(|| StoreError::unavailable("no route to host")))
            })
        },
        Row {
            values: &[("store", Some("hot"))],
            delay: Delay::Millis(1500),
            ..row(Reason::RateLimited, "a store that asks to slow down", || {
                Box::pin(refused_by_store(|| StoreError::RateLimited {
                    retry_after: Some(Duration::from_millis(1500)),
                }))
            })
        },
        Row {
            values: &[("attempts", Some("7"))],
            delay: Delay::Some,
            ..row(Reason::Contended, "an append that lost every round", || {
                Box::pin(refused_by_store(|| StoreError::Contended { attempts: 7 }))
            })
        },
        row(Reason::OutcomeUnknown, "a store that never answers", || {
            Box::pin(refused_by_store(|| StoreError::unknown("connection reset")))
        }),
        Row {
            values: &[("what", Some("hold a version beyond 2^63 - 1"))],
            ..row(Reason::UnsupportedByStore, "a store that cannot do that", || {
                Box::pin(refused_by_store(|| StoreError::Unsupported {
                    what: "hold a version beyond 2^63 - 1",
                }))
            })
        },
        Row {
            values: &[("request_id", None)],
            ..row(Reason::CorruptData, "a store that lost the stream of a document", || {
                Box::pin(refused_by_store(|| StoreError::NotFound))
            })
        },
        Row {
            values: &[("request_id", None)],
            ..row(Reason::Internal, "a store that does what it must not", || {
                Box::pin(refused_by_store(|| StoreError::Bug { detail: "out of step".into() }))
            })
        },
    ]
}
