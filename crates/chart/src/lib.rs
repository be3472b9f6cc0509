//! Patient records: FHIR R4 resources and DICOM objects, their versions, blind-index search and the index.
//!
//! `Chart` is the façade. It gives no clinical data without a [`guard::Permit`], and nothing leaves before a durable
//! line says who saw it: [`Released`] is made in one place only, after that line.

mod access;
mod accounting;
mod error;
pub mod fhir;
mod index;
mod journal;
mod locks;
mod meta;
mod objects;
mod records;
mod relation;
mod sensitivity;
mod trace;
mod transact;
mod what;
mod writes;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use guard::{Act, Ask, Caller, Guard, Permit, Purpose, Relation, Sensitivity, Target};
use kit::{Clock, Entropy, Fault, OperationId, PatientId, Timestamp};
use vault::{Entry, Group, Parcel, Receipt, Scope, Vault};
use zeroize::Zeroizing;

pub use access::{AccessAsked, AccessLine, AccessPage, AccessRow, via_text};
pub use accounting::{Account, AccountPage, EventKind, EventRow};
pub use error::ChartError;
pub use index::{Feed, Index, IndexError, Located};
pub use journal::Journal;
pub use meta::{Meta, MetaError, Tag, Tagger, Version};
pub use objects::{Demographics, ObjectDraft, ObjectKept};
pub use records::{Kept, Page};
pub use relation::{LOGIN_SYSTEM, Treats};

use crate::fhir::Change;
use crate::locks::{Held, Keys, Locks};

type Result<T> = std::result::Result<T, ChartError>;

/// Who asks, why, and under which operation: what every call of the façade needs.
#[derive(Clone)]
pub struct Context {
    pub caller: Caller,
    pub purpose: Purpose,
    pub operation: OperationId,
}

/// Bytes that may leave: their access is on the gateway's write-ahead log.
#[derive(Debug)]
pub struct Released {
    pub entry: u64,
    pub version: Version,
    pub patient: Option<PatientId>,
    pub updated: Timestamp,
    /// How this version came to be, where it is a resource.
    pub change: Change,
    /// What explained that it was opened, where that was asked.
    pub relation: Option<Relation>,
    /// Empty for a tombstone.
    pub bytes: Zeroizing<Vec<u8>>,
}

/// What is about to be kept.
pub struct Draft {
    pub scope: Scope,
    /// Of the entry: `fhir`, `dicom`, `treatment.approval`, …
    pub kind: String,
    pub meta: Meta,
    pub payload: Option<Vec<u8>>,
}

/// Bytes of records that are opened at once, where many are, and the one that goes beyond.
const RELEASED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The façade.
pub struct Chart {
    vault: Arc<Vault>,
    guard: Arc<Guard>,
    index: Index,
    tagger: Arc<Tagger>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    locks: Locks,
    /// Naming system of the hospital number; none: an identifier counts whatever its system.
    number_system: Option<String>,
    people: relation::People,
    /// What can't be read is passed over: the index is in memory only, and whoever opened it says what is missing.
    is_partial: bool,
}

impl Chart {
    /// Opens the records of `vault`; `index_file` is made anew from the vault where it is missing or not this
    /// vault's. What guard knows (tokens, sessions, lockdown) is replayed from the ledger.
    pub fn open(
        vault: Arc<Vault>,
        index_file: Option<&Path>,
        peers: Vec<guard::Peer>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self> {
        Self::open_as(vault, index_file, peers, clock, entropy, false)
    }

    /// What is left of the records of a damaged `vault`, by an index in memory: for whoever says that something is missing.
    pub fn open_what_is_left(vault: Arc<Vault>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self> {
        Self::open_as(vault, None, Vec::new(), clock, entropy, true)
    }

    fn open_as(
        vault: Arc<Vault>,
        index_file: Option<&Path>,
        peers: Vec<guard::Peer>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        is_partial: bool,
    ) -> Result<Self> {
        let vault_id = vault.id();
        let index = match index_file {
            Some(file) => Index::open(file, &vault_id.0)?,
            None => Index::in_memory(&vault_id.0)?,
        };
        let tagger = Arc::new(Tagger::new(&vault.index_key()));
        let journal = Arc::new(Journal::new(Arc::clone(&vault), Arc::clone(&tagger), Arc::clone(&entropy)));
        let centre = vault.vkey().name().to_owned();
        let guard =
            Guard::new(centre, Arc::clone(&clock), Arc::clone(&entropy), Arc::clone(&journal) as _, journal, peers)?;
        let chart = Self {
            vault,
            guard: Arc::new(guard),
            index,
            tagger,
            clock,
            entropy,
            locks: Locks::default(),
            number_system: None,
            people: relation::People::default(),
            is_partial,
        };
        match chart.catch_up().and_then(|_| chart.replay_guard()) {
            Err(ChartError::Index(error)) => {
                tracing::error!(%error, "the index is damaged: it is made anew from the ledger");
                chart.index.make_anew()?;
                chart.rebuild_index()?;
            }
            other => other?,
        }
        Ok(chart)
    }

    /// With a naming system, only identifiers of that system are hospital numbers, and those without any, which came by
    /// DICOM before there was one: an insurance number that happens to equal one is then nobody's DICOM Patient ID.
    pub fn with_number_system(mut self, system: Option<String>) -> Self {
        self.number_system = system;
        self
    }

    /// Whether an identifier of this system is a hospital number.
    pub fn is_number_system(&self, system: Option<&str>) -> bool {
        self.number_system.is_none() || system.is_none() || system == self.number_system.as_deref()
    }

    pub fn guard(&self) -> &Arc<Guard> {
        &self.guard
    }

    pub fn vault(&self) -> &Arc<Vault> {
        &self.vault
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    pub fn tagger(&self) -> &Tagger {
        &self.tagger
    }

    /// Applies to the index what the ledger has and the index hasn't.
    pub fn catch_up(&self) -> Result<u64> {
        self.index.apply(|from, apply| self.feed(from, u64::MAX, apply))
    }

    /// Hands the index the entries from `from` on that come before `until`.
    fn feed(&self, from: u64, until: u64, apply: index::Feed<'_>) -> Result<u64> {
        let mut each = |entry: Entry| {
            if entry.index >= until || entry.kind.starts_with("vault.") {
                return Ok(());
            }
            let meta = Meta::from_bytes(entry.index, &entry.meta)?;
            let patient = patient_of(&entry);
            apply(index::Applied { entry: entry.index, patient, time: entry.time, meta: &meta })?;
            Ok(())
        };
        let end = match self.is_partial {
            false => self.vault.scan(from, &mut each)?,
            true => self.vault.scan_what_is_left(from, &mut each)?,
        };
        Ok(end.min(until))
    }

    /// Whether the index says what the ledger does: one is made anew beside it, and the two are compared. Whoever can
    /// write the gateway's disk can write the index.
    pub fn index_is_true(&self) -> Result<bool> {
        if !self.index.is_sound() {
            return Ok(false);
        }
        self.catch_up()?;
        let (applied, content) = self.index.content()?;
        if applied > self.vault.size() {
            return Ok(false);
        }
        let anew = Index::in_memory(&self.vault.id().0)?;
        anew.apply(|from, apply| self.feed(from, applied, apply))?;
        Ok(anew.content()? == (applied, content))
    }

    /// Makes the index anew from the ledger, and reads again what guard had read by it.
    pub fn rebuild_index(&self) -> Result<()> {
        if !self.index.is_sound() {
            self.index.make_anew()?;
        }
        self.index.rebuild(|from, apply| self.feed(from, u64::MAX, apply))?;
        self.replay_guard()
    }

    fn replay_guard(&self) -> Result<()> {
        let list = journal::event_list(&self.tagger);
        let mut from = 0;
        loop {
            let entries = self.index.listed(&list, from, 1_000)?;
            let Some(last) = entries.last() else { return Ok(()) };
            from = last + 1;
            for index in entries {
                let entry = self.vault.entry(index)?;
                let meta = Meta::from_bytes(index, &entry.meta)?;
                self.guard.replay(&guard::Event::from_bytes(&meta.note).map_err(kit::Fault::from)?)?;
            }
        }
    }

    /// Asks guard; the decision is on record whatever it is.
    pub fn admit(&self, context: &Context, act: Act, target: Target, sensitivity: Sensitivity) -> Result<Permit> {
        self.admit_to_do(context, act, target, sensitivity, "")
    }

    /// Asks guard, and says what it is to be done to (`Type/id`, or a search without its values).
    pub fn admit_to_do(
        &self,
        context: &Context,
        act: Act,
        target: Target,
        sensitivity: Sensitivity,
        what: &str,
    ) -> Result<Permit> {
        let Context { caller, purpose, operation } = context;
        let relation = match target {
            Target::Patient(patient) => self.relation((caller.subject(), caller.role()), act, patient, sensitivity)?,
            Target::Centre => None,
        };
        // What is open by a broken glass is opened in an emergency, in the log and on the patient's own list.
        let purpose = match (relation, purpose) {
            (Some(Relation::BreakGlass), Purpose::Treatment) => Purpose::Emergency,
            (_, purpose) => *purpose,
        };
        let ask = Ask { act, target, sensitivity, purpose, relation, operation: *operation, what };
        Ok(self.guard.admit(caller, ask)?)
    }

    /// Keeps drafts as one act: all or nothing. Returns once they are durable and found by the index.
    pub fn keep(&self, permit: &Permit, new_patients: Vec<PatientId>, drafts: Vec<Draft>) -> Result<Vec<Receipt>> {
        self.guard.check(permit)?;
        for draft in &drafts {
            if let (Target::Patient(allowed), Scope::Patient(patient)) = (permit.target(), draft.scope)
                && allowed != patient
            {
                return Err(ChartError::AnotherPatient);
            }
        }
        let parcels = drafts
            .into_iter()
            .map(|mut draft| {
                self.sign_version(permit, &mut draft);
                draft
            })
            .map(|draft| Parcel {
                scope: draft.scope,
                kind: draft.kind,
                meta: draft.meta.to_bytes(),
                payload: draft.payload,
            })
            .collect();
        let group = Group { operation: permit.operation(), permit: Some(permit.digest()), new_patients, parcels };
        let receipts = self.vault.keep(group)?;
        self.catch_up()?;
        Ok(receipts)
    }

    /// Opens entries for the holder of `permit`, notes each access durably, and only then lets them go.
    pub fn release(&self, permit: &Permit, entries: &[u64]) -> Result<Vec<Released>> {
        self.guard.check_opens(permit)?;
        let opened = entries.iter().map(|&entry| self.open_entry(permit, entry)).collect::<Result<Vec<_>>>()?;
        self.note_access(permit, &opened)?;
        Ok(opened)
    }

    /// As [`Chart::release`], a part at a time: what is opened at once stays within bounds, and each part is noted before any of it is
    /// handed to `each`.
    pub fn release_each(&self, permit: &Permit, entries: &[u64], mut each: impl FnMut(Released)) -> Result<()> {
        self.guard.check_opens(permit)?;
        let (mut opened, mut bytes) = (Vec::new(), 0);
        for (left, entry) in (0..entries.len()).rev().zip(entries) {
            let released = self.open_entry(permit, *entry)?;
            bytes += released.bytes.len();
            opened.push(released);
            if bytes >= RELEASED_BYTES_MAX || left == 0 {
                self.note_access(permit, &opened)?;
                opened.drain(..).for_each(&mut each);
                bytes = 0;
            }
        }
        Ok(())
    }

    fn open_entry(&self, permit: &Permit, index: u64) -> Result<Released> {
        let head = self.vault.entry(index)?;
        trace::saw(index, patient_of(&head));
        // Before any key is opened.
        let version = Meta::from_bytes(index, &head.meta)?.version.ok_or(ChartError::NoRecord { entry: index })?;
        let mut relation = None;
        if let Some(patient) = patient_of(&head) {
            if matches!(permit.target(), Target::Patient(allowed) if allowed != patient) {
                return Err(ChartError::AnotherPatient);
            }
            let of = sensitivity::sensitivity(&version.collection);
            relation = match permit.target() {
                Target::Patient(_) if permit.relation().is_some() => permit.relation(),
                _ => self.relation((permit.subject(), permit.role()), permit.act(), patient, of)?,
            };
            self.guard.spend(permit, patient, of, relation.unwrap_or(Relation::Unexplained))?;
        }
        let (entry, bytes) = if head.payload_len.is_some() {
            self.vault.fetch(index, permit.subject(), permit.purpose().as_str())?
        } else {
            (head, Zeroizing::new(Vec::new()))
        };
        let patient = patient_of(&entry);
        Ok(Released { entry: index, version, patient, updated: entry.time, change: Change::Put, relation, bytes })
    }

    /// A patient's key under the lists of `name`.
    pub fn list_tag(&self, name: &str, of: &[u8]) -> Tag {
        self.tagger.full(&[b"list", name.as_bytes(), of])
    }

    /// Entries that stand on a list, oldest first. A list that is longer than `limit` is an error: a part of it, taken
    /// for the whole, would hide the newest.
    pub fn listed(&self, list: &Tag, limit: usize) -> Result<Vec<u64>> {
        let entries = self.index.listed(list, 0, limit.saturating_add(1))?;
        if entries.len() > limit { Err(ChartError::ListTooLong { limit }) } else { Ok(entries) }
    }

    /// Entries on a list that are older than entry `before`, newest first, and no more than `limit`.
    pub fn listed_back(&self, list: &Tag, before: u64, limit: usize) -> Result<Vec<u64>> {
        Ok(self.index.listed_back(list, before, limit)?)
    }

    /// The oldest entry on a list.
    pub fn listed_first(&self, list: &Tag) -> Result<Option<u64>> {
        Ok(self.index.listed(list, 0, 1)?.pop())
    }

    /// The newest entry on a list.
    pub fn newest(&self, list: &Tag) -> Result<Option<u64>> {
        Ok(self.index.listed_back(list, u64::MAX, 1)?.pop())
    }

    /// The note that an entry carries in its meta (never a payload).
    pub fn note_of(&self, entry: u64) -> Result<(Entry, Meta)> {
        let entry = self.vault.entry(entry)?;
        trace::saw(entry.index, patient_of(&entry));
        let meta = Meta::from_bytes(entry.index, &entry.meta)?;
        Ok((entry, meta))
    }

    /// Does `work`, and keeps what it looks up in this thread as what a recovery opens first ([`vault::first_look`]): over that
    /// alone, the same work finds the same; `reader` is which program does it.
    pub fn keep_roster<T>(
        &self,
        reader: &str,
        work: impl FnOnce() -> std::result::Result<T, Fault>,
    ) -> std::result::Result<T, Fault> {
        let since = self.catch_up().map_err(|e| e.fault())?;
        let (done, looked) = trace::looking(work);
        let done = done?;
        let entries = self.with_newest(looked.entries).map_err(|e| e.fault())?;
        self.vault.keep_roster(since, &entries, &looked.patients, reader)?;
        Ok(done)
    }

    /// With the newest version of each record that one of them is a version of: an old one by itself would be taken for it.
    fn with_newest(&self, entries: BTreeSet<u64>) -> Result<BTreeSet<u64>> {
        let mut all = entries.clone();
        for index in entries {
            let entry = self.vault.entry(index)?;
            if entry.kind.starts_with("vault.") {
                continue;
            }
            let version = Meta::from_bytes(index, &entry.meta)?.version;
            let newest = version.map(|version| self.index.locate(&version.key)).transpose()?.flatten();
            all.extend(newest.map(|newest| newest.entry));
        }
        Ok(all)
    }

    /// Whether she has a key: where not all of the log was opened, not everybody has.
    pub fn is_registered(&self, patient: PatientId) -> bool {
        self.vault.is_registered(patient)
    }

    /// Of whom something was written from this entry on, other than who saw it and how her key opens; `is_of_all` names the kinds
    /// that change something of everybody.
    pub fn changed_since(&self, entry: u64, is_of_all: impl Fn(&str) -> bool) -> Result<Changed> {
        let mut changed = Changed::default();
        self.vault.scan(entry, &mut |entry| {
            if !journal::is_of_access(&entry.kind) && !vault::deals_keys(&entry.kind) {
                changed.patients.extend(patient_of(&entry));
                changed.all |= is_of_all(&entry.kind);
            }
            Ok(())
        })?;
        Ok(changed)
    }

    /// Puts writers of the same things one after the other. Whoever holds some must take no more.
    fn hold(&self, keys: &[&Tag]) -> Vec<Held<'_>> {
        self.locks.hold(keys.iter().copied(), std::iter::empty())
    }

    fn hold_keys(&self, keys: &Keys) -> Vec<Held<'_>> {
        self.locks.hold(keys.alone.iter(), keys.together.iter())
    }
}

/// What a part of the log has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    pub patients: BTreeSet<PatientId>,
    /// Something of everybody.
    pub all: bool,
}

fn patient_of(entry: &Entry) -> Option<PatientId> {
    match entry.scope {
        Scope::Patient(patient) => Some(patient),
        Scope::Centre => None,
    }
}

fn scope_of(patient: Option<PatientId>) -> Scope {
    patient.map_or(Scope::Centre, Scope::Patient)
}
