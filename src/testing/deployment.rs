//! Whole proxies in one process, over shared stores: what scenarios, the crash matrix and the
//! simulation run on.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::app::hearing::{Hearing, ToldByHints};
use crate::coordination::{
    HoldOptions, InProcessHints, InProcessLock, InProcessPauseLeases, InProcessPauses, SharedPauses,
};
use crate::documents::{DocumentStore, ObjectDocuments};
use crate::domain::limits::Limits;
use crate::domain::{Event, ObjectKey, StoreName};
use crate::lock::{Hints, Lock, Owner, PauseLeases, Pauses};
use crate::migration::{Journal, MigrationParts, MigrationSettings, Migrations};
use crate::proxy::{Proxy, ProxyError, ProxyOptions, ProxyParts, ReadCommand};
use crate::runtime::{Clock, Entropy, Runtime, Shutdown};
use crate::store::announce::AnnounceStore;
use crate::store::{EventStore, Placement, Stores, Wakeups};
use crate::telemetry::moves::MoveWatch;
use crate::testing::faulty::{FaultPlan, FaultyDocuments, FaultyLock, FaultyStore};
use crate::testing::unruly::{Unruliness, UnrulyHints, UnrulyLeases};

/// The durable part: stores, documents and the lock, which outlive every process.
pub struct Deployment {
    /// Names as they appear in fault plans, with the stores; new objects go to the first.
    pub stores: Vec<(&'static str, Arc<dyn EventStore>)>,
    pub documents: Arc<dyn DocumentStore>,
    pub lock: Arc<dyn Lock>,
    /// What proxies tell each other, and the leases of pauses beside it.
    pub hints: Arc<InProcessHints>,
    pub pause_leases: Arc<InProcessPauseLeases>,
    /// What befalls hints on their way, and leases that are looked for.
    pub unruliness: Unruliness,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub proxy_options: ProxyOptions,
    pub migration_settings: MigrationSettings,
}

/// One proxy as a process would hold it.
pub struct Process {
    pub proxy: Arc<Proxy>,
    pub migrations: Migrations,
    /// The appends that are held back here.
    pub holds: InProcessPauses,
    pub runtime: Runtime,
    pub plan: FaultPlan,
}

impl Deployment {
    pub fn new(
        stores: Vec<(&'static str, Arc<dyn EventStore>)>,
        documents: Arc<dyn DocumentStore>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            stores,
            documents,
            lock: Arc::new(InProcessLock::new(Arc::clone(&clock))),
            hints: Arc::default(),
            pause_leases: Arc::new(InProcessPauseLeases::new(Arc::clone(&clock))),
            unruliness: Unruliness::none(),
            clock,
            entropy,
            proxy_options: ProxyOptions::default(),
            migration_settings: MigrationSettings::default(),
        }
    }

    /// Starts a proxy whose calls to the outside meet the fates that `plan` decides.
    pub fn process(&self, name: &str, plan: &FaultPlan) -> Process {
        self.process_apart(name, plan, Arc::clone(&self.lock))
    }

    /// Starts a proxy that has another lock than the rest: one that is cut off with half of a lock
    /// service, which tells it that all is well while the other half gives its leases to others.
    pub fn process_apart(&self, name: &str, plan: &FaultPlan, lock: Arc<dyn Lock>) -> Process {
        let runtime = Runtime {
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            shutdown: Shutdown::new(),
        };
        let hints = Arc::clone(&self.hints) as Arc<dyn Hints>;
        let hints: Arc<dyn Hints> =
            Arc::new(UnrulyHints::new(hints, self.unruliness, runtime.clone()));
        let elsewhere = Arc::new(ToldByHints::through(Arc::clone(&hints)));
        let wakeups = Wakeups::new();
        let named = self.stores.iter().map(|(part, store)| {
            let faulty = FaultyStore::new(part, Arc::clone(store), plan.clone());
            let told = wakeups.of(&store_name(part)).told_elsewhere(elsewhere.clone());
            let announced = AnnounceStore::new(Arc::new(faulty), told);
            (store_name(part), Arc::new(announced) as Arc<dyn EventStore>)
        });
        let stores = Stores::new(named.collect::<BTreeMap<_, _>>(), wakeups.clone());
        let documents: Arc<dyn DocumentStore> =
            Arc::new(FaultyDocuments::new(Arc::clone(&self.documents), plan.clone()));
        let lock: Arc<dyn Lock> = Arc::new(FaultyLock::new(lock, plan.clone()));
        let holds = InProcessPauses::new(HoldOptions::default(), Arc::clone(&self.clock));
        let pauses = self.pauses(&holds, &hints, &runtime);
        let moves = Arc::new(MoveWatch::default());
        let objects = ObjectDocuments::new(Arc::clone(&documents));
        let proxy = Proxy::new(ProxyParts {
            options: self.proxy_options.clone(),
            limits: Limits::default(),
            runtime: runtime.clone(),
            stores: stores.clone(),
            placement: Placement::new(store_name(self.stores[0].0)),
            documents: objects.clone(),
            pauses: Arc::clone(&pauses),
            hints: Arc::clone(&hints),
            moves: Arc::clone(&moves),
        });
        let migrations = Migrations::new(MigrationParts {
            settings: self.migration_settings.clone(),
            runtime: runtime.clone(),
            stores: stores.clone(),
            objects,
            journal: Journal::new(documents),
            lock,
            pauses: Arc::clone(&pauses),
            hints: Arc::clone(&hints),
            moves,
            owner: Owner(name.to_owned()),
        });
        let proxy = Arc::new(proxy);
        let hearing = Hearing {
            proxy: Arc::clone(&proxy),
            migrations: migrations.clone(),
            pauses,
            stores,
            runtime: runtime.clone(),
        };
        runtime.shutdown.spawn(hearing.run(hints.listen()));
        Process { proxy, migrations, holds, runtime, plan: plan.clone() }
    }

    fn pauses(
        &self,
        holds: &InProcessPauses,
        hints: &Arc<dyn Hints>,
        runtime: &Runtime,
    ) -> Arc<dyn Pauses> {
        let leases = Arc::clone(&self.pause_leases) as Arc<dyn PauseLeases>;
        let (refused, entropy) = (self.unruliness.unavailable_percent, Arc::clone(&self.entropy));
        let leases = Arc::new(UnrulyLeases::new(leases, refused, entropy));
        let (holds, hints) = (holds.clone(), Arc::clone(hints));
        Arc::new(SharedPauses::new(holds, hints, leases, runtime.clone()))
    }

    /// A proxy that nothing befalls, with its supervisor.
    pub fn healthy(&self, name: &str) -> Process {
        let process = self.process(name, &FaultPlan::none());
        let supervise = process.migrations.clone().supervise();
        process.runtime.shutdown.spawn(supervise);
        process
    }
}

impl Process {
    /// The whole history of an object as this proxy reads it.
    pub async fn history(&self, object: &ObjectKey) -> Result<Vec<Event>, ProxyError> {
        let mut reader = self.proxy.read(ReadCommand::all(object.clone())).await?;
        let mut events = Vec::new();
        while let Some(batch) = reader.next_batch().await? {
            for recorded in batch.events {
                let place = events.len() as u64;
                assert_eq!(recorded.version.0, place, "{object}: a gap or a repeat");
                events.push(recorded.event);
            }
        }
        Ok(events)
    }
}

/// The name of a store in tests.
pub fn store_name(name: &str) -> StoreName {
    StoreName::new(name).expect("tests name stores well")
}
