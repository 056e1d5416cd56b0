//! What a read promises that starts, goes or ends otherwise than at the beginning and the head.

use super::{InterfaceSubject, ids};
use crate::domain::{Event, Reason};
use crate::grpc::v1;
use crate::grpc::v1::read_request::Start;
use crate::testing::builders::{EventBuilder, event, events};
use crate::testing::conformance::wire::{object_ref, refusal};

fn backward(request: v1::ReadRequest) -> v1::ReadRequest {
    v1::ReadRequest { direction: v1::Direction::Backward.into(), ..request }
}

pub async fn a_history_is_read_backward_from_anywhere(subject: InterfaceSubject) {
    const EVENTS: u64 = 620;
    let object = subject.object_of(EVENTS / 2).await;
    object.move_to("cold").await;
    object.append(events(EVENTS / 2..EVENTS)).await;
    let all: Vec<Event> = events(0..EVENTS);
    for (start, events_max, from, count) in [
        (None, 0, EVENTS - 1, EVENTS),
        (Some(Start::FromEnd(())), 3, EVENTS - 1, 3),
        (Some(Start::FromVersion(EVENTS + 9)), 2, EVENTS - 1, 2),
        (Some(Start::FromVersion(400)), 0, 400, 401),
        (Some(Start::FromVersion(0)), 0, 0, 1),
    ] {
        let request = v1::ReadRequest { start, events_max, ..object.read_request() };
        let told = object.read(backward(request)).await;
        let versions: Vec<u64> = (0..=from).rev().take(count as usize).collect();
        assert_eq!(told.versions(), versions);
        let expected: Vec<Event> = versions.iter().map(|at| all[*at as usize].clone()).collect();
        assert_eq!(told.ids(), ids(&expected));
    }
}

/// More than fits into one page, so that the page must shrink.
pub async fn large_events_are_read_backward(subject: InterfaceSubject) {
    let object = subject.object();
    let sent: Vec<Event> = (0..12)
        .map(|number| {
            let bytes = if number % 3 == 0 { 200_000 } else { 10 };
            EventBuilder::new(number).payload(vec![number as u8; bytes]).build()
        })
        .collect();
    for event in &sent {
        object.append(vec![event.clone()]).await;
    }
    let told = object.read(backward(object.read_request())).await;
    assert_eq!(told.versions(), (0..12).rev().collect::<Vec<u64>>());
    for ((_, read), sent) in told.events.iter().zip(sent.iter().rev()) {
        assert_eq!(read.payload, sent.payload);
    }
}

pub async fn a_read_starts_at_a_moment_also_when_the_clock_fell(subject: InterfaceSubject) {
    const HOUR: i64 = 3_600_000_000_000;
    let object = subject.object();
    for (number, shift) in (0..).zip([0, HOUR, -5 * HOUR, -HOUR, 2 * HOUR, 3 * HOUR, 0]) {
        subject.clock.shift_by(shift);
        object.append(vec![event(number)]).await;
    }
    let history = object.read(object.read_request()).await.events;
    let times: Vec<i64> = history.iter().map(|(_, event)| event.recorded_at.nanos()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let moments = times.iter().flat_map(|time| [time - 1, *time, time + 1]);
    for moment in moments.chain([i64::MIN, i64::MAX]) {
        let (seconds, nanos) = crate::domain::Timestamp::from_nanos(moment).parts();
        let start = Some(Start::FromTime(prost_types::Timestamp { seconds, nanos }));
        let request = v1::ReadRequest { start, ..object.read_request() };
        let since = object.read(request.clone()).await.versions();
        let places = (0..).zip(&times);
        let expected: Vec<u64> =
            places.clone().filter(|(_, time)| **time >= moment).map(|(at, _)| at).collect();
        assert_eq!(since, expected, "since {moment} of {times:?}");
        let until = object.read(backward(request)).await.versions();
        let mut expected: Vec<u64> =
            places.filter(|(_, time)| **time <= moment).map(|(at, _)| at).collect();
        expected.reverse();
        assert_eq!(until, expected, "until {moment} of {times:?}");
    }
}

pub async fn a_filter_passes_over_what_does_not_match(subject: InterfaceSubject) {
    const EVENTS: u64 = 300;
    let object = subject.object();
    let kinds = ["OrderPlaced", "OrderPaid", "Shipped"];
    let sent = (0..EVENTS)
        .map(|number| EventBuilder::new(number).event_type(kinds[(number % 3) as usize]).build());
    object.append(sent.collect()).await;
    let filter = |types: &[&str], prefixes: &[&str]| {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        Some(v1::EventFilter { event_types: owned(types), event_type_prefixes: owned(prefixes) })
    };
    for (filter, wanted) in [
        (filter(&["Shipped"], &[]), vec![2]),
        (filter(&[], &["Order"]), vec![0, 1]),
        (filter(&["Shipped"], &["OrderPa"]), vec![1, 2]),
        (filter(&["Nothing"], &[]), vec![]),
        (filter(&[], &[]), vec![0, 1, 2]),
    ] {
        let expected: Vec<u64> = (0..EVENTS).filter(|at| wanted.contains(&(at % 3))).collect();
        let request = v1::ReadRequest { filter, ..object.read_request() };
        assert_eq!(object.read(request.clone()).await.versions(), expected);
        let reversed: Vec<u64> = expected.iter().rev().copied().collect();
        assert_eq!(object.read(backward(request.clone())).await.versions(), reversed);
        let some = v1::ReadRequest { events_max: 5, ..request.clone() };
        let first: Vec<u64> = expected.iter().copied().take(5).collect();
        assert_eq!(object.read(some).await.versions(), first);
        let told = object.read(v1::ReadRequest { checkpoints: true, ..request }).await;
        if expected.is_empty() {
            assert_eq!(told.checkpoints.last(), Some(&EVENTS), "what is passed over is told");
        }
    }
}

pub async fn a_read_is_resumed_by_its_token_in_both_directions(subject: InterfaceSubject) {
    const EVENTS: u64 = 25;
    let object = subject.object_of(EVENTS).await;
    for direction in [v1::Direction::Forward, v1::Direction::Backward] {
        let mut request = v1::ReadRequest {
            direction: direction.into(),
            events_max: 4,
            checkpoints: true,
            ..object.read_request()
        };
        let mut versions = Vec::new();
        for round in 0.. {
            let told = object.read(request.clone()).await;
            versions.extend(told.versions());
            if told.events.is_empty() {
                break;
            }
            // Wherever the object lives by then.
            if round < 2 {
                object.move_to(if round == 0 { "cold" } else { "hot" }).await;
            }
            let token = told.tokens.last().expect("a batch has a token").clone();
            request.start = Some(Start::ResumeToken(token));
        }
        let mut expected: Vec<u64> = (0..EVENTS).collect();
        if direction == v1::Direction::Backward {
            expected.reverse();
        }
        assert_eq!(versions, expected);
    }
}

pub async fn a_token_of_another_object_is_refused(subject: InterfaceSubject) {
    let (object, other) = (subject.object_of(2).await, subject.object_of(2).await);
    let request = v1::ReadRequest { checkpoints: true, ..object.read_request() };
    let told = object.read(request).await;
    let token = told.tokens.last().expect("a batch has a token").clone();
    for token in [token, bytes::Bytes::from_static(b"no token")] {
        let start = Some(Start::ResumeToken(token));
        let reason = other.refused(v1::ReadRequest { start, ..other.read_request() }).await;
        assert_eq!(reason, Reason::InvalidArgument);
    }
}

pub async fn a_raw_read_shows_the_close(subject: InterfaceSubject) {
    let object = subject.object_of(6).await;
    object.move_to("cold").await;
    object.append(events(6..8)).await;
    let header = object.read(object.read_request()).await.header.expect("it comes first");
    let [source, target] = &header.chain[..] else { panic!("{:?}", header.chain) };
    let raw = |stream: &v1::StreamInfo| v1::ReadRequest {
        raw: Some(v1::RawStream {
            store: stream.store.clone(),
            stream_id: stream.stream_id.clone(),
        }),
        ..v1::ReadRequest::default()
    };
    let told = object.read(raw(source)).await;
    assert_eq!(told.versions(), (0..6).collect::<Vec<u64>>());
    let close = told.close_event.expect("a closed stream shows its end");
    assert_eq!((close.last_version, close.kind.as_str()), (Some(5), "COPY"));
    let next = close.continuation.expect("it went on");
    assert_eq!((&next.store, &next.stream_id), (&target.store, &target.stream_id));
    let told = object.read(raw(target)).await;
    assert_eq!(told.versions(), (0..8).collect::<Vec<u64>>());
    assert_eq!(told.close_event, None, "an open stream has no end");
    let chain = told.header.expect("it comes first").chain;
    assert_eq!((chain.len(), &chain[0].made_by), (1, &close.migration_id));
    let told = object.read(backward(raw(source))).await;
    assert_eq!(told.versions(), (0..6).rev().collect::<Vec<u64>>());
}

pub async fn a_raw_read_of_what_is_not_there_is_refused(subject: InterfaceSubject) {
    let object = subject.object_of(1).await;
    for (store, reason) in [("hot", Reason::StreamNotFound), ("nowhere", Reason::StoreNotFound)] {
        let raw = Some(v1::RawStream { store: store.into(), stream_id: "no/such/stream".into() });
        let request = v1::ReadRequest { raw, ..v1::ReadRequest::default() };
        assert_eq!(object.refused(request).await, reason);
    }
}

pub async fn a_header_tells_head_and_chain(subject: InterfaceSubject) {
    let object = subject.object_of(3).await;
    object.move_to("cold").await;
    let starts = [None, Some(Start::FromVersion(2)), Some(Start::FromEnd(()))];
    for (start, events_max) in starts.into_iter().zip([1, 0, 0]) {
        let request = v1::ReadRequest { start, events_max, ..object.read_request() };
        for request in [request.clone(), backward(request)] {
            let header = object.read(request).await.header.expect("it comes first");
            assert_eq!(header.head_version, Some(2));
            let stores: Vec<&str> = header.chain.iter().map(|it| it.store.as_str()).collect();
            assert_eq!(stores, ["hot", "cold"]);
        }
    }
}

/// Six streams, some of which hold the whole history and some only what came to them.
pub async fn a_chain_of_both_kinds_is_one_history(subject: InterfaceSubject) {
    const EACH: u64 = 5;
    let object = subject.object_of(EACH).await;
    let mut held = EACH;
    for (kind, store) in
        [("go on", "cold"), ("go on", "hot"), ("copy", "cold"), ("go on", "hot"), ("go on", "cold")]
    {
        match kind {
            "copy" => object.move_to(store).await,
            _ => object.continue_in(store).await,
        }
        object.append(events(held..held + EACH)).await;
        held += EACH;
    }
    let all = events(0..held);
    let header = object.read(object.read_request()).await.header.expect("it comes first");
    assert_eq!(header.chain.len(), 6);
    for from in 0..=held {
        let start = Some(Start::FromVersion(from));
        let request = v1::ReadRequest { start, ..object.read_request() };
        let told = object.read(request.clone()).await;
        assert_eq!(told.versions(), (from..held).collect::<Vec<u64>>());
        assert_eq!(told.ids(), ids(&all[from as usize..]));
        let told = object.read(backward(request)).await;
        let newest = from.min(held - 1);
        assert_eq!(told.versions(), (0..=newest).rev().collect::<Vec<u64>>());
    }
    // What any stream of the chain holds is known, and appended nowhere a second time.
    for first in (0..held).step_by(EACH as usize) {
        object.append(events(first..first + EACH)).await;
    }
    object.holds(&all).await;
    // A stream that continues another and has no event yet.
    object.continue_in("hot").await;
    object.holds(&all).await;
    let told = object.read(backward(v1::ReadRequest { events_max: 3, ..object.read_request() }));
    assert_eq!(told.await.versions(), [held - 1, held - 2, held - 3]);
    let header = object.read(object.read_request()).await.header.expect("it comes first");
    assert_eq!(header.head_version, Some(held - 1));
    object.append(vec![event(held)]).await;
    object.holds(&events(0..held + 1)).await;
}

pub async fn requests_that_make_no_sense_are_refused_by_field(subject: InterfaceSubject) {
    let object = subject.object_of(1).await;
    let request = object.read_request();
    let raw = Some(v1::RawStream { store: "hot".into(), stream_id: "a".into() });
    let follow = Some(v1::FollowOptions::default());
    let hasty = v1::FollowOptions {
        heartbeat_interval: Some(prost_types::Duration { seconds: 0, nanos: 1 }),
    };
    let many = v1::EventFilter { event_types: vec!["a".into(); 101], ..Default::default() };
    for (request, field) in [
        (backward(v1::ReadRequest { follow, ..request.clone() }), "follow"),
        (v1::ReadRequest { follow: Some(hasty), ..request.clone() }, "follow.heartbeat_interval"),
        (v1::ReadRequest { direction: 9, ..request.clone() }, "direction"),
        (v1::ReadRequest { filter: Some(many), ..request.clone() }, "filter.event_types"),
        (v1::ReadRequest { raw, ..request.clone() }, "object"),
        (v1::ReadRequest { object: None, ..request }, "object"),
    ] {
        let status = subject.proxy.events().read(request).await.expect_err("it makes no sense");
        let violations = tonic_types::StatusExt::get_details_bad_request(&status);
        let fields: Vec<String> =
            violations.into_iter().flat_map(|it| it.field_violations).map(|it| it.field).collect();
        assert_eq!(fields, [field]);
        assert_eq!(refusal(status).reason, Reason::InvalidArgument);
    }
    assert_eq!(object_ref(&object.key).object_name, "Order");
}

pub async fn capabilities_tell_limits_and_promises(subject: InterfaceSubject) {
    let told = subject.proxy.events().get_capabilities(v1::GetCapabilitiesRequest {}).await;
    let told = told.expect("it is told").into_inner();
    let whole = told.limits.expect("a deployment has limits");
    let names: Vec<&str> = told.stores.iter().map(|store| store.store.as_str()).collect();
    assert_eq!(names, ["cold", "hot"]);
    for store in &told.stores {
        let own = store.limits.expect("a store has limits");
        assert!((1..=whole.batch_events_max).contains(&own.batch_events_max), "{store:?}");
        assert!((1..=whole.batch_bytes_max).contains(&own.batch_bytes_max), "{store:?}");
        assert!(store.serving && !store.condition.is_empty() && !store.kind.is_empty());
        assert_eq!(store.filter_place(), v1::FilterPlace::Proxy);
    }
    assert!(!told.version.is_empty() && !told.deployment.is_empty());
}
