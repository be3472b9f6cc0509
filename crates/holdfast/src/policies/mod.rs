//! The centre's policy: what is in force, what officers propose and approve, and how it is printed.

mod printed;
mod seen;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use guard::{Bundle, Guard, OfficerStatement, Permit, Policy, PolicyStatement, Says, Signed, SigningKey};
use kit::{Blame, Digest, Fault, OsEntropy};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use self::seen::{approve, propose, review, show, statement};
use crate::acts::{Act, Answer, decode_file, encode_file};
use crate::{Data, Output, commands, control};

/// The file to begin with; the rules that are built in stand behind it.
const FORM: &str = include_str!("form.toml");

#[derive(Subcommand)]
pub enum Command {
    /// Print the policy to begin with: what is in force, or a form to be filled in.
    Form {
        #[command(flatten)]
        data: Data,
    },
    /// What is in force, who signed it, and what is proposed. Exit 3 where nobody signed it, or where something that isn't signed as it
    /// must be was refused.
    Show {
        /// Print the policy that is proposed, byte for byte, to be read before it is approved: by its SHA-256, or the beginning of it.
        #[arg(long, value_name = "DIGEST")]
        proposed: Option<String>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// What a policy would change: who could do what he can't, who no longer, who answers for it. Exit 4 where it changes anything, 1 where
    /// it doesn't hold together.
    Review {
        policy: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Make an officer's signing key, unless it is there; prints the public key, to be written into the policy.
    Key { file: PathBuf },
    /// Propose a policy, as an officer: the others approve it.
    Propose(Sign),
    /// Approve a policy that another officer proposed: the file that you have read. With enough of them it is in force at once.
    Approve(Sign),
    /// Print the policy that is in force, with its signatures, as HTML and as PDF.
    Print {
        /// A folder for policy.html and policy.pdf.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(clap::Args)]
pub struct Sign {
    policy: PathBuf,
    /// The officer's name, as the policy has it.
    #[arg(long)]
    name: String,
    /// Her signing key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

/// What an act on the policy asks for, as it crosses the control port. Files and signatures are in base64.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Show,
    Review { text: String },
    Statement { proposes: bool, policy: Digest, officer: String },
    Propose { text: String, signed: String },
    Approve { signed: String },
    Print,
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Form { data } => {
                let shown = control::perform(&data.data, Act::Policy(Asked::Show))?;
                match shown.json.get("text").and_then(|text| text.as_str()) {
                    Some(text) => say!("{}", text.trim_end()),
                    None => say!("{}", form()?.trim_end()),
                }
                Ok(0)
            }
            Self::Show { proposed: None, data, output } => commands::act(&data, output, Act::Policy(Asked::Show)),
            Self::Show { proposed: Some(digest), data, output } => {
                let text = proposed(&control::perform(&data.data, Act::Policy(Asked::Show))?, &digest)?;
                let json = json!({ "text": text });
                Ok(commands::print(output, &Answer::done(text.trim_end_matches('\n'), json)))
            }
            Self::Review { policy, data, output } => {
                let text = encode_file(read(&policy)?.text().as_bytes());
                commands::act(&data, output, Act::Policy(Asked::Review { text }))
            }
            Self::Key { file } => {
                let key = if file.exists() { commands::signing_key(&file)? } else { made(&file)? };
                say!("{}", key.public_key()?);
                Ok(0)
            }
            Self::Propose(sign) => sign.run(Says::Proposes),
            Self::Approve(sign) => sign.run(Says::Approves),
            Self::Print { out, data, output } => print_into(&out, &data, output),
        }
    }
}

impl Sign {
    fn run(self, says: Says) -> Result<u8, Fault> {
        let Self { policy, name, key, data, output } = self;
        let (bundle, key) = (read(&policy)?, commands::signing_key(&key)?);
        let proposes = says == Says::Proposes;
        let asked = Asked::Statement { proposes, policy: bundle.digest(), officer: name.clone() };
        let answer = control::perform(&data.data, Act::Policy(asked))?;
        let said = decode_file(answer.json.get("statement").and_then(|s| s.as_str()).unwrap_or_default())?;
        let statement: PolicyStatement = minicbor::decode(&said)
            .map_err(|e| Fault::new(Blame::Ours, "policy.statement", format!("the statement: {e}")))?;
        // The server says which place of which chain; what is signed is this file, by this person.
        if (statement.says, statement.policy, &statement.officer) != (says, bundle.digest(), &name) {
            let text = "the server asks for a signature over something else than this file";
            return Err(Fault::new(Blame::Integrity, "policy.statement", text));
        }
        check_centre(&statement.centre)?;
        if !output.json {
            say!("{}", OfficerStatement::text(&statement));
        }
        let signed = encode_file(&Signed::sign(statement, &key)?.to_bytes());
        let asked = match says {
            Says::Proposes => Asked::Propose { text: encode_file(bundle.text().as_bytes()), signed },
            Says::Approves => Asked::Approve { signed },
        };
        commands::act(&data, output, Act::Policy(asked))
    }
}

fn form() -> Result<String, Fault> {
    // What is built in holds together, or nothing here would run.
    let built_in = Policy::built_in().map_err(|e| Fault { blame: Blame::Ours, ..Fault::of(&e) })?;
    // A key before the tables, as TOML wants it.
    let rules =
        "# Who may do what, in Cedar. What no rules can allow is in force beside them (docs/policy.md).\nrules = '''\n";
    let (before, officers) = FORM.split_once("# Three people or more").unwrap_or((FORM, ""));
    Ok(format!("{before}{rules}{}'''\n\n# Three people or more{officers}", built_in.text()))
}

/// A centre's first policy, with the rules that are built in: made up with its officers and their keys, proposed by the first of them and
/// approved by two others. For centres that are made up themselves.
pub fn approve_first(
    guard: &Guard,
    permit: &Permit,
    officers: &[(&str, &str)],
    more: &str,
) -> Result<(String, Vec<SigningKey>), Fault> {
    let keys = officers.iter().map(|_| SigningKey::generate(&OsEntropy)).collect::<Result<Vec<_>, _>>()?;
    let rules = Policy::built_in().map_err(|e| Fault::of(&e))?;
    let mut text = format!("quorum = 2\nrules = '''\n{}'''\n", rules.text());
    for ((name, duty), key) in officers.iter().zip(&keys) {
        let key = key.public_key()?;
        text.push_str(&format!("\n[[officers]]\nname = \"{name}\"\nduty = \"{duty}\"\nkey = \"{key}\"\n"));
    }
    text.push_str(more);
    let digest = Bundle::parse(&text).map_err(|e| Fault::of(&e))?.digest();
    let sign = |says, ((name, _), key): (&(&str, &str), &SigningKey)| {
        Signed::sign(guard.policy_statement(says, digest, name), key).map_err(|e| Fault::of(&e))
    };
    let mut each = officers.iter().zip(&keys);
    if let Some(first) = each.next() {
        guard.propose_policy(permit, &text, sign(Says::Proposes, first)?).map_err(|e| Fault::of(&e))?;
    }
    for other in each.take(2) {
        guard.approve_policy(permit, sign(Says::Approves, other)?).map_err(|e| Fault::of(&e))?;
    }
    Ok((text, keys))
}

/// What the server says is shown on an officer's terminal, and signed: nothing in it may mislead her.
pub fn check_centre(centre: &str) -> Result<(), Fault> {
    Ok(guard::check_name("centre", centre)?)
}

fn unreadable(file: &Path, why: impl std::fmt::Display) -> Fault {
    Fault::new(Blame::Peer, "file.unreadable", format!("{}: {why}", file.display()))
}

fn read(file: &Path) -> Result<Bundle, Fault> {
    let text = fs::read_to_string(file).map_err(|e| unreadable(file, e))?;
    Bundle::parse(&text).map_err(|e| {
        let fault = Fault::of(&e);
        Fault { message: format!("{}: {}", file.display(), fault.message), ..fault }
    })
}

fn made(file: &Path) -> Result<SigningKey, Fault> {
    let key = SigningKey::generate(&OsEntropy)?;
    kit::write_private(file, key.to_pem()?.as_bytes()).map_err(|e| unreadable(file, e))?;
    Ok(key)
}

/// The proposed policy whose digest begins so.
fn proposed(shown: &Answer, digest: &str) -> Result<String, Fault> {
    let all = shown.json.get("proposed").and_then(|all| all.as_array()).into_iter().flatten();
    let begins = |one: &&serde_json::Value| {
        one.get("digest").and_then(|text| text.as_str()).is_some_and(|whole| whole.starts_with(digest))
    };
    let found: Vec<_> = all.filter(begins).collect();
    let text = match found.as_slice() {
        [one] => one.get("text").and_then(|text| text.as_str()),
        _ => None,
    };
    text.map(str::to_owned).ok_or_else(|| {
        let what = format!("{} proposed policies have a SHA-256 that begins with {digest}", found.len());
        Fault::new(Blame::Absent, "policy.not-proposed", what).guidance("holdfast policy show lists what is proposed")
    })
}

fn print_into(out: &Path, data: &Data, output: Output) -> Result<u8, Fault> {
    let answer = control::perform(&data.data, Act::Policy(Asked::Print))?;
    fs::create_dir_all(out).map_err(|e| unreadable(out, e))?;
    let mut files = Vec::new();
    for kind in ["html", "pdf"] {
        let file = out.join(format!("policy.{kind}"));
        let bytes = decode_file(answer.json.get(kind).and_then(|text| text.as_str()).unwrap_or_default())?;
        fs::write(&file, bytes).map_err(|e| unreadable(&file, e))?;
        files.push(file.display().to_string());
    }
    let text = format!("{}\n  {}", answer.text, files.join("\n  "));
    Ok(commands::print(output, &Answer { exit: answer.exit, text, json: json!({ "files": files }) }))
}

/// At the centre.
pub fn perform(
    centre: &crate::centre::Centre,
    asked: Asked,
    permit: &dyn Fn(guard::Act) -> Result<guard::Permit, Fault>,
) -> Result<Answer, Fault> {
    let guard = centre.chart().guard();
    let text_of = |text: &str| {
        String::from_utf8(decode_file(text)?)
            .map_err(|e| Fault::new(Blame::Peer, "guard.policy.malformed", format!("the policy: {e}")))
    };
    let needs = |act| permit(act);
    match asked {
        Asked::Show => {
            let _permit = needs(guard::Act::ChangePolicy)?;
            Ok(show(&guard.policy()))
        }
        Asked::Review { text } => {
            let _permit = needs(guard::Act::ChangePolicy)?;
            review(&guard.policy(), &text_of(&text)?)
        }
        Asked::Print => {
            let _permit = needs(guard::Act::ChangePolicy)?;
            printed::answer(&guard.policy(), centre)
        }
        Asked::Statement { proposes, policy, officer } => {
            let _permit = needs(guard::Act::ChangePolicy)?;
            let says = if proposes { Says::Proposes } else { Says::Approves };
            Ok(statement(&guard.policy_statement(says, policy, &officer)))
        }
        Asked::Propose { text, signed } => {
            propose(guard, &needs(guard::Act::ChangePolicy)?, &text_of(&text)?, &decode_file(&signed)?)
        }
        Asked::Approve { signed } => approve(guard, &needs(guard::Act::ChangePolicy)?, &decode_file(&signed)?),
    }
}
