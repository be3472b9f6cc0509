//! FHIR bodies and queries: what is taken is kept so that it is taken again, with the same content.
#![no_main]

use chart::fhir::{Query, Resource};
use kit::Timestamp;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(resource) = Resource::parse(data, None) {
        // One that would be too large with what is added to it is refused.
        let Ok(kept) = resource.stored("fuzz", 7, Timestamp(1_767_268_800_000)) else { return };
        let again = Resource::parse(&kept, Some(resource.kind())).expect("what is kept reads");
        assert_eq!((again.id(), again.version_id()), (Some("fuzz"), Some("7")));
    }
    if let Ok(text) = std::str::from_utf8(data) {
        std::hint::black_box(Query::parse_encoded("Patient", text).ok());
    }
});
