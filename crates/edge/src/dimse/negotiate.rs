//! A-ASSOCIATE-RQ to A-ASSOCIATE-AC or -RJ (PS3.8 sections 7.1 and 9.3): which title, which classes, which syntaxes.

use std::collections::BTreeMap;

use dicom_dictionary_std::uids;
use dicom_ul::pdu::{
    AssociationAC, AssociationRJ, AssociationRJResult, AssociationRJServiceProviderASCEReason as Acse,
    AssociationRJServiceProviderPresentationReason as Presentation, AssociationRJServiceUserReason as User,
    AssociationRJSource, AssociationRQ, PDV_HEADER_SIZE, Pdu, PresentationContextProposed, PresentationContextResult,
    PresentationContextResultReason, UserVariableItem,
};
use treatment::Kind;

use super::error::DimseError;
use super::wire::PDU_BYTES_MAX;
use super::{Reject, Service, Settings, is_of_steps};

/// DICOM's only application context (PS3.7 annex A).
pub(super) const APPLICATION_CONTEXT: &str = "1.2.840.10008.3.1.1.1";
/// Under 2.25, the root for UUIDs (PS3.5 section B.2).
pub(super) const IMPLEMENTATION_CLASS: &str = "2.25.98236713018412345178920471120936745201";
pub(super) const IMPLEMENTATION_VERSION: &str = concat!("HOLDFAST_", env!("CARGO_PKG_VERSION"));
/// The smallest PDU that we send into: PS3.8 sets no floor, and a response is some 300 bytes.
const PEER_PDU_BYTES_MIN: u32 = 128;

/// What is served over either syntax; explicit first, since it carries its own types.
const TRANSFER_SYNTAXES: [&str; 2] = [uids::EXPLICIT_VR_LITTLE_ENDIAN, uids::IMPLICIT_VR_LITTLE_ENDIAN];

/// An accepted presentation context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Context {
    pub(super) sop_class: String,
    pub(super) transfer_syntax: &'static str,
}

/// A request that is in order, for one of our titles; who makes it is still to be asked.
pub(super) struct Proposal {
    pub(super) service: Service,
    pub(super) calling_ae_title: String,
    pub(super) contexts: BTreeMap<u8, Context>,
    /// The longest value of a PDV that the peer takes.
    pub(super) fragment_bytes_max: usize,
    accept: AssociationAC,
}

/// Why not, and what the A-ASSOCIATE-RJ says of it.
pub(super) struct Refusal {
    reject: AssociationRJ,
    pub(super) why: &'static str,
}

impl Refusal {
    pub(super) fn pdu(&self) -> Pdu {
        Pdu::AssociationRJ(self.reject.clone())
    }
}

pub(super) enum Unproposed {
    Refusal(Refusal),
    Error(DimseError),
}

impl From<Refusal> for Unproposed {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

impl Service {
    fn of(title: &str, settings: &Settings) -> Option<Self> {
        if settings.archive_titles.iter().any(|t| t == title) {
            Some(Self::Archive)
        } else if settings.gate_title == title {
            Some(Self::Gate)
        } else {
            None
        }
    }

    /// The gate takes plans, what is said of their delivery, and procedure steps.
    fn takes(self, sop_class: &str) -> bool {
        let for_gate = |kind: Kind| kind.is_plan() || kind == Kind::RtBeamsDeliveryInstruction;
        let kind = Kind::of_sop_class(sop_class);
        sop_class == uids::VERIFICATION
            || (self == Self::Gate && is_of_steps(sop_class))
            || kind.is_some_and(|kind| self == Self::Archive || for_gate(kind))
    }
}

impl Proposal {
    pub(super) fn new(request: AssociationRQ, settings: &Settings) -> Result<Self, Unproposed> {
        // Bit 0 is version 1; a receiver tests nothing else (PS3.8 table 9-11).
        if request.protocol_version & 1 == 0 {
            let source = AssociationRJSource::ServiceProviderASCE(Acse::ProtocolVersionNotSupported);
            return Err(refuse(AssociationRJResult::Permanent, source, "protocol version").into());
        }
        if trimmed(&request.application_context_name) != APPLICATION_CONTEXT {
            return Err(user(User::ApplicationContextNameNotSupported, "application context").into());
        }
        let Some(service) = Service::of(&request.called_ae_title, settings) else {
            return Err(rejection(Reject::CalledTitleNotRecognized).into());
        };
        let fragment_bytes_max = fragment_bytes_max(&request.user_variables).map_err(Unproposed::Error)?;

        let (mut contexts, mut results) = (BTreeMap::new(), Vec::new());
        let mut seen = std::collections::BTreeSet::new();
        for proposed in &request.presentation_contexts {
            // Odd numbers, each once (PS3.8 section 9.3.2.2).
            if proposed.id % 2 == 0 || !seen.insert(proposed.id) {
                return Err(Unproposed::Error(DimseError::BadContextId { id: proposed.id }));
            }
            let (reason, context) = choose(service, proposed);
            let transfer_syntax = context.as_ref().map_or(uids::IMPLICIT_VR_LITTLE_ENDIAN, |c| c.transfer_syntax);
            results.push(PresentationContextResult {
                id: proposed.id,
                reason,
                transfer_syntax: transfer_syntax.into(),
            });
            contexts.extend(context.map(|context| (proposed.id, context)));
        }
        let accept = AssociationAC {
            protocol_version: 1,
            calling_ae_title: request.calling_ae_title.clone(),
            called_ae_title: request.called_ae_title,
            application_context_name: APPLICATION_CONTEXT.into(),
            presentation_contexts: results,
            user_variables: vec![
                UserVariableItem::MaxLength(PDU_BYTES_MAX),
                UserVariableItem::ImplementationClassUID(IMPLEMENTATION_CLASS.into()),
                UserVariableItem::ImplementationVersionName(IMPLEMENTATION_VERSION.into()),
            ],
        };
        Ok(Self { service, calling_ae_title: request.calling_ae_title, contexts, fragment_bytes_max, accept })
    }

    pub(super) fn accept(&self) -> Pdu {
        Pdu::AssociationAC(self.accept.clone())
    }
}

fn choose(
    service: Service,
    proposed: &PresentationContextProposed,
) -> (PresentationContextResultReason, Option<Context>) {
    let sop_class = trimmed(&proposed.abstract_syntax);
    if !service.takes(sop_class) {
        return (PresentationContextResultReason::AbstractSyntaxNotSupported, None);
    }
    let offered = |ours: &&str| proposed.transfer_syntaxes.iter().any(|theirs| trimmed(theirs) == *ours);
    match TRANSFER_SYNTAXES.into_iter().find(offered) {
        Some(transfer_syntax) => {
            let context = Context { sop_class: sop_class.to_owned(), transfer_syntax };
            (PresentationContextResultReason::Acceptance, Some(context))
        }
        None => (PresentationContextResultReason::TransferSyntaxesNotSupported, None),
    }
}

/// The peer's limit on PDUs, less the header of the one value in ours. 0 and nothing mean no limit (PS3.8 D.1).
pub(super) fn fragment_bytes_max(variables: &[UserVariableItem]) -> Result<usize, DimseError> {
    let said = variables.iter().find_map(|item| match item {
        UserVariableItem::MaxLength(length) => Some(*length),
        _ => None,
    });
    let found = said.filter(|length| *length != 0).unwrap_or(PDU_BYTES_MAX).min(PDU_BYTES_MAX);
    if found < PEER_PDU_BYTES_MIN {
        return Err(DimseError::PduLimitTooSmall { found, minimum: PEER_PDU_BYTES_MIN });
    }
    Ok(usize::try_from(found - PDV_HEADER_SIZE).unwrap_or(usize::MAX))
}

/// UIDs of presentation contexts need no padding, but some pad.
fn trimmed(uid: &str) -> &str {
    uid.trim_end_matches(['\0', ' '])
}

fn refuse(result: AssociationRJResult, source: AssociationRJSource, why: &'static str) -> Refusal {
    Refusal { reject: AssociationRJ { result, source }, why }
}

fn user(reason: User, why: &'static str) -> Refusal {
    refuse(AssociationRJResult::Permanent, AssociationRJSource::ServiceUser(reason), why)
}

/// The A-ASSOCIATE-RJ for what [`super::Store::admit`], or our own bound, says.
pub(super) fn rejection(reject: Reject) -> Refusal {
    match reject {
        Reject::CallingTitleNotRecognized => user(User::CallingAETitleNotRecognized, "calling AE title"),
        Reject::CalledTitleNotRecognized => user(User::CalledAETitleNotRecognized, "called AE title"),
        Reject::Congested => {
            let source = AssociationRJSource::ServiceProviderPresentation(Presentation::LocalLimitExceeded);
            refuse(AssociationRJResult::Transient, source, "too many associations")
        }
    }
}
