//! A custodian from her sheet to a recovery: enrolled on her own machine, proven once a year, called in.

use std::fs;

use super::Site;

/// A custodian of her own making: her recipient, and the files with her secret and her words.
pub(super) fn enrolled(site: &Site, number: usize) -> (String, String, String) {
    let sheet = site.path(&format!("sheet-{number}.html"));
    let said = site.done(&["custodian", "enrol", "--name", "C. Ustodian <1>", "--out", &sheet]);
    let recipient = said.out.split("--custodian ").nth(1).unwrap().trim().to_owned();
    assert!(recipient.starts_with("age1"), "{}", said.out);
    assert!(!said.out.contains("SECRET"), "the secret is on the sheet alone");
    let html = fs::read_to_string(&sheet).unwrap();
    assert!(html.contains("C. Ustodian &#60;1&#62;") || html.contains("C. Ustodian &lt;1&gt;"), "{html}");
    assert!(html.contains("<svg") && html.contains(&recipient));
    let at = html.find("AGE-SECRET-KEY-1").unwrap();
    let secret: String = html[at..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let words: Vec<&str> = html.split("<li>").skip(1).map(|item| item.split('<').next().unwrap()).collect();
    assert_eq!(words.len(), 24);
    assert!(
        site.run(&["custodian", "enrol", "--name", "x", "--out", &sheet]).exit != 0,
        "a sheet is never overwritten"
    );
    let words = site.file(&format!("words-{number}.txt"), words.join("\n").as_bytes());
    (recipient, site.file(&format!("secret-{number}.txt"), secret.as_bytes()), words)
}

#[test]
fn a_share_is_proven_to_open_without_its_secret_coming_to_the_centre() {
    let site = Site::new();
    let people: Vec<_> = (1..=3).map(|number| enrolled(&site, number)).collect();
    let mut arguments = vec!["init", "--servers", "3"];
    people.iter().for_each(|(recipient, ..)| arguments.extend(["--custodian", recipient]));
    site.done(&arguments);
    let list = || site.done(&["custodian", "list", "--json"]).json();
    assert_eq!(list()["custodians"][1]["proven"], serde_json::Value::Null);

    assert_eq!(site.run(&["custodian", "confirm", "--number", "2", "--answer", "0"]).exit, 1);
    let challenge = site.path("challenge");
    site.done(&["custodian", "challenge", "--number", "2", "--out", &challenge]);
    // Another custodian's share opens, but the challenge isn't hers; a stranger has no share.
    let said = site.run(&["custodian", "test", "--secret", &people[0].1, "--challenge", &challenge]);
    assert!(said.exit == 1 && said.err.contains("not made for this identity"), "{}", said.err);
    let stranger = enrolled(&site, 9);
    assert_eq!(site.run(&["custodian", "test", "--secret", &stranger.1, "--challenge", &challenge]).exit, 1);
    // By her words.
    let said = site.done(&["custodian", "test", "--secret", &people[1].2, "--challenge", &challenge, "--json"]).json();
    assert_eq!(said["number"], 2);
    let answer = said["answer"].as_str().unwrap();
    assert_eq!(site.run(&["custodian", "confirm", "--number", "2", "--answer", "dead-beef-dead-beef-dead"]).exit, 1);
    assert_eq!(site.run(&["custodian", "confirm", "--number", "3", "--answer", answer]).exit, 1);
    site.done(&["custodian", "confirm", "--number", "2", "--answer", answer]);
    assert_eq!(
        site.run(&["custodian", "confirm", "--number", "2", "--answer", answer]).exit,
        1,
        "an answer counts once"
    );
    let known = list();
    assert!(known["custodians"][1]["proven"].is_string() && known["custodians"][0]["proven"].is_null(), "{known}");
    assert_eq!(site.run(&["custodian", "challenge", "--number", "4", "--out", &challenge]).exit, 2);

    // Two of three come, one with her words.
    let (servers, into) = (site.data().join("servers"), site.path("recovered"));
    let from = servers.join("server-01").display().to_string();
    let other = servers.join("server-03").display().to_string();
    let arguments = ["custodian", "recover", "--from", &from, "--from", &other, "--custodian", &people[2].1];
    site.done(&[arguments.as_slice(), &["--custodian", &people[0].2, "--into", &into]].concat());
    assert!(site.done(&["custodian", "list", "--json", "--data", &into]).json()["custodians"][1]["proven"].is_string());
}
