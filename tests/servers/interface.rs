//! Whole proxies over two real stores of different kinds: sessions, followers and reads from
//! anywhere, with every move of a case going from one service to the other and back.

use streamgate::interface_conformance;
use streamgate::testing::conformance::interface::InterfaceSubject;

use crate::moves::Kind;

async fn subject(hot: Kind, cold: Kind) -> InterfaceSubject {
    let settings = hot.settings("hot").await + &cold.settings("cold").await;
    InterfaceSubject::over(&settings).await
}

interface_conformance! {
    postgres_and_s3 => subject(Kind::Postgres, Kind::S3).await,
    azure_blob_and_cosmos => subject(Kind::AzureBlob, Kind::Cosmos).await,
}
