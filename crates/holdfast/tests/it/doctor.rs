//! How each control stands: on the page and by `holdfast doctor`, which say the same; what proves one, and what is put off.

use std::fs;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kit::{Clock as _, SystemClock};
use serde_json::Value;

use super::{Said, Server, Site, get};

const DAY_MS: i64 = 86_400_000;

impl Site {
    fn doctor(&self) -> Value {
        let said = self.run(&["doctor", "--json"]);
        assert_eq!(said.exit, 3, "some control of a test's centre always fails: {} {}", said.out, said.err);
        said.json()
    }

    fn configure(&self, change: impl FnOnce(String) -> String) {
        let file = self.data().join("gateway/holdfast.toml");
        let text = change(fs::read_to_string(&file).unwrap());
        fs::write(&file, text).unwrap();
    }

    /// The file of a token.
    fn token_file(&self, role: &str, subject: &str) -> String {
        let token = self.done(&["token", "new", "--role", role, "--subject", subject, "--json"]).json();
        self.file(&format!("{subject}.token"), token["token"].as_str().unwrap().as_bytes())
    }

    fn put_off(&self, control: &str, days: i64, token: &str) -> Said {
        let until = SystemClock.now().plus_ms(days * DAY_MS).to_string()[..10].to_owned();
        let why = "the disks come with the next delivery";
        self.run(&["doctor", "put-off", control, "--until", &until, "--why", why, "--token", token, "--json"])
    }
}

fn control<'a>(report: &'a Value, id: &str) -> &'a Value {
    let all = report["controls"].as_array().unwrap();
    all.iter().find(|one| one["id"] == id).unwrap_or_else(|| panic!("{id} in {report}"))
}

fn grade<'a>(report: &'a Value, id: &str) -> &'a str {
    control(report, id)["grade"].as_str().unwrap()
}

fn page(site: &Site, server: &Server) -> String {
    let (status, _, page) = get(server.ready["http"].as_str().unwrap(), "/posture", &site.session(server, "auditor"));
    assert_eq!(status, 200, "{page}");
    let page = page.replace("&#39;", "'").replace("&#38;", "&");
    page.replace("&#60;", "<").replace("&#62;", ">").replace("&#34;", "\"")
}

/// The row of one control.
fn row<'a>(page: &'a str, id: &str) -> &'a str {
    let from = page.find(&format!("<tr id=\"{id}\">")).unwrap_or_else(|| panic!("{id}: {page}"));
    page[from..].split("</tr>").next().unwrap()
}

#[test]
fn the_page_and_the_doctor_say_the_same() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    let stopped = site.doctor();
    for id in ["guard.budgets", "edge.http"] {
        assert_eq!((grade(&stopped, id), &control(&stopped, id)["state"]), ("unknown", &"no gateway runs here".into()));
    }
    let server = site.serve(&[]);
    let (page, report) = (page(&site, &server), site.doctor());
    let all = report["controls"].as_array().unwrap();
    assert_eq!(page.matches("<tr id=\"").count(), all.len());
    let mut seen = std::collections::BTreeSet::new();
    for one in all {
        let text = |key: &str| one[key].as_str().unwrap();
        let row = row(&page, text("id"));
        for key in ["what", "grade", "state", "owner"] {
            assert!(row.contains(text(key)), "{key} {}: {row}", text(key));
        }
        assert_eq!(row.contains(&format!("→ <code>{}</code>", text("mend"))), text("grade") != "pass", "{row}");
        // Nothing passes that nothing has shown.
        assert!(text("grade") != "pass" || one["proven"]["at"].is_string(), "{one}");
        assert_eq!(row.contains("<td>never</td>"), one["proven"].is_null() && one["found"].is_null(), "{row}");
        assert!(one["proven"].is_null() || ["pass", "stale"].contains(&text("grade")), "{one}");
        assert!(!text("state").contains("configured") && !text("state").contains("compliant"), "{one}");
        seen.insert((text("layer").to_owned(), text("grade").to_owned()));
    }
    let layers: std::collections::BTreeSet<&str> = seen.iter().map(|(layer, _)| layer.as_str()).collect();
    assert_eq!(layers.len(), 11, "{layers:?}");
    for (id, expected) in [
        ("edge.http", "pass"),
        ("guard.policy", "fail"),
        ("guard.budgets", "pass"),
        ("guard.alarms", "unknown"),
        ("guard.honey", "fail"),
        ("records.losable", "pass"),
        ("records.readable", "unknown"),
        ("locations.independent", "fail"),
        ("keys.holders", "pass"),
        ("ledger.witnesses", "fail"),
        ("recovery.custodians", "unknown"),
        ("recovery.restored", "unknown"),
        ("wards.packs", "fail"),
        ("host.clock", "unknown"),
    ] {
        assert_eq!(grade(&report, id), expected, "{}", control(&report, id));
    }
    let total: u64 = report["totals"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(total as usize, all.len());
    let text = site.run(&["doctor"]);
    assert!(text.exit == 3 && text.out.contains("unknown  host.clock"), "{}", text.out);
}

#[test]
fn what_was_read_and_what_was_given_back_are_proofs() {
    let site = Site::new();
    let made = site.done(&["init", "--servers", "5"]).out;
    let vkey = made.lines().map(str::trim).find(|line| line.starts_with("holdfast/")).unwrap().to_owned();
    // Whoever only looks writes nothing, and so proves nothing to anybody later.
    site.done(&["verify"]);
    assert_eq!(grade(&site.doctor(), "records.readable"), "unknown");
    site.done(&["scrub"]);
    let report = site.doctor();
    for id in ["records.readable", "chart.index"] {
        assert_eq!(grade(&report, id), "pass");
        assert_eq!(control(&report, id)["proven"]["by"], "by holdfast scrub");
    }

    // Of a running gateway it stands in the log, the bad news too.
    let volume = fs::read_dir(site.data().join("servers/server-02/shards/volumes")).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(volume.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(volume.path(), bytes).unwrap();
    let server = site.serve(&[]);
    assert_eq!(site.run(&["verify"]).exit, 4);
    let report = site.doctor();
    let found = control(&report, "records.readable");
    assert_eq!((&found["grade"], &found["severity"]), (&"fail".into(), &"reduced".into()), "{found}");
    assert!(found["proven"].is_null() && found["found"]["by"] == "by holdfast verify", "{found}");
    server.stop();
    site.done(&["scrub"]);
    assert_eq!(grade(&site.doctor(), "records.readable"), "pass");

    // Recovered elsewhere, from three of its servers: that centre knows it of itself, this one is told.
    let elsewhere = site.path("elsewhere");
    let recover = |into: &str| {
        let folder = |name: String| site.data().join(name).display().to_string();
        let mut arguments = vec!["recover".to_owned(), "--into".to_owned(), into.to_owned(), "--vkey".to_owned()];
        arguments.push(vkey.clone());
        (3..=5).for_each(|n| arguments.extend(["--from".to_owned(), folder(format!("servers/server-0{n}"))]));
        let sheet = |n: u8| folder(format!("custodians-MOVE-OFFLINE/custodian-{n}.txt"));
        (1..=2).for_each(|n| arguments.extend(["--custodian".to_owned(), sheet(n)]));
        site.done(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    };
    recover(&elsewhere);
    let of_it = site.run(&["doctor", "--json", "--data", &elsewhere]).json();
    assert_eq!(control(&of_it, "recovery.restored")["proven"]["by"], "by the recovery that made it");
    assert_eq!(grade(&of_it, "records.readable"), "unknown", "it was read on servers that are gone");
    assert_eq!(grade(&site.doctor(), "recovery.restored"), "unknown", "a drill elsewhere says nothing by itself");
    let server = site.serve(&[]);
    site.done(&["doctor", "rehearsed", &elsewhere]);
    let report = site.doctor();
    let restored = control(&report, "recovery.restored");
    assert_eq!(
        (&restored["grade"], &restored["proven"]["by"]),
        (&"pass".into(), &"by a rehearsal with this centre's survivors".into())
    );
    assert!(row(&page(&site, &server), "recovery.restored").contains("were given back"));
    server.stop();
    // Another centre's, and a folder that nobody recovered, prove nothing.
    let other = Site::new();
    other.done(&["init", "--servers", "3"]);
    let said = other.run(&["doctor", "rehearsed", &elsewhere]);
    assert!(said.exit == 4 && said.err.contains("this centre is"), "{}", said.err);
    let said = site.run(&["doctor", "rehearsed", &other.data().display().to_string()]);
    assert!(said.exit == 1 && said.err.contains("of no recovery"), "{}", said.err);
}

#[test]
fn a_finding_that_is_put_off_stays_what_it_is() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let server = site.serve(&[]);
    let (it, nurse) = (site.token_file("it-administrator", "k.nair"), site.token_file("nurse", "a.nurse"));
    for (control, days, words) in [
        ("wards.packs", 92, "the maximum is 90 at once"),
        ("wards.packs", -2, "is past"),
        ("guard.containment", 5, "there is nothing to put off"),
        ("wards.pack", 5, "there are: edge.http"),
    ] {
        let said = site.put_off(control, days, &it);
        assert!(said.exit == 2 && said.err.contains(words), "{words}: {}", said.err);
    }
    let said = site.put_off("wards.packs", 5, &nurse);
    assert!(said.exit == 1 && said.err.contains("nurse"), "{}", said.err);
    assert!(control(&site.doctor(), "wards.packs")["put_off"].is_null());

    for times in [1, 2] {
        let said = site.put_off("wards.packs", 5, &it);
        assert_eq!((said.exit, &said.json()["times"]), (0, &times.into()), "{}", said.err);
    }
    let report = site.doctor();
    let packs = control(&report, "wards.packs");
    assert_eq!((&packs["grade"], &packs["severity"]), (&"fail".into(), &"broken".into()));
    let put_off = &packs["put_off"];
    assert_eq!((&put_off["by"], &put_off["times"], &put_off["over"]), (&"k.nair".into(), &2.into(), &false.into()));
    let text = site.run(&["doctor"]).out;
    assert!(text.contains("by k.nair (it-administrator), 2 times: the disks come"), "{text}");

    // The page is everybody's: it says who in no name.
    let shown = page(&site, &server);
    let last = put_off["until"].as_str().unwrap();
    let packs = row(&shown, "wards.packs");
    assert!(packs.contains(&format!("put off until {last}")) && packs.contains("fail"), "{packs}");
    let list = shown.split("<h2 id=\"put-off\">").nth(1).unwrap();
    assert!(list.contains("an IT administrator") && list.contains("2 times") && list.contains(last), "{list}");
    assert!(!shown.contains("k.nair") && !shown.contains("the disks come"), "{shown}");
    server.stop();
    assert_eq!(control(&site.doctor(), "wards.packs")["put_off"]["times"], 2, "a start forgets none");
}

#[test]
fn a_full_disk_a_weak_peer_and_an_expired_certificate_are_found() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let sound = site.doctor();
    assert_eq!((grade(&sound, "host.certificates"), grade(&sound, "edge.devices")), ("pass", "fail"));
    let mut expired = rcgen::CertificateParams::new(vec!["siem.example".to_owned()]).unwrap();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 31);
    let key = rcgen::KeyPair::generate().unwrap();
    let der = STANDARD.encode(expired.self_signed(&key).unwrap().der());
    let pem = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    let ca = site.file("siem.pem", pem.as_bytes());
    site.configure(|text| {
        let audit = format!("[audit]\nsyslog = \"tls://siem.example:6514\"\nca = \"{ca}\"\n");
        let text = text.replacen("[audit]\n", &audit, 1).replace("127.0.0.1:11112", "0.0.0.0:11112");
        let peer = "[[dimse.peers]]\ntitle = \"LINAC1\"\nnetwork = \"10.1.2.3\"\n";
        format!("{text}\n{peer}\n[doctor]\ndisk_free_percent_min = 100\n")
    });
    let report = site.doctor();
    let disk = control(&report, "host.disk");
    assert_eq!((&disk["grade"], grade(&report, "account.siem")), (&"fail".into(), "unknown"), "{disk}");
    assert!(disk["evidence"].as_str().unwrap().contains("at least 100 %"), "{disk}");
    let devices = control(&report, "edge.devices");
    assert!(devices["state"] == "2 of 2 are weak" && devices["severity"] == "reduced", "{devices}");
    assert!(devices["evidence"].as_str().unwrap().contains("LINAC1 from 10.1.2.3: without TLS"), "{devices}");
    let certificates = control(&report, "host.certificates");
    let state = certificates["state"].as_str().unwrap();
    assert!(certificates["severity"] == "broken" && state.contains("2020-01-31"), "{certificates}");
}
