//! What the actors share: the deployment, its processes and their faults, what clients were told,
//! and the trace of everything that happened.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamgate::backends::memory::MemoryStore;
use streamgate::coordination::InProcessLock;
use streamgate::documents::DocumentStore;
use streamgate::domain::{Digest, Event, EventId, ObjectKey, Timestamp};
use streamgate::lock::Lock;
use streamgate::migration::MigrationSettings;
use streamgate::proxy::ProxyOptions;
use streamgate::runtime::entropy::SeededEntropy;
use streamgate::runtime::{Clock, Entropy};
use streamgate::store::EventStore;
use streamgate::testing::deployment::{Deployment, Process};
use streamgate::testing::faulty::{Fate, FaultPlan};
use streamgate::testing::history::History;
use streamgate::testing::lying::{Bug, LyingDocuments, LyingStore};
use streamgate::testing::unruly::Unruliness;
use streamgate::testing::virtual_clock::VirtualClock;

use crate::followers::Heard;
use crate::watched::WatchedDocuments;

pub(crate) const STORES: [&str; 3] = ["hot", "cold", "archive"];
pub(crate) const OBJECTS: usize = 3;
const PROCESSES: usize = 3;
const FAULTS_PER_MILLE: u64 = 25;
const SLOW_PERCENT: u64 = 40;

/// Everything that happened, line by line.
#[derive(Clone, Default)]
pub(crate) struct Trace(Arc<Mutex<Vec<String>>>);

impl Trace {
    fn push(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

pub(crate) struct World {
    pub(crate) deployment: Deployment,
    pub(crate) history: RefCell<History>,
    processes: RefCell<Vec<Rc<Incarnation>>>,
    /// Those that died; calls that are on their way may still land.
    dead: RefCell<Vec<Rc<Incarnation>>>,
    healthy: Arc<AtomicBool>,
    trace: Trace,
    entropy: Arc<SeededEntropy>,
    births: Cell<u64>,
    /// What each pipelining client sent, in its order.
    pub(crate) pipelined: RefCell<Vec<(ObjectKey, Vec<EventId>)>>,
    /// What the follower of each object heard.
    pub(crate) heard: RefCell<Vec<Heard>>,
}

/// One life of a process.
pub(crate) struct Incarnation {
    pub(crate) process: Process,
    luck: Arc<Luck>,
}

/// What befalls a process as a whole.
#[derive(Default)]
struct Luck {
    dead: AtomicBool,
    /// Until when it hangs, in microseconds of the monotonic clock.
    hangs_until: AtomicU64,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace, bug: Option<Bug>) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(VirtualClock::new());
        let entropy = Arc::new(SeededEntropy::new(seed));
        let store = || -> Arc<dyn EventStore> {
            let inner = Arc::new(MemoryStore::default());
            match bug {
                Some(bug) => Arc::new(LyingStore { inner, bug }),
                None => inner,
            }
        };
        let watched = Arc::new(WatchedDocuments::new(Arc::new(MemoryStore::default())));
        let documents: Arc<dyn DocumentStore> = match bug {
            Some(bug) => Arc::new(LyingDocuments { inner: watched, bug }),
            None => watched,
        };
        let stores = STORES.map(|name| (name, store())).to_vec();
        let mut deployment = Deployment::new(stores, documents, clock, entropy.clone());
        deployment.migration_settings = MigrationSettings {
            lease_ttl: Duration::from_secs(2),
            scan_interval: Duration::from_secs(1),
            ..MigrationSettings::default()
        };
        deployment.unruliness = Unruliness {
            lost_percent: 15,
            unavailable_percent: 10,
            late_percent: 30,
            twice_percent: 10,
            late_max: Duration::from_millis(400),
        };
        deployment.proxy_options = ProxyOptions {
            follow_poll_max: Duration::from_millis(500),
            session_runs_ahead: bug == Some(Bug::SessionRunsAhead),
            ..ProxyOptions::default()
        };
        let world = Self {
            deployment,
            history: RefCell::default(),
            processes: RefCell::default(),
            dead: RefCell::default(),
            healthy: Arc::default(),
            trace,
            entropy,
            births: Cell::new(0),
            pipelined: RefCell::default(),
            heard: RefCell::new((0..OBJECTS).map(|_| Heard::default()).collect()),
        };
        for _ in 0..PROCESSES {
            let born = world.birth();
            world.processes.borrow_mut().push(born);
        }
        world
    }

    /// A number below `bound`, from the one seed.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        self.entropy.below(bound)
    }

    pub(crate) fn chance(&self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) async fn idle(&self, millis_max: u64) {
        let wait = Duration::from_millis(self.below(millis_max) + 1);
        self.deployment.clock.sleep(wait).await;
    }

    pub(crate) fn note(&self, line: String) {
        let now = self.deployment.clock.monotonic().as_micros();
        self.trace.push(format!("{now:>9} {line}"));
    }

    /// Any process, each with routes of its own age.
    pub(crate) fn process(&self) -> Rc<Incarnation> {
        let processes = self.processes.borrow();
        let any = self.below(processes.len() as u64);
        Rc::clone(&processes[usize::try_from(any).unwrap()])
    }

    pub(crate) fn object(&self, number: usize) -> ObjectKey {
        ObjectKey::new("order", format!("{number}")).unwrap()
    }

    pub(crate) fn event(&self) -> Event {
        let mut event = Event {
            event_id: EventId(self.entropy.uuid()),
            event_type: "Noted".into(),
            schema_version: 1,
            content_type: String::new(),
            payload: self.entropy.next_u64().to_be_bytes().to_vec().into(),
            metadata: BTreeMap::new(),
            occurred_at: None,
            recorded_at: Timestamp::EPOCH,
            digest: Digest::from_bytes([0; 32]),
        };
        event.digest = Digest::of(&event);
        event
    }

    /// A process dies in the middle of whatever it does, and another is born in its place.
    pub(crate) fn crash(&self) {
        let place = usize::try_from(self.below(PROCESSES as u64)).unwrap();
        let born = self.birth();
        let died = std::mem::replace(&mut self.processes.borrow_mut()[place], born);
        died.luck.dead.store(true, Ordering::Relaxed);
        self.note(format!("process {place} died"));
        self.dead.borrow_mut().push(died);
    }

    /// A process hangs in all it does, so long that it loses its leases and wakes as a zombie.
    pub(crate) fn hang(&self) {
        let place = usize::try_from(self.below(PROCESSES as u64)).unwrap();
        let length = Duration::from_millis(1_000 + self.below(6_000));
        let until = self.deployment.clock.monotonic() + length;
        let until = u64::try_from(until.as_micros()).unwrap();
        self.processes.borrow()[place].luck.hangs_until.store(until, Ordering::Relaxed);
        self.note(format!("process {place} hangs for {length:?}"));
    }

    /// Lets one call that is on its way land; false if there is none anywhere.
    pub(crate) async fn land_late(&self) -> bool {
        let lives: Vec<_> = {
            let (living, dead) = (self.processes.borrow(), self.dead.borrow());
            living.iter().chain(dead.iter()).map(Rc::clone).collect()
        };
        for life in lives {
            if life.process.plan.land_late().await {
                self.note("a late call landed".into());
                return true;
            }
        }
        false
    }

    /// From now on nothing fails any more, and nobody dies.
    pub(crate) async fn heal(&self) {
        self.healthy.store(true, Ordering::Relaxed);
        while self.land_late().await {}
        self.note("healed".into());
    }

    fn birth(&self) -> Rc<Incarnation> {
        let luck = Arc::<Luck>::default();
        let name = format!("p{}", self.births.get());
        self.births.set(self.births.get() + 1);
        let plan = self.plan(&name, Arc::clone(&luck));
        // Some live beside a lock service that fell apart, and are told that all is well.
        let lock: Arc<dyn Lock> = if self.chance(25) {
            self.note(format!("{name} has a lock of its own"));
            Arc::new(InProcessLock::new(Arc::clone(&self.deployment.clock)))
        } else {
            Arc::clone(&self.deployment.lock)
        };
        let process = self.deployment.process_apart(&name, &plan, lock);
        process.runtime.shutdown.spawn(process.migrations.clone().supervise());
        Rc::new(Incarnation { process, luck })
    }

    fn plan(&self, name: &str, luck: Arc<Luck>) -> FaultPlan {
        let (entropy, healthy) = (Arc::clone(&self.entropy), Arc::clone(&self.healthy));
        let (trace, clock) = (self.trace.clone(), Arc::clone(&self.deployment.clock));
        let name = name.to_owned();
        FaultPlan::new(move |call| {
            let now = clock.monotonic().as_micros();
            let hangs = u128::from(luck.hangs_until.load(Ordering::Relaxed)).saturating_sub(now);
            let fate = if luck.dead.load(Ordering::Relaxed) {
                Fate::Dead
            } else if hangs > 0 {
                Fate::Stall(Duration::from_micros(u64::try_from(hangs).unwrap()))
            } else if healthy.load(Ordering::Relaxed) {
                Fate::Done
            } else {
                misfortune(&*entropy)
            };
            let line = format!("{now:>9} {name} {}.{} {fate:?}", call.part, call.operation);
            trace.push(line);
            fate
        })
    }
}

/// Most calls take their time, so that others come in between; some fail.
fn misfortune(entropy: &dyn Entropy) -> Fate {
    if entropy.below(1000) < FAULTS_PER_MILLE {
        return [Fate::LoseRequest, Fate::LoseAnswer, Fate::Late]
            [usize::try_from(entropy.below(3)).unwrap()];
    }
    if entropy.below(100) < SLOW_PERCENT {
        return Fate::Stall(Duration::from_millis(1 + entropy.below(4)));
    }
    Fate::Done
}

impl Incarnation {
    pub(crate) fn is_dead(&self) -> bool {
        self.luck.dead.load(Ordering::Relaxed)
    }
}
