//! The gate releases what two people signed for this patient, with fractions left, and nothing else.

use std::collections::BTreeSet;

use dicom_dictionary_std::tags as t;
use guard::SigningKey;
use kit::{Digest, PatientId, SeededEntropy};
use treatment::given::Unknown;
use treatment::{
    Asked, Begun, ContextPart, Course, Delivery, Expected, Finding, GateInput, Given, Kind, Note, ObjectError, Outcome,
    Overridden, Plan, PlanContext, PlanError, RULES_FORM, Rules, Signed, SignerRole, Statement, TreatmentRecord,
    Verdict, VerifiedApproval, decide,
};

use crate::approval::{CONTEXT, enrolled, statement};
use crate::build::{IMPLICIT, Item, electrons, file, group, object, photons, point_at};

pub const HER: PatientId = PatientId([7; 16]);

fn key(seed: u64) -> SigningKey {
    SigningKey::generate(&SeededEntropy::new(seed)).unwrap()
}

/// One approval by a person with a key.
fn approval(signer: &str, role: SignerRole, seed: u64, delivery: Digest) -> VerifiedApproval {
    let signed = statement(signer, role, delivery).sign(&key(seed)).unwrap();
    signed.verify("Demo Centre", &[enrolled(signer, role, &key(seed))]).unwrap()
}

/// The same, of what stood beside the plan then.
fn approval_with(
    context: Option<PlanContext>,
    (signer, role, seed): (&str, SignerRole, u64),
    delivery: Digest,
) -> VerifiedApproval {
    let signed = Statement { context, ..statement(signer, role, delivery) }.sign(&key(seed)).unwrap();
    signed.verify("Demo Centre", &[enrolled(signer, role, &key(seed))]).unwrap()
}

pub fn both(delivery: Digest) -> Vec<VerifiedApproval> {
    vec![approval("asha", SignerRole::Oncologist, 1, delivery), approval("babu", SignerRole::Physicist, 2, delivery)]
}

pub struct Case {
    identifiers: Vec<String>,
    birth_date: Option<&'static str>,
    plan: Result<Plan, PlanError>,
    approvals: Vec<VerifiedApproval>,
    approved: Vec<Delivery>,
    pub asked: Asked,
    pub rules: Rules,
    number_is_shared: bool,
    uid_is_anothers: bool,
    has_ended: bool,
    is_rejected: bool,
    pub given: Given,
    pub begun: Option<Begun>,
    context: PlanContext,
    pub too_soon: Option<&'static str>,
    overridden: Vec<Overridden>,
}

impl Case {
    pub fn of(item: &Item) -> Self {
        let plan = Plan::parse(&file(item, IMPLICIT));
        let approved = Plan::parse(&file(&photons(), IMPLICIT)).unwrap();
        Self {
            identifiers: vec!["OLD-1".into(), "MRN-7".into()],
            birth_date: Some("19610203"),
            plan,
            approvals: both(approved.digest()),
            approved: vec![approved.delivery],
            asked: Asked::default(),
            rules: Rules::parse(RULES_FORM.as_bytes()).unwrap(),
            context: CONTEXT,
            too_soon: None,
            overridden: Vec::new(),
            uid_is_anothers: false,
            has_ended: false,
            number_is_shared: false,
            is_rejected: false,
            given: Given::Known { distinct: 6, highest: 6, unfinished: None },
            begun: None,
        }
    }

    pub fn decide(&self) -> Verdict {
        // Each file was handed in by both.
        let approved: Vec<Signed<'_>> =
            self.approved.iter().map(|delivery| Signed { delivery, approvals: &self.approvals }).collect();
        let verdict = decide(&GateInput {
            expected: Expected {
                patient: HER,
                identifiers: &self.identifiers,
                birth_date: self.birth_date,
                sex: Some("F"),
                number_is_shared: self.number_is_shared,
                uid_is_anothers: self.uid_is_anothers,
                has_ended: self.has_ended,
                is_rejected: self.is_rejected,
                withdrawn: None,
            },
            plan: self.plan.as_ref(),
            context: Some(&self.context),
            approvals: &self.approvals,
            approved: &approved,
            asked: &self.asked,
            rules: &self.rules,
            today: "2026-11-30".parse().ok(),
            given: &self.given,
            begun: self.begun.as_ref(),
            too_soon: self.too_soon,
            overridden: &self.overridden,
        });
        assert_eq!(verdict.outcome == Outcome::Release, verdict.findings.is_empty());
        let json = serde_json::to_string(&verdict).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&json).unwrap(), verdict);
        assert!(!json.contains("MRN-7") && !json.contains("അമ്മിണി"), "a verdict names no patient: {json}");
        for finding in &verdict.findings {
            assert!(json.contains(&format!("\"code\":\"{}\"", finding.code())));
            assert!(!finding.to_string().is_empty());
        }
        verdict
    }

    pub fn codes(&self) -> Vec<&'static str> {
        self.decide().findings.iter().map(Finding::code).collect()
    }
}

#[test]
fn what_two_people_signed_is_released() {
    let verdict = Case::of(&photons()).decide();
    assert_eq!((verdict.outcome, verdict.findings, verdict.notes), (Outcome::Release, vec![], vec![]));
    assert_eq!((verdict.fractions_given, verdict.fractions_planned), (Some(6), Some(25)));
    // The same delivery under another name is the same delivery.
    let mut renamed = photons().with(t::SOP_INSTANCE_UID, "1.2.99").with(t::RT_PLAN_LABEL, "again");
    renamed.sequence(t::BEAM_SEQUENCE).reverse();
    assert_eq!(Case::of(&renamed).codes(), [""; 0]);
}

#[test]
fn each_reason_to_hold_has_its_finding() {
    let with = |change: fn(&mut Case)| {
        let mut case = Case::of(&photons());
        change(&mut case);
        case.codes()
    };
    assert_eq!(with(|c| c.approvals.clear()), ["not-approved"]);
    assert_eq!(with(|c| drop(c.approvals.pop())), ["approved-by-one"]);
    assert_eq!(with(|c| drop(c.approvals.remove(0))), ["approved-by-one"]);
    assert_eq!(with(|c| c.identifiers = vec!["MRN-8".into()]), ["another-patient"]);
    assert_eq!(with(|c| c.identifiers.clear()), ["patient-unknown"]);
    assert_eq!(with(|c| c.number_is_shared = true), ["patient-ambiguous"]);
    assert_eq!(with(|c| c.uid_is_anothers = true), ["filed-under-another"]);
    assert_eq!(with(|c| c.has_ended = true), ["record-ended"]);
    assert_eq!(with(|c| c.is_rejected = true), ["rejected"]);
    assert_eq!(with(|c| c.birth_date = Some("19610302")), ["birth-date-differs"]);
    assert_eq!(
        with(|c| c.given = Given::Known { distinct: 25, highest: 25, unfinished: None }),
        ["all-fractions-given"]
    );
    assert_eq!(
        with(|c| c.given = Given::Known { distinct: 3, highest: 25, unfinished: None }),
        ["all-fractions-given"]
    );
    assert_eq!(with(|c| c.given = Given::Unknown { why: vec![Unknown::NoFractionNumber] }), ["fractions-unknown"]);
    assert_eq!(with(|c| c.asked.fraction_group = Some(2)), ["fraction-group-unclear"]);
    assert_eq!(with(|c| c.plan = Err(PlanError::Brachytherapy)), ["not-a-plan"]);
    // One name with two keys, or one key under two names, is one person.
    let digest = Case::of(&photons()).approved[0].digest();
    for second in
        [approval("asha", SignerRole::Physicist, 2, digest), approval("babu", SignerRole::Physicist, 1, digest)]
    {
        let mut case = Case::of(&photons());
        case.approvals = vec![approval("asha", SignerRole::Oncologist, 1, digest), second.clone()];
        assert_eq!(case.codes(), ["same-person-twice"]);
        // A third who is somebody else heals it.
        case.approvals.push(approval("chitra", SignerRole::Physicist, 3, digest));
        assert_eq!(case.codes(), [""; 0]);
    }
    assert_eq!(Case::of(&photons().with(t::APPROVAL_STATUS, "REJECTED")).codes(), ["rejected"]);
    for other in ["rejected", "Rejected", "REJECTED\\UNAPPROVED", "APPROVED\\REJECTED", "APPROVED\n", "XYZ", "REJECTÉD"]
    {
        let codes = Case::of(&photons().with(t::APPROVAL_STATUS, other)).codes();
        assert_eq!(codes, ["approval-status-unclear"], "{other}");
    }
    assert_eq!(Case::of(&photons().with(t::PATIENT_ID, "")).codes(), ["no-patient-id"]);
    assert_eq!(Case::of(&photons().with(t::PATIENT_SEX, "M")).codes(), ["sex-differs"]);
    let unapproved = Case::of(&photons().with(t::APPROVAL_STATUS, "UNAPPROVED")).decide();
    assert_eq!((unapproved.outcome, unapproved.notes), (Outcome::Release, vec![Note::NotApprovedInPlanningSystem]));
}

#[test]
fn an_approval_for_one_patient_is_none_for_another() {
    let mut case = Case::of(&photons());
    let digest = case.approved[0].digest();
    let mut of_another = statement("babu", SignerRole::Physicist, digest);
    of_another.patient = PatientId([8; 16]);
    let signed = of_another.sign(&key(2)).unwrap();
    case.approvals[1] = signed.verify("Demo Centre", &[enrolled("babu", SignerRole::Physicist, &key(2))]).unwrap();
    assert_eq!(case.codes(), ["approved-by-one"]);
}

#[test]
fn a_tampered_plan_is_vetoed_and_the_difference_named() {
    let mut plan = photons();
    plan.at(&point_at(0, 0)).set(t::GANTRY_ANGLE, "300.51");
    let verdict = Case::of(&plan).decide();
    let [Finding::DeliveryDiffers { fields, more: 0, .. }] = verdict.findings.as_slice() else { panic!("{verdict:?}") };
    assert_eq!(fields.len(), 1);
    assert_eq!((fields[0].a.as_deref(), fields[0].b.as_deref()), (Some("300.50"), Some("300.51")));
    assert!(
        verdict.findings[0]
            .to_string()
            .contains("beam 1 point 0 (to point 1): (300A,011E) GantryAngle: 300.50 → 300.51 °")
    );
    // The nearest approved plan is what it is held against.
    let mut case = Case::of(&plan);
    let far = Plan::parse(&file(&crate::build::arcs(5), IMPLICIT)).unwrap();
    case.approvals.extend(both(far.digest()));
    case.approved.insert(0, far.delivery);
    let Finding::DeliveryDiffers { fields, .. } = &case.decide().findings[0] else { panic!() };
    assert_eq!(fields.len(), 1);
    // A long list is cut, and says so.
    let verdict = Case::of(&crate::build::arcs(5)).decide();
    let Finding::DeliveryDiffers { fields, more, .. } = &verdict.findings[0] else { panic!() };
    assert!(fields.len() == treatment::gate::FIELDS_MAX && *more > 0);
}

#[test]
fn setup_is_held_to_its_tolerance() {
    let moved = |mm: &str| {
        let mut plan = photons();
        plan.at(&point_at(0, 0)).set(t::TABLE_TOP_LONGITUDINAL_POSITION, mm);
        Case::of(&plan)
    };
    assert_eq!(moved("920").codes(), [""; 0]);
    assert_eq!(moved("920.01").codes(), ["out-of-tolerance"]);
    assert_eq!(moved("").codes(), [""; 0]);
    let mut without = moved("999");
    without.approved.clear();
    assert_eq!(without.decide().notes, [Note::TolerancesNotCompared]);
}

fn record(instance: &str, plan: Option<&str>, fraction: &str, delivered: &str) -> Item {
    let beam = Item::new()
        .with(t::CURRENT_FRACTION_NUMBER, fraction)
        .with(t::DELIVERED_PRIMARY_METERSET, delivered)
        .with(t::TREATMENT_DELIVERY_TYPE, "TREATMENT")
        .with(t::REFERENCED_BEAM_NUMBER, "1");
    let imaging = Item::new().with(t::CURRENT_FRACTION_NUMBER, "").with(t::TREATMENT_DELIVERY_TYPE, "SETUP");
    let item = object(Kind::RtBeamsRecord.sop_class(), "RTRECORD")
        .with(t::SOP_INSTANCE_UID, instance)
        .with(t::TREATMENT_DATE, "20240402")
        .items(t::TREATMENT_SESSION_BEAM_SEQUENCE, [imaging, beam]);
    match plan {
        Some(uid) => {
            item.items(t::REFERENCED_RT_PLAN_SEQUENCE, [Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, uid)])
        }
        None => item,
    }
}

/// Of the first fraction group; the plan's beam 1 delivers 212 MU.
fn count_of(plan: &Item, records: &[Item]) -> Given {
    let plans = BTreeSet::from(["1.2.3.4".to_owned(), "1.2.3.5".to_owned()]);
    let plan = Plan::parse(&file(plan, IMPLICIT)).unwrap();
    let mut course = Course::new(plans.clone(), &plan, &plan.groups[0]);
    for item in records {
        course.add(&TreatmentRecord::parse(&file(item, IMPLICIT)));
    }
    course.given()
}

fn count(records: &[Item]) -> Given {
    count_of(&electrons(), records)
}

fn known(distinct: u32, highest: u32) -> Given {
    Given::Known { distinct, highest, unfinished: None }
}

fn unknown(why: Unknown) -> Given {
    Given::Unknown { why: vec![why] }
}

fn begun(distinct: u32, highest: u32) -> Given {
    Given::Known { distinct, highest, unfinished: Some(highest) }
}

const PLAN: Option<&str> = Some("1.2.3.4");

#[test]
fn fractions_are_counted_once() {
    assert_eq!(count(&[]), Given::NONE);
    // Two partial records of fraction 1, one of them sent twice; fraction 2 under another export of the plan.
    let records = [
        record("1.1", PLAN, "1", "70"),
        record("1.2", PLAN, "1", "142"),
        record("1.2", PLAN, "1", "142"),
        record("1.3", Some("1.2.3.5"), "2", "212"),
    ];
    assert_eq!(count(&records), known(2, 2));
    // Another plan's record, and a beam that gave nothing.
    assert_eq!(count(&[record("1.1", Some("9.9"), "1", "212"), record("1.2", PLAN, "4", "0")]), Given::NONE);
    assert_eq!(count(&[record("1.1", PLAN, "5", "212")]), known(1, 5));
    assert_eq!(known(1, 5).fractions(), Some(5));
    assert_eq!(count(&[record("1.1", PLAN, "", "212")]), unknown(Unknown::NoFractionNumber));
    assert_eq!(count(&[record("1.1", None, "1", "212")]), unknown(Unknown::NoPlan));
    assert_eq!(count(&[photons()]), unknown(Unknown::UnreadableRecord));

    let mut two_groups = electrons();
    two_groups.sequence(t::FRACTION_GROUP_SEQUENCE).push(group(&[(1, "212")]).with(t::FRACTION_GROUP_NUMBER, "2"));
    let in_group = |group: &str| {
        record(&format!("1.1.{group}"), PLAN, "1", "212").with(t::REFERENCED_FRACTION_GROUP_NUMBER, group)
    };
    assert_eq!(count_of(&two_groups, &[record("1.1", PLAN, "1", "212")]), unknown(Unknown::NoFractionGroup));
    assert_eq!(count_of(&two_groups, &[in_group("1"), in_group("2")]), known(1, 1));
    assert_eq!(count_of(&two_groups, &[in_group("1"), in_group("3")]), unknown(Unknown::UnknownFractionGroup));
    assert_eq!(count(&[in_group("2")]), unknown(Unknown::UnknownFractionGroup));
}

/// Numbers begin again after a second import, and some machines write the same one every day: it is dose that counts.
#[test]
fn what_was_delivered_counts_whatever_number_it_has() {
    let again = Some("1.2.3.5");
    let first = (1..=3).map(|n| record(&format!("1.{n}"), PLAN, &n.to_string(), "212"));
    let second = (1..=4).map(|n| record(&format!("2.{n}"), again, &n.to_string(), "212"));
    // Without a day, whether they begin again or came again can't be told.
    let undated: Vec<Item> = first.chain(second).collect();
    assert_eq!(count(&undated), unknown(Unknown::ToldTwice));
    let dated = undated.into_iter().zip(1..).map(|(item, day)| item.with(t::TREATMENT_DATE, format!("202404{day:02}")));
    assert_eq!(count(&dated.collect::<Vec<_>>()), known(7, 7));
    let on = |day: u32, delivered: &str| {
        let of_day = record(&format!("1.{day}"), PLAN, "1", delivered).with(t::TREATMENT_TIME, "1015");
        of_day.with(t::TREATMENT_DATE, format!("202404{day:02}"))
    };
    assert_eq!(count(&(1..=8).map(|day| on(day, "212")).collect::<Vec<_>>()), known(8, 8));
    // Where nothing is said of the meterset, each session is one.
    assert_eq!(count(&(1..=8).map(|day| on(day, "")).collect::<Vec<_>>()), known(8, 8));
    // The same session under another SOP Instance UID, as an archive writes it again.
    let copied = on(1, "212").with(t::SOP_INSTANCE_UID, "9.9").with(t::TREATMENT_TIME, "101500.000");
    assert_eq!(count(&[on(1, "212"), copied]), known(1, 1));
}

/// A record of one day in April.
fn on(day: u32, fraction: u32, delivered: &str) -> Item {
    let item = record(&format!("1.{day}.{fraction}"), PLAN, &fraction.to_string(), delivered);
    item.with(t::TREATMENT_DATE, format!("202404{day:02}")).with(t::TREATMENT_TIME, "1015")
}

/// The record with its last beam changed.
fn with_beam(mut record: Item, edit: impl FnOnce(Item) -> Item) -> Item {
    let beams = record.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
    let beam = edit(beams.pop().unwrap());
    beams.push(beam);
    record
}

/// The plan with another beam like its first, and these fraction groups.
fn with_second_beam(mut plan: Item, groups: Vec<Item>) -> Item {
    let second = plan.sequence(t::BEAM_SEQUENCE)[0].clone().with(t::BEAM_NUMBER, "2");
    plan.sequence(t::BEAM_SEQUENCE).push(second);
    *plan.sequence(t::FRACTION_GROUP_SEQUENCE) = groups;
    plan
}

/// A record that contradicts itself, says things in another unit, or says them elsewhere, is no licence to give a fraction again.
#[test]
fn what_a_record_says_of_a_beam_is_not_taken_at_its_least() {
    let nothing = || record("1.1", PLAN, "1", "0");
    assert_eq!(count(&[nothing()]), Given::NONE);
    // Nothing, and it ended as it should; or took a minute; or the second dosimeter saw it.
    for (tag, value) in [
        (t::TREATMENT_TERMINATION_STATUS, "NORMAL"),
        (t::DELIVERED_TREATMENT_TIME, "60"),
        (t::DELIVERED_SECONDARY_METERSET, "211.5"),
    ] {
        assert_eq!(count(&[with_beam(nothing(), |beam| beam.with(tag, value))]), known(1, 1), "{value}");
    }
    // An image that says nothing but by its control points, which went through all of the meterset.
    let film = |beam: Item| {
        let reached = ["0", "212"].map(|mu| Item::new().with(t::DELIVERED_METERSET, mu));
        beam.with(t::TREATMENT_DELIVERY_TYPE, "TRMT_PORTFILM").items(t::CONTROL_POINT_DELIVERY_SEQUENCE, reached)
    };
    assert_eq!(count(&[with_beam(record("1.1", PLAN, "1", ""), film)]), known(1, 1));
    // An interlock takes time, too.
    let interlock =
        |beam: Item| beam.with(t::TREATMENT_TERMINATION_STATUS, "MACHINE").with(t::DELIVERED_TREATMENT_TIME, "0.5");
    assert_eq!(count(&[with_beam(nothing(), interlock)]), Given::NONE);
    // Half a minute of 212 MU, said of the session or of the beam; and less than a thousandth.
    let days = |unit: &str, delivered: &str| {
        let of_beam = |day| with_beam(on(day, 1, delivered), |beam| beam.with(t::PRIMARY_DOSIMETER_UNIT, unit));
        let of_session = |day| on(day, 1, delivered).with(t::PRIMARY_DOSIMETER_UNIT, unit);
        let given = count(&(1..=4).map(of_session).collect::<Vec<_>>());
        assert_eq!(count(&(1..=4).map(of_beam).collect::<Vec<_>>()), given);
        given
    };
    assert_eq!(days("MINUTE", "0.5"), known(4, 4));
    assert_eq!(days("MU", "53"), known(1, 1));
    assert_eq!(count(&(1..=3).map(|n| on(n, n, "0.0004")).collect::<Vec<_>>()), begun(3, 3));
    // A little less each day, under one number.
    assert_eq!(count(&(1..=30).map(|day| on(day, 1, "203")).collect::<Vec<_>>()), known(30, 30));
    // In the sequence of another class.
    let misplaced = record("1.1", PLAN, "1", "212").with(t::SOP_CLASS_UID, Kind::RtIonBeamsRecord.sop_class());
    assert_eq!(count(&[misplaced]), known(1, 1));
    // Of the one group, and by a beam that stands in the other one only.
    let second = group(&[(2, "100")]).with(t::FRACTION_GROUP_NUMBER, "2");
    let two_groups = with_second_beam(electrons(), vec![group(&[(1, "212")]), second]);
    let of_the_other = record("1.1", PLAN, "1", "100").with(t::REFERENCED_FRACTION_GROUP_NUMBER, "1");
    let of_the_other = with_beam(of_the_other, |beam| beam.with(t::REFERENCED_BEAM_NUMBER, "2"));
    assert_eq!(count_of(&two_groups, &[of_the_other]), unknown(Unknown::OtherGroup));
}

/// A summary may list its fractions and not count them, or say that the treatment is over.
#[test]
fn what_a_summary_says_besides_its_count_is_heard() {
    let summary = |group: Item, status: &str| {
        let item = object(Kind::RtTreatmentSummary.sop_class(), "RTRECORD").with(t::SOP_INSTANCE_UID, "1.9");
        let of = Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, "1.2.3.4");
        let item = item.items(t::REFERENCED_RT_PLAN_SEQUENCE, [of]).with(t::CURRENT_TREATMENT_STATUS, status);
        item.items(t::FRACTION_GROUP_SUMMARY_SEQUENCE, [group.with(t::REFERENCED_FRACTION_GROUP_NUMBER, "1")])
    };
    let listed = |fractions: usize| {
        let each = (0..fractions).map(|_| Item::new().with(t::TREATMENT_TERMINATION_STATUS, "NORMAL"));
        Item::new().items(t::FRACTION_STATUS_SUMMARY_SEQUENCE, each)
    };
    assert_eq!(count(&[summary(listed(5), "ON_TREATMENT")]), known(0, 5));
    let counted = |count: &str| Item::new().with(t::NUMBER_OF_FRACTIONS_DELIVERED, count);
    assert_eq!(count(&[summary(counted("2"), "ON_TREATMENT")]), known(0, 2));
    assert_eq!(count(&[summary(counted("-1"), "ON_TREATMENT")]), unknown(Unknown::UnclearSummary));
    for status in ["STOPPED", "SUSPENDED", "COMPLETED"] {
        assert_eq!(count(&[summary(counted("2"), status)]), unknown(Unknown::TreatmentEnded), "{status}");
    }
    // One begun and its rest are one fraction.
    let each = [1, 1, 2].map(|n: u32| Item::new().with(t::REFERENCED_FRACTION_NUMBER, n.to_string()));
    let twice = Item::new().items(t::FRACTION_STATUS_SUMMARY_SEQUENCE, each);
    assert_eq!(count(&[summary(twice, "ON_TREATMENT")]), known(0, 2));
    // The newest word; and a record of beams may summarize, too.
    let rests = summary(counted("2"), "SUSPENDED");
    assert_eq!(count(&[rests.clone(), summary(counted("2"), "ON_TREATMENT")]), known(0, 2));
    assert_eq!(count(&[summary(counted("2"), "ON_TREATMENT"), rests]), unknown(Unknown::TreatmentEnded));
    let group = counted("4").with(t::REFERENCED_FRACTION_GROUP_NUMBER, "1");
    assert_eq!(
        count(&[record("1.1", PLAN, "1", "212").items(t::FRACTION_GROUP_SUMMARY_SEQUENCE, [group])]),
        known(1, 4)
    );
    // All were given: it has ended.
    assert_eq!(count(&[summary(counted("99"), "COMPLETED")]), known(0, 99));
}

/// One number for several fractions, a record for each beam, and some of them lost.
#[test]
fn beams_that_differ_under_one_number_are_told() {
    let of_day = |day: u32, beams: &[&str]| {
        let mut record = on(day, 1, "");
        let sequence = record.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
        let beam = sequence.pop().unwrap().with(t::DELIVERED_PRIMARY_METERSET, "116");
        *sequence = beams.iter().map(|number| beam.clone().with(t::REFERENCED_BEAM_NUMBER, *number)).collect();
        record
    };
    let plan = with_second_beam(electrons(), vec![group(&[(1, "116"), (2, "116")])]);
    let whole = of_day(1, &["1", "2"]);
    assert_eq!(count_of(&plan, std::slice::from_ref(&whole)), known(1, 1));
    assert_eq!(count_of(&plan, &[whole.clone(), of_day(2, &["1", "2"])]), known(2, 2));
    // Each beam twice in three days: two fractions, or three of which records are lost.
    let lost = [whole.clone(), of_day(2, &["1"]), of_day(3, &["2"])];
    assert_eq!(count_of(&plan, &lost), unknown(Unknown::BeamsDiffer));
    // Numbers: fraction 1 without its second beam, two whole ones, and a 1 with the second beam: its rest, or a new start.
    let numbered = |day: u32, fraction: &str, beams: &[&str]| {
        let mut record = of_day(day, beams);
        let sequence = record.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
        *sequence = sequence.drain(..).map(|beam| beam.with(t::CURRENT_FRACTION_NUMBER, fraction)).collect();
        record
    };
    let both = ["1", "2"];
    let begun_first =
        [numbered(1, "1", &["1"]), numbered(2, "2", &both), numbered(3, "3", &both), numbered(4, "1", &["2"])];
    assert_eq!(count_of(&plan, &begun_first), unknown(Unknown::NumbersFall));
    assert_eq!(count_of(&plan, &[numbered(1, "1", &["1"]), numbered(2, "1", &["2"])]), known(1, 1));
    // One begun fraction is only that.
    assert_eq!(count_of(&plan, &[of_day(2, &["1"])]), begun(1, 1));
}

/// Where numbers begin again and records are missing, neither the highest number nor the number of records is the count.
#[test]
fn numbers_that_begin_again_add_up() {
    let again = |first: &[u32], second: &[u32]| {
        let days = first.iter().chain(second).zip(1..);
        count(&days.map(|(fraction, day)| on(day, *fraction, "212")).collect::<Vec<_>>())
    };
    assert_eq!(again(&[10], &[1, 2, 3, 4, 5]), known(6, 15));
    assert_eq!(again(&[1, 2, 3, 5], &[1, 2, 3]), known(7, 8));
    assert_eq!(again(&[1, 2, 3], &[1, 2, 3, 4]), known(7, 7));
    // Two under one number, where each has its own.
    assert_eq!(again(&[1, 2, 3], &[3, 5]), unknown(Unknown::ToldTwice));
    // Does it fill a gap, or begin again?
    assert_eq!(again(&[10], &[3]), unknown(Unknown::NumbersFall));
    assert_eq!(again(&[4, 5, 6], &[4]), unknown(Unknown::NumbersFall));
    // The rest of an interrupted fraction, later.
    assert_eq!(count(&[on(1, 5, "70"), on(2, 6, "212"), on(3, 5, "142")]), known(2, 6));
    // The order in which they come in is none.
    assert_eq!(count(&[on(3, 2, "212"), on(2, 1, "212"), on(1, 10, "212")]), known(3, 12));
}

/// A day is enough to know what came before what.
#[test]
fn days_without_times_are_in_order() {
    let by_day = |numbers: &[u32]| {
        let days = numbers.iter().zip(1..).map(|(fraction, day)| on(day, *fraction, "212").with(t::TREATMENT_TIME, ""));
        count(&days.collect::<Vec<_>>())
    };
    assert_eq!(by_day(&[1, 2, 3, 4, 5, 1, 3]), known(7, 8));
    assert_eq!(by_day(&[1, 2, 3, 4, 5, 1, 4]), known(7, 9));
    assert_eq!(by_day(&[1, 2, 3, 4, 5, 3]), unknown(Unknown::NumbersFall));
    // Nine o'clock is 09, and 9 is no time.
    let at_nine = |day: u32, number| on(day, number, "212").with(t::TREATMENT_TIME, "9");
    assert_eq!(count(&[at_nine(1, 2), on(2, 1, "212")]), known(2, 3));
    // Two on one day are in the order of their numbers.
    let twice = [on(1, 2, "212").with(t::SOP_INSTANCE_UID, "1.1"), on(1, 1, "212").with(t::SOP_INSTANCE_UID, "1.2")];
    assert_eq!(count(&twice.map(|item| item.with(t::TREATMENT_TIME, ""))), known(2, 2));
}

#[test]
fn a_fraction_that_was_begun_and_not_finished_is_known() {
    assert_eq!(count(&[record("1.1", PLAN, "1", "212"), record("1.2", PLAN, "2", "70")]), begun(2, 2));
    // Whoever went on with the next one has decided about the rest.
    assert_eq!(count(&[record("1.1", PLAN, "1", "70"), record("1.2", PLAN, "2", "212")]), known(2, 2));
    // Of two beams, one.
    assert_eq!(count_of(&photons(), &[record("1.1", PLAN, "3", "101.25")]), begun(1, 3));

    let mut case = Case::of(&photons());
    case.given = begun(25, 25);
    assert_eq!(case.codes(), ["fraction-unfinished"]);
    case.given = begun(26, 25);
    assert_eq!(case.codes(), ["all-fractions-given"]);
    // The last one, whose number is lower where they began again.
    case.given = Given::Known { distinct: 25, highest: 25, unfinished: Some(5) };
    assert_eq!(case.codes(), ["fraction-unfinished"]);
    case.given = begun(7, 7);
    let verdict = case.decide();
    assert_eq!((verdict.outcome, verdict.notes), (Outcome::Release, vec![Note::FractionUnfinished { fraction: 7 }]));
}

#[test]
fn what_contradicts_itself_is_not_known() {
    let beam = |change: &dyn Fn(Item) -> Item| {
        let mut item = record("1.1", PLAN, "1", "0");
        let beams = item.sequence(t::TREATMENT_SESSION_BEAM_SEQUENCE);
        beams[1] = change(beams[1].clone());
        item
    };
    let points = |metersets: &[&str]| -> Vec<Item> {
        metersets.iter().map(|meterset| Item::new().with(t::DELIVERED_METERSET, *meterset)).collect()
    };
    // What its control points went through was delivered, whatever is said beside.
    let silent = beam(&|beam| beam.items(t::CONTROL_POINT_DELIVERY_SEQUENCE, points(&["0", "212"])));
    assert_eq!(count(&[silent]), known(1, 1));
    // A resumed beam that stopped at once: it stands where it began.
    let stopped = beam(&|beam| beam.items(t::CONTROL_POINT_DELIVERY_SEQUENCE, points(&["70", "70"])));
    assert_eq!(count(&[stopped]), Given::NONE);
    assert_eq!(count(&[record("1.1", PLAN, "1", "-3")]), unknown(Unknown::Implausible));
    assert_eq!(count(&[record("1.1", PLAN, "1", "1000000")]), unknown(Unknown::Implausible));
    // An image by a treatment beam takes a few units; a whole meterset is a treatment, whatever it is called.
    let imaged = |delivered: &str| {
        let image = |beam: Item| beam.with(t::DELIVERED_PRIMARY_METERSET, delivered);
        beam(&|beam| image(beam).with(t::TREATMENT_DELIVERY_TYPE, "TRMT_PORTFILM"))
    };
    assert_eq!(count(&[imaged("3")]), Given::NONE);
    assert_eq!(count(&[imaged("212")]), known(1, 1));
    let part = |instance: &str| imaged("104").with(t::SOP_INSTANCE_UID, instance);
    assert_eq!(count(&[part("1.1"), part("1.2")]), known(1, 1));
}

/// One that was kept all the same, by an older version, holds.
#[test]
fn a_record_of_no_beam_is_named_by_what_it_lacks() {
    for (kind, beams, name) in [
        (Kind::RtBeamsRecord, t::TREATMENT_SESSION_BEAM_SEQUENCE, "(3008,0020) TreatmentSessionBeamSequence"),
        (Kind::RtIonBeamsRecord, t::TREATMENT_SESSION_ION_BEAM_SEQUENCE, "(3008,0021) TreatmentSessionIonBeamSequence"),
    ] {
        let bare = || {
            let plan = Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, "1.2.3.4");
            object(kind.sop_class(), "RTRECORD").items(t::REFERENCED_RT_PLAN_SEQUENCE, [plan])
        };
        for item in [bare(), bare().items(beams, []), bare().items(beams, [Item::new(), Item::new()])] {
            let error = TreatmentRecord::parse(&file(&item, IMPLICIT)).unwrap_err();
            assert!(matches!(error, PlanError::Object(ObjectError::EmptyRecord { .. })), "{error:?}");
            assert!(error.to_string().starts_with(&format!("{name} is missing or empty")), "{error}");
            assert_eq!(count(&[item]), unknown(Unknown::UnreadableRecord));
        }
        // Whatever it says of a beam may be a fraction.
        let one = bare().items(beams, [Item::new().with(t::REFERENCED_BEAM_NUMBER, "1")]);
        assert_eq!(count(&[one]), unknown(Unknown::NoFractionNumber));
    }
}

/// A summary need not count anything (PS3.3 section C.8.8.23), and before the first fraction there is nothing to count.
#[test]
fn what_gave_nothing_is_missing_from_no_count() {
    let summary = |delivered: Option<&str>| {
        let item = object(Kind::RtTreatmentSummary.sop_class(), "RTRECORD").with(t::SOP_INSTANCE_UID, "1.9");
        let of_group = |delivered| Item::new().with(t::NUMBER_OF_FRACTIONS_DELIVERED, delivered);
        item.items(t::FRACTION_GROUP_SUMMARY_SEQUENCE, delivered.map(of_group))
    };
    assert_eq!(count(&[summary(None)]), Given::NONE);
    assert_eq!(count(&[summary(Some("0"))]), Given::NONE);
    assert_eq!(count(&[summary(Some("1"))]), unknown(Unknown::NoPlan));
    assert_eq!(count(&[record("1.1", None, "1", "0")]), Given::NONE);
    assert_eq!(count(&[record("1.1", None, "1", "")]), unknown(Unknown::NoPlan));
}

#[test]
fn a_summary_is_heard() {
    let summary = |group: &str, delivered: &str| {
        let of_group = Item::new()
            .with(t::REFERENCED_FRACTION_GROUP_NUMBER, group)
            .with(t::NUMBER_OF_FRACTIONS_DELIVERED, delivered);
        object(Kind::RtTreatmentSummary.sop_class(), "RTRECORD")
            .with(t::SOP_INSTANCE_UID, "1.9")
            .items(t::FRACTION_GROUP_SUMMARY_SEQUENCE, [of_group])
            .items(t::REFERENCED_RT_PLAN_SEQUENCE, [Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, "1.2.3.4")])
    };
    let to = |day: &str, delivered| summary("1", delivered).with(t::MOST_RECENT_TREATMENT_DATE, day);
    assert_eq!(count(&[record("1.1", PLAN, "1", "212"), to("20240405", "5")]), known(1, 5));
    assert_eq!(count(&[summary("1", "5")]), known(0, 5));
    // Up to when? The one record may be the newest, or one of the five.
    assert_eq!(count(&[record("1.1", PLAN, "1", "212"), summary("1", "5")]), unknown(Unknown::SummaryUndated));
    assert_eq!(count(&[record("1.1", PLAN, "5", "212"), summary("1", "5")]), known(1, 5));
    // What was treated after it counts beside it, whether numbers go on or begin again.
    let later = |first: u32| (1..=5).map(move |n| on(n + 10, first + n, "212"));
    for first in [0, 10] {
        let records: Vec<Item> = later(first).chain([to("20240410", "10")]).collect();
        assert_eq!(count(&records), known(5, 15), "{first}");
        let untimed: Vec<Item> = records.into_iter().map(|item| item.with(t::TREATMENT_TIME, "")).collect();
        assert_eq!(count(&untimed), known(5, 15), "{first}: a day is enough");
    }
    assert_eq!(count(&[summary("1", "0")]), Given::NONE);
    // Another export's may go on from it, or begin again.
    let exported = |item: Item| {
        item.items(t::REFERENCED_RT_PLAN_SEQUENCE, [Item::new().with(t::REFERENCED_SOP_INSTANCE_UID, "1.2.3.5")])
    };
    let two = [to("20240405", "5"), exported(to("20240410", "3"))];
    assert_eq!(count(&two), unknown(Unknown::SummariesDiffer));
    assert_eq!(
        count(&[record("1.1", PLAN, "1", "212"), exported(to("20240410", "3"))]),
        unknown(Unknown::SummariesDiffer)
    );
    assert_eq!(count(&[record("1.1", PLAN, "1", "212"), summary("1", "")]), known(1, 1));
    assert_eq!(count(&[summary("2", "5")]), unknown(Unknown::UnknownFractionGroup));
}

#[test]
fn what_stood_beside_the_plan_is_signed_with_it() {
    use ContextPart::{Dose, Images, Prescription, StructureSet, ToleranceTables};
    type Who = (&'static str, SignerRole, u64);
    const ASHA: Who = ("asha", SignerRole::Oncologist, 1);
    const BABU: Who = ("babu", SignerRole::Physicist, 2);
    let delivery = Plan::parse(&file(&photons(), IMPLICIT)).unwrap().digest();
    let other = Digest([9; 32]);
    let signed = |signed: &[(Option<PlanContext>, Who)]| Case {
        approvals: signed.iter().map(|(context, who)| approval_with(*context, *who, delivery)).collect(),
        ..Case::of(&photons())
    };
    let differs = |parts: &[ContextPart]| vec![Finding::ContextDiffers { parts: parts.to_vec() }];
    let now = Some(CONTEXT);
    assert_eq!(signed(&[(now, ASHA), (now, BABU)]).decide().findings, []);
    for (part, before) in [
        (StructureSet, PlanContext { structure_set: Some(other), ..CONTEXT }),
        (StructureSet, PlanContext { structure_set: None, ..CONTEXT }),
        (Images, PlanContext { images: Some(other), ..CONTEXT }),
        (Dose, PlanContext { dose: Some(other), ..CONTEXT }),
        (Prescription, PlanContext { prescription: other, ..CONTEXT }),
        (ToleranceTables, PlanContext { tolerance_tables: other, ..CONTEXT }),
    ] {
        let before = Some(before);
        assert_eq!(signed(&[(before, ASHA), (before, BABU)]).decide().findings, differs(&[part]));
        // One of them has looked at it since: the other one hasn't.
        assert_eq!(signed(&[(before, ASHA), (before, BABU), (now, ASHA)]).decide().findings, differs(&[part]));
        assert_eq!(signed(&[(before, ASHA), (before, BABU), (now, BABU), (now, ASHA)]).decide().findings, []);
        // Who has signed something else since doesn't stand by it any more.
        assert_eq!(
            signed(&[(now, ASHA), (now, BABU), (before, ASHA), (before, BABU)]).decide().findings,
            differs(&[part])
        );
        // Nor does it help that one person signs it as both.
        let twice = ("asha", SignerRole::Physicist, 1);
        assert_eq!(
            signed(&[(before, ASHA), (before, BABU), (now, ASHA), (now, twice)]).decide().findings,
            differs(&[part])
        );
    }
    // Signed before the context was.
    assert_eq!(signed(&[(None, ASHA), (None, BABU)]).decide().findings, differs(&ContextPart::ALL));
    // Where the delivery itself isn't signed by two, that is what is said.
    assert_eq!(
        signed(&[(Some(PlanContext { dose: Some(other), ..CONTEXT }), ASHA)]).decide().findings,
        [Finding::ApprovedByOne { missing: SignerRole::Physicist }]
    );
}

#[test]
fn two_people_answer_for_what_can_be_answered_for() {
    let over = |finding: Finding| Overridden {
        finding: finding.code().to_owned(),
        what: finding.digest(),
        by: vec!["A".into(), "B".into()],
    };
    let too_soon = |last: &str| Finding::TooSoon { last: last.to_owned() };
    let again = || Case { too_soon: Some("20261130 081500"), ..Case::of(&photons()) };
    let said = again().decide();
    assert_eq!(said.findings, [Finding::TooSoon { last: "20261130 081500".to_owned() }]);
    let said = Case { overridden: vec![over(too_soon("20261130 081500"))], ..again() }.decide();
    assert_eq!((said.outcome, said.findings), (Outcome::Release, vec![]));
    let is_said =
        |note: &Note| matches!(note, Note::Overridden { finding, by, .. } if finding == "too-soon" && by.len() == 2);
    assert!(said.notes.iter().any(is_said), "{:?}", said.notes);
    // For one finding, not for another; and some nobody can answer for.
    let both = Case { birth_date: Some("19610204"), overridden: vec![over(too_soon("20261130 081500"))], ..again() };
    assert_eq!(both.decide().findings, [Finding::BirthDateDiffers]);
    let ended = Case {
        has_ended: true,
        overridden: vec![over(Finding::RecordEnded), over(too_soon("20261130 081500"))],
        ..again()
    };
    assert_eq!(ended.decide().findings, [Finding::RecordEnded]);
    // Nor for another one of its kind.
    let earlier = Case { overridden: vec![over(too_soon("20261130 070000"))], ..again() };
    assert_eq!(earlier.decide().findings, [too_soon("20261130 081500")]);
    // Nor does one that was begun and not finished make room for a whole one: the last one, or any before it.
    for fraction in [1, 3] {
        let given = Given::Known { distinct: 3, highest: 3, unfinished: Some(fraction) };
        let case = Case { given, ..again() };
        assert_eq!(case.decide().findings, [too_soon("20261130 081500")]);
        let said = Case { overridden: vec![over(too_soon("20261130 081500"))], ..case }.decide();
        assert!(said.outcome == Outcome::Release && said.notes.contains(&Note::FractionUnfinished { fraction }));
    }
}
