//! The real centre behind the drill's seam, and the drill's command.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use chart::Context;
use drill::eleven_of_fourteen::{Options, Progress, run};
use drill::system::{Builder, Founded, ListRow, Remains, Secret, Signer, System, Verdict};
use guard::{Caller, Purpose, Role, Sensitivity, Target};
use indicatif::{ProgressBar, ProgressStyle};
use kit::{Blame, Clock, Entropy, Fault, OperationId, OsEntropy, SystemClock};
use treatment::{Enrolment, Outcome, SignerRole, SigningKey};
use vault::Scope;
use zeroize::Zeroizing;

use crate::acts::Answer;
use crate::centre::{Centre, NewCentre, Shape};
use crate::{Output, commands};

const CUSTODIANS: usize = 3;
const CUSTODIANS_NEEDED: u8 = 2;
/// Patients in one drill; at some 100 KB each on 14 servers, a million fill a large disk.
const PATIENTS_MAX: usize = 1_000_000;

/// Drills on the real rooms.
struct Real;

struct Running {
    centre: Centre,
    /// An oncologist, who may do everything that a load does.
    loader: Caller,
    oncologist: SigningKey,
    physicist: SigningKey,
}

fn context(centre: &Centre, caller: &Caller, purpose: Purpose) -> Context {
    Context { caller: caller.clone(), purpose, operation: OperationId::random(centre.chart().entropy()) }
}

impl Running {
    fn start(centre: Centre) -> Result<Self, Fault> {
        let guard = Arc::clone(centre.chart().guard());
        let console = context(&centre, &guard.console(), Purpose::Operations);
        let admit = || {
            centre
                .chart()
                .admit(&console, guard::Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
                .map_err(|e| e.fault())
        };
        let (_, secret) = guard.issue_token(&admit()?, Role::Oncologist, "drill-loader", 86_400_000)?;
        let loader = guard.authenticate_bearer(&secret)?;
        let (oncologist, physicist) = (SigningKey::generate(&OsEntropy)?, SigningKey::generate(&OsEntropy)?);
        for (signer, role, key) in [
            (Signer::Oncologist, SignerRole::Oncologist, &oncologist),
            (Signer::Physicist, SignerRole::Physicist, &physicist),
        ] {
            let enrolment = Enrolment::new(signer_name(signer), role, key.public_key()?, centre.chart().now());
            centre.treatment().enrol(&console, &enrolment)?;
        }
        Ok(Self { centre, loader, oncologist, physicist })
    }

    fn context(&self) -> Context {
        context(&self.centre, &self.loader, Purpose::Treatment)
    }

    fn entry(handle: &str) -> Result<u64, Fault> {
        handle.parse().map_err(|_| Fault::new(Blame::Ours, "drill.handle", "a handle of another system"))
    }
}

fn signer_name(signer: Signer) -> &'static str {
    match signer {
        Signer::Oncologist => "drill oncologist",
        Signer::Physicist => "drill physicist",
    }
}

impl Builder for Real {
    fn found(&self, site: &Path, servers: usize) -> Result<Founded, Fault> {
        let servers = u8::try_from(servers).unwrap_or(u8::MAX);
        let (custodians, recipients): (Vec<_>, Vec<_>) = (0..CUSTODIANS).map(|_| keys::new_identity()).unzip();
        NewCentre {
            name: "Drill centre".to_owned(),
            shape: Shape::of(servers, None, None)?,
            custodians: recipients,
            custodians_needed: CUSTODIANS_NEEDED,
        }
        .lay_out(site, &OsEntropy)?;
        let centre = Centre::open(site)?;
        let (servers, gateway) = (centre.config().server_folders(site), site.join("gateway"));
        let system = Box::new(Running::start(centre)?);
        Ok(Founded { system, servers, gateway, custodians, custodians_needed: usize::from(CUSTODIANS_NEEDED) })
    }

    fn open(&self, site: &Path) -> Result<Box<dyn System>, Fault> {
        Ok(Box::new(Running::start(Centre::open(site)?)?))
    }

    fn recover(&self, remains: &Remains<'_>, site: &Path) -> Result<Box<dyn System>, Fault> {
        let secrets: Vec<String> = remains.custodians.iter().map(|secret| secret.as_str().to_owned()).collect();
        let (centre, _) = Centre::recover(remains.survivors, &secrets, None, site)?;
        Ok(Box::new(Running::start(centre)?))
    }
}

impl System for Running {
    fn keep_fhir(&self, resources: &[&[u8]]) -> Result<Vec<String>, Fault> {
        let kept = self.centre.chart().import(&self.context(), resources).map_err(|e| e.fault())?;
        Ok(kept.iter().map(|kept| kept.entry.to_string()).collect())
    }

    fn store_dicom(&self, file: &[u8]) -> Result<String, Fault> {
        Ok(self.centre.treatment().store(&self.context(), file.to_vec())?.entry.to_string())
    }

    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault> {
        let (_, bytes) = self.centre.chart().vault().fetch(Self::entry(handle)?, "drill", "audit")?;
        Ok(bytes.to_vec())
    }

    fn approve(&self, plan: &str, signer: Signer) -> Result<(), Fault> {
        let (entry, bytes) = self.centre.chart().vault().fetch(Self::entry(plan)?, "drill", "treatment")?;
        let Scope::Patient(patient) = entry.scope else {
            return Err(Fault::new(Blame::Ours, "drill.plan", "the plan is no patient's"));
        };
        let (role, key) = match signer {
            Signer::Oncologist => (SignerRole::Oncologist, &self.oncologist),
            Signer::Physicist => (SignerRole::Physicist, &self.physicist),
        };
        let treatment = self.centre.treatment();
        let approval = treatment.statement(patient, &bytes, role, signer_name(signer))?.sign(key)?;
        treatment.approve(&self.context(), patient, bytes.to_vec(), &approval)?;
        Ok(())
    }

    fn gate(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault> {
        let verdict = self.centre.treatment().gate(&self.context(), Some(number), plan)?;
        Ok(Verdict {
            released: verdict.outcome == Outcome::Release,
            reasons: verdict.findings.iter().map(ToString::to_string).collect(),
        })
    }

    fn treatment_list(&self) -> Result<Vec<ListRow>, Fault> {
        let list = self.centre.treatment().list(&self.context())?;
        Ok(list
            .rows
            .into_iter()
            .map(|row| ListRow {
                number: row.number,
                name: row.name,
                birth_date: row.birth_date,
                plan: row.plan,
                machine: row.machine,
                fraction_next: row.fraction_next,
                fractions_planned: row.fractions_planned,
            })
            .collect())
    }

    fn secrets(&self) -> Result<Vec<Secret>, Fault> {
        let index_key = self.centre.chart().vault().index_key();
        let bytes = Zeroizing::new(index_key.to_vec());
        Ok(vec![Secret { what: "the index's key".to_owned(), bytes }])
    }

    fn settle(&self) -> Result<(), Fault> {
        self.centre.settle()
    }
}

#[derive(clap::Args)]
pub struct ElevenOfFourteen {
    /// Chooses the servers, the attacks and the patients; the same seed is the same drill.
    #[arg(long)]
    seed: Option<u64>,
    /// Synthetic patients.
    #[arg(long, default_value_t = 200)]
    patients: usize,
    /// A folder of FHIR (.json) and DICOM files to load as well; `cargo xtask peers` fetches real ones.
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// Where the drill builds its centre [default: a folder of its own under the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Leave the drill's folders behind, to look at.
    #[arg(long)]
    keep: bool,
    /// Lose another number of servers: with 12, the drill must fail.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u8).range(1..=14))]
    servers_lost: u8,
    /// Write one patient's name in the clear on a lost server: the drill must fail.
    #[arg(long)]
    plant_plaintext: bool,
    #[command(flatten)]
    output: Output,
}

impl ElevenOfFourteen {
    pub fn run(self) -> Result<u8, Fault> {
        if self.patients == 0 || self.patients > PATIENTS_MAX {
            let text = format!("{} patients, at least 1 and at most {PATIENTS_MAX} are possible", self.patients);
            return Err(Fault::new(Blame::Peer, "usage.patients", text));
        }
        let today = SystemClock.now();
        // Short enough to be typed again.
        let seed = self.seed.unwrap_or_else(|| {
            let id = OsEntropy.id();
            u64::from(u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
        });
        let root = self
            .root
            .unwrap_or_else(|| std::env::temp_dir().join(format!("holdfast-drill-{seed}-{}", std::process::id())));
        let mut options = Options::new(seed, today, self.patients, root);
        options.input = self.input;
        options.servers_lost = usize::from(self.servers_lost);
        options.plant_plaintext = self.plant_plaintext;
        options.keep = self.keep;
        // indicatif draws on a terminal only.
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{msg:<28} {bar:40} {pos}/{len} {elapsed}") {
            bar.set_style(style);
        }
        let watch = |progress: Progress| {
            bar.set_message(progress.stage);
            bar.set_length(progress.total as u64);
            bar.set_position(progress.done as u64);
        };
        let report = run(&options, &Real, &watch);
        bar.finish_and_clear();
        let report = report?;
        let json = serde_json::to_value(&report).unwrap_or_default();
        Ok(commands::print(self.output, &Answer { exit: report.exit_code(), text: report.to_string(), json }))
    }
}
