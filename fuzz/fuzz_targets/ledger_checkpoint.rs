//! A checkpoint's text: what parses prints the same text again; what is signed by nobody never opens.
#![no_main]

use ledger::{Checkpoint, SignedCheckpoint, Vkey};
use libfuzzer_sys::fuzz_target;

/// RFC 8032, section 7.1, test 1: a public key whose owner signs nothing here.
const NOBODY: [u8; 32] = [
    0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72,
    0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
];

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(checkpoint) = Checkpoint::parse(text) {
            assert_eq!(Checkpoint::parse(&checkpoint.body()).ok(), Some(checkpoint));
        }
        std::hint::black_box(text.parse::<Vkey>().ok());
    }
    let key = Vkey::new("fuzz.example", &NOBODY).expect("a name and a key");
    assert!(SignedCheckpoint::open(data, &key).is_err());
});
