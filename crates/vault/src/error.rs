//! What can go wrong with a vault, by whose fault it is. No error names a patient.

use std::io;

use kit::{Blame, Digest, Explain, Id16};

use crate::location::LocationError;
use crate::recover::LossReport;
use kit::format::FormatError;

/// Who is there and doesn't count.
fn and_older(locations: &[String]) -> String {
    match locations {
        [] => String::new(),
        older => format!("; {} are there, and older than the others, empty, or damaged", older.join(", ")),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    // The caller's.
    #[error("parcel {at}: a kind is 1 to {max} of a-z, 0-9, '.', '-', and not one of the vault's own")]
    Kind { at: usize, max: usize },
    #[error("parcel {at}: {found} bytes of meta, the maximum is {max}")]
    MetaTooLarge { at: usize, found: usize, max: usize },
    #[error("parcel {at}: a payload of {found} bytes, the maximum is {max}")]
    PayloadTooLarge { at: usize, found: usize, max: usize },
    #[error("a group of {found} entries, it needs 1 to {max}")]
    GroupSize { found: usize, max: usize },
    #[error("a group whose entries take {found} bytes without payloads; one segment holds {max}")]
    GroupHeads { found: usize, max: usize },
    #[error("a roster of {found} entries; it takes at most {max}")]
    RosterTooLong { found: usize, max: usize },
    #[error("a note registers no patients, and takes at most {max} bytes; here are {found}")]
    Note { found: usize, max: usize },
    #[error("the patient is not registered")]
    UnknownPatient,
    #[error("the patient is registered already")]
    PatientExists,

    // Nobody's: this is what was asked for.
    #[error("no entry {index}: the log has {size}")]
    NoSuchEntry { index: u64, size: u64 },
    #[error("entry {index} has no payload")]
    NoPayload { index: u64 },
    #[error("segments of the log can't be read, so that nobody knows all who are alive or erased: no key is changed")]
    Incomplete,
    #[error(
        "{patients} patients are refused by a holder, and not erased by the log: the old keys are kept until that is settled"
    )]
    RefusedAlive { patients: u64 },
    #[error(
        "{patients} patients' keys are dealt to the holders before the vault moved: the custodians have to deal them anew"
    )]
    DealtToFewer { patients: u64 },
    #[error("the patient is erased: her key is refused")]
    Erased,

    // The configuration's, or the surroundings'.
    #[error("k {k}, n {n}, floor {floor}: it must be 1 <= k <= floor <= n <= {max}, and floor more than half of n")]
    Shape { k: u8, n: u8, floor: u8, max: usize },
    #[error("{found} locations for a vault of {n}")]
    LocationCount { found: usize, n: usize },
    #[error("{k} shards would give a segment back, {before} do now: what is full wouldn't fit")]
    FewerShards { k: usize, before: usize },
    #[error("{bears} locations might be lost then, {before} may be now: receipts have promised that")]
    BearsLess { bears: usize, before: usize },
    #[error("the vault has moved {max} times: it can't once more")]
    Stands { max: u8 },
    #[error("location {location} is none of this vault's, or was given twice")]
    UnknownLocation { location: String },
    #[error("location {location} holds objects already")]
    NotEmpty { location: String },
    #[error("{up} locations can be written, the floor is {floor}")]
    BelowFloor { up: usize, floor: usize },
    #[error("written to {durable} locations, the floor is {floor}: not acknowledged")]
    NotDurable { durable: usize, floor: usize },
    #[error("{have} locations answer, {need} are needed{}", and_older(.older))]
    NotEnoughLocations {
        have: usize,
        need: usize,
        /// There, and without what the others show.
        older: Vec<String>,
    },
    #[error(
        "the vault was being moved when its writer ended: {have} of the locations that it came from count, {need} are needed to tell \
         whether it was; {missing} don't answer, or lack something"
    )]
    MoveUnsettled { have: usize, need: usize, missing: String },
    #[error("none of these locations is one of the vault's: they were to become that, and the growth wasn't done")]
    NoneOfIts,
    #[error("all {max} generations of writers are used up: the log can't be written any more")]
    Generations { max: u32 },
    #[error("the vault is open for reading only")]
    ReadOnly,
    #[error("the vault's key was rotated {max} times, the most that is kept")]
    VaultKeys { max: u16 },
    #[error("the vault is closed")]
    Closed,
    #[error("{found} bytes of notes wait to be written, the maximum is {max}")]
    NotesFull { found: u64, max: u64 },
    #[error("the gateway's folder: {operation} failed: {source}")]
    Gateway { operation: &'static str, source: io::Error },
    #[error(transparent)]
    Location(#[from] LocationError),
    #[error("no centre record with a good signature stands at any location")]
    NoCentreRecord,
    #[error(
        "the locations show centre records of {found} different log keys, and none is known here to be the right one"
    )]
    ManyCentres { found: usize },

    // What is stored is not what was written.
    #[error("the centre's log key is {found}, here {expected} is remembered")]
    OtherCentre { expected: String, found: String },
    #[error("vault {found} stands where {expected} is expected")]
    OtherVault { expected: Id16, found: Id16 },
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("segment {segment}: {good} good shards, {need} are needed")]
    Unreadable { segment: u64, good: usize, need: usize },
    #[error("segment {segment}: no location shows the header that its successor names")]
    ChainBroken { segment: u64 },
    #[error("segment {segment}: its shards are good, and what they hold is not what its header says: {what}")]
    Segment { segment: u64, what: &'static str },
    #[error("entry {index}: its payload is not what its head says: {what}")]
    Payload { index: u64, what: &'static str },
    #[error(
        "{found} entries can be read, a checkpoint signed for {signed} stands at a location: some can't be put together"
    )]
    Behind { signed: u64, found: u64 },
    #[error("the locations show a log of {found} entries, a checkpoint of {remembered} is remembered: rolled back")]
    RolledBack { remembered: u64, found: u64 },
    #[error("the log's first {size} entries have the root {found}, a signed checkpoint says {signed}")]
    Root { size: u64, signed: Digest, found: Digest },
    #[error("{by} of {of} witnesses have seen another history of this log: it was forked, rewritten or set back")]
    Contradicted { by: usize, of: usize },
    #[error("of the {erasures} erasures that stand in the log from entry {from} on, none can be taken back")]
    NothingToTakeBack { from: u64, erasures: usize },
    #[error("the keys of {patients} living patients open by no record that the log holds of them")]
    Sealed { patients: u64 },
    #[error("no key record of the patient stands where the log says")]
    KeyRecord,
    #[error("{0}")]
    Lost(Box<LossReport>),

    // Another room's.
    #[error(transparent)]
    Keys(#[from] keys::KeysError),
    #[error(transparent)]
    Custodians(#[from] keys::CustodianError),
    #[error(transparent)]
    Ledger(#[from] ledger::LedgerError),

    // Ours.
    #[error("{step} failed, which no input should make it do")]
    Internal { step: &'static str },
}

impl Explain for VaultError {
    fn blame(&self) -> Blame {
        match self {
            Self::Kind { .. }
            | Self::MetaTooLarge { .. }
            | Self::PayloadTooLarge { .. }
            | Self::GroupSize { .. }
            | Self::GroupHeads { .. }
            | Self::RosterTooLong { .. }
            | Self::Note { .. }
            | Self::NothingToTakeBack { .. }
            | Self::UnknownPatient => Blame::Peer,
            Self::PatientExists => Blame::Conflict,
            Self::NoSuchEntry { .. } | Self::NoPayload { .. } | Self::Erased => Blame::Absent,
            Self::RefusedAlive { .. } | Self::DealtToFewer { .. } | Self::Incomplete => Blame::Integrity,
            Self::Shape { .. }
            | Self::LocationCount { .. }
            | Self::FewerShards { .. }
            | Self::BearsLess { .. }
            | Self::Stands { .. }
            | Self::UnknownLocation { .. }
            | Self::NotEmpty { .. }
            | Self::BelowFloor { .. }
            | Self::NotDurable { .. }
            | Self::NotEnoughLocations { .. }
            | Self::MoveUnsettled { .. }
            | Self::NoneOfIts
            | Self::Generations { .. }
            | Self::VaultKeys { .. }
            | Self::ReadOnly
            | Self::Closed
            | Self::NotesFull { .. }
            | Self::Gateway { .. }
            | Self::NoCentreRecord => Blame::Configuration,
            Self::ManyCentres { .. }
            | Self::OtherCentre { .. }
            | Self::OtherVault { .. }
            | Self::Format(_)
            | Self::Unreadable { .. }
            | Self::ChainBroken { .. }
            | Self::Segment { .. }
            | Self::Payload { .. }
            | Self::Behind { .. }
            | Self::RolledBack { .. }
            | Self::Root { .. }
            | Self::Contradicted { .. }
            | Self::KeyRecord
            | Self::Sealed { .. }
            | Self::Lost(_) => Blame::Integrity,
            Self::Location(error) => error.blame(),
            Self::Keys(error) => error.blame(),
            Self::Custodians(error) => error.blame(),
            Self::Ledger(error) => error.blame(),
            Self::Internal { .. } => Blame::Ours,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Kind { .. } => "vault.kind",
            Self::MetaTooLarge { .. } | Self::PayloadTooLarge { .. } => "vault.too-large",
            Self::GroupSize { .. } | Self::GroupHeads { .. } => "vault.group",
            Self::RosterTooLong { .. } => "vault.roster",
            Self::Note { .. } => "vault.note",
            Self::UnknownPatient => "vault.unknown-patient",
            Self::PatientExists => "vault.patient-exists",
            Self::NoSuchEntry { .. } => "vault.no-such-entry",
            Self::NoPayload { .. } => "vault.no-payload",
            Self::Erased => "vault.erased",
            Self::RefusedAlive { .. } => "vault.refused-alive",
            Self::Incomplete => "vault.incomplete",
            Self::DealtToFewer { .. } => "vault.dealt-to-fewer",
            Self::Shape { .. } => "vault.shape",
            Self::FewerShards { .. } | Self::BearsLess { .. } | Self::Stands { .. } => "vault.move",
            Self::LocationCount { .. } | Self::UnknownLocation { .. } => "vault.locations",
            Self::NotEmpty { .. } => "vault.not-empty",
            Self::BelowFloor { .. } => "vault.below-floor",
            Self::NotDurable { .. } => "vault.not-durable",
            Self::NotEnoughLocations { .. } => "vault.not-enough-locations",
            Self::MoveUnsettled { .. } => "vault.move-unsettled",
            Self::NoneOfIts => "vault.none-of-its",
            Self::Generations { .. } => "vault.generations",
            Self::VaultKeys { .. } => "vault.keys-used-up",
            Self::ReadOnly => "vault.read-only",
            Self::Closed => "vault.closed",
            Self::NotesFull { .. } => "vault.notes-full",
            Self::Contradicted { .. } => "vault.contradicted",
            Self::Gateway { .. } => "vault.gateway",
            Self::NoCentreRecord => "vault.no-centre-record",
            Self::ManyCentres { .. } => "vault.many-centres",
            Self::OtherCentre { .. } | Self::OtherVault { .. } => "vault.other-centre",
            Self::Format(_) => "vault.format",
            Self::Unreadable { .. } => "vault.unreadable",
            Self::ChainBroken { .. } => "vault.chain-broken",
            Self::Segment { .. } => "vault.segment",
            Self::Payload { .. } => "vault.payload",
            Self::Behind { .. } => "vault.behind",
            Self::RolledBack { .. } => "vault.rolled-back",
            Self::Root { .. } => "vault.root",
            Self::NothingToTakeBack { .. } => "vault.nothing-to-take-back",
            Self::Sealed { .. } => "vault.sealed",
            Self::KeyRecord => "vault.key-record",
            Self::Lost(_) => "vault.lost",
            Self::Location(error) => error.code(),
            Self::Keys(error) => error.code(),
            Self::Custodians(error) => error.code(),
            Self::Ledger(error) => error.code(),
            Self::Internal { .. } => "vault.internal",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some(match self {
            Self::DealtToFewer { .. } => "repeat what was cut short: holdfast centre grow, which deals them anew",
            Self::BelowFloor { .. } => "bring locations back; nothing was written",
            Self::NotDurable { .. } => {
                "bring locations back and repeat; should this process end first, the next start may find it kept"
            }
            Self::MoveUnsettled { .. } => "bring those servers back; nothing was changed",
            Self::NoneOfIts => "name a server that there was before the growth; nothing was changed",
            Self::NotEnoughLocations { .. } => {
                "bring locations back, open for reading, or recover onto fresh locations with the custodians"
            }
            Self::UnknownLocation { .. } => "point the configuration at this vault's own locations",
            Self::NotEmpty { .. } => {
                "found or recover a vault on empty locations only; a centre that stands and has lost its gateway gets another one by `holdfast gateway new`"
            }
            Self::NotesFull { .. } => "bring locations back: notes wait until the log can be written",
            Self::ManyCentres { .. } => {
                "say which log key is yours (`--vkey`): init printed it, and it stands on the custodians' sheets"
            }
            Self::OtherCentre { .. } => "do not go on: these locations belong to another centre, or were forged",
            Self::Unreadable { .. } | Self::ChainBroken { .. } | Self::Behind { .. } => {
                "bring more locations back, then run a verify and a scrub"
            }
            Self::RolledBack { .. } => {
                "do not go on: the locations show an older state than was acknowledged; keep them as evidence"
            }
            Self::Root { .. } | Self::Segment { .. } | Self::Payload { .. } => {
                "do not go on: keep the locations as they are, and run a verify"
            }
            Self::NothingToTakeBack { .. } => {
                "nothing was recovered; `holdfast recover --list-erased` shows which there are, and which can be"
            }
            Self::Sealed { .. } => {
                "nothing was recovered; where others were custodians before, call them in, too (a change may have been cut \
                 short), or leave these charts sealed: --leave-sealed"
            }
            Self::Lost(_) => "bring more of the old locations; what is listed can't be put together from these",
            Self::Location(error) => return error.guidance(),
            Self::Keys(error) => return error.guidance(),
            Self::Custodians(error) => return error.guidance(),
            Self::Ledger(error) => return error.guidance(),
            _ => return None,
        })
    }
}

pub(crate) fn gateway(operation: &'static str) -> impl FnOnce(io::Error) -> VaultError {
    move |source| VaultError::Gateway { operation, source }
}
