//! A bounded number of connections, and one call on one of them.

use std::future::Future;
use std::pin::Pin;

use deadpool_postgres::tokio_postgres::{Client, Config, Error};
use deadpool_postgres::{
    Connect, Manager, ManagerConfig, Object, Pool, PoolError, RecyclingMethod, Runtime,
};
use tokio::task::JoinHandle;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::address::Address;
use super::error::Failure;
use super::options::PostgresOptions;

/// A parameter of a statement and its type, so that the server need not be asked for it.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

pub(super) struct Connections {
    pool: Pool,
}

impl Connections {
    /// Connects to nothing yet.
    pub(super) fn new(address: Address, most: usize, options: &PostgresOptions) -> Self {
        // Order: a connection that was given up is noticed by its task, so nothing is asked of it
        // before it is used again.
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(Config::new(), Connector(address), manager);
        let pool = Pool::builder(manager)
            .max_size(most)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(options.connection_wait_max))
            .create_timeout(Some(options.connect_timeout))
            .build()
            .expect("a pool with timeouts is given a runtime");
        Self { pool }
    }

    /// Connects, so that the first call need not. What fails is told to whoever calls.
    pub(super) async fn connect(&self) {
        if let Ok(connection) = self.take().await {
            // It was asked nothing, so nothing is wrong with it.
            let _ = connection.give_back(Ok(()));
        }
    }

    /// One statement, which is a transaction of its own.
    ///
    /// Dropped before it ends, it leaves the statement to the server and closes the connection,
    /// so that nobody waits behind it.
    pub(super) async fn query(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let connection = self.take().await?;
        let answer = connection.client().query_typed(statement, parameters).await;
        connection.give_back(answer)
    }

    /// The same, for what answers no rows but their count.
    pub(super) async fn execute(
        &self,
        statement: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<u64, Failure> {
        let connection = self.take().await?;
        let owned = parameters.iter().map(|(value, kind)| (*value, kind.clone()));
        let answer = connection.client().execute_typed(statement, &owned.collect::<Vec<_>>()).await;
        connection.give_back(answer)
    }

    /// Statements of one transaction, in the simple protocol.
    pub(super) async fn run_script(&self, script: &str) -> Result<(), Failure> {
        let connection = self.take().await?;
        let answer = connection.client().batch_execute(script).await;
        connection.give_back(answer)
    }

    async fn take(&self) -> Result<Connection, Failure> {
        match self.pool.get().await {
            Ok(object) => Ok(Connection(Some(object))),
            Err(PoolError::Timeout(deadpool_postgres::TimeoutType::Wait)) => Err(Failure::Crowded),
            Err(PoolError::Backend(error)) => Err(Failure::NotSent(error.into())),
            Err(error) => Err(Failure::NotSent(error.into())),
        }
    }
}

/// A connection that is closed unless it is given back.
struct Connection(Option<Object>);

impl Connection {
    fn client(&self) -> &Client {
        self.0.as_ref().expect("it is here until it is given back")
    }

    fn give_back<T>(mut self, answer: Result<T, Error>) -> Result<T, Failure> {
        let answer = answer.map_err(Failure::of_answer);
        if !answer.as_ref().is_err_and(Failure::spoils_the_connection) {
            drop(self.0.take());
        }
        answer
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        if let Some(object) = self.0.take() {
            drop(Object::take(object));
        }
    }
}

/// Makes connections as the settings are at that moment.
struct Connector(Address);

type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Connected, Error>> + Send + 'a>>;
type Connected = (Client, JoinHandle<()>);

impl Connect for Connector {
    #[expect(clippy::disallowed_methods, reason = "it ends with its connection, whoever closes it")]
    fn connect(&self, _: &Config) -> Connecting<'_> {
        Box::pin(async move {
            let config = self.0.config();
            let (client, connection) = config.connect(self.0.tls.clone()).await?;
            let place = self.0.clone();
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(%place, %error, "connection lost");
                }
            });
            Ok((client, task))
        })
    }
}
