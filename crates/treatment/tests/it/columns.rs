//! Two plans side by side: a line says "as signed" where, and only where, nothing of it has changed.

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use treatment::{Attribute, Columns, Difference, Line, LineState, Plan};

use crate::build::{self, IMPLICIT, Item, beam_at, file, point_at};
use crate::mutation::mutants;

fn plan(item: &Item) -> Plan {
    Plan::parse(&file(item, IMPLICIT)).unwrap()
}

fn lines(columns: &Columns) -> impl Iterator<Item = &Line> {
    columns.sections.iter().flat_map(|section| &section.lines)
}

/// Lines that aren't as they were signed: what, then, now.
fn changed(signed: &Plan, now: &Plan) -> Vec<(String, Option<String>, Option<String>, LineState)> {
    let columns = Columns::of(Some(signed), now);
    let changed = lines(&columns).filter(|line| line.state != LineState::AsSigned);
    changed.map(|line| (line.what.clone(), line.signed.clone(), line.now.clone(), line.state)).collect()
}

fn edited(edit: impl FnOnce(&mut Item)) -> Plan {
    let mut item = build::photons();
    edit(&mut item);
    plan(&item)
}

#[test]
fn what_differs_is_another_line_and_nothing_else_is() {
    let mut compared = 0;
    for (name, item) in build::all() {
        let signed = plan(&item);
        let itself = Columns::of(Some(&signed), &signed);
        assert!(lines(&itself).all(|line| line.state == LineState::AsSigned && line.signed == line.now), "{name}");
        let unsigned = Columns::of(None, &signed);
        assert!(lines(&unsigned).all(|line| line.state == LineState::ToBeSigned && line.signed.is_none()), "{name}");
        assert_eq!(lines(&itself).count(), lines(&unsigned).count(), "{name}");
        for (path, tag, value) in mutants(&item) {
            let mut mutant = item.clone();
            mutant.at(&path).0.insert(tag, value);
            let Ok(now) = Plan::parse(&file(&mutant, IMPLICIT)) else { continue };
            let what = format!("{name} {path:?} {}", Attribute(tag));
            let difference = Difference::of(&signed.delivery, &now.delivery);
            let columns = Columns::of(Some(&signed), &now);
            let not_as_signed: Vec<&Line> = lines(&columns).filter(|line| line.state != LineState::AsSigned).collect();
            assert_eq!(not_as_signed.is_empty(), difference.fields.is_empty(), "{what}: {not_as_signed:?}");
            let moves_dose = not_as_signed.iter().any(|line| line.state != LineState::WithinTolerance);
            assert!(moves_dose || difference.same_delivery(), "{what}: {not_as_signed:?}");
            compared += 1;
        }
    }
    assert!(compared > 300, "{compared}");
}

#[test]
fn a_line_says_both_values_with_their_unit() {
    let signed = plan(&build::photons());
    let one = |what: &str, then: &str, now: &str, state| {
        vec![(what.to_owned(), Some(then.to_owned()), Some(now.to_owned()), state)]
    };
    let set = |path: &[(Tag, usize)], tag: Tag, text: &str| edited(|plan| plan.at(path).set(tag, text));
    let turned = set(&point_at(0, 0), t::GANTRY_ANGLE, "301.5");
    assert_eq!(changed(&signed, &turned), one("Gantry", "300.50 °", "301.50 °", LineState::Another));
    let meterset = [(t::FRACTION_GROUP_SEQUENCE, 0), (t::REFERENCED_BEAM_SEQUENCE, 1)];
    let more = set(&meterset, t::BEAM_METERSET, "88.5");
    assert_eq!(changed(&signed, &more), one("beam 2: Beam Meterset", "87.50 MU", "88.50 MU", LineState::Another));
    let other_machine = set(&beam_at(1), t::TREATMENT_MACHINE_NAME, "LINAC3");
    assert_eq!(changed(&signed, &other_machine), one("Treatment Machine Name", "LINAC2", "LINAC3", LineState::Another));
    // 15 mm of 20, and 25.
    let near = set(&point_at(0, 0), t::TABLE_TOP_VERTICAL_POSITION, "-105.5");
    let far = set(&point_at(0, 0), t::TABLE_TOP_VERTICAL_POSITION, "-95.5");
    assert_eq!(changed(&signed, &near), one("Table vertical", "-120.50 mm", "-105.50 mm", LineState::WithinTolerance));
    assert_eq!(changed(&signed, &far), one("Table vertical", "-120.50 mm", "-95.50 mm", LineState::Another));
    // A wedge that is gone is not here, and one that has come is another one.
    let gone = edited(|plan| {
        let beam = plan.at(&beam_at(1));
        beam.0.remove(&t::WEDGE_SEQUENCE);
        beam.set(t::NUMBER_OF_WEDGES, "0");
        for point in beam.sequence(t::CONTROL_POINT_SEQUENCE) {
            point.0.remove(&t::WEDGE_POSITION_SEQUENCE);
        }
    });
    let of_wedge = |state| {
        move |line: &(String, Option<String>, Option<String>, LineState)| {
            line.0.starts_with("wedge 1") && line.3 == state
        }
    };
    assert!(changed(&signed, &gone).iter().filter(|line| of_wedge(LineState::NotHere)(line)).count() > 5);
    assert!(changed(&gone, &signed).iter().filter(|line| of_wedge(LineState::Another)(line)).count() > 5);
}

#[test]
fn leaves_are_told_by_their_content() {
    let (signed, mut moved) = (build::arcs(20), build::arcs(20));
    let leaves = [point_at(0, 7), vec![(t::BEAM_LIMITING_DEVICE_POSITION_SEQUENCE, 0)]].concat();
    let text = moved.at(&leaves).text(t::LEAF_JAW_POSITIONS).replacen("-1", "-2", 1);
    moved.at(&leaves).set(t::LEAF_JAW_POSITIONS, text);
    let all = changed(&plan(&signed), &plan(&moved));
    let [(what, Some(then), Some(now), LineState::Another)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(what, "device MLCX: Leaf Jaw Positions");
    let words = "60 pairs, 20 shapes in 20 control points · ";
    assert!(then.starts_with(words) && now.starts_with(words) && then != now, "{then} {now}");
}

#[test]
fn what_is_prescribed_is_signed_too() {
    let reference = |dose: &str| {
        let mut item = build::photons();
        item = item.items(
            t::DOSE_REFERENCE_SEQUENCE,
            [Item::new()
                .with(t::DOSE_REFERENCE_NUMBER, "1")
                .with(t::DOSE_REFERENCE_STRUCTURE_TYPE, "VOLUME")
                .with(t::DOSE_REFERENCE_DESCRIPTION, "PTV")
                .with(t::DOSE_REFERENCE_TYPE, "TARGET")
                .with(t::TARGET_PRESCRIPTION_DOSE, dose)],
        );
        plan(&item)
    };
    let all = changed(&reference("50"), &reference("52.5"));
    let [(what, Some(then), Some(now), LineState::Another)] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(what, "Dose reference 1");
    assert_eq!((then.as_str(), now.as_str()), ("PTV (target): 50.00 Gy", "PTV (target): 52.50 Gy"));
}

#[test]
fn many_lines_are_bounded_and_those_that_differ_go_last() {
    let many = |gantry: &str| {
        let mut item = build::photons();
        let mut beam = item.sequence(t::BEAM_SEQUENCE)[0].clone();
        let group = [(t::FRACTION_GROUP_SEQUENCE, 0)];
        for number in 4..150 {
            beam.set(t::BEAM_NUMBER, number.to_string());
            beam.at(&[(t::CONTROL_POINT_SEQUENCE, 0)]).set(t::GANTRY_ANGLE, gantry);
            item.sequence(t::BEAM_SEQUENCE).push(beam.clone());
            let reference = Item::new().with(t::BEAM_METERSET, "1").with(t::REFERENCED_BEAM_NUMBER, number.to_string());
            item.at(&group).sequence(t::REFERENCED_BEAM_SEQUENCE).push(reference);
        }
        let beams = item.at(&group).sequence(t::REFERENCED_BEAM_SEQUENCE).len();
        item.at(&group).set(t::NUMBER_OF_BEAMS, beams.to_string());
        plan(&item)
    };
    let columns = Columns::of(Some(&many("10")), &many("20"));
    assert_eq!(lines(&columns).filter(|line| line.state == LineState::Another).count(), 146);
    assert!(columns.left_out > 1_000 && columns.left_out_unsettled == 0, "{}", columns.left_out);
    assert_eq!(lines(&columns).count(), 1_500);
}
