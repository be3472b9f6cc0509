//! Locations that lack something: no receipt counts them, nobody forgets it, and what is lost is told.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use vault::location::Location;
use vault::{Access, Loss, LossReport, Mode, Receipt, Scope, Vault, VaultError};

use crate::centre::{Centre, copy_tree, make_locations, noise, parcel, server};

fn keep(centre: &Centre, vault: &Vault, seed: u64) -> Result<Receipt, VaultError> {
    let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(5_000, seed))]);
    Ok(vault.keep(group)?.remove(0))
}

fn check(vault: &Vault, receipt: &Receipt, seed: u64) {
    assert!(*vault.fetch(receipt.index, "a", "b").unwrap().1 == noise(5_000, seed), "entry {}", receipt.index);
}

fn set_down(centre: &Centre, count: usize, down: bool) {
    centre.locations.iter().take(count).for_each(|location| location.set_down(down));
}

fn missing(vault: &Vault) -> Vec<u64> {
    vault.health().locations.iter().map(|location| location.missing).collect()
}

fn assess(centre: &Centre, survivors: &[usize]) -> Option<LossReport> {
    let locations = survivors.iter().map(|&at| centre.locations[at].clone() as std::sync::Arc<dyn Location>).collect();
    let access = Access::Custodians(centre.recovery_key());
    vault::assess(locations, access, None, centre.clock.clone(), centre.entropy.clone()).unwrap()
}

/// Entry 1 stands on eleven locations, and the other three can't be given it.
fn with_hole() -> (Centre, Vault, Receipt) {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    set_down(&centre, 3, true);
    let receipt = keep(&centre, &vault, 1).unwrap();
    assert_eq!((receipt.durable, receipt.survives), (11, 8));
    drop(vault);
    centre.restart();
    let name = centre.locations[5].objects("s/")[receipt.segment as usize].clone();
    centre.locations[..3].iter().for_each(|location| location.block(Some(&name)));
    let vault = centre.open().unwrap();
    (centre, vault, receipt)
}

#[test]
fn a_location_with_a_hole_counts_for_no_receipt_until_it_is_healed() {
    let (centre, vault, _) = with_hole();
    // All fourteen take it; of three of them it could not be read without what they lack.
    let receipt = keep(&centre, &vault, 2).unwrap();
    assert_eq!((receipt.durable, receipt.survives), (11, 8));
    let health = vault.health();
    assert_eq!((health.up, health.survives), (11, 8), "what can't be healed isn't declared healed");
    assert!(missing(&vault).iter().enumerate().all(|(at, lacks)| (*lacks > 0) == (at < 3)), "{:?}", missing(&vault));
    // Eight lost, three of those left with a hole: as the receipt says.
    drop(vault);
    let (recovery, _) = centre.recovery(&[0, 1, 2, 11, 12, 13], "new");
    check(&vault::recover(recovery).unwrap().0, &receipt, 2);

    centre.locations.iter().for_each(|location| location.block(None));
    let vault = centre.open().unwrap();
    centre.wait_until_whole(&vault);
    let receipt = keep(&centre, &vault, 3).unwrap();
    assert_eq!((receipt.durable, receipt.survives), (14, 11));
    drop(vault);
    let (recovery, _) = centre.recovery(&[0, 1, 2], "three");
    check(&vault::recover(recovery).unwrap().0, &receipt, 3);
}

#[test]
fn a_hole_is_remembered_over_a_restart() {
    let mut centre = Centre::of_fourteen();
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    set_down(&centre, 3, true);
    keep(&centre, &vault, 1).unwrap();
    drop(vault);
    centre.restart();
    let reader = vault::open(centre.opening(Mode::Read)).unwrap();
    assert!(missing(&reader).iter().enumerate().all(|(at, lacks)| (*lacks > 0) == (at < 3)), "{:?}", missing(&reader));
    assert_eq!(reader.health().survives, 8);
}

#[test]
fn a_location_is_up_when_everything_is_healed() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    set_down(&centre, 3, true);
    for seed in 1..80 {
        keep(&centre, &vault, seed).unwrap();
    }
    set_down(&centre, 3, false);
    centre.wait_until_whole(&vault);
    assert_eq!(missing(&vault), [0; 14]);
    let receipt = keep(&centre, &vault, 80).unwrap();
    assert_eq!(receipt.survives, 11);
    drop(vault);
    let (recovery, _) = centre.recovery(&[0, 1, 2], "new");
    check(&vault::recover(recovery).unwrap().0, &receipt, 80);
}

#[test]
fn what_stands_around_a_lost_header_is_read_and_what_is_lost_is_told() {
    let (centre, vault, lost) = with_hole();
    let receipt = keep(&centre, &vault, 2).unwrap();
    let start = Instant::now();
    while missing(&vault)[..3] != [1; 3] {
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", missing(&vault));
        sleep(Duration::from_millis(10));
    }
    drop(vault);
    let report = assess(&centre, &[0, 1, 2]).unwrap();
    assert_eq!((report.log_entries, report.lost_segments, report.lost_entries), (3, 1, 1));
    let expected = Loss { segment: lost.segment, first: 1, entries: 1, good: 0, need: 3, durable: Some(11) };
    assert_eq!(report.listed, [expected]);
    let (recovery, _) = centre.recovery(&[0, 1, 2], "new");
    assert!(matches!(vault::recover(recovery), Err(VaultError::Lost(found)) if *found == report));
    let vault = centre.read_by_custodians([0, 1, 2], &centre.recovery_key()).unwrap();
    check(&vault, &receipt, 2);
    assert!(*vault.fetch(0, "a", "b").unwrap().1 == noise(5_000, 0), "below the gap");
    assert!(matches!(vault.fetch(lost.index, "a", "b"), Err(VaultError::Unreadable { good: 0, need: 3, .. })));
}

/// Whoever lost what he had can't vouch for its never having been there.
#[test]
fn an_emptied_location_does_not_answer() {
    let centre = Centre::new(3, 14, 9, 12);
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    centre.locations[9..].iter().for_each(|location| location.set_down(true));
    let receipt = keep(&centre, &vault, 1).unwrap();
    assert_eq!(receipt.durable, 9);
    drop(vault);
    centre.locations.iter().for_each(|location| location.set_down(false));
    let fresh = make_locations(&centre.dir.path().join("fresh"), centre.id, 14);
    let mut replaced = centre;
    replaced.locations[..6].clone_from_slice(&fresh[..6]);
    replaced.locations[6].set_down(true);
    // Thirteen answer, and only two of them show entry 1: it isn't for the six that were emptied to say that it never was.
    let refused = replaced.open();
    assert!(matches!(refused, Err(VaultError::NotEnoughLocations { have: 7, need: 8, .. })), "{refused:?}");
    replaced.locations[6].set_down(false);
    let vault = replaced.open().unwrap();
    check(&vault, &receipt, 1);
    assert!(vault.health().up < 14, "an empty one counts when a scrub has filled it");
    vault.scrub().unwrap();
    replaced.wait_until_whole(&vault);
    drop(vault);
    replaced.locations[6..9].iter().for_each(|location| location.set_down(true));
    check(&replaced.open().unwrap(), &receipt, 1);
}

#[test]
fn a_scrub_heals_although_one_location_fails() {
    for failing in [0, 13] {
        let centre = Centre::of_fourteen();
        let vault = centre.found();
        keep(&centre, &vault, 0).unwrap();
        let name = centre.locations[5].objects("s/")[0].clone();
        let mut altered = centre.locations[5].raw(&name);
        *altered.last_mut().unwrap() ^= 1;
        centre.locations[5].forge(&name, Some(altered));
        centre.locations[failing].set_down(true);
        let report = vault.scrub().unwrap();
        assert_eq!(report.healed_by_location.get("server-06"), Some(&1), "{report:?}");
        assert!(!report.is_whole());
    }
}

#[test]
fn a_removed_folder_counts_for_no_receipt() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    keep(&centre, &vault, 0).unwrap();
    let folder = |n: u8| server(&centre.dir.path().join("servers"), n);
    // One taken away, one moved away, one replaced by a copy of itself.
    fs::remove_dir_all(folder(1)).unwrap();
    fs::rename(folder(2), centre.dir.path().join("moved")).unwrap();
    fs::rename(folder(3), centre.dir.path().join("old")).unwrap();
    copy_tree(&centre.dir.path().join("old"), &folder(3));
    let receipt = keep(&centre, &vault, 1).unwrap();
    assert_eq!((receipt.durable, receipt.survives, vault.health().up), (11, 8, 11));
    for n in 4..=11 {
        fs::remove_dir_all(folder(n)).unwrap();
    }
    let refused = keep(&centre, &vault, 2);
    assert!(matches!(refused, Err(VaultError::NotDurable { durable: 3, floor: 11 })), "{refused:?}");
    assert!(centre.locations[4].stats().is_err() && centre.locations[4].list(None, 1).is_err());
    assert!(*vault.fetch(receipt.index, "a", "b").unwrap().1 == noise(5_000, 1), "from the three that are left");
}
