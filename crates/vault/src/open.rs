//! Opening: finds the centre record, the newest chain that the locations show, and verifies it down to its first segment.
//!
//! **Which tail counts.** A writer claims a generation at `floor` locations before it writes a segment, and floor is more
//! than half: so generations rise from writer to writer, and no two share one. Of the segments that stand on at least k
//! locations, the one of the highest generation, and then of the highest number, is the tip; its header names the hash of
//! the one before, and so on. Whatever was acknowledged stands on `floor` locations; of these at least k answer when
//! `Shape::quorum` locations do (n − floor + k), so that it is in the chain that every later writer goes on from. A tail on
//! fewer than k locations can't be read and can't have been acknowledged: it is abandoned, and reported. A location that
//! was emptied or set back since doesn't count as one that answers: see `Survey::answers`.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use kit::{Clock, Entropy};
use ledger::{Checkpoint, LeafHash, MemoryStore, SignedCheckpoint, Tree, Vkey};

use crate::centre::Centre;
use crate::claim::{SignedClaim, term_of};
use crate::code::Coder;
use crate::commit::{Begin, restore};
use crate::core::{Core, Parts};
use crate::error::VaultError;
use crate::found::Drafting;
use crate::gateway::{Gateway, Hashes};
use crate::header::{self, Header};
use crate::keymap::Keymap;
use crate::location::Location;
use crate::secrets::{Access, Opener};
use crate::shelf::{Located, Shelf, Slot};
use crate::survey::Survey;
use crate::vault::{Start, Vault};
use crate::which::{Standing, Which};

/// Leaves put into the tree at once.
const LEAVES_AT_ONCE: usize = 65_536;

/// What a vault is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Reading and writing; needs `Shape::quorum` locations.
    Write,
    /// Reading, from whatever locations answer. With fewer than the quorum this may be an older state than was
    /// acknowledged; the checkpoint says which.
    Read,
}

/// How to open a vault.
pub struct Opening {
    /// Those that there are, in any order.
    pub locations: Vec<Arc<dyn Location>>,
    pub access: Access,
    /// The gateway's own folder. Without one nothing is remembered: no notes, no rollback noticed.
    pub gateway: Option<PathBuf>,
    /// The centre's log key, where it is known from elsewhere.
    pub vkey: Option<Vkey>,
    pub mode: Mode,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
}

/// What opening came upon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// Segments behind the newest signed checkpoint that stood on at least k locations: taken into the log.
    pub adopted_segments: u64,
    /// Segments of tails that stood on fewer than k locations, or that a later writer had abandoned.
    pub abandoned_segments: u64,
    /// Entries that a signed checkpoint at some location counts, and that can't be read from these. Only ever more than
    /// nothing for `Mode::Read`.
    pub lost_entries: u64,
    /// Segments behind the last that can be read: on fewer than k locations, and nothing says whether they were acknowledged.
    /// Counted for `Mode::Read` only: whoever writes leaves them aside.
    pub unsettled_segments: u64,
    /// Segments with entries that have fewer than k good shards; among those that opening had to read.
    pub unreadable_segments: u64,
    /// Notes that were in the gateway's write-ahead log, and went into the ledger or wait for it.
    pub replayed_notes: u64,
    /// Bytes behind the last whole note: an append cut short.
    pub torn_note_bytes: u64,
    /// Notes in the middle of the write-ahead log that don't open: altered.
    pub damaged_notes: u64,
    /// Notes that stay in the write-ahead log: they may stand in a segment that can't be read, or not be in the ledger yet.
    pub unsure_notes: u64,
    /// The key map's snapshot could be used.
    pub keymap_remembered: bool,
    /// The ledger's hashes could be used.
    pub hashes_remembered: bool,
}

impl Opened {
    /// What of the log may be missing from whatever is read, where something may.
    pub fn missing(&self) -> Option<String> {
        let counts = [
            (self.lost_entries, "entries that were acknowledged can't be read"),
            (self.unreadable_segments, "segments have too few good shards"),
            (self.unsettled_segments, "segments behind the last that can be read may have been acknowledged"),
        ];
        let said: Vec<String> =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        (!said.is_empty()).then(|| said.join("; "))
    }
}

/// Opens a vault. Verifies the centre record's signature, the chain of headers back from the newest signed one, and the
/// leaves in them against the newest signed checkpoint; compares with what the gateway remembers.
pub fn open(opening: Opening) -> Result<Vault, VaultError> {
    let gateway = opening.gateway.as_deref().map(Gateway::open).transpose()?;
    let remembered = gateway.as_ref().map_or(Ok(None), Gateway::vkey)?;
    let pinned = match (opening.vkey.clone(), remembered) {
        (Some(given), Some(remembered)) if given != remembered => {
            let (expected, found) = (remembered.to_string(), given.to_string());
            return Err(VaultError::OtherCentre { expected, found });
        }
        (given, remembered) => given.or(remembered),
    };
    // The custodians' reader takes survivors in whatever order, marked or not: by the hashes it tells which shards stand there.
    let anywhere = matches!((opening.mode, &opening.access), (Mode::Read, Access::Custodians(_)));
    let mut which = Which::of(&opening.locations, pinned.as_ref(), anywhere)?;
    if opening.mode == Mode::Read {
        which = which.readable()?;
    }
    if let Access::Custodians(key) = &opening.access {
        which = which.opened_by(&key.public_key());
    }
    let vault = open_as(opening, gateway, which)?;
    vault.refuse_erased();
    Ok(vault)
}

/// Opens for a recovery, whose centre record stands nowhere yet. Its holders are told of no erasure before that: what they refuse
/// they refuse for ever.
pub(crate) fn open_unrecorded(opening: Opening, centre: Centre) -> Result<Vault, VaultError> {
    let gateway = opening.gateway.as_deref().map(Gateway::open).transpose()?;
    let which = Which::unrecorded(centre, opening.locations.clone());
    open_as(opening, gateway, which)
}

fn open_as(opening: Opening, gateway: Option<Gateway>, which: Which) -> Result<Vault, VaultError> {
    let Which { counts: Standing { mut centre, shelf, mut survey, .. }, before, mut generation, mut epoch } = which;
    let vault = centre.record.vault;
    let opener = Opener::new(opening.access, &centre.holders, centre.record.t, Arc::clone(&opening.clock))?;
    let secrets = centre.open_secrets(|record, batch| opener.open(record, batch, "gateway", "start"))?;
    if opening.mode == Mode::Write {
        before.settled()?;
    }
    let (have, need) = match opening.mode {
        Mode::Write => (survey.answering(), shelf.shape.quorum()),
        Mode::Read => (survey.responding(), shelf.shape.k()),
    };
    if have < need {
        return Err(VaultError::NotEnoughLocations { have, need, older: survey.not_answering(&shelf) });
    }
    let chain = Chain::find(&shelf, &survey)?;
    if let (Mode::Write, Some(segment)) = (opening.mode, chain.gap) {
        return Err(VaultError::ChainBroken { segment });
    }
    note_missing(&shelf, &survey, &chain);
    let found = chain.segments.last().map_or(0, Located::end);
    let signed = newest_signed(&shelf, &survey, &centre.vkey);
    if opening.mode == Mode::Write && signed > found {
        return Err(VaultError::Behind { signed, found });
    }
    let grown = grow(&shelf, &chain, gateway.as_ref(), &centre.vkey)?;
    let Grown { tree, checkpoint, hashes_remembered, shown_size } = grown;

    // All of it is this log, and none older than what is remembered: what the locations are to show, they may be given.
    let mut claim = survey.claim().cloned();
    if opening.mode == Mode::Write {
        if !before.is_empty() {
            generation = generation.checked_add(1).ok_or(VaultError::Generations { max: u32::MAX })?;
            epoch = epoch.saturating_add(1);
            let own = SignedClaim::sign(&secrets.log, vault, term_of(generation, &*opening.entropy))?;
            let draft = Drafting { entered: generation, ..Drafting::like(&centre, epoch, generation) };
            let again = draft.sign(&secrets, Some(&centre), &*opening.clock, &*opening.entropy)?;
            before.close(&own, &again)?;
            survey.expect(&shelf, &again);
            survey.catch_up(&shelf, &again);
            (centre, claim) = (again, Some(own));
        }
        survey.give(&shelf, &centre);
        mark_bare(&shelf, &survey);
    }

    let mut opened = Opened {
        abandoned_segments: chain.abandoned,
        lost_entries: signed.saturating_sub(found),
        unsettled_segments: if opening.mode == Mode::Read { behind(&shelf, &survey, &chain)? } else { 0 },
        hashes_remembered,
        ..Opened::default()
    };
    let signed_size = checkpoint.as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
    // Everything behind the segment of the last entry that is signed for, pieces of payloads included; a seal is none.
    let settled = |located: &Located| (located.count > 0 || located.is_seal()) && located.end() <= signed_size;
    let settled = chain.segments.iter().rposition(settled);
    let tail: Vec<u64> = (settled.map_or(0, |at| at as u64 + 1)..chain.segments.len() as u64).collect();
    opened.adopted_segments = tail.len() as u64;

    // A snapshot of another history has another root at its watermark.
    let root_at = |size| tree.root_at(size).ok();
    let snapshot = gateway.as_ref().and_then(Gateway::keymap);
    // Of a key before it is of no use: it is made anew from the log.
    let newest = secrets.vault.newest().map(|(_, key)| key);
    let snapshot = snapshot.zip(newest);
    let snapshot = snapshot.map(|(bytes, key)| Keymap::from_snapshot(&bytes, vault, key.bytes(), root_at));
    let keymap = snapshot.transpose()?.flatten();
    opened.keymap_remembered = keymap.is_some();

    if let Some(gateway) = &gateway {
        gateway.remember_vkey(&centre.vkey)?;
    }
    let core = Core::new(Parts {
        claim,
        epoch,
        shelf: shelf.holding(chain.segments),
        tree,
        checkpoint,
        centre,
        secrets,
        opener,
        gateway,
        clock: opening.clock,
        entropy: opening.entropy,
    });
    if let Some(keymap) = keymap {
        *core.keymap_mut() = keymap;
    }
    opened.unreadable_segments = core.build_keymap(false)?;
    let unsettled = if opening.mode == Mode::Write { settle(&core, &tail)? } else { Vec::new() };
    let begin = Begin { generation, unsettled, unsealed: shown_size < found };
    Vault::start(core, opening.mode, Start { begin, opened })
}

/// Segments that any one location shows beside the chain, and that may be of the log all the same: where a quorum answers,
/// what stands on fewer than k of them was never acknowledged.
fn behind(shelf: &Shelf, survey: &Survey, chain: &Chain) -> Result<u64, VaultError> {
    if chain.abandoned == 0 || survey.answering() >= shelf.shape.quorum() {
        return Ok(0);
    }
    let known = Chain::find_on(shelf, survey, 1)?;
    let is_in = |at: usize, one: &Located| chain.segments.get(at).is_some_and(|located| located.term == one.term);
    Ok(known.segments.iter().enumerate().filter(|(at, one)| !is_in(*at, one)).count() as u64)
}

/// Puts the locations in the order of the centre record. One that the record doesn't name, or that was given twice, costs
/// itself only: it is left out. With `anywhere` it takes a place that is free: a reader tells by the hashes which shards
/// stand there.
pub(crate) fn shelve(centre: &Centre, locations: Vec<Arc<dyn Location>>, anywhere: bool) -> Shelf {
    let record = &centre.record;
    let mut given: HashMap<String, Arc<dyn Location>> = HashMap::new();
    let mut left: Vec<Arc<dyn Location>> = Vec::new();
    for location in locations {
        let id = location.id().to_owned();
        if record.locations.contains(&id) && !given.contains_key(&id) {
            given.insert(id, location);
        } else {
            tracing::warn!(location = id, "a location that is none of this vault's, or was given twice");
            left.push(location);
        }
    }
    let mut left = left.into_iter().filter(|_| anywhere);
    let slots = record.locations.iter().map(|id| (id, given.remove(id))).collect::<Vec<_>>().into_iter();
    let slots = slots.map(|(id, location)| Slot::new(id.clone(), location.or_else(|| left.next()))).collect();
    Shelf::new(record.vault, record.stand(), record.shape, slots, *centre.vkey.public_key())
}

/// What each location lacks of the log, by the names that it lists: it was down, or was set back.
pub(crate) fn note_missing(shelf: &Shelf, survey: &Survey, chain: &Chain) {
    for (at, slot) in shelf.slots.iter().enumerate().filter(|(_, slot)| slot.location.is_some()) {
        let mut state = slot.state();
        state.bare = survey.is_bare(at);
        for (number, located) in (0..).zip(&chain.segments) {
            if !survey.lists(at, number, located.term) {
                state.missing.insert(number);
            }
        }
        let (lacks, bare) = (state.missing.len(), state.bare);
        if lacks > 0 || bare {
            tracing::warn!(location = slot.id, lacks, bare, "a location lacks something of the log");
        }
    }
}

/// Those that show no centre record are filled by a scrub.
fn mark_bare(shelf: &Shelf, survey: &Survey) {
    for (at, slot) in shelf.slots.iter().enumerate() {
        slot.state().bare = survey.is_bare(at);
    }
}

/// The segments of the log, 0 first.
pub(crate) struct Chain {
    pub(crate) segments: Vec<Located>,
    pub(crate) abandoned: u64,
    /// What the headers say of earlier segments' acknowledgements, the newest first: kept only for a report of losses.
    pub(crate) promises: HashMap<u64, u8>,
    /// The last segment whose header no location shows. Nothing is written behind such a gap.
    pub(crate) gap: Option<u64>,
}

impl Chain {
    /// The newest chain of segments on at least k locations.
    pub(crate) fn find(shelf: &Shelf, survey: &Survey) -> Result<Self, VaultError> {
        Self::find_on(shelf, survey, shelf.shape.k())
    }

    pub(crate) fn find_on(shelf: &Shelf, survey: &Survey, locations: usize) -> Result<Self, VaultError> {
        let tip = tip(shelf, survey, locations);
        let mut chain = Self { segments: Vec::new(), abandoned: 0, promises: HashMap::new(), gap: None };
        if let Some((number, header, hash)) = tip {
            chain.walk(shelf, survey, number, header, hash)?;
        }
        let counted = survey.segments.keys().filter(|(number, term)| {
            let at = usize::try_from(*number).ok().and_then(|at| chain.segments.get(at));
            at.is_none_or(|located| located.term != *term)
        });
        chain.abandoned = counted.count() as u64;
        if chain.abandoned > 0 {
            tracing::warn!(segments = chain.abandoned, "a tail that was never acknowledged is left aside");
        }
        Ok(chain)
    }

    /// From the tip down: each header names the hash of the one before. Where no location shows that one, the walk goes on
    /// below the gap: a header that the log key signed needs no other one to vouch for it.
    fn walk(
        &mut self,
        shelf: &Shelf,
        survey: &Survey,
        mut number: u64,
        mut header: Header,
        mut hash: kit::Digest,
    ) -> Result<(), VaultError> {
        let broken = |segment| VaultError::ChainBroken { segment };
        loop {
            if header.number != number || header.vault != shelf.vault || !header.has_shape(shelf.shape) {
                return Err(broken(number));
            }
            let above = self.segments.last().map_or_else(|| Located::new(&header, hash).end(), |above| above.first);
            let located = Located::new(&header, hash);
            if located.end() != above {
                return Err(VaultError::Segment { segment: number, what: "its entries don't join the next one's" });
            }
            self.segments.push(located);
            for acknowledged in &header.acknowledged {
                self.promises.entry(acknowledged.segment).or_insert(acknowledged.durable);
            }
            let Some(previous) = header.previous else { break };
            number -= 1;
            if let Some(below) = shelf.header(number, previous.term, previous.hash) {
                (header, hash) = (below, previous.hash);
                continue;
            }
            tracing::error!(segment = number, "no location shows its header");
            let below = below_gap(shelf, survey, number, previous.term, header.first);
            let end = below.as_ref().map_or(0, |(_, below, hash)| Located::new(below, *hash).end());
            let lost = number - below.as_ref().map_or(0, |(lowest, ..)| lowest + 1);
            self.gap.get_or_insert(number);
            // Which of the lost segments had which entries nobody knows any more: the last one gets them all.
            self.segments.push(Located::lost(previous.term, end, header.first));
            self.segments.extend((0..lost).map(|_| Located::lost(previous.term, end, end)));
            let Some((lower, below, below_hash)) = below else {
                self.segments.reverse();
                return Ok(());
            };
            (number, header, hash) = (lower, below, below_hash);
        }
        if number != 0 || header.first != 0 {
            return Err(broken(number));
        }
        self.segments.reverse();
        Ok(())
    }
}

/// The newest segment whose signed header so many locations show. A name alone proves nothing: an attacker who makes up names or
/// truncates his own objects only drops out.
pub(crate) fn tip(shelf: &Shelf, survey: &Survey, locations: usize) -> Option<(u64, Header, kit::Digest)> {
    let on = |mask: &u64| mask.count_ones() as usize;
    let mut candidates: Vec<(u64, u64, u64)> = survey
        .segments
        .iter()
        .filter(|(_, mask)| on(mask) >= locations)
        .map(|((number, term), mask)| (*number, *term, *mask))
        .collect();
    candidates.sort_by_key(|&(number, term, _)| (term >> 32, number, term));
    candidates.iter().rev().find_map(|&(number, term, mask)| {
        signed_tip(shelf, number, term, mask, locations).map(|(header, hash)| (number, header, hash))
    })
}

/// The last signed header below a gap: of the highest number, and of several with it the one of the highest generation,
/// since a tail that was abandoned is of an earlier writer than what took its place.
fn below_gap(shelf: &Shelf, survey: &Survey, gap: u64, term: u64, first: u64) -> Option<(u64, Header, kit::Digest)> {
    let mut below: Vec<_> =
        survey.segments.range(..(gap, 0)).map(|(&(number, term), &mask)| (number, term, mask)).collect();
    below.sort_by_key(|&(number, term, _)| (number, term >> 32));
    below.into_iter().rev().find_map(|(number, of, mask)| {
        let (header, hash) = signed_tip(shelf, number, of, mask, 1)?;
        let fits = of >> 32 <= term >> 32 && Located::new(&header, hash).end() <= first;
        fits.then_some((number, header, hash))
    })
}

/// The header of a candidate for the tip, where enough locations show it, signed.
pub(crate) fn signed_tip(
    shelf: &Shelf,
    number: u64,
    term: u64,
    mask: u64,
    locations: usize,
) -> Option<(Header, kit::Digest)> {
    let mut found: Option<(Header, kit::Digest)> = None;
    let mut shown = 0;
    for at in (0..shelf.slots.len()).filter(|at| mask & (1 << at) != 0) {
        let Some(bytes) = shelf.beginning(at, number, term) else { continue };
        let Some(parts) = header::parts(&bytes) else { continue };
        let hash = Header::hash(parts.header);
        match &found {
            Some((_, known)) => shown += usize::from(hash == *known),
            None => {
                let Some(header) = shelf.signed_header(&parts) else { continue };
                if (header.number, header.term) == (number, term) {
                    found = Some((header, hash));
                    shown = 1;
                }
            }
        }
        if shown >= locations {
            return found;
        }
    }
    None
}

/// The size of the newest checkpoint in any signed header, be it at one location only: so much was acknowledged.
pub(crate) fn newest_signed(shelf: &Shelf, survey: &Survey, vkey: &Vkey) -> u64 {
    let mut names: Vec<_> = survey.segments.iter().map(|((number, term), mask)| (*number, *term, *mask)).collect();
    names.sort_by_key(|&(number, term, _)| (term >> 32, number, term));
    let tip = names.iter().rev().find_map(|&(number, term, mask)| signed_tip(shelf, number, term, mask, 1));
    tip.and_then(|(header, _)| SignedCheckpoint::open(&header.checkpoint, vkey).ok())
        .map_or(0, |checkpoint| checkpoint.size)
}

struct Grown {
    tree: Tree<Hashes>,
    /// The newest one that is good for this tree.
    checkpoint: Option<(Checkpoint, Vec<u8>)>,
    hashes_remembered: bool,
    /// The entries that the newest header's checkpoint counts.
    shown_size: u64,
}

/// The ledger's tree over the chain's leaves: from the remembered hashes as far as a signed checkpoint vouches for them,
/// the rest from the headers.
fn grow(shelf: &Shelf, chain: &Chain, gateway: Option<&Gateway>, vkey: &Vkey) -> Result<Grown, VaultError> {
    let size = chain.segments.last().map_or(0, Located::end);
    let remembered = gateway.and_then(|gateway| gateway.checkpoint(vkey));
    if let Some((checkpoint, _)) = &remembered
        && checkpoint.size > size
    {
        return Err(VaultError::RolledBack { remembered: checkpoint.size, found: size });
    }
    // The newest header carries the newest checkpoint that the locations know.
    let shown = match chain.segments.last() {
        Some(located) => {
            let number = chain.segments.len() as u64 - 1;
            let header = shelf.header(number, located.term, located.hash);
            let note: Vec<u8> = header.ok_or(VaultError::ChainBroken { segment: number })?.checkpoint.into();
            if note.is_empty() { None } else { Some((SignedCheckpoint::open(&note, vkey)?, note)) }
        }
        None => None,
    };
    let newest = remembered.iter().chain(&shown).max_by_key(|(checkpoint, _)| checkpoint.size);

    let (mut tree, mut hashes_remembered) = (None, false);
    if let Some(gateway) = gateway {
        if let Some((checkpoint, _)) = newest {
            tree = Tree::open(gateway.hashes()?, checkpoint.size.min(size), checkpoint.root).ok();
            hashes_remembered = tree.is_some();
        }
        if tree.is_none() {
            tree = Some(Tree::empty(gateway.hashes()?)?);
        }
    }
    let mut tree = match tree {
        Some(tree) => tree,
        None => Tree::empty(Hashes::Memory(MemoryStore::default()))?,
    };
    let mut leaves: Vec<LeafHash> = Vec::new();
    for (number, located) in (0..).zip(&chain.segments) {
        let have = tree.size() + leaves.len() as u64;
        if located.end() <= have {
            continue;
        }
        if located.is_lost() {
            // Behind the gap the tree can't be grown. What stands there is read all the same.
            break;
        }
        let header = shelf.header(number, located.term, located.hash);
        let header = header.ok_or(VaultError::ChainBroken { segment: number })?;
        let known = usize::try_from(have.saturating_sub(located.first)).unwrap_or(usize::MAX);
        leaves.extend(header.leaves.into_iter().skip(known).map(LeafHash::from));
        if leaves.len() >= LEAVES_AT_ONCE {
            tree.append_all(&leaves)?;
            leaves.clear();
        }
    }
    tree.append_all(&leaves)?;
    let grown = |checkpoint: &Checkpoint| chain.gap.is_none() || checkpoint.size <= tree.size();
    for (checkpoint, _) in remembered.iter().chain(&shown).filter(|(checkpoint, _)| grown(checkpoint)) {
        if checkpoint.size > tree.size() {
            return Err(VaultError::RolledBack { remembered: checkpoint.size, found: tree.size() });
        }
        let found = tree.root_at(checkpoint.size)?;
        if found != checkpoint.root {
            return Err(VaultError::Root { size: checkpoint.size, signed: checkpoint.root, found });
        }
    }
    let checkpoint = newest.filter(|(checkpoint, _)| grown(checkpoint)).cloned();
    let shown_size = shown.map_or(0, |(checkpoint, _)| checkpoint.size);
    Ok(Grown { tree, checkpoint, hashes_remembered, shown_size })
}

/// Brings an adopted tail up to the floor, and signs for it. What stays below is given back: nothing is built on it.
fn settle(core: &Core, tail: &[u64]) -> Result<Vec<u64>, VaultError> {
    let shelf = core.shelf();
    let mut coder = Coder::new(shelf.shape);
    let mut unsettled = Vec::new();
    for &segment in tail {
        let good = restore(core, &shelf, &mut coder, segment).unwrap_or(0);
        if good < shelf.shape.floor() {
            unsettled.push(segment);
        }
    }
    if unsettled.is_empty() && !tail.is_empty() {
        let tree = crate::core::lock(&core.tree);
        core.sign_checkpoint(&tree)?;
    }
    Ok(unsettled)
}
