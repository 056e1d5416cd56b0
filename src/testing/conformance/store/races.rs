//! The race that everything rests on: appends against the close (I2, I3, I4).

use futures::StreamExt;
use tokio::sync::watch;

use super::{StoreSubject, TestStream};
use crate::domain::{Event, ExpectedVersion, Head, StreamHeader, Version};
use crate::store::{Appended, StoreError};
use crate::testing::builders::{event, migration};
use crate::testing::parallel;

const WRITERS: u64 = 3;
/// Appends of one writer before it leaves the migrator alone; else the race might never end.
const APPENDS_MAX: u64 = 8;
/// Rounds that run beside each other, so that a store with group commit is not kept waiting.
const ABREAST: usize = 64;

/// What happened in one round, so that a race that never was does not pass for one.
#[derive(Default, Debug)]
struct Told {
    acknowledged: usize,
    refused: usize,
    closes_lost: usize,
}

/// Writers append, expecting the head that they last saw or none in particular, while a migrator
/// copies the stream and closes it at the head of its copy. Afterwards every acknowledged append
/// lies at or below the head of the close and in the copy, and every refused one in neither.
pub async fn appends_racing_the_close_are_copied_or_refused(subject: StoreSubject) {
    let rounds = (0..subject.race_rounds).map(|round| {
        let subject = subject.clone();
        async move { parallel::all([race(subject, round)]).await }
    });
    let ended: Vec<_> = futures::stream::iter(rounds).buffer_unordered(ABREAST).collect().await;
    assert_eq!(ended.len() as u32, subject.race_rounds);
    let mut all = Told::default();
    for told in ended.into_iter().flatten() {
        all.acknowledged += told.acknowledged;
        all.refused += told.refused;
        all.closes_lost += told.closes_lost;
    }
    let raced = all.acknowledged > 0 && all.refused > 0 && all.closes_lost > 0;
    println!("{all:?} in {} rounds", subject.race_rounds);
    assert!(raced, "nothing met the close: {all:?}");
}

async fn race(subject: StoreSubject, round: u32) -> Told {
    let source = subject.stream().await;
    let mut target = subject.absent(Some(migration(1)), 0);
    target.header = StreamHeader { object: source.header.object.clone(), ..target.header };
    target.create().await.expect("the id is new");

    let closed = watch::Sender::new(false);
    let writers =
        (0..WRITERS).map(|writer| write(source.clone(), writer, round, closed.subscribe()));
    let told = parallel::all(writers);
    let (told, (head, closes_lost)) = tokio::join!(told, migrate(&source, &target, round, &closed));

    let held = source.read_all().await;
    assert_eq!(Head::before(Version(held.len() as u64)), head, "nothing lies behind the close");
    assert_eq!(target.read_all().await, held, "the copy is complete");
    let (mut acknowledged, mut refused) = (0, 0);
    for (sent, answer) in told.into_iter().flatten() {
        match answer {
            Some(Appended { first, .. }) => {
                assert_eq!(held.get(first.0 as usize), Some(&sent), "acknowledged and not there");
                acknowledged += 1;
            }
            None => {
                assert!(!held.contains(&sent), "refused and there all the same");
                refused += 1;
            }
        }
    }
    assert_eq!(acknowledged, held.len(), "nothing is there that nobody was told of");
    Told { acknowledged, refused, closes_lost }
}

/// Appends until the close is met. Answers each event with where it landed, or that it did not.
async fn write(
    stream: TestStream,
    writer: u64,
    round: u32,
    mut closed: watch::Receiver<bool>,
) -> Vec<(Event, Option<Appended>)> {
    let mut told = Vec::new();
    let mut seen = Head::NONE;
    for number in 0.. {
        if number == APPENDS_MAX {
            closed.wait_for(|closed| *closed).await.expect("the race is not over");
        }
        let sent = event(writer << 32 | number);
        // Some writers look before they write, and so know exact versions also behind the close.
        let expected = match (writer + number + u64::from(round)) % 3 {
            0 => ExpectedVersion::exactly(seen),
            _ => ExpectedVersion::Any,
        };
        match stream.append(expected, vec![sent.clone()]).await {
            Ok(appended) => {
                seen = Head::at(appended.last);
                told.push((sent, Some(appended)));
            }
            Err(StoreError::WrongExpectedVersion(wrong)) => {
                seen = wrong.actual;
                told.push((sent, None));
            }
            Err(StoreError::Contended { .. }) => told.push((sent, None)),
            Err(StoreError::Closed { close }) => {
                told.push((sent, None));
                let beyond = event(writer << 32 | (number + 1));
                let exact = ExpectedVersion::exactly(close.head.plus(1));
                let behind = stream.append(exact, vec![beyond.clone()]).await;
                assert!(matches!(behind, Err(StoreError::Closed { .. })), "{behind:?}");
                told.push((beyond, None));
                return told;
            }
            Err(error) => panic!("an append was answered by {error:?}"),
        }
        tokio::task::yield_now().await;
    }
    told
}

/// Copies page by page and closes at the head of the copy; answers that head and how often an
/// append was faster.
async fn migrate(
    source: &TestStream,
    target: &TestStream,
    round: u32,
    closed: &watch::Sender<bool>,
) -> (Head, usize) {
    let mut copied = Head::NONE;
    let mut closes_lost = 0;
    loop {
        let range = crate::testing::builders::range(copied.next().0);
        let page = source.store.read(&source.id, range).await.expect("the source can be read");
        if !page.events.is_empty() {
            let expected = ExpectedVersion::exactly(copied);
            let appended = target.append(expected, page.events).await;
            copied = Head::at(appended.expect("nobody else writes the copy").last);
        }
        tokio::task::yield_now().await;
        // It first lets the writers get going, in each round a little further.
        if copied.next().0 <= u64::from(round % 8) {
            continue;
        }
        match source.close(1, copied).await {
            Ok(close) => {
                closed.send_replace(true);
                return (close.head, closes_lost);
            }
            Err(StoreError::WrongExpectedVersion(wrong)) => {
                assert!(wrong.actual > copied, "the head never falls");
                closes_lost += 1;
            }
            Err(error) => panic!("the close was answered by {error:?}"),
        }
    }
}
