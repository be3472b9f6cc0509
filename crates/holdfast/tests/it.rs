//! The command line, as an operator uses it: every command is the real binary in a process of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)] // tests may stop at the first surprise

#[path = "it/accounting.rs"]
mod accounting;
#[path = "it/approving.rs"]
mod approving;
#[path = "it/buckets.rs"]
mod buckets;
#[path = "it/containing.rs"]
mod containing;
#[path = "it/context.rs"]
mod context;
#[path = "it/continuing.rs"]
mod continuing;
#[path = "it/course.rs"]
mod course;
#[path = "it/custodians.rs"]
mod custodians;
#[path = "it/custody.rs"]
mod custody;
#[path = "it/doctor.rs"]
mod doctor;
#[path = "it/fleet.rs"]
mod fleet;
#[path = "it/gating.rs"]
mod gating;
#[path = "it/growing.rs"]
mod growing;
#[path = "it/laying_out.rs"]
mod laying_out;
#[path = "it/losses.rs"]
mod losses;
#[path = "it/members.rs"]
mod members;
#[path = "it/normal.rs"]
mod normal;
#[path = "it/operating.rs"]
mod operating;
#[path = "it/packs.rs"]
mod packs;
#[path = "it/pages.rs"]
mod pages;
#[path = "it/paper.rs"]
mod paper;
#[path = "it/partition.rs"]
mod partition;
#[path = "it/plugins.rs"]
mod plugins;
#[path = "it/policies.rs"]
mod policies;
#[path = "it/recovering.rs"]
mod recovering;
#[path = "it/regating.rs"]
mod regating;
#[path = "it/renewing.rs"]
mod renewing;
#[path = "it/replay.rs"]
mod replay;
#[path = "it/transfer.rs"]
mod transfer;
#[path = "it/triage.rs"]
mod triage;
#[path = "it/under_fire.rs"]
mod under_fire;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use drill::synthetic;
use kit::Timestamp;
use serde_json::{Value, json};

/// What a command said.
struct Said {
    exit: i32,
    out: String,
    err: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|e| panic!("{e}: {} {}", self.out, self.err))
    }
}

/// A data folder that goes with the test.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn file(&self, name: &str, bytes: &[u8]) -> String {
        let file = self.0.path().join(name);
        fs::write(&file, bytes).unwrap();
        file.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    fn run(&self, arguments: &[&str]) -> Said {
        self.said(Command::new(env!("CARGO_BIN_EXE_holdfast")).args(arguments))
    }

    fn said(&self, command: &mut Command) -> Said {
        let output = command.env("HOLDFAST_DATA", self.data()).env_remove("RUST_LOG").output().unwrap();
        Said {
            exit: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn done(&self, arguments: &[&str]) -> Said {
        let said = self.run(arguments);
        assert_eq!(said.exit, 0, "{arguments:?}: {} {}", said.out, said.err);
        said
    }
}

fn courses(count: usize) -> Vec<synthetic::SyntheticPatient> {
    // 2026-11-23, a Monday.
    let today = Timestamp(1_795_392_000_000);
    let centre = synthetic::Centre { seed: 5, today, patients: 40, on_treatment: 40, images: synthetic::Images::Slice };
    let unfinished = |p: &synthetic::SyntheticPatient| p.course.as_ref().is_some_and(|c| c.fraction_next().is_some());
    centre.generate().filter(unfinished).take(count).collect()
}

fn tampered(plan: &[u8]) -> Vec<u8> {
    let dangerous = drill::tamper::catalogue().filter(|edit| edit.name.contains("meterset") && !edit.must_release());
    dangerous.filter_map(|edit| edit.apply(plan, 1).ok().flatten()).next().unwrap()
}

/// A centre of five servers with one signed plan; gives the plan's file, a tampered one's, and the hospital number.
fn signed(site: &Site) -> (String, String, String) {
    site.done(&["init", "--servers", "5", "--name", "Test centre"]);
    let patient = courses(1).remove(0);
    let course = patient.course.unwrap();
    let plan = site.file("plan.dcm", &course.plan);
    let wrong = site.file("wrong.dcm", &tampered(&course.plan));
    site.store(&course.plan);
    for (name, role) in [("A. Oncologist", "oncologist"), ("B. Physicist", "physicist")] {
        let key = site.path(&format!("{role}.pem"));
        site.done(&["person", "new", "--name", name, "--role", role, "--key", &key]);
    }
    (plan, wrong, patient.number)
}

impl Site {
    /// A policy that four officers answer for, in force; gives their keys.
    fn approved_policy(&self) -> Vec<String> {
        let mut text = format!("quorum = 2\nrules = '''\n{}'''\n", guard::Policy::built_in().unwrap().text());
        let names: Vec<String> = (1..=4).map(|number| format!("Officer {number}")).collect();
        let keys: Vec<String> = (1..=4).map(|number| self.path(&format!("officer-{number}.pem"))).collect();
        for (name, key) in names.iter().zip(&keys) {
            let public = self.done(&["policy", "key", key]).out;
            text.push_str(&format!(
                "[[officers]]\nname = \"{name}\"\nduty = \"officer\"\nkey = \"{}\"\n",
                public.trim()
            ));
        }
        let file = self.file("policy.toml", text.as_bytes());
        for ((verb, name), key) in ["propose", "approve", "approve"].iter().zip(&names).zip(&keys) {
            self.done(&["policy", verb, &file, "--name", name, "--key", key]);
        }
        keys
    }
}

/// A running server; it goes with the test.
struct Server {
    process: std::process::Child,
    /// What it wrote into its ready file.
    ready: Value,
    out: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Ends it, as a service manager does, and gives what it printed and logged.
    fn stop(mut self) -> (String, String) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
        (fs::read_to_string(&self.out).unwrap(), fs::read_to_string(&self.log).unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Site {
    fn serve(&self, more: &[&str]) -> Server {
        let (ready, out, log) = (self.path("ready.json"), self.0.path().join("out"), self.0.path().join("log"));
        let _ = fs::remove_file(&ready);
        let mut process = Command::new(env!("CARGO_BIN_EXE_holdfast"))
            .args(["serve", "--http", "127.0.0.1:0", "--dimse", "127.0.0.1:0", "--operations", "127.0.0.1:0"])
            .args(["--ready-file", &ready])
            .args(more)
            .env("HOLDFAST_DATA", self.data())
            .env_remove("RUST_LOG")
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        // The file is renamed to its place, whole. A demo takes minutes on a machine that is busy.
        while !Path::new(&ready).exists() {
            let ended = process.try_wait().unwrap();
            assert!(ended.is_none(), "{ended:?}: {}", fs::read_to_string(&log).unwrap());
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        let ready = serde_json::from_slice(&fs::read(&ready).unwrap()).unwrap();
        Server { process, ready, out, log }
    }

    /// The header of somebody who is signed in.
    fn session(&self, server: &Server, role: &str) -> String {
        // Nobody for whom an officer speaks.
        self.session_of(server, role, "pages")
    }

    fn session_of(&self, server: &Server, role: &str, subject: &str) -> String {
        let link = self.done(&["sign-in", "--role", role, "--subject", subject, "--json"]).json();
        let form = format!("code={}", link["code"].as_str().unwrap());
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        let (_, head, _) = exchange("POST", server.ready["http"].as_str().unwrap(), "/sign-in", kind, &form);
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
        format!("Cookie: {}\r\n", cookie.split(';').next().unwrap())
    }

    /// The header of a program.
    fn bearer(&self, role: &str) -> String {
        let token = self.done(&["token", "new", "--role", role, "--subject", "t", "--json"]).json();
        format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap())
    }

    /// Over the wire, as a planning system does.
    fn store(&self, plan: &[u8]) {
        let server = self.serve(&[]);
        // A token of the running server: commands reach it through its control port.
        let token = self.done(&["token", "new", "--role", "oncologist", "--subject", "t", "--json"]).json();
        assert!(token["token"].as_str().unwrap().starts_with("hf_"));
        let approve = self.file("to-approve.dcm", plan);
        // The gate answers for a patient that nobody knows: a veto, and exit 4.
        let said = self.run(&["gate", "check", "--patient", "nobody", &approve, "--json"]);
        assert_ne!(said.exit, 0);
        send(server.ready["dimse"].as_str().unwrap(), plan);
        drop(server);
    }
}

/// One GET: status, headers, body.
fn get(address: &str, path: &str, headers: &str) -> (u16, String, String) {
    exchange("GET", address, path, headers, "")
}

/// One request: status, headers, body.
fn exchange(method: &str, address: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
    use std::io::{Read, Write};
    let host = address.trim_start_matches("http://");
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{length}{headers}\r\n");
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes())).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), head.to_owned(), body.to_owned())
}

/// One C-STORE that is taken.
fn send(address: &str, file: &[u8]) {
    assert_eq!(offer(address, file), (0, String::new()), "C-STORE-RSP status and comment");
}

/// One C-STORE, by dicom-rs' own client: its status, and the Error Comment.
fn offer(address: &str, file: &[u8]) -> (u16, String) {
    offer_to("HOLDFAST", address, file)
}

/// The same, to one of its AE titles.
fn offer_to(title: &str, address: &str, file: &[u8]) -> (u16, String) {
    use dicom_ul::pdu::{PDataValue, PDataValueType, Pdu};
    // As it says of itself, whatever is wrong with the rest.
    let object = dicom_object::FileMetaTable::from_reader(&file[128..]).unwrap();
    let text = |uid: &str| uid.trim_end_matches('\0').to_owned();
    let class = text(&object.media_storage_sop_class_uid);
    let (instance, syntax) = (text(&object.media_storage_sop_instance_uid), text(&object.transfer_syntax));
    // Part 10: 128 bytes, DICM, and the meta group, whose length stands in its first element.
    let meta = 144 + usize::try_from(u32::from_le_bytes(file[140..144].try_into().unwrap())).unwrap();
    let mut association = dicom_ul::association::ClientAssociationOptions::new()
        .calling_ae_title("TEST")
        .called_ae_title(title)
        .with_presentation_context(class.as_str(), vec![syntax.as_str()])
        .establish(address)
        .unwrap();
    let context = association.presentation_contexts()[0].id;
    let mut command = Vec::new();
    let mut element = |number: u16, value: &[u8]| {
        command.extend(0u16.to_le_bytes());
        command.extend(number.to_le_bytes());
        command.extend(u32::try_from(value.len()).unwrap().to_le_bytes());
        command.extend(value);
    };
    let even = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let (class, instance) = (even(&class), even(&instance));
    let length = u32::try_from(8 + class.len() + 10 + 10 + 10 + 10 + 8 + instance.len()).unwrap();
    element(0x0000, &length.to_le_bytes());
    element(0x0002, &class);
    element(0x0100, &1u16.to_le_bytes());
    element(0x0110, &1u16.to_le_bytes());
    element(0x0700, &0u16.to_le_bytes());
    element(0x0800, &1u16.to_le_bytes());
    element(0x1000, &instance);
    for (value_type, data) in [(PDataValueType::Command, command), (PDataValueType::Data, file[meta..].to_vec())] {
        for (number, chunk) in data.chunks(16_000).enumerate() {
            let is_last = (number + 1) * 16_000 >= data.len();
            let data = vec![PDataValue {
                presentation_context_id: context,
                value_type: value_type.clone(),
                is_last,
                data: chunk.to_vec(),
            }];
            association.send(&Pdu::PData { data }).unwrap();
        }
    }
    let Pdu::PData { data } = association.receive().unwrap() else { panic!("no answer") };
    let value = |tag: [u8; 4]| {
        let at = data[0].data.windows(4).position(|w| w == tag)?;
        let length = usize::from(u16::from_le_bytes(data[0].data[at + 4..at + 6].try_into().unwrap()));
        Some(data[0].data[at + 8..at + 8 + length].to_vec())
    };
    let status = value([0, 0, 0, 9]).unwrap();
    let comment = value([0, 0, 2, 9]).unwrap_or_default();
    let _ = association.release();
    (u16::from_le_bytes(status.try_into().unwrap()), String::from_utf8(comment).unwrap().trim_end().to_owned())
}

#[test]
fn one_folder_survives_nothing_and_says_so() {
    let site = Site::new();
    let said = site.done(&["init"]);
    assert!(said.out.contains("survives NO loss") && said.out.contains("--servers 14"), "{}", said.out);
    assert!(said.out.contains("custodians-MOVE-OFFLINE"));
    let again = site.run(&["init"]);
    assert_eq!(again.exit, 1);
    assert!(again.err.contains("nothing was changed"), "{}", again.err);
    assert!(site.done(&["verify"]).out.starts_with("whole"));
}

#[test]
fn usage_is_2_and_a_misspelt_setting_is_named() {
    let site = Site::new();
    assert_eq!(site.run(&["plan", "dance"]).exit, 2);
    assert_eq!(site.run(&["verify"]).exit, 1);
    site.done(&["init"]);
    let file = site.data().join("gateway/holdfast.toml");
    let text = fs::read_to_string(&file).unwrap().replace("gate_title", "gate_tilte");
    fs::write(&file, text).unwrap();
    let said = site.run(&["verify"]);
    assert_eq!(said.exit, 1);
    assert!(said.err.contains("gate_tilte"), "{}", said.err);
}

#[test]
fn plans_are_compared_by_what_they_deliver() {
    let site = Site::new();
    let plan = courses(1).remove(0).course.unwrap().plan;
    let harmless = drill::tamper::catalogue()
        .filter(|edit| edit.must_release())
        .find_map(|edit| edit.apply(&plan, 3).ok().flatten())
        .unwrap();
    let (a, b, c) = (site.file("a.dcm", &plan), site.file("b.dcm", &harmless), site.file("c.dcm", &tampered(&plan)));
    let digests = site.done(&["plan", "digest", &a, &b, "--json"]).json();
    assert_eq!(digests[0]["digest"], digests[1]["digest"]);
    assert_eq!(site.run(&["plan", "diff", &a, &b]).exit, 0);
    let said = site.run(&["plan", "diff", &a, &c, "--json"]);
    assert_eq!(said.exit, 4);
    let fields = said.json()["fields"].clone();
    assert!(fields.as_array().unwrap().iter().all(|f| f["tag"].is_string() && f["keyword"].is_string()), "{fields}");
    // A device has no length to be asked for.
    #[cfg(unix)]
    {
        let said = site.run(&["plan", "digest", "/dev/zero"]);
        assert_eq!((said.exit, said.err.contains("more than 41943040 bytes")), (1, true), "{}", said.err);
    }
    let text = site.file("text.dcm", b"this is no plan");
    assert_eq!(site.run(&["plan", "diff", &a, &text]).exit, 1);
    assert_eq!(site.run(&["plan", "digest", &text]).exit, 1);
    for (first, second) in [(&a, &text), (&text, &a)] {
        let said = site.run(&["plan", "diff", first, second, "--json"]);
        assert_eq!((said.exit, said.json()["error"]["message"].is_string()), (1, true));
    }
}

#[test]
fn the_gate_holds_until_two_people_have_signed() {
    let site = Site::new();
    let (plan, wrong, number) = signed(&site);
    let check = |file: &str| site.run(&["gate", "check", "--patient", &number, file, "--json"]);
    let codes = |said: &Said| -> Vec<String> {
        let findings = said.json()["findings"].clone();
        findings.as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
    };
    let approve = |name: &str, role: &str, key: &str| {
        let key = site.path(key);
        site.run(&["plan", "approve", "--patient", &number, "--name", name, "--role", role, "--key", &key, &plan])
    };
    let said = check(&plan);
    assert_eq!((said.exit, codes(&said)), (4, vec!["not-approved".to_owned()]));
    assert_eq!(approve("A. Oncologist", "oncologist", "oncologist.pem").exit, 0);
    let said = check(&plan);
    assert_eq!((said.exit, codes(&said)), (4, vec!["approved-by-one".to_owned()]));
    // The oncologist's key doesn't sign for the physicist.
    assert_ne!(approve("B. Physicist", "physicist", "oncologist.pem").exit, 0);
    assert_eq!(check(&plan).exit, 4);
    assert_eq!(approve("B. Physicist", "physicist", "physicist.pem").exit, 0);
    let said = check(&plan);
    assert_eq!((said.exit, codes(&said)), (0, vec![]), "{}", said.out);
    let said = check(&wrong);
    assert_eq!((said.exit, codes(&said)), (4, vec!["delivery-differs".to_owned()]));

    // Everything of it is on her list, and stays there without the gateway's index.
    let rows = site.done(&["access", "--patient", &number, "--json"]).json();
    let decided = |row: &&Value| row["outcome"] == "allowed";
    let acts = |act: &str| rows.as_array().unwrap().iter().filter(decided).filter(|row| row["act"] == act).count();
    assert!(acts("check-gate") >= 5 && acts("approve-plan") >= 2 && acts("store-object") == 1, "{rows}");
    for file in ["index.sqlite", "index.sqlite-wal", "index.sqlite-shm", "keymap", "hashes"] {
        let _ = fs::remove_file(site.data().join("gateway").join(file));
    }
    assert_eq!(check(&plan).exit, 0);
    let later = site.done(&["access", "--patient", &number, "--json"]).json();
    assert!(later.as_array().unwrap().len() > rows.as_array().unwrap().len());

    // A server's shards are gone: all goes on, verify says so, and scrub fills the new disk.
    fs::remove_dir_all(site.data().join("servers/server-02/shards")).unwrap();
    assert_eq!(site.run(&["verify"]).exit, 4);
    assert_eq!(check(&plan).exit, 0, "one server down changes nothing");
    assert_eq!(site.run(&["scrub"]).exit, 0);
    assert_eq!(site.run(&["verify"]).exit, 0);

    // Erased: the gate can't establish anything any more.
    let erase = |more: &[&str]| site.run(&[&["patient", "erase", "--patient", &number], more].concat());
    let said = erase(&["--dry-run", "--json"]).json();
    let handle = said["patient"].as_str().unwrap().to_owned();
    assert!(handle.starts_with("Patient/") && said["erased"] == false, "{said}");
    for more in [&[][..], &["--confirm", &number]] {
        let said = erase(more);
        assert_eq!(said.exit, 2, "not without a confirmation of who it is: {}", said.err);
        assert!(said.err.contains(&format!("--confirm {handle}")) && !said.err.contains(&number), "{}", said.err);
    }
    assert_eq!(check(&plan).exit, 0, "nothing was done");
    let said = erase(&["--confirm", &handle]);
    assert!(said.exit == 0 || said.exit == 3, "{} {}", said.out, said.err);
    assert_ne!(check(&plan).exit, 0);
}

#[test]
fn damage_is_found_and_healed() {
    let site = Site::new();
    site.done(&["init", "--servers", "14"]);
    site.done(&["person", "new", "--name", "C", "--role", "physicist", "--key", &site.path("c.pem")]);
    assert_eq!(site.run(&["verify"]).exit, 0);
    let volume = fs::read_dir(site.data().join("servers/server-07/shards/volumes")).unwrap().next().unwrap().unwrap();
    let mut bytes = fs::read(volume.path()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(volume.path(), bytes).unwrap();
    let said = site.run(&["verify", "--json"]);
    assert_eq!(said.exit, 4);
    assert!(said.json()["damage"]["by_location"]["server-07"].as_u64().unwrap() >= 1);
    assert_eq!(site.run(&["scrub"]).exit, 0);
    assert_eq!(site.run(&["verify"]).exit, 0);
}

#[test]
fn a_recovery_believes_the_log_key_on_the_sheets() {
    let (site, other) = (Site::new(), Site::new());
    let vkey = |site: &Site| {
        let said = site.done(&["init", "--servers", "5"]);
        said.out.lines().map(str::trim).find(|line| line.starts_with("holdfast/")).unwrap().to_owned()
    };
    let (ours, theirs) = (vkey(&site), vkey(&other));
    let sheet = fs::read_to_string(site.data().join("custodians-MOVE-OFFLINE/custodian-1.txt")).unwrap();
    assert!(sheet.contains(&ours), "each custodian has it");
    // Among the survivors is one of another centre, and one whose marker is damaged.
    fs::write(site.data().join("servers/server-01/shards/location.cbor"), b"pay").unwrap();
    let folders = [other.data(), site.data(), site.data(), site.data()];
    let folders = folders.iter().zip([1, 1, 2, 3]).map(|(data, n)| data.join(format!("servers/server-0{n}")));
    let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
    let sheets = [1, 2].map(|n| site.data().join(format!("custodians-MOVE-OFFLINE/custodian-{n}.txt")));
    let printed = site.path("sheets");
    let recover = |vkey: Option<&str>, into: &str| {
        let mut arguments = vec!["recover".to_owned(), "--into".to_owned(), site.path(into)];
        arguments.extend(["--sheets".to_owned(), printed.clone()]);
        folders.iter().for_each(|folder| arguments.extend(["--from".to_owned(), folder.clone()]));
        sheets.iter().for_each(|sheet| arguments.extend(["--custodian".to_owned(), sheet.display().to_string()]));
        vkey.iter().for_each(|vkey| arguments.extend(["--vkey".to_owned(), (*vkey).to_owned()]));
        site.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let said = recover(None, "unsaid");
    assert!(said.exit != 0 && said.err.contains("--vkey"), "{}", said.err);
    let said = recover(Some(&theirs), "theirs");
    assert!(said.exit != 0, "the sheets are of another centre: {}", said.out);
    let said = recover(Some(&ours), "ours");
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert!(said.out.contains("from 3 survivors"), "{}", said.out);
    assert!(said.out.starts_with("On treatment: 0 patients"), "the list doesn't wait for markers: {}", said.out);
    assert!(said.out.contains("Sheets of 0 patients"), "{}", said.out);
    assert!(fs::read_to_string(Path::new(&printed).join("index.html")).unwrap().contains("<table"));
    // What is there of somebody else's could be taken for hers: nothing is begun.
    fs::write(Path::new(&printed).join("notes.txt"), "kept").unwrap();
    let said = recover(Some(&ours), "again");
    assert!(said.exit != 0 && said.err.contains("recover.sheets"), "{}", said.err);
    assert!(!Path::new(&site.path("again")).exists());
}

#[test]
fn a_damaged_marker_costs_its_own_server_and_is_healed() {
    let site = Site::new();
    site.done(&["init", "--servers", "5"]);
    let marker = site.data().join("servers/server-01/shards/location.cbor");
    let whole = fs::read(&marker).unwrap();
    let mut flipped = whole.clone();
    flipped[20] ^= 1;
    fs::write(&marker, flipped).unwrap();
    let said = site.run(&["verify"]);
    assert!(said.exit == 4 && said.out.contains("server-01 is unreachable"), "{} {}", said.out, said.err);
    site.done(&["scrub"]);
    site.done(&["verify"]);
    assert_eq!(fs::read(&marker).unwrap(), whole);
}

#[test]
fn tokens_are_shown_once_and_end() {
    let site = Site::new();
    site.done(&["init"]);
    let made = site.done(&["token", "new", "--role", "auditor", "--subject", "an-auditor", "--json"]).json();
    let (token, id) = (made["token"].as_str().unwrap().to_owned(), made["id"].as_str().unwrap().to_owned());
    let listed = site.done(&["token", "list"]).out;
    assert!(listed.contains(&id) && !listed.contains(&token));
    site.done(&["token", "revoke", &id]);
    assert!(site.done(&["token", "list"]).out.contains("revoked"));
    assert_eq!(site.run(&["token", "new", "--role", "king", "--subject", "x"]).exit, 2);
}

#[test]
fn a_drill_touches_no_folder_that_is_not_its_own() {
    let site = Site::new();
    let own = site.0.path().join("own");
    fs::create_dir(&own).unwrap();
    fs::write(own.join("thesis.txt"), b"years of work").unwrap();
    let said = site.run(&["drill", "eleven-of-fourteen", "--patients", "8", "--root", &own.display().to_string()]);
    assert_eq!(said.exit, 1, "{}", said.err);
    assert_eq!(fs::read(own.join("thesis.txt")).unwrap(), b"years of work");
}

/// What a drill found wrong: each promise with the question that was asked.
fn broken(report: &Value) -> Vec<(String, String)> {
    let checks = report["checks"].as_array().unwrap().iter();
    let text = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    checks
        .filter(|check| check["held"] == false)
        .map(|check| (text(check, "promise"), text(check, "question")))
        .collect()
}

impl Site {
    fn drill(&self, seed: u64, patients: usize, more: &[&str]) -> Said {
        let root = self.path("drill");
        let (seed, patients) = (seed.to_string(), patients.to_string());
        let mut arguments =
            vec!["drill", "eleven-of-fourteen", "--seed", &seed, "--patients", &patients, "--root", &root];
        arguments.extend(more);
        let said = self.run(&arguments);
        assert!(!Path::new(&root).exists(), "it leaves nothing behind");
        said
    }
}

#[test]
fn eleven_of_fourteen_and_its_twins() {
    let site = Site::new();
    let said = site.drill(3, 16, &["--json"]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    assert_eq!(said.json()["held"], true);
    let twelve = site.drill(3, 16, &["--json", "--servers-lost", "12"]);
    assert_eq!((twelve.exit, twelve.json()["held"].clone()), (4, Value::Bool(false)));
    let rung = broken(&twelve.json());
    for promise in ["P1", "P2", "P3", "P4", "P6"] {
        assert!(rung.iter().any(|(rung, _)| rung == promise), "{promise}: {rung:?}");
    }
    // Twelve keyholders are enough to open everything, and nothing of it stands in the clear.
    let thief = ("P2".to_owned(), "Do the stolen servers open nothing by themselves?".to_owned());
    let of_p2: Vec<_> = rung.into_iter().filter(|(promise, _)| promise == "P2").collect();
    assert_eq!(of_p2, [thief]);
    assert!(twelve.out.contains("he read 25 of the 25 records that he tried"), "{}", twelve.out);
    let planted = site.drill(3, 16, &["--json", "--plant-plaintext"]);
    assert_eq!(planted.exit, 4);
    let readable = ("P2".to_owned(), "Can anything of a patient be read on the stolen disks?".to_owned());
    assert_eq!(broken(&planted.json()), [readable]);
}

/// A week on paper; where one patient's is lost, the centre can't know, and the drill's own list does.
#[test]
fn an_outage_week_and_its_twin() {
    let site = Site::new();
    let drill = |seed: u64, more: &[&str]| {
        let (seed, root) = (seed.to_string(), site.path(&format!("drill-{seed}-{}", more.len())));
        let words = ["drill", "outage-week", "--patients", "16", "--seed", &seed, "--root", &root, "--json"];
        site.run(&[&words[..], more].concat())
    };
    let mut slips = 0;
    for seed in [5, 14] {
        let said = drill(seed, &[]);
        assert_eq!(said.exit, 0, "{seed}: {} {}", said.out, said.err);
        let figures = said.json()["figures"].clone();
        slips += figures["patients_with_a_slip"].as_u64().unwrap();
        assert!(figures["fractions_given"].as_u64().unwrap() > 10 && figures["late_records"].as_u64().unwrap() > 10);
        assert!(figures["to_first_release_ms"].as_u64().unwrap() > 0);
    }
    assert!(slips > 0, "choose seeds with one");
    let twin = drill(5, &["--must-fail"]);
    assert_eq!(twin.exit, 4);
    let rung: Vec<String> = broken(&twin.json()).into_iter().map(|(_, question)| question).collect();
    for question in ["Is any fraction released wrongly?", "Is a fraction lost, or counted twice?"] {
        assert!(rung.iter().any(|rung| rung == question), "{rung:?}");
    }
}

/// Of a larger archive no more is opened first; whom the roster doesn't know is missed by the drill's own list.
#[test]
fn treatments_first_and_its_twin() {
    let site = Site::new();
    let drill = |more: &[&str]| {
        let root = site.path(&format!("drill-{}", more.len()));
        let words = ["drill", "treatments-first", "--patients", "200", "--on-treatment", "4", "--seed", "3"];
        site.run(&[&words[..], &["--root", &root, "--json"], more].concat())
    };
    let said = drill(&[]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    let figures = said.json()["figures"].clone();
    assert_eq!((&figures["small_archive_patients"], &figures["large_archive_patients"]), (&json!(4), &json!(200)));
    assert!(figures["large_archive_entries_opened"].as_u64().unwrap() > 100, "{figures}");
    let twin = drill(&["--must-fail"]);
    assert_eq!(twin.exit, 4);
    let rung: Vec<String> = broken(&twin.json()).into_iter().map(|(_, question)| question).collect();
    assert_eq!(rung, ["Are those on treatment back before anything else, and right?"; 2]);
}

#[test]
fn a_drill_holds_for_every_seed() {
    let site = Site::new();
    for seed in [0, 1, 2, 4_294_967_295, u64::MAX] {
        let said = site.drill(seed, if seed == 0 { 1 } else { 3 }, &["--json"]);
        let report = said.json();
        assert_eq!((said.exit, broken(&report)), (0, vec![]), "seed {seed}: {}", report["checks"]);
    }
}

#[test]
fn a_drill_takes_the_users_own_files_or_says_why_not() {
    let site = Site::new();
    let own = site.0.path().join("own/deep");
    fs::create_dir_all(&own).unwrap();
    let write = |name: &str, text: &str| fs::write(own.join(name), text).unwrap();
    let about = |whose: &str| {
        format!(
            r#"{{"resourceType":"Observation","status":"final","code":{{"text":"x"}},"subject":{{"reference":"Patient/{whose}"}}}}"#
        )
    };
    let patient = r#"{"resourceType":"Patient","id":"own-1","gender":"female"}"#;
    // Loaded before the patient whom it is about.
    write("a-observation.json", &about("own-1"));
    write("patient.json", patient);
    let bundle = |kind: &str, request: &str| {
        format!(r#"{{"resourceType":"Bundle","type":"{kind}","entry":[{{"resource":{patient}{request}}}]}}"#)
    };
    write("collection.json", &bundle("collection", ""));
    write("transaction.json", &bundle("transaction", r#","request":{"method":"PUT","url":"Patient/own-1"}"#));
    write("nobody.json", &about("nobody"));
    write("no-one.json", &about("no-one"));
    write("package.json", r#"{"name":"no-fhir"}"#);
    write("broken.json", "{");
    write("nested.json", &"[".repeat(100_000));
    write("broken.dcm", "no DICOM");
    write("notes.txt", "a letter");
    std::os::unix::fs::symlink("..", own.join("loop")).unwrap();
    let input = site.path("own");
    let said = site.drill(3, 4, &["--json", "--input", &input]);
    assert_eq!(said.exit, 0, "{} {}", said.out, said.err);
    let report = said.json();
    assert_eq!(report["centre"]["own_files"], 4);
    let refused: Vec<(&str, &str)> = report["refused"]
        .as_array()
        .unwrap()
        .iter()
        .map(|refused| (refused["file"].as_str().unwrap(), refused["reason"].as_str().unwrap()))
        .collect();
    for (expected, reason) in [
        ("deep/broken.dcm", "no sound DICOM object"),
        ("deep/broken.json", "not valid FHIR R4"),
        ("deep/loop", "a link to a folder, which is not followed"),
        ("deep/nested.json", "nested 65 deep"),
        ("deep/no-one.json", "about a patient who is not here"),
        ("deep/nobody.json", "about a patient who is not here"),
        ("deep/notes.txt", "neither FHIR JSON nor DICOM"),
        ("deep/package.json", "resourceType"),
    ] {
        assert!(refused.iter().any(|(file, why)| *file == expected && why.contains(reason)), "{expected}: {refused:?}");
    }
    assert_eq!(refused.len(), 8);
    let text = site.drill(3, 4, &["--input", &input]).out;
    assert!(text.contains("YOUR OWN FILES: 4 kept, 8 refused"), "{text}");
    assert!(text.contains("- 2 files: about a patient who is not here (deep/no-one.json, deep/nobody.json)"), "{text}");
    assert!(!text.contains("record breaks") && !text.contains("erased at"), "{text}");
}
