//! Every kind of store, and settings for a new one that no other test has.

use std::path::PathBuf;

use prometheus_client::registry::Registry;
use streamgate::app::Resources;
use streamgate::config::{Config, Layers};
use streamgate::runtime::{Entropy, Runtime, SystemEntropy};

use crate::service::variable;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Embedded,
    Postgres,
    AzureBlob,
    Cosmos,
    S3,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Memory, Self::Embedded, Self::Postgres, Self::AzureBlob, Self::Cosmos, Self::S3];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Embedded => "embedded",
            Self::Postgres => "postgres",
            Self::AzureBlob => "azure_blob",
            Self::Cosmos => "cosmos",
            Self::S3 => "s3",
        }
    }

    /// Settings of a store of this name, in a place of its own.
    pub(crate) async fn settings(self, name: &str) -> String {
        match self {
            Self::Memory | Self::Embedded => store(name, self, ""),
            Self::Postgres => postgres_at(name, &variable("STREAMGATE_TEST_POSTGRES_URL")),
            Self::AzureBlob => {
                azure_blob_at(name, &variable("STREAMGATE_TEST_AZURE_BLOB_ENDPOINT"))
            }
            Self::Cosmos => cosmos_in(name, &unique()),
            Self::S3 => {
                let place = crate::s3::kit::Place::new().await.options;
                s3_at(name, &place.endpoint.expect("it is set"), &place.bucket)
            }
        }
    }

    /// The same, with streams in pieces where the kind has them: a chunk every few events, an
    /// index every few chunks, a blob of few blocks.
    pub(crate) async fn settings_in_pieces(self, name: &str) -> String {
        let small = match self {
            Self::Memory | Self::Embedded | Self::Postgres | Self::Cosmos => "",
            Self::AzureBlob => "blob_blocks_max = 4\nindex_bytes = 1024\n",
            Self::S3 => "tail_bytes_max = 1000\nchunks_in_tail_max = 4\n",
        };
        self.settings(name).await + small
    }
}

/// The stores of these settings, each behind the wrappers that a process puts around it: as
/// another process has them, with nothing in memory.
pub(crate) async fn open(settings: &str) -> Resources {
    open_in(settings, &Runtime::system()).await
}

/// The same, until the shutdown of `runtime` ends their connections.
pub(crate) async fn open_in(settings: &str, runtime: &Runtime) -> Resources {
    let file = Some((PathBuf::from("test.toml"), settings.to_owned()));
    let config = Config::assemble(Layers { file, ..Layers::default() }).unwrap();
    Resources::open(&config, runtime, &mut Registry::default()).await.unwrap()
}

/// A name that no other test has, of letters that every service takes.
fn unique() -> String {
    format!("t{}", SystemEntropy.uuid().simple())
}

fn store(name: &str, kind: Kind, place: &str) -> String {
    format!("[[stores]]\nname = '{name}'\nkind = '{}'\n{place}", kind.word())
}

/// In a schema of its own.
pub(super) fn postgres_at(name: &str, url: &str) -> String {
    let schema = unique();
    let place = format!("url = '{url}'\nschema = '{schema}'\nlisten_url = '{url}'\n");
    store(name, Kind::Postgres, &place)
}

/// In a container of its own.
pub(super) fn azure_blob_at(name: &str, endpoint: &str) -> String {
    let (container, key) = (unique(), crate::azure_blob::KEY);
    let place = format!(
        "endpoint = '{endpoint}'\ncontainer = '{container}'\ncreate_container = true\n\
         account_key = '{key}'\npoll_interval = '50ms'\n"
    );
    store(name, Kind::AzureBlob, &place)
}

/// In the database of this name.
pub(super) fn cosmos_in(name: &str, database: &str) -> String {
    let endpoint = variable("STREAMGATE_TEST_COSMOS_ENDPOINT");
    let key = variable("STREAMGATE_TEST_COSMOS_KEY");
    let place = format!(
        "endpoint = '{endpoint}'\nkey = '{key}'\ndatabase = '{database}'\n\
         container = 'streams'\nregion = 'East US'\ncreate = true\npoll_interval = '50ms'\n"
    );
    store(name, Kind::Cosmos, &place)
}

/// In a bucket that is there.
pub(super) fn s3_at(name: &str, endpoint: &str, bucket: &str) -> String {
    let place = format!(
        "endpoint = '{endpoint}'\nbucket = '{bucket}'\naccess_key_id = 'test'\n\
         secret_access_key = 'test'\npoll_interval = '50ms'\n"
    );
    store(name, Kind::S3, &place)
}
