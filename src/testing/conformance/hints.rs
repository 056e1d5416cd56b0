//! The promises of [`Hints`], and of pauses that several proxies keep, one case each. Two proxies
//! stand for any number.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::coordination::{HoldOptions, InProcessPauses, SharedPauses};
use crate::domain::{MigrationId, ObjectKey, StoreName, StreamAddress, StreamId};
use crate::lock::{Ears, Heard, Held, Hint, Hints, PauseId, PauseLeases, Pauses};
use crate::runtime::{Deadline, Runtime};
use crate::telemetry::holds::HoldEnd;

/// Two proxies that tell each other, in real time.
#[derive(Clone)]
pub struct HintsSubject {
    pub here: Told,
    pub there: Told,
}

/// What one proxy has of it.
#[derive(Clone)]
pub struct Told {
    pub hints: Arc<dyn Hints>,
    pub leases: Arc<dyn PauseLeases>,
    pub pauses: Arc<dyn Pauses>,
    pub holds: InProcessPauses,
    pub runtime: Runtime,
}

const MINUTE: Duration = Duration::from_secs(60);

impl super::Finish for HintsSubject {
    async fn finish(&self) {
        self.here.runtime.shutdown.begin();
        self.there.runtime.shutdown.begin();
    }
}

impl Told {
    /// A proxy over hints and leases, whose pauses hear what is told.
    pub fn over(hints: Arc<dyn Hints>, leases: Arc<dyn PauseLeases>, runtime: Runtime) -> Self {
        let clock = Arc::clone(&runtime.clock);
        let holds = InProcessPauses::new(HoldOptions::default(), clock);
        let (telling, looked_at) = (Arc::clone(&hints), Arc::clone(&leases));
        let pauses = SharedPauses::new(holds.clone(), telling, looked_at, runtime.clone());
        let (mut ears, hearing, shutdown) =
            (hints.listen(), pauses.clone(), runtime.shutdown.clone());
        runtime.shutdown.spawn(async move {
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.begun() => return,
                    heard = ears.hear() => hearing.heard(&heard),
                }
            }
        });
        Self { hints, leases, pauses: Arc::new(pauses), holds, runtime }
    }

    /// An append that goes as soon as it may, and says how it was held.
    fn append(&self, object: &ObjectKey) -> tokio::task::JoinHandle<Held> {
        let (pauses, object) = (Arc::clone(&self.pauses), object.clone());
        let deadline = Some(Deadline::after(&*self.runtime.clock, MINUTE));
        let append = async move { pauses.pass(&object, deadline).await.0 };
        self.runtime.shutdown.spawn(append)
    }

    /// Sends appends of the object until one of them waits, and answers that one.
    async fn append_that_waits(&self, object: &ObjectKey) -> tokio::task::JoinHandle<Held> {
        loop {
            let before = self.holds.held();
            let append = self.append(object);
            while !append.is_finished() {
                self.moment().await;
                if self.holds.held() > before {
                    return append;
                }
            }
            append.await.unwrap();
        }
    }

    async fn moment(&self) {
        self.runtime.clock.sleep(Duration::from_millis(1)).await;
    }

    /// Tells until `ears` hear the word: a connection may still be on its way. They may hear it
    /// again later, since no word is lost only because it is not waited for any more.
    async fn tell_until_heard(&self, hint: &Hint, ears: &mut Ears) {
        loop {
            let _ = self.hints.tell_now(hint.clone()).await;
            let deadline = Deadline::after(&*self.runtime.clock, Duration::from_millis(100));
            let heard = deadline.bound(&*self.runtime.clock, ears_hear(ears, hint)).await;
            if heard.is_ok() {
                return;
            }
        }
    }
}

/// Waits until a listener hears this.
async fn ears_hear(ears: &mut Ears, wanted: &Hint) {
    loop {
        if let Heard::Hints(hints) = ears.hear().await
            && hints.contains(wanted)
        {
            return;
        }
    }
}

fn object(id: &str) -> ObjectKey {
    ObjectKey::new("order", id).expect("well formed")
}

fn stream(id: &str) -> StreamAddress {
    let store = StoreName::new("hot").expect("well formed");
    StreamAddress { store, stream_id: StreamId::new(id).expect("well formed") }
}

impl HintsSubject {
    /// Both hear each other.
    async fn connected(&self) {
        let wanted =
            |n: u128| Hint::MigrationWanted { migration: MigrationId(uuid::Uuid::from_u128(n)) };
        let (mut here, mut there) = (self.here.hints.listen(), self.there.hints.listen());
        self.here.tell_until_heard(&wanted(1), &mut there).await;
        self.there.tell_until_heard(&wanted(2), &mut here).await;
    }
}

super::suite! { $ hints_conformance, hints over HintsSubject, [
    what_is_told_is_heard_elsewhere_and_here
    what_waits_to_be_told_is_heard_before_what_is_told_now
    a_pause_holds_appends_in_every_proxy_until_it_is_over
    a_pause_ends_everywhere_by_itself
    a_pause_that_is_heard_after_its_end_holds_nobody
    the_end_of_one_pause_does_not_end_another
    nobody_is_held_when_hints_may_have_been_missed
    a_pause_that_is_given_up_on_the_way_can_be_ended
] }

#[cfg(test)]
pub(super) const SOURCES: &[&str] = &[include_str!("hints.rs")];

pub async fn what_is_told_is_heard_elsewhere_and_here(subject: HintsSubject) {
    subject.connected().await;
    let (mut here, mut there) = (subject.here.hints.listen(), subject.there.hints.listen());
    let hint = Hint::RouteChanged { object: object("1"), revision: 3, document: None };
    subject.here.hints.tell(hint.clone());
    ears_hear(&mut here, &hint).await;
    ears_hear(&mut there, &hint).await;
    let hint = Hint::StreamChanged { stream: stream("a") };
    subject.there.hints.tell(hint.clone());
    let mut here = subject.here.hints.listen();
    subject.there.tell_until_heard(&hint, &mut here).await;
}

pub async fn what_waits_to_be_told_is_heard_before_what_is_told_now(subject: HintsSubject) {
    subject.connected().await;
    let mut there = subject.there.hints.listen();
    let changed = |n: u32| Hint::StreamChanged { stream: stream(&n.to_string()) };
    for n in 0..100 {
        subject.here.hints.tell(changed(n));
    }
    let now = Hint::Resumed { object: object("1"), pause: PauseId(uuid::Uuid::nil()) };
    subject.here.hints.tell_now(now.clone()).await.unwrap();
    let expected: Vec<Hint> = (0..100).map(changed).chain([now.clone()]).collect();
    let mut heard: Vec<Hint> = Vec::new();
    while heard.last() != Some(&now) {
        if let Heard::Hints(hints) = there.hear().await {
            // The words by which both were connected may come late, and any hint twice.
            for hint in hints.iter().filter(|hint| expected.contains(hint)) {
                if !heard.contains(hint) {
                    heard.push(hint.clone());
                }
            }
        }
    }
    assert_eq!(heard, expected);
}

pub async fn a_pause_holds_appends_in_every_proxy_until_it_is_over(subject: HintsSubject) {
    subject.connected().await;
    let (here, there) = (&subject.here, &subject.there);
    here.pauses.pause(&object("1"), MINUTE).await.unwrap();
    let append_here = here.append_that_waits(&object("1")).await;
    let append_there = there.append_that_waits(&object("1")).await;
    assert_eq!(there.append(&object("2")).await.unwrap(), Held::No);
    assert!(!append_here.is_finished());
    here.pauses.resume(&object("1")).await.unwrap();
    assert_eq!(append_here.await.unwrap(), Held::Released);
    assert_eq!(append_there.await.unwrap(), Held::Released);
    assert!(there.holds.figures().ended(HoldEnd::Released) >= 1);
}

pub async fn a_pause_ends_everywhere_by_itself(subject: HintsSubject) {
    subject.connected().await;
    let (here, there) = (&subject.here, &subject.there);
    // A busy machine may let a short pause pass before anybody meets it, or find that it cannot
    // be told in time.
    let mut length = Duration::from_millis(100);
    loop {
        length *= 2;
        if here.pauses.pause(&object("1"), length).await.is_err() {
            continue;
        }
        let appends = [here.append(&object("1")), there.append(&object("1"))];
        let mut held = 0;
        for append in appends {
            held += usize::from(append.await.unwrap() == Held::Released);
        }
        if held == 2 {
            return;
        }
    }
}

pub async fn a_pause_that_is_heard_after_its_end_holds_nobody(subject: HintsSubject) {
    subject.connected().await;
    let (here, there) = (&subject.here, &subject.there);
    let over = PauseId(uuid::Uuid::from_u128(7));
    let late = Heard::Hints(Arc::new([Hint::paused(object("1"), over, MINUTE)]));
    there.pauses.heard(&late);
    let held = there.append(&object("1")).await.unwrap();
    assert!(matches!(held, Held::Released | Held::No), "{held:?}");
    // One that has its lease holds on.
    here.leases.begin(&object("1"), over, MINUTE).await.unwrap();
    there.pauses.heard(&late);
    let append = there.append_that_waits(&object("1")).await;
    there
        .pauses
        .heard(&Heard::Hints(Arc::new([Hint::Resumed { object: object("1"), pause: over }])));
    assert_eq!(append.await.unwrap(), Held::Released);
}

pub async fn the_end_of_one_pause_does_not_end_another(subject: HintsSubject) {
    subject.connected().await;
    let (here, there) = (&subject.here, &subject.there);
    here.pauses.pause(&object("1"), MINUTE).await.unwrap();
    let append = there.append_that_waits(&object("1")).await;
    let other = Hint::Resumed { object: object("1"), pause: PauseId(uuid::Uuid::from_u128(9)) };
    there.pauses.heard(&Heard::Hints(Arc::new([other])));
    there.pauses.resume(&object("1")).await.unwrap();
    there.moment().await;
    assert!(!append.is_finished(), "another's pause was ended");
    here.pauses.resume(&object("1")).await.unwrap();
    assert_eq!(append.await.unwrap(), Held::Released);
}

pub async fn nobody_is_held_when_hints_may_have_been_missed(subject: HintsSubject) {
    subject.connected().await;
    let (here, there) = (&subject.here, &subject.there);
    here.pauses.pause(&object("1"), MINUTE).await.unwrap();
    let append = there.append_that_waits(&object("1")).await;
    there.pauses.heard(&Heard::Missed);
    assert_eq!(append.await.unwrap(), Held::Released);
    here.pauses.resume(&object("1")).await.unwrap();
}

pub async fn a_pause_that_is_given_up_on_the_way_can_be_ended(subject: HintsSubject) {
    subject.connected().await;
    let here = &subject.here;
    // An append that never ends keeps the pause waiting.
    let (_, _stuck) = here.pauses.pass(&object("1"), None).await;
    let deadline = Deadline::after(&*here.runtime.clock, Duration::from_millis(50));
    let object = object("1");
    let pause = here.pauses.pause(&object, MINUTE);
    deadline.bound(&*here.runtime.clock, pause).await.expect_err("it waits for the append");
    let append = here.append_that_waits(&object).await;
    here.pauses.resume(&object).await.unwrap();
    assert_eq!(append.await.unwrap(), Held::Released);
}
