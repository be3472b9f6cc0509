//! The whole drill, over a small centre of this test's own: a sound one passes; each kind of failure rings the promise
//! that it breaks, and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use drill::eleven_of_fourteen::{Options, run};
use drill::report::Report;
use drill::system::{Builder, Founded, ListRow, Remains, Secret, Signer, System, Verdict};
use drill::tamper::walk::File;
use kit::{Blame, Entropy, Fault, OsEntropy};
use serde_json::Value;
use treatment::{Course, Difference, Plan, PlanError, TreatmentRecord};
use zeroize::Zeroizing;

use crate::TODAY;

/// How a centre can fail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    LosesOne,
    AltersOne,
    IndexInTheClear,
    KeyOnDisk,
    OpensAlone,
    GateReleasesAll,
    GateVetoesAll,
    ForgetsLastFraction,
    ListLacksOne,
}

fn fault(what: impl ToString) -> Fault {
    Fault::new(Blame::Ours, "small.failed", what.to_string())
}

/// Every record sealed under one key and copied to every server; the key is split so that all servers together have
/// it, and the custodian has it whole.
struct Small {
    key: [u8; 32],
    servers: Vec<PathBuf>,
    flaw: Flaw,
    records: Mutex<BTreeMap<String, Vec<u8>>>,
    /// What the DICOM files say, as of so many records.
    read: Mutex<(usize, Arc<Read>)>,
}

/// Plans with their patients' numbers, and the records of all.
#[derive(Default)]
struct Read {
    plans: Vec<(String, Plan)>,
    records: Vec<Result<TreatmentRecord, PlanError>>,
}

impl Small {
    fn records(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.records.lock().unwrap()
    }

    fn seal(&self) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &self.key).unwrap())
    }

    fn keep(&self, payload: &[u8]) -> String {
        let mut records = self.records();
        let handle = format!("{:06}", records.len());
        let mut sealed = payload.to_vec();
        let mut nonce = [0; 12];
        nonce[..6].copy_from_slice(handle.as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        self.seal().seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).unwrap();
        self.servers.iter().for_each(|server| fs::write(server.join(&handle), &sealed).unwrap());
        records.insert(handle.clone(), payload.to_vec());
        handle
    }

    fn load(&self, server: &Path) {
        for entry in fs::read_dir(server).unwrap() {
            let path = entry.unwrap().path();
            let handle = path.file_name().unwrap().to_str().unwrap().to_owned();
            let mut sealed = fs::read(&path).unwrap();
            let Some(number) = handle.as_bytes().get(..6).filter(|_| handle.len() == 6) else { continue };
            let mut nonce = [0; 12];
            nonce[..6].copy_from_slice(number);
            let nonce = Nonce::assume_unique_for_key(nonce);
            if let Ok(payload) = self.seal().open_in_place(nonce, Aad::empty(), &mut sealed) {
                self.records().insert(handle, payload.to_vec());
            }
        }
        // A record that neither the list nor the gate needs; writers run in any order, so its handle isn't known.
        let mut records = self.records();
        let is_encounter = |bytes: &[u8]| bytes.starts_with(b"{\"resourceType\":\"Encounter\"");
        let handle = records.iter().find(|(_, bytes)| is_encounter(bytes)).unwrap().0.clone();
        match self.flaw {
            Flaw::LosesOne => drop(records.remove(&handle)),
            Flaw::AltersOne => records.get_mut(&handle).unwrap()[5] ^= 1,
            _ => {}
        }
    }

    fn read(&self) -> Arc<Read> {
        let records = self.records();
        let mut read = self.read.lock().unwrap();
        if read.0 != records.len() {
            let mut now = Read::default();
            for (file, bytes) in records.values().filter_map(|bytes| Some((File::read(bytes).ok()?, bytes))) {
                match file.data.text(0x0008_0060).as_deref() {
                    Some("RTRECORD") => now.records.push(TreatmentRecord::parse(bytes)),
                    Some("RTPLAN") => {
                        now.plans.push((file.data.text(0x0010_0020).unwrap(), Plan::parse(bytes).unwrap()))
                    }
                    _ => {}
                }
            }
            *read = (records.len(), Arc::new(now));
        }
        Arc::clone(&read.1)
    }

    fn given(&self, plan: &Plan) -> u32 {
        let plans = BTreeSet::from([plan.instance.sop_instance.clone()]);
        let mut course = Course::new(&plans, 1, true);
        self.read().records.iter().for_each(|record| course.add(record));
        let given = course.given().fractions().unwrap();
        if self.flaw == Flaw::ForgetsLastFraction { given.saturating_sub(1) } else { given }
    }
}

impl System for Small {
    fn keep_fhir(&self, resources: &[&[u8]]) -> Result<Vec<String>, Fault> {
        for bytes in resources {
            let value: Value = serde_json::from_slice(bytes).map_err(fault)?;
            value["resourceType"].as_str().ok_or_else(|| fault("no resource"))?;
        }
        Ok(resources.iter().map(|bytes| self.keep(bytes)).collect())
    }

    fn store_dicom(&self, file: &[u8]) -> Result<String, Fault> {
        File::read(file).map_err(fault)?;
        Ok(self.keep(file))
    }

    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault> {
        self.records().get(handle).cloned().ok_or_else(|| fault("no such record"))
    }

    fn approve(&self, plan: &str, signer: Signer) -> Result<(), Fault> {
        let plan = Plan::parse(&self.read_back(plan)?).map_err(fault)?;
        self.keep(format!("approval {:?} {}", signer, plan.digest()).as_bytes());
        Ok(())
    }

    fn gate(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault> {
        let veto = |why: &str| Ok(Verdict { released: false, reasons: vec![why.to_owned()] });
        let released = Ok(Verdict { released: true, reasons: vec![] });
        match self.flaw {
            Flaw::GateReleasesAll => return released,
            Flaw::GateVetoesAll => return veto("to be safe"),
            _ => {}
        }
        let Ok(presented) = Plan::parse(plan) else { return veto("not a plan") };
        if presented.instance.patient_id.as_deref() != Some(number) {
            return veto("another patient");
        }
        let signed = |signer: Signer| {
            let line = format!("approval {:?} {}", signer, presented.digest());
            self.records().values().any(|bytes| *bytes == line.as_bytes())
        };
        if !signed(Signer::Oncologist) || !signed(Signer::Physicist) {
            return veto("not approved");
        }
        let read = self.read();
        let stored = &read.plans.iter().find(|(_, plan)| plan.digest() == presented.digest()).unwrap().1;
        if !Difference::of(&stored.delivery, &presented.delivery).within_tolerance() {
            return veto("out of tolerance");
        }
        if self.given(stored) >= stored.groups[0].fractions_planned {
            return veto("all fractions given");
        }
        released
    }

    fn treatment_list(&self) -> Result<Vec<ListRow>, Fault> {
        let patients: Vec<Value> =
            self.records().values().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect();
        let row = |(number, plan): &(String, Plan)| {
            let patient = patients.iter().find(|p| p["identifier"][0]["value"] == number.as_str()).unwrap();
            let (given, planned) = (self.given(plan), plan.groups[0].fractions_planned);
            ListRow {
                number: number.clone(),
                name: patient["name"][0]["text"].as_str().unwrap().to_owned(),
                birth_date: patient["birthDate"].as_str().unwrap().to_owned(),
                plan: plan.label.clone().unwrap(),
                machine: plan.beams[0].machine.clone(),
                fraction_next: (given < planned).then_some(given + 1),
                fractions_planned: Some(planned),
            }
        };
        let mut rows: Vec<ListRow> = self.read().plans.iter().map(row).collect();
        if self.flaw == Flaw::ListLacksOne {
            let gone = rows.iter().position(|row| row.fraction_next.is_some()).unwrap();
            rows.remove(gone);
        }
        Ok(rows)
    }

    fn secrets(&self) -> Result<Vec<Secret>, Fault> {
        Ok(vec![Secret { what: "the key".into(), bytes: Zeroizing::new(self.key.to_vec()) }])
    }

    fn settle(&self) -> Result<(), Fault> {
        Ok(())
    }
}

struct SmallBuilder(Flaw);

impl SmallBuilder {
    fn small(&self, key: [u8; 32], servers: Vec<PathBuf>) -> Small {
        Small { key, servers, flaw: self.0, records: Mutex::default(), read: Mutex::default() }
    }
}

impl Builder for SmallBuilder {
    fn found(&self, site: &Path, servers: usize) -> Result<Founded, Fault> {
        let mut key = [0; 32];
        OsEntropy.fill(&mut key);
        let folders: Vec<PathBuf> = (0..servers).map(|n| site.join(format!("server-{n:02}"))).collect();
        let gateway = site.join("gateway");
        fs::create_dir_all(&gateway).unwrap();
        fs::write(gateway.join("config.toml"), "servers = 14\n").unwrap();
        let mut rest = key;
        for (index, folder) in folders.iter().enumerate() {
            fs::create_dir_all(folder).unwrap();
            let mut share = [0; 32];
            OsEntropy.fill(&mut share);
            if index + 1 == servers {
                share = rest;
            }
            rest.iter_mut().zip(share).for_each(|(a, b)| *a ^= b);
            fs::write(folder.join("share"), share).unwrap();
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self.0 {
            Flaw::KeyOnDisk => folders.iter().for_each(|f| fs::write(f.join("backup.txt"), hex(&key)).unwrap()),
            Flaw::IndexInTheClear => {
                let name = drill::synthetic::Centre { seed: 5, today: TODAY, patients: 8, on_treatment: 6 };
                fs::write(gateway.join("index.db"), name.patient(2).name.text()).unwrap();
            }
            Flaw::OpensAlone => fs::write(gateway.join("cache"), key.map(|byte| byte ^ 0x55)).unwrap(),
            _ => {}
        }
        let custodian = Zeroizing::new(hex(&key));
        let system = Box::new(self.small(key, folders.clone()));
        Ok(Founded {
            system,
            servers: folders,
            gateway,
            custodians: vec![custodian.clone(), custodian],
            custodians_needed: 1,
        })
    }

    fn open(&self, site: &Path) -> Result<Box<dyn System>, Fault> {
        let folders: Vec<PathBuf> =
            (0..14).map(|n| site.join(format!("server-{n:02}"))).filter(|f| f.exists()).collect();
        let mut key = [0; 32];
        if self.0 == Flaw::OpensAlone {
            key.copy_from_slice(&fs::read(site.join("gateway/cache")).unwrap());
            key.iter_mut().for_each(|byte| *byte ^= 0x55);
        } else if folders.len() < 14 {
            return Err(fault("shares are missing"));
        }
        let small = self.small(key, folders.clone());
        small.load(&folders[0]);
        Ok(Box::new(small))
    }

    fn recover(
        &self,
        remains: &Remains<'_>,
        _: &Path,
        listed: &mut dyn FnMut(Result<Vec<ListRow>, Fault>),
    ) -> Result<Box<dyn System>, Fault> {
        if remains.survivors.len() < 3 {
            return Err(fault(format!("{} servers survive, 3 are needed", remains.survivors.len())));
        }
        let hex = &remains.custodians[0];
        let mut key = [0; 32];
        for (slot, pair) in key.iter_mut().zip(hex.as_bytes().chunks(2)) {
            *slot = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        }
        let small = self.small(key, vec![]);
        small.load(&remains.survivors[0]);
        listed(small.treatment_list());
        Ok(Box::new(small))
    }
}

fn drill(flaw: Flaw, change: impl FnOnce(&mut Options)) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options { on_treatment: 6, ..Options::new(5, TODAY, 8, dir.path().join("drill")) };
    change(&mut options);
    run(&options, &SmallBuilder(flaw), &|_| {}).unwrap()
}

/// Promises that were broken.
fn broken(report: &Report) -> Vec<&'static str> {
    assert_eq!(report.exit_code(), if report.held { 0 } else { 4 });
    let mut broken: Vec<_> = report.checks.iter().filter(|check| !check.held).map(|check| check.promise).collect();
    broken.dedup();
    broken
}

#[test]
fn a_sound_centre_holds_every_promise() {
    let report = drill(Flaw::None, |_| {});
    assert!(report.held, "{report}");
    assert_eq!(report.attacks.len(), 12);
    assert_eq!(report.centre.on_treatment, 6);
    assert!(report.centre.acknowledged > 8 * 11);
    let text = report.to_string();
    assert!(text.contains("RESULT: Every promise held."), "{text}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!((&json["held"], &json["checks"][0]["promise"]), (&Value::Bool(true), &Value::from("P1")));
    let gate = report.check("P3").next().unwrap();
    assert!(gate.looked_at.starts_with("1") && gate.findings_total == 0, "{}", gate.looked_at);
}

#[test]
fn every_flaw_rings_its_own_promise() {
    for (flaw, promise) in [
        (Flaw::LosesOne, "P1"),
        (Flaw::AltersOne, "P1"),
        (Flaw::IndexInTheClear, "P2"),
        (Flaw::KeyOnDisk, "P2"),
        (Flaw::OpensAlone, "P2"),
        (Flaw::GateReleasesAll, "P3"),
        (Flaw::GateVetoesAll, "P3"),
        (Flaw::ListLacksOne, "P4"),
    ] {
        let report = drill(flaw, |_| {});
        assert_eq!(broken(&report), [promise], "{report}");
        assert!(report.to_string().contains("NOT EVERY PROMISE HELD"));
    }
    assert_eq!(broken(&drill(Flaw::ForgetsLastFraction, |_| {})), ["P3", "P4"]);
}

#[test]
fn the_drills_built_to_fail_do() {
    let twelve = drill(Flaw::None, |options| options.servers_lost = 12);
    assert_eq!(broken(&twelve), ["P1", "P3", "P4"], "{twelve}");
    assert_eq!(twelve.seconds.to_treatment_list, None);
    let planted = drill(Flaw::None, |options| options.plant_plaintext = true);
    assert_eq!(broken(&planted), ["P2"], "{planted}");
    assert!(
        planted
            .check("P2")
            .any(|check| check.findings.iter().any(|f| f.contains("UTF-16LE") && f.contains("debug.log")))
    );
}

#[test]
fn the_users_own_files_are_loaded_or_refused_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let stranger = crate::centre(3, 1).patient(0);
    fs::create_dir(dir.path().join("deep")).unwrap();
    fs::write(dir.path().join("deep/patient.JSON"), &stranger.fhir[0]).unwrap();
    fs::write(dir.path().join("plan.dcm"), &stranger.course.unwrap().plan).unwrap();
    fs::write(dir.path().join("broken.dcm"), b"no DICOM").unwrap();
    fs::write(dir.path().join("list.json"), b"[1, 2]").unwrap();
    fs::write(dir.path().join("notes.txt"), b"not looked at").unwrap();
    let report = drill(Flaw::None, |options| {
        options.input = Some(dir.path().to_owned());
    });
    assert!(report.held, "{report}");
    assert_eq!(report.centre.own_files, 2);
    let refused: Vec<_> = report.refused.iter().map(|refused| refused.file.as_str()).collect();
    assert_eq!(refused, ["broken.dcm", "list.json"]);
    assert!(report.refused[0].reason.contains("DICM"), "{}", report.refused[0].reason);
}

#[test]
fn chosen_victims_are_taken_and_unknown_ones_refused() {
    let report = drill(Flaw::None, |options| options.victims = Some((3..14).collect()));
    assert!(report.held, "{report}");
    assert_eq!(report.attacks[0].place, "server 04");
    let dir = tempfile::tempdir().unwrap();
    let options = Options { victims: Some(vec![14]), ..Options::new(1, TODAY, 4, dir.path().into()) };
    assert_eq!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap_err().code, "drill.victims");
    assert!(!dir.path().exists(), "a drill leaves nothing behind");
}

#[test]
fn a_folder_that_is_not_empty_is_neither_used_nor_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("records"), "irreplaceable").unwrap();
    let options = Options::new(1, TODAY, 4, dir.path().into());
    assert_eq!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap_err().code, "drill.not-empty");
    assert_eq!(fs::read_to_string(dir.path().join("records")).unwrap(), "irreplaceable");
    // With `keep`, what the drill made stays: the marker, the lost servers, the recovered centre.
    let kept = dir.path().join("kept");
    let options = Options { keep: true, ..Options::new(1, TODAY, 4, kept.clone()) };
    assert!(run(&options, &SmallBuilder(Flaw::None), &|_| {}).unwrap().held);
    assert!(kept.join("centre").is_dir());
}
