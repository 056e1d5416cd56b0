//! `migrate`: moves one object, some, or all that live in a store, while applications write.

mod fleet;
mod one;
mod tally;

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::failure::Failure;
use super::object_path::parse_object;
use super::session::Session;
use super::values::{duration_to_wire, parse_duration, parse_pair};
use crate::grpc::v1;

#[derive(Args)]
pub(crate) struct Arguments {
    /// The objects to move, as order/42.
    #[arg(value_name = "OBJECT", value_parser = parse_object)]
    #[arg(required_unless_present = "all", conflicts_with = "all")]
    objects: Vec<v1::ObjectRef>,
    /// Move every object that lives in the store --from. Repeatable: nothing moves twice.
    #[arg(long, requires = "from")]
    all: bool,
    /// With --all: the store to empty.
    #[arg(long, value_name = "STORE", conflicts_with = "objects")]
    from: Option<String>,
    /// With --all: only objects of this name.
    #[arg(long, value_name = "NAME", conflicts_with = "objects", default_value = "")]
    #[arg(hide_default_value = true)]
    object_name: String,
    /// The store to move to.
    #[arg(long, value_name = "STORE")]
    to: String,
    /// Copy nothing: close the source at its head and go on in the target at the next version.
    #[arg(long = "continue")]
    continues: bool,
    /// Where the copy begins [default: history].
    #[arg(long, value_enum, value_name = "BASE", conflicts_with = "continues")]
    target_base: Option<Base>,
    /// The id of the target stream, for one object [default: the next one of the object].
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    target_stream_id: Option<String>,
    /// Refuse unless the object lives in this store, or in this stream of it.
    #[arg(long, value_name = "STORE[/STREAM_ID]", value_parser = parse_source)]
    #[arg(conflicts_with = "all")]
    expected_source: Option<v1::ExpectedSource>,
    /// What makes the request repeatable [default: a new one, printed].
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    request_id: Option<String>,
    /// A label to keep with the migration; may be given many times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = parse_pair)]
    label: Vec<(String, String)>,
    #[command(flatten)]
    options: Options,
    /// Check everything, start nothing.
    #[arg(long)]
    validate_only: bool,
    /// Start and leave; `migrations watch` shows the rest.
    #[arg(long, conflicts_with = "validate_only")]
    detach: bool,
    /// How many objects move at once.
    #[arg(long, value_name = "N", default_value_t = 64)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=4096))]
    concurrency: u16,
    /// How long to wait for a server that cannot be reached.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    retry_for: Duration,
}

/// What one migration may do. Left out: as the server is configured.
#[derive(Args)]
#[command(next_help_heading = "Migration options")]
struct Options {
    /// The longest time from the start to the close.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    close_timeout: Option<Duration>,
    /// The wait between rounds that found the source ahead.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    catch_up_delay: Option<Duration>,
    /// What to do when the source is written faster than the copy can close it.
    #[arg(long, value_enum, value_name = "STRATEGY")]
    on_convergence_failure: Option<Strategy>,
    /// The most events to copy in a second; 0 means no limit.
    #[arg(long, value_name = "N")]
    events_per_second_max: Option<u64>,
    /// The most bytes to copy in a second; 0 means no limit.
    #[arg(long, value_name = "BYTES")]
    bytes_per_second_max: Option<u64>,
    /// Events a page; 0 means as configured.
    #[arg(long, value_name = "N", default_value_t = 0)]
    page_events_max: u32,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Base {
    /// At version 0: the whole history, also what lies in streams before the source.
    History,
    /// At the source's own first version; what lies before it stays where it is.
    Source,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Strategy {
    /// Go on until the close timeout.
    KeepTrying,
    /// End when the gap did not shrink in five rounds.
    Fail,
    /// Hold the object's appends for a bounded moment.
    PauseSource,
}

pub(crate) async fn run(session: &Session, arguments: Arguments) -> Result<(), Failure> {
    if arguments.objects.len() == 1 {
        return one::run(session, arguments).await;
    }
    if arguments.target_stream_id.is_some() {
        return Err(Failure::usage("--target-stream-id is for one object"));
    }
    fleet::run(session, arguments).await
}

impl Arguments {
    fn kind(&self) -> v1::MigrationKind {
        if self.continues { v1::MigrationKind::Continue } else { v1::MigrationKind::Copy }
    }

    fn target_base(&self) -> v1::TargetBase {
        match self.target_base {
            None => v1::TargetBase::Unspecified,
            Some(Base::History) => v1::TargetBase::History,
            Some(Base::Source) => v1::TargetBase::Source,
        }
    }

    /// The request for one object; who asks adds the request id and the expected source.
    fn request(&self, object: v1::ObjectRef) -> v1::MigrateRequest {
        v1::MigrateRequest {
            request_id: String::new(),
            object: Some(object),
            kind: self.kind().into(),
            target_base: self.target_base().into(),
            target_store: self.to.clone(),
            target_stream_id: self.target_stream_id.clone().unwrap_or_default(),
            expected_source: self.expected_source.clone(),
            options: Some(self.options.to_wire()),
            labels: self.label.iter().cloned().collect(),
            validate_only: self.validate_only,
        }
    }
}

impl Options {
    fn to_wire(&self) -> v1::MigrationOptions {
        let strategy = match self.on_convergence_failure {
            None => v1::ConvergenceFailure::Unspecified,
            Some(Strategy::KeepTrying) => v1::ConvergenceFailure::KeepTrying,
            Some(Strategy::Fail) => v1::ConvergenceFailure::Fail,
            Some(Strategy::PauseSource) => v1::ConvergenceFailure::PauseSource,
        };
        v1::MigrationOptions {
            close_timeout: self.close_timeout.map(duration_to_wire),
            catch_up_delay: self.catch_up_delay.map(duration_to_wire),
            on_convergence_failure: strategy.into(),
            events_per_second_max: self.events_per_second_max,
            bytes_per_second_max: self.bytes_per_second_max,
            page_events_max: self.page_events_max,
        }
    }
}

/// The store ends at the first slash; a stream id may hold any.
fn parse_source(text: &str) -> Result<v1::ExpectedSource, String> {
    let (store, stream_id) = text.split_once('/').unwrap_or((text, ""));
    if store.is_empty() {
        return Err("must look like STORE or STORE/STREAM_ID".into());
    }
    Ok(v1::ExpectedSource { store: store.to_owned(), stream_id: stream_id.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_store_or_a_stream_in_it() {
        let source = parse_source("hot/order/42/0000000000").unwrap();
        assert_eq!(source.store, "hot");
        assert_eq!(source.stream_id, "order/42/0000000000");
        assert_eq!(parse_source("hot").unwrap().stream_id, "");
        assert!(parse_source("/x").is_err());
    }
}
