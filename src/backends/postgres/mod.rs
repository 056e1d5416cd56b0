//! PostgreSQL 15 and newer: both ports, in a schema of their own.
//!
//! Reading order: [`options`], `events` and `documents` (the ports), `error`; then `line` (which
//! appends go next), `turns` (streams that several processes write), `committer`, `alone` and
//! `together` (appends of one caller, and of many, that are most likely taken), `batch` (appends
//! of many callers, each judged by itself), `layout` (rows and parameters as values),
//! `statements`, `schema` (creating, migrating and checking it; `schema/*.sql` is what the server
//! holds); then `connections`, `address` and `tls` (how the server is reached) and `listener`
//! (what other processes appended).
//!
//! An append is at exactly head + 1 (I1) and closed is closed (I2) because every append and every
//! close locks the one row of its stream, judges by it and replaces it in the same transaction;
//! ids are looked up behind that lock (I8). Every call is one statement without a name and a
//! transaction of its own, so it works through a pooler that hands out connections by transaction.

mod address;
mod alone;
mod batch;
mod committer;
mod connections;
mod documents;
mod error;
mod events;
mod layout;
mod line;
mod listener;
mod options;
mod schema;
mod statements;
mod tls;
mod together;
mod turns;

use std::sync::Arc;

use crate::runtime::Runtime;
use crate::store::StoreWakeups;
use address::Address;
use committer::Committer;
use connections::Connections;
use listener::Listener;
use statements::Statements;

pub use error::OpenError;
pub use options::PostgresOptions;

/// Streams and documents in one schema of one database.
///
/// Dropping it ends the listener; what waits to be appended is still appended.
pub struct PostgresStore {
    options: PostgresOptions,
    statements: Arc<Statements>,
    connections: Arc<Connections>,
    committer: Committer,
    /// Ends when this is dropped.
    _listener: Option<Listener>,
}

impl PostgresStore {
    /// Connects, creates or migrates the schema, and checks all that the store relies on. The
    /// error says what is missing. `wakeups` are told of what other processes append.
    pub async fn open(
        options: PostgresOptions,
        runtime: &Runtime,
        wakeups: StoreWakeups,
    ) -> Result<Self, OpenError> {
        let faults = options.check();
        if !faults.is_empty() {
            return Err(OpenError::Invalid(faults));
        }
        let address = Address::of(&options, &options.url)?;
        let place = address.to_string();
        let connections = Connections::new(address.clone(), options.connections_max, &options);
        schema::prepare(&connections, &options.schema, &place).await?;
        let statements = Arc::new(Statements::of(&options.schema));
        let connections = Arc::new(connections);
        let appending = Connections::new(address, options.append_connections, &options);
        let committer = Committer::new(
            appending,
            Arc::clone(&connections),
            Arc::clone(&statements),
            &options,
            runtime,
        );
        let listener = match &options.listen_url {
            Some(url) => {
                let address = Address::of(&options, url)?;
                Some(Listener::start(address, &options, runtime, wakeups).await?)
            }
            None => None,
        };
        tracing::info!(%place, schema = %options.schema, "store opened");
        Ok(Self { options, statements, connections, committer, _listener: listener })
    }

    /// The channel that appends tell of themselves on, if anybody is to hear.
    fn channel(&self) -> Option<&str> {
        self.options.listen_url.as_ref().map(|_| self.options.schema.as_str())
    }
}
