//! The drill after which the house is named: a centre is loaded, eleven of its fourteen servers and its gateway are
//! attacked, and what comes back is judged.
//!
//! Nothing here decides what is right: the truth comes from the generator, from the tampering's own catalogue and from
//! the drill's own list of acknowledgements; the judges stand in `check`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use kit::{Blame, Fault, Timestamp};
use zeroize::Zeroizing;

use crate::attack::{self, Attack, DrillRoot};
use crate::check::Findings;
use crate::check::bytes::{Form, Manifest};
use crate::check::gate::{Tally, Trial};
use crate::check::list::{self, TrueRow};
use crate::check::plaintext::{Needles, Planted, Searched};
use crate::input;
use crate::report::{self, Check, Refused, Report, Seconds, Struck};
use crate::synthetic::{self, FOUR_TECHNIQUES, SyntheticPatient};
use crate::system::{Builder, Founded, ListRow, Remains, Signer, System};
use crate::tamper;
use crate::work::spread;

/// Acknowledgements that a thief tries to read, where he could open the centre at all.
const THEFTS: usize = 25;

/// What to drill.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// The day that the synthetic centre stands on.
    pub today: Timestamp,
    pub patients: usize,
    /// At least one of each technique where there are four patients.
    pub on_treatment: usize,
    pub servers: usize,
    /// Eleven of fourteen is the promise; twelve is the twin that must fail.
    pub servers_lost: usize,
    /// These servers (from 0), in place of those that the seed would choose.
    pub victims: Option<Vec<usize>>,
    /// A folder with FHIR (`.json`) and DICOM (`.dcm`) files of the user's own.
    pub input: Option<PathBuf>,
    /// An empty folder, or one to be made; anything else is refused. The drill destroys what it makes in it.
    pub root: PathBuf,
    /// Leave the root behind, to look at. Otherwise the drill removes it: this one folder that it marked itself.
    pub keep: bool,
    /// Clients that write at the same time.
    pub writers: usize,
    /// The twin that must fail: one patient's name is written to a server in the clear.
    pub plant_plaintext: bool,
}

impl Options {
    /// The promise as it stands: eleven of fourteen.
    pub fn new(seed: u64, today: Timestamp, patients: usize, root: PathBuf) -> Self {
        Self {
            seed,
            today,
            patients,
            on_treatment: patients.min((patients / 20).clamp(8, 500)),
            servers: 14,
            servers_lost: 11,
            victims: None,
            input: None,
            root,
            keep: false,
            writers: 16,
            plant_plaintext: false,
        }
    }
}

/// Where a drill is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    pub stage: &'static str,
    pub done: usize,
    pub total: usize,
}

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// Runs the drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(options: &Options, builder: &dyn Builder, watch: Watch<'_>) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let report = run_in(&root, options, builder, watch);
    if !options.keep {
        root.destroy()?;
    }
    report
}

fn run_in(root: &DrillRoot, options: &Options, builder: &dyn Builder, watch: Watch<'_>) -> Result<Report, Fault> {
    let begun = Instant::now();
    let place = |name: &str| root.path().join(name);
    let site = place("centre");
    let centre = synthetic::Centre {
        seed: options.seed,
        today: options.today,
        patients: options.patients,
        on_treatment: options.on_treatment,
    };
    let victims = victims(options)?;
    let Founded { system, servers, gateway, custodians, custodians_needed } = builder.found(&site, options.servers)?;
    if servers.len() != options.servers {
        let said = format!("{} servers were asked for, {} were laid out", options.servers, servers.len());
        return Err(Fault::new(Blame::Ours, "drill.servers", said));
    }

    // Half of the patients, then the copies that servers are rolled back to, then the others.
    let loading = Instant::now();
    let load = Load { centre, system: system.as_ref(), writers: options.writers, watch, kept: Mutex::default() };
    load.patients(0..options.patients / 2)?;
    system.settle()?;
    let older = |server: usize| place("older").join(server.to_string());
    for (server, _) in victims.iter().filter(|(_, attack)| *attack == Attack::RolledBack) {
        attack::copy(folder(&servers, *server)?, &older(*server))?;
    }
    load.patients(options.patients / 2..options.patients)?;
    let (own_files, refused, strangers) = load.own(options.input.as_deref())?;
    let mut tally = Tally::default();
    unsigned_plans(&load, &mut tally)?;
    let Kept { manifest, truth, .. } = load.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    let secrets = system.secrets()?;
    system.settle()?;
    drop(system);
    let loading = loading.elapsed().as_secs_f64();

    if options.plant_plaintext {
        plant(&centre, folder(&servers, victims.first().map_or(0, |(server, _)| *server))?)?;
    }
    let mut checks = Vec::new();
    let stolen: Vec<(String, PathBuf)> = victims
        .iter()
        .map(|(server, _)| Ok((server_name(*server), folder(&servers, *server)?.to_owned())))
        .chain([Ok(("gateway".to_owned(), gateway.clone()))])
        .collect::<Result<_, Fault>>()?;
    let planted = planted(&centre).chain(secrets.iter().map(|s| Planted::secret(&s.what, &s.bytes)));
    checks.push(nothing_readable(planted, &stolen, watch)?);
    checks.push(thief(builder, &site, &servers, &victims, &place("hidden"), &manifest)?);

    let mut attacks = Vec::new();
    for (number, (server, attack)) in (1..).zip(&victims) {
        watch(Progress { stage: "attacking", done: number, total: victims.len() });
        let seed = options.seed.wrapping_add(number as u64);
        let older = older(*server);
        let damage = attack.strike(root, folder(&servers, *server)?, Some(&older), seed)?;
        let place = server_name(*server);
        attacks.push(Struck { place, attack: *attack, files: damage.files, bytes: damage.bytes });
    }
    let damage = Attack::Wiped.strike(root, &gateway, None, options.seed)?;
    let place_name = "gateway".to_owned();
    attacks.push(Struck { place: place_name, attack: Attack::Wiped, files: damage.files, bytes: damage.bytes });

    let lost: BTreeSet<usize> = victims.iter().map(|(server, _)| *server).collect();
    let (damaged, survivors): (Vec<_>, Vec<_>) =
        servers.into_iter().enumerate().partition(|(server, _)| lost.contains(server));
    let folders = |of: Vec<(usize, PathBuf)>| of.into_iter().map(|(_, folder)| folder).collect::<Vec<_>>();
    let (damaged, survivors) = (folders(damaged), folders(survivors));
    let present: Vec<Zeroizing<String>> = custodians.into_iter().take(custodians_needed).collect();
    let remains = Remains { survivors: &survivors, damaged: &damaged, custodians: &present };

    let mut seconds = Seconds { loading, ..Seconds::default() };
    watch(Progress { stage: "recovering", done: 0, total: 1 });
    let recovering = Instant::now();
    let mut early: Result<Vec<ListRow>, String> = Err("the recovery gave none".to_owned());
    let recovered = builder.recover(&remains, &place("recovered"), &mut |list| {
        seconds.to_treatment_list = list.is_ok().then(|| recovering.elapsed().as_secs_f64());
        early = list.map_err(|fault| fault.to_string());
    });
    // Once more when everything stands: both are judged.
    let listed = recovered.as_ref().map_err(ToString::to_string).and_then(|system| {
        let rows = system.treatment_list().map_err(|fault| fault.to_string())?;
        seconds.recovering = recovering.elapsed().as_secs_f64();
        Ok(rows)
    });
    watch(Progress { stage: "recovering", done: 1, total: 1 });
    let recovered = recovered.map_err(|fault| fault.to_string());

    let reading = Instant::now();
    checks.push(nothing_lost(&manifest, recovered.as_deref(), options.writers, watch));
    seconds.reading_back = reading.elapsed().as_secs_f64();
    tampered_plans(&centre, recovered.as_deref(), options.writers, watch, &mut tally);
    checks.push(no_wrong_dose(tally));
    checks.push(treatment_goes_on(
        &truth,
        &[("the first list", early), ("the list afterwards", listed)],
        &strangers,
        &seconds,
    ));
    checks.sort_by_key(|check| check.promise);
    seconds.whole_drill = begun.elapsed().as_secs_f64();
    Ok(Report {
        drill: "eleven-of-fourteen",
        seed: options.seed,
        held: checks.iter().all(|check| check.held),
        centre: report::Centre {
            servers: options.servers,
            servers_lost: lost.len(),
            patients: options.patients,
            on_treatment: truth.len(),
            acknowledged: manifest.len(),
            acknowledged_bytes: manifest.bytes(),
            own_files,
        },
        attacks,
        checks,
        seconds,
        refused,
    })
}

fn victims(options: &Options) -> Result<Vec<(usize, Attack)>, Fault> {
    let Some(servers) = &options.victims else {
        return Ok(attack::choose(options.seed, options.servers, options.servers_lost));
    };
    if let Some(unknown) = servers.iter().find(|server| **server >= options.servers) {
        let said = format!("server {unknown} is to be lost, and there are {}", options.servers);
        return Err(Fault::new(Blame::Peer, "drill.victims", said));
    }
    // The kinds of attack are dealt out as the seed has it.
    let kinds = attack::choose(options.seed, servers.len(), servers.len()).into_iter().map(|(_, attack)| attack);
    Ok(servers.iter().copied().zip(kinds).collect())
}

fn folder(servers: &[PathBuf], server: usize) -> Result<&Path, Fault> {
    let missing = || Fault::new(Blame::Ours, "drill.servers", format!("server {server} has no folder"));
    servers.get(server).map(PathBuf::as_path).ok_or_else(missing)
}

/// As people count.
fn server_name(server: usize) -> String {
    format!("server {:02}", server + 1)
}

/// What the centre acknowledged, as the drill noted it.
#[derive(Default)]
struct Kept {
    manifest: Manifest,
    truth: Vec<TrueRow>,
    /// Handles of the plans that the gate is asked about before they are signed; by patient.
    unsigned: BTreeMap<usize, String>,
    loaded: usize,
}

struct Load<'a> {
    centre: synthetic::Centre,
    system: &'a dyn System,
    writers: usize,
    watch: Watch<'a>,
    kept: Mutex<Kept>,
}

impl Load<'_> {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Synthetic patients: all that they have is valid, so the first refusal ends the drill.
    fn patients(&self, range: std::ops::Range<usize>) -> Result<(), Fault> {
        let first = range.start;
        let kept = spread(self.writers, range.len(), |index| self.patient(&self.centre.patient(first + index)));
        kept.into_iter().collect()
    }

    fn patient(&self, patient: &SyntheticPatient) -> Result<(), Fault> {
        let resources: Vec<&[u8]> = patient.fhir.iter().map(Vec::as_slice).collect();
        let handles = self.system.keep_fhir(&resources)?;
        if handles.len() != resources.len() {
            let said = format!("{} resources were kept, {} acknowledged", resources.len(), handles.len());
            return Err(Fault::new(Blame::Ours, "drill.acknowledged", said));
        }
        let mut files = Vec::new();
        if let Some(course) = &patient.course {
            let plan = self.system.store_dicom(&course.plan)?;
            if patient.number_in_centre < FOUR_TECHNIQUES {
                self.kept().unsigned.insert(patient.number_in_centre, plan.clone());
            } else {
                self.system.approve(&plan, Signer::Oncologist)?;
                self.system.approve(&plan, Signer::Physicist)?;
            }
            files.push((plan, &course.plan));
            for file in course.others.iter().chain(&course.records) {
                files.push((self.system.store_dicom(file)?, file));
            }
        }
        let mut kept = self.kept();
        for (handle, payload) in handles.into_iter().zip(&resources) {
            kept.manifest.remember(Form::Fhir, handle, payload);
        }
        for (handle, file) in files {
            kept.manifest.remember(Form::Dicom, handle, file);
        }
        kept.truth.extend(TrueRow::of(patient));
        kept.loaded += 1;
        (self.watch)(Progress { stage: "loading patients", done: kept.loaded, total: self.centre.patients });
        Ok(())
    }

    /// The user's own files: how many were kept, which were refused, and whose they are.
    fn own(&self, folder: Option<&Path>) -> Result<(usize, Vec<Refused>, BTreeSet<String>), Fault> {
        let Some(folder) = folder else { return Ok(Default::default()) };
        let files = input::files(folder)?;
        let total = files.len();
        let outcomes = spread(self.writers, total, |index| {
            let Some((name, path)) = files.get(index) else { return Ok(()) };
            let outcome = self.own_file(path);
            (self.watch)(Progress { stage: "loading your own files", done: index + 1, total });
            outcome.map_err(|reason| Refused { file: name.clone(), reason })
        });
        // A record may refer to a patient whose own file came later: what was refused is tried once more.
        let (kept, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(Result::is_ok);
        let again: Vec<&(String, PathBuf)> = refused
            .iter()
            .filter_map(|o| o.as_ref().err())
            .filter_map(|r| files.iter().find(|f| f.0 == r.file))
            .collect();
        let second = spread(self.writers, again.len(), |index| {
            let Some((name, path)) = again.get(index) else { return Ok(()) };
            self.own_file(path).map_err(|reason| Refused { file: name.clone(), reason })
        });
        let refused: Vec<Refused> = second.into_iter().filter_map(Result::err).collect();
        let kept = kept.len() + again.len() - refused.len();
        // Of the user's own plans the drill knows no truth: whoever they brought onto the list is not judged.
        let ours: BTreeSet<String> = self.kept().truth.iter().map(|row| row.number.clone()).collect();
        let listed = self.system.treatment_list()?.into_iter().map(|row| row.number);
        Ok((kept, refused, listed.filter(|number| !ours.contains(number)).collect()))
    }

    fn own_file(&self, path: &Path) -> Result<(), String> {
        let payload = input::read(path)?;
        let dicom = input::is_dicom(path);
        let (form, handle) = if dicom {
            (Form::Dicom, self.system.store_dicom(&payload))
        } else {
            let kept = self.system.keep_fhir(&[&payload]);
            (Form::Fhir, kept.map(|handles| handles.into_iter().next().unwrap_or_default()))
        };
        let handle = handle.map_err(|fault| fault.to_string())?;
        self.kept().manifest.remember(form, handle, &payload);
        Ok(())
    }
}

/// The first plans of each technique, signed step by step: the gate must hold until both people have.
fn unsigned_plans(load: &Load<'_>, tally: &mut Tally) -> Result<(), Fault> {
    let system = load.system;
    let unsigned = std::mem::take(&mut load.kept().unsigned);
    for (index, plan) in unsigned {
        let patient = load.centre.patient(index);
        let Some(course) = &patient.course else { continue };
        let mut ask = |what: &str, must_release: bool| {
            let trial = Trial { plan: course.plan_label.clone(), what: what.to_owned(), must_release };
            tally.count(&trial, &system.gate(&patient.number, &course.plan).map_err(|fault| fault.to_string()));
        };
        ask("nobody signed it", false);
        let both = [Signer::Oncologist, Signer::Physicist];
        let (first, second) = if index % 2 == 0 { (both[0], both[1]) } else { (both[1], both[0]) };
        system.approve(&plan, first)?;
        ask("only one person signed it", false);
        system.approve(&plan, second)?;
        ask("nothing; both people signed it", true);
    }
    Ok(())
}

fn plant(centre: &synthetic::Centre, server: &Path) -> Result<(), Fault> {
    let patient = centre.patient(0);
    let text: Vec<u8> = patient.name.text().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("{}: {e}", server.display()));
    fs::write(server.join("debug.log"), text).map_err(failed)
}

/// Everything about the synthetic patients that identifies one, each value once.
fn planted(centre: &synthetic::Centre) -> impl Iterator<Item = Planted> {
    let mut values = BTreeMap::new();
    for patient in centre.generate() {
        let number = &patient.number;
        let name = &patient.name;
        // The national number: it stands in the international one as well.
        let phone = patient.phone.trim_start_matches("+91").to_owned();
        for (what, value) in [
            ("name", name.given.clone()),
            ("name", name.family.clone()),
            ("name", name.given_latin.clone()),
            ("name", name.family_latin.clone()),
            ("phone", phone),
            ("number", number.clone()),
            ("diagnosis", patient.diagnosis.text.to_owned()),
        ] {
            values.entry(value).or_insert_with(|| format!("{what} of {number}"));
        }
    }
    values.into_iter().map(|(value, what)| Planted::text(what, &value))
}

fn nothing_readable(
    planted: impl Iterator<Item = Planted>,
    stolen: &[(String, PathBuf)],
    watch: Watch<'_>,
) -> Result<Check, Fault> {
    let needles = Needles::new(planted);
    let progress = |done, total| watch(Progress { stage: "searching the stolen disks", done, total });
    let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("the stolen disks: {e}"));
    let Searched { files, bytes, streams, findings, .. } =
        needles.search(stolen, THREADS, &progress).map_err(failed)?;
    let mut findings = findings;
    needles.too_short().iter().for_each(|what| findings.add(format!("{what} is too short to be searched for")));
    let looked_at = format!(
        "{} names, numbers, phones, diagnoses and keys in {} written forms, against {files} files ({bytes} bytes) of \
         the stolen servers and the gateway, and {streams} stretches in them that can be unfolded like a compressed \
         stream.",
        needles.values(),
        needles.forms(),
    );
    let limits = "what can be inferred from sizes and times; forms of writing that are not on the checker's list.";
    let question = "Can anything of a patient be read on the stolen disks?";
    Ok(Check::new("P2", question, looked_at, findings, limits))
}

/// Processors that search; more would wait for the disk.
const THREADS: usize = 4;

/// Opens the centre with the attacker's loot alone: his servers and the gateway, by the product's own code.
fn thief(
    builder: &dyn Builder,
    site: &Path,
    servers: &[PathBuf],
    victims: &[(usize, Attack)],
    hidden: &Path,
    manifest: &Manifest,
) -> Result<Check, Fault> {
    let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("{}: {e}", hidden.display()));
    fs::create_dir_all(hidden).map_err(failed)?;
    let kept_away: Vec<(&PathBuf, PathBuf)> = servers
        .iter()
        .enumerate()
        .filter(|(server, _)| !victims.iter().any(|(victim, _)| victim == server))
        .map(|(server, folder)| (folder, hidden.join(server.to_string())))
        .collect();
    kept_away.iter().try_for_each(|(folder, away)| fs::rename(folder, away)).map_err(failed)?;
    let opened = builder.open(site);
    let mut findings = Findings::default();
    let mut tried = 0;
    if let Ok(system) = &opened {
        for index in 0..manifest.len().min(THEFTS) {
            tried += 1;
            let handle = manifest.handle(index).unwrap_or_default();
            if let Ok(payload) = system.read_back(handle)
                && manifest.judge(index, Ok(&payload)).is_none()
            {
                findings.add(format!("record {handle} was read with the stolen servers alone"));
            }
        }
    }
    let outcome = match &opened {
        Ok(_) => format!("It opened; {tried} records were tried."),
        Err(fault) => format!("It did not open: {}.", fault.message.trim_end_matches('.')),
    };
    drop(opened);
    for (folder, away) in &kept_away {
        // What the attempt may have laid out in the place of a missing server is not the server's.
        if folder.exists() {
            fs::remove_dir_all(folder).map_err(failed)?;
        }
        fs::rename(away, folder).map_err(failed)?;
    }
    let looked_at = format!(
        "The centre's own software, started on the {} stolen servers and the gateway. {outcome}",
        victims.len()
    );
    let limits = "what a thief reads through a running gateway before he is noticed.";
    Ok(Check::new("P2", "Do the stolen servers open the records by themselves?", looked_at, findings, limits))
}

fn nothing_lost(
    manifest: &Manifest,
    recovered: Result<&dyn System, &String>,
    readers: usize,
    watch: Watch<'_>,
) -> Check {
    let total = manifest.len();
    let findings = match recovered {
        Ok(system) => manifest.judge_all(
            readers,
            &|handle| system.read_back(handle).map_err(|fault| fault.to_string()),
            &|index| watch(Progress { stage: "reading everything back", done: index + 1, total }),
        ),
        Err(why) => {
            let mut findings = Findings::default();
            findings.add(format!("the centre could not be recovered: {why}"));
            findings
        }
    };
    let looked_at = format!(
        "{total} acknowledged records ({} bytes), each compared with the drill's own note of it.",
        manifest.bytes()
    );
    let limits = "whether the records were right when they were written.";
    Check::new("P1", "Is every acknowledged record back, byte for byte?", looked_at, findings, limits)
}

/// The catalogue of tampering on one plan of each technique, and a course that has had its last fraction.
fn tampered_plans(
    centre: &synthetic::Centre,
    recovered: Result<&dyn System, &String>,
    threads: usize,
    watch: Watch<'_>,
    tally: &mut Tally,
) {
    let Ok(system) = recovered else {
        tally.findings.add("there is no centre to ask");
        return;
    };
    let mut trials: Vec<(String, Trial, Vec<u8>)> = Vec::new();
    for index in 0..centre.on_treatment {
        let patient = centre.patient(index);
        let Some(course) = patient.course else { continue };
        let plan = course.plan_label.clone();
        if index < FOUR_TECHNIQUES {
            for edit in tamper::catalogue() {
                let what = edit.what.to_owned();
                match edit.apply(&course.plan, centre.seed) {
                    Ok(Some(file)) => {
                        let trial = Trial { plan: plan.clone(), what, must_release: edit.must_release() };
                        trials.push((patient.number.clone(), trial, file));
                    }
                    Ok(None) => {}
                    Err(error) => tally.findings.add(format!("plan {plan} could not be tampered with: {error}")),
                }
            }
        } else {
            let complete = course.fractions_given == course.fractions_planned;
            let what = if complete { "all fractions are given" } else { "nothing; the plan as it was signed" };
            let trial = Trial { plan, what: what.to_owned(), must_release: !complete };
            trials.push((patient.number, trial, course.plan));
        }
    }
    let total = trials.len();
    let answers = spread(threads, total, |index| {
        watch(Progress { stage: "asking the gate", done: index + 1, total });
        let (number, _, file) = trials.get(index).ok_or("no such trial")?;
        system.gate(number, file).map_err(|fault| fault.to_string())
    });
    for ((_, trial, _), answer) in trials.iter().zip(&answers) {
        tally.count(trial, answer);
    }
}

fn no_wrong_dose(tally: Tally) -> Check {
    let looked_at = format!(
        "{} plans that must be vetoed (tampered with, unsigned, made out to somebody else, or complete) and {} that must \
         be released (signed, also after a harmless second export).",
        tally.dangerous, tally.harmless
    );
    let limits = "whether the signed plan itself was a good one.";
    Check::new("P3", "Does the gate hold every wrong dose, and nothing else?", looked_at, tally.findings, limits)
}

/// What P4 of the design allows from survivors to list.
const LIST_SECONDS_MAX: f64 = 60.0;

fn treatment_goes_on(
    truth: &[TrueRow],
    lists: &[(&str, Result<Vec<ListRow>, String>)],
    strangers: &BTreeSet<String>,
    seconds: &Seconds,
) -> Check {
    let mut findings = Findings::default();
    for (which, listed) in lists {
        match listed {
            Ok(rows) => findings.extend(list::judge(truth, rows, strangers)),
            Err(why) => findings.add(format!("{which} did not come: {why}")),
        }
    }
    let all = seconds.recovering;
    let seconds = seconds.to_treatment_list;
    if let Some(seconds) = seconds.filter(|seconds| *seconds > LIST_SECONDS_MAX) {
        findings.add(format!("the list took {seconds:.1} seconds, {LIST_SECONDS_MAX:.0} are allowed"));
    }
    let time = seconds.map_or("never".to_owned(), |seconds| format!("after {seconds:.1} seconds"));
    let looked_at = format!(
        "{} patients with a course; the list came {time}, and again when everything stood, after {all:.1}.",
        truth.len()
    );
    let limits = "how long it takes on the hospital's own machines.";
    Check::new("P4", "Is the list of patients on treatment back, and right?", looked_at, findings, limits)
}
