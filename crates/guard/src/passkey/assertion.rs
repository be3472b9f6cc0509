//! A person's word by her passkey: an assertion whose challenge is the hash of a text (W3C Web Authentication 3, 6.3.3 and 7.2). What is
//! stored of it can be checked without this centre's programs, by the public key and the text.
//!
//! It is checked here with aws-lc, and not by the library that judged the enrolment: two who read the same bytes.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::{Decode, Encode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use webauthn_rs::prelude::{COSEAlgorithm, COSEKeyType};

use super::ceremony::RelyingParty;
use super::{Held, PasskeyError};
use crate::{Caller, Guard, PublicKey, misleads};

/// The first bytes of what a challenge is the hash of: what is shown at sign-in is never taken for a word.
const CHALLENGE: &[u8] = b"holdfast signed text v1\0";
/// RP id hash, flags, counter (W3C Web Authentication 3, 6.1); extensions may follow.
const DATA_BYTES_MIN: usize = 37;
const PART_BYTES_MAX: usize = 4_096;
const PRESENT: u8 = 0x01;
const VERIFIED: u8 = 0x04;

/// A public key, by algorithm (RFC 9053, RFC 8812).
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
enum Key {
    /// ES256: the point, uncompressed (SEC 1, 2.3.3).
    #[n(0)]
    Es256(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// RS256.
    #[n(1)]
    Rs256 {
        #[cbor(n(0), with = "minicbor::bytes")]
        modulus: Vec<u8>,
        #[cbor(n(1), with = "minicbor::bytes")]
        exponent: Vec<u8>,
    },
}

/// Somebody's passkey, as far as it is needed to check what she said by it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct PasskeyKey {
    #[n(0)]
    pub login: String,
    /// The name that it is for.
    #[n(1)]
    relying_party: String,
    #[n(2)]
    key: Key,
}

impl fmt::Debug for PasskeyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "passkey of {}, for {}", self.login, self.relying_party)
    }
}

/// What the authenticator signed, and how (`AuthenticatorAssertionResponse`).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Assertion {
    #[cbor(n(0), with = "minicbor::bytes")]
    authenticator_data: Vec<u8>,
    #[cbor(n(1), with = "minicbor::bytes")]
    client_data: Vec<u8>,
    #[cbor(n(2), with = "minicbor::bytes")]
    signature: Vec<u8>,
}

/// What of the browser's answer counts.
#[derive(Deserialize)]
struct Answer {
    response: Response,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    authenticator_data: String,
    #[serde(rename = "clientDataJSON")]
    client_data: String,
    signature: String,
}

/// `CollectedClientData` (5.8.1), which more members may be added to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    r#type: String,
    challenge: String,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

impl Assertion {
    /// `AuthenticationResponseJSON`, as a browser gives it.
    pub fn from_json(answer: &str) -> Result<Self, PasskeyError> {
        let malformed = |why: String| PasskeyError::Malformed { why };
        let Answer { response } = super::ceremony::parse(answer)?;
        let bytes = |what: &str, text: &str| match URL_SAFE_NO_PAD.decode(text) {
            Ok(bytes) if bytes.len() <= PART_BYTES_MAX => Ok(bytes),
            Ok(bytes) => Err(malformed(format!("{what} has {} bytes, {PART_BYTES_MAX} at most", bytes.len()))),
            Err(error) => Err(malformed(format!("{what}: {error}"))),
        };
        Ok(Self {
            authenticator_data: bytes("authenticatorData", &response.authenticator_data)?,
            client_data: bytes("clientDataJSON", &response.client_data)?,
            signature: bytes("signature", &response.signature)?,
        })
    }
}

impl PasskeyKey {
    fn of(held: &Held, party: &str) -> Option<Self> {
        let public = held.key.as_ref()?.get_public_key();
        let key = match (&public.key, public.type_) {
            (COSEKeyType::EC_EC2(point), COSEAlgorithm::ES256) if point.x.len() == 32 && point.y.len() == 32 => {
                Key::Es256([&[4], point.x.as_slice(), point.y.as_slice()].concat())
            }
            (COSEKeyType::RSA(key), COSEAlgorithm::RS256) => {
                Key::Rs256 { modulus: key.n.clone(), exponent: key.e.to_vec() }
            }
            _ => return None,
        };
        Some(Self { login: held.passkey.subject.clone(), relying_party: party.to_owned(), key })
    }

    /// SHA-256 of the key: it stands where a person's Ed25519 key would, and nothing is signed by it.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(Sha256::digest(minicbor::to_vec(&self.key).unwrap_or_default()).into())
    }

    /// A login and a name, and a key of the size that the algorithm has.
    pub fn is_sound(&self) -> bool {
        let fits = match &self.key {
            Key::Es256(point) => point.len() == 65 && point.first() == Some(&4),
            Key::Rs256 { modulus, exponent } => (256..=1_024).contains(&modulus.len()) && exponent.len() <= 4,
        };
        let named = crate::caller::checked_subject(&self.login).is_ok();
        fits && named && self.relying_party.len() <= 253 && !self.relying_party.chars().any(misleads)
    }

    fn has_made(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.key {
            Key::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature).is_ok()
            }
            Key::Rs256 { modulus, exponent } => {
                let key = RsaPublicKeyComponents { n: modulus.as_slice(), e: exponent.as_slice() };
                key.verify(&RSA_PKCS1_2048_8192_SHA256, signed, signature).is_ok()
            }
        }
    }

    /// Whether she has said this very text: on a page of this name, with a finger, a face or a PIN.
    pub fn has_signed(&self, text: &str, assertion: &Assertion) -> bool {
        let Assertion { authenticator_data: data, client_data, signature } = assertion;
        let (Some(party), Some(flags)) = (data.get(..32), data.get(32)) else { return false };
        let is_of_party = party == Sha256::digest(self.relying_party.as_bytes()).as_slice();
        let is_verified = data.len() >= DATA_BYTES_MIN && flags & (PRESENT | VERIFIED) == PRESENT | VERIFIED;
        let Ok(said) = serde_json::from_slice::<ClientData>(client_data) else { return false };
        let is_said = said.r#type == "webauthn.get"
            && said.challenge == URL_SAFE_NO_PAD.encode(challenge_of(text))
            && !said.cross_origin
            && RelyingParty::is_at(&self.relying_party, &said.origin);
        let signed = [data.as_slice(), Sha256::digest(client_data).as_slice()].concat();
        is_of_party && is_verified && is_said && self.has_made(&signed, signature)
    }
}

fn challenge_of(text: &str) -> [u8; 32] {
    Sha256::new().chain_update(CHALLENGE).chain_update(text.as_bytes()).finalize().into()
}

impl Guard {
    /// The keys of this login's passkeys that a word can be checked by.
    pub fn passkey_keys(&self, login: &str) -> Vec<PasskeyKey> {
        let Some(party) = self.passkeys_are_for() else { return Vec::new() };
        self.passkeys().of(login).filter_map(|held| PasskeyKey::of(held, party)).collect()
    }

    /// `PublicKeyCredentialRequestOptionsJSON` by which she says this text, and nothing else.
    pub fn ask_to_sign(&self, caller: &Caller, text: &str) -> Result<String, PasskeyError> {
        let hers = self.passkeys().keys_of(&caller.subject);
        if hers.is_empty() {
            return Err(PasskeyError::NotFresh);
        }
        let ids: Vec<_> = hers.iter().map(|key| key.cred_id().clone()).collect();
        Ok(self.request(self.party()?, URL_SAFE_NO_PAD.encode(challenge_of(text)), &ids, false))
    }
}
