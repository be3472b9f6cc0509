//! The centre's policy: proposed, reviewed, approved by officers, and then what runs.

use std::fs;

use serde_json::Value;

use super::{Site, get};

const OFFICERS: [&str; 4] = ["Director", "Physics", "Security", "Records"];

/// What `policy form` prints, filled in; `rule` is added to its rules.
fn filled(site: &Site, rule: &str) -> String {
    let mut form = site.done(&["policy", "form"]).out;
    if form.contains("PUBLIC KEY") {
        let fourth = "[[officers]]\nname = \"NAME\"\nduty = \"records officer\"\nkey = \"PUBLIC KEY\"\n\n# How long";
        form = form.replacen("# How long", fourth, 1);
    }
    for officer in OFFICERS {
        let key = site.done(&["policy", "key", &site.path(&format!("{officer}.pem"))]).out;
        form = form.replacen("\"NAME\"", &format!("\"{officer}\""), 1).replacen("PUBLIC KEY", key.trim(), 1);
    }
    form.replacen("'''\n\n", &format!("{rule}\n'''\n\n"), 1)
}

fn sign(site: &Site, verb: &str, file: &str, officer: &str) -> super::Said {
    site.run(&["policy", verb, file, "--name", officer, "--key", &site.path(&format!("{officer}.pem")), "--json"])
}

fn shown(site: &Site) -> Value {
    site.run(&["policy", "show", "--json"]).json()
}

const NO_ONCOLOGIST_SEARCHES: &str =
    r#"@id("no-searches") forbid (principal == Role::"oncologist", action == Action::"search-records", resource);"#;

#[test]
fn what_the_officers_sign_is_what_runs() {
    let site = Site::new();
    site.done(&["init", "--servers", "1", "--name", "Test centre"]);
    let built_in = site.run(&["policy", "show"]);
    assert_eq!(built_in.exit, 3, "nobody signed it");
    assert!(built_in.out.starts_with("NO POLICY IS APPROVED"), "{}", built_in.out);

    // A form that isn't filled in is no policy.
    let form = site.file("form.toml", site.done(&["policy", "form"]).out.as_bytes());
    let refused = site.run(&["policy", "review", &form]);
    assert!(refused.exit == 1 && refused.err.contains("public key"), "{}", refused.err);

    let first = site.file("first.toml", filled(&site, NO_ONCOLOGIST_SEARCHES).as_bytes());
    let review = site.run(&["policy", "review", &first, "--json"]);
    assert_eq!(review.exit, 4, "{}", review.err);
    let differences = review.json()["differences"].clone();
    let all = differences.as_array().unwrap();
    assert!(!all.is_empty() && all.iter().all(|one| one["role"] == "oncologist" && one["may_now"] == false));
    assert_eq!(review.json()["keys_to_lose"], 1);
    let words = site.run(&["policy", "review", &first]).out;
    assert!(words.contains("oncologist may no longer search-records: clinical data of the centre"), "{words}");

    // The running server goes by it at once.
    let server = site.serve(&[]);
    let oncologist = site.bearer("oncologist");
    let search = || get(server.ready["http"].as_str().unwrap(), "/fhir/Patient?family=x", &oncologist).0;
    assert_eq!(search(), 200);
    assert_eq!(sign(&site, "propose", &first, "Director").exit, 0);
    let own = sign(&site, "approve", &first, "Director");
    assert!(own.exit == 1 && own.err.contains("proposed himself"), "{}", own.err);
    assert_eq!(sign(&site, "approve", &first, "Physics").json()["in_force"], false);
    assert_eq!(search(), 200, "one approval is none");
    // What is read is what is signed: another file isn't proposed.
    let other = site.file("other.toml", filled(&site, "").as_bytes());
    assert_eq!(sign(&site, "approve", &other, "Security").exit, 1);
    let digest = shown(&site)["proposed"][0]["digest"].as_str().unwrap().to_owned();
    let read = site.done(&["policy", "show", "--proposed", &digest[..8], "--json"]).json();
    assert_eq!(read["text"], fs::read_to_string(&first).unwrap());
    assert_eq!(sign(&site, "approve", &first, "Security").json()["in_force"], true);
    assert_eq!(search(), 403);
    let posture = get(server.ready["http"].as_str().unwrap(), "/posture", &site.session(&server, "it-administrator")).2;
    assert!(posture.contains("version 1, approved by 2 officers"), "{posture}");
    server.stop();

    // And after a start; each decision names it.
    let now = shown(&site);
    assert_eq!((&now["version"], &now["signed"], now["digest"].as_str().unwrap()), (&1.into(), &true.into(), &*digest));
    let said: Vec<&str> =
        now["signatures"].as_array().unwrap().iter().map(|one| one["says"].as_str().unwrap()).collect();
    assert_eq!(said, ["proposed", "approved", "approved"]);
    assert_eq!(site.done(&["policy", "form"]).out.trim_end(), fs::read_to_string(&first).unwrap().trim_end());

    let out = site.path("printed");
    site.done(&["policy", "print", "--out", &out]);
    let page = fs::read_to_string(format!("{out}/policy.html")).unwrap();
    for word in [
        "Test centre",
        &digest,
        "Director",
        "medical director",
        "Role: physicist",
        "it and auditors open nothing",
        "15 minutes",
    ] {
        assert!(page.contains(word), "{word}");
    }
    assert!(!page.contains("<script") && fs::read(format!("{out}/policy.pdf")).unwrap().starts_with(b"%PDF-1.7"));

    // The next one takes the officers of this one.
    let second =
        site.file("second.toml", fs::read_to_string(&first).unwrap().replace("hours = 12", "hours = 10").as_bytes());
    let changes = site.run(&["policy", "review", &second, "--json"]).json()["changes"].clone();
    assert_eq!(changes, serde_json::json!(["hours until any session ends: 10 (it was 12)"]));
    for (verb, officer) in [("propose", "Records"), ("approve", "Director"), ("approve", "Physics")] {
        let said = sign(&site, verb, &second, officer);
        assert_eq!(said.exit, 0, "{}", said.err);
    }
    assert_eq!(shown(&site)["version"], 2);
}
