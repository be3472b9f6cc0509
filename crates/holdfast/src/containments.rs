//! Closing doors while something is wrong, and opening them again.

use clap::Subcommand;
use guard::{Guard, LIFTERS, LiftStatement, Measure, Permit, Signed, SignedLift};
use kit::id::BadId;
use kit::{Blame, Fault, Id16};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;

use crate::acts::{Act, Answer, decode_file, encode_file};
use crate::say::plural;
use crate::{DEGRADED, Data, Output, commands, control, policies};

#[derive(Subcommand)]
pub enum Command {
    /// What is in force, and whose signatures it waits for. Exit 3 where anything is.
    Status {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Somebody, or some machine, does nothing any more: a login name, a machine's name, `ae:TITLE` for a DICOM peer.
    Freeze {
        subject: String,
        #[command(flatten)]
        close: Close,
    },
    /// Nothing is changed but what treatment needs.
    ReadOnly(Close),
    /// Nothing but treatment: no registrars, no other programs, no exports.
    Island(Close),
    /// The gate, what machines gave, the packs, and those who look into it: every permit ends at once.
    Lockdown(Close),
    /// Take a measure back, as an officer of the policy: it is over when two have signed. Where no policy is approved, the terminal alone does.
    Lift {
        /// As `contain status` shows it.
        id: String,
        /// The officer's name, as the policy has it.
        #[arg(long, requires = "key")]
        name: Option<String>,
        /// Her signing key.
        #[arg(long, value_name = "FILE", requires = "name")]
        key: Option<PathBuf>,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(clap::Args)]
pub struct Close {
    /// In own words: what is wrong.
    #[arg(long)]
    reason: String,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

/// As it crosses the control port.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Status,
    /// In words, as it is printed.
    Contain {
        measure: String,
        reason: String,
    },
    Statement {
        id: String,
        officer: String,
    },
    /// In base64.
    Lift {
        signed: String,
    },
    LiftUnsigned {
        id: String,
    },
}

impl Command {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::Status { data, output } => commands::act(&data, output, Act::Contain(Asked::Status)),
            Self::Freeze { subject, close } => close.run(Measure::Freeze(subject)),
            Self::ReadOnly(close) => close.run(Measure::ReadOnly),
            Self::Island(close) => close.run(Measure::Island),
            Self::Lockdown(close) => close.run(Measure::Lockdown),
            Self::Lift { id, name: Some(name), key: Some(key), data, output } => {
                let key = commands::signing_key(&key)?;
                let asked = Asked::Statement { id: id.clone(), officer: name.clone() };
                let answer = control::perform(&data.data, Act::Contain(asked))?;
                let said = decode_file(answer.json.get("statement").and_then(|s| s.as_str()).unwrap_or_default())?;
                let statement: LiftStatement = minicbor::decode(&said)
                    .map_err(|e| Fault::new(Blame::Ours, "contain.statement", format!("the statement: {e}")))?;
                if (statement.containment, &statement.officer) != (id_of(&id)?, &name) {
                    let text = "the server asks for a signature over another measure, or in another's name";
                    return Err(Fault::new(Blame::Integrity, "contain.statement", text));
                }
                policies::check_centre(&statement.centre)?;
                if !output.json {
                    say!("{}", guard::OfficerStatement::text(&statement));
                }
                let signed = encode_file(&Signed::sign(statement, &key)?.to_bytes());
                commands::act(&data, output, Act::Contain(Asked::Lift { signed }))
            }
            Self::Lift { id, data, output, .. } => {
                commands::act(&data, output, Act::Contain(Asked::LiftUnsigned { id }))
            }
        }
    }
}

impl Close {
    fn run(self, measure: Measure) -> Result<u8, Fault> {
        let Self { reason, data, output } = self;
        commands::act(&data, output, Act::Contain(Asked::Contain { measure: measure.to_string(), reason }))
    }
}

fn id_of(text: &str) -> Result<Id16, Fault> {
    text.parse().map_err(|e: BadId| Fault::new(Blame::Peer, "usage.containment", format!("{text}: {e}")))
}

/// At the centre.
pub fn perform(
    guard: &Guard,
    asked: Asked,
    permit: &dyn Fn(guard::Act) -> Result<Permit, Fault>,
) -> Result<Answer, Fault> {
    let waits = |lifts: usize| match guard.policy().in_force {
        None => "the terminal takes it back: no policy is approved, and so there is no officer".to_owned(),
        Some(_) => format!("it waits for the signatures of {}", plural(LIFTERS.saturating_sub(lifts), "officer")),
    };
    match asked {
        Asked::Status => {
            let _permit = permit(guard::Act::LiftContainment)?;
            let all = guard.contained();
            let each = all.iter().map(|(one, lifts)| {
                let signed: Vec<&str> = lifts.iter().map(|lift| lift.statement().officer.as_str()).collect();
                let by = if signed.is_empty() { String::new() } else { format!(" (signed by {})", signed.join(", ")) };
                let waits = waits(lifts.len());
                format!("{}  {}\n  since {}, by {}: {}\n  {waits}{by}", one.id, one.measure, one.at, one.by, one.reason)
            });
            let text = each.collect::<Vec<_>>().join("\n");
            let json: Vec<_> = all
                .iter()
                .map(|(one, lifts)| {
                    let lifts: Vec<&str> = lifts.iter().map(|lift| lift.statement().officer.as_str()).collect();
                    json!({ "containment": one, "lifted_by": lifts })
                })
                .collect();
            let exit = if all.is_empty() { 0 } else { DEGRADED };
            let text = if all.is_empty() { "nothing is contained".to_owned() } else { text };
            Ok(Answer { exit, text, json: json!({ "contained": json, "lifters": LIFTERS }) })
        }
        Asked::Contain { measure, reason } => {
            let measure: Measure = measure
                .parse()
                .map_err(|e: guard::UnknownWord| Fault::new(Blame::Peer, "usage.measure", e.to_string()))?;
            let one = guard.contain(&permit(guard::Act::Contain)?, measure, &reason).map_err(|e| Fault::of(&e))?;
            let text = format!("{}  {}\n  in force; {}", one.id, one.measure, waits(0));
            Ok(Answer::done(text, json!({ "containment": one })))
        }
        Asked::Statement { id, officer } => {
            let _permit = permit(guard::Act::LiftContainment)?;
            let statement = guard.lift_statement(id_of(&id)?, &officer).map_err(|e| Fault::of(&e))?;
            let bytes = minicbor::to_vec(&statement).unwrap_or_default();
            Ok(Answer::done(guard::OfficerStatement::text(&statement), json!({ "statement": encode_file(&bytes) })))
        }
        Asked::Lift { signed } => {
            let permit = permit(guard::Act::LiftContainment)?;
            let signed = SignedLift::from_bytes(&decode_file(&signed)?)
                .map_err(|e| Fault { blame: Blame::Peer, ..Fault::of(&e) })?;
            let id = signed.statement().containment;
            let is_over = guard.lift(&permit, signed).map_err(|e| Fault::of(&e))?;
            Ok(lifted(id, is_over, &waits(1)))
        }
        Asked::LiftUnsigned { id } => {
            let (permit, id) = (permit(guard::Act::LiftContainment)?, id_of(&id)?);
            guard.lift_unsigned(&permit, id).map_err(|e| Fault::of(&e))?;
            Ok(lifted(id, true, ""))
        }
    }
}

fn lifted(id: Id16, is_over: bool, waits: &str) -> Answer {
    let text = if is_over { format!("{id}\n  over") } else { format!("{id}\n  signed; {waits}") };
    Answer::done(text, json!({ "containment": id, "over": is_over }))
}
