//! The sealed, append-only, erasure-coded store.
//!
//! What goes in is a [`Parcel`], what comes back is a [`Receipt`]: the entry is durable on so many locations, and survives
//! the loss of so many. Payloads are sealed under their patient's own key, the rest under the vault key; a segment of
//! entries is cut into k shards and coded to n, one for each [`Location`](location::Location); the hash of each shard
//! stands in a header that the centre's log key signs, and each entry is a leaf of the ledger.
//!
//! ```text
//!  keep(group) ─ seal ─► segment ─ k-of-n ─► s/<number>-<term> at each location ─ floor reached ─► leaf, checkpoint, receipt
//!  note(group) ─ seal ─► notes-*.wal in the gateway's folder ─ within a second ─► as above
//! ```
//!
//! What is absent: there is no overwrite and no delete, neither of entries nor of objects at a location; no FHIR and no
//! DICOM; no permit is checked here, only its digest kept. `docs/formats/segment.md`, `centre-record.md` and `notes.md`
//! have the bytes.

mod body;
mod centre;
mod claim;
mod code;
mod commit;
mod core;
mod damage;
mod danger;
mod error;
mod examine;
mod folders;
mod found;
mod gateway;
mod hash;
mod header;
mod keymap;
mod mend;
mod moving;
mod notes;
mod open;
mod parcel;
mod plate;
mod recover;
mod renew;
mod roster;
mod seal;
mod secrets;
mod shape;
mod shelf;
mod survey;
mod vault;
mod which;
mod witness;

pub use damage::{DAMAGE_LISTED_MAX, Damage, DamageList, What};
pub use danger::{DangerHead, DangerSecret};
pub use error::VaultError;
pub use examine::examine;
pub use folders::{Folder, Folders, forget_hashes, open_folders, remembered_vkey};
pub use found::{Founding, found};
pub use keymap::deals_keys;
pub use keys::{CustodianPackage, Erasure, Holder, HolderHealth, RecoveryKey};
pub use kit::format::FormatError;
pub use ledger::{Checkpoint, LedgerError, Vkey};
pub use location;
pub use mend::{ScrubReport, VerifyReport};
pub use moving::Move;
pub use notes::{NOTE_BYTES_MAX, NOTES_WAITING_BYTES_MAX};
pub use open::{Mode, Opened, Opening, open};
pub use parcel::{Entry, Group, KIND_BYTES_MAX, META_BYTES_MAX, Parcel, RESERVED_KINDS, Receipt, Scope};
pub use plate::{Plate, plate};
pub use recover::{
    LOSSES_LISTED_MAX, LoggedErasure, Loss, LossReport, Recovery, RecoveryReport, Unsettled, assess, erasures,
    packages, preview, recover,
};
pub use renew::{Adoption, Progress};
pub use roster::{FirstLook, first_look};
pub use secrets::Access;
pub use shape::{SHARD_BYTES_MAX, Shape};
pub use vault::{Erased, Health, LocationHealth, Vault, Weighed, entry_of_leaf};
pub use witness::{Said, Witness, WitnessAnswer, WitnessHealth};
