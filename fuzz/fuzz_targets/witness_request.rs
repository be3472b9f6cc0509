//! A witness's request and a cosignature's line from any bytes: read and written the same, and nothing unsigned is cosigned.
#![no_main]

use ledger::{AddCheckpoint, Cosignature, Vkey, judge};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(request) = AddCheckpoint::from_bytes(data) {
        assert_eq!(request.to_bytes(), data);
        let log = Vkey::new("fuzz/log", &[5; 32]);
        assert!(log.is_err() || log.is_ok_and(|log| judge(None, &request, &log).is_err()));
    }
    if let Ok(line) = std::str::from_utf8(data)
        && let Ok(cosignature) = Cosignature::parse(line)
    {
        assert_eq!(cosignature.line(), line);
    }
});
