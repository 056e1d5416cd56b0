//! The messages of `Read`.

use std::time::Duration;

use super::event_store::to_event_id;
use super::{Faults, object, timestamp, to_chain, to_stream, to_timestamp, to_version, version};
use crate::domain::close_event::MigrationKind;
use crate::domain::{
    CloseEvent, Head, InvalidValue, ObjectKey, StoreName, StreamAddress, StreamId, StreamRef,
    Version,
};
use crate::grpc::status::InvalidRequest;
use crate::grpc::v1;
use crate::grpc::v1::read_request::Start;
use crate::grpc::v1::read_response::Message;
use crate::proxy::HistoryReader;
use crate::proxy::ReadCommand;
use crate::proxy::read::follow::Moment;
use crate::proxy::read::{
    Batch, Direction, EventFilter, Position, RawCommand, RawStreamView, ReadLimits, ReadStart,
    Recorded, ResumeToken,
};

/// A read as it was asked for.
pub(crate) struct Ask {
    pub(crate) what: What,
    /// Send tokens, and checkpoints for what a filter passes over.
    pub(crate) checkpoints: bool,
}

pub(crate) enum What {
    History(ReadCommand),
    Follow { command: ReadCommand, heartbeat_interval: Option<Duration> },
    Raw(RawCommand),
}

const HEARTBEAT_INTERVAL_MIN: Duration = Duration::from_millis(100);

pub(crate) fn read(request: v1::ReadRequest) -> Result<Ask, InvalidRequest> {
    let mut faults = Faults::default();
    let checkpoints = request.checkpoints || request.follow.is_some();
    let what = match &request.raw {
        Some(_) => raw(&mut faults, request).map(What::Raw),
        None => history(&mut faults, request),
    };
    faults.finish(what.map(|what| Ask { what, checkpoints }))
}

fn history(faults: &mut Faults, request: v1::ReadRequest) -> Option<What> {
    let key = object(faults, request.object.clone());
    let follow = request.follow;
    let range = limits(faults, request, key.as_ref());
    let command = key.zip(range).map(|(object, range)| ReadCommand { object, range });
    let Some(follow) = follow else { return command.map(What::History) };
    let is_backward = |command: &ReadCommand| command.range.direction == Direction::Backward;
    if command.as_ref().is_some_and(is_backward) {
        faults.note("follow", "goes forward only");
    }
    let heartbeat_interval = heartbeat_interval(faults, follow);
    command.map(|command| What::Follow { command, heartbeat_interval })
}

fn heartbeat_interval(faults: &mut Faults, follow: v1::FollowOptions) -> Option<Duration> {
    let interval = Duration::try_from(follow.heartbeat_interval?).ok();
    let interval = interval.filter(|interval| *interval >= HEARTBEAT_INTERVAL_MIN);
    if interval.is_none() {
        faults.note("follow.heartbeat_interval", "must be at least 100 ms");
    }
    interval
}

fn raw(faults: &mut Faults, request: v1::ReadRequest) -> Option<RawCommand> {
    let within = |fault: InvalidValue| fault.within("raw");
    let v1::RawStream { store, stream_id } = request.raw.clone().unwrap_or_default();
    let store = faults.take(StoreName::new(store).map_err(within));
    let stream_id = faults.take(StreamId::new(stream_id).map_err(within));
    let stream = store.zip(stream_id).map(|(store, stream_id)| StreamAddress { store, stream_id });
    if request.object.is_some() {
        faults.note("object", "must be left out of a raw read, which names a stream");
    }
    if request.follow.is_some() {
        faults.note("follow", "is for an object's history, not for one stream");
    }
    let range = limits(faults, request, None);
    stream.zip(range).map(|(stream, range)| RawCommand { stream, range })
}

/// `object` is none in a raw read, which has no tokens.
fn limits(
    faults: &mut Faults,
    request: v1::ReadRequest,
    object: Option<&ObjectKey>,
) -> Option<ReadLimits> {
    let is_raw = request.raw.is_some();
    let asked = match request.direction() {
        v1::Direction::Unspecified if request.direction != 0 => {
            faults.note("direction", "must be FORWARD or BACKWARD");
            None
        }
        v1::Direction::Unspecified => None,
        v1::Direction::Forward => Some(Direction::Forward),
        v1::Direction::Backward => Some(Direction::Backward),
    };
    let start = match request.start {
        None => Some(ReadStart::Outset),
        Some(Start::FromVersion(from)) => {
            version(faults, "from_version", from).map(ReadStart::Version)
        }
        Some(Start::FromEnd(())) => Some(ReadStart::End),
        Some(Start::FromTime(moment)) => {
            let moment = timestamp(moment);
            if moment.is_none() {
                faults.note("from_time", "must lie within the years 1677 to 2262");
            }
            moment.map(ReadStart::Time)
        }
        Some(Start::ResumeToken(_)) if is_raw => {
            faults.note("resume_token", "is of an object's history, not of one stream");
            None
        }
        Some(Start::ResumeToken(token)) => {
            let token = object.map(|object| ResumeToken::parse(object, &token));
            token.and_then(|token| faults.take(token)).map(ReadStart::Resume)
        }
    };
    let direction = match (asked, start) {
        (asked, Some(ReadStart::Resume(token))) => {
            if asked.is_some_and(|asked| asked != token.direction) {
                faults.note("direction", "is not that of the resume token");
            }
            token.direction
        }
        (asked, _) => asked.unwrap_or_default(),
    };
    let filter = request.filter.unwrap_or_default();
    let filter = EventFilter::new(filter.event_types, filter.event_type_prefixes);
    let filter = faults.take(filter.map_err(|fault| fault.within("filter")));
    let limit = |max: u64| (max > 0).then_some(max);
    Some(ReadLimits {
        start: start?,
        direction,
        events_max: limit(request.events_max),
        bytes_max: limit(request.bytes_max),
        filter: filter?,
    })
}

/// What goes out, with the place behind it if tokens are wanted.
pub(crate) fn to_response(message: Message, token: Option<ResumeToken>) -> v1::ReadResponse {
    let resume_token = token.map(|token| token.to_bytes().into()).unwrap_or_default();
    v1::ReadResponse { message: Some(message), resume_token }
}

pub(crate) fn to_header(reader: &HistoryReader) -> Message {
    let chain = reader.document().map(to_chain).unwrap_or_default();
    Message::Header(v1::ReadHeader { head_version: to_version(reader.head()), chain })
}

pub(crate) fn to_raw_header(view: &RawStreamView) -> Message {
    let RawStreamView { stream, tail, .. } = view;
    let base = tail.base.or(tail.header.base).unwrap_or(Version::FIRST);
    let (address, made_by) = (stream.clone(), tail.header.made_by);
    let info = v1::StreamInfo {
        last_version: tail.closed.as_ref().and_then(|close| to_version(close.head)),
        closed_at: tail.closed.as_ref().map(|close| to_timestamp(close.closed_at)),
        ..to_stream(&StreamRef { address, base, made_by })
    };
    let head = if tail.base.is_some() { tail.head } else { Head::before(base) };
    Message::Header(v1::ReadHeader { head_version: to_version(head), chain: vec![info] })
}

/// A batch; none when a filter passed over all of it.
pub(crate) fn to_batch(batch: Batch) -> Option<Message> {
    if batch.events.is_empty() {
        return None;
    }
    let next_version = to_next(batch.next);
    let events = batch.events.into_iter().map(to_event).collect();
    Some(Message::Batch(v1::EventBatch { events, next_version }))
}

pub(crate) fn to_checkpoint(next: Position) -> Message {
    Message::Checkpoint(v1::Checkpoint { next_version: to_next(next) })
}

fn to_next(next: Position) -> u64 {
    match next {
        Position::At(version) => version.0,
        Position::BeforeFirst => 0,
    }
}

fn to_event(recorded: Recorded) -> v1::RecordedEvent {
    let Recorded { version, event } = recorded;
    v1::RecordedEvent {
        event_id: to_event_id(event.event_id),
        event_type: event.event_type,
        schema_version: event.schema_version,
        content_type: event.content_type,
        payload: event.payload,
        metadata: event.metadata,
        occurred_at: event.occurred_at.map(to_timestamp),
        version: version.0,
        recorded_at: Some(to_timestamp(event.recorded_at)),
    }
}

pub(crate) fn to_caught_up(moment: Moment) -> Message {
    let (head_version, at) = (to_version(moment.head), Some(to_timestamp(moment.at)));
    Message::CaughtUp(v1::CaughtUp { head_version, at })
}

pub(crate) fn to_fell_behind(moment: Moment) -> Message {
    let (head_version, at) = (to_version(moment.head), Some(to_timestamp(moment.at)));
    Message::FellBehind(v1::FellBehind { head_version, at })
}

pub(crate) fn to_heartbeat(moment: Moment) -> Message {
    let (head_version, at) = (to_version(moment.head), Some(to_timestamp(moment.at)));
    Message::Heartbeat(v1::Heartbeat { head_version, at })
}

pub(crate) fn to_close_event(close: &CloseEvent) -> Message {
    let kind = match close.kind {
        MigrationKind::Copy => "COPY",
        MigrationKind::Continue => "CONTINUE",
    };
    let checksum = close.checksum.map(|checksum| checksum.as_bytes().to_vec());
    Message::CloseEvent(v1::CloseEventInfo {
        migration_id: close.migration.to_string(),
        kind: kind.into(),
        continuation: close.continuation().map(to_stream),
        last_version: to_version(close.head),
        checksum: checksum.unwrap_or_default().into(),
        closed_at: Some(to_timestamp(close.closed_at)),
    })
}
