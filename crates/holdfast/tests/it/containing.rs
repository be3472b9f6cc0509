//! Doors that one person closes on a page or by one command, and two officers open again; the gate goes on meanwhile.

use super::{Site, exchange, get, offer, signed};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn close(address: &str, cookie: &str, form: &str) -> (u16, String) {
    let (status, _, page) = exchange("POST", address, "/containment", &format!("{cookie}{FORM}"), form);
    (status, page)
}

#[test]
fn one_closes_two_open_and_the_gate_goes_on() {
    let site = Site::new();
    let (plan, wrong, number) = signed(&site);
    for (name, role) in [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")] {
        let key = site.path(&format!("{role}.pem"));
        site.done(&["plan", "approve", "--patient", &number, "--name", name, "--role", role, "--key", &key, &plan]);
    }
    let officers = site.approved_policy();
    let server = site.serve(&[]);
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    let (therapist, security) = (site.session(&server, "therapist"), site.session(&server, "security-officer"));
    let registrar = site.bearer("registrar");
    let search = || get(http, "/fhir/Patient?identifier=x", &registrar).0;
    let list = || get(http, "/", &therapist).0;
    let gate = |file: &str| site.run(&["gate", "check", "--patient", &number, file]).exit;
    let consoles = |file: &str| {
        let (status, words) = super::offer_to("GATE", dimse, &std::fs::read(file).unwrap());
        (status, words.contains("closed by"))
    };
    let before = (gate(&plan), gate(&wrong), consoles(&plan));
    assert_eq!((search(), list(), before), (200, 200, (0, 4, (0, false))));

    // By whom, and what else, is said on the page; a therapist closes nothing.
    assert_eq!(close(http, &therapist, "measure=lockdown&subject=&reason=x").0, 403);
    let refused = close(http, &security, "measure=freeze&subject=a+b&reason=x");
    assert!(refused.0 == 400 && refused.1.contains("freeze SUBJECT"), "{}", refused.1);
    assert_eq!(close(http, &security, "measure=lockdown&subject=&reason=drill").0, 303);
    let page = get(http, "/containment", &security).2;
    assert!(page.contains("lockdown") && page.contains("0 of 2 officers have signed"), "{page}");
    let posture = get(http, "/posture", &security).2;
    assert!(posture.contains("CLOSED: lockdown"), "{posture}");

    assert_eq!((search(), list()), (403, 403));
    // Consoles and the terminal ask the gate as before, and what a machine sends is taken in.
    assert_eq!((gate(&plan), gate(&wrong), consoles(&plan)), before);
    assert_eq!(offer(dimse, &std::fs::read(&plan).unwrap()).0, 0);

    let status = site.run(&["contain", "status", "--json"]);
    assert_eq!(status.exit, 3);
    let id = status.json()["contained"][0]["containment"]["id"].as_str().unwrap().to_owned();
    let alone = site.run(&["contain", "lift", &id]);
    assert!(alone.exit == 1 && alone.err.contains("officers sign"), "{}", alone.err);
    let lift =
        |officer: &str, key: &str| site.run(&["contain", "lift", &id, "--name", officer, "--key", key, "--json"]);
    assert_eq!(lift("Officer 1", &officers[0]).json()["over"], false);
    // One and the same officer is one.
    assert_eq!(lift("Officer 1", &officers[0]).exit, 1);
    assert_eq!((search(), site.done(&["ledger", "checkpoint"]).exit), (403, 0));
    server.stop();

    // A start opens nothing.
    let server = site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap();
    assert_eq!(get(http, "/fhir/Patient?identifier=x", &registrar).0, 403);
    assert_eq!(lift("Officer 2", &officers[1]).json()["over"], true);
    assert_eq!(get(http, "/fhir/Patient?identifier=x", &registrar).0, 200);
    assert_eq!(site.run(&["contain", "status"]).exit, 0);

    // One person's logins.
    site.done(&["contain", "freeze", "t", "--reason", "lost her phone"]);
    assert_eq!(get(http, "/fhir/Patient?identifier=x", &registrar).0, 403);
}
