//! The account: over FHIR, to a SIEM, and to the patient herself.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::{Server, Site, exchange, get};

const NUMBER: &str = "KL-4711";

struct Asker<'a> {
    at: &'a str,
    token: String,
}

impl Asker<'_> {
    fn get(&self, path: &str) -> (u16, Value) {
        let (status, _, body) = get(self.at, path, &self.token);
        (status, serde_json::from_str(&body).unwrap())
    }

    fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let headers = format!("{}Content-Type: application/fhir+json\r\n", self.token);
        let (status, _, body) = exchange(method, self.at, path, &headers, body);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    /// Every event, page by page.
    fn all(&self, query: &str) -> Vec<Value> {
        let (mut path, mut found) = (format!("/fhir/AuditEvent?{query}"), Vec::new());
        loop {
            let (status, page) = self.get(&path);
            assert_eq!(status, 200, "{page}");
            found.extend(page["entry"].as_array().into_iter().flatten().map(|entry| entry["resource"].clone()));
            let links = page["link"].as_array().unwrap();
            match links.iter().find(|link| link["relation"] == "next") {
                Some(next) => path = format!("/fhir{}", next["url"].as_str().unwrap().split_once("/fhir").unwrap().1),
                None => return found,
            }
            assert!(found.len() < 5_000, "the pages don't end");
        }
    }
}

fn asker<'a>(site: &Site, server: &'a Server, role: &str) -> Asker<'a> {
    Asker { at: server.ready["http"].as_str().unwrap(), token: site.bearer(role) }
}

/// A patient with an observation, that an oncologist reads and an IT administrator doesn't.
fn seen(site: &Site, server: &Server) -> String {
    let patient =
        format!(r#"{{"resourceType":"Patient","identifier":[{{"value":"{NUMBER}"}}],"name":[{{"family":"Kurian"}}]}}"#);
    let (status, made) = asker(site, server, "registrar").send("POST", "/fhir/Patient", &patient);
    assert_eq!(status, 201, "{made}");
    let id = made["id"].as_str().unwrap().to_owned();
    let doctor = asker(site, server, "oncologist");
    let observation = format!(
        r#"{{"resourceType":"Observation","status":"final","code":{{"text":"secret finding"}},"subject":{{"reference":"Patient/{id}"}}}}"#
    );
    let (status, made) = doctor.send("POST", "/fhir/Observation", &observation);
    assert_eq!(status, 201, "{made}");
    let path = format!("/fhir/Observation/{}", made["id"].as_str().unwrap());
    assert_eq!(doctor.get(&path).0, 200);
    assert_eq!(doctor.get(&format!("/fhir/Observation?patient={id}")).0, 200);
    assert_eq!(asker(site, server, "it-administrator").get(&path).0, 403);
    id
}

fn ids(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["id"].as_str().unwrap()).collect()
}

fn entry_of(id: &str) -> u64 {
    id.split_once('-').unwrap().0.parse().unwrap()
}

#[test]
fn an_auditor_reads_who_saw_what_and_nobody_writes_it() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let server = site.serve(&[]);
    let id = seen(&site, &server);
    let auditor = asker(&site, &server, "auditor");

    let hers = auditor.all(&format!("patient=Patient/{id}"));
    let is = |event: &Value, action: &str, outcome: &str| event["action"] == action && event["outcome"] == outcome;
    let read = hers.iter().find(|event| is(event, "R", "0")).unwrap();
    assert_eq!(
        read["meta"]["profile"][0],
        "https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"
    );
    let refused = hers.iter().find(|event| is(event, "E", "8")).unwrap();
    assert!(refused["agent"][0]["policy"][0].as_str().unwrap().starts_with("nih:sha-256;"), "{refused}");
    assert!(!hers.iter().any(|event| event.to_string().contains("secret finding")));
    // The request's own id leads from what was done to the decision that let it.
    let request =
        |event: &Value| event["entity"].as_array().unwrap().last().unwrap()["what"]["identifier"]["value"].clone();
    assert!(hers.iter().any(|event| is(event, "E", "0") && request(event) == request(read)), "{hers:#?}");

    // Small pages lead through the same events, and end, though each page that is read is an event itself.
    let all = auditor.all("");
    for count in [1, 2, 7] {
        let again = auditor.all(&format!("_count={count}"));
        assert_eq!(ids(&again)[..all.len()], ids(&all), "{count} a page");
        assert_eq!(ids(&again).iter().collect::<BTreeSet<_>>().len(), again.len());
    }
    let once_more = auditor.all(&format!("patient={id}&_count=1"));
    assert_eq!(ids(&once_more)[..hers.len()], ids(&hers));
    assert_eq!(auditor.get(&format!("/fhir/AuditEvent/{}", read["id"].as_str().unwrap())).1, *read);
    assert_eq!(auditor.all("date=lt2020-01-01").len(), 0);

    // Whoever has read up to one goes on from there.
    let newest = entry_of(ids(&auditor.all("")).last().unwrap());
    assert_eq!(asker(&site, &server, "oncologist").get(&format!("/fhir/Patient/{id}")).0, 200);
    let more = auditor.all(&format!("entry={}", newest + 1));
    assert!(more.iter().all(|event| entry_of(event["id"].as_str().unwrap()) > newest));
    assert!(more.iter().any(|event| is(event, "R", "0")), "{more:#?}");

    let of_patients = asker(&site, &server, "records-officer");
    assert_eq!(of_patients.get("/fhir/AuditEvent").0, 422, "she answers one patient");
    assert!(!of_patients.all(&format!("patient={id}")).is_empty());
    let one = format!("/fhir/AuditEvent/{}", read["id"].as_str().unwrap());
    assert_eq!(of_patients.get(&one).0, 200);
    let doctor = asker(&site, &server, "oncologist");
    for path in [
        "/fhir/AuditEvent",
        &format!("/fhir/AuditEvent?patient={id}"),
        "/fhir/AuditEvent?patient=nobody",
        &one,
        "/fhir/AuditEvent/9999999-0",
    ] {
        assert_eq!(doctor.get(path).0, 403, "{path}");
    }
    assert_eq!(auditor.get("/fhir/AuditEvent/9999999-0").0, 404);
    assert_eq!(auditor.get("/fhir/AuditEvent?patient=nobody").0, 200);
    assert_eq!(auditor.get("/fhir/AuditEvent?agent=t").0, 400);
    for (method, path) in [("POST", "/fhir/AuditEvent"), ("PUT", one.as_str()), ("DELETE", one.as_str())] {
        assert_eq!(doctor.send(method, path, &read.to_string()).0, 405, "{method}");
    }
    for (method, url) in
        [("POST", "AuditEvent"), ("PUT", "AuditEvent/x"), ("GET", "AuditEvent"), ("DELETE", "AuditEvent/x")]
    {
        let entry = format!(r#"{{"request":{{"method":"{method}","url":"{url}"}},"resource":{read}}}"#);
        let body = format!(r#"{{"resourceType":"Bundle","type":"transaction","entry":[{entry}]}}"#);
        assert_eq!(doctor.send("POST", "/fhir", &body).0, 400, "{method} in a Bundle");
    }
    let rows = site.done(&["access", "--patient", NUMBER, "--json"]).json();
    assert!(rows.as_array().unwrap().iter().any(|row| row["policy"].as_str().is_some_and(|text| text.len() == 64)));
    assert!(
        rows.as_array().unwrap().iter().any(|row| row["via"].as_str().is_some_and(|text| text.starts_with("token ")))
    );
    server.stop();
}

#[test]
fn she_gets_a_list_in_plain_words() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let server = site.serve(&[]);
    let id = seen(&site, &server);
    let token = site.done(&["token", "new", "--role", "records-officer", "--subject", "r.officer", "--json"]).json();
    let token = site.file("officer.token", token["token"].as_str().unwrap().as_bytes());
    let out = site.path("list");
    let list = ["access", "--patient", NUMBER, "--for-patient", "--out", &out];
    site.done(&[&list[..], &["--token", &token]].concat());
    let page = fs::read_to_string(format!("{out}/who-saw.html")).unwrap();
    for said in [
        "cancer doctor",
        "your treatment",
        "test results",
        "computer department",
        "to look at your records",
        "r.officer",
    ] {
        assert!(page.contains(said), "{said}: {page}");
    }
    for unsaid in ["Observation", "secret finding", "Kurian", id.as_str(), "http"] {
        assert!(!page.contains(unsaid), "{unsaid}: {page}");
    }
    assert!(fs::read(format!("{out}/who-saw.pdf")).unwrap().starts_with(b"%PDF"));
    site.done(&list);
    let page = fs::read_to_string(format!("{out}/who-saw.html")).unwrap();
    assert!(page.contains("looked at this list"), "{page}");
    // Who answers no patients gets no list.
    let doctor = site.done(&["token", "new", "--role", "oncologist", "--subject", "d", "--json"]).json();
    let doctor = site.file("doctor.token", doctor["token"].as_str().unwrap().as_bytes());
    assert_eq!(site.run(&[&list[..], &["--token", &doctor]].concat()).exit, 1);
    server.stop();
}

/// A SIEM that takes what comes, until it is stopped.
struct Siem {
    at: SocketAddr,
    taken: Arc<Mutex<Vec<u8>>>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// A certificate for 127.0.0.1 that signs itself.
fn certified() -> (Arc<ServerConfig>, String) {
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let text = STANDARD.encode(made.cert.der());
    (Arc::new(config), format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n"))
}

impl Siem {
    fn start(at: SocketAddr, tls: Arc<ServerConfig>, taken: Arc<Mutex<Vec<u8>>>) -> Self {
        let listener = TcpListener::bind(at).unwrap();
        let at = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, into) = (Arc::clone(&stop), Arc::clone(&taken));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let Ok((socket, _)) = listener.accept() else {
                    std::thread::sleep(Duration::from_millis(20));
                    continue;
                };
                socket.set_nonblocking(false).unwrap();
                socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
                let mut line = StreamOwned::new(ServerConnection::new(Arc::clone(&tls)).unwrap(), socket);
                // Frames of a connection that breaks off are whole or not there.
                let mut bytes = Vec::new();
                let mut some = [0; 4_096];
                while !stopped.load(Ordering::SeqCst) {
                    match line.read(&mut some) {
                        Ok(0) => break,
                        Ok(read) => bytes.extend_from_slice(&some[..read]),
                        Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                        }
                        Err(_) => break,
                    }
                    let whole = whole(&bytes);
                    into.lock().unwrap().extend(bytes.drain(..whole));
                }
            }
        });
        Self { at, taken, stop, thread: Some(thread) }
    }

    fn entries(&self) -> BTreeSet<u64> {
        entries(&self.taken.lock().unwrap())
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Bytes of whole frames.
fn whole(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(blank) = bytes[at..].iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[at..at + blank]).unwrap().parse().unwrap();
        let end = at + blank + 1 + length;
        if end > bytes.len() {
            break;
        }
        at = end;
    }
    at
}

/// The entries that messages name; each message is XML.
fn entries(mut bytes: &[u8]) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    while let Some(blank) = bytes.iter().position(|byte| *byte == b' ') {
        let length: usize = std::str::from_utf8(&bytes[..blank]).unwrap().parse().unwrap();
        let (frame, rest) = bytes[blank + 1..].split_at(length);
        bytes = rest;
        let (head, xml) = std::str::from_utf8(frame).unwrap().split_once('\u{feff}').unwrap();
        assert!(head.contains(" holdfast - DICOM+RFC3881 - "), "{head}");
        assert!(!xml.contains(NUMBER) && !xml.contains("secret finding"), "{xml}");
        let mut reader = Reader::from_str(xml);
        loop {
            match reader.read_event().unwrap() {
                Event::Empty(tag) if tag.name().as_ref() == b"ParticipantObjectDetail" => {
                    let attribute = |name: &str| tag.try_get_attribute(name).unwrap().unwrap().value.into_owned();
                    if attribute("type") == b"entry" {
                        let text = STANDARD.decode(attribute("value")).unwrap();
                        found.insert(String::from_utf8(text).unwrap().parse().unwrap());
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
    }
    found
}

/// Until it is so; a machine may be busy.
fn until(what: &str, is_so: impl Fn() -> bool) {
    for _ in 0..1_200 {
        if is_so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{what}");
}

fn configure(site: &Site, text: &str) {
    let file = site.data().join("gateway/holdfast.toml");
    let config = fs::read_to_string(&file).unwrap();
    fs::write(&file, config.replacen("[audit]\n", &format!("[audit]\n{text}\n"), 1)).unwrap();
}

#[test]
fn a_siem_that_is_down_misses_nothing() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let (tls, pem) = certified();
    site.file("siem.pem", pem.as_bytes());
    let siem = Siem::start(([127, 0, 0, 1], 0).into(), Arc::clone(&tls), Arc::default());
    let (at, taken) = (siem.at, Arc::clone(&siem.taken));
    configure(&site, &format!("syslog = \"tls://{at}\"\nca = \"{}\"", site.path("siem.pem")));
    let server = site.serve(&[]);
    seen(&site, &server);
    let auditor = asker(&site, &server, "auditor");
    let known = |auditor: &Asker<'_>| -> BTreeSet<u64> { ids(&auditor.all("")).into_iter().map(entry_of).collect() };
    let first = known(&auditor);
    until("not everything arrived", || siem.entries().is_superset(&first));
    let session = site.session(&server, "it-administrator");
    let posture = || get(server.ready["http"].as_str().unwrap(), "/posture", &session).2;
    until("the posture page doesn't say that it is sent", || posture().contains("sent to the SIEM"));
    siem.stop();

    // It is away: nobody waits, and the posture page says so.
    let doctor = asker(&site, &server, "oncologist");
    for _ in 0..5 {
        assert_eq!(doctor.get("/fhir/Patient?family=Kurian").0, 200);
    }
    until("the posture page doesn't say that it isn't taken", || posture().contains("take it: "));
    let second = known(&auditor);
    assert!(second.len() > first.len());
    let numbers = get(server.ready["operations"].as_str().unwrap(), "/metrics", "").2;
    assert!(numbers.contains("holdfast_siem_connected 0"), "{numbers}");

    let siem = Siem::start(at, tls, taken);
    until("what came while it was away is missing", || siem.entries().is_superset(&second));
    server.stop();
    siem.stop();
}

#[test]
fn a_siem_that_somebody_else_certified_gets_nothing() {
    let site = Site::new();
    site.done(&["init", "--servers", "1"]);
    let (tls, _) = certified();
    let (_, other) = certified();
    site.file("siem.pem", other.as_bytes());
    let siem = Siem::start(([127, 0, 0, 1], 0).into(), tls, Arc::default());
    configure(&site, &format!("syslog = \"tls://{}\"\nca = \"{}\"", siem.at, site.path("siem.pem")));
    let server = site.serve(&[]);
    seen(&site, &server);
    let session = site.session(&server, "it-administrator");
    let posture = || get(server.ready["http"].as_str().unwrap(), "/posture", &session).2;
    until("the posture page doesn't say why", || posture().contains("certificate"));
    assert!(siem.taken.lock().unwrap().is_empty());
    server.stop();
    siem.stop();
}
