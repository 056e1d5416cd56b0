//! A session that breaks with appends on their way, by a cut wire or a killed server, is resumed
//! by event ids: nothing is doubled, and followers see each event once.

use std::cell::RefCell;

use futures::future::{BoxFuture, join_all};
use streamgate::grpc::v1;
use streamgate::runtime::Entropy;
use streamgate::runtime::entropy::SeededEntropy;

use super::GRACE_PERIOD;
use super::language::Language;
use super::worker::{Answer, Worker, expected};
use crate::client::{Client, History, assert_same, has_ended, until};
use crate::process::{Folder, Tracing};
use crate::relay::Relay;

const OBJECTS: usize = 6;
/// Every second one ends by a killed server, the others by a cut wire.
const ROUNDS: u64 = 4;
const APPENDS_PER_ROUND: usize = 25;

/// An object with everything that was sent to it.
struct Story {
    object: v1::ObjectRef,
    entropy: SeededEntropy,
    sent: RefCell<Vec<v1::NewEvent>>,
}

impl Story {
    fn new(number: usize) -> Self {
        let object_id = number.to_string();
        let object = v1::ObjectRef { object_name: "order".into(), object_id };
        let entropy = SeededEntropy::new(number as u64);
        Self { object, entropy, sent: RefCell::default() }
    }

    /// Sends one event behind all others; gives the version that it must get.
    fn append(&self, writer: &Worker) -> (u64, BoxFuture<'static, Answer>) {
        let event = v1::NewEvent {
            event_id: self.entropy.uuid().to_string(),
            event_type: "Written".into(),
            payload: self.entropy.next_u64().to_be_bytes().to_vec().into(),
            ..Default::default()
        };
        let mut sent = self.sent.borrow_mut();
        let version = sent.len() as u64;
        sent.push(event.clone());
        let request = v1::AppendRequest {
            object: Some(self.object.clone()),
            expected_version: expected(version),
            events: vec![event],
            ..Default::default()
        };
        (version, writer.append(&request))
    }

    async fn head(&self, client: &Client) -> Option<u64> {
        client.object(&self.object).await.unwrap().head_version
    }

    async fn move_to(&self, store: &str, client: &Client) {
        let request = v1::MigrateRequest {
            request_id: format!("move-{}", self.object.object_id),
            object: Some(self.object.clone()),
            target_store: store.to_owned(),
            ..Default::default()
        };
        client.migrate(request).await.unwrap();
    }
}

/// Appends of a session that were sent, each with the version that it must get.
type Waiting = Vec<(u64, BoxFuture<'static, Answer>)>;

/// Sends appends whose answers stay in the wire, until at least one of them is done.
async fn send_held(stories: &[Story], writer: &Worker, relay: &Relay, client: &Client) -> Waiting {
    relay.hold_answers();
    let before = stories[0].head(client).await;
    let mut waiting = Vec::new();
    for _ in 0..APPENDS_PER_ROUND {
        waiting.extend(stories.iter().map(|story| story.append(writer)));
    }
    until("an append is done whose answer is held", async || {
        (stories[0].head(client).await > before).then_some(())
    })
    .await;
    waiting
}

/// Waits for all answers; gives how many appends were found done when they were sent again.
async fn replays(waiting: Waiting) -> usize {
    let answers = waiting.into_iter().map(async |(version, answer)| {
        let answer = answer.await.unwrap_or_else(|status| panic!("{version}: {status:?}"));
        assert_eq!((answer.first_version, answer.last_version), (version, version));
        usize::from(answer.replay)
    });
    join_all(answers).await.iter().sum()
}

async fn outlive_what_breaks(writer: Language, follower: Language) {
    let folder = Folder::new(GRACE_PERIOD);
    let mut server = folder.start(&Tracing::Off);
    let address = server.ready().await;
    let (relay, mut client) = (Relay::to(address).await, Client::to(address));
    let writer = Worker::start(writer, relay.address());
    let follower = Worker::start(follower, relay.address());
    let stories: Vec<Story> = (0..OBJECTS).map(Story::new).collect();
    let first = stories.iter().map(|story| story.append(&writer)).collect();
    assert_eq!(replays(first).await, 0);
    let follows: Vec<usize> = stories.iter().map(|story| follower.follow(&story.object)).collect();
    for follow in &follows {
        follower.until(*follow, |followed| !followed.events.is_empty()).await;
    }

    for round in 0..ROUNDS {
        if round == 1 {
            // The server is killed in the middle of it.
            join_all(stories.iter().map(|story| story.move_to("cold", &client))).await;
        }
        let waiting = send_held(&stories, &writer, &relay, &client).await;
        if round % 2 == 1 {
            server.kill();
            server = folder.start(&Tracing::Off);
            let address = server.ready().await;
            relay.point_to(address);
            client = Client::to(address);
        }
        relay.cut();
        assert!(replays(waiting).await > 0, "round {round} lost no answer");
        // More often while nobody serves behind the relay.
        assert!(writer.sessions_resumed() > round, "round {round} broke no session");
    }
    check(&stories, &follower, &follows, &client).await;
    writer.end().await;
    follower.end().await;
}

async fn check(stories: &[Story], follower: &Worker, follows: &[usize], client: &Client) {
    let ended = async || {
        let all = client.all_migrations().await.unwrap();
        all.iter().all(has_ended).then_some(())
    };
    until("all moves have ended", ended).await;
    follower.settle().await;
    for (story, follow) in stories.iter().zip(follows) {
        let sent = story.sent.borrow().clone();
        let history = client.read(&story.object).await.unwrap();
        assert_same(&story.object, &history, &sent);
        let stores = history.header.chain.iter().map(|stream| stream.store.as_str());
        assert!(stores.eq(["hot", "cold"]), "{:?} did not move", story.object);
        let followed = follower.followed(*follow);
        assert!(followed.resumed > 0, "a follow that nothing broke");
        let history = History { events: followed.events, ..Default::default() };
        assert_same(&story.object, &history, &sent);
    }
}

#[tokio::test]
async fn a_session_in_python_and_follows_in_typescript_outlive_cuts_and_kills() {
    outlive_what_breaks(Language::Python, Language::TypeScript).await;
}

#[tokio::test]
async fn a_session_in_typescript_and_follows_in_python_outlive_cuts_and_kills() {
    outlive_what_breaks(Language::TypeScript, Language::Python).await;
}
