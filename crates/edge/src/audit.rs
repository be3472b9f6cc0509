//! FHIR's AuditEvents out of the centre's own log.

use std::collections::BTreeMap;

use chart::fhir::{AUDIT_EVENT, Change, Code, Issue};
use chart::{AccessAsked, Account, Chart, Context};
use guard::{Act, Purpose, Sensitivity, Target};
use kit::PatientId;

use crate::account::asked::{Asked, Place};
use crate::account::event::{Her, Site, audit_event, id_of};
use crate::fhir::{Page, Record, Refusal};

/// Lines that are looked at for one page where a time is asked for: most of them may be of another one.
const LOOKED_AT_MAX: usize = 2_000;

/// A page, oldest first.
pub(crate) fn events(chart: &Chart, context: &Context, base: &str, asked: &Asked) -> Result<Page, Refusal> {
    let (from, skipped) = asked.page.map_or((asked.entry, 0), |place| (place.entry, place.line));
    let until = asked.page.map(|place| place.until);
    let wanted = if asked.has_dates() { LOOKED_AT_MAX } else { asked.count.saturating_add(skipped) };
    let (rows, next, until) = match &asked.patient {
        Some(id) => {
            let Some(patient) = chart.find_patient(&format!("Patient/{id}"))? else {
                // Whether she is here is told to those alone who may know it.
                let administrative = Sensitivity::Administrative;
                let _permit =
                    chart.admit_to_do(context, Act::ReadAccessLog, Target::Centre, administrative, &asked.what())?;
                return Ok(Page { records: Vec::new(), next: None });
            };
            let (page, until) =
                chart.access_page(context, patient, AccessAsked { from, until }, wanted, &asked.what())?;
            let next = page.next.map(|next| next.from);
            (page.rows.into_iter().map(Account::Access).collect::<Vec<_>>(), next, until)
        }
        None if context.purpose == Purpose::PatientRequest => {
            let text = "who asks for a patient names her: patient=Patient/ID";
            return Err(Issue::error(Code::Required, text).into());
        }
        None => {
            let (page, until) = chart.read_account(context, from, until, wanted, &asked.what())?;
            let next = (!page.is_last).then_some(page.next);
            (page.rows, next, until)
        }
    };
    let mut found = Found::new(chart, base);
    let (mut records, mut line, mut last) = (Vec::new(), 0, None);
    for account in &rows {
        line = if last == Some(account.entry()) { line + 1 } else { 0 };
        last = Some(account.entry());
        if account.entry() == from && line < skipped || !asked.holds(account.at()) {
            continue;
        }
        if records.len() == asked.count {
            let place = Place { entry: account.entry(), line, until };
            return Ok(Page { records, next: Some(place.token()) });
        }
        records.push(found.record(account, line)?);
    }
    Ok(Page { records, next: next.map(|entry| Place { entry, line: 0, until }.token()) })
}

/// One line of an entry.
pub(crate) fn event(chart: &Chart, context: &Context, base: &str, entry: u64, line: usize) -> Result<Record, Refusal> {
    let what = format!("{AUDIT_EVENT}/{}", id_of(entry, line));
    let rows = chart.read_account_entry(context, entry, &what)?;
    // Whoever answers a patient sees what is about patients.
    let one = rows.get(line).filter(|one| context.purpose != Purpose::PatientRequest || one.patient().is_some());
    Found::new(chart, base).record(one.ok_or(Refusal::NotFound)?, line)
}

/// Makes records; each patient is looked up once.
struct Found<'a> {
    chart: &'a Chart,
    site: Site<'a>,
    patients: BTreeMap<PatientId, Option<String>>,
}

impl<'a> Found<'a> {
    fn new(chart: &'a Chart, base: &'a str) -> Self {
        let site = Site { base, centre: chart.centre() };
        Self { chart, site, patients: BTreeMap::new() }
    }

    fn her(&mut self, patient: PatientId) -> Result<Her, Refusal> {
        let fhir = match self.patients.get(&patient) {
            Some(known) => known.clone(),
            None => {
                let fhir = self.chart.fhir_id(patient)?;
                self.patients.insert(patient, fhir.clone());
                fhir
            }
        };
        Ok(Her { id: patient, fhir })
    }

    fn record(&mut self, account: &Account, line: usize) -> Result<Record, Refusal> {
        let her = account.patient().map(|patient| self.her(patient)).transpose()?;
        let event = audit_event(&self.site, account, line, her.as_ref());
        Ok(Record {
            kind: AUDIT_EVENT,
            id: id_of(account.entry(), line),
            version: 1,
            updated: account.at(),
            change: Change::Created,
            bytes: Some(event.to_string().into_bytes()),
            receipt: None,
        })
    }
}
