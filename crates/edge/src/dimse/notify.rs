//! Event reports to who subscribed to a procedure step: an association of our own (UPS Event SOP class, PS3.4 CC.2.4).

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationRQ, PDataValueType, Pdu, PresentationContextProposed, PresentationContextResultReason, RequestorRoles,
    UserVariableItem,
};

use super::command;
use super::error::DimseError;
use super::negotiate::{APPLICATION_CONTEXT, IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION, fragment_bytes_max};
use super::wire::{PDU_BYTES_MAX, Patience, Wire};

/// The peer's machine is in the same house.
const PATIENCE: Duration = Duration::from_secs(10);
/// For all of it.
const WHOLE: Duration = Duration::from_secs(30);
const CONTEXT: u8 = 1;

/// Where reports go, and as whom.
pub(crate) struct Receiver<'a> {
    pub(crate) address: SocketAddr,
    /// Its AE title.
    pub(crate) called: &'a str,
    pub(crate) calling: &'a str,
}

/// One event of a procedure step.
pub(crate) struct Report {
    pub(crate) step: String,
    pub(crate) event: u16,
    /// Implicit VR little endian.
    pub(crate) information: Vec<u8>,
}

/// Sends all of them, in order, on one association. Ends with the first that isn't taken.
pub(crate) fn send(to: &Receiver<'_>, reports: &[Report]) -> Result<(), DimseError> {
    let io = |source| DimseError::Io { place: "calling a subscriber", source };
    let (stream, running) = (TcpStream::connect_timeout(&to.address, PATIENCE).map_err(io)?, AtomicBool::new(false));
    let mut wire = Wire::new(stream, PATIENCE, &running)?;
    let sent = talk(&mut wire, to, reports);
    match &sent {
        Ok(()) => wire.close(),
        Err(error) => wire.abort(error),
    }
    sent
}

fn talk(wire: &mut Wire<'_>, to: &Receiver<'_>, reports: &[Report]) -> Result<(), DimseError> {
    let until = Instant::now() + WHOLE;
    let patience = |place| {
        let left = until.saturating_duration_since(Instant::now()).min(PATIENCE);
        Patience { idle: left, whole: left, may_stop: false, place }
    };
    wire.write(&Pdu::AssociationRQ(request(to)))?;
    let fragment = match wire.read(patience("before it took an association"))? {
        Pdu::AssociationAC(accepted) => {
            let taken = accepted
                .presentation_contexts
                .iter()
                .any(|context| context.id == CONTEXT && context.reason == PresentationContextResultReason::Acceptance);
            if !taken {
                return Err(DimseError::NoSuchContext { id: CONTEXT });
            }
            fragment_bytes_max(&accepted.user_variables)?
        }
        Pdu::AssociationRJ(_) => return Err(DimseError::Rejected { why: "the subscriber takes no association" }),
        _ => return Err(DimseError::UnexpectedPdu { name: "an answer to an A-ASSOCIATE-RQ" }),
    };
    for (number, report) in (1..).zip(reports) {
        let class = uids::UNIFIED_PROCEDURE_STEP_PUSH;
        let command = command::event_report(number, class, &report.step, report.event);
        wire.write_message(CONTEXT, &command, Some(&report.information), fragment)?;
        let mut answer = Vec::new();
        'answer: loop {
            let Pdu::PData { data } = wire.read(patience("before it answered a report"))? else {
                return Err(DimseError::UnexpectedPdu { name: "an answer to an N-EVENT-REPORT" });
            };
            for value in data.into_iter().filter(|value| value.value_type == PDataValueType::Command) {
                answer.extend(value.data);
                if answer.len() > command::COMMAND_BYTES_MAX {
                    return Err(command::CommandError::TooLong.into());
                }
                if value.is_last {
                    break 'answer;
                }
            }
        }
        let status = command::status_of(&answer)?;
        if status != 0 {
            tracing::warn!(status, "a subscriber didn't take an event report");
        }
    }
    wire.write(&Pdu::ReleaseRQ)?;
    wire.read(patience("before it took the release")).map(drop)
}

fn request(to: &Receiver<'_>) -> AssociationRQ {
    let event = uids::UNIFIED_PROCEDURE_STEP_EVENT;
    AssociationRQ {
        protocol_version: 1,
        calling_ae_title: to.calling.to_owned(),
        called_ae_title: to.called.to_owned(),
        application_context_name: APPLICATION_CONTEXT.into(),
        presentation_contexts: vec![PresentationContextProposed {
            id: CONTEXT,
            abstract_syntax: event.into(),
            transfer_syntaxes: vec![uids::IMPLICIT_VR_LITTLE_ENDIAN.into()],
        }],
        user_variables: vec![
            UserVariableItem::MaxLength(PDU_BYTES_MAX),
            UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.into()),
            UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.into()),
            // Who reports is the SCP, though it calls (PS3.7 D.3.3.4).
            UserVariableItem::ScuScpRoleSelectionSubItem(event.into(), RequestorRoles { scu: false, scp: true }),
        ],
    }
}
