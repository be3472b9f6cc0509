//! Cosignatures and witnesses: honest growth is cosigned, anything else is refused, and a contradiction rings.

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ledger::{
    AddCheckpoint, Checkpoint, Cosignature, Cosigner, LedgerError, MemoryStore, NoteSigner, Tree, Vkey, WitnessRefusal,
    WitnessVkey, cosign, cosigners, judge, leaf_hash,
};
use proptest::prelude::*;

const NAME: &str = "holdfast/test";
const TIME_S: u64 = 1_795_392_000;

struct Key(Ed25519KeyPair, String);

impl Key {
    fn new(seed: u8, name: &str) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap(), name.to_owned())
    }

    fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().unwrap()
    }

    fn witness(&self) -> WitnessVkey {
        WitnessVkey::new(&self.1, &self.public()).unwrap()
    }

    fn log(&self) -> Vkey {
        Vkey::new(&self.1, &self.public()).unwrap()
    }

    fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).as_ref().try_into().unwrap()
    }
}

impl NoteSigner for Key {
    fn name(&self) -> &str {
        &self.1
    }
    fn key_id(&self) -> u32 {
        self.log().key_id()
    }
    fn sign(&self, text: &[u8]) -> [u8; 64] {
        Key::sign(self, text)
    }
}

impl Cosigner for Key {
    fn name(&self) -> &str {
        &self.1
    }
    fn key_id(&self) -> u32 {
        self.witness().key_id()
    }
    fn sign(&self, text: &[u8]) -> [u8; 64] {
        Key::sign(self, text)
    }
}

/// A log whose leaf `n` says `n`, and from `fork` on something else.
fn tree(size: u64, fork: u64) -> Tree<MemoryStore> {
    let mut tree = Tree::empty(MemoryStore::default()).unwrap();
    let leaf = |n: u64| leaf_hash(format!("{n}{}", if n >= fork { " rewritten" } else { "" }).as_bytes());
    tree.append_all(&(0..size).map(leaf).collect::<Vec<_>>()).unwrap();
    tree
}

fn head(tree: &Tree<MemoryStore>, size: u64) -> Checkpoint {
    Checkpoint { origin: NAME.to_owned(), size, root: tree.root_at(size).unwrap() }
}

fn request(log: &Key, tree: &Tree<MemoryStore>, from: u64, to: u64) -> AddCheckpoint {
    AddCheckpoint {
        old_size: from,
        proof: tree.prove_consistency(from.min(to), to).unwrap(),
        checkpoint: head(tree, to).sign(log).unwrap(),
    }
}

#[test]
fn a_cosignature_is_the_bytes_that_the_specification_says() {
    let (log, witness) = (Key::new(1, NAME), Key::new(2, "witness.example/w1"));
    let tree = tree(7, u64::MAX);
    let checkpoint = head(&tree, 7);
    let made = cosign(&checkpoint, &witness, TIME_S).unwrap();
    // By hand: C2SP tlog-cosignature, "Format" and "Verifier keys".
    let root = BASE64_STANDARD.encode(checkpoint.root.0);
    let message = format!("cosignature/v1\ntime {TIME_S}\n{NAME}\n7\n{root}\n");
    let line = made.line();
    let payload = line.strip_prefix("— witness.example/w1 ").unwrap().strip_suffix('\n').unwrap();
    let payload = BASE64_STANDARD.decode(payload).unwrap();
    let id = ring_of_sha256(&[b"witness.example/w1\n\x04", witness.public().as_slice()].concat());
    assert_eq!(payload[..4], id[..4]);
    assert_eq!(payload[4..12], TIME_S.to_be_bytes());
    UnparsedPublicKey::new(&ED25519, witness.public()).verify(message.as_bytes(), &payload[12..]).unwrap();
    assert_eq!(payload.len(), 76);
    assert_eq!(witness.witness().verify(&checkpoint, &Cosignature::parse(&line).unwrap()).unwrap(), TIME_S);

    // In the note, beside the log's own signature.
    let note = checkpoint.sign(&log).unwrap().with_cosignatures(std::slice::from_ref(&made)).unwrap();
    let other = Key::new(3, "witness.example/w2");
    let known = [other.witness(), witness.witness()];
    let (opened, by) = cosigners(note.bytes(), &log.log(), &known).unwrap();
    assert_eq!((opened, by), (checkpoint.clone(), vec![1]));
    // Of another checkpoint it says nothing, nor at another time, nor under another key.
    assert!(witness.witness().verify(&head(&tree, 6), &made).is_err());
    assert!(witness.witness().verify(&checkpoint, &at(&made, TIME_S + 1)).is_err());
    assert!(other.witness().verify(&checkpoint, &made).is_err());
    assert!(cosign(&checkpoint, &witness, 0).is_err());
    // A line that was altered is an error that names its witness, not one witness fewer.
    let later = cosign(&checkpoint, &witness, TIME_S + 9).unwrap();
    let forged = at(&later, TIME_S);
    let note = checkpoint.sign(&log).unwrap().with_cosignatures(&[forged]).unwrap();
    assert!(matches!(cosigners(note.bytes(), &log.log(), &known), Err(LedgerError::BadSignature { .. })));
}

/// The same with another time.
fn at(made: &Cosignature, time_s: u64) -> Cosignature {
    let mut other = made.clone();
    other.time_s = time_s;
    other
}

fn ring_of_sha256(bytes: &[u8]) -> Vec<u8> {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref().to_vec()
}

#[test]
fn a_witness_follows_one_history() {
    let log = Key::new(1, NAME);
    let honest = tree(40, u64::MAX);
    let mut seen: Option<Checkpoint> = None;
    for (from, to) in [(0, 1), (1, 1), (1, 7), (7, 40)] {
        seen = Some(judge(seen.as_ref(), &request(&log, &honest, from, to), &log.log()).unwrap());
    }
    let refused = |request: &AddCheckpoint| judge(seen.as_ref(), request, &log.log()).unwrap_err();
    // Behind, or from another size: it asks again from 40.
    for (from, to) in [(7, 40), (0, 20), (20, 30)] {
        let error = refused(&request(&log, &honest, from, to));
        assert!(matches!(error, WitnessRefusal::OldSize { has: 40, .. }) && !error.is_alarm(), "{from} {to}: {error}");
    }
    // Rewritten at any leaf, with any proof that the rewriter can make.
    for fork in 0..40 {
        let other = tree(50, fork);
        for to in [40, 41, 50] {
            let error = refused(&request(&log, &other, 40, to));
            assert!(error.is_alarm(), "{fork} {to}: {error}");
        }
    }
    // Another log's, unsigned, or signed by somebody else.
    let stranger = Key::new(9, NAME);
    assert!(matches!(refused(&request(&stranger, &honest, 40, 40)), WitnessRefusal::Unsigned(_)));
    let elsewhere = judge(None, &request(&log, &honest, 0, 3), &Key::new(1, "another/log").log());
    assert!(matches!(elsewhere, Err(WitnessRefusal::Unsigned(_))));
}

proptest! {
    #[test]
    fn growth_is_cosigned_and_nothing_else(from in 0u64..60, more in 0u64..60, fork in 0u64..120) {
        let log = Key::new(1, NAME);
        let to = from + more;
        let (honest, other) = (tree(to, u64::MAX), tree(to, fork));
        let seen = (from > 0).then(|| head(&honest, from));
        prop_assert!(judge(seen.as_ref(), &request(&log, &honest, from, to), &log.log()).is_ok());
        let judged = judge(seen.as_ref(), &request(&log, &other, from, to), &log.log());
        prop_assert_eq!(judged.is_ok(), fork >= from, "seen {}, rewritten from {}", from, fork);
    }

    #[test]
    fn a_request_goes_there_and_back_and_no_changed_byte_is_cosigned(
        from in 1u64..60, more in 1u64..60, at in any::<prop::sample::Index>(), flip in 1u8..
    ) {
        let log = Key::new(1, NAME);
        let honest = tree(from + more, u64::MAX);
        let asked = request(&log, &honest, from, from + more);
        let mut bytes = asked.to_bytes();
        prop_assert_eq!(AddCheckpoint::from_bytes(&bytes).unwrap(), asked);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let seen = head(&honest, from);
        let taken = AddCheckpoint::from_bytes(&bytes).is_ok_and(|asked| judge(Some(&seen), &asked, &log.log()).is_ok());
        prop_assert!(!taken, "byte {}", at);
    }

    #[test]
    fn any_bytes_are_refused_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(AddCheckpoint::from_bytes(&bytes).is_err());
        prop_assert!(Cosignature::parse(&String::from_utf8_lossy(&bytes)).is_err());
    }
}
