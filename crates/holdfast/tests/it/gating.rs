//! The gate, where what it must know came by another way than the plan that it is shown.

use serde_json::{Value, json};

use super::{Said, Site, exchange, get, offer, offer_to, send, signed};
use dicom_object::DefaultDicomObject;
use drill::synthetic;
use kit::Timestamp;

pub(super) fn codes(said: &Said) -> Vec<String> {
    let findings = said.json()["findings"].clone();
    findings.as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

pub(super) fn approve(site: &Site, number: &str, plan: &str, signers: &[(&str, &str)]) {
    for (name, role) in signers {
        let key = site.path(&format!("{role}.pem"));
        let who = ["--patient", number, "--name", name, "--role", role, "--key", &key];
        site.done(&[&["plan", "approve"], &who[..], &[plan]].concat());
    }
}

pub(super) const SIGNERS: [(&str, &str); 2] = [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")];

#[test]
fn an_ended_key_approves_nothing_more_and_a_compromised_one_nothing_at_all() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let key_of = |name: &str| {
        let people = site.done(&["person", "list", "--json"]).json();
        let her = people.as_array().unwrap().iter().find(|person| person["name"] == name && person["ended"].is_null());
        her.unwrap()["key"].as_str().unwrap().to_owned()
    };
    approve(&site, &number, &plan, &SIGNERS);
    assert_eq!(check().exit, 0);

    // The physicist leaves: what she approved before counts, what she signs now doesn't, and her key is never taken again.
    let (key, file) = (key_of("B. Physicist"), site.path("physicist.pem"));
    site.done(&["person", "end", "--key", &key]);
    assert_eq!(check().exit, 0);
    let hers = ["--name", "B. Physicist", "--role", "physicist", "--key", &file];
    let said = site.run(&[&["plan", "approve", "--patient", &number], &hers[..], &[&plan, "--json"]].concat());
    assert_eq!((said.exit, said.json()["error"]["code"].as_str()), (1, Some("treatment.approval.not-enrolled")));
    let said = site.run(&[&["person", "new"], &hers[..], &["--json"]].concat());
    assert_eq!(said.json()["error"]["code"], "treatment.person.ended", "{}", said.err);

    // Then it turns out that somebody else had it. Another physicist signs, and the patient is treated.
    site.done(&["person", "end", "--key", &key, "--compromised"]);
    let said = check();
    assert_eq!((said.exit, codes(&said)), (4, vec!["approved-by-one".to_owned()]));
    let list = site.done(&["person", "list"]).out;
    assert!(list.contains("with all that it signed"), "{list}");
    std::fs::remove_file(&file).unwrap();
    site.done(&["person", "new", "--name", "D. Physicist", "--role", "physicist", "--key", &file]);
    approve(&site, &number, &plan, &[("D. Physicist", "physicist")]);
    assert_eq!(check().exit, 0);

    let stranger = site.done(&["policy", "key", &site.path("stranger.pem")]).out;
    for (key, code) in [
        (stranger.trim(), "treatment.person.unknown"),
        // The neutral point: everything fits it.
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "guard.signature.weak-key"),
    ] {
        assert_eq!(site.run(&["person", "end", "--key", key, "--json"]).json()["error"]["code"], code);
    }
}

/// What is toleranced is compared with the file that was signed, not with whatever was stored since.
#[test]
fn a_table_top_that_stands_elsewhere_is_held_though_its_plan_is_stored() {
    use dicom_core::Tag;
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let mut object = dicom_object::from_reader(&std::fs::read(&plan).unwrap()[..]).unwrap();
    let mut moved = false;
    object.update_value(Tag(0x300A, 0x00B0), |beams| {
        for beam in beams.items_mut().unwrap() {
            beam.update_value(Tag(0x300A, 0x0111), |points| {
                for point in points.items_mut().unwrap() {
                    moved |= point.update_value(Tag(0x300A, 0x0129), |value| *value = "-777".into());
                }
            });
        }
    });
    assert!(moved, "the synthetic plan says where the table top stands");
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    let elsewhere = site.file("elsewhere.dcm", &under_another_uid(&bytes));
    let said = site.run(&["plan", "diff", &plan, &elsewhere]);
    assert!(said.exit == 0 && said.out.contains("out of tolerance: the gate holds it"), "{}", said.out);
    let check = |file: &str| site.run(&["gate", "check", "--patient", &number, file, "--json"]);
    assert_eq!(codes(&check(&elsewhere)), ["out-of-tolerance"]);
    let server = site.serve(&[]);
    send(server.ready["dimse"].as_str().unwrap(), &std::fs::read(&elsewhere).unwrap());
    server.stop();
    assert_eq!(codes(&check(&elsewhere)), ["out-of-tolerance"]);
    assert_eq!(check(&plan).exit, 0);
    // One of the two has looked at it; then the other, too.
    approve(&site, &number, &elsewhere, &SIGNERS[..1]);
    assert_eq!(codes(&check(&elsewhere)), ["out-of-tolerance"]);
    approve(&site, &number, &elsewhere, &SIGNERS[1..]);
    assert_eq!(check(&elsewhere).exit, 0);
}

/// A plan is treated under one SOP Instance UID and shown to the gate again under another.
#[test]
fn fractions_are_counted_by_delivery_not_by_uid() {
    let today = Timestamp(1_795_392_000_000); // 2026-11-23
    let centre = synthetic::Centre { seed: 5, today, patients: 60, on_treatment: 60, images: synthetic::Images::Slice };
    let treated = |complete: bool| {
        let fits = |p: &synthetic::SyntheticPatient| {
            p.course.as_ref().is_some_and(|c| c.fractions_given > 1 && c.fraction_next().is_none() == complete)
        };
        centre.generate().find(fits).unwrap()
    };
    for complete in [false, true] {
        let site = Site::new();
        site.done(&["init", "--servers", "5", "--name", "Test centre"]);
        for (name, role) in SIGNERS {
            let key = site.path(&format!("{role}.pem"));
            site.done(&["person", "new", "--name", name, "--role", role, "--key", &key]);
        }
        let patient = treated(complete);
        let (number, course) = (patient.number, patient.course.unwrap());
        let server = site.serve(&[]);
        course.records.iter().for_each(|record| send(server.ready["dimse"].as_str().unwrap(), record));
        server.stop();

        let first = site.file("first.dcm", &course.plan);
        let second = site.file("second.dcm", &under_another_uid(&course.plan));
        approve(&site, &number, &second, &SIGNERS);
        let check = |file: &str| site.run(&["gate", "check", "--patient", &number, file, "--json"]);
        // The records name a plan that nobody here has seen: it may be the same one.
        let said = check(&second);
        assert_eq!((said.exit, codes(&said)), (4, vec!["fractions-unknown".to_owned()]), "{}", said.out);
        // Shown to the gate once, though stored nowhere, it is known.
        check(&first);
        let said = check(&second);
        if complete {
            assert_eq!((said.exit, codes(&said)), (4, vec!["all-fractions-given".to_owned()]), "{}", said.out);
        } else {
            assert_eq!((said.exit, codes(&said)), (0, vec![]), "{}", said.out);
            assert_eq!(said.json()["fractions_given"], Value::from(course.fractions_given), "{}", said.out);
        }
    }
}

pub(super) fn under_another_uid(plan: &[u8]) -> Vec<u8> {
    let uid = treatment::Instance::parse(plan).unwrap().sop_instance;
    let last = uid.len() - 1;
    let other = format!("{}{}", &uid[..last], if uid.ends_with('7') { '8' } else { '7' });
    let mut bytes = plan.to_vec();
    for at in 0..bytes.len() - uid.len() {
        if bytes[at..].starts_with(uid.as_bytes()) {
            bytes[at..at + uid.len()].copy_from_slice(other.as_bytes());
        }
    }
    assert_ne!(bytes, plan);
    bytes
}

#[test]
fn of_several_fraction_groups_the_one_that_is_due_is_said() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let two = site.file("two.dcm", &with_a_boost(&std::fs::read(&plan).unwrap()));
    approve(&site, &number, &two, &SIGNERS);
    let check = |group: &[&str]| site.run(&[&["gate", "check", "--patient", &number, &two, "--json"], group].concat());
    assert_eq!(codes(&check(&[])), ["fraction-group-unclear"]);
    assert_eq!(codes(&check(&["--fraction-group", "3"])), ["fraction-group-unclear"]);
    let said = check(&["--fraction-group", "2"]);
    assert_eq!((said.exit, codes(&said)), (0, vec![]), "{}", said.out);
    assert_eq!((said.json()["fraction_group"].as_u64(), said.json()["fractions_planned"].as_u64()), (Some(2), Some(5)));
    // The list has a row for each: what the gate has said of the one is no word on the other.
    let list = site.done(&recover(&site, &[1, 2, 3], &["--json"]).iter().map(String::as_str).collect::<Vec<_>>());
    let list = list.json()["treatment_list"]["rows"].clone();
    let row = |of: &str| {
        let mut rows = list.as_array().unwrap().iter();
        rows.find(|row| row["plan"].as_str().unwrap().ends_with(of)).unwrap_or_else(|| panic!("{of} in {list}")).clone()
    };
    assert_eq!(
        (&row("group 1")["standing"], &row("group 2")["standing"]),
        (&json!("ready"), &json!("released")),
        "{list}"
    );
    assert_eq!(row("group 2")["fractions_planned"], 5);
}

/// The plan with a second fraction group of five fractions, of the same beams.
pub(super) fn with_a_boost(plan: &[u8]) -> Vec<u8> {
    use dicom_core::value::DataSetSequence;
    use dicom_core::{DataElement, Tag, VR};
    let mut object = dicom_object::from_reader(plan).unwrap();
    let groups = Tag(0x300A, 0x0070);
    let mut items = object.element(groups).unwrap().items().unwrap().to_vec();
    let mut boost = items[0].clone();
    for (tag, value) in [(Tag(0x300A, 0x0071), "2"), (Tag(0x300A, 0x0078), "5")] {
        boost.put(DataElement::new(tag, VR::IS, value));
    }
    items.push(boost);
    object.put(DataElement::new(groups, VR::SQ, DataSetSequence::from(items)));
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// A synthetic patient's last treatment record, as one of another plan, patient, fraction and day.
pub(super) fn record(of: &str, patient: Option<&str>, instance: &str, (fraction, day): (&str, &str)) -> Vec<u8> {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    let course = super::courses(1).remove(0).course.unwrap();
    let Some(record) = course.records.last() else { panic!("a course that has begun") };
    let mut object = dicom_object::from_reader(&record[..]).unwrap();
    object.update_value(Tag(0x300C, 0x0002), |plans| {
        for plan in plans.items_mut().unwrap() {
            plan.put(DataElement::new(Tag(0x0008, 0x1155), VR::UI, PrimitiveValue::from(of)));
        }
    });
    object.update_value(Tag(0x3008, 0x0020), |beams| {
        for beam in beams.items_mut().unwrap() {
            beam.put(DataElement::new(Tag(0x3008, 0x0022), VR::IS, PrimitiveValue::from(fraction)));
        }
    });
    object.put(DataElement::new(Tag(0x0008, 0x0018), VR::UI, PrimitiveValue::from(instance)));
    object.put(DataElement::new(Tag(0x3008, 0x0250), VR::DA, PrimitiveValue::from(day)));
    // No machine treats in two fractions at once.
    let time = format!("{:02}3000", 8 + fraction.parse::<u32>().unwrap_or(0) % 12);
    object.put(DataElement::new(Tag(0x3008, 0x0251), VR::TM, PrimitiveValue::from(time)));
    if let Some(patient) = patient {
        object.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, PrimitiveValue::from(patient)));
    }
    object.meta_mut().media_storage_sop_instance_uid = instance.to_owned();
    object.meta_mut().update_information_group_length();
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

pub(super) fn uid(file: &str) -> String {
    treatment::Instance::parse(&std::fs::read(file).unwrap()).unwrap().sop_instance
}

/// A plan's file under another one's SOP Instance UID.
fn under(file: &str, to: &str) -> Vec<u8> {
    let (mut bytes, from) = (std::fs::read(file).unwrap(), uid(file));
    assert_eq!(from.len(), to.len());
    for at in 0..bytes.len() - from.len() {
        if bytes[at..].starts_with(from.as_bytes()) {
            bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        }
    }
    bytes
}

/// A record filed under somebody else, before or after the plan came, makes the count unknown; and what the gate has seen
/// under a UID isn't forgotten when something else is stored under it.
#[test]
fn no_record_of_a_plan_is_overlooked() {
    let site = Site::new();
    let (plan, wrong, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = |file: &str| site.run(&["gate", "check", "--patient", &number, file, "--json"]);
    let exported = site.file("exported.dcm", &under_another_uid(&std::fs::read(&plan).unwrap()));
    assert_eq!(check(&exported).exit, 0);
    let before = check(&plan).json()["fractions_given"].as_u64().unwrap();

    let record = |of: &str, patient: Option<&str>, instance: &str| record(of, patient, instance, ("1", "20261122"));
    let store = |bytes: &[u8]| {
        let server = site.serve(&[]);
        send(server.ready["dimse"].as_str().unwrap(), bytes);
        server.stop();
    };
    // Given under the exported one's UID, which the gate alone has seen; then another plan is stored under it.
    store(&record(&uid(&exported), None, "1.2.826.0.1.1"));
    assert_eq!(check(&plan).json()["fractions_given"], before + 1);
    store(&under(&wrong, &uid(&exported)));
    assert_eq!(check(&plan).json()["fractions_given"], before + 1);

    // Of a plan that only the gate has seen, under another patient's number.
    let third = site.file("third.dcm", &under_another_uid(&std::fs::read(&exported).unwrap()));
    let third_uid = uid(&third);
    store(&record(&third_uid, Some("SOMEBODY-ELSE"), "1.2.826.0.1.2"));
    assert_eq!(codes(&check(&third)), ["fractions-unknown"]);
}

/// A record of no beam could never be counted, and what is kept is kept for ever: it would hold every fraction to come.
#[test]
fn a_record_of_no_beam_is_refused_and_holds_nobody() {
    use dicom_core::value::{DataSetSequence, PrimitiveValue};
    use dicom_core::{DataElement, Tag, VR};
    use dicom_object::InMemDicomObject;
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    assert_eq!(check().exit, 0);
    let course = super::courses(1).remove(0).course.unwrap();
    let Some(record) = course.records.last() else { panic!("a course that has begun") };
    let object = dicom_object::from_reader(&record[..]).unwrap();
    let beams = Tag(0x3008, 0x0020);
    assert!(object.element(beams).is_ok(), "the synthetic record is of photons");
    let emptied = |instance: &str, items: Option<Vec<InMemDicomObject>>| {
        let mut object = object.clone();
        object.remove_element(beams);
        if let Some(items) = items {
            object.put(DataElement::new(beams, VR::SQ, DataSetSequence::from(items)));
        }
        object.put(DataElement::new(Tag(0x0008, 0x0018), VR::UI, PrimitiveValue::from(instance)));
        object.meta_mut().media_storage_sop_instance_uid = instance.to_owned();
        object.meta_mut().update_information_group_length();
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).unwrap();
        bytes
    };
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    let nothing = InMemDicomObject::new_empty();
    for (number, items) in [None, Some(vec![]), Some(vec![nothing.clone(), nothing])].into_iter().enumerate() {
        let (status, comment) = offer(address, &emptied(&format!("1.2.826.0.1.{number}"), items));
        assert_eq!(status, 0xA900, "{comment}");
        assert!(comment.starts_with("treatment.object.empty-record: (3008,0020) TreatmentSession"), "{comment}");
    }
    // The session's whole record is taken afterwards, under the same UID.
    send(address, record);
    server.stop();
    let said = check();
    assert_eq!((said.exit, codes(&said)), (0, vec![]), "{}", said.out);
}

#[test]
fn the_gate_says_what_it_is_to_be_asked_by() {
    let site = Site::new();
    site.done(&["init"]);
    let server = site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap();
    // With a token or without: what may be asked is no secret, and nothing is said of anybody.
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let (status, head, body) = exchange(method, http, "/gate/check?patient=KL-1", "", "");
        assert_eq!(status, 405, "{method}: {body}");
        let head = head.to_lowercase();
        assert_eq!(head.matches("\r\nallow: post\r\n").count(), 1, "{method}: {head}");
        assert!(head.contains("\r\ncontent-type: application/fhir+json"), "{method}: {head}");
        if method != "HEAD" {
            let outcome: Value = serde_json::from_str(&body).unwrap();
            let said = outcome["issue"][0]["diagnostics"].as_str().unwrap();
            assert_eq!(outcome["resourceType"], "OperationOutcome");
            assert!(said.contains("[gate.method]") && said.contains("POST /gate/check?patient=ID"), "{said}");
            assert!(said.contains("operation ") && !said.contains("KL-1"), "{said}");
        }
    }
    server.stop();
}

#[test]
fn a_blank_patient_id_is_nobodys() {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    let site = Site::new();
    site.done(&["init"]);
    let plan = super::courses(1).remove(0).course.unwrap().plan;
    let server = site.serve(&[]);
    for blank in ["", " ", "\u{a0}", "\u{3000} "] {
        let mut object = dicom_object::from_reader(&plan[..]).unwrap();
        object.put(DataElement::new(Tag(0x0008, 0x0005), VR::CS, PrimitiveValue::from("ISO_IR 192")));
        object.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, PrimitiveValue::from(blank)));
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).unwrap();
        let said = offer(server.ready["dimse"].as_str().unwrap(), &bytes);
        assert_eq!(said, (0xC000, "treatment.no-patient".to_owned()), "{blank:?}");
    }
    server.stop();
}

/// Two people under one number: whichever way the gate is asked, the plan may be either's, and the list says the same.
#[test]
fn a_number_that_two_people_have_holds_both() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let server = site.serve(&[]);
    let token = site.done(&["token", "new", "--role", "oncologist", "--subject", "t", "--json"]).json();
    let headers = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/fhir+json\r\n",
        token["token"].as_str().unwrap()
    );
    let http = server.ready["http"].as_str().unwrap();
    let (_, _, bundle) = get(http, &format!("/fhir/Patient?identifier={number}"), &headers);
    let bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
    let id = format!("Patient/{}", bundle["entry"][0]["resource"]["id"].as_str().unwrap());
    let check = |who: &str| site.run(&["gate", "check", "--patient", who, &plan, "--json"]);
    assert_eq!((check(&number).exit, check(&id).exit), (0, 0));
    let other = json!({ "resourceType": "Patient", "identifier": [{ "value": number }] }).to_string();
    let (status, _, said) = exchange("POST", http, "/fhir/Patient", &headers, &other);
    assert_eq!(status, 201, "{said}");
    server.stop();

    // The gate's last word on her was a release; the list doesn't go by it.
    let list = site.done(&recover(&site, &[1, 2, 3], &["--json"]).iter().map(String::as_str).collect::<Vec<_>>());
    let list = list.json()["treatment_list"].clone();
    assert_eq!((&list["rows"][0]["standing"], &list["incomplete"]), (&json!("hold"), &Value::Null), "{list}");
    assert!(list["rows"][0]["why"].as_str().unwrap().contains("more than one patient"), "{list}");
    for who in [&number, &id] {
        assert_eq!(codes(&check(who))[0], "patient-ambiguous", "{who}");
    }
}

fn recover(site: &Site, servers: &[u8], more: &[&str]) -> Vec<String> {
    let mut all = vec!["recover".to_owned(), "--into".to_owned(), site.path("again")];
    for secret in &super::renewing::secrets(site)[..2] {
        all.extend(["--custodian".to_owned(), secret.clone()]);
    }
    for number in servers {
        let folder = site.data().join(format!("servers/server-{number:02}"));
        all.extend(["--from".to_owned(), folder.display().to_string()]);
    }
    all.extend(more.iter().map(|&one| one.to_owned()));
    all
}

/// The first list from survivors that are damaged says so, and calls nobody ready.
#[test]
fn a_list_from_damaged_survivors_is_marked() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let said = |site: &Site| {
        let command = recover(site, &[1, 2, 3], &[]);
        site.run(&command.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let whole = said(&site);
    assert!(whole.exit == 0 && whole.out.contains("Ready: signed by two people"), "{} {}", whole.out, whole.err);
    assert!(!whole.out.contains("INCOMPLETE"), "{}", whole.out);
    std::fs::remove_dir_all(site.path("again")).unwrap();

    // Something is kept, and one of them forgets it.
    site.done(&["person", "new", "--name", "C", "--role", "physicist", "--key", &site.path("c.pem")]);
    let volume = site.data().join("servers/server-02/shards/volumes/000001.vol");
    let file = std::fs::File::options().write(true).open(&volume).unwrap();
    file.set_len(file.metadata().unwrap().len() - 500).unwrap();
    let damaged = said(&site);
    assert_eq!(damaged.exit, 3, "{} {}", damaged.out, damaged.err);
    assert!(damaged.out.contains("INCOMPLETE: ") && damaged.out.contains(&number), "{}", damaged.out);
    assert!(damaged.out.contains("Hold: her newest records may be missing"), "{}", damaged.out);
    assert!(!damaged.out.contains("Ready"), "{}", damaged.out);
    std::fs::remove_dir_all(site.path("again")).unwrap();

    // A shard of something from the middle, of which three are needed and three are there: what is left is listed, and no
    // centre is made of it. Not behind the last that can be read, and not of her own plan.
    let bytes = std::fs::read(&volume).unwrap();
    let is_so = |twentieths: usize| {
        let mut altered = bytes.clone();
        altered[bytes.len() * twentieths / 20] ^= 1;
        std::fs::write(&volume, altered).unwrap();
        let damaged = said(&site);
        assert!(damaged.exit == 3 || damaged.exit == 4, "{} {}", damaged.out, damaged.err);
        assert!(damaged.out.contains("INCOMPLETE: ") && !damaged.out.contains("Ready"), "{}", damaged.out);
        let _ = std::fs::remove_dir_all(site.path("again"));
        damaged.exit == 4 && damaged.out.contains(&number)
    };
    assert!((10..20).rev().any(is_so), "no place in its second half lost anything else than her plan");
}

/// What was given under a UID stays given, whatever comes under it afterwards, and how often; two people settle the rest.
#[test]
fn nothing_that_comes_later_makes_fractions_ungiven() {
    let site = Site::new();
    let (plan, wrong, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let given = |said: &Said| said.json()["fractions_given"].as_u64();
    let before = given(&check()).unwrap();
    let exported = site.file("exported.dcm", &under_another_uid(&std::fs::read(&plan).unwrap()));
    let store = |bytes: &[u8]| {
        let server = site.serve(&[]);
        send(server.ready["dimse"].as_str().unwrap(), bytes);
        server.stop();
    };
    // The gate has seen the export, and after it another delivery under the same UID, a hundred times and more.
    assert_eq!(site.run(&["gate", "check", "--patient", &number, &exported]).exit, 0);
    store(&record(&uid(&exported), None, "1.2.826.0.1.1", ("1", "20261122")));
    assert_eq!(given(&check()), Some(before + 1));
    let server = site.serve(&[]);
    let other = under(&wrong, &uid(&exported));
    for _ in 0..105 {
        let (status, _) = offer_to("GATE", server.ready["dimse"].as_str().unwrap(), &other);
        assert_eq!(status, 0xC001);
    }
    server.stop();
    assert_eq!(given(&check()), Some(before + 1));

    // One that nobody has seen: what comes under its UID only after the record need not be what was delivered.
    let unseen = site.file("unseen.dcm", &under_another_uid(&std::fs::read(&exported).unwrap()));
    store(&record(&uid(&unseen), None, "1.2.826.0.1.2", ("2", "20261123")));
    assert!(check().out.contains("unknown-plan"), "{}", check().out);
    store(&under(&wrong, &uid(&unseen)));
    assert!(check().exit == 4 && check().out.contains("late-plan"), "{}", check().out);

    let settle = |(name, role): (&str, &str), given: &str| {
        let key = site.path(&format!("{role}.pem"));
        let who = ["--name", name, "--role", role, "--key", &key, "--given", given, "--json"];
        site.run(&[&["plan", "settle", "--patient", &number], &who[..], &[&plan]].concat())
    };
    assert_eq!(settle(SIGNERS[0], "400").json()["error"]["code"], "treatment.settlement.given");
    assert_eq!(settle(SIGNERS[0], "5").json()["complete"], false);
    assert_eq!(check().exit, 4, "one person's word settles nothing");
    assert_eq!(settle(SIGNERS[1], "6").json()["complete"], false);
    assert_eq!(check().exit, 4, "nor do two that differ");
    assert_eq!(settle(SIGNERS[1], "5").json()["complete"], true);
    assert_eq!((check().exit, given(&check())), (0, Some(5)), "{}", check().out);
    // What comes after it counts beside it.
    store(&record(&uid(&plan), None, "1.2.826.0.1.3", ("6", "20991124")));
    assert_eq!(given(&check()), Some(6));
    // The same once more, as an archive sends it, is the same; what was treated before it was settled is not.
    assert_eq!(settle(SIGNERS[0], "6").json()["complete"], false);
    assert_eq!(settle(SIGNERS[1], "6").json()["complete"], true);
    store(&record(&uid(&plan), None, "1.2.826.0.1.33", ("6", "20991124")));
    assert_eq!(given(&check()), Some(6));
    store(&record(&uid(&plan), None, "1.2.826.0.1.5", ("3", "20261101")));
    assert!(check().out.contains("late-record"), "{}", check().out);
    // Said anew it is counted from anew, though the same was said before.
    for given in ["9", "5"] {
        settle(SIGNERS[0], given);
        assert_eq!(settle(SIGNERS[1], given).json()["complete"], true, "{given}");
    }
    assert_eq!(given(&check()), Some(5));
    // A re-export that only the gate saw, and whose record came under another number: nobody knows.
    let third = site.file("third.dcm", &under_another_uid(&std::fs::read(&unseen).unwrap()));
    assert_eq!(site.run(&["gate", "check", "--patient", &number, &third]).exit, 0);
    store(&record(&uid(&third), Some("MISTYPED"), "1.2.826.0.1.4", ("7", "20261125")));
    assert!(check().exit == 4 && check().out.contains("anothers-record"), "{}", check().out);
    settle(SIGNERS[0], "5");
    assert_eq!(settle(SIGNERS[1], "5").json()["complete"], true);
    assert_eq!((check().exit, given(&check())), (0, Some(5)), "{}", check().out);
    // Whose key was somebody else's has settled nothing, and what it settled isn't forgotten either.
    let people = site.done(&["person", "list", "--json"]).json();
    let her = people.as_array().unwrap().iter().find(|person| person["name"] == SIGNERS[1].0).unwrap();
    site.done(&["person", "end", "--key", her["key"].as_str().unwrap(), "--compromised"]);
    assert!(check().out.contains("settlement-void"), "{}", check().out);
    // It is no approval of anything.
    let other = site.file("other.dcm", &under(&wrong, &uid(&unseen)));
    assert_eq!(site.run(&["gate", "check", "--patient", &number, &other]).exit, 4);
}

/// Whoever is on treatment by a plan that nobody can read is on the list, and so is whoever has records and no plan.
#[test]
fn nobody_on_treatment_is_missing_from_the_list() {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let mut object = dicom_object::from_reader(&std::fs::read(&plan).unwrap()[..]).unwrap();
    let instance = "1.2.826.0.1.9";
    object.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, PrimitiveValue::from("UNREADABLE-1")));
    object.put(DataElement::new(Tag(0x0008, 0x0018), VR::UI, PrimitiveValue::from(instance)));
    object.remove_element(Tag(0x300A, 0x0070));
    object.meta_mut().media_storage_sop_instance_uid = instance.to_owned();
    object.meta_mut().update_information_group_length();
    let mut unreadable = Vec::new();
    object.write_all(&mut unreadable).unwrap();
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    send(address, &unreadable);
    send(address, &record("1.2.3", Some("PLANLESS-1"), "1.2.826.0.1.1", ("1", "20261122")));
    server.stop();
    let command = recover(&site, &[1, 2, 3], &["--json"]);
    let list = site.done(&command.iter().map(String::as_str).collect::<Vec<_>>()).json()["treatment_list"].clone();
    let row = |of: &str| list["rows"].as_array().unwrap().iter().find(|row| row["number"] == of).cloned();
    assert_eq!(row(&number).unwrap()["standing"], "ready", "{list}");
    for (of, why) in [("UNREADABLE-1", "can't be read"), ("PLANLESS-1", "no plan")] {
        let row = row(of).unwrap_or_else(|| panic!("{of} in {list}"));
        assert!(row["standing"] == "hold" && row["why"].as_str().unwrap().contains(why), "{row}");
    }
}

/// A record that was refused is missing from the count until it comes; and what the planning system rejects after it was signed
/// is signed again, or not given.
#[test]
fn what_was_refused_or_rejected_since_holds() {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let given = || check().json()["fractions_given"].as_u64();
    let (before, server) = (given().unwrap(), site.serve(&[]));
    let address = server.ready["dimse"].as_str().unwrap();
    let day = ("1", "20261122");
    let (status, _) = offer(address, &record(&uid(&plan), Some("MISTYPED"), "1.2.826.0.1.1", day));
    assert_ne!(status, 0);
    assert!(check().exit == 4 && check().out.contains("refused-record"), "{}", check().out);
    send(address, &record(&uid(&plan), None, "1.2.826.0.1.1", day));
    assert_eq!((check().exit, given()), (0, Some(before + 1)), "{}", check().out);

    let reject = DataElement::new(Tag(0x300E, 0x0002), VR::CS, PrimitiveValue::from("REJECTED"));
    send(address, &edited(&plan, Some("1.2.826.0.1.9"), |plan| drop(plan.put(reject))));
    assert_eq!(codes(&check()), ["rejected"]);
    // Without a Patient ID, or of several plans at once: the one is noted, the other would hold them all.
    let nobodys = record(&uid(&plan), Some(""), "1.2.826.0.1.2", ("2", "20991123"));
    assert_ne!(offer(address, &nobodys).0, 0);
    server.stop();
    approve(&site, &number, &plan, &SIGNERS[..1]);
    assert!(codes(&check()).contains(&"rejected".to_owned()), "one of the two has looked at it again");
    approve(&site, &number, &plan, &SIGNERS[1..]);
    assert!(codes(&check()) == ["fractions-unknown"] && check().out.contains("refused-record"), "{}", check().out);
    let server = site.serve(&[]);
    let corrected = record(&uid(&plan), None, "1.2.826.0.1.22", ("2", "20991123"));
    send(server.ready["dimse"].as_str().unwrap(), &corrected);
    server.stop();
    assert_eq!(check().exit, 0, "{}", check().out);
}

/// What was settled is counted once: what came before, what comes late, and numbers that go on from nowhere hold until two people
/// have looked again.
#[test]
fn what_comes_after_a_settlement_counts_from_it() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let given = || check().json()["fractions_given"].as_u64();
    let settle = |given: &str| {
        settle_by_two(&site, &number, &plan, given);
        assert_eq!((check().exit, codes(&check()).len()), (0, 0), "{}", check().out);
    };
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap().to_owned();
    let store = |(fraction, day): (&str, &str)| {
        send(&address, &record(&uid(&plan), None, &format!("1.2.826.1.{fraction}.{day}"), (fraction, day)));
    };
    settle("3");
    // Numbers begin again, twice, and one of them never came.
    for next in [("1", "20990101"), ("2", "20990102"), ("1", "20990103"), ("3", "20990105")] {
        store(next);
    }
    assert_eq!(given(), Some(8), "{}", check().out);
    // They go on, and two of them never came before the first: that can't be told from other ways to count. Nor is what was
    // settled their count, since they began again.
    settle("5");
    store(("6", "20990106"));
    assert!(check().out.contains("numbers-fall"), "{}", check().out);
    settle("5");
    store(("7", "20990108"));
    assert_eq!(given(), Some(6), "{}", check().out);
    // The very session that was settled comes once more; and then one of a day before.
    settle("6");
    store(("7", "20990108"));
    send(&address, &record(&uid(&plan), None, "1.2.826.1.66", ("7", "20990108")));
    assert_eq!(given(), Some(6), "the same is the same");
    store(("8", "20260101"));
    assert!(codes(&check()) == ["fractions-unknown"] && check().out.contains("late-record"), "{}", check().out);
    // One that was settled is corrected under its UID: it is no fraction since.
    settle("6");
    send(&address, &record(&uid(&plan), None, "1.2.826.1.7.20990108", ("8", "20990120")));
    assert!(check().out.contains("record-changed"), "{}", check().out);
    // A plan of somebody else's settles nothing of hers.
    let (name, role) = SIGNERS[0];
    let (key, stranger) = (site.path(&format!("{role}.pem")), with_number(&plan, "SOMEBODY-ELSE"));
    let stranger = site.file("stranger.dcm", &stranger);
    let who = ["--name", name, "--role", role, "--key", &key, "--given", "6", "--json"];
    let said = site.run(&[&["plan", "settle", "--patient", &number], &who[..], &[&stranger]].concat());
    assert_eq!(said.json()["error"]["code"], "treatment.settlement.another-patient");
    server.stop();
}

/// Both say that so many fractions were given.
pub(super) fn settle_by_two(site: &Site, number: &str, plan: &str, given: &str) {
    SIGNERS.into_iter().for_each(|signer| settle(site, number, plan, signer, given));
}

/// One of them says so.
pub(super) fn settle(site: &Site, number: &str, plan: &str, (name, role): (&str, &str), given: &str) {
    let key = site.path(&format!("{role}.pem"));
    let who = ["--name", name, "--role", role, "--key", &key, "--given", given];
    site.done(&[&["plan", "settle", "--patient", number], &who[..], &[plan]].concat());
}

/// A plan's file, changed; under another SOP Instance UID where one is given.
pub(super) fn edited(plan: &str, instance: Option<&str>, edit: impl FnOnce(&mut DefaultDicomObject)) -> Vec<u8> {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    let mut object = dicom_object::from_reader(&std::fs::read(plan).unwrap()[..]).unwrap();
    edit(&mut object);
    if let Some(instance) = instance {
        object.put(DataElement::new(Tag(0x0008, 0x0018), VR::UI, PrimitiveValue::from(instance)));
        object.meta_mut().media_storage_sop_instance_uid = instance.to_owned();
        object.meta_mut().update_information_group_length();
    }
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// A plan's file with another Patient ID.
fn with_number(plan: &str, number: &str) -> Vec<u8> {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    edited(plan, None, |plan| {
        drop(plan.put(DataElement::new(Tag(0x0010, 0x0020), VR::LO, PrimitiveValue::from(number))))
    })
}

/// Whatever a record is refused for, the fraction that it tells of isn't forgotten: neither where nobody can read the rest of it,
/// nor where its number and its plan are two people's.
#[test]
fn no_refusal_is_without_a_trace() {
    use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    let server = site.serve(&[]);
    let address = server.ready["dimse"].as_str().unwrap();
    let strangers = site.file("strangers.dcm", &with_number(&plan, "STRANGER"));
    let other = under_another_uid(&std::fs::read(&strangers).unwrap());
    let other = site.file("other.dcm", &other);
    send(address, &std::fs::read(&other).unwrap());
    let text = |number: u16, of: u16, vr, text: &str| DataElement::new(Tag(number, of), vr, PrimitiveValue::from(text));
    for (at, what) in ["a date with dots", "no series", "its plan twice", "another's plan"].into_iter().enumerate() {
        let whole = record(&uid(&plan), None, &format!("1.2.826.0.1.{at}"), ("9", "20990101"));
        let mut object = dicom_object::from_reader(&whole[..]).unwrap();
        match what {
            "a date with dots" => drop(object.put(text(0x0010, 0x0030, VR::DA, "1960.01.01"))),
            "no series" => assert!(object.remove_element(Tag(0x0020, 0x000E))),
            "its plan twice" => {
                object.put(text(0x0010, 0x0020, VR::LO, "MISTYPED"));
                object.update_value(Tag(0x300C, 0x0002), |plans| {
                    let twice = plans.items_mut().unwrap();
                    twice.push(twice[0].clone());
                });
            }
            _ => {
                object.update_value(Tag(0x300C, 0x0002), |plans| {
                    let plans = plans.items_mut().unwrap();
                    plans.iter_mut().for_each(|plan| drop(plan.put(text(0x0008, 0x1155, VR::UI, &uid(&other)))));
                });
            }
        }
        let mut bytes = Vec::new();
        object.write_all(&mut bytes).unwrap();
        assert_eq!(check().exit, 0, "before {what}: {}", check().out);
        assert_ne!(offer(address, &bytes).0, 0, "{what}");
        assert!(check().exit == 4 && check().out.contains("refused-record"), "{what}: {}", check().out);
        settle_by_two(&site, &number, &plan, "2");
    }
    // The gate goes by no file whose UID stands under somebody else: no record of it would be taken.
    let hers = site.file("hers.dcm", &with_number(&other, &number));
    let said = site.run(&["gate", "check", "--patient", &number, &hers, "--json"]);
    assert_eq!(codes(&said), ["filed-under-another"]);
    server.stop();
}

/// One woman under two numbers, or a number that was mistyped: what was treated for the other chart while it had a number of hers
/// isn't forgotten when the number is corrected.
#[test]
fn what_another_chart_was_given_under_her_number_is_settled() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let check = || site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    assert_eq!(check().exit, 0);
    let server = site.serve(&[]);
    let token = site.done(&["token", "new", "--role", "registrar", "--subject", "t", "--json"]).json();
    let token = token["token"].as_str().unwrap();
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/fhir+json\r\n");
    let (http, address) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    // A chart of its own, treated by a plan of its own.
    send(address, &record("1.2.3.4", Some("OTHER-1"), "1.2.826.0.1.1", ("1", "20261122")));
    let (_, _, bundle) = get(http, "/fhir/Patient?identifier=OTHER-1", &headers);
    let bundle: Value = serde_json::from_str(&bundle).unwrap();
    let mut other = bundle["entry"][0]["resource"].clone();
    let put = |other: &Value, version: u32| {
        let address = format!("/fhir/Patient/{}", other["id"].as_str().unwrap());
        let headers = format!("{headers}If-Match: W/\"{version}\"\r\n");
        let (status, _, said) = exchange("PUT", http, &address, &headers, &other.to_string());
        assert_eq!(status, 200, "{said}");
    };
    other["identifier"] = json!([{ "value": number }]);
    put(&other, 1);
    assert!(codes(&check()).contains(&"patient-ambiguous".to_owned()));
    other["identifier"] = json!([{ "value": "OTHER-2" }]);
    put(&other, 2);
    assert_eq!(check().exit, 0, "it was treated before it had her number: {}", check().out);
    other["identifier"] = json!([{ "value": "OTHER-2" }, { "value": "NEW-1" }]);
    put(&other, 3);
    send(address, &record("1.2.3.4", Some("NEW-1"), "1.2.826.0.1.2", ("2", "20261123")));
    let (_, _, bundle) = get(http, &format!("/fhir/Patient?identifier={number}"), &headers);
    let bundle: Value = serde_json::from_str(&bundle).unwrap();
    let mut her = bundle["entry"][0]["resource"].clone();
    let version = her["meta"]["versionId"].as_str().unwrap().parse().unwrap();
    other["identifier"] = json!([{ "value": "OTHER-2" }]);
    put(&other, 4);
    her["identifier"] = json!([{ "value": number }, { "value": "NEW-1" }]);
    put(&her, version);
    assert!(codes(&check()) == ["fractions-unknown"] && check().out.contains("other-chart"), "{}", check().out);
    // Nor what was treated in a chart that hers replaces.
    settle_by_two(&site, &number, &plan, "2");
    assert_eq!(check().exit, 0, "{}", check().out);
    send(address, &record("1.2.3.4", Some("OLD-1"), "1.2.826.0.1.3", ("3", "20261124")));
    let (_, _, bundle) = get(http, "/fhir/Patient?identifier=OLD-1", &headers);
    let bundle: Value = serde_json::from_str(&bundle).unwrap();
    let old = format!("Patient/{}", bundle["entry"][0]["resource"]["id"].as_str().unwrap());
    her["link"] = json!([{ "other": { "reference": old }, "type": "replaces" }]);
    put(&her, version + 1);
    assert!(codes(&check()) == ["fractions-unknown"] && check().out.contains("other-chart"), "{}", check().out);
    // However it is spelt; and where nobody can tell whom it names.
    let spellings = [
        json!({ "reference": format!("{old}/_history/1") }),
        json!({ "reference": format!("https://elsewhere.example/fhir/{old}") }),
        json!({ "identifier": { "value": "OLD-1 " } }),
        json!({ "display": "somebody" }),
    ];
    for (number_of_it, other) in (0..).zip(spellings) {
        settle_by_two(&site, &number, &plan, "3");
        assert_eq!(check().exit, 0, "{}", check().out);
        let uid = format!("1.2.826.0.1.4.{number_of_it}");
        send(address, &record("1.2.3.4", Some("OLD-1"), &uid, ("4", &format!("2026112{}", 5 + number_of_it))));
        her["link"] = json!([{ "other": other, "type": "replaces" }]);
        put(&her, version + 2 + number_of_it);
        assert!(codes(&check()) == ["fractions-unknown"] && check().out.contains("other-chart"), "{}", check().out);
    }
    // Who has died is treated by nobody.
    her["deceasedBoolean"] = json!(true);
    put(&her, version + 6);
    assert!(codes(&check()).contains(&"record-ended".to_owned()), "{}", check().out);
    server.stop();
}
