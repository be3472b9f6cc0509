//! The published numbers of X-Wing in HPKE, through the crate that this room uses.
//!
//! From draft-ietf-hpke-pq-05, appendix A.5, "MLKEM768-X25519, HKDF-SHA256, ChaCha20Poly1305", base mode. The room's own
//! suite differs in the AEAD's number alone (export-only, 0xFFFF; no vector with X-Wing is published for it), so the
//! vector's number is put in its place: exported values depend on the AEAD by its number only (RFC 9180, section 5.1).

use hpke::aead::{Aead, AesGcm256};
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable, setup_receiver, setup_sender_with_rng};

const INFO: &str = "34663634363532303666366532303631323034373732363536333639363136653230353537323665";
const IKM_E: &str = "c82228383c9fb887f7d8b332c28262024eda5b6b0ecd2325fe662daffc0594fa\
                     d4990e7c8d13812137d06ba7017453de675ab0388d418853617f3ca58cc5daf3";
const SK_RM: &str = "b6bfa0299b955e85224df2e468f29eeab377ff3b96d4462b39447a22d32b91be";
/// First and last 32 bytes of what is published; each is 1,216 or 1,120 bytes.
const PK_RM: [&str; 2] = [
    "d3d102410970b8bab2984008669914490c95dea2c2ae331ca229aaf3609a6d5a",
    "641763ebe08e7add5686b0ed1d1e7053982aa616130939d0a09462df7dc74d05",
];
const ENC: [&str; 2] = [
    "ab354dd589f74ee0eab7718a630cbec5df1d09058e177cd6dd141d883450ddd7",
    "e43349d7bc95c8b40c001449d3251c1d92ff6d5c3b08c4b27c",
];
/// Exporter contexts "pseudorandom0" to "pseudorandom4".
const EXPORTED: [&str; 5] = [
    "14b64c194571a8e6fc16cb4d22754c79391081174b6001cd8050142f928defbb",
    "7152f82449d4cd8137afb9b514fab6791e0938ba7734cb62228b8385003f32a6",
    "e3759bd609d81501bdac23863795a37437e804dd3274f0ed3964f82e8a6f97e5",
    "3e9e46c25af47fe02c149de2d3d8300881bb59fdb5b07c6b46d001918945cffa",
    "0dc9bd0216b18caa75d0188cab85d7fdef4b405c340da75b50e052b889fb2f78",
];

/// ChaCha20Poly1305 by number; it seals nothing here.
struct NumberThree;

impl Aead for NumberThree {
    type AeadImpl = <AesGcm256 as Aead>::AeadImpl;
    const AEAD_ID: u16 = 3;
}

/// Gives the vector's randomness, once.
struct Given(Vec<u8>);

impl TryRng for Given {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        panic!("an encapsulation takes its randomness in one piece")
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        panic!("an encapsulation takes its randomness in one piece")
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        assert_eq!(out.len(), self.0.len());
        out.copy_from_slice(&std::mem::take(&mut self.0));
        Ok(())
    }
}

impl TryCryptoRng for Given {}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn x_wing_exports_what_the_draft_prints() {
    let private = <XWing as Kem>::PrivateKey::from_bytes(&unhex(SK_RM)).unwrap();
    let public = XWing::sk_to_pk(&private);
    let bytes = public.to_bytes();
    assert!(bytes.starts_with(&unhex(PK_RM[0])) && bytes.ends_with(&unhex(PK_RM[1])));

    let info = unhex(INFO);
    let mut random = Given(unhex(IKM_E));
    let (encapsulation, dealer) =
        setup_sender_with_rng::<NumberThree, HkdfSha256, XWing>(&OpModeS::Base, &public, &info, &mut random).unwrap();
    let bytes = encapsulation.to_bytes();
    assert!(bytes.starts_with(&unhex(ENC[0])) && bytes.ends_with(&unhex(ENC[1])));

    let party = setup_receiver::<NumberThree, HkdfSha256, XWing>(&OpModeR::Base, &private, &encapsulation, &info);
    let party = party.unwrap();
    for (number, expected) in EXPORTED.iter().enumerate() {
        let context = format!("pseudorandom{number}");
        let (mut dealt, mut opened) = ([0; 32], [0; 32]);
        dealer.export(context.as_bytes(), &mut dealt).unwrap();
        party.export(context.as_bytes(), &mut opened).unwrap();
        assert_eq!((dealt.as_slice(), opened.as_slice()), (unhex(expected).as_slice(), unhex(expected).as_slice()));
    }
}
