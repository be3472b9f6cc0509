//! What comes first: who is on treatment, how each stands, and what is needed to treat her.
//!
//! A gateway that runs reads it every so often, and the log keeps what it looked up as a roster. A recovery reads the same over no
//! more than that, before anything is copied: in seconds, however large the archive is.
//!
//! ```text
//! serve    sight, traced ──► roster, an entry of the log
//! recover  survivors ──► the newest roster, what it names, what was written since ──► sight: list, sheets
//!              └───────► all of it ──► sight, compared with the first ──► new servers
//! ```

use std::path::PathBuf;
use std::sync::Arc;

use chart::{Chart, Context};
use kit::{Clock, Entropy, Fault, OsEntropy, PatientId};
use treatment::{CHANGES_ALL, Clocks, PACKS_AT_ONCE, Pack, Packed, Treatment, TreatmentList};
use vault::location::Location;
use vault::{RecoveryKey, Vkey};

use crate::centre::{Centre, INDEX, emergency, name_of};
use crate::config::Config;
use crate::packs::{self, Made};
use crate::settings;

/// Which program looks up what comes first.
const READER: &str = concat!("holdfast ", env!("CARGO_PKG_VERSION"));

/// Takes a patient's pack, or why there is none.
pub type Each<'a> = &'a mut dyn FnMut(PatientId, Result<Pack, Fault>) -> Result<(), Fault>;

/// What a recovery sees first, read by the custodians' key.
pub struct FirstSight {
    pub list: TreatmentList,
    treatment: Treatment,
}

impl FirstSight {
    /// Of whatever of the log is open in `chart`.
    fn of(chart: Chart) -> Result<Self, Fault> {
        let config = settings::restored(&chart, &Config::new(1))?;
        let chart = chart.with_number_system(config.patients.number_system.clone());
        let (context, name) = (emergency(&chart), name_of(&chart)?);
        let newest = chart.vault().newest_time()?;
        let treatment = Treatment::new(Arc::new(chart), name).with_utc_offset(config.utc_offset()).with_log_end(newest);
        let list = treatment.list(&context)?;
        let machine = list.as_of;
        let clocks = Clocks { newest: newest.unwrap_or(machine), machine };
        Ok(Self { list: list.read_by(clocks), treatment })
    }

    /// Of each who has something left to be given, what is needed to treat her.
    pub fn packs(&self, each: Each<'_>) -> Result<(), Fault> {
        every_pack(&self.treatment, &packs::context(self.chart()), each)
    }

    pub fn chart(&self) -> &Chart {
        self.treatment.chart()
    }
}

fn every_pack(treatment: &Treatment, context: &Context, each: Each<'_>) -> Result<(), Fault> {
    let Packed { mut patients, .. } = treatment.packed_patients(context)?;
    patients.retain(|patient| treatment.chart().is_registered(*patient));
    for some in patients.chunks(PACKS_AT_ONCE) {
        for (patient, pack) in some.iter().zip(treatment.packs(context, some)?) {
            pack.transpose().map_or(Ok(()), |pack| each(*patient, pack))?;
        }
    }
    Ok(())
}

/// Reads what a recovery would read first, makes the downtime packs of it where they are wanted, and has the log keep what was
/// looked up.
pub fn keep(centre: &Centre) -> Result<Option<Made>, Fault> {
    let (chart, treatment) = (centre.chart(), centre.treatment());
    chart.keep_roster(READER, || {
        // The packs first: nothing else that fails keeps them from being made.
        let made = match packs::are_wanted(centre) {
            true => Some(packs::make(centre)?),
            false => every_pack(treatment, &packs::context(chart), &mut |_, _| Ok(())).map(|()| None)?,
        };
        settings::restored(chart, &Config::new(1))?;
        name_of(chart)?;
        treatment.list_for_packs(&packs::context(chart))?;
        Ok(made)
    })
}

/// What there is to look at: survivors, the custodians' key, and the folder of the gateway to be. What is noted of a look goes into
/// its ledger.
pub struct Looker {
    pub survivors: Vec<Arc<dyn Location>>,
    pub key: Arc<RecoveryKey>,
    pub vkey: Option<Vkey>,
    pub gateway: PathBuf,
    /// This machine's, which nobody may have set right.
    pub clock: Arc<dyn Clock>,
}

impl Looker {
    /// By the newest roster; none where there is none near the log's end, or where something behind that can't be read.
    pub fn by_roster(&self) -> Result<Option<FirstSight>, Fault> {
        let (clock, entropy): (_, Arc<dyn Entropy>) = (Arc::clone(&self.clock), Arc::new(OsEntropy));
        let vault = vault::first_look(
            &self.survivors,
            Arc::clone(&self.key),
            self.vkey.as_ref(),
            self.gateway.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        )?;
        let Some(vault) = vault else { return Ok(None) };
        // What another release has looked up may be less than this one does: then all of it is read.
        let look = vault.first_look().filter(|look| look.reader == READER);
        let Some(look) = look else { return Ok(None) };
        let chart = Chart::open(Arc::new(vault), None, Vec::new(), clock, entropy).map_err(|e| e.fault())?;
        let mut sight = FirstSight::of(chart)?;
        tracing::info!(entries = look.entries, of = look.log, "opened first");
        let is_of_all = |kind: &str| CHANGES_ALL.contains(&kind);
        let changed = sight.chart().changed_since(look.since, is_of_all).map_err(|e| e.fault())?;
        sight.list = sight.list.by_roster(look.at, changed);
        Ok(Some(sight))
    }

    /// By all that can be read. The index that it takes is the new gateway's.
    pub fn by_all(&self, restore_from: Option<u64>) -> Result<FirstSight, Fault> {
        let (clock, entropy): (_, Arc<dyn Entropy>) = (Arc::clone(&self.clock), Arc::new(OsEntropy));
        let (vault, restored) = vault::preview(
            self.survivors.clone(),
            Arc::clone(&self.key),
            self.vkey.as_ref(),
            restore_from,
            self.gateway.clone(),
            Arc::clone(&clock),
            Arc::clone(&entropy),
        )?;
        let missing = vault.opened().missing();
        let vault = Arc::new(vault);
        let chart = match missing {
            // What is passed over is not gone on from.
            Some(_) => Chart::open_what_is_left(vault, clock, entropy),
            None => Chart::open(vault, Some(&self.gateway.join(INDEX)), Vec::new(), clock, entropy),
        };
        let mut sight = FirstSight::of(chart.map_err(|e| e.fault())?)?;
        let restored = restored.into_iter().map(|(patient, _)| patient).collect();
        sight.list = sight.list.taken_back(restored);
        if let Some(why) = missing {
            sight.list = sight.list.incomplete(why);
        }
        Ok(sight)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use drill::synthetic;
    use drill::system::{Builder, Founded, Remains, Signer};
    use kit::{ManualClock, SystemClock, Timestamp};
    use treatment::Standing;

    use super::*;
    use crate::drill_system::{Real, left_of};
    use crate::left::Gathered;
    use crate::packs::sheets::Sheets;

    const DAY_MS: i64 = 24 * 60 * 60_000;

    /// A centre with somebody on treatment, signed by two, and its roster.
    struct Lost {
        dir: tempfile::TempDir,
        founded: Founded,
        patient: synthetic::SyntheticPatient,
    }

    impl Lost {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let founded = Real.found(&dir.path().join("centre"), 5).unwrap();
            let today = Timestamp(1_795_392_000_000);
            let centre =
                synthetic::Centre { seed: 5, today, patients: 40, on_treatment: 40, images: synthetic::Images::Slice };
            let is_unfinished =
                |p: &synthetic::SyntheticPatient| p.course.as_ref().is_some_and(|c| c.fraction_next().is_some());
            let patient = centre.generate().find(is_unfinished).unwrap();
            let (system, course) = (&founded.system, patient.course.as_ref().unwrap());
            system.keep_fhir(&patient.fhir.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
            let plan = system.store_dicom(&course.plan).unwrap();
            for record in &course.records {
                system.store_dicom(record).unwrap();
            }
            for signer in [Signer::Oncologist, Signer::Physicist] {
                system.approve(&plan, signer).unwrap();
            }
            system.settle().unwrap();
            Self { dir, founded, patient }
        }

        fn looker(&self, ahead_ms: i64) -> Looker {
            // As they stand: the gateway has the folders open.
            let root = self.dir.path().join(format!("left-{}", fs::read_dir(self.dir.path()).unwrap().count()));
            let servers = [0, 1, 2].map(|at| root.join(at.to_string()));
            for (from, to) in self.founded.servers.iter().zip(&servers) {
                copy(from, to);
            }
            let custodians = &self.founded.custodians;
            let remains = Remains { servers: &servers, custodians: &custodians[..2], restore_from: None };
            let Gathered { survivors, key, .. } = left_of(&remains).gather().unwrap();
            let gateway = root.join("gateway");
            fs::create_dir_all(&gateway).unwrap();
            let clock = Arc::new(ManualClock::new(SystemClock.now().plus_ms(ahead_ms)));
            Looker { survivors, key, vkey: None, gateway, clock }
        }

        fn first(&self, ahead_ms: i64) -> FirstSight {
            self.looker(ahead_ms).by_roster().unwrap().unwrap()
        }

        fn out(&self) -> PathBuf {
            self.dir.path().join("sheets")
        }

        /// The index, and her sheet.
        fn read(&self) -> (String, String) {
            let is_hers = |path: &PathBuf| path.is_dir();
            let hers = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path()).find(is_hers).unwrap();
            let text = |file: PathBuf| fs::read_to_string(file).unwrap();
            (text(self.out().join("index.html")), text(hers.join("sheet.html")))
        }
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let (entry, path) = entry.map(|entry| (entry.file_name(), entry.path())).unwrap();
            match path.is_dir() {
                true => copy(&path, &to.join(entry)),
                false => drop(fs::copy(&path, to.join(entry)).unwrap()),
            }
        }
    }

    /// What gives licence on a sheet.
    const FORMS: &str = "To fill in by hand";

    #[test]
    fn what_holds_a_row_of_the_first_list_holds_her_sheet() {
        let lost = Lost::new();
        let mut sheets = Sheets::at(&lost.out()).unwrap();
        sheets.write(&lost.first(0)).unwrap();
        let (index, sheet) = lost.read();
        assert!(index.contains("Ready: signed by two people") && index.contains("not compared"), "{index}");
        assert!(sheet.contains(FORMS) && !sheet.contains("HELD") && !sheet.contains("CLOCK"), "{sheet}");

        // The roster names all that her sheet is read from.
        let whole = lost.looker(0).by_all(None).unwrap();
        assert_eq!(sheets.write(&whole).unwrap().changed, [""; 0]);

        // Something of hers changes, that the gate doesn't mind.
        let fhir = lost.patient.fhir.iter().map(|one| String::from_utf8(one.clone()).unwrap());
        let fhir: Vec<String> = fhir.map(|one| one.replace(&lost.patient.phone, "+000 000")).collect();
        lost.founded.system.keep_fhir(&fhir.iter().map(String::as_bytes).collect::<Vec<_>>()).unwrap();
        let first = lost.first(0);
        let why = "something came in after the list was put together";
        assert_eq!((first.list.rows[0].standing, first.list.rows[0].why.as_str()), (Standing::Hold, why));
        let written = sheets.write(&first).unwrap();
        assert_eq!((written.changed.len(), written.sheets), (1, 1));
        let (index, sheet) = lost.read();
        assert!(index.contains(&format!("Hold: {why}")) && !index.contains("Ready"), "{index}");
        assert!(sheet.contains(&format!("HELD – {why}")) && !sheet.contains(FORMS), "{sheet}");
        assert!(!sheet.contains("<strong>Ready</strong>"), "{sheet}");

        // By the whole log she is ready: the folder says so, and that hers is another one. Then nothing is written again.
        let whole = lost.looker(0).by_all(None).unwrap();
        assert_eq!(sheets.write(&whole).unwrap().changed.len(), 1);
        let (index, sheet) = lost.read();
        assert!(index.contains("Ready: signed by two people") && !index.contains("not compared"), "{index}");
        assert!(sheet.contains(FORMS) && !sheet.contains("HELD"), "{sheet}");
        assert_eq!(sheets.write(&whole).unwrap().changed, [""; 0]);

        // A part of it can't be read: the sheets are held as the list is.
        let mut held = whole;
        held.list = held.list.incomplete("3 of 9 entries are lost".to_owned());
        assert_eq!(sheets.write(&held).unwrap().changed.len(), 1);
        let (index, sheet) = lost.read();
        assert!(index.contains("INCOMPLETE: 3 of 9 entries") && index.contains("Hold: her newest records"), "{index}");
        assert!(sheet.contains("INCOMPLETE: 3 of 9 entries") && !sheet.contains(FORMS), "{sheet}");
    }

    #[test]
    fn a_wrong_clock_makes_no_list_empty_and_nobody_ready() {
        let lost = Lost::new();
        for days in [5, 200] {
            let first = lost.first(days * DAY_MS);
            assert_eq!(first.list.rows[0].standing, Standing::Ready, "{days}");
            let clocks = first.list.clocks.unwrap();
            Sheets::at(&lost.out()).unwrap().write(&first).unwrap();
            let (index, sheet) = lost.read();
            for page in [&index, &sheet] {
                assert!(page.contains(&format!("CLOCK: the newest entry is {days} days old")), "{page}");
            }
            let day = |at: Timestamp| at.to_string()[..10].to_owned();
            assert!(sheet.contains(&format!("It says what was known at {}", day(clocks.newest))), "{sheet}");
            assert!(sheet.contains(&format!("read it said {}", day(clocks.machine))), "{sheet}");
            assert!(!sheet.contains(&format!("as of <strong>{}", day(clocks.machine))), "{sheet}");
        }
        for ms in [-2 * 3_600_000, -200 * DAY_MS] {
            let first = lost.first(ms);
            let row = &first.list.rows[0];
            assert_eq!((row.standing, row.fraction_next), (Standing::Hold, None), "{ms}: {row:?}");
            assert!(row.why.contains("clock is behind"), "{row:?}");
            Sheets::at(&lost.out()).unwrap().write(&first).unwrap();
            let (index, sheet) = lost.read();
            for page in [&index, &sheet] {
                assert!(
                    page.contains("CLOCK: this machine’s clock says") || page.contains("set the clock right"),
                    "{page}"
                );
            }
            assert!(sheet.contains("HELD – this machine") && !sheet.contains(FORMS), "{sheet}");
        }
    }
}
