//! What connects, who signs, what is on the wards, and who else has the account.

use std::net::{IpAddr, SocketAddr};

use edge::console::posture::{Control, Grade, Layer, Severity};
use guard::Role;
use kit::{Fault, Timestamp};
use treatment::SignerRole;

use super::spec::{Found, HOUR_MS, LIVE_MS, Spec, YEAR_MS};
use super::{age, clock};
use crate::centre::{Centre, Listening};
use crate::config::{Config, Peer};
use crate::packs::{self, Brought};
use crate::say::plural;
use crate::siem::Progress;

const BROKEN: Grade = Grade::Fail(Severity::Broken);
const REDUCED: Grade = Grade::Fail(Severity::Reduced);

/// Entries that a SIEM may be behind: some seconds of a busy morning.
const BEHIND_MAX: u64 = 2_000;
/// Weak peers that are named.
const NAMED_MAX: usize = 6;
/// A longer prefix is one subnet of machines.
const PREFIX_WIDE: (u8, u8) = (24, 64);

const HTTP: Spec = Spec {
    id: "edge.http",
    layer: Layer::Edge,
    what: "Pages and FHIR",
    owner: Role::ItAdministrator,
    mend: "[http] listen on loopback, a TLS proxy before it, its name in public_url",
    lasts_ms: LIVE_MS,
};
const DEVICES: Spec = Spec {
    id: "edge.devices",
    layer: Layer::Edge,
    what: "Devices",
    owner: Role::ItAdministrator,
    mend: "[[dimse.peers]] in holdfast.toml: one AE title and one address each",
    lasts_ms: LIVE_MS,
};
const SIGNERS: Spec = Spec {
    id: "treatment.signers",
    layer: Layer::Treatment,
    what: "Signers",
    owner: Role::Physicist,
    mend: "holdfast person new",
    lasts_ms: LIVE_MS,
};
const RULES: Spec = Spec {
    id: "treatment.rules",
    layer: Layer::Treatment,
    what: "Rules for interruptions",
    owner: Role::Physicist,
    mend: "holdfast rules form, sign",
    // A physicist looks at them again once a year.
    lasts_ms: YEAR_MS,
};
const PACKS: Spec = Spec {
    id: "wards.packs",
    layer: Layer::Wards,
    what: "Downtime packs",
    owner: Role::ItAdministrator,
    mend: "holdfast pack make",
    lasts_ms: 7 * 24 * HOUR_MS,
};
const ACCOUNT: Spec = Spec {
    id: "account.siem",
    layer: Layer::Account,
    what: "Account",
    owner: Role::SecurityOfficer,
    mend: "[audit] in holdfast.toml",
    lasts_ms: LIVE_MS,
};

pub fn http(centre: &Centre, now: Timestamp) -> Control {
    http_of(centre.listening(), centre.config(), now)
}

/// Whether pages, FHIR or numbers leave this machine in the clear.
fn http_of(listening: Option<Listening>, config: &Config, now: Timestamp) -> Control {
    let Some(Listening { http, operations, .. }) = listening else {
        return HTTP.control(now, Found::new(Grade::Unknown, "no gateway runs here", "nothing listens"));
    };
    let is_open = |at: SocketAddr| !at.ip().is_loopback();
    let has_tls = config.http.public_url.as_deref().is_some_and(|url| url.starts_with("https://"));
    let (grade, state) = match (is_open(http), is_open(operations)) {
        (true, _) if !has_tls => (BROKEN, format!("{http} takes sign-ins from other machines without TLS")),
        (true, _) => (REDUCED, format!("{http} is open to other machines beside the TLS proxy")),
        (false, true) => (REDUCED, format!("{operations} gives health and numbers to other machines without TLS")),
        (false, false) => (Grade::Pass, "nothing in the clear beyond this machine".to_owned()),
    };
    let before = config.http.public_url.as_deref().unwrap_or("nothing is before it");
    let evidence = format!("listens at {http}, {operations}; {before}");
    HTTP.control(now, Found::new(grade, state, evidence).by(now, "by the addresses it listens at"))
}

pub fn devices(centre: &Centre, now: Timestamp) -> Control {
    devices_of(centre.listening(), centre.config(), now)
}

/// How little a caller has to know to count as a device: DICOM here has no TLS, a title and an address are no secrets.
fn devices_of(listening: Option<Listening>, config: &Config, now: Timestamp) -> Control {
    let dimse = listening.map_or(config.dimse.listen, |at| at.dimse);
    let peers = &config.dimse.peers;
    let mut grade = Grade::Pass;
    let mut weak = Vec::new();
    for peer in peers {
        let Some((found, why)) = weakness(peer, dimse.ip()) else { continue };
        weak.push(format!("{} from {}: {why}", peer.title, peer.network));
        if grade == Grade::Pass || found == Severity::Broken {
            grade = Grade::Fail(found);
        }
    }
    let folders = config.gate_folders.iter();
    weak.extend(folders.map(|one| format!("{} by a folder: whoever may write there is it", one.title)));
    if !weak.is_empty() && grade == Grade::Pass {
        grade = REDUCED;
    }
    let of = peers.len() + config.gate_folders.len();
    let state = match weak.len() {
        0 => format!("none of {of} is weak"),
        count => format!("{count} of {of} {} weak", if count == 1 { "is" } else { "are" }),
    };
    let more = weak.len().saturating_sub(NAMED_MAX);
    weak.truncate(NAMED_MAX);
    if more > 0 {
        weak.push(format!("and {more} more"));
    }
    let evidence = if weak.is_empty() { format!("DICOM listens at {dimse}") } else { weak.join("; ") };
    DEVICES.control(now, Found::new(grade, state, evidence).by(now, "by who is let in at this start"))
}

fn weakness(peer: &Peer, listens: IpAddr) -> Option<(Severity, &'static str)> {
    let (address, prefix) = match peer.network.split_once('/') {
        Some((address, prefix)) => (address, prefix.parse().ok()),
        None => (peer.network.as_str(), None),
    };
    let address: Option<IpAddr> = address.parse().ok();
    // Whoever is beyond can't come where only loopback listens.
    let is_near = listens.is_loopback() || address.is_some_and(|address| address.is_loopback());
    let wide = if address.is_some_and(|address| address.is_ipv6()) { PREFIX_WIDE.1 } else { PREFIX_WIDE.0 };
    let is_wide = prefix.is_some_and(|prefix: u8| prefix < wide);
    match (is_near, peer.title == "*", is_wide) {
        (false, true, _) => Some((Severity::Broken, "any AE title, without TLS")),
        (false, false, true) => Some((Severity::Broken, "any of many addresses, without TLS")),
        (false, false, false) => Some((Severity::Reduced, "without TLS")),
        (true, true, _) => Some((Severity::Reduced, "any program of this machine, by any AE title")),
        (true, false, _) => None,
    }
}

/// Whether two people could sign a plan at all.
pub fn signers(centre: &Centre, now: Timestamp) -> Result<Control, Fault> {
    let people = centre.treatment().people()?;
    let living: Vec<(SignerRole, Timestamp)> = people
        .all()
        .filter(|person| person.ended.is_none())
        .map(|person| (person.enrolment.role, person.enrolment.at))
        .collect();
    let count = |role| living.iter().filter(|(one, _)| *one == role).count();
    let (oncologists, physicists) = (count(SignerRole::Oncologist), count(SignerRole::Physicist));
    let grade = match oncologists.min(physicists) {
        0 => BROKEN,
        1 => REDUCED,
        _ => Grade::Pass,
    };
    let state = format!("{} and {}", plural(oncologists, "oncologist"), plural(physicists, "physicist"));
    let evidence =
        "a plan is released by the signatures of one of each; with one alone, nobody signs while she is away";
    Ok(SIGNERS.control(now, Found::new(grade, state, evidence).by(now, "by the keys that count in the log")))
}

pub fn rules(centre: &Centre, now: Timestamp) -> Result<Control, Fault> {
    let (_, in_force) = centre.treatment().rules()?;
    let found = match (in_force.digest, in_force.at) {
        (Some(digest), Some(at)) => {
            let digest = digest.to_string();
            let evidence = format!("SHA-256 {}…", digest.get(..16).unwrap_or_default());
            Found::new(Grade::Pass, "signed by a physicist", evidence).by(at, "by her signature")
        }
        _ => Found::new(
            REDUCED,
            "figures of common use: no physicist has signed any",
            "tissues, days of treatment, machines",
        ),
    };
    Ok(RULES.control(now, found))
}

/// How much of the treatment list is on the wards, and since when: by what stands in the folders.
pub fn downtime_packs(centre: &Centre, states: &[packs::FolderState], now: Timestamp) -> Control {
    let stale_ms = i64::from(centre.config().packs.stale_hours) * HOUR_MS;
    let is_stale = |brought: &Brought| now.0 - brought.as_of.0 > stale_ms;
    if !packs::are_wanted(centre) {
        let how = "holdfast pack key and holdfast pack prepare, then [packs] in holdfast.toml";
        return PACKS.control(now, Found::new(BROKEN, "none are made: without servers, nobody knows the plans", how));
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
    let Some(newest) = brought.iter().max_by_key(|one| one.as_of) else {
        return PACKS.control(now, Found::new(BROKEN, "none were brought anywhere yet", evidence));
    };
    let covered = format!("{} of {} patients", newest.packs, newest.of);
    let (grade, state) = match fresh {
        0 => (Grade::Stale, format!("STALE: {}", age(now.0 - newest.as_of.0))),
        // Nobody is on treatment, or nobody was found.
        _ if newest.of == 0 => (Grade::Unknown, format!("{covered}: nobody is on treatment")),
        fresh => {
            let grade = if fresh == states.len() && is_whole { Grade::Pass } else { REDUCED };
            (grade, format!("{covered}, in {fresh} of {}", plural(states.len(), "folder")))
        }
    };
    PACKS.control(now, Found::new(grade, state, evidence).by(newest.as_of, "by what stands in the folders"))
}

/// Whether somebody else has the account, too.
pub fn account(centre: &Centre, now: Timestamp) -> Control {
    let is_named = centre.config().audit.syslog.is_some();
    if is_named && centre.listening().is_none() {
        let evidence = "the gateway sends it while it runs";
        return ACCOUNT.control(now, Found::new(Grade::Unknown, "no gateway runs here", evidence));
    }
    account_of(&centre.siem().progress(), centre.chart().vault().size(), now)
}

fn account_of(progress: &Progress, size: u64, now: Timestamp) -> Control {
    let behind = size.saturating_sub(progress.next);
    let (grade, state) = match (&progress.to, &progress.trouble) {
        (None, _) => (REDUCED, "it is sent to nobody: [audit] in holdfast.toml names a SIEM".to_owned()),
        (Some(_), Some(why)) => (BROKEN, format!("the SIEM doesn't take it: {why}")),
        (Some(_), None) if !progress.is_connected => (Grade::Unknown, "the SIEM is being called".to_owned()),
        (Some(_), None) if behind > BEHIND_MAX => (REDUCED, "sent to the SIEM, which is slow".to_owned()),
        (Some(_), None) => (Grade::Pass, "sent to the SIEM".to_owned()),
    };
    let Some(to) = &progress.to else {
        let evidence = "who saw what is in the ledger: GET /fhir/AuditEvent, holdfast access";
        return ACCOUNT.control(now, Found::new(grade, state, evidence));
    };
    let evidence = format!("{to}: up to entry {} of {size}, {behind} wait", progress.next);
    let found = Found::new(grade, state, evidence);
    let found = if progress.is_connected { found.by(now, "by the connection, which lives") } else { found };
    ACCOUNT.control(now, found)
}

/// One folder of packs, for the table below.
pub fn pack_row(centre: &Centre, state: &packs::FolderState, now: Timestamp) -> edge::console::posture::PackRow {
    let folder = state.folder.display().to_string();
    let none = String::new;
    let brought = match &state.brought {
        Ok(brought) => brought,
        Err(why) => {
            let (why, made, covered, complete) = (why.clone(), none(), none(), none());
            return edge::console::posture::PackRow { folder, grade: BROKEN, made, covered, complete, why };
        }
    };
    let is_stale = now.0 - brought.as_of.0 > i64::from(centre.config().packs.stale_hours) * HOUR_MS;
    let lacking = brought.of.saturating_sub(brought.packs);
    let (grade, why) = match (is_stale, lacking) {
        (true, _) => (Grade::Stale, format!("STALE: older than {} h", centre.config().packs.stale_hours)),
        (false, 0) if brought.of == 0 => (Grade::Unknown, "nobody is on treatment".to_owned()),
        (false, 0) => (Grade::Pass, none()),
        (false, lacking) => (REDUCED, format!("{} without a pack", plural(lacking, "patient"))),
    };
    edge::console::posture::PackRow {
        folder,
        grade,
        made: format!("{}, {}", clock(brought.as_of, centre.config().utc_offset()), age(now.0 - brought.as_of.0)),
        covered: format!("{} of {}", brought.packs, brought.of),
        complete: brought.complete.to_string(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(http: &str, operations: &str, dimse: &str) -> Option<Listening> {
        let address = |text: &str| text.parse().unwrap();
        Some(Listening { http: address(http), operations: address(operations), dimse: address(dimse) })
    }

    #[test]
    fn what_is_in_the_clear_beyond_this_machine_is_said() {
        let grade = |http: &str, operations: &str, url: Option<&str>| {
            let mut config = Config::new(1);
            config.http.public_url = url.map(str::to_owned);
            http_of(at(http, operations, "127.0.0.1:1"), &config, Timestamp(0)).grade
        };
        let (near, far) = ("127.0.0.1:8080", "10.0.0.1:8080");
        assert_eq!(grade(near, near, None), Grade::Pass);
        assert_eq!(grade(far, near, None), BROKEN);
        assert_eq!(grade(far, near, Some("http://a.example")), BROKEN);
        assert_eq!(grade(far, near, Some("https://a.example")), REDUCED);
        assert_eq!(grade(near, "0.0.0.0:8081", None), REDUCED);
        assert_eq!(http_of(None, &Config::new(1), Timestamp(0)).grade, Grade::Unknown);
    }

    #[test]
    fn a_peer_without_tls_is_weak_and_one_that_may_be_anybody_weaker() {
        let grade = |title: &str, network: &str, listens: &str| {
            let mut config = Config::new(1);
            let (title, network) = (title.to_owned(), network.to_owned());
            config.dimse.peers = vec![Peer { title, network, machine: None, events: None }];
            devices_of(at("127.0.0.1:1", "127.0.0.1:1", listens), &config, Timestamp(0)).grade
        };
        let all = "0.0.0.0:104";
        assert_eq!(grade("LINAC1", "10.1.2.3", all), REDUCED);
        assert_eq!(grade("LINAC1", "10.1.2.0/24", all), REDUCED);
        assert_eq!(grade("LINAC1", "10.1.0.0/16", all), BROKEN);
        assert_eq!(grade("*", "10.1.2.3", all), BROKEN);
        assert_eq!(grade("LINAC1", "0.0.0.0/0", all), BROKEN);
        assert_eq!(grade("LINAC1", "10.1.2.3", "127.0.0.1:104"), Grade::Pass, "nobody comes from there");
        assert_eq!(grade("*", "127.0.0.0/8", all), REDUCED);
        assert_eq!(grade("LINAC1", "127.0.0.1", all), Grade::Pass);
        assert_eq!(grade("LINAC1", "fd00::/32", all), BROKEN);
    }

    #[test]
    fn a_siem_that_is_away_or_behind_is_said() {
        let grade = |to: bool, trouble: bool, is_connected, next| {
            let (to, trouble) = (to.then(|| "tls://s:1".to_owned()), trouble.then(|| "gone".to_owned()));
            account_of(&Progress { to, next, trouble, is_connected }, 5_000, Timestamp(0)).grade
        };
        assert_eq!(grade(false, false, false, 0), REDUCED);
        assert_eq!(grade(true, true, false, 5_000), BROKEN);
        assert_eq!(grade(true, false, false, 5_000), Grade::Unknown);
        assert_eq!(grade(true, false, true, 2_999), REDUCED);
        assert_eq!(grade(true, false, true, 5_000), Grade::Pass);
    }
}
