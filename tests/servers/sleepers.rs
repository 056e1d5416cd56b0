//! A writer that observed a head and slept through appends, chunks, the close and the removal wakes
//! and appends: refused, on every kind of store (I1, I2).

use std::sync::Arc;

use streamgate::domain::{Event, ExpectedVersion, StreamId, Version};
use streamgate::runtime::{Entropy, SystemEntropy};
use streamgate::store::{EventStore, StoreError};
use streamgate::testing::builders::{
    self, append, close, event, events, head, header, migration, range, store_name,
};

use crate::moves::{Kind, open};

/// How far the stream gets while the writer sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Until {
    Appended,
    /// Through several chunks, indexes and blobs, where a kind has them.
    Chunked,
    Closed,
    Removed,
}

/// The head that the sleeper observed.
const OBSERVED: Version = Version(2);

async fn read_all(store: &dyn EventStore, stream: &StreamId) -> Vec<Event> {
    let mut held = Vec::new();
    loop {
        let page = store.read(stream, range(held.len() as u64)).await.unwrap();
        let done = page.reaches_head();
        held.extend(page.events);
        if done {
            return held;
        }
    }
}

/// Another goes on with the stream, which holds three events; answers how many it holds then.
async fn go_on(awake: &dyn EventStore, stream: &StreamId, until: Until) -> u64 {
    let count = if until == Until::Appended { 4 } else { 64 };
    for number in 3..count {
        awake.append(stream, append(ExpectedVersion::Any, vec![event(number)])).await.unwrap();
    }
    if until >= Until::Closed {
        awake.close(stream, close(migration(1), head(count - 1))).await.unwrap();
    }
    if until >= Until::Removed {
        assert_eq!(awake.remove(stream).await.unwrap().events, count);
    }
    count
}

/// Asserts that what the sleeper knew is worth nothing any more, and that it changes nothing.
async fn wakes(
    (sleeper, awake): (&Arc<dyn EventStore>, &Arc<dyn EventStore>),
    (kind, until): (Kind, Until),
) {
    let what = format!("{} {until:?}", kind.word());
    let object = builders::object(&SystemEntropy.uuid().to_string());
    let stream = StreamId::numbered(&object, 0);
    sleeper.create(&stream, &header(&object)).await.unwrap();
    sleeper.append(&stream, append(ExpectedVersion::NoStream, events(0..3))).await.unwrap();
    assert_eq!(sleeper.tail(&stream).await.unwrap().head.version(), Some(OBSERVED));

    let count = go_on(&**awake, &stream, until).await;
    // Of one event, and of as many as came meanwhile.
    let late = [vec![event(1_000)], events(1_001..1_061)];
    for events in late.clone() {
        let stale = append(ExpectedVersion::Exact(OBSERVED), events);
        match sleeper.append(&stream, stale).await {
            Err(StoreError::WrongExpectedVersion(wrong)) if until < Until::Closed => {
                assert_eq!(wrong.actual, head(count - 1), "{what}");
            }
            Err(StoreError::Closed { close }) if until >= Until::Closed => {
                assert_eq!(close.head, head(count - 1), "{what}");
            }
            answer => panic!("{what}: {answer:?}"),
        }
    }
    if until >= Until::Closed {
        let modes =
            [ExpectedVersion::Any, ExpectedVersion::NoStream, ExpectedVersion::StreamExists];
        for expected in modes {
            let answer = sleeper.append(&stream, append(expected, late[0].clone())).await;
            assert!(matches!(answer, Err(StoreError::Closed { .. })), "{what}: {answer:?}");
        }
    }
    for store in [awake, sleeper] {
        let tail = store.tail(&stream).await.unwrap();
        assert_eq!(tail.head, head(count - 1), "{what}");
        assert_eq!(tail.closed.is_some(), until >= Until::Closed, "{what}");
        assert_eq!(tail.removed, until == Until::Removed, "{what}");
        if until < Until::Removed {
            assert_eq!(read_all(&**store, &stream).await, events(0..count), "{what}");
        } else {
            let gone = store.read(&stream, range(0)).await;
            assert!(matches!(gone, Err(StoreError::Gone { .. })), "{what}: {gone:?}");
        }
    }
}

async fn is_refused(kind: Kind) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = format!("[server]\ndata_dir = {:?}\n", folder.path());
    let settings = data_dir + &kind.settings_in_pieces("hot").await;
    let sleeper = open(&settings).await;
    let awake = match kind {
        // Nobody else can have one.
        Kind::Memory | Kind::Embedded => sleeper.clone(),
        Kind::Postgres | Kind::AzureBlob | Kind::Cosmos | Kind::S3 => open(&settings).await,
    };
    let store = store_name("hot");
    let (sleeper, awake) = (sleeper.stores.get(&store).unwrap(), awake.stores.get(&store).unwrap());
    for until in [Until::Appended, Until::Chunked, Until::Closed, Until::Removed] {
        wakes((sleeper, awake), (kind, until)).await;
    }
}

macro_rules! sleepers {
    ($($name:ident: $kind:ident;)*) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                is_refused(Kind::$kind).await;
            }
        )*
    };
}

sleepers! {
    a_sleeper_is_refused_by_memory: Memory;
    a_sleeper_is_refused_by_embedded: Embedded;
    a_sleeper_is_refused_by_postgres: Postgres;
    a_sleeper_is_refused_by_azure_blob: AzureBlob;
    a_sleeper_is_refused_by_cosmos: Cosmos;
    a_sleeper_is_refused_by_s3: S3;
}
