//! Signatures: whose, over what, and what doesn't count.

use guard::{PublicKey, SignatureError, SigningKey};
use kit::{Digest, OsEntropy, PatientId, SeededEntropy, Timestamp};
use proptest::prelude::*;
use treatment::{Approval, ApprovalError, Enrolment, PlanContext, SignerRole, Statement};

pub fn statement(signer: &str, role: SignerRole, delivery: Digest) -> Statement {
    Statement {
        centre: "Demo Centre".into(),
        patient: PatientId([7; 16]),
        delivery,
        role,
        signer: signer.into(),
        at: Timestamp(1_713_916_799_999),
        settles: None,
        withdraws: None,
        chooses: None,
        context: Some(CONTEXT),
        overrides: None,
    }
}

/// What every plan here stands beside.
pub const CONTEXT: PlanContext = PlanContext {
    structure_set: Some(Digest([1; 32])),
    images: Some(Digest([2; 32])),
    dose: None,
    prescription: Digest([4; 32]),
    tolerance_tables: Digest([5; 32]),
};

pub fn enrolled(signer: &str, role: SignerRole, key: &SigningKey) -> Enrolment {
    Enrolment::new(signer, role, key.public_key().unwrap(), Timestamp(0))
}

#[test]
fn a_signature_holds_for_its_statement_alone() {
    let key = SigningKey::generate(&SeededEntropy::new(1)).unwrap();
    let people = [enrolled("asha", SignerRole::Oncologist, &key)];
    let signed = statement("asha", SignerRole::Oncologist, Digest([9; 32])).sign(&key).unwrap();
    let bytes = signed.encode();
    let read = Approval::decode(&bytes).unwrap();
    assert_eq!(read, signed);
    assert_eq!(read.verify("Demo Centre", &people).unwrap().statement(), signed.statement());
    assert_eq!(read.verify("Other Centre", &people), Err(ApprovalError::OtherCentre));
    assert_eq!(read.verify("Demo Centre", &[]), Err(ApprovalError::NotEnrolled { role: SignerRole::Oncologist }));
    // Enrolled, but in the other role; enrolled, but with another key.
    let other = SigningKey::generate(&SeededEntropy::new(2)).unwrap();
    assert!(read.verify("Demo Centre", &[enrolled("asha", SignerRole::Physicist, &key)]).is_err());
    assert_eq!(
        read.verify("Demo Centre", &[enrolled("asha", SignerRole::Oncologist, &other)]),
        Err(ApprovalError::BadSignature)
    );
    // An old key beside the new one.
    assert!(read.verify("Demo Centre", &[enrolled("asha", SignerRole::Oncologist, &other), people[0].clone()]).is_ok());
    // Every byte counts: changed, it no longer decodes or no longer verifies.
    for at in 0..bytes.len() {
        let mut forged = bytes.clone();
        forged[at] ^= 1;
        assert!(Approval::decode(&forged).and_then(|a| a.verify("Demo Centre", &people)).is_err(), "byte {at}");
        assert!(Approval::decode(&bytes[..at]).is_err());
    }
    assert!(Approval::decode(&[&bytes[..], &[0]].concat()).is_err());
}

#[test]
fn the_statement_is_a_text_that_a_person_can_read() {
    assert_eq!(
        statement("asha", SignerRole::Physicist, Digest([0xAB; 32])).text(),
        format!(
            "holdfast plan approval v2\ncentre Demo Centre\npatient {}\ndelivery {}\nstructure set {}\nimages {}\ndose none\n\
             prescription {}\ntolerance tables {}\nrole physicist\nsigner asha\nat 2024-04-23T23:59:59.999Z\n",
            "07".repeat(16),
            "ab".repeat(32),
            "01".repeat(32),
            "02".repeat(32),
            "04".repeat(32),
            "05".repeat(32)
        )
    );
    let alone = Statement { context: None, ..statement("asha", SignerRole::Physicist, Digest([0xAB; 32])) };
    assert!(alone.text().starts_with("holdfast plan approval v1\n"));
    let key = SigningKey::generate(&OsEntropy).unwrap();
    for name in ["", "a\nrole oncologist", &"x".repeat(129)] {
        let refused = statement(name, SignerRole::Physicist, Digest([0; 32])).sign(&key);
        assert_eq!(refused, Err(SignatureError::BadName { whose: "signer" }.into()));
    }
}

#[test]
fn keys_go_to_paper_and_back() {
    let key = SigningKey::generate(&SeededEntropy::new(3)).unwrap();
    let pem = key.to_pem().unwrap();
    assert!(pem.starts_with("-----BEGIN PRIVATE KEY-----\n") && pem.ends_with("-----END PRIVATE KEY-----\n"));
    let again = SigningKey::from_pem(&pem).unwrap();
    assert_eq!(again.public_key().unwrap(), key.public_key().unwrap());
    let public = key.public_key().unwrap();
    assert_eq!(public.to_string().parse::<PublicKey>().unwrap(), public);
    for bad in ["", "AAAA", "not base64!", &"A".repeat(64)] {
        assert_eq!(bad.parse::<PublicKey>(), Err(SignatureError::BadPublicKey));
        assert!(matches!(SigningKey::from_pem(bad), Err(SignatureError::BadKey)));
    }
    // RFC 8410, section 10.3.
    let rfc8410 = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
    let public = SigningKey::from_pem(rfc8410).unwrap().public_key().unwrap();
    assert_eq!(public.to_string(), "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=");
    let enrolment = enrolled("asha", SignerRole::Oncologist, &key);
    assert_eq!(Enrolment::decode(&enrolment.encode()).unwrap(), enrolment);
    assert!(Enrolment::decode(&[&enrolment.encode()[..], &[0]].concat()).is_err());
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Approval::decode(&bytes);
        let _ = Enrolment::decode(&bytes);
        let _ = SigningKey::from_pem(&String::from_utf8_lossy(&bytes));
    }
}
