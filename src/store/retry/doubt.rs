//! What an error says of earlier tries whose outcome is unknown. Pure.
//!
//! An earlier try was done, or was lost, or is *on its way* and will be done at any later moment.
//! An error of the try that follows is about that try. It settles the earlier one only if it shows
//! both: that the earlier one has not been done, and that from now on it will be refused as well.
//! An append that is not found by its ids shows the first and not the second; said to have failed,
//! it lands afterwards, and the client was lied to. Whatever does not show both leaves the outcome
//! unknown, and the caller repeats the call or looks.

use crate::domain::{ExpectedVersion, Head, WrongExpectedVersion};
use crate::store::StoreError;

/// Whether an error of a repeated append shows that no earlier try was or will be done.
///
/// `window` is how many of the newest events the store knows by id. Ids are looked at first, in
/// one step with the refusal, so every refusal that comes behind shows that they were not there,
/// as far as the window reaches.
pub(crate) fn append_is_settled_by(
    error: &StoreError,
    expected: ExpectedVersion,
    window: Option<u64>,
) -> bool {
    match error {
        // The header never changes, so every try meets the same refusal.
        StoreError::WrongMaker { .. } => true,
        // Heads only grow: a position that was lost is never met again. What took it is within
        // the window, or it may have been this very append, long forgotten.
        StoreError::WrongExpectedVersion(WrongExpectedVersion { actual, .. }) => {
            let first = match expected {
                ExpectedVersion::Exact(version) => version.next(),
                ExpectedVersion::NoStream => Head::NONE.next(),
                // Lost only by a store that takes it back: it will be met as soon as there is an
                // event.
                ExpectedVersion::Any | ExpectedVersion::StreamExists => return false,
            };
            let behind = actual.next().0.checked_sub(first.0);
            behind.is_some_and(|behind| behind > 0 && window.is_none_or(|known| behind <= known))
        }
        // Some ids are there in another arrangement, and stay. But of a batch that was done, a
        // window may have forgotten the first half.
        StoreError::DuplicateEventId { .. } => window.is_none(),
        // After a close nothing lands; but a removed stream has no ids to be looked at, and a
        // window may have forgotten them. The caller who repeats the append meets the close again
        // and goes on in the continuation, where the copies have the same ids.
        StoreError::Closed { .. } => false,
        // A stream that is not there may be created before the earlier try arrives.
        StoreError::NotFound => false,
        StoreError::AlreadyExists
        | StoreError::Gone { .. }
        | StoreError::NotClosed
        | StoreError::LimitExceeded(_)
        | StoreError::Unsupported { .. }
        | StoreError::Contended { .. }
        | StoreError::Overloaded { .. }
        | StoreError::RateLimited { .. }
        | StoreError::Unavailable { .. }
        | StoreError::TimedOut
        | StoreError::OutcomeUnknown { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Bug { .. } => false,
    }
}

/// Whether an error of a repeated close at `head` shows that no earlier try was or will be done.
pub(super) fn close_is_settled_by(error: &StoreError, head: Head) -> bool {
    match error {
        // The same close again answers as it did; so another one came first, and it stays.
        StoreError::Closed { .. } => true,
        StoreError::WrongMaker { .. } => true,
        // The head has passed the named one for good. One that is short of it may still reach it.
        StoreError::WrongExpectedVersion(wrong) => wrong.actual > head,
        StoreError::NotFound
        | StoreError::AlreadyExists
        | StoreError::Gone { .. }
        | StoreError::NotClosed
        | StoreError::DuplicateEventId { .. }
        | StoreError::LimitExceeded(_)
        | StoreError::Unsupported { .. }
        | StoreError::Contended { .. }
        | StoreError::Overloaded { .. }
        | StoreError::RateLimited { .. }
        | StoreError::Unavailable { .. }
        | StoreError::TimedOut
        | StoreError::OutcomeUnknown { .. }
        | StoreError::Corrupt { .. }
        | StoreError::Bug { .. } => false,
    }
}

/// A header that is there stays, and an id is given once: another header came first.
pub(super) fn create_is_settled_by(error: &StoreError) -> bool {
    matches!(error, StoreError::AlreadyExists)
}

/// A removal that is on its way may meet a stream that was closed meanwhile: nothing settles it.
pub(super) fn remove_is_settled_by(_: &StoreError) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Version;

    fn wrong(expected: ExpectedVersion, actual: Head) -> StoreError {
        WrongExpectedVersion { expected, actual }.into()
    }

    #[test]
    fn only_a_position_that_was_lost_settles_an_append() {
        let at = |version| Head::at(Version(version));
        let exact = |version| ExpectedVersion::Exact(Version(version));
        let table = [
            (exact(4), at(5), true),
            (exact(4), at(900), true),
            (exact(4), at(3), false),
            (exact(4), Head::NONE, false),
            (ExpectedVersion::NoStream, at(0), true),
            (ExpectedVersion::StreamExists, Head::NONE, false),
        ];
        for (expected, actual, settled) in table {
            let error = wrong(expected, actual);
            assert_eq!(append_is_settled_by(&error, expected, None), settled, "{error}");
        }
    }

    #[test]
    fn what_a_window_may_have_forgotten_stays_in_doubt() {
        let exact = ExpectedVersion::Exact(Version(4));
        for (actual, settled) in [(5, true), (14, true), (15, false), (900, false)] {
            let error = wrong(exact, Head::at(Version(actual)));
            assert_eq!(append_is_settled_by(&error, exact, Some(10)), settled, "{actual}");
        }
        let event_id = crate::domain::EventId::from_bytes([0; 16]);
        let duplicate = StoreError::DuplicateEventId { event_id };
        assert!(append_is_settled_by(&duplicate, exact, None));
        assert!(!append_is_settled_by(&duplicate, exact, Some(10)));
    }

    #[test]
    fn a_close_is_settled_by_what_can_never_be_taken_back() {
        let head = Head::at(Version(4));
        for (actual, settled) in [(3, false), (5, true)] {
            let error = wrong(ExpectedVersion::exactly(head), Head::at(Version(actual)));
            assert_eq!(close_is_settled_by(&error, head), settled);
        }
        assert!(!close_is_settled_by(&StoreError::NotFound, head));
        assert!(!close_is_settled_by(&StoreError::unavailable("gone"), head));
    }
}
