//! Drills on a centre whose servers are machines of their own: stolen with their memory, turned into liars, and in the
//! hands of an administrator.
//!
//! As everywhere here, the truth is the drill's own note of what was acknowledged, and the judges share no code with
//! what they judge.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kit::{Blame, Fault, Timestamp};
use zeroize::Zeroizing;

use crate::attack::{Attack, Blow, DrillRoot};
use crate::check::Findings;
use crate::check::bytes::Manifest;
use crate::eleven_of_fourteen::judges::{self, said};
use crate::eleven_of_fourteen::load::{Kept, Load};
use crate::eleven_of_fourteen::{Progress, planted};
use crate::report::{self, Check, Report, Seconds, Struck, counted};
use crate::synthetic::{self, Rng};
use crate::system::{ChartBudget, Founded, Lie, MachineBuilder, Machines, Noticed, Remains, System, Thief, Tried};

/// A record that has to be read may be asked for again, so often, so much later.
const RETRIES: usize = 3;
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// How soon every server has to know of an alarm.
const ALARM_PATIENCE: Duration = Duration::from_secs(15);

/// Patients that a captured administrator has erased, unless he is refused before: more than the holders let pass in a day.
const ERASED_MAX: usize = 120;

type Watch<'a> = &'a (dyn Fn(Progress) + Sync);

/// What to drill.
#[derive(Clone, Debug)]
pub struct Options {
    pub seed: u64,
    pub today: Timestamp,
    pub patients: usize,
    pub servers: usize,
    /// Servers that are stolen, lie, or are in the administrator's hands.
    pub struck: usize,
    /// An empty folder, or one to be made.
    pub root: PathBuf,
    pub keep: bool,
    pub writers: usize,
    /// The twin that must fail.
    pub twin: bool,
}

impl Options {
    pub fn new(seed: u64, today: Timestamp, patients: usize, root: PathBuf) -> Self {
        Self { seed, today, patients, servers: 14, struck: 11, root, keep: false, writers: 8, twin: false }
    }
}

/// The drills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// Disks and memories of eleven servers: nothing in them can be read. The twin leaves a name on one of them.
    StolenServer,
    /// Eleven servers lie: what is read is right or refused. The twin asks a centre that believes the first answer.
    LyingHolders,
    /// An administrator with every credential but no custodian destroys all he can. The twin has one server more.
    CapturedAdmin,
    /// A thief has the gateway, its keys and a session, and opens charts as fast as he can: no more than the budget. The
    /// twin's holders each let a person's whole budget through, so that he gets n / t of it, and bound no gateway.
    StolenGateway,
    /// A gateway shows two histories of the log, and nine witnesses cosign both: no two of them get a quorum. The twin has
    /// one liar more.
    ForkedLog,
}

impl Scenario {
    fn name(self) -> &'static str {
        match self {
            Self::StolenServer => "stolen-server",
            Self::LyingHolders => "lying-holders",
            Self::CapturedAdmin => "captured-admin",
            Self::StolenGateway => "stolen-gateway",
            Self::ForkedLog => "forked-log",
        }
    }
}

/// Runs a drill. An error means that it could not be run; broken promises stand in the report.
pub fn run(
    scenario: Scenario,
    options: &Options,
    builder: &dyn MachineBuilder,
    watch: Watch<'_>,
) -> Result<Report, Fault> {
    let root = DrillRoot::create(&options.root)?;
    let report = Scene::build(&root, scenario, options, builder, watch).and_then(|scene| match scenario {
        Scenario::StolenServer => scene.stolen(builder),
        Scenario::LyingHolders => scene.lied_to(),
        Scenario::CapturedAdmin => scene.captured(builder),
        Scenario::StolenGateway => scene.looted(),
        Scenario::ForkedLog => scene.forked(),
    });
    if !options.keep {
        root.destroy()?;
    }
    report
}

/// A budget that a thief of all charts has to run into: a sixth for a person, half for a gateway; and enough to load some
/// patients on treatment.
fn budget_of(patients: usize, each: bool) -> ChartBudget {
    let charts = |share: usize, least: u32| u32::try_from(patients.div_ceil(share)).unwrap_or(u32::MAX).max(least);
    ChartBudget { person: charts(6, 6), gateway: charts(2, 8), each }
}

/// A loaded centre that runs, and everything that the drill knows of it.
struct Scene<'a> {
    root: &'a DrillRoot,
    options: &'a Options,
    watch: Watch<'a>,
    begun: Instant,
    centre: synthetic::Centre,
    /// None once the gateway is gone.
    system: Option<Box<dyn System>>,
    servers: Vec<PathBuf>,
    gateway: PathBuf,
    custodians: Vec<Zeroizing<String>>,
    custodians_needed: usize,
    machines: Box<dyn Machines>,
    kept: Kept,
    struck: Vec<usize>,
    loading: f64,
}

/// What a scenario found.
struct Told {
    title: String,
    story: String,
    attacks: Vec<Struck>,
    deeds: Vec<String>,
    checks: Vec<Check>,
    seconds: Seconds,
}

impl<'a> Scene<'a> {
    fn build(
        root: &'a DrillRoot,
        scenario: Scenario,
        options: &'a Options,
        builder: &dyn MachineBuilder,
        watch: Watch<'a>,
    ) -> Result<Self, Fault> {
        let begun = Instant::now();
        let Options { seed, today, patients, servers, .. } = *options;
        let on_treatment = patients.min((patients / 20).clamp(4, 100));
        let centre = synthetic::Centre { seed, today, patients, on_treatment, images: synthetic::Images::Slice };
        let budget = (scenario == Scenario::StolenGateway).then(|| budget_of(patients, options.twin));
        let (Founded { system, servers: folders, gateway, custodians, custodians_needed }, machines) =
            builder.found_machines(&root.path().join("centre"), servers, budget)?;
        let load = Load::new(centre, system.as_ref(), options.writers, watch);
        load.patients(0..patients)?;
        let kept = load.done();
        system.settle()?;
        let mut order: Vec<usize> = (0..servers).collect();
        Rng::new(seed, "struck", 0).shuffle(&mut order);
        order.truncate(options.struck);
        let loading = begun.elapsed().as_secs_f64();
        Ok(Self {
            root,
            options,
            watch,
            begun,
            centre,
            system: Some(system),
            servers: folders,
            gateway,
            custodians,
            custodians_needed,
            machines,
            kept,
            struck: order,
            loading,
        })
    }

    fn system(&self) -> Result<&dyn System, Fault> {
        self.system.as_deref().ok_or_else(|| Fault::new(Blame::Ours, "drill.gateway", "the gateway is gone"))
    }

    fn told(&self, scenario: Scenario, told: Told) -> Report {
        let Told { title, story, attacks, deeds, checks, seconds } = told;
        let centre = report::Centre {
            servers: self.options.servers,
            servers_lost: self.struck.len(),
            patients: self.options.patients,
            on_treatment: self.kept.truth.len(),
            acknowledged: self.kept.manifest.len(),
            acknowledged_bytes: self.kept.manifest.bytes(),
            own_files: 0,
        };
        Report {
            drill: scenario.name(),
            title,
            story: format!("{} {story}", centre.sentence()),
            seed: self.options.seed,
            held: checks.iter().all(|check| check.held),
            centre,
            attacks,
            deeds,
            figures: BTreeMap::new(),
            checks,
            seconds: Seconds { loading: self.loading, whole_drill: self.begun.elapsed().as_secs_f64(), ..seconds },
            refused: Vec::new(),
        }
    }

    fn server_folder(&self, server: usize) -> Result<&PathBuf, Fault> {
        let unknown = || Fault::new(Blame::Ours, "drill.servers", format!("there is no server {server}"));
        self.servers.get(server).ok_or_else(unknown)
    }

    // ---- Stolen

    fn stolen(self, builder: &dyn MachineBuilder) -> Result<Report, Fault> {
        let secrets = self.system()?.secrets()?;
        // Somebody works while they are stolen, so that there is something in their memories.
        self.kept.manifest.judge_some(200, self.options.writers, &|handle| self.read(handle), &|_, _| {});
        let memories = self.root.path().join("memories");
        let failed = |e| Fault::new(Blame::Configuration, "drill.io", format!("{}: {e}", memories.display()));
        fs::create_dir_all(&memories).map_err(failed)?;
        for (done, &server) in self.struck.iter().enumerate() {
            (self.watch)(Progress { stage: "stealing memories", done, total: self.struck.len() });
            self.machines.memory(server, &memories.join(format!("{server}.memory")))?;
        }
        self.system()?.settle()?;
        self.machines.stop();
        if let Some(&server) = self.struck.first().filter(|_| self.options.twin) {
            planted::plant(&self.centre, self.server_folder(server)?)?;
        }
        let mut places = vec![("memories".to_owned(), memories.clone())];
        for &server in &self.struck {
            places.push((format!("server {:02}", server + 1), self.server_folder(server)?.clone()));
        }
        let planted = planted::patients(&self.centre)
            .chain(planted::secrets(&secrets))
            .chain(planted::identities(&self.custodians));
        let readable = judges::nothing_readable(planted, &places, self.watch)?;
        let folders = self.struck.iter().map(|&server| self.server_folder(server).cloned());
        let folders = folders.collect::<Result<Vec<_>, _>>()?;
        // His own machine: an empty folder in place of the gateway's, which was not stolen.
        let gateway = self.root.path().join("thief");
        let thief = judges::thief(folders.len(), builder.break_in(&folders, &gateway), &self.kept.manifest);
        let told = Told {
            title: format!("{} servers stolen, with what stood in their memory", self.struck.len()),
            story: format!(
                "{} were taken while people worked: disks, and memories as they were.",
                counted(self.struck.len(), "server", "servers")
            ),
            attacks: Vec::new(),
            deeds: vec![format!("{} and as many memories were searched", counted(self.struck.len(), "disk", "disks"))],
            checks: vec![readable, thief],
            seconds: Seconds::default(),
        };
        Ok(self.told(Scenario::StolenServer, told))
    }

    fn read(&self, handle: &str) -> Result<Vec<u8>, String> {
        self.system().and_then(|system| system.read_back(handle)).map_err(said)
    }

    // ---- Lied to

    fn lied_to(self) -> Result<Report, Fault> {
        let (mut deeds, mut checks) = (Vec::new(), Vec::new());
        let reading = Instant::now();
        for lie in Lie::ALL {
            // Two liars about keys leave twelve who open them; all are to be believed about shards.
            let bearable = if matches!(lie, Lie::Garbage | Lie::OldShard) { self.struck.len() } else { 2 };
            for liars in [bearable, self.struck.len()] {
                let liars = self.struck.get(..liars.min(self.struck.len())).unwrap_or_default();
                for &server in liars {
                    self.machines.turn(server, lie)?;
                }
                let must_answer = liars.len() <= bearable;
                checks.push(self.asked(lie, liars.len(), must_answer));
                deeds.push(format!("{} gave {}", counted(liars.len(), "server", "servers"), lie.what()));
                for &server in liars {
                    self.machines.mend(server)?;
                }
                if liars.len() == self.struck.len() && bearable == liars.len() {
                    break;
                }
            }
        }
        let findings = self.kept.manifest.judge_some(
            usize::MAX,
            self.options.writers,
            &|handle| self.read_believing(handle),
            &|_, _| {},
        );
        let looked_at = format!(
            "All {} once more, after the liars were mended.",
            counted(self.kept.manifest.len(), "acknowledged entry", "acknowledged entries")
        );
        checks.push(Check::new("P1", "Is everything there again?", looked_at, findings, "how long the lies went on."));
        let seconds = Seconds { reading_back: reading.elapsed().as_secs_f64(), ..Seconds::default() };
        let told = Told {
            title: format!("up to {} servers lie", self.struck.len()),
            story: "Servers that others own now answered in its place, with their own certificates and keys."
                .to_owned(),
            attacks: Vec::new(),
            deeds,
            checks,
            seconds,
        };
        let report = self.told(Scenario::LyingHolders, told);
        self.machines.stop();
        Ok(report)
    }

    /// The twin believes whatever comes first: what it hands out is altered where it should have been refused.
    fn read_believing(&self, handle: &str) -> Result<Vec<u8>, String> {
        let mut answer = self.read(handle);
        if self.options.twin
            && let Ok(bytes) = &mut answer
            && let Some(byte) = bytes.first_mut()
        {
            *byte ^= 1;
        }
        answer
    }

    /// Each acknowledged entry, read while servers lie.
    fn asked(&self, lie: Lie, liars: usize, must_answer: bool) -> Check {
        let manifest: &Manifest = &self.kept.manifest;
        let stage = "reading while servers lie";
        let refused = std::sync::atomic::AtomicUsize::new(0);
        let answers = crate::work::spread(self.options.writers, manifest.len(), |index| {
            (self.watch)(Progress { stage, done: index + 1, total: manifest.len() });
            let handle = manifest.handle(index)?;
            let mut answer = self.read_believing(handle);
            // Who has just become honest again, or a liar, is noticed within moments.
            for _ in 0..RETRIES {
                if answer.is_ok() || !must_answer {
                    break;
                }
                std::thread::sleep(RETRY_PAUSE);
                answer = self.read_believing(handle);
            }
            if answer.is_err() && !must_answer {
                refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                return None;
            }
            manifest.judge(index, answer.as_deref().map_err(Clone::clone))
        });
        let mut findings = Findings::default();
        answers.into_iter().flatten().for_each(|finding| findings.add(finding));
        let refused = refused.into_inner();
        let looked_at = format!(
            "{} while {liars} of {} servers gave {}; {} refused, {} allowed to be.",
            counted(manifest.len(), "acknowledged entry", "acknowledged entries"),
            self.options.servers,
            lie.what(),
            refused,
            if must_answer { "none is" } else { "any is" },
        );
        let question = if must_answer { "Is everything read right?" } else { "Is nothing read wrong?" };
        Check::new("P1", question, looked_at, findings, "lies that no server of this drill told.")
    }

    // ---- Looted

    fn looted(self) -> Result<Report, Fault> {
        let system = self.system()?;
        let charts = &self.kept.charts;
        let budget = budget_of(self.options.patients, self.options.twin);
        // One after the other: he who asks for two at once uses parts of budgets up for charts that he doesn't get.
        let stolen = |thief: &dyn Fn(usize) -> Thief, stage: &'static str| {
            let got = charts.iter().enumerate().filter(|(index, handle)| {
                (self.watch)(Progress { stage, done: index + 1, total: charts.len() });
                system.steal(thief(*index), handle).is_ok()
            });
            got.map(|(index, _)| index).collect::<BTreeSet<_>>()
        };
        let robbing = Instant::now();
        let invented = stolen(&Thief::Invented, "as people who aren't there");
        let as_session = stolen(&Thief::Session, "in a stolen session");
        let as_devices = stolen(&Thief::Device, "as devices without number");
        let seconds = robbing.elapsed().as_secs_f64();
        let in_all: BTreeSet<usize> = as_session.union(&as_devices).copied().collect();
        let servers = self.options.servers;
        let begun = Instant::now();
        let mut alarmed = self.machines.alarmed(Noticed::OverBudget)?;
        while alarmed < servers && begun.elapsed() < ALARM_PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
            alarmed = self.machines.alarmed(Noticed::OverBudget)?;
        }
        let (mut bounded, mut unseen, mut made_up) = (Findings::default(), Findings::default(), Findings::default());
        let (of_person, of_gateway) = (budget.person as usize, budget.gateway as usize);
        if as_session.len() > of_person {
            bounded.add(format!("{} charts in one session, {of_person} are allowed", as_session.len()));
        }
        if as_devices.len() > of_person {
            bounded
                .add(format!("{} charts as devices, all of them together are allowed {of_person}", as_devices.len()));
        }
        if in_all.len() > of_gateway {
            bounded.add(format!("{} charts through one gateway, {of_gateway} are allowed", in_all.len()));
        }
        if in_all.is_empty() {
            bounded.add("the thief opened nothing at all: it was not tried");
        }
        if !invented.is_empty() {
            made_up.add(format!("{} charts for people whom no officer enrolled", invented.len()));
        }
        if alarmed < servers {
            unseen.add(format!("{} of {servers} servers know nothing of it", servers - alarmed));
        }
        let limits = "what the gateway's people opened within the last minutes: it stands in its memory.";
        let checks = vec![
            Check::new(
                "P5",
                "Does a thief of the gateway open no more charts than its budget?",
                format!(
                    "{} charts of {} were opened in {seconds:.1} s, each with holders of the thief's choice: {} in a stolen \
                     session, whose budget is {of_person}; {} as devices made up without number, who have {of_person} \
                     together; the gateway's own budget is {of_gateway}.",
                    in_all.len(),
                    charts.len(),
                    as_session.len(),
                    as_devices.len(),
                ),
                bounded,
                limits,
            ),
            Check::new(
                "P5",
                "Can he make up no people?",
                format!("{} charts, each asked for by another person who isn't there.", charts.len()),
                made_up,
                limits,
            ),
            Check::new(
                "P5",
                "Is the theft noticed by every server?",
                format!(
                    "at the first chart over a holder's part of a budget; {alarmed} of {servers} servers raised or heard the \
                     alarm.",
                ),
                unseen,
                "that somebody reads their journals.",
            ),
        ];
        let told = Told {
            title: "a stolen gateway opens charts as fast as it can".to_owned(),
            story: "A thief had the gateway's disk and memory: its certificate, its own key, and a session of an oncologist."
                .to_owned(),
            attacks: Vec::new(),
            deeds: vec![
                format!("asked for {} charts as so many invented people: {} opened", charts.len(), invented.len()),
                format!("asked for them in the stolen session: {} opened", as_session.len()),
                format!("asked for them as so many invented devices: {} opened", as_devices.len()),
            ],
            checks,
            seconds: Seconds::default(),
        };
        let report = self.told(Scenario::StolenGateway, told);
        self.machines.stop();
        Ok(report)
    }

    // ---- Forked

    fn forked(self) -> Result<Report, Fault> {
        let heads = self.system()?.forged_heads()?;
        let servers = self.options.servers;
        // All but two. Two quorums share 2q - n witnesses, who would all have to lie; one fewer do.
        let quorum = servers.saturating_sub(2).max(servers / 2 + 1);
        let liars = 2 * quorum - servers - usize::from(!self.options.twin);
        let liars = self.struck.get(..liars.min(self.struck.len())).unwrap_or_default();
        let mut deeds = Vec::new();
        // Lies that one witness alone can see.
        let (mut rewritten, mut shown) = (Findings::default(), 0);
        for head in heads.iter().filter(|head| !head.continues) {
            let mut cosigned = 0;
            for server in 0..servers {
                cosigned += usize::from(self.machines.show(server, &head.request)?);
                shown += 1;
            }
            deeds.push(format!("{}: shown to {servers} witnesses, {cosigned} cosigned", head.what));
            if cosigned > 0 {
                rewritten.add(format!("{}: {cosigned} witnesses cosigned it", head.what));
            }
        }
        // Two histories, each to another half of the honest; then each half is shown the other's. Liars cosign both.
        let twins: Vec<_> = heads.iter().filter(|head| head.continues).collect();
        let mut tally = vec![liars.len(); twins.len()];
        let honest: Vec<usize> = (0..servers).filter(|server| !liars.contains(server)).collect();
        for turn in 0..2 {
            for (at, &server) in honest.iter().enumerate() {
                let half = (usize::from(at >= honest.len() / 2) + turn) % twins.len().max(1);
                let Some(head) = twins.get(half) else { continue };
                if let (true, Some(count)) = (self.machines.show(server, &head.request)?, tally.get_mut(half)) {
                    *count += 1;
                }
            }
        }
        let mut split = Findings::default();
        for (head, count) in twins.iter().zip(&tally) {
            deeds.push(format!(
                "{}: {count} of {servers} witnesses cosigned it, {} liars among them",
                head.what,
                liars.len()
            ));
        }
        let with_quorum = tally.iter().filter(|count| **count >= quorum).count();
        if with_quorum > 1 {
            split.add(format!("{with_quorum} histories got the {quorum} cosignatures of a quorum"));
        }
        if twins.len() < 2 || tally.iter().all(|count| *count == liars.len()) {
            split.add("no honest witness cosigned any continuation: it was not tried");
        }
        // The servers tell each other: within moments all of them know.
        let begun = Instant::now();
        let mut alarmed = self.machines.alarmed(Noticed::Contradiction)?;
        while alarmed < servers && begun.elapsed() < ALARM_PATIENCE {
            std::thread::sleep(Duration::from_millis(100));
            alarmed = self.machines.alarmed(Noticed::Contradiction)?;
        }
        let mut silent = Findings::default();
        if alarmed < servers {
            silent.add(format!("{} of {servers} servers know nothing of it", servers - alarmed));
        }
        let limits = "more liars: as many as two quorums share are enough for two histories.";
        let checks = vec![
            Check::new(
                "P6",
                "Does no witness cosign a history that was rewritten or cut?",
                format!("{}.", counted(shown, "forged head", "forged heads")),
                rewritten,
                limits,
            ),
            Check::new(
                "P6",
                "Can no two histories both get a quorum?",
                format!(
                    "{} histories, {quorum} of {servers} witnesses are a quorum, {} lie and cosign both.",
                    twins.len(),
                    liars.len()
                ),
                split,
                limits,
            ),
            Check::new(
                "P6",
                "Does every server know of it?",
                format!(
                    "{alarmed} of {servers} servers raised or heard the alarm, {:.1} s later.",
                    begun.elapsed().as_secs_f64()
                ),
                silent,
                "that somebody reads their journals.",
            ),
        ];
        let told = Told {
            title: "a gateway shows two histories".to_owned(),
            story: "A thief of the gateway had the log's own key, and signed other histories with it.".to_owned(),
            attacks: Vec::new(),
            deeds,
            checks,
            seconds: Seconds::default(),
        };
        let report = self.told(Scenario::ForkedLog, told);
        self.machines.stop();
        Ok(report)
    }

    // ---- Captured

    /// The entries of those whom he has erased: the recovery has to give them back.
    fn erased_by_him(&self) -> Result<Vec<u64>, Fault> {
        let (system, mut erased) = (self.system()?, Vec::new());
        for index in 0..self.options.patients.min(ERASED_MAX) {
            match system.erase(&self.centre.patient(index).number) {
                Ok(entry) => erased.push(entry),
                // The holders' budget of erasures.
                Err(_) if !erased.is_empty() => break,
                Err(fault) => return Err(fault),
            }
        }
        system.settle()?;
        Ok(erased)
    }

    fn captured(mut self, builder: &dyn MachineBuilder) -> Result<Report, Fault> {
        let tried = self.machines.rampage()?;
        let erased = self.erased_by_him()?;
        // With the officer's key he makes that as final as the holders can.
        let epoch = self.system()?.turn_keys()?;
        self.system()?.settle()?;
        self.machines.stop();
        // What the administrator owns goes up in smoke; the twin's owns one server too many.
        let owned = self.struck.clone();
        let more = (0..self.options.servers).find(|server| !owned.contains(server)).filter(|_| self.options.twin);
        let mut attacks = Vec::new();
        for server in owned.into_iter().chain(more) {
            let blow = Blow::thorough(Attack::Wiped);
            let damage = blow.strike(self.root, self.server_folder(server)?, None, self.options.seed)?;
            let place = format!("server {:02}", server + 1);
            attacks.push(Struck { place, blow, files: damage.files, bytes: damage.bytes });
        }
        let survivors: Vec<PathBuf> = (0..self.options.servers)
            .filter(|server| attacks.iter().all(|struck| struck.place != format!("server {:02}", server + 1)))
            .filter_map(|server| self.servers.get(server).cloned())
            .collect();
        let present: Vec<_> = self.custodians.iter().take(self.custodians_needed).cloned().collect();
        let remains = Remains { servers: &survivors, custodians: &present, restore_from: erased.first().copied() };
        let mut seconds = Seconds::default();
        let recovering = Instant::now();
        // The gateway is his, and gone.
        self.system = None;
        let damage = Blow::thorough(Attack::Wiped).strike(self.root, &self.gateway, None, self.options.seed)?;
        let blow = Blow::thorough(Attack::Wiped);
        attacks.push(Struck { place: "gateway".to_owned(), blow, files: damage.files, bytes: damage.bytes });
        let system = builder.recover(&remains, &self.root.path().join("recovered"), &mut |_| {}).map_err(said);
        seconds.recovering = recovering.elapsed().as_secs_f64();
        let reading = Instant::now();
        let lost = judges::nothing_lost(&self.kept.manifest, system.as_deref(), self.options.writers, self.watch);
        seconds.reading_back = reading.elapsed().as_secs_f64();
        let told = Told {
            title: "an administrator with every credential, and no custodian".to_owned(),
            story: format!(
                "He had the gateway, the officer's key and {}, and did what the other servers' protocol lets anybody do.",
                counted(self.struck.len(), "server", "servers")
            ),
            attacks,
            deeds: tried
                .iter()
                .map(Tried::told)
                .chain([
                    format!("had patients erased at the gateway: {}, until he was refused or tired", erased.len()),
                    format!("had every holder destroy the keys of before, on the officer's word: key epoch {epoch}"),
                ])
                .collect(),
            checks: vec![harmless(&tried), lost],
            seconds,
        };
        Ok(self.told(Scenario::CapturedAdmin, told))
    }
}

/// What a captured administrator tried has to have been refused by every server.
fn harmless(tried: &[Tried]) -> Check {
    let mut findings = Findings::default();
    for one in tried.iter().filter(|one| one.done > 0) {
        findings.add(format!("{}: a server did it {} times of {}", one.what, one.done, one.times));
    }
    if tried.iter().all(|one| one.times == 0) {
        findings.add("nothing was tried");
    }
    let times = tried.iter().map(|one| one.times).sum();
    let looked_at = format!("{} of {} kinds.", counted(times, "attempt", "attempts"), tried.len());
    let limits = "what he does on servers that he owns: they are wiped in this drill.";
    Check::new("P1", "Does no server delete, overwrite or forget on a credential's word?", looked_at, findings, limits)
}
