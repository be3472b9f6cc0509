//! The drill after which the house is named: a centre is loaded, eleven of its fourteen servers and its gateway are
//! attacked, and what comes back is judged.
//!
//! Nothing here decides what is right: the truth comes from the generator, from the tampering's own catalogue and from
//! the drill's own list of acknowledgements (`load`); the judges stand in `check`, and `judges` puts the questions.

pub(crate) mod judges;
pub(crate) mod load;
pub(crate) mod planted;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use kit::{Blame, Fault, Timestamp};
use zeroize::Zeroizing;

use crate::attack::{self, Attack, Blow, DrillRoot, Reach};
use crate::check::gate::Tally;
use crate::report::{self, Check, Report, Seconds, Struck};
use crate::synthetic::{self, Rng};
use crate::system::{Builder, Founded, ListRow, Remains, Secret};

use judges::{Recovered, said};
use load::{Kept, Load, OwnFiles};

/// What to drill.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    /// The day that the synthetic centre stands on.
    pub today: Timestamp,
    pub patients: usize,
    /// At least one of each technique where there are five patients.
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
    let victims = victims(options)?;
    let mut scene = Scene::build(root, options, builder, watch, victims)?;
    let loading = begun.elapsed().as_secs_f64();
    let mut checks = scene.rob(builder)?;
    let attacks = scene.attack()?;
    let mut seconds = Seconds { loading, ..Seconds::default() };
    checks.extend(scene.recover(builder, &mut seconds)?);
    checks.extend(scene.recover_from_all(builder));
    // Of one promise, in the order in which they were asked.
    checks.sort_by_key(|check| check.promise);
    seconds.whole_drill = begun.elapsed().as_secs_f64();
    let Scene { kept, own, victims, .. } = scene;
    let centre = report::Centre {
        servers: options.servers,
        servers_lost: victims.len(),
        patients: options.patients,
        on_treatment: kept.truth.len(),
        acknowledged: kept.manifest.len(),
        acknowledged_bytes: kept.manifest.bytes(),
        own_files: own.kept,
    };
    let list = match seconds.to_treatment_list {
        Some(seconds) => format!("{seconds:.1} seconds after recovery began, the treatment list was back"),
        None => "The treatment list did not come back".to_owned(),
    };
    let story = format!(
        "{} {} servers and the gateway, which clinicians work with, were attacked at once. What was left: {} servers, and \
         the custodians, whose keys stood on none of them. {list}.",
        centre.sentence(),
        centre.servers_lost,
        centre.servers.saturating_sub(centre.servers_lost),
    );
    Ok(Report {
        drill: "eleven-of-fourteen",
        title: format!("{} of {} servers lost", centre.servers_lost, centre.servers),
        story,
        seed: options.seed,
        held: checks.iter().all(|check| check.held),
        centre,
        attacks,
        deeds: Vec::new(),
        figures: BTreeMap::new(),
        checks,
        seconds,
        refused: own.refused,
    })
}

fn victims(options: &Options) -> Result<BTreeMap<usize, Blow>, Fault> {
    let Some(servers) = &options.victims else {
        return Ok(attack::choose(options.seed, options.servers, options.servers_lost).into_iter().collect());
    };
    if let Some(unknown) = servers.iter().find(|server| **server >= options.servers) {
        let said = format!("server {unknown} is to be lost, and there are {}", options.servers);
        return Err(Fault::new(Blame::Peer, "drill.victims", said));
    }
    // The kinds of attack are dealt out as the seed has it.
    let kinds = attack::choose(options.seed, servers.len(), servers.len()).into_iter().map(|(_, blow)| blow);
    Ok(servers.iter().copied().zip(kinds).collect())
}

/// As people count.
fn server_name(server: usize) -> String {
    format!("server {:02}", server + 1)
}

/// A loaded centre that is closed, and everything that the drill knows of it.
struct Scene<'a> {
    root: &'a DrillRoot,
    options: &'a Options,
    watch: Watch<'a>,
    centre: synthetic::Centre,
    /// By number, from 0.
    servers: Vec<PathBuf>,
    gateway: PathBuf,
    victims: BTreeMap<usize, Blow>,
    custodians: Vec<Zeroizing<String>>,
    /// Those who come to a recovery.
    present: Vec<Zeroizing<String>>,
    secrets: Vec<Secret>,
    kept: Kept,
    own: OwnFiles,
    tally: Tally,
}

impl<'a> Scene<'a> {
    fn build(
        root: &'a DrillRoot,
        options: &'a Options,
        builder: &dyn Builder,
        watch: Watch<'a>,
        victims: BTreeMap<usize, Blow>,
    ) -> Result<Self, Fault> {
        let Options { seed, today, patients, on_treatment, .. } = *options;
        let centre = synthetic::Centre { seed, today, patients, on_treatment, images: synthetic::Images::Slice };
        let site = root.path().join("centre");
        let Founded { system, servers, gateway, custodians, custodians_needed } =
            builder.found(&site, options.servers)?;
        if servers.len() != options.servers {
            let said = format!("{} servers were asked for, {} were laid out", options.servers, servers.len());
            return Err(Fault::new(Blame::Ours, "drill.servers", said));
        }
        // Half of the patients, then the copies that servers are rolled back to, then the others.
        let load = Load::new(centre, system.as_ref(), options.writers, watch);
        load.patients(0..patients / 2)?;
        system.settle()?;
        for (server, folder) in servers.iter().enumerate() {
            if victims.get(&server).is_some_and(|blow| blow.attack == Attack::RolledBack) {
                attack::copy(folder, &older(root, server))?;
            }
        }
        load.patients(patients / 2..patients)?;
        let own = load.own(options.input.as_deref())?;
        let mut tally = Tally::default();
        load.unsigned_plans(&mut tally)?;
        load.accounts()?;
        let kept = load.done();
        let secrets = system.secrets()?;
        system.settle()?;
        drop(system);
        let present = custodians.iter().take(custodians_needed).cloned().collect();
        Ok(Self {
            root,
            options,
            watch,
            centre,
            servers,
            gateway,
            victims,
            custodians,
            present,
            secrets,
            kept,
            own,
            tally,
        })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn stolen(&self) -> impl Iterator<Item = (usize, &PathBuf)> {
        self.servers.iter().enumerate().filter(|(server, _)| self.victims.contains_key(server))
    }

    /// What a thief has of the servers and the gateway before he destroys them.
    fn rob(&self, builder: &dyn Builder) -> Result<Vec<Check>, Fault> {
        if let Some((_, folder)) = self.stolen().next().filter(|_| self.options.plant_plaintext) {
            planted::plant(&self.centre, folder)?;
        }
        let gateway = [("gateway".to_owned(), self.gateway.clone())];
        let places: Vec<(String, PathBuf)> =
            self.stolen().map(|(server, folder)| (server_name(server), folder.clone())).chain(gateway).collect();
        let planted = planted::patients(&self.centre)
            .chain(planted::secrets(&self.secrets))
            .chain(planted::identities(&self.custodians));
        let readable = judges::nothing_readable(planted, &places, self.watch)?;
        // A copy, since whoever opens a gateway's folder may write to it.
        let gateway = self.place("thief");
        attack::copy(&self.gateway, &gateway)?;
        let folders: Vec<PathBuf> = self.stolen().map(|(_, folder)| folder.clone()).collect();
        let attempt = builder.break_in(&folders, &gateway);
        Ok(vec![readable, judges::thief(folders.len(), attempt, &self.kept.manifest)])
    }

    fn attack(&self) -> Result<Vec<Struck>, Fault> {
        let mut attacks = Vec::new();
        let total = self.victims.len();
        for (number, (server, folder)) in (1..).zip(self.stolen()) {
            (self.watch)(Progress { stage: "attacking", done: number, total });
            let Some(blow) = self.victims.get(&server).copied() else { continue };
            let seed = self.options.seed.wrapping_add(number as u64);
            let damage = blow.strike(self.root, folder, Some(&older(self.root, server)), seed)?;
            attacks.push(Struck { place: server_name(server), blow, files: damage.files, bytes: damage.bytes });
        }
        let blow = Blow::thorough(Attack::Wiped);
        let damage = blow.strike(self.root, &self.gateway, None, self.options.seed)?;
        attacks.push(Struck { place: "gateway".to_owned(), blow, files: damage.files, bytes: damage.bytes });
        Ok(attacks)
    }

    /// From the survivors and the custodians alone.
    fn recover(&mut self, builder: &dyn Builder, seconds: &mut Seconds) -> Result<Vec<Check>, Fault> {
        let (watch, readers) = (self.watch, self.options.writers);
        let survivors: Vec<PathBuf> = self
            .servers
            .iter()
            .enumerate()
            .filter(|(server, _)| !self.victims.contains_key(server))
            .map(|(_, folder)| folder.clone())
            .collect();
        let remains = Remains { servers: &survivors, custodians: &self.present, restore_from: None };
        let site = self.place("recovered");
        watch(Progress { stage: "recovering", done: 0, total: 1 });
        let recovering = Instant::now();
        let mut lists: Vec<Result<Vec<ListRow>, String>> = Vec::new();
        let system = builder.recover(&remains, &site, &mut |list| {
            let now = list.is_ok().then(|| recovering.elapsed().as_secs_f64());
            seconds.to_treatment_list = seconds.to_treatment_list.or(now);
            lists.push(list.map_err(said));
        });
        let system = system.map_err(said);
        if lists.is_empty() {
            lists.push(Err("the recovery gave none".to_owned()));
        }
        // Once more when everything stands: all are judged.
        let late = system.as_ref().map_err(|_| "the centre could not be recovered".to_owned()).and_then(|system| {
            let rows = system.treatment_list().map_err(said)?;
            seconds.recovering = recovering.elapsed().as_secs_f64();
            Ok(rows)
        });
        lists.push(late);
        watch(Progress { stage: "recovering", done: 1, total: 1 });
        let recovered: Recovered<'_> = system.as_deref();

        let reading = Instant::now();
        let lost = judges::nothing_lost(&self.kept.manifest, recovered, readers, watch);
        seconds.reading_back = reading.elapsed().as_secs_f64();
        let account = judges::accounted_for(&self.kept, recovered);
        let mut tally = std::mem::take(&mut self.tally);
        judges::tampered_plans(&self.centre, recovered, readers, watch, &mut tally);
        let list = judges::treatment_goes_on(&self.kept.truth, &lists, &self.own.strangers, seconds);
        drop(system);
        self.forget(&site)?;
        Ok(vec![lost, judges::no_wrong_dose(tally), list, account])
    }

    /// From everything that is there, damaged servers first: they must change nothing, and be named.
    fn recover_from_all(&self, builder: &dyn Builder) -> Vec<Check> {
        let servers = self.in_bad_order();
        let remains = Remains { servers: &servers, custodians: &self.present, restore_from: None };
        (self.watch)(Progress { stage: "examining the damaged servers", done: 0, total: 1 });
        let blamed = builder.examine(&remains).map_err(said);
        let attacked = self.victims.iter().map(|(server, blow)| (*server, blow.what().to_owned())).collect();
        let named = judges::damage_named(&attacked, &blamed);
        (self.watch)(Progress { stage: "recovering once more", done: 0, total: 1 });
        let system = builder.recover(&remains, &self.place("recovered-from-all"), &mut |_| {}).map_err(said);
        let manifest = &self.kept.manifest;
        let (all, readers) = (servers.len(), self.options.writers);
        vec![judges::nothing_wrong_from_damaged(manifest, all, system.as_deref(), readers, self.watch), named]
    }

    /// All servers by lot, and first of all one that still looks like the centre's and says something wrong.
    fn in_bad_order(&self) -> Vec<PathBuf> {
        let mut order: Vec<usize> = (0..self.servers.len()).collect();
        Rng::new(self.options.seed, "order", 0).shuffle(&mut order);
        let harm = |server: &usize| match self.victims.get(server) {
            Some(Blow { attack: Attack::BitFlipped, reach: Reach::Everything }) => 0,
            Some(_) => 1,
            None => 2,
        };
        if let Some(worst) = order.iter().enumerate().min_by_key(|(_, server)| harm(server)).map(|(at, _)| at) {
            order.swap(0, worst);
        }
        order.into_iter().filter_map(|server| self.servers.get(server).cloned()).collect()
    }

    /// Makes room: a recovered centre is as large as the one that was lost.
    fn forget(&self, site: &Path) -> Result<(), Fault> {
        if self.options.keep || !site.exists() {
            return Ok(());
        }
        let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("{}: {e}", site.display()));
        fs::remove_dir_all(site).map_err(failed)
    }
}

/// Where a server's older state is kept.
fn older(root: &DrillRoot, server: usize) -> PathBuf {
    root.path().join("older").join(server.to_string())
}
