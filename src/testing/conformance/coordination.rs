//! The promises of [`Pauses`], one case each.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures::poll;

use crate::domain::{ObjectKey, Timestamp};
use crate::lock::{Held, Pauses};
use crate::runtime::Deadline;
use crate::testing::clock::ManualClock;

/// Pauses under test, on a clock that the case moves.
#[derive(Clone)]
pub struct CoordinationSubject {
    pub pauses: Arc<dyn Pauses>,
    pub clock: Arc<ManualClock>,
}

/// Appends that a subject holds of one object, and of all together.
pub const HELD_PER_OBJECT_MAX: usize = 3;
pub const HELD_MAX: usize = 5;

const MINUTE: Duration = Duration::from_secs(60);

impl super::Finish for CoordinationSubject {
    async fn finish(&self) {}
}

impl CoordinationSubject {
    /// The clock that a subject is made with.
    pub fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::new(Timestamp::from_nanos(1_000_000_000)))
    }

    fn deadline(&self, after: Duration) -> Option<Deadline> {
        Some(Deadline::after(&*self.clock, after))
    }

    async fn hold(&self, object: &ObjectKey) {
        self.pauses.pause(object, MINUTE).await.expect("nothing is in flight");
    }
}

fn object(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).expect("well formed")
}

super::suite! { $ coordination_conformance, coordination over CoordinationSubject, [
    without_a_pause_an_append_passes_at_once
    a_pause_holds_appends_until_it_is_over
    a_pause_ends_by_itself
    a_pause_that_nobody_met_ends_by_itself
    pausing_again_prolongs
    other_objects_pass_a_pause
    held_appends_leave_in_the_order_of_arrival
    one_more_than_an_object_holds_is_refused
    one_more_than_all_hold_is_refused
    a_deadline_ends_the_wait_and_frees_the_place
    an_append_that_gives_up_hands_its_turn_on
    a_pause_waits_for_what_came_before
    a_pause_does_not_wait_longer_than_it_lasts
    a_pause_during_the_leaving_holds_the_rest
    resuming_what_is_not_paused_is_no_fault
    while_a_pause_lasts_nothing_is_in_flight
] }

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[include_str!("coordination.rs")];

pub async fn without_a_pause_an_append_passes_at_once(subject: CoordinationSubject) {
    let (held, _pass) = subject.pauses.pass(&object("1"), None).await;
    assert_eq!(held, Held::No);
}

pub async fn a_pause_holds_appends_until_it_is_over(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut append = pauses.pass(&object, None);
    assert!(poll!(&mut append).is_pending());
    pauses.resume(&object).await.unwrap();
    assert_eq!(append.await.0, Held::Released);
    assert_eq!(pauses.pass(&object, None).await.0, Held::No);
}

pub async fn a_pause_ends_by_itself(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut append = pauses.pass(&object, None);
    assert!(poll!(&mut append).is_pending());
    subject.clock.advance(MINUTE);
    assert_eq!(append.await.0, Held::Released);
    assert_eq!(pauses.pass(&object, None).await.0, Held::No);
}

pub async fn a_pause_that_nobody_met_ends_by_itself(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    subject.clock.advance(MINUTE);
    assert_eq!(pauses.pass(&object, None).await.0, Held::No);
}

pub async fn pausing_again_prolongs(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut append = pauses.pass(&object, None);
    assert!(poll!(&mut append).is_pending());
    subject.clock.advance(MINUTE / 2);
    subject.hold(&object).await;
    subject.clock.advance(MINUTE / 2);
    assert!(poll!(&mut append).is_pending(), "the first pause would be over");
    subject.clock.advance(MINUTE / 2);
    assert_eq!(append.await.0, Held::Released);
}

pub async fn other_objects_pass_a_pause(subject: CoordinationSubject) {
    subject.hold(&object("1")).await;
    for id in 2..2_000 {
        let (held, _pass) = subject.pauses.pass(&object(&id.to_string()), None).await;
        assert_eq!(held, Held::No);
    }
}

pub async fn held_appends_leave_in_the_order_of_arrival(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut first = pauses.pass(&object, None);
    let mut second = pauses.pass(&object, None);
    let mut third = pauses.pass(&object, None);
    for append in [&mut first, &mut second, &mut third] {
        assert!(poll!(append).is_pending());
    }
    pauses.resume(&object).await.unwrap();
    assert!(poll!(&mut third).is_pending(), "two are before it");
    assert!(poll!(&mut second).is_pending(), "one is before it");
    let std::task::Poll::Ready((Held::Released, mut pass)) = poll!(&mut first) else {
        panic!("its turn has come");
    };
    assert!(poll!(&mut second).is_pending(), "the one before it has not gone yet");
    pass.gone();
    assert!(poll!(&mut third).is_pending());
    assert!(poll!(&mut second).is_ready(), "nobody waits for an answer to another");
    assert!(poll!(&mut third).is_ready());
}

pub async fn one_more_than_an_object_holds_is_refused(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut held: Vec<_> = (0..HELD_PER_OBJECT_MAX).map(|_| pauses.pass(&object, None)).collect();
    for append in &mut held {
        assert!(poll!(append).is_pending());
    }
    let refused = pauses.pass(&object, None).await.0;
    assert_eq!(refused, Held::Refused { retry_after: MINUTE });
    pauses.resume(&object).await.unwrap();
    for append in held {
        assert_eq!(append.await.0, Held::Released);
    }
}

pub async fn one_more_than_all_hold_is_refused(subject: CoordinationSubject) {
    let (pauses, a, b) = (&subject.pauses, object("a"), object("b"));
    subject.hold(&a).await;
    subject.hold(&b).await;
    let objects = [&a, &b].into_iter().cycle().take(HELD_MAX);
    let mut held: Vec<_> = objects.map(|object| pauses.pass(object, None)).collect();
    for append in &mut held {
        assert!(poll!(append).is_pending());
    }
    assert!(matches!(pauses.pass(&b, None).await.0, Held::Refused { .. }));
    drop(held);
    assert!(poll!(&mut pauses.pass(&b, None)).is_pending(), "there is room again");
}

pub async fn a_deadline_ends_the_wait_and_frees_the_place(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    for _ in 0..2 {
        let deadline = subject.deadline(Duration::from_secs(1));
        let mut held: Vec<_> =
            (0..HELD_PER_OBJECT_MAX).map(|_| pauses.pass(&object, deadline)).collect();
        for append in &mut held {
            assert!(poll!(append).is_pending());
        }
        subject.clock.advance(Duration::from_secs(1));
        for append in held {
            assert!(matches!(append.await.0, Held::Refused { .. }));
        }
    }
    let mut later = pauses.pass(&object, None);
    assert!(poll!(&mut later).is_pending());
    pauses.resume(&object).await.unwrap();
    assert_eq!(later.await.0, Held::Released);
}

pub async fn an_append_that_gives_up_hands_its_turn_on(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut waiting = pauses.pass(&object, None);
    let mut with_turn = pauses.pass(&object, None);
    let mut last = pauses.pass(&object, None);
    for append in [&mut waiting, &mut with_turn, &mut last] {
        assert!(poll!(append).is_pending());
    }
    drop(waiting);
    pauses.resume(&object).await.unwrap();
    assert!(poll!(&mut last).is_pending());
    // It was given the turn, and never looked.
    drop(with_turn);
    assert_eq!(last.await.0, Held::Released);
    assert_eq!(pauses.pass(&object, None).await.0, Held::No);
    // Nothing of those who gave up is counted as in flight.
    assert!(poll!(&mut pauses.pause(&object, MINUTE)).is_ready());
}

pub async fn a_pause_waits_for_what_came_before(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    let (_, first) = pauses.pass(&object, None).await;
    let (_, second) = pauses.pass(&object, None).await;
    let mut pause = pauses.pause(&object, MINUTE);
    assert!(poll!(&mut pause).is_pending());
    let mut later = pauses.pass(&object, None);
    assert!(poll!(&mut later).is_pending(), "the pause holds while it still waits itself");
    drop(first);
    assert!(poll!(&mut pause).is_pending());
    drop(second);
    assert!(matches!(poll!(&mut pause), std::task::Poll::Ready(Ok(()))));
}

pub async fn a_pause_does_not_wait_longer_than_it_lasts(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    let (_, _stuck) = pauses.pass(&object, None).await;
    let mut pause = pauses.pause(&object, MINUTE);
    assert!(poll!(&mut pause).is_pending());
    subject.clock.advance(MINUTE);
    pause.await.unwrap();
    assert_eq!(pauses.pass(&object, None).await.0, Held::No);
}

pub async fn a_pause_during_the_leaving_holds_the_rest(subject: CoordinationSubject) {
    let (pauses, object) = (&subject.pauses, object("1"));
    subject.hold(&object).await;
    let mut first = pauses.pass(&object, None);
    let mut second = pauses.pass(&object, None);
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    pauses.resume(&object).await.unwrap();
    // The first has its turn and has not looked yet: it is in flight all the same.
    let mut again = pauses.pause(&object, MINUTE);
    assert!(poll!(&mut again).is_pending());
    let (held, pass) = first.await;
    assert_eq!(held, Held::Released);
    assert!(poll!(&mut second).is_pending(), "its turn had not come");
    assert!(poll!(&mut again).is_pending());
    drop(pass);
    assert!(poll!(&mut again).is_ready());
    pauses.resume(&object).await.unwrap();
    assert_eq!(second.await.0, Held::Released);
}

pub async fn resuming_what_is_not_paused_is_no_fault(subject: CoordinationSubject) {
    let object = object("1");
    subject.pauses.resume(&object).await.unwrap();
    subject.hold(&object).await;
    subject.pauses.resume(&object).await.unwrap();
    subject.pauses.resume(&object).await.unwrap();
    assert_eq!(subject.pauses.pass(&object, None).await.0, Held::No);
}

/// Appends run against pauses without pause. The clock stands still, so no pause ends by itself.
pub async fn while_a_pause_lasts_nothing_is_in_flight(subject: CoordinationSubject) {
    let in_flight = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let appends = (0..3).map(|_| {
        let (subject, in_flight) = (subject.clone(), Arc::clone(&in_flight));
        let is_over = Arc::clone(&is_over);
        Box::pin(async move {
            let mut held = 0_usize;
            while !is_over.load(Ordering::SeqCst) {
                let (how, pass) = subject.pauses.pass(&object("1"), None).await;
                in_flight.fetch_add(1, Ordering::SeqCst);
                held += usize::from(how == Held::Released);
                tokio::task::yield_now().await;
                in_flight.fetch_sub(1, Ordering::SeqCst);
                drop(pass);
            }
            held
        }) as futures::future::BoxFuture<'static, usize>
    });
    let pauser = {
        let (subject, in_flight) = (subject.clone(), Arc::clone(&in_flight));
        let is_over = Arc::clone(&is_over);
        Box::pin(async move {
            for _ in 0..2_000 {
                subject.hold(&object("1")).await;
                for _ in 0..3 {
                    assert_eq!(in_flight.load(Ordering::SeqCst), 0);
                    tokio::task::yield_now().await;
                }
                subject.pauses.resume(&object("1")).await.unwrap();
                tokio::task::yield_now().await;
            }
            is_over.store(true, Ordering::SeqCst);
            0_usize
        }) as futures::future::BoxFuture<'static, usize>
    };
    let held = crate::testing::parallel::all(appends.chain([pauser])).await;
    assert!(held.into_iter().sum::<usize>() > 0, "no append ever met a pause");
}
