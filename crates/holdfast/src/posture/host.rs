//! The machine of this gateway: its clock, its disks, and what of certificates runs out.

use std::fs;
use std::path::{Path, PathBuf};

use edge::console::posture::{Control, Grade, Layer, Severity};
use guard::Role;
use holder::wire::Status;
use keys::PROOF_WINDOW_MS;
use kit::{Id16, Timestamp, UtcOffset};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

use super::clock as moment;
use super::spec::{DAY_MS, Found, LIVE_MS, Spec};
use crate::centre::Centre;
use crate::say::plural;
use crate::signers::Signers;

const BROKEN: Grade = Grade::Fail(Severity::Broken);
const REDUCED: Grade = Grade::Fail(Severity::Reduced);

/// A quarter of the time by which holders take a signature of another clock.
const CLOCK_OFF_MS_MAX: i64 = PROOF_WINDOW_MS / 4;
/// Below so much of a disk nothing that is written is sure to end.
const FREE_PERCENT_BROKEN: u64 = 2;
/// A holder says how many bytes it has free, not of how many. It keeps 1 GiB free, and refuses what would go there.
const HOLDER_FREE_MIN: u64 = 5 * GIB;
const GIB: u64 = 1024 * 1024 * 1024;
/// Somebody has to make another one before.
const ENDS_SOON_MS: i64 = 14 * DAY_MS;
/// What lives shorter is a sign-in: it is meant to end.
const STANDING_LIFE_MS: i64 = 7 * DAY_MS;
/// An expired one is told of for so long: beyond, nobody has missed it.
const EXPIRED_TOLD_MS: i64 = 30 * DAY_MS;

const CLOCK: Spec = Spec {
    id: "host.clock",
    layer: Layer::Host,
    what: "Clock",
    owner: Role::ItAdministrator,
    mend: "timedatectl set-ntp true",
    lasts_ms: LIVE_MS,
};
const DISK: Spec = Spec {
    id: "host.disk",
    layer: Layer::Host,
    what: "Disk",
    owner: Role::ItAdministrator,
    mend: "df -h; df -i; holdfast centre grow",
    lasts_ms: LIVE_MS,
};
const CERTIFICATES: Spec = Spec {
    id: "host.certificates",
    layer: Layer::Host,
    what: "Certificates",
    owner: Role::ItAdministrator,
    mend: "holdfast certificate list; holdfast token new --officer-key FILE",
    lasts_ms: LIVE_MS,
};

pub fn clock(centre: &Centre, now: Timestamp) -> Control {
    clock_of(&centre.fleet().map(|fleet| fleet.clocks()).unwrap_or_default(), now)
}

/// By how much each server's clock is ahead, where it answered.
fn clock_of(clocks: &[(u8, Option<i64>)], now: Timestamp) -> Control {
    if clocks.is_empty() {
        let evidence = "the servers are folders of this machine, and have no clocks of their own";
        return CLOCK.control(now, Found::new(Grade::Unknown, "no other clock was asked", evidence));
    }
    let mut ahead: Vec<i64> = clocks.iter().filter_map(|(_, ahead)| *ahead).collect();
    ahead.sort_unstable();
    let (of, answered) = (clocks.len(), ahead.len());
    let Some(middle) = ahead.get(answered / 2).copied().filter(|_| answered * 2 > of) else {
        let state = format!("{answered} of {of} servers say what time it is");
        return CLOCK.control(now, Found::new(Grade::Unknown, state, "more than half of them have to"));
    };
    let off = |ahead: i64| (ahead - middle).abs() > CLOCK_OFF_MS_MAX;
    let strays = clocks.iter().filter(|(_, ahead)| ahead.is_some_and(off));
    let strays: Vec<String> = strays.map(|(number, _)| crate::site::location_id(*number)).collect();
    let (grade, state) = match middle.abs() {
        PROOF_WINDOW_MS.. => (BROKEN, format!("{} off what most servers say", seconds(middle))),
        apart if apart > CLOCK_OFF_MS_MAX => (REDUCED, format!("{} off what most servers say", seconds(middle))),
        _ if !strays.is_empty() => (REDUCED, format!("off at {}", strays.join(", "))),
        _ => (Grade::Pass, format!("within {} of what most servers say", seconds(middle))),
    };
    let evidence = format!(
        "at most {}; holders take no signature that is {} off",
        seconds(CLOCK_OFF_MS_MAX),
        seconds(PROOF_WINDOW_MS)
    );
    let found = Found::new(grade, state, evidence);
    CLOCK.control(now, found.by(now, format!("by the clocks of {answered} of {of} servers")))
}

/// To a tenth.
fn seconds(ms: i64) -> String {
    let tenths = ms.unsigned_abs().div_ceil(100);
    format!("{}.{} s", tenths / 10, tenths % 10)
}

/// What a file system has.
#[derive(Clone, Copy, Debug)]
struct Room {
    free_bytes: u64,
    bytes: u64,
    free_inodes: u64,
    /// Nought where the file system makes them as they are needed.
    inodes: u64,
}

impl Room {
    fn of(place: &Path) -> Result<Self, String> {
        let stat = rustix::fs::statvfs(place).map_err(|error| error.to_string())?;
        Ok(Self {
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            free_inodes: stat.f_favail,
            inodes: stat.f_files,
        })
    }

    /// Of bytes, and of inodes.
    fn free_percent(self) -> (u64, u64) {
        let percent = |free: u64, of: u64| u128::from(free) * 100 / u128::from(of.max(1));
        let inodes = if self.inodes == 0 { 100 } else { percent(self.free_inodes, self.inodes) };
        (percent(self.free_bytes, self.bytes) as u64, inodes as u64)
    }
}

/// A disk, and what of this centre stands on it.
struct Disk {
    names: Vec<String>,
    room: Result<Room, String>,
}

pub fn disk(centre: &Centre, now: Timestamp) -> Control {
    let folders = centre.folders().unwrap_or_default();
    let named = (1..).zip(folders).map(|(number, folder)| (crate::site::location_id(number), folder));
    let places = std::iter::once(("gateway".to_owned(), centre.data().to_owned())).chain(named);
    disk_of(&disks(places), &centre.statuses(), centre.config().doctor.disk_free_percent_min.into(), now)
}

/// Folders of one disk together.
fn disks(places: impl Iterator<Item = (String, PathBuf)>) -> Vec<Disk> {
    use std::os::unix::fs::MetadataExt as _;
    let mut disks: Vec<(Option<u64>, Disk)> = Vec::new();
    for (name, place) in places {
        let device = fs::metadata(&place).ok().map(|found| found.dev());
        match disks.iter_mut().find(|(known, _)| known.is_some() && *known == device) {
            Some((_, disk)) => disk.names.push(name),
            None => disks.push((device, Disk { names: vec![name], room: Room::of(&place) })),
        }
    }
    disks.into_iter().map(|(_, disk)| disk).collect()
}

fn disk_of(disks: &[Disk], statuses: &[(u8, Result<Status, String>)], min: u64, now: Timestamp) -> Control {
    let (mut grade, mut low, mut evidence) = (Grade::Pass, Vec::new(), Vec::new());
    let mut worse = |found: Grade| {
        let rank = |grade: Grade| match grade {
            Grade::Pass | Grade::Stale => 0,
            Grade::Unknown => 1,
            Grade::Fail(Severity::Reduced) => 2,
            Grade::Fail(Severity::Broken) => 3,
        };
        if rank(found) > rank(grade) {
            grade = found;
        }
    };
    for Disk { names, room } in disks {
        let name = match names.as_slice() {
            [first, .., last] => format!("{first} to {last}"),
            names => names.concat(),
        };
        match room {
            Err(why) => {
                worse(Grade::Unknown);
                low.push(format!("{name} can't be looked at"));
                evidence.push(format!("{name}: {why}"));
            }
            Ok(room) => {
                let (bytes, inodes) = room.free_percent();
                let least = bytes.min(inodes);
                match least {
                    _ if least < FREE_PERCENT_BROKEN => worse(BROKEN),
                    _ if least < min => worse(REDUCED),
                    _ => {}
                }
                if least < min.max(FREE_PERCENT_BROKEN) {
                    let what = if bytes <= inodes { "of its bytes" } else { "of its inodes" };
                    low.push(format!("{name} has {least} % {what} free"));
                }
                evidence.push(format!("{name}: {} GiB ({bytes} %) and {inodes} % of inodes", room.free_bytes / GIB));
            }
        }
    }
    for (number, status) in statuses {
        let name = crate::site::location_id(*number);
        match status {
            Err(_) => {
                worse(Grade::Unknown);
                low.push(format!("{name} doesn't say"));
            }
            Ok(status) if status.free_bytes < HOLDER_FREE_MIN => {
                worse(REDUCED);
                low.push(format!("{name} has {} GiB free", status.free_bytes / GIB));
            }
            Ok(_) => {}
        }
    }
    if let Some(least) = statuses.iter().filter_map(|(_, status)| status.as_ref().ok()).map(|one| one.free_bytes).min()
    {
        let bound = HOLDER_FREE_MIN / GIB;
        evidence.push(format!("{} GiB at the fullest server, at least {bound}", least / GIB));
    }
    let state = if low.is_empty() { "nothing is nearly full".to_owned() } else { low.join("; ") };
    let evidence = format!("free: {}; at least {min} %", evidence.join("; "));
    DISK.control(now, Found::new(grade, state, evidence).by(now, "by what the file systems say"))
}

/// Something that ends.
struct Ends {
    what: String,
    at: Timestamp,
    /// What stands still then.
    severity: Severity,
}

pub fn certificates(centre: &Centre, now: Timestamp) -> Control {
    let offset = centre.config().utc_offset();
    let (mut all, mut unread) = (Vec::new(), Vec::new());
    let audit = &centre.config().audit;
    for (what, file) in [("the SIEM's CA", &audit.ca), ("this gateway's for the SIEM", &audit.certificate)] {
        let Some(file) = file else { continue };
        match end_of(&centre.data().join(file)) {
            Ok(at) => all.push(Ends { what: what.to_owned(), at, severity: Severity::Broken }),
            Err(why) => unread.push(format!("{what}: {why}")),
        }
    }
    if let Some(signers) = centre.signers() {
        let (what, at) = ("the officer's word for this gateway".to_owned(), signers.delegate_ends());
        all.push(Ends { what, at, severity: Severity::Broken });
        let ended = centre.fleet().map(|fleet| fleet.members().ended).unwrap_or_default();
        all.extend(standing(signers, &ended, now));
    }
    certificates_of(all, &unread, centre.fleet().is_some(), offset, now)
}

/// The last that each person or machine has, but for those that are ended or long over. Nobody is named: the page is everybody's.
fn standing(signers: &Signers, ended: &[Id16], now: Timestamp) -> Vec<Ends> {
    let mut last = std::collections::BTreeMap::new();
    for one in signers.certificates() {
        let is_standing = one.expires.0.saturating_sub(one.not_before.0) > STANDING_LIFE_MS;
        if is_standing && !ended.contains(&one.serial) && one.expires.plus_ms(EXPIRED_TOLD_MS) > now {
            let end = last.entry(one.subject).or_insert(one.expires);
            *end = one.expires.max(*end);
        }
    }
    let ends = |at| Ends { what: "a person's or machine's".to_owned(), at, severity: Severity::Reduced };
    last.into_values().map(ends).collect()
}

fn certificates_of(
    mut all: Vec<Ends>,
    unread: &[String],
    is_fleet: bool,
    offset: UtcOffset,
    now: Timestamp,
) -> Control {
    all.sort_by_key(|one| one.at);
    let expired: Vec<&Ends> = all.iter().filter(|one| one.at <= now).collect();
    let soon = all.iter().filter(|one| one.at > now && one.at <= now.plus_ms(ENDS_SOON_MS)).count();
    let is_broken = expired.iter().any(|one| one.severity == Severity::Broken);
    let (grade, state) = match (expired.first(), all.first()) {
        (Some(first), _) => {
            let grade = if is_broken { BROKEN } else { REDUCED };
            // The one that matters most.
            let first = expired.iter().find(|one| one.severity == Severity::Broken).unwrap_or(first);
            (grade, format!("{} expired; {} at {}", expired.len(), first.what, moment(first.at, offset)))
        }
        _ if !unread.is_empty() => (Grade::Unknown, "some can't be read".to_owned()),
        (None, Some(first)) if soon > 0 => {
            (REDUCED, format!("{soon} end within 14 days; {} in {}", first.what, plural(days(first.at, now), "day")))
        }
        (None, Some(first)) => {
            (Grade::Pass, format!("the first one to end, {}, has {}", first.what, plural(days(first.at, now), "day")))
        }
        (None, None) => (Grade::Pass, "none is in use".to_owned()),
    };
    let machines = match is_fleet {
        true => "; servers know each other by their keys' hashes, which don't end",
        false => "; the servers are folders and have none",
    };
    let unread = unread.iter().map(|one| format!("; {one}")).collect::<String>();
    let evidence =
        format!("{} looked at{unread}{machines}; that of a TLS proxy before the gateway is not seen", all.len());
    CERTIFICATES.control(now, Found::new(grade, state, evidence).by(now, "by the dates in them"))
}

fn days(end: Timestamp, now: Timestamp) -> usize {
    usize::try_from((end.0 - now.0) / DAY_MS).unwrap_or(0)
}

/// Of the certificates of a PEM file, the first end.
fn end_of(file: &Path) -> Result<Timestamp, String> {
    let wrong = |why: &dyn std::fmt::Display| format!("{}: {why}", file.display());
    let found = CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))?;
    let mut first = None;
    for der in found {
        let der = der.map_err(|e| wrong(&e))?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(|e| wrong(&e))?;
        let end = Timestamp(certificate.validity().not_after.timestamp().saturating_mul(1_000));
        first = Some(first.map_or(end, |first: Timestamp| first.min(end)));
    }
    first.ok_or_else(|| wrong(&"no certificate is in it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000 * DAY_MS);

    #[test]
    fn a_clock_that_nobody_was_asked_of_is_unknown() {
        let grade = |clocks: &[Option<i64>]| {
            let clocks: Vec<(u8, Option<i64>)> = (1..).zip(clocks.iter().copied()).collect();
            clock_of(&clocks, NOW).grade
        };
        assert_eq!(grade(&[]), Grade::Unknown);
        assert_eq!(grade(&[None, None, Some(0)]), Grade::Unknown, "one of three is no majority");
        assert_eq!(grade(&[Some(-900), Some(20), None]), Grade::Pass);
        assert_eq!(grade(&[Some(0), Some(0), Some(31_000)]), REDUCED, "one server's is wrong");
        assert_eq!(grade(&[Some(31_000), Some(31_000), Some(0)]), REDUCED, "this gateway's is");
        assert_eq!(grade(&[Some(-120_000), Some(-120_000), Some(-119_000)]), BROKEN);
    }

    #[test]
    fn a_disk_that_fills_is_said_before_it_is_full() {
        let of = |percent: u64, inodes: u64| {
            let room = Room { free_bytes: percent * GIB, bytes: 100 * GIB, free_inodes: inodes, inodes: 100 };
            disk_of(&[Disk { names: vec!["gateway".into()], room: Ok(room) }], &[], 10, NOW)
        };
        assert_eq!((of(10, 10).grade, of(9, 50).grade, of(1, 50).grade), (Grade::Pass, REDUCED, BROKEN));
        assert_eq!((of(50, 9).grade, of(50, 1).grade), (REDUCED, BROKEN));
        let control = of(50, 9);
        assert!(
            control.state.contains("9 % of its inodes") && control.evidence.contains("at least 10 %"),
            "{control:?}"
        );
        // Some file systems make inodes as they are needed.
        let room = Room { free_bytes: GIB, bytes: 2 * GIB, free_inodes: 0, inodes: 0 };
        assert_eq!(disk_of(&[Disk { names: vec!["x".into()], room: Ok(room) }], &[], 10, NOW).grade, Grade::Pass);
        let gone = Disk { names: vec!["server-01".into()], room: Err("gone".into()) };
        assert_eq!(disk_of(&[gone], &[], 10, NOW).grade, Grade::Unknown);
    }

    #[test]
    fn a_server_that_is_full_or_silent_is_said() {
        let status = |gib: u64| Ok(Status { free_bytes: gib * GIB, ..Status::default() });
        let grade = |second: Result<Status, String>| disk_of(&[], &[(1, status(90)), (2, second)], 10, NOW).grade;
        assert_eq!(grade(status(5)), Grade::Pass);
        assert_eq!(grade(status(4)), REDUCED);
        assert_eq!(grade(Err("no answer".into())), Grade::Unknown);
    }

    #[test]
    fn what_ends_is_said_before_it_does() {
        let of = |days: i64, severity| {
            let ends = Ends { what: "one".into(), at: NOW.plus_ms(days * DAY_MS), severity };
            certificates_of(vec![ends], &[], false, UtcOffset::default(), NOW).grade
        };
        assert_eq!(of(15, Severity::Broken), Grade::Pass);
        assert_eq!(of(14, Severity::Broken), REDUCED);
        assert_eq!((of(0, Severity::Broken), of(-1, Severity::Reduced)), (BROKEN, REDUCED));
        let unread = certificates_of(Vec::new(), &["x".into()], false, UtcOffset::default(), NOW);
        assert_eq!(unread.grade, Grade::Unknown);
    }
}
