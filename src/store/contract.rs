//! The contract of an event store. The conformance suite quotes the numbers below.

use async_trait::async_trait;

use super::{
    Append, Appended, Capabilities, Close, Found, Page, ReadRange, Removed, StoreError, Tail,
};
use crate::domain::{CloseEvent, EventId, StreamHeader, StreamId};

/// A place that keeps streams of events.
///
/// ```text
///   header   base                    head           closed
///     |       |                       |               |
///   [ H ]   [ 5 ][ 6 ][ 7 ][ 8 ] ... [ 41 ]         [ C ]
///                                          ^ head + 1: the only place where an append lands
/// ```
///
/// The *head* is the version of the last business event, `base - 1` before the first. A stream is
/// *open* until a CloseEvent is durable behind its head.
///
/// # Guarantees
///
/// 1. **Contiguous.** An append lands at exactly head + 1 of an open stream, whole or not at all
///    (I1). `Any` means "at the head, whatever it is", decided atomically or by a bounded loop of
///    conditional attempts whose end is [`StoreError::Contended`].
/// 2. **Closed is closed.** After a close is durable no append succeeds, at any version, from
///    anyone, ever; the refusal carries the CloseEvent (I2).
/// 3. **Close is conditional.** A close succeeds only at exactly the named head. The same close
///    again answers as it did; any other meets [`StoreError::Closed`].
/// 4. **Nothing comes from nothing.** Appends never create a stream. An append that names another
///    maker than the header does is [`StoreError::WrongMaker`] and changes nothing.
/// 5. **Ids come first.** The ids of an append are looked at before its expected version, in one
///    atomic step with the append: all known, at neighbouring versions in that order and with the
///    same digests, is a replay and answers what the first answered, on open and closed streams
///    alike; some known, or a known id with another digest, is [`StoreError::DuplicateEventId`]
///    (I8).
/// 6. **Durable before it is said.** What was answered survives a crash of the process and the
///    machine, and is seen by every read that starts after the answer.
/// 7. **Byte for byte.** Events are read back as they were appended, but for `recorded_at`, which
///    is raised to that of the event before.
/// 8. **Removal leaves the end.** A removed stream keeps its header, head and CloseEvent: appends
///    to it meet [`StoreError::Closed`], reads [`StoreError::Gone`], and its id stays taken.
/// 9. **Base is set once**: by the header, or by the first append to a stream whose header has
///    none.
///
/// # Order
///
/// Calls on one stream that overlap may take effect in any order; a call that starts after the
/// answer to another sees its effect.
///
/// # Idempotence
///
/// Every call may be repeated: create with the same header, append with the same event ids, close
/// with the same CloseEvent, remove.
///
/// # Errors
///
/// [`StoreError::OutcomeUnknown`] is the only error of a write that may have been done. Every
/// other error of a write says that it was not done and never will be.
///
/// # Cancellation
///
/// A dropped future leaves a write done or not done, never half done; it may still become done.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// Writes the header of a stream if the id is free. The same header again is no error;
    /// another is [`StoreError::AlreadyExists`].
    async fn create(&self, stream: &StreamId, header: &StreamHeader) -> Result<(), StoreError>;

    /// Appends events at the head under a condition (1, 2, 4, 5, 7, 9).
    async fn append(&self, stream: &StreamId, append: Append) -> Result<Appended, StoreError>;

    /// Events in ascending order from a version on, as many as the range allows, and what stands
    /// at the end of the stream at that moment. Always at least one event if there is one.
    async fn read(&self, stream: &StreamId, range: ReadRange) -> Result<Page, StoreError>;

    /// Header, base, head and CloseEvent in one consistent look.
    async fn tail(&self, stream: &StreamId) -> Result<Tail, StoreError>;

    /// Where the stream holds these ids, in the order asked; also of a closed stream. Not finding
    /// an id never means that an append of it failed: it may still be on its way.
    async fn find(
        &self,
        stream: &StreamId,
        ids: &[EventId],
    ) -> Result<Vec<Option<Found>>, StoreError>;

    /// Ends the stream at exactly the named head (2, 3). Answers the CloseEvent as it was stored.
    async fn close(&self, stream: &StreamId, close: Close) -> Result<CloseEvent, StoreError>;

    /// Deletes the events of a closed stream (8). An open stream is [`StoreError::NotClosed`].
    async fn remove(&self, stream: &StreamId) -> Result<Removed, StoreError>;

    /// What this store promises beyond the contract, and its limits.
    fn capabilities(&self) -> Capabilities;
}
