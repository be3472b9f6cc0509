//! A small centre of this test's own, which can fail in every way that a drill must notice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use drill::system::{
    AccountLine, Blamed, Builder, Deed, Founded, ListRow, Locked, Loot, Reader, Receipt, Remains, Secret, Signer,
    System, Verdict,
};
use drill::tamper::walk::File;
use kit::{Blame, Entropy, Fault, OsEntropy};
use serde_json::Value;
use treatment::{Course, Difference, Plan, PlanError, TreatmentRecord};
use zeroize::Zeroizing;

use crate::TODAY;

/// How a centre can fail.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    LosesOne,
    AltersOne,
    IndexInTheClear,
    KeyOnDisk,
    OpensAlone,
    StuckForAnotherReason,
    LosesAHolder,
    TrustsDamaged,
    StumblesOverDamaged,
    SeesNoDamage,
    BlamesTheInnocent,
    ForgetsApprovals,
    ForgetsRefusals,
    RewritesAccounts,
    GateReleasesAll,
    GateVetoesAll,
    ForgetsLastFraction,
    ListLacksOne,
}

fn fault(what: impl ToString) -> Fault {
    Fault::new(Blame::Ours, "small.failed", what.to_string())
}

/// Twelve servers open the centre, as the real one's do.
const KEYS_NEEDED: usize = 12;

/// Every record sealed under one key and copied to every server; any twelve servers together have the key, and the
/// custodian has it whole.
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

fn nonce(handle: &str) -> Nonce {
    let mut nonce = [0; 12];
    nonce[..6].copy_from_slice(handle.as_bytes());
    Nonce::assume_unique_for_key(nonce)
}

fn sealed_names(server: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let files = fs::read_dir(server).unwrap().map(|entry| entry.unwrap().path());
    let named = files.map(|file| (file.file_name().unwrap().to_str().unwrap().to_owned(), file));
    named.filter(|(name, _)| name.len() == 6)
}

fn sealed_records(server: &Path) -> BTreeMap<String, Vec<u8>> {
    sealed_names(server).map(|(name, file)| (name, fs::read(file).unwrap())).collect()
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
        self.seal().seal_in_place_append_tag(nonce(&handle), Aad::empty(), &mut sealed).unwrap();
        self.servers.iter().for_each(|server| fs::write(server.join(&handle), &sealed).unwrap());
        records.insert(handle.clone(), payload.to_vec());
        handle
    }

    fn load(&self, servers: &[PathBuf]) {
        let trusting = self.flaw == Flaw::TrustsDamaged;
        for server in servers {
            for (handle, sealed) in sealed_records(server) {
                match self.unseal(&handle, &sealed) {
                    Some(payload) => drop(self.records().entry(handle).or_insert(payload)),
                    None if trusting => drop(self.records().entry(handle).or_insert(sealed)),
                    None => {}
                }
            }
        }
        // A record that neither the list nor the gate needs; writers run in any order, so its handle isn't known.
        let mut records = self.records();
        let is_encounter = |bytes: &[u8]| bytes.starts_with(b"{\"resourceType\":\"Encounter\"");
        let Some((handle, _)) = records.iter().find(|(_, bytes)| is_encounter(bytes)) else { return };
        let handle = handle.clone();
        match self.flaw {
            Flaw::LosesOne => drop(records.remove(&handle)),
            Flaw::AltersOne => records.get_mut(&handle).unwrap()[5] ^= 1,
            Flaw::ForgetsApprovals => {
                let first = records.iter().find(|(_, bytes)| bytes.starts_with(b"approval")).unwrap().0.clone();
                // Her plan is signed again, so that only the acknowledged signature is gone.
                let again = records.remove(&first).unwrap();
                records.insert("again".into(), again);
            }
            Flaw::ForgetsRefusals => records.retain(|_, bytes| !bytes.starts_with(b"line Refused")),
            Flaw::RewritesAccounts => {
                let lines = records.values_mut().filter(|bytes| bytes.starts_with(b"line Opened"));
                lines.for_each(|bytes| bytes.extend(b" by nobody"));
            }
            _ => {}
        }
    }

    fn unseal(&self, handle: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = sealed.to_vec();
        Some(self.seal().open_in_place(nonce(handle), Aad::empty(), &mut sealed).ok()?.to_vec())
    }

    /// A line of a patient's account.
    fn did(&self, number: &str, deed: Deed) {
        self.keep(format!("line {deed:?} {number}").as_bytes());
    }

    fn number_of(&self, id: &str) -> String {
        let is_hers = |patient: &&Value| patient["resourceType"] == "Patient" && patient["id"] == id;
        let values = self.records().values().filter_map(|bytes| serde_json::from_slice(bytes).ok()).collect::<Vec<_>>();
        values.iter().find(is_hers).unwrap()["identifier"][0]["value"].as_str().unwrap().to_owned()
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
        let mut course = Course::new(plans.clone(), plan, &plan.groups[0]);
        self.read().records.iter().for_each(|record| course.add(record));
        let given = course.given().fractions().unwrap();
        if self.flaw == Flaw::ForgetsLastFraction { given.saturating_sub(1) } else { given }
    }
}

impl Small {
    fn decide(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault> {
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
}

impl System for Small {
    fn keep_fhir(&self, resources: &[&[u8]]) -> Result<Vec<String>, Fault> {
        for bytes in resources {
            let value: Value = serde_json::from_slice(bytes).map_err(fault)?;
            value["resourceType"].as_str().ok_or_else(|| fault("no resource"))?;
            if value["resourceType"] == "Patient" {
                self.did(value["identifier"][0]["value"].as_str().unwrap_or_default(), Deed::Registered);
            }
        }
        Ok(resources.iter().map(|bytes| self.keep(bytes)).collect())
    }

    fn store_dicom(&self, file: &[u8]) -> Result<String, Fault> {
        let number = File::read(file).map_err(fault)?.data.text(0x0010_0020);
        self.did(&number.unwrap_or_default(), Deed::Stored);
        Ok(self.keep(file))
    }

    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault> {
        self.records().get(handle).cloned().ok_or_else(|| fault("no such record"))
    }

    fn approve(&self, plan: &str, signer: Signer) -> Result<Receipt, Fault> {
        let plan = Plan::parse(&self.read_back(plan)?).map_err(fault)?;
        self.did(plan.instance.patient_id.as_deref().unwrap(), Deed::Approved);
        let payload = format!("approval {:?} {}", signer, plan.digest()).into_bytes();
        Ok(Receipt { handle: self.keep(&payload), payload })
    }

    fn last_verdict(&self, number: &str) -> Result<Receipt, Fault> {
        let records = self.records();
        let start = format!("verdict {number} ");
        let (handle, payload) = records.iter().rfind(|(_, bytes)| bytes.starts_with(start.as_bytes())).unwrap();
        Ok(Receipt { handle: handle.clone(), payload: payload.clone() })
    }

    fn open_chart(&self, reader: Reader, id: &str) -> Result<bool, Fault> {
        let may = reader == Reader::Oncologist;
        self.did(&self.number_of(id), if may { Deed::Opened } else { Deed::Refused });
        Ok(may)
    }

    fn account(&self, number: &str) -> Result<Vec<AccountLine>, Fault> {
        use Deed::{Approved, GateAsked, Opened, Refused, Registered, Stored};
        let records = self.records();
        let lines = records.iter().filter_map(|(handle, bytes)| {
            let text = std::str::from_utf8(bytes).ok()?.strip_prefix("line ")?.to_owned();
            let (deed, whose) = text.split_once(' ')?;
            let all = [Registered, Stored, Approved, GateAsked, Opened, Refused];
            let deed = all.into_iter().find(|known| format!("{known:?}") == deed);
            whose.starts_with(number).then(|| AccountLine { deed, text: format!("{handle}: {text}") })
        });
        Ok(lines.collect())
    }

    fn gate(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault> {
        let verdict = self.decide(number, plan)?;
        self.did(number, Deed::GateAsked);
        self.keep(format!("verdict {number} {verdict:?}").as_bytes());
        Ok(verdict)
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

pub(crate) struct SmallBuilder(pub(crate) Flaw);

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
        // The key is the sum of one part for each three servers, which those three have: any twelve of fourteen have all
        // parts, and any eleven lack the one of the three others.
        let mut rest = key;
        let parts = threes(servers);
        folders.iter().for_each(|folder| fs::create_dir_all(folder).unwrap());
        for (number, three) in parts.iter().enumerate() {
            let mut part = [0; 32];
            OsEntropy.fill(&mut part);
            if number + 1 == parts.len() {
                part = rest;
            }
            rest.iter_mut().zip(part).for_each(|(a, b)| *a ^= b);
            for server in three {
                let mut share =
                    fs::OpenOptions::new().append(true).create(true).open(folders[*server].join("share")).unwrap();
                share.write_all(&[&(number as u16).to_be_bytes()[..], &part].concat()).unwrap();
            }
        }
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        match self.0 {
            Flaw::KeyOnDisk => folders.iter().for_each(|f| fs::write(f.join("backup.txt"), hex(&key)).unwrap()),
            Flaw::IndexInTheClear => {
                let name = drill::synthetic::Centre {
                    seed: 5,
                    today: TODAY,
                    patients: 8,
                    on_treatment: 6,
                    images: drill::synthetic::Images::Slice,
                };
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

    fn break_in(&self, stolen: &[PathBuf], gateway: &Path) -> Result<Box<dyn Loot>, Locked> {
        let mut key = [0; 32];
        if self.0 == Flaw::OpensAlone {
            key.copy_from_slice(&fs::read(gateway.join("cache")).unwrap());
            key.iter_mut().for_each(|byte| *byte ^= 0x55);
        } else if self.0 == Flaw::StuckForAnotherReason {
            return Err(Locked::Other(fault("a file is damaged")));
        } else {
            let shares: Vec<Vec<u8>> = stolen.iter().filter_map(|folder| fs::read(folder.join("share")).ok()).collect();
            let have = shares.len() - usize::from(self.0 == Flaw::LosesAHolder);
            if have < KEYS_NEEDED {
                return Err(Locked::TooFewHolders { have, need: KEYS_NEEDED });
            }
            let parts: BTreeMap<&[u8], &[u8]> =
                shares.iter().flat_map(|share| share.chunks(34)).map(|part| part.split_at(2)).collect();
            parts.values().for_each(|part| key.iter_mut().zip(*part).for_each(|(a, b)| *a ^= b));
        }
        let small = self.small(key, stolen.to_vec());
        small.load(&stolen[..1]);
        Ok(Box::new(Stolen(small)))
    }

    fn recover(
        &self,
        remains: &Remains<'_>,
        _: &Path,
        listed: &mut dyn FnMut(Result<Vec<ListRow>, Fault>),
    ) -> Result<Box<dyn System>, Fault> {
        let small = self.small(key_of(remains), vec![]);
        let everything = everything(remains);
        let damaged: Vec<bool> =
            remains.servers.iter().map(|server| small.damage(server, &everything).is_some()).collect();
        let sound = damaged.iter().filter(|damaged| !**damaged).count();
        if sound < 3 {
            return Err(fault(format!("{sound} servers survive, 3 are needed")));
        }
        if self.0 == Flaw::StumblesOverDamaged && damaged[0] {
            return Err(fault("the first server is damaged"));
        }
        small.load(remains.servers);
        listed(small.treatment_list());
        Ok(Box::new(small))
    }

    fn examine(&self, remains: &Remains<'_>) -> Result<Vec<Blamed>, Fault> {
        let small = self.small(key_of(remains), vec![]);
        let everything = everything(remains);
        let number = |folder: &Path| folder.to_str().unwrap().rsplit('-').next().unwrap().parse::<usize>().unwrap();
        let damaged = remains.servers.iter().filter_map(|folder| {
            let what = small.damage(folder, &everything);
            let what = what.or_else(|| (self.0 == Flaw::BlamesTheInnocent).then(|| "a feeling".to_owned()))?;
            Some(Blamed { server: number(folder), what })
        });
        Ok(if self.0 == Flaw::SeesNoDamage { vec![] } else { damaged.collect() })
    }
}

struct Stolen(Small);

impl Loot for Stolen {
    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault> {
        self.0.read_back(handle)
    }
}

impl Small {
    /// What is wrong with a server, where something is: every record has to be there and to open, and its share too.
    fn damage(&self, server: &Path, everything: &BTreeSet<String>) -> Option<String> {
        let records = sealed_records(server);
        let share = fs::metadata(server.join("share")).map_or(0, |about| about.len());
        let bad = everything
            .iter()
            .filter(|handle| records.get(*handle).is_none_or(|sealed| self.unseal(handle, sealed).is_none()));
        match bad.count() {
            0 if share > 0 && share.is_multiple_of(34) => None,
            bad => Some(format!("{bad} records")),
        }
    }
}

/// Handles that stand on any server.
fn everything(remains: &Remains<'_>) -> BTreeSet<String> {
    remains.servers.iter().flat_map(|server| sealed_names(server)).map(|(name, _)| name).collect()
}

fn key_of(remains: &Remains<'_>) -> [u8; 32] {
    let mut key = [0; 32];
    for (slot, pair) in key.iter_mut().zip(remains.custodians[0].as_bytes().chunks(2)) {
        *slot = u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    }
    key
}

fn threes(servers: usize) -> Vec<[usize; 3]> {
    let pairs = |a| (a + 1..servers).flat_map(move |b| (b + 1..servers).map(move |c| [a, b, c]));
    (0..servers).flat_map(pairs).collect()
}
