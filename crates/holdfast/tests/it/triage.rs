//! An outage, seen from the command line: who is hit, by whose rules, and what a physician chooses.

use serde_json::Value;

use super::gating::{SIGNERS, approve, record, settle_by_two, uid};
use super::{Site, courses, exchange, get, send, signed};

const OUTAGE: [&str; 2] = ["--outage", "2026-11-23..2026-11-27"];

#[test]
fn an_outage_is_weighed_by_rules_that_a_physicist_signed() {
    let site = Site::new();
    let (plan, _, number) = signed(&site);
    let course = courses(1).remove(0).course.unwrap();
    approve(&site, &number, &plan, &SIGNERS);
    let server = site.serve(&[]);
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    course.records.iter().for_each(|record| send(dimse, record));
    let triage = || site.run(&["interruption", "triage", OUTAGE[0], OUTAGE[1], "--json"]);
    let row = || triage().json()["rows"][0].clone();

    // Nobody has registered a diagnosis: days are lost, and what that is worth nobody can say.
    let said = triage();
    assert_eq!((said.exit, said.json()["rules"]["signer"].clone()), (3, Value::Null), "{}", said.out);
    let first = row();
    assert_eq!((&first["category"], &first["assessment"]), (&Value::Null, &Value::Null), "{first}");
    assert_eq!(first["fractions_given"], course.fractions_given);
    assert!(first["days_lost"].as_i64().unwrap() > 0 && first["number"] == number.as_str(), "{first}");

    let headers = format!("{}Content-Type: application/fhir+json\r\n", site.bearer("oncologist"));
    let (_, _, bundle) = get(http, &format!("/fhir/Patient?identifier={number}"), &headers);
    let bundle: Value = serde_json::from_str(&bundle).unwrap();
    let her = format!("Patient/{}", bundle["entry"][0]["resource"]["id"].as_str().unwrap());
    let diagnose = |code: &str, status: &str| {
        let condition = serde_json::json!({
            "resourceType": "Condition", "subject": { "reference": her },
            "verificationStatus": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/condition-ver-status", "code": status }] },
            "clinicalStatus": { "coding": [{
                "system": "http://terminology.hl7.org/CodeSystem/condition-clinical", "code": "active" }] },
            "code": { "coding": [{ "system": "http://hl7.org/fhir/sid/icd-10", "code": code }] }
        });
        let condition = match status {
            // FHIR R4's con-5: what is entered in error has no clinical status.
            "entered-in-error" => {
                let mut condition = condition;
                condition.as_object_mut().unwrap().remove("clinicalStatus");
                condition
            }
            _ => condition,
        };
        let (status, _, said) = exchange("POST", http, "/fhir/Condition", &headers, &condition.to_string());
        assert_eq!(status, 201, "{said}");
    };
    diagnose("C15.4", "entered-in-error");
    assert_eq!(row()["category"], Value::Null, "that was a mistake");
    diagnose("C61", "confirmed");
    let found = row();
    assert_eq!((&found["category"], &found["tumour"]), (&2.into(), &"carcinoma of the prostate".into()), "{found}");
    let planned = found["assessment"]["as_planned"]["tumour_bed"].as_f64().unwrap();
    assert!(planned > found["assessment"]["as_it_stands"]["tumour_bed"].as_f64().unwrap());
    assert_eq!(triage().exit, 0, "figures of common use are said to be such, and weigh");

    // A physicist's own rules, handed in with her key; nobody else's.
    let form = site.done(&["rules", "form"]).out;
    let rules = site.file(
        "rules.toml",
        form.replace("category = 2\nalpha_beta_gy = 3.0", "category = 1\nalpha_beta_gy = 1.5").as_bytes(),
    );
    let sign = |name: &str, role: &str, file: &str| {
        site.run(&["rules", "sign", "--name", name, "--key", &site.path(&format!("{role}.pem")), file])
    };
    assert_eq!(sign("A. Oncologist", "oncologist", &rules).exit, 1, "she is no physicist");
    assert_eq!(sign("B. Physicist", "oncologist", &rules).exit, 4, "with somebody else's key");
    let wrong = site.file("wrong.toml", form.replace("tk_days = 28", "tk_days = -1").as_bytes());
    let said = sign("B. Physicist", "physicist", &wrong);
    assert!(said.exit == 1 && said.err.contains("Tk: -1"), "{}", said.err);
    assert_eq!(sign("B. Physicist", "physicist", &rules).exit, 0);
    assert!(site.done(&["rules", "show"]).out.contains("signed by B. Physicist"));
    let found = row();
    assert_eq!(found["category"], 1);
    assert!(found["assessment"]["as_planned"]["tumour_bed"].as_f64().unwrap() > planned, "a smaller α/β");
    let said = site.run(&["interruption", "triage", OUTAGE[0], OUTAGE[1]]);
    assert!(said.out.contains("[1] ") && said.out.contains("signed by B. Physicist"), "{}", said.out);

    // An oncologist chooses; a physicist doesn't.
    let choose = |name: &str, role: &str| {
        let key = site.path(&format!("{role}.pem"));
        let whose = ["--patient", &number, "--name", name, "--role", role, "--key", &key, &plan];
        site.run(
            &[
                &["interruption", "choose", OUTAGE[0], OUTAGE[1], "--option", "two a day, 6 h apart, on 5 days"][..],
                &whose,
            ]
            .concat(),
        )
    };
    assert_eq!(choose("B. Physicist", "physicist").exit, 1);
    assert_eq!(choose("A. Oncologist", "oncologist").exit, 0);
    let chosen = row()["chosen"].clone();
    assert_eq!(
        (&chosen["signer"], &chosen["option"]),
        (&"A. Oncologist".into(), &"two a day, 6 h apart, on 5 days".into())
    );
    // It approves nothing, and is no settlement.
    let check = site.run(&["gate", "check", "--patient", &number, &plan, "--json"]);
    assert_eq!(check.json()["fractions_given"], course.fractions_given, "{}", check.out);
    assert!(site.run(&["interruption", "triage", "--outage", "2026-11-24..2026-11-27", "--json"]).json()["rows"][0]["chosen"].is_null());

    // The same as a page, for whoever may see who is on treatment; days that are none are said to be none.
    let page = |path: &str, role: &str| get(http, path, &site.session(&server, role));
    let (status, _, shown) = page("/triage?from=2026-11-23&to=2026-11-27", "therapist");
    assert_eq!(status, 200);
    let planned = format!("{:.2} (", found["assessment"]["as_planned"]["tumour_bed"].as_f64().unwrap());
    for said in [
        "Category 1",
        "B. Physicist signed",
        &planned,
        "as it stands",
        "two a day, 6 h apart, on 5 days, by A. Oncologist",
    ] {
        assert!(shown.contains(said), "{said}: {shown}");
    }
    assert_eq!(page("/triage", "therapist").0, 200);
    for wrong in
        ["/triage?from=2026-11-27&to=2026-11-23", "/triage?from=2026-11-27", "/triage?from=2026-01-01&to=2027-06-01"]
    {
        assert_eq!(page(wrong, "therapist").0, 400, "{wrong}");
    }
    assert_eq!(page("/triage?from=2026-11-23&to=2026-11-27", "registrar").0, 403);
    assert_eq!(get(http, "/triage?from=2026-11-23&to=2026-11-27", "").0, 401);

    // Where the count is two people's word, the days aren't known; and what is on nobody's list is no course.
    send(dimse, &record(&uid(&plan), None, "1.2.826.0.1.77", ("1", "20261121")));
    settle_by_two(&site, &number, &plan, "3");
    let said = triage();
    assert_eq!(said.exit, 3, "{}", said.out);
    assert!(row()["unknown"][0].as_str().unwrap().contains("3 fractions count as given"), "{}", said.out);
    // The ledger says that her chart was opened, and for what.
    assert!(site.done(&["access", "--patient", &number]).out.contains("emergency"));
    server.stop();
}
