//! What stands behind the DICOM port: the archive keeps, the gate answers.

use std::net::IpAddr;
use std::sync::Arc;

use chart::Context;
use guard::{Act, Caller, Purpose};
use kit::{Blame, Fault, OperationId};
use treatment::{Instance as Dicom, Outcome as Decision, Treatment};

use crate::dimse::{Instance, Outcome, Peer, Reject, Service, Store, status};

/// The veto of the fraction gate: "cannot understand" is the range that PS3.4 (B.2.3) leaves to the receiver for
/// refusing an object, and no sender takes it for a success.
pub const VETO: u16 = 0xC001;

/// Both services, on the centre's own rooms.
pub struct Archive(Arc<Treatment>);

impl Archive {
    pub fn new(treatment: Arc<Treatment>) -> Self {
        Self(treatment)
    }

    fn context(&self, peer: &Peer) -> Context {
        let operation = OperationId::random(self.0.chart().entropy());
        Context { caller: peer.caller.clone(), purpose: Purpose::Treatment, operation }
    }

    fn keep(&self, context: &Context, instance: &Instance) -> Outcome {
        if let Some(refused) = mislabelled(instance) {
            self.0.note_refusal(context, Act::StoreObject, &instance.data_set, instance.transfer_syntax);
            return refused;
        }
        match self.0.store_data_set(context, &instance.data_set, instance.transfer_syntax) {
            Ok(_) => Outcome::stored(),
            Err(fault) => refusal(&fault),
        }
    }

    fn gate(&self, context: &Context, instance: &Instance) -> Outcome {
        if let Some(refused) = mislabelled(instance) {
            self.0.note_refusal(context, Act::CheckGate, &instance.data_set, instance.transfer_syntax);
            return refused;
        }
        match self.0.gate_data_set(context, &instance.data_set, instance.transfer_syntax) {
            Ok(verdict) if verdict.outcome == Decision::Release => Outcome::stored(),
            Ok(verdict) => {
                let codes: Vec<&str> = verdict.findings.iter().map(treatment::Finding::code).collect();
                Outcome::refused(VETO, format!("VETO: {}", codes.join(", ")))
            }
            Err(fault) => refusal(&fault),
        }
    }
}

impl Store for Archive {
    fn admit(&self, calling_ae_title: &str, address: IpAddr, _service: Service) -> Result<Caller, Reject> {
        let guard = self.0.chart().guard();
        guard.device(calling_ae_title, address).map_err(|_| Reject::CallingTitleNotRecognized)
    }

    fn store(&self, peer: &Peer, instance: Instance) -> Outcome {
        let context = self.context(peer);
        let outcome = match instance.service {
            Service::Archive => self.keep(&context, &instance),
            Service::Gate => self.gate(&context, &instance),
        };
        if outcome.status != status::SUCCESS {
            tracing::info!(operation = %context.operation, status = outcome.status, "an object was refused");
        }
        outcome
    }

    fn refused(&self, peer: &Peer, service: Service, data_set: &[u8], transfer_syntax: &str) {
        let act = match service {
            Service::Archive => Act::StoreObject,
            Service::Gate => Act::CheckGate,
        };
        self.0.note_refusal(&self.context(peer), act, data_set, transfer_syntax);
    }
}

/// What is announced as one object and holds another is refused (PS3.4 B.2.3: A900).
fn mislabelled(instance: &Instance) -> Option<Outcome> {
    // What can't be parsed is refused later, with its own reason.
    let parsed = Dicom::parse_data_set(&instance.data_set, instance.transfer_syntax).ok()?;
    let same = parsed.kind.sop_class() == instance.sop_class && parsed.sop_instance == instance.sop_instance;
    (!same).then(|| Outcome::refused(status::DATA_SET_DOES_NOT_MATCH, "data set and command name different objects"))
}

/// The status that says whose fault it is; the code finds the documentation, and names no patient. What is wrong with the
/// object itself is said too, as far as there is room: it names an attribute and quotes no value.
fn refusal(fault: &Fault) -> Outcome {
    let status = match fault.blame {
        Blame::Forbidden => status::NOT_AUTHORIZED,
        Blame::Peer if ["treatment.object.class", "treatment.object.empty-record"].contains(&&*fault.code) => {
            status::DATA_SET_DOES_NOT_MATCH
        }
        Blame::Peer | Blame::Conflict | Blame::Absent => status::CANNOT_UNDERSTAND,
        Blame::Configuration => status::OUT_OF_RESOURCES,
        Blame::Integrity | Blame::Ours => status::PROCESSING_FAILURE,
    };
    match fault.code.starts_with("treatment.object.") {
        true => Outcome::refused(status, format!("{}: {}", fault.code, fault.message)),
        false => Outcome::refused(status, fault.code.clone()),
    }
}
