//! The schema: created, migrated and checked when the store opens.
//!
//! A step is never changed once it was released. It never replaces a function that the release
//! before calls either, but adds one under a new name, so that both work while a fleet is renewed.

use tokio_postgres::types::Type;

use super::connections::Connections;
use super::error::{Failure, OpenError};

/// What leads from each version to the next.
const STEPS: &[&str] = &[
    include_str!("schema/0001.sql"),
    include_str!("schema/0002.sql"),
    include_str!("schema/0003.sql"),
];

/// The version that this release makes and knows.
const VERSION: i32 = STEPS.len() as i32;

const SERVER_VERSION_MIN: i32 = 150_000;

/// Makes the schema what this release expects, and checks all that a store relies on.
pub(super) async fn prepare(
    connections: &Connections,
    schema: &str,
    place: &str,
) -> Result<(), OpenError> {
    check_server(connections, place).await?;
    let of = |failure| OpenError::of(place, failure);
    let mut found = version(connections, schema).await.map_err(of)?;
    if found < VERSION {
        match connections.run_script(&script(schema)).await {
            Ok(()) => {}
            Err(Failure::Refused(refusal)) if ["42P07", "42723"].contains(&&*refusal.code) => {
                // Order: a store that another process made meanwhile is one by now.
                if version(connections, schema).await.map_err(of)? == 0 {
                    let (place, schema) = (place.to_owned(), schema.to_owned());
                    return Err(OpenError::ForeignSchema { place, schema });
                }
            }
            Err(failure) => return Err(of(failure)),
        }
        found = version(connections, schema).await.map_err(of)?;
        tracing::info!(%place, schema, version = found, "schema made");
    }
    if found > VERSION {
        let (place, schema) = (place.to_owned(), schema.to_owned());
        return Err(OpenError::NewerSchema { place, schema, found, known: VERSION });
    }
    check_permissions(connections, schema, place).await
}

/// The steps that are missing, in a transaction that no other process runs at the same time.
/// Each step asks for itself whether it is still to be done.
fn script(schema: &str) -> String {
    // Order: several statements sent as one are one transaction, without BEGIN and COMMIT too,
    // and an error ends it instead of leaving it open on the connection.
    let mut script = format!(
        "SELECT pg_advisory_xact_lock(hashtext('streamgate schema'), hashtext('{schema}'));\n\
         DO $$ BEGIN IF to_regnamespace('{schema}') IS NULL THEN CREATE SCHEMA {schema}; END IF; \
         END $$;\n"
    );
    for (before, step) in (0..).zip(STEPS) {
        let after = before + 1;
        let present = if before == 0 {
            format!("to_regclass('{schema}.schema_version') IS NOT NULL")
        } else {
            format!("EXISTS (SELECT FROM {schema}.schema_version WHERE version >= {after})")
        };
        let step = step.replace("@schema@", schema);
        script.push_str(&format!(
            "DO $step$\nBEGIN\nIF {present} THEN RETURN; END IF;\n{step}\n\
             INSERT INTO {schema}.schema_version (version) VALUES ({after});\nEND\n$step$;\n"
        ));
    }
    script
}

/// 0 when there is none.
async fn version(connections: &Connections, schema: &str) -> Result<i32, Failure> {
    let exists = "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n \
                  ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = 'schema_version')";
    let rows = connections.query(exists, &[(&schema, Type::TEXT)]).await?;
    if !rows.first().is_some_and(|row| row.get::<_, bool>(0)) {
        return Ok(0);
    }
    let newest = format!("SELECT coalesce(max(version), 0) FROM {schema}.schema_version");
    let rows = connections.query(&newest, &[]).await?;
    Ok(rows.first().map_or(0, |row| row.get(0)))
}

async fn check_server(connections: &Connections, place: &str) -> Result<(), OpenError> {
    let settings = "SELECT current_setting('server_version_num')::int, \
                    current_setting('server_version'), current_setting('server_encoding'), \
                    pg_is_in_recovery(), current_setting('synchronous_commit'), \
                    current_setting('default_transaction_isolation'), current_setting('fsync')";
    let rows = connections.query(settings, &[]).await;
    let rows = rows.map_err(|failure| OpenError::of(place, failure))?;
    let unfit = |problem: String| OpenError::Unfit { place: place.to_owned(), problem };
    let row = rows.first().ok_or_else(|| unfit("it answers nothing".into()))?;
    let (number, name): (i32, &str) = (row.get(0), row.get(1));
    let (encoding, standby): (&str, bool) = (row.get(2), row.get(3));
    let (commit, isolation, fsync): (&str, &str, &str) = (row.get(4), row.get(5), row.get(6));
    let problem = if number < SERVER_VERSION_MIN {
        format!("it is PostgreSQL {name}, needed is 15 or newer")
    } else if encoding != "UTF8" {
        format!("its database is encoded in {encoding}, needed is UTF8")
    } else if standby {
        "it is a standby, needed is the primary".into()
    } else if commit == "off" {
        "synchronous_commit is off, so it acknowledges what a crash loses; needed is on".into()
    } else if isolation != "read committed" {
        format!("default_transaction_isolation is {isolation}, needed is read committed")
    } else {
        if fsync == "off" {
            tracing::warn!(%place, "fsync is off: a crash of the machine loses events");
        }
        return Ok(());
    };
    Err(unfit(problem))
}

async fn check_permissions(
    connections: &Connections,
    schema: &str,
    place: &str,
) -> Result<(), OpenError> {
    // The CASE keeps the planner from asking of a table what only a sequence can answer.
    let missing = "\
        SELECT 'USAGE on the schema' FROM pg_namespace n \
        WHERE n.nspname = $1 AND NOT has_schema_privilege(n.oid, 'USAGE') \
        UNION ALL SELECT p || ' on table ' || c.relname FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace \
        CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p \
        WHERE n.nspname = $1 AND c.relname IN ('streams', 'events', 'documents') \
        AND NOT has_table_privilege(c.oid, p) \
        UNION ALL SELECT 'USAGE on sequence ' || c.relname FROM pg_class c \
        JOIN pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 \
        AND CASE c.relkind WHEN 'S' THEN NOT has_sequence_privilege(c.oid, 'USAGE') END \
        UNION ALL SELECT 'EXECUTE on function ' || f.proname FROM pg_proc f \
        JOIN pg_namespace n ON n.oid = f.pronamespace \
        WHERE n.nspname = $1 AND NOT has_function_privilege(f.oid, 'EXECUTE')";
    let rows = connections.query(missing, &[(&schema, Type::TEXT)]).await;
    let rows = rows.map_err(|failure| OpenError::of(place, failure))?;
    if rows.is_empty() {
        return Ok(());
    }
    let missing = rows.iter().map(|row| row.get(0)).collect();
    Err(OpenError::Forbidden { place: place.to_owned(), schema: schema.to_owned(), missing })
}
