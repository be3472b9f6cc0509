//! Loading the centre, and noting what it acknowledged: the drill's own list, with which everything is compared later.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use kit::{Blame, Fault};

use super::judges::said;
use super::{Progress, Watch};
use crate::check::account::Noted;
use crate::check::bytes::{Form, Manifest};
use crate::check::gate::{Tally, Trial};
use crate::check::list::TrueRow;
use crate::input::{self, Own};
use crate::report::Refused;
use crate::synthetic::{self, SyntheticPatient, TECHNIQUES};
use crate::system::{Deed, Reader, Receipt, Signer, System};
use crate::work::spread;

/// Patients whose account is compared, from each end of the list: the first ones are on treatment.
const ACCOUNTS: usize = 6;
/// Larger files of the user's own are loaded one after the other: parsed, they take many times their size.
const LOADED_TOGETHER_BYTES_MAX: u64 = 1024 * 1024;

/// What the centre acknowledged, as the drill noted it.
#[derive(Default)]
pub(crate) struct Kept {
    pub(crate) manifest: Manifest,
    pub(crate) truth: Vec<TrueRow>,
    /// By patient.
    pub(crate) accounts: BTreeMap<usize, Noted>,
    /// One entry of each patient's chart.
    pub(crate) charts: Vec<String>,
    /// Handles of the plans that the gate is asked about before they are signed; by patient.
    unsigned: BTreeMap<usize, String>,
    loaded: usize,
}

impl Kept {
    fn remember(&mut self, receipt: Receipt) {
        self.manifest.remember(Form::Fact, receipt.handle, &receipt.payload);
    }

    fn did(&mut self, patient: usize, deed: Deed) {
        if let Some(noted) = self.accounts.get_mut(&patient) {
            *noted.deeds.entry(deed).or_default() += 1;
        }
    }
}

/// What became of the user's own files.
#[derive(Default)]
pub(crate) struct OwnFiles {
    pub(crate) kept: usize,
    pub(crate) refused: Vec<Refused>,
    /// Hospital numbers that they brought onto the treatment list. The drill knows no truth about them.
    pub(crate) strangers: BTreeSet<String>,
}

pub(crate) struct Load<'a> {
    centre: synthetic::Centre,
    system: &'a dyn System,
    writers: usize,
    watch: Watch<'a>,
    kept: Mutex<Kept>,
}

impl<'a> Load<'a> {
    pub(crate) fn new(centre: synthetic::Centre, system: &'a dyn System, writers: usize, watch: Watch<'a>) -> Self {
        let watched = (0..centre.patients).filter(|index| *index < ACCOUNTS || index + ACCOUNTS >= centre.patients);
        let accounts = watched.map(|index| (index, Noted::default())).collect();
        Self { centre, system, writers, watch, kept: Mutex::new(Kept { accounts, ..Kept::default() }) }
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn done(self) -> Kept {
        self.kept.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Synthetic patients: all that they have is valid, so the first refusal ends the drill.
    pub(crate) fn patients(&self, range: std::ops::Range<usize>) -> Result<(), Fault> {
        let first = range.start;
        let kept = spread(self.writers, range.len(), |index| self.patient(&self.centre.patient(first + index)));
        kept.into_iter().collect()
    }

    fn patient(&self, patient: &SyntheticPatient) -> Result<(), Fault> {
        let index = patient.number_in_centre;
        let resources: Vec<&[u8]> = patient.fhir.iter().map(Vec::as_slice).collect();
        let handles = self.system.keep_fhir(&resources)?;
        if handles.len() != resources.len() {
            let said = format!("{} resources were kept, {} acknowledged", resources.len(), handles.len());
            return Err(Fault::new(Blame::Ours, "drill.acknowledged", said));
        }
        let (mut files, mut signed) = (Vec::new(), Vec::new());
        if let Some(course) = &patient.course {
            let plan = self.system.store_dicom(&course.plan)?;
            // What two people sign the plan with is there before they do.
            for file in &course.others {
                files.push((self.system.store_dicom(file)?, file));
            }
            if index < TECHNIQUES {
                self.kept().unsigned.insert(index, plan.clone());
            } else {
                signed.push(self.system.approve(&plan, Signer::Oncologist)?);
                signed.push(self.system.approve(&plan, Signer::Physicist)?);
            }
            files.push((plan, &course.plan));
            for file in &course.records {
                files.push((self.system.store_dicom(file)?, file));
            }
        }
        let mut kept = self.kept();
        kept.charts.extend(handles.first().cloned());
        kept.did(index, Deed::Registered);
        for (handle, payload) in handles.into_iter().zip(&resources) {
            kept.manifest.remember(Form::Fhir, handle, payload);
        }
        for (handle, file) in files {
            kept.did(index, Deed::Stored);
            kept.manifest.remember(Form::Dicom, handle, file);
        }
        for receipt in signed {
            kept.did(index, Deed::Approved);
            kept.remember(receipt);
        }
        kept.truth.extend(TrueRow::of(patient));
        kept.loaded += 1;
        (self.watch)(Progress { stage: "loading patients", done: kept.loaded, total: self.centre.patients });
        Ok(())
    }

    /// The first plans of each technique, signed step by step: the gate must hold until both people have.
    pub(crate) fn unsigned_plans(&self, tally: &mut Tally) -> Result<(), Fault> {
        let unsigned = std::mem::take(&mut self.kept().unsigned);
        for (index, plan) in unsigned {
            let patient = self.centre.patient(index);
            let Some(course) = &patient.course else { continue };
            let mut ask = |what: &str, must_release: bool| {
                let trial = Trial { plan: course.plan_label.clone(), what: what.to_owned(), must_release };
                let answer = self.system.gate(&patient.number, &course.plan).map_err(said);
                tally.count(&trial, &answer);
                if answer.is_ok() {
                    let receipt = self.system.last_verdict(&patient.number)?;
                    let mut kept = self.kept();
                    kept.did(index, Deed::GateAsked);
                    kept.remember(receipt);
                }
                Ok::<_, Fault>(())
            };
            let sign = |signer| {
                let receipt = self.system.approve(&plan, signer)?;
                let mut kept = self.kept();
                kept.did(index, Deed::Approved);
                kept.remember(receipt);
                Ok::<_, Fault>(())
            };
            ask("nobody signed it", false)?;
            let both = [Signer::Oncologist, Signer::Physicist];
            let (first, second) = if index % 2 == 0 { (both[0], both[1]) } else { (both[1], both[0]) };
            sign(first)?;
            ask("only one person signed it", false)?;
            sign(second)?;
            ask("nothing; both people signed it", true)?;
        }
        Ok(())
    }

    /// Opens the watched patients' charts, as somebody who may and as somebody who may not, and notes their accounts.
    pub(crate) fn accounts(&self) -> Result<(), Fault> {
        let watched: Vec<usize> = self.kept().accounts.keys().copied().collect();
        for index in watched {
            let patient = self.centre.patient(index);
            let allowed = self.system.open_chart(Reader::Oncologist, &patient.id)?;
            let refused = !self.system.open_chart(Reader::Auditor, &patient.id)?;
            let before = self.system.account(&patient.number)?;
            let mut kept = self.kept();
            kept.did(index, Deed::Opened);
            kept.did(index, Deed::Refused);
            if let Some(noted) = kept.accounts.get_mut(&index) {
                noted.number = patient.number;
                noted.before = before;
                noted.wrong.extend((!allowed).then_some("the oncologist was refused her chart"));
                noted.wrong.extend((!refused).then_some("the auditor was shown her chart"));
            }
        }
        Ok(())
    }

    /// The user's own files. Each is kept or refused, and none ends the drill.
    pub(crate) fn own(&self, folder: Option<&Path>) -> Result<OwnFiles, Fault> {
        let Some(folder) = folder else { return Ok(OwnFiles::default()) };
        let (files, mut refused) = input::files(folder)?;
        let total = files.len();
        let (small, large): (Vec<&Own>, Vec<&Own>) =
            files.iter().partition(|file| file.bytes <= LOADED_TOGETHER_BYTES_MAX);
        let mut again = self.own_files(self.writers, &small, total);
        again.extend(self.own_files(1, &large, total));
        // A record may refer to a patient whose own file came later: what was refused is tried once more.
        let again: Vec<&Own> = again.into_iter().map(|(file, _)| file).collect();
        let second = self.own_files(1, &again, again.len());
        let kept = total - second.len();
        refused.extend(second.into_iter().map(|(file, reason)| file.refused(&reason)));
        refused.sort_unstable_by(|a, b| a.file.cmp(&b.file));
        let ours: BTreeSet<String> = self.kept().truth.iter().map(|row| row.number.clone()).collect();
        let listed = self.system.treatment_list()?.into_iter().map(|row| row.number);
        Ok(OwnFiles { kept, refused, strangers: listed.filter(|number| !ours.contains(number)).collect() })
    }

    /// Those that were not kept, with the reasons.
    fn own_files<'f>(&self, writers: usize, files: &[&'f Own], total: usize) -> Vec<(&'f Own, String)> {
        let outcomes = spread(writers, files.len(), |index| {
            (self.watch)(Progress { stage: "loading your own files", done: index + 1, total });
            let file = *files.get(index)?;
            self.own_file(file).err().map(|reason| (file, reason))
        });
        outcomes.into_iter().flatten().collect()
    }

    fn own_file(&self, file: &Own) -> Result<(), String> {
        let (form, payload) = input::read(file)?;
        let handle = match form {
            Form::Dicom => self.system.store_dicom(&payload),
            _ => self.system.keep_fhir(&[&payload]).map(|handles| handles.into_iter().next().unwrap_or_default()),
        };
        let handle = handle.map_err(|fault| fault.message)?;
        self.kept().manifest.remember(form, handle, &payload);
        Ok(())
    }
}
