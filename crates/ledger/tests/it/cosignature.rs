//! Cosignatures: published ones verify, each altered one is refused, and each witness counts once.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use ledger::{
    COSIGNATURE_TIME_S_MAX, Cosignature, Cosigner, NOTE_LINES_MAX, WitnessVkey, cosign, cosigners, witness_quorum,
};
use sha2::Digest as _;

use super::*;

pub(crate) const TIME_S: u64 = 1_784_000_000;

pub(crate) struct Witness(Signer);

impl Witness {
    pub(crate) fn new(number: u8) -> Self {
        Self(Signer::named(&format!("server-{number}.example"), 100 + number))
    }

    pub(crate) fn vkey(&self) -> WitnessVkey {
        WitnessVkey::new(&self.0.name, self.0.pair.public_key().as_ref().try_into().unwrap()).unwrap()
    }
}

impl Cosigner for Witness {
    fn name(&self) -> &str {
        &self.0.name
    }

    fn key_id(&self) -> u32 {
        self.vkey().key_id()
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        NoteSigner::sign(&self.0, message)
    }
}

fn head() -> Checkpoint {
    Checkpoint { origin: "centre.example/log".to_owned(), size: 923_748, root: leaf_hash(b"hello world").into() }
}

/// The same signature, said to be of another time.
fn at_time(cosignature: &Cosignature, time_s: u64) -> Cosignature {
    let mut altered = cosignature.clone();
    altered.time_s = time_s;
    altered
}

/// A head of a public log (arche2025h1, of Certificate Transparency) and the line of its witness remora.n621.de, whose
/// key stands in `note/note_cosigv1_test.go` of transparency-dev/formats.
#[test]
fn a_public_witness_s_cosignature_verifies() {
    let text = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2";
    let witness: WitnessVkey = text.parse().unwrap();
    assert_eq!((witness.name(), witness.key_id(), witness.to_string().as_str()), ("remora.n621.de", 0xda77_ade7, text));
    assert_eq!(WitnessVkey::new(witness.name(), witness.public_key()).unwrap(), witness);
    let body = "arche2025h1.staging.ct.transparency.dev\n1432088532\nU7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n";
    let line = "— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n";
    let (checkpoint, cosignature) = (Checkpoint::parse(body).unwrap(), Cosignature::parse(line).unwrap());
    assert_eq!(cosignature.line(), line);
    assert_eq!(witness.verify(&checkpoint, &cosignature).unwrap(), 0x6a12_2120);
    let other = Checkpoint { size: 42, ..checkpoint };
    assert!(matches!(witness.verify(&other, &cosignature), Err(LedgerError::BadSignature { .. })));
}

/// The example line of C2SP tlog-cosignature; its key isn't published.
#[test]
fn the_specification_s_line_is_read() {
    let line = "— witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let cosignature = Cosignature::parse(line).unwrap();
    assert_eq!((cosignature.name(), cosignature.key_id()), ("witness.example.com/w1", 0x8d66_cf3f));
    assert_eq!((cosignature.time_s, cosignature.line().as_str()), (1_679_315_147, line));
}

/// Made here, checked by libraries that share no code with ours: the key's id, the message and its signature.
#[test]
fn an_independent_implementation_verifies_ours() {
    let witness = Witness::new(1);
    let cosignature = cosign(&head(), &witness, TIME_S).unwrap();
    let id = [b"server-1.example\n\x04".as_slice(), witness.vkey().public_key()].concat();
    assert_eq!(witness.vkey().key_id().to_be_bytes(), Sha256::digest(id)[..4]);
    let line = cosignature.line();
    let payload = line.strip_prefix("— server-1.example ").unwrap().trim_end();
    let payload = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, payload).unwrap();
    assert_eq!(payload[..4], witness.vkey().key_id().to_be_bytes());
    assert_eq!(payload[4..12], TIME_S.to_be_bytes());
    let message =
        "cosignature/v1\ntime 1784000000\ncentre.example/log\n923748\nTszzRgjTG6xce+z2AG31kAXYKBgQVtCSCE40HmuwBb0=\n";
    let key = UnparsedPublicKey::new(&ED25519, *witness.vkey().public_key());
    key.verify(message.as_bytes(), &payload[12..]).unwrap();
    assert_eq!(witness.vkey().verify(&head(), &cosignature).unwrap(), TIME_S);
    // The log's kind of signature by the same key says nothing of a time, and is none.
    assert!(key.verify(head().body().as_bytes(), &payload[12..]).is_err());
}

#[test]
fn no_bit_of_a_cosignature_can_be_changed() {
    let (witness, other) = (Witness::new(1), Witness::new(2));
    let cosignature = cosign(&head(), &witness, TIME_S).unwrap();
    let line = cosignature.line();
    assert_eq!(Cosignature::parse(&line).unwrap(), cosignature);
    for bit in 0..line.len() * 8 {
        let mut altered = line.clone().into_bytes();
        altered[bit / 8] ^= 1 << (bit % 8);
        let read = String::from_utf8(altered).ok().and_then(|line| Cosignature::parse(&line).ok());
        let verified = read.is_some_and(|cosignature| witness.vkey().verify(&head(), &cosignature).is_ok());
        assert!(!verified, "bit {bit}");
    }
    for end in (0..line.len()).filter(|end| line.is_char_boundary(*end)) {
        assert!(Cosignature::parse(&line[..end]).is_err(), "{end} bytes");
    }
    for more in [format!("{line}\n"), format!("{line}{line}"), format!(" {line}"), line.replace('\n', " \n")] {
        assert!(Cosignature::parse(&more).is_err(), "{more:?}");
    }
    let long = line.replace("server-1", &"s".repeat(200));
    assert!(matches!(Cosignature::parse(&long), Err(LedgerError::CosignatureMalformed(_))));
    // The log's own line is no cosignature: 64 bytes, without a time.
    let log = String::from_utf8(head().sign(&Signer::new(1)).unwrap().into_bytes()).unwrap();
    let log = log.split_inclusive('\n').next_back().unwrap();
    assert!(matches!(Cosignature::parse(log), Err(LedgerError::CosignatureMalformed(_))));

    let altered = at_time(&cosignature, TIME_S + 1);
    assert!(matches!(witness.vkey().verify(&head(), &altered), Err(LedgerError::BadSignature { .. })));
    let elsewhere = other.vkey().verify(&head(), &cosignature);
    assert!(matches!(elsewhere, Err(LedgerError::OtherWitness { .. })));
    for time_s in [0, COSIGNATURE_TIME_S_MAX + 1, u64::MAX] {
        let found = cosign(&head(), &witness, time_s);
        assert!(matches!(found, Err(LedgerError::CosignatureTime { found, .. }) if found == time_s));
        let altered = at_time(&cosignature, time_s);
        assert!(matches!(Cosignature::parse(&altered.line()), Err(LedgerError::CosignatureTime { .. })));
        assert!(matches!(witness.vkey().verify(&head(), &altered), Err(LedgerError::CosignatureTime { .. })));
    }
    let two_lines = Checkpoint { origin: "centre.example/log\n5".to_owned(), ..head() };
    assert!(cosign(&two_lines, &witness, TIME_S).is_err());
    struct Nameless;
    impl Cosigner for Nameless {
        fn name(&self) -> &str {
            "two words"
        }

        fn key_id(&self) -> u32 {
            1
        }

        fn sign(&self, _: &[u8]) -> [u8; 64] {
            [0; 64]
        }
    }
    assert!(matches!(cosign(&head(), &Nameless, TIME_S), Err(LedgerError::VkeyMalformed(_))));
}

#[test]
fn a_witness_counts_once_and_a_false_one_is_named() {
    let log = Signer::new(7);
    let witnesses: Vec<Witness> = (0..4).map(Witness::new).collect();
    let vkeys: Vec<WitnessVkey> = witnesses.iter().map(Witness::vkey).collect();
    let by = |number: usize, time_s| cosign(&head(), &witnesses[number], time_s).unwrap();
    let signed = head().sign(&log).unwrap();
    let found = |note: &SignedCheckpoint, known: &[WitnessVkey]| {
        cosigners(note.bytes(), &log.vkey(), known).map(|(checkpoint, found)| {
            assert_eq!(checkpoint, head());
            found
        })
    };
    assert_eq!(found(&signed, &vkeys).unwrap(), [0usize; 0]);
    // Out of order, one of them twice, one that isn't listed, and the same name with another key.
    let stranger = cosign(&head(), &Witness(Signer::named("server-1.example", 9)), TIME_S).unwrap();
    let lines = [by(2, TIME_S), by(0, TIME_S), by(2, TIME_S + 1), by(2, TIME_S), by(3, TIME_S), stranger];
    let noted = signed.with_cosignatures(&lines).unwrap();
    assert_eq!(found(&noted, &vkeys[..3]).unwrap(), [0, 2]);
    assert_eq!(SignedCheckpoint::open(noted.bytes(), &log.vkey()).unwrap(), head());
    assert_eq!(SignedCheckpoint::from_bytes(noted.bytes()).unwrap(), noted);

    // A line of another checkpoint, also behind a good one; a line too short for a time; a time of 0.
    let elsewhere = cosign(&Checkpoint { size: 5, ..head() }, &witnesses[1], TIME_S).unwrap();
    for lines in [vec![elsewhere.clone()], vec![by(1, TIME_S), elsewhere], vec![at_time(&by(1, TIME_S), 0)]] {
        let forged = signed.with_cosignatures(&lines).unwrap();
        assert!(
            matches!(found(&forged, &vkeys), Err(LedgerError::BadSignature { key }) if key.starts_with("server-1.example+"))
        );
        assert_eq!(found(&forged, &vkeys[2..]).unwrap(), [0usize; 0]);
    }
    let id = base64::Engine::encode(
        &base64::prelude::BASE64_STANDARD,
        [&vkeys[1].key_id().to_be_bytes()[..], b"short"].concat(),
    );
    let short = [signed.bytes(), format!("— server-1.example {id}\n").as_bytes()].concat();
    assert!(matches!(cosigners(&short, &log.vkey(), &vkeys), Err(LedgerError::BadSignature { .. })));

    // Witnesses without the log's own signature are nothing; nor are they two with one key, or the log itself.
    let unsigned = cosigners(noted.bytes(), &Signer::new(8).vkey(), &vkeys);
    assert!(matches!(unsigned, Err(LedgerError::Unsigned { .. })));
    let renamed = WitnessVkey::new("server-9.example", vkeys[2].public_key()).unwrap();
    let itself = WitnessVkey::new("server-9.example", log.vkey().public_key()).unwrap();
    for dependent in [renamed, itself, vkeys[2].clone()] {
        let known = [vkeys.clone(), vec![dependent]].concat();
        assert!(matches!(found(&noted, &known), Err(LedgerError::WitnessNotIndependent { .. })));
    }

    // As many lines as a note may have, and one more.
    let room = NOTE_LINES_MAX - 5;
    assert!(signed.with_cosignatures(&vec![by(0, TIME_S); room]).is_ok());
    let full = signed.with_cosignatures(&vec![by(0, TIME_S); room + 1]);
    assert!(matches!(full, Err(LedgerError::NoteTooLong { .. })));
}

#[test]
fn a_witness_s_key_is_written_in_one_way() {
    let good = Witness::new(1).vkey().to_string();
    assert_eq!(good.parse::<WitnessVkey>().unwrap().to_string(), good);
    assert_eq!(format!("{:?}", Witness::new(1).vkey()), format!("WitnessVkey({good})"));
    let at = good.find('+').unwrap() + 1;
    for bad in [
        good.to_uppercase(),
        good.replacen('+', "+0", 1),
        format!("{good}="),
        good[..good.len() - 1].to_owned(),
        format!("{}00000000{}", &good[..at], &good[at + 8..]),
        good.replacen("server", "sermon", 1),
        String::new(),
        "+++".to_owned(),
        "x".repeat(10_000),
    ] {
        assert!(matches!(bad.parse::<WitnessVkey>(), Err(LedgerError::VkeyMalformed(_))), "{bad}");
    }
    // Neither kind of key can stand for the other.
    assert!(matches!(good.parse::<Vkey>(), Err(LedgerError::VkeyMalformed(_))));
    assert!(matches!(Signer::new(1).vkey().to_string().parse::<WitnessVkey>(), Err(LedgerError::VkeyMalformed(_))));
    for name in ["", "two words", "a+b", "line\nbreak", &"x".repeat(121)] {
        assert!(WitnessVkey::new(name, Witness::new(1).vkey().public_key()).is_err(), "{name:?}");
    }
}

/// Two histories with a quorum each need liars who cosign both, and honest witnesses for the rest, each for one of them.
#[test]
fn two_quorums_take_more_liars_than_are_borne() {
    for of in 1..=64 {
        let quorum = witness_quorum(of);
        assert!(2 * quorum > of && quorum <= of, "{quorum} of {of}");
        assert!(of < 5 || quorum + 2 == of || quorum == of / 2 + 1, "two may be away: {quorum} of {of}");
        let (needed, borne) = (2 * quorum - of, 2 * quorum - of - 1);
        let both = |liars: usize| (0..=of - liars).any(|one| liars + one >= quorum && of - one >= quorum);
        assert!(both(needed) && !both(borne), "{of}: {needed} liars");
    }
    let some = [1, 2, 3, 4, 5, 6, 7, 8, 14].map(witness_quorum);
    assert_eq!(some, [1, 2, 2, 3, 3, 4, 5, 6, 12]);
}
