//! Stored forms: there and back, and every altered byte either refused or survived.

use std::sync::OnceLock;

use keys::{Batch, DataKey, FormatError, HolderPublicKey, KeyRecord, KeysError, RecoveryPublicKey};
use kit::limits::SERVERS_MAX;
use proptest::prelude::*;

use crate::centre::{Centre, same};

fn dealt() -> &'static (Centre, KeyRecord, DataKey) {
    static DEALT: OnceLock<(Centre, KeyRecord, DataKey)> = OnceLock::new();
    DEALT.get_or_init(|| {
        let centre = Centre::new(3, 5);
        let (record, key) = centre.register();
        (centre, record, key)
    })
}

#[test]
fn what_is_written_is_read_back() {
    let (centre, record, _) = dealt();
    assert_eq!(KeyRecord::from_bytes(&record.to_bytes()).unwrap(), *record);
    assert_eq!(Batch::from_bytes(&centre.batch.to_bytes()).unwrap(), centre.batch);
    let public = centre.public_keys()[1].clone();
    assert_eq!(HolderPublicKey::from_bytes(&public.to_bytes()).unwrap(), public);
    assert_eq!((public.number(), public.epoch()), (2, keys::FIRST_EPOCH));
    assert_eq!(RecoveryPublicKey::from_bytes(&centre.recovery.to_bytes()).unwrap(), centre.recovery);
}

#[test]
fn the_largest_centre_fits_the_limits() {
    let centre = Centre::new(SERVERS_MAX as u8, SERVERS_MAX as u8);
    let (record, key) = centre.register();
    let record = KeyRecord::from_bytes(&record.to_bytes()).unwrap();
    Batch::from_bytes(&centre.batch.to_bytes()).unwrap();
    assert!(same(&centre.open(&record).unwrap(), &key));
}

#[test]
fn other_versions_lengths_and_spellings_are_refused() {
    let (centre, record, _) = dealt();
    let bytes = record.to_bytes();
    let refused = |bytes: &[u8]| KeyRecord::from_bytes(bytes).unwrap_err().to_string();
    let altered = |at: usize, to: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = to;
        refused(&bytes)
    };
    assert!(altered(1, 2).contains("version 2, this program reads version 1"));
    assert!(refused(&[bytes.as_slice(), &[0]].concat()).contains("canonical"));
    assert!(refused(&bytes[..bytes.len() - 1]).starts_with("key record"));
    assert!(refused(&[]).starts_with("key record"));
    assert!(refused(&vec![0; 9_000]).contains("9000 bytes, the maximum is 8192"));
    // 0x18 0x01 is a longer spelling of the version 1.
    assert!(refused(&[&bytes[..1], &[0x18, 1], &bytes[2..]].concat()).contains("canonical"));
    // An array head that claims 2^32 - 1 sealed shares must not reserve room for them.
    let heads = bytes.windows(3).position(|window| window == [0x85, 0x58, 0x30]).unwrap();
    assert!(!refused(&[&bytes[..heads], &[0x9a, 0xff, 0xff, 0xff, 0xff], &bytes[heads + 1..]].concat()).is_empty());

    let mut wrong = record.clone();
    wrong.t = 6;
    assert!(refused(&wrong.to_bytes()).contains("t is 6, it must be 1 to 5"));
    wrong.t = 0;
    assert!(refused(&wrong.to_bytes()).contains("t is 0"));
    wrong = record.clone();
    wrong.shares.pop();
    assert!(refused(&wrong.to_bytes()).contains("the number of sealed shares is 4, it must be 5 to 5"));
    wrong = record.clone();
    (wrong.n, wrong.t) = (65, 65);
    assert!(refused(&wrong.to_bytes()).contains("n is 65, it must be 1 to 64"));

    let mut batch = centre.batch.clone();
    batch.encapsulations[0].pop();
    let error = Batch::from_bytes(&batch.to_bytes()).unwrap_err();
    assert!(matches!(error, FormatError::Range { found: 1_119, min: 1_120, .. }), "{error}");
    batch.encapsulations.truncate(1);
    assert!(Batch::from_bytes(&batch.to_bytes()).is_err(), "no holder at all");
}

/// Opens what was altered by all three ways: it is refused, or it gives the right key; it never gives another one.
fn refused_or_right(record: &KeyRecord, batch: &Batch) -> Result<[bool; 2], TestCaseError> {
    let (centre, _, key) = dealt();
    let by_holders = match centre.keyring(0).open(record, batch, "dr-a", "treatment") {
        Ok(opened) => {
            prop_assert!(same(&opened, key));
            true
        }
        Err(error) => {
            prop_assert!(!matches!(error, KeysError::Crypto { .. } | KeysError::Refused { .. }), "{}", error);
            if let KeysError::NotEnoughHolders { lying, .. } = &error {
                prop_assert!(lying.is_empty(), "no holder lied: {}", error);
            }
            false
        }
    };
    let by_custodians = match centre.package.open(&centre.identities).unwrap().open(record, batch) {
        Ok(opened) => {
            prop_assert!(same(&opened, key));
            true
        }
        Err(KeysError::Recovery | KeysError::Format(_)) => false,
        Err(other) => return Err(TestCaseError::fail(other.to_string())),
    };
    Ok([by_holders, by_custodians])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn an_altered_record_is_refused_or_survived(at: prop::sample::Index, bit in 0..8_u32) {
        let (centre, record, _) = dealt();
        let mut bytes = record.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(altered) = KeyRecord::from_bytes(&bytes) {
            refused_or_right(&altered, &centre.batch)?;
        }
    }

    #[test]
    fn an_altered_batch_is_refused_or_survived(at: prop::sample::Index, bit in 0..8_u32) {
        let (centre, record, _) = dealt();
        let mut bytes = centre.batch.to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(altered) = Batch::from_bytes(&bytes) {
            refused_or_right(record, &altered)?;
        }
    }

    #[test]
    fn noise_is_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(KeyRecord::from_bytes(&bytes).is_err());
        prop_assert!(Batch::from_bytes(&bytes).is_err());
        prop_assert!(HolderPublicKey::from_bytes(&bytes).is_err());
        prop_assert!(RecoveryPublicKey::from_bytes(&bytes).is_err());
        prop_assert!(keys::CustodianPackage::from_bytes(&bytes).is_err());
    }
}

#[test]
fn what_each_field_costs_when_it_is_altered() {
    let (centre, record, _) = dealt();
    let outcome = |alter: &dyn Fn(&mut KeyRecord)| {
        let mut altered = record.clone();
        alter(&mut altered);
        refused_or_right(&altered, &centre.batch).unwrap()
    };
    assert_eq!(outcome(&|_| ()), [true, true]);
    assert_eq!(outcome(&|record| record.shares[0][5] ^= 1), [true, true], "four holders are left");
    assert_eq!(outcome(&|record| record.digests[4].0[0] ^= 1), [true, true]);
    assert_eq!(outcome(&|record| record.shares.swap(0, 1)), [true, true], "a swap spoils two of five");
    assert_eq!(outcome(&|record| record.shares.iter_mut().take(3).for_each(|share| share[0] ^= 1)), [false, true]);
    assert_eq!(outcome(&|record| record.recovery[47] ^= 1), [true, false]);
    assert_eq!(outcome(&|record| record.commitment.0[0] ^= 1), [false, false]);
    assert_eq!(outcome(&|record| record.subject.0[0] ^= 1), [false, false], "another patient's name on her key");
    assert_eq!(outcome(&|record| record.salt[0] ^= 1), [false, false]);
    assert_eq!(outcome(&|record| record.t = 2), [false, false]);
    assert_eq!(outcome(&|record| record.batch.0[0] ^= 1), [false, false]);

    let mut batch = centre.batch.clone();
    batch.epoch += 1;
    assert_eq!(refused_or_right(record, &batch).unwrap(), [false, false]);
    batch = centre.batch.clone();
    batch.encapsulations.swap(0, 5);
    assert_eq!(refused_or_right(record, &batch).unwrap(), [true, false]);
}

#[test]
fn an_altered_batch_does_not_stay_in_the_honest_ones_place() {
    let centre = Centre::new(2, 2);
    let (record, key) = centre.register();
    let mut altered = centre.batch.clone();
    altered.encapsulations.iter_mut().for_each(|encapsulation| encapsulation[9] ^= 1);
    assert!(centre.keyring(0).open(&record, &altered, "dr-a", "treatment").is_err());
    assert!(same(&centre.open(&record).unwrap(), &key));
}
