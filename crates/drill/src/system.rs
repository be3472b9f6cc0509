//! What the drill needs of a centre, and no more. The binary implements it over the real rooms; the drill itself names
//! none of them, so that no judge can lean on what it judges.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use kit::Fault;
use zeroize::Zeroizing;

/// Lays out, robs, examines and recovers centres.
pub trait Builder: Sync {
    /// Lays out an empty centre under `site`, with `servers` server folders, and opens it.
    fn found(&self, site: &Path, servers: usize) -> Result<Founded, Fault>;

    /// What a thief opens with the centre's own software, given the stolen servers' folders and the gateway's. Opens for
    /// reading: no record is written.
    fn break_in(&self, stolen: &[PathBuf], gateway: &Path) -> Result<Box<dyn Loot>, Locked>;

    /// Rebuilds the centre in the empty folder `site`. `listed` gets the treatment list as soon as there is one, and once more by all
    /// of the log; the rest follows.
    fn recover(
        &self,
        remains: &Remains<'_>,
        site: &Path,
        listed: &mut dyn FnMut(Result<Vec<ListRow>, Fault>),
    ) -> Result<Box<dyn System>, Fault>;

    /// Which of these folders are damaged, in the centre's own judgement. Changes nothing.
    fn examine(&self, remains: &Remains<'_>) -> Result<Vec<Blamed>, Fault>;
}

/// Looks at what is left before anything of it is brought back.
pub trait FirstLooks: Builder {
    /// The list, of which `listed` hears, and then everybody's sheets in the folder `sheets`. Writes nothing but these and the empty
    /// folder `gateway`.
    fn first_sight(
        &self,
        remains: &Remains<'_>,
        gateway: &Path,
        sheets: &Path,
        listed: &mut dyn FnMut(),
    ) -> Result<FirstSeen, Fault>;
}

/// What came first.
#[derive(Clone, Debug)]
pub struct FirstSeen {
    pub rows: Vec<ListRow>,
    pub sheets: usize,
    /// How many entries were opened for it, of how many; none where all of the log was read.
    pub entries: usize,
    pub log: usize,
}

/// What there is to recover from.
pub struct Remains<'a> {
    /// Servers' folders in any order: the survivors alone, or damaged ones among them.
    pub servers: &'a [PathBuf],
    /// Identities of as many custodians as the centre asks for.
    pub custodians: &'a [Zeroizing<String>],
    /// Erasures that stand in the log from this entry on were the attacker's.
    pub restore_from: Option<u64>,
}

/// What a thief has opened.
pub trait Loot {
    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault>;
}

/// Why a thief has opened nothing.
#[derive(Clone, Debug)]
pub enum Locked {
    /// The one good reason: too few of those who open keys are in his hands.
    TooFewHolders { have: usize, need: usize },
    /// Anything else may only have been in his way by chance.
    Other(Fault),
}

/// A server that the centre says is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blamed {
    /// From 0, as the servers were laid out.
    pub server: usize,
    pub what: String,
}

/// A new centre.
pub struct Founded {
    /// Open.
    pub system: Box<dyn System>,
    /// One folder a server: its shards and its holder's secret. In order of the servers' numbers.
    pub servers: Vec<PathBuf>,
    /// Index, configuration, write-ahead log, caches: all that the gateway keeps.
    pub gateway: PathBuf,
    /// Identities of all custodians; they stand on no server.
    pub custodians: Vec<Zeroizing<String>>,
    /// How many of them a recovery needs.
    pub custodians_needed: usize,
}

/// An open centre, used from several threads at once. Dropping it closes it, durably.
pub trait System: Send + Sync {
    /// Keeps resources as one transaction: all or none. Each has the id it shall be kept under. A returned handle is
    /// an acknowledgement of this version: it stays good after a recovery and after later versions, and `read_back`
    /// gives the same bytes for it.
    fn keep_fhir(&self, resources: &[&[u8]]) -> Result<Vec<String>, Fault>;

    /// Stores a DICOM file as C-STORE would.
    fn store_dicom(&self, file: &[u8]) -> Result<String, Fault>;

    /// Charts of people who were treated long ago, a resource each, as an import lays down many: sealed and kept as all others are.
    fn archive(&self, charts: &[&[u8]]) -> Result<(), Fault> {
        self.keep_fhir(charts).map(drop)
    }

    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault>;

    /// One person's signature under the delivery of a stored plan; each signer is a person of her own.
    fn approve(&self, plan: &str, signer: Signer) -> Result<Receipt, Fault>;

    /// The fraction gate, for the patient with this hospital number and the plan that the machine is about to deliver.
    fn gate(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault>;

    /// The last verdict that the gate has kept about this patient.
    fn last_verdict(&self, number: &str) -> Result<Receipt, Fault>;

    /// Opens the Patient resource with this id by the front door; false where the centre forbids it.
    fn open_chart(&self, reader: Reader, id: &str) -> Result<bool, Fault>;

    /// Who did what with this patient's records, oldest first.
    fn account(&self, number: &str) -> Result<Vec<AccountLine>, Fault>;

    fn treatment_list(&self) -> Result<Vec<ListRow>, Fault>;

    /// Keys that must stand in the clear on no server: data keys of some patients, the vault's key, the index's key,
    /// the log's signing seed, the custodians' recovery key where it is at hand.
    fn secrets(&self) -> Result<Vec<Secret>, Fault>;

    /// Opens the chart of an entry as somebody who has this gateway, its keys and whatever is signed in does it: past the
    /// front door, with the holders that leave him the most charts.
    fn steal(&self, _as: Thief, _handle: &str) -> Result<(), Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.thief", "this system can't be stolen from"))
    }

    /// Has a patient erased, as whoever sits at the gateway may; gives the entry that says so.
    fn erase(&self, _number: &str) -> Result<u64, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.erase", "this system erases nobody"))
    }

    /// Has every holder seal its shares to a new key and destroy the old one, on the officer's word; gives the new epoch. Only
    /// drills on machines ask.
    fn turn_keys(&self) -> Result<u32, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.turn", "this system turns no keys"))
    }

    /// Heads of the log that a thief of its key makes up: only drills on machines ask for them.
    fn forged_heads(&self) -> Result<Vec<ForgedHead>, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.heads", "this system has no log"))
    }

    /// What the centre's own verification finds damaged, by its location. Only drills with a store ask.
    fn verify(&self) -> Result<Vec<Blamed>, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.verify", "this system verifies nothing"))
    }

    /// Makes again what is missing; how many objects it made.
    fn scrub(&self) -> Result<u64, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.scrub", "this system heals nothing"))
    }

    /// What the downtime packs say, a row for each patient who has one. Only the drill of an outage asks.
    fn packs(&self) -> Result<Vec<PackRow>, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.packs", "this system makes no packs"))
    }

    /// Types one fraction in, as it stands on paper, for the patient with this hospital number.
    fn type_in(&self, _number: &str, _paper: &Paper) -> Result<(), Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.paper", "this system takes no paper"))
    }

    /// Hospital numbers of whom paper and machines don't agree, as the centre says it.
    fn disagreeing(&self) -> Result<BTreeSet<String>, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.paper", "this system compares no paper"))
    }

    /// Two people say how many fractions of her plan were given.
    fn settle_given(&self, _number: &str, _plan: &[u8], _given: u32) -> Result<(), Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.settle", "this system settles nothing"))
    }

    /// How much of her signed plan was given, by fraction group, at its first dose reference.
    fn doses(&self, _number: &str) -> Result<BTreeMap<u32, SoFar>, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.doses", "this system reckons no dose"))
    }

    /// Whom an outage of these days (`YYYY-MM-DD`) hits.
    fn interrupted(&self, _first: &str, _last: &str) -> Result<Vec<InterruptedRow>, Fault> {
        Err(Fault::new(kit::Blame::Ours, "drill.triage", "this system weighs nothing"))
    }

    /// Returns when all that was acknowledged or noted lies in the servers' folders, so that they can be copied.
    fn settle(&self) -> Result<(), Fault>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signer {
    Oncologist,
    Physicist,
}

/// Who opens a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// She may.
    Oncologist,
    /// He may not, and that he tried is on the account.
    Auditor,
}

/// That something was kept: what it is called from now on, and its bytes.
pub struct Receipt {
    pub handle: String,
    pub payload: Vec<u8>,
}

/// What the drill does with a patient's records, and expects on the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Deed {
    Registered,
    Stored,
    Approved,
    GateAsked,
    Opened,
    Refused,
}

/// One line of a patient's account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountLine {
    /// Nothing where it is none of the drill's own deeds.
    pub deed: Option<Deed>,
    /// All of it: when, who, what, why, with what outcome.
    pub text: String,
}

/// The gate's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    pub released: bool,
    /// Why not; empty where released.
    pub reasons: Vec<String>,
}

/// A row of today's treatment list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRow {
    /// Hospital number.
    pub number: String,
    pub name: String,
    /// YYYY-MM-DD.
    pub birth_date: String,
    /// The plan's label.
    pub plan: String,
    pub machine: String,
    pub fraction_next: Option<u32>,
    pub fractions_planned: Option<u32>,
}

/// What one downtime pack says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    pub number: String,
    /// The next fraction that its forms are for; nothing where it has none.
    pub fraction_next: Option<u32>,
    pub has_plan_file: bool,
}

/// One fraction on paper.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paper {
    pub plan_uid: String,
    pub fraction: u32,
    /// `YYYY-MM-DD`.
    pub date: String,
    /// `HH:MM`.
    pub time: String,
    pub machine: String,
    /// By number: the meterset as it was written down.
    pub beams: Vec<(u32, String)>,
}

/// A course as the centre's triage has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InterruptedRow {
    pub number: String,
    pub fractions_given: Option<u32>,
    pub days_lost: Option<i32>,
}

/// What was given of one fraction group, as the centre says it.
#[derive(Clone, Debug, PartialEq)]
pub struct SoFar {
    pub at_least_gy: Option<f64>,
    /// None where nobody can say.
    pub at_most_gy: Option<f64>,
    /// That must be taken as given.
    pub fractions: Option<u32>,
    /// Why they aren't known.
    pub why: Vec<String>,
}

/// A key, and what it is called in the report.
pub struct Secret {
    pub what: String,
    pub bytes: Zeroizing<Vec<u8>>,
}

/// Builds centres whose servers are processes of their own.
pub trait MachineBuilder: Builder {
    /// As [`Builder::found`]; the servers answer over the network until the machines are dropped.
    fn found_machines(
        &self,
        site: &Path,
        servers: usize,
        budget: Option<ChartBudget>,
    ) -> Result<(Founded, Box<dyn Machines>), Fault>;
}

/// The servers' processes, from 0.
pub trait Machines: Sync {
    /// Writes what stands in a server's memory into a file.
    fn memory(&self, server: usize, into: &Path) -> Result<(), Fault>;

    /// From now on this server lies to the gateway; its disk stays as it is.
    fn turn(&self, server: usize, lie: Lie) -> Result<(), Fault>;

    /// Honest again.
    fn mend(&self, server: usize) -> Result<(), Fault>;

    /// Does whatever the servers' own protocol lets somebody do who has the gateway's folder and the officer's key:
    /// everything but the custodians. Gives what he tried, and what became of it.
    fn rampage(&self) -> Result<Vec<Tried>, Fault>;

    /// Shows a server a head of the log; true where it cosigned.
    fn show(&self, server: usize, request: &[u8]) -> Result<bool, Fault>;

    /// Servers that know of something, by themselves or from another one.
    fn alarmed(&self, of: Noticed) -> Result<usize, Fault>;

    /// Ends all of them: what is on their disks stays.
    fn stop(&self);
}

/// Builds centres whose servers and gateway are processes, to be struck while people work.
pub trait GroundBuilder: Sync {
    /// Lays out a centre with `servers` servers under `site`, and starts all of it.
    fn found_ground(&self, site: &Path, servers: usize) -> Result<Box<dyn Ground>, Fault>;
}

/// Servers, from 0, and a gateway: they run until this is dropped.
pub trait Ground: Sync {
    /// Why servers can't be cut off here; nothing where they can.
    fn no_cuts(&self) -> Option<String>;

    /// Strikes a server that stands; on return it has happened, or does within milliseconds.
    fn strike(&self, server: usize, how: Strike) -> Result<(), Fault>;

    /// Lets a struck server come back; it answers some time later.
    fn mend(&self, server: usize) -> Result<(), Fault>;

    /// Without warning.
    fn kill_gateway(&self);

    fn gateway_runs(&self) -> bool;

    /// Starts the gateway where it doesn't run, and waits until it answers; an error where it ended, or was killed, before.
    fn start_gateway(&self) -> Result<(), Fault>;

    fn door(&self) -> Door<'_>;

    /// Ends the gateway in order, and has the centre verified: what is wrong with it.
    fn verify(&self) -> Result<(), String>;

    /// Processes that ended though nobody ended them, each in words.
    fn fallen(&self) -> Vec<String>;

    /// Somebody wants the drill to end.
    fn stopped(&self) -> bool;
}

/// Where the gateway answers over HTTP: FHIR, and how it is. With the token of somebody who may write and read.
#[derive(Clone, Copy)]
pub struct Door<'a> {
    pub fhir: SocketAddr,
    pub operations: SocketAddr,
    pub token: &'a str,
}

/// What happens to a server that nobody robs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strike {
    /// Its process is killed (SIGKILL), and started again when it is mended.
    Kill,
    /// Its process stands still (SIGSTOP): connections stay, and nothing is answered.
    Pause,
    /// Its cable is pulled.
    Unplug,
    /// It hears everything, and its answers go to nobody.
    Mute,
}

/// Builds centres some of whose locations are buckets of a real object store.
pub trait StoreBuilder: Sync {
    /// As [`MachineBuilder::found_machines`], with `buckets` locations behind the servers.
    fn found_with_store(&self, site: &Path, servers: usize, buckets: usize) -> Result<FoundWithStore, Fault>;
}

/// A new centre on machines and buckets.
pub struct FoundWithStore {
    pub founded: Founded,
    pub machines: Box<dyn Machines>,
    pub store: Box<dyn Store>,
}

/// An object store that has S3 at one address; its filer stands behind it, closed until it is opened.
pub trait Store: Sync {
    /// Every version in the buckets that is some location's object, and can be read; asked by the store's own administrator.
    fn versions(&self) -> Result<BTreeSet<String>, Fault>;

    /// Does whatever somebody with the gateway's and the renewer's credentials can do at the store's address to have
    /// something deleted, by S3 and by the filer.
    fn rob(&self) -> Result<Vec<Tried>, Fault>;

    /// Asks the filer, at the store's address, to delete all that the buckets have of the centre's.
    fn empty_through_filer(&self) -> Result<Tried, Fault>;

    /// From now on the filer is reached at the store's address, as with a firewall that lets too much through; or no more.
    fn set_filer_open(&self, open: bool) -> Result<(), Fault>;
}

/// As whom a thief of the gateway asks the holders; the number counts his charts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Thief {
    /// Somebody who is signed in, and opened nothing so far.
    Session(usize),
    /// A device, for which a gateway may speak; he makes up as many as he likes.
    Device(usize),
    /// A person whom he makes up.
    Invented(usize),
}

/// Charts that a centre's holders open, where a drill sets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChartBudget {
    /// In an hour, for one person, or for all devices together.
    pub person: u32,
    /// In an hour, for a gateway.
    pub gateway: u32,
    /// The twin's: each holder lets a person's whole budget through, not its part, and any number for a gateway.
    pub each: bool,
}

/// A head of the log, as a thief shows it to a witness.
#[derive(Clone, Debug)]
pub struct ForgedHead {
    pub what: String,
    pub request: Vec<u8>,
    /// It continues what was seen: only together with another continuation is it a lie.
    pub continues: bool,
}

/// What servers raise an alarm of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noticed {
    /// A log that contradicts itself.
    Contradiction,
    /// A budget of charts that is used up.
    OverBudget,
}

/// How a server lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Gives random bytes for an object.
    Garbage,
    /// Gives another object, which was right once.
    OldShard,
    /// Gives a share of a key that is none.
    WrongShare,
    /// All of it.
    Everything,
}

impl Lie {
    pub const ALL: [Self; 4] = [Self::Garbage, Self::OldShard, Self::WrongShare, Self::Everything];

    pub fn what(self) -> &'static str {
        match self {
            Self::Garbage => "random bytes for every object",
            Self::OldShard => "an older object in each one's place",
            Self::WrongShare => "wrong shares of keys",
            Self::Everything => "garbage, old objects and wrong shares by turns",
        }
    }
}

/// One thing that a captured administrator tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub what: &'static str,
    pub times: usize,
    /// How often a server did it.
    pub done: usize,
}

impl Tried {
    pub(crate) fn told(&self) -> String {
        let times = if self.times == 1 { "time" } else { "times" };
        format!("{}: {} {times}, {} done", self.what, self.times, self.done)
    }
}
