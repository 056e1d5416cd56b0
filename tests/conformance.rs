//! Every promise, put to every subject that makes it: a row for each.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use streamgate::backends::memory::MemoryStore;
use streamgate::domain::StoreName;
use streamgate::runtime::{Clock, Runtime, SystemClock};
use streamgate::store::announce::AnnounceStore;
use streamgate::store::limit::LimitStore;
use streamgate::store::observe::ObserveStore;
use streamgate::store::retry::RetryStore;
use streamgate::store::timeout::TimeoutStore;
use streamgate::store::{EventStore, StoreOptions, StoreWakeups, Wakeups, stack};
use streamgate::store_conformance;
use streamgate::telemetry::calls::{CallMetrics, StoreCalls};
use streamgate::testing::conformance::store::StoreSubject;

fn memory() -> Arc<dyn EventStore> {
    Arc::new(MemoryStore::new())
}

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

fn calls() -> Arc<StoreCalls> {
    let name = StoreName::new("hot").expect("it is well formed");
    CallMetrics::new(&mut Registry::default()).of(&name)
}

/// So few places that calls do wait for one.
fn narrow() -> StoreOptions {
    StoreOptions { in_flight_max: 2, ..StoreOptions::default() }
}

fn wakeups() -> StoreWakeups {
    Wakeups::new().of(&StoreName::new("hot").expect("it is well formed"))
}

fn announce() -> AnnounceStore {
    AnnounceStore::new(memory(), wakeups())
}

fn timeout() -> TimeoutStore {
    TimeoutStore::new(memory(), clock(), narrow().patience())
}

fn retry() -> RetryStore {
    RetryStore::new(memory(), Runtime::system(), narrow().patience())
}

fn limit() -> LimitStore {
    LimitStore::new(memory(), clock(), &narrow())
}

fn observe() -> ObserveStore {
    ObserveStore::new(memory(), clock(), calls())
}

fn stacked() -> Arc<dyn EventStore> {
    stack(memory(), &narrow(), &Runtime::system(), calls(), wakeups())
}

/// A store, and its folder, which goes when the subject does.
#[cfg(feature = "embedded")]
fn embedded() -> (streamgate::backends::embedded::EmbeddedStore, tempfile::TempDir) {
    use streamgate::backends::embedded::{EmbeddedOptions, EmbeddedStore};
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let store = EmbeddedStore::open(EmbeddedOptions::at(folder.path()));
    (store.expect("the folder is new"), folder)
}

store_conformance! {
    memory => StoreSubject::of(super::memory()).race_rounds(10_000),
    timeout => StoreSubject::new(super::timeout()),
    retry => StoreSubject::new(super::retry()),
    limit => StoreSubject::new(super::limit()),
    observe => StoreSubject::new(super::observe()),
    announce => StoreSubject::new(super::announce()),
    stacked => StoreSubject::of(super::stacked()),
}

#[cfg(feature = "embedded")]
store_conformance! {
    embedded => {
        let (store, folder) = super::embedded();
        StoreSubject::new(store).keeping(folder).race_rounds(10_000)
    },
}

mod documents {
    //! The port DocumentStore.

    use std::sync::Arc;

    use streamgate::backends::memory::MemoryStore;
    use streamgate::document_conformance;
    use streamgate::documents::observe::ObserveDocuments;
    use streamgate::documents::retry::RetryDocuments;
    use streamgate::documents::timeout::TimeoutDocuments;
    use streamgate::documents::{DocumentStore, stack};
    use streamgate::runtime::Runtime;
    use streamgate::testing::builders::patience;
    use streamgate::testing::conformance::documents::DocumentsSubject;

    fn memory() -> Arc<dyn DocumentStore> {
        Arc::new(MemoryStore::new())
    }

    fn timeout() -> TimeoutDocuments {
        TimeoutDocuments::new(memory(), crate::clock(), patience())
    }

    fn retry() -> RetryDocuments {
        RetryDocuments::new(memory(), Runtime::system(), patience())
    }

    fn observe() -> ObserveDocuments {
        ObserveDocuments::new(memory(), crate::clock(), crate::calls())
    }

    fn stacked() -> Arc<dyn DocumentStore> {
        stack(memory(), patience(), &Runtime::system(), crate::calls())
    }

    document_conformance! {
        memory => DocumentsSubject::of(super::memory()),
        timeout => DocumentsSubject::new(super::timeout()),
        retry => DocumentsSubject::new(super::retry()),
        observe => DocumentsSubject::new(super::observe()),
        stacked => DocumentsSubject::of(super::stacked()),
    }

    #[cfg(feature = "embedded")]
    document_conformance! {
        embedded => {
            let (store, folder) = crate::embedded();
            DocumentsSubject::new(store).keeping(folder)
        },
    }
}

mod client {
    //! What an application sees.

    use streamgate::client_conformance;
    use streamgate::testing::conformance::client::{
        ClientSubject, InStore, ThroughProxy, UnderMigration,
    };

    client_conformance! {
        memory => ClientSubject::new(InStore::new(crate::memory())),
        stacked => ClientSubject::new(InStore::new(crate::stacked())),
        proxy => ClientSubject::new(ThroughProxy::start().await),
        proxy_under_migration => ClientSubject::new(UnderMigration::start().await),
        proxy_under_continue => ClientSubject::new(UnderMigration::mixed().await),
    }

    #[cfg(feature = "embedded")]
    client_conformance! {
        embedded => {
            let (store, folder) = crate::embedded();
            ClientSubject::new(InStore::new(std::sync::Arc::new(store))).keeping(folder)
        },
    }
}

mod interface {
    //! Sessions, followers, and reads from anywhere.

    use streamgate::interface_conformance;
    use streamgate::testing::conformance::interface::InterfaceSubject;

    const MEMORY: &str = "
        [[stores]]
        name = 'hot'
        kind = 'memory'
        [[stores]]
        name = 'cold'
        kind = 'memory'
    ";

    interface_conformance! {
        memory => InterfaceSubject::over(MEMORY).await,
    }

    #[cfg(feature = "embedded")]
    interface_conformance! {
        embedded => {
            let folder = tempfile::tempdir().expect("there is room for a folder");
            let settings = format!(
                "[server]\ndata_dir = '{}'\n{}",
                folder.path().display(),
                MEMORY.replace("memory", "embedded")
            );
            InterfaceSubject::over(&settings).await.keeping(folder)
        },
    }
}

mod hints {
    //! What proxies tell each other, and the pauses that they keep together.

    use std::sync::Arc;

    use streamgate::coordination::{InProcessHints, InProcessPauseLeases};
    use streamgate::hints_conformance;
    use streamgate::runtime::Runtime;
    use streamgate::testing::conformance::hints::{HintsSubject, Told};

    fn in_process() -> HintsSubject {
        let hints = Arc::new(InProcessHints::new());
        let leases = Arc::new(InProcessPauseLeases::new(Runtime::system().clock));
        let proxy = || Told::over(hints.clone(), leases.clone(), Runtime::system());
        HintsSubject { here: proxy(), there: proxy() }
    }

    hints_conformance! {
        in_process => super::in_process(),
    }
}

mod coordination {
    //! The lock, and the pauses.

    use std::sync::Arc;

    use streamgate::backends::embedded::{EmbeddedOptions, EmbeddedStore};
    use streamgate::backends::memory::MemoryStore;
    use streamgate::coordination::{DocumentLock, HoldOptions, InProcessLock, InProcessPauses};
    use streamgate::testing::conformance::coordination::{
        CoordinationSubject, HELD_MAX, HELD_PER_OBJECT_MAX,
    };
    use streamgate::testing::conformance::lock::LockSubject;
    use streamgate::{coordination_conformance, lock_conformance};

    fn in_process() -> CoordinationSubject {
        let clock = CoordinationSubject::clock();
        let options = HoldOptions { held_per_object_max: HELD_PER_OBJECT_MAX, held_max: HELD_MAX };
        CoordinationSubject {
            pauses: Arc::new(InProcessPauses::new(options, clock.clone())),
            clock,
        }
    }

    coordination_conformance! {
        in_process => super::in_process(),
    }

    lock_conformance! {
        in_process_lock => {
            let clock = LockSubject::clock();
            LockSubject::by_clock(InProcessLock::new(clock.clone()), clock)
        },
        in_documents_in_memory => {
            let (clock, documents) = (LockSubject::clock(), Arc::new(MemoryStore::new()));
            LockSubject::by_clock(DocumentLock::new(documents, clock.clone()), clock)
        },
        in_embedded_documents => {
            let folder = tempfile::tempdir().expect("the machine has room");
            let options = EmbeddedOptions::at(folder.path());
            let documents = Arc::new(EmbeddedStore::open(options).expect("the folder is new"));
            let clock = LockSubject::clock();
            LockSubject::by_clock(DocumentLock::new(documents, clock.clone()), clock)
                .keeping(folder)
        },
    }
}
