//! The errors of operators, and those that end a migration.

use std::time::Duration;

use streamgate::app::{Resources, registry};
use streamgate::domain::Reason;
use streamgate::grpc::v1::{self, ConvergenceFailure, MigrationOptions};
use streamgate::runtime::Runtime;
use streamgate::testing::faulty::{Fate, FaultPlan, FaultyLock};
use streamgate::testing::troubled::Trouble;

use super::appends::troubled;
use super::seen::Seen;
use super::{Delay, Row, row};
use crate::kit::{Server, TWO_STORES, append, config, uuid};
use crate::migrations::{migrate, migrate_and_wait, slow};

pub(super) fn rows() -> Vec<Row> {
    let mut rows = of_verbs();
    rows.extend(of_records());
    rows
}

fn of_verbs() -> Vec<Row> {
    vec![
        Row {
            values: &[("running_migration", None)],
            ..row(Reason::MigrationAlreadyRunning, "a second migration of one object", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    let events = append("a", &["1", "2", "3", "4", "5", "6"]);
                    server.events.append(events).await.unwrap();
                    server.migrations.migrate(slow("a")).await.unwrap();
                    let verb = v1::MigrateRequest { request_id: uuid(), ..migrate("a", "cold") };
                    // The first one is known as soon as the object's document names it.
                    loop {
                        let dry = v1::MigrateRequest { validate_only: true, ..verb.clone() };
                        if let Err(status) = server.migrations.migrate(dry).await {
                            break Seen::of(status);
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
        },
        Row {
            values: &[
                ("target_store", Some("hot")),
                ("target_stream_id", Some("order/b/0000000000")),
            ],
            ..row(Reason::TargetNotEmpty, "a target that is another object's stream", || {
                Box::pin(async {
                    let mut server = with_one_event().await;
                    server.events.append(append("b", &["x"])).await.unwrap();
                    let target_stream_id = "order/b/0000000000".into();
                    let verb = v1::MigrateRequest { target_stream_id, ..migrate("a", "hot") };
                    Seen::ended(server.migrations.migrate(verb).await)
                })
            })
        },
        Row {
            values: &[("phase", Some("SUCCEEDED")), ("verb", Some("paused"))],
            ..row(Reason::InvalidTransition, "a pause after the end", || {
                Box::pin(async {
                    let mut server = with_one_event().await;
                    let ended = migrate_and_wait(&mut server, "a", "cold").await;
                    let pause = v1::PauseMigrationRequest { migration_id: ended.migration_id };
                    Seen::ended(server.migrations.pause_migration(pause).await)
                })
            })
        },
        Row {
            values: &[
                ("expected", Some("cold:")),
                ("actual_store", Some("hot")),
                ("actual_stream_id", Some("order/a/0000000000")),
            ],
            ..row(Reason::InvalidTransition, "a source where the object does not live", || {
                Box::pin(async {
                    let mut server = with_one_event().await;
                    let stream_id = String::new();
                    let source = Some(v1::ExpectedSource { store: "cold".into(), stream_id });
                    let request = migrate("a", "hot");
                    let verb = v1::MigrateRequest { expected_source: source, ..request };
                    Seen::ended(server.migrations.migrate(verb).await)
                })
            })
        },
        Row {
            values: &[("migration_id", Some("00000000-0000-4000-8000-000000000001"))],
            ..row(Reason::MigrationNotFound, "an id of no migration", || {
                Box::pin(async {
                    let mut server = Server::start().await;
                    let migration_id = "00000000-0000-4000-8000-000000000001".into();
                    let get = v1::GetMigrationRequest { migration_id };
                    Seen::ended(server.migrations.get_migration(get).await)
                })
            })
        },
        Row {
            values: &[("store", Some("nowhere"))],
            ..row(Reason::StoreNotFound, "a target store that is not there", || {
                Box::pin(async {
                    let mut server = with_one_event().await;
                    Seen::ended(server.migrations.migrate(migrate("a", "nowhere")).await)
                })
            })
        },
        Row {
            values: &[("what", None)],
            ..row(Reason::UnsupportedByStore, "a target that takes smaller events", || {
                Box::pin(async {
                    let mut server = troubled("", "cold", Trouble::SmallEvents).await;
                    server.events.append(append("a", &["x"])).await.unwrap();
                    Seen::ended(server.migrations.migrate(migrate("a", "cold")).await)
                })
            })
        },
        Row {
            delay: Delay::Some,
            ..row(Reason::LockUnavailable, "a lock service that cannot be reached", || {
                Box::pin(without_lock())
            })
        },
    ]
}

async fn with_one_event() -> Server {
    let mut server = Server::start().await;
    server.events.append(append("a", &["x"])).await.unwrap();
    server
}

async fn without_lock() -> Seen {
    let config = config(TWO_STORES);
    let opened = Resources::open(&config, &Runtime::system(), &mut registry()).await;
    let mut resources = opened.unwrap();
    let lost = FaultPlan::new(|_| Fate::LoseRequest);
    resources.lock = std::sync::Arc::new(FaultyLock::new(resources.lock, lost));
    let mut server = Server::over(config, resources).await;
    server.events.append(append("a", &["x"])).await.expect("appends need no lock");
    Seen::ended(server.migrations.migrate(migrate("a", "cold")).await)
}

fn of_records() -> Vec<Row> {
    vec![
        row(Reason::TargetDiverged, "somebody writes to the target past the proxy", || {
            Box::pin(error_of_move("cold", Trouble::WrittenPast, MigrationOptions::default()))
        }),
        row(Reason::VerificationFailed, "the target lost an event after the close", || {
            Box::pin(error_of_move("cold", Trouble::LosesTheLast, MigrationOptions::default()))
        }),
        row(Reason::NotConverging, "something new comes before every close", || {
            let options = MigrationOptions {
                on_convergence_failure: ConvergenceFailure::Fail.into(),
                catch_up_delay: Some(Duration::from_millis(1).try_into().unwrap()),
                ..MigrationOptions::default()
            };
            Box::pin(error_of_move("hot", Trouble::NeverQuiet, options))
        }),
        row(Reason::CloseTimeout, "no close within the time it has", || {
            let options = MigrationOptions {
                on_convergence_failure: ConvergenceFailure::KeepTrying.into(),
                catch_up_delay: Some(Duration::from_millis(1).try_into().unwrap()),
                close_timeout: Some(Duration::from_millis(50).try_into().unwrap()),
                ..MigrationOptions::default()
            };
            Box::pin(error_of_move("hot", Trouble::NeverQuiet, options))
        }),
    ]
}

/// What a watch shows as the error of a migration beside a store in trouble.
async fn error_of_move(store: &str, trouble: Trouble, options: MigrationOptions) -> Seen {
    let mut server = troubled("", store, trouble).await;
    server.events.append(append("a", &["x", "y"])).await.unwrap();
    let request = v1::MigrateRequest { options: Some(options), ..migrate("a", "cold") };
    let started = server.migrations.migrate(request).await.unwrap().into_inner();
    let migration_id = started.migration.unwrap().migration_id;
    let watch = v1::WatchMigrationRequest { migration_id };
    let mut changes = server.migrations.watch_migration(watch).await.unwrap().into_inner();
    loop {
        let change = changes.message().await.unwrap().expect("it ends with an error");
        if let Some(error) = change.migration.unwrap().error {
            return Seen::told(&error);
        }
    }
}
