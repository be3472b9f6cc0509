//! How much dose a course's records make: never less than what is sure, and the truth always within.

use std::collections::BTreeSet;

use dicom_dictionary_std::{tags as t, uids};
use proptest::prelude::*;
use treatment::given::dose::{ReferenceDose, beam_totals, so_far};
use treatment::given::{Origin, Unknown};
use treatment::{Course, Given, Kind, Plan, TreatmentRecord};

use crate::build::{IMPLICIT, Item, electrons, file, group, object};

pub const PLAN: &str = "1.2.3.4";
const POINT: &str = "1.2.3.4.9";

/// 25 fractions of one beam of 50 MU, which give 2 Gy to the target: by the beam's own point, or by what its control points say.
fn plan(by_points: bool) -> Plan {
    Plan::parse(&file(&item(by_points), IMPLICIT)).unwrap()
}

pub fn item(by_points: bool) -> Item {
    let mut item = electrons();
    let mut fractions = group(&[(1, "50")]);
    let beam = &mut fractions.sequence(t::REFERENCED_BEAM_SEQUENCE)[0];
    beam.set(t::BEAM_DOSE, "2.0");
    if by_points {
        // The first fifth of the meterset gives half of the dose.
        let points = item.at(&[(t::BEAM_SEQUENCE, 0)]).sequence(t::CONTROL_POINT_SEQUENCE);
        points.insert(1, Item::new().with(t::CONTROL_POINT_INDEX, "1").with(t::CUMULATIVE_METERSET_WEIGHT, "0.2"));
        points[2].set(t::CONTROL_POINT_INDEX, "2");
        for (point, coefficient) in points.iter_mut().zip(["0", "0.5", "1"]) {
            let reference = Item::new()
                .with(t::CUMULATIVE_DOSE_REFERENCE_COEFFICIENT, coefficient)
                .with(t::REFERENCED_DOSE_REFERENCE_NUMBER, "1");
            *point = point.clone().items(t::REFERENCED_DOSE_REFERENCE_SEQUENCE, [reference]);
        }
        item.at(&[(t::BEAM_SEQUENCE, 0)]).set(t::NUMBER_OF_CONTROL_POINTS, "3");
    } else {
        beam.set(t::REFERENCED_DOSE_REFERENCE_UID, POINT);
    }
    *item.sequence(t::FRACTION_GROUP_SEQUENCE) = vec![fractions];
    let reference = |number: &str| {
        Item::new().with(t::DOSE_REFERENCE_NUMBER, number).with(t::DOSE_REFERENCE_STRUCTURE_TYPE, "SITE")
    };
    let target = reference("1")
        .with(t::DOSE_REFERENCE_UID, POINT)
        .with(t::DOSE_REFERENCE_DESCRIPTION, "PTV")
        .with(t::DOSE_REFERENCE_TYPE, "TARGET")
        .with(t::TARGET_PRESCRIPTION_DOSE, "50");
    let cord = reference("2").with(t::DOSE_REFERENCE_TYPE, "ORGAN_AT_RISK").with(t::ORGAN_AT_RISK_MAXIMUM_DOSE, "45");
    item.items(t::DOSE_REFERENCE_SEQUENCE, [target, cord])
}

/// What a machine writes of one session: of the specified 50 MU, from one meterset to another.
pub fn session(day: u32, hour: u32, fraction: u32, (from, to): (u32, u32)) -> Item {
    let points = [from, to].map(|meterset| Item::new().with(t::DELIVERED_METERSET, meterset.to_string()));
    let beam = Item::new()
        .with(t::REFERENCED_BEAM_NUMBER, "1")
        .with(t::BEAM_NAME, "boost")
        .with(t::TREATMENT_DELIVERY_TYPE, "TREATMENT")
        .with(t::CURRENT_FRACTION_NUMBER, fraction.to_string())
        .with(t::SPECIFIED_PRIMARY_METERSET, "50")
        .with(t::DELIVERED_PRIMARY_METERSET, (to - from).to_string())
        .with(t::TREATMENT_TERMINATION_STATUS, if to == 50 { "NORMAL" } else { "MACHINE" })
        .items(t::CONTROL_POINT_DELIVERY_SEQUENCE, points);
    object(Kind::RtBeamsRecord.sop_class(), "RTRECORD")
        .with(t::SOP_INSTANCE_UID, format!("1.9.{day}.{hour}"))
        .with(t::TREATMENT_DATE, format!("202404{day:02}"))
        .with(t::TREATMENT_TIME, format!("{hour:02}0000"))
        .with(t::TREATMENT_RECORD_CONTENT_ORIGIN, "DEVICE")
        .items(t::REFERENCED_RT_PLAN_SEQUENCE, [Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, PLAN)])
        .items(t::TREATMENT_SESSION_BEAM_SEQUENCE, [beam])
}

fn of(plan: &Plan, records: &[Item]) -> (ReferenceDose, Given) {
    let mut course = Course::new(BTreeSet::from([PLAN.to_owned()]), plan, &plan.groups[0]);
    records.iter().for_each(|record| course.add(&TreatmentRecord::parse(&file(record, IMPLICIT))));
    let given = course.given();
    let mut doses = so_far(plan, &plan.groups[0], &course, &given, 0);
    assert_eq!(doses.len(), 2);
    assert_eq!(doses[1].per_fraction, None, "what no beam refers to, nobody knows");
    let total: i64 = beam_totals(&plan.groups[0], &course).iter().map(|beam| beam.delivered).sum();
    let dose = doses.swap_remove(0);
    if plan.prescription.dose(1, 1, &dose.reference, 200_000).unwrap().gy() < 0.5 {
        assert_eq!(dose.at_least.unwrap().0, total * 20_000 / 50_000, "here dose goes with the meterset");
    }
    (dose, given)
}

fn gray(dose: Option<treatment::plan::prescription::Dose>) -> f64 {
    dose.unwrap().gy()
}

/// PS3.3 section C.8.8.21.1: 50 MU, stopped at 18, resumed: two records, (0, 18) and (18, 50).
#[test]
fn fifty_mu_stopped_at_eighteen_is_one_fraction() {
    let plan = plan(false);
    let (first, rest) = (session(2, 10, 1, (0, 18)), session(2, 11, 1, (18, 50)));
    let (dose, given) = of(&plan, std::slice::from_ref(&first));
    assert_eq!((gray(dose.per_fraction), gray(dose.at_least), gray(dose.at_most)), (2.0, 0.72, 2.0));
    assert_eq!(given, Given::Known { distinct: 1, highest: 1, unfinished: Some(1) });
    // In any order, and however often they come.
    let (dose, given) = of(&plan, &[rest.clone(), first.clone(), rest, first]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (2.0, 2.0));
    assert_eq!(given, Given::Known { distinct: 1, highest: 1, unfinished: None });
}

/// A fraction may be a little more or less and still be one; its dose is what was delivered.
#[test]
fn a_little_less_each_day_is_less_dose() {
    let plan = plan(false);
    let each = |meterset: u32| of(&plan, &(1..=5).map(|day| session(day, 10, day, (0, meterset))).collect::<Vec<_>>());
    let (less, given) = each(48);
    assert_eq!((gray(less.at_least), gray(less.at_most), given.fractions()), (9.6, 10.0, Some(5)));
    let (more, given) = each(52);
    assert_eq!((gray(more.at_least), gray(more.at_most), given.fractions()), (10.4, 10.4, Some(5)));
}

/// From one control point to the next a reference's dose grows by its own coefficients (PS3.3 section C.8.8.14.7).
#[test]
fn dose_grows_as_the_control_points_say() {
    let plan = plan(true);
    let at = |stop| gray(of(&plan, &[session(2, 10, 1, (0, stop))]).0.at_least);
    assert_eq!([5, 10, 30, 50].map(at), [0.5, 1.0, 1.5, 2.0]);
    let (dose, _) = of(&plan, &[session(2, 10, 1, (0, 50)), session(3, 10, 2, (0, 10))]);
    assert_eq!(gray(dose.at_least), 3.0);
    let days: Vec<(&str, f64)> = dose.by_day.iter().map(|(day, dose)| (day.as_str(), dose.gy())).collect();
    assert_eq!(days, [("20240402", 2.0), ("20240403", 3.0)]);
}

#[test]
fn a_missing_record_is_a_range_and_a_wrong_meterset_is_nobodys_guess() {
    let plan = plan(false);
    let (dose, _) = of(&plan, &[session(2, 10, 1, (0, 50)), session(4, 10, 3, (0, 50))]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (4.0, 6.0));
    // More than the plan's meterset, delivered or meant: the next fraction waits for a physicist.
    let more = |tag, meterset: &str| {
        let mut item = session(2, 10, 1, (0, 50));
        item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0].set(tag, meterset);
        of(&plan, &[item])
    };
    for tag in [t::DELIVERED_PRIMARY_METERSET, t::SPECIFIED_PRIMARY_METERSET] {
        assert_eq!(more(tag, "52").1.fractions(), Some(1), "within five per cent");
        let (dose, given) = more(tag, "55");
        assert_eq!(given, Given::Unknown { why: vec![Unknown::Implausible] });
        assert_eq!(dose.at_most, None);
        assert!(dose.at_least.unwrap().gy() >= 2.0);
    }
    assert_eq!(more(t::SPECIFIED_PRIMARY_METERSET, "32").1.fractions(), Some(1), "a resumed beam's may be its rest");
}

/// A little more was delivered on one day; of another only the beginning is on record. All of it may have been given.
#[test]
fn a_begun_fraction_may_be_whole_beside_a_day_of_more() {
    let (dose, _) = of(&plan(false), &[session(2, 10, 1, (0, 52)), session(3, 10, 2, (0, 18))]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (2.8, 4.08));
}

/// Two records of one session say different metersets: one of them is right.
#[test]
fn what_records_contradict_is_a_range() {
    let (said, other) = (session(2, 10, 1, (0, 50)), session(2, 10, 1, (0, 20)).with(t::SOP_INSTANCE_UID, "1.9.9"));
    for records in [[&said, &other, &said], [&other, &said, &other]] {
        let (dose, given) = of(&plan(false), &records.map(Item::clone));
        assert_eq!((gray(dose.at_least), gray(dose.at_most)), (0.8, 2.0));
        assert_eq!(given, Given::Unknown { why: vec![Unknown::PartsDiffer] });
    }
    // As it is written in another system, to fewer decimals.
    let about = session(2, 10, 1, (0, 49)).with(t::SOP_INSTANCE_UID, "1.9.9");
    let (dose, given) = of(&plan(false), &[said, about]);
    assert_eq!((gray(dose.at_least), given.fractions()), (1.96, Some(1)));
}

/// Some machines write the session's time into each of its parts: their control points tell them apart.
#[test]
fn parts_of_one_time_follow_each_other() {
    let part = |uid: &str, part| session(2, 10, 1, part).with(t::SOP_INSTANCE_UID, uid);
    let (dose, given) = of(&plan(false), &[part("1.9.8", (0, 15)), part("1.9.9", (15, 30))]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (1.2, 2.0));
    assert_eq!(given, Given::Known { distinct: 1, highest: 1, unfinished: Some(1) });
    let (dose, given) = of(&plan(false), &[part("1.9.9", (18, 50)), part("1.9.8", (0, 18))]);
    assert_eq!((gray(dose.at_least), given), (2.0, Given::Known { distinct: 1, highest: 1, unfinished: None }));
    // They overlap: one of them is wrong.
    let (dose, given) = of(&plan(false), &[part("1.9.8", (0, 18)), part("1.9.9", (10, 50))]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (0.72, 2.0));
    assert_eq!(given, Given::Unknown { why: vec![Unknown::PartsDiffer] });
}

/// The same session by another clock, without its seconds, or without a time: one fraction, or two, two people say.
#[test]
fn a_session_that_is_told_twice_is_sure_once() {
    let told = Given::Unknown { why: vec![Unknown::ToldTwice] };
    let at = |time: &str, part| {
        session(2, 10, 1, part).with(t::SOP_INSTANCE_UID, format!("1.9.1{time}")).with(t::TREATMENT_TIME, time)
    };
    let both = |one: Item, other: Item| {
        let (dose, given) = of(&plan(false), &[one, other]);
        (given, gray(dose.at_least), dose.at_most.map(|dose| dose.gy()))
    };
    assert_eq!(both(at("090012", (0, 50)), at("0900", (0, 50))), (told.clone(), 2.0, Some(4.0)));
    assert_eq!(both(at("090012", (0, 50)), at("143012", (0, 50))), (told.clone(), 2.0, Some(4.0)));
    assert_eq!(both(at("090012", (0, 20)), at("193012", (0, 20))), (told.clone(), 0.8, Some(2.0)));
    assert_eq!(both(at("090012", (0, 50)), at("", (0, 50))), (told.clone(), 2.0, Some(4.0)));
    // Where each fraction has a number of its own, however the other clock differs; and by the other zone's date, without a time.
    let second = || session(9, 9, 2, (0, 50));
    for time in ["1500", "200013"] {
        assert_eq!(of(&plan(false), &[at("080012", (0, 50)), at(time, (0, 50)), second()]).1, told, "{time}");
    }
    let untimed = session(3, 9, 1, (0, 50)).with(t::TREATMENT_TIME, "").with(t::SOP_INSTANCE_UID, "1.9.77");
    assert_eq!(of(&plan(false), &[at("080012", (0, 50)), untimed, second()]).1, told);
    // Nought, or an hour, is no time: two of them are two, or one.
    for time in ["000000", "09"] {
        let one = |uid: &str| at(time, (0, 50)).with(t::SOP_INSTANCE_UID, uid);
        assert_eq!(both(one("1.9.71"), one("1.9.72")), (told.clone(), 2.0, Some(4.0)), "{time}");
    }
    // A portal image beside a small beam, in one record, is none of it.
    let mut imaged = at("090012", (0, 50));
    let beams = imaged.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
    let image = beams[0].clone().with(t::TREATMENT_DELIVERY_TYPE, "TRMT_PORTFILM");
    beams.push(image.with(t::DELIVERED_PRIMARY_METERSET, "30"));
    beams[1].sequence(t::CONTROL_POINT_DELIVERY_SEQUENCE).clear();
    assert_eq!(of(&plan(false), &[imaged]).1.fractions(), Some(1));
    // Of a begun one it may be the rest, or not.
    let mut imaged = at("090012", (0, 25));
    let beams = imaged.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
    let image = beams[0].clone().with(t::TREATMENT_DELIVERY_TYPE, "TRMT_PORTFILM");
    beams.push(image.with(t::DELIVERED_PRIMARY_METERSET, "30"));
    beams[1].sequence(t::CONTROL_POINT_DELIVERY_SEQUENCE).clear();
    let Given::Unknown { why } = of(&plan(false), &[imaged]).1 else { panic!("it is finished by an image") };
    assert_eq!(why, [Unknown::ImageOrTreatment]);
    // Images of many days under one number are no fraction more.
    let known = |fractions| Given::Known { distinct: fractions, highest: fractions, unfinished: None };
    let imaged = |day: u32| {
        let mut record = session(day, 9, 1, (0, 50));
        let beams = record.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
        let image = beams[0].clone().with(t::TREATMENT_DELIVERY_TYPE, "TRMT_PORTFILM");
        beams.push(image.with(t::DELIVERED_PRIMARY_METERSET, "20"));
        beams[1].sequence(t::CONTROL_POINT_DELIVERY_SEQUENCE).clear();
        record
    };
    assert_eq!(of(&plan(false), &[imaged(1), imaged(2), imaged(3), imaged(4)]).1, known(4));
    let taken = |day: u32| {
        let mut record = imaged(day);
        record.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE).remove(0);
        record
    };
    let (dose, given) = of(&plan(false), &[imaged(1), taken(2), taken(3), taken(4)]);
    assert_eq!((given, gray(dose.at_least)), (known(1), 2.0));
    // Over midnight, by the other zone's date.
    let late = session(1, 20, 1, (0, 50)).with(t::TREATMENT_TIME, "201507");
    assert_eq!(both(late, at("014507", (0, 50))), (told.clone(), 2.0, Some(4.0)));
    // An image with as much as a fraction, while the fraction was given.
    let mut image = at("090012", (0, 50)).with(t::SOP_INSTANCE_UID, "1.9.7");
    image.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0].set(t::TREATMENT_DELIVERY_TYPE, "TRMT_PORTFILM");
    assert_eq!(both(at("090012", (0, 50)), image).1, 2.0);
    // Parts are parts, and days are days. Some machines count each part from nought.
    let goes_on = |mut item: Item| {
        item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0].set(t::TREATMENT_DELIVERY_TYPE, "CONTINUATION");
        item
    };
    assert_eq!(both(at("090012", (0, 18)), goes_on(at("0930", (0, 32)))).0, known(1));
    assert_eq!(both(at("090012", (0, 25)), goes_on(at("0930", (0, 25)))).0, known(1), "half and half");
    assert_eq!(both(at("090012", (0, 18)), at("0930", (0, 32))).0, told, "begun again, and its last third is missing");
    assert_eq!(both(at("090012", (0, 18)), at("0930", (0, 20))).0, told.clone());
    assert_eq!(both(at("090012", (0, 20)), at("0930", (20, 50))).0.fractions(), Some(1));
    let daily = [session(2, 9, 1, (0, 50)), session(3, 9, 1, (0, 50)), session(4, 9, 1, (0, 50))];
    assert_eq!(of(&plan(false), &daily).1.fractions(), Some(3), "a machine that writes one number");
    // Three that are too much together, though no two of them are.
    let three = [at("0900", (0, 20)), at("0910", (20, 38)), at("0920", (38, 60))];
    assert_eq!(of(&plan(false), &three).1, told);
    let again = [session(2, 9, 1, (0, 50)), session(3, 9, 2, (0, 50)), session(4, 9, 2, (0, 50))];
    assert_eq!(of(&plan(false), &again).1, told, "a day lies between them, and each has a number of its own");
}

/// A begun fraction is gone on with from where its records end; where a part of it isn't on record, nobody knows where that is.
#[test]
fn a_part_that_is_missing_is_nobodys_guess() {
    let missing = Given::Unknown { why: vec![Unknown::PartMissing] };
    let plan = plan(false);
    let at = |hour, number, part| session(2, hour, number, part);
    // Its beginning is lost, or what lies between.
    assert_eq!(of(&plan, &[at(11, 1, (30, 50))]).1, missing);
    let (dose, given) = of(&plan, &[at(10, 1, (0, 20)), at(11, 1, (30, 50))]);
    assert_eq!((given, gray(dose.at_least), gray(dose.at_most)), (missing.clone(), 1.6, 2.0));
    assert_eq!(of(&plan, &[at(10, 1, (0, 20)), at(11, 1, (20, 40))]).1.fractions(), Some(1));
    // Of an older one, too.
    assert_eq!(of(&plan, &[at(11, 1, (30, 50)), session(3, 10, 2, (0, 50))]).1, missing);
    // Parts that don't say where they lie.
    let untold = |hour, to| {
        let mut item = at(hour, 1, (0, to));
        item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0].sequence(t::CONTROL_POINT_DELIVERY_SEQUENCE).clear();
        item
    };
    assert_eq!(of(&plan, &[untold(10, 12)]).1, Given::Known { distinct: 1, highest: 1, unfinished: Some(1) });
    assert_eq!(of(&plan, &[untold(10, 12), untold(11, 25)]).1, missing);
    assert_eq!(of(&plan, &[untold(10, 12), untold(11, 38)]).1.fractions(), Some(1), "nothing is left of it");
    // A rest never begins numbers again.
    let rest = session(5, 10, 1, (20, 50));
    let given = of(&plan, &[session(2, 9, 1, (0, 50)), session(3, 9, 2, (0, 20)), rest]).1;
    assert!(matches!(given, Given::Unknown { .. }), "{given:?}");
}

/// A number that no machine delivers tells nothing, and costs nothing.
#[test]
fn a_meterset_beyond_all_bounds_is_implausible() {
    for meterset in ["300", "1e9", "1e12", "1e30", "-5"] {
        let mut item = session(2, 10, 1, (0, 50));
        item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0].set(t::DELIVERED_PRIMARY_METERSET, meterset);
        let (dose, given) = of(&plan(false), &[item]);
        assert_eq!(given, Given::Unknown { why: vec![Unknown::Implausible] }, "{meterset}");
        assert!((2.0..=2.1).contains(&gray(dose.at_least)), "{meterset}: {:?}", dose.at_least);
        assert!(dose.at_most.is_none());
    }
}

/// Where numbers begin again, the newest fraction is the later one of its number, and nothing of the earlier one is added to it.
#[test]
fn the_newest_of_two_of_one_number_is_the_last() {
    let plan = plan(false);
    let mut course = Course::new(BTreeSet::from([PLAN.to_owned()]), &plan, &plan.groups[0]);
    for (day, number) in (1..).zip([1, 2, 3, 1, 2, 3]) {
        let part = if day == 6 { (0, 20) } else { (0, 50) };
        course.add(&TreatmentRecord::parse(&file(&session(day, 10, number, part), IMPLICIT)));
    }
    let newest = course.newest().unwrap();
    assert_eq!((newest.fraction, newest.day.as_deref()), (3, Some("20240406")));
    assert_eq!(newest.delivered.into_iter().collect::<Vec<_>>(), [(Some(1), 400_000)]);
    assert_eq!(course.given(), Given::Known { distinct: 6, highest: 6, unfinished: Some(3) });
}

/// What says of itself that it is a simulation is no fraction, and no word that none was given.
#[test]
fn a_simulation_is_nobodys_fraction() {
    let simulated = session(3, 10, 2, (0, 50)).with(t::TREATMENT_RECORD_CONTENT_ORIGIN, "SIMULATION");
    let (dose, given) = of(&plan(false), &[session(2, 10, 1, (0, 50)), simulated.clone()]);
    assert_eq!((gray(dose.at_least), given), (2.0, Given::Unknown { why: vec![Unknown::Simulated] }));
}

/// The rest of the first fraction, behind the second one, and no record of its beginning: whether numbers begin again can't be told.
#[test]
fn a_rest_without_its_beginning_begins_nothing_again() {
    let rest = [session(3, 10, 2, (0, 50)), session(3, 17, 1, (18, 50)), session(4, 10, 3, (0, 50))];
    assert_eq!(of(&plan(false), &rest).1, Given::Unknown { why: vec![Unknown::NumbersFall] });
    let again = [session(3, 10, 2, (0, 50)), session(4, 10, 1, (0, 50))];
    assert_eq!(of(&plan(false), &again).1.fractions(), Some(3));
}

/// No beam treats in two fractions at one time: which of them it was, and so what is missing, two people say.
#[test]
fn one_time_is_of_one_fraction() {
    let first = session(2, 10, 1, (0, 50));
    let [second, third] = [(2, "1.9.8"), (3, "1.9.9")]
        .map(|(number, uid)| session(3, 10, number, (0, 50)).with(t::SOP_INSTANCE_UID, uid));
    for records in [[&first, &second, &third], [&third, &first, &second]] {
        let (dose, given) = of(&plan(false), &records.map(Item::clone));
        assert_eq!(given, Given::Unknown { why: vec![Unknown::FractionDiffers] });
        assert_eq!((gray(dose.at_least), dose.at_most), (2.0, None));
    }
    // Nought is no time of day: two fractions on one day.
    let nought = [&second, &third].map(|record| record.clone().with(t::TREATMENT_TIME, "000000"));
    let [second_at_nought, third_at_nought] = nought;
    assert_eq!(of(&plan(false), &[first.clone(), second_at_nought, third_at_nought]).1.fractions(), Some(3));
    // The same one again is no other.
    assert_eq!(of(&plan(false), &[first, second.clone(), second]).1.fractions(), Some(2));
}

/// Without a time of day, a record that came again under another name is told from a second one by nothing.
#[test]
fn what_has_no_time_is_sure_once() {
    let untimed = |uid: &str, part| session(2, 10, 1, part).with(t::SOP_INSTANCE_UID, uid).with(t::TREATMENT_TIME, "");
    let (dose, given) = of(&plan(false), &[untimed("1.9.8", (0, 18)), untimed("1.9.9", (0, 18))]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (0.72, 2.0));
    assert_eq!(given, Given::Unknown { why: vec![Unknown::ToldTwice] });
    let (dose, given) = of(&plan(false), &[untimed("1.9.8", (0, 50)), untimed("1.9.9", (0, 50))]);
    assert_eq!((gray(dose.at_least), gray(dose.at_most)), (2.0, 4.0));
    assert_eq!(given, Given::Unknown { why: vec![Unknown::ToldTwice] });
}

#[test]
fn what_a_record_says_of_a_session_is_kept() {
    let mut item = session(2, 10, 1, (0, 18));
    let machine = Item::new().with(t::TREATMENT_MACHINE_NAME, "LINAC2");
    let beam = &mut item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0];
    beam.set(t::TREATMENT_VERIFICATION_STATUS, "VERIFIED_OVR");
    let passed = Item::new().with(t::OVERRIDE_REASON, "couch moved by hand");
    *beam = beam.clone().items(t::OVERRIDE_SEQUENCE, [passed]);
    let item = item.items(t::TREATMENT_MACHINE_SEQUENCE, [machine]);
    let record = TreatmentRecord::parse(&file(&item, IMPLICIT)).unwrap();
    assert_eq!((record.origin, record.machine.as_deref()), (Some(Origin::Device), Some("LINAC2")));
    let [beam] = record.beams.as_slice() else { panic!("one beam") };
    assert_eq!((beam.name.as_deref(), beam.specified, beam.delivered), (Some("boost"), Some(50_000), Some(18_000)));
    assert_eq!((beam.termination.as_deref(), beam.verification.as_deref()), (Some("MACHINE"), Some("VERIFIED_OVR")));
    assert_eq!(beam.overrides[0].reason.as_deref(), Some("couch moved by hand"));
    assert_eq!(uids::RT_BEAMS_TREATMENT_RECORD_STORAGE, record.instance.kind.sop_class());
}

/// One fraction as it really was: where it stopped, whether it was resumed; and what became of its records.
#[derive(Clone, Debug)]
struct Truth {
    stop: Option<u32>,
    /// How often each of its two records comes; nought is lost.
    copies: [usize; 2],
}

fn truth() -> impl Strategy<Value = Truth> {
    let copies = prop::array::uniform2(prop_oneof![1 => Just(0_usize), 6 => Just(1), 1 => Just(2)]);
    (prop::option::weighted(0.2, 3_u32..47), copies).prop_map(|(stop, copies)| Truth { stop, copies })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Stops, restarts, duplicates, late and missing records: what was given is never outside of what is said, but for records at
    /// the very end, of which nothing here can tell.
    #[test]
    fn the_truth_is_within(course in prop::collection::vec(truth(), 1..20), shuffle in any::<u64>()) {
        let plan = plan(false);
        let (mut records, mut given, mut last) = (Vec::new(), 0.0, None);
        for (day, fraction) in (1_u32..).zip(&course) {
            let parts = match fraction.stop {
                None => vec![(0, 50)],
                Some(stop) => vec![(0, stop), (stop, 50)],
            };
            for (hour, (part, copies)) in (10..).zip(parts.into_iter().zip(fraction.copies)) {
                given += f64::from(part.1 - part.0) * 2.0 / 50.0;
                records.extend((0..copies).map(|_| session(day, hour, day, part)));
                if copies > 0 {
                    last = Some(given);
                }
            }
        }
        // As they come: late ones, too.
        let mut seed = shuffle;
        for at in (1..records.len()).rev() {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            records.swap(at, (seed >> 33) as usize % (at + 1));
        }
        let (dose, known) = of(&plan, &records);
        let least = dose.at_least.map_or(0.0, |dose| dose.gy());
        // Up to the newest record that came.
        let truth = last.unwrap_or(0.0);
        prop_assert!(least <= truth + 1e-3, "{least} {truth}");
        if let Some(most) = dose.at_most {
            prop_assert!(most.gy() >= truth - 1e-3, "{} {truth} {known:?}", most.gy());
        }
        prop_assert!(known.fractions().is_none_or(|count| f64::from(count) * 2.0 >= truth - 1e-3));
    }
}
