//! Tampering: every edit applies somewhere, changes what it says, and the treatment room agrees with its truth.

use std::collections::{BTreeMap, BTreeSet};

use drill::tamper::walk::File;
use drill::tamper::{Class, catalogue};

use crate::centre;

fn plans() -> Vec<Vec<u8>> {
    centre(12, 12).generate().map(|patient| patient.course.unwrap().plan).collect()
}

#[test]
fn the_walker_reads_and_writes_a_plan_unchanged() {
    for plan in plans() {
        let walked = File::read(&plan).unwrap();
        let again = File::read(&walked.write()).unwrap();
        assert_eq!(again, walked);
        let implicit = File { explicit: false, ..walked.clone() };
        let open = File { undefined_lengths: true, ..walked.clone() };
        assert_eq!(File::read(&open.write()).unwrap().data, walked.data);
        let reread = File::read(&implicit.write()).unwrap();
        assert_eq!(reread.data.0.len(), walked.data.0.len());
        assert!(dicom_object::from_reader(&implicit.write()[128..]).is_ok());
        assert!(dicom_object::from_reader(&open.write()[128..]).is_ok());
    }
}

#[test]
fn every_edit_applies_to_some_plan_and_changes_it() {
    let plans = plans();
    let mut applied: BTreeMap<&str, usize> = catalogue().map(|edit| (edit.name, 0)).collect();
    let names: BTreeSet<_> = catalogue().map(|edit| edit.name).collect();
    assert_eq!(names.len(), catalogue().count(), "names are unique");
    for plan in &plans {
        for edit in catalogue() {
            let Some(edited) = edit.apply(plan, 5).unwrap() else { continue };
            assert_eq!(Some(&edited), edit.apply(plan, 5).unwrap().as_ref(), "{} replays", edit.name);
            let same = edited == File::read(plan).unwrap().write();
            assert_eq!(same, edit.name == "as-it-is", "{}", edit.name);
            if edit.class != Class::Malformed {
                let read = dicom_object::from_reader(&edited[128..]);
                assert!(read.is_ok(), "{}: {:?}", edit.name, read.err());
            }
            *applied.get_mut(edit.name).unwrap() += 1;
        }
    }
    assert!(applied.values().all(|times| *times > 0), "{applied:?}");
}

fn within(a: &treatment::Plan, b: &treatment::Plan) -> bool {
    treatment::Difference::of(&a.delivery, &b.delivery).within_tolerance()
}

#[test]
fn the_delivery_digest_agrees_with_every_edits_truth() {
    let mut wrong = Vec::new();
    for plan in plans() {
        let original = treatment::Plan::parse(&plan).unwrap();
        for edit in catalogue().filter(|edit| edit.name != "other-patient") {
            for seed in 0..4 {
                let Some(edited) = edit.apply(&plan, seed).unwrap() else { continue };
                let read = treatment::Plan::parse(&edited);
                let same = read.as_ref().is_ok_and(|plan| plan.digest() == original.digest());
                let fits = match edit.class {
                    Class::Harmless => same && within(&original, read.as_ref().unwrap()),
                    Class::MovesDose => !same,
                    Class::Displaced => same && !within(&original, read.as_ref().unwrap()),
                    Class::Malformed => read.is_err(),
                };
                if !fits {
                    let why = read.map_or_else(
                        |e| e.to_string(),
                        |p| format!("digest same: {}", p.digest() == original.digest()),
                    );
                    wrong.push(format!("{} {:?} seed {seed}: {why}", edit.name, edit.class));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
