//! Approvals: two people's signatures over what a plan delivers to one patient. A flag in a database can be set by
//! whoever owns the database; these can't. Bytes and reasons in `docs/formats/approval.md`.

use std::fmt;

use guard::{Assertion, PasskeyKey, PublicKey, SignatureError, SigningKey, check_name, misleads};
use kit::{Blame, Digest, Explain, PatientId, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::context::PlanContext;

/// The first line of every statement: no signature over anything else can be taken for an approval.
pub const VERSION: &str = "holdfast plan approval v2";
/// Before the context was signed with the plan. Such a one can be read, and approves nothing any more.
pub const VERSION_ALONE: &str = "holdfast plan approval v1";
/// The same of a settlement: neither can be taken for the other.
pub const SETTLEMENT: &str = "holdfast course settlement v1";

/// And of a withdrawal.
pub const WITHDRAWAL: &str = "holdfast plan withdrawal v1";
/// And of an override at the gate.
pub const OVERRIDE: &str = "holdfast gate override v1";
/// And of a choice after an interruption.
pub const CHOICE: &str = "holdfast interruption choice v1";

/// Why somebody takes a plan's approval back: a line on a page.
const REASON_CHARACTERS_MAX: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    #[error(transparent)]
    Signature(#[from] SignatureError),
    #[error("the reason is empty, longer than {REASON_CHARACTERS_MAX} characters, or has a line break")]
    BadReason,
    #[error("{what} is not as the format has it: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("the approval is of another centre")]
    OtherCentre,
    #[error("the signer is not enrolled here as {role}")]
    NotEnrolled { role: SignerRole },
    #[error("the signature does not fit the statement and the enrolled key")]
    BadSignature,
}

impl Explain for ApprovalError {
    fn blame(&self) -> Blame {
        match self {
            Self::Signature(e) => e.blame(),
            Self::BadReason => Blame::Peer,
            Self::Malformed { .. } | Self::OtherCentre | Self::BadSignature => Blame::Integrity,
            Self::NotEnrolled { .. } => Blame::Forbidden,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Signature(e) => e.code(),
            Self::BadReason => "treatment.approval.bad-reason",
            Self::Malformed { .. } => "treatment.approval.malformed",
            Self::OtherCentre => "treatment.approval.other-centre",
            Self::NotEnrolled { .. } => "treatment.approval.not-enrolled",
            Self::BadSignature => "treatment.approval.bad-signature",
        }
    }
}

/// What an approver answers for. A plan needs one of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "lowercase")]
pub enum SignerRole {
    #[n(0)]
    Oncologist,
    #[n(1)]
    Physicist,
}

impl fmt::Display for SignerRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Oncologist => "oncologist",
            Self::Physicist => "physicist",
        })
    }
}

/// What two people say of a course whose records contradict each other, or are missing: so many fractions of this delivery
/// were given, whatever came before an entry of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Settles {
    /// Fraction Group Number (300A,0071).
    #[n(0)]
    pub group: u32,
    #[n(1)]
    pub given: u32,
    /// Records that come from this entry on are counted beside it.
    #[n(2)]
    pub before: u64,
}

/// What one person says of a plan that isn't to be given any more.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Withdraws {
    #[n(0)]
    pub reason: String,
}

/// What one person answers for at the gate, for one fraction. Two have to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Overrides {
    /// The finding's code.
    #[n(0)]
    pub finding: String,
    /// Fraction Group Number (300A,0071).
    #[n(1)]
    pub group: u32,
    /// The one that is due: it stands for no other.
    #[n(2)]
    pub fraction: u32,
    #[n(3)]
    pub reason: String,
    /// Of all that the finding says: it stands for no other one of its kind.
    #[n(4)]
    pub what: Digest,
}

/// What a physician chooses to do about an interruption. It approves nothing: what is given afterwards needs a plan of its own, where
/// it isn't the one that was signed.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Chooses {
    /// First and last day without treatment, `YYYY-MM-DD`.
    #[n(0)]
    pub first: String,
    #[n(1)]
    pub last: String,
    /// In words, as the triage has it: `two a day, 6 h apart, on 5 days`.
    #[n(2)]
    pub option: String,
}

/// What is signed: that this delivery is right for this patient, or isn't any more, or how much of it she was given, or how it goes on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Statement {
    /// The centre's name, so that an approval can't be carried to another centre.
    #[n(0)]
    pub centre: String,
    #[n(1)]
    pub patient: PatientId,
    #[n(2)]
    pub delivery: Digest,
    #[n(3)]
    pub role: SignerRole,
    /// The signer's name in the centre's list of people.
    #[n(4)]
    pub signer: String,
    #[n(5)]
    pub at: Timestamp,
    /// Of a settlement; an approval has none.
    #[n(6)]
    pub settles: Option<Settles>,
    /// Of a withdrawal; an approval has none.
    #[n(7)]
    pub withdraws: Option<Withdraws>,
    /// Of a choice after an interruption; an approval has none.
    #[n(8)]
    pub chooses: Option<Chooses>,
    /// Of an approval, and of nothing else.
    #[n(9)]
    pub context: Option<PlanContext>,
    /// Of an override; an approval has none.
    #[n(10)]
    pub overrides: Option<Overrides>,
}

impl Statement {
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    /// In its one form, and of what may be said at all.
    pub fn decode(bytes: &[u8]) -> Result<Self, ApprovalError> {
        let statement: Self = strict(bytes, "the statement")?;
        statement.check().map(|()| statement)
    }

    /// The bytes that are signed: a text that a person can read before signing it.
    pub fn text(&self) -> String {
        let Self { centre, patient, delivery, role, signer, at, settles, withdraws, chooses, context, overrides } =
            self;
        let (version, said) = match (settles, withdraws, chooses) {
            (None, None, None) => match (context, overrides) {
                (_, Some(Overrides { finding, group, fraction, reason, what })) => {
                    let of = format!("fraction group {group}\nfraction {fraction}");
                    (OVERRIDE, format!("finding {finding}\nwhich {what}\n{of}\nreason {reason}\n"))
                }
                (Some(context), None) => (VERSION, context.lines()),
                (None, None) => (VERSION_ALONE, String::new()),
            },
            (Some(Settles { group, given, before }), ..) => (
                SETTLEMENT,
                format!("fraction group {group}\nfractions given {given}, by all that came before entry {before}\n"),
            ),
            (None, Some(Withdraws { reason }), _) => (WITHDRAWAL, format!("reason {reason}\n")),
            (None, None, Some(Chooses { first, last, option })) => {
                (CHOICE, format!("interruption {first} to {last}\noption {option}\n"))
            }
        };
        format!(
            "{version}\ncentre {centre}\npatient {patient}\ndelivery {delivery}\n{said}role {role}\nsigner {signer}\nat {at}\n"
        )
    }

    fn check(&self) -> Result<(), ApprovalError> {
        check_name("centre", &self.centre)?;
        check_name("signer", &self.signer)?;
        let words = [
            self.withdraws.as_ref().map(|withdraws| &withdraws.reason),
            self.chooses.as_ref().map(|chooses| &chooses.option),
            self.overrides.as_ref().map(|overrides| &overrides.reason),
            self.overrides.as_ref().map(|overrides| &overrides.finding),
        ];
        for words in words.into_iter().flatten() {
            let length = words.chars().count();
            if !(1..=REASON_CHARACTERS_MAX).contains(&length) || words.chars().any(misleads) {
                return Err(ApprovalError::BadReason);
            }
        }
        let says = [
            self.settles.is_some(),
            self.withdraws.is_some(),
            self.chooses.is_some(),
            self.context.is_some(),
            self.overrides.is_some(),
        ];
        if says.into_iter().filter(|says| *says).count() > 1 {
            let why = "it says more than one thing".to_owned();
            return Err(ApprovalError::Malformed { what: "the statement", why });
        }
        Ok(())
    }

    /// That the delivery is right for the patient, and nothing else.
    pub fn approves(&self) -> bool {
        self.settles.is_none() && self.withdraws.is_none() && self.chooses.is_none() && self.overrides.is_none()
    }

    pub fn sign(self, key: &SigningKey) -> Result<Approval, ApprovalError> {
        self.check()?;
        let signature = key.sign_text(&self.text())?;
        Ok(Approval { version: 1, statement: self, signature, assertion: None })
    }
}

/// A signed statement, as it is stored. It proves nothing until it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Approval {
    #[n(0)]
    version: u8,
    #[n(1)]
    statement: Statement,
    /// Zeros where it was made by a passkey.
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: [u8; 64],
    /// Of version 2: by a passkey, whose challenge is the hash of the text.
    #[n(3)]
    assertion: Option<Assertion>,
}

/// A person whom the centre lets approve, with the key that she signs by.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Enrolment {
    #[n(0)]
    version: u8,
    #[n(1)]
    pub signer: String,
    #[n(2)]
    pub role: SignerRole,
    #[n(3)]
    pub key: PublicKey,
    #[n(4)]
    pub at: Timestamp,
    /// Of version 2: what she says, she says by this passkey, which `key` is the hash of.
    #[n(5)]
    passkey: Option<PasskeyKey>,
}

impl Enrolment {
    pub fn new(signer: impl Into<String>, role: SignerRole, key: PublicKey, at: Timestamp) -> Self {
        Self { version: 1, signer: signer.into(), role, key, at, passkey: None }
    }

    /// Of somebody who signs on a page.
    pub fn of_passkey(signer: impl Into<String>, role: SignerRole, passkey: PasskeyKey, at: Timestamp) -> Self {
        let key = passkey.public_key();
        Self { version: 2, signer: signer.into(), role, key, at, passkey: Some(passkey) }
    }

    pub fn passkey(&self) -> Option<&PasskeyKey> {
        self.passkey.as_ref()
    }

    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ApprovalError> {
        const WHAT: &str = "the enrolment";
        let enrolment: Self = strict(bytes, WHAT)?;
        match &enrolment.passkey {
            None => check_version(enrolment.version, WHAT)?,
            Some(passkey) if enrolment.version == 2 && passkey.is_sound() && passkey.public_key() == enrolment.key => {}
            Some(_) => return Err(ApprovalError::Malformed { what: WHAT, why: "its passkey isn't one".into() }),
        }
        Ok(enrolment)
    }
}

impl Approval {
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ApprovalError> {
        const WHAT: &str = "the approval";
        let approval: Self = strict(bytes, WHAT)?;
        match &approval.assertion {
            None => check_version(approval.version, WHAT)?,
            Some(_) if approval.version == 2 && approval.signature == [0; 64] => {}
            Some(_) => {
                return Err(ApprovalError::Malformed { what: WHAT, why: "it is signed twice, or by version 1".into() });
            }
        }
        approval.statement.check().map(|()| approval)
    }

    /// What somebody said on a page. It proves nothing until it is verified.
    pub fn by_passkey(statement: Statement, assertion: Assertion) -> Result<Self, ApprovalError> {
        statement.check()?;
        Ok(Self { version: 2, statement, signature: [0; 64], assertion: Some(assertion) })
    }

    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The proof that a person enrolled at this centre, in this role, signed this statement.
    pub fn verify<'p>(
        &self,
        centre: &str,
        people: impl IntoIterator<Item = &'p Enrolment>,
    ) -> Result<VerifiedApproval, ApprovalError> {
        let Statement { centre: signed_for, role, signer, .. } = &self.statement;
        if signed_for != centre {
            return Err(ApprovalError::OtherCentre);
        }
        let text = self.statement.text();
        let has_signed = |person: &Enrolment| match (&self.assertion, &person.passkey) {
            (None, None) => person.key.has_signed(&text, &self.signature),
            (Some(assertion), Some(passkey)) => passkey.has_signed(&text, assertion),
            _ => false,
        };
        let key = signed_by(has_signed, (*role, signer), people)?;
        Ok(VerifiedApproval { statement: self.statement.clone(), key })
    }
}

/// The key of a person who is enrolled in this role, under this name, and has signed this text. She may have had several; the one
/// that signed tells people apart.
pub(crate) fn signed_by<'p>(
    has_signed: impl Fn(&Enrolment) -> bool,
    (role, signer): (SignerRole, &str),
    people: impl IntoIterator<Item = &'p Enrolment>,
) -> Result<PublicKey, ApprovalError> {
    let mut enrolled = people.into_iter().filter(|p| p.signer == signer && p.role == role).peekable();
    if enrolled.peek().is_none() {
        return Err(ApprovalError::NotEnrolled { role });
    }
    enrolled.find(|person| has_signed(person)).map(|person| person.key).ok_or(ApprovalError::BadSignature)
}

/// An approval whose signature was verified; only [`Approval::verify`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedApproval {
    statement: Statement,
    key: PublicKey,
}

impl VerifiedApproval {
    pub fn statement(&self) -> &Statement {
        &self.statement
    }

    /// The key that it was signed by.
    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Whether the two were signed by two people: neither one name with two keys nor one key under two names.
    pub fn by_another_person_than(&self, other: &Self) -> bool {
        self.statement.signer != other.statement.signer && self.key != other.key
    }
}

/// Decodes what encodes to the very same bytes: nothing trailing, no other form.
pub(crate) fn strict<T: for<'b> Decode<'b, ()> + Encode<()>>(
    bytes: &[u8],
    what: &'static str,
) -> Result<T, ApprovalError> {
    let malformed = |why: String| ApprovalError::Malformed { what, why };
    let value: T = minicbor::decode(bytes).map_err(|e| malformed(e.to_string()))?;
    if minicbor::to_vec(&value).ok().as_deref() == Some(bytes) {
        Ok(value)
    } else {
        Err(malformed("it is not in its canonical form".into()))
    }
}

pub(crate) fn check_version(version: u8, what: &'static str) -> Result<(), ApprovalError> {
    match version {
        1 => Ok(()),
        other => Err(ApprovalError::Malformed { what, why: format!("version {other}, this reads version 1") }),
    }
}
