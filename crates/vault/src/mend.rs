//! Verify and scrub: look at every shard of every location; change nothing, or heal what can be healed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use kit::Digest;
use ledger::SignedCheckpoint;

use crate::body::Head;
use crate::centre::{self, Centre};
use crate::code::{self, Coder};
use crate::commit::{at_each, bring, put_shard, remake};
use crate::core::lock;
use crate::damage::{DAMAGE_LISTED_MAX, DamageList, What};
use crate::error::VaultError;
use crate::gateway::Gateway;
use crate::header::Header;
use crate::location::{Location, Object};
use crate::shelf::{Found, Located, REPAIRS_MAX, Shelf, Slot};
use crate::survey::Survey;
use crate::vault::Vault;

/// What a verify looked at, and what it found.
///
/// It verifies: each location's every shard against the hash in the signed header, each header's signature and its place
/// in the chain, each entry's head against its leaf hash, each leaf against the tree (by an inclusion proof), each sealed
/// payload against its digest, the tree against every signed checkpoint in a header, each location's centre record.
/// It doesn't verify what is under patients' keys: it asks no holder and opens no payload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    pub segments: u64,
    pub entries: u64,
    pub payloads: u64,
    pub checkpoints: u64,
    pub shards_good: u64,
    pub shards_expected: u64,
    pub damage: DamageList,
    /// Segments with fewer than k good shards.
    pub lost_segments: u64,
    /// What contradicts itself although its shards are good; listed up to a bound.
    pub contradictions: Vec<String>,
    pub contradictions_total: u64,
    /// Segments at the end that some locations lack, and that nobody was told of: on their way when the gateway ended.
    pub unsettled_segments: u64,
    /// Objects of abandoned tails, healed ones' old forms aside.
    pub abandoned_segments: u64,
    /// What of the log isn't in what was looked at, where anything shows that there was more: locations that were set back.
    pub missing: Option<String>,
}

impl VerifyReport {
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.lost_segments == 0 && self.contradictions_total == 0 && self.missing.is_none()
    }

    fn contradiction(&mut self, text: impl fmt::Display) {
        self.contradictions_total += 1;
        if self.contradictions.len() < DAMAGE_LISTED_MAX {
            self.contradictions.push(text.to_string());
        }
    }
}

/// What a scrub healed, and what it could not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubReport {
    pub segments: u64,
    /// What was damaged before.
    pub damage: DamageList,
    pub healed: u64,
    pub healed_by_location: BTreeMap<String, u64>,
    /// What locations lacked and were brought between the vault's opening and the end of the scrub, beside `healed`.
    pub healed_since_opening: u64,
    /// What is damaged still.
    pub unhealed: DamageList,
    /// Segments with fewer than k good shards: nothing can be made of them.
    pub lost_segments: u64,
}

impl ScrubReport {
    pub fn is_whole(&self) -> bool {
        self.unhealed.is_empty() && self.lost_segments == 0
    }
}

/// The last segment that each location lists: what it lacks behind that, it lacks because it is older.
struct Newest(Vec<Option<u64>>);

impl Newest {
    fn of(survey: &Survey, shelf: &Shelf) -> Self {
        let mut newest = vec![None; shelf.slots.len()];
        for (&(number, term), mask) in &survey.segments {
            if shelf.catalogue.get(number).is_some_and(|located| located.term == term) {
                for (_, last) in newest.iter_mut().enumerate().filter(|(at, _)| mask & (1 << at) != 0) {
                    *last = Some(number);
                }
            }
        }
        Self(newest)
    }

    fn judge(&self, at: usize, segment: u64, what: What) -> What {
        let last = self.0.get(at).copied().flatten();
        match what {
            What::Missing if last.is_some_and(|last| segment > last) => What::Stale,
            other => other,
        }
    }
}

impl Vault {
    /// Looks at everything and changes nothing. Segments that are written meanwhile are not looked at.
    pub fn verify(&self) -> Result<VerifyReport, VaultError> {
        let core = self.core();
        let shelf = core.shelf();
        let survey = Survey::of(&shelf, Some(&core.centre()));
        let newest = Newest::of(&survey, &shelf);
        let segments = shelf.catalogue.segments();
        let mut report = VerifyReport { segments, missing: self.opened().missing(), ..VerifyReport::default() };
        report.abandoned_segments = abandoned(&survey, &shelf);
        // Who gave no answer once is asked no more: a machine that is off would cost a wait for each of its shards.
        let mut silent = BTreeSet::new();
        for (at, slot) in shelf.slots.iter().enumerate() {
            if slot.location.is_none() {
                report.damage.push(&slot.id, None, What::Unreachable);
            } else if let Some(what) = judge_centre(slot, &core.centre()) {
                report.damage.push(&slot.id, None, what);
                silent.extend((what == What::Unreachable).then_some(at));
            }
        }
        let mut before: Option<(u64, Digest)> = None;
        let settled = core.gateway.as_ref().map_or(0, Gateway::settled);
        let signed = lock(&core.checkpoint).as_ref().map_or(0, |(checkpoint, _)| checkpoint.size);
        for segment in 0..report.segments {
            let located = shelf.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
            let (mut header, mut shards) = (None, Vec::new());
            // What a killed gateway had not yet put everywhere is no damage: nobody was told that it is kept.
            let (is_tail, mut lacks) = (segment >= settled && located.first >= signed, false);
            report.shards_expected += shelf.slots.len() as u64;
            for (at, slot) in shelf.slots.iter().enumerate().filter(|(_, slot)| slot.location.is_some()) {
                let found = match silent.contains(&at) {
                    true => Found::Bad(What::Unreachable),
                    false => shelf.examine(at, segment, &located, &mut header, true),
                };
                match found {
                    Found::Good { number, shard, what } => {
                        if shards.iter().all(|(have, _): &(usize, Bytes)| *have != number) {
                            shards.push((number, shard));
                        }
                        match what {
                            Some(what) => report.damage.push(&slot.id, Some(segment), what),
                            None => report.shards_good += 1,
                        }
                    }
                    Found::Bad(What::Missing | What::Truncated) if is_tail => lacks = true,
                    Found::Bad(what) => {
                        silent.extend((what == What::Unreachable).then_some(at));
                        report.damage.push(&slot.id, Some(segment), newest.judge(at, segment, what));
                    }
                }
            }
            report.unsettled_segments += u64::from(lacks);
            match header {
                Some(header) if shards.len() >= shelf.shape.k() => {
                    if header.previous.map(|previous| (previous.term, previous.hash)) != before {
                        report.contradiction(format_args!("segment {segment}: it names another one before it"));
                    }
                    self.verify_segment(&shelf, segment, &located, &header, &shards, &mut report);
                }
                _ if lacks => {}
                _ => report.lost_segments += 1,
            }
            before = Some((located.term, located.hash));
        }
        Ok(report)
    }

    fn verify_segment(
        &self,
        shelf: &Shelf,
        segment: u64,
        located: &Located,
        header: &Header,
        shards: &[(usize, Bytes)],
        report: &mut VerifyReport,
    ) {
        let core = self.core();
        let body = code::decode(shelf.shape, located.body_len as usize, shards);
        let opened = match body.and_then(|body| core.unseal(segment, header, body)) {
            Ok(opened) => opened,
            Err(error) => return report.contradiction(error),
        };
        // All shards have to be shards of this body, not only the k that gave it: their hashes say so, and those were
        // signed together. The coding itself is checked where they are made again.
        let size = core.size();
        for ((index, bytes), leaf) in (located.first..).zip(&opened.heads).zip(&header.leaves) {
            report.entries += 1;
            let tree = lock(&core.tree);
            if tree.leaf(index).map(Digest::from).ok() != Some(*leaf) || tree.prove_inclusion(index, size).is_err() {
                report.contradiction(format_args!("entry {index} is not in the tree"));
            }
            drop(tree);
            match Head::from_bytes(bytes) {
                Ok(Head { payload: Some(payload), .. }) => {
                    let stored = core.check_payload(index, &payload, segment, &opened);
                    report.payloads += 1;
                    if let Err(error) = stored {
                        report.contradiction(error);
                    }
                }
                Ok(_) => {}
                Err(error) => report.contradiction(format_args!("entry {index}: {error}")),
            }
        }
        if !header.checkpoint.is_empty() {
            report.checkpoints += 1;
            let tree = lock(&core.tree);
            match SignedCheckpoint::open(&header.checkpoint, &core.centre().vkey) {
                Ok(checkpoint) if tree.root_at(checkpoint.size).ok() == Some(checkpoint.root) => {}
                Ok(checkpoint) => report.contradiction(format_args!(
                    "segment {segment}: its checkpoint of {} entries is not of this log",
                    checkpoint.size
                )),
                Err(error) => report.contradiction(format_args!("segment {segment}: {error}")),
            }
        }
    }

    /// Makes missing and damaged shards again, from k good ones, and puts them where they belong. Nothing is overwritten:
    /// beside a damaged object that holds its name stands then `….r1`, which readers look for. Empty locations are filled.
    pub fn scrub(&self) -> Result<ScrubReport, VaultError> {
        let core = self.core();
        let shelf = core.shelf();
        let survey = Survey::of(&shelf, Some(&core.centre()));
        let newest = Newest::of(&survey, &shelf);
        let mut report = ScrubReport { segments: shelf.catalogue.segments(), ..ScrubReport::default() };
        for slot in &shelf.slots {
            if slot.location.is_none() {
                report.damage.push(&slot.id, None, What::Unreachable);
                report.unhealed.push(&slot.id, None, What::Unreachable);
            } else if let Some(what) = judge_centre(slot, &core.centre()) {
                report.damage.push(&slot.id, None, what);
                // One location that fails is no reason to heal nothing at the others.
                let healed = heal_centre(slot, &core.centre()).unwrap_or(false);
                report.count(slot, None, what, healed);
            }
        }
        let mut coder = Coder::new(shelf.shape);
        for segment in 0..report.segments {
            let located = shelf.catalogue.get(segment).ok_or(VaultError::ChainBroken { segment })?;
            let mut header = None;
            let mut bad = Vec::new();
            for (at, slot) in shelf.slots.iter().enumerate().filter(|(_, slot)| slot.location.is_some()) {
                let what = match shelf.examine(at, segment, &located, &mut header, true) {
                    Found::Good { what, .. } => what,
                    Found::Bad(what) => Some(newest.judge(at, segment, what)),
                };
                if let Some(what) = what {
                    report.damage.push(&slot.id, Some(segment), what);
                    bad.push((at, slot, what));
                }
            }
            if bad.is_empty() {
                continue;
            }
            let made = match remake(core, &shelf, &mut coder, segment, &located) {
                Ok(made) => Some(made),
                Err(VaultError::Unreadable { .. }) => {
                    report.lost_segments += 1;
                    None
                }
                Err(error) => {
                    tracing::error!(%error, "a segment can't be made again");
                    None
                }
            };
            for (at, slot, what) in bad {
                let healed = made.as_ref().is_some_and(|(prefix, shards)| {
                    let shard = shards.get(at).map(Bytes::as_ref).unwrap_or_default();
                    put_shard(&shelf, at, segment, &located, [prefix, shard]).unwrap_or(false)
                });
                if healed {
                    slot.state().missing.remove(segment);
                }
                report.count(slot, Some(segment), what, healed);
            }
        }
        for slot in shelf.slots.iter().filter(|slot| slot.state().bare) {
            slot.state().bare = judge_centre(slot, &core.centre()).is_some();
        }
        self.catch_up_slots(&mut coder, report.segments);
        report.healed_since_opening = shelf.slots.iter().map(|slot| slot.state().healed).sum();
        if let Some(claim) = lock(&core.claimed).clone() {
            claim.vouch(&shelf);
        }
        Ok(report)
    }
}

impl Vault {
    /// What was written meanwhile went past the locations that were empty until now.
    fn catch_up_slots(&self, coder: &mut Coder, behind: u64) {
        let core = self.core();
        let shelf = core.shelf();
        for (at, slot) in shelf.slots.iter().enumerate() {
            let mut from = behind;
            loop {
                let next = { slot.state() }.missing.first_from(from);
                let Some((segment, located)) = next.and_then(|next| Some((next, shelf.catalogue.get(next)?))) else {
                    break;
                };
                from = segment + 1;
                if slot.state().bare || slot.location.is_none() {
                    break;
                }
                if matches!(bring(core, &shelf, coder, at, segment, &located), Ok(true)) {
                    slot.state().missing.remove(segment);
                }
            }
        }
    }
}

impl ScrubReport {
    fn count(&mut self, slot: &Slot, segment: Option<u64>, what: What, healed: bool) {
        if healed {
            self.healed += 1;
            *self.healed_by_location.entry(slot.id.clone()).or_default() += 1;
        } else {
            self.unhealed.push(&slot.id, segment, what);
        }
    }
}

/// Segments that some location lists and that are none of the chain's; those on their way don't count.
fn abandoned(survey: &Survey, shelf: &Shelf) -> u64 {
    let of_chain = |number: u64, term| shelf.catalogue.get(number).is_none_or(|located| located.term == term);
    survey.segments.keys().filter(|&&(number, term)| !of_chain(number, term)).count() as u64
}

/// What is wrong with a location's centre record.
pub(crate) fn judge_centre(slot: &Slot, centre: &Centre) -> Option<What> {
    let location = slot.location.as_ref()?;
    let mut first = None;
    for repair in 0..=REPAIRS_MAX {
        let what = match location.get(&centre.name(repair).ok()?, None) {
            Ok(Some(object)) if object == centre.object => return None,
            Ok(Some(object)) if centre.object.starts_with(&object) => What::Truncated,
            Ok(Some(_)) => What::Altered,
            Ok(None) => {
                first.get_or_insert(What::Missing);
                break;
            }
            Err(crate::location::LocationError::Damaged { .. }) => What::Altered,
            Err(_) => return Some(What::Unreachable),
        };
        first.get_or_insert(what);
    }
    first
}

/// It shows a centre record, and only ones from before this one.
pub(crate) fn was_away(slot: &Slot, centre: &Centre) -> bool {
    let before = |one: &Centre| one.vkey == centre.vkey && one.record.since() < centre.record.since();
    let shows = |location: &Arc<dyn Location>| centre::at(&**location).is_ok_and(|shown| shown.iter().any(before));
    matches!(judge_centre(slot, centre), Some(What::Missing | What::Altered))
        && slot.location.as_ref().is_some_and(shows)
}

/// Puts it there, beside what holds its name where that is something else. True where it stands there afterwards.
pub(crate) fn heal_centre(slot: &Slot, centre: &Centre) -> Result<bool, VaultError> {
    let Some(location) = &slot.location else { return Ok(false) };
    for repair in 0..=REPAIRS_MAX {
        let name = centre.name(repair)?;
        if location.put_if_absent(&[Object { name: &name, parts: &[&centre.object] }]).is_err() {
            return Ok(false);
        }
        if matches!(location.get(&name, None), Ok(Some(object)) if object == centre.object) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Puts a record at every location that is up. Gives which have it.
pub(crate) fn put_record(shelf: &Arc<Shelf>, enough: usize, centre: &Centre) -> Vec<bool> {
    let centre = centre.clone();
    let put = move |_: usize, slot: &Slot| !slot.state().bare && heal_centre(slot, &centre).unwrap_or(false);
    at_each(shelf, enough, put)
}

/// Once the record counts: who has it not is given it when it is back; also one that came back while it was put.
pub(crate) fn without_record(shelf: &Shelf, has: &[bool]) {
    for (slot, _) in shelf.slots.iter().zip(has).filter(|(slot, has)| slot.location.is_some() && !**has) {
        let mut state = slot.state();
        state.down |= !state.bare;
    }
}
