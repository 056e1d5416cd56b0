//! The requests of one object within a session: which go next, together or alone, and which are
//! refused because one before them was not done. Pure.

use std::collections::VecDeque;

use super::session::SessionError;
use super::{AppendCommand, AppendOutcome, ProxyError};
use crate::domain::limits::Limits;
use crate::domain::{Event, EventId, ExpectedVersion, ObjectKey, Reason, Version};

/// A request that waits for its turn. Without a command it is not valid.
pub(super) struct Waiting {
    pub(super) slot: u64,
    pub(super) command: Option<AppendCommand>,
    pub(super) after_failure: bool,
    /// It was in a group that was refused, and goes by itself now.
    pub(super) alone: bool,
}

/// Requests that go to the store as one append.
pub(super) struct Group {
    pub(super) members: Vec<Member>,
    pub(super) command: AppendCommand,
}

/// One request of a group.
pub(super) struct Member {
    slot: u64,
    event_ids: Vec<EventId>,
    /// Kept while the group has more than one member, to send them one by one if the group is
    /// refused.
    command: Option<AppendCommand>,
}

/// What became of a group.
pub(super) struct GroupAnswer {
    pub(super) members: Vec<Member>,
    pub(super) outcome: Result<AppendOutcome, ProxyError>,
}

/// One object's requests.
#[derive(Default)]
pub(super) struct Lane {
    waiting: VecDeque<Waiting>,
    on_their_way: usize,
    failed: Option<Failed>,
}

/// The lane's last request was not done, or may have been.
enum Failed {
    NotDone,
    /// Only the same events again settle it.
    Unknown {
        event_ids: Vec<EventId>,
    },
}

type Answers = Vec<(u64, Result<AppendOutcome, SessionError>)>;

impl Lane {
    pub(super) fn push(&mut self, request: Waiting) {
        self.waiting.push_back(request);
    }

    /// Whether nothing would be lost with it.
    pub(super) fn is_forgettable(&self) -> bool {
        self.waiting.is_empty() && self.on_their_way == 0 && self.failed.is_none()
    }

    pub(super) fn give_up_waiting(&mut self) {
        self.waiting.clear();
    }

    /// What goes to the store now; none while something is on its way. Requests that are refused
    /// on the way there are put into `refused`, with whether they were not valid.
    ///
    /// `runs_ahead` is the planted bug "a pipelined append sent past an unsettled one".
    pub(super) fn next_group(
        &mut self,
        limits: Option<Limits>,
        runs_ahead: bool,
        refused: &mut Vec<(u64, bool)>,
    ) -> Option<Group> {
        if self.on_their_way > 0 && !runs_ahead {
            return None;
        }
        while let Some(request) = self.waiting.pop_front() {
            match request.command {
                Some(command) if self.lets_pass(&command, request.after_failure) => {
                    self.failed = None;
                    self.on_their_way += 1;
                    let limits = limits.filter(|_| !request.alone);
                    return Some(self.group_of(request.slot, command, limits));
                }
                Some(_) => refused.push((request.slot, false)),
                None => {
                    // Order: what is unknown stays so until its own events are repeated.
                    self.failed.get_or_insert(Failed::NotDone);
                    refused.push((request.slot, true));
                }
            }
        }
        None
    }

    fn lets_pass(&self, command: &AppendCommand, after_failure: bool) -> bool {
        match &self.failed {
            None => true,
            Some(Failed::NotDone) => after_failure,
            Some(Failed::Unknown { event_ids }) => {
                after_failure && ids_of(command).eq(event_ids.iter().copied())
            }
        }
    }

    /// The request, and what waits behind it as far as it may go along.
    fn group_of(&mut self, slot: u64, command: AppendCommand, limits: Option<Limits>) -> Group {
        let first = Member { slot, event_ids: ids_of(&command).collect(), command: None };
        let mut group = Group { members: vec![first], command };
        let Some(limits) = limits else { return group };
        let mut bytes: usize = group.command.events.iter().map(Event::size).sum();
        while let Some(Waiting { command: Some(next), alone: false, .. }) = self.waiting.front() {
            let more: usize = next.events.iter().map(Event::size).sum();
            let count = group.command.events.len() + next.events.len();
            let fits = count <= limits.batch_events_max && bytes + more <= limits.batch_bytes_max;
            if !fits || !goes_along(&group.command, next) {
                break;
            }
            bytes += more;
            self.join(&mut group);
        }
        group
    }

    fn join(&mut self, group: &mut Group) {
        let Some(Waiting { slot, command: Some(command), .. }) = self.waiting.pop_front() else {
            return;
        };
        if let [first] = &mut group.members[..] {
            first.command = Some(group.command.clone());
        }
        let event_ids = ids_of(&command).collect();
        group.command.events.extend(command.events.iter().cloned());
        group.members.push(Member { slot, event_ids, command: Some(command) });
    }

    /// Takes what became of a group: the answers to its members, or to none when they must be
    /// tried one by one.
    pub(super) fn settle(&mut self, object: &ObjectKey, answer: GroupAnswer) -> Answers {
        self.on_their_way -= 1;
        let GroupAnswer { members, outcome } = answer;
        match outcome {
            Ok(outcome) => shares(&members, outcome),
            Err(ProxyError::OutcomeUnknown { cause }) => self.unknown(members, cause),
            Err(error) if members.len() == 1 => {
                self.failed = Some(Failed::NotDone);
                vec![(members[0].slot, Err(error.into()))]
            }
            // Certainly not done as a whole: each has an answer of its own.
            Err(error) => {
                tracing::debug!(
                    { crate::telemetry::fields::OBJECT_ID } = %object.id,
                    { crate::telemetry::fields::ERROR_REASON } = error.reason().as_str(),
                    "appends that went together go one by one"
                );
                for Member { slot, command, .. } in members.into_iter().rev() {
                    // Nothing failed when they went, so nothing needs to be known of it.
                    let (after_failure, alone) = (false, true);
                    self.waiting.push_front(Waiting { slot, command, after_failure, alone });
                }
                Vec::new()
            }
        }
    }

    /// Nobody knows of any member, and all of them must be repeated, in their order.
    fn unknown(&mut self, members: Vec<Member>, cause: Option<super::error::Cause>) -> Answers {
        let slots: Vec<u64> = members.iter().map(|member| member.slot).collect();
        let first = members.into_iter().next();
        let event_ids = first.map(|member| member.event_ids).unwrap_or_default();
        self.failed = Some(Failed::Unknown { event_ids });
        let mut cause = cause;
        let unknown = |slot| (slot, Err(ProxyError::OutcomeUnknown { cause: cause.take() }.into()));
        slots.into_iter().map(unknown).collect()
    }
}

/// Each member's part of what was appended together.
fn shares(members: &[Member], outcome: AppendOutcome) -> Answers {
    let mut first = outcome.first;
    let share = |member: &Member| {
        let last = first.plus(member.event_ids.len() as u64 - 1);
        let share = AppendOutcome { first, last, ..outcome };
        first = last.next();
        (member.slot, Ok(share))
    };
    members.iter().map(share).collect()
}

fn ids_of(command: &AppendCommand) -> impl Iterator<Item = EventId> {
    command.events.iter().map(|event| event.event_id)
}

/// Whether `next` may be one append with what goes before it: whatever the head is, its
/// expectation is met exactly if it directly follows.
fn goes_along(before: &AppendCommand, next: &AppendCommand) -> bool {
    if before.auto_retry_on_stream_closure != next.auto_retry_on_stream_closure {
        return false;
    }
    match (next.expected, before.expected) {
        (ExpectedVersion::Any | ExpectedVersion::StreamExists, _) => true,
        (ExpectedVersion::Exact(version), ExpectedVersion::Exact(head)) => {
            version == head.plus(before.events.len() as u64)
        }
        (ExpectedVersion::Exact(version), ExpectedVersion::NoStream) => {
            version == Version(before.events.len() as u64 - 1)
        }
        (ExpectedVersion::Exact(_), ExpectedVersion::Any | ExpectedVersion::StreamExists)
        | (ExpectedVersion::NoStream, _) => false,
    }
}

impl SessionError {
    pub fn reason(&self) -> Reason {
        match self {
            Self::NotTaken => Reason::InvalidArgument,
            Self::PredecessorFailed { .. } => Reason::PredecessorFailed,
            Self::Append(error) => error.reason(),
        }
    }
}
