//! PostgreSQL: every promise of the ports, and what only a server of its own can show.
//!
//! Every test has a schema of its own in the one database, so that tests run beside each other.

mod faults;
mod kit;
mod people;
mod pooler;
mod schema;
mod sleepers;
mod tls;
mod together;
mod wakeups;

use std::sync::Arc;

use streamgate::testing::conformance::client::{ClientSubject, InStore};
use streamgate::testing::conformance::documents::DocumentsSubject;
use streamgate::testing::conformance::store::StoreSubject;
use streamgate::{client_conformance, document_conformance, store_conformance};

use kit::store;

store_conformance! {
    postgres => StoreSubject::new(super::store().await).race_rounds(1_000),
    postgres_with_listener => StoreSubject::new(super::kit::listening_store().await),
    postgres_on_many_connections => StoreSubject::new(super::kit::wide_store().await),
    postgres_through_a_pooler => {
        let pooler = super::pooler::Pooler::start().await;
        StoreSubject::new(pooler.store().await).keeping(pooler)
    },
}

mod documents {
    //! The port DocumentStore.

    use super::*;

    document_conformance! {
        postgres => DocumentsSubject::new(super::store().await),
        postgres_through_a_pooler => {
            let pooler = crate::postgres::pooler::Pooler::start().await;
            DocumentsSubject::new(pooler.store().await).keeping(pooler)
        },
    }
}

mod client {
    //! What an application sees.

    use super::*;

    client_conformance! {
        postgres => ClientSubject::new(InStore::new(Arc::new(super::store().await))),
    }
}

mod lock {
    //! The lock where no Redis is: in documents.

    use streamgate::coordination::DocumentLock;
    use streamgate::lock::Lock;
    use streamgate::lock_conformance;
    use streamgate::runtime::Runtime;
    use streamgate::testing::conformance::lock::LockSubject;

    use super::*;

    /// Three proxies over one store of documents.
    async fn in_documents() -> LockSubject {
        let documents = Arc::new(store().await);
        let lock = || DocumentLock::new(documents.clone(), Runtime::system().clock);
        LockSubject::by_real_time((0..3).map(|_| Arc::new(lock()) as Arc<dyn Lock>).collect())
    }

    lock_conformance! {
        postgres => super::in_documents().await,
    }
}
