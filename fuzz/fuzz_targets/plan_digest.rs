//! A plan's strict parse and its delivery digest: an error or one answer, the same twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use treatment::Plan;

fuzz_target!(|data: &[u8]| {
    for parse in [
        Plan::parse,
        |data: &[u8]| Plan::parse_data_set(data, "1.2.840.10008.1.2"),
        |data: &[u8]| Plan::parse_data_set(data, "1.2.840.10008.1.2.1"),
    ] {
        if let Ok(plan) = parse(data) {
            assert_eq!(parse(data).map(|again| again.digest()), Ok(plan.digest()));
            std::hint::black_box(plan.delivery.canonical());
        }
    }
});
