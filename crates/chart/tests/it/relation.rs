//! Why would she open it: what others wrote explains it, in its days and while it stands, and what she wrote herself does not.

use chart::{AccessAsked, Chart, ChartError, Context};
use guard::{Act, Purpose, Relation, Role, Sensitivity, Target};
use kit::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::site::{Site, operation, resource};

const DAY_MS: i64 = 86_400_000;

fn named(chart: &Chart, role: Role, subject: &str) -> Context {
    let guard = chart.guard();
    let console = Context { caller: guard.console(), purpose: Purpose::Operations, operation: operation() };
    let permit = chart.admit(&console, Act::ManageAccess, Target::Centre, Sensitivity::Clinical).unwrap();
    let (_, token) = guard.issue_token(&permit, role, subject, 600_000).unwrap();
    Context { caller: guard.authenticate_bearer(&token).unwrap(), purpose: Purpose::Treatment, operation: operation() }
}

/// In so many days from now.
fn day(days: i64) -> String {
    SystemClock.now().plus_ms(days * DAY_MS).to_string()
}

struct Centre {
    _site: Site,
    chart: Chart,
    /// Writes what the hospital's own system knows.
    his: Context,
}

impl Centre {
    /// The nurse `asha` is a Practitioner, has a role, and belongs to a service.
    fn new() -> Self {
        let (site, chart) = Site::found();
        let his = Context { purpose: Purpose::Operations, ..named(&chart, Role::Service, "his") };
        let centre = Self { _site: site, chart, his };
        centre.put(json!({ "resourceType": "Practitioner", "id": "pr1", "identifier": [
            { "system": "urn:holdfast:login", "value": "asha" }, { "system": "urn:staff", "value": "asha" }] }));
        centre.put(json!({ "resourceType": "HealthcareService", "id": "day-ward" }));
        centre.put(json!({ "resourceType": "PractitionerRole", "id": "role1", "active": true,
            "practitioner": { "reference": "Practitioner/pr1" }, "organization": { "reference": "Organization/all" },
            "healthcareService": [{ "reference": "HealthcareService/day-ward" }] }));
        centre
    }

    fn put(&self, body: Value) {
        self.put_as(&self.his, body);
    }

    fn put_as(&self, who: &Context, body: Value) {
        let id = body["id"].as_str().unwrap().to_owned();
        let who = Context { operation: operation(), ..who.clone() };
        self.chart.update(&who, resource(&body.to_string()), &id, None).unwrap();
    }

    /// A patient of her own for each question: what was explained within the hour stays so.
    fn patient(&self, id: &str) -> Value {
        self.put(json!({ "resourceType": "Patient", "id": id, "identifier": [{ "value": format!("N-{id}") }] }));
        self.put(json!({ "resourceType": "Condition", "id": format!("c-{id}"), "subject": { "reference": format!("Patient/{id}") } }));
        json!({ "reference": format!("Patient/{id}") })
    }

    fn reads(&self, who: &Context, id: &str) -> Result<(), ChartError> {
        let who = Context { operation: operation(), ..who.clone() };
        self.chart.read(&who, "Condition", &format!("c-{id}"), None).map(drop)
    }

    /// What the log says of the last time that her condition was opened.
    fn why(&self, who: &Context, id: &str) -> Relation {
        self.reads(who, id).unwrap();
        let console =
            Context { caller: self.chart.guard().console(), purpose: Purpose::Operations, operation: operation() };
        let patient = self.chart.find_patient(&format!("Patient/{id}")).unwrap().unwrap();
        let rows = self.chart.access(&console, patient, AccessAsked::default()).unwrap().rows;
        let opened = rows.iter().rev().find(|row| row.outcome == "opened").unwrap();
        let allowed = rows.iter().rev().find(|row| row.outcome == "allowed" && row.who == opened.who).unwrap();
        assert_eq!(opened.relation, allowed.relation, "the decision and the opening say the same");
        opened.relation.unwrap()
    }
}

fn appointment(id: &str, patient: &Value, actor: Value, from: i64, status: &str) -> Value {
    json!({ "resourceType": "Appointment", "id": id, "status": status, "start": day(from), "end": day(from),
        "participant": [{ "actor": patient, "status": "accepted" }, { "actor": actor, "status": "accepted" }] })
}

#[test]
fn what_others_wrote_explains_and_says_how() {
    let centre = Centre::new();
    let asha = named(&centre.chart, Role::Nurse, "asha");
    let practitioner = json!({ "reference": "Practitioner/pr1" });
    let one = |id: &str, of: &dyn Fn(&Value) -> Value| {
        let patient = centre.patient(id);
        centre.put(of(&patient));
        centre.why(&asha, id)
    };
    let appointed = |actor: Value, from: i64, status: &'static str| {
        move |patient: &Value| {
            let id = format!("a{}", patient["reference"].as_str().unwrap().replace('/', "-"));
            appointment(&id, patient, actor.clone(), from, status)
        }
    };
    assert_eq!(one("p01", &appointed(practitioner.clone(), 0, "booked")), Relation::Appointment);
    assert_eq!(one("p02", &appointed(practitioner.clone(), 6, "booked")), Relation::Appointment);
    assert_eq!(one("p03", &appointed(practitioner.clone(), -29, "fulfilled")), Relation::Appointment);
    assert_eq!(
        one("p04", &appointed(json!({ "reference": "PractitionerRole/role1" }), 0, "booked")),
        Relation::Appointment
    );
    assert_eq!(
        one("p05", &appointed(json!({ "reference": "HealthcareService/day-ward" }), 0, "booked")),
        Relation::Appointment
    );
    let by_login = json!({ "identifier": { "system": "urn:holdfast:login", "value": "asha" } });
    assert_eq!(one("p06", &appointed(by_login, 0, "booked")), Relation::Appointment);
    // Out of its days, cancelled, somebody else's, of another naming system, of the whole hospital.
    assert_eq!(one("p11", &appointed(practitioner.clone(), 9, "booked")), Relation::Unexplained);
    assert_eq!(one("p12", &appointed(practitioner.clone(), -32, "fulfilled")), Relation::Unexplained);
    assert_eq!(one("p13", &appointed(practitioner.clone(), 0, "cancelled")), Relation::Unexplained);
    assert_eq!(one("p14", &appointed(json!({ "reference": "Practitioner/pr2" }), 0, "booked")), Relation::Unexplained);
    let staff = json!({ "identifier": { "system": "urn:staff", "value": "asha" } });
    assert_eq!(one("p15", &appointed(staff, 0, "booked")), Relation::Unexplained);

    assert_eq!(
        one("p21", &|patient| json!({ "resourceType": "CareTeam", "id": "t1", "status": "active", "subject": patient,
            "participant": [{ "member": { "reference": "Practitioner/pr1" } }] })),
        Relation::CareTeam
    );
    assert_eq!(
        one("p22", &|patient| json!({ "resourceType": "CareTeam", "id": "t2", "status": "active", "subject": patient,
            "period": { "end": day(-40) }, "participant": [{ "member": { "reference": "Practitioner/pr1" } }] })),
        Relation::Unexplained
    );
    let encounter = |id: &'static str, status: &'static str, period: Value| {
        move |patient: &Value| {
            json!({ "resourceType": "Encounter", "id": id, "status": status, "class": { "code": "IMP" }, "subject": patient,
                "period": period, "participant": [{ "individual": { "reference": "Practitioner/pr1" } }] })
        }
    };
    assert_eq!(one("p31", &encounter("e1", "in-progress", json!({ "start": day(-400) }))), Relation::Encounter);
    let long = json!({ "start": day(-700), "end": day(-5) });
    assert_eq!(one("p32", &encounter("e2", "finished", long)), Relation::Encounter);
    assert_eq!(
        one("p33", &encounter("e3", "finished", json!({ "start": day(-99), "end": day(-90) }))),
        Relation::Unexplained
    );
    assert_eq!(
        one(
            "p41",
            &|patient| json!({ "resourceType": "ServiceRequest", "id": "s1", "status": "active", "intent": "order",
            "subject": patient, "authoredOn": day(-50), "performer": [{ "reference": "Practitioner/pr1" }] })
        ),
        Relation::Order
    );
    // Of a machine, and of the log, nobody asks why.
    let device = named(&centre.chart, Role::Service, "lab");
    centre.reads(&device, "p11").unwrap();
}

/// Whoever has stolen a login writes what he likes.
#[test]
fn what_she_wrote_herself_explains_nothing() {
    let centre = Centre::new();
    let asha = named(&centre.chart, Role::Nurse, "asha");
    let practitioner = || json!({ "reference": "Practitioner/pr1" });
    let patient = centre.patient("p1");
    centre.put_as(&asha, appointment("a1", &patient, practitioner(), 0, "booked"));
    assert_eq!(centre.why(&asha, "p1"), Relation::Unexplained);

    // The hospital's appointment stays one when she notes that the patient has arrived, and ends when it is cancelled or deleted.
    let patient = centre.patient("p2");
    centre.put(appointment("a2", &patient, practitioner(), 0, "booked"));
    centre.put_as(&asha, appointment("a2", &patient, practitioner(), 0, "arrived"));
    assert_eq!(centre.why(&asha, "p2"), Relation::Appointment);
    let patient = centre.patient("p3");
    centre.put(appointment("a3", &patient, practitioner(), 0, "booked"));
    centre.put(appointment("a3", &patient, practitioner(), 0, "cancelled"));
    assert_eq!(centre.why(&asha, "p3"), Relation::Unexplained);
    let patient = centre.patient("p4");
    centre.put(appointment("a4", &patient, practitioner(), 0, "booked"));
    let head = named(&centre.chart, Role::Oncologist, "head");
    centre.chart.delete(&head, "Appointment", "a4", None).unwrap();
    assert_eq!(centre.why(&asha, "p4"), Relation::Unexplained);
    // The hospital's, which she puts her own name into.
    let patient = centre.patient("p5");
    centre.put(appointment("a5", &patient, json!({ "reference": "Practitioner/pr2" }), 0, "booked"));
    centre.put_as(&asha, appointment("a5", &patient, practitioner(), 0, "booked"));
    assert_eq!(centre.why(&asha, "p5"), Relation::Unexplained);
    // Nor does she make herself somebody whom records name.
    let mallory = named(&centre.chart, Role::Oncologist, "mallory");
    centre.put_as(
        &mallory,
        json!({ "resourceType": "Practitioner", "id": "pr9",
        "identifier": [{ "system": "urn:holdfast:login", "value": "mallory" }] }),
    );
    let patient = centre.patient("p6");
    centre.put(appointment("a6", &patient, json!({ "reference": "Practitioner/pr9" }), 0, "booked"));
    assert_eq!(centre.why(&mallory, "p6"), Relation::Unexplained);
    // It stands in the log alone: an index that is made anew says the same.
    centre.chart.rebuild_index().unwrap();
    assert!(centre.chart.index_is_true().unwrap());
    let other = named(&centre.chart, Role::Nurse, "asha");
    assert_eq!(centre.why(&other, "p2"), Relation::Appointment);
}

#[test]
fn a_broken_glass_opens_one_chart_beyond_the_budget() {
    let centre = Centre::new();
    let asha = named(&centre.chart, Role::Nurse, "asha");
    for number in 0..14 {
        centre.patient(&format!("u{number}"));
    }
    let opened = (0..14).take_while(|number| centre.reads(&asha, &format!("u{number}")).is_ok()).count();
    assert_eq!(opened, 12);
    let emergency = |who: &Context| Context { purpose: Purpose::Emergency, operation: operation(), ..who.clone() };
    let registrar = named(&centre.chart, Role::Registrar, "front-desk");
    for number in ["N-u12", "N-nobody"] {
        let refused = centre.chart.break_glass(&emergency(&registrar), number, "she is my neighbour", 1).unwrap_err();
        assert!(matches!(refused, ChartError::Denied(_)), "{refused}");
    }
    let nobody = centre.chart.break_glass(&emergency(&asha), "N-nobody", "fell in the ward", 1).unwrap_err();
    assert!(matches!(nobody, ChartError::NoSuchRecord { .. }));
    centre.chart.break_glass(&emergency(&asha), "N-u12", "fell in the ward", 1).unwrap();
    assert_eq!(centre.why(&asha, "u12"), Relation::BreakGlass);
    assert!(centre.reads(&asha, "u13").is_err());
    // Hers, and nobody else's; and nothing of it goes.
    let other = named(&centre.chart, Role::Nurse, "other");
    assert_eq!(centre.why(&other, "u12"), Relation::Unexplained);
    let doctor = named(&centre.chart, Role::Oncologist, "doctor");
    centre.chart.break_glass(&emergency(&doctor), "N-u13", "fell in the ward", 1).unwrap();
    assert_eq!(centre.why(&doctor, "u13"), Relation::BreakGlass);
    let patient = centre.chart.find_patient("N-u13").unwrap().unwrap();
    let exports =
        |who: &Context| centre.chart.admit(who, Act::ExportRecord, Target::Patient(patient), Sensitivity::Clinical);
    assert!(exports(&doctor).is_err() && exports(&emergency(&doctor)).is_err());
}

/// A radiotherapy course is thirty appointments, and those that are still to come stand before today's.
#[test]
fn one_of_many_is_found() {
    let centre = Centre::new();
    let asha = named(&centre.chart, Role::Nurse, "asha");
    let patient = centre.patient("p1");
    for n in 0..30 {
        let id = format!("a{n}");
        centre.put(appointment(&id, &patient, json!({ "reference": "Practitioner/pr1" }), n, "booked"));
    }
    assert_eq!(centre.why(&asha, "p1"), Relation::Appointment);
    // Ten notes of her own on the hospital's record don't hide it.
    let patient = centre.patient("p2");
    let noted = |status| appointment("b1", &patient, json!({ "reference": "Practitioner/pr1" }), 0, status);
    centre.put(noted("booked"));
    (0..10).for_each(|n| centre.put_as(&asha, noted(if n % 2 == 0 { "arrived" } else { "checked-in" })));
    assert_eq!(centre.why(&asha, "p2"), Relation::Appointment);
}

#[test]
fn nobody_is_led_round_to_writing_it_for_her() {
    let centre = Centre::new();
    let asha = named(&centre.chart, Role::Nurse, "asha");
    let member = |reference: &str| json!({ "member": { "reference": reference } });
    let team = |id: &str, patient: &Value, period: Value, who: &[&str]| {
        json!({ "resourceType": "CareTeam", "id": id, "status": "active", "subject": patient, "period": period,
            "participant": who.iter().map(|one| member(one)).collect::<Vec<_>>() })
    };
    // She puts herself on the team, and a colleague goes on writing in it.
    let (patient, since) = (centre.patient("p1"), json!({ "start": day(-9) }));
    centre.put(team("t1", &patient, since.clone(), &["Practitioner/pr2"]));
    centre.put_as(&asha, team("t1", &patient, since.clone(), &["Practitioner/pr2", "Practitioner/pr1"]));
    centre.put(team("t1", &patient, since.clone(), &["Practitioner/pr2", "Practitioner/pr1", "Practitioner/pr3"]));
    assert_eq!(centre.why(&asha, "p1"), Relation::Unexplained);
    // One that was over, which she opens again.
    let patient = centre.patient("p2");
    centre.put(team("t2", &patient, json!({ "start": day(-400), "end": day(-300) }), &["Practitioner/pr1"]));
    centre.put_as(&asha, team("t2", &patient, json!({ "start": day(-400) }), &["Practitioner/pr1"]));
    assert_eq!(centre.why(&asha, "p2"), Relation::Unexplained);
    // She orders something, and another program writes it.
    let patient = centre.patient("p3");
    centre.put(
        json!({ "resourceType": "ServiceRequest", "id": "s3", "status": "active", "intent": "order", "subject": patient,
        "authoredOn": day(-1), "requester": { "reference": "Practitioner/pr1" } }),
    );
    assert_eq!(centre.why(&asha, "p3"), Relation::Unexplained);
}

#[test]
fn who_corrects_her_own_telephone_number_stays_who_she_is() {
    let centre = Centre::new();
    let asha = named(&centre.chart, Role::Nurse, "asha");
    let login = |value: &str| json!({ "system": "urn:holdfast:login", "value": value });
    centre.put_as(
        &asha,
        json!({ "resourceType": "Practitioner", "id": "pr1", "identifier": [login("asha")],
        "telecom": [{ "system": "phone", "value": "1234" }] }),
    );
    // Somebody else's record, into which a thief writes her login, makes her nobody else.
    let mallory = named(&centre.chart, Role::Oncologist, "mallory");
    centre.put(json!({ "resourceType": "Practitioner", "id": "pr2", "identifier": [login("boss")] }));
    centre.put_as(
        &mallory,
        json!({ "resourceType": "Practitioner", "id": "pr2", "identifier": [login("boss"), login("mallory")] }),
    );
    let patient = centre.patient("p1");
    for (n, practitioner) in ["Practitioner/pr1", "Practitioner/pr2"].into_iter().enumerate() {
        centre.put(appointment(&format!("a{n}"), &patient, json!({ "reference": practitioner }), 0, "booked"));
    }
    assert_eq!(centre.why(&asha, "p1"), Relation::Appointment);
    assert_eq!(centre.why(&mallory, "p1"), Relation::Unexplained);
}

/// By the acts themselves, not by what a rule is handed.
#[test]
fn an_emergency_is_one_in_the_log_and_deletes_nothing() {
    let centre = Centre::new();
    let doctor = named(&centre.chart, Role::Oncologist, "doctor");
    centre.patient("p1");
    let emergency = Context { purpose: Purpose::Emergency, operation: operation(), ..doctor.clone() };
    centre.chart.break_glass(&emergency, "N-p1", "fell in the ward", 1).unwrap();
    assert_eq!(centre.why(&doctor, "p1"), Relation::BreakGlass);
    let deleted = centre.chart.delete(&doctor, "Condition", "c-p1", None).unwrap_err();
    assert!(matches!(deleted, ChartError::Denied(_)), "{deleted}");
    let console =
        Context { caller: centre.chart.guard().console(), purpose: Purpose::Operations, operation: operation() };
    let patient = centre.chart.find_patient("N-p1").unwrap().unwrap();
    let rows = centre.chart.access(&console, patient, AccessAsked::default()).unwrap().rows;
    let opened = rows.iter().rev().find(|row| row.outcome == "opened").unwrap();
    assert_eq!(opened.why, Purpose::Emergency);
}

/// What ransomware would do by FHIR: nothing is kept of the patient at whom it is stopped, and new records are no changes.
#[test]
fn one_edit_of_everybody_is_stopped() {
    let centre = Centre::new();
    let doctor = named(&centre.chart, Role::Oncologist, "doctor");
    for number in 0..40 {
        centre.patient(&format!("p{number}"));
    }
    let edit = |number: usize| {
        let (id, whose) = (format!("c-p{number}"), format!("Patient/p{number}"));
        let body = json!({ "resourceType": "Condition", "id": id, "subject": { "reference": whose }, "code": { "text": "pay us" } });
        let who = Context { operation: operation(), ..doctor.clone() };
        centre.chart.update(&who, resource(&body.to_string()), &id, None)
    };
    // The first counts for one, each that is like it for four: of 100 within an hour.
    let kept = (0..40).take_while(|number| edit(*number).is_ok()).count();
    assert_eq!(kept, 25);
    let denied = edit(30).unwrap_err();
    assert!(matches!(&denied, ChartError::Denied(one) if one.to_string().contains("to change")), "{denied}");
    let read =
        centre.chart.read(&Context { operation: operation(), ..doctor.clone() }, "Condition", "c-p30", None).unwrap();
    assert_eq!(read.version.version, 1);
    // Somebody new is written for all the same.
    let body = json!({ "resourceType": "Condition", "id": "new", "subject": { "reference": "Patient/p35" } });
    centre.put_as(&doctor, body);
}
