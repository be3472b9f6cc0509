//! The roster: what a recovery opens before anything else.
//!
//! Whoever knows what comes first (who is on treatment, and all that is read to say how they stand) names those entries; the vault
//! adds the patients' keys, and keeps the whole as an entry of its own. A recovery finds the newest one from the log's tip, and opens
//! what it names and all that was written since: what that costs goes with those entries, not with the archive.
//!
//! ```text
//!  segments   0 ░░░░░█░░░░░░░█░█░░░░░░░░░░░█░░░░░░█░░░░░░ R ▓▓▓▓▓ tip
//!               └ named by the roster ─────────────────┘   └ written since: all of it
//! ```
//!
//! What is opened so is as the log key signed it, segment by segment. That nothing of the log is missing, and that the roster named
//! what it should, only the whole recovery shows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use keys::RecoveryKey;
use kit::format::{self, FormatError, Version, within};
use kit::{Clock, Entropy, OperationId, PatientId, Timestamp};
use ledger::{MemoryStore, Tree, Vkey};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::body::Head;
use crate::commit::Begin;
use crate::core::{Core, Parts};
use crate::error::VaultError;
use crate::gateway::{Gateway, Hashes};
use crate::header::Header;
use crate::location::Location;
use crate::open::{Mode, Opened, signed_tip, tip};
use crate::parcel::{Parcel, Receipt, Scope};
use crate::secrets::{Access, Opener};
use crate::shelf::{Located, Shelf};
use crate::survey::Survey;
use crate::vault::{Start, Vault};
use crate::which::{Standing, Which};

pub(crate) const ROSTER: &str = "vault.roster";

/// Some thousands of patients with all that a course leaves behind.
const ENTRIES_MAX: usize = 2_000_000;
const READER_MAX: usize = 64;
/// Each number takes one to three bytes, as a rule.
const BYTES_MAX: usize = 32 * 1024 * 1024;
/// Segments that are read from the tip down to find a roster, and their bytes. Where none is within, everything is read.
const TAIL_SEGMENTS_MAX: usize = 100_000;
const TAIL_BYTES_MAX: u64 = 2 * 1024 * 1024 * 1024;

/// What a recovery opens first.
#[derive(Encode, Decode)]
struct Roster {
    #[n(0)]
    version: Version<1>,
    /// What was written from this entry on isn't named, and is opened all the same.
    #[n(1)]
    since: u64,
    /// Ascending, each less the one before.
    #[n(2)]
    entries: Vec<u64>,
    /// Where they stand, in the same way.
    #[n(3)]
    segments: Vec<u64>,
    /// From which segment on they have which term: the other half of their names.
    #[n(4)]
    terms: Vec<(u64, u64)>,
    /// Which program looked it up: another one may look up more.
    #[n(5)]
    reader: String,
}

impl Roster {
    const PLACE: &'static str = "roster";

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let roster: Self = format::decode(Self::PLACE, bytes, BYTES_MAX)?;
        within(Self::PLACE, "the reader's letters", roster.reader.len() as u64, 0, READER_MAX as u64)?;
        within(Self::PLACE, "the number of entries", roster.entries.len() as u64, 0, ENTRIES_MAX as u64)?;
        Ok(roster)
    }

    /// None where no segment is.
    fn term_of(&self, segment: u64) -> Option<u64> {
        let at = self.terms.partition_point(|(from, _)| *from <= segment);
        self.terms.get(at.checked_sub(1)?).map(|(_, term)| *term)
    }
}

fn steps(numbers: impl IntoIterator<Item = u64>) -> Vec<u64> {
    let mut before = 0;
    let step = |number: u64| {
        let step = number - before;
        before = number;
        step
    };
    numbers.into_iter().map(step).collect()
}

fn numbers(steps: &[u64]) -> impl Iterator<Item = u64> {
    steps.iter().scan(0_u64, |number, step| {
        *number = number.saturating_add(*step);
        Some(*number)
    })
}

/// What was opened of the log before the whole of it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FirstLook {
    /// When the roster was made, by the clock of the gateway that wrote it.
    pub at: Timestamp,
    /// Of what was written from this entry on, all was opened; of what was written before, what the roster names.
    pub since: u64,
    /// Entries that were opened, and that the log has.
    pub entries: u64,
    pub log: u64,
    /// Which program looked up what the roster names, as it said itself: over that, only the same one finds the same.
    pub reader: String,
}

/// The heads that a first look has opened, with their segments.
#[derive(Default)]
pub(crate) struct Heads(BTreeMap<u64, (ByteVec, u64)>);

impl Heads {
    pub(crate) fn get(&self, index: u64) -> Option<(&[u8], u64)> {
        self.0.get(&index).map(|(head, segment)| (head.as_slice(), *segment))
    }

    pub(crate) fn from(&self, index: u64) -> impl Iterator<Item = (u64, u64, &[u8])> {
        self.0.range(index..).map(|(index, (head, segment))| (*index, *segment, head.as_slice()))
    }
}

impl Vault {
    /// Keeps what a recovery is to open first: these entries, of those before `since`, and the keys of these patients. The newest
    /// one counts. `reader`: which program looked them up.
    pub fn keep_roster(
        &self,
        since: u64,
        entries: &BTreeSet<u64>,
        patients: &BTreeSet<PatientId>,
        reader: &str,
    ) -> Result<Receipt, VaultError> {
        self.writer()?;
        let core = self.core();
        let mut named: BTreeSet<u64> = entries.range(..since).copied().collect();
        for patient in patients {
            named.extend(key_entries(core, *patient)?.into_iter().filter(|entry| *entry < since));
        }
        if named.len() > ENTRIES_MAX {
            return Err(VaultError::RosterTooLong { found: named.len(), max: ENTRIES_MAX });
        }
        let shelf = core.shelf();
        let segments: BTreeSet<u64> =
            named.iter().filter_map(|entry| shelf.catalogue.segment_of(*entry)).map(|(segment, _)| segment).collect();
        let roster = Roster {
            version: Version,
            since,
            entries: steps(named),
            segments: steps(segments),
            terms: shelf.catalogue.terms(),
            reader: reader.to_owned(),
        };
        let (kind, payload) = (ROSTER.to_owned(), Some(format::encode(&roster)));
        let parcel = Parcel { scope: Scope::Centre, kind, meta: Vec::new(), payload };
        let operation = OperationId::random(&*core.entropy);
        let entry = core.prepare(parcel, operation, None, &core.secrets.centre)?;
        self.submit(vec![entry])?.pop().ok_or(VaultError::Internal { step: "keeping the roster" })
    }

    /// Where this vault was opened by a roster: of how much of the log.
    pub fn first_look(&self) -> Option<FirstLook> {
        self.core().first_look()
    }
}

/// What opens her charts: her key's record, and the batch that it is of. Of whom is erased, the erasure: nobody is to take her for
/// somebody of whom nothing is known.
fn key_entries(core: &Core, patient: PatientId) -> Result<Vec<u64>, VaultError> {
    let keymap = core.keymap();
    let (key, erased) = (keymap.keys.get(&patient).copied(), keymap.erased.get(&patient).copied());
    drop(keymap);
    let Some(key) = key.filter(|_| erased.is_none()) else { return Ok(key.into_iter().chain(erased).collect()) };
    // By which the custodians open it.
    let batch = core.key_record(patient)?.recovery_batch();
    let batch = core.keymap().batches.get(&batch).copied();
    Ok([key].into_iter().chain(batch).collect())
}

/// Opens, by the custodians' key, what the newest roster names and all that was written since, for reading; `None` where there is
/// no roster near the log's tip, or where something behind that is shown and can't be read. What is noted meanwhile waits in `gateway`, as with [`crate::preview`].
pub fn first_look(
    survivors: &[Arc<dyn Location>],
    key: Arc<RecoveryKey>,
    vkey: Option<&Vkey>,
    gateway: PathBuf,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Option<Vault>, VaultError> {
    let which = Which::of(survivors, vkey, true)?.readable()?.opened_by(&key.public_key());
    let Standing { centre, shelf, survey, .. } = which.counts;
    let (have, need) = (survey.responding(), shelf.shape.k());
    if have < need {
        return Err(VaultError::NotEnoughLocations { have, need, older: survey.not_answering(&shelf) });
    }
    let opener = Opener::new(Access::Custodians(key), &centre.holders, centre.record.t, Arc::clone(&clock))?;
    let secrets = centre.open_secrets(|record, batch| opener.open(record, batch, "gateway", "recovery"))?;
    let core = Core::new(Parts {
        shelf,
        tree: Tree::empty(Hashes::Memory(MemoryStore::default()))?,
        claim: None,
        epoch: centre.record.epoch,
        checkpoint: None,
        centre,
        secrets,
        opener,
        gateway: Some(Gateway::open(&gateway)?),
        clock,
        entropy,
    });
    let Some(look) = Look::at(&core, &survey)? else { return Ok(None) };
    core.look_first(look);
    core.build_keymap(false)?;
    let begin = Begin { generation: 0, unsettled: Vec::new(), unsealed: false };
    Vault::start(core, Mode::Read, Start { begin, opened: Opened::default() }).map(Some)
}

/// Segments and heads, while they are gathered.
struct Look<'a> {
    core: &'a Core,
    shelf: Arc<Shelf>,
    located: BTreeMap<u64, Located>,
    heads: Heads,
}

impl<'a> Look<'a> {
    fn at(core: &'a Core, survey: &Survey) -> Result<Option<(FirstLook, Heads)>, VaultError> {
        let shelf = core.shelf();
        let mut look = Self { core, shelf: Arc::clone(&shelf), located: BTreeMap::new(), heads: Heads::default() };
        let Some((newest, header, hash)) = tip(&shelf, survey, shelf.shape.k()) else { return Ok(None) };
        // Somebody shows more than can be read: what that was, only all of it tells.
        if tip(&shelf, survey, 1).is_none_or(|(_, _, shown)| shown != hash) {
            return Ok(None);
        }
        let Some((at, roster)) = look.tail(newest, header, hash)? else { return Ok(None) };
        look.named(survey, &roster)?;
        look.settle(newest);
        let log = shelf.catalogue.entries();
        let first =
            FirstLook { at, since: roster.since, entries: look.heads.0.len() as u64, log, reader: roster.reader };
        Ok(Some((first, look.heads)))
    }

    /// From the tip down, each header by the hash that the one above names, until all that was written since the newest roster is here.
    fn tail(
        &mut self,
        newest: u64,
        mut header: Header,
        mut hash: kit::Digest,
    ) -> Result<Option<(Timestamp, Roster)>, VaultError> {
        let (mut number, mut bytes) = (newest, 0);
        let mut found: Option<(u64, Head)> = None;
        let mut read: Option<(Timestamp, Roster)> = None;
        loop {
            let located = Located::new(&header, hash);
            bytes += u64::from(located.body_len);
            if self.located.len() >= TAIL_SEGMENTS_MAX || bytes > TAIL_BYTES_MAX {
                return Ok(None);
            }
            self.located.insert(number, located);
            if located.count > 0 {
                let opened = self.core.open_segment(&self.shelf, number, &located)?.1;
                for (index, head) in (located.first..).zip(opened.heads) {
                    self.heads.0.insert(index, (head, number));
                }
            }
            if found.is_none() {
                found = self.roster_in(&located)?;
            }
            if let (Some((index, head)), None) = (&found, &read) {
                let extents = head.payload.iter().flat_map(|payload| &payload.extents);
                if extents.map(|extent| extent.segment).min().is_none_or(|lowest| number <= lowest) {
                    self.settle(newest);
                    let payload = self.core.fetch(*index, "gateway", "recovery")?.1;
                    read = Some((head.time, Roster::from_bytes(&payload)?));
                }
            }
            if read.as_ref().is_some_and(|(_, roster)| located.first <= roster.since) {
                return Ok(read);
            }
            let (Some(previous), Some(below)) = (header.previous, number.checked_sub(1)) else { return Ok(None) };
            let broken = VaultError::ChainBroken { segment: below };
            header = self.shelf.header(below, previous.term, previous.hash).ok_or(broken)?;
            (number, hash) = (below, previous.hash);
        }
    }

    /// The newest roster among a segment's entries.
    fn roster_in(&self, located: &Located) -> Result<Option<(u64, Head)>, VaultError> {
        for (index, (bytes, _)) in self.heads.0.range(located.first..located.end()).rev() {
            let head = Head::from_bytes(bytes)?;
            if head.kind == ROSTER {
                return Ok(Some((*index, head)));
            }
        }
        Ok(None)
    }

    /// What the roster names, and where the payloads of that stand.
    fn named(&mut self, survey: &Survey, roster: &Roster) -> Result<(), VaultError> {
        let entries: BTreeSet<u64> = numbers(&roster.entries).collect();
        let segments: BTreeSet<u64> = numbers(&roster.segments).filter(|one| !self.located.contains_key(one)).collect();
        let located = |segment: u64| located_of(&self.shelf, survey, roster, segment);
        let (core, shelf) = (self.core, &*self.shelf);
        let opened = at_once(&segments, |segment| {
            let located = located(segment)?;
            let opened = core.open_segment(shelf, segment, &located)?.1;
            let heads = (located.first..).zip(opened.heads).filter(|(index, _)| entries.contains(index)).collect();
            Ok((segment, located, heads))
        })?;
        let mut payloads = BTreeSet::new();
        for (segment, located, heads) in opened {
            let heads: Vec<(u64, ByteVec)> = heads;
            self.located.insert(segment, located);
            for (index, head) in heads {
                let extents = Head::from_bytes(&head)?.payload.into_iter().flat_map(|payload| payload.extents);
                payloads.extend(extents.map(|extent| extent.segment));
                self.heads.0.insert(index, (head, segment));
            }
        }
        payloads.retain(|segment| !self.located.contains_key(segment));
        let more = at_once(&payloads, |segment| Ok((segment, located_of(&self.shelf, survey, roster, segment)?)))?;
        self.located.extend(more);
        Ok(())
    }

    /// The catalogue has what was found, and between that what nobody has looked at.
    fn settle(&self, newest: u64) {
        let mut all: Vec<Located> = Vec::with_capacity(usize::try_from(newest).unwrap_or(0) + 1);
        for (number, located) in &self.located {
            let at = usize::try_from(*number).unwrap_or(usize::MAX);
            let end = all.last().map_or(0, Located::end);
            // Which of the segments between has which entries isn't known yet: the first gets them all.
            let between = [Located::lost(0, end, located.first)].into_iter();
            let between = between.chain(std::iter::repeat(Located::lost(0, located.first, located.first)));
            let left = at.saturating_sub(all.len());
            all.extend(between.take(left));
            all.push(*located);
        }
        self.shelf.catalogue.set(all);
    }
}

fn located_of(shelf: &Shelf, survey: &Survey, roster: &Roster, segment: u64) -> Result<Located, VaultError> {
    let broken = VaultError::ChainBroken { segment };
    let term = roster.term_of(segment).ok_or(VaultError::ChainBroken { segment })?;
    let mask = survey.segments.get(&(segment, term)).copied().unwrap_or(0);
    let (header, hash) = signed_tip(shelf, segment, term, mask, 1).ok_or(broken)?;
    Ok(Located::new(&header, hash))
}

/// Does this to each, by as many threads as there are cores; in their order.
fn at_once<T: Send>(
    segments: &BTreeSet<u64>,
    each: impl Fn(u64) -> Result<T, VaultError> + Sync,
) -> Result<Vec<T>, VaultError> {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let all: Vec<u64> = segments.iter().copied().collect();
    let each = &each;
    let done: Vec<Result<Vec<T>, VaultError>> = thread::scope(|scope| {
        let workers: Vec<_> = all
            .chunks(all.len().div_ceil(threads).max(1))
            .map(|share| scope.spawn(move || share.iter().map(|segment| each(*segment)).collect()))
            .collect();
        let failed = || Err(VaultError::Internal { step: "reading what comes first" });
        workers.into_iter().map(|worker| worker.join().unwrap_or_else(|_| failed())).collect()
    });
    Ok(done.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}
