//! What surrounds a command: pipes, the environment, usage, links, the log.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::process::Command;

use super::{Site, courses, get, send};

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let site = Site::new();
    site.done(&["init"]);
    for arguments in [&["verify"][..], &["verify", "--json"], &["token", "list"], &["access", "--patient", "nobody"]] {
        let expected = site.run(arguments).exit;
        let run = |stdout: std::process::Stdio| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
            command.args(arguments).env("HOLDFAST_DATA", site.data()).stdout(stdout).output().unwrap()
        };
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = run(writer.into());
        assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{arguments:?}: {output:?}");
        assert_eq!(output.status.code(), Some(expected), "{arguments:?}");
        // A report that can't be written is one: a full disk.
        if expected == 0 {
            let output = run(fs::File::options().write(true).open("/dev/full").unwrap().into());
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {output:?}");
        }
    }
}

#[test]
fn only_our_own_variables_have_to_be_text() {
    let site = Site::new();
    site.done(&["init"]);
    let run = |name: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.args(["token", "list"]).env("HOLDFAST_DATA", site.data());
        command.env(name, OsStr::from_bytes(b"caf\xe9")).output().unwrap()
    };
    assert_eq!(run("LEGACY_NAME").status.code(), Some(0));
    let output = run("HOLDFAST__HTTP__LISTEN");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("HOLDFAST__HTTP__LISTEN"), "{output:?}");
}

#[test]
fn what_cannot_be_meant_is_usage() {
    let site = Site::new();
    assert_eq!(site.run(&["init", "--servers", "5", "--shards-needed", "9"]).exit, 2);
    assert_eq!(site.run(&["init", "--servers", "5", "--keys-needed", "0"]).exit, 2);
    assert_eq!(site.run(&["init", "--custodians-needed", "4"]).exit, 2);
    site.done(&["init"]);
    let said = site.run(&["token", "new", "--role", "king", "--subject", "x", "--json"]);
    assert_eq!(said.exit, 2);
    assert_eq!(said.json()["error"]["code"], "usage.role");
    let said = site.run(&["sign-in", "--role", "therapist", "--subject", "Dr Rev"]);
    assert!(said.err.contains("ASCII letters, digits and . _ @ -") && said.err.contains("dr.rev"), "{}", said.err);
    // Whom nobody knows is not erased, dry or not.
    for more in [&["--dry-run"][..], &["--confirm", "Patient/nobody"]] {
        let said = site.run(&[&["patient", "erase", "--patient", "Patient/nobody", "--json"], more].concat());
        assert_eq!((said.exit, said.json()["error"]["code"].as_str()), (1, Some("patient.unknown")));
    }
}

#[test]
fn an_interrupted_course_is_weighed() {
    let site = Site::new();
    let course = ["--dose-per-fraction-gy", "2", "--alpha-beta-gy", "10", "--k-gy-per-day", "0.9", "--tk-days", "28"];
    let bed = |fractions: &str, days: &str| {
        let asked = ["interruption", "bed", "--fractions", fractions, "--days", days, "--json"];
        site.run(&[&asked[..], &course].concat())
    };
    let said = bed("35", "46").json();
    assert_eq!((&said["bed_gy"], &said["eqd2_gy"]), (&67.8.into(), &56.5.into()), "{said}");
    assert_eq!((bed("0", "46").exit, bed("35", "nan").exit), (2, 2));
    let weigh = ["interruption", "weigh", "--planned", "35", "--first", "2026-03-02", "--given", "15"];
    let said = site.done(&[&weigh[..], &course, &["--outage", "2026-03-23..2026-03-27"]].concat());
    for row in [
        "7 days longer than planned",
        "as planned                             35  2026-04-17     46        67.80   56.50      116.67   70.00",
        "as it stands                           35  2026-04-24     53        61.50   51.25      116.67   70.00",
        "2. two a day, 6 h apart, on 5 days     35  2026-04-17     46        67.80",
        "3. 15 larger ones of 2.55 Gy           30  2026-04-17     46        67.80   56.50      120.7",
        "4. 7 more                              42  2026-05-05     64        68.40",
    ] {
        assert!(said.out.contains(row), "{row}\n{}", said.out);
    }
    let backwards = site.run(&[&weigh[..], &course, &["--outage", "2026-03-27..2026-03-23"]].concat());
    assert!(backwards.exit == 2 && backwards.err.contains("ends before it begins"), "{}", backwards.err);
}

/// POSTs a sign-in code, and gives the answer's headers.
fn sign_in(address: &str, link: &str) -> String {
    use std::io::{Read, Write};
    let (host, form) = (address.trim_start_matches("http://"), link.split_once('?').unwrap().1);
    let mut stream = std::net::TcpStream::connect(host).unwrap();
    let head = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close";
    write!(stream, "POST /sign-in HTTP/1.1\r\nHost: {host}\r\n{head}\r\nContent-Length: {}\r\n\r\n{form}", form.len())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split_once("\r\n\r\n").unwrap().0.to_lowercase()
}

#[test]
fn each_start_prints_a_link_that_signs_in_once() {
    let site = Site::new();
    site.done(&["init"]);
    let mut links = Vec::new();
    for _ in 0..2 {
        let server = site.serve(&[]);
        let link = server.ready["sign_in"].as_str().unwrap().to_owned();
        let http = server.ready["http"].as_str().unwrap().to_owned();
        // By the name, which a passkey can be for.
        let pages = server.ready["pages"].as_str().unwrap();
        assert_eq!(pages, http.replace("127.0.0.1", "localhost"));
        assert!(link.starts_with(&format!("{pages}/sign-in?code=")), "{link}");
        let headers = sign_in(&http, &link);
        assert!(headers.starts_with("http/1.1 303") && headers.contains("httponly"), "{headers}");
        assert!(!headers.contains("secure"), "a browser would not send it back over http: {headers}");
        assert!(sign_in(&http, &link).starts_with("http/1.1 401"), "once");
        let (out, log) = server.stop();
        assert!(out.contains(&link) && out.contains("holdfast sign-in --role ROLE --subject NAME"), "{out}");
        assert!(!log.contains(link.split_once('=').unwrap().1), "the log holds no secret");
        links.push(link);
    }
    assert_ne!(links[0], links[1]);
}

#[test]
fn links_are_made_with_the_public_url() {
    let site = Site::new();
    site.done(&["init"]);
    let file = site.data().join("gateway/holdfast.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[http]\n", "[http]\npublic_url = \"https://records.example\"\n")).unwrap();
    let server = site.serve(&[]);
    let http = server.ready["http"].as_str().unwrap();
    let link = server.ready["sign_in"].as_str().unwrap();
    assert!(link.starts_with("https://records.example/sign-in?code="), "{link}");
    assert!(sign_in(http, link).contains("; secure"), "its cookie goes over TLS only");
    let token = site.done(&["token", "new", "--role", "registrar", "--subject", "t", "--json"]).json();
    let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
    let (status, _, bundle) = get(http, "/fhir/Patient?identifier=x", &bearer);
    assert_eq!(status, 200, "{bundle}");
    assert!(bundle.contains("https://records.example/fhir/Patient"), "{bundle}");
    assert!(!bundle.contains("http://127.0.0.1"), "{bundle}");
}

#[test]
fn an_answers_id_finds_its_line_and_no_line_names_a_patient() {
    let site = Site::new();
    site.done(&["init"]);
    let patient = courses(1).remove(0);
    let plan = patient.course.unwrap().plan;
    let server = site.serve(&[]);
    send(server.ready["dimse"].as_str().unwrap(), &plan);
    let mut ids = Vec::new();
    for (role, path) in [("registrar", "Patient"), ("auditor", "Patient"), ("registrar", "Observation")] {
        let token = site.done(&["token", "new", "--role", role, "--subject", "t", "--json"]).json();
        let bearer = format!("Authorization: Bearer {}\r\n", token["token"].as_str().unwrap());
        let path = format!("/fhir/{path}?identifier={}", patient.number);
        let (_, head, _) = get(server.ready["http"].as_str().unwrap(), &path, &bearer);
        let line = head.lines().find(|line| line.to_lowercase().starts_with("x-request-id:")).unwrap();
        ids.push(line.split_once(':').unwrap().1.trim().to_owned());
    }
    let (_, log) = server.stop();
    for id in &ids {
        assert!(log.contains(id), "{id} in {log}");
    }
    assert!(log.contains("denied"), "guard's lines, too: {log}");
    let name = patient.fhir.iter().map(|resource| serde_json::from_slice::<serde_json::Value>(resource).unwrap());
    let name = name.filter_map(|resource| Some(resource["name"][0]["family"].as_str()?.to_owned())).next().unwrap();
    for private in [&patient.number, &name] {
        assert!(!log.contains(private.as_str()), "{private} in {log}");
    }
}
