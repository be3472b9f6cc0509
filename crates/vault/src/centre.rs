//! The centre record: what a gateway that knows nothing needs to open the vault. Public, signed, at every location.

use std::sync::Arc;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use keys::{Batch, CustodianPackage, DataKey, HolderPublicKey, KeyRecord, PACKAGES_MAX};
use kit::limits::SERVERS_MAX;
use kit::{Digest, Id16, Timestamp};
use ledger::Vkey;
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::VaultError;
use crate::hash::hash;
use crate::header::{SIGNATURE_BYTES, Stand};
use crate::location::{Location, LocationError, Name};
use crate::secrets::Secrets;
use crate::shape::Shape;
use kit::format::{self, FormatError, Version, within};

/// 64 holders' keys, a package of 32 custodians with post-quantum tokens, a batch and four key records take some 400 KiB.
const RECORD_BYTES_MAX: usize = 512 * 1024;

/// Names of records that are looked at: a change of who holds the keys makes one, and a thief of a gateway may make up more.
const NAMES_MAX: usize = 1 << 20;

/// Of these, the newest are read.
const RECORDS_MAX: usize = PACKAGES_MAX;

/// What the log key signs begins with this; a zero byte, so that it can never be a signed note.
const SIGNED: &[u8] = b"holdfast centre record v1\0";

const NAMES_PAGE: usize = 1_024;

const PREFIX: &str = "centre/";

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct CentreRecord {
    #[n(0)]
    version: Version<1>,
    #[n(1)]
    pub(crate) vault: Id16,
    /// 1 at the founding, one more at each recovery and each change of who holds the keys.
    #[n(2)]
    pub(crate) epoch: u32,
    /// BLAKE3 of the record before.
    #[n(3)]
    pub(crate) previous: Option<Digest>,
    #[n(4)]
    pub(crate) time: Timestamp,
    #[n(5)]
    pub(crate) shape: Shape,
    /// Holders who open a key.
    #[n(6)]
    pub(crate) t: u8,
    /// The locations' ids: the first holds shard 0.
    #[n(7)]
    pub(crate) locations: Vec<String>,
    #[n(8)]
    holders: Vec<ByteVec>,
    #[n(9)]
    custodians: ByteVec,
    #[n(10)]
    batch: ByteVec,
    /// Of the vault key, the index key, the centre's data key, the log key's seed.
    #[n(11)]
    secrets: Vec<ByteVec>,
    #[n(12)]
    vkey: String,
    /// Which of the vault's layouts this is, where it has moved since it was founded.
    #[n(13)]
    stand: Option<Stand>,
    /// The generation of the claim under which it was made; none at the founding.
    #[n(14)]
    since: Option<u32>,
    /// That of the record with which the vault moved to this stand.
    #[n(15)]
    entered: Option<u32>,
}

impl CentreRecord {
    pub(crate) fn stand(&self) -> Stand {
        self.stand.unwrap_or(0)
    }

    pub(crate) fn since(&self) -> u32 {
        self.since.unwrap_or(0)
    }

    pub(crate) fn entered(&self) -> u32 {
        self.entered.unwrap_or(0)
    }
}

/// A record whose parts are decoded.
#[derive(Clone)]
pub(crate) struct Centre {
    pub(crate) record: CentreRecord,
    pub(crate) holders: Vec<HolderPublicKey>,
    pub(crate) custodians: CustodianPackage,
    pub(crate) batch: Batch,
    pub(crate) secrets: Vec<KeyRecord>,
    pub(crate) vkey: Vkey,
    /// The whole object.
    pub(crate) object: Vec<u8>,
}

/// What a new record says, before it is signed.
pub(crate) struct Draft {
    pub(crate) vault: Id16,
    pub(crate) epoch: u32,
    pub(crate) previous: Option<Digest>,
    pub(crate) time: Timestamp,
    pub(crate) stand: Stand,
    pub(crate) since: u32,
    pub(crate) entered: u32,
    pub(crate) shape: Shape,
    pub(crate) t: u8,
    pub(crate) locations: Vec<String>,
    pub(crate) holders: Vec<HolderPublicKey>,
    pub(crate) custodians: CustodianPackage,
    pub(crate) batch: Batch,
    pub(crate) secrets: Vec<KeyRecord>,
}

impl Centre {
    const PLACE: &'static str = "centre record";

    pub(crate) fn sign(draft: Draft, secrets: &Secrets) -> Result<Self, VaultError> {
        let record = CentreRecord {
            version: Version,
            vault: draft.vault,
            epoch: draft.epoch,
            previous: draft.previous,
            time: draft.time,
            shape: draft.shape,
            t: draft.t,
            locations: draft.locations,
            holders: draft.holders.iter().map(|key| key.to_bytes().into()).collect(),
            custodians: draft.custodians.to_bytes().into(),
            batch: draft.batch.to_bytes().into(),
            secrets: draft.secrets.iter().map(|record| record.to_bytes().into()).collect(),
            vkey: secrets.log.vkey().to_string(),
            stand: (draft.stand > 0).then_some(draft.stand),
            since: (draft.since > 0).then_some(draft.since),
            entered: (draft.entered > 0).then_some(draft.entered),
        };
        let bytes = format::encode(&record);
        let signature = secrets.log.sign_bytes(&[SIGNED, &bytes].concat());
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        // What is written has to be what a reader will accept.
        Self::from_object([len.as_slice(), &bytes, &signature].concat())
    }

    /// Strict, and with a good signature of the key that the record itself names: whose that is, the caller has to know.
    pub(crate) fn from_object(object: Vec<u8>) -> Result<Self, VaultError> {
        let invalid = |what| FormatError::Invalid { place: Self::PLACE, what };
        let cut = || invalid("the object's length");
        let (len, rest) = object.split_first_chunk::<4>().ok_or_else(cut)?;
        let (bytes, signature) = rest.split_at_checked(u32::from_be_bytes(*len) as usize).ok_or_else(cut)?;
        if signature.len() != SIGNATURE_BYTES {
            return Err(cut().into());
        }
        let record: CentreRecord = format::decode(Self::PLACE, bytes, RECORD_BYTES_MAX)?;
        let vkey: Vkey = record.vkey.parse()?;
        UnparsedPublicKey::new(&ED25519, vkey.public_key())
            .verify(&[SIGNED, bytes].concat(), signature)
            .map_err(|_| invalid("the signature"))?;
        if !record.shape.is_sound() {
            return Err(invalid("the shape").into());
        }
        let n = record.shape.n() as u64;
        within(Self::PLACE, "the number of locations", record.locations.len() as u64, n, n)?;
        within(Self::PLACE, "the number of holders", record.holders.len() as u64, 1, SERVERS_MAX as u64)?;
        within(Self::PLACE, "t", record.t.into(), 1, record.holders.len() as u64)?;
        within(Self::PLACE, "the epoch", record.epoch.into(), 1, u32::MAX.into())?;
        // As 0 it would be the same record in other bytes.
        within(Self::PLACE, "the stand", record.stand.unwrap_or(1).into(), 1, Stand::MAX.into())?;
        let since = u64::from(record.since.unwrap_or(1));
        within(Self::PLACE, "its claim's generation", since, 1, u32::MAX.into())?;
        within(Self::PLACE, "its stand's generation", record.entered.unwrap_or(1).into(), 1, since)?;
        let holders = record.holders.iter().map(|bytes| HolderPublicKey::from_bytes(bytes));
        let holders = holders.collect::<Result<_, _>>().map_err(|_| invalid("a holder's public key"))?;
        let custodians = CustodianPackage::from_bytes(&record.custodians).map_err(|_| invalid("the package"))?;
        let batch = Batch::from_bytes(&record.batch).map_err(|_| invalid("the batch"))?;
        let secrets = record.secrets.iter().map(|bytes| KeyRecord::from_bytes(bytes));
        let secrets = secrets.collect::<Result<_, _>>().map_err(|_| invalid("a key record"))?;
        Ok(Self { holders, custodians, batch, secrets, vkey, record, object })
    }

    pub(crate) fn hash(&self) -> Digest {
        hash(&self.object)
    }

    pub(crate) fn name(&self, repair: u8) -> Result<Name, VaultError> {
        name(self.record.epoch, repair)
    }

    /// Opens the system secrets, each by `open`.
    pub(crate) fn open_secrets(
        &self,
        open: impl Fn(&KeyRecord, &Batch) -> Result<Arc<DataKey>, VaultError>,
    ) -> Result<Secrets, VaultError> {
        let subjects: Vec<Id16> = self.secrets.iter().map(|record| record.subject).collect();
        let secrets = Secrets::open(self.vkey.name(), Secrets::vault_keys_among(&subjects), |subject| {
            let record = self.secrets.iter().find(|record| record.subject == subject).ok_or(VaultError::KeyRecord)?;
            open(record, &self.batch)
        })?;
        if secrets.log.vkey() != &self.vkey {
            let (expected, found) = (self.vkey.to_string(), secrets.log.vkey().to_string());
            return Err(VaultError::OtherCentre { expected, found });
        }
        Ok(secrets)
    }
}

fn name(epoch: u32, repair: u8) -> Result<Name, VaultError> {
    let name = format!("{PREFIX}{epoch:08x}");
    Ok(Name::new(if repair == 0 { name } else { format!("{name}.r{repair}") })?)
}

/// The sound records at one location.
pub(crate) fn at(location: &dyn Location) -> Result<Vec<Centre>, LocationError> {
    let mut names: Vec<Name> = Vec::new();
    while names.len() < NAMES_MAX {
        let after = names.last().cloned().map_or_else(|| Name::new(PREFIX), Ok)?;
        let page = location.list(Some(&after), NAMES_PAGE)?;
        let before = names.len();
        names.extend(page.into_iter().map(|listed| listed.name).take_while(|name| name.as_str().starts_with(PREFIX)));
        if names.len() < before + NAMES_PAGE {
            break;
        }
    }
    // In the order of their epochs.
    let newest = names.split_off(names.len().saturating_sub(RECORDS_MAX));
    Ok(newest
        .into_iter()
        .filter_map(|name| location.get(&name, None).ok().flatten())
        .filter_map(|object| Centre::from_object(object).ok())
        .collect())
}

/// The custodians' package of this centre record, and those of records before it, newest first: their custodians may still be
/// the only ones who open what isn't dealt anew yet.
pub(crate) fn packages<'a>(
    centre: &Centre,
    locations: impl Iterator<Item = &'a dyn Location>,
) -> Vec<CustodianPackage> {
    let mut earlier: Vec<Centre> = locations.filter_map(|location| at(location).ok()).flatten().collect();
    earlier.retain(|one| one.vkey == centre.vkey && one.record.epoch < centre.record.epoch);
    earlier.sort_by_key(|one| std::cmp::Reverse(one.record.epoch));
    let mut packages: Vec<CustodianPackage> = vec![centre.custodians.clone()];
    for one in earlier {
        if !packages.contains(&one.custodians) {
            packages.push(one.custodians);
        }
    }
    packages.truncate(PACKAGES_MAX);
    packages
}

/// Of the records that the locations show those of one log key, the newest first. Where they show several keys, only `pinned`
/// decides: whoever controls some locations can make up a whole centre of his own, and a vote of locations would follow him.
pub(crate) fn of_one_log(mut centres: Vec<Centre>, pinned: Option<&Vkey>) -> Result<Vec<Centre>, VaultError> {
    let mut vkeys: Vec<String> = centres.iter().map(|centre| centre.vkey.to_string()).collect();
    vkeys.sort();
    vkeys.dedup();
    match (pinned, vkeys.as_slice()) {
        (_, []) => return Err(VaultError::NoCentreRecord),
        (None, [_]) => {}
        (None, several) => return Err(VaultError::ManyCentres { found: several.len() }),
        (Some(pinned), found) => {
            centres.retain(|centre| centre.vkey == *pinned);
            if centres.is_empty() {
                let (expected, found) = (pinned.to_string(), found.join(", "));
                return Err(VaultError::OtherCentre { expected, found });
            }
        }
    }
    // Each was made under a claim of its own, which no other writer has.
    centres.sort_by_cached_key(|one| std::cmp::Reverse((one.record.since(), one.record.epoch, one.hash().0)));
    centres.dedup_by(|a, b| a.object == b.object);
    Ok(centres)
}
