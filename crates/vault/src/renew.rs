//! Who holds the keys changes, while records are read and kept: a holder is replaced, custodians are renewed, the holders'
//! keys turn to a new epoch.
//!
//! ```text
//!  a turn       turn_keys ──► adopt ──► reseal ──► finish_turn     each holder seals its own shares again
//!  otherwise                  adopt ──► deal_anew                  the custodians' key opens, a new dealing closes
//! ```
//!
//! [`Vault::adopt`] puts a new centre record everywhere; from then on new patients are dealt to those whom it names, and
//! what was dealt before opens as it did. Each step may be repeated: what was cut short goes on where it stopped.

use std::collections::HashSet;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use keys::{
    Batch, CustodianPackage, DataKey, Holder, HolderError, HolderPublicKey, KeyRecord, KeysError, RESEALED_AT_ONCE,
    RecoveryKey, Resealed, Turn, TurnOrder, turned_batch, turned_record,
};
use kit::{Id16, OperationId, PatientId};

use crate::centre::Centre;
use crate::commit::all_at_once;
use crate::core::{Core, lock};
use crate::error::VaultError;
use crate::found::Drafting;
use crate::keymap::{ADOPTED, Change, KEY, KEY_BATCH, RESTORED, ROTATED, TURNED};
use crate::mend::{heal_centre, put_record, without_record};
use crate::parcel::Scope;
use crate::secrets::{Secrets, VAULT_KEYS_MAX};
use crate::vault::Vault;

/// How long registrations that began before a change may take to end.
const REGISTRATIONS_PATIENCE: Duration = Duration::from_secs(60);

/// Passes over the log until nobody is left who was dealt to those before: the second finds what was registered meanwhile.
const PASSES_MAX: usize = 8;

/// Entries of one operation.
const RESTORED_AT_ONCE: usize = 256;

/// Who holds the keys from now on.
pub struct Adoption {
    /// All of them, by number, with the keys to deal to.
    pub public: Vec<HolderPublicKey>,
    pub holders: Vec<Arc<dyn Holder>>,
    /// Where they change.
    pub custodians: Option<CustodianPackage>,
    /// The holders keep their old keys until [`Vault::finish_turn`].
    pub is_turn: bool,
}

/// Patients done, and patients in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// One record that was dealt to those who held the keys before.
struct Before {
    patient: PatientId,
    record: KeyRecord,
}

impl Vault {
    /// Every holder makes its key of the next epoch, or of the one that has begun and isn't ended.
    pub fn turn_keys(&self) -> Result<Vec<HolderPublicKey>, VaultError> {
        let _one = lock(&self.writer()?.renewing);
        self.settle_record()?;
        let (opener, centre) = (self.core().opener(), self.core().centre());
        let begun = self.core().keymap().turning;
        let epoch = begun.unwrap_or_else(|| centre.batch.epoch.saturating_add(1));
        at_once(opener.holders(), |holder| holder.begin_turn(epoch))
    }

    /// Puts a centre record with these holders and custodians everywhere, and deals to them from now on. Gives its epoch.
    /// Doing it twice changes nothing.
    pub fn adopt(&self, adoption: Adoption) -> Result<u32, VaultError> {
        let writer = self.writer()?;
        let _one = lock(&writer.renewing);
        self.settle_record()?;
        let core = self.core();
        let before = core.centre();
        let Adoption { public, holders, custodians, is_turn } = adoption;
        let custodians = custodians.unwrap_or_else(|| before.custodians.clone());
        let others = before.custodians != custodians;
        let is_there = before.holders == public && !others;
        let opener = core.opener().renewed(holders, &public, before.record.t)?;
        // Whoever deals from here on deals to the new ones. Taken before the pause: who deals waits for the committer.
        let mut dealing = lock(&writer.dealing);
        if is_there {
            core.adopt((*before).clone(), opener);
        } else {
            let draft = Drafting { holders: public, custodians, ..Drafting::like(&before, core.next_epoch(), 0) };
            self.record_anew(draft, None, |core, centre| core.adopt(centre, opener))?;
        }
        *dealing = None;
        let centre = core.centre();
        // Before anybody is dealt to them: what stands above this entry is theirs.
        if !is_there {
            self.enter(ADOPTED, Change::of(&centre, is_turn, others).to_bytes())?;
        }
        drop(dealing);
        self.registrations_ended(centre.record.epoch)
    }

    /// Every living patient's key that was dealt before the last adoption is opened by the custodians' key and dealt anew:
    /// a fresh secret is split among the holders that there are now. Gives how many were. `recovery` is of some of
    /// [`Vault::custodian_packages`]; where what it doesn't open is to be dealt, it fails.
    pub fn deal_anew(&self, recovery: &RecoveryKey, progress: Progress<'_>) -> Result<u64, VaultError> {
        let writer = self.writer()?;
        let _one = lock(&writer.renewing);
        self.settle_record()?;
        let core = self.core();
        let mut done = 0;
        for _ in 0..PASSES_MAX {
            let before = self.dealt_before(true)?;
            if before.is_empty() {
                return Ok(done);
            }
            let of = done + before.len() as u64;
            // Looked at again for each: who is erased meanwhile is dealt to nobody.
            let living = before.iter().filter(|one| !core.keymap().erased.contains_key(&one.patient));
            let keys = living.map(|Before { patient, record }| {
                let key = recovery.open(record, &*core.batch(record.recovery_batch())?)?;
                Ok((*patient, Arc::new(key)))
            });
            done += self.deal_again(keys, &mut |dealt| progress(done + dealt, of))?;
        }
        Err(VaultError::Internal { step: "dealing anew: registrations outran it" })
    }

    /// Living patients who are dealt to holders or custodians that there were before: a renewal or a replacement was cut short. A
    /// change whose writer was killed before its entry counts.
    pub fn undealt(&self) -> Result<u64, VaultError> {
        let _one = lock(&self.writer()?.renewing);
        self.settle_record()?;
        Ok(self.dealt_before(true)?.len() as u64)
    }

    /// Every holder seals its own share of every living patient again, to its next key, and confirms that it opens. Gives
    /// what the order to destroy the old keys has to name.
    pub fn reseal(&self, progress: Progress<'_>) -> Result<Turn, VaultError> {
        let writer = self.writer()?;
        let _one = lock(&writer.renewing);
        self.settle_record()?;
        let core = self.core();
        let (centre, opener) = (core.centre(), core.opener());
        let epoch = centre.batch.epoch;
        let (mut refused, mut done) = (HashSet::new(), 0);
        for _ in 0..PASSES_MAX {
            let mut before = self.dealt_before(false)?;
            before.retain(|one| !refused.contains(&one.patient));
            // Of fewer holders than there are: what the others are to seal again, they never had.
            let others = before.iter().filter(|one| usize::from(one.record.n) != opener.holders().len()).count();
            if others > 0 {
                return Err(VaultError::DealtToFewer { patients: others as u64 });
            }
            if before.is_empty() {
                break;
            }
            let of = done + before.len() as u64;
            let to = self.own_batch(opener.holders(), epoch)?;
            for group in before.chunk_by(|a, b| a.record.batch == b.record.batch) {
                let Some(first) = group.first() else { continue };
                let from = core.batch(first.record.batch)?;
                for group in group.chunks(RESEALED_AT_ONCE) {
                    self.reseal_group(opener.holders(), &from, &to, group, &mut refused)?;
                    done += group.len() as u64;
                    progress(done, of);
                }
            }
        }
        // A holder that refuses whom the log doesn't erase was told so past it: nobody's shares are destroyed over that.
        let erased = core.keymap().erased.clone();
        let living = refused.iter().filter(|patient| !erased.contains_key(patient)).count();
        if living > 0 {
            return Err(VaultError::RefusedAlive { patients: living as u64 });
        }
        self.confirm(opener.holders(), epoch, progress)
    }

    /// Every holder destroys its key of the epoch before, where what it confirmed is what the order names.
    pub fn finish_turn(&self, order: &TurnOrder) -> Result<(), VaultError> {
        let writer = self.writer()?;
        let _one = lock(&writer.renewing);
        at_once(self.core().opener().holders(), |holder| holder.finish_turn(order))?;
        if self.core().keymap().turning == Some(order.turn.epoch) {
            self.enter(TURNED, order.turn.to_bytes())?;
        }
        Ok(())
    }

    /// Those who hold the keys now, by number; one that isn't there keeps its place.
    pub fn holders(&self) -> Vec<Arc<dyn Holder>> {
        self.core().opener().holders().to_vec()
    }

    /// An empty location is put in the place of this one: nothing is sent there until it is filled, by [`Self::refill`] or a
    /// scrub, and it vouches for nothing.
    pub fn expect_empty(&self, location: &str) {
        for slot in self.core().shelf().slots.iter().filter(|slot| slot.id == location) {
            let mut state = slot.state();
            (state.down, state.bare) = (false, true);
        }
    }

    /// That it was empty is as it should be: what it lacks is brought there in the background. False where it doesn't answer.
    pub fn refill(&self, location: &str) -> bool {
        let (shelf, centre) = (self.core().shelf(), self.core().centre());
        let bare = shelf.slots.iter().filter(|slot| slot.id == location && slot.state().bare);
        bare.fold(true, |all, slot| {
            let given = heal_centre(slot, &centre).unwrap_or(false);
            let mut state = slot.state();
            // The healer asks it what it has.
            (state.down, state.bare) = (true, !given);
            all && given
        })
    }

    /// Erased patients whose newest record the holders can still open, but for their refusing it: they were erased after their
    /// shares had been sealed again, or since. The next turn leaves them out.
    pub fn erased_since_turn(&self) -> Result<u64, VaultError> {
        let core = self.core();
        let epoch = core.centre().batch.epoch;
        self.erased_where(|record| Ok(core.batch(record.batch)?.epoch == epoch))
    }

    /// Erased patients who were dealt to the custodians that there are now: the next renewal leaves them out.
    pub fn erased_since_renewal(&self) -> Result<u64, VaultError> {
        let core = self.core();
        self.erased_where(|record| {
            let keymap = core.keymap();
            Ok(keymap.batches.get(&record.recovery_batch()).is_some_and(|index| *index >= keymap.custodians))
        })
    }

    fn erased_where(&self, is_one: impl Fn(&KeyRecord) -> Result<bool, VaultError>) -> Result<u64, VaultError> {
        let erased: Vec<PatientId> = self.core().keymap().erased.keys().copied().collect();
        let mut count = 0;
        for patient in erased {
            let record = match self.core().read_key_record(patient) {
                Err(VaultError::UnknownPatient) => continue,
                other => other?,
            };
            count += u64::from(is_one(&record)?);
        }
        Ok(count)
    }

    /// A recovery's entry.
    pub(crate) fn note_recovery(&self) -> Result<(), VaultError> {
        self.enter(ADOPTED, Change::of(&self.core().centre(), false, true).to_bytes())
    }

    /// That their erasures were taken back, before their keys are dealt again.
    pub(crate) fn note_restored(&self, patients: &[PatientId]) -> Result<(), VaultError> {
        for some in patients.chunks(RESTORED_AT_ONCE) {
            let operation = self.operation();
            let entry =
                |patient: &PatientId| self.bare(RESTORED, Scope::Patient(*patient), operation, None, Vec::new());
            self.submit(some.iter().map(entry).collect())?;
        }
        Ok(())
    }

    /// Whoever asks how the keys stand is told of a change whose writer was killed before its entry, too.
    pub fn settle(&self) -> Result<(), VaultError> {
        let _one = lock(&self.writer()?.renewing);
        self.settle_record()
    }

    /// Living patients whose keys are split in a way that these holders wouldn't open: `opens` is asked with t and n.
    pub fn split_otherwise(&self, opens: impl Fn(u8, u8) -> bool) -> Result<u64, VaultError> {
        let core = self.core();
        let mut count = 0;
        for patient in core.living() {
            match core.read_key_record(patient) {
                Err(VaultError::UnknownPatient) => {}
                record => {
                    let record = record?;
                    count += u64::from(!opens(record.t, record.n));
                }
            }
        }
        Ok(count)
    }

    /// Before anybody's keys are changed: all who are alive or erased are known, and a centre record that was put when its
    /// writer was killed has its entry, so that what follows from it isn't passed over.
    pub(crate) fn settle_record(&self) -> Result<(), VaultError> {
        let core = self.core();
        if core.keymap().incomplete && core.build_keymap(true)? > 0 {
            return Err(VaultError::Incomplete);
        }
        let (centre, (logged, logged_keys)) = (core.centre(), core.keymap().logged);
        if centre.record.epoch <= logged.max(1) {
            return Ok(());
        }
        // Whether others are custodians isn't asked: all are dealt anew then.
        let is_turn = centre.batch.epoch > logged_keys.max(keys::FIRST_EPOCH);
        self.enter(ADOPTED, Change::of(&centre, is_turn, !is_turn).to_bytes())
    }

    /// The key epoch that has begun, and that not all holders have ended the one before of.
    pub fn turning(&self) -> Option<u32> {
        self.core().keymap().turning
    }

    /// Another key of the vault's seals what is written from now on: heads of entries, and notes. What was written stays under
    /// the key before, which is kept. Gives its number.
    pub fn rotate_vault_key(&self) -> Result<u16, VaultError> {
        let writer = self.writer()?;
        let _one = lock(&writer.renewing);
        self.settle_record()?;
        let core = self.core();
        let number = core.vault_key()?.0.saturating_add(1);
        if number > VAULT_KEYS_MAX {
            return Err(VaultError::VaultKeys { max: VAULT_KEYS_MAX });
        }
        let key = Arc::new(DataKey::random(&*core.entropy));
        let secrets = core.secrets.with_vault_key(&key)?;
        // Whoever opens this centre has to find the key before anything is sealed under it.
        let draft = Drafting::like(&core.centre(), core.next_epoch(), 0);
        self.record_anew(draft, Some(secrets), |core, centre| {
            core.centre_changed(centre);
            core.secrets.vault.add(key);
        })?;
        self.enter(ROTATED, Change::of(&core.centre(), false, false).to_bytes())?;
        self.flush_notes()?;
        Ok(number)
    }

    /// Puts a record of this (without `secrets`: of those that there are) at every location that is there, and on the floor at
    /// least, under a claim of its own and while nothing is written; `then` is done with it before anything is. Where it is
    /// refused, what is written afterwards tells that it never counted.
    fn record_anew(
        &self,
        draft: Drafting,
        secrets: Option<Secrets>,
        then: impl FnOnce(&Core, Centre) + Send + 'static,
    ) -> Result<(), VaultError> {
        let core = Arc::clone(self.core());
        let put = move |generation: u32| {
            let (before, shelf) = (core.centre(), core.shelf());
            core.claim(generation)?;
            let draft = Drafting { since: generation, ..draft };
            let secrets = secrets.as_ref().unwrap_or(&core.secrets);
            let centre = draft.sign(secrets, Some(&before), &*core.clock, &*core.entropy)?;
            let floor = shelf.shape.floor();
            let has = put_record(&shelf, floor, &centre);
            let durable = has.iter().filter(|has| **has).count();
            if durable < floor {
                return Err(VaultError::NotDurable { durable, floor });
            }
            then(&core, centre);
            without_record(&shelf, &has);
            Ok(())
        };
        let pause = self.writer()?.pause(move |highest| match highest.checked_add(1) {
            Some(generation) => (generation, put(generation)),
            None => (highest, Err(VaultError::Generations { max: u32::MAX })),
        });
        pause.map(drop)
    }

    /// An entry of the centre's own.
    pub(crate) fn enter(&self, kind: &str, meta: Vec<u8>) -> Result<(), VaultError> {
        self.submit(vec![self.bare(kind, Scope::Centre, self.operation(), None, meta)]).map(drop)
    }

    fn operation(&self) -> OperationId {
        OperationId::random(&*self.core().entropy)
    }

    /// Those who are on their way may have been dealt to the holders before: they are found once they are there.
    pub(crate) fn registrations_ended<T>(&self, then: T) -> Result<T, VaultError> {
        let writer = self.writer()?;
        let begun = lock(&writer.registering).clone();
        let since = Instant::now();
        while lock(&writer.registering).iter().any(|patient| begun.contains(patient)) {
            if since.elapsed() > REGISTRATIONS_PATIENCE {
                return Err(VaultError::Internal { step: "waiting for registrations to end" });
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(then)
    }

    /// Living patients whose records are of a batch from before the last adoption; where the custodians are asked for, also
    /// those whose part is of the custodians before.
    fn dealt_before(&self, custodians: bool) -> Result<Vec<Before>, VaultError> {
        let mut before = Vec::new();
        for patient in self.core().living() {
            let record = match self.core().read_key_record(patient) {
                Err(VaultError::UnknownPatient) => continue,
                other => other?,
            };
            let keymap = self.core().keymap();
            let is_before = |batch: Id16, since: u64| keymap.batches.get(&batch).is_none_or(|index| *index < since);
            if is_before(record.batch, keymap.adopted)
                || custodians && is_before(record.recovery_batch(), keymap.custodians)
            {
                drop(keymap);
                before.push(Before { patient, record });
            }
        }
        Ok(before)
    }

    /// A batch of encapsulations that each holder made to itself, in the log.
    fn own_batch(&self, holders: &[Arc<dyn Holder>], epoch: u32) -> Result<Batch, VaultError> {
        let id = Id16(self.core().entropy.id());
        let own = at_once(holders, |holder| holder.own_encapsulation(id))?;
        let batch = turned_batch(id, epoch, own)?;
        self.enter(KEY_BATCH, batch.to_bytes())?;
        Ok(batch)
    }

    fn reseal_group(
        &self,
        holders: &[Arc<dyn Holder>],
        from: &Batch,
        to: &Batch,
        group: &[Before],
        refused: &mut HashSet<PatientId>,
    ) -> Result<(), VaultError> {
        let records: Vec<KeyRecord> = group.iter().map(|one| one.record.clone()).collect();
        let by_holder: Vec<Vec<Resealed>> = at_once(holders, |holder| holder.reseal(from, to, &records))?;
        let (operation, mut entries) = (self.operation(), Vec::with_capacity(group.len()));
        for (at, Before { patient, record }) in group.iter().enumerate() {
            let shares: Option<Vec<_>> = by_holder.iter().map(|shares| shares.get(at).copied().flatten()).collect();
            match shares {
                Some(shares) => {
                    let turned = turned_record(record, to, shares)?;
                    entries.push(self.bare(KEY, Scope::Patient(*patient), operation, None, turned.to_bytes()));
                }
                None => drop(refused.insert(*patient)),
            }
        }
        if entries.is_empty() { Ok(()) } else { self.submit(entries).map(drop) }
    }

    /// Has every holder open what is stored now with its next key.
    fn confirm(&self, holders: &[Arc<dyn Holder>], epoch: u32, progress: Progress<'_>) -> Result<Turn, VaultError> {
        let core = self.core();
        let living = core.living();
        let (mut named, of) = (Vec::with_capacity(living.len()), living.len() as u64);
        for group in living.chunks(RESEALED_AT_ONCE) {
            let read = group.iter().map(|patient| core.read_key_record(*patient));
            let mut records = read.collect::<Result<Vec<KeyRecord>, _>>()?;
            records.sort_by_key(|record| record.batch.0);
            for records in records.chunk_by(|a, b| a.batch == b.batch) {
                let Some(first) = records.first() else { continue };
                let batch = core.batch(first.batch)?;
                at_once(holders, |holder| holder.confirm(&batch, records))?;
            }
            named.extend(group.iter().map(|patient| Id16(patient.0)));
            progress(named.len() as u64, of);
        }
        Ok(Turn::new(core.shelf().vault, epoch, named))
    }
}

/// Asks all holders at once; the first that fails, in the order of their numbers, is the error.
fn at_once<T: Send>(
    holders: &[Arc<dyn Holder>],
    ask: impl Fn(&dyn Holder) -> Result<T, HolderError> + Sync,
) -> Result<Vec<T>, VaultError> {
    let asked = all_at_once(holders, |_, holder| ask(&**holder));
    let answer = |answer: Option<Result<T, HolderError>>| {
        let answer = answer.ok_or(VaultError::Internal { step: "asking a holder" })?;
        Ok(answer.map_err(KeysError::Holder)?)
    };
    asked.into_iter().map(answer).collect()
}
