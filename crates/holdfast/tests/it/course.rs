//! One patient's course, for a physicist who looks at it and for a program that asks.

use serde_json::Value;

use super::gating::{SIGNERS, approve, settle_by_two};
use super::{Site, courses, get, send, signed};

#[test]
fn a_course_is_what_its_records_say() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let course = courses(1).remove(0).course.unwrap();
    approve(&site, &number, &plan, &SIGNERS[..1]);
    let server = site.serve(&[]);
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    // One of them twice, the last one first.
    course.records.iter().rev().chain(course.records.first()).for_each(|record| send(dimse, record));
    let asked = format!("/courses?patient={number}");
    let (status, _, body) = get(http, &asked, &site.bearer("physicist"));
    assert_eq!(status, 200, "{body}");
    let said: Value = serde_json::from_str(&body).unwrap();
    let [one] = said["courses"].as_array().unwrap().as_slice() else { panic!("{said}") };
    assert_eq!(one["given"]["distinct"], course.fractions_given, "{one}");
    assert_eq!((&one["outcome"], &one["findings"][0]["code"]), (&"veto".into(), &"approved-by-one".into()));
    let dose = &one["dose"][0];
    let (each, least) = (dose["per_fraction_gy"].as_f64().unwrap(), dose["at_least_gy"].as_f64().unwrap());
    let whole = each * f64::from(course.fractions_planned);
    assert!((whole - dose["prescribed_gy"].as_f64().unwrap()).abs() < 0.05, "{dose}");
    assert!((least - each * f64::from(course.fractions_given)).abs() < 0.01, "{dose}");
    assert_eq!(dose["at_most_gy"], dose["at_least_gy"]);
    assert_eq!(said["sessions"].as_array().unwrap().len(), course.records.len());
    let days: Vec<&str> = said["sessions"].as_array().unwrap().iter().map(|s| s["date"].as_str().unwrap()).collect();
    assert!(days.is_sorted(), "{days:?}");

    let (status, _, page) = get(http, &format!("/course?patient={number}"), &site.session(&server, "therapist"));
    assert_eq!(status, 200);
    let so_far = format!("<strong>{} of {}</strong>", course.fractions_given, course.fractions_planned);
    for shown in
        [so_far.as_str(), "A. Oncologist", "the physicist is missing", "Dose against time", &format!("{least:.2} Gy")]
    {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    // Chart checks, with what they rest on.
    let check = |code: &str| {
        let checks = one["checks"].as_array().unwrap();
        checks.iter().find(|check| check["code"] == code).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!((check("identity"), check("signatures")), ("pass".to_owned(), "fail".to_owned()));
    assert_eq!(
        (check("prescription"), check("fractions"), check("machine-limits")),
        ("pass".into(), "pass".into(), "unknown".into())
    );
    assert!(page.contains("an oncologist and a physicist have signed what it delivers"), "{page}");
    let (_, _, list) = get(http, "/", &site.session(&server, "therapist"));
    assert!(list.contains(&format!("href=\"/course?patient={number}\"")), "{list}");

    // Whoever may not open a chart sees no course, and who isn't here is nobody.
    assert_eq!(get(http, &asked, &site.bearer("registrar")).0, 403);
    assert_eq!(get(http, &asked, &site.bearer("device")).0, 403);
    assert_eq!(get(http, &asked, "").0, 401);
    assert_eq!(get(http, "/courses?patient=nobody", &site.bearer("physicist")).0, 404);
    assert_eq!(get(http, "/courses", &site.bearer("physicist")).0, 400);
    assert_eq!(get(http, "/course?patient=nobody", &site.session(&server, "therapist")).0, 404);
    assert_eq!(get(http, &format!("/course?patient={number}"), &site.session(&server, "registrar")).0, 403);

    // What two people settle is what she has got.
    approve(&site, &number, &plan, &SIGNERS[1..]);
    settle_by_two(&site, &number, &plan, "9");
    let (_, _, body) = get(http, &asked, &site.bearer("physicist"));
    let said: Value = serde_json::from_str(&body).unwrap();
    let one = &said["courses"][0];
    let least = one["dose"][0]["at_least_gy"].as_f64().unwrap();
    assert!((least - 9.0 * each).abs() < 0.01 && one["given"]["distinct"] == 9, "{one}");
    server.stop();
}
