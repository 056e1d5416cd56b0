//! The messages of `GetCapabilities`.

use std::time::Duration;

use crate::domain::StoreName;
use crate::domain::limits::{Limits, METADATA_BYTES_MAX, METADATA_ENTRIES_MAX, TEXT_BYTES_MAX};
use crate::grpc::v1;
use crate::lock::Audience;
use crate::store::Capabilities;

/// What the whole deployment takes.
pub(crate) fn to_limits(limits: Limits, session_in_flight_max: usize) -> v1::Limits {
    v1::Limits {
        event_bytes_max: limits.event_bytes_max as u64,
        batch_events_max: limits.batch_events_max as u64,
        batch_bytes_max: limits.batch_bytes_max as u64,
        metadata_entries_max: METADATA_ENTRIES_MAX as u64,
        metadata_bytes_max: METADATA_BYTES_MAX as u64,
        text_bytes_max: TEXT_BYTES_MAX as u64,
        session_in_flight_max: session_in_flight_max as u64,
    }
}

/// What one store can do. `limits` are the deployment's.
pub(crate) fn to_store(
    store: &StoreName,
    capabilities: Capabilities,
    limits: &v1::Limits,
    serving: bool,
) -> v1::StoreCapabilities {
    let own = capabilities.limits;
    let limits = v1::Limits {
        event_bytes_max: limits.event_bytes_max.min(own.event_bytes_max as u64),
        batch_events_max: limits.batch_events_max.min(own.batch_events_max as u64),
        batch_bytes_max: limits.batch_bytes_max.min(own.batch_bytes_max as u64),
        ..*limits
    };
    v1::StoreCapabilities {
        store: store.to_string(),
        kind: capabilities.kind.into(),
        limits: Some(limits),
        event_id_window: capabilities.event_id_window.unwrap_or(0),
        durable: capabilities.durable,
        follow_delay: capabilities.poll_interval.map(to_duration),
        condition: capabilities.condition.into(),
        serving,
        filter_place: v1::FilterPlace::Proxy.into(),
    }
}

/// What proxies tell each other; nothing where they do not.
pub(crate) fn to_hints(audience: Audience) -> Option<v1::HintCapabilities> {
    match audience {
        Audience::ThisProcess => None,
        Audience::Deployment { delay, is_heard } => {
            Some(v1::HintCapabilities { delay: Some(to_duration(delay)), heard: is_heard })
        }
    }
}

fn to_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: duration.subsec_nanos().cast_signed(),
    }
}
