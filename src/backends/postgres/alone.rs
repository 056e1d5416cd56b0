//! The append of one caller, in a statement that costs less than that of a batch.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::batch::{Columns, HEARD_BYTES_MAX, Queued, int4};
use super::connections::{Connections, Parameter};
use super::error::{Failure, damaged};
use super::layout;
use super::statements::Statements;
use crate::domain::Event;
use crate::store::{Appended, StoreError};

/// Appends it, waiting for nobody. None: nothing was done, and whoever asks for it as a batch
/// learns why. Several events of which one is there already are refused as a duplicate key.
pub(super) async fn ask(
    connections: &Connections,
    statements: &Statements,
    channel: Option<&str>,
    queued: &Queued,
) -> Result<Option<Appended>, Failure> {
    // A channel does not take more; a batch says so in other words.
    if queued.stream.as_str().len() > HEARD_BYTES_MAX {
        return Ok(None);
    }
    let rows = match queued.append.events.as_slice() {
        [event] => ask_one(connections, statements, channel, queued, event).await?,
        _ => ask_page(connections, statements, channel, queued).await?,
    };
    // What is damaged in the answer came behind the commit.
    let told = told(queued.append.events.len() as u64, &rows);
    told.map_err(|error| Failure::Lost(error.into()))
}

async fn ask_one(
    connections: &Connections,
    statements: &Statements,
    channel: Option<&str>,
    Queued { stream, append, .. }: &Queued,
    event: &Event,
) -> Result<Vec<Row>, Failure> {
    let metadata = layout::metadata_text(&event.metadata);
    let occurred = event.occurred_at.map(|moment| moment.nanos());
    let parameters: [Parameter<'_>; 15] = [
        (&channel, Type::TEXT),
        (&stream.as_str(), Type::TEXT),
        (&layout::maker(append.made_by), Type::UUID),
        // Whoever queued it has looked.
        (&append.base.0.cast_signed(), Type::INT8),
        (&layout::expected_next(append.expected), Type::INT8),
        (&event.event_id.0, Type::UUID),
        (&event.digest.as_bytes().as_slice(), Type::BYTEA),
        (&event.event_type.as_str(), Type::TEXT),
        (&i64::from(event.schema_version), Type::INT8),
        (&event.content_type.as_str(), Type::TEXT),
        (&metadata, Type::TEXT),
        (&&*event.payload, Type::BYTEA),
        (&occurred, Type::INT8),
        (&event.recorded_at.nanos(), Type::INT8),
        (&int4(event.size()), Type::INT4),
    ];
    connections.query(&statements.append_one, &parameters).await
}

async fn ask_page(
    connections: &Connections,
    statements: &Statements,
    channel: Option<&str>,
    queued: &Queued,
) -> Result<Vec<Row>, Failure> {
    let append = &queued.append;
    let columns = Columns::of(std::slice::from_ref(queued));
    let parameters: [Parameter<'_>; 16] = [
        (&channel, Type::TEXT),
        (&queued.stream.as_str(), Type::TEXT),
        (&layout::maker(append.made_by), Type::UUID),
        (&append.base.0.cast_signed(), Type::INT8),
        (&layout::expected_next(append.expected), Type::INT8),
        (&columns.last_recorded[0], Type::INT8),
        (&columns.event_ids, Type::UUID_ARRAY),
        (&columns.digests, Type::BYTEA_ARRAY),
        (&columns.event_types, Type::TEXT_ARRAY),
        (&columns.schema_versions, Type::INT8_ARRAY),
        (&columns.content_types, Type::TEXT_ARRAY),
        (&columns.metadatas, Type::TEXT_ARRAY),
        (&columns.payloads, Type::BYTEA_ARRAY),
        (&columns.occurred, Type::INT8_ARRAY),
        (&columns.recorded, Type::INT8_ARRAY),
        (&columns.sizes, Type::INT4_ARRAY),
    ];
    connections.query(&statements.append_page, &parameters).await
}

fn told(count: u64, rows: &[Row]) -> Result<Option<Appended>, StoreError> {
    let row = rows.first().ok_or_else(|| damaged("no answer to an append"))?;
    let Some(first) = layout::column::<Option<i64>>(row, "version")? else { return Ok(None) };
    let first = layout::unsigned(first)?;
    Ok(Some(Appended { first, last: first.plus(count - 1), replay: false }))
}
