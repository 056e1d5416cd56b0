//! Objects and migrations as JSON for programs: the names of the interface, its enums as words.

use std::collections::BTreeMap;

use prost_types::Timestamp;
use serde::Serialize;
use tonic_types::pb;

use super::values::{duration_of, hex_text, moment_text};
use crate::grpc::v1;

#[derive(Serialize)]
pub(crate) struct Object {
    object_name: String,
    object_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    head_version: Option<u64>,
    chain: Vec<Stream>,
    #[serde(skip_serializing_if = "Option::is_none")]
    running_migration: Option<String>,
    created_at: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Stream {
    store: String,
    stream_id: String,
    base_version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    made_by: Option<String>,
    #[serde(skip_serializing_if = "is_false")]
    removed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    closed_at: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Migration {
    pub(crate) migration_id: String,
    request_id: String,
    object_name: String,
    object_id: String,
    kind: &'static str,
    phase: &'static str,
    paused: bool,
    provisional: bool,
    source: Option<Stream>,
    target: Option<Stream>,
    progress: Option<Progress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<MigrationError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<Lock>,
    #[serde(skip_serializing_if = "Option::is_none")]
    certificate: Option<Certificate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    options: Option<Options>,
    labels: BTreeMap<String, String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
}

#[derive(Serialize)]
struct Progress {
    iteration: u32,
    source_version: Option<u64>,
    target_version: Option<u64>,
    events_behind: u64,
    events_copied: u64,
    bytes_copied: u64,
    percent_complete: f64,
    events_per_second: f64,
    time_left_ms: Option<f64>,
    close_attempts: u32,
    appends_redirected: u64,
    write_stall: Option<Latency>,
}

#[derive(Serialize)]
struct Latency {
    count: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
}

#[derive(Serialize)]
struct MigrationError {
    reason: Option<String>,
    message: String,
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Lock {
    owner: String,
    fencing_token: u64,
    expires_at: Option<String>,
}

#[derive(Serialize)]
struct Certificate {
    events: u64,
    last_version: Option<u64>,
    source_checksum: String,
    target_checksum: String,
    equal: bool,
    verified_at: Option<String>,
}

#[derive(Serialize)]
struct Options {
    close_timeout_ms: Option<f64>,
    catch_up_delay_ms: Option<f64>,
    on_convergence_failure: &'static str,
    events_per_second_max: Option<u64>,
    bytes_per_second_max: Option<u64>,
    page_events_max: u32,
}

impl From<&v1::ObjectInfo> for Object {
    fn from(object: &v1::ObjectInfo) -> Self {
        let (object_name, object_id) = names(object.object.as_ref());
        Self {
            object_name,
            object_id,
            head_version: object.head_version,
            chain: object.chain.iter().map(Stream::from).collect(),
            running_migration: some_text(&object.running_migration),
            created_at: moment(object.created_at.as_ref()),
        }
    }
}

impl From<&v1::StreamInfo> for Stream {
    fn from(stream: &v1::StreamInfo) -> Self {
        Self {
            store: stream.store.clone(),
            stream_id: stream.stream_id.clone(),
            base_version: stream.base_version,
            last_version: stream.last_version,
            made_by: some_text(&stream.made_by),
            removed: stream.removed,
            closed_at: moment(stream.closed_at.as_ref()),
        }
    }
}

impl From<&v1::Migration> for Migration {
    fn from(migration: &v1::Migration) -> Self {
        let (object_name, object_id) = names(migration.object.as_ref());
        Self {
            migration_id: migration.migration_id.clone(),
            request_id: migration.request_id.clone(),
            object_name,
            object_id,
            kind: word(migration.kind().as_str_name(), "MIGRATION_KIND_"),
            phase: phase_word(migration.phase()),
            paused: migration.paused,
            provisional: migration.provisional,
            source: migration.source.as_ref().map(Stream::from),
            target: migration.target.as_ref().map(Stream::from),
            progress: migration.progress.as_ref().map(Progress::from),
            error: migration.error.as_ref().map(MigrationError::from),
            lock: migration.lock.as_ref().map(|lock| Lock {
                owner: lock.owner.clone(),
                fencing_token: lock.fencing_token,
                expires_at: moment(lock.expires_at.as_ref()),
            }),
            certificate: migration.certificate.as_ref().map(Certificate::from),
            options: migration.options.as_ref().map(Options::from),
            labels: migration.labels.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            created_at: moment(migration.created_at.as_ref()),
            updated_at: moment(migration.updated_at.as_ref()),
            ended_at: moment(migration.ended_at.as_ref()),
        }
    }
}

impl From<&v1::MigrationProgress> for Progress {
    fn from(progress: &v1::MigrationProgress) -> Self {
        Self {
            iteration: progress.iteration,
            source_version: progress.source_version,
            target_version: progress.target_version,
            events_behind: progress.events_behind,
            events_copied: progress.events_copied,
            bytes_copied: progress.bytes_copied,
            percent_complete: progress.percent_complete,
            events_per_second: progress.events_per_second,
            time_left_ms: millis(progress.time_left.as_ref()),
            close_attempts: progress.close_attempts,
            appends_redirected: progress.appends_redirected,
            write_stall: progress.write_stall.as_ref().map(|stall| Latency {
                count: stall.count,
                p50_ms: millis(stall.p50.as_ref()),
                p99_ms: millis(stall.p99.as_ref()),
                max_ms: millis(stall.max.as_ref()),
            }),
        }
    }
}

impl From<&tonic_types::Status> for MigrationError {
    fn from(status: &tonic_types::Status) -> Self {
        let info = error_info(status);
        Self {
            reason: info.as_ref().map(|info| info.reason.clone()),
            message: status.message.clone(),
            metadata: info.into_iter().flat_map(|info| info.metadata).collect(),
        }
    }
}

impl From<&v1::MigrationCertificate> for Certificate {
    fn from(certificate: &v1::MigrationCertificate) -> Self {
        Self {
            events: certificate.events,
            last_version: certificate.last_version,
            source_checksum: hex_text(&certificate.source_checksum),
            target_checksum: hex_text(&certificate.target_checksum),
            equal: certificate.source_checksum == certificate.target_checksum,
            verified_at: moment(certificate.verified_at.as_ref()),
        }
    }
}

impl From<&v1::MigrationOptions> for Options {
    fn from(options: &v1::MigrationOptions) -> Self {
        Self {
            close_timeout_ms: millis(options.close_timeout.as_ref()),
            catch_up_delay_ms: millis(options.catch_up_delay.as_ref()),
            on_convergence_failure: word(
                options.on_convergence_failure().as_str_name(),
                "CONVERGENCE_FAILURE_",
            ),
            events_per_second_max: options.events_per_second_max,
            bytes_per_second_max: options.bytes_per_second_max,
            page_events_max: options.page_events_max,
        }
    }
}

/// `CATCHING_UP`.
pub(crate) fn phase_word(phase: v1::MigrationPhase) -> &'static str {
    word(phase.as_str_name(), "MIGRATION_PHASE_")
}

/// The reason in the details of a status that travels inside a message.
pub(crate) fn error_info(status: &tonic_types::Status) -> Option<pb::ErrorInfo> {
    let packed =
        status.details.iter().find(|any| any.type_url.ends_with("google.rpc.ErrorInfo"))?;
    prost::Message::decode(&packed.value[..]).ok()
}

fn word(name: &'static str, prefix: &str) -> &'static str {
    name.strip_prefix(prefix).unwrap_or(name)
}

fn names(object: Option<&v1::ObjectRef>) -> (String, String) {
    let object = object.cloned().unwrap_or_default();
    (object.object_name, object.object_id)
}

fn some_text(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn moment(moment: Option<&Timestamp>) -> Option<String> {
    moment.map(moment_text)
}

fn millis(duration: Option<&prost_types::Duration>) -> Option<f64> {
    duration.map(|duration| duration_of(duration).as_secs_f64() * 1e3)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_the_interface_lose_their_prefix() {
        assert_eq!(phase_word(v1::MigrationPhase::CatchingUp), "CATCHING_UP");
        let migration = v1::Migration { kind: 1, phase: 7, ..Default::default() };
        let json = serde_json::to_value(Migration::from(&migration)).unwrap();
        assert_eq!(json["kind"], "COPY");
        assert_eq!(json["phase"], "FAILED");
    }

    #[test]
    fn a_certificate_says_whether_both_sides_were_equal() {
        let mut certificate = v1::MigrationCertificate {
            source_checksum: vec![1, 255].into(),
            target_checksum: vec![1, 255].into(),
            ..Default::default()
        };
        assert!(Certificate::from(&certificate).equal);
        certificate.target_checksum = vec![1, 254].into();
        let shown = Certificate::from(&certificate);
        assert!(!shown.equal);
        assert_eq!(shown.target_checksum, "01fe");
    }
}
