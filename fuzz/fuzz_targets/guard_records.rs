//! Stored decisions, events and signatures: what decodes encodes to the same bytes. And the text of a policy.
#![no_main]

use guard::{Bundle, Decision, Event, SignedPolicy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(decision) = Decision::from_bytes(data) {
        assert_eq!(decision.to_bytes(), data);
    }
    if let Ok(event) = Event::from_bytes(data) {
        assert_eq!(event.to_bytes(), data);
    }
    if let Ok(signed) = SignedPolicy::from_bytes(data) {
        assert_eq!(signed.to_bytes(), data);
    }
    if let Ok(text) = std::str::from_utf8(data)
        && let Ok(bundle) = Bundle::parse(text)
    {
        assert_eq!(bundle.text(), text);
    }
});
