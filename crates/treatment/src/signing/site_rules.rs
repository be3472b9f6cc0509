//! The site's rules, and the signature that they stand under. Bytes and reasons in `docs/formats/approval.md`.

use guard::{SigningKey, check_name};
use kit::{Digest, Timestamp};
use minicbor::{Decode, Encode};
use sha2::{Digest as _, Sha256};

use super::approval::{ApprovalError, Enrolment, SignerRole, check_version, signed_by, strict};

/// The first line of every statement: no signature over anything else can be taken for one over rules.
pub const VERSION: &str = "holdfast site rules v1";

/// What is signed: that the centre weighs by this file.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct RulesStatement {
    /// The log's name, as in an approval.
    #[n(0)]
    pub centre: String,
    /// SHA-256 of the file's bytes.
    #[n(1)]
    pub rules: Digest,
    #[n(2)]
    pub role: SignerRole,
    #[n(3)]
    pub signer: String,
    #[n(4)]
    pub at: Timestamp,
}

impl RulesStatement {
    pub fn of(file: &[u8], centre: String, role: SignerRole, signer: String, at: Timestamp) -> Self {
        Self { centre, rules: digest(file), role, signer, at }
    }

    /// The bytes that are signed.
    pub fn text(&self) -> String {
        let Self { centre, rules, role, signer, at } = self;
        format!("{VERSION}\ncentre {centre}\nrules {rules}\nrole {role}\nsigner {signer}\nat {at}\n")
    }

    fn check(&self) -> Result<(), ApprovalError> {
        check_name("centre", &self.centre)?;
        Ok(check_name("signer", &self.signer)?)
    }

    /// With the file that it is about.
    pub fn sign(self, file: Vec<u8>, key: &SigningKey) -> Result<SignedRules, ApprovalError> {
        self.check()?;
        let signature = key.sign_text(&self.text())?;
        Ok(SignedRules { version: 1, statement: self, signature, file })
    }
}

fn digest(file: &[u8]) -> Digest {
    Digest(Sha256::digest(file).into())
}

/// A file with a signature over it, as it is stored. It proves nothing until it is verified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SignedRules {
    #[n(0)]
    version: u8,
    #[n(1)]
    statement: RulesStatement,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: [u8; 64],
    #[cbor(n(3), with = "minicbor::bytes")]
    file: Vec<u8>,
}

impl SignedRules {
    pub fn encode(&self) -> Vec<u8> {
        minicbor::to_vec(self).unwrap_or_default()
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, ApprovalError> {
        let rules: Self = strict(bytes, "the rules")?;
        check_version(rules.version, "the rules")?;
        rules.statement.check().map(|()| rules)
    }

    pub fn statement(&self) -> &RulesStatement {
        &self.statement
    }

    /// The file, where a person enrolled at this centre, in this role, signed it.
    pub fn verify<'p>(
        &self,
        centre: &str,
        people: impl IntoIterator<Item = &'p Enrolment>,
    ) -> Result<&[u8], ApprovalError> {
        let RulesStatement { centre: signed_for, role, signer, rules, .. } = &self.statement;
        if signed_for != centre {
            return Err(ApprovalError::OtherCentre);
        }
        if digest(&self.file) != *rules {
            return Err(ApprovalError::BadSignature);
        }
        let text = self.statement.text();
        let has_signed =
            |person: &Enrolment| person.passkey().is_none() && person.key.has_signed(&text, &self.signature);
        signed_by(has_signed, (*role, signer), people)?;
        Ok(&self.file)
    }
}
