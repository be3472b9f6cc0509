//! After an outage: paper is typed in, machines' records come late, and each fraction counts once.

use std::collections::BTreeMap;

use dicom_dictionary_std::tags;
use serde_json::{Value, json};

use super::gating::{SIGNERS, approve, settle_by_two};
use super::{Server, Site, courses, exchange, get, send, signed};

/// What a machine says of one fraction: its files, day, time, machine, and each beam's meterset.
struct OfMachine {
    files: Vec<Vec<u8>>,
    number: u64,
    date: String,
    time: String,
    machine: String,
    beams: BTreeMap<u64, f64>,
}

/// The course's newest fraction, and the files of those before it.
fn newest(records: &[Vec<u8>]) -> (Vec<Vec<u8>>, OfMachine) {
    let mut by_number: BTreeMap<u64, OfMachine> = BTreeMap::new();
    for file in records {
        let object =
            dicom_object::from_reader(&file[128..]).or_else(|_| dicom_object::from_reader(file.as_slice())).unwrap();
        let text = |tag| object.element(tag).unwrap().to_str().unwrap().trim().to_owned();
        let sequence = object.element(tags::TREATMENT_SESSION_BEAM_SEQUENCE);
        let sequence = sequence.or_else(|_| object.element(tags::TREATMENT_SESSION_ION_BEAM_SEQUENCE)).unwrap();
        let items = sequence.items().unwrap();
        let of =
            |item: &dicom_object::InMemDicomObject, tag| item.element(tag).unwrap().to_str().unwrap().trim().to_owned();
        let number: u64 = of(&items[0], tags::CURRENT_FRACTION_NUMBER).parse().unwrap();
        let machine = &object.element(tags::TREATMENT_MACHINE_SEQUENCE).unwrap().items().unwrap()[0];
        let (date, time) = (text(tags::TREATMENT_DATE), text(tags::TREATMENT_TIME));
        let one = by_number.entry(number).or_insert_with(|| OfMachine {
            files: Vec::new(),
            number,
            date: format!("{}-{}-{}", &date[..4], &date[4..6], &date[6..]),
            time: format!("{}:{}", &time[..2], &time[2..4]),
            machine: of(machine, tags::TREATMENT_MACHINE_NAME),
            beams: BTreeMap::new(),
        });
        one.files.push(file.clone());
        for item in items {
            let beam = of(item, tags::REFERENCED_BEAM_NUMBER).parse().unwrap();
            *one.beams.entry(beam).or_default() += of(item, tags::DELIVERED_PRIMARY_METERSET).parse::<f64>().unwrap();
        }
    }
    let (_, last) = by_number.pop_last().unwrap();
    (by_number.into_values().flat_map(|one| one.files).collect(), last)
}

fn uid_of(plan: &str) -> String {
    let object = dicom_object::open_file(plan).unwrap();
    object.element(tags::SOP_INSTANCE_UID).unwrap().to_str().unwrap().trim_end_matches('\0').to_owned()
}

/// A centre whose patient's newest fraction is on paper alone.
struct Paper {
    site: Site,
    plan: String,
    number: String,
    given: u64,
    last: OfMachine,
}

impl Paper {
    fn new() -> (Self, Server) {
        let site = Site::new();
        let (plan, _, number) = signed(&site);
        let course = courses(1).remove(0).course.unwrap();
        approve(&site, &number, &plan, &SIGNERS);
        let server = site.serve(&[]);
        let (before, last) = newest(&course.records);
        before.iter().for_each(|record| send(server.ready["dimse"].as_str().unwrap(), record));
        (Self { site, plan, number, given: u64::from(course.fractions_given), last }, server)
    }

    /// As it stands on the form, with whatever is changed.
    fn form(&self, changed: &[(&str, &str)]) -> String {
        let mut fields: BTreeMap<String, String> = [
            ("patient", self.number.clone()),
            ("plan", uid_of(&self.plan)),
            ("group", "1".to_owned()),
            ("fraction", self.last.number.to_string()),
            ("date", self.last.date.clone()),
            ("time", self.last.time.clone()),
            ("machine", self.last.machine.clone()),
            ("given_by", "T. One".to_owned()),
            ("pack", String::new()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        for (beam, meterset) in &self.last.beams {
            fields.insert(format!("beam-{beam}"), format!("{meterset:.1}"));
            fields.insert(format!("ended-{beam}"), "normal".to_owned());
        }
        fields.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let plain = |text: &str| text.replace('%', "%25").replace('&', "%26").replace('+', "%2B").replace(' ', "+");
        fields.iter().map(|(name, value)| format!("{name}={}", plain(value))).collect::<Vec<_>>().join("&")
    }

    fn post(&self, server: &Server, session: &str, changed: &[(&str, &str)]) -> (u16, String) {
        let kind = format!("Content-Type: application/x-www-form-urlencoded\r\n{session}");
        let http = server.ready["http"].as_str().unwrap();
        let (status, _, page) = exchange("POST", http, "/enter", &kind, &self.form(changed));
        (status, page)
    }

    fn course(&self, server: &Server) -> Value {
        let asked = format!("/courses?patient={}", self.number);
        let (_, _, body) = get(server.ready["http"].as_str().unwrap(), &asked, &self.site.bearer("physicist"));
        serde_json::from_str::<Value>(&body).unwrap()["courses"][0].clone()
    }
}

#[test]
fn what_was_typed_in_and_what_the_machine_says_are_one_fraction() {
    let (paper, server) = Paper::new();
    let site = &paper.site;
    let http = server.ready["http"].as_str().unwrap();
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given - 1);
    let session = site.session(&server, "therapist");
    let (status, _, form) = get(http, &format!("/enter?patient={}", paper.number), &session);
    assert_eq!(status, 200);
    let next = format!("name=\"fraction\" value=\"{}\"", paper.given);
    assert!(form.contains(&next) && form.contains(&paper.last.machine), "{form}");

    // What can't be is named, nothing is kept, and what was typed is still there.
    let first = format!("beam-{}", paper.last.beams.keys().next().unwrap());
    for (field, value, named) in [
        ("fraction", "0", "it must be 1 to"),
        ("fraction", "99", "it must be 1 to"),
        ("date", "2031-01-01", "today"),
        ("date", "2026-02-30", "YYYY-MM-DD"),
        ("time", "25:00", "HH:MM"),
        ("given_by", "T.\u{202e}enO", "no control character"),
        ("given_by", "", "given_by is missing"),
        ("machine", "LINAC\\9", "no backslash"),
        (first.as_str(), "12,5", "at most three decimals"),
        (first.as_str(), "999999", "ten times"),
        (first.as_str(), "0", "ended as planned"),
        ("beam-77", "10", "how beam 77 ended"),
        ("plan", "1.2.3", "store it first"),
        ("group", "7", "none of this number"),
    ] {
        let (status, page) = paper.post(&server, &session, &[(field, value)]);
        assert!(status == 422 && page.contains("Nothing was kept") && page.contains(named), "{field}={value}: {page}");
        let kept = if field == "given_by" && value.is_empty() { "value=\"LINAC" } else { "value=\"T. One\"" };
        let is_shown = !["plan", "group"].contains(&field) && !value.contains('\u{202e}');
        assert!(!is_shown || page.contains(kept), "{field}: {page}");
    }
    let (status, page) = paper.post(&server, &session, &[("beam-77", "10"), ("ended-77", "normal")]);
    assert!(status == 422 && page.contains("beam 77"), "{page}");
    assert_eq!(paper.post(&server, "", &[]).0, 401);
    for foreign in
        ["Origin: https://evil.example", "Origin: null", "Sec-Fetch-Site: same-site", "Sec-Fetch-Site: cross-site"]
    {
        let (status, page) = paper.post(&server, &format!("{session}{foreign}\r\n"), &[]);
        assert!(status == 403 && page.contains("Nothing was done"), "{foreign}: {page}");
    }
    assert_eq!(paper.post(&server, &site.session(&server, "registrar"), &[]).0, 403);
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given - 1, "nothing was kept");

    let (status, page) = paper.post(&server, &session, &[("pack", "108a7b558ec81f19")]);
    assert!(
        status == 200 && page.contains("is kept") && page.contains(&format!("fractions given {}", paper.given)),
        "{page}"
    );
    let said = paper.course(&server);
    assert_eq!(said["given"]["distinct"], paper.given, "{said}");
    let (_, _, rows) = get(http, "/reconciliation", &session);
    assert!(rows.contains("Waits") && rows.contains(&paper.number), "{rows}");

    // The machine's own record comes late, twice, after a restart.
    drop(server);
    let server = site.serve(&[]);
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    for file in paper.last.files.iter().chain(&paper.last.files) {
        send(dimse, file);
    }
    let said = paper.course(&server);
    assert_eq!(said["given"]["distinct"], paper.given, "it counts once: {said}");
    assert_eq!(said["dose"][0]["at_most_gy"], said["dose"][0]["at_least_gy"]);
    let session = site.session(&server, "therapist");
    let (_, _, rows) = get(http, "/reconciliation", &session);
    assert!(rows.contains("Agrees") && !rows.contains("Waits"), "{rows}");
    // A reader of DICOM sees what it is.
    let asked = "/reconciliation.json";
    let (_, _, body) = get(http, asked, &site.bearer("physicist"));
    let found: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(found["patients"][0]["pairs"].as_array().unwrap().len(), paper.last.beams.len());
    assert_eq!(get(http, asked, &site.bearer("registrar")).0, 403);
    let (_, _, page) = get(http, &format!("/course?patient={}", paper.number), &session);
    assert!(page.contains("typed in"), "{page}");
}

#[test]
fn what_does_not_agree_holds_until_two_people_have_settled_it() {
    let (paper, server) = Paper::new();
    let site = &paper.site;
    let (http, dimse) = (server.ready["http"].as_str().unwrap(), server.ready["dimse"].as_str().unwrap());
    // A program types it in, with a slip.
    let (beam, meterset) = paper.last.beams.iter().next().unwrap();
    let fraction = |meterset: f64| {
        let beams: Vec<Value> = (paper.last.beams.iter())
            .map(|(number, of)| {
                let of = if number == beam { meterset } else { *of };
                json!({ "number": number, "meterset": format!("{of:.1}"), "ended": "normal" })
            })
            .collect();
        json!({ "plan_uid": uid_of(&paper.plan), "fraction_group": 1, "fraction": paper.last.number, "date": paper.last.date,
                "time": paper.last.time, "machine": paper.last.machine, "given_by": "T. One", "beams": beams })
    };
    let post = |role: &str, body: &Value| {
        let headers = format!("Content-Type: application/json\r\n{}", site.bearer(role));
        exchange("POST", http, &format!("/records/typed?patient={}", paper.number), &headers, &body.to_string())
    };
    assert_eq!(post("device", &fraction(*meterset)).0, 403, "a machine types nothing in");
    let mut more = fraction(*meterset);
    more["more"] = json!(1);
    assert_eq!(post("therapist", &more).0, 422);
    let (status, _, body) = post("therapist", &fraction(meterset - 1.5));
    assert_eq!(status, 201, "{body}");
    let said: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&said["given"]["distinct"], &said["pairs"][0]["state"]), (&paper.given.into(), &"waiting".into()));
    paper.last.files.iter().for_each(|file| send(dimse, file));

    let said = paper.course(&server);
    assert_eq!(
        (&said["given"]["state"], &said["given"]["why"][0]),
        (&"unknown".into(), &"typed-differs".into()),
        "{said}"
    );
    let gate = site.run(&["gate", "check", "--patient", &paper.number, &paper.plan, "--json"]);
    assert!(gate.exit == 4 && gate.out.contains("typed-differs"), "{}", gate.out);
    let session = site.session(&server, "therapist");
    let (_, _, rows) = get(http, "/reconciliation", &session);
    assert!(rows.contains("Another meterset") && rows.contains("veto"), "{rows}");

    settle_by_two(site, &paper.number, &paper.plan, &paper.given.to_string());
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given);
    let (_, _, rows) = get(http, "/reconciliation", &session);
    assert!(rows.contains("Settled") && !rows.contains("Another meterset"), "{rows}");
    // What comes again says nothing new: the machine's, or the form once more.
    paper.last.files.iter().for_each(|file| send(dimse, file));
    assert_eq!(post("therapist", &fraction(meterset - 1.5)).0, 201);
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given);
    let (_, _, rows) = get(http, "/reconciliation", &session);
    assert!(rows.contains("Settled") && !rows.contains("Another meterset"), "{rows}");
}

/// Typed in before it was given, or of another patient's paper; two people settle it away, and then it is given: it counts, or nobody
/// knows, and the paper from before the settlement hides nothing.
#[test]
fn paper_from_before_a_settlement_hides_no_fraction_after_it() {
    let (paper, server) = Paper::new();
    let site = &paper.site;
    let dimse = server.ready["dimse"].as_str().unwrap();
    let session = site.session(&server, "therapist");
    assert_eq!(paper.post(&server, &session, &[]).0, 200);
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given);
    settle_by_two(site, &paper.number, &paper.plan, &(paper.given - 1).to_string());
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given - 1);
    paper.last.files.iter().for_each(|file| send(dimse, file));
    let given = paper.course(&server)["given"].clone();
    assert!(given["state"] == "unknown" || given["distinct"] == paper.given, "{given}");
    settle_by_two(site, &paper.number, &paper.plan, &paper.given.to_string());
    assert_eq!(paper.course(&server)["given"]["distinct"], paper.given);
}

/// Two people type one form in, the second one under the number that the page offers then.
#[test]
fn a_form_that_two_people_type_in_is_no_second_fraction() {
    let (paper, server) = Paper::new();
    let session = paper.site.session(&server, "therapist");
    assert_eq!(paper.post(&server, &session, &[]).0, 200);
    let again = (paper.given + 1).to_string();
    let (status, page) = paper.post(&server, &session, &[("fraction", &again)]);
    assert!(status == 200 && page.contains("is not known now"), "{page}");
    let (_, _, rows) = get(server.ready["http"].as_str().unwrap(), "/reconciliation", &session);
    assert!(rows.contains("Typed in twice"), "{rows}");
    let gate = paper.site.run(&["gate", "check", "--patient", &paper.number, &paper.plan, "--json"]);
    assert!(gate.exit == 4 && gate.out.contains("typed-differs"), "{}", gate.out);
}
