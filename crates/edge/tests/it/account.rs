//! The account in the field's forms: what any line becomes is valid FHIR, well-formed XML and a whole frame.

use chart::fhir::Resource;
use chart::{AccessRow, Account, EventKind, EventRow};
use edge::account::asked::{Asked, Place};
use edge::account::event::{Her, Site, audit_event, parse_id};
use edge::account::{message, syslog};
use guard::{Act, Purpose, Role, Via};
use kit::{Digest, Id16, PatientId, Timestamp};
use proptest::prelude::*;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde_json::Value;

const AT: Timestamp = Timestamp(1_764_583_200_123);

fn row(act: Act, outcome: &'static str, what: &str) -> AccessRow {
    AccessRow {
        entry: 412,
        at: AT,
        when: AT.to_string(),
        who: "dr.mathew".into(),
        role: Role::Oncologist,
        act,
        why: Purpose::Treatment,
        what: what.into(),
        outcome,
        operation: "0".repeat(32),
        reason: None,
        patient: Some(PatientId([7; 16])),
        via: None,
        policy: None,
        relation: None,
    }
}

fn decision(act: Act, outcome: &'static str, what: &str) -> AccessRow {
    let reason = (outcome == "denied").then(|| "no rule allows it".to_owned());
    let via = Some(Via::AeTitle("10.1.2.3".parse().unwrap()));
    AccessRow { reason, via, policy: Some(Digest([9; 32])), ..row(act, outcome, what) }
}

fn her() -> Her {
    Her { id: PatientId([7; 16]), fhir: Some("p1".into()) }
}

/// Checked as what a client writes is.
#[track_caller]
fn event(account: &Account, her: Option<&Her>) -> Value {
    let site = Site { base: "https://records.example/fhir", centre: "centre.example".into() };
    let event = audit_event(&site, account, 3, her);
    Resource::parse(event.to_string().as_bytes(), Some("AuditEvent"))
        .unwrap_or_else(|issues| panic!("{event:#}: {issues:#?}"));
    event
}

fn profile(event: &Value) -> Option<&str> {
    event["meta"]["profile"][0].as_str()?.rsplit_once('/').map(|(_, name)| name)
}

/// Codes of entities' types.
fn entities(event: &Value) -> Vec<&str> {
    event["entity"].as_array().unwrap().iter().map(|one| one["type"]["code"].as_str().unwrap()).collect()
}

#[test]
fn what_was_done_over_fhir_follows_balp() {
    for (act, outcome, what, name, action) in [
        (Act::ReadRecord, "opened", "Observation/o/_history/2", "PatientRead", "R"),
        (Act::WriteRecord, "written", "Observation/o/_history/1", "PatientCreate", "C"),
        (Act::WriteRecord, "written", "Observation/o/_history/2", "PatientUpdate", "U"),
        (Act::DeleteRecord, "deleted", "Observation/o/_history/3", "PatientDelete", "D"),
    ] {
        let found = event(&Account::Access(row(act, outcome, what)), Some(&her()));
        assert_eq!(profile(&found), Some(format!("IHE.BasicAudit.{name}").as_str()));
        assert_eq!((found["action"].as_str(), found["outcome"].as_str()), (Some(action), Some("0")));
        assert_eq!(found["entity"][1]["what"]["reference"], what);
        assert_eq!(found["entity"][0]["what"]["reference"], "Patient/p1");
        assert_eq!(entities(&found), ["1", "2", "XrequestId"]);
        assert_eq!(found["id"], "412-3");
        assert_eq!(found["agent"][0]["who"]["identifier"]["value"], "dr.mathew");
    }
    let nobody = AccessRow { patient: None, ..row(Act::ReadRecord, "opened", "Practitioner/d/_history/1") };
    assert_eq!(profile(&event(&Account::Access(nobody), None)), Some("IHE.BasicAudit.Read"));
}

#[test]
fn a_search_says_its_parameters_and_no_value() {
    let found = event(
        &Account::Access(decision(Act::SearchRecords, "allowed", "Observation?patient&_lastUpdated")),
        Some(&her()),
    );
    assert_eq!(profile(&found), Some("IHE.BasicAudit.PatientQuery"));
    assert_eq!(found["entity"][1]["query"], "T2JzZXJ2YXRpb24/cGF0aWVudCZfbGFzdFVwZGF0ZWQ=");
    assert_eq!(found["entity"][1]["description"], "Observation?patient&_lastUpdated");
}

#[test]
fn a_refusal_says_why_and_by_which_policy() {
    let found = event(&Account::Access(decision(Act::ReadRecord, "denied", "Observation/o")), Some(&her()));
    assert_eq!((found["outcome"].as_str(), found["outcomeDesc"].as_str()), (Some("8"), Some("no rule allows it")));
    assert_eq!(found["subtype"][0]["code"], "AuthZ-Role");
    assert_eq!(found["agent"][0]["policy"][0], format!("nih:sha-256;{}", "09".repeat(32)));
    assert_eq!(found["agent"][1]["network"]["address"], "10.1.2.3");
    assert_eq!(profile(&found), None, "BALP's patterns are of what succeeded");
}

#[test]
fn she_without_a_patient_resource_is_named_by_the_opaque_id_alone() {
    let her = Her { fhir: None, ..her() };
    let found = event(&Account::Access(row(Act::ReadObject, "opened", "dicom/1.2.3/_history/1")), Some(&her));
    assert_eq!(found["entity"][0]["what"]["identifier"]["value"], "07".repeat(16));
    assert!(found["entity"][0]["what"].get("reference").is_none());
    assert_eq!(found["entity"][1]["what"]["identifier"]["value"], "urn:oid:1.2.3");
    assert_eq!(found["type"]["code"], "110103");
}

/// Every text in a message's tags and attributes, with its element.
fn texts(message: &str) -> Vec<(String, String)> {
    let (mut reader, mut found, mut open) = (Reader::from_str(message), Vec::new(), Vec::new());
    loop {
        let event = reader.read_event().unwrap_or_else(|e| panic!("{e}: {message}"));
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = String::from_utf8(tag.name().as_ref().to_vec()).unwrap();
                for attribute in tag.attributes() {
                    let attribute = attribute.unwrap();
                    let raw = String::from_utf8(attribute.value.to_vec()).unwrap();
                    found.push((
                        format!("{name}@{}", String::from_utf8_lossy(attribute.key.as_ref())),
                        quick_xml::escape::unescape(&raw).unwrap().into_owned(),
                    ));
                }
                if matches!(event, Event::Start(_)) {
                    open.push(name);
                }
            }
            Event::End(_) => drop(open.pop().unwrap()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty(), "{message}");
    found
}

fn value<'a>(texts: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    texts.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

#[test]
fn a_message_names_her_by_the_opaque_id_alone() {
    let decided = decision(Act::WriteRecord, "denied", "Patient/KL-4711, Condition/c and 3 more");
    let message = message::audit_message("centre.example", &Account::Access(decided));
    assert!(!message.contains("4711"), "{message}");
    let texts = texts(&message);
    assert_eq!(value(&texts, "EventID@csd-code"), ["110113"]);
    assert_eq!(value(&texts, "EventIdentification@EventOutcomeIndicator"), ["8"]);
    let ids = value(&texts, "ParticipantObjectIdentification@ParticipantObjectID");
    assert_eq!(ids[..2], ["07".repeat(16).as_str(), "Patient, Condition/c and 3 more"]);
    assert_eq!(
        value(&texts, "ParticipantObjectDetail@type"),
        ["entry", "act", "outcome", "purpose", "policy", "reason"]
    );
    assert_eq!(value(&texts, "ActiveParticipant@NetworkAccessPointID"), ["10.1.2.3"]);
}

#[test]
fn a_message_says_what_was_done_by_dicoms_codes() {
    for (act, outcome, what, code, action) in [
        (Act::ReadObject, "opened", "dicom/1.2.3/_history/1", "110103", "R"),
        (Act::StoreObject, "written", "dicom/1.2.3/_history/1", "110104", "C"),
        (Act::ExportRecord, "opened", "dicom/1.2.3/_history/1", "110106", "R"),
        (Act::ReadRecord, "opened", "Patient/p/_history/2", "110110", "R"),
        (Act::SearchRecords, "allowed", "Patient?name", "110112", "E"),
        (Act::ReadAccessLog, "allowed", "AuditEvent?patient", "110101", "R"),
        (Act::VerifyVault, "allowed", "", "110113", "E"),
    ] {
        let texts = texts(&message::audit_message("c", &Account::Access(row(act, outcome, what))));
        assert_eq!(value(&texts, "EventID@csd-code"), [code], "{what}");
        assert_eq!(value(&texts, "EventIdentification@EventActionCode"), [action], "{what}");
    }
    let come = EventRow {
        entry: 1,
        at: AT,
        kind: EventKind::SignedIn,
        who: "nurse.1".into(),
        subject: None,
        role: Some(Role::Nurse),
        what: "session".into(),
        operation: "0".repeat(32),
    };
    let account = Account::Event(come);
    let texts = texts(&message::audit_message("c", &account));
    assert_eq!(
        (value(&texts, "EventID@csd-code"), value(&texts, "EventTypeCode@csd-code")),
        (vec!["110114"], vec!["110122"])
    );
    assert_eq!(event(&account, None)["subtype"][0]["code"], "110122");
}

/// What comes out of octet counting, and the rest.
fn unframed(bytes: &[u8]) -> (&str, &[u8]) {
    let blank = bytes.iter().position(|byte| *byte == b' ').unwrap();
    let length: usize = std::str::from_utf8(&bytes[..blank]).unwrap().parse().unwrap();
    let (frame, rest) = bytes[blank + 1..].split_at(length);
    (std::str::from_utf8(frame).unwrap(), rest)
}

#[test]
fn a_frame_is_rfc_5424() {
    let bytes = syslog::frame("gateway 1\n", AT, 4, "<a/>");
    let (frame, rest) = unframed(&bytes);
    assert_eq!(frame, format!("<84>1 {AT} gateway1 holdfast - DICOM+RFC3881 - \u{feff}<a/>"));
    assert!(rest.is_empty());
    assert!(AT.to_string().ends_with(".123Z"), "RFC 5424, section 6.2.3");
    let nameless = syslog::frame("\u{e4} ", AT, 6, "");
    assert!(unframed(&nameless).0.contains("Z - holdfast "));
}

fn anything() -> impl Strategy<Value = (AccessRow, Option<Option<String>>)> {
    let words = prop_oneof![
        any::<String>(),
        "[A-Za-z.]{1,12}/[A-Za-z0-9.-]{1,70}(/_history/[0-9]{1,3})?",
        "(Patient|Observation|dicom)/[0-9.]{1,9}/_history/[1-3]",
        Just(String::new()),
    ];
    let outcome = prop::sample::select(&["allowed", "denied", "opened", "written", "deleted"][..]);
    let (act, role, why) =
        (prop::sample::select(Act::ALL), prop::sample::select(Role::ALL), prop::sample::select(Purpose::ALL));
    let via = prop_oneof![
        Just(None),
        Just(Some(Via::Terminal)),
        Just(Some(Via::Folder)),
        any::<[u8; 16]>().prop_map(|id| Some(Via::Token(Id16(id)))),
        any::<std::net::IpAddr>().prop_map(|address| Some(Via::AeTitle(address))),
    ];
    let her = prop_oneof![Just(None), Just(Some(None)), Just(Some(Some("p-1".to_owned())))];
    (words, outcome, act, role, why, via, any::<Option<String>>(), any::<Option<[u8; 32]>>(), her).prop_map(
        |(what, outcome, act, role, why, via, reason, policy, her)| {
            let patient = her.as_ref().map(|_| PatientId([7; 16]));
            let row =
                AccessRow { role, why, via, reason, patient, policy: policy.map(Digest), ..row(act, outcome, &what) };
            (row, her)
        },
    )
}

proptest! {
    /// FHIR forbids control characters and strings of nothing; what the log holds is written by this server and has neither, and yet
    /// no text may break the form.
    #[test]
    fn any_line_is_well_formed((row, her) in anything()) {
        let clean = |text: &str| !text.chars().any(char::is_control) && text.trim() == text && !text.is_empty();
        let account = Account::Access(row.clone());
        let her = her.map(|fhir| Her { id: PatientId([7; 16]), fhir });
        if (row.what.is_empty() || clean(&row.what)) && row.reason.as_deref().is_none_or(clean) {
            event(&account, her.as_ref());
        }
        let message = message::audit_message("Centre & <sons>", &account);
        let texts = texts(&message);
        prop_assert_eq!(value(&texts, "AuditSourceIdentification@AuditEnterpriseSiteID"), ["Centre & <sons>"]);
        let bytes = syslog::frame("host", row.at, syslog::severity(&account), &message);
        let (frame, rest) = unframed(&bytes);
        prop_assert!(rest.is_empty() && frame.ends_with(&message));
    }

    #[test]
    fn escaped_text_comes_back(text in any::<String>()) {
        let escaped = message::escaped(&text);
        let known: String = text.chars().map(|c| match c {
            '\t' | '\n' | '\r' => c,
            c if c < ' ' || c == '\u{fffe}' || c == '\u{ffff}' => '\u{fffd}',
            c => c,
        }).collect();
        prop_assert_eq!(quick_xml::escape::unescape(&escaped).unwrap(), known);
        prop_assert!(!escaped.contains(['<', '>', '"', '\'', '\n', '\0']));
    }

    #[test]
    fn page_tokens_and_ids_come_back(entry in any::<u64>(), line in any::<usize>(), until in any::<u64>()) {
        let token = Place { entry, line, until }.token();
        let asked = Asked::parse("", &format!("_page={token}")).unwrap();
        prop_assert_eq!(asked.page, Some(Place { entry, line, until }));
        prop_assert_eq!(parse_id(&format!("{entry}-{line}")), Some((entry, line)));
    }

    #[test]
    fn no_search_is_half_understood(text in "[a-z_]{1,8}=[ -~]{0,20}(&[a-z_]{1,8}=[ -~]{0,20})?") {
        if let Ok(asked) = Asked::parse("http://h/fhir", &text) {
            let link = asked.link("http://h/fhir", None);
            let query = link.split_once('?').map_or("", |(_, query)| query);
            let again = Asked::parse("http://h/fhir", query).unwrap();
            prop_assert_eq!(again.what(), asked.what());
        }
    }
}

#[test]
fn a_search_by_time_is_as_fhir_has_it() {
    let asked = |query: &str| Asked::parse("http://h/fhir", query).unwrap();
    let day = |text: &str| chart::fhir::parse_date_time(text).unwrap().start;
    for (query, held, not) in [
        ("date=2026-12-01", "2026-12-01T23:59:59Z", "2026-12-02T00:00:00Z"),
        ("date=ge2026-12-01", "2026-12-01T00:00:00Z", "2026-11-30T23:59:59Z"),
        ("date=gt2026-12-01", "2026-12-02T00:00:00Z", "2026-12-01T12:00:00Z"),
        ("date=le2026-12-01", "2026-12-01T23:59:59Z", "2026-12-02T00:00:00Z"),
        ("date=lt2026-12-01", "2026-11-30T23:59:59Z", "2026-12-01T00:00:00Z"),
        ("date=ge2026-12-01&date=lt2026-12-02", "2026-12-01T12:00:00Z", "2026-12-02T12:00:00Z"),
    ] {
        assert!(asked(query).holds(day(held)) && !asked(query).holds(day(not)), "{query}");
    }
    assert_eq!(asked("patient=http://h/fhir/Patient/p").patient.as_deref(), Some("p"));
    for refused in [
        "patient=Group/1",
        "date=ne2026",
        "date=tomorrow",
        "_count=0",
        "agent=x",
        "entry=-1",
        "entry=1&entry=2",
        "_page=1-2",
    ] {
        assert!(Asked::parse("http://h/fhir", refused).is_err(), "{refused}");
    }
}
