//! Treatment records beside a plan: an error or one count, the same however often and in whatever order they come; and never less
//! than what one of them alone would make.
#![no_main]

use std::collections::BTreeSet;

use libfuzzer_sys::fuzz_target;
use treatment::{Course, Given, Plan, TreatmentRecord};

/// Behind each of the files in the input.
const BORDER: &[u8] = b"--file--";

fuzz_target!(|data: &[u8]| {
    let mut files = Vec::new();
    let mut rest = data;
    while let Some(at) = rest.windows(BORDER.len()).position(|bytes| bytes == BORDER) {
        files.push(&rest[..at]);
        rest = &rest[at + BORDER.len()..];
    }
    files.push(rest);
    let records: Vec<_> = files.iter().map(|file| TreatmentRecord::parse(file)).collect();
    let Some(plan) = files.iter().find_map(|file| Plan::parse(file).ok()) else { return };
    let Some(group) = plan.groups.first() else { return };
    let uids = BTreeSet::from([plan.instance.sop_instance.clone()]);
    let count = |records: &mut dyn Iterator<Item = &Result<TreatmentRecord, _>>| {
        let mut course = Course::new(uids.clone(), &plan, group);
        records.for_each(|record| course.add(record));
        course.given()
    };
    let all = count(&mut records.iter());
    assert_eq!(all, count(&mut records.iter().rev().chain(&records)));
    if let Given::Known { distinct, highest, .. } = all {
        assert!(highest >= distinct);
    }
});
