//! Transfers: what another centre gets of one patient, and what it can check with nothing of ours.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use age::secrecy::ExposeSecret as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::gating::{SIGNERS, approve};
use super::{Said, Site, courses, exchange, send};

/// A centre with one patient on treatment, her plan signed by two; and the one where she goes on.
struct Move {
    site: Site,
    number: String,
    names: [String; 2],
    /// SOP Instance UIDs and the bytes that were sent.
    objects: Vec<Vec<u8>>,
    given: u32,
    receiver: age::x25519::Identity,
    keys: String,
}

type Files = BTreeMap<String, Vec<u8>>;

impl Move {
    fn new() -> Self {
        let site = Site::new();
        site.done(&["init", "--servers", "5", "--name", "First centre"]);
        let patient = courses(8).into_iter().find(|one| one.name.given != one.name.given_latin).unwrap();
        let course = patient.course.unwrap();
        let server = site.serve(&[]);
        let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
        let bearer = site.bearer("oncologist");
        for bytes in &patient.fhir {
            let resource: Value = serde_json::from_slice(bytes).unwrap();
            let path =
                format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
            let kind = format!("Content-Type: application/fhir+json\r\n{bearer}");
            // As somebody writes it by hand: lines in it.
            let pretty = serde_json::to_string_pretty(&resource).unwrap();
            let (status, _, body) = exchange("PUT", http, &path, &kind, &pretty);
            assert_eq!(status, 201, "{body}");
        }
        let objects: Vec<Vec<u8>> =
            [std::slice::from_ref(&course.plan), course.others.as_slice(), course.records.as_slice()].concat();
        objects.iter().for_each(|object| send(dimse, object));
        drop(server);
        for (name, role) in [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")] {
            site.done(&["person", "new", "--name", name, "--role", role, "--key", &site.path(&format!("{role}.pem"))]);
        }
        let plan = site.file("plan.dcm", &course.plan);
        approve(&site, &patient.number, &plan, &SIGNERS);
        let keys = site.done(&["ledger", "keys"]).out;
        let receiver = age::x25519::Identity::generate();
        site.file("receiver.key", receiver.to_string().expose_secret().as_bytes());
        let this = Self {
            number: patient.number,
            names: [patient.name.text(), patient.name.text_latin()],
            objects,
            given: course.fractions_given,
            keys: site.file("keys.txt", keys.as_bytes()),
            receiver,
            site,
        };
        this.token("physicist");
        this
    }

    fn token(&self, role: &str) -> String {
        let made =
            self.site.done(&["token", "new", "--role", role, "--subject", &format!("a.{role}"), "--json"]).json();
        self.site.file(&format!("{role}.token"), made["token"].as_str().unwrap().as_bytes())
    }

    fn make(&self, more: &[&str]) -> Said {
        let token = self.site.path("physicist.token");
        let fixed = ["transfer", "make", "--to", "Second centre", "--reason", "no beam here", "--token", &token];
        self.site.run(&[&fixed, more].concat())
    }

    fn verify(&self, file: &str, more: &[&str]) -> Said {
        self.site.run(&[&["transfer", "verify", file, "--json"], more].concat())
    }
}

fn unpacked(tar: &[u8]) -> Files {
    let mut archive = tar::Archive::new(tar);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().display().to_string(), bytes)
    };
    archive.entries().unwrap().map(read).collect()
}

/// Where it begins behind a header of PS3.10: 128 bytes, DICM, the meta group, whose length stands in its first element.
fn data_set_of(file: &[u8]) -> usize {
    144 + usize::try_from(u32::from_le_bytes(file[140..144].try_into().unwrap())).unwrap()
}

fn packed(files: &Files) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn manifest(files: &Files) -> Vec<u8> {
    let own = ["MANIFEST.sha256", "entry.cbor", "receipt.tlog-proof"];
    let lines = files.iter().filter(|(name, _)| !own.contains(&name.as_str()));
    lines.map(|(name, bytes)| format!("{:x}  {name}\n", Sha256::digest(bytes))).collect::<String>().into_bytes()
}

#[test]
fn another_centre_gets_all_of_her_and_can_check_it() {
    let centre = Move::new();
    let site = &centre.site;
    let recipient = centre.receiver.to_public().to_string();
    let out = site.path("bundle.age");
    let said = centre.make(&["--patient", &centre.number, "--recipient", &recipient, "--out", &out, "--json"]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    let made = said.json();
    assert_eq!(made["missing"], serde_json::json!([]), "{made}");
    let sealed = fs::read(&out).unwrap();
    for secret in [centre.number.as_bytes(), centre.names[0].as_bytes(), b"DICM"] {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret), "it is sealed");
    }

    // At the other centre: a key, the first one's log keys by another way, and no server.
    fs::rename(site.data(), site.path("burnt")).unwrap();
    let key = site.path("receiver.key");
    let said = centre.verify(&out, &["--key", &key, "--keys", &centre.keys]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    let found = said.json();
    assert_eq!((&found["whole"], &found["proven"], &found["checked"]), (&true.into(), &true.into(), &true.into()));
    assert_eq!((found["by"].as_str(), found["to"].as_str()), (Some("a.physicist"), Some("Second centre")));
    assert_eq!((found["number"].as_str(), &found["entry"]), (Some(centre.number.as_str()), &made["entry"]));
    let text = site.run(&["transfer", "verify", &out, "--key", &key, "--keys", &centre.keys]).out;
    for said in [&centre.names[0], "made by a.physicist (physicist)", "whole: every file", "names it"] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let files = unpacked(&age::decrypt(&centre.receiver, &sealed).unwrap());
    // Byte for byte as it was received: the data set, behind the header that an association doesn't carry.
    let dicom: Vec<&Vec<u8>> = files.iter().filter(|(name, _)| name.starts_with("dicom/")).map(|(_, b)| b).collect();
    assert_eq!(dicom.len(), centre.objects.len());
    for object in &centre.objects {
        let data_set = &object[data_set_of(object)..];
        assert!(dicom.iter().any(|file| file.ends_with(data_set)), "an object is not as it was sent");
    }
    for name in ["dicom/CT/", "dicom/RTSTRUCT/", "dicom/RTPLAN/", "dicom/RTDOSE/", "dicom/RTRECORD/", "approvals/1"] {
        assert!(files.keys().any(|file| file.starts_with(name)), "{name}");
    }
    assert_eq!(files["MANIFEST.sha256"], manifest(&files));

    // What people read.
    let page = String::from_utf8(files["summary.html"].clone()).unwrap();
    let plan = site.done(&["plan", "digest", &site.path("plan.dcm")]).out;
    let digest = plan.split_whitespace().next().unwrap();
    let given = format!("{} of ", centre.given);
    for said in [&centre.names[0], &centre.names[1], digest, &given, "A. Oncologist", "a.physicist", "no beam here"] {
        assert!(page.contains(said), "{said}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("http"), "nothing from elsewhere");
    let pdf = String::from_utf8_lossy(&files["summary.pdf"]).into_owned();
    assert!(pdf.starts_with("%PDF-1.7") && pdf.contains(&centre.names[1]) && pdf.contains("[see the .html]"));
    assert!(!files.contains_key("missing.txt"));

    // What programs read: the document by the product's own strict validator, each record as it was stored.
    let document = chart::fhir::Resource::parse(&files["fhir/summary.json"], Some("Bundle"));
    assert!(document.is_ok(), "{:?}", document.err());
    let document: Value = serde_json::from_slice(&files["fhir/summary.json"]).unwrap();
    assert_eq!(document["entry"][0]["resource"]["resourceType"], "Composition");
    let addresses: Vec<&str> =
        document["entry"].as_array().unwrap().iter().map(|one| one["fullUrl"].as_str().unwrap()).collect();
    for section in document["entry"][0]["resource"]["section"].as_array().unwrap() {
        for entry in section["entry"].as_array().into_iter().flatten() {
            let to = entry["reference"].as_str().unwrap();
            assert!(addresses.iter().any(|address| address.ends_with(to)), "{to} is not in the document");
        }
    }
    let patient = String::from_utf8(files["fhir/Patient-1.ndjson"].clone()).unwrap();
    assert_eq!(patient.lines().count(), 1);
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".ndjson")) {
        for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(chart::fhir::Resource::parse(line, None).is_ok(), "{name}");
        }
    }

    // It is hers to ask who handed it on.
    fs::rename(site.path("burnt"), site.data()).unwrap();
    let rows = site.done(&["access", "--patient", &centre.number, "--json"]).json();
    let rows = rows.as_array().unwrap();
    let handed = |row: &&Value| {
        row["act"] == "export-record" && row["what"].as_str().unwrap().starts_with("treatment.transfer/")
    };
    let handed: Vec<&Value> = rows.iter().filter(handed).collect();
    assert_eq!((handed.len(), handed[0]["outcome"].as_str()), (1, Some("written")), "{rows:?}");
    assert_eq!(handed[0]["who"], "a.physicist");
    assert!(rows.iter().any(|row| row["what"] == "transfer to Second centre" && row["outcome"] == "allowed"));
    let proof = site.done(&["ledger", "proof", "--entry", &made["entry"].to_string()]).out;
    assert!(proof.starts_with("c2sp.org/tlog-proof"), "{proof}");
}

#[test]
fn what_was_done_to_a_bundle_is_named() {
    let centre = Move::new();
    let site = &centre.site;
    let out = site.path("bundle.tar");
    let said = centre.make(&["--patient", &centre.number, "--plain", "--out", &out]);
    assert!(said.exit == 0 && said.err.contains("WARNING"), "{} {}", said.out, said.err);
    assert!(centre.make(&["--patient", &centre.number, "--plain", "--out", &out]).err.contains("already"));
    let whole = fs::read(&out).unwrap();
    let files = unpacked(&whole);
    let look = |bytes: &[u8], keys: &[&str]| {
        let file = site.file("twin.tar", bytes);
        let said = centre.verify(&file, keys);
        (said.exit, said.json())
    };
    let trusted = ["--keys", centre.keys.as_str()];
    assert_eq!(look(&whole, &trusted).0, 0);
    assert_eq!(look(&packed(&files), &trusted).0, 0, "another tar of the same files is the same bundle");
    let (exit, found) = look(&whole, &[]);
    assert!(exit == 3 && found["checked"] == false && found["proven"] == true, "{found}");

    let ct = files.keys().find(|name| name.starts_with("dicom/CT")).unwrap().clone();
    let twin = |edit: &dyn Fn(&mut Files)| {
        let mut files = files.clone();
        edit(&mut files);
        look(&packed(&files), &trusted)
    };
    let named = |(exit, found): (i32, Value), word: &str| {
        let wrong = found["wrong"].as_array().unwrap();
        assert!(exit == 4 && wrong.iter().any(|line| line.as_str().unwrap().starts_with(word)), "{word}: {found}");
    };
    named(twin(&|files| files.get_mut(&ct).unwrap()[900] ^= 1), &format!("ALTERED {ct}"));
    named(twin(&|files| drop(files.remove(&ct))), &format!("MISSING {ct}"));
    named(twin(&|files| drop(files.insert("more.txt".into(), vec![1]))), "EXTRA more.txt");
    named(
        twin(&|files| {
            let bytes = files.remove(&ct).unwrap();
            files.insert("dicom/CT/1.2.3.dcm".into(), bytes);
        }),
        &format!("RENAMED {ct} to dicom/CT/1.2.3.dcm"),
    );
    named(twin(&|files| drop(files.remove("MANIFEST.sha256"))), "MISSING MANIFEST.sha256");
    named(look(&whole[..whole.len() / 2], &trusted), "DAMAGED");
    named(look(&[whole.clone(), b"more".to_vec()].concat(), &trusted), "DAMAGED something stands behind its end");
    named(look(b"", &trusted), "MISSING MANIFEST.sha256");
    // With a manifest of his own: of one piece, and the log doesn't name it.
    let (exit, found) = twin(&|files| {
        files.get_mut(&ct).unwrap()[900] ^= 1;
        files.insert("MANIFEST.sha256".into(), manifest(files));
    });
    assert!(exit == 4 && found["whole"] == true && found["proven"] == false, "{found}");
    // Without what makes it a bundle, by a manifest that says so.
    let (exit, _) = twin(&|files| {
        files.remove("summary.html");
        files.insert("MANIFEST.sha256".into(), manifest(files));
    });
    assert_eq!(exit, 4);
    for name in ["entry.cbor", "receipt.tlog-proof"] {
        assert_eq!(twin(&|files| drop(files.remove(name))).0, 4, "{name}");
        for at in (0..files[name].len()).step_by(61) {
            assert_eq!(twin(&|files| files.get_mut(name).unwrap()[at] ^= 1).0, 4, "{name} at {at}");
        }
    }
    // By another centre's keys it is nobody's.
    let elsewhere = Site::new();
    elsewhere.done(&["init"]);
    let others = site.file("others.txt", elsewhere.done(&["ledger", "keys"]).out.as_bytes());
    assert_eq!(look(&whole, &["--keys", &others]).0, 4);
    let log = elsewhere.done(&["ledger", "keys", "--json"]).json();
    assert_eq!(look(&whole, &["--vkey", log["log"].as_str().unwrap()]).0, 4);

    // Sealed: cut short or altered it opens to nothing that is believed, and another key opens it not at all.
    let sealed = age::encrypt(&centre.receiver.to_public(), &whole).unwrap();
    let key = ["--keys", centre.keys.as_str(), "--key", &site.path("receiver.key")];
    assert_eq!(look(&sealed, &key).0, 0);
    assert_eq!(look(&sealed[..sealed.len() - 9], &key).0, 4);
    let mut flipped = sealed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert_eq!(look(&flipped, &key).0, 4);
    let file = site.file("sealed.age", &sealed);
    assert_eq!(centre.verify(&file, &trusted).exit, 2, "without a key");
    let other = site.file("other.key", age::x25519::Identity::generate().to_string().expose_secret().as_bytes());
    let said = centre.verify(&file, &["--key", &other]);
    assert!(said.exit == 1 && said.err.contains("isn't sealed to this key"), "{}", said.err);
}

#[test]
fn who_may_not_hands_nothing_on() {
    let centre = Move::new();
    let site = &centre.site;
    let server = site.serve(&[]);
    let make = |token: &str, patient: &str, more: &[&str]| {
        let out = site.path("refused.tar");
        let fixed = ["transfer", "make", "--to", "Second", "--reason", "r", "--plain", "--out", &out, "--json"];
        let said = site.run(&[&fixed, &["--token", token, "--patient", patient][..], more].concat());
        assert!(!std::path::Path::new(&out).exists() || said.exit == 0, "nothing is left: {}", said.err);
        assert!(!std::path::Path::new(&format!("{out}.partial")).exists());
        said
    };
    for role in ["it-administrator", "auditor", "registrar", "therapist", "device"] {
        let said = make(&centre.token(role), &centre.number, &[]);
        assert!(said.exit == 1 && said.err.contains("may not export-record"), "{role}: {} {}", said.out, said.err);
    }
    let physicist = site.path("physicist.token");
    for purpose in ["operations", "audit"] {
        assert_eq!(make(&physicist, &centre.number, &["--purpose", purpose]).exit, 1, "{purpose}");
    }
    assert_eq!(make(&physicist, &centre.number, &["--purpose", "holiday"]).exit, 2);
    assert_eq!(make(&physicist, &centre.number, &["--reason", "two\nlines"]).exit, 2);
    let forged = site.file("forged.token", b"hf_0000");
    assert_eq!(make(&forged, &centre.number, &[]).exit, 1);
    let said = make(&physicist, "nobody", &[]);
    assert!(said.exit == 1 && said.err.contains("patient.unknown"), "{}", said.err);
    let said = site.run(&[
        "transfer",
        "make",
        "--patient",
        "x",
        "--to",
        "y",
        "--reason",
        "z",
        "--token",
        &physicist,
        "--out",
        "o",
    ]);
    assert_eq!(said.exit, 2, "neither to whom it is sealed, nor that it isn't");
    let said = site.run(&[
        "transfer",
        "make",
        "--patient",
        "x",
        "--to",
        "y",
        "--reason",
        "z",
        "--token",
        &physicist,
        "--out",
        "o",
        "--recipient",
        "age1no",
    ]);
    assert!(said.exit == 2 && said.err.contains("usage.recipient"), "{}", said.err);
    let (_, log) = server.stop();
    assert!(!log.contains(&centre.number) && !log.contains(&centre.names[0]), "no patient in a log: {log}");

    let rows = site.done(&["access", "--patient", &centre.number, "--json"]).json();
    let refused =
        rows.as_array().unwrap().iter().filter(|row| row["act"] == "export-record" && row["outcome"] == "denied");
    assert_eq!(refused.count(), 7);
    // Erased: by her number she is unknown, by her record nothing opens.
    let id = site.done(&["patient", "erase", "--patient", &centre.number, "--dry-run", "--json"]).json();
    let id = id["patient"].as_str().unwrap();
    site.done(&["patient", "erase", "--patient", &centre.number, "--confirm", id]);
    assert!(make(&physicist, id, &[]).err.contains("patient.erased"));
    assert!(make(&physicist, &centre.number, &[]).err.contains("patient.unknown"));
}

#[test]
fn what_is_not_here_is_said() {
    let site = Site::new();
    let (plan, _, number) = super::signed(&site);
    approve(&site, &number, &plan, &SIGNERS[..1]);
    let server = site.serve(&[]);
    let course = courses(1).remove(0).course.unwrap();
    // Records without the fraction before the last, no structures, no dose.
    let dimse = server.ready["dimse"].as_str().unwrap();
    course.records.iter().for_each(|record| send(dimse, record));
    send(dimse, &course.others[1]);
    let made = site.done(&["token", "new", "--role", "oncologist", "--subject", "an.oncologist", "--json"]).json();
    let token = site.file("t", made["token"].as_str().unwrap().as_bytes());
    let out = site.path("bundle.tar");
    let make = ["transfer", "make", "--patient", &number, "--to", "B", "--reason", "r", "--plain", "--token", &token];
    // Through the running server: the bundle comes over its control port.
    let said = site.run(&[&make[..], &["--out", &out]].concat());
    assert!(
        said.exit == 3 && said.out.contains("NOT IN IT 1 images that objects of modality RTSTRUCT name"),
        "{}",
        said.out
    );
    for missing in ["doses of 1 signed plans", "every image of 1 series"] {
        assert!(said.out.contains(&format!("NOT IN IT {missing}")), "{}", said.out);
    }
    let files = unpacked(&fs::read(&out).unwrap());
    let missing = String::from_utf8(files["missing.txt"].clone()).unwrap();
    assert!(missing.contains(&course.plan_uid), "{missing}");
    let page = String::from_utf8(files["summary.html"].clone()).unwrap();
    assert!(page.contains("NOT IN IT") && page.contains("HELD") && page.contains("Open: "), "{page}");
    let said = site.run(&["transfer", "verify", &out]);
    assert!(said.exit == 3 && said.out.contains("NOT IN IT, as its sender says"), "{}", said.out);
    server.stop();
}
