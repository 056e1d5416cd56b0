//! What must hold before an effect is performed. Broken, it halts this one migration; the object
//! is served from where it is.

use super::machine::Machine;
use super::record::MigrationRecord;
use super::steps::{Effect, Step};
use crate::domain::Head;
use crate::domain::close_event::MigrationKind;

/// A fault of ours, found before it did harm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invariant {number} does not hold before {effect:?}")]
pub struct BrokenInvariant {
    pub number: u32,
    pub effect: Effect,
}

/// Whether `effect` may be performed now.
pub fn check(
    machine: &Machine,
    record: &MigrationRecord,
    effect: &Effect,
) -> Result<(), BrokenInvariant> {
    let copied = machine.copied();
    let (number, holds) = match effect {
        // I4: complete before close, and I3: at the exact head that was compared, or that was
        // looked at where nothing is copied.
        Effect::CloseSource { head, checksum } => {
            let told = machine.plan().target_base.map(|_| copied.source);
            let complete = copied.agrees() && *checksum == told;
            let exact = *head == Head::before(copied.next) && *head == machine.source_head();
            (4, machine.target().is_some() && complete && exact)
        }
        // I5: the target is written at the position up to which it was compared.
        Effect::AppendTarget { at, count } => (5, *at == copied && copied.agrees() && *count > 0),
        // I6: a document follows only a CloseEvent that names a continuation.
        Effect::Reroute { close } => (6, close.continuation.is_some()),
        // I11: only an ended migration's copy is sealed, only a sealed one is removed.
        Effect::SealTarget { .. } | Effect::RemoveTarget => {
            let ended = record.phase.has_ended() && record.released;
            let is_copy = machine.plan().kind == MigrationKind::Copy;
            (11, ended && is_copy && matches!(machine.step(), Step::Sealing { .. }))
        }
        // I12: an end becomes final only after no new claim can be made.
        Effect::RecordFinal { phase } => (12, record.released && record.phase == *phase),
        Effect::ReadDocument
        | Effect::ReadRecord
        | Effect::ClaimDocument
        | Effect::CreateTarget
        | Effect::ReadTargetTail
        | Effect::Compare { .. }
        | Effect::ReadSource { .. }
        | Effect::ReadBack { .. }
        | Effect::Wait
        | Effect::Rest
        | Effect::PauseSource
        | Effect::ResumeSource
        | Effect::Verify { .. }
        | Effect::ReadSourceTail
        | Effect::RecordSuccess
        | Effect::RecordEnd { .. }
        | Effect::RecordTarget
        | Effect::ReleaseDocument
        | Effect::RecordReleased => return Ok(()),
    };
    if holds { Ok(()) } else { Err(BrokenInvariant { number, effect: effect.clone() }) }
}
