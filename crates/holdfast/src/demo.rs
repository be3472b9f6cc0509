//! `serve --demo`: a synthetic centre with patients on treatment. Nobody in it exists: see `drill::synthetic`.

use std::fs;
use std::path::Path;

use age::x25519::Identity;
use chart::Context;
use drill::{synthetic, work::spread};
use guard::{Purpose, Role, Sensitivity, SigningKey, Target};
use keys::NoPlugins;
use kit::{Blame, Clock, Fault, OperationId, OsEntropy, SystemClock, write_private};
use serde_json::json;
use treatment::{Enrolment, SignerRole};
use vault::Vkey;

use crate::adopt::adopt;
use crate::centre::{Centre, NewCentre, Shape};
use crate::config::{Config, Packs, Patients};
use crate::custodians::Custodians;
use crate::staging::{Begun, UNFINISHED};
use crate::{packs, policies};

const NAME: &str = "Demo cancer centre";

const PATIENTS: usize = 60;
const ON_TREATMENT: usize = 24;
const SEED: u64 = 14;
/// Patients that are loaded at the same time: what waits together is committed together.
const WRITERS: usize = 8;
/// Two people who may sign in the demo. Their keys lie in the demo's folder: never do so in a centre.
const ONCOLOGIST: &str = "Demo Oncologist";
const PHYSICIST: &str = "Demo Physicist";
/// And who answer for its policy; three of them sign it.
const OFFICERS: [(&str, &str, &str); 4] = [
    ("Demo Director", "medical director", "director.pem"),
    ("Demo Chief Physicist", "chief medical physicist", "chief-physicist.pem"),
    ("Demo Security Officer", "information security officer", "security-officer.pem"),
    ("Demo Records Officer", "records officer", "records-officer.pem"),
];
/// Each role has one login here, which everybody who tries it shares.
const BUDGETS: &str = "\n[budgets]\nperson = { hour = 600, day = 3000 }\ndirectory = { hour = 3000, day = 20000 }\n\
                       machine = { hour = 3000, day = 20000 }\ncentre = { hour = 3000, day = 20000 }\n\
                       unexplained = { hour = 300, day = 3000 }\nemergency = { hour = 20, day = 100 }\n";
/// The ward PC's folder.
const WARD: &str = "ward-pc";
const TOKEN_LIFE_MS: i64 = 30 * 86_400_000;
/// Roles that get a token, and whose they are.
const TOKENS: [(Role, &str); 7] = [
    (Role::Oncologist, "demo-oncologist"),
    (Role::Physicist, "demo-physicist"),
    (Role::Therapist, "demo-therapist"),
    (Role::Registrar, "demo-registrar"),
    (Role::ItAdministrator, "demo-it"),
    (Role::Auditor, "demo-auditor"),
    (Role::Device, "demo-device"),
];

/// What the demo prints at each start.
pub struct Welcome {
    pub sign_in: String,
    pub tokens: Vec<(Role, String)>,
}

fn failed(place: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Configuration, "demo.folder", format!("{}: {why}", place.display()))
}

/// Sees to it that a centre stands in `folder`: the one that is there, or the one that its servers carry, or a new demo.
pub fn prepare(folder: &Path) -> Result<(), Fault> {
    if Config::is_there(folder) && !folder.join(UNFINISHED).exists() {
        return Ok(());
    }
    match adopt(folder, &[])? {
        Some(adopted) => complain!("{adopted}"),
        None => lay_out(folder)?,
    }
    Ok(())
}

/// The demo gives out tokens for every role, and prints them.
pub fn require_demo(centre: &Centre) -> Result<(), Fault> {
    if centre.name() == NAME {
        return Ok(());
    }
    let text = format!("--demo would print tokens for every role of {:?}, which is no demo", centre.name());
    Err(Fault::new(Blame::Conflict, "demo.real-centre", text)
        .guidance("`holdfast serve` without --demo runs it; a demo needs a folder of its own (--data DIR)"))
}

fn lay_out(folder: &Path) -> Result<(), Fault> {
    let begun = Begun::begin(folder, "serve --demo")?;
    complain!("laying out a synthetic centre: 14 servers, {PATIENTS} patients, {ON_TREATMENT} of them on treatment …");
    let custodians = Custodians::establish(Vec::new(), 2, &NoPlugins)?;
    let made = NewCentre { name: NAME.to_owned(), shape: Shape::of(14, None, None)?, custodians }
        .lay_out_in(folder, &OsEntropy)?;
    let number_system = Some(synthetic::NUMBER_SYSTEM.to_owned());
    let packs = ward(folder, &made.vkey)?;
    Config { patients: Patients { number_system }, packs, ..Config::new(14) }.save(folder)?;
    let centre = Centre::open_begun(folder)?;
    fill(&centre, folder)?;
    centre.settle()?;
    drop(centre);
    begun.finish()
}

/// A ward PC, as far as a demo can have one: its key beside its packs, which no centre should do.
fn ward(folder: &Path, vkey: &Vkey) -> Result<Packs, Fault> {
    let ward = folder.join(WARD);
    packs::prepare(&ward.join("packs"))?;
    let recipient = packs::ward::write(&ward.join("ward.key"), &Identity::generate(), &vkey.to_string(), &[])?;
    Ok(Packs { recipients: vec![recipient], folders: vec![Path::new(WARD).join("packs")], ..Packs::default() })
}

fn fill(centre: &Centre, folder: &Path) -> Result<(), Fault> {
    let (chart, treatment) = (centre.chart(), centre.treatment());
    let console =
        |purpose| Context { caller: chart.guard().console(), purpose, operation: OperationId::random(chart.entropy()) };
    // The loader is an oncologist: the one role that may register and write everything.
    let permit = chart
        .admit(&console(Purpose::Operations), guard::Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
        .map_err(|e| e.fault())?;
    let (loader, secret) = chart.guard().issue_token(&permit, Role::Oncologist, "demo-loader", 3_600_000)?;
    let caller = chart.guard().authenticate_bearer(&secret)?;
    let context = || Context {
        caller: caller.clone(),
        purpose: Purpose::Treatment,
        operation: OperationId::random(chart.entropy()),
    };

    let people = folder.join("people");
    fs::create_dir_all(&people).map_err(|e| failed(&people, e))?;
    let mut keys = Vec::new();
    for (name, role, file) in
        [(ONCOLOGIST, SignerRole::Oncologist, "oncologist.pem"), (PHYSICIST, SignerRole::Physicist, "physicist.pem")]
    {
        let key = SigningKey::generate(&OsEntropy)?;
        write_private(&people.join(file), key.to_pem()?.as_bytes()).map_err(|e| failed(&people, e))?;
        treatment.enrol(&console(Purpose::Operations), &Enrolment::new(name, role, key.public_key()?, chart.now()))?;
        keys.push((name, role, key));
    }

    let permit = chart
        .admit(&console(Purpose::Operations), guard::Act::ChangePolicy, Target::Centre, Sensitivity::Administrative)
        .map_err(|e| e.fault())?;
    let (text, signed) =
        policies::approve_first(chart.guard(), &permit, &OFFICERS.map(|(name, duty, _)| (name, duty)), BUDGETS)?;
    fs::write(people.join("policy.toml"), &text).map_err(|e| failed(&people, e))?;
    for ((.., file), key) in OFFICERS.iter().zip(&signed) {
        write_private(&people.join(file), key.to_pem()?.as_bytes()).map_err(|e| failed(&people, e))?;
    }

    // Who records mean by the logins here.
    let staff: Vec<String> =
        TOKENS.iter().filter(|(role, _)| !role.is_machine()).map(|(_, login)| login_record(login)).collect();
    let staff: Vec<&[u8]> = staff.iter().map(String::as_bytes).collect();
    chart.import(&context(), &staff).map_err(|e| e.fault())?;

    let source = synthetic::Centre {
        seed: SEED,
        today: SystemClock.now(),
        patients: PATIENTS,
        on_treatment: ON_TREATMENT,
        images: synthetic::Images::Series,
    };
    let load = |index: usize| {
        let patient = source.patient(index);
        let team = care_team(&patient.id);
        let resources: Vec<&[u8]> = patient.fhir.iter().map(Vec::as_slice).chain([team.as_bytes()]).collect();
        chart.import(&context(), &resources).map_err(|e| e.fault())?;
        let Some(course) = patient.course else { return Ok(None) };
        for file in course.others.into_iter().chain([course.plan.clone()]).chain(course.records) {
            treatment.store(&context(), file)?;
        }
        // Most plans are signed by both; a few wait for a signature, as on any morning.
        let signatures = match index % 8 {
            6 => 1,
            7 => 0,
            _ => 2,
        };
        let id = chart.find_patient(&patient.number).map_err(|e| e.fault())?;
        for (name, role, key) in keys.iter().take(signatures) {
            let Some(id) = id else { continue };
            let approval =
                treatment.statement(&console(Purpose::Treatment), id, &course.plan, (*role, name))?.sign(key)?;
            treatment.approve(&console(Purpose::Treatment), id, course.plan.clone(), &approval)?;
        }
        let is_example = signatures == 2 && course.fractions_given < course.fractions_planned;
        Ok(is_example.then_some((patient.number, course.plan)))
    };
    let loaded: Vec<Result<_, Fault>> = spread(WRITERS, PATIENTS, load);
    let examples = loaded.into_iter().collect::<Result<Vec<_>, Fault>>()?;
    if let Some((number, plan)) = examples.into_iter().flatten().next() {
        write_example(folder, &number, &plan)?;
    }
    let permit = chart
        .admit(&console(Purpose::Operations), guard::Act::ManageAccess, Target::Centre, Sensitivity::Clinical)
        .map_err(|e| e.fault())?;
    chart.guard().revoke_token(&permit, loader)?;
    Ok(())
}

/// The person who signs in so.
fn login_record(login: &str) -> String {
    let identifier = json!([{ "system": chart::LOGIN_SYSTEM, "value": login }]);
    json!({ "resourceType": "Practitioner", "id": login, "active": true, "identifier": identifier }).to_string()
}

/// Who looks after a patient.
fn care_team(patient: &str) -> String {
    let member = |login: &str| json!({ "member": { "reference": format!("Practitioner/{login}") } });
    let participant = ["demo-oncologist", "demo-physicist", "demo-therapist"].map(member);
    let subject = json!({ "reference": format!("Patient/{patient}") });
    let id = format!("team-{patient}");
    json!({ "resourceType": "CareTeam", "id": id, "status": "active", "subject": subject, "participant": participant })
        .to_string()
}

/// A plan, what a thief might make of it, and whose it is: to try the gate with.
fn write_example(folder: &Path, number: &str, plan: &[u8]) -> Result<(), Fault> {
    let dir = folder.join("example");
    let put = |name: &str, bytes: &[u8]| {
        fs::create_dir_all(&dir).and_then(|()| fs::write(dir.join(name), bytes)).map_err(|e| failed(&dir, e))
    };
    put("plan.dcm", plan)?;
    put("patient.txt", format!("{number}\n").as_bytes())?;
    let tampered = drill::tamper::catalogue()
        .filter(|edit| !edit.must_release())
        .find_map(|edit| edit.apply(plan, SEED).ok().flatten());
    tampered.map_or(Ok(()), |bytes| put("tampered.dcm", &bytes))
}

/// Fresh tokens, and a fresh link: what was printed at an earlier start can't be printed again, since only hashes of
/// it are kept. Tokens of earlier starts are ended.
pub fn welcome(centre: &Centre) -> Result<Welcome, Fault> {
    let chart = centre.chart();
    let permit = || {
        let context = Context {
            caller: chart.guard().console(),
            purpose: Purpose::Operations,
            operation: OperationId::random(chart.entropy()),
        };
        chart.admit(&context, guard::Act::ManageAccess, Target::Centre, Sensitivity::Clinical).map_err(|e| e.fault())
    };
    let permit = permit()?;
    for old in chart.guard().tokens(&permit)? {
        if old.revoked.is_none() && TOKENS.iter().any(|(_, subject)| *subject == old.subject) {
            chart.guard().revoke_token(&permit, old.id)?;
        }
    }
    let mut tokens = Vec::new();
    for (role, subject) in TOKENS {
        let (_, secret) = chart.guard().issue_token(&permit, role, subject, TOKEN_LIFE_MS)?;
        tokens.push((role, secret.as_str().to_owned()));
    }
    let code = chart.guard().sign_in_link(&permit, Role::Therapist, "demo-therapist")?;
    Ok(Welcome { sign_in: centre.sign_in_url(code.as_str()), tokens })
}
