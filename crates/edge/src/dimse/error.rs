//! Why an association ended before its time, grouped by whose fault it is. No message quotes what the peer sent.

use std::time::Duration;

use dicom_ul::pdu::AbortRQServiceProviderReason as Provider;
use kit::{Blame, Explain};

use super::command::CommandError;
use super::wire::PDU_BYTES_MAX;

#[derive(Debug, thiserror::Error)]
pub enum DimseError {
    // The peer's
    #[error("the peer closed the connection {place}")]
    Closed { place: &'static str },
    #[error("the peer took longer than {limit:?} {place}")]
    TimedOut { place: &'static str, limit: Duration },
    #[error("PDU type {found:#04x}, there are 1 to 7")]
    UnknownPdu { found: u8 },
    #[error("a PDU of type {kind:#04x} announces {found} bytes, maximum is {PDU_BYTES_MAX}")]
    PduTooLong { kind: u8, found: u32 },
    #[error("a PDU of type {kind:#04x} does not parse")]
    MalformedPdu { kind: u8 },
    #[error("{name} out of turn")]
    UnexpectedPdu { name: &'static str },
    #[error("presentation context {id} is proposed twice or is even")]
    BadContextId { id: u8 },
    #[error("the peer receives PDUs of {found} bytes at most, at least {minimum} are needed")]
    PduLimitTooSmall { found: u32, minimum: u32 },
    #[error("a fragment on presentation context {id}, which was not accepted")]
    NoSuchContext { id: u8 },
    #[error("a fragment on presentation context {found} within a message on {expected}")]
    MixedContexts { found: u8, expected: u8 },
    #[error("a data set's fragment where a command is due")]
    DataBeforeCommand,
    #[error("a command's fragment where a data set is due")]
    CommandWithinData,
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("rejected: {why}")]
    Rejected { why: &'static str },
    #[error("the peer aborted the association")]
    Aborted,
    // Ours
    #[error("the server is stopping")]
    Stopping,
    #[error("{place}: {source}")]
    Io { place: &'static str, source: std::io::Error },
    #[error("our own PDU was not written: {0}")]
    Encode(String),
}

impl DimseError {
    /// What an A-ABORT should say of it; none where there is nobody to tell, or where she was told.
    pub(super) fn abort(&self) -> Option<Provider> {
        match self {
            Self::Closed { .. } | Self::Aborted | Self::Rejected { .. } | Self::Io { .. } => None,
            Self::TimedOut { .. } | Self::Stopping | Self::Encode(_) => Some(Provider::ReasonNotSpecified),
            Self::UnknownPdu { .. } => Some(Provider::UnrecognizedPdu),
            Self::UnexpectedPdu { .. } | Self::DataBeforeCommand | Self::CommandWithinData => {
                Some(Provider::UnexpectedPdu)
            }
            Self::PduTooLong { .. }
            | Self::MalformedPdu { .. }
            | Self::BadContextId { .. }
            | Self::PduLimitTooSmall { .. }
            | Self::NoSuchContext { .. }
            | Self::MixedContexts { .. }
            | Self::Command(_) => Some(Provider::InvalidPduParameter),
        }
    }
}

impl Explain for DimseError {
    fn blame(&self) -> Blame {
        match self {
            Self::Stopping | Self::Encode(_) => Blame::Ours,
            Self::Io { .. } => Blame::Configuration,
            Self::Rejected { .. } => Blame::Forbidden,
            _ => Blame::Peer,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "dimse.closed",
            Self::TimedOut { .. } => "dimse.timed-out",
            Self::UnknownPdu { .. } => "dimse.unknown-pdu",
            Self::PduTooLong { .. } => "dimse.pdu-too-long",
            Self::MalformedPdu { .. } => "dimse.malformed-pdu",
            Self::UnexpectedPdu { .. } => "dimse.unexpected-pdu",
            Self::BadContextId { .. } => "dimse.bad-context-id",
            Self::PduLimitTooSmall { .. } => "dimse.pdu-limit-too-small",
            Self::NoSuchContext { .. } => "dimse.no-such-context",
            Self::MixedContexts { .. } => "dimse.mixed-contexts",
            Self::DataBeforeCommand => "dimse.data-before-command",
            Self::CommandWithinData => "dimse.command-within-data",
            Self::Command(_) => "dimse.bad-command",
            Self::Rejected { .. } => "dimse.rejected",
            Self::Aborted => "dimse.aborted",
            Self::Stopping => "dimse.stopping",
            Self::Io { .. } => "dimse.io",
            Self::Encode(_) => "dimse.encode",
        }
    }
}
