//! Who holds the keys changes, from the command line: turns, other custodians, another holder.

use std::fs;

use super::{Site, custodians::enrolled, get};

pub(super) fn secrets(site: &Site) -> Vec<String> {
    let folder = site.data().join("custodians-MOVE-OFFLINE");
    (1..=3).map(|number| folder.join(format!("custodian-{number}.txt")).display().to_string()).collect()
}

/// A plan that two people have signed, and whose it is.
fn approved(site: &Site) -> (String, String) {
    let (plan, _, patient) = super::signed(site);
    for (name, role) in [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")] {
        let key = site.path(&format!("{role}.pem"));
        site.done(&["plan", "approve", "--patient", &patient, "--name", name, "--role", role, "--key", &key, &plan]);
    }
    (plan, patient)
}

/// On folders, while the server runs and while it doesn't: keys turn, a lost holder is replaced, custodians are renewed; what
/// was there opens as before, and the old sheets open nothing that is dealt since.
#[test]
fn keys_turn_a_holder_is_replaced_and_custodians_are_renewed() {
    let site = Site::new();
    let (plan, patient) = approved(&site);
    let gate = || site.run(&["gate", "check", "--patient", &patient, &plan]).exit;
    assert_eq!(gate(), 0);
    assert_eq!(site.done(&["keys", "turn", "--json"]).json()["epoch"], 2);
    let server = site.serve(&[]);
    assert_eq!(site.done(&["keys", "turn", "--json"]).json()["epoch"], 3);
    assert_eq!(gate(), 0);
    let (status, _, ready) = get(server.ready["operations"].as_str().unwrap(), "/readyz", "");
    assert!(status == 200 && ready.contains("5 of 5 holders answer"), "{ready}");
    assert_eq!(site.done(&["keys", "rotate-vault", "--json"]).json()["vault_key"], 2);
    assert_eq!(gate(), 0);
    drop(server);

    let holder = site.data().join("servers/server-04/holder");
    fs::rename(&holder, site.path("captured")).unwrap();
    let old = secrets(&site);
    let few = ["holder", "replace", "--number", "4", "--custodian", &old[0]];
    let said = site.run(&few);
    assert!(said.exit == 1 && said.err.contains("1 of the 2 custodians needed"), "{}", said.err);
    assert!(!holder.exists(), "nothing was changed");
    let said = site.done(&[few.as_slice(), &["--custodian", &old[2], "--json"]].concat()).json();
    assert!(said["patients"].as_u64().unwrap() > 0, "{said}");
    assert_eq!(site.run(&["holder", "replace", "--number", "9", "--custodian", &old[0]]).exit, 2);
    assert_eq!(gate(), 0);
    assert_eq!(site.done(&["keys", "turn", "--json"]).json()["epoch"], 4);

    let new: Vec<_> = (1..=3).map(|number| enrolled(&site, number)).collect();
    let mut renew = vec!["custodian", "renew", "--custodian", &old[0], "--custodian", &old[1]];
    new.iter().for_each(|(recipient, ..)| renew.extend(["--recipient", recipient]));
    site.done(&renew);
    assert_eq!(gate(), 0);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
    let known = site.done(&["custodian", "list", "--json"]).json();
    assert_eq!(known["custodians"][0]["recipient"], new[0].0.as_str());

    let from = |number: u8| site.data().join(format!("servers/server-0{number}")).display().to_string();
    let (one, two, three) = (from(1), from(3), from(5));
    let recover = |a: &str, b: &str, into: &str| {
        let from = ["recover", "--from", &one, "--from", &two, "--from", &three];
        site.run(&[from.as_slice(), &["--custodian", a, "--custodian", b, "--into", into]].concat())
    };
    let said = recover(&old[0], &old[1], &site.path("no"));
    assert!(said.exit == 1 && said.err.contains("0 of the 2 custodians needed"), "{}", said.err);
    assert_eq!(recover(&new[0].1, &new[2].2, &site.path("new")).exit, 0);
    let again = site.run(&["gate", "check", "--patient", &patient, &plan, "--data", &site.path("new")]);
    assert_eq!(again.exit, 0, "{}", again.err);
}

/// Whoever sat at the gateway erased a patient on treatment: a recovery lists it, takes it back, and her gate answers again.
#[test]
fn an_erasure_is_listed_and_taken_back() {
    let site = Site::new();
    let (plan, patient) = approved(&site);
    let confirm = site.done(&["patient", "erase", "--patient", &patient, "--dry-run", "--json"]).json();
    let handle = confirm["patient"].as_str().unwrap();
    let erased = site.done(&["patient", "erase", "--patient", &patient, "--confirm", handle, "--json"]).json();
    let entry = erased["entry"].as_u64().unwrap();

    let (from, old) = (|n: u8| site.data().join(format!("servers/server-0{n}")).display().to_string(), secrets(&site));
    let from: Vec<String> = [2, 3, 5].into_iter().flat_map(|n| ["--from".to_owned(), from(n)]).collect();
    let with = ["recover", "--custodian", &old[0], "--custodian", &old[2], "--json"];
    let with: Vec<&str> = with.into_iter().chain(from.iter().map(String::as_str)).collect();
    let recover = |more: &[&str]| site.run(&[with.as_slice(), more].concat());

    let listed = recover(&["--list-erased"]);
    assert_eq!(listed.exit, 0, "{}", listed.err);
    assert_eq!(listed.json()[0]["entry"], entry);
    assert_eq!(listed.json()[0]["can_be_taken_back"], true);
    assert!(!listed.out.contains(&patient), "of whom is nobody's business");
    assert_eq!(recover(&[]).exit, 2, "onto where?");
    let (entry, later) = (entry.to_string(), (entry + 1).to_string());
    assert_eq!(recover(&["--list-erased", "--restore-erased-from", &entry]).exit, 2);

    let gate = |into: &str| site.run(&["gate", "check", "--patient", &patient, "--data", &site.path(into), &plan]).exit;
    // A number that is mistyped leaves nobody erased for good: it is refused, and the right one goes on in the same place.
    let behind = recover(&["--restore-erased-from", &later, "--into", &site.path("back")]);
    assert_eq!(behind.exit, 1, "{}", behind.out);
    assert!(behind.err.contains("vault.nothing-to-take-back"), "{}", behind.err);
    let back = recover(&["--restore-erased-from", &entry, "--into", &site.path("back")]).json();
    assert_eq!((&back["restored_patients"], &back["erased_patients"]), (&1.into(), &0.into()));
    assert_eq!(back["treatment_list"]["rows"].as_array().unwrap().len(), 1, "she is on the first list: {back}");
    assert_eq!(gate("back"), 0);
    let access =
        site.done(&["access", "--patient", &patient, "--data", &site.path("back"), "--json"]).json().to_string();
    assert!(access.contains("restore-patient"), "{access}");
}

/// She was erased, registered anew under her number, and treated; then the erasure is taken back. Nobody can tell from her first
/// chart what she was given meanwhile: her gate holds until two people have said.
#[test]
fn what_was_given_while_she_was_erased_is_settled() {
    let site = Site::new();
    let (plan, patient) = approved(&site);
    let confirm = site.done(&["patient", "erase", "--patient", &patient, "--dry-run", "--json"]).json();
    let handle = confirm["patient"].as_str().unwrap();
    let erased = site.done(&["patient", "erase", "--patient", &patient, "--confirm", handle, "--json"]).json();
    let entry = erased["entry"].as_u64().unwrap().to_string();
    // Under another UID: the old one is still the erased patient's.
    let again = super::gating::under_another_uid(&fs::read(&plan).unwrap());
    let server = site.serve(&[]);
    super::send(server.ready["dimse"].as_str().unwrap(), &again);
    server.stop();

    let (old, into) = (secrets(&site), site.path("back"));
    let mut command = vec!["recover", "--custodian", &old[0], "--custodian", &old[2], "--into", &into];
    command.extend(["--restore-erased-from", &entry]);
    let from: Vec<String> =
        [1, 2, 3].map(|n| site.data().join(format!("servers/server-0{n}")).display().to_string()).into();
    from.iter().for_each(|folder| command.extend(["--from", folder]));
    let said = site.done(&command);
    assert!(said.out.contains("the newest entry is of "), "{}", said.out);
    let gate = || site.run(&["gate", "check", "--patient", &patient, "--data", &into, &plan, "--json"]);
    assert!(gate().out.contains("patient-ambiguous"), "{}", gate().out);

    // The number of the interim file is corrected.
    let server = site.serve(&["--data", &into]);
    let made = ["token", "new", "--role", "oncologist", "--subject", "t", "--json", "--data", &into];
    let token = site.done(&made).json()["token"].as_str().unwrap().to_owned();
    let headers = format!("Authorization: Bearer {token}\r\nContent-Type: application/fhir+json\r\n");
    let http = server.ready["http"].as_str().unwrap();
    let (_, _, bundle) = get(http, &format!("/fhir/Patient?identifier={patient}"), &headers);
    let bundle: serde_json::Value = serde_json::from_str(&bundle).unwrap();
    let found = bundle["entry"].as_array().unwrap().iter().map(|entry| &entry["resource"]);
    let newest = found.max_by_key(|one| one["meta"]["lastUpdated"].as_str().unwrap().to_owned()).unwrap();
    let mut corrected = newest.clone();
    corrected["identifier"][0]["value"] = "INTERIM-1".into();
    let path = format!("/fhir/Patient/{}", corrected["id"].as_str().unwrap());
    let (status, _, said) = super::exchange("PUT", http, &path, &headers, &corrected.to_string());
    assert_eq!(status, 200, "{said}");
    server.stop();
    assert!(gate().exit == 4 && gate().out.contains("taken-back"), "{}", gate().out);
    for (name, role) in [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")] {
        let key = site.path(&format!("{role}.pem"));
        let who = ["--patient", &patient, "--name", name, "--role", role, "--key", &key, "--data", &into];
        site.done(&[&["plan", "settle", "--given", "3"], &who[..], &[&plan]].concat());
    }
    let said = gate();
    assert_eq!((said.exit, said.json()["fractions_given"].as_u64()), (0, Some(3)), "{}", said.out);
}
