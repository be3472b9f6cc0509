//! Recovery: from k survivors and the custodians onto fresh locations and fresh holders.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use keys::{CustodianPackage, DataKey, Holder, KeyRecord, RecoveryKey};
use kit::{Clock, Entropy, Id16, PatientId, Timestamp};
use ledger::{MemoryStore, Tree, Vkey};

use crate::body::Head;
use crate::centre::{self, Centre};
use crate::claim::{SignedClaim, generation};
use crate::code::Coder;
use crate::commit::{all_at_once, remake};
use crate::core::{Core, Parts};
use crate::damage::DamageList;
use crate::error::VaultError;
use crate::found::{Drafting, distinct, put_everywhere};
use crate::gateway::Hashes;
use crate::header::{parse_segment_name, segment_name};
use crate::keymap::{KEY, key_record};
use crate::location::{Location, LocationError, Name, Object};
use crate::open::{Chain, Mode, Opening, newest_signed, open, open_unrecorded, shelve};
use crate::secrets::{Access, Opener};
use crate::shelf::Located;
use crate::survey::{LIST_PAGE, Survey};
use crate::vault::Vault;
use crate::which::{Which, newest};

/// Lost segments listed one by one.
pub const LOSSES_LISTED_MAX: usize = 1_000;

/// Bytes of shards, and segments, that are put in one go.
pub(crate) const COPIED_BYTES: usize = 64 * 1024 * 1024;
pub(crate) const COPIED_SEGMENTS: usize = 256;

/// How to recover a vault.
pub struct Recovery {
    /// k or more of the old locations, in any order.
    pub survivors: Vec<Arc<dyn Location>>,
    /// Of the survivors' [`packages`], the newest among them.
    pub key: Arc<RecoveryKey>,
    /// The centre's log key, from the sheet; needed where survivors contradict each other.
    pub vkey: Option<Vkey>,
    /// n of them, empty but for what a recovery that was cut short has copied; the first gets shard 0.
    pub fresh: Vec<Arc<dyn Location>>,
    /// New ones: the old ones' keys may be known to the attacker.
    pub holders: Vec<Arc<dyn Holder>>,
    pub t: u8,
    pub cache_ms: u64,
    /// A new package, where other people are to be custodians; the old recovery key has been put together by now.
    pub custodians: Option<CustodianPackage>,
    /// Erasures that the log holds from this entry on are taken back, where the custodians still open her key ([`erasures`]).
    pub restore_from: Option<u64>,
    /// Patients whose keys these custodians don't open are left sealed, instead of keeping all of it from being recovered.
    pub leave_sealed: bool,
    pub gateway: Option<PathBuf>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// What recovery did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveryReport {
    pub vault: Id16,
    /// The new centre record's.
    pub epoch: u32,
    pub survivors: usize,
    pub custodians: Vec<u8>,
    pub segments: u64,
    /// Entries put together from the survivors.
    pub entries: u64,
    /// Living patients whose keys were dealt anew.
    pub patients: u64,
    /// Living patients whose keys the custodians open by no record that the log holds of them: their charts stay sealed.
    pub unopened_patients: u64,
    /// Erased from the entry on that was named, and not taken back: the custodians don't open their keys.
    pub left_erased: u64,
    /// When the newest entry was made, by the clock of the gateway that wrote it: what was written afterwards isn't in it.
    pub newest: Option<Timestamp>,
    /// Of those that were dealt anew, whose erasures were taken back; with the entries that had erased them.
    pub restored: Vec<(PatientId, u64)>,
    /// Erased patients, whose keys were not.
    pub erased_patients: u64,
    /// Tails that were never acknowledged, as far as can be told.
    pub abandoned_segments: u64,
    /// Of these, what may have been acknowledged all the same.
    pub unsettled: Option<Unsettled>,
    /// What was damaged at the survivors.
    pub damage: DamageList,
}

/// A tail behind the newest signed checkpoint that stands on fewer than k locations: its writer ended before any header
/// said whether it was acknowledged, and it can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsettled {
    pub segments: u64,
    /// The highest number that one of its entries has; `None` where it holds pieces of a payload only.
    pub highest_entry: Option<u64>,
}

impl fmt::Display for Unsettled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} segments behind the last that can be read may have been acknowledged", self.segments)?;
        self.highest_entry.map_or(Ok(()), |entry| write!(f, ", highest entry {entry}"))
    }
}

/// A segment that can't be put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub segment: u64,
    /// Its first entry, and how many it has; none where it holds a piece of a large payload.
    pub first: u64,
    pub entries: u64,
    pub good: usize,
    pub need: usize,
    /// Locations that had it when it was acknowledged, where a later header tells.
    pub durable: Option<u8>,
}

/// What can't be put together from the locations that were given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossReport {
    /// Entries that the newest signed header counts.
    pub log_entries: u64,
    pub lost_segments: u64,
    pub lost_entries: u64,
    pub listed: Vec<Loss>,
    /// Beside what is lost for certain.
    pub unsettled: Option<Unsettled>,
    pub locations: usize,
    pub need: usize,
}

impl fmt::Display for LossReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { log_entries, lost_segments, lost_entries, locations, need, .. } = self;
        write!(
            f,
            "{lost_entries} of {log_entries} entries ({lost_segments} segments) can't be put together from {locations} \
             locations, {need} good shards of each segment are needed"
        )?;
        if let Some(durable) = self.listed.first().and_then(|loss| loss.durable) {
            write!(f, "; the first of them stood on {durable} when it was acknowledged")?;
        }
        self.unsettled.map_or(Ok(()), |unsettled| write!(f, "; {unsettled}"))
    }
}

/// Recovers, and opens for writing. Everything that the survivors show is verified against the signed headers before it
/// is put anywhere; whatever was acknowledged and can't be put together makes an error that lists it.
pub fn recover(recovery: Recovery) -> Result<(Vault, RecoveryReport), VaultError> {
    let Recovery { survivors, key, fresh, holders, clock, entropy, .. } = recovery;
    let which = Which::of(&survivors, recovery.vkey.as_ref(), true)?.readable()?.opened_by(&key.public_key());
    let (centre, epoch) = (which.counts.centre, which.epoch);
    let record = &centre.record;
    let (vault, shape) = (record.vault, record.shape);
    if fresh.len() != shape.n() {
        return Err(VaultError::LocationCount { found: fresh.len(), n: shape.n() });
    }
    let ids = distinct(&fresh)?;
    let old =
        gather_all(centre, survivors, Access::Custodians(Arc::clone(&key)), Arc::clone(&clock), Arc::clone(&entropy))?;
    let Gathered { core, survey, chain, lost } = old;
    let restored = recovery.restore_from.map_or(Ok(Vec::new()), |from| take_back(&core, from))?;
    // Before anything is copied: another custodian may have to be called in.
    let (keys, unopened_patients) = living_keys(&core)?;
    if unopened_patients > 0 && !recovery.leave_sealed {
        return Err(VaultError::Sealed { patients: unopened_patients });
    }

    // Above all that is copied; a claim that only a thief made, with the log key in his hands, is left behind.
    let before = core.centre();
    let newest = chain.segments.last().map_or(0, |tip| generation(tip.term)).max(before.record.since());
    let since = newest.checked_add(1).ok_or(VaultError::Generations { max: u32::MAX })?;
    let claim = SignedClaim::sign(&core.secrets.log, vault, u64::from(since) << 32)?;
    for location in &fresh {
        if !holds_only(&core, &claim, &**location)? {
            return Err(VaultError::NotEmpty { location: location.id().to_owned() });
        }
    }
    copy(&core, &chain.segments, &fresh)?;
    for location in &fresh {
        claim.put(&**location)?;
    }
    let custodians = recovery.custodians.unwrap_or_else(|| core.centre().custodians.clone());
    let public = holders.iter().map(|holder| holder.public_key()).collect();
    let like = Drafting::like(&before, epoch.saturating_add(1), since);
    let draft = Drafting { t: recovery.t, locations: ids, holders: public, custodians, ..like };
    let renewed = draft.sign(&core.secrets, Some(&core.centre()), &*clock, &*entropy)?;
    let opening = Opening {
        locations: fresh.clone(),
        access: Access::Holders { holders, cache_ms: recovery.cache_ms, prover: None },
        gateway: recovery.gateway,
        vkey: Some(renewed.vkey.clone()),
        mode: Mode::Write,
        clock,
        entropy,
    };
    let new = open_unrecorded(opening, renewed.clone())?;

    // What is dealt from here on is dealt to these holders, and to these custodians.
    new.note_recovery()?;
    new.note_restored(&restored.iter().map(|(patient, _)| *patient).collect::<Vec<_>>())?;
    let patients = new.deal_again(keys.into_iter().map(Ok), &mut |_| {})?;
    // Last: with the record there, the centre is there. A recovery that ends before leaves none that opens for writing and
    // opens no patient's key; it is begun again, with other empty locations.
    put_everywhere(&renewed, &fresh)?;
    new.refuse_erased();
    let erased_patients = core.keymap().erased.len() as u64;
    let last = chain.segments.last().map_or(0, Located::end).checked_sub(1);
    let newest = last.map(|last| core.head(last).map(|found| found.0.time)).transpose()?;
    let damage = crate::core::lock(&core.shelf().damage).clone();
    let report = RecoveryReport {
        vault,
        epoch: renewed.record.epoch,
        survivors: survey.responding(),
        custodians: key.opened_by().to_vec(),
        segments: chain.segments.len() as u64,
        entries: chain.segments.last().map_or(0, Located::end),
        patients,
        unopened_patients,
        left_erased: recovery.restore_from.map_or(0, |from| erased_from(&core, from).len() as u64),
        newest,
        restored,
        erased_patients,
        abandoned_segments: chain.abandoned,
        unsettled: lost.unsettled,
        damage,
    };
    Ok((new, report))
}

/// The custodians' packages that the survivors show, newest first: for each record that a recovery may go by. The first one
/// counts; where a change of custodians was being put when its writer ended, or was refused to him, those before follow.
pub fn packages(
    survivors: &[Arc<dyn Location>],
    vkey: Option<&Vkey>,
) -> Result<Vec<Vec<CustodianPackage>>, VaultError> {
    let records = Which::of(survivors, vkey, true)?.recoverable()?;
    let all = |centre: &Centre| centre::packages(centre, survivors.iter().map(|location| &**location));
    Ok(records.iter().map(all).collect())
}

/// Opens what survived for reading, by the custodians' key: before anything is copied, so that the first question (who is
/// on treatment?) needn't wait for the last shard. What is noted meanwhile waits in `gateway`, and goes into the ledger
/// when [`recover`] has opened the new vault over the same folder. Who was erased from entry `restore_from` on is among them,
/// and named beside, with the entry that erased her.
pub fn preview(
    survivors: Vec<Arc<dyn Location>>,
    key: Arc<RecoveryKey>,
    vkey: Option<&Vkey>,
    restore_from: Option<u64>,
    gateway: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<(Vault, Vec<(PatientId, u64)>), VaultError> {
    let centre = newest(&survivors, vkey)?;
    let opening = Opening {
        locations: survivors,
        access: Access::Custodians(key),
        gateway: Some(gateway),
        vkey: Some(centre.vkey),
        mode: Mode::Read,
        clock,
        entropy,
    };
    let vault = open(opening)?;
    let taken = restore_from.map_or(Ok(Vec::new()), |from| take_back(vault.core(), from));
    match taken {
        // What is missing may hold them: the recovery itself says what that is.
        Err(VaultError::NothingToTakeBack { .. }) if vault.opened().missing().is_some() => Ok((vault, Vec::new())),
        taken => taken.map(|taken| (vault, taken)),
    }
}

/// Says what can't be put together from these locations, or may be missing, and changes nothing; `None` where all is there.
pub fn assess(
    locations: Vec<Arc<dyn Location>>,
    access: Access,
    vkey: Option<Vkey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Option<LossReport>, VaultError> {
    let centre = newest(&locations, vkey.as_ref())?;
    let lost = gather(centre, locations, access, clock, entropy)?.lost;
    Ok((lost.lost_segments > 0 || lost.unsettled.is_some()).then_some(lost))
}

/// An erasure that the log holds and no later entry takes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedErasure {
    pub entry: u64,
    /// By the clock of the gateway that wrote it: whoever owned that could set it. Its place in the log he couldn't.
    pub time: Timestamp,
    /// The custodians still open her key. Those who become custodians afterwards don't.
    pub opens: bool,
}

/// The erasures that these survivors' log holds, in its order; changes nothing. What a thief of the gateway had erased is told
/// from what was meant by when that was, and by who is found to have asked for it.
///
/// What can't be put together is an error, as it is for [`recover`]: an erasure may stand in it.
pub fn erasures(
    survivors: Vec<Arc<dyn Location>>,
    key: Arc<RecoveryKey>,
    vkey: Option<&Vkey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Vec<LoggedErasure>, VaultError> {
    let which = Which::of(&survivors, vkey, true)?.readable()?.opened_by(&key.public_key());
    let core = gather_all(which.counts.centre, survivors, Access::Custodians(key), clock, entropy)?.core;
    let found = erased_from(&core, 0).into_iter().map(|(entry, patient)| {
        Ok(LoggedErasure { entry, time: core.head(entry)?.0.time, opens: opens(&core, patient)? })
    });
    found.collect()
}

/// Who was erased from this entry on, by the entries.
fn erased_from(core: &Core, from: u64) -> BTreeMap<u64, PatientId> {
    core.keymap().erased.iter().filter(|(_, at)| **at >= from).map(|(patient, at)| (*at, *patient)).collect()
}

/// Those who were erased from this entry on, and whose keys still open, are alive again. Nobody is an error: whoever asks
/// for it has somebody in mind, and a number that is mistyped would leave her erased, and the recovery done.
fn take_back(core: &Core, from: u64) -> Result<Vec<(PatientId, u64)>, VaultError> {
    let mut restored = Vec::new();
    let erased = erased_from(core, from);
    let erasures = erased.len();
    for (entry, patient) in erased {
        if opens(core, patient)? {
            core.keymap_mut().erased.remove(&patient);
            restored.push((patient, entry));
        }
    }
    if restored.is_empty() { Err(VaultError::NothingToTakeBack { from, erasures }) } else { Ok(restored) }
}

/// Whether the custodians open her key. What can't be read is an error, and no answer; what was read and is no key opens
/// nothing, and is hers alone.
fn opens(core: &Core, patient: PatientId) -> Result<bool, VaultError> {
    Ok(opened(old_key(core, patient))?.is_some())
}

/// The key, where there is one.
fn opened(key: Result<Arc<DataKey>, VaultError>) -> Result<Option<Arc<DataKey>>, VaultError> {
    match key {
        Err(error @ (VaultError::Keys(_) | VaultError::KeyRecord | VaultError::UnknownPatient)) => {
            tracing::warn!(%error, "a patient's key");
            Ok(None)
        }
        key => key.map(Some),
    }
}

struct Gathered {
    core: Core,
    survey: Survey,
    chain: Chain,
    lost: LossReport,
}

/// All of it, and who is alive or erased: an error where anything that was acknowledged can't be read.
fn gather_all(
    centre: Centre,
    survivors: Vec<Arc<dyn Location>>,
    access: Access,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Gathered, VaultError> {
    let gathered = gather(centre, survivors, access, clock, entropy)?;
    if gathered.lost.lost_segments > 0 {
        return Err(VaultError::Lost(Box::new(gathered.lost)));
    }
    if gathered.core.build_keymap(false)? > 0 {
        // All of it was read a moment ago; who is erased must not be guessed.
        return Err(VaultError::KeyRecord);
    }
    Ok(gathered)
}

/// The chain that the survivors show, and what of it can't be read.
fn gather(
    centre: Centre,
    survivors: Vec<Arc<dyn Location>>,
    access: Access,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Gathered, VaultError> {
    let opener = Opener::new(access, &centre.holders, centre.record.t, Arc::clone(&clock))?;
    let secrets = centre.open_secrets(|record, batch| opener.open(record, batch, "gateway", "recovery"))?;
    let shelf = shelve(&centre, survivors, true);
    let survey = Survey::of(&shelf, Some(&centre));
    let chain = Chain::find(&shelf, &survey)?;
    // Headers stand in every object: one survivor tells what there was, even where it can't be read any more.
    let known = Chain::find_on(&shelf, &survey, 1)?;
    let signed = newest_signed(&shelf, &survey, &centre.vkey);
    let mut lost = LossReport { locations: survey.responding(), need: shelf.shape.k(), ..LossReport::default() };
    lost.log_entries = known.segments.last().map_or(0, Located::end);
    for (segment, located) in (0..).zip(&known.segments) {
        // Behind the newest checkpoint, and on fewer than k locations: never acknowledged.
        let beyond = located.first >= signed && segment >= chain.segments.len() as u64;
        let good = match shelf.read(segment, located) {
            Ok(_) => continue,
            Err(VaultError::Unreadable { good, .. }) => good,
            Err(error) => return Err(error),
        };
        if beyond {
            let unsettled = lost.unsettled.get_or_insert(Unsettled { segments: 0, highest_entry: None });
            unsettled.segments += 1;
            if located.count > 0 {
                unsettled.highest_entry = Some(located.end() - 1);
            }
            continue;
        }
        lost.lost_segments += 1;
        lost.lost_entries += u64::from(located.count);
        if lost.listed.len() < LOSSES_LISTED_MAX {
            lost.listed.push(Loss {
                segment,
                first: located.first,
                entries: located.count.into(),
                good,
                need: shelf.shape.k(),
                durable: known.promises.get(&segment).copied(),
            });
        }
    }
    let core = Core::new(Parts {
        shelf: shelf.holding(chain.segments.clone()),
        tree: Tree::empty(Hashes::Memory(MemoryStore::default()))?,
        claim: survey.claim().cloned(),
        epoch: centre.record.epoch,
        checkpoint: None,
        centre,
        secrets,
        opener,
        gateway: None,
        clock,
        entropy,
    });
    Ok(Gathered { core, survey, chain, lost })
}

/// Nothing stands there, or what a recovery from the same survivors has copied before it was cut short: that is gone on from.
fn holds_only(core: &Core, claim: &SignedClaim, location: &dyn Location) -> Result<bool, VaultError> {
    let shelf = core.shelf();
    let is_ours = |name: &Name| match parse_segment_name(shelf.stand, name) {
        Some((number, term, repair)) => repair == 0 && shelf.catalogue.get(number).is_some_and(|one| one.term == term),
        None => *name == claim.name,
    };
    let mut after = None;
    loop {
        let page = location.list(after.as_ref(), LIST_PAGE)?;
        if !page.iter().all(|listed| is_ours(&listed.name)) {
            return Ok(false);
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last.name),
            None => return Ok(true),
        }
    }
}

/// All n shards of every segment, made again, to the fresh locations.
fn copy(core: &Core, segments: &[Located], fresh: &[Arc<dyn Location>]) -> Result<(), VaultError> {
    let shelf = core.shelf();
    let mut coder = Coder::new(shelf.shape);
    let mut batch: Vec<(Name, Bytes, Vec<Bytes>)> = Vec::new();
    let mut bytes = 0;
    for (segment, located) in (0..).zip(segments) {
        let (prefix, shards) = remake(core, &shelf, &mut coder, segment, located)?;
        bytes += shards.iter().map(|shard| prefix.len() + shard.len()).sum::<usize>();
        batch.push((segment_name(shelf.stand, segment, located.term, 0)?, prefix, shards));
        if bytes >= COPIED_BYTES || batch.len() >= COPIED_SEGMENTS {
            put_batch(&batch, fresh)?;
            batch.clear();
            bytes = 0;
        }
    }
    put_batch(&batch, fresh)
}

/// Segments' objects, as they go to several locations in one go: each one's name, what stands before its shards, the shards.
pub(crate) type Batch = [(Name, Bytes, Vec<Bytes>)];

/// To all of them at once: the first gets shard 0.
fn put_batch(batch: &Batch, fresh: &[Arc<dyn Location>]) -> Result<(), VaultError> {
    all_at_once(fresh, |at, location| put_at(batch, at, &**location)).into_iter().try_for_each(|put| {
        let failed = VaultError::Internal { step: "copying to a location" };
        put.ok_or(failed)?.map_err(VaultError::from)
    })
}

/// What of it belongs to one location.
pub(crate) fn put_at(batch: &Batch, at: usize, location: &dyn Location) -> Result<(), LocationError> {
    let parts: Vec<[&[u8]; 2]> = batch
        .iter()
        .map(|(_, prefix, shards)| [prefix.as_ref(), shards.get(at).map_or(&[][..], Bytes::as_ref)])
        .collect();
    let objects: Vec<Object<'_>> = batch.iter().zip(&parts).map(|((name, ..), parts)| Object { name, parts }).collect();
    location.put_if_absent(&objects).map(drop)
}

type PatientKeys = Vec<(PatientId, Arc<DataKey>)>;

/// Every living patient's key, in the order of the log, and how many there are that the custodians don't open. Erased patients
/// are passed over: nobody deals theirs again.
///
/// Whoever had the log key could put a record above hers that opens nothing: the newest that does counts.
fn living_keys(old: &Core) -> Result<(PatientKeys, u64), VaultError> {
    let (mut keys, mut left) = (Vec::new(), BTreeMap::new());
    for patient in old.living() {
        match opened(old_key(old, patient))? {
            Some(key) => keys.push((patient, key)),
            None => drop(left.insert(patient, Vec::new())),
        }
    }
    if left.is_empty() {
        return Ok((keys, 0));
    }
    old.scan(0, &mut |_, _, bytes| {
        let head = Head::from_bytes(bytes)?;
        if let (KEY, Some(patient)) = (head.kind.as_str(), head.patient)
            && let (Some(records), Some(record)) = (left.get_mut(&patient), key_record(patient, &head.meta))
        {
            records.push(record);
        }
        Ok::<_, VaultError>(())
    })?;
    let mut sealed = 0;
    for (patient, records) in left {
        match records.iter().rev().find_map(|record| opened(open_by(old, record)).transpose()) {
            Some(key) => keys.push((patient, key?)),
            None => sealed += 1,
        }
    }
    Ok((keys, sealed))
}

/// Her data key, as the custodians open it.
fn old_key(old: &Core, patient: PatientId) -> Result<Arc<DataKey>, VaultError> {
    open_by(old, &old.read_key_record(patient)?)
}

fn open_by(old: &Core, record: &KeyRecord) -> Result<Arc<DataKey>, VaultError> {
    let opener = old.opener();
    opener.open(record, &*old.batch(opener.batch_of(record))?, "gateway", "recovery")
}

#[cfg(test)]
mod tests {
    use keys::LocalHolder;
    use kit::{Digest, ManualClock, OperationId, SeededEntropy};
    use location::{FolderLocation, Marker};

    use super::*;
    use crate::found::Founding;
    use crate::keymap::{ERASED, RESTORED};
    use crate::parcel::{Group, Parcel, Scope};
    use crate::shape::Shape;

    type Servers = (Vec<Arc<dyn Location>>, Vec<Arc<dyn Holder>>);

    struct Site {
        dir: tempfile::TempDir,
        id: Id16,
        entropy: Arc<SeededEntropy>,
        clock: Arc<ManualClock>,
    }

    impl Site {
        fn servers(&self, name: &str) -> Servers {
            let make = |number: u8| -> (Arc<dyn Location>, Arc<dyn Holder>) {
                let folder = self.dir.path().join(name).join(number.to_string());
                std::fs::create_dir_all(&folder).unwrap();
                let marker = Marker::new(format!("server-{number:02}"), self.id, number);
                let location = FolderLocation::init(&folder.join("shards"), marker).unwrap();
                let holder = LocalHolder::init(&folder.join("holder"), number, &*self.entropy).unwrap();
                (Arc::new(location), Arc::new(holder))
            };
            (1..=3).map(make).unzip()
        }

        fn recovery(&self, survivors: &[Arc<dyn Location>], key: &Arc<RecoveryKey>, name: &str) -> Recovery {
            let (fresh, holders) = self.servers(name);
            Recovery {
                survivors: survivors.to_vec(),
                key: Arc::clone(key),
                vkey: None,
                fresh,
                holders,
                t: 2,
                cache_ms: 0,
                custodians: None,
                restore_from: None,
                leave_sealed: false,
                gateway: Some(self.dir.path().join(name).join("gateway")),
                clock: self.clock.clone(),
                entropy: self.entropy.clone(),
            }
        }
    }

    /// Whoever has the log's key and the gateway appends what he likes. A record that is none of hers, one that opens nothing, an
    /// erasure of nobody, one taken back: each costs whom it speaks of at most, and nobody's key that is still in the log.
    #[test]
    fn what_a_thief_of_the_log_key_appends_costs_nobody_else() {
        let entropy = Arc::new(SeededEntropy::new(3));
        let clock = Arc::new(ManualClock::new(Timestamp(1_713_900_000_000)));
        let site = Site { dir: tempfile::tempdir().unwrap(), id: Id16(entropy.id()), entropy, clock };
        let custodian = keys::new_identity();
        let recipients = [custodian.1.to_string()];
        let (package, _) = CustodianPackage::establish(1, &recipients, &*site.entropy).unwrap();
        let key = Arc::new(package.open(&[custodian.0.to_string()]).unwrap());
        let (locations, holders) = site.servers("first");
        let vault = crate::found(Founding {
            vault: site.id,
            origin: "centre.example/log".to_owned(),
            shape: Shape::new(2, 3, 3).unwrap(),
            locations: locations.clone(),
            holders,
            t: 2,
            cache_ms: 0,
            custodians: package,
            gateway: Some(site.dir.path().join("gateway")),
            clock: site.clock.clone(),
            entropy: site.entropy.clone(),
        })
        .unwrap();
        let patients: Vec<PatientId> = (0..4).map(|_| PatientId::random(&*site.entropy)).collect();
        let mut kept = Vec::new();
        for patient in &patients {
            let payload = Some(vec![7; 100]);
            let parcel = Parcel { scope: Scope::Patient(*patient), kind: "test".into(), meta: Vec::new(), payload };
            let operation = OperationId::random(&*site.entropy);
            let group =
                Group { operation, permit: None::<Digest>, new_patients: vec![*patient], parcels: vec![parcel] };
            kept.push(vault.keep(group).unwrap()[0].index);
        }
        let append = |kind: &str, patient: PatientId, meta: Vec<u8>| {
            let operation = OperationId::random(&*site.entropy);
            let entry = vault.bare(kind, Scope::Patient(patient), operation, None, meta);
            vault.submit(vec![entry]).unwrap()[0].index
        };
        let record = |patient| vault.core().read_key_record(patient).unwrap();
        append(KEY, patients[0], b"no record".to_vec());
        // Another's record, and one of her own whose last field opens nothing.
        append(KEY, patients[1], record(patients[2]).to_bytes());
        let mut broken = record(patients[2]);
        broken.recovery[0] ^= 1;
        append(KEY, patients[2], broken.to_bytes());
        let first = append(ERASED, PatientId::random(&*site.entropy), Vec::new());
        append(ERASED, patients[3], Vec::new());
        drop(vault);

        let all = |vault: &Vault| kept.iter().all(|index| vault.fetch(*index, "dr-a", "treatment").is_ok());
        let listed = erasures(locations.clone(), Arc::clone(&key), None, site.clock.clone(), site.entropy.clone());
        assert_eq!(listed.unwrap().iter().map(|one| one.opens).collect::<Vec<_>>(), [false, true]);
        let mut recovery = site.recovery(&locations, &key, "second");
        recovery.restore_from = Some(first);
        let (fresh, holders) = (recovery.fresh.clone(), recovery.holders.clone());
        let (vault, report) = recover(recovery).unwrap();
        assert_eq!((report.patients, report.unopened_patients, report.restored.len()), (4, 0, 1));
        assert!(all(&vault));

        // An erasure of nobody that is taken back: somebody lives who has no key.
        let nobody = PatientId::random(&*site.entropy);
        let entry = |kind| {
            let operation = OperationId::random(&*site.entropy);
            vault.bare(kind, Scope::Patient(nobody), operation, None, Vec::new())
        };
        vault.submit(vec![entry(ERASED)]).unwrap();
        vault.submit(vec![entry(RESTORED)]).unwrap();
        drop((vault, holders));
        let (vault, report) = recover(site.recovery(&fresh, &key, "third")).unwrap();
        assert_eq!((report.patients, report.unopened_patients), (4, 0));
        assert!(all(&vault));
    }
}
