//! Opening, erasing, and what misbehaving holders can and can't do.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use keys::{AbsentHolder, DataKey, Dealer, FIRST_EPOCH, Holder, KeyRecord, Keyring, KeysError};
use kit::{Entropy, Explain, Id16, ManualClock};
use proptest::prelude::*;

use crate::centre::{Centre, Mood, all, same};

/// 3 of 5 holders, and 12 of 14; built once, since their folders are real.
fn shared(large: bool) -> (&'static Centre, std::sync::MutexGuard<'static, ()>) {
    static SMALL: OnceLock<Centre> = OnceLock::new();
    static LARGE: OnceLock<Centre> = OnceLock::new();
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let centre =
        if large { LARGE.get_or_init(|| Centre::new(12, 14)) } else { SMALL.get_or_init(|| Centre::new(3, 5)) };
    (centre, turn)
}

fn moods() -> impl Strategy<Value = Vec<Mood>> {
    let mood =
        prop_oneof![3 => Just(Mood::Honest), 1 => Just(Mood::Silent), 1 => Just(Mood::Lying), 1 => Just(Mood::Posing)];
    proptest::collection::vec(mood, 14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Any t honest holders open; t − 1 never do, whatever the others say, and the error names the liars among those
    /// who were asked and the silent ones.
    #[test]
    fn t_honest_holders_open_and_fewer_never_do(large: bool, moods in moods()) {
        let (centre, _turn) = shared(large);
        let moods: HashMap<u8, Mood> = (1..).zip(moods).take(centre.holders.len()).collect();
        centre.moods(&moods);
        let having = |wanted: &[Mood]| -> Vec<u8> {
            let having = moods.iter().filter(|(_, mood)| wanted.contains(mood));
            let mut numbers: Vec<u8> = having.map(|(&number, _)| number).collect();
            numbers.sort_unstable();
            numbers
        };
        let (record, key) = centre.register();
        match centre.open(&record) {
            Ok(opened) => {
                prop_assert!(having(&[Mood::Honest]).len() >= usize::from(centre.t));
                prop_assert!(same(&opened, &key));
            }
            Err(KeysError::NotEnoughHolders { have, need, erased, mut silent, mut lying }) => {
                prop_assert_eq!(have, having(&[Mood::Honest]).len());
                prop_assert!(have < need && need == usize::from(centre.t));
                prop_assert!(erased.is_empty());
                silent.sort_unstable();
                lying.sort_unstable();
                prop_assert_eq!((silent, lying), (having(&[Mood::Silent]), having(&[Mood::Lying, Mood::Posing])));
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}

#[test]
fn every_choice_of_t_holders_opens_and_every_choice_of_one_fewer_does_not() {
    let centre = Centre::new(3, 5);
    let (record, key) = centre.register();
    for mask in 0_u32..32 {
        let silent = (1..=5_u8).filter(|number| mask >> (number - 1) & 1 == 0).map(|number| (number, Mood::Silent));
        centre.moods(&silent.collect());
        match (mask.count_ones(), centre.open(&record)) {
            (3.., Ok(opened)) => assert!(same(&opened, &key)),
            (have @ 0..3, Err(KeysError::NotEnoughHolders { have: found, need: 3, .. })) => {
                assert_eq!(found, have as usize);
            }
            (have, result) => panic!("{have} holders gave {result:?}"),
        }
    }
}

/// Two holders of five may refuse; where a third does, the error says which of the reasons it is.
#[test]
fn why_holders_refuse_is_said() {
    let centre = Centre::new(3, 5);
    let (record, key) = centre.register();
    for (mood, code, health) in [
        (Mood::OverBudget, "keys.over-budget", "keys.holder-over-budget"),
        (Mood::Unproven, "keys.unproven", "keys.holder-unproven"),
        (Mood::Off, "keys.clock", "keys.holder-clock"),
    ] {
        centre.moods(&all([1, 4], mood));
        assert!(same(&centre.open(&record).unwrap(), &key), "{mood:?}");
        centre.moods(&all([1, 4, 5], mood));
        let keyring = centre.keyring(0);
        let error = keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains('1') && error.guidance().is_some(), "{error}");
        let refused = keyring.health().into_iter().filter(|holder| holder.last_error == Some(health));
        assert_eq!(refused.map(|holder| holder.number).collect::<Vec<_>>(), [1, 4, 5], "{mood:?}");
    }
}

#[test]
fn one_folder_opens_for_itself() {
    let centre = Centre::new(1, 1);
    let (record, key) = centre.register();
    assert!(same(&centre.open(&record).unwrap(), &key));
    let centre = Centre::new(1, 3);
    let (record, key) = centre.register();
    centre.moods(&all([1, 3], Mood::Lying));
    assert!(same(&centre.open(&record).unwrap(), &key));
}

#[test]
fn a_lying_holder_is_named_and_survived() {
    let centre = Centre::new(3, 5);
    centre.moods(&HashMap::from([(2, Mood::Lying), (4, Mood::Posing)]));
    let keyring = centre.keyring(0);
    for _ in 0..20 {
        let (record, key) = centre.register();
        assert!(same(&keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap(), &key));
    }
    for holder in keyring.health() {
        let lies = [2, 4].contains(&holder.number);
        assert_eq!((holder.lies > 0, holder.good > 0), (lies, !lies), "{holder:?}");
        assert_eq!(holder.opened, holder.good + holder.lies, "each holder counted what it opened: {holder:?}");
    }
    centre.moods(&HashMap::from([(2, Mood::Lying), (4, Mood::Posing), (5, Mood::Silent)]));
    let (record, _) = centre.register();
    let error = centre.open(&record).unwrap_err();
    let KeysError::NotEnoughHolders { have: 2, need: 3, silent, lying, .. } = &error else { panic!("{error}") };
    assert_eq!((silent.len(), lying.len()), (1, 2));
    assert_eq!(error.code(), "keys.not-enough-holders");
}

#[test]
fn only_t_holders_are_asked_and_the_cache_asks_none() {
    let centre = Centre::new(3, 5);
    let keyring = centre.keyring(1_000);
    let opened = || keyring.health().iter().map(|holder| holder.opened).sum::<u64>();
    let (record, key) = centre.register();
    let open = |record: &KeyRecord| keyring.open(record, &centre.batch, "dr-a", "treatment").unwrap();
    assert!(same(&open(&record), &key));
    assert_eq!(opened(), 3);
    assert!(same(&open(&record), &key));
    assert_eq!(opened(), 3, "the second came from the cache");

    // Another person asks for herself: it is counted to her.
    for _ in 0..2 {
        assert!(same(&keyring.open(&record, &centre.batch, "dr-b", "treatment").unwrap(), &key));
    }
    assert_eq!(opened(), 6);
    let opened = || opened() - 3;

    // Dealt again: another record, another key, though it is the same subject.
    let other = DataKey::random(&centre.entropy);
    let again = centre.dealer.deal(record.subject, &other, &centre.entropy).unwrap();
    assert!(same(&open(&again), &other));
    assert!(same(&open(&record), &key));
    assert_eq!(opened(), 9);

    centre.clock.advance_ms(999);
    open(&record);
    assert_eq!(opened(), 9);
    centre.clock.advance_ms(1);
    open(&record);
    assert_eq!(opened(), 12, "kept for 1,000 ms and no longer");
    centre.clock.advance_ms(-10);
    open(&record);
    assert_eq!(opened(), 15, "a clock that was set back keeps nothing longer");
    centre.clock.advance_ms(999);
    open(&record);
    assert_eq!(opened(), 15);
    centre.clock.advance_ms(1);
    open(&record);
    assert_eq!(opened(), 18);
}

#[test]
fn kept_keys_are_dropped_when_they_expire() {
    let centre = Centre::new(1, 1);
    let keyring = centre.keyring(1_000);
    let (record, _) = centre.register();
    let weak = Arc::downgrade(&keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap());
    assert!(weak.upgrade().is_some(), "kept");
    centre.clock.advance_ms(1_000);
    keyring.health();
    assert!(weak.upgrade().is_none(), "and zeroized, since the last owner is gone");
}

#[test]
fn the_cache_is_bounded() {
    let centre = Centre::new(1, 1);
    let keyring = centre.keyring(u64::MAX);
    let (first, _) = centre.register();
    let weak = Arc::downgrade(&keyring.open(&first, &centre.batch, "dr-a", "treatment").unwrap());
    for _ in 0..4_095 {
        keyring.open(&centre.register().0, &centre.batch, "dr-a", "treatment").unwrap();
    }
    assert!(weak.upgrade().is_some(), "4,096 keys are kept");
    keyring.open(&centre.register().0, &centre.batch, "dr-a", "treatment").unwrap();
    assert!(weak.upgrade().is_none(), "and not one more");
}

#[test]
fn an_erased_subject_is_refused_and_nobody_else_is() {
    let centre = Centre::new(3, 5);
    let keyring = centre.keyring(60_000);
    let ((record, _), (neighbour, key)) = (centre.register(), centre.register());
    keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap();
    let erasure = keyring.erase(record.subject).unwrap();
    assert_eq!((erasure.refused_by, erasure.silent), (vec![1, 2, 3, 4, 5], vec![]));
    let error = keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap_err();
    let KeysError::Refused { by } = &error else { panic!("{error}") };
    assert_eq!(by.len(), 3, "two that don't refuse could not open her: nobody else need be asked");
    assert!(!format!("{error} {error:?}").contains(&record.subject.to_string()));
    assert!(same(&keyring.open(&neighbour, &centre.batch, "dr-a", "treatment").unwrap(), &key));
    assert_eq!(keyring.erase(record.subject).unwrap().refused_by.len(), 5, "it may be repeated");
}

#[test]
fn an_erasure_that_too_few_holders_heard_says_so_and_can_be_completed() {
    let centre = Centre::new(3, 5);
    let (record, _) = centre.register();
    centre.moods(&all([1, 3, 5], Mood::Silent));
    let keyring = centre.keyring(60_000);
    let error = keyring.erase(record.subject).unwrap_err();
    let KeysError::NotErased { have: 2, need: 3, refused_by, silent } = error else { panic!("{error}") };
    assert_eq!((refused_by, silent), (vec![2, 4], vec![1, 3, 5]));

    // Two refuse, two are silent: that is not yet an erasure.
    centre.moods(&all([1, 3], Mood::Silent));
    let error = keyring.open(&record, &centre.batch, "dr-a", "treatment").unwrap_err();
    let KeysError::NotEnoughHolders { have: 1, need: 3, erased, .. } = error else { panic!("{error}") };
    assert_eq!(erased.len(), 2);

    centre.moods(&all([1], Mood::Silent));
    let erasure = keyring.erase(record.subject).unwrap();
    assert_eq!((erasure.refused_by, erasure.silent), (vec![2, 3, 4, 5], vec![1]));
    centre.moods(&HashMap::new());
    assert!(matches!(keyring.open(&record, &centre.batch, "dr-a", "treatment"), Err(KeysError::Refused { .. })));
}

#[test]
fn absent_holders_keep_their_places() {
    let centre = Centre::new(3, 5);
    let (record, key) = centre.register();
    let ring = |absent: &[u8]| {
        let holders = centre.holders.iter().rev().map(|holder| -> Arc<dyn Holder> {
            if absent.contains(&holder.number()) {
                Arc::new(AbsentHolder::new(holder.public_key()))
            } else {
                holder.clone()
            }
        });
        Keyring::new(holders.collect(), 3, 0, Arc::new(ManualClock::default())).unwrap()
    };
    let opened = ring(&[1, 4]).open(&record, &centre.batch, "dr-a", "treatment").unwrap();
    assert!(same(&opened, &key));
    let error = ring(&[1, 4, 2]).open(&record, &centre.batch, "dr-a", "treatment").unwrap_err();
    assert!(matches!(error, KeysError::NotEnoughHolders { have: 2, need: 3, .. }), "{error}");
}

#[test]
fn a_wrong_shape_numbering_or_epoch_is_refused_at_once() {
    let centre = Centre::new(2, 3);
    let public = centre.public_keys();
    let deal = |keys: &[_], t, epoch| Dealer::new(keys, &centre.recovery, t, epoch, &centre.entropy).map(|_| ());
    deal(&public, 3, FIRST_EPOCH).unwrap();
    assert!(matches!(deal(&public, 0, FIRST_EPOCH), Err(KeysError::Shape { t: 0, n: 3, .. })));
    assert!(matches!(deal(&public, 4, FIRST_EPOCH), Err(KeysError::Shape { t: 4, n: 3, .. })));
    assert!(matches!(deal(&[], 1, FIRST_EPOCH), Err(KeysError::Shape { n: 0, .. })));
    assert!(matches!(deal(&vec![public[0].clone(); 65], 1, FIRST_EPOCH), Err(KeysError::Shape { n: 65, .. })));
    assert!(matches!(deal(&public[1..], 1, FIRST_EPOCH), Err(KeysError::Numbering { place: 1, found: 2 })));
    assert!(matches!(deal(&public, 2, 9), Err(KeysError::Epoch { number: 1, found: FIRST_EPOCH, wanted: 9 })));

    let ring = |picked: &[usize], t| {
        let holders = picked.iter().map(|&at| centre.holders[at].clone() as Arc<dyn Holder>).collect();
        Keyring::new(holders, t, 0, centre.clock.clone()).map(|_| ())
    };
    ring(&[2, 0, 1], 2).unwrap();
    assert!(matches!(ring(&[0, 1], 3), Err(KeysError::Shape { t: 3, n: 2, .. })));
    assert!(matches!(ring(&[0, 0, 1], 2), Err(KeysError::Numbering { place: 2, found: 1 })));
    assert!(matches!(ring(&[0, 2], 2), Err(KeysError::Numbering { place: 2, found: 3 })));
}

#[test]
fn dealing_one_key_twice_shares_nothing_between_the_records() {
    let centre = Centre::new(3, 5);
    let (subject, key) = (Id16(centre.entropy.id()), DataKey::random(&centre.entropy));
    let [a, b] = [(); 2].map(|()| centre.dealer.deal(subject, &key, &centre.entropy).unwrap());
    assert_ne!(a.salt, b.salt);
    assert_ne!(a.commitment, b.commitment);
    assert!(a.shares.iter().zip(&b.shares).all(|(a, b)| a != b));
    assert!(a.digests.iter().zip(&b.digests).all(|(a, b)| a != b));
    // Under equal keys the difference of two ciphertexts would be that of the shares, and hence zero for the recovery
    // party's, where both seal the very same key.
    assert_ne!(a.recovery, b.recovery);
    for record in [&a, &b] {
        assert!(same(&centre.open(record).unwrap(), &key));
    }
}

#[test]
fn threads_share_one_keyring_and_none_opens_after_an_erasure() {
    fn shared<T: Send + Sync>(_: &T) {}
    let centre = Centre::new(3, 5);
    let keyring = centre.keyring(60_000);
    shared(&(&keyring, &centre.dealer, centre.package.open(&centre.identities).unwrap()));
    for _ in 0..20 {
        let (record, key) = centre.register();
        let erased = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..30 {
                        let was_erased = erased.load(std::sync::atomic::Ordering::SeqCst);
                        match keyring.open(&record, &centre.batch, "dr-a", "treatment") {
                            Ok(opened) => assert!(!was_erased && same(&opened, &key)),
                            Err(KeysError::Refused { .. } | KeysError::NotEnoughHolders { .. }) => (),
                            Err(other) => panic!("{other}"),
                        }
                    }
                });
            }
            keyring.erase(record.subject).unwrap();
            erased.store(true, std::sync::atomic::Ordering::SeqCst);
        });
        assert!(matches!(keyring.open(&record, &centre.batch, "dr-a", "treatment"), Err(KeysError::Refused { .. })));
    }
}
