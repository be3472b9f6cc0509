//! Who saw what: a line before each record leaves, and the list of them.

use std::collections::BTreeMap;

use guard::{Act, Decision, Permit, Purpose, Relation, Role, Sensitivity, Target, Via};
use kit::{Blame, Digest, Fault, PatientId, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize, Serializer};
use vault::{Entry, Group, NOTE_BYTES_MAX, Parcel, Scope};

use crate::journal::{OPENED, access_list, centre_access_list, is_decision};
use crate::meta::{Meta, Version};
use crate::{Chart, Context, Draft, Released, Result, scope_of};

/// Records that one access line names.
const NAMED_MAX: usize = 100;

/// Bytes of access lines in one note, which may take twice as many.
const NOTED_AT_ONCE: usize = NOTE_BYTES_MAX / 2;
/// What a line takes beside its own bytes, at most.
const LINE_BYTES: usize = 512;

/// Rows after which a page ends; the last line may bring it over that.
const PAGE_ROWS: usize = 10_000;

/// What was opened of one patient at once, as the ledger keeps it (`docs/formats/chart-meta.md`, "access line").
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct AccessLine {
    #[n(0)]
    pub subject: String,
    #[n(1)]
    pub role: Role,
    #[n(2)]
    pub act: Act,
    #[n(3)]
    pub purpose: Purpose,
    /// Opaque reference: `Observation/…/_history/2`.
    #[n(4)]
    pub what: String,
    /// What was opened beside it; none where it was alone.
    #[n(5)]
    pub others: Option<Vec<String>>,
    /// What explained it, where that was asked.
    #[n(6)]
    pub relation: Option<Relation>,
}

/// One row of `holdfast access`.
#[derive(Clone, Debug, Serialize)]
pub struct AccessRow {
    pub entry: u64,
    pub at: Timestamp,
    pub when: String,
    pub who: String,
    pub role: Role,
    pub act: Act,
    pub why: Purpose,
    /// What was opened, written, or asked for.
    pub what: String,
    /// `opened`, `written`, `deleted`; and the answers that were given before: `allowed`, `denied`.
    pub outcome: &'static str,
    /// Which request it was.
    pub operation: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What explained it, where that was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// Whose; none where it was about no single patient.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<PatientId>,
    /// How guard knew who it is; of a decision. A line has the decision of the same operation.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "via_as_text")]
    pub via: Option<Via>,
    /// Which policy decided; of a decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Digest>,
}

fn via_as_text<S: Serializer>(via: &Option<Via>, s: S) -> std::result::Result<S::Ok, S::Error> {
    via.map(via_text).serialize(s)
}

/// `token 5f…`, `session 5f…`, `terminal`, `ae-title at 10.0.0.7`, `folder`: the id of a credential opens nothing.
pub fn via_text(via: Via) -> String {
    match via {
        Via::Token(id) => format!("token {id}"),
        Via::Session(id) => format!("session {id}"),
        Via::Terminal => "terminal".to_owned(),
        Via::AeTitle(address) => format!("ae-title at {address}"),
        Via::Folder => "folder".to_owned(),
    }
}

/// Where a page of the access list begins; its default is the whole list's beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessAsked {
    /// From this entry on.
    pub from: u64,
    /// Entries before this one; fixed by the first page.
    pub until: Option<u64>,
}

/// A page of the access list.
#[derive(Clone, Debug, Serialize)]
pub struct AccessPage {
    pub rows: Vec<AccessRow>,
    /// Where the next one begins; none behind the last.
    pub next: Option<AccessAsked>,
}

fn reference(version: &Version) -> String {
    format!("{}/{}/_history/{}", version.collection, version.id, version.version)
}

/// Opened or written versions, as a line says them.
fn line_of(permit: &Permit, what: String, others: Vec<String>) -> AccessLine {
    AccessLine {
        subject: permit.subject().to_owned(),
        role: permit.role(),
        act: permit.act(),
        purpose: permit.purpose(),
        what,
        others: (!others.is_empty()).then_some(others),
        relation: None,
    }
}

impl Chart {
    /// Puts a patient's new version on her list, and beside it who wrote it: what was allowed is not yet done, and what
    /// was refused later looks the same.
    pub(crate) fn sign_version(&self, permit: &Permit, draft: &mut Draft) {
        let Some(version) = &draft.meta.version else { return };
        let line = line_of(permit, reference(version), Vec::new());
        match draft.scope {
            Scope::Patient(patient) => draft.meta.lists.push(access_list(&self.tagger, patient)),
            // Of what is nobody's, who wrote it: a Practitioner says whose a login is.
            Scope::Centre if draft.meta.note.is_empty() => {}
            Scope::Centre => return,
        }
        draft.meta.note = minicbor::to_vec(line).unwrap_or_default().into();
    }

    /// Writes durably which records are about to leave: of each patient one line names them.
    pub(crate) fn note_access(&self, permit: &Permit, opened: &[Released]) -> Result<()> {
        let mut of_each: BTreeMap<Option<PatientId>, Vec<&Released>> = BTreeMap::new();
        for released in opened {
            of_each.entry(released.patient).or_default().push(released);
        }
        let (mut parcels, mut bytes) = (Vec::new(), 0);
        for (patient, opened) in of_each {
            for named in opened.chunks(NAMED_MAX) {
                let mut names = named.iter().map(|released| reference(&released.version));
                let mut line = line_of(permit, names.next().unwrap_or_default(), names.collect());
                line.relation = named.first().and_then(|released| released.relation);
                let mut meta = Meta::new(None);
                meta.lists.push(match patient {
                    Some(patient) => access_list(&self.tagger, patient),
                    None => centre_access_list(&self.tagger),
                });
                meta.note = minicbor::to_vec(&line).unwrap_or_default().into();
                let meta = meta.to_bytes();
                bytes += LINE_BYTES + meta.len();
                parcels.push(Parcel { scope: scope_of(patient), kind: OPENED.into(), meta, payload: None });
                if bytes >= NOTED_AT_ONCE {
                    self.note_lines(permit, std::mem::take(&mut parcels))?;
                    bytes = 0;
                }
            }
        }
        if parcels.is_empty() { Ok(()) } else { self.note_lines(permit, parcels) }
    }

    fn note_lines(&self, permit: &Permit, parcels: Vec<Parcel>) -> Result<()> {
        let (operation, permit) = (permit.operation(), Some(permit.digest()));
        Ok(self.vault.note(Group { operation, permit, new_patients: Vec::new(), parcels })?)
    }

    /// Who saw, changed or was refused what of one patient, oldest first, a page at a time. The asking is on the list as
    /// well: on the first page that there is.
    pub fn access(&self, context: &Context, patient: PatientId, asked: AccessAsked) -> Result<AccessPage> {
        Ok(self.access_page(context, patient, asked, PAGE_ROWS, "")?.0)
    }

    /// As [`Self::access`], of so many rows and a line's more, and the entry before which the list was read; `what` is how it was
    /// asked for.
    pub fn access_page(
        &self,
        context: &Context,
        patient: PatientId,
        asked: AccessAsked,
        rows_max: usize,
        what: &str,
    ) -> Result<(AccessPage, u64)> {
        let rows_max = rows_max.clamp(1, PAGE_ROWS);
        let administrative = Sensitivity::Administrative;
        let _permit = self.admit_to_do(context, Act::ReadAccessLog, Target::Patient(patient), administrative, what)?;
        let until = match asked.until {
            Some(until) => until,
            None => {
                self.vault.flush_notes()?;
                self.catch_up()?;
                self.vault.size()
            }
        };
        let mut entries = self.index.listed(&access_list(&self.tagger, patient), asked.from, rows_max)?;
        let whole = entries.len() < rows_max;
        entries.retain(|entry| *entry < until);
        // Reading pages is noted too; without an end, each page would make the next one.
        let next = entries.last().filter(|_| !whole).map(|last| AccessAsked { from: last + 1, until: Some(until) });
        let mut rows = Vec::new();
        for index in entries {
            // A line may name many.
            if rows.len() >= rows_max {
                let next = Some(AccessAsked { from: index, until: Some(until) });
                return Ok((AccessPage { rows, next }, until));
            }
            rows.extend(self.access_rows(index)?);
        }
        Ok((AccessPage { rows, next }, until))
    }

    fn access_rows(&self, index: u64) -> Result<Vec<AccessRow>> {
        let (entry, meta) = self.note_of(index)?;
        rows_of(&entry, &meta)
    }
}

/// One entry's: a decision's, or one for each record that a line names.
pub(crate) fn rows_of(entry: &Entry, meta: &Meta) -> Result<Vec<AccessRow>> {
    let index = entry.index;
    let unreadable = |e: minicbor::decode::Error| {
        Fault::new(Blame::Integrity, "chart.access-line", format!("entry {index}: no access line: {e}"))
    };
    let operation = entry.operation.to_string();
    let rows = if is_decision(&entry.kind) {
        let decision = Decision::from_bytes(&meta.note).map_err(Fault::from)?;
        vec![AccessRow {
            entry: index,
            at: decision.at,
            when: decision.at.to_string(),
            who: decision.subject,
            role: decision.role,
            act: decision.act,
            why: decision.purpose,
            what: decision.what.unwrap_or_default(),
            outcome: if decision.allowed { "allowed" } else { "denied" },
            operation,
            reason: Some(decision.reason).filter(|r| !r.is_empty()),
            patient: match decision.target {
                Target::Patient(patient) => Some(patient),
                Target::Centre => None,
            },
            via: Some(decision.via),
            policy: decision.policy,
            relation: decision.relation,
        }]
    } else {
        let line: AccessLine = minicbor::decode(&meta.note).map_err(unreadable)?;
        let outcome = match &meta.version {
            Some(version) if version.deleted => "deleted",
            Some(_) => "written",
            None => "opened",
        };
        let row = |what: String| AccessRow {
            entry: index,
            at: entry.time,
            when: entry.time.to_string(),
            who: line.subject.clone(),
            role: line.role,
            act: line.act,
            why: line.purpose,
            what,
            outcome,
            operation: operation.clone(),
            reason: None,
            patient: crate::patient_of(entry),
            via: None,
            policy: None,
            relation: line.relation,
        };
        std::iter::once(line.what.clone()).chain(line.others.clone().into_iter().flatten()).map(row).collect()
    };
    Ok(rows)
}
