//! `holdfast doctor`: what the posture page says, at the server's own terminal; and findings that are put off.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use edge::console::posture::{Control, Grade, Posture, Proof, PutOff};
use guard::Permit;
use kit::Fault;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::acts::{Act, Answer};
use crate::centre::Centre;
use crate::say::plural;
use crate::{DEGRADED, Data, Output, commands, posture, proofs, put_off, transfer};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Doctor {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    data: Data,
    #[command(flatten)]
    output: Output,
}

#[derive(Subcommand)]
enum Command {
    /// Say that a finding is known, and until when it is to be mended: it stays what it is, and stands in the log with who said so.
    PutOff {
        /// The control, as `holdfast doctor` lists it: records.losable.
        control: String,
        /// The last day of it: YYYY-MM-DD, at most 90 days ahead.
        #[arg(long, value_name = "DATE")]
        until: String,
        /// In own words: why it isn't mended now.
        #[arg(long)]
        why: String,
        /// The token of whoever puts it off (security-officer, it-administrator or oncologist), in a file; - for standard input.
        #[arg(long, value_name = "FILE")]
        token: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Take in that a recovery was rehearsed: what `holdfast recover` made of this centre's servers elsewhere is a beginning of its log.
    Rehearsed {
        /// The folder that the recovery made.
        folder: PathBuf,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

/// As it crosses the control port.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Asked {
    Look,
    PutOff(put_off::Asked),
    Rehearsed(proofs::Rehearsal),
}

impl Doctor {
    pub fn run(self) -> Result<u8, Fault> {
        match self.command {
            None => commands::act(&self.data, self.output, Act::Doctor(Asked::Look)),
            Some(Command::PutOff { control, until, why, token, data, output }) => {
                let token = transfer::token_of(&token)?;
                let asked = put_off::Asked { control, until, why, token };
                commands::act(&data, output, Act::Doctor(Asked::PutOff(asked)))
            }
            Some(Command::Rehearsed { folder, data, output }) => {
                commands::act(&data, output, Act::Doctor(Asked::Rehearsed(proofs::rehearsal(&folder)?)))
            }
        }
    }
}

/// At the centre.
pub fn perform(
    centre: &Centre,
    asked: Asked,
    permit: &dyn Fn(guard::Act) -> Result<Permit, Fault>,
) -> Result<Answer, Fault> {
    match asked {
        Asked::Look => {
            let _permit = permit(guard::Act::VerifyVault)?;
            Ok(report(&posture::look(centre)?))
        }
        Asked::PutOff(asked) => put_off::perform(centre, &asked),
        Asked::Rehearsed(rehearsal) => {
            let _permit = permit(guard::Act::VerifyVault)?;
            proofs::rehearsed(centre, rehearsal)
        }
    }
}

/// Exit 3 where any control doesn't pass, put off or not.
fn report(posture: &Posture) -> Answer {
    let Posture { as_of, controls, .. } = posture;
    let mut text = Vec::new();
    let mut layer = None;
    for control in controls {
        if layer != Some(control.layer) {
            layer = Some(control.layer);
            text.push(format!("{}{}", if text.is_empty() { "" } else { "\n" }, control.layer.in_words()));
        }
        text.push(lines(control, posture));
    }
    let count = |word: &str| controls.iter().filter(|control| control.grade.word() == word).count();
    let words = ["pass", "fail", "stale", "unknown"];
    let totals = words.map(|word| format!("{} {word}", count(word))).join(", ");
    text.push(format!("\n{totals}"));
    let totals: serde_json::Map<String, Value> =
        words.into_iter().map(|word| (word.to_owned(), json!(count(word)))).collect();
    let json = json!({
        "as_of": as_of.to_string(),
        "totals": totals,
        "controls": controls.iter().map(|control| control_json(control, posture)).collect::<Vec<_>>(),
    });
    let exit = if controls.iter().all(|control| control.grade == Grade::Pass) { 0 } else { DEGRADED };
    Answer { exit, text: text.join("\n"), json }
}

fn lines(control: &Control, posture: &Posture) -> String {
    let Control { id, grade, state, evidence, proven, found, owner, mend, put_off, .. } = control;
    let severity = grade.severity().map(|severity| format!(", {severity}")).unwrap_or_default();
    let when = |proof: &Proof| match proof.at == posture.as_of {
        true => format!("now {}", proof.by),
        false => format!("{} {}", proof.at, proof.by),
    };
    let proven = match (proven, found) {
        (Some(proof), _) => format!("proven {}", when(proof)),
        (None, Some(found)) => format!("not proven: found {}", when(found)),
        (None, None) => "never proven".to_owned(),
    };
    let mut text = format!(
        "  {:<8} {id:<22} {state}{severity}\n             {evidence}\n             {proven}; owner {owner}",
        grade.word()
    );
    if *grade != Grade::Pass {
        text.push_str(&format!("\n             → {mend}"));
    }
    if let Some(one) = put_off {
        let last = posture.last_day(one);
        let was = if one.is_over { format!("WAS put off until {last}") } else { format!("put off until {last}") };
        text.push_str(&format!(
            "\n             {was} by {} ({}), {}: {}",
            one.by,
            one.role,
            plural(one.times, "time"),
            one.why
        ));
    }
    text
}

fn control_json(control: &Control, posture: &Posture) -> Value {
    let Control { id, layer, what, grade, state, evidence, proven, found, owner, mend, put_off } = control;
    let proof = |one: &Option<Proof>| one.as_ref().map(|proof| json!({ "at": proof.at.to_string(), "by": proof.by }));
    let (proven, found) = (proof(proven), proof(found));
    let put_off = put_off.as_ref().map(|one| {
        let PutOff { by, role, why, at, times, is_over, .. } = one;
        json!({
            "by": by, "role": role, "why": why, "at": at.to_string(), "until": posture.last_day(one), "times": times,
            "over": is_over,
        })
    });
    json!({
        "id": id, "layer": layer.as_str(), "what": what, "grade": grade.word(), "severity": grade.severity(),
        "state": state, "evidence": evidence, "proven": proven, "found": found, "owner": owner, "mend": mend, "put_off": put_off,
    })
}

#[cfg(test)]
mod tests {
    use edge::console::posture::{Layer, Severity};
    use guard::Role;
    use kit::{Timestamp, UtcOffset};

    use super::*;

    fn control(grade: Grade) -> Control {
        let proven = Some(Proof { at: Timestamp(0), by: "by looking".into() });
        let (state, evidence, mend) = ("3 of 4".to_owned(), "what it rests on".to_owned(), "holdfast mend".to_owned());
        let (id, layer, what, owner) = ("host.disk", Layer::Host, "Disk".to_owned(), Role::ItAdministrator);
        Control { id, layer, what, grade, state, evidence, proven, found: None, owner, mend, put_off: None }
    }

    fn report_of(control: Control) -> Answer {
        let (as_of, offset) = (Timestamp(10 * 86_400_000), UtcOffset::default());
        report(&Posture { as_of, offset, controls: vec![control], ..Posture::default() })
    }

    #[test]
    fn only_what_passes_is_well_and_the_json_has_the_four_words() {
        for (grade, word, severity) in [
            (Grade::Pass, "pass", Value::Null),
            (Grade::Fail(Severity::Reduced), "fail", json!("reduced")),
            (Grade::Fail(Severity::Broken), "fail", json!("broken")),
            (Grade::Stale, "stale", Value::Null),
            (Grade::Unknown, "unknown", Value::Null),
        ] {
            let Answer { exit, text, json } = report_of(control(grade));
            assert_eq!(exit, if word == "pass" { 0 } else { DEGRADED }, "{word}");
            let one = &json["controls"][0];
            assert_eq!((&one["grade"], &one["severity"], &json["totals"][word]), (&json!(word), &severity, &json!(1)));
            assert_eq!(one["proven"], json!({ "at": "1970-01-01T00:00:00.000Z", "by": "by looking" }));
            assert_eq!(text.contains("holdfast mend"), word != "pass", "{text}");
        }
    }

    #[test]
    fn a_finding_is_back_when_its_day_is_past() {
        let until = Timestamp(9 * 86_400_000);
        let put_off = PutOff {
            by: "k.nair".into(),
            role: Role::ItAdministrator,
            why: "disks come".into(),
            at: Timestamp(0),
            until,
            times: 3,
            is_over: true,
        };
        let Answer { exit, text, json } =
            report_of(Control { put_off: Some(put_off), ..control(Grade::Fail(Severity::Broken)) });
        assert_eq!((exit, &json["controls"][0]["put_off"]["until"]), (DEGRADED, &json!("1970-01-09")));
        assert!(text.contains("WAS put off until 1970-01-09 by k.nair (it-administrator), 3 times"), "{text}");
    }
}
