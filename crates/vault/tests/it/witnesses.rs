//! Witnesses of the log: how many make a quorum, and what becomes of an entry where they are fewer, or contradict.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ledger::{AddCheckpoint, Checkpoint, Cosigner, WitnessVkey, cosign, cosigners};
use vault::{Said, Scope, VaultError, Weighed, Witness, WitnessAnswer};

use crate::centre::{Centre, parcel};

const COSIGNS: u8 = 0;
const SILENT: u8 = 1;
const CONTRADICTS: u8 = 2;
const WAITS: u8 = 3;

/// Does what a test tells it to; judges nothing.
struct Puppet {
    vkey: WitnessVkey,
    pair: Ed25519KeyPair,
    does: AtomicU8,
    seen: Mutex<u64>,
    is_asked: AtomicBool,
    /// Whoever asks one that waits is held up by it.
    gate: Mutex<()>,
}

impl Puppet {
    fn new(number: u8) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[number; 32]).unwrap();
        let public = pair.public_key().as_ref().try_into().unwrap();
        let vkey = WitnessVkey::new(&format!("server-{number:02}.example"), &public).unwrap();
        Self {
            vkey,
            pair,
            does: AtomicU8::new(COSIGNS),
            seen: Mutex::new(0),
            is_asked: AtomicBool::new(false),
            gate: Mutex::new(()),
        }
    }
}

impl Cosigner for Puppet {
    fn name(&self) -> &str {
        self.vkey.name()
    }
    fn key_id(&self) -> u32 {
        self.vkey.key_id()
    }
    fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message).as_ref().try_into().unwrap()
    }
}

impl Witness for Puppet {
    fn vkey(&self) -> &WitnessVkey {
        &self.vkey
    }

    fn add(&self, request: AddCheckpoint, answer: WitnessAnswer) {
        if self.does.load(Ordering::SeqCst) == WAITS {
            self.is_asked.store(true, Ordering::SeqCst);
            drop(self.gate.lock().unwrap());
            return answer(Said::Silent("a test".to_owned()));
        }
        let text = String::from_utf8(request.checkpoint.bytes().to_vec()).unwrap();
        let body = text.split("\n\n").next().unwrap();
        let checkpoint = Checkpoint::parse(&format!("{body}\n")).unwrap();
        answer(match self.does.load(Ordering::SeqCst) {
            COSIGNS => {
                *self.seen.lock().unwrap() = checkpoint.size;
                Said::Cosigned(cosign(&checkpoint, self, 1_784_000_000).unwrap())
            }
            SILENT => Said::Silent("a test".to_owned()),
            _ => Said::Contradicted("a test".to_owned()),
        });
    }
}

/// A head that a witness kept, beside a log that was put together without it.
#[test]
fn a_head_that_a_witness_kept_is_in_a_log_or_beyond_it_or_of_another_one() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let keep = |at: u8| {
        let parcels = vec![parcel(Scope::Patient(patient), &format!("key-{at}"), vec![at])];
        vault.keep(centre.group(vec![], parcels)).unwrap().remove(0).index + 1
    };
    let mut seen = Vec::new();
    for at in 0..5 {
        let size = keep(at);
        let note = vault.signed_checkpoint().unwrap();
        assert_eq!(vault.weigh(&note, size).unwrap(), Weighed::Within { size });
        assert_eq!(vault.weigh(&note, size - 1).unwrap(), Weighed::Beyond { size });
        seen.push((note, size));
    }
    let forged = vault.danger_heads().unwrap();
    let size = keep(5);
    for (note, then) in &seen {
        assert_eq!(vault.weigh(note, size).unwrap(), Weighed::Within { size: *then }, "the log has grown since");
    }
    for head in &forged {
        let note = AddCheckpoint::from_bytes(&head.request).unwrap().checkpoint;
        let weighed = vault.weigh(note.bytes(), size).unwrap();
        let is_short = head.what == "a history without its last entry";
        assert_eq!(matches!(weighed, Weighed::Within { .. }), is_short, "{}: {weighed:?}", head.what);
        assert_eq!(matches!(weighed, Weighed::Contradicts { .. }), !is_short, "{}: {weighed:?}", head.what);
    }
    // Another centre's.
    let other = Centre::of_fourteen();
    let other = other.found();
    assert!(other.weigh(&seen[0].0, size).is_err());
}

#[test]
fn an_entry_says_how_many_cosigned_its_head_and_half_that_contradict_stop_the_log() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let puppets: Vec<Arc<Puppet>> = (1..=14).map(|number| Arc::new(Puppet::new(number))).collect();
    assert_eq!(vault.be_witnessed(puppets.iter().map(|one| Arc::clone(one) as _).collect()).unwrap(), 14);
    assert_eq!(vault.witnesses().0, 12);
    let keep = || vault.keep(centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", b"kept".to_vec())]));
    let set = |does: u8, how_many: usize| {
        puppets.iter().enumerate().for_each(|(at, one)| {
            one.does.store(if at < how_many { does } else { COSIGNS }, Ordering::SeqCst);
        });
    };
    for (does, how_many) in [(SILENT, 0), (SILENT, 2), (SILENT, 3), (SILENT, 14), (CONTRADICTS, 3), (CONTRADICTS, 6)] {
        set(does, how_many);
        let receipt = keep().unwrap().remove(0);
        let cosigned = 14 - how_many;
        // Fewer than a quorum are kept as well, and said.
        assert_eq!(usize::from(receipt.witnesses), cosigned, "{does} {how_many}");
        let (note, vkeys): (_, Vec<_>) =
            (vault.signed_checkpoint().unwrap(), puppets.iter().map(|p| p.vkey.clone()).collect());
        let (checkpoint, found) = cosigners(&note, &vault.vkey(), &vkeys).unwrap();
        assert!(checkpoint.size > receipt.index, "{does} {how_many}");
        assert_eq!(found, (how_many..14).collect::<Vec<_>>());
        assert!(puppets[how_many..].iter().all(|one| *one.seen.lock().unwrap() == checkpoint.size));
        let contradict = vault.witnesses().1.iter().filter(|one| one.contradicts).count();
        assert_eq!(contradict, if does == CONTRADICTS { how_many } else { 0 });
    }
    set(CONTRADICTS, 7);
    assert!(matches!(keep(), Err(VaultError::Contradicted { by: 7, of: 14 })));
    // Until somebody has looked, and started it anew.
    set(COSIGNS, 0);
    assert!(matches!(keep(), Err(VaultError::Closed)));
}

/// What is handed out of an acknowledged entry bears its cosignatures, also while witnesses are asked about the next one.
#[test]
fn a_receipt_is_proven_by_a_head_that_was_cosigned_while_the_next_one_waits() {
    let centre = Centre::of_fourteen();
    let vault = centre.found();
    let patient = centre.patient(&vault);
    let puppets: Vec<Arc<Puppet>> = (1..=14).map(|number| Arc::new(Puppet::new(number))).collect();
    vault.be_witnessed(puppets.iter().map(|one| Arc::clone(one) as _).collect()).unwrap();
    let vkeys: Vec<_> = puppets.iter().map(|one| one.vkey.clone()).collect();
    let keep = || {
        let kept = vault.keep(centre.group(vec![], vec![parcel(Scope::Patient(patient), "a", b"kept".to_vec())]));
        kept.unwrap().remove(0)
    };
    let first = keep();
    puppets.iter().for_each(|one| one.does.store(WAITS, Ordering::SeqCst));
    let closed = puppets[0].gate.lock().unwrap();
    let second = std::thread::scope(|scope| {
        let second = scope.spawn(keep);
        while !puppets[0].is_asked.load(Ordering::SeqCst) {
            assert!(!second.is_finished(), "it is acknowledged, and nobody was asked");
            std::thread::yield_now();
        }
        let (head, found) = vault.prove(first.index).unwrap().check(&vault.vkey(), &vkeys).unwrap();
        assert_eq!((head.size, found.len()), (first.tree_size, 14));
        let (head, found) = cosigners(&vault.signed_checkpoint().unwrap(), &vault.vkey(), &vkeys).unwrap();
        assert_eq!((head.size, found.len()), (first.tree_size, 14));
        drop(closed);
        second.join().unwrap()
    });
    // Their silence is said of the one that they were silent to.
    assert_eq!(second.witnesses, 0);
    let (head, found) = vault.prove(first.index).unwrap().check(&vault.vkey(), &vkeys).unwrap();
    assert_eq!((head.size, found.len()), (second.tree_size, 0));
}
