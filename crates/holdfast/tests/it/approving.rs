//! What was signed of a plan, beside what is here now: for two people who are about to sign, and for whoever asks what has changed.

use dicom_core::{DataElement, Tag, VR, value::PrimitiveValue};

use super::gating::{SIGNERS, approve, edited, uid};
use super::{Site, get, send, signed};

/// How many lines of a page end in these words.
fn count(page: &str, words: &str) -> usize {
    page.matches(&format!("</svg>\n {words}</td>")).count()
}

#[test]
fn what_was_signed_stands_beside_what_is_here_now() {
    let site = Site::new();
    let (plan, tampered, number) = signed(&site);
    let server = site.serve(&[]);
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    let therapist = site.session(&server, "therapist");
    let asked = format!("/approval?patient={number}");
    let page_of = |more: &str| {
        let (status, _, page) = get(http, &format!("{asked}{more}"), &therapist);
        assert_eq!(status, 200, "{page}");
        page
    };
    let says = |page: &str, all: &[&str]| all.iter().for_each(|one| assert!(page.contains(one), "{one}: {page}"));
    let signed_uid = uid(&plan);

    // Nobody has signed: what two people are about to sign.
    let page = page_of("");
    says(&page, &["To be signed by two people", "Nobody has signed it", "Fraction group 1", "300A,011E"]);
    assert!(count(&page, "To be signed") > 30 && count(&page, "As signed") == 0, "{page}");
    assert!(page.contains("Beam’s-eye view of beam 1") && page.contains("Gantry angles of"), "{page}");
    // And its chart checks, before anybody signs.
    says(&page, &["Chart checks of what is here now", "its fractions make the prescribed dose", "at approval"]);
    assert!(!page.contains("have signed what it delivers") && !page.contains("weekly"), "{page}");

    // One of them has.
    approve(&site, &number, &plan, &SIGNERS[..1]);
    let page = page_of("");
    says(&page, &["only one person has approved it: the physicist is missing", "A. Oncologist", "Counts"]);
    assert!(count(&page, "As signed") > 30 && count(&page, "Another one") == 0, "{page}");
    let (_, _, list) = get(http, "/", &therapist);
    assert!(list.contains(&format!("/approval?patient={number}&amp;plan={signed_uid}")), "{list}");

    // Both have: nothing holds it, and the list leads nowhere. The one who signs is told of the checks.
    let key = site.path("physicist.pem");
    let who = ["--name", SIGNERS[1].0, "--role", SIGNERS[1].1, "--key", &key];
    let said = site.done(&[&["plan", "approve", "--patient", &number], &who[..], &[&plan]].concat()).out;
    says(&said, &["the gate can release it", "chart checks: ", " pass", "FAILS: its beams have the same bolus"]);
    // Of everybody on treatment, and for programs.
    let (_, _, checks) = get(http, "/checks", &therapist);
    says(&checks, &["with a check that fails", "its beams have the same bolus", &number]);
    assert_eq!(get(http, "/checks", &site.session(&server, "registrar")).0, 403);
    assert_eq!(get(http, "/checks.json", "").0, 401);
    let page = page_of("");
    says(&page, &["Two people have signed what is here", "Nothing that moves dose, and nothing of the setup"]);
    assert_eq!(count(&page, "Void"), 0);
    assert!(!get(http, "/", &therapist).2.contains("/approval?"));
    let (_, _, course) = get(http, &format!("/course?patient={number}"), &therapist);
    says(&course, &["Beam’s-eye view of beam 1", "Gantry angles of", &format!("&amp;plan={signed_uid}\"")]);

    // A revision under a name of its own, with the label of the one that was signed.
    let turned = edited(&plan, Some("2.25.7001"), |plan| {
        let tag = Tag(0x300A, 0x0122);
        let found = plan.update_value(Tag(0x300A, 0x00B0), |beams| {
            let beam = &mut beams.items_mut().unwrap()[0];
            beam.update_value(Tag(0x300A, 0x0111), |points| {
                drop(points.items_mut().unwrap()[0].put(DataElement::new(tag, VR::DS, PrimitiveValue::from("91.25"))));
            });
        });
        assert!(found, "no beams");
    });
    send(dimse, &turned);
    let page = page_of("");
    says(
        &page,
        &[
            "A newer plan with the same RT Plan Label",
            "(300A,0122) PatientSupportAngle",
            "91.25 °",
            "the plan that is here now delivers something else",
            "Not approved as it is here",
            ", as signed",
            ", here now",
        ],
    );
    assert!(count(&page, "Another one") >= 2 && count(&page, "Moves dose") >= 1, "{page}");
    // Each of both by itself, and beside each other when asked for.
    assert_eq!(page_of("&plan=2.25.7001").matches("A newer plan with the same RT Plan Label").count(), 1);
    says(&page_of(&format!("&plan={signed_uid}&with={signed_uid}")), &["Two people have signed what is here"]);
    says(&page_of(&format!("&plan={signed_uid}&with=2.25.7001")), &["The plan that was chosen", "91.25 °"]);

    // Under the very name of the one that was signed.
    send(dimse, &std::fs::read(&tampered).unwrap());
    let page = page_of("");
    says(&page, &["A newer file under the same SOP Instance UID", "BeamMeterset", "Void"]);
    assert_eq!(count(&page, "Counts"), 0, "{page}");
    // What was signed may still be given, and the list says that another file bears its name.
    let (_, _, list) = get(http, "/", &therapist);
    says(&list, &["Ready", "signed by two people; another file under its SOP Instance UID has come since"]);

    // The physicist takes her word back: it counts for nothing, whatever is here.
    let key = site.path("physicist.pem");
    let who = ["--name", SIGNERS[1].0, "--role", SIGNERS[1].1, "--key", &key, "--reason", "replaced"];
    site.done(&[&["plan", "withdraw", "--patient", &number], &who[..], &[&plan]].concat());
    says(&page_of(""), &["the physicist took the plan’s approval back: replaced"]);

    // Whoever may not open a chart sees none, and what isn't here is said.
    assert_eq!(get(http, &asked, &site.session(&server, "registrar")).0, 403);
    assert_eq!(get(http, &asked, "").0, 401);
    assert_eq!(get(http, "/approval?patient=nobody", &therapist).0, 404);
    assert_eq!(get(http, &format!("{asked}&plan=1.2.3"), &therapist).0, 404);
    assert_eq!(get(http, &format!("{asked}&with=1.2.3"), &therapist).0, 404);
    assert_eq!(get(http, "/approval", &therapist).0, 400);
    server.stop();
}

/// Each thing that takes a signature its force is said by its name.
#[test]
fn what_took_a_signature_its_force_is_named() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    approve(&site, &number, &plan, &SIGNERS);
    let server = site.serve(&[]);
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    let therapist = site.session(&server, "therapist");
    let page_of = || get(http, &format!("/approval?patient={number}&plan={}", uid(&plan)), &therapist).2;

    // The physicist signs once more: her first signature says nothing that the second one doesn't.
    approve(&site, &number, &plan, &SIGNERS[1..]);
    let page = page_of();
    assert!(page.contains("the same person has signed again since"), "{page}");
    assert_eq!((count(&page, "Counts"), count(&page, "Void")), (2, 1), "{page}");

    // Her key is ended: what it made before counts; then it turns out that somebody else had it.
    let people = site.done(&["person", "list", "--json"]).json();
    let her = people.as_array().unwrap().iter().find(|person| person["name"] == SIGNERS[1].0).unwrap().clone();
    let key = her["key"].as_str().unwrap();
    site.done(&["person", "end", "--key", key]);
    assert_eq!(count(&page_of(), "Counts"), 2);
    site.done(&["person", "end", "--key", key, "--compromised"]);
    let page = page_of();
    assert_eq!(page.matches("all signatures of this key were ended").count(), 2, "{page}");
    assert_eq!(count(&page, "Counts"), 1, "{page}");

    // The planning system rejects what both have signed.
    let reject = DataElement::new(Tag(0x300E, 0x0002), VR::CS, PrimitiveValue::from("REJECTED"));
    send(dimse, &edited(&plan, Some("2.25.7002"), |plan| drop(plan.put(reject))));
    let page = page_of();
    assert!(page.contains("the planning system has marked the plan as rejected since"), "{page}");
    assert_eq!(count(&page, "Counts"), 0, "{page}");
    server.stop();
}
