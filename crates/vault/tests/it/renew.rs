//! Who holds the keys changes while records are read and kept.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use keys::{CustodianPackage, Custody, Holder, LocalHolder, NoPlugins, TurnOrder, new_identity};
use kit::{Explain, PatientId};
use vault::location::Name;
use vault::{Access, Adoption, Mode, Opening, Scope, Vault, VaultError};

use crate::centre::{Centre, copy_tree, noise, parcel};

struct Kept {
    patient: PatientId,
    index: u64,
    payload: Vec<u8>,
}

fn keep(centre: &Centre, vault: &Vault, count: u64) -> Vec<Kept> {
    let one = |n| {
        let (patient, payload) = (centre.patient(vault), noise(2_000, n));
        let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]);
        Kept { patient, index: vault.keep(group).unwrap()[0].index, payload }
    };
    (0..count).map(one).collect()
}

struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn all_open(vault: &Vault, kept: &[Kept]) {
    for one in kept {
        assert!(*vault.fetch(one.index, "dr-a", "treatment").unwrap().1 == *one.payload, "entry {}", one.index);
    }
}

fn turn(centre: &Centre, vault: &Vault) -> Result<(), VaultError> {
    let public = vault.turn_keys()?;
    vault.adopt(Adoption { public, holders: centre.holders.clone(), custodians: None, is_turn: true })?;
    let turn = vault.reseal(&mut |_, _| {})?;
    vault.finish_turn(&TurnOrder { turn, signature: Vec::new() })
}

/// New people with new identities; the sheets of those before are to be burnt.
fn new_custodians(centre: &Centre) -> (CustodianPackage, Vec<String>) {
    let (identities, recipients): (Vec<String>, Vec<String>) =
        (0..3).map(|_| new_identity()).map(|(secret, recipient)| (secret.to_string(), recipient)).unzip();
    (CustodianPackage::establish(2, &recipients, &*centre.entropy).unwrap().0, identities)
}

/// As the command does: what these identities open of the packages that the vault names.
fn deal_anew(vault: &Vault, identities: &[String], progress: vault::Progress<'_>) -> Result<u64, VaultError> {
    vault.deal_anew(&Custody::open(vault.custodian_packages(), identities, &NoPlugins)?.any()?, progress)
}

fn renew_custodians(centre: &Centre, vault: &Vault) -> (CustodianPackage, Vec<String>) {
    let (package, identities) = new_custodians(centre);
    let (public, holders) = (vault.holder_keys(), centre.holders.clone());
    vault.adopt(Adoption { public, holders, custodians: Some(package.clone()), is_turn: false }).unwrap();
    deal_anew(vault, &centre.identities[..2], &mut |_, _| {}).unwrap();
    (package, identities)
}

/// What a thief, or a court, has: a copy of all servers and of the holders' folders, refusals taken out, and custodians.
fn opens_from(centre: &Centre, at: &Path, identities: &[String], one: &Kept) -> Option<bool> {
    let by_holders = {
        let holders: Vec<Arc<dyn Holder>> = (1..=centre.shape.n())
            .filter_map(|number| {
                let folder = at.join("holders").join(number.to_string());
                let log = fs::read(folder.join("refused.log")).unwrap();
                fs::write(folder.join("refused.log"), &log[..32]).unwrap();
                LocalHolder::open(&folder).ok().map(|holder| Arc::new(holder) as Arc<dyn Holder>)
            })
            .collect();
        Access::Holders { holders, cache_ms: 0, prover: None }
    };
    let custodians = vault::preview(
        centre.given(),
        Centre::key_from(&centre.given(), identities),
        None,
        None,
        at.join("preview"),
        centre.clock.clone(),
        centre.entropy.clone(),
    );
    let mut opened = Vec::new();
    let vault = vault::open(Opening { access: by_holders, gateway: None, ..centre.opening(Mode::Read) }).unwrap();
    opened.push(vault.danger_opens(one.patient, one.index));
    opened.push(custodians.unwrap().0.danger_opens(one.patient, one.index));
    drop(vault);
    let (true_ones, all) = (opened.iter().filter(|opened| **opened).count(), opened.len());
    if true_ones == all {
        Some(true)
    } else if true_ones == 0 {
        Some(false)
    } else {
        None
    }
}

/// An erasure is complete when every holder has confirmed it, the epoch has turned and the custodians' sheets are renewed:
/// then nothing that is left opens her. Before, everything does whose refusals are taken out.
#[test]
fn an_erased_patient_is_gone_when_the_epoch_has_turned() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let mut kept = keep(&centre, &vault, 5);
    let erased = kept.remove(2);
    vault.erase(erased.patient, None, centre.operation()).unwrap();

    let before = centre.dir.path().join("before");
    copy_tree(&centre.dir.path().join("holders"), &before.join("holders"));
    drop(vault);
    assert_eq!(opens_from(&centre, &before, &centre.identities, &erased), Some(true), "the check itself sees nothing");
    let vault = centre.open().unwrap();
    turn(&centre, &vault).unwrap();
    assert_eq!(vault.turning(), None);
    let (_, identities) = renew_custodians(&centre, &vault);
    all_open(&vault, &kept);
    assert!(matches!(vault.fetch(erased.index, "dr-a", "treatment"), Err(VaultError::Erased)));
    assert!(vault.verify().unwrap().is_clean());
    let later = keep(&centre, &vault, 2);
    drop(vault);

    let after = centre.dir.path().join("after");
    copy_tree(&centre.dir.path().join("holders"), &after.join("holders"));
    assert_eq!(opens_from(&centre, &after, &identities, &erased), Some(false));
    assert_eq!(opens_from(&centre, &after, &identities, &later[0]), Some(true));

    let vault = centre.open().unwrap();
    all_open(&vault, &kept);
    all_open(&vault, &later);
    // And again: an epoch is no last one.
    turn(&centre, &vault).unwrap();
    all_open(&vault, &kept);
    all_open(&vault, &later);
    assert!(centre.holders.iter().all(|holder| holder.public_key().epoch() == 3));
    drop(vault);

    // And no recovery takes it back.
    let key = Centre::key_from(&centre.given(), &identities);
    let (clock, entropy) = (centre.clock.clone(), centre.entropy.clone());
    let erasures = vault::erasures(centre.given(), Arc::clone(&key), None, clock, entropy).unwrap();
    assert_eq!(erasures.iter().map(|one| one.opens).collect::<Vec<_>>(), [false]);
    let (mut recovery, _) = centre.recovery(&[0, 1, 4], "new");
    (recovery.key, recovery.restore_from) = (Arc::clone(&key), Some(0));
    let refused = vault::recover(recovery).map(|_| ());
    assert!(matches!(refused, Err(VaultError::NothingToTakeBack { from: 0, erasures: 1 })), "{refused:?}");
    let (mut recovery, _) = centre.recovery(&[0, 1, 4], "again");
    recovery.key = key;
    let (vault, report) = vault::recover(recovery).unwrap();
    assert_eq!((report.restored.len(), report.erased_patients), (0, 1));
    all_open(&vault, &kept);
    assert!(matches!(vault.fetch(erased.index, "dr-a", "treatment"), Err(VaultError::Erased)));
}

/// While an epoch turns, patients are registered, kept and read; none of them is lost by it.
#[test]
fn an_epoch_turns_under_load() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 150);
    let (ends, seeds) = (AtomicBool::new(false), AtomicU64::new(1_000));
    let meanwhile: Vec<Kept> = thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            while !ends.load(Ordering::Relaxed) {
                let (patient, payload) = (centre.patient(&vault), noise(300, seeds.fetch_add(1, Ordering::Relaxed)));
                let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]);
                mine.push(Kept { patient, index: vault.keep(group).unwrap()[0].index, payload });
                all_open(&vault, &kept[mine.len() % kept.len()..][..1]);
                all_open(&vault, &mine[mine.len() - 1..]);
            }
            mine
        };
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(work)).collect();
        // Also where the test fails: nobody waits for them for ever.
        let _ends = Ends(&ends);
        turn(&centre, &vault).unwrap();
        renew_custodians(&centre, &vault);
        turn(&centre, &vault).unwrap();
        ends.store(true, Ordering::Relaxed);
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(!meanwhile.is_empty());
    drop(vault);
    let vault = centre.open().unwrap();
    all_open(&vault, &kept);
    all_open(&vault, &meanwhile);
    assert_eq!(vault.health().patients, (kept.len() + meanwhile.len()) as u64);
}

/// A holder is lost or captured: another takes its place, with shares of a fresh secret; what the old one has is worth
/// nothing among the new ones.
#[test]
fn a_holder_is_replaced() {
    let mut centre = Centre::new(2, 5, 4, 5);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 4);
    let captured = Arc::clone(&centre.holders[3]);
    let new = LocalHolder::init_in(&centre.dir.path().join("new-4"), 4, 1, &*centre.entropy).unwrap();
    centre.holders[3] = Arc::new(new);
    let public = centre.holders.iter().map(|holder| holder.public_key()).collect();
    vault.adopt(Adoption { public, holders: centre.holders.clone(), custodians: None, is_turn: false }).unwrap();
    // Five of five are needed: until it is dealt anew, the new one can't help.
    assert_eq!(vault.fetch(kept[0].index, "dr-a", "t").unwrap_err().code(), "keys.not-enough-holders");
    assert_eq!((vault.health().undealt_patients, vault.undealt().unwrap()), (4, 4));
    let few = deal_anew(&vault, &centre.identities[..1], &mut |_, _| {});
    assert_eq!(few.unwrap_err().code(), "keys.custodian-not-enough");
    let mut told = Vec::new();
    assert_eq!(deal_anew(&vault, &centre.identities[1..], &mut |done, of| told.push((done, of))).unwrap(), 4);
    assert_eq!(told.last(), Some(&(4, 4)));
    all_open(&vault, &kept);
    assert_eq!(deal_anew(&vault, &centre.identities[1..], &mut |_, _| {}).unwrap(), 0);
    assert_eq!((vault.health().undealt_patients, vault.undealt().unwrap()), (0, 0));
    drop(vault);
    all_open(&centre.open().unwrap(), &kept);
    centre.holders[3] = captured;
    let error = centre.open().unwrap_err();
    assert_eq!(error.code(), "keys.not-enough-holders", "{error}");
}

/// Whatever was cut short is gone on with after a restart; a recovery in between takes the custodians of both packages.
#[test]
fn a_change_that_was_cut_short_is_gone_on_with() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 6);
    let public = vault.turn_keys().unwrap();
    drop(vault);
    let vault = centre.open().unwrap();
    assert_eq!(vault.turn_keys().unwrap(), public);
    let adoption =
        || Adoption { public: public.clone(), holders: centre.holders.clone(), custodians: None, is_turn: true };
    vault.adopt(adoption()).unwrap();
    drop(vault);
    let vault = centre.open().unwrap();
    assert_eq!(vault.turning(), Some(2));
    all_open(&vault, &kept);
    assert_eq!((vault.turn_keys().unwrap(), vault.adopt(adoption()).unwrap()), (public.clone(), 2));
    let turn = vault.reseal(&mut |_, _| {}).unwrap();
    drop(vault);
    let vault = centre.open().unwrap();
    let order = TurnOrder { turn, signature: Vec::new() };
    all_open(&vault, &kept);
    vault.finish_turn(&order).unwrap();
    vault.finish_turn(&order).unwrap();
    all_open(&vault, &kept);

    let (package, identities) = new_custodians(&centre);
    let (public, holders) = (vault.holder_keys(), centre.holders.clone());
    vault.adopt(Adoption { public, holders, custodians: Some(package), is_turn: false }).unwrap();
    let late = keep(&centre, &vault, 1);
    drop(vault);
    // The servers are lost here: those before open what they were dealt, the new ones the rest.
    let recover = |identities: Vec<String>, name: &str| {
        let (mut recovery, _) = centre.recovery(&[0, 1, 2, 3], name);
        recovery.key = Centre::key_from(&recovery.survivors, &identities);
        vault::recover(recovery)
    };
    assert_eq!(recover(identities.clone(), "a").unwrap_err().code(), "vault.sealed");
    let both = identities.iter().chain(&centre.identities).cloned().collect();
    let (recovered, report) = recover(both, "b").unwrap();
    assert_eq!(report.patients, 7);
    all_open(&recovered, &kept);
    all_open(&recovered, &late);
    drop(recovered);

    let vault = centre.open().unwrap();
    assert_eq!(deal_anew(&vault, &centre.identities, &mut |_, _| {}).unwrap(), 6);
    all_open(&vault, &kept);
    drop(vault);
    let (recovered, _) = recover(identities, "c").unwrap();
    all_open(&recovered, &kept);
    all_open(&recovered, &late);
}

/// Another key of the vault's seals what is written from then on; who has the one before opens nothing of that, and all that
/// was written opens, after a restart, after a kill with notes on the way, and after a recovery.
#[test]
fn the_vaults_key_is_rotated() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let mut kept = keep(&centre, &vault, 3);
    assert_eq!(vault.rotate_vault_key().unwrap(), 2);
    kept.extend(keep(&centre, &vault, 3));
    assert_eq!(vault.rotate_vault_key().unwrap(), 3);
    kept.extend(keep(&centre, &vault, 1));
    vault.note(centre.group(vec![], vec![parcel(Scope::Centre, "n", vec![7])])).unwrap();
    turn(&centre, &vault).unwrap();
    let openings = vault.danger_openings().unwrap();
    assert!(openings.iter().all(|by| by.len() == 1), "{openings:?}");
    assert!(openings.is_sorted() && openings[0] == [1] && *openings.last().unwrap() == [3], "{openings:?}");
    assert!(openings.contains(&vec![2]));
    all_open(&vault, &kept);
    assert!(vault.verify().unwrap().is_clean());
    drop(vault);
    let vault = centre.open().unwrap();
    all_open(&vault, &kept);
    kept.extend(keep(&centre, &vault, 1));
    assert_eq!(*vault.danger_openings().unwrap().last().unwrap(), [3]);
    drop(vault);
    let (recovery, _) = centre.recovery(&[0, 2, 3, 4], "new");
    let (vault, _) = vault::recover(recovery).unwrap();
    all_open(&vault, &kept);
    assert_eq!(vault.rotate_vault_key().unwrap(), 4);
}

/// Somebody told holders, past the log, to refuse a living patient: no key is destroyed over that.
#[test]
fn who_is_refused_and_not_erased_keeps_the_old_keys() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 3);
    centre.holders[0].refuse(kit::Id16(kept[1].patient.0)).unwrap();
    let error = turn(&centre, &vault).unwrap_err();
    assert!(matches!(error, VaultError::RefusedAlive { patients: 1 }), "{error}");
    assert!(centre.holders.iter().all(|holder| holder.public_key().epoch() == 1));
    all_open(&vault, &kept);
}

/// A location that was away while the centre record changed gets the new one when it is back, and counts again.
#[test]
fn a_location_that_was_away_catches_up() {
    let mut centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 2);
    centre.locations[4].set_down(true);
    keep(&centre, &vault, 1);
    turn(&centre, &vault).unwrap();
    centre.locations[4].set_down(false);
    centre.wait_until_whole(&vault);
    assert!(vault.verify().unwrap().is_clean());

    centre.locations[2].set_down(true);
    keep(&centre, &vault, 1);
    turn(&centre, &vault).unwrap();
    drop(vault);
    centre.restart();
    let vault = centre.open().unwrap();
    centre.wait_until_whole(&vault);
    assert!(vault.verify().unwrap().is_clean());
    all_open(&vault, &kept);
}

/// A renewal is cut short, the keys turn, the renewal is repeated: all is dealt to the new custodians, though every record is of
/// a later batch.
#[test]
fn a_turn_hides_nobody_from_a_renewal() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 3);
    let (package, identities) = new_custodians(&centre);
    let (public, holders) = (vault.holder_keys(), centre.holders.clone());
    vault.adopt(Adoption { public, holders, custodians: Some(package), is_turn: false }).unwrap();
    turn(&centre, &vault).unwrap();
    assert_eq!(deal_anew(&vault, &centre.identities, &mut |_, _| {}).unwrap(), 3);
    assert_eq!(deal_anew(&vault, &centre.identities, &mut |_, _| {}).unwrap(), 0);
    drop(vault);
    let (mut recovery, _) = centre.recovery(&[0, 1, 2, 3], "new");
    recovery.key = Centre::key_from(&recovery.survivors, &identities);
    all_open(&vault::recover(recovery).unwrap().0, &kept);
}

/// The record of other custodians stands everywhere, and the writer ends before its entry is in the log: when it is repeated,
/// all is dealt anew all the same. The same of a turn.
#[test]
fn a_record_without_its_entry_is_settled() {
    for is_turn in [false, true] {
        let centre = Centre::new(2, 5, 4, 3);
        let vault = centre.found();
        let kept = keep(&centre, &vault, 3);
        let (package, identities) = new_custodians(&centre);
        let custodians = (!is_turn).then(|| package.clone());
        let public = if is_turn { vault.turn_keys().unwrap() } else { vault.holder_keys() };
        let adoption = || Adoption {
            public: public.clone(),
            holders: centre.holders.clone(),
            custodians: custodians.clone(),
            is_turn,
        };
        // The claim and the record.
        centre.locations.iter().for_each(|location| location.down_after(2));
        assert!(vault.adopt(adoption()).is_err());
        drop(vault);
        centre.locations.iter().for_each(|location| location.set_down(false));
        let vault = centre.open().unwrap();
        if is_turn {
            turn(&centre, &vault).unwrap();
            assert!(centre.holders.iter().all(|holder| holder.public_key().epoch() == 2));
        } else {
            assert_eq!(vault.adopt(adoption()).unwrap(), 2);
            assert_eq!(deal_anew(&vault, &centre.identities, &mut |_, _| {}).unwrap(), 3);
        }
        all_open(&vault, &kept);
        drop(vault);
        let (mut recovery, _) = centre.recovery(&[0, 1, 2, 3], "new");
        let identities = if is_turn { &centre.identities } else { &identities };
        recovery.key = Centre::key_from(&recovery.survivors, identities);
        all_open(&vault::recover(recovery).unwrap().0, &kept);
    }
}

/// Other custodians were refused, since too few locations took their record: those before recover, from whatever shows it, at
/// once and after a restart; and nobody calls the others custodians.
#[test]
fn custodians_who_were_refused_are_none() {
    for restarts in [false, true] {
        let centre = Centre::new(2, 5, 4, 3);
        let vault = centre.found();
        let mut kept = keep(&centre, &vault, 2);
        let (package, refused) = new_custodians(&centre);
        let names: Vec<_> = (0..2).map(|at| centre.locations[at].objects("centre/")[0].clone()).collect();
        let next = Name::new(names[0].as_str().replace("00000001", "00000002")).unwrap();
        centre.locations[2..].iter().for_each(|location| location.block(Some(&next)));
        let (public, holders) = (vault.holder_keys(), vault.holders());
        let adoption = Adoption { public, holders, custodians: Some(package.clone()), is_turn: false };
        let error = vault.adopt(adoption).unwrap_err();
        assert!(matches!(error, VaultError::NotDurable { durable: 2, floor: 4 }), "{error}");
        centre.locations[2..].iter().for_each(|location| location.block(None));
        assert_eq!(centre.locations[0].objects("centre/").len(), 2, "nobody has the record");
        centre.wait_until_writable(&vault);
        kept.extend(keep(&centre, &vault, 2));
        centre.wait_until_whole(&vault);
        drop(vault);
        if restarts {
            let vault = centre.open().unwrap();
            assert!(vault.custodian_package() == centre.package && vault.custodian_package() != package);
            kept.extend(keep(&centre, &vault, 1));
        }
        let (mut recovery, _) = centre.recovery(&[0, 1], "new");
        let packages = vault::packages(&recovery.survivors, None).unwrap();
        let none =
            packages.into_iter().any(|one| Custody::open(one, &refused, &NoPlugins).and_then(Custody::newest).is_ok());
        assert!(!none, "those who were refused are called");
        recovery.key = Centre::key_from(&recovery.survivors, &centre.identities);
        all_open(&vault::recover(recovery).unwrap().0, &kept);
    }
}

/// Other custodians' record was put everywhere, and its writer killed before anything was written under it: either of them recover.
#[test]
fn either_custodians_recover_where_a_change_of_them_was_only_put() {
    for new in [false, true] {
        let centre = Centre::new(2, 5, 4, 3);
        let vault = centre.found();
        let kept = keep(&centre, &vault, 2);
        let (package, identities) = new_custodians(&centre);
        let (public, holders) = (vault.holder_keys(), vault.holders());
        centre.locations.iter().for_each(|location| location.down_after(2));
        assert!(vault.adopt(Adoption { public, holders, custodians: Some(package), is_turn: false }).is_err());
        drop(vault);
        centre.locations.iter().for_each(|location| location.set_down(false));
        let (mut recovery, _) = centre.recovery(&[0, 3, 4], "new");
        // Nothing is dealt to the new ones yet: they have those before with them.
        let both = [&identities[..], &centre.identities[..]].concat();
        recovery.key = Centre::key_from(&recovery.survivors, if new { &both } else { &centre.identities });
        all_open(&vault::recover(recovery).unwrap().0, &kept);
    }
}

/// A segment can't be read, so that nobody knows whose keys stood in it: no key is changed, and none is destroyed.
#[test]
fn nobodys_keys_change_while_segments_are_unreadable() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 6);
    drop(vault);
    fs::remove_file(centre.gateway().join("keymap")).unwrap();
    let segment = centre.locations[0].objects("s/")[4].clone();
    let damaged = |location: &Arc<crate::centre::Moody>| {
        let mut bytes = location.raw(&segment);
        *bytes.last_mut().unwrap() ^= 1;
        location.forge(&segment, Some(bytes));
    };
    centre.locations[..4].iter().for_each(damaged);
    let vault = centre.open().unwrap();
    assert!(matches!(vault.turn_keys(), Err(VaultError::Incomplete)));
    assert!(matches!(deal_anew(&vault, &centre.identities, &mut |_, _| {}), Err(VaultError::Incomplete)));
    centre.locations.iter().for_each(|location| location.restore());
    turn(&centre, &vault).unwrap();
    all_open(&vault, &kept);
}

/// Who is erased when her shares have been sealed again is counted, and gone with the next turn; the turn goes on.
#[test]
fn an_erasure_in_the_middle_of_a_turn_takes_another() {
    let centre = Centre::new(2, 5, 4, 3);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 4);
    let public = vault.turn_keys().unwrap();
    vault.adopt(Adoption { public, holders: centre.holders.clone(), custodians: None, is_turn: true }).unwrap();
    let order = |turn| TurnOrder { turn, signature: Vec::new() };
    vault.reseal(&mut |_, _| {}).unwrap();
    vault.erase(kept[0].patient, None, centre.operation()).unwrap();
    let named = vault.reseal(&mut |_, _| {}).unwrap();
    vault.erase(kept[1].patient, None, centre.operation()).unwrap();
    vault.finish_turn(&order(named)).unwrap_err();
    let named = vault.reseal(&mut |_, _| {}).unwrap();
    vault.finish_turn(&order(named)).unwrap();
    assert_eq!(vault.erased_since_turn().unwrap(), 2);
    turn(&centre, &vault).unwrap();
    assert_eq!(vault.erased_since_turn().unwrap(), 0);
    all_open(&vault, &kept[2..]);
}

/// More changes than a listing has lines at a time: the newest record is found all the same.
#[test]
fn a_centre_outlives_many_changes() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let kept = keep(&centre, &vault, 1);
    for _ in 0..70 {
        turn(&centre, &vault).unwrap();
    }
    drop(vault);
    all_open(&centre.open().unwrap(), &kept);
}
