//! What officers of the centre's policy sign: a text that says what, for which centre, by whom.

use minicbor::{Decode, Encode};

use crate::{FormatError, PublicKey, SignatureError, SigningKey, check_name, format};

/// Something that an officer says.
pub trait OfficerStatement: Encode<()> + for<'b> Decode<'b, ()> {
    /// What it is, where its bytes are no such thing.
    const WHAT: &'static str;

    /// The bytes that are signed. Their first line is of this kind of statement alone.
    fn text(&self) -> String;

    fn officer(&self) -> &str;
}

/// With the signature over it. It proves nothing until it is judged by whose key it is.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Signed<S> {
    #[n(0)]
    statement: S,
    /// Which of the officer's keys: she may be about to change it.
    #[n(1)]
    key: PublicKey,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: [u8; 64],
}

impl<S: OfficerStatement> Signed<S> {
    pub fn sign(statement: S, key: &SigningKey) -> Result<Self, SignatureError> {
        check_name("officer", statement.officer())?;
        let (signature, key) = (key.sign_text(&statement.text())?, key.public_key()?);
        Ok(Self { statement, key, signature })
    }

    pub fn statement(&self) -> &S {
        &self.statement
    }

    pub fn key(&self) -> PublicKey {
        self.key
    }

    /// Whether the key that it names has signed it.
    pub(crate) fn fits(&self) -> bool {
        self.key.has_signed(&self.statement.text(), &self.signature)
    }

    /// Whether one person has signed both.
    pub(crate) fn is_by_one_person<T: OfficerStatement>(&self, other: &Signed<T>) -> bool {
        self.statement.officer() == other.statement.officer() || self.key == other.key
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::to_bytes(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        format::from_bytes(S::WHAT, bytes)
    }
}
