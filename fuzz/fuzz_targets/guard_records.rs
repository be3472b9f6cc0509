//! Stored decisions and events: what decodes encodes to the same bytes.
#![no_main]

use guard::{Decision, Event};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(decision) = Decision::from_bytes(data) {
        assert_eq!(decision.to_bytes(), data);
    }
    if let Ok(event) = Event::from_bytes(data) {
        assert_eq!(event.to_bytes(), data);
    }
});
