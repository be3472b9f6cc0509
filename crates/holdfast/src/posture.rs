//! What the posture page says, from what is there now.

mod guarded;

use std::sync::Arc;

use edge::console::posture::{BucketRow, Control, Grade, PackRow, Posture, ServerRow, Standing as Stands};
use holder::wire::Status;
use kit::{Fault, Timestamp, UtcOffset};
use vault::{LocationHealth, Vault};

use crate::buckets::BucketState;
use crate::centre::Centre;
use crate::custodians::{self, Custodian};
use crate::packs::{self, Brought, FolderState};
use crate::say::plural;
use crate::siem::Progress;
use crate::site::location_id;
use crate::standing::Standing;

/// Entries that a SIEM may be behind: some seconds of a busy morning.
const BEHIND_MAX: u64 = 2_000;

/// A centre whose posture is shown.
pub struct Shown(pub Arc<Centre>);

impl Stands for Shown {
    fn posture(&self) -> Result<Posture, Fault> {
        let centre = &self.0;
        let standing = centre.standing();
        let now = centre.chart().now();
        let offset = centre.config().utc_offset();
        let controls = vec![
            records(&standing),
            keys(&standing),
            epoch(centre.chart().vault()),
            witnesses(&standing),
            custodians(&custodians::known(centre)?, centre.chart().vault().custodians(), now),
            independence(&standing),
            downtime_packs(centre, now),
            account(&centre.siem().progress(), centre.chart().vault().size()),
        ];
        let controls = controls.into_iter().chain(guarded::controls(centre.chart().guard(), offset)).collect();
        Ok(Posture {
            as_of: clock(now, offset),
            controls,
            servers: servers(&standing, &centre.statuses()),
            buckets: standing.buckets.iter().map(|one| bucket(&standing, one, offset)).collect(),
            packs: packs::look(centre).iter().map(|one| pack_row(centre, one, now)).collect(),
        })
    }
}

/// Whether somebody else has the account, too.
fn account(progress: &Progress, size: u64) -> Control {
    let behind = size.saturating_sub(progress.next);
    let (grade, state) = match (&progress.to, &progress.trouble) {
        (None, _) => (Grade::Worn, "it is sent to nobody: [audit] in holdfast.toml names a SIEM".to_owned()),
        (Some(_), Some(why)) => (Grade::Bad, format!("the SIEM doesn't take it: {why}")),
        (Some(_), None) if !progress.is_connected => (Grade::Worn, "the SIEM is being called".to_owned()),
        (Some(_), None) if behind > BEHIND_MAX => (Grade::Worn, "sent to the SIEM, which is slow".to_owned()),
        (Some(_), None) => (Grade::Good, "sent to the SIEM".to_owned()),
    };
    let evidence = match &progress.to {
        Some(to) => format!("{to}: up to entry {} of {size}, {behind} wait", progress.next),
        None => "who saw what is in the ledger: GET /fhir/AuditEvent, holdfast access".to_owned(),
    };
    Control { what: "Account".into(), grade, state, evidence }
}

/// A time by the centre's own clocks.
fn clock(at: Timestamp, offset: UtcOffset) -> String {
    let at = offset.local(at).to_string();
    format!("{} {} UTC{offset}", at.get(11..16).unwrap_or_default(), at.get(..10).unwrap_or_default())
}

fn records(standing: &Standing) -> Control {
    let (all, shape, left) = (standing.health.locations.len(), standing.health.shape, standing.locations_to_lose());
    let grade = match left {
        0 => Grade::Bad,
        left if left < shape.n() - shape.k() => Grade::Worn,
        _ => Grade::Good,
    };
    let writable = if standing.health.writable { "" } else { "; not writable" };
    Control {
        what: "Records".into(),
        grade: if standing.health.writable { grade } else { Grade::Bad },
        state: format!(
            "{} may be lost{writable}",
            more(left, if standing.buckets.is_empty() { "server" } else { "server or bucket" })
        ),
        evidence: format!(
            "{} of {all} locations are up, any {} give everything back; {} segments wait to be healed",
            standing.health.up,
            shape.k(),
            standing.missing()
        ),
    }
}

fn keys(standing: &Standing) -> Control {
    let (up, of, need) = (standing.holders_up(), standing.holders, standing.holders_needed);
    Control {
        what: "Keys".into(),
        grade: match standing.holders_to_lose() {
            _ if up < need => Grade::Bad,
            _ if standing.health.undealt_patients > 0 => Grade::Worn,
            0 if of > need => Grade::Worn,
            _ => Grade::Good,
        },
        state: format!(
            "{} may be lost before custodians are needed",
            more(standing.holders_to_lose().into(), "holder")
        ),
        evidence: format!(
            "{up} of {of} holders answer, {need} open a key; the disks of any {} open nothing{}",
            need.saturating_sub(1),
            match standing.health.undealt_patients {
                0 => String::new(),
                undealt => format!("; the keys of {undealt} patients are dealt to who held them before"),
            }
        ),
    }
}

/// Whether what the holders could open of erased patients is gone.
fn epoch(vault: &Vault) -> Control {
    let (epoch, erased) = (vault.key_epoch(), vault.health().erased_patients);
    let (grade, state) = match vault.turning() {
        Some(_) => {
            (Grade::Worn, format!("epoch {epoch} has begun, and the keys of the one before are not destroyed yet"))
        }
        None => (Grade::Good, format!("epoch {epoch}")),
    };
    let evidence =
        format!("{erased} patients are erased; those since the last turn (holdfast keys turn) are refused, not gone");
    Control { what: "Key epoch".into(), grade, state, evidence }
}

fn witnesses(standing: &Standing) -> Control {
    let (quorum, all) = &standing.witnesses;
    let up = standing.witnesses_up();
    let contradicting = all.iter().filter(|one| one.contradicts).count();
    let (grade, state) = match (all.len(), contradicting) {
        (0, _) => (Grade::Worn, "nobody but this gateway has seen the log".to_owned()),
        (_, 1..) => (Grade::Bad, format!("{contradicting} witnesses CONTRADICT the log")),
        (of, 0) if up < *quorum => (Grade::Bad, format!("{up} of {of} cosign: a second history could get as many")),
        (of, 0) if up < of => (Grade::Worn, format!("{up} of {of} cosign")),
        (of, 0) => (Grade::Good, format!("all {of} cosign")),
    };
    let size = all.iter().map(|one| one.size).max().unwrap_or(0);
    let evidence = if all.is_empty() {
        "servers that are folders witness nothing".to_owned()
    } else {
        format!("a quorum is {quorum}; the newest head that was cosigned has {size} entries")
    };
    Control { what: "Log".into(), grade, state, evidence }
}

fn custodians(known: &[Custodian], (needed, of): (u8, u8), now: Timestamp) -> Control {
    let overdue: Vec<String> =
        known.iter().filter(|one| one.is_overdue(now)).map(|one| one.number.to_string()).collect();
    let never = known.iter().filter(|one| one.proven.is_none()).count();
    let (grade, state) = match (overdue.len(), never) {
        (0, 0) => (Grade::Good, format!("all {of} have shown within a year that their shares open")),
        (0, never) => (Grade::Worn, format!("{never} of {of} have never shown that their shares open")),
        _ => (Grade::Bad, format!("overdue: custodian {}", overdue.join(", "))),
    };
    let newest = known.iter().filter_map(|one| one.proven).max();
    let unasked = "never asked so far; to ask one of them: holdfast custodian challenge";
    let evidence = newest.map_or(unasked.to_owned(), |at| format!("last shown {at}"));
    Control { what: format!("Custodians, {needed} of {of}"), grade, state, evidence }
}

fn independence(standing: &Standing) -> Control {
    let (domains, needed) = (&standing.domains, standing.health.shape.k());
    Control {
        what: "Independence".into(),
        grade: match domains.independent {
            count if count >= domains.locations => Grade::Good,
            count if count > needed => Grade::Worn,
            _ => Grade::Bad,
        },
        state: format!(
            "{} are {}",
            plural(domains.locations, "location"),
            plural(domains.independent, "independent domain")
        ),
        evidence: domains.evidence(),
    }
}

/// How much of the treatment list is on the wards, and since when: by what stands in the folders.
fn downtime_packs(centre: &Centre, now: Timestamp) -> Control {
    let states = packs::look(centre);
    let stale_ms = i64::from(centre.config().packs.stale_hours) * 3_600_000;
    let is_stale = |brought: &Brought| now.0 - brought.as_of.0 > stale_ms;
    let control =
        |grade, state: String, evidence: String| Control { what: "Downtime packs".into(), grade, state, evidence };
    if !packs::are_wanted(centre) {
        let how = "holdfast pack key and holdfast pack prepare, then [packs] in holdfast.toml";
        return control(Grade::Bad, "none are made: without servers, nobody knows the plans".into(), how.into());
    }
    let each = states.iter().map(|state| {
        let name = state.folder.display();
        match &state.brought {
            Ok(brought) => {
                let old = if is_stale(brought) { ", STALE" } else { "" };
                let complete = match brought.complete {
                    0 => String::new(),
                    complete => format!(" ({complete} more whose courses are complete)"),
                };
                format!("{name}: {} of {}{complete}, {}{old}", brought.packs, brought.of, age(now.0 - brought.as_of.0))
            }
            Err(why) => format!("{name}: {why}"),
        }
    });
    let evidence = each.collect::<Vec<_>>().join("; ");
    let brought: Vec<&Brought> = states.iter().filter_map(|state| state.brought.as_ref().ok()).collect();
    let fresh = brought.iter().filter(|one| !is_stale(one)).count();
    let is_whole = brought.len() == states.len() && brought.iter().all(|one| one.packs == one.of);
    match (fresh, brought.iter().max_by_key(|one| one.as_of)) {
        (_, None) => control(Grade::Bad, "none were brought anywhere yet".into(), evidence),
        (0, Some(newest)) => control(Grade::Bad, format!("STALE: {}", age(now.0 - newest.as_of.0)), evidence),
        (fresh, Some(newest)) => {
            let is_good = fresh == states.len() && is_whole && newest.of > 0;
            let grade = if is_good { Grade::Good } else { Grade::Worn };
            let covered = format!("{} of {} patients", newest.packs, newest.of);
            control(grade, format!("{covered}, in {} of {}", fresh, plural(states.len(), "folder")), evidence)
        }
    }
}

/// One folder of them.
fn pack_row(centre: &Centre, state: &FolderState, now: Timestamp) -> PackRow {
    let folder = state.folder.display().to_string();
    let none = String::new;
    let brought = match &state.brought {
        Ok(brought) => brought,
        Err(why) => {
            let why = why.clone();
            return PackRow { folder, grade: Grade::Bad, made: none(), covered: none(), complete: none(), why };
        }
    };
    let is_stale = now.0 - brought.as_of.0 > i64::from(centre.config().packs.stale_hours) * 3_600_000;
    let lacking = brought.of.saturating_sub(brought.packs);
    let (grade, why) = match (is_stale, lacking) {
        (true, _) => (Grade::Bad, format!("STALE: older than {} h", centre.config().packs.stale_hours)),
        (false, 0) if brought.of == 0 => (Grade::Worn, "nobody is on treatment".to_owned()),
        (false, 0) => (Grade::Good, none()),
        (false, lacking) => (Grade::Worn, format!("{} without a pack", plural(lacking, "patient"))),
    };
    PackRow {
        folder,
        grade,
        made: format!("{}, {}", clock(brought.as_of, centre.config().utc_offset()), age(now.0 - brought.as_of.0)),
        covered: format!("{} of {}", brought.packs, brought.of),
        complete: brought.complete.to_string(),
        why,
    }
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
                () if is_down || witness.is_some_and(|one| one.contradicts) => Grade::Bad,
                () if lags || is_quiet || alarms > 0 => Grade::Worn,
                () => Grade::Good,
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
                    Some(newest) => format!("{alarms}, the newest from server {}: {}", newest.from, newest.alarm.text),
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
            () if is_down || hidden + overwritten > 0 => Grade::Bad,
            () if lags || state.passed.is_none() => Grade::Worn,
            () => Grade::Good,
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
