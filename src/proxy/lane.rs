//! The requests of one object within a session: which go next, together or alone, and which are
//! refused because one before them was not done. Pure.

use std::collections::VecDeque;

use super::session::SessionError;
use super::{AppendCommand, AppendOutcome, ProxyError};
use crate::domain::limits::Limits;
use crate::domain::{Event, EventId, ObjectKey, Reason};

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
        // One that means itself after a failure must not share the fate of what goes before it.
        while let Some(Waiting {
            command: Some(next), after_failure: false, alone: false, ..
        }) = self.waiting.front()
        {
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
    before.auto_retry_on_stream_closure == next.auto_retry_on_stream_closure
        && next.expected.is_met_behind(before.expected, before.events.len() as u64)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ExpectedVersion, Version};
    use crate::runtime::DeadlinePassed;
    use crate::testing::builders::{self, events};

    fn object() -> ObjectKey {
        builders::object("1")
    }

    fn waiting(slot: u64, expected: ExpectedVersion, after_failure: bool) -> Waiting {
        let command = AppendCommand {
            object: object(),
            expected,
            events: events(slot..slot + 1),
            auto_retry_on_stream_closure: None,
            deadline: None,
        };
        Waiting { slot, command: Some(command), after_failure, alone: false }
    }

    fn lane_of(requests: impl IntoIterator<Item = Waiting>) -> Lane {
        let mut lane = Lane::default();
        requests.into_iter().for_each(|request| lane.push(request));
        lane
    }

    fn any(slot: u64) -> Waiting {
        waiting(slot, ExpectedVersion::Any, false)
    }

    /// The slots of the next group, and those refused on the way to it.
    fn next(lane: &mut Lane) -> (Option<Group>, Vec<u64>) {
        let mut refused = Vec::new();
        let group = lane.next_group(Some(Limits::default()), false, &mut refused);
        (group, refused.into_iter().map(|(slot, _)| slot).collect())
    }

    fn slots(group: &Group) -> Vec<u64> {
        group.members.iter().map(|member| member.slot).collect()
    }

    fn settle(lane: &mut Lane, group: Group, outcome: Result<u64, ProxyError>) -> Answers {
        let count = group.command.events.len() as u64;
        let outcome = outcome.map(|first| AppendOutcome {
            first: Version(first),
            last: Version(first + count - 1),
            replay: false,
            followed: 0,
        });
        lane.settle(&object(), GroupAnswer { members: group.members, outcome })
    }

    fn not_done() -> ProxyError {
        let retry_after = std::time::Duration::ZERO;
        ProxyError::DeadlinePassed { retry_after, passed: DeadlinePassed }
    }

    #[test]
    fn one_is_on_its_way_and_the_rest_go_together_behind_it() {
        let mut lane = lane_of([any(0)]);
        let first = next(&mut lane).0.unwrap();
        lane.push(any(1));
        lane.push(any(2));
        assert!(next(&mut lane).0.is_none(), "nothing passes what is not settled");
        settle(&mut lane, first, Ok(0));
        let both = next(&mut lane).0.unwrap();
        assert_eq!(slots(&both), [1, 2]);
        let answers = settle(&mut lane, both, Ok(1));
        let shares: Vec<(u64, u64, u64)> = answers
            .into_iter()
            .map(|(slot, outcome)| (slot, outcome.unwrap()))
            .map(|(slot, outcome)| (slot, outcome.first.0, outcome.last.0))
            .collect();
        assert_eq!(shares, [(1, 1, 1), (2, 2, 2)]);
        assert!(lane.is_forgettable());
    }

    #[test]
    fn only_what_is_met_by_what_goes_before_it_goes_along() {
        let exact = |slot, version| waiting(slot, ExpectedVersion::Exact(Version(version)), false);
        let no_stream = |slot| waiting(slot, ExpectedVersion::NoStream, false);
        for (requests, together) in [
            (vec![exact(0, 4), exact(1, 5), exact(2, 6)], 3),
            (vec![exact(0, 4), exact(1, 6)], 1),
            (vec![no_stream(0), exact(1, 0), any(2)], 3),
            (vec![any(0), exact(1, 0)], 1),
            (vec![any(0), no_stream(1)], 1),
            (vec![any(0), waiting(1, ExpectedVersion::Any, true)], 1),
        ] {
            let mut lane = lane_of(requests);
            assert_eq!(slots(&next(&mut lane).0.unwrap()).len(), together);
        }
    }

    #[test]
    fn a_refused_group_goes_one_by_one_and_fails_where_it_fails() {
        let mut lane = lane_of([any(0), any(1), any(2)]);
        let all = next(&mut lane).0.unwrap();
        assert!(settle(&mut lane, all, Err(not_done())).is_empty(), "nobody is answered yet");
        let first = next(&mut lane).0.unwrap();
        assert_eq!(slots(&first), [0]);
        settle(&mut lane, first, Ok(0));
        let second = next(&mut lane).0.unwrap();
        assert_eq!(slots(&second), [1]);
        let answers = settle(&mut lane, second, Err(not_done()));
        assert!(matches!(answers[..], [(1, Err(SessionError::Append(_)))]));
        let (none, refused) = next(&mut lane);
        assert!(none.is_none());
        assert_eq!(refused, [2], "what was sent behind it is held back");
        assert!(!lane.is_forgettable(), "the failure is remembered");
        lane.push(waiting(3, ExpectedVersion::Any, true));
        assert_eq!(slots(&next(&mut lane).0.unwrap()), [3]);
    }

    #[test]
    fn what_nobody_knows_is_settled_by_the_same_events_alone() {
        let mut lane = lane_of([any(0), any(1)]);
        let both = next(&mut lane).0.unwrap();
        let unknown = ProxyError::OutcomeUnknown { cause: None };
        let answers = settle(&mut lane, both, Err(unknown));
        assert_eq!(answers.len(), 2, "both may have been done");
        let unknown = |(_, outcome): &(u64, Result<_, SessionError>)| {
            outcome.as_ref().is_err_and(|error| error.reason() == Reason::OutcomeUnknown)
        };
        assert!(answers.iter().all(unknown));
        for (request, passes) in [
            (any(0), false),
            (waiting(7, ExpectedVersion::Any, true), false),
            (waiting(1, ExpectedVersion::Any, true), false),
            (waiting(0, ExpectedVersion::Any, true), true),
        ] {
            lane.push(request);
            assert_eq!(next(&mut lane).0.is_some(), passes);
        }
    }
}
