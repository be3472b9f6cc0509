//! One line of the account as an AuditEvent of FHIR R4, in the patterns of IHE BALP where one fits.
//!
//! A profile is claimed of what was read, created, updated, deleted and searched for over FHIR. Its network address of the
//! client is not in the account, and the event says so by HL7's data-absent-reason. Decisions follow the pattern of BALP's
//! authorization decisions; the profile itself wants a Consent, and there is none here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chart::{AccessRow, Account, EventRow, via_text};
use guard::Via;
use kit::PatientId;
use serde_json::{Value, json};

use super::{About, Dcm, about, reason_code, said};

const DCM: &str = "http://dicom.nema.org/resources/ontology/DCM";
const BALP: &str = "https://profiles.ihe.net/ITI/BALP";
const TERMINOLOGY: &str = "http://terminology.hl7.org/CodeSystem";
const INTERACTION: &str = "http://hl7.org/fhir/restful-interaction";
const ABSENT: &str = "http://hl7.org/fhir/StructureDefinition/data-absent-reason";

/// Where events are made: this server's FHIR address, and the centre's name.
pub struct Site<'a> {
    pub base: &'a str,
    pub centre: String,
}

/// Of whom a line is.
#[derive(Clone)]
pub struct Her {
    pub id: PatientId,
    /// Her FHIR id, where she has a Patient resource.
    pub fhir: Option<String>,
}

/// `412-0`: its entry in the ledger, and which of that entry's lines it is.
pub fn id_of(entry: u64, line: usize) -> String {
    format!("{entry}-{line}")
}

/// The entry and the line that an id names.
pub fn parse_id(id: &str) -> Option<(u64, usize)> {
    let (entry, line) = id.split_once('-')?;
    let found = (entry.parse().ok()?, line.parse().ok()?);
    (id_of(found.0, found.1) == id).then_some(found)
}

fn coding(system: &str, code: &str, display: &str) -> Value {
    json!({ "system": system, "code": code, "display": display })
}

fn dcm((code, display): Dcm) -> Value {
    coding(DCM, code, display)
}

fn concept(coding: Value) -> Value {
    json!({ "coding": [coding] })
}

pub fn audit_event(site: &Site<'_>, account: &Account, line: usize, her: Option<&Her>) -> Value {
    let mut event = match account {
        Account::Access(row) => of_access(site, row, her),
        Account::Event(row) => of_event(site, row, account),
    };
    if let Some(event) = event.as_object_mut() {
        event.insert("resourceType".into(), json!("AuditEvent"));
        event.insert("id".into(), json!(id_of(account.entry(), line)));
        event.insert("recorded".into(), json!(account.at().to_string()));
        event.insert(
            "source".into(),
            json!({
                "site": site.centre,
                "observer": { "type": "Device", "display": "Holdfast" },
                "type": [coding(&format!("{TERMINOLOGY}/security-source-type"), "4", "Application Server")],
            }),
        );
    }
    event
}

/// Agents' types, by what is done.
struct Roles {
    user: (&'static str, &'static str),
    client: Value,
    server: Value,
}

fn roles(action: &str) -> Roles {
    let (source, destination) = (dcm(("110153", "Source Role ID")), dcm(("110152", "Destination Role ID")));
    let custodian = coding(&format!("{TERMINOLOGY}/provenance-participant-type"), "custodian", "Custodian");
    let application = dcm(("110150", "Application"));
    let (recipient, author) = (("IRCP", "information recipient"), ("AUT", "author (originator)"));
    match action {
        "R" => Roles { user: recipient, client: destination, server: source },
        "C" | "U" => Roles { user: author, client: source, server: destination },
        "D" => Roles { user: author, client: application, server: custodian },
        _ => Roles { user: recipient, client: source, server: destination },
    }
}

fn of_access(site: &Site<'_>, row: &AccessRow, her: Option<&Her>) -> Value {
    let said = said(&Account::Access(row.clone()));
    let about = about(row);
    let is_decision = matches!(row.outcome, "allowed" | "denied");
    let mut event = json!({ "action": said.action, "outcome": if said.is_refused { "8" } else { "0" } });
    let profile = |name: &str| {
        let of_her = if her.is_some_and(|her| her.fhir.is_some()) { "Patient" } else { "" };
        json!({ "profile": [format!("{BALP}/StructureDefinition/IHE.BasicAudit.{of_her}{name}")] })
    };
    let rest = || coding(&format!("{TERMINOLOGY}/audit-event-type"), "rest", "RESTful Operation");
    // What is about somebody whom no Patient resource stands for can't follow a pattern that wants one.
    let follows = her.is_none_or(|her| her.fhir.is_some());
    let restful = match (&about, said.action) {
        (About::Search(_), "E") if !said.is_refused => Some(("Query", "search")),
        (About::Resource { .. }, "R") => Some(("Read", "read")),
        (About::Resource { .. }, "C") => Some(("Create", "create")),
        (About::Resource { .. }, "U") => Some(("Update", "update")),
        (About::Resource { .. }, "D") => Some(("Delete", "delete")),
        _ => None,
    };
    let mut set = |name: &str, value: Value| {
        if let Some(event) = event.as_object_mut() {
            event.insert(name.to_owned(), value);
        }
    };
    match restful {
        Some((name, interaction)) => {
            if follows {
                set("meta", profile(name));
            }
            set("type", rest());
            set("subtype", json!([coding(INTERACTION, interaction, interaction)]));
        }
        None => {
            set("type", dcm(said.event));
            if is_decision {
                let authorization = format!("{BALP}/CodeSystem/AuthZsubType");
                set(
                    "subtype",
                    json!([coding(&authorization, "AuthZ-Role", "Authorization Decision using only Roles")]),
                );
            }
        }
    }
    if let (true, Some(reason)) = (said.is_refused, &row.reason) {
        set("outcomeDesc", json!(reason));
    }
    set("agent", json!(agents(site, row, said.action)));
    set("entity", json!(entities(row, &about, her)));
    event
}

fn agents(site: &Site<'_>, row: &AccessRow, action: &str) -> Vec<Value> {
    let Roles { user: (code, display), client, server } = roles(action);
    let (reason, reason_text) = reason_code(row.why);
    let participation = coding(&format!("{TERMINOLOGY}/v3-ParticipationType"), code, display);
    let mut user = json!({
        "type": concept(participation),
        "role": [{ "text": row.role }],
        "who": { "identifier": { "value": row.who } },
        "requestor": true,
        "purposeOfUse": [concept(coding(&format!("{TERMINOLOGY}/v3-ActReason"), reason, reason_text))],
    });
    if let (Some(policy), Some(user)) = (row.policy, user.as_object_mut()) {
        // RFC 6920, section 7: a hash that people compare, digit by digit.
        user.insert("policy".into(), json!([format!("nih:sha-256;{policy}")]));
    }
    let (who, network) = match row.via {
        Some(via) => (json!({ "identifier": { "value": via_text(via) } }), network_of(via)),
        None => (json!({ "display": "see the decision of the same request" }), absent()),
    };
    vec![
        user,
        json!({ "type": concept(client), "who": who, "requestor": false, "network": network }),
        json!({
            "type": concept(server),
            "who": { "display": "Holdfast" },
            "requestor": false,
            "network": { "address": site.base, "type": "5" },
        }),
    ]
}

fn absent() -> Value {
    json!({ "_address": { "extension": [{ "url": ABSENT, "valueCode": "unknown" }] } })
}

fn network_of(via: Via) -> Value {
    match via {
        Via::AeTitle(address) => json!({ "address": address.to_string(), "type": "2" }),
        _ => absent(),
    }
}

fn entities(row: &AccessRow, about: &About<'_>, her: Option<&Her>) -> Vec<Value> {
    let object = || coding(&format!("{TERMINOLOGY}/audit-entity-type"), "2", "System Object");
    let role = |code: &str, display: &str| coding(&format!("{TERMINOLOGY}/object-role"), code, display);
    let mut all: Vec<Value> = her.map(patient).into_iter().collect();
    let mut data = json!({ "type": object(), "role": role("4", "Domain Resource") });
    let (key, value) = match about {
        About::Resource { kind, id, version } => {
            let version = version.map(|version| format!("/_history/{version}")).unwrap_or_default();
            ("what", json!({ "reference": format!("{kind}/{id}{version}"), "type": kind }))
        }
        About::Instance(uid) => {
            let identifier = json!({ "system": "urn:dicom:uid", "value": format!("urn:oid:{uid}") });
            ("what", json!({ "identifier": identifier }))
        }
        About::Search(what) => {
            data = json!({ "type": object(), "role": role("24", "Query"), "description": what });
            ("query", json!(STANDARD.encode(what)))
        }
        About::Other(what) => ("name", json!(if what.is_empty() { row.act.as_str() } else { what })),
    };
    if let Some(data) = data.as_object_mut() {
        data.insert(key.to_owned(), value);
        // The patterns of queries and deletions have no details.
        if matches!(row.outcome, "allowed" | "denied") && !matches!(about, About::Search(_)) {
            data.insert("detail".into(), json!([{ "type": "act", "valueString": row.act }]));
        }
    }
    all.push(data);
    all.push(request(&row.operation));
    all
}

fn patient(her: &Her) -> Value {
    // The centre's own opaque id stays hers where a Patient resource is deleted, or never was.
    let mut what = json!({ "type": "Patient", "identifier": { "system": "urn:holdfast:patient", "value": her.id } });
    if let (Some(id), Some(what)) = (&her.fhir, what.as_object_mut()) {
        what.insert("reference".into(), json!(format!("Patient/{id}")));
    }
    json!({
        "what": what,
        "type": coding(&format!("{TERMINOLOGY}/audit-entity-type"), "1", "Person"),
        "role": coding(&format!("{TERMINOLOGY}/object-role"), "1", "Patient"),
    })
}

fn request(operation: &str) -> Value {
    let code = coding(&format!("{BALP}/CodeSystem/BasicAuditEntityType"), "XrequestId", "X-Request-Id");
    json!({ "what": { "identifier": { "value": operation } }, "type": code })
}

fn of_event(site: &Site<'_>, row: &EventRow, account: &Account) -> Value {
    let said = said(account);
    let mut entities = vec![json!({
        "type": coding(&format!("{TERMINOLOGY}/audit-entity-type"), "2", "System Object"),
        "role": coding(&format!("{TERMINOLOGY}/object-role"), "13", "Security Resource"),
        "name": row.what,
    })];
    if let Some(subject) = &row.subject {
        entities.push(json!({
            "what": { "identifier": { "value": subject } },
            "type": coding(&format!("{TERMINOLOGY}/audit-entity-type"), "1", "Person"),
            "role": coding(&format!("{TERMINOLOGY}/object-role"), "11", "Security User Entity"),
        }));
    }
    entities.push(request(&row.operation));
    let mut agent = json!({ "who": { "identifier": { "value": row.who } }, "requestor": true });
    if let (Some(role), None, Some(agent)) = (row.role, &row.subject, agent.as_object_mut()) {
        agent.insert("role".into(), json!([{ "text": role }]));
    }
    let server = json!({ "who": { "display": "Holdfast" }, "requestor": false, "network": { "address": site.base, "type": "5" } });
    json!({
        "type": dcm(said.event),
        "subtype": said.of_kind.map(dcm).into_iter().collect::<Vec<_>>(),
        "action": said.action,
        "outcome": "0",
        "agent": [agent, server],
        "entity": entities,
    })
}
