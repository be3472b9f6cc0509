//! What is said beside the plan: the fraction, the machine, and the delivery instruction of a session.

use std::collections::BTreeMap;

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use treatment::{
    Asked, Begun, Finding, Given, Instruction, InstructionGap, Kind, Note, Plan, PlanError, RULES_FORM, Rules,
};

use crate::build::{IMPLICIT, Item, file, group, object, photons};
use crate::gate::Case;

/// For beams 1 and 2 of the plan of photons.
fn told(plan: &Plan, fraction: &str) -> Item {
    let task = |beam: &str| {
        Item::new()
            .with(t::BEAM_TASK_TYPE, "TREAT")
            .with(t::TREATMENT_DELIVERY_TYPE, "TREATMENT")
            .with(t::CURRENT_FRACTION_NUMBER, fraction)
            .with(t::REFERENCED_BEAM_NUMBER, beam)
    };
    let beams: Vec<String> = plan.groups[0].metersets.keys().map(u32::to_string).collect();
    object(Kind::RtBeamsDeliveryInstruction.sop_class(), "PLAN")
        .with(t::SOP_INSTANCE_UID, "1.2.77")
        .with(t::PATIENT_ID, plan.instance.patient_id.clone().unwrap_or_default())
        .items(
            t::REFERENCED_RT_PLAN_SEQUENCE,
            [Item::new()
                .with(t::REFERENCED_SOP_CLASS_UID, plan.instance.kind.sop_class())
                .with(t::REFERENCED_SOP_INSTANCE_UID, plan.instance.sop_instance.clone())],
        )
        .items(t::BEAM_TASK_SEQUENCE, beams.iter().map(|beam| task(beam)))
}

fn plan() -> Plan {
    Plan::parse(&file(&photons(), IMPLICIT)).unwrap()
}

fn parse(item: &Item) -> Result<Instruction, PlanError> {
    Instruction::parse(&file(item, IMPLICIT))
}

/// Codes of the gate's findings where this is said, after six fractions of 25.
fn codes(asked: Asked) -> Vec<&'static str> {
    let mut case = Case::of(&photons());
    case.asked = asked;
    case.codes()
}

fn gaps(item: &Item) -> Vec<InstructionGap> {
    let mut case = Case::of(&photons());
    case.asked.instruction = Some(parse(item));
    let findings = case.decide().findings;
    let found = findings.into_iter().find_map(|finding| match finding {
        Finding::InstructionDiffers { gaps } => Some(gaps),
        _ => None,
    });
    found.unwrap_or_default()
}

#[test]
fn the_fraction_that_is_due_and_no_other() {
    let fraction = |number| Asked { fraction: Some(number), ..Asked::default() };
    assert_eq!(codes(fraction(7)), [""; 0]);
    for other in [1, 6, 8, 25, 26] {
        assert_eq!(codes(fraction(other)), ["another-fraction"], "{other}");
    }
    let told = |number: &str| Asked { instruction: Some(parse(&told(&plan(), number))), ..Asked::default() };
    assert_eq!(codes(told("7")), [""; 0]);
    assert_eq!(codes(told("8")), ["another-fraction"]);
    // Both say one, and not the same.
    assert_eq!(codes(Asked { fraction: Some(8), ..told("7") }), ["another-fraction"]);
}

#[test]
fn an_instruction_is_one_fraction_of_this_plan() {
    let good = told(&plan(), "7");
    assert_eq!(gaps(&good), []);
    let first = |item: &mut Item, tag: Tag, value: &str| item.sequence(t::BEAM_TASK_SEQUENCE)[0].set(tag, value);
    let with = |change: &dyn Fn(&mut Item)| {
        let mut item = good.clone();
        change(&mut item);
        gaps(&item)
    };
    let beams: Vec<u32> = plan().groups[0].metersets.keys().copied().collect();
    assert_eq!(
        with(&|item| item.sequence(t::REFERENCED_RT_PLAN_SEQUENCE)[0].set(t::REFERENCED_SOP_INSTANCE_UID, "1.9")),
        [InstructionGap::AnotherPlan]
    );
    assert_eq!(with(&|item| item.set(t::PATIENT_ID, "MRN-8")), [InstructionGap::AnotherPatient]);
    assert_eq!(
        with(&|item| drop(item.sequence(t::BEAM_TASK_SEQUENCE).remove(0))),
        [InstructionGap::BeamsMissing { beams: vec![beams[0]] }]
    );
    assert_eq!(
        with(&|item| {
            let ion = Kind::RtIonPlan.sop_class();
            item.sequence(t::REFERENCED_RT_PLAN_SEQUENCE)[0].set(t::REFERENCED_SOP_CLASS_UID, ion);
        }),
        [InstructionGap::AnotherPlan]
    );
    assert_eq!(with(&|item| item.set(t::PATIENT_SEX, "M")), [InstructionGap::AnotherPatient]);
    assert_eq!(with(&|item| item.set(t::PATIENT_BIRTH_DATE, "19010101")), [InstructionGap::AnotherPatient]);
    assert_eq!(
        with(&|item| item.sequence(t::BEAM_TASK_SEQUENCE)[0].double(t::CONTINUATION_END_METERSET, 10.0)),
        [InstructionGap::Continuation { beams: vec![beams[0]] }]
    );
    assert_eq!(
        with(&|item| {
            *item =
                item.clone().items(t::OMITTED_BEAM_TASK_SEQUENCE, [Item::new().with(t::REFERENCED_BEAM_NUMBER, "1")]);
        }),
        [InstructionGap::Omits]
    );
    // A beam that only takes an image isn't asked about.
    assert_eq!(
        with(&|item| first(item, t::BEAM_TASK_TYPE, "VERIFY")),
        [InstructionGap::BeamsMissing { beams: vec![beams[0]] }]
    );
    assert_eq!(
        with(&|item| first(item, t::REFERENCED_BEAM_NUMBER, "77")),
        [InstructionGap::BeamsMissing { beams: vec![beams[0]] }, InstructionGap::BeamsUnknown { beams: vec![77] }]
    );
    assert_eq!(
        with(&|item| first(item, t::TREATMENT_DELIVERY_TYPE, "CONTINUATION")),
        [InstructionGap::Continuation { beams: vec![beams[0]] }]
    );
    assert_eq!(
        with(&|item| first(item, t::CURRENT_FRACTION_NUMBER, "8")),
        [InstructionGap::SeveralFractions { fractions: vec![7, 8] }]
    );
}

/// Fraction 7 of 25 was begun today: the first beam stopped, of the second nothing was given.
#[test]
fn of_a_begun_fraction_the_rest_and_nothing_else() {
    let plan = plan();
    let metersets = &plan.groups[0].metersets;
    let beams: Vec<u32> = metersets.keys().copied().collect();
    let [one, other] = beams[..] else { panic!("two beams treat") };
    let (whole, at) = (metersets[&one], metersets[&one] / 1_000 * 360);
    let mu = |thousandths: i64| thousandths as f64 / 1e3;
    let with = |change: &dyn Fn(&mut Case, &mut Item)| {
        let mut case = Case::of(&photons());
        case.given = Given::Known { distinct: 7, highest: 7, unfinished: Some(7) };
        let delivered = BTreeMap::from([(one, at), (other, 0)]);
        case.begun = Some(Begun { fraction: 7, day: "2026-11-30".parse().ok(), delivered, is_plain: true });
        // It was given a minute ago: that is what is gone on with.
        case.too_soon = Some("20261130 100000");
        let mut item = told(&plan, "7");
        let first = &mut item.sequence(t::BEAM_TASK_SEQUENCE)[0];
        first.set(t::TREATMENT_DELIVERY_TYPE, "CONTINUATION");
        first.double(t::CONTINUATION_START_METERSET, mu(at));
        first.double(t::CONTINUATION_END_METERSET, mu(whole));
        change(&mut case, &mut item);
        case.asked.instruction = Some(parse(&item));
        let verdict = case.decide();
        let codes: Vec<&str> = verdict.findings.iter().map(Finding::code).collect();
        let gaps = verdict.findings.iter().find_map(|finding| match finding {
            Finding::InstructionDiffers { gaps } => Some(gaps.clone()),
            _ => None,
        });
        let gaps = gaps.unwrap_or_default();
        let continues = verdict.notes.contains(&Note::Continues { fraction: 7 });
        assert_eq!(continues, gaps.is_empty(), "{codes:?} {gaps:?}");
        (codes, gaps)
    };
    fn task(item: &mut Item, at: usize) -> &mut Item {
        &mut item.sequence(t::BEAM_TASK_SEQUENCE)[at]
    }
    assert_eq!(with(&|_, _| {}), (vec![], vec![]));
    // The last one of the course, too.
    let last = |case: &mut Case, item: &mut Item| {
        case.given = Given::Known { distinct: 25, highest: 25, unfinished: Some(25) };
        case.begun.as_mut().unwrap().fraction = 25;
        (0..2).for_each(|at| task(item, at).set(t::CURRENT_FRACTION_NUMBER, "25"));
    };
    let mut case = Case::of(&photons());
    let mut item = told(&plan, "7");
    case.begun = Some(Begun {
        fraction: 7,
        day: "2026-11-30".parse().ok(),
        delivered: BTreeMap::from([(one, 0), (other, metersets[&other])]),
        is_plain: true,
    });
    last(&mut case, &mut item);
    // The second beam is whole: it is left out.
    item.sequence(t::BEAM_TASK_SEQUENCE).pop();
    case.asked.instruction = Some(parse(&item));
    assert!(case.codes().is_empty(), "{:?}", case.codes());

    let stretch = |start: Option<i64>, end: Option<i64>| {
        let differs = InstructionGap::AnotherStretch { beam: one, from: at, to: whole, start, end };
        (vec!["instruction-differs"], vec![differs])
    };
    let quantum = whole / 1_000 * 2;
    // A tenth of 50 MU is what two roundings make of it, and more is another dose.
    for (moved, is_so) in [(quantum, true), (-quantum, true), (quantum + 1, false), (-quantum - 1, false)] {
        let found = with(&|_, item| task(item, 0).double(t::CONTINUATION_START_METERSET, mu(at + moved)));
        let expected = if is_so { (vec![], vec![]) } else { stretch(Some(at + moved), Some(whole)) };
        assert_eq!(found, expected, "{moved}");
    }
    let end = with(&|_, item| task(item, 0).double(t::CONTINUATION_END_METERSET, mu(at)));
    assert_eq!(end, stretch(Some(at), Some(at)));
    let all_of_it = with(&|_, item| *item = told(&plan, "7"));
    assert_eq!(all_of_it, stretch(None, None));
    // Of the other one nothing was given: it doesn't go on.
    let (codes, gaps) = with(&|_, item| {
        task(item, 1).set(t::TREATMENT_DELIVERY_TYPE, "CONTINUATION");
        task(item, 1).double(t::CONTINUATION_START_METERSET, 0.0);
        task(item, 1).double(t::CONTINUATION_END_METERSET, mu(metersets[&other]));
    });
    assert!(matches!(gaps[..], [InstructionGap::AnotherStretch { beam, .. }] if beam == other), "{codes:?} {gaps:?}");
    assert_eq!(
        with(&|case, _| case.begun.as_mut().unwrap().delivered.extend([(other, metersets[&other])])).1,
        [InstructionGap::BeamsWhole { beams: vec![other] }]
    );
    assert_eq!(
        with(&|_, item| drop(item.sequence(t::BEAM_TASK_SEQUENCE).pop())).1,
        [InstructionGap::BeamsMissing { beams: vec![other] }]
    );
    for day in [None, "2026-11-29".parse().ok()] {
        let (_, gaps) = with(&|case, _| case.begun.as_mut().unwrap().day = day);
        assert!(matches!(gaps[..], [InstructionGap::BegunOnAnotherDay { .. }]), "{gaps:?}");
    }
    // Of another fraction there is nothing to go on with.
    let (codes, gaps) = with(&|_, item| (0..2).for_each(|at| task(item, at).set(t::CURRENT_FRACTION_NUMBER, "8")));
    assert_eq!(gaps, [InstructionGap::Continuation { beams: vec![one] }], "{codes:?}");
    // Beside the instruction another number is said.
    let (codes, _) = with(&|case, _| case.asked.fraction = Some(8));
    assert_eq!(codes, ["another-fraction"]);
}

/// One more than the plan has was begun: nobody finishes it.
#[test]
fn of_a_fraction_beyond_the_plan_there_is_no_rest() {
    let plan = plan();
    let mut case = Case::of(&photons());
    case.given = Given::Known { distinct: 26, highest: 26, unfinished: Some(26) };
    let delivered = plan.groups[0].metersets.keys().map(|beam| (*beam, 0)).collect();
    case.begun = Some(Begun { fraction: 26, day: "2026-11-30".parse().ok(), delivered, is_plain: true });
    case.asked.instruction = Some(parse(&told(&plan, "26")));
    assert_eq!(case.codes(), ["all-fractions-given"]);
}

/// Of metersets about one (minutes of cobalt, a small field) four fifths are no whole beam.
#[test]
fn a_small_beam_is_whole_at_the_same_share() {
    let mut item = photons();
    *item.sequence(t::FRACTION_GROUP_SEQUENCE) = vec![group(&[(1, "1.92"), (2, "0.95")])];
    let plan = Plan::parse(&file(&item, IMPLICIT)).unwrap();
    let after = |delivered: [i64; 2], beams: &[(usize, Option<f64>)]| {
        let mut case = Case::of(&item);
        case.given = Given::Known { distinct: 7, highest: 7, unfinished: Some(7) };
        let delivered = BTreeMap::from([(1, delivered[0]), (2, delivered[1])]);
        case.begun = Some(Begun { fraction: 7, day: "2026-11-30".parse().ok(), delivered, is_plain: true });
        let mut instruction = told(&plan, "7");
        let tasks = instruction.sequence(t::BEAM_TASK_SEQUENCE);
        *tasks = beams.iter().map(|(at, _)| tasks[*at].clone()).collect();
        for (task, (at, start)) in tasks.iter_mut().zip(beams) {
            let Some(start) = start else { continue };
            task.set(t::TREATMENT_DELIVERY_TYPE, "CONTINUATION");
            task.double(t::CONTINUATION_START_METERSET, *start);
            task.double(t::CONTINUATION_END_METERSET, [1.92, 0.95][*at]);
        }
        case.asked.instruction = Some(parse(&instruction));
        let mut codes = case.codes();
        codes.retain(|code| *code == "instruction-differs");
        codes
    };
    let four_fifths = [1_536, 0];
    assert_eq!(after(four_fifths, &[(1, None)]), ["instruction-differs"], "the first one's rest is left out");
    assert!(after(four_fifths, &[(0, Some(1.536)), (1, None)]).is_empty());
    assert!(after(four_fifths, &[(0, Some(1.54)), (1, None)]).is_empty(), "to the hundredth");
    assert_eq!(after(four_fifths, &[(0, Some(1.55)), (1, None)]), ["instruction-differs"]);
    assert!(after([1_824, 0], &[(1, None)]).is_empty(), "19 of 20 are whole");
    assert!(after([1_920, 0], &[(1, None)]).is_empty(), "of the second one nothing was given");
}

#[test]
fn what_cant_be_read_holds() {
    let good = told(&plan(), "7");
    let last = |item: &mut Item, tag: Tag, value: &str| {
        let tasks = item.sequence(t::BEAM_TASK_SEQUENCE);
        let at = tasks.len() - 1;
        tasks[at].set(tag, value);
    };
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Item));
    let changes: [Change<'_>; 9] = [
        ("no task", &|item| item.sequence(t::BEAM_TASK_SEQUENCE).clear()),
        ("no plan", &|item| item.sequence(t::REFERENCED_RT_PLAN_SEQUENCE).clear()),
        ("a type of task that there isn't", &|item| last(item, t::BEAM_TASK_TYPE, "treat")),
        ("no fraction", &|item| last(item, t::CURRENT_FRACTION_NUMBER, "")),
        ("fraction 0", &|item| last(item, t::CURRENT_FRACTION_NUMBER, "0")),
        ("no beam", &|item| last(item, t::REFERENCED_BEAM_NUMBER, "")),
        ("a beam twice", &|item| {
            let first = item.sequence(t::BEAM_TASK_SEQUENCE)[0].clone();
            item.sequence(t::BEAM_TASK_SEQUENCE).push(first);
        }),
        ("a meterset below nothing", &|item| {
            item.sequence(t::BEAM_TASK_SEQUENCE)[0].double(t::CONTINUATION_START_METERSET, -1.0);
        }),
        ("no delivery type", &|item| last(item, t::TREATMENT_DELIVERY_TYPE, "")),
    ];
    for (what, change) in changes {
        let mut item = good.clone();
        change(&mut item);
        assert!(parse(&item).is_err(), "{what}");
        assert!(matches!(gaps(&item)[..], [InstructionGap::Unreadable { .. }]), "{what}");
    }
    assert!(parse(&photons()).is_err(), "a plan is no instruction");
    let bytes = file(&good, IMPLICIT);
    // Cut anywhere: an error, or what was said before.
    (0..bytes.len()).for_each(|length| drop(Instruction::parse(&bytes[..length])));
}

#[test]
fn the_machine_that_it_was_planned_for() {
    let at = |name: &str| Asked { machine: Some(name.to_owned()), ..Asked::default() };
    assert_eq!(codes(at("LINAC2")), [""; 0]);
    assert_eq!(codes(at("LINAC3")), ["another-machine"]);
    let case = |asked: Asked, rules: &str| {
        let mut case = Case::of(&photons());
        (case.asked, case.rules) = (asked, Rules::parse(format!("{RULES_FORM}\n{rules}").as_bytes()).unwrap());
        case.decide().findings
    };
    let found =
        case(at("LINAC3"), "[[machine]]\nname = \"LINAC2\"\nmatched = [\"LINAC3\"]\n[[machine]]\nname = \"LINAC3\"");
    assert!(matches!(&found[..], [Finding::AnotherMachine { matched: true, .. }]), "{found:?}");
    let codes = |found: Vec<Finding>| found.iter().map(Finding::code).collect::<Vec<_>>();
    // The case's day is 2026-11-30.
    let out = |from: &str, to: &str| {
        let spans = format!("out_of_service = [{{ from = \"{from}\", to = \"{to}\" }}]");
        codes(case(Asked::default(), &format!("[[machine]]\nname = \"LINAC2\"\n{spans}")))
    };
    assert_eq!(out("2026-11-28", "2026-11-30"), ["machine-unavailable"]);
    assert_eq!(out("2026-11-30", "2026-12-02"), ["machine-unavailable"]);
    assert_eq!(out("2026-12-01", "2026-12-02"), [""; 0]);
    assert_eq!(out("2026-11-01", "2026-11-29"), [""; 0]);
    assert_eq!(codes(case(Asked::default(), "[[machine]]\nname = \"LINAC9\"")), ["machine-unavailable"]);
    let backwards = format!(
        "{RULES_FORM}\n[[machine]]\nname = \"A\"\nout_of_service = [{{ from = \"2026-12-02\", to = \"2026-12-01\" }}]"
    );
    assert!(Rules::parse(backwards.as_bytes()).unwrap_err().to_string().contains("which is before"));
}
