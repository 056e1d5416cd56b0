//! The machines under exploration: the real ones, kept once each so that a state holds a number
//! instead, with what they are due to do and what they become, as compact values.

use std::collections::{BTreeMap, HashMap};

use streamgate::domain::reason::Reason;
use streamgate::domain::{Timestamp, Version};
use streamgate::migration::machine::{Facts, Machine, Plan};
use streamgate::migration::record::{Failure, MigrationRecord, Orders, RecordedProgress};
use streamgate::migration::steps::{Copied, DocumentView, Effect, Outcome, RecordView, Step};
use streamgate::migration::{MigrationOptions, OnConvergenceFailure, Phase, invariants};

use super::cast::{self, Cast, Closing, Contents, Migration, Slot};
use super::state::{End, Finish, RecordSeen};

/// Which machine; the one numbered 0 does not run.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub(crate) struct MachineId(u32);

impl MachineId {
    pub(crate) fn runs(self) -> bool {
        self.0 != 0
    }
}

/// The effect that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Due {
    Nothing,
    ReadDocument,
    ReadRecord,
    Claim,
    CreateTarget,
    TargetTail,
    Compare { from: Pair, to: u8 },
    ReadSource { next: u8, source: Contents },
    AppendTarget { next: u8 },
    ReadBack { next: u8, count: u8, target: Contents },
    Wait,
    Close { next: u8, contents: Contents },
    Reroute { close: Closing },
    Verify { at: Pair },
    SourceTail,
    RecordSuccess,
    RecordEnd { end: End },
    RecordTarget,
    Release,
    RecordReleased,
    Seal { next: u8 },
    RemoveTarget,
    RecordFinal { end: End },
}

/// How far a copy reaches, and what was read on each side.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Pair {
    pub(crate) next: u8,
    pub(crate) source: Contents,
    pub(crate) target: Contents,
}

/// An outcome.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Answer {
    Lost,
    Refused(Reason),
    Active { claimed: Option<Slot> },
    Terminated { by: Migration, to: Slot },
    UnknownDocument,
    Record { seen: RecordSeen, target: Option<Slot>, finished: Option<Finish> },
    Claimed { target: Slot },
    DocumentChanged,
    Created,
    TargetTail { next: u8, closed: Option<Closing> },
    Compared(Option<Pair>),
    SourcePage { count: u8, after: Contents, next: u8, closed: Option<Closing> },
    Appended,
    TargetMoved,
    ReadBack { after: Contents },
    Waited,
    Closed(Closing),
    HeadMoved { next: u8 },
    Rerouted,
    Verified,
    SourceTail { next: u8, closed: Option<Closing> },
    Recorded,
    Released,
    Sealed,
    Removed,
}

struct Kept {
    machine: Machine,
    due: Due,
    target: Option<Slot>,
    settles: bool,
}

#[derive(Default)]
pub(crate) struct Machines {
    kept: Vec<Kept>,
    ids: HashMap<Machine, MachineId>,
    next: HashMap<(MachineId, Answer, RecordSeen, bool), Result<MachineId, String>>,
    resumed: HashMap<(Migration, Slot, u8, RecordSeen, Option<Slot>), MachineId>,
    checked: HashMap<(MachineId, Option<End>, bool), Option<String>>,
}

impl Machines {
    fn kept(&self, id: MachineId) -> &Kept {
        &self.kept[id.0 as usize - 1]
    }

    pub(crate) fn due(&self, id: MachineId) -> Due {
        self.kept(id).due
    }

    pub(crate) fn target(&self, id: MachineId) -> Option<Slot> {
        self.kept(id).target
    }

    /// Whether the machine is about to settle a released end.
    pub(crate) fn settles(&self, id: MachineId) -> bool {
        self.kept(id).settles
    }

    pub(crate) fn machine(&self, id: MachineId) -> &Machine {
        &self.kept(id).machine
    }

    /// A machine as a restart makes it.
    pub(crate) fn resume(
        &mut self,
        cast: &Cast,
        migration: Migration,
        (source, maker, base): (Slot, Option<Migration>, u8),
        seen: RecordSeen,
        target: Option<Slot>,
    ) -> MachineId {
        let key = (migration, source, base, seen, target);
        if let Some(known) = self.resumed.get(&key) {
            return *known;
        }
        let plan = Plan {
            migration: cast::migration_id(migration),
            kind: cast.kind(migration),
            source: cast.stream(source, maker, base),
            target_base: cast.target_base(migration),
            on_convergence_failure: OnConvergenceFailure::KeepTrying,
            pause_gap_max: 0,
        };
        let machine = Machine::resume(plan, &record_view(cast, seen, target, None));
        let id = self.keep(cast, machine);
        self.resumed.insert(key, id);
        id
    }

    /// What the machine becomes.
    pub(crate) fn on(
        &mut self,
        cast: &Cast,
        id: MachineId,
        answer: Answer,
        seen: RecordSeen,
        timed_out: bool,
    ) -> Result<MachineId, String> {
        let key = (id, answer, seen, timed_out);
        if let Some(known) = self.next.get(&key) {
            return known.clone();
        }
        let mut machine = self.machine(id).clone();
        let facts =
            Facts { orders: orders(seen), timed_out, source_held: false, ..Facts::default() };
        let next = match machine.on(outcome(cast, answer), &facts) {
            Ok(()) => Ok(self.keep(cast, machine)),
            Err(unexpected) => Err(unexpected.to_string()),
        };
        self.next.insert(key, next.clone());
        next
    }

    /// What the runner's own check says against the effect that is due.
    pub(crate) fn check(&mut self, cast: &Cast, id: MachineId, seen: RecordSeen) -> Option<&str> {
        let kept = &self.kept[id.0 as usize - 1];
        let key = (id, seen.ended, seen.released);
        let told = self.checked.entry(key).or_insert_with(|| {
            let effect = kept.machine.effect()?;
            let record = record(cast, kept.machine.plan(), seen);
            let checked = invariants::check(&kept.machine, &record, effect);
            checked.err().map(|broken| broken.to_string())
        });
        told.as_deref()
    }

    fn keep(&mut self, cast: &Cast, machine: Machine) -> MachineId {
        if let Some(known) = self.ids.get(&machine) {
            return *known;
        }
        let kept = Kept {
            due: machine.effect().map_or(Due::Nothing, |effect| due(cast, effect)),
            target: machine.target().map(|address| cast.slot(address)),
            settles: matches!(machine.step(), Step::Settling { .. }),
            machine: machine.clone(),
        };
        self.kept.push(kept);
        let id = MachineId(u32::try_from(self.kept.len()).expect("machines are few"));
        self.ids.insert(machine, id);
        id
    }
}

fn due(cast: &Cast, effect: &Effect) -> Due {
    let pair = |copied: &Copied| Pair {
        next: cast::version(copied.next),
        source: Contents::of_checksum(&copied.source),
        target: Contents::of_checksum(&copied.target),
    };
    let next = |copied: &Copied| cast::version(copied.next);
    match effect {
        Effect::ReadDocument => Due::ReadDocument,
        Effect::ReadRecord => Due::ReadRecord,
        Effect::ClaimDocument => Due::Claim,
        Effect::CreateTarget => Due::CreateTarget,
        Effect::ReadTargetTail => Due::TargetTail,
        Effect::Compare { from, to } => Due::Compare { from: pair(from), to: cast::version(*to) },
        Effect::ReadSource { at } => Due::ReadSource { next: next(at), source: pair(at).source },
        Effect::AppendTarget { at, .. } => Due::AppendTarget { next: next(at) },
        Effect::ReadBack { at, count } => {
            Due::ReadBack { next: next(at), count: *count as u8, target: pair(at).target }
        }
        Effect::Wait => Due::Wait,
        Effect::CloseSource { head, checksum } => {
            let contents = checksum.as_ref().map_or(Contents::NOTHING, Contents::of_checksum);
            Due::Close { next: cast::version(head.next()), contents }
        }
        Effect::Reroute { close } => Due::Reroute { close: cast.closing(close) },
        Effect::Verify { at } => Due::Verify { at: pair(at) },
        Effect::ReadSourceTail => Due::SourceTail,
        Effect::RecordSuccess => Due::RecordSuccess,
        Effect::RecordEnd { phase, .. } => Due::RecordEnd { end: end(*phase) },
        Effect::RecordTarget => Due::RecordTarget,
        Effect::ReleaseDocument => Due::Release,
        Effect::RecordReleased => Due::RecordReleased,
        Effect::SealTarget { head } => Due::Seal { next: cast::version(head.next()) },
        Effect::RemoveTarget => Due::RemoveTarget,
        Effect::RecordFinal { phase } => Due::RecordFinal { end: end(*phase) },
        Effect::Rest | Effect::PauseSource | Effect::ResumeSource => {
            panic!("nobody pauses here: {effect:?}")
        }
    }
}

fn outcome(cast: &Cast, answer: Answer) -> Outcome {
    let close = |closing: Closing| Box::new(cast.close_event(closing));
    let address = |slot: Slot| cast.address(slot);
    match answer {
        Answer::Lost => Outcome::Lost,
        Answer::Refused(reason) => Outcome::Refused(Failure { reason, message: String::new() }),
        Answer::Active { claimed } => {
            Outcome::Document(DocumentView::Active { claimed: claimed.map(address) })
        }
        Answer::Terminated { by, to } => Outcome::Document(DocumentView::Terminated {
            closed_by: cast::migration_id(by),
            continuation: address(to),
        }),
        Answer::UnknownDocument => Outcome::Document(DocumentView::Unknown),
        Answer::Record { seen, target, finished } => {
            Outcome::Record(record_view(cast, seen, target, finished))
        }
        Answer::Claimed { target } => Outcome::Claimed { target: address(target) },
        Answer::DocumentChanged => Outcome::DocumentChanged,
        Answer::Created => Outcome::Created,
        Answer::TargetTail { next, closed } => {
            Outcome::TargetTail { head: cast::head(next), closed: closed.map(close) }
        }
        Answer::Compared(pair) => Outcome::Compared(pair.map(|pair| Copied {
            next: Version(u64::from(pair.next)),
            source: pair.source.checksum(),
            target: pair.target.checksum(),
        })),
        Answer::SourcePage { count, after, next, closed } => Outcome::SourcePage {
            count: u64::from(count),
            after: after.checksum(),
            head: cast::head(next),
            closed: closed.map(close),
        },
        Answer::Appended => Outcome::Appended,
        Answer::TargetMoved => Outcome::TargetMoved,
        Answer::ReadBack { after } => Outcome::ReadBack { after: after.checksum() },
        Answer::Waited => Outcome::Waited,
        Answer::Closed(closing) => Outcome::Closed(close(closing)),
        Answer::HeadMoved { next } => Outcome::HeadMoved { head: cast::head(next) },
        Answer::Rerouted => Outcome::Rerouted,
        Answer::Verified => Outcome::Verified,
        Answer::SourceTail { next, closed } => {
            Outcome::SourceTail { head: cast::head(next), closed: closed.map(close) }
        }
        Answer::Recorded => Outcome::Recorded,
        Answer::Released => Outcome::Released,
        Answer::Sealed => Outcome::Sealed,
        Answer::Removed => Outcome::Removed,
    }
}

fn record_view(
    cast: &Cast,
    seen: RecordSeen,
    target: Option<Slot>,
    finished: Option<Finish>,
) -> RecordView {
    let ended = finished.map(finish_phase).or(seen.ended.map(end_phase));
    RecordView {
        ended,
        is_final: finished.is_some(),
        released: seen.released,
        target: target.map(|slot| cast.address(slot)),
        orders: orders(seen),
    }
}

/// As much of a record as the runner's check looks at.
fn record(cast: &Cast, plan: &Plan, seen: RecordSeen) -> MigrationRecord {
    MigrationRecord {
        migration: plan.migration,
        request_id: "asked".into(),
        object: cast.object.clone(),
        kind: plan.kind,
        source: plan.source.clone(),
        target_store: cast::store("cold"),
        target_stream_id: None,
        target_base: plan.target_base,
        target: None,
        options: MigrationOptions::default(),
        labels: BTreeMap::new(),
        phase: seen.ended.map_or(Phase::Preparing, end_phase),
        orders: orders(seen),
        provisional: seen.ended.is_some(),
        released: seen.released,
        failure: None,
        progress: RecordedProgress::default(),
        certificate: None,
        token: 1,
        owner: None,
        lease_expires_at: None,
        created_at: Timestamp::EPOCH,
        updated_at: Timestamp::EPOCH,
        ended_at: None,
        paused_since: None,
        paused_ms: 0,
    }
}

fn orders(seen: RecordSeen) -> Orders {
    Orders { paused: false, cancelled: seen.cancelled, remove_target: seen.remove_target }
}

pub(crate) fn end_phase(end: End) -> Phase {
    match end {
        End::Failed => Phase::Failed,
        End::Cancelled => Phase::Cancelled,
    }
}

fn finish_phase(finish: Finish) -> Phase {
    match finish {
        Finish::Succeeded => Phase::Succeeded,
        Finish::Ended(end) => end_phase(end),
    }
}

fn end(phase: Phase) -> End {
    match phase {
        Phase::Failed => End::Failed,
        Phase::Cancelled => End::Cancelled,
        Phase::Preparing
        | Phase::CatchingUp
        | Phase::Closing
        | Phase::Rerouting
        | Phase::Verifying
        | Phase::Succeeded => panic!("{phase:?} is no end"),
    }
}
