//! The proof that a migration took effect.

use super::{Performed, Performer, failed, store_trouble};
use crate::domain::Head;
use crate::domain::reason::Reason;
use crate::migration::machine::Machine;
use crate::migration::record::Certificate;
use crate::migration::steps::{Copied, DocumentView, Outcome};

impl Performer {
    /// Observes the effect from the outside: the closed source, the document, the target's tail,
    /// and both checksums, read again where this process has not read them.
    pub(super) async fn verify(&mut self, machine: &Machine, at: Copied) -> Performed {
        let (source_store, source) = self.source()?;
        let tail = match source_store.tail(&source.address.stream_id).await {
            Ok(tail) => tail,
            Err(error) => return store_trouble(error),
        };
        let Some(close) = tail.closed else {
            return Err(failed(Reason::VerificationFailed, "the source is open".into()));
        };
        let Outcome::Document(document) = self.read_document(machine).await? else {
            return Ok(Outcome::Lost);
        };
        let routed = matches!(&document, DocumentView::Terminated { closed_by, .. }
            if *closed_by == machine.plan().migration);
        if !routed {
            return Err(failed(Reason::VerificationFailed, "the document is not rerouted".into()));
        }
        let end = close.head.next().max(Self::base(machine));
        let read = if at.next == end {
            Outcome::Compared(Some(at))
        } else {
            let from = Copied::nothing(Self::base(machine));
            self.compare(machine, from, end).await?
        };
        if read == Outcome::Lost {
            return Ok(Outcome::Lost);
        }
        let Outcome::Compared(Some(copied)) = read else {
            return Err(failed(Reason::VerificationFailed, "the target ends early".into()));
        };
        if !copied.agrees() {
            let message = "source and target differ".to_owned();
            return Err(failed(Reason::VerificationFailed, message));
        }
        if close.checksum.is_some_and(|closed| closed != copied.source) {
            let message = "the source differs from what was closed".to_owned();
            return Err(failed(Reason::VerificationFailed, message));
        }
        self.certify(machine, copied, close.head).await
    }

    pub(super) async fn certify(
        &mut self,
        machine: &Machine,
        copied: Copied,
        head: Head,
    ) -> Performed {
        let (store, target) = self.target(machine)?;
        match store.tail(&target.stream_id).await {
            Ok(tail) if tail.base.is_some() && tail.head < head => {
                let message = format!("{target} ends at {}, before {head}", tail.head);
                return Err(failed(Reason::VerificationFailed, message));
            }
            Ok(_) => {}
            Err(error) => return store_trouble(error),
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
