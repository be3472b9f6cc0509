//! A witness's judgement: growth is cosigned, each way to show two histories rings the alarm, and being late doesn't.

use kit::{Blame, Explain};
use ledger::{ADD_CHECKPOINT_BYTES_MAX, AddCheckpoint, PROOF_LINES_MAX, WitnessRefusal, cosign, cosigners, judge};

use super::cosignature::{TIME_S, Witness};
use super::*;

fn head(size: u64, root: Digest) -> Checkpoint {
    Checkpoint { origin: "centre.example/log".to_owned(), size, root }
}

fn seen(tree: &Tree<MemoryStore>, size: u64) -> Checkpoint {
    head(size, tree.root_at(size).unwrap())
}

fn asked(checkpoint: &Checkpoint, old_size: u64, proof: Vec<Digest>) -> AddCheckpoint {
    AddCheckpoint { old_size, proof, checkpoint: checkpoint.sign(&Signer::new(1)).unwrap() }
}

fn honest(tree: &Tree<MemoryStore>, from: u64, to: u64) -> AddCheckpoint {
    asked(&seen(tree, to), from, tree.prove_consistency(from, to).unwrap())
}

fn log() -> Vkey {
    Signer::new(1).vkey()
}

/// The example request of C2SP tlog-witness; its keys aren't published, so only the form can be checked.
#[test]
fn the_specification_s_request_is_read() {
    let example = "old 20852014\nPlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\njrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=\n5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=\n/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=\n\nexample.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=\n";
    let request = AddCheckpoint::from_bytes(example.as_bytes()).unwrap();
    assert_eq!((request.old_size, request.proof.len()), (20_852_014, 4));
    assert_eq!(request.checkpoint.claimed_origin().unwrap(), "example.com/behind-the-sofa");
    assert_eq!(request.to_bytes(), example.as_bytes());
    let refused = judge(None, &request, &log());
    assert!(matches!(refused, Err(WitnessRefusal::WrongLog { found, .. }) if found == "example.com/behind-the-sofa"));
}

/// The requests of the witness implementation of C2SP's authors (FiloSottile/torchwood, `internal/witness`, TestRace),
/// from a Sigsum log: its signatures, its proofs, and what has to come of each.
#[test]
fn another_implementation_s_requests_are_judged_alike() {
    let origin = "sigsum.org/v1/tree/4d6d8825a6bb689d459628312889dfbb0bcd41b5211d9e1ce768b0ff0309e562";
    let key = unhex("ffdc2d4d98e4124d3feaf788c0c2f9abfd796083d1f0495437f302ec79cf100f");
    let log = Vkey::new(origin, key.as_slice().try_into().unwrap()).unwrap();
    let request = |old: &str, size: &str, root: &str, signature: &str| {
        let text = format!("old {old}\n\n{origin}\n{size}\n{root}\n\n— {origin} {signature}\n");
        AddCheckpoint::from_bytes(text.as_bytes()).unwrap()
    };
    let one = request(
        "0",
        "1",
        "KgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "UgIom7fPZTqpxWWhyjWduBvTvGVqsokMbqTArsQilegKoFBJQjUFAmQ0+YeSPM3wfUQMFSzVnnNuWRTYrajXpNUbIQY=",
    );
    let three = request(
        "1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nKgIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "3",
        "RcCI1Nk56ZcSmIEfIn0SleqtV7uvrlXNccFx595Iwl0=",
        "UgIom2VbtIcdFbwFAy1n7s6IkAxIY6J/GQOTuZF2ORV39d75cbAj2aQYwyJre36kezNobZs4SUUdrcawfAB8WVrx6go=",
    );
    let five = request(
        "1\nKgEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n+fUDV+k970B4I3uKrqJM4aP1lloPZP8mvr2Z4wRw2LI=\nKgQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "5",
        "QrtXrQZCCvpIgsSmOsah7HdICzMLLyDfxToMql9WTjY=",
        "UgIomw/EOJmWi0i1FQsOj+etB7F8IccFam/jgd6wzRns4QPVmyEZtdvl1U2KEmLOZ/ASRcWJi0tW90dJWAShei7sDww=",
    );
    let first = judge(None, &one, &log).unwrap();
    assert_eq!(judge(Some(&first), &three, &log).unwrap().size, 3);
    let fifth = judge(Some(&first), &five, &log).unwrap();
    assert_eq!(fifth.root, digest("42bb57ad06420afa4882c4a63ac6a1ec77480b330b2f20dfc53a0caa5f564e36"));
    // The slower of two requests from the same size: late, and no attack.
    let late = judge(Some(&fifth), &three, &log).unwrap_err();
    assert!(matches!(late, WitnessRefusal::OldSize { wanted: 1, has: 5 }) && !late.is_alarm());
    let again = judge(Some(&first), &one, &log).unwrap_err();
    assert!(matches!(again, WitnessRefusal::OldSize { wanted: 0, has: 1 }) && !again.is_alarm());
}

#[test]
fn a_witness_s_life() {
    let tree = tree_of(&numbered(40));
    let witness = Witness::new(1);
    let mut state = None;
    // The empty tree, twice; then growth, and the same head again to renew the time.
    for (from, to) in [(0, 0), (0, 0), (0, 1), (1, 1), (1, 7), (7, 40), (40, 40)] {
        let request = honest(&tree, from, to);
        assert_eq!(AddCheckpoint::from_bytes(&request.to_bytes()).unwrap(), request);
        let judged = judge(state.as_ref(), &request, &log()).unwrap();
        assert_eq!(judged, seen(&tree, to));
        let line = cosign(&judged, &witness, TIME_S).unwrap();
        let noted = request.checkpoint.with_cosignatures(&[line]).unwrap();
        assert_eq!(cosigners(noted.bytes(), &log(), &[witness.vkey()]).unwrap(), (judged.clone(), vec![0]));
        state = Some(judged);
    }
    // A note that other witnesses have signed already is judged like the bare one.
    let mut request = honest(&tree, 7, 40);
    let line = cosign(&seen(&tree, 40), &witness, TIME_S).unwrap();
    request.checkpoint = request.checkpoint.with_cosignatures(&[line]).unwrap();
    assert!(judge(Some(&seen(&tree, 7)), &request, &log()).is_ok());
}

#[test]
fn two_histories_ring_the_alarm_and_lateness_does_not() {
    let (tree, forged) = (tree_of(&numbered(40)), {
        let mut leaves = numbered(40);
        leaves[3] = b"altered".to_vec();
        tree_of(&leaves)
    });
    let has = seen(&tree, 20);
    let refused = |request: &AddCheckpoint| judge(Some(&has), request, &log()).unwrap_err();

    // Forked: as soon as it can be seen, however the request is put.
    for old_size in [0, 5, 20, 30] {
        let refusal = refused(&asked(&seen(&forged, 20), old_size, Vec::new()));
        assert!(refusal.is_alarm());
        match &refusal {
            WitnessRefusal::Forked { seen: a, shown: b } => assert_eq!((&**a, &**b), (&has, &seen(&forged, 20))),
            other => panic!("{other}"),
        }
        assert_eq!((refusal.blame(), refusal.code()), (Blame::Integrity, "ledger.witness.forked"));
        assert!(refusal.guidance().is_some_and(|text| text.contains("both")));
        assert_eq!(refusal.to_string(), "two checkpoints of 20 leaves with different roots: the log has forked");
    }
    // Rewritten: a proof of the other history, the right one cut or grown, none at all.
    let right = tree.prove_consistency(20, 40).unwrap();
    let proofs = [
        (&forged, forged.prove_consistency(20, 40).unwrap()),
        (&forged, right.clone()),
        (&tree, right[1..].to_vec()),
        (&tree, [right.clone(), vec![has.root]].concat()),
        (&tree, vec![has.root; PROOF_LINES_MAX + 100]),
        (&tree, Vec::new()),
    ];
    for (tree, proof) in proofs {
        let refusal = refused(&asked(&seen(tree, 40), 20, proof));
        match &refusal {
            WitnessRefusal::Rewritten { seen: a, shown: b } => assert_eq!((&**a, &**b), (&has, &seen(tree, 40))),
            other => panic!("{other}"),
        }
        assert!(refusal.is_alarm());
    }
    // Rollback: who asks knows of 20 leaves, and shows 10.
    let refusal = refused(&asked(&seen(&tree, 10), 20, Vec::new()));
    assert!(refusal.is_alarm() && refusal.to_string() == "the log went back from 20 leaves to 10");
    assert!(matches!(refusal, WitnessRefusal::Rollback { seen: a, .. } if *a == has));

    // Late, early, or asking how far this witness is: told the size, nobody is woken.
    for (request, wanted) in [
        (honest(&tree, 5, 10), 5),
        (honest(&tree, 10, 40), 10),
        (honest(&tree, 0, 40), 0),
        (honest(&tree, 0, 0), 0),
        (honest(&tree, 10, 20), 10),
        (honest(&tree, 30, 40), 30),
        // Another history below the size that was seen can't be told from the true one without a proof.
        (asked(&seen(&forged, 10), 5, Vec::new()), 5),
    ] {
        let refusal = refused(&request);
        assert!(matches!(refusal, WitnessRefusal::OldSize { wanted: w, has: 20 } if w == wanted), "{refusal}");
        assert!(!refusal.is_alarm() && refusal.blame() == Blame::Conflict);
    }
    let unknown = judge(None, &honest(&tree, 10, 40), &log()).unwrap_err();
    assert!(matches!(unknown, WitnessRefusal::OldSize { wanted: 10, has: 0 }));
}

#[test]
fn what_says_nothing_about_the_log_s_history_is_no_alarm() {
    let tree = tree_of(&numbered(40));
    let has = seen(&tree, 20);
    let root = has.root;
    let quiet = |seen: Option<&Checkpoint>, request: &AddCheckpoint, log: &Vkey| {
        let refusal = judge(seen, request, log).unwrap_err();
        assert!(!refusal.is_alarm());
        refusal
    };
    let beyond = quiet(Some(&has), &asked(&seen(&tree, 25), 30, Vec::new()), &log());
    assert!(matches!(beyond, WitnessRefusal::OldBeyondNew { old_size: 30, size: 25 }));
    // A proof where there is none to give; a root that no empty tree has.
    for (seen_before, request) in [
        (None, asked(&seen(&tree, 20), 0, vec![root])),
        (Some(&has), asked(&has, 20, vec![root])),
        (None, asked(&head(0, root), 0, Vec::new())),
        (None, asked(&head(0, empty_root()), 0, vec![root])),
    ] {
        let refusal = quiet(seen_before, &request, &log());
        assert!(matches!(refusal, WitnessRefusal::Unfounded { .. }) && refusal.blame() == Blame::Peer);
    }
    // Another log's, nobody's, somebody else's; and a caller that took another log's state.
    let mut request = honest(&tree, 20, 40);
    let elsewhere = Signer::named("other.example/log", 1);
    let wrong = quiet(None, &request, &elsewhere.vkey());
    assert!(matches!(wrong, WitnessRefusal::WrongLog { .. }) && wrong.blame() == Blame::Absent);
    let mixed = Checkpoint { origin: "other.example/log".to_owned(), ..has.clone() };
    assert!(matches!(quiet(Some(&mixed), &request, &log()), WitnessRefusal::WrongLog { .. }));
    let unsigned = quiet(Some(&has), &request, &Signer::new(2).vkey());
    assert!(matches!(unsigned, WitnessRefusal::Unopened(LedgerError::Unsigned { .. })));
    let bytes = request.checkpoint.bytes().to_vec();
    let text = String::from_utf8(bytes).unwrap().replace("log\n40\n", "log\n41\n");
    request.checkpoint = SignedCheckpoint::from_bytes(text.as_bytes()).unwrap();
    let forged = quiet(Some(&has), &request, &log());
    assert!(matches!(forged, WitnessRefusal::Unopened(LedgerError::BadSignature { .. })));
    assert_eq!(forged.blame(), Blame::Forbidden);
}

#[test]
fn no_bit_of_a_request_can_be_changed() {
    let tree = tree_of(&numbered(40));
    for (from, to) in [(0, 3), (20, 20), (20, 37)] {
        let has = (from > 0).then(|| seen(&tree, from));
        let bytes = honest(&tree, from, to).to_bytes();
        let accepted = |bytes: &[u8]| {
            AddCheckpoint::from_bytes(bytes).is_ok_and(|request| judge(has.as_ref(), &request, &log()).is_ok())
        };
        assert!(accepted(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepted(&altered), "{from} to {to}: bit {bit}");
        }
        for at in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered.remove(at);
            assert!(!accepted(&altered), "{from} to {to}: without byte {at}");
            assert!(!accepted(&bytes[..at]), "{from} to {to}: {at} bytes");
        }
    }
}

#[test]
fn a_request_has_limits_and_one_form() {
    let tree = tree_of(&numbered(3));
    let mut request = honest(&tree, 0, 3);
    request.proof = vec![empty_root(); PROOF_LINES_MAX];
    request.old_size = u64::MAX;
    assert_eq!(AddCheckpoint::from_bytes(&request.to_bytes()).unwrap(), request);
    request.proof.push(empty_root());
    let long = AddCheckpoint::from_bytes(&request.to_bytes());
    assert!(matches!(long, Err(LedgerError::ProofTooLong { found: 64, max: 63 })));
    let large = AddCheckpoint::from_bytes(&[b'\n'; ADD_CHECKPOINT_BYTES_MAX + 1]);
    assert!(matches!(large, Err(LedgerError::RequestTooLarge { .. })));
    assert!(AddCheckpoint::from_bytes(&[b'\n'; ADD_CHECKPOINT_BYTES_MAX]).is_err());

    let note = String::from_utf8(request.checkpoint.into_bytes()).unwrap();
    let hash = "TszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=";
    assert!(AddCheckpoint::from_bytes(format!("old 3\n{hash}\n\n{note}").as_bytes()).is_ok());
    for (head, place) in [
        ("", 1),
        ("old", 1),
        ("old ", 1),
        ("Old 3", 1),
        ("old  3", 1),
        ("old 03", 1),
        ("old +3", 1),
        ("old -3", 1),
        ("old 3 ", 1),
        ("old 3\r", 1),
        ("old 18446744073709551616", 1),
        (&format!("{hash}\nold 3"), 1),
        ("old 3\nAAAA", 2),
        (&format!("old 3\n{hash}\n {hash}"), 3),
        (&format!("old 3\n{hash}\n{hash}="), 3),
        ("old 3\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb1=", 2),
        ("old 3\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0", 2),
    ] {
        let read = AddCheckpoint::from_bytes(format!("{head}\n\n{note}").as_bytes());
        match read {
            Err(LedgerError::RequestMalformed { line, .. }) => assert_eq!(line, place, "{head:?}"),
            other => panic!("{head:?}: {other:?}"),
        }
    }
    for note in [format!("\n{note}"), note.replace("\n3\n", "\n03\n"), note.replace('—', "-"), String::new()] {
        assert!(AddCheckpoint::from_bytes(format!("old 3\n\n{note}").as_bytes()).is_err(), "{note:?}");
    }
    assert!(matches!(
        AddCheckpoint::from_bytes(format!("old 3\n{note}").as_bytes()),
        Err(LedgerError::RequestMalformed { line: 2, .. })
    ));
    let endless = AddCheckpoint::from_bytes(b"old 3\n");
    assert!(matches!(endless, Err(LedgerError::RequestMalformed { line: 1, .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Roots and proofs of an implementation that shares no code with ours: growth is accepted, and nothing else is.
    #[test]
    fn growth_is_accepted_and_nothing_else(leaves in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 2..150), at: prop::sample::Index, flips in prop::collection::vec(any::<prop::sample::Index>(), 40)) {
        let grow = |leaves: &[Vec<u8>]| {
            let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
            leaves.iter().for_each(|leaf| tree.push(leaf.clone()));
            tree
        };
        let of = |tree: &MemoryBackedTree<Sha256, Vec<u8>>| head(tree.len(), Digest(tree.root().as_bytes().as_slice().try_into().unwrap()));
        let from = 1 + at.index(leaves.len() - 1);
        let (older, newer) = (grow(&leaves[..from]), grow(&leaves));
        let proof = newer.prove_consistency(leaves.len() - from);
        let proof: Vec<Digest> = proof.as_bytes().chunks(32).map(|hash| Digest(hash.try_into().unwrap())).collect();
        let request = asked(&of(&newer), from as u64, proof.clone());
        let bytes = request.to_bytes();
        prop_assert_eq!(&AddCheckpoint::from_bytes(&bytes).unwrap(), &request);
        prop_assert_eq!(judge(Some(&of(&older)), &request, &log()).unwrap(), of(&newer));

        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            let mut altered = bytes.clone();
            altered[bit / 8] ^= 1 << (bit % 8);
            if let Ok(altered) = AddCheckpoint::from_bytes(&altered) {
                prop_assert!(judge(Some(&of(&older)), &altered, &log()).is_err(), "bit {}", bit);
            }
            // The same proof from another beginning: what the witness saw was different.
            let mut other = of(&older);
            other.root.0[bit % 32] ^= 1;
            prop_assert!(judge(Some(&other), &request, &log()).unwrap_err().is_alarm());
        }
        // One old leaf altered, with an honest proof of the altered tree.
        let mut rewritten = leaves.clone();
        rewritten[at.index(from)].push(1);
        let rewritten = grow(&rewritten);
        let proof = rewritten.prove_consistency(leaves.len() - from);
        let proof = proof.as_bytes().chunks(32).map(|hash| Digest(hash.try_into().unwrap())).collect();
        let refusal = judge(Some(&of(&older)), &asked(&of(&rewritten), from as u64, proof), &log()).unwrap_err();
        let found = matches!(refusal, WitnessRefusal::Rewritten { .. });
        prop_assert!(found, "{}", refusal);
    }

    /// Nothing that a peer sends makes the parsers or the judge panic, and what they accept they write back the same.
    #[test]
    fn hostile_requests_are_errors(noise in "(old [0-9]{0,21}\n)?([A-Za-z0-9+/]{43}=\n){0,3}\n?[ -~\n—+]{0,100}", raw in prop::collection::vec(any::<u8>(), 0..300), old_size: u64, size: u64, has: u64, hashes in prop::collection::vec(any::<[u8; 32]>(), 1..70), cut: prop::sample::Index) {
        let mixed = asked(&head(size, Digest(hashes[0])), old_size, hashes.iter().copied().map(Digest).collect()).to_bytes();
        let mut mixed = mixed[..cut.index(mixed.len())].to_vec();
        mixed.extend_from_slice(&raw);
        for bytes in [noise.as_bytes(), &raw, &mixed] {
            if let Ok(request) = AddCheckpoint::from_bytes(bytes) {
                prop_assert_eq!(request.to_bytes(), bytes);
                prop_assert!(judge(None, &request, &log()).is_err());
            }
            let line = String::from_utf8_lossy(bytes);
            for line in [line.to_string(), format!("— {line}")] {
                if let Ok(cosignature) = ledger::Cosignature::parse(&line) {
                    prop_assert_eq!(cosignature.line(), line);
                }
            }
        }
        // Signed by the log itself: any sizes, any proof.
        let seen = head(has, Digest(hashes[hashes.len() - 1]));
        for old_size in [old_size, has, size] {
            let request = asked(&head(size, Digest(hashes[0])), old_size, hashes.iter().copied().map(Digest).collect());
            prop_assert!(judge(Some(&seen), &request, &log()).is_err());
        }
    }
}
