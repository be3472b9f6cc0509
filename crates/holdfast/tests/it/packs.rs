//! Downtime packs: what a ward has in its hand when the centre is gone.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::gating::{SIGNERS, approve};
use super::{Said, Server, Site, courses, exchange, get, send};

/// A JPEG as far as its first bytes tell.
const PHOTO: &[u8] = b"\xff\xd8\xff\xe0 a photograph";

/// The pack that names the others.
const LIST: &str = "0000000000000000";

/// A centre with one patient on treatment, her plan signed by two, and a ward that gets packs.
struct Ward {
    site: Site,
    number: String,
    name: String,
    phone: String,
    diagnosis: String,
    plan: String,
    records: usize,
}

impl Ward {
    fn new() -> Self {
        let site = Site::new();
        site.done(&["init", "--servers", "5", "--name", "Test centre"]);
        let patient = courses(1).remove(0);
        let course = patient.course.unwrap();
        let server = site.serve(&[]);
        let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
        let bearer = site.bearer("oncologist");
        for resource in &patient.fhir {
            let mut resource: Value = serde_json::from_slice(resource).unwrap();
            if resource["resourceType"] == "Patient" {
                use base64::Engine as _;
                let data = base64::engine::general_purpose::STANDARD.encode(PHOTO);
                resource["photo"] = json!([{ "contentType": "image/jpeg", "data": data }]);
            }
            let path =
                format!("/fhir/{}/{}", resource["resourceType"].as_str().unwrap(), resource["id"].as_str().unwrap());
            let kind = format!("Content-Type: application/fhir+json\r\n{bearer}");
            let (status, _, body) = exchange("PUT", http, &path, &kind, &resource.to_string());
            assert_eq!(status, 201, "{body}");
        }
        send(dimse, &course.plan);
        course.records.iter().for_each(|record| send(dimse, record));
        drop(server);
        for (name, role) in [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")] {
            site.done(&["person", "new", "--name", name, "--role", role, "--key", &site.path(&format!("{role}.pem"))]);
        }
        let plan = site.file("plan.dcm", &course.plan);
        approve(&site, &patient.number, &plan, &SIGNERS);
        Self {
            number: patient.number,
            name: patient.name.text(),
            phone: patient.phone,
            diagnosis: patient.diagnosis.text.to_owned(),
            records: usize::try_from(course.fractions_given).unwrap(),
            plan,
            site,
        }
    }

    fn packs(&self) -> String {
        self.site.path("ward/packs")
    }

    fn key(&self) -> String {
        self.site.path("ward.key")
    }

    /// As the manual says: a key, a folder, two lines of configuration.
    fn configure(&self) {
        let said = self.site.done(&["pack", "key", "--out", &self.key(), "--json"]).json();
        let file = self.site.data().join("gateway/holdfast.toml");
        let mut text: toml::Table = fs::read_to_string(&file).unwrap().parse().unwrap();
        let packs = text["packs"].as_table_mut().unwrap();
        packs.insert("recipients".into(), toml::Value::Array(vec![said["recipient"].as_str().unwrap().into()]));
        packs.insert("folders".into(), toml::Value::Array(vec![self.packs().into()]));
        fs::write(&file, toml::to_string(&text).unwrap()).unwrap();
    }

    fn ask(&self, act: &str, more: &[&str]) -> Said {
        self.site.run(&[&["pack", act, &self.packs(), "--key", &self.key()], more].concat())
    }

    fn the_pack(&self) -> PathBuf {
        let mut all = fs::read_dir(self.packs()).unwrap().map(|entry| entry.unwrap().path());
        let is_pack = |path: &PathBuf| {
            path.extension().is_some_and(|kind| kind == "pack") && path.file_stem() != Some(OsStr::new(LIST))
        };
        all.find(is_pack).unwrap()
    }
}

fn posture(server: &Server, session: &str) -> String {
    let (status, _, page) = get(server.ready["http"].as_str().unwrap(), "/posture", session);
    assert_eq!(status, 200);
    let from = page.find("Downtime packs").unwrap();
    page[from..].split("</tr>").next().unwrap().to_owned()
}

/// The table of folders.
fn folders(server: &Server, session: &str) -> String {
    let (_, _, page) = get(server.ready["http"].as_str().unwrap(), "/posture", session);
    page.split("<h2 id=\"packs\">").nth(1).unwrap_or_default().to_owned()
}

fn file(folder: &Path, name: &str) -> Vec<u8> {
    fs::read(folder.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

#[test]
fn a_ward_goes_on_with_a_stick_and_a_key() {
    let ward = Ward::new();
    let site = &ward.site;
    let server = site.serve(&[]);
    let session = site.session(&server, "therapist");
    let shown = posture(&server, &session);
    assert!(shown.contains("none are made") && shown.contains("veto"), "{shown}");
    assert!(folders(&server, &session).is_empty());
    assert_eq!(site.run(&["pack", "make"]).exit, 1, "nobody has said for whom, and where");
    drop(server);

    // Nothing is written where nobody has said that packs may be brought: a stick that isn't plugged in.
    ward.configure();
    fs::create_dir_all(ward.packs()).unwrap();
    let said = site.run(&["pack", "make"]);
    assert!(said.exit == 3 && said.out.contains("HOW-TO-OPEN.txt"), "{} {}", said.out, said.err);
    assert_eq!(fs::read_dir(ward.packs()).unwrap().count(), 0);
    site.done(&["pack", "prepare", &ward.packs()]);
    let server = site.serve(&[]);
    let session = site.session(&server, "therapist");
    let begun = Instant::now();
    while !Path::new(&ward.packs()).join("status.json").exists() {
        assert!(begun.elapsed() < Duration::from_secs(120), "a start makes packs by itself");
        std::thread::sleep(Duration::from_millis(50));
    }
    let shown = posture(&server, &session);
    assert!(shown.contains("1 of 1 patients, in 1 of 1 folder") && shown.contains("pass"), "{shown}");
    let table = folders(&server, &session);
    assert!(table.contains(&ward.packs()) && table.contains("1 of 1") && table.contains("pass"), "{table}");
    assert!(site.done(&["pack", "make"]).out.starts_with("1 of 1 packs, in 1 folder"));
    drop(server);
    let sealed = fs::read(ward.the_pack()).unwrap();
    for secret in [ward.number.as_bytes(), ward.name.as_bytes(), ward.phone.as_bytes(), b"DICM"] {
        assert!(!sealed.windows(secret.len()).any(|window| window == secret), "it is sealed");
    }

    // The centre is gone.
    fs::rename(site.data(), site.path("encrypted-by-thieves")).unwrap();
    let said = ward.ask("verify", &[]);
    assert!(said.exit == 0 && said.out.starts_with("1 packs: 1 good"), "{} {}", said.out, said.err);
    let out = site.path("opened");
    let said = ward.ask("open", &["--out", &out]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    let index = String::from_utf8(file(Path::new(&out), "index.html")).unwrap();
    let id = ward.the_pack().file_stem().unwrap().to_string_lossy().into_owned();
    let folder = Path::new(&out).join(&id);
    let sheet = String::from_utf8(file(&folder, "sheet.html")).unwrap();
    let data: Value = serde_json::from_slice(&file(&folder, "pack.json")).unwrap();
    let planned = data["courses"][0]["fractions_planned"].as_u64().unwrap();
    let given = format!("{} of {planned}", ward.records);
    let next = format!("Fraction {} of {planned}", ward.records + 1);
    for page in [&index, &sheet] {
        assert!(page.contains(&ward.name) && page.contains(&ward.number) && page.contains(&given), "{page}");
    }
    assert!(index.contains(&format!("href=\"{id}/sheet.html\"")), "{index}");
    let digest = site.done(&["plan", "digest", &folder.join("plan-1.dcm").display().to_string()]).out;
    let digest = digest.split_whitespace().next().unwrap().to_owned();
    let signed = site.done(&["plan", "digest", &ward.plan]).out;
    assert_eq!(Some(digest.as_str()), signed.split_whitespace().next());
    let whole = format!("{:x}", Sha256::digest(file(&folder, "pack.json")));
    for said in [&ward.phone, &ward.diagnosis, &digest, &next, "photo.jpg", "<svg", "A. Oncologist", &whole[..16], "MU"]
    {
        assert!(sheet.contains(said), "{said}: {sheet}");
    }
    assert!(
        !sheet.contains("<script") && !sheet.contains("http://") || sheet.matches("http://").count() == 1,
        "its own"
    );
    assert_eq!(file(&folder, "photo.jpg"), PHOTO);
    assert_eq!(data["courses"][0]["delivery"], digest);
    // Whoever has sha256sum checks it with that.
    for line in String::from_utf8(file(&folder, "MANIFEST.sha256")).unwrap().lines() {
        let (digest, name) = line.split_once("  ").unwrap();
        assert_eq!(digest, format!("{:x}", Sha256::digest(file(&folder, name))), "{name}");
    }
    // Into a folder with older ones: refused.
    assert_eq!(ward.ask("open", &["--out", &out]).exit, 1);
    // Old ones open, and are called old.
    std::thread::sleep(Duration::from_millis(20));
    let said = ward.ask("open", &["--max-age-hours", "0", "--out", &site.path("old")]);
    assert!(said.exit == 3 && said.out.contains("1 older than 0 h"), "{} {}", said.out, said.err);
    assert!(fs::read_to_string(site.path("old/index.html")).unwrap().contains("OLD"));
}

#[test]
fn a_pack_that_the_centre_did_not_make_is_none() {
    let ward = Ward::new();
    let site = &ward.site;
    ward.configure();
    site.done(&["pack", "prepare", &ward.packs()]);
    site.done(&["pack", "make"]);
    let (pack, key) = (ward.the_pack(), fs::read_to_string(ward.key()).unwrap());
    let good = fs::read(&pack).unwrap();
    let opened = site.path("opened");
    assert_eq!(ward.ask("open", &["--out", &opened]).exit, 0);
    let folder = Path::new(&opened).join(pack.file_stem().unwrap());
    let recipient: age::x25519::Recipient =
        key.lines().find_map(|line| line.strip_prefix("# recipient ")).unwrap().parse().unwrap();
    let forge = |files: &BTreeMap<String, Vec<u8>>| {
        let mut archive = tar::Builder::new(Vec::new());
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            archive.append_data(&mut header, name, bytes.as_slice()).unwrap();
        }
        age::encrypt(&recipient, &archive.into_inner().unwrap()).unwrap()
    };
    let names = || fs::read_dir(&folder).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap());
    let files: BTreeMap<String, Vec<u8>> = names().map(|name| (name.clone(), file(&folder, &name))).collect();
    let manifest = |files: &BTreeMap<String, Vec<u8>>| {
        let own = ["MANIFEST.sha256", "entry.cbor", "receipt.tlog-proof"];
        let lines = files.iter().filter(|(name, _)| !own.contains(&name.as_str()));
        lines.map(|(name, bytes)| format!("{:x}  {name}\n", Sha256::digest(bytes))).collect::<String>().into_bytes()
    };
    let verdict = |bytes: &[u8]| {
        fs::write(&pack, bytes).unwrap();
        let said = ward.ask("verify", &["--json"]);
        (said.exit, said.json()["packs"][0].clone())
    };
    assert_eq!(verdict(&good).0, 0);
    assert_eq!(verdict(&forge(&files)).0, 0, "what is forged without a change is the same pack");

    // A thief who has the ward's recipient, which is no secret, and a pack that he could open.
    let mut another = files.clone();
    let said = String::from_utf8(another["pack.json"].clone()).unwrap().replace(&ward.number, "SYN-00000001");
    another.insert("pack.json".into(), said.into_bytes());
    let (exit, one) = verdict(&forge(&another));
    assert!(exit == 4 && one["why"].as_str().unwrap().contains("pack.json is not what the manifest says"), "{one}");
    another.insert("MANIFEST.sha256".into(), manifest(&another));
    let (exit, one) = verdict(&forge(&another));
    assert!(exit == 4 && one["why"].as_str().unwrap().contains("names other packs"), "{one}");
    for name in ["entry.cbor", "receipt.tlog-proof"] {
        let mut without = files.clone();
        without.remove(name);
        assert_eq!(verdict(&forge(&without)).0, 4, "{name}");
        for at in (0..files[name].len()).step_by(31) {
            let mut altered = files.clone();
            altered.get_mut(name).unwrap()[at] ^= 1;
            assert_eq!(verdict(&forge(&altered)).0, 4, "{name} at {at}");
        }
    }
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    assert_eq!(verdict(&flipped).0, 4);
    assert_eq!(verdict(&good[..middle]).0, 4);
    assert_eq!(verdict(b"").0, 4);
    // What fails is named and left out, and the rest opens.
    fs::write(&pack, &good).unwrap();
    fs::write(pack.with_file_name("ffffffffffffffff.pack"), &flipped).unwrap();
    let said = ward.ask("open", &["--out", &site.path("some")]);
    assert!(said.exit == 4 && said.out.contains("ffffffffffffffff  DAMAGED"), "{}", said.out);
    assert!(fs::read_to_string(site.path("some/index.html")).unwrap().contains("ffffffffffffffff"));
    fs::remove_file(pack.with_file_name("ffffffffffffffff.pack")).unwrap();

    // Another ward's key opens nothing; one whose centre's key is another's believes nothing; one without says so.
    let ask = |key: &str| {
        let file = site.file("another.key", key.as_bytes());
        site.run(&["pack", "verify", &ward.packs(), "--key", &file])
    };
    site.done(&["pack", "key", "--out", &site.path("other-ward.key")]);
    let other = fs::read_to_string(site.path("other-ward.key")).unwrap();
    let said = ask(&other);
    assert!(said.exit == 4 && said.out.contains("isn't sealed to this key"), "{}", said.out);
    let elsewhere = Site::new();
    elsewhere.done(&["init"]);
    let log = elsewhere.done(&["ledger", "keys", "--json"]).json();
    let ours = key.lines().find(|line| line.starts_with("# log ")).unwrap();
    let said = ask(&key.replace(ours, &format!("# log {}", log["log"].as_str().unwrap())));
    assert!(said.exit == 4 && said.out.contains("receipt"), "{}", said.out);
    let said = ask(&key.replace(ours, "# no log"));
    assert!(said.exit == 3 && said.out.contains("NOBODY HAS CHECKED WHO MADE THEM"), "{}", said.out);
    assert!(site.run(&["pack", "key", "--out", &ward.key()]).err.contains("there already"), "it is never written over");

    // A pack that is missing, an old one put back, another one's under her name: each is said.
    fs::write(&pack, &good).unwrap();
    assert_eq!(ward.ask("verify", &[]).exit, 0);
    fs::rename(&pack, pack.with_file_name("ffffffffffffffff.pack")).unwrap();
    let said = ward.ask("verify", &[]);
    assert!(
        said.exit == 4 && said.out.contains("under another one's name") && said.out.contains("names it"),
        "{}",
        said.out
    );
    fs::remove_file(pack.with_file_name("ffffffffffffffff.pack")).unwrap();
    std::thread::sleep(Duration::from_millis(20));
    site.done(&["pack", "make"]);
    let anew = fs::read(&pack).unwrap();
    fs::write(&pack, &good).unwrap();
    let said = ward.ask("verify", &[]);
    assert!(said.exit == 3 && said.out.contains("names a newer one"), "{}", said.out);
    let older = site.path("older");
    fs::create_dir(&older).unwrap();
    fs::rename(&pack, Path::new(&older).join(pack.file_name().unwrap())).unwrap();
    fs::write(&pack, &anew).unwrap();
    let both = ["pack", "verify", &older, &ward.packs(), "--key", &ward.key()];
    let said = site.run(&both);
    assert!(
        said.exit == 0 && said.out.contains("1 packs: 1 good") && said.out.contains("an older copy"),
        "{}",
        said.out
    );
    let list = pack.with_file_name(format!("{LIST}.pack"));
    let listed = fs::read(&list).unwrap();
    fs::remove_file(&list).unwrap();
    let said = ward.ask("verify", &[]);
    assert!(said.exit == 3 && said.out.contains("can't be told"), "{}", said.out);
    fs::write(&list, listed).unwrap();

    // Whoever has the folder writes nowhere else by it, and holds nobody up.
    let (canary, status) = (site.file("canary", b"alive"), pack.with_file_name("status.json"));
    fs::remove_file(&status).unwrap();
    std::os::unix::fs::symlink(&canary, &status).unwrap();
    std::os::unix::fs::symlink(&canary, pack.with_file_name("status.partial")).unwrap();
    let said = site.run(&["pack", "make"]);
    assert!(said.exit == 3 && said.out.contains("status.json is no file"), "{} {}", said.out, said.err);
    fs::remove_file(&status).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&status).status().unwrap().success());
    assert_eq!(site.run(&["pack", "make"]).exit, 3);
    fs::remove_file(&status).unwrap();
    fs::remove_file(pack.with_file_name("status.partial")).unwrap();
    std::os::unix::fs::symlink(&canary, pack.with_file_name("aaaaaaaaaaaaaaaa.pack")).unwrap();
    site.done(&["pack", "make"]);
    assert_eq!(fs::read(&canary).unwrap(), b"alive");
    assert_eq!(ward.ask("verify", &[]).exit, 0, "a link is no pack");
    fs::remove_file(pack.with_file_name("aaaaaaaaaaaaaaaa.pack")).unwrap();

    // Who is on treatment no more has no pack; what else lies in the folder stays.
    fs::write(pack.with_file_name("ffffffffffffffff.pack"), &good).unwrap();
    fs::write(pack.with_file_name("rota.txt"), b"monday").unwrap();
    site.done(&["pack", "make"]);
    let left: std::collections::BTreeSet<_> =
        fs::read_dir(ward.packs()).unwrap().map(|one| one.unwrap().file_name().into_string().unwrap()).collect();
    let own = pack.file_name().unwrap().to_str().unwrap();
    assert_eq!(
        left,
        ["0000000000000000.pack", "HOW-TO-OPEN.txt", own, "rota.txt", "status.json"].map(str::to_owned).into()
    );
}
