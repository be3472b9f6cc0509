//! Keeping and fetching, with every server there.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kit::{Entropy, Explain, PatientId};
use ledger::check_consistency;
use vault::{Group, Mode, Parcel, SHARD_BYTES_MAX, Scope, VaultError};

use crate::centre::{Centre, noise, parcel};

const MIB: usize = 1024 * 1024;

#[test]
fn what_is_kept_is_fetched_byte_for_byte() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let sizes = [0, 1, 8 * 1024, MIB, 3 * MIB - 1, 3 * MIB, 3 * MIB + 1, 20 * MIB];
    let mut kept = Vec::new();
    for (seed, &size) in sizes.iter().enumerate() {
        for payload in [noise(size, seed as u64), vec![b'a'; size]] {
            for scope in [Scope::Patient(patient), Scope::Centre] {
                let group = centre.group(vec![], vec![parcel(scope, "test.bytes", payload.clone())]);
                let receipts = vault.keep(group.clone()).unwrap();
                assert_eq!(receipts.len(), 1);
                assert_eq!((receipts[0].durable, receipts[0].survives), (14, 11));
                kept.push((receipts[0].clone(), group, payload.clone()));
            }
        }
    }
    let check = |vault: &vault::Vault| {
        for (receipt, group, payload) in &kept {
            let (entry, fetched) = vault.fetch(receipt.index, "dr-a", "treatment").unwrap();
            assert!(*fetched == *payload, "{} bytes", payload.len());
            assert_eq!(entry.payload_len, Some(payload.len() as u64));
            assert_eq!((entry.scope, entry.kind.as_str()), (group.parcels[0].scope, "test.bytes"));
            assert_eq!(
                (entry.operation, entry.permit, &entry.meta),
                (group.operation, group.permit, &group.parcels[0].meta)
            );
            assert_eq!((entry.leaf, entry.segment), (receipt.leaf, receipt.segment));
        }
    };
    check(&vault);
    let (size, checkpoint) = (vault.size(), vault.checkpoint());
    drop(vault);
    // A dropped vault reopened, with what the gateway remembers, and without.
    let vault = centre.open().unwrap();
    assert_eq!((vault.size(), vault.checkpoint()), (size, checkpoint.clone()));
    let opened = vault.health().opened;
    assert!(opened.keymap_remembered && opened.hashes_remembered, "{opened:?}");
    assert_eq!((opened.adopted_segments, opened.abandoned_segments), (0, 0));
    check(&vault);
    drop(vault);
    std::fs::remove_dir_all(centre.gateway()).unwrap();
    let vault = centre.open().unwrap();
    assert_eq!((vault.size(), vault.checkpoint()), (size, checkpoint));
    assert!(!vault.health().opened.hashes_remembered);
    check(&vault);
    assert!(vault.verify().unwrap().is_clean());
}

#[test]
fn one_folder_is_a_vault_too() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let payload = noise(5 * MIB, 1);
    let group = centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", payload.clone())]);
    let receipt = vault.keep(group).unwrap().remove(0);
    assert_eq!((receipt.durable, receipt.survives), (1, 0));
    drop(vault);
    let vault = centre.open().unwrap();
    assert!(*vault.fetch(receipt.index, "a", "b").unwrap().1 == payload);
    assert!(vault.verify().unwrap().is_clean());
}

#[test]
fn a_group_is_kept_whole_and_in_one_segment() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let (a, b) = (PatientId([1; 16]), PatientId([2; 16]));
    let parcels = vec![
        parcel(Scope::Patient(a), "x", noise(2 * MIB, 1)),
        parcel(Scope::Patient(b), "y", noise(5 * MIB, 2)),
        Parcel { payload: None, ..parcel(Scope::Centre, "z", vec![]) },
        parcel(Scope::Patient(a), "w", noise(100, 3)),
    ];
    let receipts = vault.keep(centre.group(vec![a, b], parcels.clone())).unwrap();
    assert_eq!(receipts.len(), 4);
    let segments: HashSet<u64> = receipts.iter().map(|receipt| receipt.segment).collect();
    assert_eq!(segments.len(), 1);
    for (receipt, parcel) in receipts.iter().zip(&parcels) {
        match &parcel.payload {
            Some(payload) => assert!(*vault.fetch(receipt.index, "a", "b").unwrap().1 == *payload),
            None => assert!(matches!(vault.fetch(receipt.index, "a", "b"), Err(VaultError::NoPayload { .. }))),
        }
    }
    // All or none: one bad parcel, and nothing of the group is kept.
    let size = vault.size();
    let mut bad = parcels.clone();
    bad[3].scope = Scope::Patient(PatientId([9; 16]));
    assert!(matches!(vault.keep(centre.group(vec![], bad)), Err(VaultError::UnknownPatient)));
    assert_eq!(vault.size(), size);
    assert!(matches!(vault.keep(centre.group(vec![a], vec![])), Err(VaultError::PatientExists)));
    let twice = PatientId([3; 16]);
    assert!(matches!(vault.keep(centre.group(vec![twice, twice], vec![])), Err(VaultError::PatientExists)));
    assert_eq!(vault.keep(centre.group(vec![twice], vec![])).unwrap(), []);
    assert!(vault.is_registered(twice) && !vault.is_registered(PatientId([9; 16])));
}

#[test]
fn limits_are_typed() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let empty = |kind: &str| Parcel { scope: Scope::Centre, kind: kind.to_owned(), meta: vec![], payload: None };
    let code = |group: Group| vault.keep(group).unwrap_err().code();
    for kind in ["", "Upper", "a b", "vault.key", &"k".repeat(33)] {
        assert_eq!(code(centre.group(vec![], vec![empty(kind)])), "vault.kind", "{kind}");
    }
    let large = Parcel { meta: vec![0; 64 * 1024 + 1], ..empty("a") };
    assert_eq!(code(centre.group(vec![], vec![large])), "vault.too-large");
    assert_eq!(code(centre.group(vec![], vec![])), "vault.group");
    assert_eq!(code(centre.group(vec![], vec![empty("a"); kit::limits::GROUP_PARCELS_MAX + 1])), "vault.group");
    let heads = vec![Parcel { meta: vec![0; 64 * 1024], ..empty("a") }; SHARD_BYTES_MAX / (64 * 1024)];
    assert_eq!(code(centre.group(vec![], heads)), "vault.group");
    assert_eq!(vault.keep(centre.group(vec![], vec![empty("a"); 1_000])).unwrap().len(), 1_000);
    assert_eq!(vault.entry(1_000).unwrap_err().code(), "vault.no-such-entry");
    let log = format!("{:?} {:?}", vault.entry(0).unwrap(), parcel(Scope::Centre, "a", b"secret".to_vec()));
    assert!(!log.contains("secret") && !log.contains("meta of"), "{log}");
}

#[test]
fn many_write_at_once_and_all_are_kept() {
    const WRITERS: usize = 16;
    const EACH: usize = 20;
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let start = std::time::Instant::now();
    let kept: Vec<(u64, Vec<u8>)> = thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (centre, vault) = (&centre, &vault);
                scope.spawn(move || {
                    let patient = centre.patient(vault);
                    (0..EACH)
                        .map(|n| {
                            let payload = noise(if n == 7 { 4 * MIB } else { 8 * 1024 }, (writer * EACH + n) as u64);
                            let parcel = parcel(Scope::Patient(patient), "test.record", payload.clone());
                            let receipt = vault.keep(centre.group(vec![], vec![parcel])).unwrap().remove(0);
                            (receipt.index, payload)
                        })
                        .collect::<Vec<_>>()
                })
            })
            .collect();
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    });
    println!("{} records in {:?}", kept.len(), start.elapsed());
    assert_eq!(kept.iter().map(|(index, _)| index).collect::<HashSet<_>>().len(), WRITERS * EACH);
    for (index, payload) in &kept {
        assert!(*vault.fetch(*index, "a", "b").unwrap().1 == *payload);
    }
    let mut next = 0;
    let scanned = vault
        .scan(0, &mut |entry| {
            assert_eq!(entry.index, next);
            next += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((scanned, next), (vault.size(), vault.size()));
    // Group commit: far fewer segments than records.
    assert!(vault.health().segments < vault.size() / 2, "{:?}", vault.health().segments);
    assert!(vault.verify().unwrap().is_clean());
}

#[test]
fn the_log_proves_what_it_holds() {
    let centre = Centre::new(1, 1, 1, 1);
    let vault = centre.found();
    let mut heads = Vec::new();
    for n in 0..10 {
        let receipt = vault.keep(centre.group(vec![], vec![parcel(Scope::Centre, "a", vec![n])])).unwrap().remove(0);
        let checkpoint = vault.checkpoint().unwrap();
        assert_eq!(checkpoint.size, receipt.tree_size);
        assert_eq!(
            ledger::SignedCheckpoint::open(&vault.signed_checkpoint().unwrap(), &vault.vkey()).unwrap(),
            checkpoint
        );
        heads.push(checkpoint);
    }
    for index in 0..vault.size() {
        let proof = vault.prove(index).unwrap();
        assert_eq!(proof.check(&vault.vkey(), &[]).unwrap().0, vault.checkpoint().unwrap());
        assert_eq!(proof.leaf, vault.entry(index).unwrap().leaf.into());
    }
    let last = heads.last().unwrap();
    for head in &heads {
        let path = vault.prove_consistency(head.size, last.size).unwrap();
        check_consistency(&path, head.size, head.root, last.size, last.root).unwrap();
    }
}

#[test]
fn an_erased_patient_stays_in_the_log_and_is_opened_by_nobody() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let (gone, stays) = (centre.patient(&vault), centre.patient(&vault));
    let keep = |vault: &vault::Vault, patient| {
        vault.keep(centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", b"plain".to_vec())]))
    };
    let (hers, other) = (keep(&vault, gone).unwrap()[0].index, keep(&vault, stays).unwrap()[0].index);
    vault.fetch(hers, "a", "b").unwrap();
    let erased = vault.erase(gone, None, centre.operation()).unwrap();
    assert_eq!(erased.erasure.refused_by.len(), 14);
    assert_eq!(vault.entry(erased.receipt.unwrap().index).unwrap().kind, "vault.erased");
    let check = |vault: &vault::Vault| {
        assert!(matches!(vault.fetch(hers, "a", "b"), Err(VaultError::Erased)));
        assert_eq!(*vault.fetch(other, "a", "b").unwrap().1, b"plain");
        assert!(matches!(keep(vault, gone), Err(VaultError::Erased)));
        assert_eq!(vault.entry(hers).unwrap().kind, "a");
        assert!(vault.is_erased(gone) && !vault.is_erased(stays));
    };
    check(&vault);
    // Again is no error, and no second entry.
    assert_eq!(vault.erase(gone, None, centre.operation()).unwrap().receipt, None);
    assert!(matches!(vault.erase(PatientId([9; 16]), None, centre.operation()), Err(VaultError::UnknownPatient)));
    drop(vault);
    let vault = centre.open().unwrap();
    check(&vault);
    assert!(vault.verify().unwrap().is_clean());
    drop(vault);
    // Nor by the custodians.
    let key = centre.recovery_key();
    let vault = centre.read_by_custodians(0..14, &key).unwrap();
    assert!(matches!(vault.fetch(hers, "a", "b"), Err(VaultError::Erased)));
    assert_eq!(*vault.fetch(other, "a", "b").unwrap().1, b"plain");
    assert!(matches!(keep(&vault, stays), Err(VaultError::ReadOnly)));
}

#[test]
fn every_fetch_is_counted_by_the_holders() {
    let centre = Centre::new(1, 3, 2, 2);
    let vault = Arc::new(centre.found());
    let patient = centre.patient(&vault);
    let index = vault.keep(centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", vec![1])])).unwrap()[0].index;
    let opened = |vault: &vault::Vault| vault.health().holders.iter().map(|holder| holder.opened).sum::<u64>();
    let before = opened(&vault);
    centre.clock.advance_ms(60_001); // What the keyring kept is too old now.
    vault.fetch(index, "a", "b").unwrap();
    assert_eq!(opened(&vault), before + 2);
}

/// Randomness that fails the committer, and nobody else, from a certain moment on.
struct Tripwire {
    entropy: Arc<dyn Entropy>,
    armed: AtomicBool,
}

impl Entropy for Tripwire {
    fn fill(&self, bytes: &mut [u8]) {
        let committer = thread::current().name() == Some("vault-commit");
        assert!(!(committer && self.armed.load(Ordering::SeqCst)), "the committer's end, as this test wants it");
        self.entropy.fill(bytes);
    }
}

#[test]
fn a_committer_that_ends_leaves_nobody_waiting() {
    let centre = Centre::new(1, 1, 1, 1);
    drop(centre.found());
    let tripwire = Arc::new(Tripwire { entropy: centre.entropy.clone(), armed: AtomicBool::new(false) });
    let mut opening = centre.opening(Mode::Write);
    opening.entropy = tripwire.clone();
    let vault = Arc::new(vault::open(opening).unwrap());
    tripwire.armed.store(true, Ordering::SeqCst);
    let (told, tell) = mpsc::channel();
    for seed in 0..3 {
        let (vault, told) = (Arc::clone(&vault), told.clone());
        let group = centre.group(vec![], vec![parcel(Scope::Centre, "a", noise(500, seed))]);
        thread::spawn(move || {
            let kept = vault.keep(group).map(drop);
            drop(vault);
            told.send(kept).unwrap();
        });
    }
    for _ in 0..3 {
        // Without an end to it this would be for ever.
        let kept = tell.recv_timeout(Duration::from_secs(60)).expect("a caller waits for ever");
        assert!(matches!(kept, Err(VaultError::Closed)), "{kept:?}");
    }
    thread::spawn(move || {
        drop(vault);
        told.send(Ok(())).unwrap();
    });
    tell.recv_timeout(Duration::from_secs(60)).expect("closing takes for ever").unwrap();
}
