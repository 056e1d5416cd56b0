//! Every promise, put to every subject that makes it.

use streamgate::backends::memory::MemoryStore;
use streamgate::store_conformance;
use streamgate::testing::conformance::store::StoreSubject;

fn memory() -> MemoryStore {
    MemoryStore::new()
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
    memory => StoreSubject::new(super::memory()).race_rounds(5_000),
}

#[cfg(feature = "embedded")]
store_conformance! {
    embedded => {
        let (store, folder) = super::embedded();
        StoreSubject::new(store).keeping(folder).race_rounds(5_000)
    },
}

mod documents {
    //! The port DocumentStore.

    use streamgate::document_conformance;
    use streamgate::testing::conformance::documents::DocumentsSubject;

    document_conformance! {
        memory => DocumentsSubject::new(crate::memory()),
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
        proxy => ClientSubject::new(ThroughProxy::start().await),
        proxy_under_migration => ClientSubject::new(UnderMigration::start().await),
    }

    #[cfg(feature = "embedded")]
    client_conformance! {
        embedded => {
            let (store, folder) = crate::embedded();
            ClientSubject::new(InStore::new(store)).keeping(folder)
        },
    }
}

mod coordination {
    //! The lock and the pauses.

    use std::sync::Arc;

    use streamgate::coordination::{HoldOptions, InProcessLock, InProcessPauses};
    use streamgate::coordination_conformance;
    use streamgate::testing::conformance::coordination::{
        CoordinationSubject, HELD_MAX, HELD_PER_OBJECT_MAX,
    };

    fn in_process() -> CoordinationSubject {
        let clock = CoordinationSubject::clock();
        let options = HoldOptions { held_per_object_max: HELD_PER_OBJECT_MAX, held_max: HELD_MAX };
        CoordinationSubject {
            lock: Arc::new(InProcessLock::new(clock.clone())),
            pauses: Arc::new(InProcessPauses::new(options, clock.clone())),
            clock,
        }
    }

    coordination_conformance! {
        in_process => super::in_process(),
    }
}
