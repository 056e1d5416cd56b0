//! Connections and locks over the Redis of this run, or over another.

use std::sync::Arc;
use std::time::Duration;

use streamgate::coordination::{RedisConnection, RedisLock, RedisOptions};
use streamgate::lock::Lock;
use streamgate::runtime::Runtime;
use streamgate::testing::conformance::lock::LockSubject;
use uuid::Uuid;

use crate::service::variable;

/// The server that all tests share.
pub(crate) fn shared() -> RedisOptions {
    RedisOptions::at(variable("STREAMGATE_TEST_REDIS_URL"))
}

/// For what is promised while Redis answers, however late a busy machine lets it.
pub(crate) fn patient(options: &RedisOptions) -> RedisOptions {
    let patience = Duration::from_secs(10);
    RedisOptions { connect_timeout: patience, response_timeout: patience, ..options.clone() }
}

/// A connection of the deployment.
pub(crate) fn connection(options: &RedisOptions, deployment: Uuid) -> RedisConnection {
    RedisConnection::new(options.clone(), deployment, &Runtime::system()).unwrap()
}

/// The lock as one proxy of the deployment has it.
pub(crate) fn lock(options: &RedisOptions, deployment: Uuid) -> RedisLock {
    RedisLock::new(connection(options, deployment), Runtime::system().clock)
}

/// The lock of a new deployment, as three proxies have it.
pub(crate) fn lock_of_three(options: &RedisOptions) -> LockSubject {
    let options = patient(options);
    let deployment = Runtime::system().entropy.uuid();
    let locks = (0..3).map(|_| Arc::new(lock(&options, deployment)) as Arc<dyn Lock>);
    LockSubject::by_real_time(locks.collect())
}
