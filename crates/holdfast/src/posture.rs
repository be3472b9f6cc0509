//! What the posture page and `holdfast doctor` say, from what is there now. Both show [`look`], and nothing else.

mod around;
mod guarded;
mod host;
mod kept;
mod spec;

use std::sync::Arc;

use edge::console::posture::{BucketRow, Grade, Posture, ServerRow, Severity, Standing as Stands};
use holder::wire::Status;
use kit::{Fault, Timestamp, UtcOffset};
use vault::LocationHealth;

use crate::buckets::BucketState;
use crate::centre::Centre;
use crate::custodians;
use crate::site::location_id;
use crate::standing::Standing;
use crate::{packs, proofs, put_off};

const BROKEN: Grade = Grade::Fail(Severity::Broken);
const REDUCED: Grade = Grade::Fail(Severity::Reduced);

/// A centre whose posture is shown.
pub struct Shown(pub Arc<Centre>);

impl Stands for Shown {
    fn posture(&self) -> Result<Posture, Fault> {
        look(&self.0)
    }
}

/// How each control stands.
pub fn look(centre: &Centre) -> Result<Posture, Fault> {
    let standing = centre.standing();
    let (now, offset) = (centre.chart().now(), centre.config().utc_offset());
    let (vault, proofs, folders) = (centre.chart().vault(), proofs::newest(centre)?, packs::look(centre));
    let since = guarded::Since { opened: centre.opened(), is_serving: centre.listening().is_some(), now, offset };
    let mut controls = vec![around::http(centre, now), around::devices(centre, now)];
    controls.extend(guarded::controls(centre.chart().guard(), since));
    controls.extend([
        kept::index(&proofs, now),
        around::signers(centre, now)?,
        around::rules(centre, now)?,
        kept::records(&standing, now),
        kept::readable(&proofs, now),
        kept::independence(&standing, now),
        kept::keys(centre, &standing, now),
        kept::epoch(vault, now),
        kept::witnesses(&standing, now),
        kept::custodians(&custodians::known(centre)?, vault.custodians(), now),
        kept::restored(&proofs, vault.size(), now),
        around::downtime_packs(centre, &folders, now),
        around::account(centre, now),
        host::clock(centre, now),
        host::disk(centre, now),
        host::certificates(centre, now),
    ]);
    let mut put_off = put_off::all(centre)?;
    for control in &mut controls {
        control.put_off = put_off::told(put_off.remove(control.id), control.grade, now);
    }
    Ok(Posture {
        as_of: now,
        offset,
        controls,
        servers: servers(&standing, &centre.statuses()),
        buckets: standing.buckets.iter().map(|one| bucket(&standing, one, offset)).collect(),
        packs: folders.iter().map(|one| around::pack_row(centre, one, now)).collect(),
    })
}

/// A time by the centre's own clocks.
fn clock(at: Timestamp, offset: UtcOffset) -> String {
    let at = offset.local(at).to_string();
    format!("{} {} UTC{offset}", at.get(11..16).unwrap_or_default(), at.get(..10).unwrap_or_default())
}

/// `3 h 12 min old`.
fn age(ms: i64) -> String {
    let minutes = ms.max(0) / 60_000;
    if minutes < 60 { format!("{minutes} min old") } else { format!("{} h {} min old", minutes / 60, minutes % 60) }
}

fn servers(standing: &Standing, statuses: &[(u8, Result<Status, String>)]) -> Vec<ServerRow> {
    let row = |(number, status): &(u8, Result<Status, String>)| {
        let name = location_id(*number);
        let location = standing.health.locations.iter().find(|location| location.id == name);
        let unusable = standing.unusable.iter().find(|one| one.number == *number);
        let witness = standing.witnesses.1.get(usize::from(*number).saturating_sub(1));
        let alarms = status.as_ref().map(|status| status.alarms.len()).unwrap_or_default();
        let witness_word = match witness {
            None => "none".to_owned(),
            Some(one) => match &one.last_error {
                None if one.size > 0 => format!("cosigned {}", one.size),
                None => "not asked yet".to_owned(),
                Some(why) => why.clone(),
            },
        };
        let is_down = location.is_none_or(|location| !location.up) || unusable.is_some();
        let lags = location.is_some_and(|location| location.missing > 0);
        let is_quiet = witness.is_some_and(|one| one.last_error.is_some());
        // Why a server is silent is said once, in the last column.
        let once = |text: String| match status {
            Err(why) if text.contains(why.as_str()) => "no answer".to_owned(),
            _ => text,
        };
        ServerRow {
            grade: match () {
                () if is_down || witness.is_some_and(|one| one.contradicts) => BROKEN,
                () if lags || is_quiet || alarms > 0 => REDUCED,
                () => Grade::Pass,
            },
            shards: once(location.map_or("not there".to_owned(), shards)),
            holder: once(unusable.map_or("answers".to_owned(), |one| one.why.clone())),
            witness: once(witness_word),
            charts: match status {
                Ok(status) => format!("{} / {}", status.charts_hour, status.charts_day),
                Err(_) => "–".to_owned(),
            },
            alarms: match status {
                Ok(status) => match status.alarms.last() {
                    // Its words may name who is suspected.
                    Some(newest) => format!("{alarms}, the newest from server {}: {}", newest.from, newest.alarm.code),
                    None => "none".to_owned(),
                },
                Err(why) => why.clone(),
            },
            name,
        }
    };
    statuses.iter().map(row).collect()
}

fn bucket(standing: &Standing, state: &BucketState, offset: UtcOffset) -> BucketRow {
    let location = standing.health.locations.iter().find(|location| location.id == state.id);
    let (hidden, overwritten) = state.tampered();
    let is_down = location.is_none_or(|location| !location.up) || state.trouble().is_some();
    let lags = location.is_some_and(|location| location.missing > 0);
    let time = |at: Option<Timestamp>| at.map_or("not yet".to_owned(), |at| clock(at, offset));
    BucketRow {
        name: state.id.clone(),
        grade: match () {
            () if is_down || hidden + overwritten > 0 => BROKEN,
            () if lags || state.passed.is_none() => REDUCED,
            () => Grade::Pass,
        },
        shards: location.map_or("not there".to_owned(), shards),
        lacks: match (&state.refused, &state.silent, &state.passed) {
            (Some(refusal), ..) => refusal.to_string(),
            (None, Some(why), _) => format!("not known: {why}"),
            (None, None, Some(_)) => "nothing".to_owned(),
            (None, None, None) => "not probed yet".to_owned(),
        },
        probed: time(state.probed),
        retention: state.passed.as_ref().map_or("–".to_owned(), |report| format!("{} days", report.retention_days)),
        tampered: match state.census {
            None => "not counted yet".to_owned(),
            Some((at, _)) if hidden + overwritten > 0 => {
                format!("{hidden} objects HIDDEN, {overwritten} OVERWRITTEN ({})", time(Some(at)))
            }
            Some((at, census)) => format!("none of {} objects ({})", census.objects, time(Some(at))),
        },
    }
}

/// How many more.
fn more(count: usize, of: &str) -> String {
    match count {
        0 => format!("no more {of}s"),
        1 => format!("1 more {of}"),
        count => format!("{count} more {of}s"),
    }
}

fn shards(location: &LocationHealth) -> String {
    match (location.up, location.missing) {
        (true, 0) => "whole".to_owned(),
        (true, missing) => format!("{missing} segments are being healed"),
        (false, _) => location
            .last_error
            .clone()
            .unwrap_or_else(|| "at the start it was missing, older than the centre, or another's".to_owned()),
    }
}
