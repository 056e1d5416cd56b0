//! What people do without a proxy: one insert a transaction, a script that copies pages, and
//! `COPY` in a pipe. Their table has what most libraries have: it is unique by stream and version,
//! without an index of ids and without digests. A library is also measured on a table like the
//! store's own.

use std::sync::atomic::{AtomicI64, Ordering};

use futures::{SinkExt as _, TryStreamExt as _};
use sha2::{Digest as _, Sha256};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::{Failure, POSTGRES_URL, load};

const TABLES: &str = "CREATE SCHEMA plain;
    CREATE TABLE plain.events (
        stream text COLLATE \"C\" NOT NULL, version bigint NOT NULL, recorded_at bigint NOT NULL,
        occurred_at bigint, schema_version bigint NOT NULL, event_id uuid NOT NULL,
        event_type text NOT NULL, content_type text NOT NULL, metadata jsonb,
        payload bytea NOT NULL, PRIMARY KEY (stream, version));
    CREATE TABLE plain.copies (LIKE plain.events INCLUDING ALL);";

const INSERT: &str = "INSERT INTO plain.events (stream, version, recorded_at, schema_version, \
    event_id, event_type, content_type, payload) VALUES ($1, $2, $3, 0, $4, $5, $6, $7)";

const INSERT_AS_OURS: &str = "INSERT INTO plain.as_ours (stream, version, recorded_at, \
    schema_version, event_id, event_type, content_type, payload, size, digest) \
    VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $8, $9)";

/// Where a library appends.
#[derive(Clone, Copy)]
pub(crate) enum Table {
    /// Unique by stream and version.
    Plain,
    /// The same columns and indexes as the store's.
    AsOurs,
}

/// Pages and batches of the script.
const PAGE: i64 = 500;

/// A database of the server, made for one run.
pub(crate) struct Database {
    server: String,
    name: String,
}

impl Database {
    pub(crate) async fn make() -> Result<Self, Failure> {
        let server = std::env::var(POSTGRES_URL).map_err(|_| {
            format!("{POSTGRES_URL} is not set; scripts/services up postgres starts a server")
        })?;
        let name = format!("bars_{}", Uuid::new_v4().simple());
        let database = Self { server, name };
        connect(&database.server)
            .await?
            .batch_execute(&format!("CREATE DATABASE {}", database.name))
            .await?;
        database.connect().await?.batch_execute(TABLES).await?;
        Ok(database)
    }

    /// The URL of the server with this database in the place of its own.
    pub(crate) fn url(&self) -> String {
        let (before, _) = self.server.rsplit_once('/').unwrap_or((&self.server, ""));
        format!("{before}/{}", self.name)
    }

    pub(crate) async fn connect(&self) -> Result<Client, Failure> {
        connect(&self.url()).await
    }

    /// What decides about the figures of both sides.
    pub(crate) async fn settings(&self) -> Result<String, Failure> {
        let client = self.connect().await?;
        let mut told = Vec::new();
        for name in ["server_version", "fsync", "synchronous_commit", "shared_buffers"] {
            let row = client.query_one("SELECT current_setting($1)", &[&name]).await?;
            told.push(format!("{name} {}", row.get::<_, &str>(0)));
        }
        Ok(told.join(", "))
    }

    /// Transactions that wrote, and bytes of the log, since the server was made.
    pub(crate) async fn written(&self) -> Result<(i64, i64), Failure> {
        let client = self.connect().await?;
        let text = "SELECT pg_current_xact_id()::text::bigint, \
            (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let row = client.query_one(text, &[]).await?;
        Ok((row.get(0), row.get(1)))
    }

    /// The table of libraries that append to one like a store's. The store is there already.
    pub(crate) async fn copy_the_table_of(&self, schema: &str) -> Result<(), Failure> {
        let text = format!("CREATE TABLE plain.as_ours (LIKE {schema}.events INCLUDING ALL)");
        Ok(self.connect().await?.batch_execute(&text).await?)
    }

    pub(crate) async fn remove(&self) -> Result<(), Failure> {
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        Ok(connect(&self.server).await?.batch_execute(&drop).await?)
    }
}

async fn connect(url: &str) -> Result<Client, Failure> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // It ends with the client.
    tokio::spawn(connection);
    Ok(client)
}

/// A connection that appends as a library does: one prepared insert, a transaction of its own.
pub(crate) struct Library {
    client: Client,
    insert: Statement,
    insert_as_ours: Statement,
}

impl Library {
    pub(crate) async fn connect(database: &Database) -> Result<Self, Failure> {
        let client = database.connect().await?;
        let insert = client.prepare(INSERT).await?;
        let insert_as_ours = client.prepare(INSERT_AS_OURS).await?;
        Ok(Self { client, insert, insert_as_ours })
    }

    /// One event at the next version of a stream. Whoever calls knows the version, as a library
    /// does that loaded the stream before.
    pub(crate) async fn append(
        &self,
        table: Table,
        stream: usize,
        next: &AtomicI64,
        payload: &[u8],
    ) -> Result<(), Failure> {
        let version = next.fetch_add(1, Ordering::Relaxed);
        let (kind, content) = ("SomethingHappened", "application/octet-stream");
        let id = Uuid::new_v4();
        let inserted = match table {
            Table::Plain => {
                let parameters: [&(dyn ToSql + Sync); 7] =
                    [&stream_name(stream), &version, &1_i64, &id, &kind, &content, &payload];
                self.client.execute(&self.insert, &parameters).await?
            }
            Table::AsOurs => {
                let (number, size) = (stream as i64, payload.len() as i32);
                let digest = Sha256::digest(payload);
                let parameters: [&(dyn ToSql + Sync); 9] = [
                    &number,
                    &version,
                    &1_i64,
                    &id,
                    &kind,
                    &content,
                    &payload,
                    &size,
                    &&digest[..],
                ];
                self.client.execute(&self.insert_as_ours, &parameters).await?
            }
        };
        if inserted == 1 { Ok(()) } else { Err("an insert that did nothing".into()) }
    }
}

fn stream_name(number: usize) -> String {
    format!("append/{number:07}/0000000000")
}

/// Streams to be copied, written by the server itself.
pub(crate) async fn fill(database: &Database, streams: usize, events: u64) -> Result<(), Failure> {
    let client = database.connect().await?;
    let text = "INSERT INTO plain.events SELECT $1::text, v, v, NULL, 0, gen_random_uuid(), \
        'SomethingHappened', 'application/octet-stream', NULL, $2::bytea \
        FROM generate_series(0, $3::bigint - 1) v";
    let payload = load::payload();
    for number in 0..streams {
        let (stream, events) = (long_name(number), events as i64);
        client.execute(text, &[&stream, &&*payload, &events]).await?;
    }
    client.batch_execute("VACUUM ANALYZE plain.events").await?;
    Ok(())
}

fn long_name(number: usize) -> String {
    format!("long/{number:07}")
}

/// The hand-written script: a page, then a batch, until there is no more.
pub(crate) async fn script(database: &Database, number: usize) -> Result<u64, Failure> {
    let (from, to) = (database.connect().await?, database.connect().await?);
    let select = "SELECT version, recorded_at, occurred_at, schema_version, event_id, event_type, \
        content_type, metadata::text, payload FROM plain.events \
        WHERE stream = $1 AND version > $2 ORDER BY version LIMIT $3";
    let select = from.prepare(select).await?;
    let insert = "INSERT INTO plain.copies SELECT $1, u.version, u.recorded_at, u.occurred_at, \
        u.schema_version, u.event_id, u.event_type, u.content_type, u.metadata::jsonb, u.payload \
        FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10) AS u(version, recorded_at, occurred_at, \
        schema_version, event_id, event_type, content_type, metadata, payload)";
    let insert = to
        .prepare_typed(
            insert,
            &[
                Type::TEXT,
                Type::INT8_ARRAY,
                Type::INT8_ARRAY,
                Type::INT8_ARRAY,
                Type::INT8_ARRAY,
                Type::UUID_ARRAY,
                Type::TEXT_ARRAY,
                Type::TEXT_ARRAY,
                Type::TEXT_ARRAY,
                Type::BYTEA_ARRAY,
            ],
        )
        .await?;
    let (name, mut after, mut copied) = (long_name(number), -1_i64, 0);
    loop {
        let page = from.query(&select, &[&name, &after, &PAGE]).await?;
        let Some(last) = page.last() else { return Ok(copied) };
        after = last.get(0);
        let numbers =
            |place: usize| page.iter().map(|row| row.get::<_, Option<i64>>(place)).collect();
        let texts =
            |place: usize| page.iter().map(|row| row.get::<_, Option<&str>>(place)).collect();
        let [versions, recorded, occurred, schemas]: [Vec<Option<i64>>; 4] =
            [numbers(0), numbers(1), numbers(2), numbers(3)];
        let ids: Vec<Uuid> = page.iter().map(|row| row.get(4)).collect();
        let [kinds, contents, metadatas]: [Vec<Option<&str>>; 3] = [texts(5), texts(6), texts(7)];
        let payloads: Vec<&[u8]> = page.iter().map(|row| row.get(8)).collect();
        copied += to
            .execute(
                &insert,
                &[
                    &name, &versions, &recorded, &occurred, &schemas, &ids, &kinds, &contents,
                    &metadatas, &payloads,
                ],
            )
            .await?;
    }
}

/// `COPY` out of one connection and into another.
pub(crate) async fn copy(database: &Database, number: usize) -> Result<u64, Failure> {
    let (from, to) = (database.connect().await?, database.connect().await?);
    let out = format!(
        "COPY (SELECT 'copy/' || stream, version, recorded_at, occurred_at, schema_version, \
         event_id, event_type, content_type, metadata, payload FROM plain.events \
         WHERE stream = '{}' ORDER BY version) TO STDOUT (FORMAT binary)",
        long_name(number)
    );
    let pipe = to.copy_in("COPY plain.copies FROM STDIN (FORMAT binary)").await?;
    let mut pipe = std::pin::pin!(pipe);
    let mut rows = std::pin::pin!(from.copy_out(out.as_str()).await?);
    while let Some(bytes) = rows.try_next().await? {
        pipe.feed(bytes).await?;
    }
    Ok(pipe.finish().await?)
}
