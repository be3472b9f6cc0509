//! What a recovery opens first.

use std::collections::BTreeSet;
use std::sync::Arc;

use vault::location::Location;
use vault::{Scope, Vault, VaultError};

use crate::centre::{Centre, noise, parcel};

fn looked(centre: &Centre, survivors: &[Arc<dyn Location>], name: &str) -> Result<Option<Vault>, VaultError> {
    let (clock, entropy) = (centre.clock.clone(), centre.entropy.clone());
    vault::first_look(survivors, centre.recovery_key(), None, centre.dir.path().join(name), clock, entropy)
}

fn keep(centre: &Centre, vault: &Vault, patient: kit::PatientId, payload: Vec<u8>) -> (u64, Vec<u8>) {
    let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]);
    (vault.keep(group).unwrap()[0].index, payload)
}

fn gives(vault: &Vault, (index, payload): &(u64, Vec<u8>)) -> bool {
    *vault.fetch(*index, "dr-a", "treatment").unwrap().1 == *payload
}

#[test]
fn what_is_named_and_what_was_written_since_opens_and_nothing_else() {
    let mut centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let patients: Vec<_> = (0..40).map(|_| centre.patient(&vault)).collect();
    // One of them takes several segments.
    let size = |n: usize| if n == 21 { 9 << 20 } else { 5_000 };
    let kept: Vec<_> =
        patients.iter().enumerate().map(|(n, one)| keep(&centre, &vault, *one, noise(size(n), n as u64))).collect();
    vault.erase(patients[7], None, centre.operation()).unwrap();
    assert!(looked(&centre, &centre.given()[..2], "none").unwrap().is_none(), "there is no roster yet");

    let named = [3, 7, 21, 39];
    let entries: BTreeSet<u64> = named.iter().map(|at: &usize| kept[*at].0).collect();
    let of_named: BTreeSet<_> = named.iter().map(|at| patients[*at]).collect();
    // An older one that names others is none any more.
    vault.keep_roster(vault.size(), &BTreeSet::from([kept[0].0]), &BTreeSet::from([patients[0]]), "test").unwrap();
    let since = vault.size();
    // Written while it was put together: before the roster, and not named by it.
    let meanwhile = keep(&centre, &vault, patients[3], noise(3_000, 100));
    vault.keep_roster(since, &entries, &of_named, "test").unwrap();
    drop(vault);
    // Another writer, another term.
    centre.restart();
    let vault = centre.open().unwrap();
    let later = keep(&centre, &vault, patients[39], noise(7 << 20, 101));
    let of_another = keep(&centre, &vault, patients[0], noise(100, 102));
    let new = centre.patient(&vault);
    let of_new = keep(&centre, &vault, new, noise(100, 103));
    vault.erase(patients[21], None, centre.operation()).unwrap();
    let size = vault.size();
    drop(vault);

    let seen = looked(&centre, &centre.given()[3..], "look").unwrap().unwrap();
    let look = seen.first_look().unwrap();
    assert_eq!((look.since, look.log, seen.size()), (since, size, size));
    assert_eq!(look.reader, "test");
    for at in [3, 39] {
        assert!(gives(&seen, &kept[at]), "{at}");
    }
    for one in [&meanwhile, &later, &of_new] {
        assert!(gives(&seen, one));
    }
    // Erased before it, and after it.
    for at in [7, 21] {
        assert!(seen.is_erased(patients[at]));
        assert!(matches!(seen.fetch(kept[at].0, "dr-a", "treatment"), Err(VaultError::Erased)), "{at}");
    }
    // What was written since is here, but her key is not.
    assert!(!seen.is_registered(patients[0]) && seen.entry(of_another.0).is_ok());
    assert!(matches!(seen.fetch(of_another.0, "dr-a", "treatment"), Err(VaultError::UnknownPatient)));
    for at in [0, 2, 22] {
        assert!(matches!(seen.entry(kept[at].0), Err(VaultError::NoSuchEntry { .. })), "{at}");
    }
    let mut scanned = Vec::new();
    let end = seen.scan(0, &mut |entry| {
        let is_named = entries.contains(&entry.index) || entry.kind.starts_with("vault.");
        assert!(is_named || entry.index >= since, "{}", entry.index);
        scanned.push(entry.index);
        Ok(())
    });
    assert_eq!(end.unwrap(), size);
    assert_eq!(scanned.len() as u64, look.entries);
    assert!(scanned.is_sorted() && scanned.len() < 40, "{scanned:?}");
    drop(seen);

    // Over the same folder all of it is recovered.
    let (mut recovery, _) = centre.recovery(&[0, 2, 4], "new");
    recovery.gateway = Some(centre.dir.path().join("look"));
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!((report.entries, vault.first_look()), (size, None));
    assert!(gives(&vault, &of_another) && gives(&vault, &kept[22]));
    assert!(matches!(looked(&centre, &centre.given()[..1], "few"), Err(VaultError::NotEnoughLocations { .. })));
}

/// Where too few good shards are left of what it names, or the log doesn't hold together, that is said: whoever recovers reads all of
/// it then.
#[test]
fn what_it_names_and_nobody_can_read_is_an_error() {
    let centre = Centre::new(2, 4, 3, 2);
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let kept = keep(&centre, &vault, patient, noise(5_000, 1));
    let segment = vault.entry(kept.0).unwrap().segment;
    vault.keep_roster(vault.size(), &BTreeSet::from([kept.0]), &BTreeSet::from([patient]), "test").unwrap();
    drop(vault);
    let whole = looked(&centre, &centre.given()[..2], "whole").unwrap().unwrap();
    assert!(gives(&whole, &kept));
    drop(whole);
    let name = &centre.locations[1].objects("s/")[usize::try_from(segment).unwrap()];
    let mut altered = centre.locations[1].raw(name);
    let last = altered.len() - 1;
    altered[last] ^= 1;
    centre.locations[1].forge(name, Some(altered));
    assert!(matches!(looked(&centre, &centre.given()[..2], "two"), Err(VaultError::Unreadable { .. })));
    let three = looked(&centre, &centre.given()[..3], "three").unwrap().unwrap();
    assert!(gives(&three, &kept));
    drop(three);
    centre.locations[1].restore();

    // One of two survivors was set back: what the other one shows beyond may hold anything.
    let all = centre.locations[1].objects("s/");
    centre.locations[1].forge(&all[all.len() - 1], None);
    assert!(looked(&centre, &centre.given()[..2], "set-back").unwrap().is_none());
}

/// What a list says is looked up in what the roster names and in what was written since. Of the latter nothing may be missing; what is
/// neither may be damaged, and is found out when all of the log is read.
#[test]
fn damage_counts_in_what_is_named_and_in_what_was_written_since() {
    let centre = Centre::new(2, 4, 3, 2);
    let vault = centre.found();
    let patients: Vec<_> = (0..2).map(|_| centre.patient(&vault)).collect();
    let [kept, other] = [0, 1].map(|at| keep(&centre, &vault, patients[at], noise(5_000, at as u64)));
    vault.keep_roster(vault.size(), &BTreeSet::from([kept.0]), &BTreeSet::from([patients[0]]), "test").unwrap();
    let later = keep(&centre, &vault, patients[1], noise(5_000, 2));
    let of = |kept: &(u64, Vec<u8>)| usize::try_from(vault.entry(kept.0).unwrap().segment).unwrap();
    let (other, later) = (of(&other), of(&later));
    let newest = vault.entry(vault.size() - 1).unwrap().time;
    assert_eq!(vault.newest_time().unwrap(), Some(newest));
    drop(vault);
    let look = |segment: usize, name: &str| {
        let held = &centre.locations[1];
        let name_of = &held.objects("s/")[segment];
        let mut altered = held.raw(name_of);
        let last = altered.len() - 1;
        altered[last] ^= 1;
        held.forge(name_of, Some(altered));
        let seen = looked(&centre, &centre.given()[..2], name);
        held.restore();
        seen
    };
    let seen = look(other, "other").unwrap().unwrap();
    assert!(gives(&seen, &kept) && seen.newest_time().unwrap() == Some(newest));
    assert!(matches!(look(later, "later"), Err(VaultError::Unreadable { .. })));
}
