//! What can go wrong, by whose fault it is. No error names a patient; subjects are not in them either.

use std::fmt::Display;
use std::io;

use kit::{Blame, Explain};

use crate::format::FormatError;
use crate::plugins::Trouble;

/// "holders 1, 2 and 5"; of none, nothing.
fn numbered(noun: &str, numbers: &[impl Display]) -> String {
    let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    match words.split_last() {
        None => String::new(),
        Some((one, [])) => format!("{noun} {one}"),
        Some((last, first)) => format!("{noun}s {} and {last}", first.join(", ")),
    }
}

/// ": no answer from holder 1; a wrong share from holders 2 and 3", without those of whom there are none.
fn said(parts: &[(&str, String)]) -> String {
    let parts: Vec<String> =
        parts.iter().filter(|(_, who)| !who.is_empty()).map(|(what, who)| format!("{what} {who}")).collect();
    if parts.is_empty() { String::new() } else { format!(": {}", parts.join("; ")) }
}

/// The keyring's and the dealer's errors.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    // The configuration's.
    #[error("{t} shares of {n} holders: t must be 1 to n, and n 1 to {max}")]
    Shape { t: usize, n: usize, max: usize },
    #[error("place {place} is held by holder {found}: holders are numbered from 1, each number once")]
    Numbering { place: usize, found: u8 },
    #[error("holder {number} is in key epoch {found}, the dealer in {wanted}")]
    Epoch { number: u8, found: u32, wanted: u32 },
    #[error(
        "{have} of the {need} shares needed to open a key{}",
        said(&[
            ("no answer from", numbered("holder", silent)),
            ("refused as erased by", numbered("holder", erased)),
            ("a wrong share from", numbered("holder", lying)),
        ])
    )]
    NotEnoughHolders { have: usize, need: usize, erased: Vec<u8>, silent: Vec<u8>, lying: Vec<u8> },
    #[error(
        "{have} holders refuse, {need} are needed to close the key{}",
        said(&[("no answer from", numbered("holder", silent))])
    )]
    NotErased { have: usize, need: usize, refused_by: Vec<u8>, silent: Vec<u8> },

    // Nobody's: this is what was asked for.
    #[error("the key is erased: {} refused it", numbered("holder", by))]
    Refused { by: Vec<u8> },
    #[error("the budget of charts is used up: {} refused to open another", numbered("holder", by))]
    OverBudget { by: Vec<u8> },
    #[error("nobody has proven that she asks herself: {} refused to open the key", numbered("holder", by))]
    Unproven { by: Vec<u8> },
    #[error("the clocks of the gateway and of {} are more than two minutes apart", numbered("holder", by))]
    Clock { by: Vec<u8> },

    // What is stored is not what was dealt.
    /// One that was asked by itself.
    #[error(transparent)]
    Holder(HolderError),
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the shares of {} match their digests, but not the record's key commitment", numbered("holder", by))]
    Commitment { by: Vec<u8> },
    #[error("the key sealed for the recovery party does not open, or is not the one committed to")]
    Recovery,

    // Ours.
    #[error("{step} failed, which no input should make it do")]
    Crypto { step: &'static str },
}

impl Explain for KeysError {
    fn blame(&self) -> Blame {
        match self {
            Self::Shape { .. }
            | Self::Numbering { .. }
            | Self::Epoch { .. }
            | Self::NotEnoughHolders { .. }
            | Self::NotErased { .. }
            | Self::Clock { .. } => Blame::Configuration,
            Self::Refused { .. } => Blame::Absent,
            Self::OverBudget { .. } | Self::Unproven { .. } => Blame::Forbidden,
            Self::Holder(error) => error.blame(),
            Self::Format(_) | Self::Commitment { .. } | Self::Recovery => Blame::Integrity,
            Self::Crypto { .. } => Blame::Ours,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "keys.shape",
            Self::Numbering { .. } => "keys.numbering",
            Self::Epoch { .. } => "keys.epoch",
            Self::NotEnoughHolders { .. } => "keys.not-enough-holders",
            Self::NotErased { .. } => "keys.not-erased",
            Self::Refused { .. } => "keys.refused",
            Self::OverBudget { .. } => "keys.over-budget",
            Self::Unproven { .. } => "keys.unproven",
            Self::Holder(error) => error.code(),
            Self::Clock { .. } => "keys.clock",
            Self::Format(_) => "keys.format",
            Self::Commitment { .. } => "keys.commitment",
            Self::Recovery => "keys.recovery",
            Self::Crypto { .. } => "keys.crypto",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotEnoughHolders { .. } => {
                "Bring silent holders back, look into lying ones; when too few are left, recover with the custodians."
            }
            Self::NotErased { .. } => {
                "She can still be opened: bring silent holders back and erase again; it may be repeated."
            }
            Self::Refused { .. } => "She has been erased; this cannot be undone by asking again.",
            Self::OverBudget { .. } => {
                "Wait until the budget frees up, or have the servers' administrators raise it; and ask whether this is a theft."
            }
            Self::Unproven { .. } => {
                "Sign in anew; a token needs the officer's certificate (`holdfast token new --officer-key`)."
            }
            Self::Clock { .. } => "Set the clocks of the gateway and of these servers, and start the holders anew.",
            Self::Format(_) | Self::Commitment { .. } | Self::Recovery => {
                "Run a verify: what is stored is not what was dealt."
            }
            Self::Holder(error) => return error.guidance(),
            Self::Epoch { .. } => "Deal to the public keys that the holders have now.",
            Self::Shape { .. } | Self::Numbering { .. } | Self::Crypto { .. } => return None,
        })
    }
}

/// Why a holder does not open a share, or cannot keep its promises.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    // What was asked.
    #[error("holder {number} refuses: the subject is erased")]
    Erased { number: u8 },
    #[error("holder {number} refuses: a budget of charts is used up")]
    OverBudget { number: u8 },
    #[error("holder {number} refuses: the person's own proof is missing or doesn't count")]
    Unproven { number: u8 },
    #[error("the clocks of holder {number} and of the gateway are more than two minutes apart")]
    Clock { number: u8 },
    #[error("holder {number} refuses no secret of the centre's own: only a patient is erased")]
    NoPatient { number: u8 },
    #[error("holder {number} is not among the {n} holders of this record")]
    NotMine { number: u8, n: u8 },
    #[error("holder {number} has no key of epoch {wanted}, its own is {own}")]
    Epoch { number: u8, wanted: u32, own: u32 },
    /// One on another server, in its own words.
    #[error("holder {number}: {why}")]
    Declined { number: u8, why: String },
    #[error("holder {number} has begun no turn to epoch {wanted}")]
    NoTurn { number: u8, wanted: u32 },
    #[error("holder {number}: the batch does not carry its own encapsulation: it seals to nobody else's")]
    NotOwn { number: u8 },
    #[error(
        "holder {number} has found {found} living subjects under its next key, the order names {wanted}, or others: it \
         keeps its old key"
    )]
    NotConfirmed { number: u8, found: u64, wanted: u64 },
    #[error("holder {number}: {what} has {found} bytes, the maximum is {max}")]
    TooLong { number: u8, what: &'static str, found: usize, max: usize },

    // What is stored.
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(
        "holder {number}: its share of this record does not open, or is not the one that the record's digest names"
    )]
    Sealed { number: u8 },
    #[error("{file}, byte {offset}: damaged")]
    Damaged { file: &'static str, offset: u64 },

    // The surroundings.
    #[error("holder {number} cannot be reached")]
    Unreachable { number: u8 },
    #[error("{file} stands already: a holder's folder is made once")]
    Exists { file: &'static str },
    #[error("another process holds this holder's folder")]
    Locked,
    #[error("{file} has mode {mode:o}: others than its owner may read it")]
    Readable { file: &'static str, mode: u32 },
    #[error("holder {number} refuses {max} subjects already, the most that it keeps")]
    Full { number: u8, max: usize },
    #[error("{file}: {source}")]
    Storage { file: &'static str, source: io::Error },
}

impl Explain for HolderError {
    fn blame(&self) -> Blame {
        match self {
            Self::Erased { .. } => Blame::Absent,
            Self::OverBudget { .. } | Self::Unproven { .. } => Blame::Forbidden,
            Self::NoPatient { .. }
            | Self::NotMine { .. }
            | Self::Epoch { .. }
            | Self::Declined { .. }
            | Self::NoTurn { .. }
            | Self::NotOwn { .. }
            | Self::NotConfirmed { .. }
            | Self::TooLong { .. } => Blame::Peer,
            Self::Format(_) | Self::Sealed { .. } | Self::Damaged { .. } => Blame::Integrity,
            Self::Clock { .. }
            | Self::Unreachable { .. }
            | Self::Exists { .. }
            | Self::Locked
            | Self::Readable { .. }
            | Self::Full { .. }
            | Self::Storage { .. } => Blame::Configuration,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Erased { .. } => "keys.holder-erased",
            Self::OverBudget { .. } => "keys.holder-over-budget",
            Self::Unproven { .. } => "keys.holder-unproven",
            Self::Clock { .. } => "keys.holder-clock",
            Self::NoPatient { .. } => "keys.holder-no-patient",
            Self::NotMine { .. } => "keys.holder-not-mine",
            Self::Epoch { .. } => "keys.holder-epoch",
            Self::Declined { .. } => "keys.holder-declined",
            Self::NoTurn { .. } => "keys.holder-no-turn",
            Self::NotOwn { .. } => "keys.holder-not-own",
            Self::NotConfirmed { .. } => "keys.holder-not-confirmed",
            Self::TooLong { .. } => "keys.holder-too-long",
            Self::Format(_) => "keys.holder-format",
            Self::Sealed { .. } => "keys.holder-sealed",
            Self::Damaged { .. } => "keys.holder-damaged",
            Self::Unreachable { .. } => "keys.holder-unreachable",
            Self::Exists { .. } => "keys.holder-exists",
            Self::Locked => "keys.holder-locked",
            Self::Readable { .. } => "keys.holder-readable",
            Self::Full { .. } => "keys.holder-full",
            Self::Storage { .. } => "keys.holder-storage",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        Some(match self {
            Self::Damaged { .. } => "Do not go on with this folder: make a new holder and turn the key epoch.",
            Self::Exists { .. } => "Open the folder that is there, or choose an empty one.",
            Self::Locked => "Stop the other process; two of them would overwrite each other's refusals.",
            Self::Readable { .. } => "Set the file's mode to 600, and ask who may have read it.",
            Self::Full { .. } => "No centre erases so many: find out who does.",
            Self::NotConfirmed { .. } => "Nothing was destroyed; begin the turn again, it goes on where it stopped.",
            Self::Clock { .. } => "Set both machines' clocks, and start the holder anew.",
            _ => return None,
        })
    }
}

/// The custodians' errors. Custodians are named by their number in the package, from 1.
#[derive(Debug, thiserror::Error)]
pub enum CustodianError {
    // What was given.
    #[error("{m} of {n} custodians: m must be 1 to n, and n 1 to {max}")]
    Shape { m: usize, n: usize, max: usize },
    #[error("recipient {number} is no age recipient, X25519 (age1…) or of a plugin (age1NAME1…)")]
    Recipient { number: usize },
    #[error("recipients {first} and {second} are the same: one person would hold two shares")]
    SameRecipient { first: usize, second: usize },
    #[error("identity {position} is no age identity, X25519 (AGE-SECRET-KEY-1…) or of a plugin (AGE-PLUGIN-NAME-1…)")]
    Identity { position: usize },
    #[error("{found} identities, the maximum is {max}")]
    TooManyIdentities { found: usize, max: usize },
    #[error("this challenge was not made for this identity")]
    Challenge,
    #[error("no 24 words of the BIP 39 list, their checksum among them")]
    Words,
    #[error(
        "{have} of the {need} custodians needed{}",
        said(&[
            ("opened by", numbered("custodian", opened)),
            ("an altered share of", numbered("custodian", altered)),
            ("of no custodian here:", numbered("given secret", strangers)),
        ])
    )]
    NotEnough { have: usize, need: usize, opened: Vec<u8>, strangers: Vec<usize>, altered: Vec<u8> },
    #[error("there is no custodian package to open")]
    NoPackage,
    /// Where several custodians have tokens of one kind: she whose file it was tried on.
    #[error("custodian {custodian}, age-plugin-{plugin}: {trouble}")]
    Plugin { custodian: u8, plugin: String, trouble: Trouble },

    // What is stored.
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error("the shares of {} do not give the private key of the package's public key", numbered("custodian", opened))]
    Altered { opened: Vec<u8> },

    // Ours.
    #[error("{step} failed, which no input should make it do")]
    Crypto { step: &'static str },
}

impl Explain for CustodianError {
    fn blame(&self) -> Blame {
        match self {
            Self::Shape { .. }
            | Self::Recipient { .. }
            | Self::SameRecipient { .. }
            | Self::Identity { .. }
            | Self::TooManyIdentities { .. }
            | Self::Challenge
            | Self::Words
            | Self::NotEnough { .. }
            | Self::NoPackage
            | Self::Plugin { trouble: Trouble::Refused { .. }, .. } => Blame::Peer,
            Self::Plugin { trouble: Trouble::Altered, .. } => Blame::Integrity,
            Self::Plugin { trouble: Trouble::Forbidden, .. } => Blame::Ours,
            Self::Plugin { .. } => Blame::Configuration,
            Self::Format(_) | Self::Altered { .. } => Blame::Integrity,
            Self::Crypto { .. } => Blame::Ours,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Shape { .. } => "keys.custodian-shape",
            Self::Recipient { .. } => "keys.custodian-recipient",
            Self::SameRecipient { .. } => "keys.custodian-same-recipient",
            Self::Identity { .. } => "keys.custodian-identity",
            Self::TooManyIdentities { .. } => "keys.custodian-too-many-identities",
            Self::Challenge => "keys.custodian-challenge",
            Self::Words => "keys.custodian-words",
            Self::NotEnough { .. } => "keys.custodian-not-enough",
            Self::NoPackage => "keys.custodian-no-package",
            Self::Plugin { trouble, .. } => match trouble {
                Trouble::Missing => "keys.custodian-plugin-missing",
                Trouble::Refused { .. } => "keys.custodian-plugin-refused",
                Trouble::Silent { .. } => "keys.custodian-plugin-silent",
                Trouble::Broken { .. } => "keys.custodian-plugin-broken",
                Trouble::Altered => "keys.custodian-plugin-altered",
                Trouble::Forbidden => "keys.custodian-plugin-forbidden",
            },
            Self::Format(_) => "keys.custodian-format",
            Self::Altered { .. } => "keys.custodian-altered",
            Self::Crypto { .. } => "keys.custodian-crypto",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::NotEnough { .. } => {
                Some("Call in more custodians; check that each brought the identity of this centre.")
            }
            Self::Plugin { trouble, .. } => match trouble {
                Trouble::Missing => Some("Install it on this machine, and see that the account running this finds it."),
                Trouble::Refused { .. } => {
                    Some("Put her token in, and have her type its PIN at a terminal of this machine.")
                }
                Trouble::Silent { .. } => {
                    Some("Put her token in and touch it when it asks; --plugin-seconds gives her longer.")
                }
                Trouble::Broken { .. } => Some("Try the plugin by itself: `age --decrypt` starts it in the same way."),
                Trouble::Altered | Trouble::Forbidden => None,
            },
            Self::Format(_) | Self::Altered { .. } => {
                Some("Take the package from another server: this copy is altered.")
            }
            _ => None,
        }
    }
}
