//! Whole proxies over two real stores of different kinds: sessions, followers and reads from
//! anywhere, with every move of a case going from one service to the other and back.

use streamgate::interface_conformance;
use streamgate::runtime::{Entropy, SystemEntropy};
use streamgate::testing::conformance::interface::InterfaceSubject;

use crate::service::variable;

/// A name that no other test has, of letters that every service takes.
fn unique() -> String {
    format!("t{}", SystemEntropy.uuid().simple())
}

fn postgres(name: &str) -> String {
    let (url, schema) = (variable("STREAMGATE_TEST_POSTGRES_URL"), unique());
    format!("[[stores]]\nname = '{name}'\nkind = 'postgres'\nurl = '{url}'\nschema = '{schema}'\n")
}

async fn s3(name: &str) -> String {
    let options = crate::s3::kit::Place::new().await.options;
    let (endpoint, bucket) = (options.endpoint.expect("it is set"), options.bucket);
    format!(
        "[[stores]]\nname = '{name}'\nkind = 's3'\nendpoint = '{endpoint}'\nbucket = '{bucket}'\n\
         access_key_id = 'test'\nsecret_access_key = 'test'\npoll_interval = '50ms'\n"
    )
}

fn azure_blob(name: &str) -> String {
    let endpoint = variable("STREAMGATE_TEST_AZURE_BLOB_ENDPOINT");
    let (container, key) = (unique(), crate::azure_blob::KEY);
    format!(
        "[[stores]]\nname = '{name}'\nkind = 'azure_blob'\nendpoint = '{endpoint}'\n\
         container = '{container}'\ncreate_container = true\naccount_key = '{key}'\n\
         poll_interval = '50ms'\n"
    )
}

fn cosmos(name: &str) -> String {
    let endpoint = variable("STREAMGATE_TEST_COSMOS_ENDPOINT");
    let (key, database) = (variable("STREAMGATE_TEST_COSMOS_KEY"), unique());
    format!(
        "[[stores]]\nname = '{name}'\nkind = 'cosmos'\nendpoint = '{endpoint}'\nkey = '{key}'\n\
         database = '{database}'\ncontainer = 'streams'\nregion = 'East US'\ncreate = true\n\
         poll_interval = '50ms'\n"
    )
}

interface_conformance! {
    postgres_and_s3 => {
        let settings = postgres("hot") + &s3("cold").await;
        InterfaceSubject::over(&settings).await
    },
    azure_blob_and_cosmos => {
        let settings = azure_blob("hot") + &cosmos("cold");
        InterfaceSubject::over(&settings).await
    },
}
