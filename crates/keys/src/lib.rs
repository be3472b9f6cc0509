//! Patient keys, holders' shares, custodians.
//!
//! Each patient has a random [`DataKey`]. A [`Dealer`] splits it t-of-n (Shamir) and seals each share to one holder's
//! public key (HPKE); this asks nobody, so that bulk import needs no holder. A [`Keyring`] opens it again by asking t
//! holders, each of which counts what it opens and refuses a patient who is erased. [`CustodianPackage`] is the offline
//! way in: m of the custodians' age identities give the [`RecoveryKey`], which opens every record without any holder.
//!
//! What is absent: this room stores no key record (the vault does), signs nothing (a record is authentic because the
//! vault that carries it is), knows no permit and no budget, and sees no patient's data.

mod custodian;
mod custody;
mod dealer;
mod error;
mod format;
mod holder;
mod keyring;
mod local;
mod meter;
mod plugins;
mod proof;
mod record;
mod replays;
mod seal;
mod secret;
mod shamir;
mod syncing;
mod turn;
mod words;

pub use custodian::{CUSTODIANS_MAX, CustodianPackage, RecoveryKey, RecoveryPublicKey, answer_challenge, new_identity};
pub use custody::{Call, Custody, PACKAGES_MAX};
pub use dealer::Dealer;
pub use error::{CustodianError, HolderError, KeysError};
pub use format::FormatError;
pub use holder::{AbsentHolder, Answer, Holder, HolderPublicKey, OpenRequest, SYSTEM_SUBJECT};
pub use keyring::{Erasure, HolderHealth, Keyring};
pub use local::{FIRST_EPOCH, LocalHolder};
pub use meter::{Account, Budgets, Counts, Meter, MeterError, OverBudget};
pub use plugins::{NoPlugins, Plugins, Trouble};
pub use proof::{
    Authority, Certificate, Known, Officer, PROOF_BYTES_MAX, PROOF_WINDOW_MS, PersonKey, Proof, ProofError, Proven,
    Prover, SESSION_LIFE_MS_MAX, Signer, Speaks, Statement, is_small_order,
};
pub use record::{Batch, KeyRecord};
pub use replays::Replays;
pub use secret::{DataKey, Share};
pub use turn::{RESEALED_AT_ONCE, Resealed, Turn, TurnOrder, turned_batch, turned_record};
pub use words::{identity_of_words, words_of_identity};
