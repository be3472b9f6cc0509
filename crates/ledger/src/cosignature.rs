//! Cosignatures (C2SP tlog-cosignature, the Ed25519 kind): a witness's word that it saw a checkpoint, and when.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use signed_note::Signature;

use crate::checkpoint::same_origin;
use crate::note::open_with_others;
use crate::vkey::is_key_name;
use crate::{Checkpoint, LedgerError, SignedCheckpoint, Vkey, WitnessVkey};

/// C2SP tlog-cosignature: a time must not exceed 2^63 - 1.
pub const COSIGNATURE_TIME_S_MAX: u64 = i64::MAX as u64;

/// `—`, name, and base64 of id, time and signature, with two spaces and the newline.
const LINE_BYTES_MAX: usize = 3 + 1 + crate::KEY_NAME_BYTES_MAX + 1 + 104 + 1;

/// Whoever holds a witness's signing key: this crate doesn't.
pub trait Cosigner {
    fn name(&self) -> &str;

    /// As `WitnessVkey::key_id` of the public key.
    fn key_id(&self) -> u32;

    /// The Ed25519 signature (RFC 8032) over exactly these bytes.
    fn sign(&self, message: &[u8]) -> [u8; 64];
}

/// One witness's statement: at `time_s`, the largest consistent tree that it had seen of this log had this root. It
/// counts only once `WitnessVkey::verify` has checked it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    name: String,
    key_id: u32,
    /// Seconds since the Unix epoch.
    pub time_s: u64,
    signature: [u8; 64],
}

impl Cosignature {
    /// Who is said to have made it.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// The signature line, as it stands below a note: `— name base64(key id ‖ time ‖ signature)` and a newline.
    pub fn line(&self) -> String {
        let mut payload = self.key_id.to_be_bytes().to_vec();
        payload.extend_from_slice(&self.time_s.to_be_bytes());
        payload.extend_from_slice(&self.signature);
        format!("— {} {}\n", self.name, BASE64_STANDARD.encode(payload))
    }

    /// Strict: exactly one line, as `line` writes it.
    pub fn parse(line: &str) -> Result<Self, LedgerError> {
        let wrong = LedgerError::CosignatureMalformed;
        if line.len() > LINE_BYTES_MAX {
            return Err(wrong("its line is too long"));
        }
        let signature = line.strip_suffix('\n').and_then(|line| Signature::from_bytes(line.as_bytes()).ok());
        let cosignature = Self::of(&signature.ok_or(wrong("it must be one signature line with its newline"))?)?;
        if cosignature.line() == line { Ok(cosignature) } else { Err(wrong("it must be written in the one way")) }
    }

    fn of(signature: &Signature) -> Result<Self, LedgerError> {
        let wrong = LedgerError::CosignatureMalformed;
        if !is_key_name(signature.name()) {
            return Err(wrong("its name is too long or has control characters"));
        }
        let Some((time, rest)) = signature.signature().split_first_chunk::<8>() else {
            return Err(wrong("it has no time"));
        };
        let cosignature = Self {
            name: signature.name().to_owned(),
            key_id: signature.id(),
            time_s: u64::from_be_bytes(*time),
            signature: rest.try_into().map_err(|_| wrong("its signature must have 64 bytes"))?,
        };
        check_time(cosignature.time_s)?;
        Ok(cosignature)
    }
}

/// The witness's statement about a checkpoint. What makes it true is `judge`, and that its outcome is on disk: a
/// witness that forgets what it cosigned can be made to cosign a fork.
pub fn cosign(checkpoint: &Checkpoint, cosigner: &dyn Cosigner, time_s: u64) -> Result<Cosignature, LedgerError> {
    let message = message(checkpoint, time_s)?;
    let name = cosigner.name().to_owned();
    if !is_key_name(&name) {
        return Err(LedgerError::VkeyMalformed("the cosigner's name is too long, or has a space or a plus"));
    }
    Ok(Cosignature { name, key_id: cosigner.key_id(), time_s, signature: cosigner.sign(message.as_bytes()) })
}

impl WitnessVkey {
    /// When this witness saw the checkpoint, where the cosignature is its own and of this checkpoint. Whether that is
    /// recent enough is for who knows what time it is.
    pub fn verify(&self, checkpoint: &Checkpoint, cosignature: &Cosignature) -> Result<u64, LedgerError> {
        if !self.named(&cosignature.name, cosignature.key_id) {
            let found = format!("{}+{:08x}", cosignature.name, cosignature.key_id);
            return Err(LedgerError::OtherWitness { expected: self.id(), found });
        }
        let message = message(checkpoint, cosignature.time_s)?;
        if self.signed(message.as_bytes(), &cosignature.signature) {
            Ok(cosignature.time_s)
        } else {
            Err(LedgerError::BadSignature { key: self.id() })
        }
    }

    fn named(&self, name: &str, key_id: u32) -> bool {
        (name, key_id) == (self.name(), self.key_id())
    }

    fn id(&self) -> String {
        format!("{}+{:08x}", self.name(), self.key_id())
    }
}

/// Opens a checkpoint under its log's key, and says which of `witnesses` cosigned it: their indices, rising, each at
/// most once. Lines of keys that aren't listed are ignored. A listed witness's line that doesn't verify is an error,
/// since somebody put it there.
pub fn cosigners(note: &[u8], log: &Vkey, witnesses: &[WitnessVkey]) -> Result<(Checkpoint, Vec<usize>), LedgerError> {
    independent(log, witnesses)?;
    let (text, lines) = open_with_others(note, log)?;
    let checkpoint = Checkpoint::parse(&text)?;
    same_origin(log.name(), &checkpoint)?;
    let mut found = Vec::new();
    for (index, witness) in witnesses.iter().enumerate() {
        let mut cosigned = false;
        for line in lines.iter().filter(|line| witness.named(line.name(), line.id())) {
            let valid = Cosignature::of(line).is_ok_and(|line| witness.verify(&checkpoint, &line).is_ok());
            if !valid {
                return Err(LedgerError::BadSignature { key: witness.id() });
            }
            cosigned = true;
        }
        if cosigned {
            found.push(index);
        }
    }
    Ok((checkpoint, found))
}

/// How many of `of` witnesses have to cosign a head: all but two, and more than half in any case.
///
/// Two heads that both have q cosignatures of n share 2q − n witnesses at least, and an honest one cosigns one history.
/// So two histories take as many liars: with q = n − 2 that is n − 4, ten of fourteen, and nine are borne. Two may be away,
/// as many as keys bear. Below five, n − 2 is not more than half: two of three share one witness, who has to be honest.
pub fn witness_quorum(of: usize) -> usize {
    (of / 2 + 1).max(of.saturating_sub(2))
}

impl SignedCheckpoint {
    /// The same note with these lines below its own. They aren't verified here: `cosigners` says which of them count.
    pub fn with_cosignatures(&self, cosignatures: &[Cosignature]) -> Result<Self, LedgerError> {
        let mut note = self.bytes().to_vec();
        for cosignature in cosignatures {
            note.extend_from_slice(cosignature.line().as_bytes());
        }
        Self::from_bytes(&note)
    }
}

/// The message doesn't name who cosigns, so one key under two names would count twice, and the log's own key would
/// make it its own witness.
fn independent(log: &Vkey, witnesses: &[WitnessVkey]) -> Result<(), LedgerError> {
    let mut keys = vec![log.public_key()];
    for witness in witnesses {
        if keys.contains(&witness.public_key()) {
            return Err(LedgerError::WitnessNotIndependent { key: witness.id() });
        }
        keys.push(witness.public_key());
    }
    Ok(())
}

/// What a witness signs: two lines that no checkpoint begins with, then the checkpoint's own.
fn message(checkpoint: &Checkpoint, time_s: u64) -> Result<String, LedgerError> {
    check_time(time_s)?;
    Ok(format!("cosignature/v1\ntime {time_s}\n{}", checkpoint.canonical_body()?))
}

fn check_time(time_s: u64) -> Result<(), LedgerError> {
    if (1..=COSIGNATURE_TIME_S_MAX).contains(&time_s) {
        Ok(())
    } else {
        Err(LedgerError::CosignatureTime { found: time_s, max: COSIGNATURE_TIME_S_MAX })
    }
}
