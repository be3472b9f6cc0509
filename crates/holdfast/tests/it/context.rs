//! What stood beside a plan when two people signed it: a later change voids the signatures, and says what changed.

use dicom_core::value::PrimitiveValue;
use dicom_core::{DataElement, Tag, VR};
use dicom_object::DefaultDicomObject;
use serde_json::json;

use super::gating::{SIGNERS, approve, codes};
use super::{Site, courses, get};

fn read(file: &[u8]) -> DefaultDicomObject {
    dicom_object::from_reader(file).unwrap()
}

/// The same object after an edit, under its own SOP Instance UID or another one.
fn edited(file: &[u8], uid: Option<&str>, edit: impl FnOnce(&mut DefaultDicomObject)) -> Vec<u8> {
    let mut object = read(file);
    edit(&mut object);
    if let Some(uid) = uid {
        assert!(object.update_value(Tag(0x0008, 0x0018), |value| *value = uid.into()));
        object.meta_mut().media_storage_sop_instance_uid = uid.to_owned();
        object.meta_mut().update_information_group_length();
    }
    let mut bytes = Vec::new();
    object.write_all(&mut bytes).unwrap();
    bytes
}

/// Puts a text into an element of the first item of each of these sequences.
fn put(object: &mut dicom_object::InMemDicomObject, path: &[Tag], tag: Tag, text: &str) {
    match path.split_first() {
        None => assert!(object.update_value(tag, |value| *value = text.into()), "{tag} is there"),
        Some((first, rest)) => {
            let found = object.update_value(*first, |items| put(&mut items.items_mut().unwrap()[0], rest, tag, text));
            assert!(found, "{first} is there");
        }
    }
}

#[test]
fn what_stands_beside_a_plan_is_signed_with_it() {
    let site = Site::new();
    site.done(&["init", "--servers", "5", "--name", "Test centre"]);
    for (name, role) in SIGNERS {
        let key = site.path(&format!("{role}.pem"));
        site.done(&["person", "new", "--name", name, "--role", role, "--key", &key]);
    }
    let patient = courses(1).remove(0);
    let (number, course) = (patient.number, patient.course.unwrap());
    let [ct, structures, dose] = <[Vec<u8>; 3]>::try_from(course.others).unwrap();
    let plan = site.file("plan.dcm", &course.plan);
    [&ct, &structures, &dose, &course.plan].into_iter().for_each(|file| site.store(file));
    let said = |plan: &str| site.run(&["gate", "check", "--patient", &number, plan, "--json"]);
    let releases = |plan: &str, why: &str| {
        assert_eq!((said(plan).exit, said(plan).json()["findings"].to_string()), (0, "[]".to_owned()), "{why}")
    };
    let holds = |plan: &str, parts: &[&str]| {
        let said = said(plan);
        assert_eq!((said.exit, codes(&said)), (4, vec!["context-differs".to_owned()]), "{parts:?}");
        assert_eq!(said.json()["findings"][0]["parts"], json!(parts));
    };
    let sign = |plan: &str| approve(&site, &number, plan, &SIGNERS);
    sign(&plan);
    releases(&plan, "as it was signed");

    // Sent again, under another name, and with another colour and label: nothing of it is another structure.
    let (structures_uid, other) = (read(&structures).meta().media_storage_sop_instance_uid.clone(), "2.25.4711");
    let relabelled = edited(&structures, None, |object| {
        put(object, &[], Tag(0x3006, 0x0002), "RELABELLED");
        put(object, &[Tag(0x3006, 0x0039)], Tag(0x3006, 0x002A), "0\\255\\0");
    });
    assert!(structures_uid.trim_end_matches('\0') != other);
    for again in [&structures, &relabelled, &edited(&structures, Some(other), |_| {})] {
        site.store(again);
        releases(&plan, "the same structures");
    }
    // The target is drawn 5 mm further out, under the same SOP Instance UID.
    let redrawn = edited(&structures, None, |object| {
        let contour = [Tag(0x3006, 0x0039), Tag(0x3006, 0x0040)];
        put(object, &contour, Tag(0x3006, 0x0050), "0\\0\\0\\10\\0\\0\\0\\15\\0");
    });
    site.store(&redrawn);
    holds(&plan, &["structure-set"]);
    let server = site.serve(&[]);
    let token = site.done(&["token", "new", "--role", "physicist", "--subject", "p", "--json"]).json();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    let (_, _, body) = get(server.ready["http"].as_str().unwrap(), &format!("/courses?patient={number}"), &bearer);
    let seen: serde_json::Value = serde_json::from_str(&body).unwrap();
    let context = seen["courses"][0]["context"].as_array().unwrap();
    let another: Vec<_> = context.iter().filter(|one| one["is_another"] == true).map(|one| &one["part"]).collect();
    assert_eq!((context.len(), another), (5, vec![&json!("structure-set")]), "{body}");
    server.stop();
    // One of the two has looked at it; then the other, too.
    let first = ["--patient", &number, "--name", SIGNERS[0].0, "--role", SIGNERS[0].1];
    let key = site.path("oncologist.pem");
    let said_so = site.done(&[&["plan", "approve"], &first[..], &["--key", &key, &plan, "--json"]].concat()).json();
    assert_eq!((&said_so["complete"], &said_so["changed"]), (&json!(false), &json!(["structure-set"])));
    holds(&plan, &["structure-set"]);
    sign(&plan);
    releases(&plan, "signed again");

    // Another slice of the series; the same slice under another name isn't one.
    site.store(&edited(&ct, Some("2.25.4712"), |_| {}));
    releases(&plan, "the same image");
    site.store(&edited(&ct, Some("2.25.4713"), |object| put(object, &[], Tag(0x0020, 0x0032), "-192\\-192\\3000")));
    holds(&plan, &["images"]);
    sign(&plan);
    releases(&plan, "signed again");

    // The dose is calculated anew, and comes beside the old one.
    site.store(&edited(&dose, Some("2.25.4714"), |_| {}));
    releases(&plan, "the same dose");
    site.store(&edited(&dose, Some("2.25.4715"), |object| put(object, &[], Tag(0x3004, 0x000E), "0.0001")));
    holds(&plan, &["dose"]);
    sign(&plan);
    releases(&plan, "signed again");

    // It is replaced under its own name: by the dose of another plan, by one whose scaling is written as something else.
    let of_another = edited(&dose, None, |object| {
        put(object, &[Tag(0x300C, 0x0002)], Tag(0x0008, 0x1155), "2.25.1");
    });
    let disguised = edited(&dose, None, |object| {
        object.put(DataElement::new(Tag(0x3004, 0x000E), VR::UI, PrimitiveValue::from("2")));
    });
    for other in [of_another, disguised] {
        site.store(&other);
        holds(&plan, &["dose"]);
        site.store(&dose);
        releases(&plan, "as it was signed");
    }
    // Structures in another order are the same.
    site.store(&edited(&redrawn, None, |object| {
        for sequence in [Tag(0x3006, 0x0020), Tag(0x3006, 0x0039), Tag(0x3006, 0x0080)] {
            assert!(object.update_value(sequence, |items| items.items_mut().unwrap().reverse()));
        }
    }));
    releases(&plan, "the same structures in another order");

    // The same beams, for another prescription; and the machine is to stop later.
    let prescribed = edited(&course.plan, Some("2.25.4716"), |object| {
        put(object, &[Tag(0x300A, 0x0010)], Tag(0x300A, 0x0026), "99");
    });
    let prescribed = site.file("prescribed.dcm", &prescribed);
    assert_eq!(site.run(&["plan", "diff", &plan, &prescribed]).exit, 0, "the delivery is the same");
    holds(&prescribed, &["prescription"]);
    let tolerant = edited(&course.plan, Some("2.25.4717"), |object| {
        put(object, &[Tag(0x300A, 0x0040)], Tag(0x300A, 0x0044), "45");
    });
    holds(&site.file("tolerant.dcm", &tolerant), &["tolerance-tables"]);
    // A prescription that is written so that nobody can read it is another one.
    let unread = edited(&course.plan, Some("2.25.4719"), |object| {
        put(object, &[Tag(0x300A, 0x0010)], Tag(0x300A, 0x0026), "about seventy");
    });
    holds(&site.file("unread.dcm", &unread), &["prescription"]);
    releases(&plan, "which is as it was");

    // Both of two changes are named; what a recovery brings back is held and released alike.
    site.store(&structures);
    site.store(&edited(&ct, Some("2.25.4718"), |object| put(object, &[], Tag(0x0020, 0x0032), "-192\\-192\\3003")));
    holds(&plan, &["structure-set", "images"]);
    std::fs::remove_file(site.data().join("gateway/index.sqlite")).unwrap();
    holds(&plan, &["structure-set", "images"]);
    sign(&plan);
    releases(&plan, "signed again");
}
