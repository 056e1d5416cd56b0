//! The messages of `MigrationService`.

use std::collections::BTreeMap;
use std::time::Duration;

use prost::Message as _;

use super::{
    Faults, object, page_size, page_token, to_object, to_stream, to_timestamp, to_version,
};
use crate::domain::close_event::MigrationKind;
use crate::domain::limits::{check_metadata, check_text};
use crate::domain::{Head, InvalidValue, MigrationId, StoreName, StreamId, Version};
use crate::grpc::status::{InvalidRequest, status_of_failure};
use crate::grpc::v1;
use crate::migration::record::Failure;
use crate::migration::{
    Certificate, ExpectedSource, ListMigrations, ListedMigrations, MigrationOptions,
    MigrationRecord, MigrationRequest, MigrationView, OnConvergenceFailure, Phase, Progress,
    TargetBase,
};
use crate::telemetry::moves::Stall;

const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a request leaves out is taken from `defaults`.
pub(crate) fn migrate(
    request: v1::MigrateRequest,
    defaults: &MigrationOptions,
) -> Result<MigrationRequest, InvalidRequest> {
    let mut faults = Faults::default();
    faults.take(request_id(&request.request_id));
    let object = object(&mut faults, request.object);
    let kind = kind(&mut faults, request.kind);
    let target_store = StoreName::new(request.target_store).map_err(named("target_store"));
    let target_store = faults.take(target_store);
    let target_stream_id = stream_id(&mut faults, "target_stream_id", request.target_stream_id);
    let target_base = target_base(&mut faults, request.target_base);
    let expected_source = request.expected_source.map(|it| expected_source(&mut faults, it));
    let options = options(&mut faults, request.options.unwrap_or_default(), defaults);
    faults.take(labels(&request.labels));
    let whole = object.zip(kind).zip(target_store);
    let migration = whole.map(|((object, kind), target_store)| MigrationRequest {
        request_id: request.request_id,
        object,
        kind,
        target_store,
        target_stream_id,
        target_base,
        expected_source: expected_source.flatten(),
        options,
        labels: request.labels,
        validate_only: request.validate_only,
    });
    faults.finish(migration)
}

/// The same fault under the name that the field has here.
fn named(field: &'static str) -> impl FnOnce(InvalidValue) -> InvalidValue {
    move |fault| InvalidValue::new(field, fault.problem)
}

fn request_id(text: &str) -> Result<(), InvalidValue> {
    check_text("request_id", text, false)?;
    if text.len() > REQUEST_ID_BYTES_MAX {
        let problem = format!("has {} bytes, the limit is {REQUEST_ID_BYTES_MAX}", text.len());
        return Err(InvalidValue::new("request_id", problem));
    }
    Ok(())
}

fn labels(labels: &BTreeMap<String, String>) -> Result<(), InvalidValue> {
    let entries = labels.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    check_metadata("labels", entries)
}

fn stream_id(faults: &mut Faults, field: &'static str, text: String) -> Option<StreamId> {
    if text.is_empty() {
        return None;
    }
    faults.take(StreamId::new(text).map_err(named(field)))
}

fn kind(faults: &mut Faults, kind: i32) -> Option<MigrationKind> {
    match v1::MigrationKind::try_from(kind) {
        Ok(v1::MigrationKind::Unspecified | v1::MigrationKind::Copy) => Some(MigrationKind::Copy),
        Ok(v1::MigrationKind::Continue) => Some(MigrationKind::Continue),
        Err(_) => {
            faults.note("kind", format!("{kind} is no kind of migration"));
            None
        }
    }
}

fn target_base(faults: &mut Faults, base: i32) -> Option<TargetBase> {
    match v1::TargetBase::try_from(base) {
        Ok(v1::TargetBase::Unspecified) => None,
        Ok(v1::TargetBase::History) => Some(TargetBase::History),
        Ok(v1::TargetBase::Source) => Some(TargetBase::Source),
        Err(_) => {
            faults.note("target_base", format!("{base} is no place to begin at"));
            None
        }
    }
}

fn expected_source(faults: &mut Faults, expected: v1::ExpectedSource) -> Option<ExpectedSource> {
    let store = StoreName::new(expected.store).map_err(named("expected_source.store"));
    let store = faults.take(store);
    let stream_id = stream_id(faults, "expected_source.stream_id", expected.stream_id);
    Some(ExpectedSource { store: store?, stream_id })
}

fn options(
    faults: &mut Faults,
    sent: v1::MigrationOptions,
    defaults: &MigrationOptions,
) -> MigrationOptions {
    let mut options = defaults.clone();
    let durations = [
        ("options.close_timeout", sent.close_timeout, &mut options.close_timeout),
        ("options.catch_up_delay", sent.catch_up_delay, &mut options.catch_up_delay),
    ];
    for (field, sent, option) in durations {
        let Some(sent) = sent else { continue };
        match Duration::try_from(sent) {
            Ok(duration) => *option = duration,
            Err(_) => faults.note(field, "must not be negative"),
        }
    }
    match v1::ConvergenceFailure::try_from(sent.on_convergence_failure) {
        Ok(strategy) => {
            options.on_convergence_failure =
                strategy_of(strategy).unwrap_or(defaults.on_convergence_failure);
        }
        Err(_) => faults.note("options.on_convergence_failure", "is no strategy"),
    }
    let limit = |sent: Option<u64>, default| match sent {
        None => default,
        Some(0) => None,
        Some(max) => Some(max),
    };
    options.events_per_second_max =
        limit(sent.events_per_second_max, defaults.events_per_second_max);
    options.bytes_per_second_max = limit(sent.bytes_per_second_max, defaults.bytes_per_second_max);
    if sent.page_events_max > 0 {
        options.page_events_max = sent.page_events_max as usize;
    }
    faults.take(options.check().map_err(|fault| fault.within("options")));
    options
}

fn strategy_of(sent: v1::ConvergenceFailure) -> Option<OnConvergenceFailure> {
    match sent {
        v1::ConvergenceFailure::Unspecified => None,
        v1::ConvergenceFailure::KeepTrying => Some(OnConvergenceFailure::KeepTrying),
        v1::ConvergenceFailure::Fail => Some(OnConvergenceFailure::Fail),
        v1::ConvergenceFailure::PauseSource => Some(OnConvergenceFailure::PauseSource),
    }
}

fn to_strategy(strategy: OnConvergenceFailure) -> v1::ConvergenceFailure {
    match strategy {
        OnConvergenceFailure::KeepTrying => v1::ConvergenceFailure::KeepTrying,
        OnConvergenceFailure::Fail => v1::ConvergenceFailure::Fail,
        OnConvergenceFailure::PauseSource => v1::ConvergenceFailure::PauseSource,
    }
}

pub(crate) fn migration_id(text: &str) -> Result<MigrationId, InvalidRequest> {
    text.parse().map_err(|fault| InvalidRequest(vec![fault]))
}

pub(crate) fn list(request: v1::ListMigrationsRequest) -> Result<ListMigrations, InvalidRequest> {
    let mut faults = Faults::default();
    let mut phases = Vec::new();
    for (index, phase) in request.phases.into_iter().enumerate() {
        match phase_of(phase) {
            Some(phase) => phases.push(phase),
            None => faults.note(&format!("phases[{index}]"), format!("{phase} is no phase")),
        }
    }
    let page_size = page_size(&mut faults, request.page_size);
    let page_token = page_token(&mut faults, request.page_token);
    faults.finish(Some(ListMigrations { phases, page_size, page_token }))
}

fn phase_of(phase: i32) -> Option<Phase> {
    let sent = v1::MigrationPhase::try_from(phase).ok()?;
    Phase::ALL.into_iter().find(|phase| to_phase(*phase) == sent)
}

fn to_phase(phase: Phase) -> v1::MigrationPhase {
    match phase {
        Phase::Preparing => v1::MigrationPhase::Preparing,
        Phase::CatchingUp => v1::MigrationPhase::CatchingUp,
        Phase::Closing => v1::MigrationPhase::Closing,
        Phase::Rerouting => v1::MigrationPhase::Rerouting,
        Phase::Verifying => v1::MigrationPhase::Verifying,
        Phase::Succeeded => v1::MigrationPhase::Succeeded,
        Phase::Failed => v1::MigrationPhase::Failed,
        Phase::Cancelled => v1::MigrationPhase::Cancelled,
    }
}

fn to_kind(kind: MigrationKind) -> v1::MigrationKind {
    match kind {
        MigrationKind::Copy => v1::MigrationKind::Copy,
        MigrationKind::Continue => v1::MigrationKind::Continue,
    }
}

pub(crate) fn to_list_response(page: ListedMigrations) -> v1::ListMigrationsResponse {
    v1::ListMigrationsResponse {
        migrations: page.migrations.into_iter().map(to_migration).collect(),
        next_page_token: page.next_page_token.unwrap_or_default(),
    }
}

pub(crate) fn to_migration(view: MigrationView) -> v1::Migration {
    let MigrationView { record, progress } = view;
    v1::Migration {
        migration_id: record.migration.to_string(),
        kind: to_kind(record.kind).into(),
        phase: to_phase(record.phase).into(),
        paused: record.orders.paused,
        provisional: record.provisional,
        source: Some(to_source(&record)),
        target: Some(to_target(&record)),
        progress: Some(to_progress(&progress)),
        error: record.failure.as_ref().map(to_error),
        lock: to_lock(&record),
        certificate: record.certificate.as_ref().map(to_certificate),
        options: Some(to_options(&record.options)),
        created_at: Some(to_timestamp(record.created_at)),
        updated_at: Some(to_timestamp(record.updated_at)),
        ended_at: record.ended_at.map(to_timestamp),
        request_id: record.request_id,
        object: Some(to_object(record.object)),
        labels: record.labels,
    }
}

fn to_source(record: &MigrationRecord) -> v1::StreamInfo {
    let closed_at_head = match record.kind {
        MigrationKind::Copy => record.certificate.as_ref().map(|certificate| certificate.head),
        MigrationKind::Continue => continued_at(record),
    };
    let last_version = closed_at_head.and_then(to_version);
    v1::StreamInfo { last_version, ..to_stream(&record.source) }
}

/// Behind which head a continuation without copy goes on.
fn continued_at(record: &MigrationRecord) -> Option<Head> {
    (record.phase == Phase::Succeeded).then_some(record.progress.source_head)
}

fn to_target(record: &MigrationRecord) -> v1::StreamInfo {
    let handed_out = record.target.as_ref().map(|target| &target.stream_id);
    let stream_id = handed_out.or(record.target_stream_id.as_ref());
    let base = record.base().or_else(|| continued_at(record).map(Head::next));
    v1::StreamInfo {
        store: record.target_store.to_string(),
        stream_id: stream_id.map(StreamId::to_string).unwrap_or_default(),
        base_version: base.unwrap_or(Version::FIRST).0,
        last_version: None,
        made_by: record.migration.to_string(),
        removed: false,
        closed_at: None,
    }
}

fn to_progress(progress: &Progress) -> v1::MigrationProgress {
    v1::MigrationProgress {
        iteration: progress.iteration,
        source_version: to_version(progress.source_head),
        target_version: to_version(progress.target_head),
        events_behind: progress.events_behind,
        events_copied: progress.events_copied,
        bytes_copied: progress.bytes_copied,
        percent_complete: progress.percent_complete,
        events_per_second: progress.events_per_second,
        time_left: progress.time_left.map(to_duration),
        close_attempts: progress.close_attempts,
        appends_redirected: progress.appends_redirected,
        write_stall: Some(to_stall(&progress.stall)),
    }
}

fn to_stall(stall: &Stall) -> v1::LatencySummary {
    v1::LatencySummary {
        count: stall.count,
        p50: Some(to_duration(stall.p50)),
        p99: Some(to_duration(stall.p99)),
        max: Some(to_duration(stall.max)),
    }
}

fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// The same status that an RPC with this reason would end with.
fn to_error(failure: &Failure) -> tonic_types::Status {
    let status = status_of_failure(failure.reason, failure.message.clone());
    tonic_types::Status::decode(status.details()).expect("details are an encoded status")
}

fn to_lock(record: &MigrationRecord) -> Option<v1::LockInfo> {
    let owner = record.owner.clone()?;
    let expires_at = record.lease_expires_at.map(to_timestamp);
    Some(v1::LockInfo { owner, fencing_token: record.token, expires_at })
}

fn to_certificate(certificate: &Certificate) -> v1::MigrationCertificate {
    v1::MigrationCertificate {
        events: certificate.events,
        last_version: to_version(certificate.head),
        source_checksum: certificate.source_checksum.as_bytes().to_vec().into(),
        target_checksum: certificate.target_checksum.as_bytes().to_vec().into(),
        verified_at: Some(to_timestamp(certificate.verified_at)),
    }
}

fn to_options(options: &MigrationOptions) -> v1::MigrationOptions {
    v1::MigrationOptions {
        close_timeout: Some(to_duration(options.close_timeout)),
        catch_up_delay: Some(to_duration(options.catch_up_delay)),
        on_convergence_failure: to_strategy(options.on_convergence_failure).into(),
        events_per_second_max: Some(options.events_per_second_max.unwrap_or(0)),
        bytes_per_second_max: Some(options.bytes_per_second_max.unwrap_or(0)),
        page_events_max: u32::try_from(options.page_events_max).unwrap_or(u32::MAX),
    }
}
