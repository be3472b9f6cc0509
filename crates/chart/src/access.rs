//! Who saw what: a line before each record leaves, and the list of them.

use guard::{Act, Decision, Permit, Purpose, Role, Sensitivity, Target};
use kit::{Blame, Fault, PatientId, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use vault::{Group, Parcel, Scope};

use crate::journal::{OPENED, access_list, centre_access_list, is_decision};
use crate::meta::{Meta, Version};
use crate::{Chart, Context, Draft, Released, Result, scope_of};

/// Access lines in one note, which may take 256 KiB: a line is some 300 bytes.
const NOTED_AT_ONCE: usize = 400;

/// Rows of one page.
const PAGE_ROWS: usize = 10_000;

/// One opened record, as the ledger keeps it (`docs/formats/chart-meta.md`, "access line").
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

/// One opened or written version, as a line says it.
fn line_of(permit: &Permit, version: &Version) -> AccessLine {
    AccessLine {
        subject: permit.subject().to_owned(),
        role: permit.role(),
        act: permit.act(),
        purpose: permit.purpose(),
        what: format!("{}/{}/_history/{}", version.collection, version.id, version.version),
    }
}

impl Chart {
    /// Puts a patient's new version on her list, and beside it who wrote it: what was allowed is not yet done, and what
    /// was refused later looks the same.
    pub(crate) fn sign_version(&self, permit: &Permit, draft: &mut Draft) {
        if let (Scope::Patient(patient), Some(version)) = (draft.scope, &draft.meta.version) {
            draft.meta.lists.push(access_list(&self.tagger, patient));
            draft.meta.note = minicbor::to_vec(line_of(permit, version)).unwrap_or_default().into();
        }
    }

    /// Writes a durable line for each record that is about to leave.
    pub(crate) fn note_access(&self, permit: &Permit, opened: &[Released]) -> Result<()> {
        let parcels: Vec<Parcel> = opened
            .iter()
            .map(|released| {
                let line = line_of(permit, &released.version);
                let mut meta = Meta::new(None);
                meta.lists.push(match released.patient {
                    Some(patient) => access_list(&self.tagger, patient),
                    None => centre_access_list(&self.tagger),
                });
                meta.note = minicbor::to_vec(&line).unwrap_or_default().into();
                Parcel { scope: scope_of(released.patient), kind: OPENED.into(), meta: meta.to_bytes(), payload: None }
            })
            .collect();
        for chunk in parcels.chunks(NOTED_AT_ONCE) {
            let group = Group {
                operation: permit.operation(),
                permit: Some(permit.digest()),
                new_patients: Vec::new(),
                parcels: chunk.to_vec(),
            };
            self.vault.note(group)?;
        }
        Ok(())
    }

    /// Who saw, changed or was refused what of one patient, oldest first, a page at a time. The asking is on the list as
    /// well: on the first page that there is.
    pub fn access(&self, context: &Context, patient: PatientId, asked: AccessAsked) -> Result<AccessPage> {
        let _permit = self.admit(context, Act::ReadAccessLog, Target::Patient(patient), Sensitivity::Administrative)?;
        let until = match asked.until {
            Some(until) => until,
            None => {
                self.vault.flush_notes()?;
                self.catch_up()?;
                self.vault.size()
            }
        };
        let mut entries = self.index.listed(&access_list(&self.tagger, patient), asked.from, PAGE_ROWS)?;
        let whole = entries.len() < PAGE_ROWS;
        entries.retain(|entry| *entry < until);
        // Reading pages is noted too; without an end, each page would make the next one.
        let next = entries.last().filter(|_| !whole).map(|last| AccessAsked { from: last + 1, until: Some(until) });
        let rows = entries.into_iter().map(|index| self.access_row(index)).collect::<Result<_>>()?;
        Ok(AccessPage { rows, next })
    }

    fn access_row(&self, index: u64) -> Result<AccessRow> {
        let (entry, meta) = self.note_of(index)?;
        let unreadable = |e: minicbor::decode::Error| {
            Fault::new(Blame::Integrity, "chart.access-line", format!("entry {index}: no access line: {e}"))
        };
        let operation = entry.operation.to_string();
        let row = if is_decision(&entry.kind) {
            let decision = Decision::from_bytes(&meta.note).map_err(Fault::from)?;
            AccessRow {
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
            }
        } else {
            let line: AccessLine = minicbor::decode(&meta.note).map_err(unreadable)?;
            AccessRow {
                entry: index,
                at: entry.time,
                when: entry.time.to_string(),
                who: line.subject,
                role: line.role,
                act: line.act,
                why: line.purpose,
                what: line.what,
                outcome: match &meta.version {
                    Some(version) if version.deleted => "deleted",
                    Some(_) => "written",
                    None => "opened",
                },
                operation,
                reason: None,
            }
        };
        Ok(row)
    }
}
