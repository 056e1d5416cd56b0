//! Azure Blob Storage, as Azurite stands for it: the promises of both ports, and what is this
//! store's own.
//!
//! Reading order: the rows here; [`rollover`], [`sleepers`] and [`reading`] (streams over many
//! blobs, writers with old knowledge, requests counted), [`access`] (who may), [`trouble`] (a
//! service that throttles, fails and restarts), [`middle`] (what stands between).

mod access;
mod middle;
mod reading;
mod rollover;
mod sleepers;
mod trouble;

use std::sync::Arc;

use streamgate::backends::azure_blob::{AzureBlobOptions, AzureBlobStore};
use streamgate::runtime::{Entropy, Runtime, Secret, SystemEntropy};
use streamgate::testing::conformance::client::{ClientSubject, InStore};
use streamgate::testing::conformance::documents::DocumentsSubject;
use streamgate::testing::conformance::store::StoreSubject;
use streamgate::{client_conformance, document_conformance, store_conformance};

use crate::service::variable;

/// The key that every emulator has; it is public.
pub(super) const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

pub(super) fn endpoint() -> String {
    variable("STREAMGATE_TEST_AZURE_BLOB_ENDPOINT")
}

/// A container that nobody else has.
pub(super) fn options() -> AzureBlobOptions {
    AzureBlobOptions {
        account_key: Some(Secret::Text(KEY.into())),
        create_container: true,
        ..AzureBlobOptions::at(endpoint(), format!("test-{}", SystemEntropy.uuid()))
    }
}

pub(super) async fn open(options: AzureBlobOptions) -> AzureBlobStore {
    AzureBlobStore::open(options, &Runtime::system()).await.expect("Azurite listens")
}

/// Blobs of few blocks with many indexes, so that every case meets both.
pub(super) fn small() -> AzureBlobOptions {
    AzureBlobOptions { blob_blocks_max: 4, index_bytes: 1_024, ..options() }
}

store_conformance! {
    store => StoreSubject::new(super::open(super::options()).await).race_rounds(200),
    store_of_small_blobs => StoreSubject::new(super::open(super::small()).await).race_rounds(50),
}

mod documents {
    //! The port DocumentStore.

    use super::*;

    document_conformance! {
        store => DocumentsSubject::new(crate::azure_blob::open(crate::azure_blob::options()).await),
    }
}

mod client {
    //! What an application sees.

    use super::*;

    client_conformance! {
        store => {
            let store = crate::azure_blob::open(crate::azure_blob::options()).await;
            ClientSubject::new(InStore::new(Arc::new(store)))
        },
    }
}
