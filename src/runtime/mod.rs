//! What a process is given so that tests can give it: clock, ids and randomness, backoff, patience,
//! secrets, shutdown, and for whom work is done. Nothing else may reach for the wall clock or for
//! randomness; a lint holds that.

pub mod backoff;
pub mod caller;
pub mod clock;
pub mod deadline;
pub mod entropy;
pub mod patience;
pub mod secret;
pub mod shutdown;
pub mod to_the_end;

use std::sync::Arc;

pub use backoff::Backoff;
pub use caller::Caller;
pub use clock::{Clock, SystemClock};
pub use deadline::{Deadline, DeadlinePassed};
pub use entropy::{Entropy, SystemEntropy};
pub use patience::Patience;
pub use secret::{Secret, SecretMissing};
pub use shutdown::Shutdown;
pub use to_the_end::ToTheEnd;

/// Durations in settings as people write them: `1h 30m`, `250ms`. For serde's `with`.
pub use jiff::fmt::serde::unsigned_duration::friendly::compact::required as duration_text;

/// The handles of one process.
#[derive(Clone)]
pub struct Runtime {
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub shutdown: Shutdown,
}

impl Runtime {
    /// The machine's own clock and randomness.
    pub fn system() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            shutdown: Shutdown::new(),
        }
    }
}
