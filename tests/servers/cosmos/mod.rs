//! The Cosmos DB store against the emulator in `tools/cosmos-emulator`.

pub(crate) mod kit;
mod requests;
mod starting;
mod throttling;
mod writers;

use std::sync::Arc;

use streamgate::testing::conformance::client::{ClientSubject, InStore};
use streamgate::testing::conformance::documents::DocumentsSubject;
use streamgate::testing::conformance::store::StoreSubject;
use streamgate::{client_conformance, document_conformance, store_conformance};

use kit::Account;

mod store {
    use super::*;

    store_conformance! {
        cosmos => StoreSubject::new(Account::new().open().await).race_rounds(200),
    }
}

mod documents {
    use super::*;

    document_conformance! {
        cosmos => DocumentsSubject::new(Account::new().open().await),
    }
}

mod client {
    use super::*;

    client_conformance! {
        cosmos => ClientSubject::new(InStore::new(Arc::new(Account::new().open().await))),
    }
}
