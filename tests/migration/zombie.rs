//! The zombie: a migrator that sleeps after it has read a page, while its migration is cancelled,
//! its copy removed, and the object moved to another target. It wakes, and changes nothing.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use streamgate::coordination::InProcessLock;
use streamgate::domain::Timestamp;
use streamgate::migration::Phase;
use streamgate::runtime::Clock;
use streamgate::testing::deployment::Process;
use streamgate::testing::faulty::{Fate, FaultPlan};

use crate::kit::{Kit, STORES};

/// The lines that were logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let (lines, level) = (self.clone(), tracing::Level::INFO);
        let listening = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || lines.clone())
            .finish();
        tracing::subscriber::set_default(listening)
    }

    fn take(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

const SLEEP: Duration = Duration::from_secs(120);

/// The clock of a process that sleeps at some time: no timer of it goes off meanwhile.
struct SleepyClock {
    clock: Arc<dyn Clock>,
    wakes_at: Mutex<Option<Duration>>,
}

impl SleepyClock {
    /// How much longer it sleeps; none before it falls asleep.
    fn sleeps_for(&self) -> Option<Duration> {
        let wakes_at = *self.wakes_at.lock().unwrap();
        wakes_at.map(|wakes_at| wakes_at.saturating_sub(self.clock.monotonic()))
    }
}

#[async_trait]
impl Clock for SleepyClock {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.sleep(duration).await;
        self.clock.sleep(self.sleeps_for().unwrap_or_default()).await;
    }
}

/// A process that sleeps, with all that it does, over the answer to the second page that it reads.
fn sleepy(kit: &mut Kit) -> Process {
    let awake = Arc::clone(&kit.deployment.clock);
    let clock = Arc::new(SleepyClock { clock: Arc::clone(&awake), wakes_at: Mutex::default() });
    kit.deployment.clock = Arc::<SleepyClock>::clone(&clock);
    let mut pages = 0;
    let plan = FaultPlan::new(move |call| {
        if let Some(left) = clock.sleeps_for() {
            return if left.is_zero() { Fate::Done } else { Fate::Stall(left) };
        }
        pages += u32::from((call.part, call.operation) == ("hot", "read"));
        if pages < 2 {
            return Fate::Done;
        }
        *clock.wakes_at.lock().unwrap() = Some(clock.monotonic() + SLEEP);
        Fate::StallAnswer(SLEEP)
    });
    let process = kit.deployment.process("zombie", &plan);
    kit.deployment.clock = awake;
    process
}

/// Hangs with the second page that it has read and is about to write, and is told meanwhile that
/// its lease is renewed.
fn hanging() -> FaultPlan {
    let mut pages = 0;
    FaultPlan::new(move |call| {
        let writes = (call.part, call.operation) == ("cold", "append");
        pages += u32::from(writes);
        if writes && pages == 2 { Fate::Stall(SLEEP) } else { Fate::Done }
    })
}

/// Everything that is kept anywhere of the object and its migrations.
async fn all_that_is_kept(
    kit: &Kit,
    process: &Process,
    request_ids: &[&str],
) -> impl Debug + PartialEq + use<> {
    let object = process.proxy.object(&kit.object).await.unwrap();
    let mut streams = Vec::new();
    for (store, events) in &kit.deployment.stores {
        for number in 0..8 {
            let id = format!("{}/{number:010}", kit.object);
            let id = streamgate::domain::StreamId::new(id).unwrap();
            if let Ok(tail) = events.tail(&id).await {
                streams.push((*store, id, format!("{tail:?}")));
            }
        }
    }
    assert!(streams.len() >= STORES.len(), "{streams:?}");
    let mut records = Vec::new();
    for request_id in request_ids {
        let id = kit.request(request_id, "cold").migration_id();
        records.push(process.migrations.get(id).await.unwrap().record);
    }
    (object.document, streams, records)
}

/// The story, with the zombie's own process given.
async fn overtaken(kit: &Kit, zombie: &Process) {
    let other = kit.deployment.process("other", &FaultPlan::none());
    kit.write(&other, 6).await;
    let request = kit.request("slept", "cold");
    let id = request.migration_id();
    zombie.migrations.start(request).await.unwrap();
    // It has copied a page, read the next, and sleeps; its lease runs out.
    kit.deployment.clock.sleep(Duration::from_secs(12)).await;
    assert!(
        zombie.plan.calls().iter().any(|call| (call.part, call.operation) == ("cold", "append"))
    );
    other.migrations.cancel(id, true).await.unwrap();
    other.runtime.shutdown.spawn(other.migrations.clone().supervise());
    kit.write(&other, 1).await;
    let view = kit.wait_final(&other, id).await;
    assert_eq!(view.record.phase, Phase::Cancelled);
    let mut copy = view.record.source.clone();
    copy.address = view.record.target.clone().unwrap();
    assert!(kit.tail(&copy).await.unwrap().removed);
    kit.migrate(&other, "other", "archive").await;
    kit.write(&other, 2).await;
    assert!(kit.deployment.clock.monotonic() < SLEEP, "the zombie still sleeps");

    let before = all_that_is_kept(kit, &other, &["slept", "other"]).await;
    let calls = zombie.plan.calls().len();
    kit.deployment.clock.sleep(SLEEP).await;
    let after = all_that_is_kept(kit, &other, &["slept", "other"]).await;
    assert_eq!(before, after);
    assert_eq!(zombie.migrations.get(id).await.unwrap().record.phase, Phase::Cancelled);
    println!("calls of the zombie after it woke: {:?}", &zombie.plan.calls()[calls..]);
    kit.write(&other, 1).await;
    kit.check(&other).await;
}

#[tokio::test(start_paused = true)]
async fn a_zombie_that_wakes_steps_aside_and_says_so() {
    let mut kit = kit(31);
    let lines = Lines::default();
    let _listening = lines.listen();
    let zombie = sleepy(&mut kit);
    overtaken(&kit, &zombie).await;
    let said = lines.take();
    let stepped = said.lines().filter(|line| line.contains("the lease was lost"));
    let [line] = stepped.collect::<Vec<_>>()[..] else { panic!("{said}") };
    println!("{line}");
    assert!(line.contains("loss=\"expired\"") && line.contains("CATCHING_UP"), "{line}");
}

/// This one is told by its half of a lock service that all is well, so nothing but the protocol
/// stops it (I5, I11).
#[tokio::test(start_paused = true)]
async fn a_zombie_that_believes_in_its_lease_changes_nothing() {
    let kit = kit(32);
    let lines = Lines::default();
    let _listening = lines.listen();
    let half = Arc::new(InProcessLock::new(Arc::clone(&kit.deployment.clock)));
    let zombie = kit.deployment.process_apart("zombie", &hanging(), half);
    overtaken(&kit, &zombie).await;
    let calls = zombie.plan.calls();
    let appended = calls.iter().filter(|call| (call.part, call.operation) == ("cold", "append"));
    assert_eq!(appended.count(), 2, "it wakes and writes its page: {calls:?}");
    let said = lines.take();
    println!("{said}");
    assert!(said.contains("loss=\"overtaken\""), "{said}");
}

/// Its records are not written in between, so that it has nothing to look at while it sleeps.
fn kit(seed: u64) -> Kit {
    let mut kit = Kit::new(seed);
    kit.deployment.migration_settings.record_interval = Duration::from_secs(3_600);
    kit.deployment.migration_settings.lease_ttl = Duration::from_secs(10);
    kit
}
