//! What a client does: append, read, and ask where an object lives.
//!
//! Reading order: [`error`], [`routing`] (documents, their repair, new objects), [`append`],
//! [`idempotency`] (ids in streams before the one that is appended to), [`session`] and `lane`
//! (many appends on one call), [`read`], [`objects`].

pub mod append;
pub mod error;
pub mod idempotency;
mod lane;
pub mod objects;
pub mod read;
pub mod routing;
pub mod session;

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::documents::{ObjectDocuments, Routes};
use crate::domain::limits::Limits;
use crate::domain::{InvalidValue, ObjectDocument, ObjectKey};
use crate::lock::{Audience, Hint, Hints, Pauses};
use crate::runtime::{Runtime, duration_text};
use crate::store::{Placement, Stores};
use crate::telemetry::moves::MoveWatch;

pub use append::{AppendCommand, AppendOutcome};
pub use error::ProxyError;
pub use objects::{ListCommand, ListedObjectsPage, ObjectView};
pub use read::{HistoryReader, ReadCommand};
pub use session::{Session, SessionAnswer, SessionError, SessionRequest};

/// How the proxy serves clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProxyOptions {
    /// Go on in the continuation when a stream turns out to be closed.
    pub auto_retry_on_stream_closure: bool,
    /// The most continuations that one append follows.
    pub max_stream_continuation_retries: u32,
    /// The longest that an append may take when its client names no deadline.
    #[serde(with = "duration_text")]
    pub append_timeout: Duration,
    /// The first wait before an append is tried again; later ones grow to the second.
    #[serde(with = "duration_text")]
    pub retry_wait_first: Duration,
    #[serde(with = "duration_text")]
    pub retry_wait_max: Duration,
    /// Events and bytes in one message of a read.
    pub read_batch_events_max: usize,
    pub read_batch_bytes_max: usize,
    /// The longest that a follow is silent when its client does not say.
    #[serde(with = "duration_text")]
    pub follow_heartbeat_interval: Duration,
    /// The longest until a follower looks by itself, whoever should have woken it.
    #[serde(with = "duration_text")]
    pub follow_poll_max: Duration,
    /// Requests, and their bytes, that one session takes before the first of them is answered.
    pub session_in_flight_max: usize,
    pub session_bytes_max: usize,
    /// Objects whose route is remembered.
    pub routes_max: usize,
    /// The planted bug "a pipelined append sent past an unsettled one", for suites that must
    /// find it.
    #[cfg(feature = "testing")]
    #[serde(skip)]
    pub session_runs_ahead: bool,
}

impl Default for ProxyOptions {
    fn default() -> Self {
        Self {
            auto_retry_on_stream_closure: true,
            max_stream_continuation_retries: 3,
            append_timeout: Duration::from_secs(30),
            retry_wait_first: Duration::from_millis(2),
            retry_wait_max: Duration::from_millis(250),
            read_batch_events_max: 500,
            read_batch_bytes_max: 1024 * 1024,
            follow_heartbeat_interval: Duration::from_secs(10),
            follow_poll_max: Duration::from_secs(30),
            session_in_flight_max: 4_096,
            session_bytes_max: 16 * 1024 * 1024,
            routes_max: 100_000,
            #[cfg(feature = "testing")]
            session_runs_ahead: false,
        }
    }
}

impl ProxyOptions {
    /// Refuses what could never work.
    pub fn check(&self) -> Vec<InvalidValue> {
        let mut faults = Vec::new();
        for (field, value) in [
            ("append_timeout", self.append_timeout),
            ("retry_wait_first", self.retry_wait_first),
            ("follow_heartbeat_interval", self.follow_heartbeat_interval),
            ("follow_poll_max", self.follow_poll_max),
        ] {
            if value.is_zero() {
                faults.push(InvalidValue::new(field, "must be more than nothing"));
            }
        }
        if self.retry_wait_max < self.retry_wait_first {
            let problem = "must be at least retry_wait_first";
            faults.push(InvalidValue::new("retry_wait_max", problem));
        }
        for (field, value) in [
            ("read_batch_events_max", self.read_batch_events_max),
            ("read_batch_bytes_max", self.read_batch_bytes_max),
            ("session_in_flight_max", self.session_in_flight_max),
            ("session_bytes_max", self.session_bytes_max),
            ("routes_max", self.routes_max),
        ] {
            if value == 0 {
                faults.push(InvalidValue::new(field, "must be at least 1"));
            }
        }
        faults
    }

    fn runs_ahead(&self) -> bool {
        #[cfg(feature = "testing")]
        return self.session_runs_ahead;
        #[cfg(not(feature = "testing"))]
        return false;
    }
}

/// Serves clients over the stores and documents it is given.
pub struct Proxy {
    options: ProxyOptions,
    limits: Limits,
    runtime: Runtime,
    stores: Stores,
    placement: Placement,
    documents: ObjectDocuments,
    routes: Routes,
    pauses: Arc<dyn Pauses>,
    hints: Arc<dyn Hints>,
    moves: Arc<MoveWatch>,
}

/// What a proxy is built of.
pub struct ProxyParts {
    pub options: ProxyOptions,
    pub limits: Limits,
    pub runtime: Runtime,
    pub stores: Stores,
    pub placement: Placement,
    pub documents: ObjectDocuments,
    pub pauses: Arc<dyn Pauses>,
    pub hints: Arc<dyn Hints>,
    pub moves: Arc<MoveWatch>,
}

impl Proxy {
    pub fn new(parts: ProxyParts) -> Self {
        Self {
            routes: Routes::new(parts.options.routes_max),
            options: parts.options,
            limits: parts.limits,
            runtime: parts.runtime,
            stores: parts.stores,
            placement: parts.placement,
            documents: parts.documents,
            pauses: parts.pauses,
            hints: parts.hints,
            moves: parts.moves,
        }
    }

    /// The limits of one append, before those of a store that can do less.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    pub fn options(&self) -> &ProxyOptions {
        &self.options
    }

    pub fn stores(&self) -> &Stores {
        &self.stores
    }

    /// Which other proxies hear of what this one does.
    pub fn audience(&self) -> Audience {
        self.hints.audience()
    }

    /// Somebody saw this revision of the object's document: an older route is not held on to, but
    /// replaced if the newer one was told as well.
    pub fn route_changed(
        &self,
        object: &ObjectKey,
        revision: u64,
        document: Option<&ObjectDocument>,
    ) {
        let told = document.filter(|told| told.object == *object && told.revision == revision);
        match told {
            Some(told) => self.routes.replace_before(told),
            None => self.routes.forget_before(object, revision),
        }
    }

    fn tell_of_route(&self, document: &ObjectDocument) {
        self.hints.tell(Hint::rerouted(document));
    }
}
