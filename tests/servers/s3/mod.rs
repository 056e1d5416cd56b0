//! The s3 backend against a real server: the promises of both ports, and what is true of it alone.

mod chunks;
mod doubt;
pub(crate) mod kit;
mod opening;
mod requests;
mod sleepers;

use kit::Place;
use streamgate::testing::conformance::client::{ClientSubject, InStore};
use streamgate::testing::conformance::documents::DocumentsSubject;
use streamgate::testing::conformance::store::StoreSubject;
use streamgate::{client_conformance, document_conformance, store_conformance};

mod store {
    use super::*;

    store_conformance! {
        s3 => StoreSubject::new(Place::new().await.open().await).race_rounds(200),
        // So small that every few events make a chunk, and every few chunks an index.
        s3_in_pieces => StoreSubject::new(Place::new().await.in_pieces().open().await)
            .race_rounds(20),
        s3_below_a_prefix => StoreSubject::new(Place::new().await.below("a/b").open().await)
            .race_rounds(20),
    }
}

mod documents {
    use super::*;

    document_conformance! {
        s3 => DocumentsSubject::new(Place::new().await.open().await),
        s3_below_a_prefix => DocumentsSubject::new(Place::new().await.below("a/b").open().await),
        s3_with_tombstones => {
            let place = Place::new().await.with(|options| options.conditional_deletes = false);
            DocumentsSubject::new(place.open().await)
        },
    }
}

mod client {
    use super::*;

    client_conformance! {
        s3 => {
            let store = std::sync::Arc::new(Place::new().await.open().await);
            ClientSubject::new(InStore::new(store))
        },
    }
}
