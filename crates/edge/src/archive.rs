//! What stands behind the DICOM port: the archive keeps, the gate answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use chart::Context;
use guard::{Act, Caller, Purpose};
use kit::{Blame, Fault, OperationId};
use treatment::{Asked, Instance as Dicom, Instruction, Kind, Outcome as Decision, Treatment};

use crate::dimse::{Instance, Outcome, Peer, Reject, Service, StepCall, Store, status};
use crate::steps::{Known, Steps};

/// The veto of the fraction gate: "cannot understand" is the range that PS3.4 (B.2.3) leaves to the receiver for
/// refusing an object, and no sender takes it for a success.
pub const VETO: u16 = 0xC001;

/// Both services, on the centre's own rooms.
pub struct Archive(Arc<Treatment>, Arc<Steps>);

/// On whose behalf, and what for.
pub(crate) fn context_of(treatment: &Treatment, peer: &Peer) -> Context {
    let operation = OperationId::random(treatment.chart().entropy());
    Context { caller: peer.caller.clone(), purpose: Purpose::Treatment, operation }
}

impl Archive {
    /// `known`: by AE title, what the configuration says of who calls. `title`: the gate's own.
    pub fn new(treatment: Arc<Treatment>, known: BTreeMap<String, Known>, title: String) -> Self {
        let steps = Steps::new(Arc::clone(&treatment), known, title);
        Self(treatment, steps)
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

    fn gate(&self, peer: &Peer, context: &Context, instance: &Instance) -> Outcome {
        // Whatever comes of it: what was shown under this UID before isn't what was sent last.
        self.1.shown.forget(peer, &instance.sop_instance);
        if let Some(refused) = mislabelled(instance) {
            self.0.note_refusal(context, Act::CheckGate, &instance.data_set, instance.transfer_syntax);
            return refused;
        }
        let (now, machine) = (self.0.chart().now(), self.1.machine(peer));
        let mut told = None;
        if let Ok(parsed) = Dicom::parse_data_set(&instance.data_set, instance.transfer_syntax) {
            let file = parsed.part10(&instance.data_set);
            told = (parsed.kind == Kind::RtBeamsDeliveryInstruction).then(|| Instruction::parse(&file));
            self.1.shown.keep(peer, &parsed.sop_instance, file, now);
        }
        let verdict = match told {
            // It says which fraction of a plan that was shown before.
            Some(instruction) => {
                let named = instruction.as_ref().ok().map(|instruction| instruction.plan.as_str());
                let Some(plan) = named.and_then(|uid| self.1.shown.of(peer, uid, now)) else {
                    return Outcome::refused(VETO, "VETO: plan-not-shown: send the plan first, then its instruction");
                };
                let asked = Asked { machine, instruction: Some(instruction), ..Asked::default() };
                self.0.gate(context, None, &plan, &asked)
            }
            None => {
                let asked = Asked { machine, ..Asked::default() };
                self.0.gate_data_set(context, &instance.data_set, instance.transfer_syntax, &asked)
            }
        };
        match verdict {
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
        let context = context_of(&self.0, peer);
        let outcome = match instance.service {
            Service::Archive => self.keep(&context, &instance),
            Service::Gate => self.gate(peer, &context, &instance),
        };
        if outcome.status != status::SUCCESS {
            tracing::info!(operation = %context.operation, status = outcome.status, "an object was refused");
        }
        outcome
    }

    fn step(&self, peer: &Peer, call: StepCall<'_>) -> (Outcome, Option<Vec<u8>>) {
        self.1.act(peer, &call)
    }

    fn refused(&self, peer: &Peer, service: Service, data_set: &[u8], transfer_syntax: &str) {
        let act = match service {
            Service::Archive => Act::StoreObject,
            Service::Gate => Act::CheckGate,
        };
        self.0.note_refusal(&context_of(&self.0, peer), act, data_set, transfer_syntax);
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
pub(crate) fn refusal(fault: &Fault) -> Outcome {
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
