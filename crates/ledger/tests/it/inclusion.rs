//! Proofs that are handed on: read as they were written, and believed by nobody who has other keys.

use ledger::{TLOG_PROOF_BYTES_MAX, TlogProof, WitnessVkey, cosign};

use super::*;
use crate::cosignature::{TIME_S, Witness};

fn log_key() -> Signer {
    Signer::new(1)
}

fn witness_keys(count: u8) -> Vec<WitnessVkey> {
    (0..count).map(|number| Witness::new(number).vkey()).collect()
}

fn proof(size: u64, index: u64, cosigned: u8) -> (TlogProof, Checkpoint) {
    let (tree, log) = (tree_of(&numbered(size)), log_key());
    let head = Checkpoint { origin: log.name().to_owned(), size, root: tree.root().unwrap() };
    let lines: Vec<_> = (0..cosigned).map(|number| cosign(&head, &Witness::new(number), TIME_S).unwrap()).collect();
    let checkpoint = head.sign(&log).unwrap().with_cosignatures(&lines).unwrap();
    let path = tree.prove_inclusion(index, size).unwrap();
    (TlogProof { index, leaf: tree.leaf(index).unwrap(), path, checkpoint }, head)
}

proptest! {
    #[test]
    fn a_proof_is_read_as_it_was_written_and_checks(size in 1_u64..300, at in any::<u64>(), cosigned in 0_u8..4) {
        let (proof, head) = proof(size, at % size, cosigned);
        let bytes = proof.to_bytes();
        prop_assert!(bytes.len() <= TLOG_PROOF_BYTES_MAX);
        let read = TlogProof::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&read, &proof);
        let (checkpoint, by) = read.check(&log_key().vkey(), &witness_keys(4)).unwrap();
        prop_assert_eq!((checkpoint, by), (head, (0..usize::from(cosigned)).collect()));
        // Under another log's key, of another leaf, at another place: of nothing.
        let other = Vkey::new("other.example", log_key().vkey().public_key()).unwrap();
        prop_assert!(read.check(&other, &[]).is_err());
        let another = TlogProof { leaf: leaf_hash(b"another"), ..read.clone() };
        let refused = another.check(&log_key().vkey(), &[]);
        prop_assert!(matches!(refused, Err(LedgerError::NotIncluded { .. })), "{:?}", refused);
        let elsewhere = TlogProof { index: read.index + 1, ..read };
        prop_assert!(elsewhere.check(&log_key().vkey(), &[]).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = TlogProof::from_bytes(&bytes);
    }
}

#[test]
fn every_byte_counts_and_other_forms_are_none() {
    let (proof, _) = proof(100, 37, 3);
    let bytes = proof.to_bytes();
    for at in 0..bytes.len() {
        let mut other = bytes.clone();
        other[at] ^= 1;
        let good = TlogProof::from_bytes(&other).and_then(|read| read.check(&log_key().vkey(), &witness_keys(3)));
        // A cosignature's name may become one that nobody knows: then it is one fewer.
        assert!(good.is_err() || good.unwrap().1.len() < 3, "byte {at}");
        // Cut behind a cosignature, it has lost the later ones.
        let cut = TlogProof::from_bytes(&bytes[..at]).and_then(|read| read.check(&log_key().vkey(), &witness_keys(3)));
        assert!(cut.is_err() || cut.unwrap().1.len() < 3, "cut at {at}");
    }
    let text = String::from_utf8(bytes).unwrap();
    for (from, to) in [
        ("@v1", "@v2"),
        ("extra ", "Extra "),
        ("index 37", "index 037"),
        ("index 37", "index +37"),
        ("index 37\n", "index 37\n\n"),
        ("c2sp.org", "\u{feff}c2sp.org"),
    ] {
        assert!(TlogProof::from_bytes(text.replacen(from, to, 1).as_bytes()).is_err(), "{from} → {to}");
    }
    let hash = text.lines().nth(3).unwrap();
    let long = text.replacen(hash, &[hash; 70].join("\n"), 1);
    assert!(
        matches!(TlogProof::from_bytes(long.as_bytes()), Err(LedgerError::ProofTooLong { found, max: 65 }) if found > 65)
    );
}
