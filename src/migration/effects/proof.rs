//! The proof that a migration took effect.

use super::trouble::refused;
use super::{Performed, Performer};
use crate::domain::close_event::MigrationKind;
use crate::domain::reason::Reason;
use crate::domain::{CloseEvent, Head};
use crate::migration::machine::Machine;
use crate::migration::record::Certificate;
use crate::migration::steps::{Copied, DocumentView, Outcome};

impl Performer {
    /// Observes the effect from the outside: the closed source, the document, the target's tail,
    /// and both checksums, read again where this process has not read them.
    pub(super) async fn verify(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (source_store, source) = self.source()?;
        let tail = source_store.tail(&source.address.stream_id).await?;
        let Some(close) = tail.closed else {
            return Err(refused(Reason::VerificationFailed, "the source is open".into()));
        };
        let document = self.look_at_document(machine).await?;
        let routed = matches!(&document, DocumentView::Terminated { closed_by, .. }
            if *closed_by == machine.plan().migration);
        if !routed {
            return Err(refused(Reason::VerificationFailed, "the document is not rerouted".into()));
        }
        self.closed_at = Some(close.head);
        if machine.plan().kind == MigrationKind::Continue {
            return self.certify_continuation(machine, &close).await;
        }
        let end = close.head.next().max(Self::base(machine));
        let read = if at.next == end {
            Some(at)
        } else {
            let from = Copied::nothing(Self::base(machine));
            self.compared(machine, from, end).await?
        };
        let Some(copied) = read else {
            return Err(refused(Reason::VerificationFailed, "the target ends early".into()));
        };
        if !copied.agrees() {
            let message = "source and target differ".to_owned();
            return Err(refused(Reason::VerificationFailed, message));
        }
        if close.checksum.is_some_and(|closed| closed != copied.source) {
            let message = "the source differs from what was closed".to_owned();
            return Err(refused(Reason::VerificationFailed, message));
        }
        self.certify(machine, copied, close.head).await
    }

    /// Nothing was copied, so there is nothing to compare and no certificate; but the target must
    /// go on where the source ended.
    async fn certify_continuation(&mut self, machine: &Machine, close: &CloseEvent) -> Performed {
        let (store, target) = self.target(machine)?;
        let tail = store.tail(&target.stream_id).await?;
        let is_ours = tail.header.made_by == Some(machine.plan().migration);
        if !is_ours || tail.base.is_some_and(|base| base != close.head.next()) {
            let message = format!("{target} does not go on behind {}: {tail:?}", close.head);
            return Err(refused(Reason::VerificationFailed, message));
        }
        Ok(Outcome::Verified)
    }

    pub(super) async fn certify(
        &mut self,
        machine: &Machine,
        copied: Copied,
        head: Head,
    ) -> Performed {
        let (store, target) = self.target(machine)?;
        let tail = store.tail(&target.stream_id).await?;
        if tail.base.is_some() && tail.head < head {
            let message = format!("{target} ends at {}, before {head}", tail.head);
            return Err(refused(Reason::VerificationFailed, message));
        }
        self.certificate = Some(Certificate {
            events: copied.next.0 - Self::base(machine).0,
            head,
            source_checksum: copied.source,
            target_checksum: copied.target,
            verified_at: self.world.runtime.clock.now(),
        });
        Ok(Outcome::Verified)
    }
}
