//! The centre's own secrets: opened once at start, by the holders or by the custodians, and on no disk.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use keys::{
    AbsentHolder, Batch, DataKey, Erasure, Holder, HolderHealth, HolderPublicKey, KeyRecord, Keyring, Prover,
    RecoveryKey,
};
use kit::{Clock, Entropy, Id16};
use ledger::{NoteSigner, Vkey};

use crate::VaultError;
use crate::header::SIGNATURE_BYTES;

/// The subjects under which the secrets are dealt. A patient's id is random; that one equals these is a guess at 128 bits.
const VAULT_KEY: Id16 = Id16(*b"system vault key");
const INDEX_KEY: Id16 = Id16(*b"system index key");
const CENTRE_KEY: Id16 = Id16(*b"system data key ");
const LOG_SEED: Id16 = Id16(*b"system log seed ");

/// The vault's keys, the founding one first. A rotation adds one; what was sealed before stays under the one before.
pub(crate) struct VaultKeys(RwLock<Vec<Arc<DataKey>>>);

impl VaultKeys {
    fn held(&self) -> RwLockReadGuard<'_, Vec<Arc<DataKey>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// All, the newest first: whatever doesn't say under which it was sealed.
    pub(crate) fn newest_first(&self) -> Vec<Arc<DataKey>> {
        self.held().iter().rev().cloned().collect()
    }

    /// The newest, and its number, from 1.
    pub(crate) fn newest(&self) -> Option<(u16, Arc<DataKey>)> {
        let held = self.held();
        Some((u16::try_from(held.len()).ok()?, held.last().cloned()?))
    }

    pub(crate) fn of(&self, number: u16) -> Option<Arc<DataKey>> {
        self.held().get(usize::from(number).checked_sub(1)?).cloned()
    }

    /// From now on it seals.
    pub(crate) fn add(&self, key: Arc<DataKey>) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(key);
    }
}

/// Rotations of the vault's key in a centre's life.
pub(crate) const VAULT_KEYS_MAX: u16 = 64;

fn vault_subject(number: u16) -> Id16 {
    match format!("system vault {number:03}").as_bytes().try_into() {
        Ok(later) if number > 1 => Id16(later),
        _ => VAULT_KEY,
    }
}

/// Seals segments and notes, tags the index, seals the centre's own payloads, signs the log.
pub(crate) struct Secrets {
    pub(crate) vault: VaultKeys,
    pub(crate) index: Arc<DataKey>,
    pub(crate) centre: Arc<DataKey>,
    pub(crate) log: LogKey,
    log_seed: Arc<DataKey>,
}

impl Secrets {
    pub(crate) fn random(origin: &str, entropy: &dyn Entropy) -> Result<Self, VaultError> {
        Self::open(origin, 1, |_| Ok(Arc::new(DataKey::random(entropy))))
    }

    /// Each secret as `open` gives it for its subject; of the vault's keys there are so many.
    pub(crate) fn open(
        origin: &str,
        vault_keys: u16,
        open: impl Fn(Id16) -> Result<Arc<DataKey>, VaultError>,
    ) -> Result<Self, VaultError> {
        let log_seed = open(LOG_SEED)?;
        let vault = (1..=vault_keys).map(|number| open(vault_subject(number))).collect::<Result<_, _>>()?;
        Ok(Self {
            vault: VaultKeys(RwLock::new(vault)),
            index: open(INDEX_KEY)?,
            centre: open(CENTRE_KEY)?,
            log: LogKey::new(origin, &log_seed)?,
            log_seed,
        })
    }

    /// As these, with one more key of the vault's.
    pub(crate) fn with_vault_key(&self, key: &Arc<DataKey>) -> Result<Self, VaultError> {
        let held = self.vault.held().iter().chain([key]).cloned().collect();
        Ok(Self {
            vault: VaultKeys(RwLock::new(held)),
            index: Arc::clone(&self.index),
            centre: Arc::clone(&self.centre),
            log: LogKey::new(self.log.vkey.name(), &self.log_seed)?,
            log_seed: Arc::clone(&self.log_seed),
        })
    }

    /// How many keys of the vault's there are among these subjects.
    pub(crate) fn vault_keys_among(subjects: &[Id16]) -> u16 {
        (1..=VAULT_KEYS_MAX).take_while(|number| subjects.contains(&vault_subject(*number))).last().unwrap_or(1)
    }

    /// The secrets with the subjects to deal them under.
    pub(crate) fn all(&self) -> Vec<(Id16, Arc<DataKey>)> {
        let held = self.vault.held();
        let vault = (1..).zip(held.iter()).map(|(number, key)| (vault_subject(number), key));
        let others = [(INDEX_KEY, &self.index), (CENTRE_KEY, &self.centre), (LOG_SEED, &self.log_seed)];
        vault.chain(others).map(|(subject, key)| (subject, Arc::clone(key))).collect()
    }
}

/// The centre's log key: signs segment headers, checkpoints and centre records.
pub(crate) struct LogKey {
    pair: Ed25519KeyPair,
    vkey: Vkey,
}

impl LogKey {
    fn new(origin: &str, seed: &DataKey) -> Result<Self, VaultError> {
        let failed = VaultError::Internal { step: "making the log key" };
        let Ok(pair) = Ed25519KeyPair::from_seed_unchecked(seed.bytes()) else { return Err(failed) };
        let public: [u8; 32] = pair.public_key().as_ref().try_into().map_err(|_| failed)?;
        Ok(Self { pair, vkey: Vkey::new(origin, &public)? })
    }

    pub(crate) fn vkey(&self) -> &Vkey {
        &self.vkey
    }

    pub(crate) fn sign_bytes(&self, text: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let mut out = [0; SIGNATURE_BYTES];
        // An Ed25519 signature has 64 bytes (RFC 8032); were it otherwise, zeros would verify nowhere.
        let signature = self.pair.sign(text);
        if signature.as_ref().len() == SIGNATURE_BYTES {
            out.copy_from_slice(signature.as_ref());
        }
        out
    }
}

impl NoteSigner for LogKey {
    fn name(&self) -> &str {
        self.vkey.name()
    }

    fn key_id(&self) -> u32 {
        self.vkey.key_id()
    }

    fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.sign_bytes(text)
    }
}

/// Who opens the keys.
pub enum Access {
    /// The holders, as many as answer; those missing are taken for down. Opened keys are kept for `cache_ms`.
    /// `prover` signs for the people who ask, where holders want to see that.
    Holders { holders: Vec<Arc<dyn Holder>>, cache_ms: u64, prover: Option<Arc<dyn Prover>> },
    /// The custodians, gathered: no holder is asked, and none counts. An erased patient stays refused.
    Custodians(Arc<RecoveryKey>),
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holders { holders, .. } => write!(f, "Access::Holders({})", holders.len()),
            Self::Custodians(key) => write!(f, "Access::Custodians({key:?})"),
        }
    }
}

pub(crate) enum Opener {
    Holders(Keyring),
    Custodians(Arc<RecoveryKey>),
}

/// Another centre's holder, or one made anew, opens nothing dealt to the old one: it counts as absent.
fn in_places(holders: &mut Vec<Arc<dyn Holder>>, public: &[HolderPublicKey]) {
    holders.retain(|holder| public.iter().any(|key| key.number() == holder.number() && holder.has_key(key)));
    for key in public {
        if holders.iter().all(|holder| holder.number() != key.number()) {
            holders.push(Arc::new(AbsentHolder::new(key.clone())));
        }
    }
}

impl Opener {
    /// `public` are the holders of the centre record: they keep the places of those that aren't given.
    pub(crate) fn new(
        access: Access,
        public: &[HolderPublicKey],
        t: u8,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, VaultError> {
        Ok(match access {
            Access::Custodians(key) => Self::Custodians(key),
            Access::Holders { mut holders, cache_ms, prover } => {
                in_places(&mut holders, public);
                Self::Holders(Keyring::new(holders, t, cache_ms, clock)?.with_prover(prover))
            }
        })
    }

    /// As this one, with other holders.
    pub(crate) fn renewed(
        &self,
        mut holders: Vec<Arc<dyn Holder>>,
        public: &[HolderPublicKey],
        t: u8,
    ) -> Result<Self, VaultError> {
        in_places(&mut holders, public);
        match self {
            Self::Holders(keyring) => Ok(Self::Holders(keyring.with_holders(holders, t)?)),
            Self::Custodians(_) => Err(VaultError::ReadOnly),
        }
    }

    /// All of them, by number.
    pub(crate) fn holders(&self) -> &[Arc<dyn Holder>] {
        match self {
            Self::Holders(keyring) => keyring.holders(),
            Self::Custodians(_) => &[],
        }
    }

    /// The batch that whoever opens here needs.
    pub(crate) fn batch_of(&self, record: &KeyRecord) -> Id16 {
        match self {
            Self::Holders(_) => record.batch,
            Self::Custodians(_) => record.recovery_batch(),
        }
    }

    pub(crate) fn open(
        &self,
        record: &KeyRecord,
        batch: &Batch,
        person: &str,
        purpose: &str,
    ) -> Result<Arc<DataKey>, VaultError> {
        Ok(match self {
            Self::Holders(keyring) => keyring.open(record, batch, person, purpose)?,
            Self::Custodians(key) => Arc::new(key.open(record, batch)?),
        })
    }

    /// Asks the first so many holders to refuse the subject; gives how many do.
    pub(crate) fn refuse(&self, subject: Id16, of: u8) -> u8 {
        let holders = self.holders().iter().filter(|holder| holder.number() <= of);
        u8::try_from(holders.filter(|holder| holder.refuse(subject).is_ok()).count()).unwrap_or(u8::MAX)
    }

    /// Asks every holder to refuse the subject.
    pub(crate) fn erase(&self, subject: Id16) -> Result<Erasure, VaultError> {
        match self {
            Self::Holders(keyring) => Ok(keyring.erase(subject)?),
            Self::Custodians(_) => Err(VaultError::ReadOnly),
        }
    }

    pub(crate) fn health(&self) -> Vec<HolderHealth> {
        match self {
            Self::Holders(keyring) => keyring.health(),
            Self::Custodians(_) => Vec::new(),
        }
    }
}
