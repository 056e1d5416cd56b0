//! What a real log does not bring: long histories, large payloads, hostile ids, clocks that stand
//! and fall. Each moves twice while it is written and is compared byte for byte.

use std::sync::Arc;

use futures::StreamExt as _;
use streamgate::grpc::v1;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock, Entropy, SystemClock};

use crate::client::{Client, assert_same};
use crate::in_process::{FallingClock, InProcess};
use crate::moving::Move;
use crate::permits::STORES;

const MIB: usize = 1024 * 1024;

/// An object with the batches that are appended to it, in order.
struct Story {
    object: v1::ObjectRef,
    batches: Vec<Vec<v1::NewEvent>>,
    events_per_second_max: Option<u64>,
}

impl Story {
    /// Writes the first part, and of the rest one half during each of two moves.
    async fn play(&self, client: &Client, held: usize) {
        let object = &self.object;
        let append = async |batch: Vec<v1::NewEvent>| {
            let answer = client.append(object, None, batch).await;
            answer.unwrap_or_else(|status| panic!("an append was answered {status:?}"))
        };
        let (first, held) = self.batches.split_at(self.batches.len() - held);
        for batch in first {
            append(batch.clone()).await;
        }
        let (second, third) = held.split_at(held.len() / 2);
        for (target, held) in STORES[1..].iter().zip([second, third]) {
            let events_per_second_max = self.events_per_second_max;
            Move { object, target, events_per_second_max, held }.run(client, append).await;
        }
        let history = client.read(object).await.expect("every object can be read");
        assert_same(object, &history, &self.batches.concat());
        let stores = history.header.chain.iter().map(|stream| stream.store.as_str());
        assert!(stores.eq(STORES), "{object:?} did not move twice");
    }
}

fn object(name: &str, id: &str) -> v1::ObjectRef {
    v1::ObjectRef { object_name: name.to_owned(), object_id: id.to_owned() }
}

/// Times that stand for two events, then fall.
fn event(entropy: &dyn Entropy, number: i64, payload: Vec<u8>) -> v1::NewEvent {
    v1::NewEvent {
        event_id: entropy.uuid().to_string(),
        event_type: format!("Happened{}", number % 7),
        schema_version: u32::try_from(number % 3).unwrap(),
        content_type: "application/octet-stream".into(),
        payload: payload.into(),
        metadata: [("number".to_owned(), number.to_string())].into(),
        occurred_at: Some(prost_types::Timestamp {
            seconds: 1_000_000 - number / 2,
            nanos: 999_999_999,
        }),
    }
}

fn bytes(entropy: &dyn Entropy, count: usize) -> Vec<u8> {
    let words = std::iter::repeat_with(|| entropy.next_u64().to_le_bytes());
    words.take(count.div_ceil(8)).flatten().take(count).collect()
}

async fn play_one(story: Story, held: usize) {
    let server = InProcess::start(Arc::new(SystemClock)).await;
    story.play(&server.client(), held).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_100_000_events_moves_while_it_is_written() {
    let entropy = SeededEntropy::new(1);
    let batch = |number: i64| {
        let events = number * 1_000..(number + 1) * 1_000;
        events.map(|number| event(&entropy, number, number.to_string().into_bytes())).collect()
    };
    let batches = (0..100).map(batch).collect();
    let story = Story { object: object("order", "long"), batches, events_per_second_max: None };
    play_one(story, 20).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_of_one_mebibyte_move_byte_for_byte() {
    let entropy = SeededEntropy::new(2);
    let sizes = [MIB, 0, MIB - 1, 1, MIB, MIB, 0, MIB, MIB, MIB];
    let batches =
        (0..).zip(sizes).map(|(number, size)| vec![event(&entropy, number, bytes(&entropy, size))]);
    let batches = batches.collect();
    let events_per_second_max = Some(20);
    let story = Story { object: object("order", "large"), batches, events_per_second_max };
    play_one(story, 6).await;
}

/// Ids that look alike, like paths, like parts of streams, or like nothing that is stored safely.
fn hostile_objects() -> Vec<v1::ObjectRef> {
    let longest = "x".repeat(255);
    let crabs = format!("{}abc", "🦀".repeat(63));
    let ids = [
        "..",
        ".",
        "/",
        "//",
        "a/b",
        "a/b/",
        "%2F",
        "%2f",
        "a%2Fb",
        "%",
        "%00",
        "~",
        "~0",
        "\\",
        "case",
        "CASE",
        "Case",
        " ",
        "  ",
        "a ",
        "a",
        "-",
        "_",
        "*",
        "'\"`;--",
        "0000000000",
        "1/0000000000",
        "1",
        "1/0000000001",
        "🦀",
        "\u{e9}",
        "e\u{301}",
        "\u{202e}",
        "\u{feff}",
        "con",
        "NUL.txt",
        "?#&=",
        "{}",
        "ß",
        "SS",
        &longest,
        &crabs,
    ];
    let long_name = format!("N{}", "0".repeat(127));
    let ids_of = |name: &str, ids: &[&str]| -> Vec<v1::ObjectRef> {
        ids.iter().map(|id| object(name, id)).collect()
    };
    let mut objects = ids_of("order", &ids);
    objects.extend(ids_of("Order", &["case", "a/b", "1"]));
    objects.extend(ids_of("order.line", &["..", "1"]));
    objects.extend(ids_of("order_line", &["..", "1"]));
    objects.extend(ids_of(&long_name, &[&longest, &crabs]));
    objects
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_ids_move_apart_under_a_falling_clock() {
    let clock: Arc<dyn Clock> = Arc::new(FallingClock::new());
    let server = InProcess::start(clock).await;
    let client = server.client();
    let entropy = SeededEntropy::new(3);
    let stories = hostile_objects().into_iter().map(|object| {
        let number = |number| vec![event(&entropy, number, object.object_id.clone().into_bytes())];
        let batches = (0..7).map(number).collect();
        Story { object, batches, events_per_second_max: Some(20) }
    });
    let stories: Vec<Story> = stories.collect();
    let plays = stories.iter().map(|story| story.play(&client, 4));
    futures::stream::iter(plays).buffer_unordered(stories.len()).collect::<()>().await;
    server.stop().await;
}
