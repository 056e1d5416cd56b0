//! Writers whose statement sleeps on its way to the server, and wakes when all has changed.

use std::sync::Arc;

use streamgate::backends::postgres::{PostgresOptions, PostgresStore};
use streamgate::domain::{ExpectedVersion, StreamId, Version};
use streamgate::runtime::Secret;
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders::{self, close, event, events, head, migration};

use super::kit::{append, open, options, read_all, stream, url};
use crate::relay::{Pace, Relay};

/// How far the stream gets while the statement sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Appended,
    Closed,
    Removed,
}

/// The other process goes on with the stream, which holds three events.
async fn go_on(other: &PostgresStore, stream: &StreamId, until: Until) {
    append(other, stream, events(3..6)).await.unwrap();
    if until >= Until::Closed {
        other.close(stream, close(migration(1), head(5))).await.unwrap();
    }
    if until >= Until::Removed {
        other.remove(stream).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_that_slept_through_everything_is_refused() {
    for until in [Until::Appended, Until::Closed, Until::Removed] {
        let options = options();
        let (user, place) = url().split_once('@').map(own).expect("the URL names a user");
        let (server, database) = place.split_once('/').map(own).expect("and a database");
        let relay = Relay::before(&server).await;
        let through = Secret::Text(format!("{user}@{}/{database}", relay.address));
        let other = open(&options).await.unwrap();
        let sleeper = open(&PostgresOptions { url: through, ..options }).await.unwrap();
        let orders = stream(&sleeper, "1").await;
        append(&sleeper, &orders, events(0..3)).await.unwrap();

        relay.set(Pace::Hold);
        let sleeper = Arc::new(sleeper);
        let (writer, place) = (Arc::clone(&sleeper), orders.clone());
        let slept = tokio::spawn(async move {
            let late = builders::append(ExpectedVersion::Exact(Version(2)), vec![event(99)]);
            writer.append(&place, late).await
        });
        relay.holds().await;
        go_on(&other, &orders, until).await;
        relay.set(Pace::Pass);
        match slept.await.unwrap() {
            Err(StoreError::WrongExpectedVersion(wrong)) if until < Until::Closed => {
                assert_eq!(wrong.actual, head(5));
            }
            Err(StoreError::Closed { close }) if until >= Until::Closed => {
                assert_eq!(close.head, head(5));
            }
            answer => panic!("{until:?}: {answer:?}"),
        }
        for store in [&*sleeper, &other] {
            let tail = store.tail(&orders).await.unwrap();
            assert_eq!(tail.head, head(5), "{until:?}");
            assert_eq!(tail.closed.is_some(), until >= Until::Closed, "{until:?}");
            assert_eq!(tail.removed, until == Until::Removed, "{until:?}");
        }
        if until < Until::Removed {
            assert_eq!(read_all(&other, &orders).await, events(0..6), "{until:?}");
        }
    }
}

fn own((one, other): (&str, &str)) -> (String, String) {
    (one.to_owned(), other.to_owned())
}
