//! The ledger at its façade: known answers, an independent oracle, and every way of rewriting a log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

mod cosignature;
mod inclusion;
mod witness;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use ct_merkle::{ConsistencyProof, InclusionProof, RootHash};
use kit::Digest;
use ledger::{
    Checkpoint, FileStore, HashStore, LeafHash, LedgerError, MemoryStore, NOTE_BYTES_MAX, NoteSigner, SignedCheckpoint,
    Tree, Vkey, check_consistency, check_growth, check_inclusion, empty_root, leaf_hash, open_note, sign_note,
};
use proptest::prelude::*;
use sha2::Sha256;

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn digest(text: &str) -> Digest {
    text.parse().unwrap()
}

fn tree_of<L: AsRef<[u8]>>(leaves: &[L]) -> Tree<MemoryStore> {
    let mut tree = Tree::empty(MemoryStore::default()).unwrap();
    tree.append_all(&leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect::<Vec<_>>()).unwrap();
    tree
}

fn numbered(size: u64) -> Vec<Vec<u8>> {
    (0..size).map(|n| n.to_le_bytes().to_vec()).collect()
}

/// The eight leaves and roots of the Certificate Transparency reference implementation, which every implementation of
/// RFC 6962 is tested with (transparency-dev/merkle, `testonly`).
const LEAVES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
const ROOTS: [&str; 9] = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

#[test]
fn the_reference_trees_have_the_reference_roots_and_proofs() {
    let tree = tree_of(&LEAVES.map(unhex));
    assert_eq!(empty_root(), digest(ROOTS[0]));
    for (size, root) in (0..).zip(ROOTS) {
        assert_eq!(tree.root_at(size).unwrap(), digest(root), "{size} leaves");
    }
    let inclusion = [
        (
            0,
            8,
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7 5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e 6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ),
        (
            5,
            8,
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0 d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
        (2, 3, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
    ];
    for (index, size, path) in inclusion {
        let path: Vec<Digest> = path.split(' ').map(digest).collect();
        assert_eq!(tree.prove_inclusion(index, size).unwrap(), path);
    }
    let consistency = [
        (1, 1, ""),
        (
            2,
            5,
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ),
        (
            6,
            8,
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0 d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ),
    ];
    for (from, to, path) in consistency {
        let path: Vec<Digest> = path.split_whitespace().map(digest).collect();
        assert_eq!(tree.prove_consistency(from, to).unwrap(), path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What we say, an implementation that shares no code with ours confirms; and we confirm what it says.
    #[test]
    fn an_independent_implementation_agrees(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 1..200), a: prop::sample::Index, b: prop::sample::Index) {
        let tree = tree_of(&leaves);
        let size = leaves.len();
        let mut oracle = MemoryBackedTree::<Sha256, Vec<u8>>::new();
        leaves.iter().for_each(|leaf| oracle.push(leaf.clone()));
        let root = tree.root().unwrap();
        let theirs = oracle.root();
        prop_assert_eq!(theirs.as_bytes().as_slice(), root.0.as_slice());

        let index = a.index(size);
        let ours = tree.prove_inclusion(index as u64, size as u64).unwrap();
        let theirs = oracle.prove_inclusion(index);
        let flat: Vec<u8> = ours.iter().flat_map(|hash| hash.0).collect();
        prop_assert_eq!(theirs.as_bytes(), flat.as_slice());
        let ours = InclusionProof::<Sha256>::try_from_bytes(flat).unwrap();
        prop_assert!(oracle.root().verify_inclusion(&leaves[index], index as u64, &ours).is_ok());

        let from = 1 + b.index(size);
        if from < size {
            let mut older = MemoryBackedTree::<Sha256, Vec<u8>>::new();
            leaves[..from].iter().for_each(|leaf| older.push(leaf.clone()));
            let ours = tree.prove_consistency(from as u64, size as u64).unwrap();
            let flat: Vec<u8> = ours.iter().flat_map(|hash| hash.0).collect();
            let theirs = oracle.prove_consistency(size - from);
            prop_assert_eq!(theirs.as_bytes(), flat.as_slice());
            let ours = ConsistencyProof::<Sha256>::try_from_bytes(flat).unwrap();
            let newer: RootHash<Sha256> = oracle.root();
            prop_assert!(newer.verify_consistency(&older.root(), &ours).is_ok());
        }
    }

    /// One changed bit, hash, number or length anywhere in a proof's statement, and it proves nothing.
    #[test]
    fn an_altered_proof_is_refused(size in 2u64..300, a: prop::sample::Index, at: prop::sample::Index, bit in 0u8..8) {
        let tree = tree_of(&numbered(size));
        let (index, root) = (a.index(size as usize) as u64, tree.root().unwrap());
        let (leaf, path) = (tree.leaf(index).unwrap(), tree.prove_inclusion(index, size).unwrap());
        let flip = |bytes: &mut [u8; 32]| bytes[at.index(32)] ^= 1 << bit;
        let refused = |path: &[Digest], index, size, leaf, root| check_inclusion(path, index, size, leaf, root).is_err();
        prop_assert!(!refused(&path, index, size, leaf, root));

        let mut other = path.clone();
        let hop = at.index(path.len());
        flip(&mut other[hop].0);
        prop_assert!(refused(&other, index, size, leaf, root), "a hash of the path");
        prop_assert!(refused(&path[..path.len() - 1], index, size, leaf, root), "a shorter path");
        prop_assert!(refused(&[path.clone(), vec![root]].concat(), index, size, leaf, root), "a longer path");
        prop_assert!(refused(&vec![root; 66], index, size, leaf, root), "an over-long path");
        let (mut leaf2, mut root2) = (leaf, root);
        flip(&mut leaf2.0);
        flip(&mut root2.0);
        prop_assert!(refused(&path, index, size, leaf2, root) && refused(&path, index, size, leaf, root2));
        prop_assert!(refused(&path, size, size, leaf, root), "a leaf past the end");
        if tree.leaf((index + 1) % size).unwrap() != leaf {
            prop_assert!(refused(&path, (index + 1) % size, size, leaf, root), "its neighbour's number");
        }

        let from = 1 + a.index(size as usize - 1) as u64;
        let (older, path) = (tree.root_at(from).unwrap(), tree.prove_consistency(from, size).unwrap());
        prop_assert!(check_consistency(&path, from, older, size, root).is_ok());
        prop_assert!(check_consistency(&path, from, older, size, root2).is_err());
        prop_assert!(check_consistency(&path, from, root, size, root).is_err());
        prop_assert!(check_consistency(&path, size, root, from, older).is_err(), "backwards");
        prop_assert!(check_consistency(&[path.clone(), vec![root]].concat(), from, older, size, root).is_err());
        let mut other = path.clone();
        let hop = at.index(path.len());
        flip(&mut other[hop].0);
        prop_assert!(check_consistency(&other, from, older, size, root).is_err());
        prop_assert!(check_consistency(&path[1..], from, older, size, root).is_err());
    }

    /// Nothing that a peer sends makes the parsers panic, and what they accept they write back the same.
    #[test]
    fn hostile_text_is_an_error(noise in "[ -~\n—+]{0,200}", raw in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(checkpoint) = Checkpoint::parse(&noise) {
            prop_assert_eq!(checkpoint.body(), noise.clone());
        }
        if let Ok(vkey) = noise.parse::<Vkey>() {
            prop_assert_eq!(vkey.to_string(), noise.clone());
        }
        prop_assert!(open_note(noise.as_bytes(), &Signer::new(1).vkey()).is_err());
        prop_assert!(open_note(&raw, &Signer::new(1).vkey()).is_err());
    }
}

#[test]
fn every_kind_of_rewriting_is_found_at_every_size() {
    let head = |tree: &Tree<MemoryStore>| Checkpoint {
        origin: "centre.example/log".to_owned(),
        size: tree.size(),
        root: tree.root().unwrap(),
    };
    for from in 1..24u64 {
        let honest = numbered(from);
        let seen = head(&tree_of(&honest));
        for to in from..26u64 {
            let grown = tree_of(&numbered(to));
            let path = grown.prove_consistency(from, to).unwrap();
            check_growth(&seen, &head(&grown), &path).unwrap();
            // Each old leaf altered; each pair of neighbours exchanged; one dropped; one put in between.
            for at in 0..from as usize {
                let mut rewritten = vec![numbered(to); 4];
                rewritten[0][at] = b"altered".to_vec();
                rewritten[1].swap(at, (at + 1) % to as usize);
                rewritten[2].remove(at);
                rewritten[2].push(b"refill".to_vec());
                rewritten[3].insert(at, b"inserted".to_vec());
                for forged in rewritten {
                    // A single leaf exchanged with itself, or the last one dropped and put back, is no rewriting.
                    if forged[..from as usize] == honest[..] {
                        continue;
                    }
                    let forged = tree_of(&forged);
                    let path = forged.prove_consistency(from, forged.size()).unwrap();
                    let found = check_growth(&seen, &head(&forged), &path);
                    if forged.size() == from {
                        assert!(matches!(found, Err(LedgerError::Forked { size }) if size == from));
                    } else {
                        assert!(matches!(found, Err(LedgerError::NotConsistent { .. })), "{from} {to} {at}");
                    }
                }
            }
        }
        let cut = head(&tree_of(&numbered(from - 1)));
        assert!(matches!(check_growth(&seen, &cut, &[]), Err(LedgerError::Shrunk { .. })));
        let other = Checkpoint { origin: "other.example/log".to_owned(), ..seen.clone() };
        assert!(matches!(check_growth(&seen, &other, &[]), Err(LedgerError::OtherOrigin { .. })));
    }
}

#[test]
fn the_empty_tree_is_the_beginning_of_every_tree() {
    let tree = tree_of(&numbered(5));
    let root = tree.root().unwrap();
    assert!(tree.prove_consistency(0, 5).unwrap().is_empty());
    check_consistency(&[], 0, empty_root(), 5, root).unwrap();
    check_consistency(&[], 0, empty_root(), 0, empty_root()).unwrap();
    assert!(check_consistency(&[root], 0, empty_root(), 5, root).is_err());
    assert!(check_consistency(&[], 0, root, 5, root).is_err());
    assert!(check_consistency(&[], 0, empty_root(), 0, root).is_err());
}

#[test]
fn what_the_tree_has_not_is_absent() {
    let tree = tree_of(&numbered(5));
    assert!(matches!(tree.leaf(5), Err(LedgerError::NoSuchLeaf { index: 5, size: 5 })));
    assert!(matches!(tree.prove_inclusion(3, 3), Err(LedgerError::NoSuchLeaf { .. })));
    assert!(matches!(tree.prove_inclusion(0, 6), Err(LedgerError::NoSuchTree { .. })));
    assert!(matches!(tree.prove_consistency(4, 3), Err(LedgerError::NoSuchTree { .. })));
    assert!(matches!(tree.root_at(6), Err(LedgerError::NoSuchTree { .. })));
}

#[test]
fn a_file_of_hashes_is_a_projection() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tree");
    let leaves: Vec<LeafHash> = numbered(1_000).iter().map(|leaf| leaf_hash(leaf)).collect();
    let reference = tree_of(&numbered(1_000));

    let mut tree = Tree::empty(FileStore::open(&path).unwrap()).unwrap();
    for chunk in leaves[..900].chunks(7) {
        tree.append_all(chunk).unwrap();
    }
    assert_eq!(tree.append(leaves[900]).unwrap(), 900);
    let root = tree.root().unwrap();
    assert_eq!(root, reference.root_at(901).unwrap());
    drop(tree);

    // Reopened at the checkpoint's size, with what a crash leaves behind it; then the log goes on.
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(&[0xAB; 32 * 3 + 11]);
    std::fs::write(&path, &bytes).unwrap();
    let mut tree = Tree::open(FileStore::open(&path).unwrap(), 901, root).unwrap();
    assert_eq!(tree.append_all(&leaves[901..]).unwrap(), 901);
    assert_eq!(tree.root().unwrap(), reference.root().unwrap());
    assert_eq!(tree.prove_inclusion(17, 950).unwrap(), reference.prove_inclusion(17, 950).unwrap());
    let (size, root) = (tree.size(), tree.root().unwrap());
    drop(tree);

    // An older head opens too: the later leaves are dropped.
    let older = Tree::open(FileStore::open(&path).unwrap(), 500, reference.root_at(500).unwrap()).unwrap();
    assert_eq!(older.size(), 500);
    drop(older);
    let short = Tree::open(FileStore::open(&path).unwrap(), size, root);
    assert!(matches!(short, Err(LedgerError::StoreDamaged { size: 1_000 })));

    // A damaged hash is noticed: at the root when the tree is opened, below it when a proof needs it.
    let mut tree = Tree::empty(FileStore::open(&path).unwrap()).unwrap();
    tree.append_all(&leaves).unwrap();
    drop(tree);
    let whole = std::fs::read(&path).unwrap();
    let mut unnoticed = 0;
    for hash in (0..whole.len() / 32).step_by(13) {
        let mut damaged = whole.clone();
        damaged[hash * 32 + 5] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let Ok(tree) = Tree::open(FileStore::open(&path).unwrap(), size, root) else { continue };
        for index in 0..size {
            match tree.prove_inclusion(index, size) {
                Ok(path) => {
                    check_inclusion(&path, index, size, leaves[index as usize], root).unwrap_or_else(|_| unnoticed += 1)
                }
                Err(error) => assert!(matches!(error, LedgerError::StoreDamaged { .. })),
            }
        }
    }
    // The store vouches for its own leaf hashes only, so a proof of an altered leaf hash must fail, not pass.
    assert_eq!(unnoticed, 0);
    assert!(FileStore::open(dir.path()).is_err());
    assert!(FileStore::open(&path).unwrap().read(u64::MAX / 64).is_err());
}

#[test]
fn tiles_hold_the_hashes_of_their_level() {
    let tree = tree_of(&numbered(70_000));
    let tile = tree.tile(0, 273).unwrap().unwrap();
    assert_eq!(tile.path, "tile/0/273.p/112");
    assert_eq!(tile.bytes.len(), 112 * 32);
    assert_eq!(tile.bytes[32..64], tree.leaf(273 * 256 + 1).unwrap().0);
    let upper = tree.tile(1, 0).unwrap().unwrap();
    assert_eq!((upper.path.as_str(), upper.bytes.len()), ("tile/1/000", 256 * 32));
    // Hash 3 of level 1 is the root of the leaves 768 to 1023.
    let part = tree_of(&numbered(1_024)[768..]);
    assert_eq!(upper.bytes[96..128], part.root().unwrap().0);
    assert_eq!(tree.tile(1, 1).unwrap().unwrap().path, "tile/1/001.p/17");
    assert_eq!(tree.tile(2, 0).unwrap().unwrap().path, "tile/2/000.p/1");
    assert_eq!(tree.tile(0, 274).unwrap(), None);
    assert_eq!(tree.tile(3, 0).unwrap(), None);
    assert_eq!(tree.tile(255, u64::MAX).unwrap(), None);
}

struct Signer {
    name: String,
    pair: Ed25519KeyPair,
}

impl Signer {
    fn new(seed: u8) -> Self {
        Self::named("centre.example/log", seed)
    }

    fn named(name: &str, seed: u8) -> Self {
        Self { name: name.to_owned(), pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
    }

    fn vkey(&self) -> Vkey {
        Vkey::new(&self.name, self.pair.public_key().as_ref().try_into().unwrap()).unwrap()
    }
}

impl NoteSigner for Signer {
    fn name(&self) -> &str {
        &self.name
    }

    fn key_id(&self) -> u32 {
        self.vkey().key_id()
    }

    fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.pair.sign(text).as_ref().try_into().unwrap()
    }
}

/// The example of Go's `golang.org/x/mod/sumdb/note`, which C2SP signed-note was written from.
#[test]
fn the_published_example_note_opens() {
    let vkey: Vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW".parse().unwrap();
    assert_eq!((vkey.name(), vkey.key_id()), ("PeterNeumann", 0xc74f_20a3));
    assert_eq!(Vkey::new(vkey.name(), vkey.public_key()).unwrap(), vkey);
    let text = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
    let note = format!(
        "{text}\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    );
    assert_eq!(open_note(note.as_bytes(), &vkey).unwrap(), text);
    // The published private key is the seed behind 0x01; with it our signing gives the published bytes.
    let seed = unhex("810a1402d5146c8d84f2443330f54080ebf98ee17d9c74f6252fc5d5c7283173");
    let signer = Signer { name: "PeterNeumann".to_owned(), pair: Ed25519KeyPair::from_seed_unchecked(&seed).unwrap() };
    assert_eq!(sign_note(text, &signer).unwrap(), note.as_bytes());
}

#[test]
fn a_checkpoint_is_what_the_log_signed_and_nothing_else() {
    let signer = Signer::new(7);
    let checkpoint =
        Checkpoint { origin: "centre.example/log".to_owned(), size: 923_748, root: leaf_hash(b"hello world").into() };
    assert_eq!(checkpoint.body(), "centre.example/log\n923748\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n");
    let signed = checkpoint.sign(&signer).unwrap();
    assert_eq!(SignedCheckpoint::open(signed.bytes(), &signer.vkey()).unwrap(), checkpoint);

    // No single byte can be changed, dropped or doubled; dropping from the end neither.
    for at in 0..signed.bytes().len() {
        for change in [1u8, 0x20, 0x80] {
            let mut other = signed.bytes().to_vec();
            other[at] ^= change;
            assert!(SignedCheckpoint::open(&other, &signer.vkey()).is_err(), "byte {at} ^ {change:#x}");
        }
        let mut other = signed.bytes().to_vec();
        let byte = other.remove(at);
        assert!(SignedCheckpoint::open(&other, &signer.vkey()).is_err(), "without byte {at}");
        other.splice(at..at, [byte, byte]);
        assert!(SignedCheckpoint::open(&other, &signer.vkey()).is_err(), "byte {at} doubled");
        assert!(SignedCheckpoint::open(&signed.bytes()[..at], &signer.vkey()).is_err(), "{at} bytes");
    }

    // Another key of the same name, the same key under another name, a witness beside the log.
    let unsigned = SignedCheckpoint::open(signed.bytes(), &Signer::new(8).vkey());
    assert!(matches!(unsigned, Err(LedgerError::Unsigned { .. })));
    let elsewhere = Signer::named("other.example/log", 7);
    assert!(matches!(checkpoint.sign(&elsewhere), Err(LedgerError::OtherOrigin { .. })));
    let smuggled = sign_note(&checkpoint.body(), &elsewhere).unwrap();
    let opened = SignedCheckpoint::open(&smuggled, &elsewhere.vkey());
    assert!(matches!(opened, Err(LedgerError::OtherOrigin { .. })));
    let witness = sign_note(&checkpoint.body(), &Signer::named("witness.example", 9)).unwrap();
    let line = witness.split_inclusive(|byte| *byte == b'\n').next_back().unwrap();
    let cosigned = [signed.bytes(), line].concat();
    assert_eq!(SignedCheckpoint::open(&cosigned, &signer.vkey()).unwrap(), checkpoint);
    let wrong_body = [cosigned.as_slice(), b"x"].concat();
    assert!(SignedCheckpoint::open(&wrong_body, &signer.vkey()).is_err());
}

#[test]
fn only_the_canonical_form_is_a_checkpoint() {
    let root = "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=";
    assert!(Checkpoint::parse(&format!("a.example\n0\n{root}\n")).is_ok());
    for bad in [
        format!("\n1\n{root}\n"),
        format!("a.example\n01\n{root}\n"),
        format!("a.example\n+1\n{root}\n"),
        format!("a.example\n-1\n{root}\n"),
        format!("a.example\n18446744073709551616\n{root}\n"),
        format!("a.example\n1\n{root}"),
        format!("a.example\n1\n{root}\n\n"),
        format!("a.example\n1\n{root}\nextension\n"),
        format!("a.example\r\n1\r\n{root}\r\n"),
        "a.example\n1\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb1=\n".to_owned(),
        "a.example\n1\nAAAA\n".to_owned(),
        String::new(),
    ] {
        assert!(matches!(Checkpoint::parse(&bad), Err(LedgerError::CheckpointMalformed(_))), "{bad:?}");
    }
    let two_lines = Checkpoint { origin: "centre.example/log\n5".to_owned(), size: 1, root: empty_root() };
    assert!(two_lines.sign(&Signer::new(1)).is_err());
}

#[test]
fn notes_and_keys_have_limits() {
    let signer = Signer::new(1);
    let long = "x".repeat(NOTE_BYTES_MAX) + "\n";
    assert!(matches!(sign_note(&long, &signer), Err(LedgerError::NoteTooLarge { .. })));
    assert!(matches!(open_note(long.as_bytes(), &signer.vkey()), Err(LedgerError::NoteTooLarge { .. })));
    let lines = "\n".repeat(200);
    assert!(matches!(sign_note(&lines, &signer), Err(LedgerError::NoteTooLong { .. })));
    assert!(matches!(open_note(lines.as_bytes(), &signer.vkey()), Err(LedgerError::NoteTooLong { .. })));
    assert!(matches!(sign_note("no newline", &signer), Err(LedgerError::NoteMalformed(_))));
    assert!(matches!(sign_note("tab\there\n", &signer), Err(LedgerError::NoteMalformed(_))));
    for name in ["", "two words", "a+b", "line\nbreak", &"x".repeat(121)] {
        assert!(Vkey::new(name, &[9; 32]).is_err(), "{name:?}");
    }
    let good = signer.vkey().to_string();
    let at = good.find('+').unwrap() + 1;
    for bad in [good.to_uppercase(), good.replacen('+', "+0", 1), format!("{good}="), good[..good.len() - 1].to_owned()]
    {
        assert!(bad.parse::<Vkey>().is_err(), "{bad}");
    }
    assert!(format!("{}00000000{}", &good[..at], &good[at + 8..]).parse::<Vkey>().is_err());
}
