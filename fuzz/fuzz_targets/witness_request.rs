//! What a gateway sends to a witness, and a witness's line: what parses prints the same bytes again; what is signed by
//! nobody is never cosigned.
#![no_main]

use ledger::{AddCheckpoint, Cosignature, Vkey, WitnessVkey, cosigners, judge};
use libfuzzer_sys::fuzz_target;

/// RFC 8032, section 7.1, tests 1 and 2: public keys whose owners sign nothing here.
const NOBODY: [[u8; 32]; 2] = [
    [
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1,
        0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
    ],
    [
        0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc, 0x9c, 0x98,
        0x2c, 0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c,
    ],
];

fuzz_target!(|data: &[u8]| {
    let log = Vkey::new("fuzz.example", &NOBODY[0]).expect("a name and a key");
    let witness = WitnessVkey::new("witness.example", &NOBODY[1]).expect("a name and a key");
    if let Ok(request) = AddCheckpoint::from_bytes(data) {
        assert_eq!(request.to_bytes(), data);
        assert!(judge(None, &request, &log).is_err());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        if let Ok(cosignature) = Cosignature::parse(text) {
            assert_eq!(cosignature.line(), text);
        }
        if let Ok(key) = text.parse::<WitnessVkey>() {
            assert_eq!(key.to_string(), text);
        }
    }
    assert!(cosigners(data, &log, &[witness]).is_err());
});
