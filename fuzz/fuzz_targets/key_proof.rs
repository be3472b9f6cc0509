//! Certificates and proofs from any bytes: what is read is written the same again, and none of it is a proof.
#![no_main]

use keys::{Authority, Certificate, Known, Proof, Statement};
use kit::{Digest, Id16, Timestamp};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(certificate) = Certificate::from_bytes(data) {
        assert_eq!(certificate.to_bytes(), data);
    }
    if let Ok(proof) = Proof::from_bytes(data) {
        assert_eq!(proof.to_bytes(), data);
        let authority = Authority { known: &Known::default(), vault: Id16([1; 16]), officer: [7; 32], ended: &[] };
        let (patient, commitment) = (Id16([2; 16]), Digest([3; 32]));
        let statement = Statement { patient, commitment, person: "dr.a", purpose: "treatment", at: Timestamp(0) };
        assert!(proof.check(&authority, &statement, Timestamp(0)).is_err());
    }
});
