//! A log of real events, written by clients in two languages, each over one session, and followed
//! by the other's, while every object of it moves to a second store and then to a third.

use std::cell::Cell;
use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::join_all;
use streamgate::grpc::v1;
use streamgate::runtime::SystemClock;

use super::language::Language;
use super::worker::{Worker, expected};
use crate::client::{Client, History, assert_same};
use crate::in_process::InProcess;
use crate::permits::{OBJECTS_AT_ONCE, Permit, Tally, conclude, permits};

/// What one object went through: what each move acknowledged, and the number of its follow.
struct Import {
    acknowledged: Vec<Vec<u64>>,
    follow: usize,
}

const CONNECTIONS: usize = 4;

/// The first part is sent without waiting for answers, the rest while the object moves.
async fn import(
    permit: &Permit,
    client: &Client,
    tally: &Tally,
    writer: &Worker,
    follower: &Worker,
) -> Import {
    let follow = follower.follow(&permit.object);
    let next_version = Cell::new(0);
    let append = async |events: Vec<v1::NewEvent>| {
        let expected_version = expected(next_version.get());
        next_version.set(next_version.get() + events.len() as u64);
        let object = Some(permit.object.clone());
        let request = v1::AppendRequest { object, expected_version, events, ..Default::default() };
        let answer = tally.watch(writer.append(&request)).await;
        answer.unwrap_or_else(|status| panic!("{:?} was answered {status:?}", permit.object))
    };
    let (first, held) = permit.parts();
    join_all(first.into_iter().map(&append)).await;
    let acknowledged = permit.move_twice(|| client, tally, &held, &append).await;
    Import { acknowledged, follow }
}

fn check_follow(permit: &Permit, follower: &Worker, follow: usize) {
    let followed = follower.followed(follow);
    let history = History { events: followed.events, ..Default::default() };
    assert_same(&permit.object, &history, &permit.events);
    assert_eq!(followed.settled, Some(permit.events.len() as u64 - 1), "{:?}", permit.object);
    assert_eq!(followed.resumed, 0, "one call is enough, whatever moves: {:?}", permit.object);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_permit_log_is_written_and_followed_across_languages_while_every_object_moves_twice() {
    let Some(permits) = permits() else { return };
    let server = InProcess::start(Arc::new(SystemClock)).await;
    let clients: Vec<Client> = (0..CONNECTIONS).map(|_| server.client()).collect();
    let workers = [Language::Python, Language::TypeScript]
        .map(|language| Worker::start(language, server.address()));
    let pair = |index: usize| (&workers[index % 2], &workers[(index + 1) % 2]);
    let tally = Tally::default();
    let imports = permits.iter().enumerate().map(|(index, permit)| {
        let (writer, follower) = pair(index);
        import(permit, &clients[index % CONNECTIONS], &tally, writer, follower)
    });
    let imported: Vec<Import> =
        futures::stream::iter(imports).buffered(OBJECTS_AT_ONCE).collect().await;

    for worker in &workers {
        worker.settle().await;
        assert_eq!(worker.sessions_resumed(), 0, "one session is enough, whatever moves");
    }
    for (index, (permit, import)) in permits.iter().zip(&imported).enumerate() {
        check_follow(permit, pair(index).1, import.follow);
    }
    let acknowledged: Vec<_> = imported.into_iter().map(|import| import.acknowledged).collect();
    println!("{}", conclude(&permits, &acknowledged, &clients, tally).await);
    for worker in workers {
        worker.end().await;
    }
    server.stop().await;
}
