//! A turn of the key epoch: living subjects stay, erased ones go, and nothing is destroyed before all is there.

use std::fs;

use keys::{
    Batch, Holder, HolderError, KeyRecord, LocalHolder, RESEALED_AT_ONCE, Turn, TurnOrder, turned_batch, turned_record,
};
use kit::{Entropy, Id16};
use proptest::prelude::*;

use crate::centre::{Centre, Mood};

const VAULT: Id16 = Id16(*b"a vault to test.");

fn order(living: &[KeyRecord], epoch: u32) -> TurnOrder {
    let turn = Turn::new(VAULT, epoch, living.iter().map(|record| record.subject));
    TurnOrder { turn, signature: Vec::new() }
}

/// All holders seal `records` again; those that one of them refuses are left out.
fn reseal(centre: &Centre, from: &Batch, records: &[KeyRecord]) -> (Batch, Vec<KeyRecord>) {
    let next: Vec<_> = centre.holders.iter().map(|holder| holder.begin_turn(2).unwrap()).collect();
    let id = Id16(centre.entropy.id());
    let own = centre.holders.iter().map(|holder| holder.own_encapsulation(id).unwrap()).collect();
    let to = turned_batch(id, next[0].epoch(), own).unwrap();
    let by_holder: Vec<_> = centre.holders.iter().map(|holder| holder.reseal(from, &to, records).unwrap()).collect();
    let turned = records.iter().enumerate().filter_map(|(at, record)| {
        let shares: Option<Vec<_>> = by_holder.iter().map(|shares| shares[at]).collect();
        Some(turned_record(record, &to, shares?).unwrap())
    });
    let turned = turned.collect();
    (to, turned)
}

fn confirm(centre: &Centre, to: &Batch, records: &[KeyRecord]) {
    centre.holders.iter().for_each(|holder| holder.confirm(to, records).unwrap());
}

/// The keys stay what they were, for the holders and the custodians; the old records open nothing any more; the erased
/// patient's opens for no holder, whatever becomes of its list of refusals.
#[test]
fn living_subjects_stay_and_erased_ones_go() {
    let centre = Centre::new(3, 5);
    let dealt: Vec<_> = (0..3).map(|_| centre.register()).collect();
    let records: Vec<KeyRecord> = dealt.iter().map(|(record, _)| record.clone()).collect();
    let erased = &records[2];
    centre.keyring(0).erase(erased.subject).unwrap();

    let (to, turned) = reseal(&centre, &centre.batch, &records);
    assert_eq!(turned.len(), 2);
    // Until it is finished, both open.
    let keyring = centre.keyring(0);
    for (record, (old, key)) in turned.iter().zip(&dealt) {
        assert_eq!(keyring.open(record, &to, "dr-a", "treatment").unwrap().bytes(), key.bytes());
        assert_eq!(centre.open(old).unwrap().bytes(), key.bytes());
    }
    confirm(&centre, &to, &turned);
    for holder in &centre.holders {
        holder.finish_turn(&order(&turned, 2)).unwrap();
        holder.finish_turn(&order(&turned, 2)).unwrap();
        assert_eq!(holder.public_key().epoch(), 2);
    }
    for (record, (old, key)) in turned.iter().zip(&dealt) {
        assert_eq!(keyring.open(record, &to, "dr-a", "treatment").unwrap().bytes(), key.bytes());
        assert!(centre.open(old).unwrap_err().to_string().contains("no answer from"));
        // What the custodians hold is in the batch where it was dealt.
        let recovery = centre.package.open(&centre.identities).unwrap();
        assert_eq!(record.recovery_batch(), centre.batch.id);
        assert_eq!(recovery.open(record, &centre.batch).unwrap().bytes(), key.bytes());
        assert!(recovery.open(record, &to).is_err());
        assert_eq!(KeyRecord::from_bytes(&record.to_bytes()).unwrap(), *record);
    }
    // Her refusals forgotten, on every holder: there is no key to her shares any more.
    let folders: Vec<_> = (1..=5).map(|number| centre.folder.path().join(number.to_string())).collect();
    let (batch, record, folder) = (centre.batch.clone(), erased.clone(), centre.folder);
    drop((keyring, centre.holders));
    for folder in &folders {
        let log = fs::read(folder.join("refused.log")).unwrap();
        fs::write(folder.join("refused.log"), &log[..32]).unwrap();
        let holder = LocalHolder::open(folder).unwrap();
        let at = kit::Timestamp(0);
        let asked = keys::OpenRequest { record: &record, batch: &batch, person: "a", purpose: "b", at, proof: None };
        assert!(matches!(holder.open_share(&asked), Err(HolderError::Epoch { wanted: 1, own: 2, .. })));
        assert!(!folder.join("holder.key.next").exists());
    }
    drop(folder);
}

/// Nobody's mistake has a living patient's shares destroyed: a holder keeps its old key until
/// exactly those that the order names were found to open with the next one.
#[test]
fn nothing_is_destroyed_before_all_is_there() {
    let centre = Centre::new(2, 3);
    let records: Vec<KeyRecord> = (0..4).map(|_| centre.register().0).collect();
    let one = &centre.holders[0];
    assert!(matches!(one.finish_turn(&order(&[], 2)), Err(HolderError::NoTurn { wanted: 2, .. })));
    let (to, turned) = reseal(&centre, &centre.batch, &records);
    let refused = |order: &TurnOrder| matches!(one.finish_turn(order), Err(HolderError::NotConfirmed { .. }));
    assert!(refused(&order(&turned, 2)));
    one.confirm(&to, &turned[..3]).unwrap();
    assert!(refused(&order(&turned, 2)));
    assert!(refused(&order(&turned[..2], 2)));
    // What doesn't open doesn't count: its share is another record's.
    let mut swapped = turned[3].clone();
    swapped.shares = turned[2].shares.clone();
    assert!(matches!(one.confirm(&to, &[swapped]), Err(HolderError::Sealed { .. })));
    assert!(refused(&order(&turned, 2)));
    one.confirm(&to, &turned[3..]).unwrap();
    assert!(matches!(one.finish_turn(&order(&turned, 3)), Err(HolderError::NoTurn { wanted: 3, .. })));
    one.finish_turn(&order(&turned, 2)).unwrap();
    assert!(records.iter().zip(&turned).all(|(old, new)| old.subject == new.subject));
}

/// A holder seals to no encapsulation that another made: whoever made one could open what is sealed in it.
#[test]
fn it_seals_to_its_own_encapsulation_only() {
    let centre = Centre::new(2, 3);
    let (record, _) = centre.register();
    let public: Vec<_> = centre.holders.iter().map(|holder| holder.begin_turn(2).unwrap()).collect();
    let (_, theirs) = keys::Dealer::new(&public, &centre.recovery, 2, 2, &centre.entropy).unwrap();
    let one = &centre.holders[0];
    let records = [record];
    assert!(matches!(one.reseal(&centre.batch, &theirs, &records), Err(HolderError::NotOwn { number: 1 })));
    // Nor to its own, for another batch or in another's place.
    let own = |id: Id16| centre.holders.iter().map(|holder| holder.own_encapsulation(id).unwrap()).collect::<Vec<_>>();
    let (a, b) = (Id16([1; 16]), Id16([2; 16]));
    assert_eq!(own(a), own(a));
    assert_ne!(own(a), own(b));
    assert!(matches!(
        one.reseal(&centre.batch, &turned_batch(a, 2, own(b)).unwrap(), &records),
        Err(HolderError::NotOwn { .. })
    ));
    let mut turned_round = own(a);
    turned_round.rotate_left(1);
    assert!(matches!(
        one.reseal(&centre.batch, &turned_batch(a, 2, turned_round).unwrap(), &records),
        Err(HolderError::NotOwn { .. })
    ));
    one.reseal(&centre.batch, &turned_batch(a, 2, own(a)).unwrap(), &records).unwrap();
    let many = vec![records[0].clone(); RESEALED_AT_ONCE + 1];
    assert!(matches!(
        one.reseal(&centre.batch, &turned_batch(a, 2, own(a)).unwrap(), &many),
        Err(HolderError::TooLong { .. })
    ));
}

/// A thief of a gateway deals a share that he knows to the holder's public key, for the patient and with the salt of a real
/// record, and has both sealed again in one batch: under one key, their difference would tell him the real share.
#[test]
fn a_made_up_record_is_sealed_under_another_key() {
    let centre = Centre::new(1, 1);
    let (record, key) = centre.register();
    let public: Vec<_> = centre.holders.iter().map(|holder| holder.begin_turn(2).unwrap()).collect();
    let holder = &centre.holders[0];
    let id = Id16([5; 16]);
    let to = turned_batch(id, public[0].epoch(), vec![holder.own_encapsulation(id).unwrap()]).unwrap();
    // With t = 1 a share is the key itself; the salt is drawn first by a dealer with the same entropy.
    struct Salted([u8; 16], kit::SeededEntropy);
    impl Entropy for Salted {
        fn fill(&self, out: &mut [u8]) {
            self.1.fill(out);
        }
        fn id(&self) -> [u8; 16] {
            self.0
        }
    }
    let salted = Salted(*record.salt, kit::SeededEntropy::new(9));
    let now = centre.public_keys();
    let (dealer, forged_batch) = keys::Dealer::new(&now, &centre.recovery, 1, 1, &centre.entropy).unwrap();
    let known = keys::DataKey::random(&centre.entropy);
    let forged = dealer.deal(record.subject, &known, &salted).unwrap();
    assert_eq!(forged.salt, record.salt);
    let seal = |from: &Batch, record: &KeyRecord| {
        holder.reseal(from, &to, std::slice::from_ref(record)).unwrap().remove(0).unwrap()
    };
    let (real, made_up) = (seal(&centre.batch, &record), seal(&forged_batch, &forged));
    let found: Vec<u8> = (0..32).map(|at| real[at] ^ made_up[at] ^ known.bytes()[at]).collect();
    assert_ne!(found, key.bytes(), "the share is told");
}

/// Cut short anywhere, it is gone on with: the next key is made once, and what was confirmed is confirmed again.
#[test]
fn a_turn_survives_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("1");
    let entropy = kit::SeededEntropy::new(5);
    let first = LocalHolder::init_in(&dir, 1, 7, &entropy).unwrap();
    let (_, recovery) = keys::CustodianPackage::establish(1, &[keys::new_identity().1], &entropy).unwrap();
    let (dealer, batch) = keys::Dealer::new(&[first.public_key()], &recovery, 1, 7, &entropy).unwrap();
    let record = dealer.deal(Id16(entropy.id()), &keys::DataKey::random(&entropy), &entropy).unwrap();
    let next = first.begin_turn(8).unwrap();
    let own = first.own_encapsulation(Id16([3; 16])).unwrap();
    drop(first);

    let again = LocalHolder::open(&dir).unwrap();
    assert!(again.has_key(&next) && again.public_key().epoch() == 7);
    assert_eq!(again.begin_turn(8).unwrap(), next);
    assert_eq!(again.own_encapsulation(Id16([3; 16])).unwrap(), own);
    let to = turned_batch(Id16([3; 16]), 8, vec![own]).unwrap();
    let shares = again.reseal(&batch, &to, std::slice::from_ref(&record)).unwrap();
    let turned = turned_record(&record, &to, shares.into_iter().flatten().collect()).unwrap();
    again.confirm(&to, std::slice::from_ref(&turned)).unwrap();
    drop(again);

    let last = LocalHolder::open(&dir).unwrap();
    let order = order(std::slice::from_ref(&turned), 8);
    assert!(matches!(last.finish_turn(&order), Err(HolderError::NotConfirmed { found: 0, wanted: 1, .. })));
    last.confirm(&to, std::slice::from_ref(&turned)).unwrap();
    last.finish_turn(&order).unwrap();
    drop(last);
    let after = LocalHolder::open(&dir).unwrap();
    assert_eq!(after.public_key(), next);
    assert!(matches!(after.reseal(&batch, &to, &[record]), Err(HolderError::Epoch { wanted: 7, own: 8, .. })));
}

/// One holder that gives other bytes than its share spoils its own share only, and is named when the key is opened.
#[test]
fn a_lying_holder_spoils_its_own_share_only() {
    let centre = Centre::new(3, 5);
    let (record, key) = centre.register();
    let (to, mut turned) = reseal(&centre, &centre.batch, std::slice::from_ref(&record));
    turned[0].shares[4] = [9; 48].into();
    centre.holders[0].set(Mood::Silent);
    let opened = centre.keyring(0).open(&turned[0], &to, "dr-a", "treatment").unwrap();
    assert_eq!(opened.bytes(), key.bytes());
}

proptest! {
    #[test]
    fn an_order_names_exactly_its_subjects(ids in prop::collection::vec(any::<[u8; 16]>(), 0..20), more in any::<[u8; 16]>()) {
        let ids: Vec<Id16> = ids.into_iter().map(Id16).collect();
        let turn = Turn::new(VAULT, 2, ids.iter().copied());
        let turned_round = Turn::new(VAULT, 2, ids.iter().rev().copied().chain(ids.iter().copied()));
        prop_assert_eq!(&turn, &turned_round);
        prop_assert_eq!(&Turn::from_bytes(&turn.to_bytes()).unwrap(), &turn);
        if !ids.contains(&Id16(more)) {
            prop_assert_ne!(Turn::new(VAULT, 2, ids.iter().copied().chain([Id16(more)])), turn);
        }
    }
}
