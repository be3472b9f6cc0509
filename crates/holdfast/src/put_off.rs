//! Findings that somebody put off: who, how often, until when. Each is an entry of the ledger, and none is ever taken away.
//!
//! It makes nothing green. It says that somebody has seen it, and when it is to be mended; the day after, nobody has.

use std::collections::BTreeMap;

use chart::Context;
use edge::console::posture::{Control, Grade, PutOff};
use guard::{Act as GuardAct, Purpose, Role, Sensitivity, Target, misleads};
use kit::format::{self, Version};
use kit::{Blame, Fault, OperationId, Timestamp};
use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};
use serde_json::json;
use treatment::Day;

use crate::acts::Answer;
use crate::centre::Centre;
use crate::posture;
use crate::say::plural;

const LIST: &str = "centre-put-offs";
const KIND: &str = "centre.put-off";
/// Each of some thirty findings, some times a year.
const NOTES_MAX: usize = 2_048;
const NOTE_BYTES_MAX: usize = 2_048;
const DAY_MS: i64 = 86_400_000;
/// At once: beyond, it isn't put off, it is accepted, and that is a change of the policy.
const DAYS_MAX: i64 = 90;
/// A line in a list.
const WHY_CHARACTERS: (usize, usize) = (10, 200);
/// How long a past one is still told of a finding that is still there.
const TOLD_MS: i64 = 400 * DAY_MS;

/// As it crosses the control port.
#[derive(Serialize, Deserialize)]
pub struct Asked {
    pub control: String,
    /// The last day: `YYYY-MM-DD`.
    pub until: String,
    pub why: String,
    /// Of whoever puts it off.
    pub token: String,
}

#[derive(Encode, Decode)]
struct Note {
    #[n(0)]
    format: Version<1>,
    #[n(1)]
    control: String,
    #[n(2)]
    until: Timestamp,
    #[n(3)]
    by: String,
    #[n(4)]
    role: Role,
    #[n(5)]
    why: String,
}

fn usage(text: String) -> Fault {
    Fault::new(Blame::Peer, "usage.put-off", text)
}

/// The newest of each control, with how many there were.
pub fn all(centre: &Centre) -> Result<BTreeMap<String, PutOff>, Fault> {
    let (chart, now) = (centre.chart(), centre.chart().now());
    let listed = chart.listed_back(&chart.list_tag(LIST, &[]), u64::MAX, NOTES_MAX).map_err(|e| e.fault())?;
    let mut all: BTreeMap<String, PutOff> = BTreeMap::new();
    for entry in listed {
        let (entry, meta) = chart.note_of(entry).map_err(|e| e.fault())?;
        let note: Note = format::decode("a finding that was put off", &meta.note, NOTE_BYTES_MAX)
            .map_err(|e| Fault::new(Blame::Integrity, "doctor.put-off", e.to_string()))?;
        let Note { control, until, by, role, why, .. } = note;
        let newest = PutOff { by, role, why, at: entry.time, until, times: 0, is_over: now >= until };
        all.entry(control).or_insert(newest).times += 1;
    }
    Ok(all)
}

/// What is to be said of one control: what is in force; and what is over, where the finding is still there.
pub fn told(put_off: Option<PutOff>, grade: Grade, now: Timestamp) -> Option<PutOff> {
    let is_told = |one: &PutOff| !one.is_over || (grade != Grade::Pass && now < one.until.plus_ms(TOLD_MS));
    put_off.filter(is_told)
}

/// The moment after the last day, by the centre's clocks.
fn end_of(centre: &Centre, until: &str) -> Result<Timestamp, Fault> {
    let day: Day = until.parse().map_err(|e: treatment::BadDay| usage(format!("{until}: {e}")))?;
    let epoch = "1970-01-01".parse::<Day>().map_err(|e| usage(e.to_string()))?;
    let after = Timestamp((i64::from(day.since(epoch)) + 1) * DAY_MS);
    let offset_ms = i64::from(centre.config().utc_offset().minutes()) * 60_000;
    let (end, now) = (after.plus_ms(-offset_ms), centre.chart().now());
    let days = (end.0 - now.0).div_euclid(DAY_MS);
    match days {
        ..0 => Err(usage(format!("{until} is past"))),
        0..=DAYS_MAX => Ok(end),
        _ => Err(usage(format!("{until} is in {days} days, the maximum is {DAYS_MAX} at once"))),
    }
}

/// At the centre.
pub fn perform(centre: &Centre, asked: &Asked) -> Result<Answer, Fault> {
    let (chart, why) = (centre.chart(), asked.why.trim());
    let length = why.chars().count();
    if !(WHY_CHARACTERS.0..=WHY_CHARACTERS.1).contains(&length) || why.chars().any(misleads) {
        let (least, most) = WHY_CHARACTERS;
        return Err(usage(format!("--why: {length} characters; say why in a line of {least} to {most}")));
    }
    // A person: the terminal is nobody.
    let caller = chart.guard().authenticate_bearer(asked.token.trim()).map_err(|e| Fault::of(&e))?;
    let until = end_of(centre, &asked.until)?;
    let controls = posture::look(centre)?.controls;
    let Some(control) = controls.iter().find(|control| control.id == asked.control) else {
        let ids: Vec<&str> = controls.iter().map(|control| control.id).collect();
        return Err(usage(format!("{}: no such control; there are: {}", asked.control, ids.join(", "))));
    };
    let Control { id, what, grade, .. } = control;
    if *grade == Grade::Pass {
        return Err(usage(format!("{id} passes: there is nothing to put off")));
    }
    let context = Context { caller, purpose: Purpose::Operations, operation: OperationId::random(chart.entropy()) };
    let permit = chart
        .admit(&context, GuardAct::HandleAlarm, Target::Centre, Sensitivity::Administrative)
        .map_err(|e| e.fault())?;
    let (by, role) = (permit.subject().to_owned(), permit.role());
    let note = Note { format: Version, control: (*id).to_owned(), until, by: by.clone(), role, why: why.to_owned() };
    let list = chart.list_tag(LIST, &[]);
    chart.append_note(&permit, KIND, vec![list], format::encode(&note)).map_err(|e| e.fault())?;
    let times = all(centre)?.get(*id).map_or(0, |one| one.times);
    let text = format!(
        "{id} ({what}) is put off until {}, by {by}: {} so far\n  it stays {}, and holdfast doctor says so",
        asked.until,
        plural(times, "time"),
        grade.word()
    );
    Ok(Answer::done(text, json!({ "control": id, "until": until.to_string(), "by": by, "role": role, "times": times })))
}

#[cfg(test)]
mod tests {
    use edge::console::posture::Severity;

    use super::*;

    #[test]
    fn what_is_over_is_told_of_a_finding_that_is_still_there() {
        let now = Timestamp(1_000 * DAY_MS);
        let put_off = |is_over: bool, days: i64| PutOff {
            by: "k.nair".into(),
            role: Role::ItAdministrator,
            why: "disks come".into(),
            at: Timestamp(0),
            until: now.plus_ms(days * DAY_MS),
            times: 2,
            is_over,
        };
        let is_told = |one: PutOff, grade| told(Some(one), grade, now).is_some();
        let fails = Grade::Fail(Severity::Reduced);
        for grade in [Grade::Pass, fails, Grade::Stale, Grade::Unknown] {
            assert!(is_told(put_off(false, 1), grade));
            assert_eq!(is_told(put_off(true, -1), grade), grade != Grade::Pass);
            assert!(!is_told(put_off(true, -401), grade));
        }
    }
}
