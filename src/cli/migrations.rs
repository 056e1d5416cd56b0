//! `migrations`: list, show, watch, pause, resume and cancel.

use std::fmt::Write as _;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

use super::connection::Connection;
use super::failure::Failure;
use super::output::{Format, Output, answer, confirm};
use super::present::{Migration, error_info, phase_word};
use super::session::Session;
use super::values::{
    count_text, duration_of, duration_text, hex_text, moment_text, object_text, parse_duration,
};
use super::verdict::Effect;
use super::watch::{Display, JsonLines, follow, has_ended, outcome, state_text};
use crate::grpc::v1;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// List migrations, unfinished ones first.
    List(ListArguments),
    /// Show one migration with all that is known of it.
    Show(One),
    /// Follow a migration to its end.
    Watch(WatchArguments),
    /// Stop copying until it is resumed; appends go on in the source.
    Pause(One),
    /// Go on copying.
    Resume(One),
    /// Give a migration up before its source is closed.
    Cancel(CancelArguments),
}

#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only migrations in this phase; may be given many times.
    #[arg(long, value_enum, value_name = "PHASE")]
    phase: Vec<PhaseName>,
    /// The most migrations to list; 0 means all.
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: u64,
}

#[derive(Args)]
pub(crate) struct One {
    /// The id of the migration.
    migration_id: String,
}

#[derive(Args)]
pub(crate) struct WatchArguments {
    /// The id of the migration.
    migration_id: String,
    /// How long to wait for a server that cannot be reached.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    retry_for: Duration,
}

#[derive(Args)]
pub(crate) struct CancelArguments {
    /// The id of the migration.
    migration_id: String,
    /// Delete the copied events once no close can point to them any more. Asks first.
    #[arg(long)]
    remove_target: bool,
    /// How long to wait for a server that cannot be reached.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "60s")]
    retry_for: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum PhaseName {
    Preparing,
    CatchingUp,
    Closing,
    Rerouting,
    Verifying,
    Succeeded,
    Failed,
    Cancelled,
}

impl From<PhaseName> for v1::MigrationPhase {
    fn from(name: PhaseName) -> Self {
        match name {
            PhaseName::Preparing => Self::Preparing,
            PhaseName::CatchingUp => Self::CatchingUp,
            PhaseName::Closing => Self::Closing,
            PhaseName::Rerouting => Self::Rerouting,
            PhaseName::Verifying => Self::Verifying,
            PhaseName::Succeeded => Self::Succeeded,
            PhaseName::Failed => Self::Failed,
            PhaseName::Cancelled => Self::Cancelled,
        }
    }
}

pub(crate) async fn run(session: &Session, command: Command) -> Result<(), Failure> {
    let connection = Connection::open(session)?;
    let migration = match command {
        Command::List(arguments) => return list(session, &connection, &arguments).await,
        Command::Watch(arguments) => return watch(session, &connection, &arguments).await,
        Command::Show(one) => get(&connection, one.migration_id).await?,
        Command::Pause(one) => pause(&connection, one.migration_id).await?,
        Command::Resume(one) => resume(&connection, one.migration_id).await?,
        Command::Cancel(arguments) => return cancel(session, &connection, arguments).await,
    };
    answer(session.format(), &Migration::from(&migration), || text_of(&migration))
}

async fn get(connection: &Connection, migration_id: String) -> Result<v1::Migration, Failure> {
    let response = connection
        .call(Effect::Reads, v1::GetMigrationRequest { migration_id }, |request| {
            let mut client = connection.migrations();
            async move { client.get_migration(request).await }
        })
        .await?;
    Ok(response.migration.unwrap_or_default())
}

async fn pause(connection: &Connection, migration_id: String) -> Result<v1::Migration, Failure> {
    let response = connection
        .call(Effect::Writes, v1::PauseMigrationRequest { migration_id }, |request| {
            let mut client = connection.migrations();
            async move { client.pause_migration(request).await }
        })
        .await?;
    Ok(response.migration.unwrap_or_default())
}

async fn resume(connection: &Connection, migration_id: String) -> Result<v1::Migration, Failure> {
    let response = connection
        .call(Effect::Writes, v1::ResumeMigrationRequest { migration_id }, |request| {
            let mut client = connection.migrations();
            async move { client.resume_migration(request).await }
        })
        .await?;
    Ok(response.migration.unwrap_or_default())
}

/// Waits for the end: cancelling is a wish, and the close may have come first.
async fn cancel(
    session: &Session,
    connection: &Connection,
    arguments: CancelArguments,
) -> Result<(), Failure> {
    let CancelArguments { migration_id, remove_target, retry_for } = arguments;
    if remove_target {
        let question = format!("Delete the events that migration {migration_id} has copied?");
        confirm(session.yes, &question)?;
    }
    let request = v1::CancelMigrationRequest { migration_id, remove_target };
    let response = connection
        .call(Effect::Writes, request, |request| {
            let mut client = connection.migrations();
            async move { client.cancel_migration(request).await }
        })
        .await?;
    let mut migration = response.migration.unwrap_or_default();
    if !has_ended(migration.phase()) {
        let mut display = Display::new(session);
        let id = &migration.migration_id;
        migration = follow(session, connection, id, retry_for, &mut display).await?;
    }
    answer(session.format(), &Migration::from(&migration), || text_of(&migration))?;
    match migration.phase() {
        v1::MigrationPhase::Cancelled => Ok(()),
        phase => Err(Failure::unsuccessful(format!(
            "Not cancelled: the migration is {}",
            phase_word(phase)
        ))),
    }
}

async fn watch(
    session: &Session,
    connection: &Connection,
    arguments: &WatchArguments,
) -> Result<(), Failure> {
    let (id, patience) = (&arguments.migration_id, arguments.retry_for);
    let migration = match session.format() {
        Format::Json => {
            let mut lines = JsonLines(Output::stdout());
            follow(session, connection, id, patience, &mut lines).await?
        }
        Format::Text => {
            let mut display = Display::new(session);
            let migration = follow(session, connection, id, patience, &mut display).await?;
            answer(Format::Text, &(), || text_of(&migration))?;
            migration
        }
    };
    outcome(&migration)
}

async fn list(
    session: &Session,
    connection: &Connection,
    arguments: &ListArguments,
) -> Result<(), Failure> {
    let phases: Vec<i32> =
        arguments.phase.iter().map(|name| v1::MigrationPhase::from(*name).into()).collect();
    let mut output = Output::stdout();
    let (mut page_token, mut listed) = (String::new(), 0);
    loop {
        let left = match arguments.limit {
            0 => u64::MAX,
            limit => limit - listed,
        };
        let request = v1::ListMigrationsRequest {
            phases: phases.clone(),
            page_size: u32::try_from(left.min(1_000)).unwrap_or(1_000),
            page_token,
        };
        let response = connection
            .call(Effect::Reads, request, |request| {
                let mut client = connection.migrations();
                async move { client.list_migrations(request).await }
            })
            .await?;
        for migration in &response.migrations {
            match session.format() {
                Format::Json => output.json(&Migration::from(migration))?,
                Format::Text => output.line(&line_of(migration))?,
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

fn line_of(migration: &v1::Migration) -> String {
    let store = |stream: &Option<v1::StreamInfo>| {
        stream.as_ref().map(|stream| stream.store.clone()).unwrap_or_default()
    };
    format!(
        "{}  {:<32} {} -> {}  {}",
        migration.migration_id,
        object_text(migration.object.as_ref()),
        store(&migration.source),
        store(&migration.target),
        state_text(migration),
    )
}

/// Everything an operator asks first, one fact a line.
pub(crate) fn text_of(migration: &v1::Migration) -> String {
    let mut text = format!("migration {}", migration.migration_id);
    let mut fact = |name: &str, value: String| _ = write!(text, "\n  {name:<12} {value}");
    fact("object", object_text(migration.object.as_ref()));
    fact("phase", phase_text(migration));
    if migration.kind() == v1::MigrationKind::Continue {
        fact("kind", "continue: nothing is copied".into());
    }
    for (name, stream) in [("source", &migration.source), ("target", &migration.target)] {
        if let Some(stream) = stream {
            fact(name, format!("{} {}", stream.store, stream.stream_id));
        }
    }
    if let Some(progress) = &migration.progress {
        fact(
            "copied",
            format!(
                "{} events, {} bytes in {} rounds, {} close attempts",
                count_text(progress.events_copied),
                count_text(progress.bytes_copied),
                progress.iteration,
                progress.close_attempts,
            ),
        );
        if !has_ended(migration.phase()) {
            fact("progress", state_text(migration));
        }
        fact("redirected", format!("{} appends", count_text(progress.appends_redirected)));
        if let Some(stall) = &progress.write_stall {
            fact("write stall", stall_text(stall));
        }
    }
    if let Some(status) = &migration.error {
        let reason = error_info(status).map(|info| info.reason).unwrap_or_default();
        fact("error", format!("{reason} {}", status.message));
    }
    if let Some(certificate) = &migration.certificate {
        let verdict = match certificate.source_checksum == certificate.target_checksum {
            true => format!("both sides equal, SHA-256 {}", hex_text(&certificate.source_checksum)),
            false => format!(
                "DIFFERENT: source {}, target {}",
                hex_text(&certificate.source_checksum),
                hex_text(&certificate.target_checksum),
            ),
        };
        fact("certificate", format!("{} events, {verdict}", count_text(certificate.events)));
    }
    if let Some(lock) = &migration.lock
        && !lock.owner.is_empty()
    {
        fact("lock", format!("{} with token {}", lock.owner, lock.fencing_token));
    }
    fact("request id", migration.request_id.clone());
    for (key, value) in &migration.labels {
        fact("label", format!("{key} = {value}"));
    }
    let moments = [
        ("created", &migration.created_at),
        ("updated", &migration.updated_at),
        ("ended", &migration.ended_at),
    ];
    for (name, moment) in moments {
        if let Some(moment) = moment {
            fact(name, moment_text(moment));
        }
    }
    text
}

fn phase_text(migration: &v1::Migration) -> String {
    let mut text = phase_word(migration.phase()).to_owned();
    if migration.paused {
        text.push_str(", paused");
    }
    if migration.provisional {
        text.push_str(", provisional: a close may still be on its way");
    }
    text
}

fn stall_text(stall: &v1::LatencySummary) -> String {
    let shown = |duration: &Option<prost_types::Duration>| {
        duration.as_ref().map_or("-".into(), |duration| duration_text(duration_of(duration)))
    };
    format!(
        "{} appends while it moved: p50 {}, p99 {}, longest {}",
        count_text(stall.count),
        shown(&stall.p50),
        shown(&stall.p99),
        shown(&stall.max),
    )
}
