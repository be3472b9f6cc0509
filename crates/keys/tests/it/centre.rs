//! A small centre to test with: n holders in folders, two custodians, a dealer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use keys::{
    Batch, CustodianPackage, DataKey, Dealer, FIRST_EPOCH, Holder, HolderError, HolderPublicKey, KeyRecord, Keyring,
    KeysError, LocalHolder, OpenRequest, RecoveryPublicKey, Resealed, Share, TurnOrder, new_identity,
};
use kit::{Entropy, Id16, ManualClock, SeededEntropy, Timestamp};
use tempfile::TempDir;

/// How a holder behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    Silent,
    Lying,
    /// Gives another holder's number with its share.
    Posing,
    OverBudget,
    Unproven,
    /// By another clock.
    Off,
}

/// A real holder that misbehaves on demand.
pub(crate) struct Moody {
    holder: LocalHolder,
    mood: Mutex<Mood>,
}

impl Moody {
    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }
}

impl Holder for Moody {
    fn number(&self) -> u8 {
        self.holder.number()
    }

    fn public_key(&self) -> HolderPublicKey {
        self.holder.public_key()
    }

    fn open_share(&self, request: &OpenRequest<'_>) -> Result<Share, HolderError> {
        let mood = *self.mood.lock().unwrap();
        let number = self.number();
        match mood {
            Mood::Silent => return Err(HolderError::Unreachable { number }),
            Mood::OverBudget => return Err(HolderError::OverBudget { number }),
            Mood::Unproven => return Err(HolderError::Unproven { number }),
            Mood::Off => return Err(HolderError::Clock { number }),
            _ => {}
        }
        let share = self.holder.open_share(request)?;
        let mut bytes = *share.bytes();
        Ok(match mood {
            Mood::Lying => {
                bytes[31] ^= 1;
                Share::new(share.number(), bytes.into())
            }
            Mood::Posing => Share::new(share.number() % 2 + 1, bytes.into()),
            _ => share,
        })
    }

    fn refuse(&self, subject: Id16) -> Result<(), HolderError> {
        match *self.mood.lock().unwrap() {
            Mood::Silent => Err(HolderError::Unreachable { number: self.number() }),
            _ => self.holder.refuse(subject),
        }
    }

    fn opened(&self) -> u64 {
        self.holder.opened()
    }

    fn begin_turn(&self, epoch: u32) -> Result<HolderPublicKey, HolderError> {
        self.holder.begin_turn(epoch)
    }

    fn own_encapsulation(&self, batch: Id16) -> Result<Vec<u8>, HolderError> {
        self.holder.own_encapsulation(batch)
    }

    fn reseal(&self, from: &Batch, to: &Batch, records: &[KeyRecord]) -> Result<Vec<Resealed>, HolderError> {
        self.holder.reseal(from, to, records)
    }

    fn confirm(&self, batch: &Batch, records: &[KeyRecord]) -> Result<(), HolderError> {
        self.holder.confirm(batch, records)
    }

    fn finish_turn(&self, order: &TurnOrder) -> Result<(), HolderError> {
        self.holder.finish_turn(order)
    }
}

pub(crate) struct Centre {
    pub(crate) entropy: SeededEntropy,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) holders: Vec<Arc<Moody>>,
    pub(crate) identities: Vec<String>,
    pub(crate) package: CustodianPackage,
    pub(crate) recovery: RecoveryPublicKey,
    pub(crate) dealer: Dealer,
    pub(crate) batch: Batch,
    pub(crate) t: u8,
    pub(crate) folder: TempDir,
}

impl Centre {
    pub(crate) fn new(t: u8, n: u8) -> Self {
        let entropy = SeededEntropy::new(u64::from(t) * 100 + u64::from(n));
        let folder = tempfile::tempdir().unwrap();
        let holders: Vec<Arc<Moody>> = (1..=n)
            .map(|number| {
                let holder = LocalHolder::init(&folder.path().join(number.to_string()), number, &entropy).unwrap();
                Arc::new(Moody { holder, mood: Mutex::new(Mood::Honest) })
            })
            .collect();
        let (identities, recipients): (Vec<String>, Vec<String>) =
            (0..3).map(|_| new_identity()).map(|(secret, recipient)| (secret.to_string(), recipient)).unzip();
        let (package, recovery) = CustodianPackage::establish(2, &recipients, &entropy).unwrap();
        let public: Vec<_> = holders.iter().map(|holder| holder.public_key()).collect();
        let (dealer, batch) = Dealer::new(&public, &recovery, t, FIRST_EPOCH, &entropy).unwrap();
        let clock = Arc::new(ManualClock::new(Timestamp(1_700_000_000_000)));
        Self { entropy, clock, holders, identities, package, recovery, dealer, batch, t, folder }
    }

    pub(crate) fn register(&self) -> (KeyRecord, DataKey) {
        let key = DataKey::random(&self.entropy);
        (self.dealer.deal(Id16(self.entropy.id()), &key, &self.entropy).unwrap(), key)
    }

    pub(crate) fn public_keys(&self) -> Vec<HolderPublicKey> {
        self.holders.iter().map(|holder| holder.public_key()).collect()
    }

    pub(crate) fn keyring(&self, cache_ms: u64) -> Keyring {
        let holders = self.holders.iter().map(|holder| holder.clone() as Arc<dyn Holder>).collect();
        Keyring::new(holders, self.t, cache_ms, self.clock.clone()).unwrap()
    }

    pub(crate) fn open(&self, record: &KeyRecord) -> Result<Arc<DataKey>, KeysError> {
        self.keyring(0).open(record, &self.batch, "dr-a", "treatment")
    }

    /// Everyone honest again, but for the holders named.
    pub(crate) fn moods(&self, moods: &HashMap<u8, Mood>) {
        for holder in &self.holders {
            holder.set(moods.get(&holder.number()).copied().unwrap_or(Mood::Honest));
        }
    }
}

pub(crate) fn all<const N: usize>(numbers: [u8; N], mood: Mood) -> HashMap<u8, Mood> {
    numbers.into_iter().map(|number| (number, mood)).collect()
}

/// What is sealed under a key, for comparing keys without printing them.
pub(crate) fn same(a: &DataKey, b: &DataKey) -> bool {
    a.bytes() == b.bytes()
}
