//! The gate, where a course is made longer, moved, replaced or rejected, and where somebody changes her mind.

use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
use dicom_object::DefaultDicomObject;

use super::gating::{SIGNERS, approve, codes, edited, record, settle, settle_by_two, uid};
use super::{Site, offer_to, send, signed};

/// Sets an attribute in every item of a sequence of the plan.
fn set(object: &mut DefaultDicomObject, sequence: Tag, (tag, vr): (Tag, VR), value: &str) {
    object.update_value(sequence, |items| {
        for item in items.items_mut().unwrap() {
            item.put(DataElement::new(tag, vr, PrimitiveValue::from(value)));
        }
    });
}

/// Turns the gantry of every beam.
fn gantry(plan: &mut DefaultDicomObject, degrees: &str) {
    plan.update_value(BEAMS, |beams| {
        for beam in beams.items_mut().unwrap() {
            beam.update_value(Tag(0x300A, 0x0111), |points| {
                let first = &mut points.items_mut().unwrap()[0];
                first.put(DataElement::new(Tag(0x300A, 0x011E), VR::DS, PrimitiveValue::from(degrees)));
            });
        }
    });
}

const GROUPS: Tag = Tag(0x300A, 0x0070);
const BEAMS: Tag = Tag(0x300A, 0x00B0);
const FRACTIONS_PLANNED: (Tag, VR) = (Tag(0x300A, 0x0078), VR::IS);
const MACHINE: (Tag, VR) = (Tag(0x300A, 0x00B2), VR::SH);
const APPROVAL_STATUS: (Tag, VR) = (Tag(0x300E, 0x0002), VR::CS);

/// A course that is made longer, or goes on at another machine, is the same course: what was given of the one counts for the
/// other, also after it was settled.
#[test]
fn a_course_that_is_made_longer_or_moved_goes_on() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = |plan: &str| site.run(&["gate", "check", "--patient", &number, plan, "--json"]);
    // A release that no record followed is said with the next one.
    let is_noted = |said: &str| said.contains("released-before");
    assert!(!is_noted(&check(&plan).out) && is_noted(&check(&plan).out));
    // What is asked of another plan between hides nothing.
    assert!(!is_noted(
        &check(&site.file("other.dcm", &edited(&plan, Some("1.2.826.0.1.30"), |plan| gantry(plan, "11")))).out
    ));
    assert!(is_noted(&check(&plan).out));
    let given = |plan: &str| check(plan).json()["fractions_given"].as_u64();
    let before = given(&plan).unwrap();
    let longer = edited(&plan, Some("1.2.826.0.1.33"), |plan| set(plan, GROUPS, FRACTIONS_PLANNED, "90"));
    let moved = edited(&plan, Some("1.2.826.0.1.34"), |plan| {
        set(plan, BEAMS, MACHINE, "ANOTHER");
        set(plan, BEAMS, (Tag(0x0018, 0x1000), VR::LO), "4711");
    });
    for (name, bytes) in [("longer.dcm", longer), ("moved.dcm", moved)] {
        let other = site.file(name, &bytes);
        assert_eq!(check(&other).exit, 4, "nobody has signed it");
        approve(&site, &number, &other, &SIGNERS);
        assert_eq!((check(&other).exit, given(&other)), (0, Some(before)), "{}", check(&other).out);
    }
    // Of several who ask at once, one is the first. Two people say how many; the record-and-verify system goes on under the plan's old UID.
    let longer = site.path("longer.dcm");
    settle_by_two(&site, &number, &longer, "10");
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    send(address, &record(&uid(&plan), None, "1.2.826.0.1.31", ("11", "20990101")));
    let at_once: Vec<String> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..4).map(|_| scope.spawn(|| check(&plan).out)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(at_once.iter().filter(|said| !is_noted(said)).count(), 1, "{at_once:?}");
    // Of the plan at the other machine as many are counted; where the two knew of more, they say it of that one, too, and neither
    // word asks for the other one again.
    let moved = site.path("moved.dcm");
    assert_eq!((check(&moved).exit, given(&moved)), (0, Some(11)), "{}", check(&moved).out);
    settle_by_two(&site, &number, &longer, "12");
    assert!(check(&moved).exit == 4 && check(&moved).out.contains("sibling-settled"), "{}", check(&moved).out);
    settle_by_two(&site, &number, &moved, "12");
    assert_eq!((check(&moved).exit, given(&moved)), (0, Some(12)), "{}", check(&moved).out);
    send(address, &record(&uid(&plan), None, "1.2.826.0.1.32", ("12", "20990102")));
    let said = check(&longer);
    assert!(!is_noted(&said.out) && said.exit == 0 && said.json()["fractions_given"] == 13, "{}", said.out);
    server.stop();
}

/// What nobody has signed and was given all the same is no other course's business.
#[test]
fn fractions_of_a_plan_that_nobody_signed_hold_hers() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let near = edited(&plan, Some("1.2.826.0.1.35"), |plan| gantry(plan, "181.5"));
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    send(address, &near);
    // Whoever signs now knows of it.
    send(address, &record("1.2.826.0.1.35", None, "1.2.826.0.1.41", ("1", "20261122")));
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    assert_eq!(check().exit, 0, "{}", check().out);
    assert!(check().out.contains("others-given"), "{}", check().out);
    send(address, &record("1.2.826.0.1.35", None, "1.2.826.0.1.42", ("2", "20991123")));
    assert!(codes(&check()) == ["fractions-unknown"] && check().out.contains("unsigned-plan"), "{}", check().out);
    server.stop();
    // Two people sign that one, too: it is another course.
    approve(&site, &number, &site.file("near.dcm", &near), &SIGNERS);
    assert_eq!(check().exit, 0, "{}", check().out);
    // What is for a phantom, and what was given years ago and comes now, is nobody's dose here.
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    let intent = |intent: &'static str, rate: &'static str| {
        move |plan: &mut DefaultDicomObject| {
            plan.put(DataElement::new(Tag(0x300A, 0x000A), VR::CS, PrimitiveValue::from(intent)));
            gantry(plan, rate);
        }
    };
    send(address, &edited(&plan, Some("1.2.826.0.1.36"), intent("VERIFICATION", "11")));
    send(address, &edited(&plan, Some("1.2.826.0.1.37"), intent("CURATIVE", "12")));
    send(address, &record("1.2.826.0.1.36", None, "1.2.826.0.1.43", ("1", "20991124")));
    send(address, &record("1.2.826.0.1.37", None, "1.2.826.0.1.44", ("1", "20190124")));
    assert_eq!(check().exit, 0, "{}", check().out);
    send(address, &record("1.2.826.0.1.37", None, "1.2.826.0.1.45", ("1", "20991125")));
    assert!(check().out.contains("unsigned-plan"), "{}", check().out);
    server.stop();
}

/// Rejected is rejected, though the rest of the file can't be read or is something else.
#[test]
fn what_stands_rejected_under_its_uid_is_not_given() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    assert_eq!(check().exit, 0);
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    let reject = |plan: &mut DefaultDicomObject| {
        let (tag, vr) = APPROVAL_STATUS;
        plan.put(DataElement::new(tag, vr, PrimitiveValue::from("REJECTED")));
    };
    let other = edited(&plan, None, |plan| {
        reject(plan);
        set(plan, BEAMS, (Tag(0x300A, 0x011E), VR::DS), "7");
    });
    assert!(treatment::Plan::parse(&other).is_err(), "a gantry angle stands in no beam");
    send(address, &other);
    assert_eq!(codes(&check()), ["rejected"]);
    server.stop();
    approve(&site, &number, &plan, &SIGNERS);
    assert_eq!(check().exit, 0, "{}", check().out);
}

/// A word that somebody has taken back stands for nothing.
#[test]
fn whoever_corrects_herself_has_said_the_newer_thing() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let server = site.serve(&[]);
    // Nobody here has seen that plan.
    send(server.ready["dimse"].as_str().unwrap(), &record("1.2.3.9", None, "1.2.826.0.1.51", ("1", "20261122")));
    server.stop();
    let say = |signer, given| settle(&site, &number, &plan, signer, given);
    say(SIGNERS[0], "1");
    say(SIGNERS[0], "4");
    say(SIGNERS[1], "1");
    assert_eq!(codes(&check()), ["fractions-unknown"], "the oncologist says four");
    say(SIGNERS[1], "4");
    assert_eq!(check().json()["fractions_given"], 4, "{}", check().out);
}

/// One of the two is enough to hold a plan that another one has replaced; what was given of it is no less signed for that.
#[test]
fn a_plan_that_was_replaced_is_withdrawn() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = |plan: &str| site.run(&["gate", "check", "--patient", &number, plan, "--json"]);
    let withdraw = |plan: &str, reason: &str| {
        let key = site.path("physicist.pem");
        let who = ["--name", "B. Physicist", "--role", "physicist", "--key", &key, "--reason", reason, "--json"];
        site.run(&[&["plan", "withdraw", "--patient", &number], &who[..], &[plan]].concat())
    };
    let replacing = edited(&plan, Some("1.2.826.0.1.61"), |plan| {
        set(plan, BEAMS, (Tag(0x300A, 0x00C2), VR::LO), "another");
        gantry(plan, "91");
    });
    let replacing = site.file("replacing.dcm", &replacing);
    assert_eq!(withdraw(&replacing, "never signed").json()["error"]["code"], "treatment.withdrawal.not-approved");
    approve(&site, &number, &replacing, &SIGNERS);
    assert_eq!((check(&plan).exit, check(&replacing).exit), (0, 0), "{}", check(&replacing).out);
    let long = "x".repeat(201);
    assert_eq!(withdraw(&plan, &long).json()["error"]["code"], "treatment.approval.bad-reason");
    assert_eq!(withdraw(&plan, "replaced: the bladder is fuller").exit, 0);
    let said = check(&plan);
    assert_eq!((said.exit, codes(&said)), (4, vec!["withdrawn".to_owned()]));
    assert!(said.out.contains("the bladder is fuller"), "{}", said.out);
    assert_eq!(check(&replacing).exit, 0, "the other one goes on: {}", check(&replacing).out);
    // A record of the withdrawn one still comes: it was signed when it was given.
    let server = site.serve(&[]);
    send(server.ready["dimse"].as_str().unwrap(), &record(&uid(&plan), None, "1.2.826.0.1.62", ("9", "20261123")));
    server.stop();
    assert_eq!(check(&replacing).exit, 0, "{}", check(&replacing).out);
    // Both sign it again.
    approve(&site, &number, &plan, &SIGNERS[..1]);
    assert!(codes(&check(&plan)).contains(&"withdrawn".to_owned()));
    approve(&site, &number, &plan, &SIGNERS[1..]);
    assert_eq!(check(&plan).exit, 0, "{}", check(&plan).out);
}

/// What comes to the gate and is no instance gets its verdict, and its entry.
#[test]
fn what_is_no_instance_is_vetoed_on_the_record() {
    let site = Site::new();
    let (plan, _, _) = signed(&site);
    let dotted = edited(&plan, None, |plan| {
        plan.put(DataElement::new(Tag(0x0010, 0x0030), VR::DA, PrimitiveValue::from("1960.01.0")));
    });
    let server = site.serve(&[]);
    let entries = || site.done(&["verify", "--json"]).json()["entries"].as_u64().unwrap();
    let before = entries();
    let (status, comment) = offer_to("GATE", server.ready["dimse"].as_str().unwrap(), &dotted);
    assert_eq!((status, comment.as_str()), (0xC001, "VETO: not-a-plan"));
    assert!(entries() > before);
    server.stop();
}

/// Who says another count than two have said is heard: nothing is released on the count of before, nor on the records' alone.
#[test]
fn one_persons_new_word_on_what_was_given_holds() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    settle(&site, &number, &plan, SIGNERS[1], "2");
    assert!(check().exit == 4 && check().out.contains("settlement-open"), "{}", check().out);
    settle(&site, &number, &plan, SIGNERS[0], "2");
    assert_eq!((check().exit, &check().json()["fractions_given"]), (0, &serde_json::json!(2)));
    settle(&site, &number, &plan, SIGNERS[1], "3");
    assert!(check().exit == 4 && check().out.contains("settlement-open"), "{}", check().out);
    settle(&site, &number, &plan, SIGNERS[0], "3");
    assert_eq!((check().exit, &check().json()["fractions_given"]), (0, &serde_json::json!(3)));
}

/// A planner's two hundred trials push neither what was signed nor what was rejected out of sight.
#[test]
fn many_plans_hide_neither_a_rejection_nor_the_setup_that_was_signed() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let bytes = std::fs::read(&plan).unwrap();
    let with = |uid: &str, edit: &dyn Fn(&mut DefaultDicomObject)| {
        let mut object = dicom_object::from_reader(&bytes[..]).unwrap();
        assert!(object.update_value(Tag(0x0008, 0x0018), |value| *value = uid.into()));
        edit(&mut object);
        object.meta_mut().media_storage_sop_instance_uid = uid.to_owned();
        object.meta_mut().update_information_group_length();
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).unwrap();
        bytes
    };
    let in_beams = |object: &mut DefaultDicomObject, sequence: Tag, tag: Tag, text: &str| {
        object.update_value(sequence, |items| {
            for item in items.items_mut().unwrap() {
                let inner = if tag == Tag(0x300A, 0x0086) { Tag(0x300C, 0x0004) } else { Tag(0x300A, 0x0111) };
                item.update_value(inner, |points| {
                    for point in points.items_mut().unwrap() {
                        point.update_value(tag, |value| *value = text.into());
                    }
                });
            }
        });
    };
    let lower = with("2.25.900", &|object| in_beams(object, Tag(0x300A, 0x00B0), Tag(0x300A, 0x0129), "-777"));
    let lower = site.file("lower.dcm", &lower);
    let says = |plan: &str| codes(&site.run(&["gate", "check", "--patient", &number, plan, "--json"]));
    assert_eq!(says(&lower), ["out-of-tolerance"]);
    let trials = |from: u32| {
        let server = site.serve(&[]);
        for trial in from..from + 205 {
            let meterset = format!("{}", 400 + trial);
            let trial = with(&format!("2.25.{trial}"), &|object| {
                in_beams(object, Tag(0x300A, 0x0070), Tag(0x300A, 0x0086), &meterset);
            });
            send(server.ready["dimse"].as_str().unwrap(), &trial);
        }
        server.stop();
        settle_by_two(&site, &number, &plan, "0");
    };
    trials(1_000);
    assert_eq!((says(&plan), says(&lower)), (vec![], vec!["out-of-tolerance".to_owned()]));
    let rejected = with("2.25.901", &|object| {
        object.put(DataElement::new(Tag(0x300E, 0x0002), VR::CS, PrimitiveValue::from("REJECTED")));
    });
    site.store(&rejected);
    assert_eq!(says(&plan), ["rejected"]);
    trials(2_000);
    assert_eq!(says(&plan), ["rejected"]);
}

/// A second fraction on one day waits for another day, or for two people who answer for it: for that one, and no other.
#[test]
fn a_second_fraction_on_one_day_is_answered_for_by_two() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let (year, month, day) = kit::Clock::now(&kit::SystemClock).civil_date();
    let today = format!("{year:04}{month:02}{day:02}");
    assert_eq!(check().exit, 0);
    site.store(&record(&uid(&plan), None, "1.2.826.0.1.71", ("1", &today)));
    assert_eq!(codes(&check()), ["too-soon"]);
    let answer = |(name, role): (&str, &str), finding: &str| {
        let key = site.path(&format!("{role}.pem"));
        let who = ["--patient", &number, "--name", name, "--role", role, "--key", &key, "--json"];
        let what = ["gate", "override", "--finding", finding, "--reason", "two a day after the outage"];
        site.run(&[&what[..], &who[..], &[&plan]].concat())
    };
    assert_eq!(answer(SIGNERS[0], "all-fractions-given").json()["error"]["code"], "treatment.override.finding");
    assert_eq!(answer(SIGNERS[0], "too-soon").json()["complete"], false);
    assert_eq!(codes(&check()), ["too-soon"], "one person's word");
    assert_eq!(answer(SIGNERS[1], "too-soon").json()["complete"], true);
    let said = check().json();
    assert_eq!((&said["outcome"], &said["fractions_given"]), (&"release".into(), &1.into()), "{said}");
    let note = said["notes"].as_array().unwrap().iter().find(|note| note["code"] == "overridden").unwrap();
    assert!(note["by"].to_string().contains("two a day after the outage") && note["finding"] == "too-soon", "{note}");
    // It was for that fraction.
    site.store(&record(&uid(&plan), None, "1.2.826.0.1.72", ("2", &today)));
    assert_eq!(codes(&check()), ["too-soon"]);
}
