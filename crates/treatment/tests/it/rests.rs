//! Fractions that were begun, gone on with, told of again, or told of wrongly: where something isn't plain from the records, nobody is told
//! that it is.

use std::collections::BTreeSet;

use dicom_dictionary_std::tags as t;
use treatment::given::Unknown;
use treatment::{Course, Given, Kind, Newest, Plan, TreatmentRecord};

use crate::build::{IMPLICIT, Item, electrons, file, group, object};
use crate::dose::PLAN;

/// Two beams of 50 MU, the first one's size as it is said.
fn plan(first: &str) -> Plan {
    let mut item = electrons();
    let beams = item.sequence(t::BEAM_SEQUENCE);
    let second = beams[0].clone().with(t::BEAM_NUMBER, "2");
    beams.push(second);
    *item.sequence(t::FRACTION_GROUP_SEQUENCE) = vec![group(&[(1, first), (2, "50")])];
    Plan::parse(&file(&item, IMPLICIT)).unwrap()
}

/// A beam from one meterset to another, as its control points say.
fn beam(number: u32, fraction: u32, (from, to): (f64, f64)) -> Item {
    let points = [from, to].map(|meterset| Item::new().with(t::DELIVERED_METERSET, meterset.to_string()));
    untold(number, fraction, to - from).items(t::CONTROL_POINT_DELIVERY_SEQUENCE, points)
}

/// The same, without saying where.
fn untold(number: u32, fraction: u32, delivered: f64) -> Item {
    Item::new()
        .with(t::REFERENCED_BEAM_NUMBER, number.to_string())
        .with(t::TREATMENT_DELIVERY_TYPE, "TREATMENT")
        .with(t::CURRENT_FRACTION_NUMBER, fraction.to_string())
        .with(t::SPECIFIED_PRIMARY_METERSET, "50")
        .with(t::DELIVERED_PRIMARY_METERSET, format!("{delivered:.3}"))
        .with(t::TREATMENT_TERMINATION_STATUS, if delivered < 50.0 { "MACHINE" } else { "NORMAL" })
}

fn goes_on(beam: Item) -> Item {
    beam.with(t::TREATMENT_DELIVERY_TYPE, "CONTINUATION")
}

fn image(number: u32, fraction: u32, delivered: f64) -> Item {
    untold(number, fraction, delivered).with(t::TREATMENT_DELIVERY_TYPE, "OPEN_PORTFILM")
}

fn whole(fraction: u32) -> Vec<Item> {
    vec![beam(1, fraction, (0.0, 50.0)), beam(2, fraction, (0.0, 50.0))]
}

/// At `DD HHMM`, by its own UID.
fn at(when: &str, beams: Vec<Item>) -> Item {
    let (day, time) = when.split_once(' ').unwrap();
    object(Kind::RtBeamsRecord.sop_class(), "RTRECORD")
        .with(t::SOP_INSTANCE_UID, format!("1.9.{day}.{}", time.trim_start_matches('0')))
        .with(t::TREATMENT_DATE, format!("202404{day}"))
        .with(t::TREATMENT_TIME, format!("{time}12"))
        .items(t::REFERENCED_RT_PLAN_SEQUENCE, [Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, PLAN)])
        .items(t::TREATMENT_SESSION_BEAM_SEQUENCE, beams)
}

fn of(plan: &Plan, records: &[Item]) -> (Given, Option<Newest>) {
    let mut course = Course::new(BTreeSet::from([PLAN.to_owned()]), plan, &plan.groups[0]);
    records.iter().for_each(|record| course.add(&TreatmentRecord::parse(&file(record, IMPLICIT))));
    (course.given(), course.newest())
}

fn given(records: &[Item]) -> Given {
    of(&plan("50"), records).0
}

fn why(records: &[Item]) -> Vec<Unknown> {
    match given(records) {
        Given::Unknown { why } => why,
        known @ Given::Known { .. } => panic!("{known:?}"),
    }
}

fn known(fractions: u32, unfinished: Option<u32>) -> Given {
    Given::Known { distinct: fractions, highest: fractions, unfinished }
}

#[test]
fn a_record_says_by_which_clock_it_was_written() {
    let offset = |text: &str| {
        let item = at("02 1000", whole(1)).with(t::TIMEZONE_OFFSET_FROM_UTC, text);
        TreatmentRecord::parse(&file(&item, IMPLICIT)).unwrap().utc_offset
    };
    assert_eq!((offset("+0530"), offset("-0800"), offset(""), offset("0530")), (Some(330), Some(-480), None, None));
}

#[test]
fn a_rest_has_a_beginning() {
    // It says that it goes on: without points, with points from nought, and from where they don't fit what it says.
    let misfit = beam(1, 1, (20.0, 39.0)).with(t::DELIVERED_PRIMARY_METERSET, "20");
    // It was to give less than the beam has, and gave that.
    let less =
        untold(1, 1, 30.0).with(t::SPECIFIED_PRIMARY_METERSET, "30").with(t::TREATMENT_TERMINATION_STATUS, "NORMAL");
    for rest in [goes_on(untold(1, 1, 30.0)), goes_on(beam(1, 1, (0.0, 30.0))), misfit, less] {
        assert_eq!(why(&[at("02 1000", vec![rest.clone()])]), [Unknown::PartMissing], "{rest:?}");
    }
    let begun = at("02 1000", vec![untold(1, 1, 20.0)]);
    let rest = at("02 1020", vec![goes_on(untold(1, 1, 30.0)), beam(2, 1, (0.0, 50.0))]);
    assert_eq!(given(&[rest, begun]), known(1, None));
    // Half and half, which are as much.
    let halves =
        [at("02 1000", vec![untold(1, 1, 25.0)]), at("02 1020", vec![goes_on(untold(1, 1, 25.0)), whole(1).remove(1)])];
    assert_eq!(given(&halves), known(1, None));
    // Parts from nought both are no beam, however much they add up to.
    let again = [
        at("02 1000", vec![beam(1, 1, (0.0, 20.0))]),
        at("03 1000", vec![beam(1, 1, (0.0, 30.0)), whole(1).remove(1)]),
    ];
    assert_eq!(why(&again), [Unknown::PartMissing]);
}

#[test]
fn what_one_record_says_of_a_beam_twice_is_no_sum() {
    let both = |one: Item, other: Item| at("02 1000", vec![one, other]);
    let told = |from, to| beam(1, 1, (from, to));
    assert!(why(&[both(told(0.0, 20.0), told(0.0, 20.0))]).contains(&Unknown::ToldTwice));
    assert!(why(&[both(told(0.0, 25.0), told(0.0, 25.0))]).contains(&Unknown::ToldTwice));
    assert_eq!(why(&[both(told(0.0, 20.0), told(30.0, 40.0))]), [Unknown::PartMissing]);
    assert_eq!(why(&[both(untold(1, 1, 20.0), untold(1, 1, 10.0))]), [Unknown::PartMissing]);
    assert_eq!(given(&[both(told(0.0, 20.0), told(20.0, 40.0))]), known(1, Some(1)));
    assert_eq!(given(&[both(untold(1, 1, 20.0), goes_on(untold(1, 1, 10.0)))]), known(1, Some(1)));
    // A session's record that comes again when it has grown.
    let grown = at("02 1000", vec![told(0.0, 20.0), told(20.0, 50.0), beam(2, 1, (0.0, 50.0))]);
    assert_eq!(given(&[at("02 1000", vec![told(0.0, 20.0)]), grown]), known(1, None));
    let begun = at("02 1000", vec![untold(1, 1, 20.0)]);
    let more = at("02 1000", vec![untold(1, 1, 20.0), goes_on(untold(1, 1, 10.0))]);
    let all = at(
        "02 1000",
        vec![untold(1, 1, 20.0), goes_on(untold(1, 1, 10.0)), goes_on(untold(1, 1, 20.0)), beam(2, 1, (0.0, 50.0))],
    );
    assert_eq!(given(&[begun.clone(), more.clone()]), known(1, Some(1)));
    assert_eq!(given(&[begun.clone(), more, all.clone()]), known(1, None));
    // What says less than before says nothing new; what says something else was corrected.
    assert_eq!(given(&[all, begun]), known(1, None));
    let unsaid = untold(1, 1, 0.0).with(t::DELIVERED_PRIMARY_METERSET, "");
    let nothing = untold(1, 1, 0.0).with(t::TREATMENT_TERMINATION_STATUS, "NORMAL");
    let pairs = [
        (beam(1, 1, (40.0, 50.0)), told(0.0, 40.0)),
        (told(30.0, 50.0), told(0.0, 30.0)),
        (told(0.0, 10.0), told(40.0, 50.0)),
        (untold(1, 1, 20.0), untold(1, 1, 25.0)),
        (untold(1, 1, 20.0), untold(1, 1, 0.0)),
        (unsaid, untold(1, 1, 20.0)),
        (nothing, untold(1, 1, 20.0)),
    ];
    for (one, other) in pairs {
        let both = [at("02 1000", vec![one.clone()]), at("02 1000", vec![other.clone()])];
        assert!(why(&both).contains(&Unknown::RecordChanged), "{one:?} {other:?}");
    }
    // A rest that ended as it should, and is short: another part of it is elsewhere.
    let ended = goes_on(untold(2, 1, 20.0)).with(t::TREATMENT_TERMINATION_STATUS, "NORMAL");
    let short = at("02 1000", vec![whole(1).remove(0), untold(2, 1, 20.0), ended]);
    assert!(!of(&plan("50"), &[short]).1.unwrap().is_plain);
    // An open part and a wedged one, each with what it was to give.
    let part = |stretch: (f64, f64), specified: &str| {
        beam(1, 1, stretch)
            .with(t::SPECIFIED_PRIMARY_METERSET, specified)
            .with(t::TREATMENT_TERMINATION_STATUS, "NORMAL")
    };
    let wedged = vec![part((0.0, 20.0), "20"), part((20.0, 50.0), "30"), beam(2, 1, (0.0, 50.0))];
    assert_eq!(given(&[at("02 1000", wedged)]), known(1, None));
}

#[test]
fn a_record_that_was_corrected_is_one() {
    let first = at("02 1000", whole(1));
    let same = |record: Item| record.with(t::SOP_INSTANCE_UID, "1.9.02.1000");
    let changed = [Unknown::RecordChanged];
    assert!(why(&[first.clone(), same(at("03 1000", whole(1)))]).contains(&Unknown::RecordChanged), "another day");
    assert!(why(&[first.clone(), same(at("02 1000", whole(2)))]).contains(&Unknown::RecordChanged), "another fraction");
    let one = |number| same(at("02 1000", vec![beam(number, 1, (0.0, 50.0))]));
    assert_eq!(why(&[one(1), one(2)]), changed, "another beam");
    let other = Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, "9.9");
    let of_another = first.clone().items(t::REFERENCED_RT_PLAN_SEQUENCE, [other]);
    for both in [[&first, &of_another], [&of_another, &first]] {
        assert_eq!(why(&both.map(Item::clone)), changed, "another plan");
    }
    assert_eq!(given(&[first.clone(), first]), known(1, None));
}

/// What was said before is taken back only where all of it is said again.
#[test]
fn a_record_that_grows_takes_nothing_back() {
    let same = |record: Item| record.with(t::SOP_INSTANCE_UID, "1.9.02.1000");
    let first = |beams| at("02 1000", beams);
    let by_hand = |record: Item| record.with(t::TREATMENT_RECORD_CONTENT_ORIGIN, "USER");
    let changed = [Unknown::RecordChanged];
    let setup = || image(1, 1, 2.0);
    let without = || vec![untold(1, 1, 50.0), untold(2, 1, 50.0)];
    let and = |beams: Vec<Item>, more: Item| beams.into_iter().chain([more]).collect::<Vec<_>>();

    // A machine's word, and what somebody typed under its UID: neither is more of the other.
    let (machine, typed) = (first(without()), by_hand(first(and(without(), setup()))));
    assert_eq!(why(&[machine.clone(), typed.clone()]), changed);
    assert_eq!(why(&[typed, machine.clone()]), changed);
    assert_eq!(given(&[machine.clone(), by_hand(machine.clone())]), known(1, None), "the same");

    // Grown, in any order, as often as it comes; and beside what says the same under a UID of its own.
    let grown = first(and(without(), setup()));
    let own = machine.clone().with(t::SOP_INSTANCE_UID, "1.9.9");
    let all = [machine.clone(), grown.clone(), machine.clone(), own, grown.clone()];
    for from in 0..all.len() {
        let mut turned = all.to_vec();
        turned.rotate_left(from);
        assert_eq!(given(&turned), known(1, None), "{from}");
    }

    // Each word that a count goes by is one of those that are said again.
    let nought = |ended: &str| untold(1, 1, 0.0).with(t::TREATMENT_TERMINATION_STATUS, ended);
    let second = || beam(2, 1, (0.0, 50.0));
    let corrected = [
        (nought("NORMAL"), nought("MACHINE")),
        (beam(1, 1, (0.0, 30.0)).with(t::SPECIFIED_PRIMARY_METERSET, "30"), beam(1, 1, (0.0, 30.0))),
        (beam(1, 1, (0.0, 30.0)).with(t::TREATMENT_TERMINATION_STATUS, "NORMAL"), beam(1, 1, (0.0, 30.0))),
    ];
    for (before, after) in corrected {
        let unknown = why(&[first(vec![before]), first(vec![after, second()])]);
        assert!(unknown.contains(&Unknown::RecordChanged), "{unknown:?}");
    }

    // A session's record that lists from its beginning on what is to come.
    let nothing = |number| untold(number, 1, 0.0).with(t::TREATMENT_TERMINATION_STATUS, "UNKNOWN");
    let listed = [vec![nothing(1), nothing(2)], vec![untold(1, 1, 50.0), nothing(2)], without()];
    assert_eq!(given(&listed.map(first)), known(1, None));

    // Parts that say where they lie from where on, whole at last.
    let part = |(from, to)| beam(1, 1, (from, to));
    let parts = [vec![part((0.0, 20.0))], vec![part((0.0, 20.0)), part((20.0, 35.0))]];
    let last = vec![part((0.0, 20.0)), part((20.0, 35.0)), part((35.0, 50.0)), second()];
    let [one, two] = parts.map(first);
    assert_eq!(given(&[one.clone(), two.clone(), first(last.clone())]), known(1, None));
    assert_eq!(given(&[first(last), one, two]), known(1, None));
    let relative = |number: u32, given: f64| goes_on(beam(number, 1, (0.0, given)));
    let (begun, on) = (vec![part((0.0, 30.0))], vec![part((0.0, 30.0)), relative(1, 20.0), second()]);
    assert_eq!(given(&[first(begun), first(on)]), known(1, None));

    // Both have said the same under one UID: what grows is neither's alone.
    let typed = by_hand(machine.clone());
    let more = by_hand(first(and(without(), setup())));
    for both in [[typed.clone(), machine.clone()], [machine.clone(), typed]] {
        assert_eq!(why(&[&both[..], std::slice::from_ref(&more)].concat()), changed);
    }
    // An earlier version that is sent again, with the noughts that it had.
    let opening = || vec![untold(1, 1, 50.0), nothing(2)];
    assert_eq!(given(&[opening(), without(), opening()].map(first)), known(1, None));
    assert_eq!(why(&[without(), opening()].map(first)), changed, "or was it taken back?");
    // What an image takes back is none of the beam's.
    let taken_back = vec![setup(), nothing(1), untold(2, 1, 50.0)];
    assert!(why(&[first(and(without(), setup())), first(taken_back)]).contains(&Unknown::RecordChanged));
    // Words that no count goes by.
    let ended = |how: &str| untold(1, 1, 50.0).with(t::TREATMENT_TERMINATION_STATUS, how);
    let by_machine = |record: Item| record.with(t::TREATMENT_RECORD_CONTENT_ORIGIN, "DEVICE");
    let closed = by_machine(first(vec![ended("NORMAL"), untold(2, 1, 50.0)]));
    assert_eq!(given(&[first(vec![ended("UNKNOWN")]), closed]), known(1, None));

    // With one group, whether it names it is nothing new.
    let named = same(at("02 1000", whole(1))).with(t::REFERENCED_FRACTION_GROUP_NUMBER, "1");
    assert_eq!(given(&[first(whole(1)), named]), known(1, None));
}

#[test]
fn one_fraction_has_one_number() {
    let half = |number, fraction| beam(number, fraction, (0.0, 50.0));
    let first = || at("02 1000", whole(1));
    let differs = [Unknown::FractionDiffers];
    assert_eq!(why(&[first(), at("03 1000", vec![half(1, 2), half(2, 3)])]), differs, "in one record");
    assert_eq!(why(&[first(), at("03 1000", vec![half(1, 2)]), at("03 1030", vec![half(2, 3)])]), differs);
    // Where each has its own, one number isn't two days'.
    assert_eq!(why(&[first(), at("03 1000", whole(2)), at("04 1000", whole(2))]), [Unknown::ToldTwice]);
    // Where one number stands for all, the last one may be begun; and what is a little less each day adds up to nothing.
    let begun = at("04 1000", vec![beam(1, 1, (0.0, 50.0)), beam(2, 1, (0.0, 30.0))]);
    let (given, newest) = of(&plan("50"), &[first(), at("03 1000", whole(1)), begun]);
    let newest = newest.unwrap();
    assert_eq!((given, newest.is_plain), (known(3, Some(1)), false));
    assert_eq!(newest.delivered[&Some(2)], 600_000);
    let days =
        (1..=20).map(|day| at(&format!("{day:02} 1000"), vec![beam(1, 1, (0.0, 47.0)), beam(2, 1, (0.0, 47.0))]));
    assert!(why(&days.collect::<Vec<_>>()).contains(&Unknown::BeamsDiffer));
    // A beam that isn't the plan's hides nothing.
    let extra = at("02 1000", vec![half(1, 1), untold(9, 1, 1.0)]);
    assert_eq!(of(&plan("50"), &[extra]).0, known(1, Some(1)));
}

#[test]
fn images_begin_what_goes_on_behind_them() {
    let first = plan("50");
    let film = |told: Item| vec![image(1, 1, 3.0), told, beam(2, 1, (0.0, 50.0))];
    assert_eq!(of(&first, &[at("02 1000", film(beam(1, 1, (3.0, 50.0))))]).0, known(1, None));
    // It may be of the beam, or not: nobody goes on by that.
    let (given, newest) = of(&first, &[at("02 1000", vec![image(1, 1, 3.0), untold(1, 1, 20.0)])]);
    assert_eq!((given, newest.unwrap().is_plain), (known(1, Some(1)), false));
    let (given, newest) = of(&first, &[at("02 1000", vec![image(1, 1, 3.0), beam(1, 1, (0.0, 20.0))])]);
    assert_eq!((given, newest.unwrap().is_plain), (known(1, Some(1)), true));
    // Of another day it isn't when the fraction was begun.
    let begun = at("02 1000", vec![beam(1, 1, (0.0, 20.0))]);
    let (_, newest) = of(&first, &[begun, at("03 1000", vec![image(1, 1, 2.0)])]);
    assert_eq!(newest.unwrap().day.as_deref(), Some("20240402"));
    // Of a small beam a tenth of a unit is more than of a large one.
    let small = |from| {
        let part = |stretch| beam(1, 1, stretch).with(t::SPECIFIED_PRIMARY_METERSET, "10");
        let rest = vec![part((from, from + 5.0)), beam(2, 1, (0.0, 50.0))];
        let records = [at("02 1000", vec![part((0.0, 5.0))]), at("02 1020", rest)];
        of(&plan("10"), &records).0
    };
    assert_eq!((small(5.0), small(5.1)), (known(1, None), known(1, None)));
    assert_eq!(small(5.2), Given::Unknown { why: vec![Unknown::PartMissing] });
}

/// Beams go one after the other: where one has begun behind one that isn't whole, a record may be lost.
#[test]
fn a_beam_that_was_passed_over_is_nobodys_rest() {
    let is_plain = |beams: Vec<Item>| of(&plan("50"), &[at("02 1000", beams)]).1.unwrap().is_plain;
    assert!(is_plain(vec![beam(1, 1, (0.0, 50.0))]));
    assert!(is_plain(vec![beam(1, 1, (0.0, 20.0))]));
    assert!(!is_plain(vec![beam(2, 1, (0.0, 50.0))]));
    assert!(!is_plain(vec![beam(1, 1, (0.0, 20.0)), beam(2, 1, (0.0, 50.0))]));
}

fn summary(day: &str, status: &str, fractions: &str) -> Item {
    let of = Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, PLAN);
    let count = Item::new().with(t::NUMBER_OF_FRACTIONS_DELIVERED, fractions);
    object(Kind::RtTreatmentSummary.sop_class(), "RTRECORD")
        .with(t::SOP_INSTANCE_UID, format!("1.9.{day}.{}", status.len()))
        .with(t::MOST_RECENT_TREATMENT_DATE, format!("202404{day}"))
        .with(t::CURRENT_TREATMENT_STATUS, status)
        .items(t::REFERENCED_RT_PLAN_SEQUENCE, [of])
        .items(t::FRACTION_GROUP_SUMMARY_SEQUENCE, [count.with(t::REFERENCED_FRACTION_GROUP_NUMBER, "1")])
}

#[test]
fn what_has_ended_goes_on_by_a_later_word_only() {
    let (stopped, before) = (summary("03", "STOPPED", "1"), summary("02", "ON_TREATMENT", "1"));
    for both in [[&stopped, &before], [&before, &stopped]] {
        assert_eq!(why(&both.map(Item::clone)), [Unknown::TreatmentEnded]);
    }
    assert_eq!(given(&[summary("04", "ON_TREATMENT", "1"), stopped.clone()]), known_by_summary(1));
    // Of the same day, what came later: nobody has treated her since.
    assert_eq!(given(&[stopped, summary("03", "ON_TREATMENT", "1")]), known_by_summary(1));
    // A summary has counted what was begun by then: its rest is none more.
    let records = [
        at("01 1000", whole(1)),
        at("02 1000", vec![beam(1, 2, (0.0, 50.0)), beam(2, 2, (0.0, 20.0))]),
        summary("02", "ON_TREATMENT", "2"),
        at("03 1000", vec![beam(2, 2, (20.0, 50.0))]),
    ];
    assert_eq!(given(&records), known(2, None));
}

fn known_by_summary(fractions: u32) -> Given {
    Given::Known { distinct: 0, highest: fractions, unfinished: None }
}

/// Records of a fraction may come late: a second part that says no more of itself than its size is nobody's beginning.
#[test]
fn what_was_not_stopped_is_no_beginning() {
    let after = |beam: Item| of(&plan("50"), &[at("02 1000", vec![whole(1).remove(0), beam])]);
    let is_plain = |beam: Item| after(beam).1.unwrap().is_plain;
    assert!(is_plain(untold(2, 1, 20.0)) && is_plain(beam(2, 1, (0.0, 20.0))));
    for ending in ["NORMAL", "UNKNOWN", ""] {
        for part in [untold(2, 1, 20.0), beam(2, 1, (0.0, 20.0))] {
            assert!(!is_plain(part.with(t::TREATMENT_TERMINATION_STATUS, ending)), "{ending}");
        }
    }
    // It was to give less, and stopped before that.
    let less = untold(2, 1, 20.0).with(t::SPECIFIED_PRIMARY_METERSET, "30");
    assert_eq!(after(less).0, Given::Unknown { why: vec![Unknown::PartMissing] });
    // One that says where it lies, behind one that doesn't.
    let both = at("02 1000", vec![untold(1, 1, 20.0), goes_on(beam(1, 1, (40.0, 45.0)))]);
    assert!(why(&[both]).contains(&Unknown::PartMissing));
    // A machine that writes where it ended, or begins at its first pulse.
    let point = |to: &str| vec![Item::new().with(t::DELIVERED_METERSET, to)];
    let ended = untold(2, 1, 20.0).items(t::CONTROL_POINT_DELIVERY_SEQUENCE, point("20"));
    assert!(is_plain(ended) && is_plain(beam(2, 1, (0.1, 20.0))));
}

#[test]
fn images_are_no_part_of_what_they_do_not_lead_to() {
    let after = |image: Item, told: Item| given(&[at("02 1000", vec![image, told, beam(2, 1, (0.0, 50.0))])]);
    let begun = known(1, Some(1));
    assert!(!matches!(after(image(1, 1, 20.0), goes_on(untold(1, 1, 25.0))), Given::Known { unfinished: None, .. }));
    assert_eq!(after(image(1, 1, 9.0), beam(1, 1, (0.1, 40.0))), begun);
    let elsewhere = after(image(1, 1, 9.0), beam(1, 1, (5.0, 40.0)));
    assert_eq!(elsewhere, Given::Unknown { why: vec![Unknown::PartMissing] });
    // Of a day with nothing but images a machine that writes one number says nothing.
    let imaged = at("01 1000", vec![image(1, 1, 3.0)]);
    assert_eq!(given(&[imaged, at("02 1000", whole(1)), at("03 1000", whole(1))]), known(2, None));
    // Nor do they keep numbers from beginning again, or a late rest from being one.
    let film =
        image(1, 1, 3.0).with(t::SPECIFIED_PRIMARY_METERSET, "3").with(t::TREATMENT_TERMINATION_STATUS, "NORMAL");
    let again = at("04 1000", [vec![film], whole(1)].concat());
    assert_eq!(given(&[at("02 1000", whole(1)), at("03 1000", whole(2)), again]), known(3, None));
    let late = [
        at("02 1000", vec![beam(1, 1, (0.0, 50.0)), beam(2, 1, (0.0, 20.0))]),
        at("03 1000", whole(2)),
        at("04 1000", vec![image(1, 1, 2.0), beam(2, 1, (20.0, 50.0))]),
    ];
    assert_eq!(given(&late), known(2, None));
}

#[test]
fn a_summary_that_knows_of_more_does_not_say_whether_it_counts_what_was_begun() {
    let records = [
        at("02 1000", vec![beam(1, 1, (0.0, 50.0)), beam(2, 1, (0.0, 20.0))]),
        summary("02", "ON_TREATMENT", "10"),
        at("03 1000", vec![beam(2, 1, (20.0, 50.0))]),
    ];
    assert_eq!(why(&records), [Unknown::SummariesDiffer]);
}
