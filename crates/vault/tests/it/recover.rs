//! From three survivors and two custodians onto fresh locations and holders.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kit::Explain;
use vault::location::Location;
use vault::{Mode, Scope, Unsettled, VaultError};

use crate::centre::{Centre, noise, parcel};

#[test]
fn a_centre_comes_back_from_three_survivors_and_goes_on() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patients: Vec<_> = (0..10).map(|_| centre.patient(&vault)).collect();
    let mut kept = Vec::new();
    for (n, patient) in patients.iter().enumerate() {
        let payload = noise(if n == 4 { 7 << 20 } else { 10_000 }, n as u64);
        let group = centre.group(vec![], vec![parcel(Scope::Patient(*patient), "a", payload.clone())]);
        kept.push((vault.keep(group).unwrap()[0].index, payload));
    }
    vault.erase(patients[3], None, centre.operation()).unwrap();
    let (size, vkey, index_key) = (vault.size(), vault.vkey(), vault.index_key());
    let checkpoint = vault.checkpoint().unwrap();
    drop(vault);

    let (recovery, fresh) = centre.recovery(&[2, 7, 13], "new");
    let (holders, gateway) = (recovery.holders.clone(), recovery.gateway.clone());
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!((report.epoch, report.survivors, report.entries), (2, 3, size));
    assert_eq!((report.patients, report.erased_patients), (9, 1));
    assert_eq!(report.custodians, [2, 3]);
    assert!(report.damage.is_empty());
    let check = |vault: &vault::Vault| {
        for (n, (index, payload)) in kept.iter().enumerate() {
            let fetched = vault.fetch(*index, "dr-a", "treatment");
            if n == 3 {
                assert!(matches!(fetched, Err(VaultError::Erased)));
            } else {
                assert!(*fetched.unwrap().1 == *payload, "entry {index}");
            }
        }
        assert_eq!((vault.vkey(), vault.index_key()), (vkey.clone(), index_key.clone()));
        let path = vault.prove_consistency(checkpoint.size, vault.size()).unwrap();
        let now = vault.checkpoint().unwrap();
        ledger::check_growth(&checkpoint, &now, &path).unwrap();
    };
    check(&vault);
    assert!(vault.verify().unwrap().is_clean());
    // The new holders count, and the new centre can be written at once.
    assert!(vault.health().holders.iter().map(|holder| holder.opened).sum::<u64>() > 0);
    let new = centre.patient(&vault);
    let receipt =
        vault.keep(centre.group(vec![], vec![parcel(Scope::Patient(new), "a", vec![1, 2])])).unwrap().remove(0);
    assert_eq!(receipt.durable, 14);
    drop(vault);

    let mut opening = centre.opening(Mode::Write);
    opening.locations = fresh.iter().map(|one| one.clone() as std::sync::Arc<dyn vault::location::Location>).collect();
    opening.access = vault::Access::Holders { holders, cache_ms: 0, prover: None };
    opening.gateway = gateway;
    let vault = vault::open(opening).unwrap();
    check(&vault);
    assert_eq!(*vault.fetch(receipt.index, "a", "b").unwrap().1, [1, 2]);
}

/// Whoever had the gateway had patients erased before he took the servers: a recovery takes back what the log holds from an
/// entry on, and nothing of what was meant.
#[test]
fn erasures_are_taken_back_from_an_entry_on() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let patients: Vec<_> = (0..5).map(|_| centre.patient(&vault)).collect();
    let mut kept = Vec::new();
    for (n, patient) in (0..).zip(&patients) {
        let group = centre.group(vec![], vec![parcel(Scope::Patient(*patient), "a", noise(10_000, n))]);
        kept.push((vault.keep(group).unwrap()[0].index, noise(10_000, n)));
    }
    vault.erase(patients[0], None, centre.operation()).unwrap();
    let from = vault.size();
    for patient in &patients[1..4] {
        vault.erase(*patient, None, centre.operation()).unwrap();
    }
    drop(vault);

    let survivors = |centre: &Centre| centre.given()[..3].to_vec();
    let (clock, entropy) = (centre.clock.clone(), centre.entropy.clone());
    let found = vault::erasures(survivors(&centre), centre.recovery_key(), None, clock.clone(), entropy.clone());
    let found = found.unwrap();
    assert_eq!(found.iter().map(|one| (one.entry >= from, one.opens)).collect::<Vec<_>>(), {
        [(false, true), (true, true), (true, true), (true, true)]
    });
    // Of what can't be put together nobody says that there is no erasure in it.
    let one =
        vault::erasures(survivors(&centre)[..1].to_vec(), centre.recovery_key(), None, clock.clone(), entropy.clone());
    assert!(matches!(one, Err(VaultError::Lost(_))), "{one:?}");

    let check = |vault: &vault::Vault, back: bool| {
        for (at, (index, payload)) in kept.iter().enumerate() {
            let fetched = vault.fetch(*index, "dr-a", "treatment");
            let erased = at == 0 || (!back && at < 4);
            assert_eq!(vault.is_erased(patients[at]), erased, "{at}");
            match fetched {
                Ok((_, found)) => assert!(!erased && *found == *payload, "{at}"),
                Err(error) => assert!(erased && matches!(error, VaultError::Erased), "{at}: {error}"),
            }
        }
    };
    // Seen at once, before anything is copied.
    let folder = centre.dir.path().join("preview");
    let (seen, restored) =
        vault::preview(survivors(&centre), centre.recovery_key(), None, Some(from), folder, clock, entropy).unwrap();
    assert!(!restored.is_empty() && restored.iter().all(|(_, erased)| *erased >= from), "{restored:?}");
    check(&seen, true);
    drop(seen);
    // Without it they stay erased.
    let (recovery, _) = centre.recovery(&[0, 1, 2], "meant");
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!((report.patients, report.restored.len(), report.erased_patients), (1, 0, 4));
    check(&vault, false);
    drop(vault);

    let (mut recovery, fresh) = centre.recovery(&[0, 1, 2], "new");
    recovery.restore_from = Some(from);
    let (holders, gateway) = (recovery.holders.clone(), recovery.gateway.clone());
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!((report.patients, report.restored.len(), report.erased_patients), (4, 3, 1));
    check(&vault, true);
    // Who is alive again may be erased again.
    vault.erase(patients[3], None, centre.operation()).unwrap();
    assert!(vault.is_erased(patients[3]));
    drop(vault);

    // The log says so, to whoever makes its projections anew.
    let mut opening = centre.opening(Mode::Write);
    opening.locations = fresh.iter().map(|one| one.clone() as Arc<dyn Location>).collect();
    opening.access = vault::Access::Holders { holders, cache_ms: 0, prover: None };
    opening.gateway = gateway;
    std::fs::remove_file(opening.gateway.as_ref().unwrap().join("keymap")).unwrap();
    let vault = vault::open(opening).unwrap();
    assert_eq!(patients.iter().map(|one| vault.is_erased(*one)).collect::<Vec<_>>(), [true, false, false, true, false]);
    assert!(*vault.fetch(kept[1].0, "dr-a", "treatment").unwrap().1 == kept[1].1);
    assert!(vault.verify().unwrap().is_clean());
}

#[test]
fn damaged_survivors_help_each_other() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let mut kept = Vec::new();
    for n in 0..4 {
        let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(30_000, n))]);
        kept.push(vault.keep(group).unwrap()[0].index);
    }
    drop(vault);
    // Each of four survivors has another segment altered, and two have changed places.
    for at in 0..4 {
        let name = centre.locations[at].objects("s/")[at].clone();
        let mut raw = centre.locations[at].raw(&name);
        *raw.last_mut().unwrap() ^= 1;
        centre.locations[at].forge(&name, Some(raw));
    }
    let (recovery, _) = centre.recovery(&[0, 1, 2, 3], "new");
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!(report.damage.by_location.len(), 3, "the fourth was not needed: {:?}", report.damage);
    for (n, index) in (0..).zip(kept) {
        assert!(*vault.fetch(index, "a", "b").unwrap().1 == noise(30_000, n));
    }
    assert!(vault.verify().unwrap().is_clean());
}

#[test]
fn recovery_refuses_what_it_can_not_do() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    for n in 0..3 {
        vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(30_000, n))])).unwrap();
    }
    drop(vault);
    let (recovery, fresh) = centre.recovery(&[5, 6], "two");
    let error = vault::recover(recovery).unwrap_err();
    let VaultError::Lost(report) = &error else { panic!("{error}") };
    assert_eq!((report.locations, report.lost_entries), (2, 3));
    assert!(error.to_string().contains("3 of 3 entries"), "{error}");
    assert!(fresh.iter().all(|location| location.objects("").is_empty()), "nothing is begun");

    let packages = vault::packages(&centre.given()[5..8], None).unwrap().remove(0);
    let one = keys::Custody::open(packages, &centre.identities[1..2], &keys::NoPlugins).err().unwrap();
    assert_eq!(one.code(), "keys.custodian-not-enough");
}

/// The last entry stands on one survivor of three: lost, and with a seal everybody knows it.
#[test]
fn the_last_entry_does_not_vanish_without_a_word() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let keep =
        |n| vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(5_000, n))])).unwrap().remove(0);
    for n in 0..3 {
        keep(n);
    }
    centre.locations[..2].iter().for_each(|location| location.set_down(true));
    let receipt = keep(3);
    assert_eq!((receipt.durable, receipt.survives), (12, 9));
    drop(vault);
    centre.locations.iter().for_each(|location| location.set_down(false));
    let (recovery, _) = centre.recovery(&[0, 1, 5], "told");
    let VaultError::Lost(report) = vault::recover(recovery).unwrap_err() else { panic!("it was acknowledged") };
    let losses: Vec<_> = report.listed.iter().filter(|loss| loss.entries > 0).collect();
    assert_eq!((report.lost_entries, losses[0].first, losses[0].durable), (1, receipt.index, Some(12)));

    // A writer that died before it could write the seal: nobody can tell, and that is said.
    let seals = centre.locations[5].objects("s/").split_off(receipt.segment as usize + 1);
    assert_eq!(seals.len(), 1);
    centre.locations[5].forge(&seals[0], None);
    let (recovery, _) = centre.recovery(&[0, 1, 5], "unsettled");
    let (vault, report) = vault::recover(recovery).unwrap();
    // Three, and the recovery's own.
    assert_eq!((vault.size(), report.entries), (4, 3));
    assert_eq!(report.unsettled, Some(Unsettled { segments: 1, highest_entry: Some(receipt.index) }));
}

#[test]
fn a_quiet_log_is_sealed_once() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", vec![1])])).unwrap();
    let start = Instant::now();
    while vault.health().segments < 2 {
        assert!(start.elapsed() < Duration::from_secs(60));
        sleep(Duration::from_millis(20));
    }
    drop(vault);
    assert_eq!(centre.locations[13].objects("s/").len(), 2, "no other one at the end");
    drop(centre.open().unwrap());
    assert_eq!(centre.locations[13].objects("s/").len(), 2, "nor for a session that writes nothing");
}

/// It ends after the segments were copied, among the patients' keys.
#[test]
fn a_recovery_that_ends_early_leaves_no_centre_and_is_begun_again() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", vec![1, 2])]);
    let index = vault.keep(group).unwrap()[0].index;
    drop(vault);
    // One batch is the segments, one the claim; then comes this writer's own claim, a batch of keys, and the keys.
    for batches in 2..5 {
        let (recovery, fresh) = centre.recovery(&[0, 1, 2], &format!("cut-{batches}"));
        let (holders, again) = (recovery.holders.clone(), recovery.gateway.clone());
        fresh[..4].iter().for_each(|location| location.down_after(batches));
        let error = vault::recover(recovery).unwrap_err();
        // How many batches the keys take depends on who waited for whom: the last cut may come at the record itself.
        let at_the_record = matches!(error, VaultError::Location(_));
        let short = matches!(error, VaultError::NotDurable { .. } | VaultError::BelowFloor { .. });
        assert!(short || at_the_record, "{batches}: {error}");
        fresh.iter().for_each(|location| location.set_down(false));
        let mut opening = centre.opening(Mode::Write);
        opening.locations = fresh.iter().map(|one| one.clone() as Arc<dyn Location>).collect();
        opening.access = vault::Access::Holders { holders, cache_ms: 0, prover: None };
        opening.gateway = again;
        match vault::open(opening) {
            Err(VaultError::NoCentreRecord) => {}
            // Every key was dealt before the first location got the record: what opens is whole, and may as well not.
            Err(_) if at_the_record => {}
            Ok(vault) if at_the_record => assert_eq!(**vault.fetch(index, "a", "b").unwrap().1, [1, 2]),
            other => panic!("{batches}: {other:?}"),
        }
        let (mut recovery, _) = centre.recovery(&[0, 1, 2], &format!("on-top-{batches}"));
        recovery.fresh = fresh.iter().map(|one| one.clone() as Arc<dyn Location>).collect();
        assert!(matches!(vault::recover(recovery), Err(VaultError::NotEmpty { .. })));
    }
    let (recovery, _) = centre.recovery(&[0, 1, 2], "again");
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!((report.patients, &**vault.fetch(index, "a", "b").unwrap().1), (1, &[1, 2][..]));
}

/// The copying was cut short at some locations: what stands there is gone on from. What stands there of anything else is left
/// alone, and refused by its name.
#[test]
fn a_recovery_whose_copying_was_cut_short_is_repeated() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let payload = noise(100 << 20, 1);
    let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]);
    let kept = vault.keep(group).unwrap()[0].index;
    drop(vault);

    let (first, fresh) = centre.recovery(&[2, 7, 13], "new");
    fresh[5].down_after(1);
    assert!(vault::recover(first).is_err());
    fresh[5].set_down(false);
    let stands = fresh[0].objects("s/").len();
    assert!(stands > 0 && stands > fresh[5].objects("s/").len(), "it was cut short in the middle: {stands}");

    let again = |name: &str| {
        let (mut again, _) = centre.recovery(&[2, 7, 13], name);
        again.fresh = fresh.iter().map(|location| location.clone() as Arc<dyn Location>).collect();
        again
    };
    let (vault, _) = vault::recover(again("again")).unwrap();
    assert!(*vault.fetch(kept, "dr-a", "treatment").unwrap().1 == *payload);
    assert!(vault.verify().unwrap().is_clean());
    drop(vault);
    // Now a centre stands there.
    let refused = vault::recover(again("third")).map(drop).unwrap_err();
    assert!(matches!(refused, VaultError::NotEmpty { .. }), "{refused}");
}
