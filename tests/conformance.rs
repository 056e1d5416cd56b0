//! Every promise, put to every subject that makes it.

use streamgate::backends::memory::MemoryStore;
use streamgate::store_conformance;
use streamgate::testing::conformance::store::StoreSubject;

fn memory() -> MemoryStore {
    MemoryStore::new()
}

store_conformance! {
    memory => StoreSubject::new(super::memory()).race_rounds(5_000),
}

mod documents {
    //! The port DocumentStore.

    use streamgate::document_conformance;
    use streamgate::testing::conformance::documents::DocumentsSubject;

    document_conformance! {
        memory => DocumentsSubject::new(crate::memory()),
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
