//! A stolen login on a running gateway: it is refused, it rings, somebody looks at it; and an emergency goes on all the same.

use serde_json::Value;

use super::{Site, exchange, get};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn post(address: &str, path: &str, cookie: &str, form: &str) -> (u16, String) {
    let (status, _, page) = exchange("POST", address, path, &format!("{cookie}{FORM}"), form);
    (status, page)
}

impl Site {
    /// A login of its own.
    fn login(&self, role: &str, subject: &str) -> String {
        let token = self.done(&["token", "new", "--role", role, "--subject", subject, "--json"]).json();
        format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap())
    }
}

#[test]
fn a_stolen_login_is_refused_and_rings_and_an_emergency_goes_on() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let server = site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap();
    let his = site.login("service", "his");
    let put = |kind: &str, id: &str, more: &str| {
        let body = format!(r#"{{"resourceType":"{kind}","id":"{id}"{more}}}"#);
        let headers = format!("{his}Content-Type: application/fhir+json\r\n");
        let (status, _, said) = exchange("PUT", http, &format!("/fhir/{kind}/{id}"), &headers, &body);
        assert_eq!(status, 201, "{said}");
    };
    for n in 0..15 {
        put("Patient", &format!("p{n}"), &format!(r#","identifier":[{{"value":"N-{n}"}}]"#));
        put("Condition", &format!("c{n}"), &format!(r#","subject":{{"reference":"Patient/p{n}"}}"#));
    }
    let thief = site.login("nurse", "stolen");
    let reads = |who: &str, n: usize| get(http, &format!("/fhir/Condition/c{n}"), who).0;
    let opened = (0..15).filter(|n| reads(&thief, *n) == 200).count();
    assert_eq!(opened, 12);
    let refused = get(http, "/fhir/Condition/c12", &thief).2;
    assert!(refused.contains("charts that nothing explains within an hour"), "{refused}");

    let (security, nurse) = (site.session(&server, "security-officer"), site.session_of(&server, "nurse", "t"));
    let page = get(http, "/alarms", &security).2;
    for words in ["1 open", "Asked for more than a budget allows", "<code>stolen</code>", "security-officer, until"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert_eq!(get(http, "/alarms", &nurse).0, 403);
    let posture = get(http, "/posture", &security).2;
    assert!(
        posture.contains("1 alarm nobody has taken") && posture.contains("of 12 charts that people opened"),
        "{posture}"
    );
    let listed = site.run(&["alarm", "list", "--json"]);
    assert_eq!((listed.exit, &listed.json()["alarms"][0]["subject"]), (3, &"stolen".into()));
    let id = listed.json()["alarms"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(post(http, "/alarms", &security, &format!("id={id}")).0, 303);
    assert!(get(http, "/alarms", &security).2.contains("Taken"));
    let wordless = post(http, "/alarms", &security, &format!("id={id}&outcome=theft&words=+"));
    assert!(wordless.0 == 400 && wordless.1.contains("the words are empty"), "{}", wordless.1);
    site.done(&["alarm", "close", &id, "--outcome", "theft", "--words", "sold by a phisher"]);
    assert!(get(http, "/alarms", &security).2.contains("a theft, says local:operator: sold by a phisher"));
    assert_eq!(site.run(&["alarm", "list"]).exit, 0);

    // The nurse `t` breaks the glass, on a page.
    let form = |number: &str, reason: &str| {
        post(http, "/emergency", &nurse, &format!("patient={number}&reason={reason}&hours=2"))
    };
    for (number, reason, words) in [("N-99", "fell+in+the+ward", "is not here"), ("N-3", "x", "say why in a line")] {
        let (status, page) = form(number, reason);
        assert!(status == 400 && page.contains(words), "{page}");
    }
    assert_eq!(form("N-3", "fell+in+the+ward").0, 303);
    let own = get(http, "/emergency", &nurse).2;
    assert!(own.contains("fell in the ward") && own.contains("open until") && !own.contains("Was it one?"), "{own}");
    let hers = site.login("nurse", "t");
    assert_eq!(reads(&hers, 3), 200);
    let rows = site.done(&["access", "--patient", "N-3", "--json"]).json();
    let rows = rows.as_array().or_else(|| rows["rows"].as_array()).unwrap().clone();
    assert!(rows.iter().any(|row| row["relation"] == "break-glass" && row["outcome"] == "opened"), "{rows:?}");
    assert_eq!(post(http, "/emergency", &security, "patient=N-3&reason=fell+in+the+ward&hours=2").0, 403);
    let queue = site.run(&["emergency", "list", "--json"]).json()["emergencies"][0].clone();
    assert_eq!((&queue["subject"], &queue["is_overdue"]), (&"t".into(), &false.into()));
    let review = |who: &str| {
        let id = queue["id"].as_str().unwrap();
        post(http, "/emergency/review", who, &format!("id={id}&justified=yes&words=asked+the+ward")).0
    };
    assert_eq!((review(&nurse), review(&security), review(&security)), (403, 303, 400));
    assert!(get(http, "/emergency", &security).2.contains("Justified"));

    // Patients who don't exist, who look like others.
    assert_eq!(site.run(&["honey", "status"]).exit, 3);
    let plant = ["honey", "plant", "--count", "3", "--phone", "+91 471 0######", "--number"];
    assert_eq!(site.run(&[&plant[..], &["MR-#"]].concat()).exit, 2);
    // By a naming system that nobody else's number has they would be told at sight.
    let unnamed = site.run(&[&plant[..], &["MR-######"]].concat());
    assert!(unnamed.exit == 2 && unnamed.err.contains("number_system"), "{}", unnamed.err);
    let system = "https://centre.example/mrn";
    let planted = site.done(&[&plant[..], &["MR-######", "--number-system", system, "--json"]].concat()).json();
    assert_eq!(planted["planted"], 3);
    // A thief at the front desk sees their names and nothing rings; whoever opens one's chart rings.
    let names: Value =
        serde_json::from_str(&get(http, "/fhir/Patient?_count=50", &site.login("registrar", "front-desk")).2).unwrap();
    let number = |one: &Value| one["resource"]["identifier"][0]["value"].as_str().unwrap_or_default().to_owned();
    let all = names["entry"].as_array().unwrap();
    let nobody = all.iter().find(|one| number(one).starts_with("MR-")).unwrap();
    assert_eq!(site.run(&["alarm", "list"]).exit, 0);
    let id = nobody["resource"]["id"].as_str().unwrap();
    let curious = site.login("oncologist", "curious");
    let chart = get(http, &format!("/fhir/Condition?patient={id}"), &curious).2;
    assert!(chart.contains("\"Condition\""), "{chart}");
    let rang = site.run(&["alarm", "list", "--json"]).json();
    let honey = rang["alarms"].as_array().unwrap().iter().find(|one| one["signal"] == "honey").unwrap();
    assert_eq!(honey["subject"], "curious");
    server.stop();
    // A start forgets none of it.
    let server = site.serve(&[]);
    let posture = get(server.ready["http"].as_str().unwrap(), "/posture", &site.session(&server, "auditor")).2;
    assert!(posture.contains("3 are planted"), "{posture}");
    assert_eq!(site.run(&["alarm", "list"]).exit, 3);
}
