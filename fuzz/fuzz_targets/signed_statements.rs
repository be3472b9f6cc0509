//! Approvals and settlements as they are stored: what decodes encodes to the same bytes, and verifies under nobody's name.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treatment::{Approval, Enrolment};

fuzz_target!(|data: &[u8]| {
    if let Ok(approval) = Approval::decode(data) {
        assert_eq!(approval.encode(), data);
        std::hint::black_box(approval.statement().text());
        assert!(approval.verify("fuzz", &[]).is_err());
    }
    if let Ok(enrolment) = Enrolment::decode(data) {
        assert_eq!(enrolment.encode(), data);
    }
});
