//! What the index is rebuilt from: what decodes decodes again from its own encoding.
#![no_main]

use chart::Meta;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(meta) = Meta::from_bytes(0, data) {
        let bytes = meta.to_bytes();
        assert_eq!(Meta::from_bytes(0, &bytes).map(|again| again.to_bytes()).ok(), Some(bytes));
    }
});
