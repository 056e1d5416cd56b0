//! One object that 16 clients write as fast as they can through three proxies, over real servers,
//! and what becomes of moving it by each strategy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use streamgate::app::{App, AppParts, Listeners, Resources, registry};
use streamgate::config::{Config, Layers};
use streamgate::domain::close_event::MigrationKind;
use streamgate::domain::{Digest, EventId, ExpectedVersion, ObjectKey, Reason, Version};
use streamgate::migration::{
    MigrationOptions, MigrationRequest, MigrationView, OnConvergenceFailure, Phase,
};
use streamgate::proxy::{AppendCommand, Proxy, ReadCommand};
use streamgate::runtime::{Entropy, Runtime, SystemEntropy};
use streamgate::telemetry::holds::{HoldEnd, HoldFigures};
use streamgate::testing::builders;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::service::variable;

const PROXIES: usize = 3;
const CLIENTS: usize = 16;
/// A strategy is put to the test on this many objects at most: chance may let any migration close
/// at the first try.
const TRIES: usize = 5;

/// Proxies that share nothing but PostgreSQL and Redis.
struct Fleet {
    apps: Vec<App>,
    holds: Vec<HoldFigures>,
    ids: AtomicU64,
}

/// One append: when it was sent, and how long it took.
type Sent = (Instant, Duration);

/// What a move under writers came to.
struct Moved {
    view: MigrationView,
    /// The longest append while the object moved, and in as much time before.
    longest: Duration,
    longest_before: Duration,
    appends: usize,
}

impl Fleet {
    async fn start() -> Self {
        let (postgres, redis) =
            (variable("STREAMGATE_TEST_POSTGRES_URL"), variable("STREAMGATE_TEST_REDIS_URL"));
        let mut settings = format!("[coordination.redis]\nurl = '{redis}'\n");
        for name in ["hot", "cold"] {
            let schema = format!("t{}", SystemEntropy.uuid().simple());
            settings += &format!(
                "[[stores]]\nname = '{name}'\nkind = 'postgres'\nurl = '{postgres}'\n\
                 schema = '{schema}'\nconnections_max = 6\n"
            );
        }
        let (mut apps, mut holds) = (Vec::new(), Vec::new());
        for _ in 0..PROXIES {
            let file = Some(("convergence.toml".into(), settings.clone()));
            let config = Config::assemble(Layers { file, ..Layers::default() }).unwrap();
            let (runtime, mut registry) = (Runtime::system(), registry());
            let resources = Resources::open(&config, &runtime, &mut registry).await.unwrap();
            holds.push(resources.holds.clone());
            let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let listeners = Listeners { grpc, http: None };
            let parts = AppParts { config, runtime, resources, listeners, registry };
            apps.push(App::start(parts).await.unwrap());
        }
        Self { apps, holds, ids: AtomicU64::new(0) }
    }

    fn held(&self) -> Vec<u64> {
        self.holds.iter().map(HoldFigures::held).collect()
    }

    /// Moves a new object by this strategy while all clients write it. Every append must succeed,
    /// and the history must hold each once.
    async fn move_a_busy_object(&self, strategy: OnConvergenceFailure) -> Moved {
        let number = self.ids.fetch_add(1, Ordering::Relaxed);
        let object = builders::object(&format!("busy-{number}"));
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let proxy = Arc::clone(self.apps[client % PROXIES].proxy());
            clients.spawn(write(proxy, object.clone(), Arc::clone(&stop)));
        }
        let before = Instant::now();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = Instant::now();
        let view = self.move_to_the_end(&object, strategy).await;
        let ended = Instant::now();
        stop.store(true, Ordering::Relaxed);
        let sent: Vec<Sent> = clients.join_all().await.into_iter().flatten().collect();
        self.check(&object, sent.len()).await;
        let longest = |from: Instant, to: Instant| {
            let within = sent.iter().filter(|(at, took)| *at + *took > from && *at < to);
            within.map(|(_, took)| *took).max().unwrap_or_default()
        };
        Moved {
            view,
            longest: longest(began, ended),
            longest_before: longest(before, began),
            appends: sent.len(),
        }
    }

    async fn move_to_the_end(
        &self,
        object: &ObjectKey,
        strategy: OnConvergenceFailure,
    ) -> MigrationView {
        let request = MigrationRequest {
            request_id: SystemEntropy.uuid().to_string(),
            object: object.clone(),
            kind: MigrationKind::Copy,
            target_store: builders::store_name("cold"),
            target_stream_id: None,
            target_base: None,
            expected_source: None,
            options: MigrationOptions {
                close_timeout: Duration::from_secs(3),
                catch_up_delay: Duration::from_millis(20),
                on_convergence_failure: strategy,
                ..MigrationOptions::default()
            },
            labels: [].into(),
            validate_only: false,
        };
        let migrations = self.apps[0].migrations();
        let id = migrations.start(request).await.unwrap().record.migration;
        loop {
            let view = migrations.get(id).await.unwrap();
            if view.record.phase.has_ended() {
                return view;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    async fn check(&self, object: &ObjectKey, appends: usize) {
        let last = &self.apps[PROXIES - 1];
        let mut reader = last.proxy().read(ReadCommand::all(object.clone())).await.unwrap();
        let (mut ids, mut next) = (std::collections::HashSet::new(), Version::FIRST);
        while let Some(batch) = reader.next_batch().await.unwrap() {
            for recorded in batch.events {
                assert_eq!(recorded.version, next);
                next = next.plus(1);
                assert!(ids.insert(recorded.event.event_id), "an event stands twice");
            }
        }
        assert_eq!(ids.len(), appends, "every append was acknowledged and is there once");
    }

    async fn stop(self) {
        for app in self.apps {
            app.stop().await;
        }
    }
}

/// Appends one after the other. An error fails the test: no client may see one.
async fn write(proxy: Arc<Proxy>, object: ObjectKey, stop: Arc<AtomicBool>) -> Vec<Sent> {
    let mut sent = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut event = builders::event(0);
        event.event_id = EventId(SystemEntropy.uuid());
        event.digest = Digest::of(&event);
        let command = AppendCommand {
            object: object.clone(),
            expected: ExpectedVersion::Any,
            events: vec![event],
            auto_retry_on_stream_closure: None,
            deadline: None,
        };
        let at = Instant::now();
        proxy.append(command).await.unwrap();
        sent.push((at, at.elapsed()));
    }
    sent
}

fn tell(strategy: &str, moved: &Moved) {
    let (progress, record) = (&moved.view.progress, &moved.view.record);
    println!(
        "{strategy}: {} after {} rounds and {} tries to close; {} appends by {CLIENTS} clients \
         through {PROXIES} proxies; longest append {:?}, before the move {:?}",
        record.phase.as_str(),
        progress.iteration,
        progress.close_attempts,
        moved.appends,
        moved.longest,
        moved.longest_before,
    );
    if let Some(failure) = &record.failure {
        println!("  {}: {}", failure.reason.as_str(), failure.message);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_written_without_pause() {
    let fleet = Fleet::start().await;

    keep_trying_needs_many_rounds(&fleet).await;
    fail_says_why_with_figures(&fleet).await;
    pause_source_converges(&fleet).await;

    fleet.stop().await;
}

async fn keep_trying_needs_many_rounds(fleet: &Fleet) {
    const MANY: u32 = 6;
    for _ in 0..TRIES {
        let moved = fleet.move_a_busy_object(OnConvergenceFailure::KeepTrying).await;
        tell("KEEP_TRYING", &moved);
        if moved.view.progress.iteration >= MANY {
            return;
        }
    }
    panic!("none of {TRIES} busy objects needed {MANY} rounds");
}

async fn fail_says_why_with_figures(fleet: &Fleet) {
    for _ in 0..TRIES {
        let moved = fleet.move_a_busy_object(OnConvergenceFailure::Fail).await;
        tell("FAIL", &moved);
        let Some(failure) = moved.view.record.failure else { continue };
        assert_eq!(failure.reason, Reason::NotConverging);
        for figure in ["events were left", "the source takes", "the copy can take"] {
            assert!(failure.message.contains(figure), "no {figure:?} in {:?}", failure.message);
        }
        return;
    }
    panic!("none of {TRIES} busy objects failed to converge");
}

async fn pause_source_converges(fleet: &Fleet) {
    for _ in 0..TRIES {
        let before = fleet.held();
        let moved = fleet.move_a_busy_object(OnConvergenceFailure::PauseSource).await;
        tell("PAUSE_SOURCE", &moved);
        let view = moved.view;
        assert_eq!(view.record.phase, Phase::Succeeded, "{view:#?}");
        let held: Vec<u64> =
            std::iter::zip(fleet.held(), before).map(|(after, before)| after - before).collect();
        println!("  appends held in each proxy: {held:?}");
        for figures in &fleet.holds {
            assert_eq!((figures.refused(), figures.ended(HoldEnd::TimedOut)), (0, 0));
        }
        // A move that closed by chance before the pause held nobody.
        if held.iter().all(|held| *held > 0) {
            return;
        }
    }
    panic!("none of {TRIES} busy objects was held in every proxy");
}
