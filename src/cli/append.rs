//! `append`: one event to one object.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use serde::Serialize;

use super::connection::Connection;
use super::failure::Failure;
use super::object_path::parse_object;
use super::output::answer;
use super::session::Session;
use super::values::{parse_expected_version, parse_moment, parse_pair};
use super::verdict::Effect;
use crate::grpc::v1;
use crate::grpc::v1::expected_version::Kind;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The object, as order/42.
    #[arg(value_parser = parse_object)]
    object: v1::ObjectRef,
    /// The type of the event, as OrderPlaced.
    event_type: String,
    /// The payload, kept byte for byte.
    #[arg(required_unless_present = "payload_file", conflicts_with = "payload_file")]
    payload: Option<String>,
    /// Take the payload from a file, or from stdin with '-'.
    #[arg(long, value_name = "PATH")]
    payload_file: Option<PathBuf>,
    /// What the payload is [default: by its content: application/json, text/plain or
    /// application/octet-stream].
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// The version of the event's schema.
    #[arg(long, value_name = "N", default_value_t = 1)]
    schema_version: u32,
    /// Metadata of the event; may be given many times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    metadata: Vec<(String, String)>,
    /// What the object's head must be: any, no_stream, stream_exists, or a version.
    #[arg(long, value_name = "VERSION", value_parser = parse_expected_version)]
    #[arg(default_value = "any")]
    expected_version: Kind,
    /// The UUID by which a repeat is recognised [default: a new one].
    #[arg(long, value_name = "UUID")]
    event_id: Option<String>,
    /// When it happened, in RFC 3339.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    occurred_at: Option<prost_types::Timestamp>,
    /// Whether the server goes on in the continuation of a closed stream [default: as the server
    /// is configured].
    #[arg(long, value_name = "BOOL")]
    auto_retry_on_stream_closure: Option<bool>,
}

#[derive(Serialize)]
struct Appended<'a> {
    object_name: &'a str,
    object_id: &'a str,
    first_version: u64,
    last_version: u64,
    replay: bool,
    event_ids: &'a [String],
}

pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    let connection = Connection::open(session)?;
    let payload = match (arguments.payload, &arguments.payload_file) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(path)) => read_payload(path)?,
        (None, None) => Vec::new(),
    };
    let content_type =
        arguments.content_type.unwrap_or_else(|| content_type_of(&payload).to_owned());
    // Made here and not by the server, so that a repeat after a lost answer is recognised (I8).
    let event_id = arguments.event_id.unwrap_or_else(|| session.runtime.entropy.uuid().to_string());
    let event = v1::NewEvent {
        event_id,
        event_type: arguments.event_type,
        schema_version: arguments.schema_version,
        content_type,
        payload: Bytes::from(payload),
        metadata: arguments.metadata.into_iter().collect(),
        occurred_at: arguments.occurred_at,
    };
    let object = arguments.object;
    let request = v1::AppendRequest {
        object: Some(object.clone()),
        expected_version: Some(v1::ExpectedVersion { kind: Some(arguments.expected_version) }),
        events: vec![event],
        auto_retry_on_stream_closure: arguments.auto_retry_on_stream_closure,
    };
    let appended = connection
        .call(Effect::Writes, request, |request| {
            let mut client = connection.events();
            async move { client.append(request).await }
        })
        .await?;
    let json = Appended {
        object_name: &object.object_name,
        object_id: &object.object_id,
        first_version: appended.first_version,
        last_version: appended.last_version,
        replay: appended.replay,
        event_ids: &appended.event_ids,
    };
    answer(session.format(), &json, || text_of(&json))
}

fn text_of(appended: &Appended<'_>) -> String {
    format!(
        "{}/{} version {} event {}{}",
        appended.object_name,
        appended.object_id,
        appended.last_version,
        appended.event_ids.join(" "),
        if appended.replay { " (was there already)" } else { "" },
    )
}

fn read_payload(path: &Path) -> Result<Vec<u8>, Failure> {
    if path == Path::new("-") {
        let mut payload = Vec::new();
        let read = std::io::stdin().lock().read_to_end(&mut payload);
        read.map_err(|error| Failure::local("read the payload from stdin", error))?;
        return Ok(payload);
    }
    std::fs::read(path)
        .map_err(|error| Failure::local(format!("read the payload from {}", path.display()), error))
}

fn content_type_of(payload: &[u8]) -> &'static str {
    if serde_json::from_slice::<serde::de::IgnoredAny>(payload).is_ok() {
        "application/json"
    } else if std::str::from_utf8(payload).is_ok() {
        "text/plain"
    } else {
        "application/octet-stream"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_decides_the_content_type() {
        assert_eq!(content_type_of(b"{\"a\": 1}"), "application/json");
        assert_eq!(content_type_of(b" 1.0 "), "application/json");
        assert_eq!(content_type_of(b"{\"a\": 1"), "text/plain");
        assert_eq!(content_type_of(b""), "text/plain");
        assert_eq!(content_type_of(&[0xff, 0]), "application/octet-stream");
    }
}
