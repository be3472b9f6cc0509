//! Who may have a key opened: the officer's word, the person's own signature, and nothing that a gateway makes up.

use keys::{
    Authority, Certificate, HolderError, Known, Officer, PersonKey, Proof, ProofError, Proven, Replays,
    SESSION_LIFE_MS_MAX, Signer, Speaks, Statement,
};
use kit::{Digest, Id16, SeededEntropy, Timestamp};
use proptest::prelude::*;

const VAULT: Id16 = Id16([7; 16]);
const NOW: Timestamp = Timestamp(1_795_392_000_000);
const DAY: i64 = 86_400_000;
const TOKEN: &[u8] = b"hf_a-token-of-256-random-bits";

struct Centre {
    officer: Officer,
    entropy: SeededEntropy,
}

fn centre() -> Centre {
    Centre { officer: Officer::from_seed(&[1; 32]).unwrap(), entropy: SeededEntropy::new(3) }
}

impl Centre {
    fn enrol(&self, name: &str, speaks: Speaks, key: &PersonKey) -> Certificate {
        let life = (NOW, NOW.plus_ms(30 * DAY));
        self.officer.enrol(VAULT, name, speaks, key.public(), life, &self.entropy).unwrap()
    }

    fn person(&self) -> Signer {
        let key = PersonKey::derive(TOKEN).unwrap();
        Signer::new(vec![self.enrol("dr.a", Speaks::Person, &key)], key)
    }

    /// As a gateway has it: the person's key signed a session's, and is gone.
    fn session(&self, life_ms: i64) -> Signer {
        let person = PersonKey::derive(TOKEN).unwrap();
        let own = self.enrol("dr.a", Speaks::Person, &person);
        let key = PersonKey::random(&self.entropy).unwrap();
        let session = person.begin_session(&own, key.public(), NOW, life_ms, &self.entropy);
        Signer::new(vec![own, session], key)
    }

    fn delegate(&self) -> Signer {
        let key = PersonKey::random(&self.entropy).unwrap();
        Signer::new(vec![self.enrol("gateway-1", Speaks::Delegate, &key)], key)
    }

    fn check(&self, proof: &Proof, statement: &Statement<'_>, now: Timestamp) -> Result<Proven, ProofError> {
        let read = Proof::from_bytes(&proof.to_bytes()).unwrap();
        assert_eq!(read, *proof);
        read.check(
            &Authority { known: &Known::default(), vault: VAULT, officer: self.officer.public(), ended: &[] },
            statement,
            now,
        )
    }
}

fn statement(person: &str) -> Statement<'_> {
    Statement { patient: Id16([4; 16]), commitment: Digest([5; 32]), person, purpose: "treatment", at: NOW }
}

#[test]
fn a_person_a_session_and_a_delegate_are_proven() {
    let centre = centre();
    for (signer, person, is_delegated) in [
        (centre.person(), "dr.a", false),
        (centre.session(3_600_000), "dr.a", false),
        (centre.delegate(), "ae:LINAC1", true),
        (centre.delegate(), "local:operator", true),
    ] {
        let statement = statement(person);
        let proof = signer.sign(VAULT, &statement, &centre.entropy);
        assert_eq!(centre.check(&proof, &statement, NOW).unwrap().is_delegated, is_delegated, "{person}");
    }
}

/// Found by fuzzing: the difference of the two ends of time has no absolute value, and passed for a negative one.
#[test]
fn no_two_times_are_too_far_apart_to_be_told_apart() {
    let centre = centre();
    let statement = Statement { at: Timestamp(i64::MAX), ..statement("dr.a") };
    let proof = centre.person().sign(VAULT, &statement, &centre.entropy);
    for now in [i64::MIN, i64::MIN + 1, -1, 0] {
        assert!(matches!(centre.check(&proof, &statement, Timestamp(now)), Err(ProofError::Time { .. })), "{now}");
    }
}

#[test]
fn nobody_speaks_for_anybody_else() {
    let centre = centre();
    for (signer, person) in [
        (centre.person(), "dr.b"),
        (centre.session(1_000), "dr.b"),
        (centre.delegate(), "dr.a"),
        (centre.delegate(), ""),
        (centre.person(), "ae:LINAC1"),
    ] {
        let statement = statement(person);
        let proof = signer.sign(VAULT, &statement, &centre.entropy);
        assert_eq!(centre.check(&proof, &statement, NOW), Err(ProofError::Subject), "{person}");
    }
    // A name with a colon is no person's, whatever an officer signs.
    let key = PersonKey::random(&centre.entropy).unwrap();
    let signer = Signer::new(vec![centre.enrol("ae:X", Speaks::Person, &key)], key);
    let proof = signer.sign(VAULT, &statement("ae:X"), &centre.entropy);
    assert_eq!(centre.check(&proof, &statement("ae:X"), NOW), Err(ProofError::Subject));
}

#[test]
fn a_gateway_invents_nobody() {
    let centre = centre();
    let statement = statement("dr.a");
    // Its own officer, its own person.
    let own = Centre { officer: Officer::from_seed(&[2; 32]).unwrap(), entropy: SeededEntropy::new(9) };
    let proof = own.person().sign(VAULT, &statement, &own.entropy);
    assert_eq!(centre.check(&proof, &statement, NOW), Err(ProofError::CertificateSignature));
    // A session of its own under a person's certificate, and a session that a delegate or a session begins.
    let person = PersonKey::derive(TOKEN).unwrap();
    let certificate = centre.enrol("dr.a", Speaks::Person, &person);
    let (key, other) = (PersonKey::random(&centre.entropy).unwrap(), PersonKey::random(&centre.entropy).unwrap());
    let forged = key.begin_session(&certificate, other.public(), NOW, 1_000, &centre.entropy);
    let proof = Signer::new(vec![certificate, forged], other).sign(VAULT, &statement, &centre.entropy);
    assert_eq!(centre.check(&proof, &statement, NOW), Err(ProofError::CertificateSignature));
    let delegate = PersonKey::random(&centre.entropy).unwrap();
    let certificate = centre.enrol("dr.a", Speaks::Delegate, &delegate);
    let other = PersonKey::random(&centre.entropy).unwrap();
    let session = delegate.begin_session(&certificate, other.public(), NOW, 1_000, &centre.entropy);
    let proof = Signer::new(vec![certificate, session], other).sign(VAULT, &statement, &centre.entropy);
    assert_eq!(centre.check(&proof, &statement, NOW), Err(ProofError::Chain));
}

#[test]
fn what_was_signed_is_what_is_asked() {
    let centre = centre();
    let asked = statement("dr.a");
    let proof = centre.person().sign(VAULT, &asked, &centre.entropy);
    for other in [
        Statement { patient: Id16([9; 16]), ..asked },
        Statement { commitment: Digest([9; 32]), ..asked },
        Statement { purpose: "emergency", ..asked },
        Statement { at: NOW.plus_ms(1), ..asked },
    ] {
        assert_eq!(centre.check(&proof, &other, NOW), Err(ProofError::Signature), "{other:?}");
    }
    // "ab" + "c" is not "a" + "bc".
    let moved = Statement { person: "dr.", purpose: "atreatment", ..asked };
    assert_eq!(centre.check(&proof, &moved, NOW), Err(ProofError::Subject));
}

#[test]
fn time_is_kept() {
    let centre = centre();
    let asked = statement("dr.a");
    let proof = centre.person().sign(VAULT, &asked, &centre.entropy);
    for off in [-120_000, 0, 120_000] {
        centre.check(&proof, &asked, NOW.plus_ms(off)).unwrap();
    }
    for off in [-120_001, 120_001, i64::MAX / 2] {
        assert!(matches!(centre.check(&proof, &asked, NOW.plus_ms(off)), Err(ProofError::Time { .. })));
    }
    // A session ends with its shift, and with the person's own certificate.
    for (life, last) in [(3_600_000, 3_600_000), (i64::MAX / 4, SESSION_LIFE_MS_MAX)] {
        let signer = centre.session(life);
        for (at, good) in [(last - 1, true), (last, false)] {
            let asked = Statement { at: NOW.plus_ms(at), ..asked };
            let checked = centre.check(&signer.sign(VAULT, &asked, &centre.entropy), &asked, asked.at);
            assert_eq!(checked.is_ok(), good, "{at}: {checked:?}");
        }
    }
    let late = Statement { at: NOW.plus_ms(31 * DAY), ..asked };
    let proof = centre.person().sign(VAULT, &late, &centre.entropy);
    assert!(matches!(centre.check(&proof, &late, late.at), Err(ProofError::Expired { .. })));
}

#[test]
fn ended_and_foreign_certificates_count_for_nothing() {
    let centre = centre();
    let asked = statement("dr.a");
    let key = PersonKey::derive(TOKEN).unwrap();
    let certificate = centre.enrol("dr.a", Speaks::Person, &key);
    let ended = [certificate.serial];
    let proof = Signer::new(vec![certificate], key).sign(VAULT, &asked, &centre.entropy);
    let (officer, known) = (centre.officer.public(), Known::default());
    let check = |vault, ended: &[Id16]| proof.check(&Authority { known: &known, vault, officer, ended }, &asked, NOW);
    check(VAULT, &[]).unwrap();
    // A certificate that was found good before is ended all the same.
    assert_eq!(check(VAULT, &ended), Err(ProofError::Ended));
    assert_eq!(check(Id16([8; 16]), &[]), Err(ProofError::OtherVault));
}

#[test]
fn a_proof_counts_once() {
    let centre = centre();
    let asked = statement("dr.a");
    let signer = centre.person();
    let mut replays = Replays::default();
    let proven = centre.check(&signer.sign(VAULT, &asked, &centre.entropy), &asked, NOW).unwrap();
    replays.take(&proven, NOW).unwrap();
    for later in [0, 119_000, 240_000] {
        assert_eq!(replays.take(&proven, NOW.plus_ms(later)), Err(ProofError::Replayed));
    }
    let again = centre.check(&signer.sign(VAULT, &asked, &centre.entropy), &asked, NOW).unwrap();
    replays.take(&again, NOW.plus_ms(240_000)).unwrap();
}

/// A holder that is started anew takes no proof twice; what was cut off its log was answered to nobody.
#[test]
fn a_proof_counts_once_whatever_restarts_and_is_cut() {
    let (centre, dir) = (centre(), tempfile::tempdir().unwrap());
    let (asked, signer) = (statement("dr.a"), centre.person());
    let prove = || centre.check(&signer.sign(VAULT, &asked, &centre.entropy), &asked, NOW).unwrap();
    let proofs: Vec<Proven> = (0..5).map(|_| prove()).collect();
    let mut replays = Replays::open(dir.path()).unwrap();
    for (at, proven) in (0..).zip(&proofs) {
        replays.take(proven, NOW.plus_ms(at)).unwrap();
    }
    drop(replays);
    let file = dir.path().join("proofs.log");
    let whole = std::fs::read(&file).unwrap();
    assert_eq!(whole.len(), 6 * 32);
    for cut in 0..=whole.len() {
        std::fs::write(&file, &whole[..cut]).unwrap();
        let mut replays = Replays::open(dir.path()).unwrap();
        let lines = (cut / 32).saturating_sub(1);
        assert_eq!(replays.last_time(), if lines == 0 { Timestamp(0) } else { NOW.plus_ms(lines as i64 - 1) }, "{cut}");
        for (number, proven) in proofs.iter().enumerate() {
            assert_eq!(replays.take(proven, NOW.plus_ms(9)).is_err(), number < lines, "{number} of {cut} bytes");
        }
        // As whole as it ever was: the torn line was written over.
        drop(replays);
        assert_eq!(std::fs::read(&file).unwrap().len(), whole.len());
        let mut replays = Replays::open(dir.path()).unwrap();
        assert!(
            proofs.iter().all(|proven| replays.take(proven, NOW.plus_ms(10)) == Err(ProofError::Replayed)),
            "{cut}"
        );
    }
    // Zeros from somewhere in a line on: a power failure. Anything else in the middle: damage, said by its place.
    for from in 32..whole.len() {
        let zeros = [&whole[..from], &vec![0; whole.len() - from][..]].concat();
        std::fs::write(&file, zeros).unwrap();
        let opened = Replays::open(dir.path());
        // A cut within a check leaves a check that is none.
        if from % 32 <= 24 {
            opened.unwrap();
        }
    }
    for at in 0..whole.len() - 32 {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        std::fs::write(&file, damaged).unwrap();
        let error = Replays::open(dir.path()).err().unwrap();
        let offset = at as u64 / 32 * 32;
        assert!(
            matches!(error, HolderError::Damaged { file: "proofs.log", offset: found } if found == offset),
            "{error}"
        );
    }
}

/// Two files hold what is good for anything, and no more.
#[test]
fn the_log_of_proofs_does_not_grow() {
    let (centre, dir) = (centre(), tempfile::tempdir().unwrap());
    let (asked, signer) = (statement("dr.a"), centre.person());
    let mut replays = Replays::open(dir.path()).unwrap();
    for minute in 0..30 {
        let proven = centre.check(&signer.sign(VAULT, &asked, &centre.entropy), &asked, NOW).unwrap();
        let at = NOW.plus_ms(minute * 60_000);
        replays.take(&proven, at).unwrap();
        if minute % 3 == 0 {
            drop(replays);
            replays = Replays::open(dir.path()).unwrap();
        }
        assert_eq!(replays.take(&proven, at), Err(ProofError::Replayed), "{minute}");
    }
    let bytes: u64 = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes <= 2 * 32 * 7, "{bytes}");
}

/// All fourteen encodings of the eight points: with one of them as a key, zeros are a signature of whatever one likes.
#[test]
fn no_point_of_small_order_is_anybodys_key() {
    let centre = centre();
    let mut identity = [0; 32];
    identity[0] = 1;
    let forged = [identity.as_slice(), &[0; 32]].concat();
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(&aws_lc_rs::signature::ED25519, identity);
    key.verify(b"anything", &forged).expect("the library doesn't look");

    let key = PersonKey::derive(TOKEN).unwrap();
    let good = centre.enrol("dr.a", Speaks::Person, &key);
    let bytes = good.to_bytes();
    let at = bytes.windows(32).position(|window| window == good.key()).unwrap();
    let mut different = std::collections::BTreeSet::new();
    for text in SMALL_ORDER {
        let point: [u8; 32] = std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap());
        different.insert(point);
        assert!(keys::is_small_order(&point), "{text}");
        let enrolled = centre.officer.enrol(VAULT, "dr.a", Speaks::Person, point, (NOW, NOW), &centre.entropy);
        assert!(enrolled.unwrap_err().to_string().contains("small order"), "{text}");
        let mut certificate = bytes.clone();
        certificate[at..at + 32].copy_from_slice(&point);
        assert!(Certificate::from_bytes(&certificate).unwrap_err().to_string().contains("small order"), "{text}");
        // As a session's, which no officer looks at.
        let session = key.begin_session(&good, point, NOW, 1_000, &centre.entropy);
        let proof = Signer::new(vec![good.clone(), session], PersonKey::derive(TOKEN).unwrap());
        let proof = proof.sign(VAULT, &statement("dr.a"), &centre.entropy);
        assert!(Proof::from_bytes(&proof.to_bytes()).unwrap_err().to_string().contains("small order"), "{text}");
    }
    assert_eq!(different.len(), 14);
    assert!(!keys::is_small_order(&good.key()));
}

/// "Taming the many EdDSAs", Table 1: eight canonical encodings, then six that are not.
const SMALL_ORDER: [&str; 14] = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
    "0100000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// The key of a token by HKDF's own published code path: RFC 5869, A.1 fixes the function; this fixes our salt and info.
#[test]
fn a_tokens_key_is_the_one_that_was_written_down() {
    let public: String = PersonKey::derive(TOKEN).unwrap().public().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(public, WRITTEN_DOWN);
    assert_ne!(PersonKey::derive(b"hf_another").unwrap().public(), PersonKey::derive(TOKEN).unwrap().public());
}

/// Computed with Python: `cryptography`'s HKDF(SHA256, 32, salt=b"holdfast person key v1", info=b"ed25519 seed") of TOKEN,
/// then Ed25519PrivateKey.from_private_bytes(…).public_key().
const WRITTEN_DOWN: &str = "a7fa9b7843796be3c03a99108d95559d02e552860398a4701fdd0c3d1ce8444f";

proptest! {
    #[test]
    fn a_changed_byte_is_no_proof(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let centre = centre();
        let asked = statement("dr.a");
        let mut bytes = centre.session(3_600_000).sign(VAULT, &asked, &centre.entropy).to_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let known = Known::default();
        let authority = Authority { known: &known, vault: VAULT, officer: centre.officer.public(), ended: &[] };
        let taken = Proof::from_bytes(&bytes).is_ok_and(|proof| proof.check(&authority, &asked, NOW).is_ok());
        prop_assert!(!taken, "byte {} of {}", at, bytes.len());
    }

    #[test]
    fn any_bytes_are_refused_in_peace(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Proof::from_bytes(&bytes).is_err());
        prop_assert!(Certificate::from_bytes(&bytes).is_err());
    }
}
