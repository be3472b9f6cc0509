//! Eleven of fourteen servers lost, in every way; and one more than that.

use std::sync::Arc;

use vault::{Access, Mode, Scope, VaultError};

use crate::centre::{Centre, noise, parcel};

/// A small centre, closed again: locations, and what stands in it by entry.
fn filled() -> (Centre, Vec<(u64, Vec<u8>)>) {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patients = [centre.patient(&vault), centre.patient(&vault)];
    let sizes = [0, 1, 8 * 1024, 100_000, 3 * 1024 * 1024 + 1];
    let mut kept = Vec::new();
    for (n, &size) in sizes.iter().enumerate() {
        let payload = noise(size, n as u64);
        let group = centre.group(vec![], vec![parcel(Scope::Patient(patients[n % 2]), "a", payload.clone())]);
        kept.push((vault.keep(group).unwrap()[0].index, payload));
    }
    drop(vault);
    (centre, kept)
}

#[test]
fn any_three_of_fourteen_give_everything_back() {
    let (centre, kept) = filled();
    let key = centre.recovery_key();
    let mut ways = 0;
    for a in 0..14 {
        for b in a + 1..14 {
            for c in b + 1..14 {
                let vault = centre.read_by_custodians([a, b, c], &key).unwrap();
                for (index, payload) in &kept {
                    assert!(*vault.fetch(*index, "a", "b").unwrap().1 == *payload, "{a} {b} {c}, entry {index}");
                }
                assert!(vault.health().damage.is_empty());
                ways += 1;
            }
        }
    }
    assert_eq!(ways, 364);
}

/// Built to fail: what is promised ends at eleven, and then it says so.
#[test]
fn twelve_of_fourteen_lost_is_told() {
    let (centre, kept) = filled();
    let key = centre.recovery_key();
    let refused = centre.read_by_custodians([4, 9], &key);
    assert!(matches!(refused, Err(VaultError::NotEnoughLocations { have: 2, need: 3, .. })), "{refused:?}");
    let given = centre.given().into_iter().skip(12).collect();
    let report =
        vault::assess(given, Access::Custodians(key.clone()), None, centre.clock.clone(), centre.entropy.clone());
    let report = report.unwrap().unwrap();
    assert_eq!((report.locations, report.need), (2, 3));
    let last = kept.last().unwrap().0;
    assert_eq!((report.log_entries, report.lost_entries), (last + 1, last + 1), "the last one, too: it was sealed");
    assert!(report.lost_segments >= 5 && report.listed.iter().all(|loss| loss.good == 2 && loss.need == 3));
    assert_eq!(report.listed[0].durable, Some(14), "the receipt's promise is in a later header");
    let all =
        vault::assess(centre.given(), Access::Custodians(key), None, centre.clock.clone(), centre.entropy.clone());
    assert_eq!(all.unwrap(), None);
}

#[test]
fn opening_for_writing_needs_the_quorum() {
    let (centre, _) = filled();
    // n − floor + k = 14 − 11 + 3 = 6.
    for (down, good) in [(8, true), (9, false)] {
        centre.locations.iter().take(down).for_each(|location| location.set_down(true));
        match centre.open() {
            Ok(vault) => assert!(good && vault.health().up == 6),
            Err(error) => {
                assert!(!good && matches!(error, VaultError::NotEnoughLocations { have: 5, need: 6, .. }), "{error}")
            }
        }
    }
    // For reading three are enough; and the gateway still knows how long the log was.
    centre.locations.iter().take(11).for_each(|location| location.set_down(true));
    let vault = vault::open(centre.opening(Mode::Read)).unwrap();
    assert!(vault.size() > 5);
}

#[test]
fn holders_lost_are_a_matter_for_custodians() {
    let (centre, kept) = filled();
    let mut opening = centre.opening(Mode::Write);
    opening.access = Access::Holders { holders: centre.holders[3..].to_vec(), cache_ms: 0, prover: None };
    let refused = vault::open(opening).unwrap_err();
    assert_eq!(kit::Explain::code(&refused), "keys.not-enough-holders");
    let mut opening = centre.opening(Mode::Write);
    opening.access = Access::Holders { holders: centre.holders[2..].to_vec(), cache_ms: 0, prover: None };
    let vault = vault::open(opening).unwrap();
    assert!(*vault.fetch(kept[2].0, "a", "b").unwrap().1 == kept[2].1);
    drop(vault);
    let key = Arc::new(centre.package.open(&centre.identities).unwrap());
    assert!(centre.package.open(&centre.identities[..1]).is_err());
    let vault = centre.read_by_custodians(0..14, &key).unwrap();
    assert!(*vault.fetch(kept[2].0, "a", "b").unwrap().1 == kept[2].1);
}
