//! What rang, and the glass that was broken, at the server's own terminal.

use clap::Subcommand;
use guard::{AlarmStanding, EmergencyStanding, Guard, Outcome, Permit};
use kit::id::BadId;
use kit::{Blame, Fault, Id16};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::acts::{Act, Answer};
use crate::{DEGRADED, Data, Output, commands};

#[derive(Subcommand)]
pub enum AlarmCommand {
    /// What is open, the oldest first, and what was closed lately. Exit 3 where anything is open.
    List {
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// Somebody looks at it: it goes up no further.
    Take {
        /// As `alarm list` shows it.
        id: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
    /// It was looked at.
    Close {
        /// As `alarm list` shows it.
        id: String,
        /// theft, mistake, honest or drill.
        #[arg(long)]
        outcome: Outcome,
        /// In own words: what it was.
        #[arg(long)]
        words: String,
        #[command(flatten)]
        data: Data,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Subcommand)]
pub enum EmergencyCommand {
    /// Which glass was broken, by whom and why, and what waits to be looked at: on the page /emergency. Exit 3 where any is overdue.
    List {
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
    Alarms,
    Take { id: String },
    Close { id: String, outcome: Outcome, words: String },
    Emergencies,
}

impl AlarmCommand {
    pub fn run(self) -> Result<u8, Fault> {
        match self {
            Self::List { data, output } => commands::act(&data, output, Act::Alarm(Asked::Alarms)),
            Self::Take { id, data, output } => commands::act(&data, output, Act::Alarm(Asked::Take { id })),
            Self::Close { id, outcome, words, data, output } => {
                commands::act(&data, output, Act::Alarm(Asked::Close { id, outcome, words }))
            }
        }
    }
}

impl EmergencyCommand {
    pub fn run(self) -> Result<u8, Fault> {
        let Self::List { data, output } = self;
        commands::act(&data, output, Act::Alarm(Asked::Emergencies))
    }
}

fn id_of(text: &str) -> Result<Id16, Fault> {
    text.parse().map_err(|e: BadId| Fault::new(Blame::Peer, "usage.alarm", format!("{text}: {e}")))
}

/// At the centre.
pub fn perform(
    guard: &Guard,
    asked: Asked,
    permit: &dyn Fn(guard::Act) -> Result<Permit, Fault>,
) -> Result<Answer, Fault> {
    let permit = permit(guard::Act::HandleAlarm)?;
    match asked {
        Asked::Alarms => Ok(alarms(&guard.alarms())),
        Asked::Emergencies => Ok(emergencies(&guard.emergencies())),
        Asked::Take { id } => {
            let id = id_of(&id)?;
            guard.take_alarm(&permit, id).map_err(|e| Fault::of(&e))?;
            Ok(Answer::done(format!("{id}\n  taken by {}", permit.subject()), json!({ "alarm": id })))
        }
        Asked::Close { id, outcome, words } => {
            let id = id_of(&id)?;
            guard.close_alarm(&permit, id, outcome, words.trim()).map_err(|e| Fault::of(&e))?;
            Ok(Answer::done(format!("{id}\n  closed: {outcome}"), json!({ "alarm": id })))
        }
    }
}

fn alarms(all: &[AlarmStanding]) -> Answer {
    let line = |one: &AlarmStanding| {
        let whose = match (&one.closed, &one.taken) {
            (Some(closed), _) => format!("closed by {}: {}, {}", closed.by, closed.outcome, closed.words),
            (None, Some((by, _))) => format!("taken by {by}; to be closed by {}", one.due),
            (None, None) => format!("{}'s, until {}", one.owner, one.due),
        };
        let late = if one.is_overdue { "OVERDUE: " } else { "" };
        let alarm = &one.alarm;
        format!(
            "{}  {}  {}\n  since {}: {}\n  {late}{whose}",
            alarm.id, alarm.signal, alarm.subject, alarm.at, alarm.words
        )
    };
    let open = all.iter().filter(|one| one.closed.is_none()).count();
    let text = match all.is_empty() {
        true => "nothing has rung".to_owned(),
        false => all.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    Answer { exit: if open == 0 { 0 } else { DEGRADED }, text, json: json!({ "alarms": all, "open": open }) }
}

fn emergencies(all: &[EmergencyStanding]) -> Answer {
    let line = |one: &EmergencyStanding| {
        let EmergencyStanding { emergency, review, due, is_overdue } = one;
        let told = match review {
            Some(review) => {
                let was = if review.justified { "justified" } else { "NOT JUSTIFIED" };
                format!("{was}, says {}: {}", review.by, review.words)
            }
            None => format!("{}to be looked at by {due}", if *is_overdue { "OVERDUE: " } else { "" }),
        };
        let (id, subject, role, patient) = (emergency.id, &emergency.subject, emergency.role, emergency.patient);
        format!(
            "{id}  {subject}, {role}  patient {patient}\n  {} to {}: {}\n  {told}",
            emergency.at, emergency.until, emergency.reason
        )
    };
    let each = |one: &EmergencyStanding| {
        let EmergencyStanding { emergency, review, due, is_overdue } = one;
        json!({
            "id": emergency.id, "subject": emergency.subject, "role": emergency.role, "patient": emergency.patient,
            "at": emergency.at, "until": emergency.until, "reason": emergency.reason, "review": review, "due": due,
            "is_overdue": is_overdue,
        })
    };
    let text = match all.is_empty() {
        true => "no glass was broken".to_owned(),
        false => all.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    let json: Vec<_> = all.iter().map(each).collect();
    let exit = if all.iter().any(|one| one.is_overdue) { DEGRADED } else { 0 };
    Answer { exit, text, json: json!({ "emergencies": json }) }
}
