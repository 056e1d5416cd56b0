//! Append, Read, GetObject and ListObjects as a client sees them.

use streamgate::domain::Reason;
use streamgate::grpc::v1::expected_version::Kind;
use streamgate::grpc::v1::{self, read_request::Start};
use tonic::Code;

use crate::kit::{
    Server, append, config, event, expecting, history, object, payloads, read, refused, uuid,
};
use crate::migrations::migrate_and_wait;

#[tokio::test]
async fn what_was_appended_is_read_back_as_it_was_sent() {
    let mut server = Server::start().await;
    let sent = v1::NewEvent {
        schema_version: u32::MAX,
        payload: vec![0, 255, 10, 0].into(),
        metadata: [("k".into(), String::new()), ("ä".into(), "🦀".into())].into(),
        occurred_at: Some(prost_types::Timestamp { seconds: -5, nanos: 999_999_999 }),
        ..event("")
    };
    let request = v1::AppendRequest {
        object: object("a/../%2F=🦀"),
        events: vec![sent.clone(), v1::NewEvent { event_id: String::new(), ..event("two") }],
        ..v1::AppendRequest::default()
    };
    let answer = server.events.append(request).await.unwrap().into_inner();
    assert_eq!((answer.first_version, answer.last_version, answer.replay), (0, 1, false));
    assert_eq!(answer.event_ids[0], sent.event_id);
    assert_eq!(answer.event_ids[1].len(), 36, "an id was made for the event that had none");

    let (header, events) = history(&mut server.events, read("a/../%2F=🦀")).await.unwrap();
    assert_eq!(header.head_version, Some(1));
    let [first, second] = events.as_slice() else { panic!("{events:?}") };
    let as_sent = v1::NewEvent {
        event_id: first.event_id.clone(),
        event_type: first.event_type.clone(),
        schema_version: first.schema_version,
        content_type: first.content_type.clone(),
        payload: first.payload.clone(),
        metadata: first.metadata.clone(),
        occurred_at: first.occurred_at,
    };
    assert_eq!(as_sent, sent);
    assert_eq!(second.event_id, answer.event_ids[1]);
    assert_eq!((first.version, second.version), (0, 1));
    assert!(first.recorded_at.unwrap().seconds > 1_600_000_000);
}

#[tokio::test]
async fn every_expectation_meets_every_head_as_the_table_says() {
    let mut server = Server::start().await;
    let some = |id: &'static str, kind| expecting(kind, append(id, &["x"]));
    for (kind, expected) in
        [(Kind::StreamExists(()), "stream_exists"), (Kind::Exact(0), "0"), (Kind::Exact(7), "7")]
    {
        let answer = server.events.append(some("new", kind)).await;
        let values = refused(answer, Code::Aborted, Reason::WrongExpectedVersion);
        assert_eq!((&*values["expected"], &*values["actual"]), (expected, "none"));
    }
    let none = server.events.get_object(v1::GetObjectRequest { object: object("new") }).await;
    refused(none, Code::NotFound, Reason::ObjectNotFound);

    server.events.append(some("a", Kind::NoStream(()))).await.unwrap();
    server.events.append(some("a", Kind::Exact(0))).await.unwrap();
    server.events.append(some("a", Kind::StreamExists(()))).await.unwrap();
    server.events.append(some("a", Kind::Any(()))).await.unwrap();
    for (kind, expected) in [(Kind::NoStream(()), "no_stream"), (Kind::Exact(4), "4")] {
        let answer = server.events.append(some("a", kind)).await;
        let values = refused(answer, Code::Aborted, Reason::WrongExpectedVersion);
        assert_eq!((&*values["expected"], &*values["actual"]), (expected, "3"));
    }
    let (_, events) = history(&mut server.events, read("a")).await.unwrap();
    assert_eq!(events.len(), 4);
}

#[tokio::test]
async fn a_repeat_gets_the_first_answer_in_every_mode() {
    let mut server = Server::start().await;
    let request = append("a", &["1", "2"]);
    let first = server.events.append(request.clone()).await.unwrap().into_inner();
    server.events.append(append("a", &["3"])).await.unwrap();
    let kinds = [Kind::Any(()), Kind::NoStream(()), Kind::StreamExists(()), Kind::Exact(99)];
    for kind in kinds {
        let again = server.events.append(expecting(kind, request.clone())).await.unwrap();
        let expected = v1::AppendResponse { replay: true, ..first.clone() };
        assert_eq!(again.into_inner(), expected, "{kind:?}");
    }
    let mut altered = request.clone();
    altered.events[1].payload = "other".into();
    let values =
        refused(server.events.append(altered).await, Code::AlreadyExists, Reason::DuplicateEventId);
    assert!(request.events.iter().any(|event| event.event_id == values["event_id"]));
    let mut mixed = request;
    mixed.events.push(event("new"));
    let mixed = server.events.append(mixed).await;
    refused(mixed, Code::AlreadyExists, Reason::DuplicateEventId);
    let (_, events) = history(&mut server.events, read("a")).await.unwrap();
    assert_eq!(payloads(&events), ["1", "2", "3"]);
}

#[tokio::test]
async fn reads_start_and_end_where_they_are_told() {
    let mut server = Server::with(&["[proxy]\nread_batch_events_max = 3"]).await;
    let all: Vec<String> = (0..20).map(|n| format!("payload {n:02}")).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    server.events.append(append("a", &all)).await.unwrap();
    let from = |version| Some(Start::FromVersion(version));
    for (start, events_max, bytes_max, expected) in [
        (None, 0, 0, 0..20),
        (from(0), 5, 0, 0..5),
        (from(7), 0, 0, 7..20),
        (from(19), 3, 0, 19..20),
        (from(20), 0, 0, 20..20),
        (from(i64::MAX as u64), 0, 0, 20..20),
        (from(2), u64::MAX, u64::MAX, 2..20),
        (from(2), 0, 1, 2..3),
    ] {
        let request = v1::ReadRequest { start, events_max, bytes_max, ..read("a") };
        let case = format!("{request:?}");
        let (header, events) = history(&mut server.events, request).await.unwrap();
        assert_eq!(header.head_version, Some(19));
        assert_eq!(payloads(&events), all[expected], "{case}");
    }
    refused(
        history(&mut server.events, read("none")).await,
        Code::NotFound,
        Reason::ObjectNotFound,
    );
}

#[tokio::test]
async fn an_object_shows_where_it_lives_and_lists_in_pages() {
    let placement = "[[placement]]\nobject_name = 'crm.*'\nstore = 'cold'";
    let mut server = Server::with(&[placement]).await;
    for id in ["1", "2", "3"] {
        server.events.append(append(id, &["x", "y"])).await.unwrap();
    }
    let placed = v1::AppendRequest {
        object: Some(v1::ObjectRef { object_name: "crm.Order".into(), object_id: "1".into() }),
        ..append("", &["x"])
    };
    server.events.append(placed).await.unwrap();

    let found = server.events.get_object(v1::GetObjectRequest { object: object("2") }).await;
    let found = found.unwrap().into_inner().object.unwrap();
    assert_eq!((found.object, found.head_version), (object("2"), Some(1)));
    assert_eq!(found.chain.len(), 1);
    assert_eq!(found.chain[0].store, "hot");
    assert!(found.created_at.is_some() && found.running_migration.is_empty());

    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let list = v1::ListObjectsRequest {
            object_name: "order".into(),
            page_size: 2,
            page_token,
            ..v1::ListObjectsRequest::default()
        };
        let page = server.events.list_objects(list).await.unwrap().into_inner();
        assert!(page.objects.len() <= 2);
        ids.extend(page.objects.into_iter().map(|it| it.object.unwrap().object_id));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(ids, ["1", "2", "3"]);
    let in_cold = v1::ListObjectsRequest { store: "cold".into(), ..Default::default() };
    let in_cold = server.events.list_objects(in_cold).await.unwrap().into_inner().objects;
    assert_eq!(in_cold.len(), 1);
    assert_eq!(in_cold[0].object.as_ref().unwrap().object_name, "crm.Order");
}

#[tokio::test]
async fn a_stale_route_is_followed_unless_the_caller_opted_out() {
    let mut mover = Server::start().await;
    let config = config(crate::kit::TWO_STORES);
    let mut stale = Server::over(config, mover.resources.clone()).await;
    stale.events.append(append("a", &["1"])).await.unwrap();
    migrate_and_wait(&mut mover, "a", "cold").await;

    let opted_out = |payload| v1::AppendRequest {
        auto_retry_on_stream_closure: Some(false),
        ..append("a", &[payload])
    };
    let closed = stale.events.append(opted_out("2")).await;
    let values = refused(closed, Code::FailedPrecondition, Reason::StreamClosed);
    assert_eq!(values["stream_store"], "hot");
    assert_eq!(values["continuation_store"], "cold");
    assert_eq!(values["continuation_base_version"], "0");
    assert!(values["continuation_stream_id"].starts_with("order/a/"));
    assert!(!values["continuation_made_by"].is_empty());
    stale.events.append(opted_out("2")).await.expect("the stale route was forgotten");

    migrate_and_wait(&mut mover, "a", "hot").await;
    let answer = stale.events.append(append("a", &["3"])).await.unwrap().into_inner();
    assert_eq!((answer.first_version, answer.replay), (2, false));
    let (header, events) = history(&mut stale.events, read("a")).await.unwrap();
    assert_eq!(payloads(&events), ["1", "2", "3"]);
    let stores: Vec<&str> = header.chain.iter().map(|stream| stream.store.as_str()).collect();
    assert_eq!(stores, ["hot", "cold", "hot"]);
    assert_eq!(header.chain[0].last_version, Some(0));
}

#[tokio::test]
async fn a_stale_route_never_shows_an_old_end() {
    // A read that found its first page in a stream that was closed meanwhile took the end of that
    // stream for the object's.
    let mut mover = Server::start().await;
    let mut stale = Server::over(config(crate::kit::TWO_STORES), mover.resources.clone()).await;
    stale.events.append(append("a", &["1"])).await.unwrap();
    migrate_and_wait(&mut mover, "a", "cold").await;
    mover.events.append(append("a", &["2"])).await.unwrap();
    let (header, events) = history(&mut stale.events, read("a")).await.unwrap();
    assert_eq!(header.head_version, Some(1));
    assert_eq!(header.chain.last().unwrap().store, "cold");
    assert_eq!(payloads(&events), ["1", "2"]);
}

#[tokio::test]
async fn an_id_that_was_given_in_another_spelling_is_the_same_id() {
    let mut server = Server::start().await;
    let id = uuid();
    let spelled = |id: String| {
        let mut request = append("a", &["x"]);
        request.events[0].event_id = id;
        request
    };
    server.events.append(spelled(id.clone())).await.unwrap();
    let again = server.events.append(spelled(id.to_uppercase())).await.unwrap().into_inner();
    assert!(again.replay);
    assert_eq!(again.event_ids, [id]);
}
