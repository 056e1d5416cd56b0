//! Appends of many callers in one transaction: each meets its own fate.
//!
//! Each test has one thread, so that what is sent at once is in the line before anything goes.

use futures::future::join_all;
use streamgate::backends::postgres::{PostgresOptions, PostgresStore};
use streamgate::domain::{ExpectedVersion, StreamId, Timestamp, Version};
use streamgate::store::{Append, Appended, EventStore, StoreError};
use streamgate::testing::builders::{
    self, EventBuilder, close, event, events, head, migration, stream_id,
};
use tokio::time::timeout;

use super::kit::{PATIENCE, append, hand, hold, open, options, read_all, stream, url};

/// What comes while a transaction is on its way goes in the next one, all of it.
fn narrow() -> PostgresOptions {
    PostgresOptions { append_connections: 1, ..options() }
}

fn appended(first: u64, last: u64) -> Appended {
    Appended { first: Version(first), last: Version(last), replay: false }
}

/// Sends all at once, behind one that is on its way. The answers come in the same order.
async fn together(
    store: &PostgresStore,
    first: &StreamId,
    appends: Vec<(&StreamId, Append)>,
) -> Vec<Result<Appended, StoreError>> {
    let ahead = append(store, first, vec![event(0)]);
    let behind = appends.into_iter().map(|(stream, append)| store.append(stream, append));
    let (ahead, answers) = tokio::join!(ahead, join_all(behind));
    ahead.unwrap();
    answers
}

/// In how many transactions these streams were written, as far as it can be seen.
async fn transactions(options: &PostgresOptions, streams: &[&StreamId]) -> i64 {
    let text = format!(
        "SELECT count(DISTINCT e.xmin::text) FROM {0}.events e \
         JOIN {0}.streams s ON s.number = e.stream WHERE s.stream_id = ANY($1)",
        options.schema
    );
    let names: Vec<&str> = streams.iter().map(|stream| stream.as_str()).collect();
    hand(&url()).await.query_one(&text, &[&names]).await.unwrap().get(0)
}

#[tokio::test]
async fn neighbours_are_taken_and_the_rest_are_told_why() {
    let options = narrow();
    let store = open(&options).await.unwrap();
    let ahead = stream(&store, "ahead").await;
    let (empty, ended, long) =
        tokio::join!(stream(&store, "empty"), stream(&store, "ended"), stream(&store, "long"),);
    append(&store, &long, events(0..3)).await.unwrap();
    store.close(&ended, close(migration(1), head(0))).await.unwrap_err();
    append(&store, &ended, events(0..1)).await.unwrap();
    store.close(&ended, close(migration(1), head(0))).await.unwrap();
    let absent = stream_id("absent");
    let exact = |version| ExpectedVersion::Exact(Version(version));
    let expecting = |expected, numbers| builders::append(expected, events(numbers));
    let made = Append { made_by: Some(migration(2)), ..expecting(ExpectedVersion::Any, 40..41) };
    let answers = together(
        &store,
        &ahead,
        vec![
            (&long, expecting(exact(2), 10..12)),
            (&empty, expecting(ExpectedVersion::StreamExists, 20..21)),
            (&ended, expecting(ExpectedVersion::Any, 30..31)),
            (&long, expecting(exact(4), 12..13)),
            (&absent, expecting(ExpectedVersion::Any, 50..51)),
            (&long, expecting(exact(4), 13..14)),
            (&long, made),
            (&empty, expecting(ExpectedVersion::NoStream, 21..22)),
        ],
    )
    .await;
    assert_eq!(*answers[0].as_ref().unwrap(), appended(3, 4));
    assert!(matches!(answers[1], Err(StoreError::WrongExpectedVersion(_))), "{answers:?}");
    assert!(matches!(answers[2], Err(StoreError::Closed { .. })), "{answers:?}");
    assert_eq!(*answers[3].as_ref().unwrap(), appended(5, 5));
    assert!(matches!(answers[4], Err(StoreError::NotFound)), "{answers:?}");
    let Err(StoreError::WrongExpectedVersion(wrong)) = &answers[5] else {
        panic!("{answers:?}");
    };
    assert_eq!(wrong.actual, head(5));
    assert!(matches!(answers[6], Err(StoreError::WrongMaker { .. })), "{answers:?}");
    // It waited behind one that was refused, and no stream was kept from it.
    assert_eq!(*answers[7].as_ref().unwrap(), appended(0, 0));
    let mut all = events(0..3);
    all.extend(events(10..13));
    assert_eq!(read_all(&store, &long).await, all);
    assert_eq!(read_all(&store, &empty).await, events(21..22));
    assert_eq!(read_all(&store, &ended).await, events(0..1));
}

#[tokio::test]
async fn many_streams_are_written_in_one_transaction() {
    let options = narrow();
    let store = open(&options).await.unwrap();
    let ahead = stream(&store, "ahead").await;
    let mut streams = Vec::new();
    for number in 0..20 {
        streams.push(stream(&store, &number.to_string()).await);
    }
    let metadata: &[(&str, &str)] = &[("a", "\u{e4}\"\\"), ("b", "")];
    let sent = |number: u64| {
        let built = EventBuilder::new(number).schema_version(7).content_type("application/json");
        match number % 4 {
            0 => built.metadata(&[]).payload(vec![0, 255, 10]).build(),
            1 => built.metadata(metadata).occurred_at(Timestamp::from_nanos(-5)).build(),
            2 => built.event_type("Ein\nanderer").payload(vec![]).build(),
            _ => built.recorded_at(Timestamp::from_nanos(1)).build(),
        }
    };
    let batch = |number: u64| {
        let events = vec![sent(2 * number), sent(2 * number + 1)];
        builders::append(ExpectedVersion::NoStream, events)
    };
    let appends = (0..).zip(&streams).map(|(number, stream)| (stream, batch(number)));
    for answer in together(&store, &ahead, appends.collect()).await {
        assert_eq!(answer.unwrap(), appended(0, 1));
    }
    let all: Vec<&StreamId> = streams.iter().collect();
    assert_eq!(transactions(&options, &all).await, 1);
    let early = |number| {
        let event = EventBuilder::new(number).recorded_at(Timestamp::from_nanos(2)).build();
        builders::append(ExpectedVersion::Exact(Version(1)), vec![event])
    };
    let appends = (100..).zip(&streams).map(|(number, stream)| (stream, early(number)));
    for answer in together(&store, &ahead, appends.collect()).await {
        assert_eq!(answer.unwrap(), appended(2, 2));
    }
    assert_eq!(transactions(&options, &all).await, 2);
    for (number, stream) in (0..).zip(&streams) {
        let mut expected = batch(number).events;
        expected.extend(early(100 + number).events);
        // Times do not go back within a stream.
        expected[1].recorded_at = expected[1].recorded_at.max(expected[0].recorded_at);
        expected[2].recorded_at = expected[1].recorded_at;
        assert_eq!(read_all(&store, stream).await, expected);
    }
}

#[tokio::test]
async fn a_stream_that_somebody_holds_is_passed_over_by_its_neighbours() {
    let options = narrow();
    let store = open(&options).await.unwrap();
    let ahead = stream(&store, "ahead").await;
    let (held, free, other) =
        tokio::join!(stream(&store, "held"), stream(&store, "free"), stream(&store, "other"));
    let somebody = hold(&options, &held).await;
    let append_to = |stream, number| append(&store, stream, vec![event(number)]);
    let mut waiting = std::pin::pin!(append_to(&held, 0));
    let neighbours = join_all([append_to(&ahead, 1), append_to(&free, 2), append_to(&other, 3)]);
    let answers = tokio::select! {
        biased;
        answers = timeout(PATIENCE, neighbours) => answers.expect("nobody waits for another's"),
        answer = &mut waiting => panic!("its stream is held: {answer:?}"),
    };
    for answer in answers {
        assert_eq!(answer.unwrap(), appended(0, 0));
    }
    somebody.batch_execute("ROLLBACK").await.unwrap();
    assert_eq!(waiting.await.unwrap(), appended(0, 0));
}

/// Story: callers that each append again as soon as they are answered. All of them go in each
/// transaction, not some in one and the rest in the next.
#[tokio::test]
async fn those_who_were_answered_come_along_in_the_next_transaction() {
    const ROUNDS: u64 = 20;
    let options = narrow();
    let store = open(&options).await.unwrap();
    let mut streams = Vec::new();
    for number in 0..8 {
        streams.push(stream(&store, &number.to_string()).await);
    }
    let (store, all) = (&store, streams.iter().collect::<Vec<_>>());
    let caller = |first, stream| async move {
        for number in first..first + ROUNDS {
            append(store, stream, vec![event(number)]).await.unwrap();
        }
    };
    let callers = (0..).step_by(100).zip(&all);
    join_all(callers.map(|(first, stream)| caller(first, *stream))).await;
    let transactions = transactions(&options, &all).await;
    assert!(transactions <= ROUNDS as i64 + 5, "{transactions} for {ROUNDS} appends of each");
}

/// Story: a client sends again what it has sent before, all of it. Each repetition that the server
/// finds by failing costs its neighbours a transaction, and leaves a dead row behind.
#[tokio::test]
async fn repetitions_are_answered_and_soon_expected() {
    const BATCHES: u64 = 10;
    let options = PostgresOptions { batch_requests_max: 2, ..narrow() };
    let store = open(&options).await.unwrap();
    let mut streams = Vec::new();
    for number in 0..2 * BATCHES {
        streams.push(stream(&store, &number.to_string()).await);
    }
    let send = || {
        let sent = (0..).zip(&streams);
        join_all(sent.map(|(number, stream)| append(&store, stream, vec![event(number)])))
    };
    for answer in send().await {
        assert_eq!(answer.unwrap(), appended(0, 0));
    }
    for answer in send().await {
        assert_eq!(answer.unwrap(), Appended { replay: true, ..appended(0, 0) });
    }
    append(&store, &streams[0], vec![event(1_000)]).await.unwrap();
    // All rows of so few events lie on the first page, in the order in which they came.
    let last = format!("SELECT max((ctid::text::point)[1])::bigint FROM {}.events", options.schema);
    let last: i64 = hand(&url()).await.query_one(&last, &[]).await.unwrap().get(0);
    let dead = last - (2 * BATCHES + 1) as i64;
    assert!(dead <= 2, "{dead} rows were written in vain");
    for (number, stream) in (0..).zip(&streams).skip(1) {
        assert_eq!(read_all(&store, stream).await, vec![event(number)]);
    }
}
