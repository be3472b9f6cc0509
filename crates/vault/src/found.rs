//! Founding: a new vault on empty locations.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use keys::{CustodianPackage, DataKey, Dealer, Holder, HolderPublicKey};
use kit::{Clock, Entropy, Id16};

use crate::centre::{Centre, Draft};
use crate::error::VaultError;
use crate::gateway::Gateway;
use crate::header::Stand;
use crate::location::{Location, Object};
use crate::open::{Mode, Opening, open};
use crate::secrets::{Access, Secrets};
use crate::shape::Shape;
use crate::vault::Vault;

/// How to found a vault.
pub struct Founding {
    /// Random; also in the locations' markers.
    pub vault: Id16,
    /// The log's name: its checkpoints' origin, and its key's name. A host name with a path, without space and `+`.
    pub origin: String,
    pub shape: Shape,
    /// n of them, empty; the first gets shard 0.
    pub locations: Vec<Arc<dyn Location>>,
    /// Those who hold the keys, and how many of them open one.
    pub holders: Vec<Arc<dyn Holder>>,
    pub t: u8,
    pub cache_ms: u64,
    pub custodians: CustodianPackage,
    pub gateway: Option<PathBuf>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// Founds a vault and opens it for writing. Every location has to be there this once.
pub fn found(founding: Founding) -> Result<Vault, VaultError> {
    let Founding { vault, shape, locations, holders, t, clock, entropy, .. } = founding;
    if locations.len() != shape.n() {
        return Err(VaultError::LocationCount { found: locations.len(), n: shape.n() });
    }
    let ids = distinct(&locations)?;
    for location in &locations {
        if !location.list(None, 1)?.is_empty() {
            return Err(VaultError::NotEmpty { location: location.id().to_owned() });
        }
    }
    let secrets = Secrets::random(&founding.origin, &*entropy)?;
    let public = holders.iter().map(|holder| holder.public_key()).collect();
    let draft = Drafting {
        vault,
        stand: 0,
        epoch: 1,
        since: 0,
        entered: 0,
        shape,
        t,
        locations: ids,
        holders: public,
        custodians: founding.custodians,
    };
    let centre = draft.sign(&secrets, None, &*clock, &*entropy)?;
    put_everywhere(&centre, &locations)?;
    if let Some(dir) = &founding.gateway {
        Gateway::open(dir)?.remember_vkey(&centre.vkey)?;
    }
    open(Opening {
        locations,
        access: Access::Holders { holders, cache_ms: founding.cache_ms, prover: None },
        gateway: founding.gateway,
        vkey: Some(centre.vkey),
        mode: Mode::Write,
        clock,
        entropy,
    })
}

/// The ids of the locations, each once.
pub(crate) fn distinct(locations: &[Arc<dyn Location>]) -> Result<Vec<String>, VaultError> {
    let mut seen = BTreeSet::new();
    locations
        .iter()
        .map(|location| match seen.insert(location.id()) {
            true => Ok(location.id().to_owned()),
            false => Err(VaultError::UnknownLocation { location: location.id().to_owned() }),
        })
        .collect()
}

/// A centre record to be.
pub(crate) struct Drafting {
    pub(crate) vault: Id16,
    pub(crate) stand: Stand,
    pub(crate) epoch: u32,
    /// The generation of the claim under which it is made, and of the one under which its stand was entered.
    pub(crate) since: u32,
    pub(crate) entered: u32,
    pub(crate) shape: Shape,
    pub(crate) t: u8,
    pub(crate) locations: Vec<String>,
    pub(crate) holders: Vec<HolderPublicKey>,
    pub(crate) custodians: CustodianPackage,
}

impl Drafting {
    /// As this record, for what changes of it to be put over; made under a claim of this generation.
    pub(crate) fn like(before: &Centre, epoch: u32, since: u32) -> Self {
        let record = &before.record;
        Self {
            vault: record.vault,
            stand: record.stand(),
            epoch,
            since,
            entered: record.entered(),
            shape: record.shape,
            t: record.t,
            locations: record.locations.clone(),
            holders: before.holders.clone(),
            custodians: before.custodians.clone(),
        }
    }

    /// Deals the system secrets to the holders, and signs. `before` is the record that this one takes the place of.
    pub(crate) fn sign(
        self,
        secrets: &Secrets,
        before: Option<&Centre>,
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<Centre, VaultError> {
        let mut holders = self.holders;
        holders.sort_by_key(HolderPublicKey::number);
        let key_epoch = holders.first().map_or(0, HolderPublicKey::epoch);
        let recovery = self.custodians.public_key();
        let (dealer, batch) = Dealer::new(&holders, &recovery, self.t, key_epoch, entropy)?;
        let deal = |(subject, key): (Id16, Arc<DataKey>)| dealer.deal(subject, &key, entropy);
        let records = secrets.all().into_iter().map(deal).collect::<Result<_, _>>()?;
        let draft = Draft {
            vault: self.vault,
            epoch: self.epoch,
            previous: before.map(Centre::hash),
            time: clock.now(),
            stand: self.stand,
            since: self.since,
            entered: self.entered,
            shape: self.shape,
            t: self.t,
            locations: self.locations,
            holders,
            custodians: self.custodians,
            batch,
            secrets: records,
        };
        Centre::sign(draft, secrets)
    }
}

pub(crate) fn put_everywhere(centre: &Centre, locations: &[Arc<dyn Location>]) -> Result<(), VaultError> {
    let name = centre.name(0)?;
    for location in locations {
        location.put_if_absent(&[Object { name: &name, parts: &[&centre.object] }])?;
        // Pair check: what a location can't give back isn't there.
        if location.get(&name, None)?.as_deref() != Some(&centre.object) {
            return Err(VaultError::NotEmpty { location: location.id().to_owned() });
        }
    }
    Ok(())
}
