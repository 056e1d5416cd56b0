//! The port of hints: what proxies tell each other so that nobody has to find it out by waiting.
//!
//! A hint may be lost, come late, come twice or out of order, and nothing is wrong then: whoever
//! missed it meets a closed stream, polls, or scans (I7, I9). A hint names things and carries
//! nothing that a client sent, but a changed route as a whole: where an object lives is names too.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use uuid::Uuid;

use super::LockError;
use crate::domain::{MigrationId, ObjectDocument, ObjectKey, StreamAddress};

/// One pause of one object, told apart from those before and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PauseId(pub Uuid);

/// What one proxy tells all others.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "hint", rename_all = "snake_case")]
pub enum Hint {
    /// The object document was rerouted, and has this revision now.
    RouteChanged {
        object: ObjectKey,
        revision: u64,
        /// The document itself, unless it is long.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        document: Option<Box<ObjectDocument>>,
    },
    /// A stream grew or ended, or may have.
    StreamChanged { stream: StreamAddress },
    /// Appends of the object are to be held while the pause has its lease.
    Paused { object: ObjectKey, pause: PauseId, length_ms: u64 },
    /// That pause is over.
    Resumed { object: ObjectKey, pause: PauseId },
    /// A migration is unfinished and nobody runs it any more.
    MigrationWanted { migration: MigrationId },
    /// An operator ordered something of a migration, and its record says what.
    OrdersChanged { migration: MigrationId },
}

/// A document that lists more streams is not told with its hint.
const TOLD_STREAMS_MAX: usize = 32;

impl Hint {
    /// This document was rerouted. Whoever knows an older one need not read it.
    pub fn rerouted(document: &ObjectDocument) -> Self {
        let (object, revision) = (document.object.clone(), document.revision);
        let is_short = document.terminated_streams.len() <= TOLD_STREAMS_MAX;
        let document = is_short.then(|| Box::new(document.clone()));
        Self::RouteChanged { object, revision, document }
    }

    /// A pause of this length.
    pub fn paused(object: ObjectKey, pause: PauseId, length: Duration) -> Self {
        let length_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
        Self::Paused { object, pause, length_ms }
    }

    /// The word for it in metrics.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::RouteChanged { .. } => "route_changed",
            Self::StreamChanged { .. } => "stream_changed",
            Self::Paused { .. } => "paused",
            Self::Resumed { .. } => "resumed",
            Self::MigrationWanted { .. } => "migration_wanted",
            Self::OrdersChanged { .. } => "orders_changed",
        }
    }
}

/// What is heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Told together, in this order.
    Hints(Arc<[Hint]>),
    /// Something may have been told that was not heard: look at everything that matters.
    Missed,
}

/// One listener. What it does not take in time becomes [`Heard::Missed`].
pub struct Ears(broadcast::Receiver<Heard>);

impl Ears {
    pub fn new(told: broadcast::Receiver<Heard>) -> Self {
        Self(told)
    }

    /// The next that is heard; never, once nobody can tell anything any more.
    ///
    /// Cancellation: a dropped call has heard nothing.
    pub async fn hear(&mut self) -> Heard {
        match self.0.recv().await {
            Ok(heard) => heard,
            Err(broadcast::error::RecvError::Lagged(_)) => Heard::Missed,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Who hears what is told here, and how soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Nobody outside this process. Others find out for themselves, by polling and by scans.
    ThisProcess,
    /// All proxies of the deployment.
    Deployment {
        /// The longest that a hint waits for company before it is sent. The way comes on top.
        delay: Duration,
        /// Whether this proxy hears the others at the moment.
        is_heard: bool,
    },
}

/// Tells other proxies, and hears what they tell.
///
/// # Guarantees
///
/// 1. None of delivery, order or number. A listener that was cut off hears [`Heard::Missed`] when
///    it notices, and again when it is connected.
/// 2. What is told is heard in this process as well, so that one rule serves both; but for changes
///    of streams, of which it knows already.
/// 3. Proxies of another deployment neither hear nor are heard.
#[async_trait]
pub trait Hints: Send + Sync + 'static {
    /// Tells soon, together with what else is told at the moment. Never waits: what finds no room
    /// is not told.
    fn tell(&self, hint: Hint);

    /// Tells now. [`LockError::Unavailable`] means that nobody may have heard.
    ///
    /// Cancellation: a dropped call has told or has not.
    async fn tell_now(&self, hint: Hint) -> Result<(), LockError>;

    /// Hears what is told from now on.
    fn listen(&self) -> Ears;

    /// Who hears at this moment.
    fn audience(&self) -> Audience;
}
