//! One association, from its request to its end.
//!
//! ```text
//!  waiting ──A-ASSOCIATE-RQ──► admitted ──► open ◄──► message ──► answered
//!     │                           │           │
//!     └─ timeout: closed          └─ RJ       └─ release, abort, error: closed
//! ```

use std::net::{IpAddr, TcpStream};
use std::time::Instant;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::Pdu;

use super::command::{self, C_CANCEL_RQ, C_ECHO_RQ, C_STORE_RQ, N_ACTION_RQ, N_CREATE_RQ, N_GET_RQ};
use super::error::DimseError;
use super::message::{Assembler, DataSet, Message, Refused};
use super::negotiate::{Proposal, Unproposed, rejection};
use super::server::{Shared, Slot};
use super::wire::{Patience, Wire};
use super::{Act, Instance, Outcome, Peer, Reject, StepCall, is_of_steps, status};

/// Serves one connection to its end.
pub(super) fn serve(
    stream: TcpStream,
    address: IpAddr,
    shared: &Shared,
    slot: &mut Slot<'_>,
) -> Result<u64, DimseError> {
    let mut wire = Wire::new(stream, shared.settings.write_timeout, &shared.stopping)?;
    match talk(&mut wire, address, shared, slot) {
        Ok(stored) => {
            wire.close();
            Ok(stored)
        }
        Err(error) => {
            wire.abort(&error);
            Err(error)
        }
    }
}

fn talk(wire: &mut Wire<'_>, address: IpAddr, shared: &Shared, slot: &mut Slot<'_>) -> Result<u64, DimseError> {
    let (proposal, peer) = establish(wire, address, shared, slot)?;
    let settings = &shared.settings;
    let mut assembler = Assembler::new(settings.object_bytes_max, shared.budget.clone());
    let mut stored = 0;
    let mut began = Instant::now();
    loop {
        let within = assembler.is_within_message();
        let left = settings.message_timeout.saturating_sub(began.elapsed());
        let patience = if within {
            let wait = left.min(settings.idle_timeout);
            Patience { idle: wait, whole: left.min(settings.pdu_timeout), may_stop: false, place: "within a message" }
        } else {
            let (idle, whole) = (settings.idle_timeout, settings.pdu_timeout);
            Patience { idle, whole, may_stop: true, place: "between messages" }
        };
        let pdu = wire.read(patience)?;
        if !within {
            began = Instant::now();
        }
        match pdu {
            Pdu::PData { data } => {
                for fragment in data {
                    let id = fragment.presentation_context_id;
                    if !proposal.contexts.contains_key(&id) {
                        return Err(DimseError::NoSuchContext { id });
                    }
                    let Some(message) = assembler.feed(fragment)? else { continue };
                    stored += u64::from(answer(wire, &proposal, &peer, message, shared)?);
                    began = Instant::now();
                }
            }
            Pdu::ReleaseRQ => {
                wire.write(&Pdu::ReleaseRP)?;
                return Ok(stored);
            }
            Pdu::AbortRQ { .. } => return Err(DimseError::Aborted),
            other => return Err(unexpected(&other)),
        }
    }
}

fn establish(
    wire: &mut Wire<'_>,
    address: IpAddr,
    shared: &Shared,
    slot: &mut Slot<'_>,
) -> Result<(Proposal, Peer), DimseError> {
    let limit = shared.settings.request_timeout;
    let patience = Patience { idle: limit, whole: limit, may_stop: true, place: "before an association" };
    let request = match wire.read(patience)? {
        Pdu::AssociationRQ(request) => request,
        Pdu::AbortRQ { .. } => return Err(DimseError::Aborted),
        other => return Err(unexpected(&other)),
    };
    let calling = request.calling_ae_title.clone();
    let refused = match Proposal::new(request, &shared.settings) {
        Ok(proposal) => match shared.store.admit(&proposal.calling_ae_title, address, proposal.service) {
            Ok(caller) if slot.open() => {
                wire.write(&proposal.accept())?;
                let calling_ae_title = proposal.calling_ae_title.clone();
                return Ok((proposal, Peer { caller, calling_ae_title, address }));
            }
            Ok(_) => rejection(Reject::Congested),
            Err(reject) => rejection(reject),
        },
        Err(Unproposed::Refusal(refusal)) => refusal,
        Err(Unproposed::Error(error)) => return Err(error),
    };
    // Whoever sets a modality up looks for this line; `Debug` escapes what a title should not hold.
    tracing::warn!(?calling, %address, why = refused.why, "DICOM association rejected");
    wire.write(&refused.pdu())?;
    Err(DimseError::Rejected { why: refused.why })
}

/// Acts on one message and answers it; whether an object was stored.
fn answer(
    wire: &mut Wire<'_>,
    proposal: &Proposal,
    peer: &Peer,
    message: Message,
    shared: &Shared,
) -> Result<bool, DimseError> {
    let Message { context, request, data_set } = message;
    let mut answered = None;
    let outcome = match request.field {
        C_ECHO_RQ => Outcome::stored(),
        N_CREATE_RQ | N_GET_RQ | N_ACTION_RQ => {
            let DataSet { bytes, refused, held } = data_set;
            let outcome = match step_call(proposal, context, &request, (&bytes, refused)) {
                Ok(call) => {
                    let (outcome, data_set) = shared.store.step(peer, call);
                    answered = data_set;
                    outcome
                }
                Err(refusal) => refusal,
            };
            drop(held);
            outcome
        }
        C_STORE_RQ => {
            let DataSet { bytes, refused, held } = data_set;
            let outcome = match checked(proposal, context, &request, refused) {
                Ok(instance) => shared.store.store(peer, Instance { data_set: bytes, ..instance }),
                Err(refusal) => {
                    if let Some(context) = proposal.contexts.get(&context).filter(|_| !bytes.is_empty()) {
                        shared.store.refused(peer, proposal.service, &bytes, context.transfer_syntax);
                    }
                    refusal
                }
            };
            // Before the answer: whoever has it may send the next object, and must find the room that this one took.
            drop(held);
            metrics::counter!("holdfast_dimse_responses_total", "status" => format!("{:04X}", outcome.status))
                .increment(1);
            outcome
        }
        // Nothing here takes long enough to be cancelled, and a cancel has no answer (PS3.7 9.3.2.3).
        C_CANCEL_RQ => return Ok(false),
        _ => Outcome::refused(status::UNRECOGNIZED_OPERATION, "this service is not offered"),
    };
    let response = request.response(&outcome, answered.is_some());
    wire.write_message(context, &response, answered.as_deref(), proposal.fragment_bytes_max)?;
    Ok(request.field == C_STORE_RQ && outcome.status == status::SUCCESS)
}

/// What is asked of a procedure step, where the command is in order.
fn step_call<'b>(
    proposal: &Proposal,
    context: u8,
    request: &command::Request,
    (data_set, refused): (&'b [u8], Option<Refused>),
) -> Result<StepCall<'b>, Outcome> {
    let context = proposal.contexts.get(&context).filter(|context| is_of_steps(&context.sop_class));
    let Some(context) = context else {
        return Err(Outcome::refused(status::UNRECOGNIZED_OPERATION, "not on this presentation context"));
    };
    // Whichever of the classes the context is of, a step is an instance of Push (PS3.4 CC.3.1).
    if request.sop_class.as_deref() != Some(uids::UNIFIED_PROCEDURE_STEP_PUSH) {
        let comment = "the SOP class of a procedure step is UPS Push";
        return Err(Outcome::refused(status::SOP_CLASS_NOT_SUPPORTED, comment));
    }
    let creates = context.sop_class == uids::UNIFIED_PROCEDURE_STEP_PUSH;
    let act = match (request.field, request.action) {
        (N_CREATE_RQ, _) if creates => Act::Create,
        (N_GET_RQ, _) => Act::Get(request.attributes.clone()),
        (N_ACTION_RQ, Some(2)) => Act::Cancel,
        (N_ACTION_RQ, Some(3)) if !creates => Act::Subscribe,
        (N_ACTION_RQ, Some(4)) if !creates => Act::Unsubscribe,
        (N_ACTION_RQ, _) => return Err(Outcome::refused(status::NO_SUCH_ACTION, "no such action in this class")),
        _ => return Err(Outcome::refused(status::UNRECOGNIZED_OPERATION, "not in this class")),
    };
    let Some(step) = request.sop_instance.as_deref().and_then(command::uid) else {
        return Err(Outcome::refused(status::INVALID_SOP_INSTANCE, "its SOP Instance UID is no UID, or missing"));
    };
    if refused.is_some() {
        return Err(Outcome::refused(status::RESOURCE_LIMITATION, "the data set is too large, or there is no room"));
    }
    Ok(StepCall { act, step, data_set, transfer_syntax: context.transfer_syntax })
}

/// The instance without its bytes, where the command is in order.
fn checked(
    proposal: &Proposal,
    context: u8,
    request: &command::Request,
    refused: Option<Refused>,
) -> Result<Instance, Outcome> {
    let Some(context) = proposal.contexts.get(&context) else {
        return Err(Outcome::refused(status::PROCESSING_FAILURE, "no such presentation context"));
    };
    if request.sop_class.as_ref() != Some(&context.sop_class) || context.sop_class == uids::VERIFICATION {
        let comment = "the SOP class is not the presentation context's";
        return Err(Outcome::refused(status::SOP_CLASS_NOT_SUPPORTED, comment));
    }
    let Some(sop_instance) = request.sop_instance.as_deref().and_then(command::uid) else {
        return Err(Outcome::refused(status::INVALID_SOP_INSTANCE, "Affected SOP Instance UID is no UID"));
    };
    if !request.has_data_set {
        return Err(Outcome::refused(status::CANNOT_UNDERSTAND, "there is no data set"));
    }
    match refused {
        Some(Refused::TooLong) => Err(Outcome::refused(status::OUT_OF_RESOURCES, "the object is too large")),
        Some(Refused::NoRoom) => Err(Outcome::refused(status::OUT_OF_RESOURCES, "no memory now; send it again")),
        None => Ok(Instance {
            service: proposal.service,
            sop_class: context.sop_class.clone(),
            sop_instance,
            transfer_syntax: context.transfer_syntax,
            message_id: request.message_id,
            data_set: Vec::new(),
        }),
    }
}

fn unexpected(pdu: &Pdu) -> DimseError {
    let name = match pdu {
        Pdu::AssociationRQ(_) => "A-ASSOCIATE-RQ",
        Pdu::AssociationAC(_) => "A-ASSOCIATE-AC",
        Pdu::AssociationRJ(_) => "A-ASSOCIATE-RJ",
        Pdu::PData { .. } => "P-DATA-TF",
        Pdu::ReleaseRQ => "A-RELEASE-RQ",
        Pdu::ReleaseRP => "A-RELEASE-RP",
        Pdu::AbortRQ { .. } => "A-ABORT",
        Pdu::Unknown { .. } => "a PDU of an unknown type",
    };
    DimseError::UnexpectedPdu { name }
}
