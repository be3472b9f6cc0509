//! What rang, `GET` and `POST /alarms`: whose it is, until when, and what it was.

use std::sync::Arc;

use askama::Template;
use axum::Router;
use axum::extract::Form;
use axum::extract::rejection::FormRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use chart::Context;
use guard::{Act, AlarmStanding, Outcome, Purpose, Sensitivity, Signal, Target};
use kit::{Blame, Fault, Id16, UtcOffset};
use serde::Deserialize;
use treatment::Treatment;

use super::reader::Reader;
use super::{failed, message, moment, page};

#[derive(Template)]
#[template(path = "alarms.html")]
struct AlarmsPage {
    centre: String,
    who: String,
    role: String,
    /// Why the last form wasn't taken.
    refused: Option<String>,
    open: usize,
    rows: Vec<Row>,
    outcomes: Vec<(&'static str, &'static str)>,
}

struct Row {
    id: String,
    class: &'static str,
    word: &'static str,
    what: &'static str,
    words: String,
    times: u64,
    subject: String,
    since: String,
    /// Whose it is and until when, or what it was.
    whose: String,
    is_open: bool,
    is_taken: bool,
    /// It is about whoever looks at the page.
    is_own: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Handled {
    id: String,
    /// None: it is taken.
    outcome: Option<String>,
    words: Option<String>,
}

pub(super) fn router(treatment: Arc<Treatment>) -> Router {
    Router::new().route("/alarms", get(shown).post(handle)).with_state(treatment)
}

pub(super) fn signal_in_words(signal: Signal) -> &'static str {
    match signal {
        Signal::OverBudget => "Asked for more than a budget allows",
        Signal::SlowTheft => "Opens more than is usual, for weeks",
        Signal::Honey => "Opened a chart of nobody",
        Signal::MassChange => "Changes many patients’ records",
        Signal::CopiedPasskey => "A passkey was copied",
    }
}

fn outcome_in_words(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Theft => "a theft",
        Outcome::Mistake => "a mistake",
        Outcome::Honest => "honest work",
        Outcome::Drill => "a drill",
    }
}

fn context_of(context: &Context) -> Context {
    // It is no care for anybody.
    Context { purpose: Purpose::Operations, ..context.clone() }
}

fn permit(treatment: &Treatment, context: &Context, act: Act) -> Result<guard::Permit, Fault> {
    let chart = treatment.chart();
    chart.admit(&context_of(context), act, Target::Centre, Sensitivity::Administrative).map_err(|e| e.fault())
}

async fn shown(reader: Reader) -> Response {
    show(&reader, None).await
}

async fn show(reader: &Reader, refused: Option<String>) -> Response {
    let read = reader.read(|treatment, context| {
        let _permit = permit(treatment, context, Act::HandleAlarm)?;
        Ok(treatment.chart().guard().alarms())
    });
    match read.await {
        Ok(all) => {
            let status = if refused.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
            page(status, &AlarmsPage::of(reader, all, refused))
        }
        Err(fault) => failed("The alarms", &fault),
    }
}

async fn handle(reader: Reader, posted: Result<Form<Handled>, FormRejection>) -> Response {
    let Ok(Form(Handled { id, outcome, words })) = posted else {
        return message(StatusCode::BAD_REQUEST, "The form could not be read. Nothing was done.");
    };
    let usage = |what: String| Fault::new(Blame::Peer, "usage.alarm", what);
    let done = reader.read(move |treatment, context| {
        let id: Id16 = id.parse().map_err(|e: kit::id::BadId| usage(e.to_string()))?;
        let (permit, guard) = (permit(treatment, context, Act::HandleAlarm)?, treatment.chart().guard());
        let done = match outcome {
            None => guard.take_alarm(&permit, id),
            Some(outcome) => {
                let outcome: Outcome = outcome.parse().map_err(|e: guard::UnknownWord| usage(e.to_string()))?;
                guard.close_alarm(&permit, id, outcome, words.unwrap_or_default().trim())
            }
        };
        done.map_err(|e| Fault::of(&e))
    });
    match done.await {
        Ok(()) => Redirect::to("/alarms").into_response(),
        Err(fault) if fault.code.starts_with("guard.alarm") || fault.blame == Blame::Peer => {
            show(&reader, Some(fault.message)).await
        }
        Err(fault) => failed("What you asked for", &fault),
    }
}

impl AlarmsPage {
    fn of(reader: &Reader, all: Vec<AlarmStanding>, refused: Option<String>) -> Self {
        let (treatment, offset) = (&reader.treatment, reader.treatment.utc_offset());
        let who = reader.who();
        let outcomes = Outcome::ALL.iter().map(|one| (one.as_str(), outcome_in_words(*one))).collect();
        Self {
            centre: treatment.centre().to_owned(),
            role: reader.role(),
            refused,
            open: all.iter().filter(|one| one.closed.is_none()).count(),
            rows: all.into_iter().map(|one| row(one, &who, offset)).collect(),
            outcomes,
            who,
        }
    }
}

fn row(one: AlarmStanding, who: &str, offset: UtcOffset) -> Row {
    let due = moment(one.due, offset);
    let (class, word, whose) = match (&one.closed, &one.taken) {
        (Some(closed), _) => {
            let was = outcome_in_words(closed.outcome);
            ("done", "Closed", format!("{was}, says {}: {}", closed.by, closed.words))
        }
        (None, Some((by, _))) if one.is_overdue => {
            ("veto", "Overdue", format!("{by} took it, and should have closed it by {due}"))
        }
        (None, Some((by, _))) => ("release", "Taken", format!("{by}, until {due}")),
        (None, None) if one.is_overdue => {
            ("veto", "Overdue", format!("nobody took it by {due}, not even the {}", one.owner))
        }
        (None, None) => ("hold", "Waits", format!("{}, until {due}; then it goes up", one.owner)),
    };
    Row {
        id: one.alarm.id.to_string(),
        class,
        word,
        what: signal_in_words(one.alarm.signal),
        times: one.times,
        since: moment(one.alarm.at, offset),
        whose,
        is_open: one.closed.is_none(),
        is_taken: one.taken.is_some(),
        is_own: one.alarm.subject == who,
        subject: one.alarm.subject,
        words: one.alarm.words,
    }
}
