//! `objects list` and `objects show`: what is there, and where it lives.

use std::fmt::Write as _;

use clap::{Args, Subcommand};

use super::connection::{Connection, Patience};
use super::failure::Failure;
use super::object_path::parse_object;
use super::output::{Format, Output, answer};
use super::present::Object;
use super::session::Session;
use super::values::{moment_text, object_text};
use super::verdict::{Effect, Verdict};
use crate::grpc::v1;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List objects, by name and by the store they live in.
    List(ListArguments),
    /// Show where an object lives and has lived, its head and its running migration.
    Show(ShowArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only objects of this name.
    #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
    object_name: String,
    /// Only objects that live in this store.
    #[arg(long, value_name = "STORE", default_value = "", hide_default_value = true)]
    store: String,
    /// The most objects to list; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
}

#[derive(Args)]
pub(crate) struct ShowArguments {
    /// The object, as order/42.
    #[arg(value_parser = parse_object)]
    object: v1::ObjectRef,
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    let connection = Connection::open(session)?;
    match command {
        Command::List(arguments) => list(session, &connection, &arguments).await,
        Command::Show(arguments) => {
            let request = v1::GetObjectRequest { object: Some(arguments.object) };
            let response = connection
                .call(Effect::Reads, request, |request| {
                    let mut client = connection.events();
                    async move { client.get_object(request).await }
                })
                .await?;
            let object = response.object.unwrap_or_default();
            answer(session.format(), &Object::from(&object), || text_of(&object))
        }
    }
}

/// One page of objects and the token of the next.
pub(crate) async fn page(
    connection: &Connection,
    patience: Patience,
    request: v1::ListObjectsRequest,
) -> Result<v1::ListObjectsResponse, Box<Verdict>> {
    connection
        .call_patiently(patience, Effect::Reads, request, |request| {
            let mut client = connection.events();
            async move { client.list_objects(request).await }
        })
        .await
}

async fn list(
    session: &Session,
    connection: &Connection,
    arguments: &ListArguments,
) -> Result<(), Failure> {
    let mut output = Output::stdout();
    let (mut page_token, mut listed) = (String::new(), 0);
    loop {
        let left = match arguments.limit {
            0 => u64::MAX,
            limit => limit - listed,
        };
        let request = v1::ListObjectsRequest {
            object_name: arguments.object_name.clone(),
            store: arguments.store.clone(),
            page_size: u32::try_from(left.min(1_000)).unwrap_or(1_000),
            page_token,
        };
        let response = page(connection, Patience::brief(session.timeout), request).await?;
        for object in &response.objects {
            match session.format() {
                Format::Json => output.json(&Object::from(object))?,
                Format::Text => output.line(&line_of(object))?,
            }
            listed += 1;
            if arguments.limit == listed {
                return output.flush();
            }
        }
        output.flush()?;
        if response.next_page_token.is_empty() {
            return Ok(());
        }
        page_token = response.next_page_token;
    }
}

fn line_of(object: &v1::ObjectInfo) -> String {
    let active = object.chain.last();
    let mut line = format!(
        "{:<40} {} {}",
        object_text(object.object.as_ref()),
        active.map_or("", |stream| stream.store.as_str()),
        active.map_or("", |stream| stream.stream_id.as_str()),
    );
    if !object.running_migration.is_empty() {
        _ = write!(line, "  moving: {}", object.running_migration);
    }
    line
}

fn text_of(object: &v1::ObjectInfo) -> String {
    let mut text = object_text(object.object.as_ref());
    match object.head_version {
        Some(head) => _ = write!(text, "\n  head      version {head}"),
        None => text.push_str("\n  head      no events"),
    }
    if let Some(created) = &object.created_at {
        _ = write!(text, "\n  created   {}", moment_text(created));
    }
    for (index, stream) in object.chain.iter().enumerate() {
        let is_active = index + 1 == object.chain.len();
        let state = match (is_active, stream.removed) {
            (true, _) => "active    ",
            (false, true) => "removed   ",
            (false, false) => "closed    ",
        };
        _ = write!(
            text,
            "\n  {state}{} {} from version {}",
            stream.store, stream.stream_id, stream.base_version
        );
        if let Some(last) = stream.last_version {
            _ = write!(text, " to {last}");
        }
    }
    if !object.running_migration.is_empty() {
        _ = write!(text, "\n  migration {}", object.running_migration);
    }
    text
}
