//! A caller's own proof that she asks: so that a gateway in a thief's hands opens nothing for people that it invents.
//!
//! ```text
//!  officer's key (offline) ──signs──► person's certificate ──signs──► session's certificate ──signs──► one statement:
//!                                                                                patient, person, purpose, time
//! ```
//! A person's key is derived from the token that she presents (HKDF-SHA256, RFC 5869) and stands nowhere; signatures are
//! Ed25519 (RFC 8032), each over its own context and strict CBOR. A gateway has a certificate of its own, as a delegate: it
//! speaks for its devices and its console, whose names have a colon, which no person's name has.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use kit::{Blame, Digest, Entropy, Explain, Id16, Timestamp};
use minicbor::bytes::ByteArray;
use minicbor::{Decode, Encode};
use zeroize::Zeroizing;

use crate::format::{self, FormatError, Version, within};
use crate::seal::digest;

/// How far a statement's time may be from the holder's: clocks of a hospital's servers differ by seconds.
pub const PROOF_WINDOW_MS: i64 = 120_000;
/// A session is one shift.
pub const SESSION_LIFE_MS_MAX: i64 = 12 * 3_600_000;
/// `ae:` and an AE title, or a login name.
const NAME_BYTES_MAX: usize = 80;
const PURPOSE_BYTES_MAX: usize = 80;
const CERTIFICATE_BYTES_MAX: usize = 512;
/// Two certificates and a signature.
pub const PROOF_BYTES_MAX: usize = 1_536;

const KEY_CONTEXT: &[u8] = b"holdfast person key v1";
const CERTIFICATE_CONTEXT: &[u8] = b"holdfast certificate v1\n";
const STATEMENT_CONTEXT: &[u8] = b"holdfast open v1\n";

type PublicKey = ByteArray<32>;
type Signature = ByteArray<64>;

/// What a key may speak for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Speaks {
    /// For the person who is named, and nobody else. Signed by the officer.
    #[n(0)]
    Person,
    /// For any name with a colon: a gateway's devices and console. Signed by the officer.
    #[n(1)]
    Delegate,
    /// For the person who is named, for a shift. Signed by her own key.
    #[n(2)]
    Session,
}

/// That a key speaks for somebody, for a time.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Certificate {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    vault: Id16,
    /// By it a certificate is ended before its time.
    #[n(2)]
    pub serial: Id16,
    #[n(3)]
    pub subject: String,
    #[n(4)]
    pub speaks: Speaks,
    #[n(5)]
    key: PublicKey,
    #[n(6)]
    pub not_before: Timestamp,
    #[n(7)]
    pub expires: Timestamp,
    #[n(8)]
    signature: Signature,
}

impl Certificate {
    const PLACE: &'static str = "certificate";

    /// What is signed: all of it, with a signature of zeros.
    fn signed_bytes(&self) -> Vec<u8> {
        let unsigned = Self { signature: [0; 64].into(), ..self.clone() };
        [CERTIFICATE_CONTEXT, &format::encode(&unsigned)].concat()
    }

    fn sign(mut self, pair: &Ed25519KeyPair) -> Self {
        self.signature = signature(pair, &self.signed_bytes());
        self
    }

    /// The public key that speaks.
    pub fn key(&self) -> [u8; 32] {
        *self.key
    }

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let certificate: Self = format::decode(Self::PLACE, bytes, CERTIFICATE_BYTES_MAX)?;
        certificate.check()?;
        Ok(certificate)
    }

    fn check(&self) -> Result<(), FormatError> {
        within(Self::PLACE, "the subject's length", self.subject.len(), 1, NAME_BYTES_MAX)?;
        match is_small_order(&self.key) {
            true => Err(FormatError::Invalid { place: Self::PLACE, what: "the public key (a point of small order)" }),
            false => Ok(()),
        }
    }
}

/// Encodings of the points of small order without the sign of x: of order 4, 1, 8, 8, 2, and once more 4 and 1, written with
/// a y that is not below p. As in libsodium 1.0.18, `ge25519_has_small_order`; they are the fourteen of "Taming the many
/// EdDSAs" (Chalkias, Garillot, Nikolaenko, SSR 2020), Table 1.
const SMALL_ORDER: [[u8; 32]; 7] = {
    const fn around_p(last: u8) -> [u8; 32] {
        let mut y = [0xff; 32];
        (y[0], y[31]) = (last, 0x7f);
        y
    }
    let (zero, mut one) = ([0; 32], [0; 32]);
    one[0] = 1;
    [
        zero,
        one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf,
            0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20,
            0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
        around_p(0xec),
        around_p(0xed),
        around_p(0xee),
    ]
};

/// Whether this public key is a point of small order: then signatures that fit it can be made up without a private key,
/// and one fits many messages. The library that verifies doesn't look.
pub fn is_small_order(key: &[u8; 32]) -> bool {
    let mut y = *key;
    y[31] &= 0x7f;
    SMALL_ORDER.contains(&y)
}

fn signature(pair: &Ed25519KeyPair, message: &[u8]) -> Signature {
    let mut out = [0; 64];
    // RFC 8032: 64 bytes. Were it otherwise, zeros would verify nowhere.
    let signed = pair.sign(message);
    if signed.as_ref().len() == out.len() {
        out.copy_from_slice(signed.as_ref());
    }
    out.into()
}

fn verifies(key: &[u8; 32], message: &[u8], signature: &Signature) -> bool {
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature.as_slice()).is_ok()
}

fn public_of(pair: &Ed25519KeyPair) -> [u8; 32] {
    pair.public_key().as_ref().try_into().unwrap_or_default()
}

/// The officer's key, while it is at hand: it lets servers, gateways and people in.
pub struct Officer(Ed25519KeyPair);

impl Officer {
    /// `None` where the library takes these bytes for no seed; it takes any.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    pub fn public(&self) -> [u8; 32] {
        public_of(&self.0)
    }

    /// Over any message that begins with a context of its own.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        *signature(&self.0, message)
    }

    /// Lets the owner of `key` speak for `subject` in a vault.
    pub fn enrol(
        &self,
        vault: Id16,
        subject: &str,
        speaks: Speaks,
        key: [u8; 32],
        (not_before, expires): (Timestamp, Timestamp),
        entropy: &dyn Entropy,
    ) -> Result<Certificate, FormatError> {
        let certificate = Certificate {
            version: Version,
            vault,
            serial: Id16(entropy.id()),
            subject: subject.to_owned(),
            speaks,
            key: key.into(),
            not_before,
            expires,
            signature: [0; 64].into(),
        };
        certificate.check()?;
        Ok(certificate.sign(&self.0))
    }
}

impl fmt::Debug for Officer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Officer(secret)")
    }
}

/// A person's, a session's or a gateway's signing key.
pub struct PersonKey(Ed25519KeyPair);

/// The length of a seed, as HKDF wants to be told it.
struct Seed;

impl KeyType for Seed {
    fn len(&self) -> usize {
        32
    }
}

impl PersonKey {
    fn of(seed: &Zeroizing<[u8; 32]>) -> Option<Self> {
        Ed25519KeyPair::from_seed_unchecked(seed.as_ref()).ok().map(Self)
    }

    /// From a secret of at least 256 random bits: a bearer token's text. A password would be guessed.
    pub fn derive(secret: &[u8]) -> Option<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        let key = Salt::new(HKDF_SHA256, KEY_CONTEXT).extract(secret);
        key.expand(&[b"ed25519 seed"], Seed).ok()?.fill(seed.as_mut()).ok()?;
        Self::of(&seed)
    }

    pub fn random(entropy: &dyn Entropy) -> Option<Self> {
        let mut seed = Zeroizing::new([0; 32]);
        entropy.fill(seed.as_mut());
        Self::of(&seed)
    }

    pub fn from_seed(seed: &Zeroizing<[u8; 32]>) -> Option<Self> {
        Self::of(seed)
    }

    pub fn public(&self) -> [u8; 32] {
        public_of(&self.0)
    }

    /// Lets a session's key speak for whom this key speaks for, no longer than a shift and than this key itself.
    pub fn begin_session(
        &self,
        own: &Certificate,
        session: [u8; 32],
        now: Timestamp,
        life_ms: i64,
        entropy: &dyn Entropy,
    ) -> Certificate {
        let expires = now.plus_ms(life_ms.min(SESSION_LIFE_MS_MAX)).min(own.expires);
        Certificate {
            version: Version,
            vault: own.vault,
            serial: Id16(entropy.id()),
            subject: own.subject.clone(),
            speaks: Speaks::Session,
            key: session.into(),
            not_before: now,
            expires,
            signature: [0; 64].into(),
        }
        .sign(&self.0)
    }
}

impl fmt::Debug for PersonKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PersonKey(secret)")
    }
}

/// What a caller signs: that she wants this patient's key, for this purpose, now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Statement<'a> {
    pub patient: Id16,
    /// Of the key record that is to be opened.
    pub commitment: Digest,
    pub person: &'a str,
    pub purpose: &'a str,
    pub at: Timestamp,
}

impl Statement<'_> {
    fn signed_bytes(&self, vault: Id16, nonce: &[u8; 16]) -> Vec<u8> {
        let Self { patient, commitment, person, purpose, at } = self;
        let texts = [*person, *purpose].map(|text| {
            let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
            [length.to_be_bytes().as_slice(), text.as_bytes()].concat()
        });
        let time = at.0.to_be_bytes();
        [STATEMENT_CONTEXT, &vault.0, &patient.0, &commitment.0, &time, nonce, &texts.concat()].concat()
    }
}

/// A signed statement, without what the request says anyway.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Proof {
    #[n(0)]
    version: Version<1>,
    /// The officer's word for a key, and, where it is a person's, that key's word for a session's.
    #[n(1)]
    chain: Vec<Certificate>,
    #[n(2)]
    nonce: ByteArray<16>,
    #[n(3)]
    signature: Signature,
}

/// A key, and why it counts.
pub struct Signer {
    chain: Vec<Certificate>,
    key: PersonKey,
}

impl Signer {
    /// `chain`: the officer's certificate, then a session's where there is one.
    pub fn new(chain: Vec<Certificate>, key: PersonKey) -> Self {
        Self { chain, key }
    }

    /// When it stops to count.
    pub fn expires(&self) -> Timestamp {
        self.chain.iter().map(|certificate| certificate.expires).min().unwrap_or_default()
    }

    /// Whether one of its certificates is among these.
    pub fn rests_on(&self, serials: &[Id16]) -> bool {
        self.chain.iter().any(|certificate| serials.contains(&certificate.serial))
    }

    pub fn sign(&self, vault: Id16, statement: &Statement<'_>, entropy: &dyn Entropy) -> Proof {
        let nonce = entropy.id();
        let signature = signature(&self.key.0, &statement.signed_bytes(vault, &nonce));
        Proof { version: Version, chain: self.chain.clone(), nonce: nonce.into(), signature }
    }
}

/// Certificates whose signatures were found right: a person shows the same one with each chart, and an Ed25519 verification
/// costs more than all the rest of the check.
#[derive(Default)]
pub struct Known(Mutex<HashSet<Digest>>);

/// Sessions of a day, many times over; when it is full it is begun again.
const KNOWN_MAX: usize = 16_384;

impl Known {
    /// Whether `signer` signed the certificate.
    fn verifies(&self, signer: &[u8; 32], certificate: &Certificate) -> bool {
        let name = digest("holdfast known certificate v1", &[signer, &certificate.to_bytes()]);
        let known = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known().contains(&name) {
            return true;
        }
        let is_good = verifies(signer, &certificate.signed_bytes(), &certificate.signature);
        if is_good {
            let mut known = known();
            if known.len() >= KNOWN_MAX {
                known.clear();
            }
            known.insert(name);
        }
        is_good
    }
}

/// What a proof is checked against.
pub struct Authority<'a> {
    pub known: &'a Known,
    pub vault: Id16,
    pub officer: [u8; 32],
    /// Serials of certificates that were ended before their time.
    pub ended: &'a [Id16],
}

/// That a statement was proven; only [`Proof::check`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    pub is_delegated: bool,
    /// Names this proof among all: for [`Replays`](crate::Replays).
    pub(crate) mark: Digest,
}

impl Proof {
    const PLACE: &'static str = "proof";

    pub fn to_bytes(&self) -> Vec<u8> {
        format::encode(self)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let proof: Self = format::decode(Self::PLACE, bytes, PROOF_BYTES_MAX)?;
        within(Self::PLACE, "the number of certificates", proof.chain.len(), 1, 2)?;
        proof.chain.iter().try_for_each(Certificate::check)?;
        Ok(proof)
    }

    /// That whoever `statement` names has signed it, within two minutes of `now`.
    pub fn check(
        &self,
        authority: &Authority<'_>,
        statement: &Statement<'_>,
        now: Timestamp,
    ) -> Result<Proven, ProofError> {
        let off_ms = now.0.saturating_sub(statement.at.0);
        if off_ms.unsigned_abs() > PROOF_WINDOW_MS.unsigned_abs() {
            return Err(ProofError::Time { off_s: off_ms / 1_000, max_s: PROOF_WINDOW_MS / 1_000 });
        }
        if statement.person.len() > NAME_BYTES_MAX || statement.purpose.len() > PURPOSE_BYTES_MAX {
            return Err(ProofError::Length { max: NAME_BYTES_MAX });
        }
        let (first, session) = match self.chain.as_slice() {
            [first] => (first, None),
            [first, session] => (first, Some(session)),
            _ => return Err(ProofError::Chain),
        };
        let is_delegated = first.speaks == Speaks::Delegate;
        let has_colon = statement.person.contains(':');
        // Each link: signed by the one before it, of this vault, in its time, not ended.
        let mut signer = authority.officer;
        for certificate in [Some(first), session].into_iter().flatten() {
            if !authority.known.verifies(&signer, certificate) {
                return Err(ProofError::CertificateSignature);
            }
            if certificate.vault != authority.vault {
                return Err(ProofError::OtherVault);
            }
            if now < certificate.not_before.plus_ms(-PROOF_WINDOW_MS) || now >= certificate.expires {
                return Err(ProofError::Expired { not_before: certificate.not_before, expires: certificate.expires });
            }
            if authority.ended.contains(&certificate.serial) {
                return Err(ProofError::Ended);
            }
            signer = *certificate.key;
        }
        let speaks = match session {
            None => is_delegated || first.speaks == Speaks::Person,
            Some(session) => {
                let shift = session.expires.0.saturating_sub(session.not_before.0);
                first.speaks == Speaks::Person
                    && session.speaks == Speaks::Session
                    && session.subject == first.subject
                    && session.expires <= first.expires
                    && shift <= SESSION_LIFE_MS_MAX
            }
        };
        if !speaks {
            return Err(ProofError::Chain);
        }
        // A delegate's names have a colon, a person's is hers alone.
        let is_hers = if is_delegated { has_colon } else { !has_colon && statement.person == first.subject };
        if !is_hers {
            return Err(ProofError::Subject);
        }
        if !verifies(&signer, &statement.signed_bytes(authority.vault, &self.nonce), &self.signature) {
            return Err(ProofError::Signature);
        }
        let mark = digest("holdfast proof v1", &[&signer, self.nonce.as_slice()]);
        Ok(Proven { is_delegated, mark })
    }
}

/// Signs for whoever asks, where it can: it knows who is signed in.
pub trait Prover: Send + Sync {
    fn prove(&self, statement: &Statement<'_>) -> Option<Proof>;
}

/// Why a statement isn't proven.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("its time is {off_s} s from the holder's, at most {max_s} s are allowed")]
    Time { off_s: i64, max_s: i64 },
    #[error("a name or purpose of more than {max} bytes")]
    Length { max: usize },
    #[error("its certificates are not a person's or a delegate's, with a session of that person at most")]
    Chain,
    #[error("a certificate is not signed by the one before it, the first by the centre's officer")]
    CertificateSignature,
    #[error("a certificate is of another centre")]
    OtherVault,
    #[error("a certificate counts from {not_before} until {expires}")]
    Expired { not_before: Timestamp, expires: Timestamp },
    #[error("a certificate was ended")]
    Ended,
    #[error("its key does not speak for the person who is named")]
    Subject,
    #[error("it is not signed by the key of its last certificate, or for another request")]
    Signature,
    #[error("it was shown before")]
    Replayed,
    #[error("{max} proofs within some minutes, no more are taken")]
    TooMany { max: usize },
    #[error("that it was shown can't be written down: {0}")]
    Unwritten(io::ErrorKind),
}

impl Explain for ProofError {
    fn blame(&self) -> Blame {
        match self {
            Self::Time { .. } | Self::TooMany { .. } | Self::Unwritten(_) => Blame::Configuration,
            _ => Blame::Forbidden,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Time { .. } => "keys.proof-time",
            Self::Length { .. } => "keys.proof-length",
            Self::Chain => "keys.proof-chain",
            Self::CertificateSignature => "keys.proof-certificate",
            Self::OtherVault => "keys.proof-other-vault",
            Self::Expired { .. } => "keys.proof-expired",
            Self::Ended => "keys.proof-ended",
            Self::Subject => "keys.proof-subject",
            Self::Signature => "keys.proof-signature",
            Self::Replayed => "keys.proof-replayed",
            Self::TooMany { .. } => "keys.proof-too-many",
            Self::Unwritten(_) => "keys.proof-unwritten",
        }
    }

    fn guidance(&self) -> Option<&'static str> {
        match self {
            Self::Time { .. } => Some("set the clocks of the gateway and of this server"),
            Self::Expired { .. } | Self::Ended => Some("sign in again, or have the officer enrol the person anew"),
            _ => None,
        }
    }
}
