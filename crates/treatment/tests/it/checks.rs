//! Chart checks: each with what passes it, and what doesn't.

use std::collections::{BTreeMap, BTreeSet};

use dicom_core::Tag;
use dicom_dictionary_std::tags as t;
use treatment::beside::{Beside, Order, Side};
use treatment::checks::{Checked, Stage, State, check};
use treatment::given::dose::{beam_totals, so_far};
use treatment::plan::prescription::Dose;
use treatment::{
    Asked, Course, Day, Expected, GateInput, Plan, RULES_FORM, Rules, TreatmentRecord, VerifiedApproval, decide,
};

use crate::build::{IMPLICIT, Item, file};
use crate::dose::{PLAN, item, session};
use crate::gate::{HER, both};

/// With limits for the machine of the tests' plans.
fn rules(more: &str) -> Rules {
    Rules::parse(format!("{RULES_FORM}\n[[machine]]\nname = \"LINAC2\"\n{more}").as_bytes()).unwrap()
}

/// States by code, of a course with these records, on a day in April.
fn states(
    plan: &Item,
    records: &[Item],
    (rules, today): (&Rules, &str),
    approvals: &[VerifiedApproval],
) -> BTreeMap<String, (State, String)> {
    states_beside(plan, records, (rules, today), approvals, &Beside::default())
}

/// The same, with what the rest of her record says.
fn states_beside(
    plan: &Item,
    records: &[Item],
    (rules, today): (&Rules, &str),
    approvals: &[VerifiedApproval],
    beside: &Beside,
) -> BTreeMap<String, (State, String)> {
    let plan = Plan::parse(&file(plan, IMPLICIT)).unwrap();
    let group = &plan.groups[0];
    let mut course = Course::new(BTreeSet::from([PLAN.to_owned()]), &plan, group);
    let records: Vec<TreatmentRecord> =
        records.iter().map(|item| TreatmentRecord::parse(&file(item, IMPLICIT)).unwrap()).collect();
    records.iter().for_each(|record| course.add(&Ok(record.clone())));
    let given = course.given();
    let verdict = decide(&GateInput {
        expected: Expected {
            patient: HER,
            identifiers: &["MRN-7".to_owned()],
            birth_date: Some("19610203"),
            sex: Some("F"),
            number_is_shared: false,
            uid_is_anothers: false,
            has_ended: false,
            is_rejected: false,
            withdrawn: None,
        },
        plan: Ok(&plan),
        context: Some(&crate::approval::CONTEXT),
        approvals,
        approved: &[],
        asked: &Asked::default(),
        rules,
        today: None,
        given: &given,
        begun: None,
        too_soon: None,
        overridden: &[],
    });
    let mut days: Vec<Day> = records.iter().filter_map(|record| Day::of_dicom(record.treated_on.as_deref()?)).collect();
    days.sort();
    let checks = check(&Checked {
        plan: &plan,
        group,
        rules,
        verdict: &verdict,
        given: &given,
        dose: &so_far(&plan, group, &course, &given, 0),
        beams: &beam_totals(group, &course),
        records: &records.iter().collect::<Vec<_>>(),
        days: &days,
        signed: "2024-03-29".parse().ok(),
        beside,
        today: today.parse().unwrap(),
    });
    // Each says of when its evidence is.
    for check in &checks {
        let from = match (check.stage, check.code) {
            (Stage::Approval, "signatures") => "2024-03-29".parse().ok(),
            (Stage::Approval, _) => None,
            (Stage::Weekly | Stage::End, _) => days.last().copied(),
        };
        assert_eq!(check.evidence_from, from, "{}", check.code);
    }
    checks.into_iter().map(|check| (check.code.to_owned(), (check.state, check.evidence))).collect()
}

/// A session whose beam was verified.
fn verified(day: u32, fraction: u32) -> Item {
    let mut item = session(day, 10, fraction, (0, 50));
    item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0].set(t::TREATMENT_VERIFICATION_STATUS, "VERIFIED");
    item
}

#[test]
fn a_sound_course_passes_what_can_be_told() {
    let (plan, form) = (item(false), rules(""));
    let digest = Plan::parse(&file(&plan, IMPLICIT)).unwrap().digest();
    let fresh = states(&plan, &[], (&form, "2024-04-01"), &both(digest));
    for code in [
        "identity",
        "signatures",
        "planning-status",
        "prescription",
        "isocentre",
        "position",
        "bolus",
        "machine-limits",
        "prior-dose",
    ] {
        assert_eq!(fresh[code].0, State::Pass, "{code}: {:?}", fresh[code]);
    }
    assert_eq!(fresh["prescription"].1, "25 × 2.00 Gy = 50.00 Gy, prescribed 50.00 Gy");
    // What the plan doesn't say is unknown, and what has its time later isn't there.
    assert_eq!(fresh["organ-limits"].0, State::Unknown, "{:?}", fresh["organ-limits"]);
    assert_eq!(fresh["tolerance-table"].0, State::Unknown);
    assert!(!fresh.contains_key("fractions") && !fresh.contains_key("total-dose"));

    let begun = states(&plan, &[verified(2, 1), verified(3, 2)], (&form, "2024-04-04"), &both(digest));
    for code in ["fractions", "sessions", "metersets", "intervals"] {
        assert_eq!(begun[code].0, State::Pass, "{code}: {:?}", begun[code]);
    }
    let all: Vec<Item> = (1..=25).map(|n| verified(n, n)).collect();
    let ended = states(&plan, &all, (&form, "2024-05-20"), &both(digest));
    assert_eq!((ended["total-dose"].0, ended["sessions"].0), (State::Pass, State::Pass), "{ended:?}");
    assert_eq!(ended["total-dose"].1, "50.00 Gy, prescribed 50.00 Gy");
}

#[test]
fn the_plan_beside_the_rest_of_her_record() {
    let form = rules("");
    let of = |plan: &Item, records: &[Item], beside: &Beside| {
        let digest = Plan::parse(&file(plan, IMPLICIT)).unwrap().digest();
        states_beside(plan, records, (&form, "2024-04-08"), &both(digest), beside)
    };
    let plan = |site: &str| item(false).with(t::RT_PLAN_LABEL, "PHASE 1").with(t::TREATMENT_SITE, site);
    let nothing = of(&plan("Pelvis"), &[], &Beside::default());
    assert_eq!(nothing["side"], (State::Pass, "the diagnosis says no side, the plan no side".to_owned()));
    for code in ["order", "site", "schedule"] {
        assert_eq!(nothing[code].0, State::Unknown, "{code}: {:?}", nothing[code]);
    }

    let side = |site: &str, sides: &[Side]| {
        let beside = Beside { sides: sides.iter().copied().collect(), ..Beside::default() };
        of(&plan(site), &[], &beside)["side"].0
    };
    assert_eq!(side("Breast, left", &[Side::Left]), State::Pass);
    assert_eq!(side("Breast, left", &[Side::Right]), State::Fail);
    assert_eq!(side("Breast, left", &[Side::Left, Side::Right]), State::Pass);
    assert_eq!(side("Breasts, left and right", &[Side::Left]), State::Fail);
    assert_eq!(side("Breast", &[Side::Left]), State::Unknown);
    assert_eq!(side("Breast_R", &[]), State::Unknown);

    let site = |words: &str| {
        let beside = Beside { sites: vec![words.to_owned()], ..Beside::default() };
        of(&plan("Breast"), &[], &beside)["site"].0
    };
    assert_eq!((site("Malignant neoplasm of breast"), site("Glottis")), (State::Pass, State::Unknown));

    // 25 fractions of 2 Gy.
    let gy = |gy: i64| Some(Dose(gy * 10_000));
    let order = |fractions, doses: Vec<(Option<Dose>, Option<Dose>)>| Order { fractions, doses };
    let ordered =
        |orders: Vec<Order>| of(&plan("Breast"), &[], &Beside { orders, ..Beside::default() })["order"].clone();
    assert_eq!(ordered(vec![order(Some(25), vec![(gy(50), gy(2))])]).0, State::Pass);
    assert_eq!(ordered(vec![order(Some(25), vec![(gy(50), None)])]).0, State::Pass);
    let fail = ordered(vec![order(Some(25), vec![(gy(60), None)])]);
    assert_eq!(fail.0, State::Fail);
    assert_eq!(fail.1, "ordered: 25 fractions, 60.00 Gy; planned: 25 fractions, 50.00 Gy");
    assert_eq!(ordered(vec![order(Some(30), vec![(gy(50), None)])]).0, State::Fail);
    assert_eq!(ordered(vec![order(Some(25), vec![])]).0, State::Unknown, "a dose isn't said");
    assert_eq!(ordered(vec![order(None, vec![(gy(50), None)])]).0, State::Unknown, "fractions aren't");
    // Of two phases, one is this plan's.
    let boost = order(Some(5), vec![(gy(10), gy(2))]);
    assert_eq!(ordered(vec![boost.clone(), order(Some(25), vec![(gy(50), gy(2))])]).0, State::Pass);
    assert_eq!(ordered(vec![boost]).0, State::Fail);

    // From 2024-04-08, a Monday; two of 25 were given.
    let given = [verified(2, 1), verified(3, 2)];
    let schedule =
        |days: Vec<Day>| of(&plan("Breast"), &given, &Beside { booked: days, ..Beside::default() })["schedule"].clone();
    let from: Day = "2024-04-08".parse().unwrap();
    let working: Vec<Day> = form.calendar().from(from).take(23).collect();
    assert_eq!(
        schedule(working.clone()),
        (State::Pass, "23 are left, 23 booked, the last one on 2024-05-08".to_owned())
    );
    assert_eq!(schedule(working[..22].to_vec()).0, State::Fail);
    let mut sunday = working.clone();
    sunday.insert(5, "2024-04-14".parse().unwrap());
    assert_eq!(schedule(sunday), (State::Fail, "booked on days on which nobody is treated: 2024-04-14".to_owned()));
    assert_eq!(schedule(vec!["2024-04-05".parse().unwrap()]).0, State::Unknown, "what is over is none");
}

/// A session that says itself what its beam gave to the target.
fn reckoned(session: Item, sequence: Tag, value: Tag, gray: &str) -> Item {
    let mut item = session;
    let dose = Item::new().with(t::REFERENCED_DOSE_REFERENCE_NUMBER, "1").with(value, gray);
    let beam = &mut item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0];
    *beam = beam.clone().items(sequence, [dose]);
    item
}

#[test]
fn doses_that_records_say_themselves_are_compared() {
    let form = rules("");
    let of = |by_points: bool, records: &[Item]| {
        let plan = item(by_points);
        let digest = Plan::parse(&file(&plan, IMPLICIT)).unwrap().digest();
        states(&plan, records, (&form, "2024-04-04"), &both(digest))["recorded-doses"].clone()
    };
    let calculated = |session: Item, gray: &str| {
        let sequence = t::REFERENCED_CALCULATED_DOSE_REFERENCE_SEQUENCE;
        reckoned(session, sequence, t::CALCULATED_DOSE_REFERENCE_DOSE_VALUE, gray)
    };
    let measured = |session: Item, gray: &str| {
        reckoned(session, t::REFERENCED_MEASURED_DOSE_REFERENCE_SEQUENCE, t::MEASURED_DOSE_VALUE, gray)
    };
    assert_eq!(of(false, &[verified(2, 1)]), (State::Unknown, "no record says a dose".to_owned()));
    let two = [calculated(verified(2, 1), "2.00"), calculated(verified(3, 2), "2.01")];
    assert_eq!(of(false, &two), (State::Pass, "2 doses, calculated or measured".to_owned()));
    let fail = of(false, &[calculated(verified(2, 1), "2.03")]);
    assert_eq!(fail, (State::Fail, "2024-04-02: 2.03 Gy at PTV, by the plan 2.00 Gy".to_owned()));
    // A detector on the skin is looser, and no tighter than it can be.
    assert_eq!(of(false, &[measured(verified(2, 1), "1.92")]).0, State::Pass);
    assert_eq!(of(false, &[measured(verified(2, 1), "1.88")]).0, State::Fail);
    // Begun and finished, where the first fifth of the meterset gives half of the dose.
    let parts = |first: &str, rest: &str| {
        [calculated(session(2, 10, 1, (0, 10)), first), calculated(session(2, 11, 1, (10, 50)), rest)]
    };
    assert_eq!(of(true, &parts("1.0", "1.0")).0, State::Pass);
    assert_eq!(of(true, &parts("0.4", "1.6")).0, State::Fail, "dose doesn't grow as the meterset does");
    // Of a point that the plan says nothing of, nothing can be compared; of one that isn't the plan's, nothing is said.
    let cord = |number: &str| {
        let mut item = calculated(verified(2, 1), "0.3");
        let beam = &mut item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE)[0];
        let doses = beam.sequence(t::REFERENCED_CALCULATED_DOSE_REFERENCE_SEQUENCE);
        doses[0].set(t::REFERENCED_DOSE_REFERENCE_NUMBER, number);
        item
    };
    assert_eq!(of(false, &[cord("2")]).0, State::Unknown);
    assert_eq!(of(false, &[cord("9")]).1, "no record says a dose");
    // Of the session as a whole, relative or in gray.
    let whole = |units: &str| {
        let dose = Item::new()
            .with(t::REFERENCED_DOSE_REFERENCE_NUMBER, "1")
            .with(t::DOSE_UNITS, units)
            .with(t::MEASURED_DOSE_VALUE, "0.97");
        verified(2, 1).items(t::MEASURED_DOSE_REFERENCE_SEQUENCE, [dose])
    };
    assert_eq!(of(false, &[whole("GY")]).0, State::Fail);
    assert_eq!(of(false, &[whole("RELATIVE")]).1, "no record says a dose");
    // What a summary sums up, up to its day.
    let summary = |until: &str, gray: &str| {
        let dose =
            Item::new().with(t::REFERENCED_DOSE_REFERENCE_NUMBER, "1").with(t::CUMULATIVE_DOSE_TO_DOSE_REFERENCE, gray);
        let item = verified(3, 2).items(t::TREATMENT_SUMMARY_CALCULATED_DOSE_REFERENCE_SEQUENCE, [dose]);
        item.with(t::MOST_RECENT_TREATMENT_DATE, until)
    };
    let with = |until: &str, gray: &str| of(false, &[verified(2, 1), summary(until, gray)]);
    assert_eq!(with("20240403", "4.00").0, State::Pass);
    let fail = with("20240403", "2.00");
    assert_eq!(fail, (State::Fail, "a summary: 2.00 Gy at PTV, by the records 4.00 Gy".to_owned()));
    assert_eq!(with("20240402", "2.00").0, State::Pass, "one was given since");
    assert_eq!(with("20240402", "6.00").0, State::Fail);
}

#[test]
fn what_is_wrong_fails_and_what_is_old_is_stale() {
    let (plan, form) = (item(false), rules(""));
    let digest = Plan::parse(&file(&plan, IMPLICIT)).unwrap().digest();
    let of = |plan: &Item, records: &[Item], today: &str| states(plan, records, (&form, today), &both(digest));
    let one = states(&plan, &[], (&form, "2024-04-01"), &both(digest)[..1]);
    assert!(one["signatures"].0 == State::Fail && one["signatures"].1.contains("physicist"), "{one:?}");

    let mut more = item(false);
    more.at(&[(t::DOSE_REFERENCE_SEQUENCE, 0)]).set(t::TARGET_PRESCRIPTION_DOSE, "60");
    assert_eq!(of(&more, &[], "2024-04-01")["prescription"].0, State::Fail);
    let unapproved = item(false).with(t::APPROVAL_STATUS, "UNAPPROVED");
    assert_eq!(of(&unapproved, &[], "2024-04-01")["planning-status"].0, State::Fail);
    let hers = item(false).with(t::PATIENT_BIRTH_DATE, "19610204");
    assert_eq!(of(&hers, &[], "2024-04-01")["identity"].0, State::Fail);

    // Records of a fortnight ago, a missing one, an interrupted one, two on a day.
    let old = of(&plan, &[verified(2, 1)], "2024-04-20");
    assert_eq!((old["sessions"].0, old["fractions"].0), (State::Stale, State::Pass));
    assert_eq!(of(&plan, &[verified(2, 1), verified(4, 3)], "2024-04-05")["fractions"].0, State::Fail);
    let twice = [verified(2, 1), session(2, 16, 2, (0, 50))];
    assert_eq!(of(&plan, &twice, "2024-04-05")["intervals"], (State::Fail, "more than one on 2024-04-02".to_owned()));
    let stopped = session(2, 10, 1, (0, 18));
    let stopped = of(&plan, &[stopped], "2024-04-02");
    assert_eq!(
        (stopped["sessions"].0, stopped["metersets"].0, stopped["fractions"].0),
        (State::Fail, State::Fail, State::Fail)
    );
    let unsaid = of(&plan, &[session(2, 10, 1, (0, 50))], "2024-04-02");
    assert_eq!(unsaid["sessions"].0, State::Unknown, "{:?}", unsaid["sessions"]);

    // The machine can't do it, or nobody has said what it can.
    for (limits, state) in [
        ("energies = [12.0]\nmeterset_max = 50.0\n", State::Pass),
        ("energies = [6.0]\n", State::Fail),
        ("meterset_max = 49.9\n", State::Fail),
    ] {
        let found = states(&plan, &[], (&rules(limits), "2024-04-01"), &both(digest));
        assert_eq!(found["machine-limits"].0, state, "{limits}: {:?}", found["machine-limits"]);
    }
    let nowhere = Rules::parse(RULES_FORM.as_bytes()).unwrap();
    assert_eq!(states(&plan, &[], (&nowhere, "2024-04-01"), &both(digest))["machine-limits"].0, State::Unknown);
}
