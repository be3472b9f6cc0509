//! DIMSE: the storage SCP that planning systems, scanners and linacs send to (PS3.7, PS3.8, edition 2024e).
//!
//! It takes C-ECHO and C-STORE, on one port under several called AE titles: the archive's, and the fraction gate's; that one also
//! takes Unified Procedure Steps (N-CREATE, N-GET, N-ACTION), and reports their events to who subscribed.
//! What becomes of an object is for the [`Store`] to say; 0000H goes out only after it has.
//!
//! ```text
//!  socket ─► wire ─► PDUs ─► negotiate ─► Proposal ─► Store::admit ─► association
//!                      └──► message ─► command + data set ─► Store::store ─► response
//! ```
//!
//! `negotiate`, `message` and `command` are bytes in, bytes out; `wire` and `server` do the I/O. One thread serves one
//! association: the rooms below are synchronous, and a modality opens a handful.

mod association;
mod command;
mod error;
mod message;
mod negotiate;
pub(crate) mod notify;
mod server;
mod wire;

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use dicom_core::Tag;
use dicom_dictionary_std::uids;
use guard::Caller;

pub use error::DimseError;
pub use server::Server;

/// Which of our called AE titles was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Service {
    /// Keeps what it is sent.
    Archive,
    /// Answers whether this plan may be delivered now: 0000H is a release, anything else is not.
    Gate,
}

/// Who sends, once admitted.
#[derive(Clone, Debug)]
pub struct Peer {
    /// By guard's authentication; weak, since neither title nor address is a secret.
    pub caller: Caller,
    pub calling_ae_title: String,
    pub address: IpAddr,
}

/// One object as it came in. No byte of the data set was looked at yet.
pub struct Instance {
    pub service: Service,
    /// Of the command; equal to the presentation context's abstract syntax, not compared with the data set.
    pub sop_class: String,
    /// Of the command: a valid UID, not compared with the data set.
    pub sop_instance: String,
    pub transfer_syntax: &'static str,
    pub message_id: u16,
    pub data_set: Vec<u8>,
}

/// Names no patient.
impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance")
            .field("service", &self.service)
            .field("sop_class", &self.sop_class)
            .field("bytes", &self.data_set.len())
            .finish_non_exhaustive()
    }
}

/// What may be asked of a procedure step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    Create,
    /// These attributes; all, where none is named.
    Get(Vec<Tag>),
    /// Of its requester.
    Cancel,
    Subscribe,
    Unsubscribe,
}

/// One call about a Unified Procedure Step (PS3.4 annex CC, edition 2024e).
pub struct StepCall<'b> {
    pub act: Act,
    /// Its SOP Instance UID.
    pub step: String,
    /// As it came: no byte was looked at yet.
    pub data_set: &'b [u8],
    pub transfer_syntax: &'static str,
}

/// The classes whose messages are about procedure steps.
fn is_of_steps(sop_class: &str) -> bool {
    [uids::UNIFIED_PROCEDURE_STEP_PUSH, uids::UNIFIED_PROCEDURE_STEP_WATCH].contains(&sop_class)
}

/// Statuses (PS3.4 B.2.3 and CC.2, PS3.7 annex C).
pub mod status {
    pub const SUCCESS: u16 = 0x0000;
    pub const PROCESSING_FAILURE: u16 = 0x0110;
    pub const INVALID_SOP_INSTANCE: u16 = 0x0117;
    pub const SOP_CLASS_NOT_SUPPORTED: u16 = 0x0122;
    pub const NOT_AUTHORIZED: u16 = 0x0124;
    pub const INVALID_ATTRIBUTE_VALUE: u16 = 0x0106;
    pub const DUPLICATE_SOP_INSTANCE: u16 = 0x0111;
    pub const MISSING_ATTRIBUTE: u16 = 0x0120;
    pub const MISSING_ATTRIBUTE_VALUE: u16 = 0x0121;
    pub const NO_SUCH_ACTION: u16 = 0x0123;
    pub const UNRECOGNIZED_OPERATION: u16 = 0x0211;
    pub const RESOURCE_LIMITATION: u16 = 0x0213;
    pub const OUT_OF_RESOURCES: u16 = 0xA700;
    pub const DATA_SET_DOES_NOT_MATCH: u16 = 0xA900;
    pub const CANNOT_UNDERSTAND: u16 = 0xC000;
    // Of procedure steps (PS3.4 CC.2).
    pub const DELETION_LOCK_NOT_GRANTED: u16 = 0xB301;
    pub const STEP_CANCELED_ALREADY: u16 = 0xB304;
    pub const NO_SUCH_STEP: u16 = 0xC307;
    pub const RECEIVER_UNKNOWN: u16 = 0xC308;
    pub const NOT_SCHEDULED: u16 = 0xC309;
    pub const STEP_COMPLETED_ALREADY: u16 = 0xC311;
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub status: u16,
    /// Error Comment (0000,0902). Never a patient identifier: peers log it. What LO can't carry is left out, and it is
    /// cut to 64 characters.
    pub comment: Option<String>,
}

impl Outcome {
    /// It is kept, durably.
    pub fn stored() -> Self {
        Self { status: status::SUCCESS, comment: None }
    }

    pub fn refused(status: u16, comment: impl Into<String>) -> Self {
        Self { status, comment: Some(comment.into()) }
    }
}

/// Why an association is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reject {
    CallingTitleNotRecognized,
    CalledTitleNotRecognized,
    /// Come again later.
    Congested,
}

/// What stands behind the port. Called on the association's own thread; may block.
pub trait Store: Send + Sync {
    /// Who is it? Asked once for each association.
    fn admit(&self, calling_ae_title: &str, address: IpAddr, service: Service) -> Result<Caller, Reject>;

    /// Keeps one object, or answers for it. Success says that it is durable.
    fn store(&self, peer: &Peer, instance: Instance) -> Outcome;

    /// Acts on a procedure step; gives what is to be said of it, where anything is: in the call's transfer syntax.
    fn step(&self, peer: &Peer, call: StepCall<'_>) -> (Outcome, Option<Vec<u8>>);

    /// A data set that came whole, and whose command was wrong: it is refused, and what it says may matter all the same.
    fn refused(&self, peer: &Peer, service: Service, data_set: &[u8], transfer_syntax: &str);
}

/// Titles and bounds of one port.
#[derive(Clone, Debug)]
pub struct Settings {
    pub archive_titles: Vec<String>,
    pub gate_title: String,
    /// From connecting to a whole A-ASSOCIATE-RQ (PS3.8's ARTIM timer). Short: a modality asks at once.
    pub request_timeout: Duration,
    /// Between messages. Planning systems think while they export.
    pub idle_timeout: Duration,
    /// From a PDU's first byte to its last: 256 KiB at 10 KB/s.
    pub pdu_timeout: Duration,
    /// From a message's first PDU to its last: the largest object at 0.5 MB/s.
    pub message_timeout: Duration,
    /// For our answers to be taken.
    pub write_timeout: Duration,
    /// On stop: how long objects under way may take to finish.
    pub stop_timeout: Duration,
    /// Associations at one time. A department has some twenty sources, each with one to four.
    pub associations_max: usize,
    /// Of these, from one address.
    pub peer_associations_max: usize,
    /// Connections that have not asked for an association yet. One more closes the oldest of them, so that a crowd that
    /// says nothing keeps nobody out.
    pub silent_max: usize,
    /// Bytes of all data sets in memory at one time: four of the largest.
    pub bytes_in_flight_max: usize,
    /// Bytes of one data set.
    pub object_bytes_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            // ANY-SCP is what dcmtk's and pynetdicom's tools call where they are told nothing.
            archive_titles: vec!["HOLDFAST".into(), "ANY-SCP".into()],
            gate_title: "GATE".into(),
            request_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            pdu_timeout: Duration::from_secs(30),
            message_timeout: Duration::from_secs(600),
            write_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(20),
            associations_max: 64,
            peer_associations_max: 24,
            silent_max: 128,
            bytes_in_flight_max: 4 * kit::limits::OBJECT_BYTES_MAX,
            object_bytes_max: kit::limits::OBJECT_BYTES_MAX,
        }
    }
}
