//! The command line's verbs: what is read from files and keys here, and what is asked of the centre.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use chart::AccessAsked;
use clap::{Args, Subcommand};
use drill::machines::Scenario;
use guard::SigningKey;
use kit::{Blame, Clock as _, Fault, OsEntropy, SystemClock};
use serde::Deserialize;
use serde_json::{Value, json};
use treatment::{Difference, Plan as RtPlan, RulesStatement, Settles, SignerRole, Statement};
use vault::Vkey;
use zeroize::Zeroizing;

use crate::acts::{Act, Answer, Said, decode_file, encode_file};
use crate::centre::{self, Centre, NewCentre};
use crate::custodians::{self, Custodians};
use crate::left::Left;
use crate::packs::sheets::Sheets;
use crate::plugins::Client;
use crate::telling::Telling;
use crate::{
    Data, INTEGRITY, Output, adopt, bucket_files, control, drill_fire, drill_honest_year, drill_system,
    drill_wrong_dose, plan, proofs, reports,
};

/// Plans larger than this are none.
const PLAN_BYTES_MAX: u64 = 40 * 1024 * 1024;

fn unreadable(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Peer, "file.unreadable", format!("{}: {why}", file.display()))
}

fn read(file: &Path) -> Result<Vec<u8>, Fault> {
    // Read to the bound, not asked for its length: a device or a pipe says nought.
    let mut bytes = Vec::new();
    let opened = fs::File::open(file).map_err(|e| unreadable(file, e))?;
    opened.take(PLAN_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(|e| unreadable(file, e))?;
    if bytes.len() as u64 > PLAN_BYTES_MAX {
        return Err(unreadable(file, format!("more than {PLAN_BYTES_MAX} bytes, which is the maximum")));
    }
    Ok(bytes)
}

pub fn print(output: Output, answer: &Answer) -> u8 {
    if output.json {
        say!("{}", answer.json);
    } else if !answer.text.is_empty() {
        say!("{}", answer.text);
    }
    answer.exit
}

pub fn act(data: &Data, output: Output, act: Act) -> Result<u8, Fault> {
    Ok(print(output, &control::perform(&data.data, act)?))
}

/// Who saw, changed or was refused what: page after page, however long the list has grown.
pub fn access(data: &Data, output: Output, patient: &str) -> Result<u8, Fault> {
    let (mut page, mut rows) = (AccessAsked::default(), 0);
    loop {
        let answer = control::perform(&data.data, Act::Access { patient: patient.to_owned(), page })?;
        if output.json {
            // One array, whatever the number of pages.
            for row in answer.json.get("rows").and_then(Value::as_array).into_iter().flatten() {
                say!("{}{row}", if rows == 0 { "[" } else { "," });
                rows += 1;
            }
        } else if !answer.text.is_empty() {
            say!("{}", answer.text);
        }
        match answer.json.get("next").map(AccessAsked::deserialize) {
            Some(Ok(next)) => page = next,
            _ => break,
        }
    }
    if output.json {
        say!("{}]", if rows == 0 { "[" } else { "" });
    }
    Ok(0)
}

#[derive(Args)]
pub struct Init {
    #[command(flatten)]
    data: Data,
    /// The centre's name, as approvals and checkpoints carry it.
    #[arg(long, default_value = "Cancer centre")]
    name: String,
    /// Servers: one folder each under servers/, where a disk or another machine is mounted.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    servers: u8,
    /// The filled-in file of a bucket that keeps shards beside the servers (bucket-13.toml), once for each, in their order;
    /// `holdfast bucket form` writes one.
    #[arg(long = "bucket", value_name = "FILE")]
    buckets: Vec<PathBuf>,
    /// Servers that are enough to put every record together again [default: 3, or fewer with few servers].
    #[arg(long)]
    shards_needed: Option<u8>,
    /// Holders that are needed to open a key [default: all but two of five or more, else all].
    #[arg(long)]
    keys_needed: Option<u8>,
    /// An age recipient of a custodian (age1…, or age1NAME1… of a token), once for each; without any, three are made.
    #[arg(long = "custodian", value_name = "RECIPIENT")]
    custodians: Vec<String>,
    /// Custodians that are needed to recover.
    #[arg(long, default_value_t = 2)]
    custodians_needed: u8,
    #[command(flatten)]
    plugins: Client,
    /// Servers that are machines of their own, where `holdfast holder run` answers: the folder that `holdfast centre plan`
    /// made. Name, servers, shards and keys are the plan's.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["servers", "buckets", "shards_needed", "keys_needed", "name"])]
    plan: Option<PathBuf>,
}

impl Init {
    pub fn run(self) -> Result<u8, Fault> {
        if let Some(plan) = &self.plan {
            let custodians = Custodians::establish(self.custodians, self.custodians_needed, &self.plugins)?;
            let made = plan::found(plan, &self.data.data, custodians)?;
            return Ok(said(&made, &self.data.data, self.custodians_needed));
        }
        let buckets = u8::try_from(self.buckets.len()).unwrap_or(u8::MAX);
        let shape = centre::Shape::with_buckets(self.servers, buckets, self.shards_needed, self.keys_needed)?;
        if let Some(adopted) = adopt::adopt(&self.data.data, &self.buckets)? {
            say!("{adopted}");
            return Ok(0);
        }
        let custodians = Custodians::establish(self.custodians, self.custodians_needed, &self.plugins)?;
        let new = NewCentre { name: self.name, shape, custodians };
        let made = new.lay_out(&self.data.data, &self.buckets, &OsEntropy)?;
        Ok(said(&made, &self.data.data, self.custodians_needed))
    }
}

/// Says what was laid out.
fn said(made: &centre::Made, data: &Path, custodians_needed: u8) -> u8 {
    say!("{} is laid out in {}", made.name, data.display());
    say!("  {}", made.promise);
    say!(
        "  Its log key, to be kept on paper beside the custodians' sheets (public: it tells this centre from a forged"
    );
    say!("  one, for `holdfast recover --vkey`):\n  {}", made.vkey);
    if let Some(folder) = &made.custodian_secrets {
        say!("  The custodians' secrets are in {}: print them, hand them to people who share", folder.display());
        say!("  no office, and delete the folder. Whoever has {custodians_needed} of them opens everything.");
    }
    0
}

#[derive(Args)]
pub struct Recover {
    /// A surviving server's folder; with the buckets, at least as many as records need.
    #[arg(long = "from", value_name = "DIR", required_unless_present = "buckets")]
    from: Vec<PathBuf>,
    /// The file of a surviving bucket (bucket-13.toml): what was put there first is read, whatever was put on top.
    #[arg(long = "bucket", value_name = "FILE")]
    buckets: Vec<PathBuf>,
    /// A custodian's secret (AGE-SECRET-KEY-1…), its 24 words, or what her token's plugin wrote (AGE-PLUGIN-…), in a file.
    #[arg(long = "custodian", value_name = "FILE", required = true)]
    custodians: Vec<PathBuf>,
    #[command(flatten)]
    plugins: Client,
    /// The centre's log key, as `init` printed it and the custodians' sheets have it: survivors that show another one are
    /// not believed. Needed where survivors contradict each other.
    #[arg(long, value_name = "VKEY")]
    vkey: Option<Vkey>,
    /// Onto machines of their own, where `holdfast holder run` answers: the folder that `holdfast centre plan --survivor` made.
    #[arg(long, value_name = "DIR")]
    plan: Option<PathBuf>,
    /// An empty or absent folder for the recovered centre; empty disks may be mounted at its servers/server-01 …
    #[arg(long, value_name = "DIR", required_unless_present = "list_erased")]
    into: Option<PathBuf>,
    /// As soon as the survivors can be read: everybody's sheet to print, and the plans' files for the consoles, IN CLEAR, into this
    /// empty or absent folder (a stick that stays in the department, or a RAM disk).
    #[arg(long, value_name = "DIR", conflicts_with = "list_erased")]
    sheets: Option<PathBuf>,
    /// Only list the erasures that the log holds: whoever had the gateway may have had patients erased. Changes nothing.
    #[arg(long, conflicts_with_all = ["into", "plan", "restore_erased_from"])]
    list_erased: bool,
    /// Take back the erasures that stand in the log from this entry on, as far as the custodians still open the keys.
    #[arg(long, value_name = "ENTRY")]
    restore_erased_from: Option<u64>,
    /// Recover although these custodians don't open the keys of some patients, whose charts stay sealed. Exit 4.
    #[arg(long)]
    leave_sealed: bool,
    #[command(flatten)]
    output: Output,
}

impl Recover {
    pub fn run(self) -> Result<u8, Fault> {
        let secrets = custodians::secrets_of(&self.custodians)?;
        let beside = bucket_files::survivors(&self.buckets)?;
        let left = Left {
            from: &self.from,
            beside,
            secrets: &secrets,
            plugins: &self.plugins,
            vkey: self.vkey.as_ref(),
            plan: self.plan.as_deref(),
            restore_from: self.restore_erased_from,
            leave_sealed: self.leave_sealed,
        };
        let Some(into) = self.into.as_deref().filter(|_| !self.list_erased) else {
            return Ok(print(self.output, &reports::erasures(&left.erasures()?)));
        };
        let sheets = self.sheets.as_deref().map(Sheets::at).transpose().map_err(|e| Fault::of(&e))?;
        let mut telling = Telling::begin(self.output.json, sheets);
        let (centre, report, witnessed) = Centre::recover(left, into, &mut |sight| telling.hear(sight))?;
        let mut answer = reports::recovery(&report, &witnessed);
        telling.end(&mut answer);
        proofs::recovered(&centre, &report, &mut answer);
        answer.text.push_str(&format!(
            "\n  {} stands in {}; `holdfast serve` runs it\n  settings are those of the lost gateway, but for the addresses \
             where it listens: {}",
            centre.name(),
            into.display(),
            into.join(crate::config::FILE_NAME).display()
        ));
        Ok(print(self.output, &answer))
    }
}

#[derive(Subcommand)]
pub enum Token {
    /// Make one; it is shown once.
    New {
        /// oncologist, physicist, therapist, registrar, it-administrator, auditor, device.
        #[arg(long)]
        role: String,
        /// Whose it is: ASCII letters, digits and . _ @ -, no blanks.
        #[arg(long)]
        subject: String,
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=366))]
        days: u32,
        #[command(flatten)]
        officer: OfficerKey,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// All of them, never the secrets.
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// End one at once.
    Revoke {
        id: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl Token {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::New { role, subject, days, officer, data, output } => {
                let act = Act::TokenNew { role, subject: subject.clone(), days, certified: officer.is_at_hand()? };
                let answer = control::perform(&data.data, act)?;
                officer.certify(&data, &answer, "token", &subject, i64::from(days) * DAY_MS)?;
                Ok(print(output, &answer))
            }
            Self::List { data, output } => act(&data, output, Act::TokenList),
            Self::Revoke { id, data, output } => act(&data, output, Act::TokenRevoke { id }),
        }
    }
}

const DAY_MS: i64 = 86_400_000;

/// The officer's word for a key, where the servers are machines of their own: their holders open nothing for somebody whom
/// only a gateway knows.
#[derive(Args, Clone)]
pub struct OfficerKey {
    /// The officer's key: a person opens charts only with a secret that she has certified. Take the medium out again.
    #[arg(long, value_name = "FILE")]
    officer_key: Option<PathBuf>,
}

impl OfficerKey {
    /// That there is one, and that it is one: said before anything is ended for it.
    fn is_at_hand(&self) -> Result<bool, Fault> {
        self.officer_key.as_deref().map(plan::officer_key).transpose().map(|key| key.is_some())
    }

    /// Certifies the key of the secret that stands in `field` of an answer.
    fn certify(&self, data: &Data, answer: &Answer, field: &str, subject: &str, life_ms: i64) -> Result<(), Fault> {
        let needed = answer.json.get("needs_certificate").and_then(Value::as_bool).unwrap_or(false);
        let Some(file) = &self.officer_key else {
            if needed {
                complain!("holdfast: {subject} opens no chart with it: no --officer-key has certified it");
            }
            return Ok(());
        };
        let officer = plan::officer_key(file)?;
        let text = |field: &str| answer.json.get(field).and_then(Value::as_str).unwrap_or_default();
        let wrong = |why: &str| Fault::new(Blame::Ours, "officer.certificate", why.to_owned());
        let vault = text("log").rsplit('/').next().unwrap_or_default().parse();
        let vault = vault.map_err(|_: kit::id::BadId| wrong("the log's name has no vault"))?;
        let key = keys::PersonKey::derive(text(field).as_bytes()).ok_or_else(|| wrong("no key"))?;
        let now = SystemClock.now();
        // A clock that is a little behind on a server is no reason to refuse.
        let life = (now.plus_ms(-DAY_MS), now.plus_ms(life_ms));
        let certificate = officer
            .enrol(vault, subject, keys::Speaks::Person, key.public(), life, &OsEntropy)
            .map_err(|e| wrong(&e.to_string()))?;
        let act = Act::Certify { certificate: encode_file(&certificate.to_bytes()) };
        control::perform(&data.data, act).map(drop)
    }
}

#[derive(Args)]
pub struct SignIn {
    /// oncologist, physicist, therapist, registrar, it-administrator, auditor, device.
    #[arg(long)]
    role: String,
    /// Who signs in: ASCII letters, digits and . _ @ -, no blanks.
    #[arg(long)]
    subject: String,
    #[command(flatten)]
    officer: OfficerKey,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

impl SignIn {
    pub fn run(self) -> Result<u8, Fault> {
        let certified = self.officer.is_at_hand()?;
        let act = Act::SignIn { role: self.role, subject: self.subject.clone(), certified };
        let answer = control::perform(&self.data.data, act)?;
        self.officer.certify(&self.data, &answer, "code", &self.subject, DAY_MS)?;
        Ok(print(self.output, &answer))
    }
}

#[derive(Args)]
pub struct Invite {
    /// A person's: oncologist, surgeon, pathologist, physicist, therapist, nurse, registrar, records-officer, it-administrator,
    /// security-officer, auditor.
    #[arg(long)]
    role: String,
    /// Her login: ASCII letters, digits and . _ @ -, no blanks.
    #[arg(long)]
    subject: String,
    /// She lost what she had, or somebody else has it: everything that let her in is ended first.
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

impl Invite {
    pub fn run(self) -> Result<u8, Fault> {
        act(&self.data, self.output, Act::Invite { role: self.role, subject: self.subject, replace: self.replace })
    }
}

fn signer_role(text: &str) -> Result<SignerRole, String> {
    match text {
        "oncologist" => Ok(SignerRole::Oncologist),
        "physicist" => Ok(SignerRole::Physicist),
        _ => Err("oncologist or physicist".to_owned()),
    }
}

#[derive(Subcommand)]
pub enum Person {
    /// Enrol a person whose signature counts: by a key file, which is made unless it is there already, or by her login's passkeys.
    #[command(group(clap::ArgGroup::new("by").required(true).args(["key", "login"])))]
    New {
        #[arg(long)]
        name: String,
        #[arg(long, value_parser = signer_role)]
        role: SignerRole,
        /// Her signing key (Ed25519, PKCS#8 PEM): hers alone.
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Her login: she signs on the page /approval, by each passkey that it has now.
        #[arg(long)]
        login: Option<String>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// End a key: she has left, or it was lost. What it approved before still counts, unless --compromised.
    End {
        /// The public key, as `person list` shows it.
        #[arg(long, allow_hyphen_values = true)]
        key: String,
        /// Somebody else may have signed with it: nothing that it ever signed counts, and what it approved has to be
        /// approved anew.
        #[arg(long)]
        compromised: bool,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Everybody whose signature counts, or did.
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl Person {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::New { name, role, login: Some(login), data, output, .. } => {
                act(&data, output, Act::PersonOfLogin { name, role, login })
            }
            Self::New { name, role, key, data, output, .. } => {
                let key = key.unwrap_or_default();
                let signing = if key.exists() {
                    signing_key(&key)?
                } else {
                    let made = SigningKey::generate(&OsEntropy)?;
                    kit::write_private(&key, made.to_pem()?.as_bytes()).map_err(|e| unreadable(&key, e))?;
                    made
                };
                let key = signing.public_key()?.to_string();
                act(&data, output, Act::PersonNew { name, role, key })
            }
            Self::End { key, compromised, data, output } => act(&data, output, Act::PersonEnd { key, compromised }),
            Self::List { data, output } => act(&data, output, Act::PersonList),
        }
    }
}

pub fn signing_key(file: &Path) -> Result<SigningKey, Fault> {
    let text = Zeroizing::new(fs::read_to_string(file).map_err(|e| unreadable(file, e))?);
    Ok(SigningKey::from_pem(&text)?)
}

#[derive(Subcommand)]
pub enum Plan {
    /// The delivery digest of each plan.
    Digest {
        #[arg(required = true)]
        files: Vec<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// What differs in delivery: exit 0 where nothing does, 4 where something does, 1 where a file is no plan. A setup that is out of
    /// tolerance is no other delivery; it is said, and the gate holds it.
    Diff {
        a: PathBuf,
        b: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Say how many fractions of a plan a patient was given, where her records contradict each other or are missing, and sign
    /// that with one's own key. An oncologist and a physicist who say the same settle it; what comes later counts beside it.
    Settle {
        /// Fractions given, by whatever came until now.
        #[arg(long, value_name = "N")]
        given: u32,
        /// Needed only where the plan has several.
        #[arg(long, value_name = "N")]
        fraction_group: Option<u32>,
        #[command(flatten)]
        signing: Signing,
    },
    /// Sign what a plan delivers to a patient, with one's own key, and hand the signature in.
    Approve(Signing),
    /// Sign that a plan isn't to be given any more: it was replaced, say. One person is enough, an oncologist or a physicist; the gate
    /// holds it until two people have signed it again.
    Withdraw {
        /// Why, in at most 200 characters.
        #[arg(long, value_name = "TEXT")]
        reason: String,
        #[command(flatten)]
        signing: Signing,
    },
}

/// Who signs what, about whom.
#[derive(Args)]
pub struct Signing {
    /// The hospital number, or Patient/ID with her FHIR id.
    #[arg(long)]
    patient: String,
    /// The signer's name, as she is enrolled.
    #[arg(long)]
    name: String,
    #[arg(long, value_parser = signer_role)]
    role: SignerRole,
    /// Her signing key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    file: PathBuf,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

fn plan(file: &Path) -> Result<RtPlan, Fault> {
    RtPlan::parse(&read(file)?).map_err(|e| {
        let fault = Fault::of(&e);
        Fault { message: format!("{}: {}", file.display(), fault.message), blame: Blame::Peer, ..fault }
    })
}

impl Signing {
    /// About whom, and who.
    pub fn who(&self) -> (String, SignerRole, String) {
        (self.patient.clone(), self.role, self.name.clone())
    }

    pub fn hand_in(&self, signed: Act) -> Result<u8, Fault> {
        act(&self.data, self.output, signed)
    }

    /// Has the server make a statement, and signs it: over what the signer's own file delivers, not over what the server says of
    /// it on trust. `ask` gets the file.
    pub fn sign(
        &self,
        ask: impl FnOnce(String) -> Act,
        is_meant: impl FnOnce(&Statement) -> bool,
    ) -> Result<String, Fault> {
        let key = signing_key(&self.key)?;
        let answer = control::perform(&self.data.data, ask(encode_file(&read(&self.file)?)))?;
        let bytes = decode_file(answer.json.get("statement").and_then(|s| s.as_str()).unwrap_or_default())?;
        let statement: Statement = minicbor::decode(&bytes)
            .map_err(|e| Fault::new(Blame::Ours, "plan.statement", format!("the statement: {e}")))?;
        if statement.delivery != plan(&self.file)?.digest() || !is_meant(&statement) {
            let text = "the server asks for a signature over something else than what was asked for";
            return Err(Fault::new(Blame::Integrity, "plan.statement", text));
        }
        if !self.output.json {
            say!("{}", statement.text());
        }
        Ok(encode_file(&statement.sign(&key)?.encode()))
    }
}

impl Plan {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Digest { files, output } => {
                let mut exit = 0;
                let mut rows = Vec::new();
                for file in files {
                    match plan(&file) {
                        Ok(plan) if output.json => rows.push(json!({ "file": file, "digest": plan.digest() })),
                        Ok(plan) => say!("{}  {}", plan.digest(), file.display()),
                        Err(fault) if output.json => {
                            rows.push(json!({ "file": file, "error": fault }));
                            exit = 1;
                        }
                        Err(fault) => {
                            complain!("holdfast: {fault}");
                            exit = 1;
                        }
                    }
                }
                if output.json {
                    say!("{}", serde_json::Value::Array(rows));
                }
                Ok(exit)
            }
            Self::Diff { a, b, output } => {
                let (a, b) = match (plan(&a), plan(&b)) {
                    (Ok(a), Ok(b)) => (a, b),
                    (Err(fault), _) | (_, Err(fault)) if output.json => {
                        say!("{}", json!({ "error": fault }));
                        return Ok(1);
                    }
                    (Err(fault), _) | (_, Err(fault)) => return Err(fault),
                };
                let difference = Difference::of(&a.delivery, &b.delivery);
                let exit = if difference.same_delivery() { 0 } else { INTEGRITY };
                let text = if difference.fields.is_empty() {
                    format!("the delivery is the same: {}", a.digest())
                } else {
                    let fields = difference.fields.iter().map(ToString::to_string);
                    let lines: Vec<String> = fields.chain(difference.more.iter().map(ToString::to_string)).collect();
                    let word = match (difference.same_delivery(), difference.within_tolerance()) {
                        (true, true) => "the delivery is the same",
                        (true, false) => {
                            "the delivery is the same, and the setup is out of tolerance: the gate holds it"
                        }
                        (false, _) => "the delivery differs",
                    };
                    format!("{word} (first → second):\n  {}", lines.join("\n  "))
                };
                let json = json!({
                    "same": difference.same_delivery(), "within_tolerance": difference.within_tolerance(), "a": a.digest(), "b": b.digest(), "fields": difference.fields,
                    "more": difference.more,
                });
                Ok(print(output, &Answer { exit, text, json }))
            }
            Self::Approve(signing) => {
                let (patient, role, signer) = signing.who();
                let ask = |plan| Act::PlanStatement { patient, plan, role, signer, withdraws: None, chooses: None };
                let approval = signing.sign(ask, Statement::approves)?;
                let Signing { patient, file, data, output, .. } = signing;
                act(&data, output, Act::PlanApprove { patient, plan: encode_file(&read(&file)?), approval })
            }
            Self::Withdraw { reason, signing } => {
                let (patient, role, signer) = signing.who();
                let withdraws = Some(reason.clone());
                let ask = |plan| Act::PlanStatement { patient, plan, role, signer, withdraws, chooses: None };
                let is_so =
                    |said: &Statement| said.withdraws.as_ref().is_some_and(|withdraws| withdraws.reason == reason);
                let approval = signing.sign(ask, is_so)?;
                signing.hand_in(Act::PlanWithdraw { approval })
            }
            Self::Settle { given, fraction_group, signing } => {
                let (patient, role, signer) = signing.who();
                let ask = |plan| Act::PlanSettlement { patient, plan, fraction_group, given, role, signer };
                let is_group = |group: u32| fraction_group.is_none_or(|asked| asked == group);
                let is_so = |settles: Settles| settles.given == given && is_group(settles.group);
                let approval = signing.sign(ask, |said| said.settles.is_some_and(is_so))?;
                signing.hand_in(Act::PlanSettle { approval })
            }
        }
    }
}

/// The centre's rules: what it weighs interrupted courses by.
#[derive(Subcommand)]
pub enum Rules {
    /// Print the file to begin with: figures of common use, for a physicist to check.
    Form,
    /// What is in force, and who has signed it.
    Show {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Sign a file with a physicist's own key, and hand it in: it counts from now on.
    Sign {
        /// The signer's name, as she is enrolled.
        #[arg(long)]
        name: String,
        /// Her signing key.
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
        file: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl Rules {
    pub fn run(self) -> Result<u8, Fault> {
        let (name, key, file, data, output) = match self {
            Self::Form => {
                say!("{}", treatment::RULES_FORM.trim_end());
                return Ok(0);
            }
            Self::Show { data, output } => return act(&data, output, Act::RulesShow),
            Self::Sign { name, key, file, data, output } => (name, key, file, data, output),
        };
        let (key, bytes) = (signing_key(&key)?, read(&file)?);
        let asked = Act::RulesStatement { rules: encode_file(&bytes), signer: name.clone() };
        let answer = control::perform(&data.data, asked)?;
        let said = decode_file(answer.json.get("statement").and_then(|s| s.as_str()).unwrap_or_default())?;
        let statement: RulesStatement = minicbor::decode(&said)
            .map_err(|e| Fault::new(Blame::Ours, "rules.statement", format!("the statement: {e}")))?;
        let RulesStatement { centre, at, .. } = statement.clone();
        if statement != RulesStatement::of(&bytes, centre, SignerRole::Physicist, name, at) {
            let text = "the server asks for a signature over something else than this file";
            return Err(Fault::new(Blame::Integrity, "rules.statement", text));
        }
        if !output.json {
            say!("{}", statement.text());
        }
        act(&data, output, Act::RulesTake { signed: encode_file(&statement.sign(bytes, &key)?.encode()) })
    }
}

#[derive(Subcommand)]
pub enum Gate {
    /// Release (exit 0) or veto with findings (exit 4).
    Check {
        /// The hospital number, or Patient/ID with her FHIR id.
        #[arg(long)]
        patient: String,
        #[command(flatten)]
        said: Said,
        /// An RT Beams Delivery Instruction, as the treatment management system wrote it for this session.
        #[arg(long, value_name = "FILE")]
        instruction: Option<PathBuf>,
        file: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Answer for one finding, for the fraction that is due and no other. An oncologist and a physicist have to.
    Override {
        /// too-soon, out-of-tolerance, another-fraction or another-machine.
        #[arg(long, value_name = "CODE")]
        finding: String,
        /// Why the fraction is to be given all the same: it stands in the verdict.
        #[arg(long)]
        reason: String,
        #[command(flatten)]
        said: Said,
        #[command(flatten)]
        signing: Signing,
    },
}

impl Gate {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Check { patient, said: asked, instruction, file, data, output } => {
                let plan = encode_file(&read(&file)?);
                let instruction = instruction.map(|file| read(&file)).transpose()?.map(|bytes| encode_file(&bytes));
                act(&data, output, Act::GateCheck { patient, plan, asked, instruction })
            }
            Self::Override { finding, reason, said, signing } => {
                let (patient, role, signer) = signing.who();
                let (about, why) = (finding.clone(), reason.clone());
                let ask = |plan| Act::GateOverrideStatement {
                    patient,
                    plan,
                    asked: said,
                    finding: about,
                    reason: why,
                    role,
                    signer,
                };
                let is_so = |over: &treatment::Overrides| over.finding == finding && over.reason == reason;
                let approval = signing.sign(ask, |said| said.overrides.as_ref().is_some_and(is_so))?;
                signing.hand_in(Act::GateOverride { approval })
            }
        }
    }
}

#[derive(Subcommand)]
pub enum Patient {
    /// Make every holder refuse one patient's key from now on. The log stays.
    Erase {
        /// The hospital number, or Patient/ID with her FHIR id.
        #[arg(long)]
        patient: String,
        /// Say who it is and what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Patient/ID with her FHIR id, as --dry-run shows it.
        #[arg(long, value_name = "Patient/ID")]
        confirm: Option<String>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

impl Patient {
    pub fn run(self) -> Result<u8, Fault> {
        let Self::Erase { patient, dry_run, confirm, data, output } = self;
        act(&data, output, Act::PatientErase { patient, confirm, dry_run })
    }
}

#[derive(Subcommand)]
pub enum Drill {
    /// Lose 11 of 14 servers and the gateway; recover from three and two custodians; let independent checkers judge.
    ElevenOfFourteen(drill_system::ElevenOfFourteen),
    /// Disks and memories of 11 of 14 running servers are stolen: nothing in them can be read.
    StolenServer(drill_system::OnMachines),
    /// Up to 11 of 14 running servers lie: what is read is right or refused, never wrong.
    LyingHolders(drill_system::OnMachines),
    /// An administrator with every credential but no custodian deletes all he can: nothing is lost.
    CapturedAdmin(drill_system::OnMachines),
    /// A thief with the gateway's keys and a session opens charts as fast as he can: no more than the budget.
    StolenGateway(drill_system::OnMachines),
    /// A gateway with the log's own key shows two histories: honest witnesses refuse.
    ForkedLog(drill_system::OnMachines),
    /// A thief at an object store that has two of the shards: its filer is closed, and then open.
    OpenFiler(drill_system::OpenFiler),
    /// Five days without servers, treatment by downtime packs and paper; recovered from three of 14, the paper is typed in and the
    /// machines' records come late: every fraction counts once. The twin loses one patient's paper.
    OutageWeek(drill_system::OnMachines),
    /// Of a large archive and of one of 200 times fewer patients, with as many on treatment: a recovery shows them and writes their sheets
    /// first, and opens no more of the large one for it. Of the twin's one patient the roster knows nothing.
    TreatmentsFirst {
        #[arg(long, default_value_t = 10)]
        on_treatment: usize,
        #[command(flatten)]
        on: drill_system::OnMachines,
    },
    /// Courses with stops, duplicates, late, missing and contradicting records: the dose is always within what is said. Plans with every
    /// attribute that moves dose changed by the least that counts: all vetoed, by name; exported again: all released.
    WrongDose(drill_wrong_dose::WrongDose),
    /// A year of honest work, and thefts in it from 20 charts a minute to 5 a day, by one login or fifty: what is lost before the doors close,
    /// and how often honest people are disturbed. In the twin nobody looks.
    HonestYear(drill_honest_year::HonestYear),
    /// 14 running servers and the gateway are killed, paused and cut off at random while people work: nothing is lost.
    HoldersUnderFire(drill_fire::UnderFire),
}

impl Drill {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::ElevenOfFourteen(options) => options.run(),
            Self::StolenServer(options) => options.run(Scenario::StolenServer),
            Self::LyingHolders(options) => options.run(Scenario::LyingHolders),
            Self::CapturedAdmin(options) => options.run(Scenario::CapturedAdmin),
            Self::StolenGateway(options) => options.run(Scenario::StolenGateway),
            Self::ForkedLog(options) => options.run(Scenario::ForkedLog),
            Self::OpenFiler(options) => options.run(),
            Self::OutageWeek(options) => options.outage_week(),
            Self::TreatmentsFirst { on_treatment, on } => on.treatments_first(on_treatment),
            Self::WrongDose(options) => options.run(),
            Self::HonestYear(options) => options.run(),
            Self::HoldersUnderFire(options) => options.run(),
        }
    }
}
