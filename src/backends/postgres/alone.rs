//! One event of one caller, in a statement that costs less than that of a batch.

use tokio_postgres::types::Type;

use super::batch::{HEARD_BYTES_MAX, Queued, int4};
use super::connections::Connections;
use super::error::{Failure, damaged};
use super::layout;
use super::statements::Statements;
use crate::store::{Appended, StoreError};

/// Appends it, waiting for nobody. None: nothing was done, and whoever asks for it as a batch
/// learns why.
pub(super) async fn ask(
    connections: &Connections,
    statements: &Statements,
    channel: Option<&str>,
    queued: &Queued,
) -> Result<Option<Appended>, Failure> {
    let (stream, append) = (queued.stream.as_str(), &queued.append);
    let [event] = append.events.as_slice() else { return Ok(None) };
    if stream.len() > HEARD_BYTES_MAX {
        return Ok(None);
    }
    let maker = layout::maker(append.made_by);
    // Whoever queued it has looked.
    let base = append.base.0.cast_signed();
    let expected = layout::expected_next(append.expected);
    let metadata = layout::metadata_text(&event.metadata);
    let occurred = event.occurred_at.map(|moment| moment.nanos());
    let rows = connections
        .query(
            &statements.append_one,
            &[
                (&channel, Type::TEXT),
                (&stream, Type::TEXT),
                (&maker, Type::UUID),
                (&base, Type::INT8),
                (&expected, Type::INT8),
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
            ],
        )
        .await?;
    // What is damaged in the answer came behind the commit.
    told(&rows).map_err(|error| Failure::Lost(error.into()))
}

fn told(rows: &[tokio_postgres::Row]) -> Result<Option<Appended>, StoreError> {
    let row = rows.first().ok_or_else(|| damaged("no answer to an append"))?;
    let version: Option<i64> = layout::column(row, "version")?;
    let version = version.map(layout::unsigned).transpose()?;
    Ok(version.map(|version| Appended { first: version, last: version, replay: false }))
}
