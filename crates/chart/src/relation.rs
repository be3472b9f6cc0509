//! Why this person would open this patient's chart, from what others wrote into the record.
//!
//! ```text
//!  login ──► Practitioner ──► PractitionerRole, HealthcareService       (her names, as keyed hashes)
//!                                      │
//!  Appointment, Encounter, CareTeam, … ─┴─ written by somebody else, in its days, and still so  ──► Relation
//! ```
//! A record that she wrote herself explains nothing: whoever has stolen her login could write one for every patient. The index holds keyed
//! hashes of patient, name and month; when and why stands in the entry.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use guard::{Act, Emergency, Relation, Role, Sensitivity, Target};
use kit::{PatientId, Timestamp};
use minicbor::{Decode, Encode};

use crate::access::AccessLine;
use crate::fhir::{Field, Named, Resource, token};
use crate::meta::{Meta, Tag};
use crate::{Chart, ChartError, Context, Result};

const DAY_MS: i64 = 86_400_000;
/// Records that lie in the same four weeks stand on one list.
const BLOCK_MS: i64 = 28 * DAY_MS;
/// What lasts longer stands on the list of what goes on.
const BLOCKS_MAX: i64 = 14;
/// Records of one list that are looked at, the newest first; a clinic's months of appointments for one patient are fewer.
const CANDIDATES_MAX: usize = 200;
/// Objects of one list that are looked at.
const OBJECTS_MAX: usize = 8;
/// Versions of one record that are looked at, the newest first.
const VERSIONS_MAX: usize = 64;
/// Practitioners of one login, and roles of one practitioner.
const NAMES_MAX: usize = 16;
/// For how long her names are remembered.
const NAMES_LIFE_MS: i64 = 60_000;
const REMEMBERED_MAX: usize = 10_000;

/// The naming system of logins in a Practitioner's identifiers, where the centre names none.
pub const LOGIN_SYSTEM: &str = "urn:holdfast:login";

/// Whom an entry relates to its patient, and when.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Relates {
    /// Keyed hash of a name.
    #[n(0)]
    who: Tag,
    #[n(1)]
    relation: Relation,
    #[n(2)]
    from: Option<Timestamp>,
    #[n(3)]
    until: Option<Timestamp>,
}

impl Relates {
    fn holds(&self, names: &[Tag], now: Timestamp) -> bool {
        names.contains(&self.who)
            && self.from.is_none_or(|from| from <= now)
            && self.until.is_none_or(|until| now < until)
    }
}

/// That the newest of a patient's objects on a list, where it is no older than so many days, explains it to those who treat.
#[derive(Clone, Copy, Debug)]
pub struct Treats {
    pub list: &'static str,
    pub days: i64,
}

/// Somebody's names, and since when they are remembered.
type Remembered = (Timestamp, Arc<[Tag]>);

/// What is known of people's names, and of which objects explain.
pub(crate) struct People {
    system: String,
    treats: OnceLock<&'static [Treats]>,
    names: Mutex<HashMap<String, Remembered>>,
}

impl Default for People {
    fn default() -> Self {
        Self { system: LOGIN_SYSTEM.to_owned(), treats: OnceLock::new(), names: Mutex::default() }
    }
}

impl Chart {
    /// The naming system of logins among a Practitioner's identifiers.
    pub fn with_login_system(mut self, system: Option<String>) -> Self {
        self.people.system = system.unwrap_or_else(|| LOGIN_SYSTEM.to_owned());
        self
    }

    /// Which lists of objects explain why those who treat open a chart. The first one stays.
    pub fn explain_by(&self, treats: &'static [Treats]) {
        let _ = self.people.treats.set(treats);
    }

    fn name_tag(&self, name: &Named) -> Tag {
        match name {
            Named::Reference(reference) => self.tagger.full(&[b"name", b"reference", reference.as_bytes()]),
            Named::Identifier(token) => self.tagger.full(&[b"name", b"identifier", token.as_bytes()]),
        }
    }

    fn related_list(&self, patient: PatientId, who: &Tag, block: Option<i64>) -> Tag {
        let block = block.map_or_else(|| b"goes on".to_vec(), |block| block.to_be_bytes().to_vec());
        self.tagger.full(&[b"list", b"related", &patient.0, who.as_bytes(), &block])
    }

    fn roles_list(&self, whose: &Tag) -> Tag {
        self.tagger.full(&[b"list", b"roles", whose.as_bytes()])
    }

    /// Puts a version on the lists of those whom it relates to its patient; of a PractitionerRole, on those of whose it is.
    pub(crate) fn relate(&self, resource: &Resource, id: &str, patient: Option<PatientId>, meta: &mut Meta) {
        let mut relates = Vec::new();
        if let Some((whose, others)) = resource.roles() {
            meta.lists.push(self.roles_list(&self.name_tag(&whose)));
            let itself = Named::Reference(format!("PractitionerRole/{id}"));
            let names = std::iter::once(itself).chain(others);
            let of =
                |name| Relates { who: self.name_tag(&name), relation: Relation::Unexplained, from: None, until: None };
            relates.extend(names.map(of));
        }
        for related in patient.map(|_| resource.relates()).unwrap_or_default() {
            let (who, from, until) = (self.name_tag(&related.who), related.from, related.until);
            relates.push(Relates { who, relation: related.relation, from, until });
        }
        if let Some(patient) = patient {
            for Relates { who, from, until, .. } in &relates {
                let first = from.map(|from| from.0.div_euclid(BLOCK_MS));
                let last = until.map(|until| until.0.div_euclid(BLOCK_MS));
                match (first, last) {
                    (Some(first), Some(last)) if last.saturating_sub(first) < BLOCKS_MAX => {
                        meta.lists.extend((first..=last).map(|block| self.related_list(patient, who, Some(block))));
                    }
                    _ => meta.lists.push(self.related_list(patient, who, None)),
                }
            }
        }
        meta.lists.sort();
        meta.lists.dedup();
        meta.relates = (!relates.is_empty()).then_some(relates);
    }

    /// By what records name whoever signs in as `subject`: keyed hashes.
    fn names_of(&self, subject: &str, now: Timestamp) -> Result<Arc<[Tag]>> {
        let remembered = self.people.names.lock().unwrap_or_else(PoisonError::into_inner).get(subject).cloned();
        if let Some((_, names)) = remembered.filter(|(at, _)| now.0.saturating_sub(at.0) < NAMES_LIFE_MS) {
            return Ok(names);
        }
        let login = token(Some(&self.people.system), subject);
        let mut names = vec![self.name_tag(&Named::Identifier(login.clone()))];
        let of_login = self.field_tag("Practitioner", &Field::new("identifier", login));
        let found = self.index.search(&[vec![of_login.clone()], vec![self.type_tag("Practitioner")]], 0, NAMES_MAX)?;
        for practitioner in found {
            let (_, meta) = self.note_of(practitioner.entry)?;
            // She may have corrected her telephone number herself, and not given herself the login.
            let says = |meta: &Meta| meta.tags.contains(&of_login);
            let is_hers = self.is_said_by_another(subject, practitioner.row, says)?;
            let Some(version) = meta.version.as_ref().filter(|_| is_hers) else { continue };
            let whose = self.name_tag(&Named::Reference(format!("Practitioner/{}", version.id)));
            for entry in self.index.listed_back(&self.roles_list(&whose), u64::MAX, NAMES_MAX)? {
                let (_, role) = self.note_of(entry)?;
                if self.is_newest(&role, entry)? && !is_by(&role, subject) {
                    names.extend(role.relates.into_iter().flatten().map(|one| one.who));
                }
            }
            names.push(whose);
        }
        names.sort();
        names.dedup();
        let names: Arc<[Tag]> = names.into();
        let mut all = self.people.names.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(subject.to_owned(), (now, Arc::clone(&names)));
        Ok(names)
    }

    /// Whether this is its record's newest version, and the record is alive.
    fn is_newest(&self, meta: &Meta, entry: u64) -> Result<bool> {
        let Some(version) = &meta.version else { return Ok(false) };
        Ok(self.index.locate(&version.key)?.is_some_and(|newest| newest.entry == entry && !newest.deleted))
    }

    /// What is asked before guard is: none where nobody asks why.
    pub(crate) fn relation(
        &self,
        (subject, role): (&str, Role),
        act: Act,
        patient: PatientId,
        sensitivity: Sensitivity,
    ) -> Result<Option<Relation>> {
        // A deletion isn't counted, and no emergency deletes.
        let asks = (act.is_counted() || act == Act::DeleteRecord) && sensitivity == Sensitivity::Clinical;
        if !asks || role.is_machine() || role == Role::Console {
            return Ok(None);
        }
        self.explains(subject, role, patient).map(Some)
    }

    fn explains(&self, subject: &str, role: Role, patient: PatientId) -> Result<Relation> {
        if let Some(lately) = self.guard.explained_lately(subject, patient) {
            return Ok(lately);
        }
        let now = self.clock.now();
        let by_record = self.related(subject, patient, now)?;
        match by_record.or(self.treats(subject, role, patient, now)?) {
            Some(relation) => Ok(relation),
            None if self.guard.is_emergency(subject, patient) => Ok(Relation::BreakGlass),
            None => Ok(Relation::Unexplained),
        }
    }

    /// One patient's chart is open to whoever asks for some hours, though nothing explains it. Who may not is told so whoever is here.
    pub fn break_glass(&self, context: &Context, number: &str, reason: &str, hours: u32) -> Result<Emergency> {
        let found = self.find_patient(number)?;
        // A refusal is the same, and on record, for a number that nobody has.
        let patient = found.unwrap_or_else(|| PatientId::random(self.entropy.as_ref()));
        let permit = self.admit(context, Act::BreakGlass, Target::Patient(patient), Sensitivity::Clinical)?;
        if found.is_none() {
            return Err(ChartError::NoSuchRecord { reference: "a patient with this number".to_owned() });
        }
        Ok(self.guard.break_glass(&permit, reason, hours)?)
    }

    fn related(&self, subject: &str, patient: PatientId, now: Timestamp) -> Result<Option<Relation>> {
        let names = self.names_of(subject, now)?;
        for block in [Some(now.0.div_euclid(BLOCK_MS)), None] {
            for name in names.iter() {
                let list = self.related_list(patient, name, block);
                let mut seen = HashSet::new();
                for entry in self.index.listed_back(&list, u64::MAX, CANDIDATES_MAX)? {
                    let (_, meta) = self.note_of(entry)?;
                    let Some(version) = meta.version.as_ref().filter(|version| seen.insert(version.key.clone())) else {
                        continue;
                    };
                    // As it stands now, whoever wrote that: she may have noted herself that the patient has arrived.
                    let newest = self.index.locate(&version.key)?;
                    let Some(newest) = newest.filter(|newest| !newest.deleted) else { continue };
                    let relates = self.note_of(newest.entry)?.1.relates;
                    let holds = relates.iter().flatten().find(|one| one.holds(&names, now));
                    if let Some(holds) = holds
                        && self.is_named_by_another(subject, newest.row, &names, now)?
                    {
                        return Ok(Some(holds.relation));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Whether somebody else put her there, and by what somebody else wrote it still holds: who puts herself on a care team is on none, though
    /// others go on writing in it.
    fn is_named_by_another(&self, subject: &str, record: i64, names: &[Tag], now: Timestamp) -> Result<bool> {
        let mut holds = false;
        let mut first_is_hers = true;
        for entry in self.index.history(record, u32::MAX, VERSIONS_MAX)? {
            let (_, meta) = self.note_of(entry)?;
            let hers = is_by(&meta, subject);
            let of_her: Vec<&Relates> = meta.relates.iter().flatten().filter(|one| names.contains(&one.who)).collect();
            if !of_her.is_empty() {
                // The newest ones come first: what is left at the end is the first version that named her.
                first_is_hers = hers;
            }
            holds |= !hers && of_her.iter().any(|one| one.holds(names, now));
        }
        Ok(holds && !first_is_hers)
    }

    /// Whether somebody else wrote a version of which this is true.
    fn is_said_by_another(&self, subject: &str, record: i64, says: impl Fn(&Meta) -> bool) -> Result<bool> {
        for entry in self.index.history(record, u32::MAX, VERSIONS_MAX)? {
            let (_, meta) = self.note_of(entry)?;
            if !is_by(&meta, subject) && says(&meta) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// She is one of those who treat, and something came lately that says that the patient is treated.
    fn treats(&self, subject: &str, role: Role, patient: PatientId, now: Timestamp) -> Result<Option<Relation>> {
        if !matches!(role, Role::Oncologist | Role::Physicist | Role::Therapist) {
            return Ok(None);
        }
        for Treats { list, days } in self.people.treats.get().copied().unwrap_or_default() {
            for entry in self.index.listed_back(&self.list_tag(list, &patient.0), u64::MAX, OBJECTS_MAX)? {
                let (head, meta) = self.note_of(entry)?;
                if now.0.saturating_sub(head.time.0) > days * DAY_MS {
                    break;
                }
                if !is_by(&meta, subject) {
                    return Ok(Some(Relation::Treatment));
                }
            }
        }
        Ok(None)
    }
}

/// Whether she wrote this version herself. What says nothing of its author was written by nobody else that we know.
fn is_by(meta: &Meta, subject: &str) -> bool {
    minicbor::decode::<AccessLine>(&meta.note).map_or(true, |line| line.subject == subject)
}
