//! What is checked, and made if asked for, before a store is used: who we are, what is there,
//! whether it is fit, and what we may do. Each fault is told by its name.

use std::sync::Arc;

use azure_core::credentials::{Secret, TokenCredential};
use azure_data_cosmos::clients::{ContainerClient, CosmosClient};
use azure_data_cosmos::error::CosmosError;
use azure_data_cosmos::feed::FeedScope;
use azure_data_cosmos::models::{
    ContainerProperties, IndexingMode, IndexingPolicy, PartitionKeyDefinition,
};
use azure_data_cosmos::options::{
    AvailabilityStrategy, BinaryEncodingOptions, ConnectionPoolOptions, ItemWriteOptions,
    OperationOptions, OperationOptionsBuilder, Precondition, ReadConsistencyStrategy, Region,
    ThrottlingRetryOptionsBuilder,
};
use azure_data_cosmos::{AccountEndpoint, AccountReference, CosmosRuntime, Query, RoutingStrategy};
use futures::StreamExt;
use serde_json::{Value, json};

use super::credential::CredentialChain;
use super::error::{OpenError, code_of};
use super::layout::{INDEXED_PATHS, NOTHING_PARTITION, PARTITION_PATH};
use super::options::CosmosOptions;

/// The container of a store, found fit.
pub(super) async fn container(options: &CosmosOptions) -> Result<ContainerClient, OpenError> {
    let client = client(options).await?;
    let container = match find(&client, options).await {
        Err(OpenError::NoDatabase { .. } | OpenError::NoContainer { .. }) if options.create => {
            make(&client, options).await?;
            find(&client, options).await?
        }
        found => found?,
    };
    check_fitness(&container, options).await?;
    check_permissions(&container, options).await?;
    Ok(container)
}

async fn client(options: &CosmosOptions) -> Result<CosmosClient, OpenError> {
    let endpoint: AccountEndpoint =
        options.endpoint.parse().map_err(|cause| not_an_endpoint(options, cause))?;
    let account = match &options.key {
        Some(key) => {
            AccountReference::with_authentication_key(endpoint, Secret::from(key.reveal()?))
        }
        None => {
            let credential: Arc<dyn TokenCredential> =
                Arc::new(CredentialChain::from_environment());
            AccountReference::with_credential(endpoint, credential)
        }
    };
    let pool = ConnectionPoolOptions::builder().with_max_connect_timeout(options.connect_timeout);
    let pool = pool.build().map_err(|cause| not_an_endpoint(options, cause))?;
    let runtime = CosmosRuntime::builder().with_connection_pool(pool).build().await;
    let runtime = runtime.map_err(|cause| not_an_endpoint(options, cause))?;
    // The contract's reads see what was answered before: those of the write region do.
    let routing = RoutingStrategy::PreferredRegions(vec![Region::from(options.region.clone())]);
    let client = CosmosClient::builder()
        .with_runtime(runtime)
        .with_default_operation_options(operation_options())
        .with_binary_encoding_options(BinaryEncodingOptions::default().with_enabled(false))
        .build(account, routing);
    client.await.map_err(|cause| match code_of(cause.status()) {
        400 => not_an_endpoint(options, cause),
        _ => told(options, "read the account", cause),
    })
}

/// Nothing is repeated or asked elsewhere behind our back: the wrappers around a store repeat,
/// and they know which writes are in doubt.
fn operation_options() -> OperationOptions {
    let throttling = ThrottlingRetryOptionsBuilder::new().with_max_retry_count(0).build();
    OperationOptionsBuilder::new()
        // A quorum of the region, whatever the account's own consistency is.
        .with_read_consistency_strategy(ReadConsistencyStrategy::LatestCommitted)
        .with_availability_strategy(AvailabilityStrategy::Disabled)
        .with_hedging_enabled(false)
        .with_max_failover_retry_count(0)
        .with_throttling_retry_options(throttling)
        .build()
}

async fn find(
    client: &CosmosClient,
    options: &CosmosOptions,
) -> Result<ContainerClient, OpenError> {
    let database = client.database_client(options.database.clone());
    let cause = match database.container_client(options.container.clone(), None).await {
        Ok(container) => return Ok(container),
        Err(cause) => cause,
    };
    if code_of(cause.status()) != 404 {
        return Err(told(options, "read the container's settings", cause));
    }
    let (name, container) = (options.database.clone(), options.container.clone());
    match database.read(None).await {
        Err(cause) if code_of(cause.status()) == 404 => {
            Err(OpenError::NoDatabase { database: name })
        }
        // Who may not read the database may still know that the container is not there.
        Ok(_) | Err(_) => Err(OpenError::NoContainer { database: name, container }),
    }
}

async fn make(client: &CosmosClient, options: &CosmosOptions) -> Result<(), OpenError> {
    let made = client.create_database(&options.database, None).await;
    unless_there(options, "make the database", made.map(drop))?;
    let mut indexing = IndexingPolicy::default()
        .with_indexing_mode(IndexingMode::Consistent)
        .with_excluded_path("/*");
    indexing.automatic = true;
    for path in INDEXED_PATHS {
        indexing = indexing.with_included_path(path);
    }
    let partition_key = PartitionKeyDefinition::from(PARTITION_PATH);
    let properties = ContainerProperties::new(options.container.clone(), partition_key)
        .with_indexing_policy(indexing);
    let database = client.database_client(options.database.clone());
    let made = database.create_container(properties, None).await;
    unless_there(options, "make the container", made.map(drop))
}

/// Another process that starts may have made it first.
fn unless_there(
    options: &CosmosOptions,
    what: &'static str,
    made: Result<(), CosmosError>,
) -> Result<(), OpenError> {
    match made {
        Err(cause) if code_of(cause.status()) != 409 => Err(told(options, what, cause)),
        Ok(()) | Err(_) => Ok(()),
    }
}

async fn check_fitness(
    container: &ContainerClient,
    options: &CosmosOptions,
) -> Result<(), OpenError> {
    let what = "read the container's settings";
    let properties = container.read(None).await.and_then(|answer| answer.into_model());
    let properties = properties.map_err(|cause| told(options, what, cause))?;
    let container = options.container.clone();
    let paths = properties.partition_key.paths();
    if !matches!(paths, [path] if path == PARTITION_PATH) {
        return Err(OpenError::PartitionKey { container, found: paths.join(", ") });
    }
    if !properties.default_ttl.is_forever() {
        return Err(OpenError::Expires { container });
    }
    let indexing = properties.indexing_policy.and_then(|policy| policy.indexing_mode);
    if indexing == Some(IndexingMode::None) {
        return Err(OpenError::NotIndexed { container });
    }
    Ok(())
}

/// Tries each kind of call where there is nothing.
async fn check_permissions(
    container: &ContainerClient,
    options: &CosmosOptions,
) -> Result<(), OpenError> {
    const ID: &str = "nothing";
    let read = container.read_item(NOTHING_PARTITION, ID, None).await;
    unless_nothing(options, "read items", read.map(drop))?;
    let query = Query::from("SELECT c.id FROM c WHERE c.id = 'nothing'");
    let scope = FeedScope::partition(NOTHING_PARTITION);
    let found = match container.query_items::<Value>(query, scope, None).await {
        Ok(found) => found.into_pages().next().await.transpose().map(drop),
        Err(cause) => Err(cause),
    };
    unless_nothing(options, "query items", found)?;
    let item = json!({ "id": ID, "partition": NOTHING_PARTITION });
    let condition = Precondition::IfMatch("\"nothing\"".into());
    let condition = ItemWriteOptions::default().with_precondition(condition);
    let replaced = container.replace_item(NOTHING_PARTITION, ID, item, Some(condition)).await;
    unless_nothing(options, "write items", replaced.map(drop))
}

fn unless_nothing(
    options: &CosmosOptions,
    what: &'static str,
    tried: Result<(), CosmosError>,
) -> Result<(), OpenError> {
    match tried {
        Err(cause) if !matches!(code_of(cause.status()), 404 | 412) => {
            Err(told(options, what, cause))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn not_an_endpoint(options: &CosmosOptions, cause: CosmosError) -> OpenError {
    OpenError::Endpoint { endpoint: options.endpoint.clone(), cause: Box::new(cause) }
}

/// What the service's answer to an attempt to do this means to whoever starts the process.
fn told(options: &CosmosOptions, what: &'static str, cause: CosmosError) -> OpenError {
    let (endpoint, status) = (options.endpoint.clone(), cause.status());
    let cause = Box::new(cause);
    match code_of(status) {
        401 => OpenError::NotKnown { endpoint, cause },
        403 => OpenError::Forbidden { what, cause },
        _ => OpenError::Unreachable { endpoint, cause },
    }
}
