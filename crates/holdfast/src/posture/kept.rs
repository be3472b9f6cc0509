//! What is kept, who opens it, who has seen it, and whether it was ever given back.

use edge::console::posture::{Control, Grade, Layer, Severity};
use guard::Role;
use kit::Timestamp;
use vault::Vault;

use super::spec::{DAY_MS, Found, LIVE_MS, Spec, YEAR_MS};
use crate::centre::Centre;
use crate::custodians::{Custodian, PROOF_LIFE_MS};
use crate::proofs::{Proofs, Reading, Restoring};
use crate::say::plural;
use crate::standing::Standing;

const BROKEN: Grade = Grade::Fail(Severity::Broken);
const REDUCED: Grade = Grade::Fail(Severity::Reduced);

/// A month, and some days.
const READ_LASTS_MS: i64 = 35 * DAY_MS;

const LOSABLE: Spec = Spec {
    id: "records.losable",
    layer: Layer::Vault,
    what: "Records",
    owner: Role::ItAdministrator,
    mend: "holdfast scrub",
    lasts_ms: LIVE_MS,
};
const READABLE: Spec = Spec {
    id: "records.readable",
    layer: Layer::Vault,
    what: "Every shard read",
    owner: Role::ItAdministrator,
    mend: "holdfast scrub",
    lasts_ms: READ_LASTS_MS,
};
const INDEPENDENT: Spec = Spec {
    id: "locations.independent",
    layer: Layer::Vault,
    what: "Independence",
    owner: Role::ItAdministrator,
    mend: "holdfast centre plan; [administrators] in holdfast.toml",
    lasts_ms: LIVE_MS,
};
const INDEX: Spec = Spec {
    id: "chart.index",
    layer: Layer::Chart,
    what: "Index",
    owner: Role::ItAdministrator,
    mend: "holdfast scrub",
    lasts_ms: READ_LASTS_MS,
};
const HOLDERS: Spec = Spec {
    id: "keys.holders",
    layer: Layer::Keys,
    what: "Keys",
    owner: Role::ItAdministrator,
    mend: "holdfast holder replace",
    lasts_ms: LIVE_MS,
};
const EPOCH: Spec = Spec {
    id: "keys.epoch",
    layer: Layer::Keys,
    what: "Key epoch",
    owner: Role::SecurityOfficer,
    mend: "holdfast keys turn",
    lasts_ms: LIVE_MS,
};
const WITNESSES: Spec = Spec {
    id: "ledger.witnesses",
    layer: Layer::Ledger,
    what: "Log",
    owner: Role::SecurityOfficer,
    mend: "holdfast centre plan: servers that are machines witness the log",
    lasts_ms: LIVE_MS,
};
const CUSTODIANS: Spec = Spec {
    id: "recovery.custodians",
    layer: Layer::Recovery,
    what: "Custodians",
    owner: Role::SecurityOfficer,
    mend: "holdfast custodian challenge",
    lasts_ms: PROOF_LIFE_MS,
};
const RESTORED: Spec = Spec {
    id: "recovery.restored",
    layer: Layer::Recovery,
    what: "Restore drill",
    owner: Role::ItAdministrator,
    mend: "holdfast recover --into DIR, then holdfast doctor rehearsed DIR",
    lasts_ms: YEAR_MS,
};

pub fn records(standing: &Standing, now: Timestamp) -> Control {
    let (all, shape, left) = (standing.health.locations.len(), standing.health.shape, standing.locations_to_lose());
    let grade = match left {
        _ if !standing.health.writable => BROKEN,
        0 => BROKEN,
        left if left < shape.n() - shape.k() => REDUCED,
        _ => Grade::Pass,
    };
    let writable = if standing.health.writable { "" } else { "; not writable" };
    let what = if standing.buckets.is_empty() { "server" } else { "server or bucket" };
    let state = format!("{} may be lost{writable}", super::more(left, what));
    let evidence = format!(
        "{} of {all} locations are up, any {} give everything back; {} segments wait to be healed",
        standing.health.up,
        shape.k(),
        standing.missing()
    );
    LOSABLE.control(now, Found::new(grade, state, evidence).by(now, "by what the locations take and answer"))
}

/// The newest time that all of it was read and decoded.
pub fn readable(proofs: &Proofs, now: Timestamp) -> Control {
    let Some((at, reading)) = &proofs.read else {
        let evidence = "no scrub, and no verify of a running gateway, stands in the log";
        return READABLE.control(now, Found::new(Grade::Unknown, "never read back", evidence));
    };
    let Reading { segments, damaged, lost, is_sound, .. } = reading;
    let (grade, state) = match (lost, is_sound) {
        (1.., _) => (BROKEN, format!("{lost} of {segments} segments are LOST")),
        (0, false) => (REDUCED, format!("damage at {damaged} places")),
        (0, true) => (Grade::Pass, format!("all of {segments} segments read and decoded, nothing damaged")),
    };
    let evidence = "every shard against its signed hash, every segment decoded; it restores what it read, and says nothing of what came since";
    READABLE.control(now, Found::new(grade, state, evidence).by(*at, by(reading)))
}

fn by(reading: &Reading) -> &'static str {
    if reading.is_scrub { "by holdfast scrub" } else { "by holdfast verify" }
}

pub fn index(proofs: &Proofs, now: Timestamp) -> Control {
    let Some((at, reading)) = &proofs.read else {
        let evidence = "it finds records and proves none: what it names is compared with the log at each read";
        return INDEX.control(now, Found::new(Grade::Unknown, "never compared with the log", evidence));
    };
    let (grade, state) = match reading.index_is_true {
        true => (Grade::Pass, "says what the log says"),
        false => (BROKEN, "differs from the log"),
    };
    INDEX.control(now, Found::new(grade, state, "all of it was compared").by(*at, by(reading)))
}

pub fn keys(centre: &Centre, standing: &Standing, now: Timestamp) -> Control {
    let (up, of, need) = (standing.holders_up(), standing.holders, standing.holders_needed);
    let grade = match standing.holders_to_lose() {
        _ if up < need => BROKEN,
        _ if standing.health.undealt_patients > 0 => REDUCED,
        left if left < of.saturating_sub(need) => REDUCED,
        _ => Grade::Pass,
    };
    let state = format!(
        "{} may be lost before custodians are needed",
        super::more(standing.holders_to_lose().into(), "holder")
    );
    let evidence = format!(
        "{up} of {of} holders answer, {need} open a key; the disks of any {} open nothing{}",
        need.saturating_sub(1),
        match standing.health.undealt_patients {
            0 => String::new(),
            undealt => format!("; the keys of {undealt} patients are dealt to who held them before"),
        }
    );
    let ago = centre.probed_ago().map_or(0, |ago| i64::try_from(ago.as_millis()).unwrap_or(i64::MAX));
    // Within the last minute is now.
    let at = if ago < 60_000 { now } else { now.plus_ms(-ago) };
    HOLDERS.control(now, Found::new(grade, state, evidence).by(at, "by a share that each was asked to open"))
}

/// Whether what the holders could open of erased patients is gone.
pub fn epoch(vault: &Vault, now: Timestamp) -> Control {
    let (epoch, erased) = (vault.key_epoch(), vault.health().erased_patients);
    let (grade, state) = match vault.turning() {
        Some(_) => (REDUCED, format!("epoch {epoch} has begun, and the keys of the one before are not destroyed yet")),
        None => (Grade::Pass, format!("epoch {epoch}")),
    };
    let evidence =
        format!("{erased} patients are erased; those since the last turn (holdfast keys turn) are refused, not gone");
    EPOCH.control(now, Found::new(grade, state, evidence).by(now, "by the record that the log holds"))
}

pub fn witnesses(standing: &Standing, now: Timestamp) -> Control {
    let (quorum, all) = &standing.witnesses;
    let up = standing.witnesses_up();
    let contradicting = all.iter().filter(|one| one.contradicts).count();
    let (grade, state) = match (all.len(), contradicting) {
        (0, _) => (REDUCED, "nobody but this gateway has seen the log".to_owned()),
        (_, 1..) => (BROKEN, format!("{contradicting} witnesses CONTRADICT the log")),
        (of, 0) if up < *quorum => (BROKEN, format!("{up} of {of} cosign: a second history could get as many")),
        (of, 0) if up < of => (REDUCED, format!("{up} of {of} cosign")),
        (of, 0) => (Grade::Pass, format!("all {of} cosign")),
    };
    let size = all.iter().map(|one| one.size).max().unwrap_or(0);
    if all.is_empty() {
        return WITNESSES.control(now, Found::new(grade, state, "servers that are folders witness nothing"));
    }
    let evidence = format!("a quorum is {quorum}; the newest head that was cosigned has {size} entries");
    WITNESSES.control(now, Found::new(grade, state, evidence).by(now, "by their signatures over the head"))
}

pub fn custodians(known: &[Custodian], (needed, of): (u8, u8), now: Timestamp) -> Control {
    let never = known.iter().filter(|one| one.proven.is_none()).count();
    let late: Vec<String> = known
        .iter()
        .filter(|one| one.proven.is_some() && one.is_overdue(now))
        .map(|one| one.number.to_string())
        .collect();
    let shown = known.len() - never - late.len();
    let oldest = known.iter().filter_map(|one| one.proven).min();
    let (grade, state) = match (never, late.is_empty()) {
        (0, true) => (Grade::Pass, format!("all {of} have shown within a year that their shares open")),
        (0, false) => (Grade::Stale, format!("overdue: custodian {}", late.join(", "))),
        (never, _) => (Grade::Unknown, format!("{never} of {of} have never shown that their shares open")),
    };
    let evidence = format!("{shown} have within a year, {needed} open a recovery");
    let found = Found::new(grade, state, evidence);
    let found = match oldest.filter(|_| never == 0) {
        Some(at) => found.by(at, "by the answer of whoever gave hers longest ago"),
        None => found,
    };
    CUSTODIANS.named(format!("Custodians, {needed} of {of}"), now, found)
}

/// Whether it was ever given back from survivors.
pub fn restored(proofs: &Proofs, size: u64, now: Timestamp) -> Control {
    let Some(Restoring { at, is_rehearsal, entries, survivors, patients, unopened, .. }) = &proofs.restored else {
        let evidence = "holdfast drill proves the program, on folders of its own, and nothing of this centre";
        return RESTORED.control(now, Found::new(Grade::Unknown, "never given back", evidence));
    };
    let (grade, state) = match unopened {
        0 => (Grade::Pass, format!("{entries} entries and the keys of {patients} patients were given back")),
        unopened => (BROKEN, format!("the keys of {unopened} patients did not open")),
    };
    let evidence = format!("from {}; the log has {size} entries now", plural(*survivors as usize, "survivor"));
    let by = if *is_rehearsal { "by a rehearsal with this centre's survivors" } else { "by the recovery that made it" };
    RESTORED.control(now, Found::new(grade, state, evidence).by(*at, by))
}

pub fn independence(standing: &Standing, now: Timestamp) -> Control {
    let (domains, needed) = (&standing.domains, standing.health.shape.k());
    let grade = match domains.independent {
        count if count >= domains.locations => Grade::Pass,
        count if count > needed => REDUCED,
        _ => BROKEN,
    };
    let (all, few) = (domains.locations, domains.independent);
    let state = format!("{} are {}", plural(all, "location"), plural(few, "independent domain"));
    let found = Found::new(grade, state, domains.evidence());
    INDEPENDENT.control(now, found.by(now, "by hosts and credentials; who administers is what was said"))
}

#[cfg(test)]
mod tests {
    use kit::Digest;

    use super::*;

    const NOW: Timestamp = Timestamp(1_000 * DAY_MS);

    fn read(days_ago: i64, damaged: u64, lost: u64) -> Proofs {
        let is_sound = damaged == 0 && lost == 0;
        let reading = Reading { is_scrub: true, segments: 9, damaged, lost, is_sound, index_is_true: is_sound };
        Proofs { read: Some((NOW.plus_ms(-days_ago * DAY_MS), reading)), restored: None }
    }

    #[test]
    fn what_was_read_lasts_a_month_and_what_was_never_read_is_unknown() {
        let grades = |proofs: &Proofs| (readable(proofs, NOW).grade, index(proofs, NOW).grade);
        assert_eq!(grades(&Proofs::default()), (Grade::Unknown, Grade::Unknown));
        assert_eq!(grades(&read(35, 0, 0)), (Grade::Pass, Grade::Pass));
        assert_eq!(grades(&read(36, 0, 0)), (Grade::Stale, Grade::Stale));
        assert_eq!(grades(&read(0, 1, 0)), (REDUCED, BROKEN));
        assert_eq!(grades(&read(0, 4, 1)), (BROKEN, BROKEN));
    }

    #[test]
    fn a_restore_drill_lasts_a_year() {
        let grade = |days_ago: i64, unopened| {
            let at = NOW.plus_ms(-days_ago * DAY_MS);
            let root = Digest([0; 32]);
            let (is_rehearsal, entries, survivors, patients) = (true, 7, 3, 2);
            let restoring = Restoring { at, is_rehearsal, entries, root, survivors, patients, unopened };
            restored(&Proofs { read: None, restored: Some(restoring) }, 9, NOW).grade
        };
        assert_eq!(restored(&Proofs::default(), 9, NOW).grade, Grade::Unknown);
        assert_eq!((grade(380, 0), grade(381, 0), grade(0, 1)), (Grade::Pass, Grade::Stale, BROKEN));
    }

    #[test]
    fn a_custodian_who_never_showed_her_share_is_unknown_and_one_long_ago_is_stale() {
        let custodian = |number, days_ago: Option<i64>| {
            let proven = days_ago.map(|days| NOW.plus_ms(-days * DAY_MS));
            let due = proven.unwrap_or(NOW).plus_ms(PROOF_LIFE_MS);
            Custodian { number, recipient: String::new(), proven, due }
        };
        let grade = |a, b| custodians(&[custodian(1, a), custodian(2, b)], (2, 2), NOW).grade;
        assert_eq!(grade(Some(1), Some(300)), Grade::Pass);
        assert_eq!(grade(Some(1), Some(366)), Grade::Stale);
        assert_eq!(grade(Some(1), None), Grade::Unknown);
    }
}
