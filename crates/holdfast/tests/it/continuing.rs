//! A fraction that was begun, and the instruction that gives its rest.

use dicom_core::{DataElement, PrimitiveValue, Tag, VR, value::DataSetSequence};
use dicom_dictionary_std::{tags as t, uids};
use dicom_object::{FileMetaTableBuilder, InMemDicomObject};
use drill::synthetic;
use kit::{Clock as _, SystemClock, Timestamp};

use super::gating::{SIGNERS, approve, codes, edited};
use super::{Site, courses, send, signed};

fn text(tag: Tag, vr: VR, value: impl Into<String>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, vr, PrimitiveValue::from(value.into()))
}

fn items(tag: Tag, items: Vec<InMemDicomObject>) -> DataElement<InMemDicomObject> {
    DataElement::new(tag, VR::SQ, DataSetSequence::from(items))
}

/// Of these beams: whole ones, and from where to where others go on.
fn instruction(plan: &str, fraction: u32, beams: &[(u32, Option<(f64, f64)>)]) -> Vec<u8> {
    let plan = dicom_object::from_reader(&std::fs::read(plan).unwrap()[..]).unwrap();
    let same = |tag: Tag| plan.element(tag).unwrap().clone();
    let task = |(beam, stretch): &(u32, Option<(f64, f64)>)| {
        let mut task = InMemDicomObject::from_element_iter([
            text(t::BEAM_TASK_TYPE, VR::CS, "TREAT"),
            text(t::TREATMENT_DELIVERY_TYPE, VR::CS, if stretch.is_some() { "CONTINUATION" } else { "TREATMENT" }),
            text(t::CURRENT_FRACTION_NUMBER, VR::IS, fraction.to_string()),
            text(t::REFERENCED_BEAM_NUMBER, VR::IS, beam.to_string()),
        ]);
        if let Some((start, end)) = stretch {
            task.put(DataElement::new(t::CONTINUATION_START_METERSET, VR::FD, PrimitiveValue::from(*start)));
            task.put(DataElement::new(t::CONTINUATION_END_METERSET, VR::FD, PrimitiveValue::from(*end)));
        }
        task
    };
    let named = InMemDicomObject::from_element_iter([
        text(t::REFERENCED_SOP_CLASS_UID, VR::UI, uids::RT_PLAN_STORAGE),
        text(t::REFERENCED_SOP_INSTANCE_UID, VR::UI, same(t::SOP_INSTANCE_UID).to_str().unwrap()),
    ]);
    let object = InMemDicomObject::from_element_iter([
        text(t::SOP_CLASS_UID, VR::UI, uids::RT_BEAMS_DELIVERY_INSTRUCTION_STORAGE),
        text(t::SOP_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1.99"),
        text(t::MODALITY, VR::CS, "PLAN"),
        same(t::SPECIFIC_CHARACTER_SET),
        same(t::PATIENT_ID),
        same(t::PATIENT_NAME),
        same(t::PATIENT_BIRTH_DATE),
        same(t::PATIENT_SEX),
        same(t::STUDY_INSTANCE_UID),
        text(t::SERIES_INSTANCE_UID, VR::UI, "1.2.826.0.1.3680043.10.1.98"),
        items(t::REFERENCED_RT_PLAN_SEQUENCE, vec![named]),
        items(t::BEAM_TASK_SEQUENCE, beams.iter().map(task).collect()),
    ]);
    let meta = FileMetaTableBuilder::new().transfer_syntax(uids::EXPLICIT_VR_LITTLE_ENDIAN);
    let mut bytes = Vec::new();
    object.with_meta(meta).unwrap().write_all(&mut bytes).unwrap();
    bytes
}

/// One more fraction of the patient whom a site has, with its record.
fn treated_at(time: Timestamp) -> synthetic::Further {
    let (index, today) = (courses(1)[0].number_in_centre, Timestamp(1_795_392_000_000));
    let centre = synthetic::Centre { seed: 5, today, patients: 40, on_treatment: 40, images: synthetic::Images::Slice };
    centre.patient_treated(index, &[time]).1.remove(0)
}

#[test]
fn what_a_record_says_is_missing_is_released_and_nothing_else() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let one = treated_at(SystemClock.now());

    // Its first beam stopped at two fifths, and nobody went on.
    let file = site.file("record.dcm", &one.records[0]);
    let (mut beams, mut stopped) = (Vec::new(), (0, 0.0, 0.0));
    let record = edited(&file, None, |record| {
        let sessions = record.element(t::TREATMENT_SESSION_BEAM_SEQUENCE).unwrap().items().unwrap().to_vec();
        let number = |item: &InMemDicomObject, tag| item.element(tag).unwrap().to_float64().unwrap();
        beams = sessions.iter().map(|item| number(item, t::REFERENCED_BEAM_NUMBER) as u32).collect();
        let mut first = sessions[0].clone();
        let whole = number(&first, t::SPECIFIED_PRIMARY_METERSET);
        let at = (whole * 4.0).round() / 10.0;
        stopped = (beams[0], at, whole);
        first.put(text(t::DELIVERED_PRIMARY_METERSET, VR::DS, at.to_string()));
        first.put(text(t::TREATMENT_TERMINATION_STATUS, VR::CS, "OPERATOR"));
        first.remove_element(t::CONTROL_POINT_DELIVERY_SEQUENCE);
        record.put(items(t::TREATMENT_SESSION_BEAM_SEQUENCE, vec![first]));
    });
    assert!(beams.len() > 1, "a plan of several beams");
    let server = site.serve(&[]);
    send(server.ready["dimse"].as_str().unwrap(), &record);
    let check = |instruction: &[u8]| {
        let told = site.file("told.dcm", instruction);
        let said = site.run(&["gate", "check", "--patient", &number, "--instruction", &told, &plan, "--json"]);
        assert!(said.exit == 0 || said.exit == 4, "{}", said.err);
        let notes = said.json()["notes"].to_string();
        (codes(&said), notes.contains("\"continues\""))
    };
    let (beam, at, whole) = stopped;
    let others = || beams[1..].iter().map(|beam| (*beam, None));
    let rest = |start: f64| [(beam, Some((start, whole)))].into_iter().chain(others()).collect::<Vec<_>>();
    assert_eq!(check(&instruction(&plan, one.number, &rest(at))), (vec![], true));
    let held = (vec!["instruction-differs".to_owned()], false);
    assert_eq!(check(&instruction(&plan, one.number, &rest(0.0))), held);
    let all: Vec<_> = beams.iter().map(|beam| (*beam, None)).collect();
    assert_eq!(check(&instruction(&plan, one.number, &all)), held);
    assert_eq!(check(&instruction(&plan, one.number, &rest(at)[..1])), held);
    // The next one isn't due: this one was a moment ago.
    let next = check(&instruction(&plan, one.number + 1, &all));
    assert_eq!(next, (vec!["too-soon".to_owned()], false));
    drop(server);
}

/// A begun fraction that two people have counted is counted, and nobody is told to begin its whole beams again.
#[test]
fn what_was_begun_and_settled_is_no_fraction_more() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let one = treated_at(Timestamp(SystemClock.now().0 - 3_600_000));
    let file = site.file("record.dcm", &one.records[0]);
    let sessions = |object: &InMemDicomObject| {
        object.element(t::TREATMENT_SESSION_BEAM_SEQUENCE).unwrap().items().unwrap().to_vec()
    };
    // Two beams first, and the others later, under the same number.
    let (mut count, mut beams) = (0, Vec::new());
    let first = edited(&file, Some("1.2.826.0.1.3680043.10.1.71"), |record| {
        let all = sessions(record);
        beams =
            all.iter().map(|one| one.element(t::REFERENCED_BEAM_NUMBER).unwrap().to_int::<u32>().unwrap()).collect();
        count = all.len();
        record.put(items(t::TREATMENT_SESSION_BEAM_SEQUENCE, all[..count - 1].to_vec()));
    });
    assert!(count > 1, "a plan of several beams");
    let later = edited(&file, Some("1.2.826.0.1.3680043.10.1.72"), |record| {
        let rest = sessions(record)[count - 1..].to_vec();
        record.put(items(t::TREATMENT_SESSION_BEAM_SEQUENCE, rest));
        // Tomorrow, or at midnight this would be yesterday's.
        record.put(text(t::TREATMENT_DATE, VR::DA, "20990102"));
    });
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap().to_owned();
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    send(&address, &first);
    let given = check().json()["fractions_given"].as_u64().unwrap();
    super::gating::settle_by_two(&site, &number, &plan, &given.to_string());
    send(&address, &later);
    assert!(check().out.contains("late-record"), "{}", check().out);
    let told = site.file("told.dcm", &instruction(&plan, one.number, &[(beams[0], None)]));
    let said = site.run(&["gate", "check", "--patient", &number, "--instruction", &told, &plan, "--json"]);
    assert_eq!((said.exit, said.out.contains("\"continues\"")), (4, false), "{}", said.out);
    server.stop();
}

/// A plan's groups have the same beams: what one of them gave a moment ago, the other one doesn't give now.
#[test]
fn another_group_of_the_same_beams_is_as_soon() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let two = site.file("two.dcm", &super::gating::with_a_boost(&std::fs::read(&plan).unwrap()));
    approve(&site, &number, &two, &SIGNERS);
    let one = treated_at(SystemClock.now());
    let file = site.file("record.dcm", &one.records[0]);
    let server = site.serve(&[]);
    let check = || site.run(&["gate", "check", "--patient", &number, "--fraction-group", "2", &two, "--json"]);
    assert_eq!(codes(&check()), Vec::<String>::new());
    let record = edited(&file, None, |record| {
        drop(record.put(text(t::REFERENCED_FRACTION_GROUP_NUMBER, VR::IS, "1")));
    });
    send(server.ready["dimse"].as_str().unwrap(), &record);
    assert_eq!(codes(&check()), ["too-soon"]);
    server.stop();
}
