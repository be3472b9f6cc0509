//! What an operator can do to a centre, the same whether it is running or not. Each act is admitted by guard as the
//! local console, and so stands in the ledger.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chart::{AccessAsked, Context};
use guard::{Purpose, Role, Sensitivity, Target};
use keys::{CustodianPackage, Custody};
use kit::{Blame, Fault, OperationId, PatientId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use treatment::{
    Approval, Asked, Chooses, Day, Ending, Enrolment, Instruction, Outage, Person, PlanError, Reach, SignedRules,
    SignerRole, Statement, Withdraws,
};

use crate::centre::Centre;
use crate::{
    DEGRADED, alarms, certificates, containments, custodians, doctor, grow, honey, outside, packs, policies, proofs,
    renewals, reports, transfer, who_saw,
};

/// What is said of the fraction that is due.
#[derive(clap::Args, Serialize, Deserialize)]
pub struct Said {
    /// Fraction Group Number that is due: needed only where the plan has several.
    #[arg(long, value_name = "N")]
    fraction_group: Option<u32>,
    /// Which fraction the console is about to deliver, from 1.
    #[arg(long, value_name = "N")]
    fraction: Option<u32>,
    /// Where it is about to be delivered: Treatment Machine Name (300A,00B2).
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
}

impl Said {
    fn of(self, instruction: Option<Result<Instruction, PlanError>>) -> Asked {
        let Self { fraction_group, fraction, machine } = self;
        Asked { fraction_group, fraction, machine, instruction }
    }
}

/// One command, as it crosses the control port.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    Verify,
    Scrub,
    LedgerCheckpoint,
    LedgerProof {
        entry: u64,
    },
    LedgerKeys,
    TokenNew {
        role: String,
        subject: String,
        days: u32,
        /// The officer's word for it comes next.
        certified: bool,
    },
    /// The officer's word for the key of a person or machine: CBOR in base64.
    Certify {
        certificate: String,
    },
    /// Who may open charts at holders on machines of their own, and the list of members.
    CertificateList,
    /// `members`: a newer list, signed by the officer, in base64.
    CertificateEnd {
        members: String,
    },
    /// A newer list of members, signed by the officer, in base64.
    MembersTake {
        members: String,
    },
    TokenList,
    TokenRevoke {
        id: String,
    },
    SignIn {
        role: String,
        subject: String,
        certified: bool,
    },
    /// The whole code at once: to the first administrators, and to who lost every passkey she had.
    Invite {
        role: String,
        subject: String,
        replace: bool,
    },
    /// `key`: the public key in base64.
    PersonNew {
        name: String,
        role: SignerRole,
        key: String,
    },
    /// She signs on pages, by the passkeys that this login has now.
    PersonOfLogin {
        name: String,
        role: SignerRole,
        login: String,
    },
    PersonEnd {
        key: String,
        compromised: bool,
    },
    PersonList,
    /// A page of the list: the answer's JSON is a [`chart::AccessPage`].
    Access {
        patient: String,
        page: AccessAsked,
    },
    /// What is about to be signed: the answer's JSON holds the statement, CBOR in base64. `plan`: the file in base64.
    PlanStatement {
        patient: String,
        plan: String,
        role: SignerRole,
        signer: String,
        /// Why the plan isn't to be given any more; none where it is approved.
        withdraws: Option<String>,
        /// What is done about an interruption; none where it is approved.
        chooses: Option<Chooses>,
    },
    /// `first`, `last`: days without treatment, `YYYY-MM-DD`.
    Triage {
        first: String,
        last: String,
    },
    /// `approval`: CBOR in base64.
    InterruptionChoose {
        approval: String,
    },
    /// What a physicist is about to sign: the answer's JSON holds the statement, CBOR in base64. `rules`: the file in base64.
    RulesStatement {
        rules: String,
        signer: String,
    },
    /// `signed`: CBOR in base64.
    RulesTake {
        signed: String,
    },
    RulesShow,
    Policy(policies::Asked),
    Contain(containments::Asked),
    Alarm(alarms::Asked),
    Honey(honey::Asked),
    Doctor(doctor::Asked),
    /// The same of how many fractions were given.
    PlanSettlement {
        patient: String,
        plan: String,
        fraction_group: Option<u32>,
        given: u32,
        role: SignerRole,
        signer: String,
    },
    /// `approval`: CBOR in base64.
    PlanSettle {
        approval: String,
    },
    /// `approval`: CBOR in base64.
    PlanWithdraw {
        approval: String,
    },
    /// `approval`: CBOR in base64.
    PlanApprove {
        patient: String,
        plan: String,
        approval: String,
    },
    GateOverrideStatement {
        patient: String,
        plan: String,
        asked: Said,
        finding: String,
        reason: String,
        role: SignerRole,
        signer: String,
    },
    GateOverride {
        approval: String,
    },
    GateCheck {
        patient: String,
        plan: String,
        asked: Said,
        /// RT Beams Delivery Instruction, in base64.
        instruction: Option<String>,
    },
    /// One patient's bundle for another centre: it is handed out before the answer.
    TransferMake(transfer::Asked),
    /// Downtime packs, now.
    PacksMake,
    /// The package that counts, in base64.
    CustodianPackage,
    /// A challenge that was made for a custodian of `package`, in base64; `answer`: the hash of the one that counts, in base64.
    CustodianChallenge {
        number: u8,
        package: String,
        answer: String,
    },
    CustodianConfirm {
        number: u8,
        answer: String,
    },
    CustodianList,
    /// `package`: of those to be, in base64. Calls the custodians before.
    CustodianRenew {
        package: String,
    },
    KeysEpoch,
    VaultKeyRotate,
    /// Everything of a turn but its end: the answer's JSON holds what the officer has to sign.
    KeysTurn,
    /// `turn` and the officer's signature over it, in base64.
    KeysTurned {
        turn: String,
        signature: String,
    },
    /// `members`: the list with the new machine in it, signed by the officer, in base64; none where the servers are folders.
    /// Calls the custodians.
    HolderReplace {
        number: u8,
        members: Option<String>,
    },
    /// `members`: the list with the new machines in it, as above.
    CentreGrow {
        size: grow::Size,
        members: Option<String>,
    },
    /// Her own list of who saw her chart.
    WhoSaw(who_saw::Asked),
    /// `confirm`: the handle that a dry run shows.
    PatientErase {
        patient: String,
        confirm: Option<String>,
        dry_run: bool,
    },
}

/// What comes back: for people, for programs, and for the shell.
#[derive(Serialize, Deserialize)]
pub struct Answer {
    pub exit: u8,
    pub text: String,
    pub json: Value,
}

impl Answer {
    pub fn done(text: impl Into<String>, json: Value) -> Self {
        Self { exit: 0, text: text.into(), json }
    }
}

pub fn decode_file(text: &str) -> Result<Vec<u8>, Fault> {
    STANDARD.decode(text).map_err(|e| Fault::new(Blame::Peer, "control.base64", format!("the file: {e}")))
}

pub fn encode_file(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

fn role(text: &str) -> Result<Role, Fault> {
    text.parse().map_err(|e: guard::UnknownWord| Fault::new(Blame::Peer, "usage.role", e.to_string()))
}

fn to_json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}

/// What to call a patient by where a hospital number must not stand.
fn handle_of(centre: &Centre, patient: PatientId) -> Result<String, Fault> {
    let chart = centre.chart();
    let entry = chart.patient_entry(patient).map_err(|e| e.fault())?;
    let meta = entry.map(|entry| chart.note_of(entry)).transpose().map_err(|e| e.fault())?;
    let id = meta.and_then(|(_, meta)| meta.version).map(|version| version.id);
    Ok(format!("Patient/{}", id.unwrap_or_else(|| patient.to_string())))
}

/// How an act has the custodians open their shares of these packages (newest first). Their secrets are where the command
/// is, and stay there; nothing that an act may do needs them.
pub type Ask<'a> = &'a mut dyn FnMut(Vec<CustodianPackage>) -> Result<Custody, Fault>;

/// For acts that call no custodian.
pub fn nobody(_: Vec<CustodianPackage>) -> Result<Custody, Fault> {
    Err(Fault::new(Blame::Ours, "custodian.nobody", "no custodian was asked to come"))
}

/// `out`: where goes what an act hands out beside its answer.
pub fn perform(centre: &Centre, act: Act, ask: Ask<'_>, out: &mut dyn Write) -> Result<Answer, Fault> {
    let chart = centre.chart();
    let guard = chart.guard();
    let context =
        |purpose| Context { caller: guard.console(), purpose, operation: OperationId::random(chart.entropy()) };
    let admit = |act, sensitivity| {
        chart.admit(&context(Purpose::Operations), act, Target::Centre, sensitivity).map_err(|e| e.fault())
    };
    let administrative = |act| admit(act, Sensitivity::Administrative);
    let patient = |text: &str| {
        chart.find_patient(text).map_err(|e| e.fault())?.ok_or_else(|| {
            let guidance = "give the hospital number exactly as it is stored, or Patient/ID with her FHIR id";
            Fault::new(Blame::Absent, "patient.unknown", "no patient has this id or identifier").guidance(guidance)
        })
    };
    match act {
        Act::Verify => {
            let _permit = administrative(guard::Act::VerifyVault)?;
            let report = chart.vault().verify()?;
            let index_is_true = centre.index_was_sound() && chart.index_is_true().map_err(|e| e.fault())?;
            let mut answer = reports::verify(&report, &centre.standing(), centre.fleet().is_some())
                .and_markers(&centre.damaged_markers())
                .and_index(index_is_true);
            proofs::verified(centre, &report, index_is_true, &mut answer);
            Ok(answer)
        }
        Act::LedgerCheckpoint | Act::LedgerProof { .. } | Act::LedgerKeys => {
            let _permit = administrative(guard::Act::VerifyVault)?;
            match act {
                Act::LedgerProof { entry } => outside::proof(chart.vault(), entry),
                Act::LedgerKeys => Ok(outside::keys(chart.vault())),
                _ => Ok(outside::checkpoint(chart.vault())),
            }
        }
        Act::Scrub => {
            let _permit = administrative(guard::Act::VerifyVault)?;
            let report = chart.vault().scrub()?;
            centre.count_buckets();
            let index_is_true = chart.index_is_true().map_err(|e| e.fault())?;
            if !index_is_true {
                chart.rebuild_index().map_err(|e| e.fault())?;
            }
            let index_was_true = index_is_true && centre.index_was_sound();
            let mut answer = reports::scrub(&report, &centre.standing()).and_mended_index(!index_was_true);
            proofs::scrubbed(centre, &report, &mut answer);
            Ok(answer)
        }
        Act::TransferMake(asked) => transfer::make(centre, &asked, out),
        Act::PacksMake => Ok(packs::answer(&packs::make(centre)?)),
        Act::CustodianPackage => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            Ok(Answer::done("", json!({ "package": encode_file(&chart.vault().custodian_package().to_bytes()) })))
        }
        Act::CustodianChallenge { number, package, answer } => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            custodians::challenged(centre, number, &decode_file(&package)?, &decode_file(&answer)?)
        }
        Act::CustodianConfirm { number, answer } => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            custodians::confirm(centre, number, &answer)
        }
        Act::CustodianList => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            custodians::list(centre)
        }
        Act::CustodianRenew { package } => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            renewals::custodians(centre, custodians::package_of(&package)?, ask)
        }
        Act::KeysEpoch => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            renewals::epoch(centre)
        }
        Act::VaultKeyRotate => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            renewals::rotate_vault_key(centre)
        }
        Act::KeysTurn => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            renewals::turn(centre)
        }
        Act::KeysTurned { turn, signature } => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            renewals::turned(centre, &decode_file(&turn)?, decode_file(&signature)?)
        }
        Act::HolderReplace { number, members } => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            let members = members.map(|members| decode_file(&members)).transpose()?;
            renewals::replace(centre, number, members, ask)
        }
        Act::CentreGrow { size, members } => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            let members = members.map(|members| decode_file(&members)).transpose()?;
            grow::grow(centre, size, members, ask)
        }
        Act::TokenNew { role: name, subject, days, certified } => {
            let role = role(&name)?;
            let permit = admit(guard::Act::ManageAccess, role.reaches())?;
            certificates::before_issue(centre, &permit, &subject, certified)?;
            let (id, secret) = guard.issue_token(&permit, role, &subject, i64::from(days) * 86_400_000)?;
            let text = format!(
                "{}\n  id {id}, role {role}, for {subject}, {days} days. It is shown this once; only its hash is kept.",
                secret.as_str(),
            );
            Ok(Answer::done(
                text,
                json!({
                    "token": secret.as_str(), "id": id, "role": role, "days": days, "log": chart.vault().vkey().name(),
                    "needs_certificate": centre.signers().is_some()
                }),
            ))
        }
        Act::Certify { certificate } => {
            let _permit = admit(guard::Act::ManageAccess, Sensitivity::Clinical)?;
            let Some(signers) = centre.signers() else {
                let text = "this centre's holders are folders: they ask for no certificate";
                return Err(Fault::new(Blame::Peer, "usage.certificate", text));
            };
            signers.certify(chart, &decode_file(&certificate)?)?;
            Ok(Answer::done("", json!({})))
        }
        Act::CertificateList => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            certificates::list(centre)
        }
        Act::CertificateEnd { members } => {
            let permit = administrative(guard::Act::ManageAccess)?;
            certificates::ended(centre, &permit, &decode_file(&members)?)
        }
        Act::MembersTake { members } => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            let untold = certificates::take_members(centre, &decode_file(&members)?)?.untold;
            let exit = if untold.is_empty() { 0 } else { DEGRADED };
            Ok(Answer { exit, text: certificates::untold_lines(&untold), json: json!({ "untold": untold }) })
        }
        Act::TokenList => {
            let tokens = guard.tokens(&administrative(guard::Act::ManageAccess)?)?;
            let state = |t: &guard::Token| t.revoked.map_or("valid".to_owned(), |at| format!("revoked {at}"));
            let lines: Vec<String> = tokens
                .iter()
                .map(|t| format!("{}  {:<16} {:<24} until {}  {}", t.id, t.role, t.subject, t.expires, state(t)))
                .collect();
            let text = if lines.is_empty() { "no tokens".to_owned() } else { lines.join("\n") };
            let json = tokens
                .iter()
                .map(|t| {
                    json!({ "id": t.id, "role": t.role, "subject": t.subject, "issued": t.issued.to_string(),
                            "expires": t.expires.to_string(), "by": t.by, "state": state(t) })
                })
                .collect();
            Ok(Answer::done(text, json))
        }
        Act::TokenRevoke { id } => {
            let permit = administrative(guard::Act::ManageAccess)?;
            let id = id.parse().map_err(|e: kit::id::BadId| Fault::new(Blame::Peer, "usage.token", e.to_string()))?;
            guard.revoke_token(&permit, id)?;
            Ok(Answer::done(format!("token {id} is revoked"), json!({ "revoked": id })))
        }
        Act::SignIn { role: name, subject, certified } => {
            let role = role(&name)?;
            let permit = admit(guard::Act::ManageAccess, role.reaches())?;
            certificates::before_issue(centre, &permit, &subject, certified)?;
            let code = guard.sign_in_link(&permit, role, &subject)?;
            let link = centre.sign_in_url(code.as_str());
            let json = json!({
                "sign_in": link, "code": code.as_str(), "log": chart.vault().vkey().name(),
                "needs_certificate": centre.signers().is_some()
            });
            Ok(Answer::done(format!("{link}\n  one use, 15 minutes"), json))
        }
        Act::Invite { role: name, subject, replace } => {
            let role = role(&name)?;
            let permit = admit(guard::Act::ManageAccess, role.reaches())?;
            if let (None, url) = (guard.passkeys_are_for(), centre.public_url()) {
                return Err(Fault::of(&guard::RelyingParty::new(&url, "").err().unwrap_or(guard::PasskeyError::Over)));
            }
            let ended = if replace { guard.end_all_of(&permit, &subject)?.len() } else { 0 };
            let (id, code) = guard.invite_alone(&permit, role, &subject)?;
            let url = format!("{}/enrol", centre.public_url());
            let before = match replace {
                true => format!("{ended} passkeys, sessions and tokens of {subject} are ended\n"),
                false => String::new(),
            };
            let text = format!("{before}{url}\n  login {subject}\n  code  {}\n  one use, two days", code.as_str());
            let json = json!({ "enrol": url, "subject": subject, "code": code.as_str(), "id": id, "ended": ended });
            Ok(Answer::done(text, json))
        }
        Act::PersonNew { name, role, key } => {
            let enrolment = Enrolment::new(&name, role, key.parse()?, chart.now());
            centre.treatment().enrol(&context(Purpose::Operations), &enrolment)?;
            let text = format!("{name} is enrolled as {role}; what key {key} signs counts from now on");
            Ok(Answer::done(text, json!({ "name": name, "role": role, "key": key })))
        }
        Act::PersonOfLogin { name, role, login } => {
            let keys = guard.passkey_keys(&login);
            if keys.is_empty() {
                let text = format!("{login} has no passkey that a signature can be checked by (ES256 or RS256)");
                return Err(Fault::new(Blame::Peer, "usage.login", text)
                    .guidance("she makes one first: holdfast invite, or two administrators on /people"));
            }
            let mut enrolled = Vec::new();
            for key in keys {
                let enrolment = Enrolment::of_passkey(&name, role, key, chart.now());
                centre.treatment().enrol(&context(Purpose::Operations), &enrolment)?;
                enrolled.push(enrolment.key.to_string());
            }
            let text = format!(
                "{name} is enrolled as {role}; what {login} signs by her passkeys on /approval counts from now on"
            );
            Ok(Answer::done(text, json!({ "name": name, "role": role, "login": login, "keys": enrolled })))
        }
        Act::PersonEnd { key, compromised } => {
            let reach = if compromised { Reach::All } else { Reach::Later };
            centre.treatment().end_key(&context(Purpose::Operations), key.parse()?, reach)?;
            let text = if compromised {
                format!("nothing that key {key} signed counts any more: what it approved is to be approved anew")
            } else {
                format!("what key {key} signs from now on doesn't count; what it approved before still does")
            };
            Ok(Answer::done(text, json!({ "key": key, "compromised": compromised })))
        }
        Act::PersonList => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            let people = centre.treatment().people()?;
            let ended = |person: &Person| match &person.ended {
                None => String::new(),
                Some(Ending { reach: Reach::Later, at, .. }) => format!(", ended {at}"),
                Some(Ending { reach: Reach::All, at, .. }) => format!(", ended {at} with all that it signed"),
            };
            let lines: Vec<String> = people
                .all()
                .map(|person| {
                    let p = &person.enrolment;
                    format!("{:<12} {:<32} {}  since {}{}", p.role, p.signer, p.key, p.at, ended(&person))
                })
                .collect();
            let json = people
                .all()
                .map(|Person { enrolment: p, ended }| {
                    json!({ "name": p.signer, "role": p.role, "key": p.key.to_string(), "since": p.at.to_string(),
                            "ended": ended.as_ref().map(|e| e.at.to_string()),
                            "compromised": ended.is_some_and(|e| e.reach == Reach::All) })
                })
                .collect();
            Ok(Answer::done(lines.join("\n"), json))
        }
        Act::Access { patient: text, page } => {
            let page = chart.access(&context(Purpose::Audit), patient(&text)?, page).map_err(|e| e.fault())?;
            let lines: Vec<String> = page
                .rows
                .iter()
                .map(|r| {
                    let reason = r.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default();
                    // Enough of it to tell one policy from another.
                    let policy = r.policy.map(|digest| digest.to_string());
                    let policy = policy.as_deref().and_then(|text| text.get(..8));
                    let policy = policy.map(|text| format!(" by policy {text}")).unwrap_or_default();
                    format!(
                        "{}  {:<8} {:<24} {:<16} {} for {}: {}{reason}{policy}",
                        r.when, r.outcome, r.who, r.role, r.act, r.why, r.what
                    )
                })
                .collect();
            Ok(Answer::done(lines.join("\n"), to_json(&page)))
        }
        Act::WhoSaw(asked) => who_saw::perform(centre, &asked, patient(&asked.patient)?),
        Act::Triage { first, last } => {
            let day = |text: &str| text.parse::<Day>().map_err(|e| Fault::new(Blame::Peer, "usage.day", e.to_string()));
            let outage = Outage { first: day(&first)?, last: day(&last)? };
            // An outage is one; it is the only purpose for which the console sees who is on treatment.
            let triage = centre.treatment().triage(&context(Purpose::Emergency), outage)?;
            Ok(reports::triage(&triage))
        }
        Act::InterruptionChoose { approval } => {
            let approval = Approval::decode(&decode_file(&approval)?)?;
            let delivery = centre.treatment().choose(&context(Purpose::Treatment), &approval)?;
            let text = format!("delivery {delivery}\n  the choice stands in her course; it approves no plan");
            Ok(Answer::done(text, json!({ "digest": delivery })))
        }
        Act::RulesStatement { rules, signer } => {
            let statement = centre.treatment().rules_statement(&decode_file(&rules)?, &signer)?;
            let bytes = minicbor::to_vec(&statement).unwrap_or_default();
            Ok(Answer::done(statement.text(), json!({ "statement": encode_file(&bytes) })))
        }
        Act::RulesTake { signed } => {
            let signed = SignedRules::decode(&decode_file(&signed)?)?;
            centre.treatment().take_rules(&context(Purpose::Operations), &signed)?;
            let text =
                format!("rules {}\n  in force, signed by {}", signed.statement().rules, signed.statement().signer);
            Ok(Answer::done(text, json!({ "digest": signed.statement().rules })))
        }
        Act::Contain(asked) => containments::perform(guard, asked, &administrative),
        Act::Alarm(asked) => alarms::perform(guard, asked, &administrative),
        Act::Honey(asked) => honey::perform(centre, asked, &context(Purpose::Operations)),
        Act::Doctor(asked) => doctor::perform(centre, asked, &administrative),
        Act::Policy(asked) => policies::perform(centre, asked, &administrative),
        Act::RulesShow => {
            let _permit = administrative(guard::Act::ManageAccess)?;
            let (_, in_force) = centre.treatment().rules()?;
            Ok(Answer::done(reports::rules(&in_force), to_json(&in_force)))
        }
        Act::PlanStatement { patient: text, plan, role, signer, withdraws, chooses } => {
            let (patient, plan, who) = (patient(&text)?, decode_file(&plan)?, (role, signer.as_str()));
            let statement = centre.treatment().statement(&context(Purpose::Treatment), patient, &plan, who)?;
            let withdraws = withdraws.map(|reason| Withdraws { reason });
            // Only an approval is of what stands beside the plan.
            let with = statement.context.filter(|_| withdraws.is_none() && chooses.is_none());
            let statement = Statement { withdraws, chooses, context: with, ..statement };
            let bytes = statement.encode();
            Ok(Answer::done(statement.text(), json!({ "statement": encode_file(&bytes) })))
        }
        Act::PlanSettlement { patient: text, plan, fraction_group, given, role, signer } => {
            let (patient, plan) = (patient(&text)?, decode_file(&plan)?);
            let (asked, who) = ((fraction_group, given), (role, signer.as_str()));
            let statement = centre.treatment().settlement(&context(Purpose::Treatment), patient, &plan, asked, who)?;
            let bytes = statement.encode();
            Ok(Answer::done(statement.text(), json!({ "statement": encode_file(&bytes) })))
        }
        Act::PlanSettle { approval } => {
            let approval = Approval::decode(&decode_file(&approval)?)?;
            let settled = centre.treatment().settle(&context(Purpose::Treatment), &approval)?;
            let state = if settled.complete { "it counts" } else { "a second person is missing" };
            let (given, signers) = (settled.settles.given, settled.signers.join(", "));
            let text = format!("delivery {}\n  {given} fractions given, say {signers}; {state}", settled.digest);
            Ok(Answer::done(text, to_json(&settled)))
        }
        Act::PlanWithdraw { approval } => {
            let approval = Approval::decode(&decode_file(&approval)?)?;
            let delivery = centre.treatment().withdraw(&context(Purpose::Treatment), &approval)?;
            let text =
                format!("delivery {delivery}\n  withdrawn: the gate holds it until two people have signed it again");
            Ok(Answer::done(text, json!({ "digest": delivery })))
        }
        Act::PlanApprove { patient: text, plan, approval } => {
            let (patient, plan) = (patient(&text)?, decode_file(&plan)?);
            let approval = Approval::decode(&decode_file(&approval)?)?;
            let approved = centre.treatment().approve(&context(Purpose::Treatment), patient, plan, &approval)?;
            let state = match (approved.complete, approved.changed.is_empty()) {
                (true, _) => "the gate can release it".to_owned(),
                (false, true) => "a second person is missing".to_owned(),
                (false, false) => {
                    let changed: Vec<String> = approved.changed.iter().map(ToString::to_string).collect();
                    format!("not with the {} that stands beside it now: the other one signs again", changed.join(", "))
                }
            };
            let mut text =
                format!("delivery {}\n  signed by {}; {state}", approved.digest, approved.signers.join(", "));
            text.push_str(&reports::checked(&approved));
            Ok(Answer::done(text, to_json(&approved)))
        }
        Act::GateOverrideStatement { patient: text, plan, asked, finding, reason, role, signer } => {
            let (patient, plan) = (patient(&text)?, decode_file(&plan)?);
            let asked = asked.of(None);
            let asked = (&asked, finding.as_str(), reason.as_str());
            let (context, who) = (context(Purpose::Treatment), (role, signer.as_str()));
            let statement = centre.treatment().override_statement(&context, patient, &plan, asked, who)?;
            let bytes = statement.encode();
            Ok(Answer::done(statement.text(), json!({ "statement": encode_file(&bytes) })))
        }
        Act::GateOverride { approval } => {
            let approval = Approval::decode(&decode_file(&approval)?)?;
            let complete = centre.treatment().override_finding(&context(Purpose::Treatment), &approval)?;
            let over = approval.statement().overrides.clone();
            let of = over.map_or_else(String::new, |over| format!("{} of fraction {}", over.finding, over.fraction));
            let state = if complete { "two people answer for it" } else { "a second person is missing" };
            Ok(Answer::done(format!("{of}: {state}"), json!({ "complete": complete })))
        }
        Act::GateCheck { patient: text, plan, asked, instruction } => {
            let (context, plan) = (context(Purpose::Treatment), decode_file(&plan)?);
            let instruction = instruction.map(|file| decode_file(&file)).transpose()?;
            let asked = asked.of(instruction.as_deref().map(Instruction::parse));
            let verdict = centre.treatment().gate(&context, Some(&text), &plan, &asked)?;
            Ok(reports::verdict(&verdict))
        }
        Act::PatientErase { patient: text, confirm, dry_run } => {
            let patient = patient(&text)?;
            let handle = handle_of(centre, patient)?;
            if dry_run {
                let state = if chart.is_erased(patient) { "is erased already" } else { "is not erased" };
                let text = format!(
                    "{handle} {state}. Every holder would refuse this patient's key, and her records could not be opened \
                     any more.\n  To do it: --confirm {handle}"
                );
                return Ok(Answer::done(text, json!({ "patient": handle, "erased": chart.is_erased(patient) })));
            }
            if confirm.as_deref() != Some(handle.as_str()) {
                let text = format!("an erasure must be confirmed; the patient that was named is {handle}");
                return Err(Fault::new(Blame::Peer, "usage.confirm", text).guidance(format!(
                    "nothing was done; look whether it is she, then repeat with --confirm {handle}"
                )));
            }
            let context = context(Purpose::PatientRequest);
            let permit = chart
                .admit(&context, guard::Act::ErasePatient, Target::Patient(patient), Sensitivity::Administrative)
                .map_err(|e| e.fault())?;
            let erased = chart.erase(&permit, patient).map_err(|e| e.fault())?;
            let keys::Erasure { refused_by, silent } = erased.erasure;
            let exit = if silent.is_empty() { 0 } else { DEGRADED };
            let rest = if silent.is_empty() { String::new() } else { format!(", {} did not answer", silent.len()) };
            let text = format!(
                "{} holders refuse this patient's key from now on{rest}.\n  It becomes irreversible when the keys have \
                 turned after it (holdfast keys turn) and the custodians were renewed (holdfast custodian renew).",
                refused_by.len(),
            );
            let entry = erased.receipt.map(|receipt| receipt.index);
            let json = json!({ "patient": handle, "refused_by": refused_by, "silent": silent, "entry": entry });
            Ok(Answer { exit, text, json })
        }
    }
}
