//! The names of metrics: snake case, the unit last, `_total` for counters. The registry puts the
//! prefix and that ending on by itself.

/// Upper bounds of the buckets of every duration: 50 microseconds to 10 seconds.
pub const SECONDS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];

/// `method`, `outcome`: the time of a request to the end of its answer.
pub const RPC_DURATION_SECONDS: &str = "rpc_duration_seconds";
/// `outcome`: requests that were answered within sessions.
pub const SESSION_REQUESTS: &str = "session_requests";
/// Appends that met a closed stream and were done in its continuation.
pub const APPENDS_REDIRECTED: &str = "appends_redirected";
/// Time of appends to objects while they moved.
pub const MOVING_APPEND_DURATION_SECONDS: &str = "moving_append_duration_seconds";
/// Appends that a pause of their object held back.
pub const APPENDS_HELD: &str = "appends_held";
/// `outcome`: held appends whose wait ended: released, timed out, or their caller went away.
pub const HELD_APPENDS_ENDED: &str = "held_appends_ended";
/// Appends that met a pause and were refused, because too many waited already.
pub const HOLDS_REFUSED: &str = "holds_refused";
/// Appends that wait now.
pub const APPENDS_WAITING: &str = "appends_waiting";
/// `outcome`: pauses of an object's appends that migrations here asked for.
pub const SOURCE_PAUSES: &str = "source_pauses";
/// `kind`: hints that this proxy told others, and that it heard from others.
pub const HINTS_TOLD: &str = "hints_told";
pub const HINTS_HEARD: &str = "hints_heard";
/// Hints that could not be told: no room, or no connection.
pub const HINTS_UNTOLD: &str = "hints_untold";
/// Times at which hints of others may have been missed.
pub const HINTS_MISSED: &str = "hints_missed";
/// Migrations that run in this process.
pub const MIGRATIONS_RUNNING: &str = "migrations_running";
/// `phase`: migrations that ended in this process.
pub const MIGRATIONS_ENDED: &str = "migrations_ended";
/// `loss`: migrations that this process let go because it had lost their lease.
pub const MIGRATIONS_STEPPED_ASIDE: &str = "migrations_stepped_aside";
/// Events that were copied to targets, and their bytes.
pub const MIGRATION_EVENTS_COPIED: &str = "migration_events_copied";
pub const MIGRATION_BYTES_COPIED: &str = "migration_bytes_copied";
/// `operation`, `outcome`: the time of a call to the lock service.
pub const LOCK_CALL_DURATION_SECONDS: &str = "lock_call_duration_seconds";
/// Requests of one answer that were begun and have not ended.
pub const RPCS_IN_FLIGHT: &str = "rpcs_in_flight";
/// Answers of many messages that were begun and have not ended.
pub const OPEN_STREAMS: &str = "open_streams";
/// Connections of clients, and those that were closed because there were too many.
pub const CONNECTIONS: &str = "connections";
pub const CONNECTIONS_REFUSED: &str = "connections_refused";
/// `outcome`: handshakes of TLS that ended, and files of certificates that had changed.
pub const TLS_HANDSHAKES: &str = "tls_handshakes";
pub const TLS_RELOADS: &str = "tls_reloads";
/// When the certificate in force expires, in seconds since 1970.
pub const TLS_CERTIFICATE_EXPIRES_SECONDS: &str = "tls_certificate_expires_seconds";

/// `store`, `operation`, `outcome`: the time of a call to a store, waits and repetitions included.
pub const STORE_CALL_DURATION_SECONDS: &str = "store_call_duration_seconds";
/// `store`: calls that were begun and have not ended.
pub const STORE_CALLS_IN_FLIGHT: &str = "store_calls_in_flight";
/// `store`, `operation`: request units that a store charged, where a store charges.
pub const STORE_REQUEST_UNITS: &str = "store_request_units";
/// `store`, `operation`: requests that such a store refused for the moment.
pub const STORE_REQUESTS_THROTTLED: &str = "store_requests_throttled";
