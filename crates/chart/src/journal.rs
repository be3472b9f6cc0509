//! Where guard's decisions and events go: into the ledger. A decision is durable in the write-ahead log before guard
//! answers; an event (a token issued, a lockdown) is committed before it takes effect.

use std::sync::Arc;

use guard::{Decision, DecisionLog, Event, EventLog, Target};
use kit::{Entropy, Fault, OperationId};
use vault::{Group, Parcel, Scope, Vault};

use crate::meta::{Meta, Tag, Tagger};

pub struct Journal {
    vault: Arc<Vault>,
    tagger: Arc<Tagger>,
    entropy: Arc<dyn Entropy>,
}

/// Entries that say who saw what, and who was allowed or refused what.
pub(crate) const OPENED: &str = "chart.access";
const DECISION: &str = "guard.decision";

/// Neither changes what is known of a patient.
pub(crate) fn is_of_access(kind: &str) -> bool {
    matches!(kind, OPENED | DECISION)
}

pub(crate) fn is_decision(kind: &str) -> bool {
    kind == DECISION
}

const EVENT: &str = "guard.event";

pub(crate) fn is_event(kind: &str) -> bool {
    kind == EVENT
}

/// Entries of guard's events.
pub(crate) fn event_list(tagger: &Tagger) -> Tag {
    tagger.full(&[b"list", b"guard-events"])
}

/// Entries that say who saw, changed or was refused what of one patient.
pub(crate) fn access_list(tagger: &Tagger, patient: kit::PatientId) -> Tag {
    tagger.full(&[b"list", b"access", &patient.0])
}

/// Entries of decisions that are about no single patient.
pub(crate) fn centre_access_list(tagger: &Tagger) -> Tag {
    tagger.full(&[b"list", b"access-centre"])
}

impl Journal {
    pub fn new(vault: Arc<Vault>, tagger: Arc<Tagger>, entropy: Arc<dyn Entropy>) -> Self {
        Self { vault, tagger, entropy }
    }

    fn group(operation: OperationId, scope: Scope, kind: &str, list: Tag, note: Vec<u8>) -> Group {
        let mut meta = Meta::new(None);
        meta.lists.push(list);
        meta.note = note.into();
        let parcel = Parcel { scope, kind: kind.into(), meta: meta.to_bytes(), payload: None };
        Group { operation, permit: None, new_patients: Vec::new(), parcels: vec![parcel] }
    }
}

impl DecisionLog for Journal {
    fn note(&self, decision: &Decision) -> Result<(), Fault> {
        let (scope, list) = match decision.target {
            // She may be about to be registered, or refused to be: the decision stands on her list all the same.
            Target::Patient(patient) => {
                let scope = if self.vault.is_registered(patient) { Scope::Patient(patient) } else { Scope::Centre };
                (scope, access_list(&self.tagger, patient))
            }
            Target::Centre => (Scope::Centre, centre_access_list(&self.tagger)),
        };
        let group = Self::group(decision.operation, scope, DECISION, list, decision.to_bytes());
        Ok(self.vault.note(group)?)
    }
}

impl EventLog for Journal {
    fn keep(&self, event: &Event) -> Result<(), Fault> {
        let list = event_list(&self.tagger);
        let operation = OperationId::random(self.entropy.as_ref());
        self.vault.keep(Self::group(operation, Scope::Centre, EVENT, list, event.to_bytes()))?;
        Ok(())
    }
}
